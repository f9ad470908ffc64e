//! Identities: by which issuer and subject a principal is known, and how that ends.

use std::time::Duration;

use super::damaged::names;
use super::sign_ins::{begun, later, session};
use super::tokens::token;
use super::{NOW, Tamper};
use crate::model::{Identity, Principal, PrincipalId, PrincipalKind};
use crate::store::{Linked, SignInKind, Store, StoreError, StoredIdentity, StoredSignIn};

const EMAIL: &str = "alice@example.com";
const IDP: &str = "https://idp";

fn identity(issuer: &str, subject: &str) -> Identity {
    Identity { issuer: issuer.to_owned(), subject: subject.to_owned() }
}

fn alice() -> PrincipalKind {
    PrincipalKind::User { email: EMAIL.to_owned() }
}

async fn joins(store: &dyn Store, issuer: &str, subject: &str) -> Result<Principal, StoreError> {
    store.ensure_principal(&alice(), Some(&identity(issuer, subject)), NOW).await
}

fn is_told_whose(refused: &Result<Principal, StoreError>, owner: &PrincipalId) -> bool {
    matches!(refused, Err(StoreError::OtherSubject(told)) if told == owner)
}

pub(super) async fn say_how_and_when_they_were_linked(store: &dyn Store) {
    assert_eq!(store.identities(None).await.unwrap().records, []);
    let first = joins(store, IDP, "1").await.unwrap();
    let later = NOW.after(Duration::from_secs(9));
    store.ensure_principal(&alice(), Some(&identity("https://other", "a")), later).await.unwrap();
    assert!(store.link_identity(EMAIL, &identity(IDP, "2"), later).await.unwrap());
    let told = store.identities(Some(&first.id)).await.unwrap().records;
    let expected = [
        (identity(IDP, "1"), Linked::Created, NOW),
        (identity(IDP, "2"), Linked::Operator, later),
        (identity("https://other", "a"), Linked::Email, later),
    ];
    let expected = expected.map(|(identity, linked, linked_at)| {
        let principal = first.id.clone();
        StoredIdentity { identity, principal, linked, linked_at }
    });
    assert_eq!(told, expected);
    store.ensure_principal(&PrincipalKind::External, Some(&identity("https://shop", "b")), NOW).await.unwrap();
    assert_eq!(store.identities(None).await.unwrap().records.len(), 4);
    assert_eq!(store.identities(Some(&first.id)).await.unwrap().records, expected);
}

pub(super) async fn an_address_links_issuers_and_never_a_second_subject_of_one(store: &dyn Store) {
    // Made by an operator, before anybody came by that name.
    let made = store.ensure_principal(&alice(), None, NOW).await.unwrap();
    assert_eq!(joins(store, IDP, "1").await.unwrap(), made);
    assert_eq!(joins(store, "https://other", "1").await.unwrap(), made);
    for (issuer, subject) in [(IDP, "2"), ("https://other", "2"), (IDP, "3")] {
        assert!(is_told_whose(&joins(store, issuer, subject).await, &made.id), "{issuer} {subject}");
        assert_eq!(store.principal(&identity(issuer, subject)).await.unwrap(), None);
    }
    assert_eq!(store.identities(None).await.unwrap().records.len(), 2);
    assert_eq!(joins(store, IDP, "1").await.unwrap(), made, "who was there before stays");
    // Without an address that is verified they are somebody, and not alice.
    let nameless = store.ensure_principal(&PrincipalKind::External, Some(&identity(IDP, "2")), NOW).await.unwrap();
    assert_ne!(nameless.id, made.id);
}

