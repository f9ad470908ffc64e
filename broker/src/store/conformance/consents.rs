use std::time::Duration;

use super::grants::grant;
use super::{NOW, sealed};
use crate::model::{GrantKey, Identity, PrincipalKind, ServerName};
use crate::store::{ConsentAttempt, GrantCommit, Store, StoreError, StoredConsent};

const LIFE: Duration = Duration::from_secs(600);

async fn holder(store: &dyn Store, subject: &str) -> String {
    let identity = Identity { issuer: "https://id.example.com".into(), subject: subject.into() };
    store.ensure_principal(&PrincipalKind::External, Some(&identity), NOW).await.unwrap().id.0
}

pub(super) async fn consent(store: &dyn Store, id: &str) -> StoredConsent {
    StoredConsent {
        id: id.to_owned(),
        key: GrantKey { provider_client: "client".into(), holder: holder(store, "alice").await },
        server: ServerName("demo/notes".into()),
        subjects: vec!["user:alice@example.com".into(), "team:everyone".into()],
        extra_scopes: vec![],
        created_at: NOW,
        expires_at: NOW.after(LIFE),
        attempt: None,
        attempts: 0,
        code_taken: None,
        held: None,
        outcome: None,
    }
}

pub(super) fn attempt(number: u32) -> ConsentAttempt {
    ConsentAttempt {
        number,
        session: [7; 32],
        state: sealed(&format!("state {number}")),
        verifier: sealed(&format!("verifier {number}")),
        scopes: vec!["read".into(), "write".into()],
        auth_revisions: vec!["r1".into()],
        begun_at: NOW,
    }
}

async fn found(store: &dyn Store, id: &str) -> StoredConsent {
    store.consent(id).await.unwrap().unwrap()
}

fn is_conflict<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict))
}

pub(super) async fn are_read_as_written(store: &dyn Store) {
    assert!(store.consent("c1").await.unwrap().is_none());
    let written = StoredConsent { extra_scopes: vec!["admin".into()], ..consent(store, "c1").await };
    assert_eq!(store.ensure_consent(&written).await.unwrap(), written);
    assert_eq!(found(store, "c1").await, written);
    store.begin_consent("c1", &attempt(1)).await.unwrap();
    assert_eq!(found(store, "c1").await, StoredConsent { attempt: Some(attempt(1)), attempts: 1, ..written });
}

pub(super) async fn an_unfinished_one_is_found_again(store: &dyn Store) {
    let first = store.ensure_consent(&consent(store, "c1").await).await.unwrap();
    store.begin_consent("c1", &attempt(1)).await.unwrap();
    let again = store.ensure_consent(&consent(store, "c2").await).await.unwrap();
    assert_eq!(again, StoredConsent { attempt: Some(attempt(1)), attempts: 1, ..first });
    assert!(store.consent("c2").await.unwrap().is_none());
}

pub(super) async fn of_another_holder_client_server_scopes_or_subjects_is_another(store: &dyn Store) {
    let base = consent(store, "c0").await;
    store.ensure_consent(&base).await.unwrap();
    let key = |client: &str, holder: &str| GrantKey { provider_client: client.into(), holder: holder.into() };
    let bob = holder(store, "bob").await;
    for (id, other) in [
        ("c1", StoredConsent { key: key("client", &bob), ..base.clone() }),
        ("c2", StoredConsent { key: key("other", &base.key.holder), ..base.clone() }),
        ("c3", StoredConsent { server: ServerName("demo/board".into()), ..base.clone() }),
        ("c4", StoredConsent { extra_scopes: vec!["admin".into()], ..base.clone() }),
        ("c5", StoredConsent { subjects: vec!["team:everyone".into()], ..base.clone() }),
    ] {
        let other = StoredConsent { id: id.to_owned(), ..other };
        assert_eq!(store.ensure_consent(&other).await.unwrap().id, id);
    }
}

