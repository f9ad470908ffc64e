use std::time::Duration;

use super::grants::grant;
use super::{NOW, sealed};
use crate::model::{GrantKey, Identity, PrincipalKind, ServerName};
use crate::store::{ConsentAttempt, Store, StoreError, StoredConsent};

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

async fn holding(store: &dyn Store) {
    store.ensure_consent(&consent(store, "c1").await).await.unwrap();
    store.begin_consent("c1", &attempt(1)).await.unwrap();
    store.take_code("c1", 1, NOW).await.unwrap();
    assert!(is_conflict(store.choose_held("c1", 1, true).await), "there is nothing to choose");
    store.hold_tokens("c1", 1, &sealed("tokens")).await.unwrap();
}

pub(super) async fn o12_what_is_held_is_replaced_by_who_holds_it_before_anything_is_chosen(store: &dyn Store) {
    holding(store).await;
    let (tokens, named) = (sealed("tokens"), sealed("tokens with a name"));
    assert!(is_conflict(store.replace_held("c1", 1, &named, &tokens).await), "something else is held");
    assert!(is_conflict(store.replace_held("c1", 2, &tokens, &named).await), "another attempt");
    assert!(is_conflict(store.replace_held("c9", 1, &tokens, &named).await), "no such consent");
    assert_eq!(found(store, "c1").await.held, Some(tokens.clone()));
    store.replace_held("c1", 1, &tokens, &named).await.unwrap();
    assert_eq!(found(store, "c1").await.held, Some(named.clone()));
    store.choose_held("c1", 1, true).await.unwrap();
    assert!(is_conflict(store.replace_held("c1", 1, &named, &tokens).await), "somebody has chosen what was held");
    store.finish_consent("c1", 1, "done").await.unwrap();
    assert!(is_conflict(store.replace_held("c1", 1, &named, &tokens).await), "it is over");
}

pub(super) async fn o12_the_first_choice_counts(store: &dyn Store) {
    holding(store).await;
    assert!(is_conflict(store.choose_held("c1", 2, true).await), "another attempt");
    for takes in [false, true, false] {
        assert!(!store.choose_held("c1", 1, takes).await.unwrap(), "the first was not to take them");
    }
    store.finish_consent("c1", 1, "kept").await.unwrap();
    assert!(is_conflict(store.choose_held("c1", 1, true).await), "it is settled");
}

pub(super) async fn o12_two_brokers_settle_one_choice(first: &dyn Store, second: &dyn Store) {
    holding(first).await;
    let (one, other) = tokio::join!(first.choose_held("c1", 1, true), second.choose_held("c1", 1, false));
    assert_eq!(one.unwrap(), other.unwrap());
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
