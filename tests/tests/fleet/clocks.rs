//! Brokers whose machines' clocks are apart (threats L10).

use std::time::Instant;

use e2e::run;

use super::*;

/// As far as clocks may be off, milliseconds.
const SKEW: i64 = 5 * 60 * 1000;
/// Short against the skew.
const LIFE: Duration = Duration::from_secs(10);
const RUNS: Duration = Duration::from_secs(32);

#[test]
fn l10_brokers_whose_clocks_are_ten_minutes_apart_give_no_expired_token_and_ask_twice_as_often_at_most() {
    run(async {
        let mut fleet = Fleet::start(World::build()).await;
        fleet.provider.access_token_life(LIFE);
        let person = e2e::unique("person");
        fleet.consents(&person).await;
        for (broker, off) in fleet.world.brokers_mut().zip([-SKEW, 0, SKEW]) {
            broker.stop().await;
            broker.start_with_clock_off(off).await;
        }
        for (broker, is_off) in fleet.world.brokers().zip([true, false, true]) {
            let told = readiness(broker).await;
            let clock = told["degraded"].as_array().expect("a list").iter().find(|told| told["what"] == "clock");
            assert_eq!(clock.is_some(), is_off, "{told}");
        }
        let started = Instant::now();
        let (mut given, mut pace) = (0, tokio::time::interval(Duration::from_millis(100)));
        while started.elapsed() < RUNS {
            for broker in fleet.world.brokers() {
                let Some(token) = fleet.given_by(broker, &person, &fleet.server).await else { continue };
                let holder = fleet.provider.holder_of(token.trim_start_matches("Bearer "));
                assert!(holder.is_some(), "a token that is over was given after {:?}", started.elapsed());
                given += 1;
            }
            pace.tick().await;
        }
        // One broker alone: at once, and then each time that four fifths of a life are over.
        let alone = 1 + usize::try_from(RUNS.as_secs() / (LIFE.as_secs() * 4 / 5)).expect("it fits");
        assert!(given > 100 && (2..=2 * alone).contains(&fleet.refreshes()), "{given} given, {}", fleet.refreshes());
        assert_eq!(fleet.provider.family_of(&person).expect("they have consented").revoked, None);
    });
}
