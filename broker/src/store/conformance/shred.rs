//! Destroying what is sealed, of one holder or of all (threat V7).

use super::grants::{grant, key};
use super::{NOW, consents, sealed};
use crate::model::{Generation, PrincipalId};
use crate::store::{Standing, Store, StoreError, StoredKey, StoredSecret};

fn holder(name: &str) -> PrincipalId {
    PrincipalId(name.to_owned())
}

/// Of each of these holders so many grants, of three sealed fields each.
async fn granted(store: &dyn Store, holders: &[&str], count: usize) {
    for name in holders {
        for n in 0..count {
            let id = format!("{name}-{n:02}");
            let mut commit = grant(&id, &key(&format!("client-{n:02}"), name), 1, "access");
            commit.material.refresh_token = Some(sealed("refresh"));
            store.commit_grant(&commit).await.unwrap();
            store.keep_spare(&id, Generation(1), Generation(2), &sealed("spare")).await.unwrap();
        }
    }
}

/// A consent under way, with state and verifier.
async fn consenting(store: &dyn Store) -> PrincipalId {
    let consent = consents::consent(store, "c1").await;
    store.ensure_consent(&consent).await.unwrap();
    store.begin_consent("c1", &consents::attempt(1)).await.unwrap();
    PrincipalId(consent.key.holder)
}

async fn of_the_tenant(store: &dyn Store) {
    let secret = StoredSecret { group: "g".into(), key: "k".into(), generation: Generation(1), value: sealed("value") };
    store.put_secret(&secret, &[], NOW).await.unwrap();
    let key = StoredKey { id: "k1".into(), purpose: "token-signing".into(), created_at: NOW, value: sealed("key") };
    store.add_key(&key).await.unwrap();
}

pub(super) async fn v7_a_holders_wrapped_keys_are_gone_and_nobody_elses(store: &dyn Store) {
    granted(store, &["alice", "bob"], 2).await;
    of_the_tenant(store).await;
    let (alice, bob) = (holder("alice"), holder("bob"));
    assert_eq!(store.count_sealed_of(Some(&alice)).await.unwrap(), 6);
    let shredded = store.shred_grants(Some(&alice), 10, NOW).await.unwrap();
    let told: Vec<_> = shredded.iter().map(|one| (one.id.as_str(), one.generation, one.fields)).collect();
    assert_eq!(told, [("alice-00", Generation(1), 3), ("alice-01", Generation(1), 3)]);
    assert_eq!(store.count_sealed_of(Some(&alice)).await.unwrap(), 0);
    assert_eq!(store.count_sealed_of(Some(&bob)).await.unwrap(), 6);
    assert_eq!(store.count_sealed_of(None).await.unwrap(), 8, "bob's, the secret and the key");
    let gone = store.grant_by_id("alice-00").await.unwrap().unwrap();
    assert_eq!((gone.standing, gone.material, gone.spare), (Standing::Revoked("shredded".to_owned()), None, None));
    let told: Vec<_> = store.invalidations(0, 10).await.unwrap().records.into_iter().map(|one| one.grant).collect();
    assert_eq!(told, ["alice-00", "alice-01"]);
    assert!(store.grant_by_id("bob-00").await.unwrap().unwrap().material.is_some());
    // A refresh that was under way comes home to nothing.
    let late = grant("alice-00", &key("client-00", "alice"), 2, "late");
    assert!(matches!(store.commit_refresh(&late).await, Err(StoreError::Conflict)));
}

pub(super) async fn v7_what_comes_home_late_revives_nothing(store: &dyn Store) {
    granted(store, &["alice"], 1).await;
    let ended = Standing::NeedsConsent("invalid_grant".to_owned());
    store.end_grant("alice-00", Generation(1), &ended, NOW).await.unwrap();
    assert_eq!(store.shred_grants(Some(&holder("alice")), 10, NOW).await.unwrap().len(), 1);
    assert!(store.shred_grants(Some(&holder("alice")), 10, NOW).await.unwrap().is_empty());
    let late = grant("alice-00", &key("client-00", "alice"), 2, "late");
    assert!(matches!(store.commit_refresh(&late).await, Err(StoreError::Conflict)));
}

pub(super) async fn v7_is_done_in_parts_until_nothing_is_left(store: &dyn Store) {
    granted(store, &["alice"], 5).await;
    let alice = holder("alice");
    for left in [9, 3, 0] {
        store.shred_grants(Some(&alice), 2, NOW).await.unwrap();
        assert_eq!(store.count_sealed_of(Some(&alice)).await.unwrap(), left);
    }
    assert!(store.shred_grants(Some(&alice), 2, NOW).await.unwrap().is_empty());
}

pub(super) async fn v7_a_consent_under_way_ends(store: &dyn Store) {
    let whose = consenting(store).await;
    assert_eq!(store.count_sealed_of(Some(&whose)).await.unwrap(), 2);
    assert_eq!(store.shred_rest(Some(&holder("somebody else"))).await.unwrap(), 0);
    assert_eq!(store.shred_rest(Some(&whose)).await.unwrap(), 2);
    let ended = store.consent("c1").await.unwrap().unwrap();
    assert_eq!(ended.outcome.as_deref(), Some("shredded"));
    assert!(matches!(store.hold_tokens("c1", 1, &sealed("late")).await, Err(StoreError::Conflict)));
}

pub(super) async fn v7_of_what_is_renewed_meanwhile_nothing_is_left_either(first: &dyn Store, second: &dyn Store) {
    let (mut renewed, mut refused) = (0, 0);
    for round in 0..20 {
        let name = format!("holder-{round:02}");
        granted(first, &[&name], 1).await;
        let (whose, id) = (holder(&name), format!("{name}-00"));
        let late = grant(&id, &key("client-00", &name), 2, "late");
        let (shredded, committed) =
            tokio::join!(first.shred_grants(Some(&whose), 10, NOW), second.commit_refresh(&late));
        match committed {
            Ok(()) => renewed += 1,
            Err(StoreError::Conflict) => refused += 1,
            Err(error) => panic!("round {round}: {error:?}"),
        }
        shredded.unwrap();
        // Until there is nothing more, as whoever shreds does.
        while !first.shred_grants(Some(&whose), 10, NOW).await.unwrap().is_empty() {}
        let gone = second.grant_by_id(&id).await.unwrap().unwrap();
        assert_eq!((gone.standing, gone.material), (Standing::Revoked("shredded".to_owned()), None), "round {round}");
        assert_eq!(second.count_sealed_of(Some(&whose)).await.unwrap(), 0, "round {round}");
        assert!(matches!(second.commit_refresh(&late).await, Err(StoreError::Conflict)), "round {round}");
    }
    assert_eq!(renewed + refused, 20);
}

pub(super) async fn v7_of_the_tenant_nothing_sealed_is_left(store: &dyn Store) {
    granted(store, &["alice", crate::keys::SERVICE_HOLDER], 1).await;
    consenting(store).await;
    of_the_tenant(store).await;
    let all = store.count_sealed_of(None).await.unwrap();
    let grants: u64 = store.shred_grants(None, 10, NOW).await.unwrap().iter().map(|one| one.fields).sum();
    assert_eq!(grants + store.shred_rest(None).await.unwrap(), all);
    assert!(store.seal_headers().await.unwrap().is_empty());
    store.scrub().await.unwrap();
}
