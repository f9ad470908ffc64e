//! A Redis that is slow, cut off, or refuses: nothing depends on it, and it is said that it is skipped (L5).

use e2e::run;
use redis_counterpart::{Link, Mode, Redis};

use super::*;

/// Brokers that reach their Redis over a link which can fail.
pub(super) async fn linked() -> (Fleet, Link) {
    let redis = Redis::start();
    let link = Link::to(redis.port()).await;
    let url = redis.url_by(link.port());
    let fleet = Fleet::start(World::build().redis(redis, url)).await;
    fleet.until_they_coordinate().await;
    (fleet, link)
}

#[test]
fn l5_whatever_redis_does_each_refresh_is_one_request_and_everybody_is_served() {
    run(async {
        let (mut fleet, link) = linked().await;
        let people = fleet.people(e2e::rounds(16, 200)).await;
        for (round, person) in people.iter().enumerate() {
            // Just before they call: brokers find out as they refresh.
            match round % 8 {
                0 => link.set(Mode::Slow(Duration::from_secs(5))),
                2 => link.set(Mode::Partitioned),
                4 => link.set(Mode::Cut),
                6 => drop(fleet.redis().cli(&["acl", "setuser", "default", "-@all"])),
                // Gets well while they refresh.
                _ => link.set(Mode::Open),
            }
            fleet.one_request_each(std::slice::from_ref(person)).await;
            if round % 8 == 6 {
                fleet.redis().restart_empty();
            }
            if round % 8 == 7 {
                fleet.until_they_coordinate().await;
            }
        }
        assert!(!fleet.provider.was_family_revoked());
    });
}

#[test]
fn a_broker_without_its_redis_stays_ready_and_says_what_it_does_without() {
    run(async {
        let (mut fleet, link) = linked().await;
        fleet.redis().kill();
        let broker = &fleet.world.broker;
        let told = eventually("it says so", async || {
            let told = readiness(broker).await["degraded"].clone();
            (!told.as_array()?.is_empty()).then_some(told)
        })
        .await;
        assert_eq!(told[0]["what"], "redis");
        let why = told[0]["why"].as_str().expect("words");
        for what in [format!("Redis at 127.0.0.1:{}", link.port()), "Everything works".to_owned()] {
            assert!(why.contains(&what), "{why}");
        }
        let metrics = async |broker: &Broker| {
            let answer = reqwest::get(format!("http://{}/metrics", broker.http)).await.expect("it answers");
            answer.text().await.expect("text")
        };
        let lines = |broker: &Broker| broker.log().lines().filter(|line| line.contains("Redis is skipped")).count();
        assert!(metrics(broker).await.contains("sallyport_coordination_up 0"));
        let lost = lines(broker);
        fleet.redis().restart_empty();
        fleet.until_they_coordinate().await;
        let broker = &fleet.world.broker;
        assert!(metrics(broker).await.contains("sallyport_coordination_up 1"));
        assert_eq!((lost, lines(broker)), (1, 1), "one line, however often it tries");
    });
}
