//! Pauses after requests that gave no token: kept in the store, for every broker and every start (threats L7, L10).

use super::people::{DUE, People};
use super::*;
use crate::oauth::profile::{GENERIC, MICROSOFT};
use crate::store::Standing;

const SKEW: Duration = Duration::from_secs(5 * 60);

impl People {
    /// Another broker on the same store, whose clock is its own.
    fn broker_at(&self, name: &str, clock: &Arc<FixedClock>) -> Refresher {
        Refresher::new(Parts { clock: Arc::clone(clock) as Arc<dyn Clock>, ..self.fixture.parts(name) })
    }

    /// The provider hangs, and is given up: nobody knows what it did.
    async fn hung(&self) {
        self.agrees(Some("canary-refresh-0")).await;
        self.fixture.clock.advance(DUE);
        self.fixture.provider.gate.send_replace(false);
        assert_eq!(self.token(Need::NotDue).await.unwrap(), "canary-agreed");
        self.fixture.provider.gate.send_replace(true);
        assert_eq!(self.fixture.provider.count(), 1);
        let pause = self.stored().await.pause.unwrap();
        assert!(pause.is_before_the_last && pause.until > self.fixture.clock.now(), "{pause:?}");
    }

    async fn asks(&self, broker: &Refresher) -> usize {
        let _ = broker.token(&self.alice(), Need::NotDue).await;
        self.fixture.provider.count()
    }
}

#[tokio::test]
async fn l7_a_strict_provider_that_hung_is_not_asked_again_by_a_restart_before_its_pause_is_over() {
    let people = People::impatient(&GENERIC).await;
    people.hung().await;
    let pause = people.stored().await.pause.unwrap();
    for _ in 0..3 {
        let restarted = people.fixture.restarted();
        restarted.recover(&[Arc::clone(&people.client)]).await.unwrap();
        assert_eq!(people.asks(&restarted).await, 1);
        assert_eq!(text(&restarted.token(&people.alice(), Need::Live).await.unwrap()), "canary-agreed");
    }
    people.fixture.clock.advance(pause.until.since(people.fixture.clock.now()));
    let restarted = people.fixture.restarted();
    assert_eq!(text(&restarted.token(&people.alice(), Need::NotDue).await.unwrap()), "canary-token-1");
}

#[tokio::test]
async fn l7_another_broker_waits_as_long_as_the_one_that_was_hung_up_on_and_then_makes_the_one_attempt_left() {
    let people = People::impatient(&GENERIC).await;
    people.hung().await;
    people.fixture.provider.gate.send_replace(false);
    let other = people.fixture.other_broker();
    let pause = people.stored().await.pause.unwrap();
    assert_eq!(people.asks(&other).await, 1);
    people.fixture.clock.advance(pause.until.since(people.fixture.clock.now()) - Duration::from_millis(1));
    assert_eq!(people.asks(&other).await, 1);
    people.fixture.clock.advance(Duration::from_millis(1));
    assert_eq!(people.asks(&other).await, 2);
    // Neither of them, nor a third one, asks again.
    for broker in [&other, &people.fixture.refresher, &people.fixture.restarted()] {
        people.fixture.clock.advance(HOUR / 100);
        assert_eq!(people.asks(broker).await, 2);
    }
    people.fixture.clock.advance(HOUR);
    assert_eq!(people.reason().await, ConsentReason::Lost);
    assert_eq!(people.fixture.provider.count(), 2);
}

#[tokio::test]
async fn l7_how_long_a_provider_asks_to_be_left_alone_holds_at_every_broker_and_every_start() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.asks_to_wait(429, 90);
    assert!(people.token(Need::Live).await.is_err());
    assert_eq!(people.stored().await.intent, None, "it said no: no attempt is spent");
    for _ in 0..9 {
        for broker in [people.fixture.other_broker(), people.fixture.restarted()] {
            let error = broker.token(&people.alice(), Need::Live).await.unwrap_err();
            assert!(
                matches!(&error, RefreshError::Provider { retry_after, .. } if !retry_after.is_zero()),
                "{error:?}"
            );
        }
        people.fixture.clock.advance(Duration::from_secs(10));
    }
    assert_eq!(people.fixture.provider.count(), 1);
    people.fixture.provider.answers(200, provider::PAIR);
    people.fixture.clock.advance(Duration::from_secs(10));
    assert!(people.fixture.other_broker().token(&people.alice(), Need::Live).await.is_ok());
}

#[tokio::test]
async fn l7_how_long_a_provider_asks_to_leave_a_service_alone_holds_at_every_broker() {
    let fixture = Fixture::new().await;
    fixture.token(Need::Live).await.unwrap();
    fixture.clock.advance(HOUR);
    fixture.provider.asks_to_wait(429, 90);
    assert!(fixture.token(Need::Live).await.is_err());
    for broker in [fixture.other_broker(), fixture.restarted()] {
        assert!(broker.token(&fixture.service(), Need::Live).await.is_err());
    }
    assert_eq!(fixture.provider.count(), 2);
}

