//! Answers with a refresh token and no access token to use: the one is never lost for want of the other.

use super::people::{DUE, People};
use super::*;
use crate::oauth::profile::{GENERIC, GITHUB, Profile};
use crate::store::Standing;

/// An answer that rotates, and gives nothing to use.
const ALONE: &str = r#"{"access_token":"null","refresh_token":"canary-refresh-NUMBER","expires_in":3600}"#;

impl People {
    /// The token is due, and the provider answers a refresh with a refresh token alone.
    async fn given_alone(profile: &'static Profile) -> Self {
        let people = Self::at(profile).await;
        people.agrees(Some("canary-refresh-0")).await;
        people.fixture.clock.advance(DUE);
        people.fixture.provider.answers(200, ALONE);
        people
    }
}

#[tokio::test]
async fn i5_a_refresh_token_alone_is_kept_and_the_old_access_token_serves_on() {
    let people = People::given_alone(&GENERIC).await;
    let before = people.stored().await.material.unwrap();
    assert_eq!(people.token(Need::NotDue).await.unwrap(), "canary-agreed");
    let stored = people.stored().await;
    assert_eq!((stored.generation, stored.standing, stored.intent), (Generation(2), Standing::Live, None));
    assert_eq!(stored.material.unwrap().expires_at, before.expires_at, "it lives no longer for it");
    for served in [people.token(Need::Live).await, people.token(Need::NotDue).await] {
        assert_eq!(served.unwrap(), "canary-agreed");
    }
    assert_eq!(people.fixture.provider.count(), 1, "the provider is left alone for a while");
    let rows = people.fixture.store.audit(0, "", "", "refresh.failed", 10).await.unwrap();
    assert!(rows.len() == 1 && rows[0].entry.json.contains("refresh_token_alone"), "{rows:?}");
    people.fixture.provider.answers(200, provider::PAIR);
    people.fixture.clock.advance(Duration::from_secs(2));
    assert_eq!(people.token(Need::NotDue).await.unwrap(), "canary-token-2");
    assert_eq!(people.sent(), ["canary-refresh-0", "canary-refresh-1"]);
}

#[tokio::test]
async fn the_old_access_token_opens_at_its_new_generation_elsewhere() {
    let people = People::given_alone(&GENERIC).await;
    assert_eq!(people.token(Need::NotDue).await.unwrap(), "canary-agreed");
    assert_eq!(people.stored().await.generation, Generation(2));
    let elsewhere = people.fixture.other_broker().token(&people.alice(), Need::Live).await.unwrap();
    assert_eq!(text(&elsewhere), "canary-agreed");
}

#[tokio::test]
async fn i5_refresh_tokens_alone_are_kept_time_after_time_and_the_provider_is_named_meanwhile() {
    let people = People::given_alone(&GENERIC).await;
    people.fixture.clock.advance(HOUR);
    for round in 1..=5 {
        let error = people.token(Need::Live).await.unwrap_err();
        let waits = matches!(&error, RefreshError::Provider { retry_after, .. } if !retry_after.is_zero());
        assert!(waits, "{error:?}");
        assert!(people.token(Need::Live).await.is_err());
        assert_eq!(
            (people.fixture.provider.count(), people.stored().await.generation),
            (round, Generation(1 + round as u64))
        );
        people.fixture.refresher.reconsider();
    }
    people.fixture.provider.answers(200, provider::PAIR);
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-6");
    assert_eq!(people.sent().last().unwrap(), "canary-refresh-5");
}

#[tokio::test]
async fn a_token_that_a_refresh_has_killed_is_served_no_more_though_no_other_came() {
    let people = People::given_alone(&GITHUB).await;
    assert!(matches!(people.token(Need::Live).await, Err(RefreshError::Provider { .. })));
    assert!(matches!(people.token(Need::Live).await, Err(RefreshError::Provider { .. })));
    assert!(people.fixture.other_broker().token(&people.alice(), Need::Live).await.is_err());
    people.fixture.provider.answers(200, provider::PAIR);
    people.fixture.refresher.reconsider();
    assert!(people.token(Need::Live).await.unwrap().starts_with("canary-token-"));
}