pub(super) async fn an_operator_links_a_second_subject_and_nobody_elses(store: &dyn Store) {
    assert!(matches!(store.link_identity(EMAIL, &identity(IDP, "1"), NOW).await, Err(StoreError::Conflict)), "nobody");
    let made = joins(store, IDP, "1").await.unwrap();
    assert!(!store.link_identity(EMAIL, &identity(IDP, "1"), NOW).await.unwrap(), "it is already");
    assert!(store.link_identity(EMAIL, &identity(IDP, "2"), NOW).await.unwrap());
    assert_eq!(joins(store, IDP, "2").await.unwrap(), made);
    assert!(is_told_whose(&joins(store, IDP, "3").await, &made.id), "the next one is asked about again");
    let bob = PrincipalKind::User { email: "bob@example.com".to_owned() };
    let bob = store.ensure_principal(&bob, Some(&identity(IDP, "b")), NOW).await.unwrap();
    assert!(matches!(store.link_identity(EMAIL, &identity(IDP, "b"), NOW).await, Err(StoreError::Conflict)), "bob's");
    assert_eq!(store.principal(&identity(IDP, "b")).await.unwrap(), Some(bob));
    // Linked before anybody came: another subject is not let in beside it.
    let carol = PrincipalKind::User { email: "carol@example.com".to_owned() };
    let owner = store.ensure_principal(&carol, None, NOW).await.unwrap();
    assert!(store.link_identity("carol@example.com", &identity(IDP, "c"), NOW).await.unwrap());
    let refused = store.ensure_principal(&carol, Some(&identity(IDP, "d")), NOW).await;
    assert!(is_told_whose(&refused, &owner.id), "{refused:?}");
}

pub(super) async fn a_released_name_is_somebody_new_and_leaves_nothing_to_its_last_owner(store: &dyn Store) {
    let old = joins(store, IDP, "1").await.unwrap();
    // An issuer whose subjects are addresses.
    joins(store, "https://other", "Alice@example.com").await.unwrap();
    let (mine, others) = (session(1, &old.id), session(2, &somebody_else(store).await));
    store.add_session(&mine).await.unwrap();
    store.add_session(&others).await.unwrap();
    let link = begun(store, "link", SignInKind::Link).await;
    let link = StoredSignIn { id: "hers".to_owned(), principal: Some(old.id.clone()), ..link };
    store.add_sign_in(&link).await.unwrap();
    for (id, owner, hash) in [("t1", &old.id, 1), ("t2", &old.id, 2), ("t3", &others.principal, 3)] {
        store.add_token(&token(id, owner, hash, NOW)).await.unwrap();
    }
    assert!(store.revoke_token("t2", NOW).await.unwrap());

    let released = store.release_user(EMAIL, later(5)).await.unwrap().unwrap();
    assert_eq!((&released.principal, released.identities.len()), (&old.id, 2));
    assert_eq!(released.tokens, ["t1"]);
    assert_eq!(store.session(&mine.hash, NOW).await.unwrap(), None);
    assert_eq!(store.session(&others.hash, NOW).await.unwrap().as_ref(), Some(&others));
    assert_eq!(store.sign_in("hers", NOW).await.unwrap(), None);
    let revoked = async |id| store.token(id).await.unwrap().unwrap().revoked_at;
    assert_eq!([revoked("t1").await, revoked("t2").await, revoked("t3").await], [Some(later(5)), Some(NOW), None]);

    assert_eq!(store.principal_named(&alice()).await.unwrap(), None);
    assert_eq!(joins(store, IDP, "1").await.unwrap().id, old.id, "a token that is left does not take the name back");
    let kept = store.principal_by_id(&old.id).await.unwrap().unwrap();
    assert_eq!(kept.kind, PrincipalKind::External, "its grants have a holder");
    let new = joins(store, IDP, "2").await.unwrap();
    assert_ne!(new.id, old.id);
    assert_eq!(
        joins(store, "https://other", "Alice@example.com").await.unwrap(),
        new,
        "that subject goes with the address"
    );
    assert!(is_told_whose(&joins(store, IDP, "3").await, &new.id));
}