pub(super) async fn an_upstream_that_asks_for_ever_other_scopes_makes_no_more_than_sixteen(store: &dyn Store) {
    let base = consent(store, "base").await;
    store.ensure_consent(&base).await.unwrap();
    let asks = async |n: u64, at: crate::clock::UnixTime| {
        let (id, extra_scopes) = (format!("s{n:03}"), vec![format!("nonce-{n}")]);
        let (created_at, expires_at) = (at, at.after(LIFE));
        let asked = StoredConsent { id, extra_scopes, created_at, expires_at, ..base.clone() };
        store.ensure_consent(&asked).await.unwrap().id
    };
    let later = |n: u64| NOW.after(Duration::from_millis(n));
    for n in 0..16 {
        assert_eq!(asks(n, later(n)).await, format!("s{n:03}"));
    }
    for n in 16..40 {
        assert_eq!(asks(n, later(16)).await, "s015", "the newest");
        assert!(store.consent(&format!("s{n:03}")).await.unwrap().is_none());
    }
    assert_eq!(asks(3, later(16)).await, "s003", "each is found again by its own scopes");
    let plain = StoredConsent { id: "again".into(), created_at: later(16), ..base.clone() };
    assert_eq!(store.ensure_consent(&plain).await.unwrap().id, "base", "what the manifest says is not counted");
    let elsewhere = StoredConsent { server: ServerName("demo/board".into()), extra_scopes: vec!["x".into()], ..plain };
    assert_eq!(store.ensure_consent(&elsewhere).await.unwrap().id, "again", "nor another server's");

    // One was begun, all have expired: those that nobody began make room, the oldest first.
    store.begin_consent("s000", &attempt(1)).await.unwrap();
    for n in 40..60 {
        asks(n, NOW.after(3 * LIFE)).await;
    }
    found(store, "s000").await;
    for gone in (1..16).chain(56..60) {
        assert!(store.consent(&format!("s{gone:03}")).await.unwrap().is_none(), "{gone}");
    }
    for kept in 40..56 {
        found(store, &format!("s{kept:03}")).await;
    }
}

pub(super) async fn one_that_expired_or_ended_is_not_found_again(store: &dyn Store) {
    store.ensure_consent(&consent(store, "c1").await).await.unwrap();
    let later =
        StoredConsent { created_at: NOW.after(LIFE), expires_at: NOW.after(2 * LIFE), ..consent(store, "c2").await };
    assert_eq!(store.ensure_consent(&later).await.unwrap().id, "c2");
    store.renew_consent("c1", NOW.after(3 * LIFE)).await.unwrap();
    assert_eq!(found(store, "c1").await.expires_at, NOW.after(3 * LIFE));
    for id in ["c1", "c2"] {
        store.begin_consent(id, &attempt(1)).await.unwrap();
        store.finish_consent(id, 1, "done").await.unwrap();
        assert!(is_conflict(store.renew_consent(id, NOW.after(4 * LIFE)).await), "an ended one stays ended");
    }
    assert_eq!(store.ensure_consent(&consent(store, "c3").await).await.unwrap().id, "c3");
    assert!(is_conflict(store.renew_consent("c9", NOW).await));
}

pub(super) async fn o1_a_new_attempt_destroys_the_one_before(store: &dyn Store) {
    store.ensure_consent(&consent(store, "c1").await).await.unwrap();
    for wrong in [0, 2, u32::MAX] {
        assert!(is_conflict(store.begin_consent("c1", &attempt(wrong)).await), "{wrong}");
    }
    store.begin_consent("c1", &attempt(1)).await.unwrap();
    store.take_code("c1", 1, NOW).await.unwrap();
    store.begin_consent("c1", &attempt(2)).await.unwrap();
    let now = found(store, "c1").await;
    assert_eq!((now.attempt, now.code_taken), (Some(attempt(2)), None));
    assert!(is_conflict(store.take_code("c1", 1, NOW).await));
    assert!(is_conflict(store.finish_consent("c1", 1, "done").await));
    assert!(is_conflict(store.hold_tokens("c1", 1, &sealed("tokens")).await));
    assert!(is_conflict(store.begin_consent("c9", &attempt(1)).await));
}

pub(super) async fn o6_an_end_destroys_every_secret_and_stays(store: &dyn Store) {
    store.ensure_consent(&consent(store, "c1").await).await.unwrap();
    store.begin_consent("c1", &attempt(1)).await.unwrap();
    store.take_code("c1", 1, NOW).await.unwrap();
    store.finish_consent("c1", 1, "done").await.unwrap();
    let ended = found(store, "c1").await;
    assert_eq!((&ended.attempt, &ended.held, ended.outcome.as_deref()), (&None, &None, Some("done")));
    assert!(is_conflict(store.finish_consent("c1", 1, "provider").await));
    assert!(is_conflict(store.take_code("c1", 1, NOW).await));
    assert!(is_conflict(store.begin_consent("c1", &attempt(2)).await));
    assert_eq!(found(store, "c1").await, ended);
}

