//! The broker's own keys.

use std::time::Duration;

use super::damaged::names;
use super::{NOW, Tamper, sealed};
use crate::store::{Store, StoreError, StoredKey};

fn key(id: &str, purpose: &str, seconds: u64) -> StoredKey {
    StoredKey {
        id: id.to_owned(),
        purpose: purpose.to_owned(),
        created_at: NOW.after(Duration::from_secs(seconds)),
        value: sealed(id),
    }
}

async fn ids(store: &dyn Store, purpose: &str) -> Vec<String> {
    store.keys(purpose).await.unwrap().records.into_iter().map(|key| key.id).collect()
}

async fn add_some(store: &dyn Store) {
    for key in [key("a", "sign", 1), key("c", "sign", 3), key("b", "sign", 2), key("d", "bind", 1)] {
        store.add_key(&key).await.unwrap();
    }
}

pub(super) async fn are_listed_newest_first_by_purpose(store: &dyn Store) {
    assert!(store.keys("sign").await.unwrap().records.is_empty());
    add_some(store).await;
    assert_eq!(ids(store, "sign").await, ["c", "b", "a"]);
    let newest = store.keys("sign").await.unwrap().records.swap_remove(0);
    assert_eq!((newest.purpose.as_str(), newest.value), ("sign", sealed("c")));
    assert_eq!(newest.created_at, NOW.after(Duration::from_secs(3)));
    assert_eq!(ids(store, "bind").await, ["d"]);
}

pub(super) async fn refuses_a_taken_id(store: &dyn Store) {
    add_some(store).await;
    for refused in [key("a", "sign", 9), key("a", "bind", 9)] {
        assert!(matches!(store.add_key(&refused).await, Err(StoreError::Conflict)));
    }
    assert_eq!(ids(store, "sign").await, ["c", "b", "a"]);
}

pub(super) async fn a_first_key_is_refused_where_there_is_one_of_its_purpose_or_its_id(store: &dyn Store) {
    store.add_first_key(&key("a", "sign", 1)).await.unwrap();
    store.add_first_key(&key("d", "bind", 1)).await.unwrap();
    for refused in [key("b", "sign", 2), key("a", "third", 2)] {
        assert!(matches!(store.add_first_key(&refused).await, Err(StoreError::Conflict)), "{refused:?}");
    }
    assert_eq!(ids(store, "sign").await, ["a"]);
    store.drop_keys("sign", NOW.after(Duration::from_secs(2))).await.unwrap();
    store.add_first_key(&key("b", "sign", 2)).await.unwrap();
    assert_eq!((ids(store, "sign").await, ids(store, "bind").await), (vec!["b".into()], vec!["d".into()]));
}

pub(super) async fn drops_the_old_ones_of_one_purpose(store: &dyn Store) {
    add_some(store).await;
    store.drop_keys("sign", NOW.after(Duration::from_secs(3))).await.unwrap();
    assert_eq!(ids(store, "sign").await, ["c"]);
    assert_eq!(ids(store, "bind").await, ["d"]);
}

pub(super) async fn of_two_makers_of_one_id_one_wins(first: &dyn Store, second: &dyn Store) {
    for round in 0..20 {
        let id = round.to_string();
        let [mine, yours] = [key(&id, "mine", 1), key(&id, "yours", 1)];
        let (a, b) = tokio::join!(first.add_key(&mine), second.add_key(&yours));
        let (won, lost) = match (a, b) {
            (Ok(()), Err(StoreError::Conflict)) => ("mine", "yours"),
            (Err(StoreError::Conflict), Ok(())) => ("yours", "mine"),
            other => panic!("{other:?}"),
        };
        assert!(ids(first, won).await.contains(&id) && !ids(first, lost).await.contains(&id));
    }
}

pub(super) async fn of_two_makers_of_the_first_key_one_wins_and_both_use_it(first: &dyn Store, second: &dyn Store) {
    for round in 0..20 {
        let purpose = format!("purpose-{round}");
        let [mine, yours] = ["mine", "yours"].map(|of| key(&format!("{of}-{round}"), &purpose, 1));
        let (a, b) = tokio::join!(first.add_first_key(&mine), second.add_first_key(&yours));
        let won = match (a, b) {
            (Ok(()), Err(StoreError::Conflict)) => mine.id,
            (Err(StoreError::Conflict), Ok(())) => yours.id,
            other => panic!("{other:?}"),
        };
        let seen = (ids(first, &purpose).await, ids(second, &purpose).await);
        assert_eq!(seen, (vec![won.clone()], vec![won]));
    }
}

pub(super) async fn v3_a_corrupt_one_names_itself_and_nobody_is_the_first_in_its_place(store: &(impl Store + Tamper)) {
    add_some(store).await;
    store.tamper_with("UPDATE keys SET created_at = -1 WHERE id IN ('b', 'd')".to_owned()).await;
    assert_eq!(ids(store, "sign").await, ["c", "a"]);
    for (purpose, id) in [("sign", "b"), ("bind", "d")] {
        let found = store.keys(purpose).await.unwrap();
        assert!(matches!(&found.corrupt[..], [error] if names(error, "keys", id)), "{:?}", found.corrupt);
    }
    let refused = store.add_first_key(&key("e", "bind", 2)).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
}
