//! Batches of reports.

use super::audit::{all, assert_chained, entry};
use super::{NOW, UnixTime};
use crate::store::{AuditEntry, Recorded, ReportNumber, Store};

fn number(worker: &str, epoch: u64, sequence: u64) -> ReportNumber {
    let (peer, proxy) = ("uid:7".to_owned(), "gateway-1".to_owned());
    ReportNumber { peer, proxy, worker: worker.to_owned(), epoch: UnixTime(NOW.0 + epoch), sequence }
}

fn gap(first: u64, last: u64) -> AuditEntry {
    entry(&format!("{first} to {last}"), "", "")
}

async fn record(store: &dyn Store, sequence: u64) -> Recorded {
    store.record_calls(&number("w", 0, sequence), &[entry(&sequence.to_string(), "", "")], &gap).await.unwrap()
}

async fn events(store: &dyn Store) -> Vec<String> {
    let records = all(store).await;
    assert_chained(&records);
    records.into_iter().map(|record| record.entry.event).collect()
}

pub(super) async fn a_repeated_batch_changes_nothing(store: &dyn Store) {
    for (sequence, recorded) in [(1, Recorded::Stored), (1, Recorded::Repeated), (2, Recorded::Stored)] {
        assert_eq!(record(store, sequence).await, recorded);
    }
    assert_eq!(record(store, 1).await, Recorded::Repeated);
    assert_eq!(record(store, 0).await, Recorded::Repeated);
    assert_eq!(events(store).await, ["1", "2"]);
}

pub(super) async fn a_gap_is_told_once(store: &dyn Store) {
    record(store, 1).await;
    assert_eq!(record(store, 5).await, Recorded::Gap(2, 4));
    assert_eq!(record(store, 5).await, Recorded::Repeated);
    assert_eq!(record(store, 6).await, Recorded::Stored);
    assert_eq!(events(store).await, ["1", "2 to 4", "5", "6"]);
}

pub(super) async fn a_late_batch_fills_its_gap_once(store: &dyn Store) {
    assert_eq!(record(store, 6).await, Recorded::Gap(1, 5));
    for sequence in [3, 1, 5, 2, 4] {
        assert_eq!(record(store, sequence).await, Recorded::Stored);
        assert_eq!(record(store, sequence).await, Recorded::Repeated);
    }
    assert_eq!(events(store).await, ["1 to 5", "6", "3", "1", "5", "2", "4"]);
}

pub(super) async fn a_first_batch_that_is_not_the_first_is_a_gap(store: &dyn Store) {
    assert_eq!(record(store, 2).await, Recorded::Gap(1, 1));
}

pub(super) async fn workers_and_epochs_count_apart(store: &dyn Store) {
    for (worker, epoch) in [("w", 0), ("v", 0), ("w", 1)] {
        let recorded = store.record_calls(&number(worker, epoch, 1), &[entry("e", "", "")], &gap).await.unwrap();
        assert_eq!(recorded, Recorded::Stored);
    }
    assert_eq!(events(store).await.len(), 3);
}

pub(super) async fn i3_no_peer_uses_up_the_numbers_of_another(store: &dyn Store) {
    let of = |peer: &str, proxy: &str, sequence| ReportNumber {
        peer: peer.to_owned(),
        proxy: proxy.to_owned(),
        ..number("w", 0, sequence)
    };
    for (peer, proxy) in
        [("dns:a", "gateway-1"), ("dns:b", "gateway-1"), ("dns:a/gateway", "-1"), ("dns:a", "/gateway-1")]
    {
        let recorded = store.record_calls(&of(peer, proxy, 1), &[entry("e", "", "")], &gap).await.unwrap();
        assert_eq!(recorded, Recorded::Stored, "{peer} {proxy}");
        let recorded = store.record_calls(&of(peer, proxy, 3), &[entry("e", "", "")], &gap).await.unwrap();
        assert_eq!(recorded, Recorded::Gap(2, 2), "{peer} {proxy}");
        let recorded = store.record_calls(&of("dns:c", proxy, 2), &[], &gap).await.unwrap();
        assert!(matches!(recorded, Recorded::Gap(1, 1) | Recorded::Repeated), "a gap is filled by its own peer alone");
        let recorded = store.record_calls(&of(peer, proxy, 2), &[], &gap).await.unwrap();
        assert_eq!(recorded, Recorded::Stored, "{peer} {proxy}");
    }
}

pub(super) async fn the_highest_number_there_is_does_no_harm(store: &dyn Store) {
    assert!(matches!(record(store, u64::MAX).await, Recorded::Gap(1, _)));
    assert_eq!(record(store, u64::MAX).await, Recorded::Repeated);
    assert_eq!(record(store, 1).await, Recorded::Stored);
    let recorded = store.record_calls(&number("v", 0, 1), &[], &gap).await.unwrap();
    assert_eq!(recorded, Recorded::Stored, "another worker is not concerned");
}

pub(super) async fn one_batch_at_two_brokers_is_stored_once(first: &dyn Store, second: &dyn Store) {
    for sequence in 1..=20 {
        let (a, b) = tokio::join!(record(first, sequence), record(second, sequence));
        assert!(matches!((a, b), (Recorded::Stored, Recorded::Repeated) | (Recorded::Repeated, Recorded::Stored)));
    }
    assert_eq!(events(first).await.len(), 20);
}
