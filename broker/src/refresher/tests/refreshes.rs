//! Whose grant serves which server, and a refresh that goes well.

use super::people::{DUE, People, agreed};
use super::*;
use crate::oauth::profile::{GENERIC, GITHUB};
use crate::store::Standing;

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_of_one_strict_grant_share_one_request_and_both_work() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    let servers = [people.server(&["read"], "r1", "alice"), people.server(&["read", "write"], "r2", "alice")];
    for round in 1..=20 {
        people.fixture.clock.advance(HOUR);
        let callers: Vec<_> = (0..50).map(|n| spawn(&people.fixture.refresher, &servers[n % 2], Need::Live)).collect();
        for caller in callers {
            assert_eq!(text(&caller.await.unwrap().unwrap()), format!("canary-token-{round}"));
        }
        assert_eq!(people.fixture.provider.count(), round);
    }
}

#[tokio::test]
async fn refuses_whom_nobody_gave_what_the_server_needs_and_asks_no_provider() {
    let people = People::at(&GENERIC).await;
    assert_eq!(people.reason().await, ConsentReason::Missing);
    people.agrees(Some("canary-refresh-0")).await;
    let refusals = [
        (people.server(&["read"], "r1", "bob"), ConsentReason::Missing),
        (people.server(&["read"], "r3", "alice"), ConsentReason::Settings),
        (people.server(&["read", "admin"], "r1", "alice"), ConsentReason::Scopes),
    ];
    for (server, reason) in refusals {
        let error = people.fixture.refresher.token(&server, Need::Live).await.unwrap_err();
        assert!(matches!(error, RefreshError::NeedsConsent { reason: why } if why == reason), "{error:?}");
    }
    assert_eq!(people.fixture.provider.count(), 0);
}

#[tokio::test]
async fn another_servers_token_in_memory_opens_no_door_that_was_not_agreed_to() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-agreed");
    let wider = people.server(&["admin"], "r1", "alice");
    assert!(people.fixture.refresher.token(&wider, Need::Live).await.is_err());
}

#[tokio::test]
async fn an_ended_grant_says_why() {
    let people = People::at(&GENERIC).await;
    let ends = [
        (Standing::Revoked("holder".into()), ConsentReason::Revoked),
        (ConsentReason::InvalidGrant.as_standing(), ConsentReason::InvalidGrant),
        (ConsentReason::Rejected.as_standing(), ConsentReason::Rejected),
    ];
    for (standing, reason) in ends {
        people.agrees(Some("canary-refresh-0")).await;
        people.token(Need::Live).await.unwrap();
        let stored = people.stored().await;
        people
            .fixture
            .store
            .end_grant(&stored.id, stored.generation, &standing, people.fixture.clock.now())
            .await
            .unwrap();
        people.fixture.refresher.forget(&stored.key, stored.generation);
        assert_eq!(people.reason().await, reason);
    }
}

#[tokio::test]
async fn due_grants_are_refreshed_behind_callers_that_go_on_with_the_old_token() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(DUE);
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-agreed");
    people.until_idle().await;
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-1");
    let stored = people.stored().await;
    assert_eq!((stored.generation, stored.intent), (Generation(2), None));
    assert_eq!(stored.account.as_deref(), Some("account-at-provider"));
}

#[tokio::test]
async fn i5_the_old_refresh_token_stays_when_no_other_is_given() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.provider.answers(201, provider::TOKEN);
    for round in 1..=3 {
        people.fixture.clock.advance(HOUR);
        assert_eq!(people.token(Need::Live).await.unwrap(), format!("canary-token-{round}"));
    }
    assert_eq!(people.sent(), ["canary-refresh-0"; 3]);
}

#[tokio::test]
async fn narrowed_scopes_are_noticed_and_no_refresh_widens_them() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    let narrowed = provider::PAIR.replace('{', r#"{"scope":"read admin","#);
    people.fixture.provider.answers(200, &narrowed);
    let writer = people.server(&["write"], "r2", "alice");
    let error = people.fixture.refresher.token(&writer, Need::Live).await.unwrap_err();
    assert!(matches!(error, RefreshError::NeedsConsent { reason: ConsentReason::Scopes }), "{error:?}");
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-1");
    assert_eq!(people.stored().await.scopes, ["read"]);
    let rows = people.fixture.store.audit(0, "", "", "grant.narrowed", 10).await.unwrap();
    assert!(rows.len() == 1 && rows[0].entry.json.contains("write"), "{rows:?}");
}

