//! Providers that fail: nothing is given up for what passes.

use super::people::{DUE, People};
use super::*;
use crate::oauth::RefusalCode;
use crate::oauth::profile::{GENERIC, GITHUB};
use crate::store::Standing;

#[tokio::test]
async fn l7_a_failing_provider_ends_no_grant_and_the_old_token_serves_until_it_expires() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(DUE);
    let failures =
        [(500, "canary"), (503, "{}"), (429, "{}"), (408, ""), (302, ""), (401, r#"{"error":"invalid_client"}"#)];
    for (asked, (status, body)) in (1..).zip(failures) {
        people.fixture.provider.answers(status, body);
        people.fixture.refresher.reconsider();
        assert_eq!(people.token(Need::NotDue).await.unwrap(), "canary-agreed", "{status}");
        let stored = people.stored().await;
        assert_eq!(
            (stored.generation, stored.standing, stored.intent),
            (Generation(1), Standing::Live, None),
            "{status}"
        );
        assert_eq!(people.fixture.provider.count(), asked);
    }
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.answers(503, "canary");
    people.fixture.refresher.reconsider();
    let error = people.token(Need::Live).await.unwrap_err();
    assert!(matches!(&error, RefreshError::Provider { host, .. } if host == "127.0.0.1"), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("canary"));
    people.fixture.provider.answers(200, provider::PAIR);
    people.fixture.refresher.reconsider();
    assert!(people.token(Need::Live).await.unwrap().starts_with("canary-token-"));
}

#[tokio::test]
async fn l7_a_failing_provider_is_left_alone_as_long_as_it_asks() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.asks_to_wait(429, 90);
    for _ in 0..20 {
        assert!(matches!(people.token(Need::Live).await, Err(RefreshError::Provider { .. })));
        people.fixture.clock.advance(Duration::from_secs(4));
    }
    assert_eq!(people.fixture.provider.count(), 1);
}

#[tokio::test]
async fn what_nobody_received_leaves_no_intent() {
    let mut people = People::at(&GENERIC).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Arc::get_mut(&mut people.client).unwrap().token_url = format!("http://{closed}/token").parse().unwrap();
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    assert!(matches!(people.token(Need::Live).await, Err(RefreshError::Provider { .. })));
    assert_eq!(people.stored().await.intent, None);
}

#[tokio::test]
async fn an_answer_that_never_comes_or_makes_no_sense_leaves_the_intent() {
    for garbled in [false, true] {
        let people = People::impatient(&GENERIC).await;
        people.agrees(Some("canary-refresh-0")).await;
        people.fixture.clock.advance(HOUR);
        match garbled {
            true => people.fixture.provider.answers(200, "<html>canary</html>"),
            false => people.fixture.provider.hangs(true),
        }
        assert!(matches!(people.token(Need::Live).await, Err(RefreshError::Provider { .. })));
        let stored = people.stored().await;
        assert_eq!((stored.generation, stored.intent.unwrap().attempt), (Generation(1), 1));
    }
}

#[tokio::test]
async fn l7_the_last_attempt_at_a_strict_provider_that_hangs_waits_while_the_old_token_serves_whatever_is_applied() {
    let people = People::impatient(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(DUE);
    people.fixture.provider.gate.send_replace(false);
    // Seven minutes of its life are left, of which the provider hangs for three.
    for _ in 0..4 {
        assert_eq!(people.token(Need::NotDue).await.unwrap(), "canary-agreed");
        assert_eq!(people.fixture.provider.count(), 1);
        // A manifest or a secret that has nothing to do with it.
        people.fixture.refresher.reconsider();
        people.fixture.clock.advance(Duration::from_secs(50));
    }
    people.fixture.provider.gate.send_replace(true);
    people.fixture.clock.advance(Duration::from_secs(90));
    assert!(people.token(Need::NotDue).await.unwrap().starts_with("canary-token-"));
}

#[tokio::test]
async fn l2_an_answer_that_went_astray_is_not_forgotten_because_the_next_request_came_to_nothing() {
    let people = People::impatient(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(DUE);
    people.fixture.provider.hangs(true);
    assert_eq!(people.token(Need::NotDue).await.unwrap(), "canary-agreed");
    people.fixture.provider.hangs(false);
    people.fixture.provider.answers(401, r#"{"error":"invalid_client"}"#);
    people.fixture.provider.is_strict("canary-refresh-0");
    people.fixture.clock.advance(Duration::from_secs(300));
    assert_eq!(people.token(Need::NotDue).await.unwrap(), "canary-agreed");
    assert_eq!((people.stored().await.intent.unwrap().attempt, people.fixture.provider.count()), (1, 2));
    // It has used the token up when it did not answer: its refreshes are over, and what is left serves.
    people.fixture.provider.is_strict("what nobody here ever read");
    people.fixture.clock.advance(Duration::from_secs(120));
    assert_eq!(people.token(Need::NotDue).await.unwrap(), "canary-agreed");
    let stored = people.stored().await;
    assert_eq!((stored.standing, people.fixture.provider.count()), (ConsentReason::InvalidGrant.as_standing(), 3));
    assert!(stored.material.is_some());
}

#[tokio::test]
async fn a_refused_client_is_the_operators_to_mend() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.answers(401, r#"{"error":"invalid_client"}"#);
    let error = people.token(Need::Live).await.unwrap_err();
    assert!(matches!(error, RefreshError::Refused { code: RefusalCode::InvalidClient, .. }), "{error:?}");
    assert_eq!(people.stored().await.standing, Standing::Live);
}

#[tokio::test]
async fn a_missing_client_secret_takes_no_intent() {
    let mut people = People::at(&GENERIC).await;
    Arc::get_mut(&mut people.client).unwrap().client_secret = Some(Template(vec![]));
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    assert!(matches!(people.token(Need::Live).await, Err(RefreshError::Secret(_))));
    assert_eq!((people.stored().await.intent, people.fixture.provider.count()), (None, 0));
}

#[tokio::test]
async fn where_a_refresh_kills_the_old_token_it_serves_again_if_the_provider_did_nothing() {
    let people = People::at(&GITHUB).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(DUE);
    people.fixture.provider.answers(503, "{}");
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-agreed");
    let now = people.fixture.clock.now();
    let told = people.fixture.held.refreshing.lock().unwrap().clone();
    assert!(matches!(told.as_slice(), [(_, _, until), (_, Generation(1), ended)] if *until > now && *ended == now));
}

#[tokio::test]
async fn where_a_refresh_kills_the_old_token_it_is_not_served_once_the_provider_may_have_acted() {
    let people = People::impatient(&GITHUB).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.token(Need::Live).await.unwrap();
    people.fixture.clock.advance(DUE);
    people.fixture.provider.hangs(true);
    for _ in 0..3 {
        assert!(matches!(people.token(Need::Live).await, Err(RefreshError::Provider { .. })));
    }
    assert_eq!(people.fixture.provider.count(), 1);
}