pub(super) async fn o12_held_tokens_wait_for_the_end_and_for_nothing_else(store: &dyn Store) {
    store.ensure_consent(&consent(store, "c1").await).await.unwrap();
    store.begin_consent("c1", &attempt(1)).await.unwrap();
    assert!(is_conflict(store.hold_tokens("c1", 1, &sealed("tokens")).await), "nobody took the code");
    store.take_code("c1", 1, NOW).await.unwrap();
    store.hold_tokens("c1", 1, &sealed("tokens")).await.unwrap();
    assert!(is_conflict(store.hold_tokens("c1", 1, &sealed("others")).await));
    assert!(is_conflict(store.begin_consent("c1", &attempt(2)).await), "tokens would be lost");
    assert_eq!(found(store, "c1").await.held, Some(sealed("tokens")));
    store.finish_consent("c1", 1, "kept").await.unwrap();
    assert_eq!(found(store, "c1").await.held, None);
}

/// Tokens of another account wait for a choice; what they would be stored as.
async fn holding(store: &dyn Store) -> GrantCommit {
    let consent = store.ensure_consent(&consent(store, "c1").await).await.unwrap();
    store.begin_consent("c1", &attempt(1)).await.unwrap();
    store.take_code("c1", 1, NOW).await.unwrap();
    store.hold_tokens("c1", 1, &sealed("held")).await.unwrap();
    grant("g1", &consent.key, 1, "chosen")
}

pub(super) async fn o12_what_is_held_is_replaced_by_who_holds_it_before_anything_is_chosen(store: &dyn Store) {
    let chosen = holding(store).await;
    let (tokens, named) = (sealed("held"), sealed("held with a name"));
    assert!(is_conflict(store.replace_held("c1", 1, &named, &tokens).await), "something else is held");
    assert!(is_conflict(store.replace_held("c1", 2, &tokens, &named).await), "another attempt");
    assert!(is_conflict(store.replace_held("c9", 1, &tokens, &named).await), "no such consent");
    assert_eq!(found(store, "c1").await.held, Some(tokens.clone()));
    store.replace_held("c1", 1, &tokens, &named).await.unwrap();
    assert_eq!(found(store, "c1").await.held, Some(named.clone()));
    store.commit_chosen(&chosen, "c1", 1, &named, &sealed("chosen")).await.unwrap();
    assert!(is_conflict(store.replace_held("c1", 1, &named, &tokens).await), "somebody has chosen what was held");
    store.finish_consent("c1", 1, "done").await.unwrap();
    assert!(is_conflict(store.replace_held("c1", 1, &named, &tokens).await), "it is over");
}

pub(super) async fn o12_what_is_chosen_is_the_grants_in_the_write_that_says_so(store: &dyn Store) {
    let chosen = holding(store).await;
    let (held, instead) = (sealed("held"), sealed("chosen"));
    assert!(is_conflict(store.commit_chosen(&chosen, "c1", 2, &held, &instead).await), "another attempt");
    assert!(is_conflict(store.commit_chosen(&chosen, "c1", 1, &instead, &instead).await), "it holds something else");
    let not_next = GrantCommit { generation: crate::model::Generation(2), ..chosen.clone() };
    assert!(is_conflict(store.commit_chosen(&not_next, "c1", 1, &held, &instead).await), "no such generation before");
    assert_eq!((found(store, "c1").await.held, store.grant(&chosen.key).await.unwrap()), (Some(held.clone()), None));

    store.commit_chosen(&chosen, "c1", 1, &held, &instead).await.unwrap();
    assert_eq!(found(store, "c1").await.held, Some(instead.clone()));
    assert_eq!(store.grant(&chosen.key).await.unwrap().unwrap().material, Some(chosen.material.clone()));
    let again = grant("g1", &chosen.key, 2, "again");
    assert!(is_conflict(store.commit_chosen(&again, "c1", 1, &held, &instead).await), "once");
    assert!(is_conflict(store.finish_held("c1", 1, &held, "kept").await), "it was chosen");
    store.finish_held("c1", 1, &instead, "done").await.unwrap();
    assert!(is_conflict(store.commit_chosen(&again, "c1", 1, &instead, &instead).await), "it has ended");
    assert_eq!(found(store, "c1").await.outcome.as_deref(), Some("done"));
}

pub(super) async fn o12_what_is_not_wanted_is_never_the_grants(store: &dyn Store) {
    let chosen = holding(store).await;
    assert!(is_conflict(store.finish_held("c1", 2, &sealed("held"), "kept").await), "another attempt");
    store.finish_held("c1", 1, &sealed("held"), "kept").await.unwrap();
    assert!(is_conflict(store.commit_chosen(&chosen, "c1", 1, &sealed("held"), &sealed("chosen")).await));
    assert!(is_conflict(store.finish_held("c1", 1, &sealed("held"), "kept").await));
    assert_eq!(store.grant(&chosen.key).await.unwrap(), None);
}

