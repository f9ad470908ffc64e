//! What a broker that died has left: taken up by the class of its provider.

use super::people::{DUE, People};
use super::*;
use crate::oauth::profile::{GENERIC, GITHUB, GOOGLE, MICROSOFT, Profile, Rotation};
use crate::store::{Intent, Standing};

static GRACE: Profile = Profile { rotation: Rotation::Grace(Duration::from_secs(30)), ..GENERIC };

impl People {
    /// As a broker leaves it that ended while it asked.
    async fn dangles(&self, owner: &str, attempt: u32) -> Intent {
        let stored = self.stored().await;
        let now = self.fixture.clock.now();
        let intent =
            Intent { owner: owner.to_owned(), attempt, started_at: now, deadline: now.after(Duration::from_secs(20)) };
        let instead_of = stored.intent.as_ref();
        self.fixture.store.take_intent(&stored.id, stored.generation, &intent, instead_of, None).await.unwrap();
        intent
    }

    /// A broker died while it asked, and the provider has used the refresh token up.
    async fn lost_an_answer(profile: &'static Profile) -> Self {
        let people = Self::at(profile).await;
        people.agrees(Some("canary-refresh-0")).await;
        people.fixture.provider.is_strict("what nobody here ever read");
        people.dangles("a/earlier", 1).await;
        people
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
async fn what_a_strict_provider_did_without_our_hearing_it_ends_the_refreshes_and_the_old_token_serves_until_it_expires()
 {
    for profile in [&GRACE, &GENERIC] {
        let people = People::lost_an_answer(profile).await;
        let restarted = people.recovers().await;
        let stored = people.stored().await;
        assert_eq!(stored.standing, ConsentReason::InvalidGrant.as_standing(), "who looks at it is told");
        assert_eq!(stored.material.unwrap().refresh_token, None, "nobody can ever send it again");
        people.fixture.clock.advance(DUE);
        for need in [Need::Live, Need::NotDue, Need::Live] {
            let served = restarted.token(&people.alice(), need).await.unwrap();
            assert_eq!(
                (text(&served).as_str(), served.token.refresh_after),
                ("canary-agreed", served.token.expires_at)
            );
        }
        assert_eq!(restarted.renew_due(&[]).await.unwrap(), 0, "there is nothing to renew");
        people.fixture.clock.advance(HOUR);
        for _ in 0..3 {
            let error = restarted.token(&people.alice(), Need::Live).await.unwrap_err();
            assert!(matches!(error, RefreshError::NeedsConsent { reason: ConsentReason::InvalidGrant }), "{error:?}");
        }
        let stored = people.stored().await;
        assert_eq!((stored.standing, stored.material), (ConsentReason::InvalidGrant.as_standing(), None));
        assert_eq!(people.fixture.provider.count(), 1);
    }
}

#[tokio::test]
async fn where_a_refresh_kills_the_old_token_a_lost_answer_ends_all() {
    let people = People::lost_an_answer(&GITHUB).await;
    people.recovers().await;
    let stored = people.stored().await;
    assert_eq!((stored.standing, stored.material), (ConsentReason::InvalidGrant.as_standing(), None));
}

#[tokio::test]
async fn where_asking_twice_changes_nothing_invalid_grant_ends_all() {
    for profile in [&GOOGLE, &MICROSOFT] {
        let people = People::lost_an_answer(profile).await;
        people.recovers().await;
        assert_eq!(people.stored().await.material, None);
    }
}

#[tokio::test]
async fn what_is_left_of_a_grant_is_over_once_its_upstream_refuses_it() {
    let people = People::lost_an_answer(&GENERIC).await;
    let restarted = people.recovers().await;
    let error = restarted.token(&people.alice(), Need::LaterThan(Generation(1))).await.unwrap_err();
    assert!(matches!(error, RefreshError::NeedsConsent { reason: ConsentReason::InvalidGrant }), "{error:?}");
    assert!(restarted.token(&people.alice(), Need::Live).await.is_err());
    assert_eq!((people.stored().await.material, people.fixture.provider.count()), (None, 1));
}

#[tokio::test]
async fn another_broker_that_finds_it_due_in_memory_does_not_end_what_is_left() {
    let people = People::lost_an_answer(&GENERIC).await;
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-agreed");
    people.recovers().await;
    people.fixture.clock.advance(DUE);
    for need in [Need::Live, Need::NotDue] {
        assert_eq!(people.token(need).await.unwrap(), "canary-agreed");
        people.until_idle().await;
    }
    let served = people.fixture.refresher.token(&people.alice(), Need::Live).await.unwrap();
    assert_eq!(served.token.refresh_after, served.token.expires_at, "it is due no more");
    assert_eq!(people.fixture.provider.count(), 1);
}

#[tokio::test]
async fn i5_a_lost_answer_that_comes_from_the_spool_after_all_makes_the_grant_whole() {
    let people = People::lost_an_answer(&GENERIC).await;
    let answer = people.next_generation("canary-late", Some("canary-late-refresh")).await;
    people.recovers().await;
    people.fixture.restarted().0.spool.put(answer.clone()).await;
    let restarted = people.fixture.restarted();
    restarted.0.replay_all().await.unwrap();
    assert_eq!(people.stored().await.standing, Standing::Live);
    assert_eq!(text(&restarted.token(&people.alice(), Need::Live).await.unwrap()), "canary-late");
}

#[tokio::test]
async fn consent_makes_what_is_left_whole_and_a_revocation_ends_it() {
    let people = People::lost_an_answer(&GENERIC).await;
    people.recovers().await;
    people.agrees(Some("canary-refresh-anew")).await;
    assert_eq!(people.stored().await.standing, Standing::Live);
    let people = People::lost_an_answer(&GENERIC).await;
    people.recovers().await;
    let stored = people.stored().await;
    let (revoked, now) = (Standing::Revoked("holder".into()), people.fixture.clock.now());
    people.fixture.store.end_grant(&stored.id, stored.generation, &revoked, now).await.unwrap();
    people.fixture.refresher.forget(&stored.key, stored.generation);
    assert_eq!(people.reason().await, ConsentReason::Revoked);
}

#[tokio::test]
async fn a_strict_provider_is_asked_twice_and_never_a_third_time() {
    let people = People::impatient(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.provider.hangs(true);
    people.fixture.clock.advance(DUE);
    // Longer than both waits, and shorter than what is left of its life.
    for _ in 0..12 {
        assert_eq!(people.token(Need::NotDue).await.unwrap(), "canary-agreed", "until it expires");
        people.fixture.clock.advance(Duration::from_secs(40));
    }
    assert_eq!(people.fixture.provider.count(), 2);
    assert_eq!(people.stored().await.standing, ConsentReason::Lost.as_standing());
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
    // Whenever it was first seen.
    people.fixture.clock.advance(intent.deadline.since(people.fixture.clock.now()) + others::MAX_SKEW);
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