#[tokio::test]
async fn what_an_answer_never_lists_is_not_taken_for_narrowed() {
    let people = People::at(&GITHUB).await;
    let mut agreed = people.next_generation("canary-agreed", Some("canary-refresh-0")).await;
    agreed.scopes = ["user", "user:email", "offline_access", "gist"].map(str::to_owned).to_vec();
    people.fixture.store.commit_grant(&agreed).await.unwrap();
    people.fixture.provider.is_strict("canary-refresh-0");
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.answers(200, &provider::PAIR.replace('{', r#"{"scope":"user","#));
    let server = people.server(&["user", "user:email", "offline_access"], "r1", "alice");
    assert_eq!(text(&people.fixture.refresher.token(&server, Need::Live).await.unwrap()), "canary-token-1");
    assert_eq!(people.stored().await.scopes, ["user", "user:email", "offline_access"], "gist was taken away");
}

#[tokio::test]
async fn i5_a_caller_that_gives_up_does_not_lose_the_pair() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.gate.send_replace(false);
    let caller = spawn(&people.fixture.refresher, &people.alice(), Need::Live);
    people.fixture.provider.until_asked(1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    people.fixture.provider.gate.send_replace(true);
    people.until_idle().await;
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-1");
    assert_eq!(people.fixture.provider.count(), 1);
}

#[tokio::test]
async fn proxies_hold_a_token_that_is_about_to_die_and_callers_wait_for_the_next() {
    let people = People::at(&GITHUB).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.token(Need::Live).await.unwrap();
    people.fixture.clock.advance(DUE);
    people.fixture.provider.gate.send_replace(false);
    let first = spawn(&people.fixture.refresher, &people.alice(), Need::Live);
    people.fixture.provider.until_asked(1).await;
    let stored = people.stored().await;
    let told = people.fixture.held.refreshing.lock().unwrap().clone();
    assert_eq!(told, [(stored.id, Generation(1), stored.intent.unwrap().deadline)]);
    let second = spawn(&people.fixture.refresher, &people.alice(), Need::Live);
    let elsewhere = spawn(&people.fixture.other_broker(), &people.alice(), Need::Live);
    people.fixture.provider.gate.send_replace(true);
    for caller in [first, second, elsewhere] {
        assert_eq!(text(&caller.await.unwrap().unwrap()), "canary-token-1");
    }
    assert_eq!(people.fixture.provider.count(), 1);
}

#[tokio::test]
async fn i5_what_waits_for_its_turn_when_the_broker_ends_asks_nobody_any_more() {
    let budget = Budget { at_once: 1, ..Budget::default() };
    let people = People::with(&GENERIC, Limits { budget, ..Limits::default() }).await;
    people.agrees(Some("canary-refresh-0")).await;
    let bob = people.server(&["read"], "r1", "bob");
    let his =
        agreed(&people.fixture.vault, bob.grant(), Generation(1), people.fixture.clock.now(), "bobs", Some("his"));
    people.fixture.store.commit_grant(&his.await).await.unwrap();
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.gate.send_replace(false);
    let first = spawn(&people.fixture.refresher, &people.alice(), Need::Live);
    people.fixture.provider.until_asked(1).await;
    let waits = spawn(&people.fixture.refresher, &bob, Need::Live);
    let key = people.fixture.refresher.0.key(&bob.grant());
    while !people.fixture.refresher.0.flights.under_way(&key) {
        tokio::task::yield_now().await;
    }
    let (draining, provider) = (people.fixture.refresher.drain(Duration::from_secs(20)), &people.fixture.provider);
    let (left, _) = tokio::join!(draining, async { provider.gate.send_replace(true) });
    assert!(matches!(waits.await.unwrap(), Err(RefreshError::Draining)));
    assert!(first.await.unwrap().is_ok());
    assert_eq!((left, people.fixture.provider.count()), (0, 1));
}

#[tokio::test]
async fn v8_an_opened_token_that_nobody_uses_stays_in_memory_no_longer_than_its_age() {
    let limits = Limits { opened_age: Duration::from_millis(50), ..Limits::default() };
    let people = People::with(&GENERIC, limits).await;
    people.agrees(Some("canary-refresh-0")).await;
    let served = people.fixture.refresher.token(&people.alice(), Need::Live).await.unwrap();
    let token = Arc::downgrade(&served.token);
    drop(served);
    let gone = async {
        while token.upgrade().is_some() {
            people.fixture.refresher.renew_due(&[]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it is zeroized");
}
