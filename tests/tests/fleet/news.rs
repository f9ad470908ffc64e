//! What one broker was told, at the proxies of all, and how soon (I11, L11).

use std::time::Instant;

use e2e::{eventually_within, run};

use super::*;

/// Until when everybody must know, with Redis or without.
const FELT: Duration = Duration::from_secs(2);

/// Registers servers at one broker, one after the other; answers how long each took to be known everywhere.
async fn times(world: &World) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..9 {
        let server = world.server().apply().await;
        let applied = Instant::now();
        for broker in world.brokers() {
            eventually_within(FELT, "its proxies know it", async || knows(broker, &server).await.then_some(())).await;
        }
        times.push(applied.elapsed());
    }
    times.sort_unstable();
    times
}

#[test]
fn i11_what_is_applied_at_one_broker_is_in_force_at_all_within_two_seconds_without_redis() {
    run(async {
        let world = World::build().brokers(BROKERS).without_redis().start().await;
        println!("known everywhere, without Redis, after {:?}", times(&world).await);
    });
}

#[test]
fn i11_what_is_applied_at_one_broker_is_told_to_all_others_through_redis() {
    run(async {
        let fleet = Fleet::start(World::build()).await;
        fleet.until_they_coordinate().await;
        let heard = async |broker: &Broker| {
            let metrics = reqwest::get(format!("http://{}/metrics", broker.http)).await.expect("it answers");
            let metrics = metrics.text().await.expect("text");
            let line = metrics.lines().find(|line| line.starts_with("sallyport_notices_total{kind=\"policy\"}"));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).unwrap_or_default()
        };
        let before = join_all(fleet.world.others.iter().map(&heard)).await;
        let times = times(&fleet.world).await;
        println!("known everywhere, with Redis, after {times:?}");
        for (other, before) in fleet.world.others.iter().zip(before) {
            eventually("it has heard of each", async || (heard(other).await >= before + times.len()).then_some(()))
                .await;
        }
    });
}

#[test]
fn a_secret_that_one_broker_was_given_anew_is_used_by_all() {
    run(async {
        let fleet = Fleet::start(World::build()).await;
        let server = fleet.world.server().auth(Auth::header()).register().await;
        let group = server.name.split('/').next().expect("a group");
        let uses = async |value: Option<&str>| {
            let given = fleet.given_by_each("alice", &server).await;
            let is_used = |given: &Option<String>| {
                given.as_ref().is_some_and(|given| value.is_none_or(|value| given.contains(value)))
            };
            given.iter().all(is_used).then_some(())
        };
        eventually_within(FELT, "everybody knows the server", async || uses(None).await).await;
        for value in ["another-value", "a-third-value"] {
            fleet.world.broker.set_secret(group, "header", value, group).await;
            eventually_within(FELT, "everybody uses it", async || uses(Some(value)).await).await;
        }
    });
}

#[test]
fn l11_who_agrees_anew_is_called_for_with_the_new_token_by_every_broker_within_two_seconds() {
    run(async {
        let fleet = Fleet::start(World::build()).await;
        let alice = Browser::of("alice");
        fleet.world.consent(&alice, &fleet.server).await;
        for round in 0..5 {
            let newest = || fleet.provider.issued().last().map(|token| format!("Bearer {token}"));
            let given = async || fleet.given_by_each("alice", &fleet.server).await;
            let before = eventually_within(FELT, "every broker releases it", async || {
                let given = given().await;
                given.iter().all(|token| *token == newest()).then_some(given)
            })
            .await;
            // At another broker than the one that people speak to.
            fleet.another().command(&["grants", "revoke", "--all-of", "alice@example.com"]).await.ok();
            eventually_within(FELT, "no broker releases it", async || {
                given().await.iter().all(Option::is_none).then_some(())
            })
            .await;
            fleet.world.consent(&alice, &fleet.server).await;
            assert_ne!(before[0], newest(), "round {round}: there is another");
        }
        assert_eq!(fleet.refreshes(), 0);
    });
}

#[test]
fn a_token_that_is_revoked_at_one_broker_is_revoked_at_all() {
    run(async {
        let fleet = Fleet::start(World::build()).await;
        let token = fleet.world.broker.issue_token("--user", "alice@example.com", "1h").await;
        let revoked = async |broker: &Broker| e2e::snapshot(&broker.grpc).await.revocations.len();
        for broker in fleet.world.brokers() {
            assert_eq!(revoked(broker).await, 0);
        }
        fleet.another().revoke_token(&token).await;
        for broker in fleet.world.brokers() {
            eventually_within(FELT, "its proxies know", async || (revoked(broker).await == 1).then_some(())).await;
        }
    });
}