pub(super) async fn o12_two_brokers_settle_one_choice(first: &dyn Store, second: &dyn Store) {
    let chosen = holding(first).await;
    let (held, instead) = (sealed("held"), sealed("chosen"));
    let (one, other) = tokio::join!(
        first.commit_chosen(&chosen, "c1", 1, &held, &instead),
        second.finish_held("c1", 1, &held, "kept")
    );
    assert_ne!(one.is_ok(), other.is_ok(), "{one:?} {other:?}");
    assert_eq!(first.grant(&chosen.key).await.unwrap().is_some(), one.is_ok());
}

pub(super) async fn those_that_expired_while_they_held_tokens_are_found(store: &dyn Store) {
    for (id, holds) in [("c1", true), ("c2", false)] {
        store
            .ensure_consent(&StoredConsent { server: ServerName(id.into()), ..consent(store, id).await })
            .await
            .unwrap();
        store.begin_consent(id, &attempt(1)).await.unwrap();
        store.take_code(id, 1, NOW).await.unwrap();
        if holds {
            store.hold_tokens(id, 1, &sealed("tokens")).await.unwrap();
        }
    }
    assert_eq!(store.abandoned_consents(NOW.after(LIFE)).await.unwrap().records, []);
    let later = NOW.after(LIFE + Duration::from_millis(1));
    assert_eq!(store.abandoned_consents(later).await.unwrap().records, [found(store, "c1").await]);
    store.finish_consent("c1", 1, "kept").await.unwrap();
    assert_eq!(store.abandoned_consents(later).await.unwrap().records, []);
}

pub(super) async fn only_what_expired_is_dropped(store: &dyn Store) {
    store.ensure_consent(&consent(store, "c1").await).await.unwrap();
    store.drop_expired(NOW.after(2 * LIFE), NOW.after(LIFE)).await.unwrap();
    found(store, "c1").await;
    store.drop_expired(NOW, NOW.after(LIFE + Duration::from_millis(1))).await.unwrap();
    assert!(store.consent("c1").await.unwrap().is_none());
}

pub(super) async fn two_brokers_make_one(first: &dyn Store, second: &dyn Store) {
    let (ours, theirs) = (consent(first, "c1").await, consent(second, "c2").await);
    let (one, other) = tokio::join!(first.ensure_consent(&ours), second.ensure_consent(&theirs));
    assert_eq!(one.unwrap(), other.unwrap());
}

pub(super) async fn what_comes_of_one_is_stored_only_while_it_is_somebodys(store: &dyn Store) {
    let user = PrincipalKind::User { email: "alice@example.com".into() };
    let holder = store.ensure_principal(&user, None, NOW).await.unwrap().id;
    for id in ["c1", "c2"] {
        let key = GrantKey { provider_client: id.into(), holder: holder.0.clone() };
        store.ensure_consent(&StoredConsent { key, ..consent(store, id).await }).await.unwrap();
        store.begin_consent(id, &attempt(1)).await.unwrap();
        store.take_code(id, 1, NOW).await.unwrap();
    }
    // The tokens of the second wait for an answer.
    store.hold_tokens("c2", 1, &sealed("held")).await.unwrap();
    let key = |id: &str| GrantKey { provider_client: id.into(), holder: holder.0.clone() };
    for id in ["c1", "c2"] {
        store.commit_consented(&grant(id, &key(id), 1, "agreed"), id).await.unwrap();
        assert!(is_conflict(store.commit_consented(&grant(id, &key(id), 1, "again"), id).await), "{id}");
        assert!(is_conflict(store.commit_consented(&grant(id, &key(id), 2, "of none"), "none").await), "{id}");
    }
    store.release_user("alice@example.com", NOW).await.unwrap().unwrap();
    for id in ["c1", "c2"] {
        assert!(is_conflict(store.commit_consented(&grant(id, &key(id), 2, "late"), id).await), "{id}");
        assert_eq!(store.grant(&key(id)).await.unwrap().unwrap().generation.0, 1, "{id}");
    }
    assert_eq!(found(store, "c2").await.held, Some(sealed("held")), "to be given back");
    let late = grant("c2", &key("c2"), 2, "late");
    assert!(is_conflict(store.commit_chosen(&late, "c2", 1, &sealed("held"), &sealed("chosen")).await));
}

