//! What nobody uses any more, as every broker reads it.

use std::time::Duration;

use super::damaged::names;
use super::grants::{grant, key};
use super::{NOW, Tamper};
use crate::clock::UnixTime;
use crate::model::Generation;
use crate::store::{GrantCommit, Invalidation, Standing, Store, StoreError};

const ONE: Generation = Generation(1);
const ALL: u32 = 1_000;

async fn live(store: &dyn Store, id: &str) {
    store.commit_grant(&grant(id, &key(id, "alice"), 1, id)).await.unwrap();
}

async fn end(store: &dyn Store, id: &str) {
    let revoked = Standing::Revoked("operator".to_owned());
    store.end_grant(id, ONE, &revoked, NOW).await.unwrap();
}

fn of(number: u64, id: &str, generation: u64) -> Invalidation {
    Invalidation { number, grant: id.to_owned(), key: key(id, "alice"), generation: Generation(generation), at: NOW }
}

pub(super) async fn an_end_is_one_and_says_of_what(store: &dyn Store) {
    for id in ["g1", "g2", "g3"] {
        live(store, id).await;
    }
    assert_eq!(store.invalidations(0, ALL).await.unwrap().records, []);
    let lost = Standing::NeedsConsent("invalid_grant".to_owned());
    store.end_grant("g2", ONE, &lost, NOW).await.unwrap();
    assert_eq!(store.invalidations(0, ALL).await.unwrap().records, [of(1, "g2", 1)]);
    end(store, "g1").await;
    assert_eq!(store.invalidations(1, ALL).await.unwrap().records, [of(2, "g1", 1)]);
    assert_eq!(store.invalidations(2, ALL).await.unwrap().records, []);
}

pub(super) async fn an_end_that_was_refused_is_none(store: &dyn Store) {
    live(store, "g1").await;
    let lost = Standing::NeedsConsent("invalid_grant".to_owned());
    for (id, generation) in [("g1", 2), ("g2", 1)] {
        let refused = store.end_grant(id, Generation(generation), &lost, NOW).await;
        assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    }
    assert_eq!(store.invalidations(0, ALL).await.unwrap().records, []);
    end(store, "g1").await;
    assert_eq!(
        store.invalidations(0, ALL).await.unwrap().records,
        [of(1, "g1", 1)],
        "a refused one takes no number either"
    );
}

pub(super) async fn a_commit_is_one_only_where_it_says_so(store: &dyn Store) {
    let says =
        |generation| GrantCommit { invalidates: Some(NOW), ..grant("g", &key("g", "alice"), generation, "token") };
    store.commit_grant(&says(1)).await.unwrap();
    store.commit_refresh(&grant("g", &key("g", "alice"), 2, "token")).await.unwrap();
    assert_eq!(store.invalidations(0, ALL).await.unwrap().records, [], "nothing was before it, or it serves on");
    store.commit_refresh(&says(3)).await.unwrap();
    assert_eq!(store.invalidations(0, ALL).await.unwrap().records, [of(1, "g", 2)]);
    store.commit_grant(&says(4)).await.unwrap();
    assert!(matches!(store.commit_grant(&says(4)).await, Err(StoreError::Conflict)));
    assert_eq!(store.invalidations(0, ALL).await.unwrap().records, [of(2, "g", 3)]);
}

pub(super) async fn of_each_grant_the_latest_is_read(store: &dyn Store) {
    for id in ["g1", "g2"] {
        live(store, id).await;
        end(store, id).await;
    }
    let again = GrantCommit { invalidates: Some(NOW), ..grant("g1", &key("g1", "alice"), 2, "again") };
    store.commit_grant(&again).await.unwrap();
    store.end_grant("g1", Generation(2), &Standing::Revoked("operator".to_owned()), NOW).await.unwrap();
    assert_eq!(store.invalidations(0, ALL).await.unwrap().records, [of(2, "g2", 1), of(4, "g1", 2)]);
    assert_eq!(store.invalidations(2, ALL).await.unwrap().records, [of(4, "g1", 2)]);
}

pub(super) async fn are_read_page_by_page(store: &dyn Store) {
    for id in ["g1", "g2", "g3"] {
        live(store, id).await;
        end(store, id).await;
    }
    assert_eq!(store.invalidations(0, 2).await.unwrap().records, [of(1, "g1", 1), of(2, "g2", 1)]);
    assert_eq!(store.invalidations(2, 2).await.unwrap().records, [of(3, "g3", 1)]);
}

pub(super) async fn the_old_are_dropped_and_numbers_go_on(store: &dyn Store) {
    live(store, "g1").await;
    end(store, "g1").await;
    store.drop_expired(NOW, NOW).await.unwrap();
    assert_eq!(store.invalidations(0, ALL).await.unwrap().records, [of(1, "g1", 1)]);
    store.drop_expired(NOW, NOW.after(Duration::from_millis(1))).await.unwrap();
    assert_eq!(store.invalidations(0, ALL).await.unwrap().records, []);
    live(store, "g2").await;
    end(store, "g2").await;
    assert_eq!(
        store.invalidations(1, ALL).await.unwrap().records,
        [of(2, "g2", 1)],
        "who has read the first reads this"
    );
}

