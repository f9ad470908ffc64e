//! Grants.

use std::time::Duration;

use super::{NOW, Tamper, intents, sealed};
use crate::model::{Generation, GrantKey, PrincipalId, PrincipalKind};
use crate::store::{GrantCommit, Material, Sealed, Standing, Store, StoreError, StoredGrant};

pub(super) fn key(client: &str, holder: &str) -> GrantKey {
    GrantKey { provider_client: client.to_owned(), holder: holder.to_owned() }
}

pub(super) fn grant(id: &str, key: &GrantKey, generation: u64, token: &str) -> GrantCommit {
    GrantCommit {
        id: id.to_owned(),
        key: key.clone(),
        generation: Generation(generation),
        material: Material {
            access_token: sealed(token),
            refresh_token: Some(sealed(&format!("refresh {token}"))),
            issued_at: NOW,
            expires_at: NOW.after(Duration::from_secs(generation)),
            refresh_after: NOW.after(Duration::from_millis(generation)),
        },
        scopes: vec!["read".to_owned()],
        auth_revisions: vec!["r1".to_owned(), "r2".to_owned()],
        account: Some("account".to_owned()),
        consented_at: Some(NOW),
        consented_by: None,
        invalidates: None,
    }
}

fn assert_same(stored: &StoredGrant, given: &GrantCommit) {
    assert_eq!((&stored.id, &stored.key, stored.generation), (&given.id, &given.key, given.generation));
    assert_eq!((stored.material.as_ref(), &stored.scopes), (Some(&given.material), &given.scopes));
    assert_eq!((&stored.auth_revisions, &stored.account), (&given.auth_revisions, &given.account));
    assert_eq!((&stored.standing, &stored.intent, &stored.spare), (&Standing::Live, &None, &None));
    assert_eq!((stored.consented_at, &stored.consented_by), (given.consented_at, &given.consented_by));
}

async fn token(store: &dyn Store, key: &GrantKey) -> Sealed {
    store.grant(key).await.unwrap().unwrap().material.unwrap().access_token
}

pub(super) async fn are_read_as_written(store: &dyn Store) {
    let key = key("c", "service");
    assert!(store.grant(&key).await.unwrap().is_none());
    let owner = PrincipalKind::User { email: "owner@example.com".to_owned() };
    let owner = store.ensure_principal(&owner, None, NOW).await.unwrap().id;
    for (generation, consented_by) in [(1, None), (2, Some(owner)), (3, None)] {
        let given = grant("id", &key, generation, &format!("token {generation}"));
        let given = GrantCommit { consented_by, ..given };
        store.commit_grant(&given).await.unwrap();
        assert_same(&store.grant(&key).await.unwrap().unwrap(), &given);
    }
}

pub(super) async fn another_holder_or_client_is_another_grant(store: &dyn Store) {
    let keys = [key("c", "h"), key("d", "h"), key("c", "i")];
    for (n, key) in keys.iter().enumerate() {
        assert!(store.grant(key).await.unwrap().is_none());
        store.commit_grant(&grant(&n.to_string(), key, 1, &n.to_string())).await.unwrap();
    }
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(token(store, key).await, sealed(&n.to_string()));
    }
}

pub(super) async fn refuses_a_generation_that_is_not_the_next(store: &dyn Store) {
    let key = key("c", "service");
    for generation in [0, 2, u64::MAX] {
        let refused = store.commit_grant(&grant("id", &key, generation, "x")).await;
        assert!(matches!(refused, Err(StoreError::Conflict)), "{generation} on nothing");
    }
    let kept = grant("id", &key, 1, "kept");
    store.commit_grant(&kept).await.unwrap();
    for generation in [0, 1, 3, u64::MAX] {
        let refused = store.commit_grant(&grant("id", &key, generation, "x")).await;
        assert!(matches!(refused, Err(StoreError::Conflict)), "{generation} on 1");
    }
    assert_same(&store.grant(&key).await.unwrap().unwrap(), &kept);
}

pub(super) async fn refuses_the_material_of_another_record(store: &dyn Store) {
    let (mine, yours) = (key("c", "alice"), key("c", "bob"));
    store.commit_grant(&grant("a", &mine, 1, "alice's")).await.unwrap();
    store.commit_grant(&grant("b", &yours, 1, "bob's")).await.unwrap();
    for refused in [grant("b", &mine, 2, "x"), grant("c", &mine, 2, "x"), grant("a", &key("d", "alice"), 1, "x")] {
        assert!(matches!(store.commit_grant(&refused).await, Err(StoreError::Conflict)));
    }
    assert_eq!(token(store, &mine).await, sealed("alice's"));
    assert_eq!(token(store, &yours).await, sealed("bob's"));
}

