//! Tokens that the broker issued.

use std::time::Duration;

use super::damaged::names;
use super::{NOW, Tamper};
use crate::clock::UnixTime;
use crate::model::{PrincipalId, PrincipalKind};
use crate::store::{RevokedToken, Store, StoreError, StoredToken};

async fn somebody(store: &dyn Store) -> PrincipalId {
    let kind = PrincipalKind::VirtualAccount { name: "ci".to_owned() };
    store.ensure_principal(&kind, None, NOW).await.unwrap().id
}

pub(super) fn token(id: &str, principal: &PrincipalId, hash: u8, issued_at: UnixTime) -> StoredToken {
    StoredToken {
        id: id.to_owned(),
        hash: [hash; 32],
        principal: principal.clone(),
        issued_at,
        expires_at: issued_at.after(Duration::from_secs(60)),
        revoked_at: None,
    }
}

pub(super) async fn are_read_as_written(store: &dyn Store) {
    let given = token("t", &somebody(store).await, 7, NOW);
    assert!(store.token("t").await.unwrap().is_none());
    store.add_token(&given).await.unwrap();
    let stored = store.token("t").await.unwrap().unwrap();
    assert_eq!((&stored.id, stored.hash, &stored.principal), (&given.id, given.hash, &given.principal));
    assert_eq!((stored.issued_at, stored.expires_at, stored.revoked_at), (NOW, given.expires_at, None));
}

pub(super) async fn refuses_a_taken_id_a_taken_hash_and_an_unknown_principal(store: &dyn Store) {
    let principal = somebody(store).await;
    store.add_token(&token("t", &principal, 1, NOW)).await.unwrap();
    for refused in [
        token("t", &principal, 2, NOW),
        token("u", &principal, 1, NOW),
        token("v", &PrincipalId("nobody".to_owned()), 3, NOW),
    ] {
        assert!(matches!(store.add_token(&refused).await, Err(StoreError::Conflict)), "{}", refused.id);
    }
    assert_eq!(store.token("t").await.unwrap().unwrap().hash, [1; 32]);
    assert_eq!(store.tokens(NOW).await.unwrap().records.len(), 1);
}

pub(super) async fn expired_ones_are_not_listed(store: &dyn Store) {
    let principal = somebody(store).await;
    for (n, id) in ["old", "mid", "new"].into_iter().enumerate() {
        let issued_at = NOW.after(Duration::from_secs(n as u64));
        store.add_token(&token(id, &principal, n as u8, issued_at)).await.unwrap();
    }
    let at = |seconds| NOW.after(Duration::from_secs(seconds));
    for (seconds, listed) in [(0, vec!["new", "mid", "old"]), (60, vec!["new", "mid"]), (62, vec![])] {
        let ids: Vec<_> = store.tokens(at(seconds)).await.unwrap().records.into_iter().map(|token| token.id).collect();
        assert_eq!(ids, listed, "after {seconds} s");
    }
    assert!(store.token("old").await.unwrap().is_some(), "it is still known");
}

pub(super) async fn revoked_ones_are_told_until_they_expire(store: &dyn Store) {
    let principal = somebody(store).await;
    for (n, id) in ["c", "a", "b"].into_iter().enumerate() {
        store.add_token(&token(id, &principal, n as u8, NOW.after(Duration::from_secs(n as u64)))).await.unwrap();
    }
    assert!(store.revoked_tokens(NOW).await.unwrap().records.is_empty());
    for id in ["c", "b"] {
        store.revoke_token(id, NOW).await.unwrap();
    }
    for (seconds, told) in [(0, vec!["b", "c"]), (60, vec!["b"]), (62, vec![])] {
        let revoked = store.revoked_tokens(NOW.after(Duration::from_secs(seconds))).await.unwrap().records;
        assert_eq!(revoked.into_iter().filter_map(|token| token.id).collect::<Vec<_>>(), told, "after {seconds} s");
    }
}

pub(super) async fn the_first_revocation_stays(store: &dyn Store) {
    store.add_token(&token("t", &somebody(store).await, 1, NOW)).await.unwrap();
    assert!(!store.revoke_token("unknown", NOW).await.unwrap());
    for seconds in [1, 2] {
        assert!(store.revoke_token("t", NOW.after(Duration::from_secs(seconds))).await.unwrap());
        let revoked_at = store.token("t").await.unwrap().unwrap().revoked_at;
        assert_eq!(revoked_at, Some(NOW.after(Duration::from_secs(1))));
    }
}