pub(super) async fn a_released_name_can_be_released_again_only_once_it_is_somebodys(store: &dyn Store) {
    assert_eq!(store.release_user(EMAIL, NOW).await.unwrap(), None);
    let first = joins(store, IDP, "1").await.unwrap().id;
    assert_eq!(store.release_user(EMAIL, NOW).await.unwrap().unwrap().principal, first);
    assert_eq!(store.release_user(EMAIL, NOW).await.unwrap(), None);
    let second = joins(store, IDP, "2").await.unwrap().id;
    assert_eq!(store.release_user(EMAIL, NOW).await.unwrap().unwrap().principal, second);
}

pub(super) async fn of_two_subjects_at_two_brokers_one_gets_the_principal(first: &dyn Store, second: &dyn Store) {
    for round in 0..20 {
        let kind = PrincipalKind::User { email: format!("user{round}@example.com") };
        // Half of them are known by name already.
        if round % 2 == 0 {
            first.ensure_principal(&kind, None, NOW).await.unwrap();
        }
        let [one, other] = ["one", "other"].map(|of| identity(IDP, &format!("{of}{round}")));
        let (a, b) = tokio::join!(
            first.ensure_principal(&kind, Some(&one), NOW),
            second.ensure_principal(&kind, Some(&other), NOW),
        );
        let (won, lost) = if a.is_ok() { (a, b) } else { (b, a) };
        let owner = won.unwrap();
        assert!(is_told_whose(&lost, &owner.id), "{lost:?}");
        assert_eq!(first.identities(Some(&owner.id)).await.unwrap().records.len(), 1);
    }
}

pub(super) async fn a_release_and_a_sign_in_at_once_leave_one_owner_of_the_name(first: &dyn Store, second: &dyn Store) {
    for round in 0..20 {
        let email = format!("user{round}@example.com");
        let kind = PrincipalKind::User { email: email.clone() };
        let [old, new] = ["old", "new"].map(|of| identity(IDP, &format!("{of}{round}")));
        let before = first.ensure_principal(&kind, Some(&old), NOW).await.unwrap();
        let (released, joined) =
            tokio::join!(first.release_user(&email, NOW), second.ensure_principal(&kind, Some(&new), NOW));
        assert_eq!(released.unwrap().unwrap().principal, before.id);
        match joined {
            Ok(fresh) => assert_ne!(fresh.id, before.id),
            refused => assert!(is_told_whose(&refused, &before.id), "{refused:?}"),
        }
        let after = second.ensure_principal(&kind, Some(&new), NOW).await.unwrap();
        assert_ne!(after.id, before.id);
        assert_eq!(second.principal_named(&kind).await.unwrap(), Some(after));
    }
}

async fn nameless(store: &dyn Store, subject: &str) -> Principal {
    store.ensure_principal(&PrincipalKind::External, Some(&identity(IDP, subject)), NOW).await.unwrap()
}

pub(super) async fn who_came_before_their_address_was_known_gets_the_name_with_it(store: &dyn Store) {
    let (first, second) = (nameless(store, "1").await, nameless(store, "2").await);
    let known = store.identities(None).await.unwrap().records;
    let named = joins(store, IDP, "1").await.unwrap();
    assert_eq!(named, Principal { kind: alice(), ..first.clone() }, "with all that is theirs");
    assert_eq!(store.principal_by_id(&first.id).await.unwrap(), Some(named.clone()));
    assert_eq!(store.principal_named(&alice()).await.unwrap(), Some(named.clone()));
    assert_eq!(nameless(store, "1").await, named, "by a token without the address as well");
    assert_eq!(store.identities(None).await.unwrap().records, known);
    assert_eq!(joins(store, IDP, "2").await.unwrap(), second, "the name is somebody's");
    assert_eq!(joins(store, "https://other", "a").await.unwrap(), named);
}

