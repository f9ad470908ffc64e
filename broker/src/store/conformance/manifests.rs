//! Manifests.

use super::{NOW, sealed};
use crate::model::Generation;
use crate::store::{PolicyRevision, Store, StoreError, StoredManifest, StoredSecret};

fn manifest(kind: &str, name: &str, body: &str) -> StoredManifest {
    StoredManifest { name: name.to_owned(), kind: kind.to_owned(), body: body.to_owned() }
}

pub(super) async fn a_new_store_is_at_revision_zero(store: &dyn Store) {
    assert_eq!(store.manifests().await.unwrap(), (0, Vec::new()));
}

pub(super) async fn are_listed_in_order_and_replaced_by_type_and_name(store: &dyn Store) {
    let [team, group, other] = [manifest("team", "a", "1"), manifest("group", "b", "2"), manifest("group", "a", "3")];
    assert_eq!(store.put_manifests(0, &[team.clone(), group.clone()], "op", NOW).await.unwrap(), 1);
    let changed = manifest("group", "b", "4");
    assert_eq!(store.put_manifests(1, &[changed.clone(), other.clone()], "op", NOW).await.unwrap(), 2);
    assert_eq!(store.manifests().await.unwrap(), (2, vec![other, changed, team]));
}

pub(super) async fn refuses_a_revision_that_has_passed_and_changes_nothing(store: &dyn Store) {
    let kept = manifest("group", "a", "1");
    store.put_manifests(0, std::slice::from_ref(&kept), "op", NOW).await.unwrap();
    let late = store.put_manifests(0, &[manifest("group", "a", "2"), manifest("group", "b", "3")], "op", NOW).await;
    assert!(matches!(late, Err(StoreError::Conflict)));
    assert_eq!(store.manifests().await.unwrap(), (1, vec![kept]));
}

pub(super) async fn refuses_a_revision_yet_to_come(store: &dyn Store) {
    for revision in [1, 2, u64::MAX] {
        let early = store.put_manifests(revision, &[manifest("group", "a", "1")], "op", NOW).await;
        assert!(matches!(early, Err(StoreError::Conflict)));
    }
    assert_eq!(store.manifests().await.unwrap(), (0, Vec::new()));
}

pub(super) async fn their_revision_and_that_of_secrets_are_told_without_them(store: &dyn Store) {
    let at = |manifests, secrets| PolicyRevision { manifests, secrets };
    assert_eq!(store.policy_revision().await.unwrap(), at(0, 0));
    store.put_manifests(0, &[manifest("group", "a", "1")], "op", NOW).await.unwrap();
    assert_eq!(store.policy_revision().await.unwrap(), at(1, 0));
    for (group, key, generation, sum) in [("g", "k", 1, 1), ("g", "l", 1, 2), ("h", "k", 1, 3), ("g", "k", 2, 4)] {
        let secret = StoredSecret {
            group: group.to_owned(),
            key: key.to_owned(),
            generation: Generation(generation),
            value: sealed("value"),
        };
        store.put_secret(&secret, &[], NOW).await.unwrap();
        assert_eq!(store.policy_revision().await.unwrap(), at(1, sum));
    }
}

pub(super) async fn of_two_writers_one_wins_and_the_other_changes_nothing(first: &dyn Store, second: &dyn Store) {
    for revision in 0..20 {
        let [mine, yours] = [manifest("group", "a", "mine"), manifest("group", "a", "yours")];
        let only_mine = manifest("mine", &revision.to_string(), "");
        let only_yours = manifest("yours", &revision.to_string(), "");
        let [ours, theirs] = [[mine.clone(), only_mine.clone()], [yours.clone(), only_yours.clone()]];
        let (a, b) = tokio::join!(
            first.put_manifests(revision, &ours, "a", NOW),
            second.put_manifests(revision, &theirs, "b", NOW),
        );
        let (won, lost) = match (a, b) {
            (Ok(r), Err(StoreError::Conflict)) if r == revision + 1 => (ours, only_yours),
            (Err(StoreError::Conflict), Ok(r)) if r == revision + 1 => (theirs, only_mine),
            other => panic!("{other:?}"),
        };
        let (now_at, stored) = second.manifests().await.unwrap();
        assert_eq!(now_at, revision + 1);
        assert!(won.iter().all(|manifest| stored.contains(manifest)) && !stored.contains(&lost));
    }
}