pub(super) async fn of_two_makers_of_one_id_one_wins(first: &dyn Store, second: &dyn Store) {
    let principal = somebody(first).await;
    for round in 0..20 {
        let id = format!("t{round}");
        let [mine, yours] = [2 * round, 2 * round + 1].map(|hash| token(&id, &principal, hash, NOW));
        let (a, b) = tokio::join!(first.add_token(&mine), second.add_token(&yours));
        let won = match (a, b) {
            (Ok(()), Err(StoreError::Conflict)) => mine,
            (Err(StoreError::Conflict), Ok(())) => yours,
            other => panic!("{other:?}"),
        };
        for store in [first, second] {
            assert_eq!(store.token(&id).await.unwrap().unwrap().hash, won.hash);
        }
    }
}

pub(super) async fn of_two_revocations_one_moment_stays(first: &dyn Store, second: &dyn Store) {
    let principal = somebody(first).await;
    let [one, other, late] = [1, 2, 3].map(|seconds| NOW.after(Duration::from_secs(seconds)));
    for round in 0..20 {
        let id = format!("t{round}");
        first.add_token(&token(&id, &principal, round, NOW)).await.unwrap();
        let (a, b) = tokio::join!(first.revoke_token(&id, one), second.revoke_token(&id, other));
        assert!(a.unwrap() && b.unwrap(), "both are told that it is revoked");
        let at = first.token(&id).await.unwrap().unwrap().revoked_at.unwrap();
        assert!(at == one || at == other, "{at:?}");
        assert!(second.revoke_token(&id, late).await.unwrap());
        assert_eq!(second.token(&id).await.unwrap().unwrap().revoked_at, Some(at));
    }
}

pub(super) async fn v3_a_corrupt_one_stays_revoked_and_spoils_no_other(store: &(impl Store + Tamper)) {
    let principal = somebody(store).await;
    for (n, id) in ["bad", "good"].into_iter().enumerate() {
        store.add_token(&token(id, &principal, n as u8, NOW)).await.unwrap();
        store.revoke_token(id, NOW).await.unwrap();
    }
    let sound = |id: &str| RevokedToken {
        id: Some(id.to_owned()),
        principal: principal.clone(),
        issued_at: NOW,
        expires_at: NOW.after(Duration::from_secs(60)),
    };
    let ever = UnixTime(u64::MAX);
    let text = store.no_text();
    let damages = [
        ("issued_at", Some("-1"), RevokedToken { issued_at: ever, ..sound("bad") }),
        ("expires_at", Some("-1"), RevokedToken { expires_at: ever, ..sound("bad") }),
        ("revoked_at", Some("-1"), sound("bad")),
        ("principal", text, RevokedToken { principal: PrincipalId("\u{fffd}".to_owned()), ..sound("bad") }),
        ("id", text, RevokedToken { id: None, ..sound("bad") }),
    ];
    store.tamper_with("CREATE TABLE kept AS SELECT * FROM tokens WHERE id = 'bad'".to_owned()).await;
    for (column, value, refused) in damages {
        let Some(value) = value else { continue };
        store.tamper_with(format!("UPDATE tokens SET {column} = {value} WHERE id = 'bad'")).await;
        let revoked = store.revoked_tokens(NOW).await.unwrap();
        let mut told = revoked.records;
        told.sort_by_key(|token| token.id.as_deref() == Some("good"));
        assert_eq!(told, [refused, sound("good")], "{column}");
        let id = if column == "id" { "\u{fffd}" } else { "bad" };
        assert!(
            matches!(&revoked.corrupt[..], [error] if names(error, "tokens", id)),
            "{column}: {:?}",
            revoked.corrupt
        );
        let listed = store.tokens(NOW).await.unwrap();
        assert_eq!(listed.records.iter().map(|token| token.id.as_str()).collect::<Vec<_>>(), ["good"], "{column}");
        let (kept, filter) = ("(SELECT * FROM kept)", "id <> 'good'");
        let columns = "hash, principal, issued_at, expires_at, revoked_at";
        store.tamper_with(format!("DELETE FROM tokens WHERE {filter}")).await;
        store.tamper_with(format!("INSERT INTO tokens (id, {columns}) SELECT id, {columns} FROM {kept} AS kept")).await;
    }
    // Whoever is released loses them all the same.
    if let Some(text) = text {
        store.tamper_with(format!("UPDATE tokens SET id = {text}, revoked_at = NULL WHERE id = 'bad'")).await;
        let alice = PrincipalKind::User { email: "alice@example.com".to_owned() };
        let alice = store.ensure_principal(&alice, None, NOW).await.unwrap().id;
        store.tamper_with(format!("UPDATE tokens SET principal = '{}'", alice.0)).await;
        assert_eq!(store.release_user("alice@example.com", NOW).await.unwrap().unwrap().tokens, ["\u{fffd}"]);
        assert_eq!(store.revoked_tokens(NOW).await.unwrap().records.len(), 2);
    }
}