#[tokio::test]
async fn what_stands_where_no_access_token_is_never_lived_whatever_a_clock_says() {
    let people = People::given_alone(&GITHUB).await;
    assert!(people.token(Need::Live).await.is_err());
    let material = people.stored().await.material.unwrap();
    assert_eq!(material.expires_at, material.issued_at);
    let slow = Arc::new(FixedClock::at(START.after(Duration::from_secs(1))));
    let behind = Refresher::new(Parts { clock: slow, ..people.fixture.parts("behind") });
    people.fixture.provider.answers(503, "");
    let error = behind.token(&people.alice(), Need::Live).await.unwrap_err();
    assert!(matches!(error, RefreshError::Provider { .. }), "{error:?}");
}

#[tokio::test]
async fn l7_the_provider_is_left_alone_though_its_answer_ended_the_generation_before() {
    let people = People::given_alone(&GITHUB).await;
    assert!(matches!(people.token(Need::Live).await, Err(RefreshError::Provider { .. })));
    let ended = people.fixture.store.invalidations(0, 10).await.unwrap().records;
    assert_eq!(ended.last().unwrap().generation, Generation(1));
    for _ in 0..10 {
        // As every broker does that reads it back, this one among them.
        for ended in &ended {
            people.fixture.refresher.forget(&ended.key, ended.generation);
        }
        assert!(matches!(people.token(Need::Live).await, Err(RefreshError::Provider { .. })));
    }
    assert_eq!(people.fixture.provider.count(), 1);
    people.agrees(Some("canary-refresh-anew")).await;
    people.fixture.provider.answers(200, provider::PAIR);
    people.fixture.clock.advance(HOUR);
    assert!(people.token(Need::Live).await.is_ok(), "what was agreed to anew waits for nothing");
}

#[tokio::test]
async fn i5_a_refresh_token_alone_waits_in_the_spool_while_the_store_is_down() {
    let limits = Limits { commit: Duration::from_millis(50), wait: Duration::from_secs(20), ..Limits::default() };
    let people = People::with(&GENERIC, limits).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(DUE);
    let long = ALONE.replace("NUMBER", &format!("NUMBER-{}", "r".repeat(12_000)));
    people.fixture.provider.answers(200, &long);
    people.fixture.provider.gate.send_replace(false);
    let caller = spawn(&people.fixture.refresher, &people.alice(), Need::NotDue);
    people.fixture.provider.until_asked(1).await;
    people.fixture.store.fill().await;
    people.fixture.provider.gate.send_replace(true);
    assert_eq!(text(&caller.await.unwrap().unwrap()), "canary-agreed");
    assert_eq!(people.stored().await.generation, Generation(1));
    people.fixture.store.make_room().await;
    let restarted = people.fixture.restarted();
    restarted.recover(&[Arc::clone(&people.client)]).await.unwrap();
    assert_eq!(people.stored().await.generation, Generation(2));
    people.fixture.provider.is_strict(&format!("canary-refresh-1-{}", "r".repeat(12_000)));
    people.fixture.provider.answers(200, provider::PAIR);
    assert_eq!(text(&restarted.token(&people.alice(), Need::NotDue).await.unwrap()), "canary-token-2");
}

#[tokio::test]
async fn client_credentials_keep_no_refresh_token_and_what_there_was_serves_on() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    fixture.clock.advance(HOUR.mul_f64(0.9));
    fixture.provider.answers(200, ALONE);
    assert_eq!(fixture.text(Need::NotDue).await, "canary-token-1");
    let stored = fixture.stored().await.unwrap();
    assert_eq!((stored.generation, stored.material.unwrap().refresh_token), (Generation(1), None));
}
