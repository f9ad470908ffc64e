//! Principals and identities.

use super::NOW;
use crate::model::{Identity, PrincipalId, PrincipalKind};
use crate::store::{Store, StoreError};

fn identity(issuer: &str, subject: &str) -> Identity {
    Identity { issuer: issuer.to_owned(), subject: subject.to_owned() }
}

fn alice() -> PrincipalKind {
    PrincipalKind::User { email: "alice@example.com".to_owned() }
}

pub(super) async fn is_unknown_until_ensured(store: &dyn Store) {
    assert_eq!(store.principal(&identity("https://idp", "1")).await.unwrap(), None);
    assert_eq!(store.principal_by_id(&PrincipalId("nobody".to_owned())).await.unwrap(), None);
    assert_eq!(store.principal_named(&alice()).await.unwrap(), None);
}

pub(super) async fn an_identity_finds_its_principal_again(store: &dyn Store) {
    let identity = identity("https://idp", "1");
    let made = store.ensure_principal(&PrincipalKind::External, Some(&identity), NOW).await.unwrap();
    assert_eq!((made.kind.clone(), made.created_at), (PrincipalKind::External, NOW));
    assert_eq!(store.ensure_principal(&PrincipalKind::External, Some(&identity), NOW).await.unwrap(), made);
    assert_eq!(store.principal(&identity).await.unwrap(), Some(made.clone()));
    assert_eq!(store.principal_by_id(&made.id).await.unwrap(), Some(made));
    assert_eq!(store.principal_named(&PrincipalKind::External).await.unwrap(), None, "it has no name");
}

pub(super) async fn an_identity_joins_the_principal_of_its_name(store: &dyn Store) {
    let made = store.ensure_principal(&alice(), None, NOW).await.unwrap();
    assert_eq!(store.principal_named(&alice()).await.unwrap(), Some(made.clone()));
    let account = PrincipalKind::VirtualAccount { name: "alice@example.com".to_owned() };
    assert_eq!(store.principal_named(&account).await.unwrap(), None, "of another kind");
    for identity in [identity("https://idp", "1"), identity("https://other", "a")] {
        assert_eq!(store.ensure_principal(&alice(), Some(&identity), NOW).await.unwrap(), made);
        assert_eq!(store.principal(&identity).await.unwrap(), Some(made.clone()));
    }
}

pub(super) async fn an_identity_never_moves_to_another_name(store: &dyn Store) {
    let identity = identity("https://idp", "1");
    let made = store.ensure_principal(&alice(), Some(&identity), NOW).await.unwrap();
    let bob = PrincipalKind::User { email: "bob@example.com".to_owned() };
    let bob_himself = store.ensure_principal(&bob, None, NOW).await.unwrap();
    assert_ne!(made.id, bob_himself.id);
    assert_eq!(store.ensure_principal(&bob, Some(&identity), NOW).await.unwrap(), made);
    assert_eq!(store.principal(&identity).await.unwrap(), Some(made));
}

pub(super) async fn the_same_subject_of_two_issuers_is_two_principals(store: &dyn Store) {
    let [a, b] = [identity("https://a", "1"), identity("https://b", "1")];
    let a = store.ensure_principal(&PrincipalKind::External, Some(&a), NOW).await.unwrap();
    let b = store.ensure_principal(&PrincipalKind::External, Some(&b), NOW).await.unwrap();
    assert_ne!(a.id, b.id);
}

pub(super) async fn a_user_and_a_virtual_account_of_one_name_are_two(store: &dyn Store) {
    let user = store.ensure_principal(&PrincipalKind::User { email: "ci".to_owned() }, None, NOW).await.unwrap();
    let account = PrincipalKind::VirtualAccount { name: "ci".to_owned() };
    let account = store.ensure_principal(&account, None, NOW).await.unwrap();
    assert_ne!(user.id, account.id);
}

pub(super) async fn refuses_a_principal_nobody_could_find(store: &dyn Store) {
    let refused = store.ensure_principal(&PrincipalKind::External, None, NOW).await;
    assert!(matches!(refused, Err(StoreError::Conflict)));
}

pub(super) async fn two_brokers_make_one_principal(first: &dyn Store, second: &dyn Store) {
    for round in 0..20 {
        let kind = PrincipalKind::User { email: format!("user{round}@example.com") };
        let identity = identity("https://idp", &round.to_string());
        let (a, b, c, d) = tokio::join!(
            first.ensure_principal(&kind, Some(&identity), NOW),
            second.ensure_principal(&kind, Some(&identity), NOW),
            first.ensure_principal(&kind, None, NOW),
            second.ensure_principal(&kind, None, NOW),
        );
        let made = a.unwrap();
        assert!([b.unwrap(), c.unwrap(), d.unwrap()].iter().all(|principal| *principal == made));
    }
}