pub(super) async fn i5_of_two_committers_one_wins_and_the_other_changes_nothing(first: &dyn Store, second: &dyn Store) {
    let key = key("c", "service");
    first.commit_grant(&grant("id", &key, 1, "first")).await.unwrap();
    for generation in 2..=20 {
        let [mine, yours] = ["mine", "yours"].map(|token| grant("id", &key, generation, token));
        let (a, b) = tokio::join!(first.commit_grant(&mine), second.commit_grant(&yours));
        let won = match (a, b) {
            (Ok(()), Err(StoreError::Conflict)) => mine,
            (Err(StoreError::Conflict), Ok(())) => yours,
            other => panic!("{other:?}"),
        };
        assert_same(&first.grant(&key).await.unwrap().unwrap(), &won);
        assert_same(&second.grant(&key).await.unwrap().unwrap(), &won);
    }
}

pub(super) async fn i5_the_first_generation_is_stored_once(first: &dyn Store, second: &dyn Store) {
    for round in 0..20 {
        let key = key(&format!("c{round}"), "service");
        let [mine, yours] = [format!("mine{round}"), format!("yours{round}")].map(|id| grant(&id, &key, 1, &id));
        let (a, b) = tokio::join!(first.commit_grant(&mine), second.commit_grant(&yours));
        let won = match (a, b) {
            (Ok(()), Err(StoreError::Conflict)) => mine,
            (Err(StoreError::Conflict), Ok(())) => yours,
            other => panic!("{other:?}"),
        };
        assert_same(&second.grant(&key).await.unwrap().unwrap(), &won);
    }
}

pub(super) async fn v3_a_corrupt_one_names_its_id_and_spoils_no_other(store: &(impl Store + Tamper)) {
    for id in ["good-1", "bad", "good-2"] {
        store.commit_grant(&grant(id, &key("client", id), 1, id)).await.unwrap();
        store.take_intent(id, Generation(1), &intents::intent("broker/1", 1), None, None).await.unwrap();
    }
    let later = NOW.after(Duration::from_secs(1000));
    for damage in ["scopes = 'not json'", "intent_attempt = -1", "issued_at = -5", "auth_revisions = '[1]'"] {
        store.tamper_with(format!("UPDATE grants SET {damage} WHERE id = 'bad'")).await;
        let found = [
            store.grants(None).await.unwrap(),
            store.dangling_intents(later, "").await.unwrap(),
            store.due_grants("client", later, 10).await.unwrap(),
        ];
        for found in found {
            let mut read: Vec<_> = found.records.iter().map(|grant| grant.id.as_str()).collect();
            read.sort_unstable();
            assert_eq!(read, ["good-1", "good-2"], "{damage}");
            let [StoreError::Corrupt { table: "grants", id, .. }] = found.corrupt.as_slice() else {
                panic!("{damage}: {:?}", found.corrupt)
            };
            assert_eq!(id, "bad");
        }
        let refused = store.grant_by_id("bad").await;
        assert!(matches!(&refused, Err(StoreError::Corrupt { id, .. }) if id == "bad"), "{damage}: {refused:?}");
        assert!(matches!(store.grant(&key("client", "bad")).await, Err(StoreError::Corrupt { .. })), "{damage}");
        for id in ["good-1", "good-2"] {
            assert_eq!(token(store, &key("client", id)).await, sealed(id));
        }
        let column = damage.split(' ').next().unwrap();
        let sound = format!("(SELECT sound.{column} FROM grants sound WHERE sound.id = 'good-1')");
        store.tamper_with(format!("UPDATE grants SET {column} = {sound} WHERE id = 'bad'")).await;
    }
    store.tamper_with("UPDATE grants SET issued_at = -5 WHERE id = 'bad'".to_owned()).await;
    // What cannot be read can be destroyed all the same.
    assert_eq!(store.shred_grants(Some(&PrincipalId("bad".to_owned())), 10, NOW).await.unwrap().len(), 1);
    assert_eq!(token(store, &key("client", "good-1")).await, sealed("good-1"));
}