#[tokio::test]
async fn a_refusal_of_the_client_is_told_as_one_by_every_broker_until_an_operator_changes_something() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.answers(401, r#"{"error":"invalid_client"}"#);
    assert!(people.token(Need::Live).await.is_err());
    let other = people.fixture.other_broker();
    let error = other.token(&people.alice(), Need::Live).await.unwrap_err();
    let refused = crate::oauth::RefusalCode::InvalidClient;
    assert!(matches!(&error, RefreshError::Refused { code, .. } if *code == refused), "{error:?}");
    assert_eq!(people.fixture.provider.count(), 1);
    other.reconsider();
    assert!(other.token(&people.alice(), Need::Live).await.is_err());
    assert_eq!(people.fixture.provider.count(), 2);
}

#[tokio::test]
async fn what_a_gateway_said_before_a_restart_leaves_the_old_token_until_it_expires() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(DUE);
    people.fixture.provider.answers(504, "");
    assert_eq!(people.token(Need::NotDue).await.unwrap(), "canary-agreed");
    people.fixture.provider.is_strict("what the gateway kept to itself");
    people.fixture.clock.advance(Duration::from_secs(2));
    let restarted = people.fixture.restarted();
    assert_eq!(text(&restarted.token(&people.alice(), Need::NotDue).await.unwrap()), "canary-agreed");
    let stored = people.stored().await;
    assert_eq!(stored.standing, ConsentReason::InvalidGrant.as_standing());
    assert!(stored.material.is_some());
}

#[tokio::test]
async fn l10_a_broker_whose_clock_is_hours_ahead_stops_no_refresh_for_longer_than_a_pause() {
    let people = People::at(&MICROSOFT).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.asks_to_wait(429, 90);
    let ahead = Arc::new(FixedClock::at(people.fixture.clock.now().after(20 * HOUR)));
    assert!(people.broker_at("ahead", &ahead).token(&people.alice(), Need::Live).await.is_err());
    people.fixture.provider.answers(200, provider::PAIR);
    assert!(people.token(Need::Live).await.is_err(), "it is left alone");
    people.fixture.clock.advance(Duration::from_secs(100));
    assert!(people.token(Need::Live).await.is_ok());
}

#[tokio::test]
async fn l10_brokers_whose_clocks_are_five_minutes_apart_ask_no_more_than_twice_as_often() {
    // What one broker alone asks of a provider that fails for an hour, and what three do of which two are wrong.
    let mut asked = Vec::new();
    for offsets in [&[1][..], &[0, 1, 2][..]] {
        let people = People::at(&MICROSOFT).await;
        people.agrees(Some("canary-refresh-0")).await;
        people.fixture.clock.advance(2 * HOUR);
        people.fixture.provider.answers(503, "");
        let start = UnixTime(people.fixture.clock.now().0 - u64::try_from(SKEW.as_millis()).unwrap());
        let clocks: Vec<_> = offsets.iter().map(|at| Arc::new(FixedClock::at(start.after(SKEW * *at)))).collect();
        let brokers: Vec<_> =
            clocks.iter().enumerate().map(|(n, clock)| people.broker_at(&format!("broker-{n}"), clock)).collect();
        for _ in 0..1800 {
            for broker in &brokers {
                let _ = broker.token(&people.alice(), Need::Live).await;
            }
            clocks.iter().for_each(|clock| clock.advance(Duration::from_secs(2)));
        }
        asked.push(people.fixture.provider.count());
    }
    assert!(asked[0] >= 10 && asked[1] <= 2 * asked[0], "{asked:?}");
}

#[tokio::test]
async fn l10_a_broker_whose_clock_is_ahead_takes_no_refresh_over_that_is_under_way() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(DUE);
    people.fixture.provider.gate.send_replace(false);
    let ahead = Arc::new(FixedClock::at(people.fixture.clock.now().after(SKEW - Duration::from_secs(1))));
    let ahead = people.broker_at("ahead", &ahead);
    let first = spawn(&people.fixture.refresher, &people.alice(), Need::NotDue);
    people.fixture.provider.until_asked(1).await;
    let second = spawn(&ahead, &people.alice(), Need::LaterThan(Generation(1)));
    let key = ahead.0.key(&people.alice().grant());
    while !ahead.0.flights.under_way(&key) {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(Duration::from_millis(200), people.fixture.provider.until_asked(2)).await.unwrap_err();
    people.fixture.provider.gate.send_replace(true);
    for caller in [first, second] {
        assert_eq!(text(&caller.await.unwrap().unwrap()), "canary-token-1");
    }
    assert_eq!((people.fixture.provider.count(), people.stored().await.standing), (1, Standing::Live));
}

#[tokio::test]
async fn l10_a_broker_whose_clock_is_ahead_makes_no_last_attempt_before_its_pause_is_over() {
    let people = People::impatient(&GENERIC).await;
    people.hung().await;
    let pause = people.stored().await.pause.unwrap();
    // Half an hour of life is left by its clock too: the token was given for longer.
    people.fixture.store.tamper("UPDATE grants SET expires_at = expires_at + 3600000").await;
    let clock = Arc::new(FixedClock::at(people.fixture.clock.now().after(SKEW)));
    let ahead = people.broker_at("ahead", &clock);
    let lasts = pause.until.since(pause.from);
    assert_eq!(people.asks(&ahead).await, 1);
    clock.advance(lasts - Duration::from_millis(1));
    assert_eq!(people.asks(&ahead).await, 1);
    clock.advance(Duration::from_millis(1));
    assert_eq!(people.asks(&ahead).await, 2);
}
