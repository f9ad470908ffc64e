//! The broker's own secrets.

use super::{NOW, sealed};
use crate::model::Generation;
use crate::store::{Store, StoreError, StoredSecret};

fn secret(group: &str, key: &str, generation: u64, value: &str) -> StoredSecret {
    StoredSecret {
        group: group.to_owned(),
        key: key.to_owned(),
        generation: Generation(generation),
        value: sealed(value),
    }
}

pub(super) async fn are_read_as_written(store: &dyn Store) {
    assert!(store.secret("g", "k").await.unwrap().is_none());
    for (generation, value) in [(1, "one"), (2, "two")] {
        store.put_secret(&secret("g", "k", generation, value), &[], NOW).await.unwrap();
        let stored = store.secret("g", "k").await.unwrap().unwrap();
        assert_eq!((stored.group.as_str(), stored.key.as_str()), ("g", "k"));
        assert_eq!((stored.generation, stored.value), (Generation(generation), sealed(value)));
    }
    assert!(store.secret("g", "other").await.unwrap().is_none());
    assert!(store.secret("other", "k").await.unwrap().is_none());
}

pub(super) async fn refuses_a_generation_that_is_not_the_next(store: &dyn Store) {
    for generation in [0, 2, u64::MAX] {
        let refused = store.put_secret(&secret("g", "k", generation, "x"), &[], NOW).await;
        assert!(matches!(refused, Err(StoreError::Conflict)), "{generation} on nothing");
    }
    store.put_secret(&secret("g", "k", 1, "kept"), &[], NOW).await.unwrap();
    for generation in [0, 1, 3, u64::MAX] {
        let refused = store.put_secret(&secret("g", "k", generation, "x"), &[], NOW).await;
        assert!(matches!(refused, Err(StoreError::Conflict)), "{generation} on 1");
    }
    assert_eq!(store.secret("g", "k").await.unwrap().unwrap().value, sealed("kept"));
}

pub(super) async fn a_refused_secret_adds_no_group_and_no_owner(store: &dyn Store) {
    let thief = ["thief".to_owned()];
    assert!(store.put_secret(&secret("g", "k", 2, "x"), &thief, NOW).await.is_err());
    assert_eq!(store.secret_owners("g").await.unwrap(), None);
    store.put_secret(&secret("g", "k", 1, "x"), &["owner".to_owned()], NOW).await.unwrap();
    assert!(store.put_secret(&secret("g", "k", 1, "x"), &thief, NOW).await.is_err());
    assert_eq!(store.secret_owners("g").await.unwrap(), Some(vec!["owner".to_owned()]));
}

pub(super) async fn owners_add_up(store: &dyn Store) {
    let [a, b] = ["a".to_owned(), "b".to_owned()];
    store.put_secret(&secret("g", "k", 1, "x"), &[], NOW).await.unwrap();
    assert_eq!(store.secret_owners("g").await.unwrap(), Some(Vec::new()));
    store.put_secret(&secret("g", "k", 2, "x"), std::slice::from_ref(&b), NOW).await.unwrap();
    store.put_secret(&secret("g", "l", 1, "x"), &[a.clone(), b.clone()], NOW).await.unwrap();
    assert_eq!(store.secret_owners("g").await.unwrap(), Some(vec![a, b]));
}

pub(super) async fn are_listed_in_order(store: &dyn Store) {
    for (group, key) in [("b", "x"), ("a", "z"), ("a", "y")] {
        store.put_secret(&secret(group, key, 1, "x"), &[], NOW).await.unwrap();
    }
    let names = [("a", "y"), ("a", "z"), ("b", "x")].map(|(group, key)| (group.to_owned(), key.to_owned()));
    assert_eq!(store.secrets().await.unwrap().records, names);
}

pub(super) async fn of_two_writers_one_wins_and_the_other_changes_nothing(first: &dyn Store, second: &dyn Store) {
    for generation in 1..=20 {
        let [mine, yours] = ["mine", "yours"].map(|value| secret("g", "k", generation, value));
        let (a, b) = tokio::join!(first.put_secret(&mine, &[], NOW), second.put_secret(&yours, &[], NOW));
        let won = match (a, b) {
            (Ok(()), Err(StoreError::Conflict)) => mine,
            (Err(StoreError::Conflict), Ok(())) => yours,
            other => panic!("{other:?}"),
        };
        let stored = first.secret("g", "k").await.unwrap().unwrap();
        assert_eq!((stored.generation, stored.value), (won.generation, won.value));
    }
}
