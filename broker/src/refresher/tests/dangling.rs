//! What a broker that died has left: taken up by the class of its provider.

use super::people::People;
use super::*;
use crate::oauth::profile::{GENERIC, GOOGLE, MICROSOFT, Profile, Rotation};
use crate::store::Intent;

static GRACE: Profile = Profile { rotation: Rotation::Grace(Duration::from_secs(30)), ..GENERIC };

impl People {
    /// As a broker leaves it that ended while it asked.
    async fn dangles(&self, owner: &str, attempt: u32) -> Intent {
        let stored = self.stored().await;
        let now = self.fixture.clock.now();
        let intent =
            Intent { owner: owner.to_owned(), attempt, started_at: now, deadline: now.after(Duration::from_secs(20)) };
        let instead_of = stored.intent.as_ref();
        self.fixture.store.take_intent(&stored.id, stored.generation, &intent, instead_of).await.unwrap();
        intent
    }

    async fn recovers(&self) -> Refresher {
        let restarted = self.fixture.restarted();
        assert_eq!(restarted.recover(&[Arc::clone(&self.client)]).await.unwrap(), 1);
        restarted
    }
}

#[tokio::test]
async fn what_the_provider_never_saw_is_asked_again_at_the_next_start() {
    for profile in [&GOOGLE, &MICROSOFT, &GRACE, &GENERIC] {
        let people = People::at(profile).await;
        people.agrees(Some("canary-refresh-0")).await;
        people.dangles("a/earlier", 1).await;
        let restarted = people.recovers().await;
        let stored = people.stored().await;
        assert_eq!((stored.generation, stored.intent, people.fixture.provider.count()), (Generation(2), None, 1));
        assert_eq!(text(&restarted.token(&people.alice(), Need::Live).await.unwrap()), "canary-token-1");
        assert_eq!(restarted.recover(&[Arc::clone(&people.client)]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn what_a_strict_provider_did_without_our_hearing_it_asks_for_consent_after_one_more_request() {
    for profile in [&GRACE, &GENERIC] {
        let people = People::at(profile).await;
        people.agrees(Some("canary-refresh-0")).await;
        people.fixture.provider.is_strict("what nobody here ever read");
        people.dangles("a/earlier", 1).await;
        let restarted = people.recovers().await;
        for _ in 0..3 {
            let error = restarted.token(&people.alice(), Need::Live).await.unwrap_err();
            assert!(matches!(error, RefreshError::NeedsConsent { reason: ConsentReason::InvalidGrant }), "{error:?}");
        }
        assert_eq!(people.fixture.provider.count(), 1);
    }
}

#[tokio::test]
async fn a_strict_provider_is_asked_twice_and_never_a_third_time() {
    let people = People::impatient(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.provider.hangs(true);
    for _ in 0..10 {
        people.fixture.refresher.reconsider();
        let error = people.token(Need::LaterThan(Generation(1))).await.unwrap_err();
        assert!(matches!(error, RefreshError::Provider { .. }), "{error:?}");
    }
    assert_eq!(people.fixture.provider.count(), 2);
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-agreed", "until it expires");
    people.fixture.clock.advance(HOUR);
    people.fixture.refresher.reconsider();
    assert_eq!(people.reason().await, ConsentReason::Lost);
    assert_eq!(people.fixture.provider.count(), 2);
}

#[tokio::test]
async fn a_provider_that_does_not_rotate_is_asked_until_it_answers() {
    let people = People::impatient(&GOOGLE).await;
    people.agrees(None).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.gate.send_replace(false);
    for _ in 0..3 {
        people.fixture.refresher.reconsider();
        assert!(matches!(people.token(Need::Live).await, Err(RefreshError::Provider { .. })));
    }
    people.fixture.provider.gate.send_replace(true);
    people.fixture.refresher.reconsider();
    assert!(people.token(Need::Live).await.is_ok());
}

#[tokio::test]
async fn another_brokers_refresh_is_waited_for_until_its_deadline() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    let intent = people.dangles("other/start", 1).await;
    let restarted = people.fixture.restarted();
    assert_eq!(restarted.recover(&[Arc::clone(&people.client)]).await.unwrap(), 0);
    let caller = spawn(&people.fixture.refresher, &people.alice(), Need::Live);
    let key = people.fixture.refresher.0.key(&people.alice().grant());
    while !people.fixture.refresher.0.flights.under_way(&key) {
        tokio::task::yield_now().await;
    }
    assert_eq!(people.fixture.provider.count(), 0);
    people.fixture.clock.advance(intent.deadline.since(people.fixture.clock.now()) + Duration::from_millis(1));
    assert_eq!(text(&caller.await.unwrap().unwrap()), "canary-token-1");
}

#[tokio::test]
async fn grants_of_a_client_that_is_gone_are_left_as_they_are() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    let intent = people.dangles("a/earlier", 1).await;
    assert_eq!(people.fixture.restarted().recover(&[]).await.unwrap(), 0);
    assert_eq!(people.stored().await.intent, Some(intent));
}
