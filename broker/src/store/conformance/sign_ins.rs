//! Sign-ins in progress, and browsers that are signed in.

use std::time::Duration;

use super::{NOW, sealed};
use crate::clock::UnixTime;
use crate::model::{PrincipalId, PrincipalKind};
use crate::store::{SignInKind, Store, StoreError, StoredSession, StoredSignIn};

async fn somebody(store: &dyn Store) -> PrincipalId {
    let kind = PrincipalKind::User { email: "alice@example.com".to_owned() };
    store.ensure_principal(&kind, None, NOW).await.unwrap().id
}

pub(super) fn later(seconds: u64) -> UnixTime {
    NOW.after(Duration::from_secs(seconds))
}

pub(super) fn sign_in(id: &str, kind: SignInKind) -> StoredSignIn {
    StoredSignIn {
        id: id.to_owned(),
        kind,
        browser: Some([1; 32]),
        secrets: Some(sealed("state")),
        consent: "00ff".to_owned(),
        principal: None,
        code: None,
        created_at: NOW,
        expires_at: later(60),
        used_at: None,
    }
}

pub(super) fn session(hash: u8, principal: &PrincipalId) -> StoredSession {
    StoredSession {
        hash: [hash; 32],
        principal: principal.clone(),
        signed_in_at: "https://id.example.com".to_owned(),
        teams: vec!["platform".to_owned(), "a \"team\"".to_owned()],
        external_identities: vec!["shop".to_owned()],
        created_at: NOW,
        expires_at: later(60),
    }
}

pub(super) async fn begun(store: &dyn Store, id: &str, kind: SignInKind) -> StoredSignIn {
    let given = sign_in(id, kind);
    store.add_sign_in(&given).await.unwrap();
    given
}

pub(super) async fn o1_a_sign_in_is_used_up_with_the_session_it_makes_or_not_at_all(store: &dyn Store) {
    let principal = somebody(store).await;
    let (before, new) = (session(1, &principal), session(2, &principal));
    store.add_session(&before).await.unwrap();
    begun(store, "s1", SignInKind::Link).await;
    let nobodys = session(3, &PrincipalId("nobody".to_owned()));
    for refused in [
        store.finish_sign_in(&nobodys, Some("s1"), Some(&before.hash), NOW).await,
        store.finish_sign_in(&new, Some("s1"), Some(&before.hash), later(60)).await,
        store.finish_sign_in(&new, Some("s2"), Some(&before.hash), NOW).await,
    ] {
        assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
        assert_eq!(store.sign_in("s1", NOW).await.unwrap().unwrap().used_at, None);
        assert!(store.session(&before.hash, NOW).await.unwrap().is_some());
        assert_eq!(store.session(&new.hash, NOW).await.unwrap(), None);
    }
    store.finish_sign_in(&new, Some("s1"), Some(&before.hash), NOW).await.unwrap();
    assert_eq!(store.sign_in("s1", NOW).await.unwrap().unwrap().used_at, Some(NOW));
    assert_eq!(store.session(&before.hash, NOW).await.unwrap(), None);
    assert_eq!(store.session(&new.hash, NOW).await.unwrap(), Some(new));
    let again = store.finish_sign_in(&session(4, &principal), Some("s1"), None, NOW).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "once");
    store.finish_sign_in(&session(4, &principal), None, None, NOW).await.unwrap();
}

pub(super) async fn a_session_is_read_as_written_until_it_expires_or_ends(store: &dyn Store) {
    let principal = somebody(store).await;
    let (one, other) = (session(1, &principal), session(2, &principal));
    for session in [&one, &other] {
        store.add_session(session).await.unwrap();
    }
    assert_eq!(store.session(&[1; 32], later(59)).await.unwrap(), Some(one));
    assert_eq!(store.session(&[1; 32], later(60)).await.unwrap(), None);
    assert_eq!(store.session(&[3; 32], NOW).await.unwrap(), None);
    store.end_session(&[1; 32]).await.unwrap();
    assert_eq!(store.session(&[1; 32], NOW).await.unwrap(), None);
    assert_eq!(store.session(&[2; 32], NOW).await.unwrap(), Some(other));
    assert!(store.add_session(&session(4, &PrincipalId(String::new()))).await.is_err(), "nobody's");
}

pub(super) async fn a_sign_in_is_read_as_written_until_it_expires(store: &dyn Store) {
    for (id, kind) in [("a", SignInKind::Application), ("b", SignInKind::Link), ("c", SignInKind::Oidc)] {
        let given = begun(store, id, kind).await;
        assert_eq!(store.sign_in(id, later(59)).await.unwrap(), Some(given));
        assert_eq!(store.sign_in(id, later(60)).await.unwrap(), None);
    }
    assert!(matches!(store.add_sign_in(&sign_in("a", SignInKind::Oidc)).await, Err(StoreError::Conflict)));
    assert_eq!(store.sign_in("a", NOW).await.unwrap().unwrap().kind, SignInKind::Application);
}

pub(super) async fn only_an_applications_is_confirmed_and_only_once(store: &dyn Store) {
    let principal = somebody(store).await;
    for (id, kind) in [("link", SignInKind::Link), ("oidc", SignInKind::Oidc)] {
        begun(store, id, kind).await;
        let refused = store.confirm_sign_in(id, &principal, &[7; 32]).await;
        assert!(matches!(refused, Err(StoreError::Conflict)), "{id}");
    }
    begun(store, "a", SignInKind::Application).await;
    store.confirm_sign_in("a", &principal, &[7; 32]).await.unwrap();
    assert!(matches!(store.confirm_sign_in("a", &principal, &[8; 32]).await, Err(StoreError::Conflict)));
    let stored = store.sign_in("a", NOW).await.unwrap().unwrap();
    assert_eq!((stored.principal, stored.code), (Some(principal.clone()), Some([7; 32])));
    begun(store, "used", SignInKind::Application).await;
    store.use_sign_in("used", NOW).await.unwrap();
    assert!(matches!(store.confirm_sign_in("used", &principal, &[7; 32]).await, Err(StoreError::Conflict)));
    assert!(matches!(store.confirm_sign_in("none", &principal, &[7; 32]).await, Err(StoreError::Conflict)));
}

pub(super) async fn a_used_one_keeps_no_secrets_and_an_expired_one_is_not_used(store: &dyn Store) {
    begun(store, "a", SignInKind::Oidc).await;
    assert!(matches!(store.use_sign_in("a", later(60)).await, Err(StoreError::Conflict)));
    store.use_sign_in("a", later(1)).await.unwrap();
    let stored = store.sign_in("a", later(2)).await.unwrap().unwrap();
    assert_eq!((stored.used_at, stored.secrets), (Some(later(1)), None));
    assert!(matches!(store.use_sign_in("a", later(2)).await, Err(StoreError::Conflict)));
}

pub(super) async fn the_expired_are_dropped_and_no_others(store: &dyn Store) {
    begun(store, "a", SignInKind::Oidc).await;
    store.drop_expired(later(59), later(3_600)).await.unwrap();
    assert!(store.sign_in("a", NOW).await.unwrap().is_some());
    store.drop_expired(later(60), NOW).await.unwrap();
    assert!(store.sign_in("a", NOW).await.unwrap().is_none());
}

pub(super) async fn of_two_who_use_one_sign_in_one_does(first: &dyn Store, second: &dyn Store) {
    begun(first, "a", SignInKind::Oidc).await;
    let (one, other) = tokio::join!(first.use_sign_in("a", NOW), second.use_sign_in("a", NOW));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
}
