//! Records of audit.

use super::NOW;
use crate::store::{AuditEntry, Store, StoredAudit, chain};

pub(super) fn entry(event: &str, actor: &str, server: &str) -> AuditEntry {
    AuditEntry {
        event: event.to_owned(),
        actor: actor.to_owned(),
        server: server.to_owned(),
        at: NOW,
        json: format!("{{\"event\":\"{event}\"}}"),
    }
}

pub(super) async fn all(store: &dyn Store) -> Vec<StoredAudit> {
    store.audit(0, "", "", "", u32::MAX).await.unwrap()
}

pub(super) fn assert_chained(records: &[StoredAudit]) {
    let mut previous = chain::GENESIS;
    for (record, sequence) in records.iter().zip(1..) {
        assert_eq!((record.sequence, record.previous), (sequence, previous));
        assert_eq!(record.hash, chain::link(&previous, sequence, &record.entry));
        previous = record.hash;
    }
}

pub(super) async fn sequence_and_hashes_are_continuous(store: &dyn Store) {
    assert_eq!(store.append_audit(&[entry("a", "x", "s")]).await.unwrap(), 1);
    assert_eq!(store.append_audit(&[entry("b", "x", "s"), entry("c", "y", "t")]).await.unwrap(), 3);
    let records = all(store).await;
    assert_eq!(records.len(), 3);
    assert_chained(&records);
    assert_eq!((records[2].entry.actor.as_str(), records[2].entry.at), ("y", NOW));
}

pub(super) async fn appending_nothing_changes_nothing(store: &dyn Store) {
    assert_eq!(store.append_audit(&[]).await.unwrap(), 0);
    store.append_audit(&[entry("a", "x", "s")]).await.unwrap();
    assert_eq!(store.append_audit(&[]).await.unwrap(), 1);
    assert_eq!(all(store).await.len(), 1);
}

pub(super) async fn filters_narrow_together(store: &dyn Store) {
    let entries = [entry("a", "x", "s"), entry("a", "y", "s"), entry("b", "x", "s"), entry("a", "x", "t")];
    store.append_audit(&entries).await.unwrap();
    for (actor, server, event, found) in [
        ("", "", "", vec![1, 2, 3, 4]),
        ("x", "", "", vec![1, 3, 4]),
        ("", "s", "", vec![1, 2, 3]),
        ("", "", "a", vec![1, 2, 4]),
        ("x", "s", "a", vec![1]),
        ("z", "", "", vec![]),
        ("%", "", "", vec![]),
    ] {
        let records = store.audit(0, actor, server, event, 100).await.unwrap();
        let sequences: Vec<_> = records.iter().map(|record| record.sequence).collect();
        assert_eq!(sequences, found, "actor {actor:?}, server {server:?}, event {event:?}");
    }
}

pub(super) async fn one_batch_may_be_longer_than_a_statement(store: &dyn Store) {
    let entries: Vec<_> = (0..1_203).map(|n| entry(&n.to_string(), "", "")).collect();
    assert_eq!(store.append_audit(&entries).await.unwrap(), 1_203);
    let records = store.audit(0, "", "", "", 2_000).await.unwrap();
    assert!(records.iter().map(|record| &record.entry.event).eq(entries.iter().map(|entry| &entry.event)));
    assert_chained(&records);
}

pub(super) async fn pages_by_sequence_and_limit(store: &dyn Store) {
    let entries: Vec<_> = (0..5).map(|n| entry(&n.to_string(), "", "")).collect();
    store.append_audit(&entries).await.unwrap();
    for (after, limit, found) in
        [(0, 2, vec![1, 2]), (2, 2, vec![3, 4]), (4, 2, vec![5]), (5, 2, vec![]), (0, 0, vec![])]
    {
        let records = store.audit(after, "", "", "", limit).await.unwrap();
        assert_eq!(records.iter().map(|record| record.sequence).collect::<Vec<_>>(), found);
    }
    assert!(store.audit(u64::MAX, "", "", "", 9).await.unwrap().is_empty());
}

pub(super) async fn two_brokers_extend_one_chain(first: &dyn Store, second: &dyn Store) {
    for _ in 0..20 {
        let batch = [entry("a", "", ""), entry("b", "", "")];
        let (a, b) = tokio::join!(first.append_audit(&batch), second.append_audit(&batch));
        assert_ne!(a.unwrap(), b.unwrap());
    }
    let records = all(first).await;
    assert_eq!(records.len(), 80);
    assert_chained(&records);
}