/// A consent of a virtual account, whose owner agrees to it; and the grant it would make.
async fn agreed_for_an_account(store: &dyn Store, id: &str, owner: &str) -> GrantCommit {
    let account = PrincipalKind::VirtualAccount { name: id.to_owned() };
    let account = store.ensure_principal(&account, None, NOW).await.unwrap().id;
    let owner = PrincipalKind::User { email: owner.to_owned() };
    let owner = store.ensure_principal(&owner, None, NOW).await.unwrap().id;
    let key = GrantKey { provider_client: "client".into(), holder: account.0 };
    store.ensure_consent(&StoredConsent { key: key.clone(), ..consent(store, id).await }).await.unwrap();
    store.begin_consent(id, &attempt(1)).await.unwrap();
    store.take_code(id, 1, NOW).await.unwrap();
    GrantCommit { consented_by: Some(owner), ..grant(id, &key, 1, "agreed") }
}

pub(super) async fn r10_what_an_owner_agrees_to_is_stored_only_while_they_have_their_name(store: &dyn Store) {
    let email = "owner@example.com";
    let (first, second) =
        (agreed_for_an_account(store, "c1", email).await, agreed_for_an_account(store, "c2", email).await);
    store.hold_tokens("c2", 1, &sealed("held")).await.unwrap();
    store.commit_consented(&first, "c1").await.unwrap();
    store.release_user(email, NOW).await.unwrap().unwrap();
    let again = GrantCommit { generation: crate::model::Generation(2), ..first.clone() };
    assert!(is_conflict(store.commit_consented(&again, "c1").await));
    assert!(is_conflict(store.commit_chosen(&second, "c2", 1, &sealed("held"), &sealed("chosen")).await));
    assert_eq!(store.grant(&first.key).await.unwrap().unwrap().generation.0, 1);
    assert_eq!(store.grant(&second.key).await.unwrap(), None);
    // Another owner goes on.
    let other = agreed_for_an_account(store, "c3", "other@example.com").await;
    store.commit_consented(&other, "c3").await.unwrap();
}

pub(super) async fn r10_an_owners_release_and_a_commit_at_once_leave_no_grant_that_the_release_could_not_see(
    first: &dyn Store,
    second: &dyn Store,
) {
    for round in 0..20 {
        let (id, email) = (format!("c{round}"), format!("owner{round}@example.com"));
        let agreed = agreed_for_an_account(first, &id, &email).await;
        let holder = crate::model::PrincipalId(agreed.key.holder.clone());
        let (stored, seen) = tokio::join!(first.commit_consented(&agreed, &id), async {
            second.release_user(&email, NOW).await.unwrap().unwrap();
            second.grants(Some(&holder)).await.unwrap().readable().len()
        });
        assert_eq!(usize::from(stored.is_ok()), seen, "{stored:?}");
    }
}

pub(super) async fn a_release_and_a_commit_at_once_leave_no_grant_that_the_release_could_not_see(
    first: &dyn Store,
    second: &dyn Store,
) {
    for round in 0..20 {
        let (id, email) = (format!("c{round}"), format!("user{round}@example.com"));
        let holder = first.ensure_principal(&PrincipalKind::User { email: email.clone() }, None, NOW).await.unwrap().id;
        let key = GrantKey { provider_client: "client".into(), holder: holder.0.clone() };
        first.ensure_consent(&StoredConsent { key: key.clone(), ..consent(first, &id).await }).await.unwrap();
        let agreed = grant(&id, &key, 1, "agreed");
        let (stored, seen) = tokio::join!(first.commit_consented(&agreed, &id), async {
            second.release_user(&email, NOW).await.unwrap().unwrap();
            second.grants(Some(&holder)).await.unwrap().readable().len()
        });
        assert_eq!(usize::from(stored.is_ok()), seen, "{stored:?}");
    }
}

pub(super) async fn o6_of_two_brokers_one_takes_the_code(first: &dyn Store, second: &dyn Store) {
    first.ensure_consent(&consent(first, "c1").await).await.unwrap();
    first.begin_consent("c1", &attempt(1)).await.unwrap();
    let (one, other) = tokio::join!(first.take_code("c1", 1, NOW), second.take_code("c1", 1, NOW));
    assert_eq!([one.is_ok(), other.is_ok()].iter().filter(|taken| **taken).count(), 1);
    assert!(is_conflict(one.and(other)));
    assert_eq!(found(second, "c1").await.code_taken, Some(NOW));
}