pub(super) async fn one_brokers_is_read_by_the_other(first: &dyn Store, second: &dyn Store) {
    live(first, "g").await;
    end(first, "g").await;
    assert_eq!(second.invalidations(0, ALL).await.unwrap().records, [of(1, "g", 1)]);
}

pub(super) async fn i11_none_is_missed_by_who_reads_while_others_end(first: &dyn Store, second: &dyn Store) {
    const EACH: usize = 40;
    let ids = |of: &str| (0..EACH).map(|n| format!("{of}{n}")).collect::<Vec<_>>();
    let (ours, theirs) = (ids("a"), ids("b"));
    for id in ours.iter().chain(&theirs) {
        live(first, id).await;
    }
    let ends = |store, ids: Vec<String>| async move {
        for id in &ids {
            end(store, id).await;
        }
    };
    let reads = async {
        let (mut after, mut read) = (0, Vec::new());
        while read.len() < 2 * EACH {
            for invalidation in second.invalidations(after, ALL).await.unwrap().records {
                after = invalidation.number;
                read.push(invalidation.grant);
            }
            tokio::task::yield_now().await;
        }
        read
    };
    let both = async { tokio::join!(ends(first, ours.clone()), ends(second, theirs.clone()), reads) };
    let ((), (), mut read) = tokio::time::timeout(Duration::from_secs(30), both).await.expect("every end is read");
    read.sort_unstable();
    let mut ended = [ours, theirs].concat();
    ended.sort_unstable();
    assert_eq!(read, ended);
}

pub(super) async fn v3_a_corrupt_one_is_told_by_what_can_be_read_and_spoils_no_other(store: &(impl Store + Tamper)) {
    for id in ["g1", "bad", "g3"] {
        live(store, id).await;
        end(store, id).await;
    }
    let ever = UnixTime(u64::MAX);
    let text = store.no_text();
    let bad = || of(2, "bad", 1);
    for (column, value, sound, told) in [
        ("at", Some("-1"), NOW.0.to_string(), Invalidation { at: ever, ..bad() }),
        ("generation", Some("-1"), 1.to_string(), Invalidation { generation: Generation(u64::MAX), ..bad() }),
        // What it is for is the grant's to say.
        ("holder", text, "'alice'".to_owned(), bad()),
    ] {
        let Some(value) = value else { continue };
        store.tamper_with(format!("UPDATE invalidations SET {column} = {value} WHERE grant_id = 'bad'")).await;
        let found = store.invalidations(0, ALL).await.unwrap();
        assert_eq!(found.records, [of(1, "g1", 1), told, of(3, "g3", 1)], "{column}");
        if column != "holder" {
            assert!(matches!(&found.corrupt[..], [error] if names(error, "invalidations", "bad")), "{column}");
        }
        // As old as it says it is not.
        store.drop_expired(NOW, NOW).await.unwrap();
        assert_eq!(store.invalidations(0, ALL).await.unwrap().records.len(), 3, "{column}");
        store.tamper_with(format!("UPDATE invalidations SET {column} = {sound} WHERE grant_id = 'bad'")).await;
    }
    // A number that was never given takes nobody past the others, whichever it is.
    for number in ["-7", "0", "4", "9000000000000000000"] {
        store.tamper_with(format!("UPDATE invalidations SET number = {number} WHERE grant_id = 'bad'")).await;
        for (after, others) in [(0, vec![of(1, "g1", 1), of(3, "g3", 1)]), (1, vec![of(3, "g3", 1)]), (3, vec![])] {
            let found = store.invalidations(after, ALL).await.unwrap();
            let expected: Vec<_> = others.into_iter().chain([of(0, "bad", 1)]).collect();
            assert_eq!(found.records, expected, "{number}, after {after}");
            assert!(matches!(&found.corrupt[..], [error] if names(error, "invalidations", "bad")), "{number}");
        }
    }
    // Nor does it keep the next one from its own.
    store.tamper_with("UPDATE invalidations SET number = 4 WHERE grant_id = 'bad'".to_owned()).await;
    live(store, "g4").await;
    end(store, "g4").await;
    assert_eq!(store.invalidations(3, ALL).await.unwrap().records, [of(4, "g4", 1), of(0, "bad", 1)]);
    if let Some(text) = text {
        store
            .tamper_with(format!("UPDATE invalidations SET number = 2, grant_id = {text} WHERE grant_id = 'bad'"))
            .await;
        let found = store.invalidations(1, 1).await.unwrap();
        assert_eq!((found.records[0].number, found.records[0].key.holder.as_str()), (2, "alice"));
        assert!(names(&found.corrupt[0], "invalidations", "\u{fffd}"), "{:?}", found.corrupt);
    }
}