pub(super) async fn an_operator_names_who_came_before_their_address_was_known(store: &dyn Store) {
    let (first, second) = (nameless(store, "1").await, nameless(store, "2").await);
    assert!(store.link_identity(EMAIL, &identity(IDP, "1"), NOW).await.unwrap());
    assert_eq!(store.principal_named(&alice()).await.unwrap(), Some(Principal { kind: alice(), ..first }));
    assert!(!store.link_identity(EMAIL, &identity(IDP, "1"), NOW).await.unwrap(), "it is already");
    assert!(matches!(store.link_identity(EMAIL, &identity(IDP, "2"), NOW).await, Err(StoreError::Conflict)));
    assert_eq!(store.principal(&identity(IDP, "2")).await.unwrap(), Some(second), "what that one has is theirs");
}

pub(super) async fn r10_whose_name_was_taken_away_gets_none_again(store: &dyn Store) {
    let old = joins(store, IDP, "1").await.unwrap().id;
    store.release_user(EMAIL, NOW).await.unwrap().unwrap();
    let bob = PrincipalKind::User { email: "bob@example.com".to_owned() };
    for kind in [alice(), bob] {
        let came = store.ensure_principal(&kind, Some(&identity(IDP, "1")), NOW).await.unwrap();
        assert_eq!((&came.id, came.kind), (&old, PrincipalKind::External));
        assert_eq!(store.principal_named(&kind).await.unwrap(), None);
    }
    assert!(matches!(store.link_identity(EMAIL, &identity(IDP, "1"), NOW).await, Err(StoreError::Conflict)));
}

pub(super) async fn of_two_nameless_ones_at_two_brokers_one_gets_the_name(first: &dyn Store, second: &dyn Store) {
    for round in 0..20 {
        let kind = PrincipalKind::User { email: format!("user{round}@example.com") };
        let [one, other] = ["one", "other"].map(|of| identity(IDP, &format!("{of}{round}")));
        for of in [&one, &other] {
            first.ensure_principal(&PrincipalKind::External, Some(of), NOW).await.unwrap();
        }
        let (a, b) = tokio::join!(
            first.ensure_principal(&kind, Some(&one), NOW),
            second.ensure_principal(&kind, Some(&other), NOW),
        );
        let named = [&a, &b].into_iter().filter(|came| came.as_ref().is_ok_and(|came| came.kind == kind)).count();
        assert_eq!(named, 1, "{a:?} {b:?}");
        for came in [a, b] {
            assert!(matches!(came, Ok(_) | Err(StoreError::Conflict)), "{came:?}");
        }
    }
}

async fn somebody_else(store: &dyn Store) -> PrincipalId {
    let kind = PrincipalKind::User { email: "else@example.com".to_owned() };
    store.ensure_principal(&kind, None, NOW).await.unwrap().id
}

pub(super) async fn v3_a_corrupt_one_names_itself_and_spoils_no_other(store: &(impl Store + Tamper)) {
    let alice = joins(store, IDP, "1").await.unwrap().id;
    assert!(store.link_identity(EMAIL, &identity(IDP, "2"), NOW).await.unwrap());
    let damages = [Some("created_at = -1"), store.no_text().map(|_| "linked = CAST(x'ff' AS TEXT)")];
    for damage in damages.into_iter().flatten() {
        store.tamper_with(format!("UPDATE identities SET {damage} WHERE subject = '1'")).await;
        let found = store.identities(Some(&alice)).await.unwrap();
        assert_eq!(found.records.iter().map(|one| one.identity.subject.as_str()).collect::<Vec<_>>(), ["2"]);
        assert!(matches!(&found.corrupt[..], [error] if names(error, "identities", "https://idp#1")), "{damage}");
        assert_eq!(store.principal(&identity(IDP, "1")).await.unwrap().unwrap().id, alice, "it is theirs all the same");
    }
    let released = store.release_user(EMAIL, NOW).await.unwrap().unwrap();
    assert_eq!(released.identities.len(), 1);
}
