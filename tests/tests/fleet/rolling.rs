//! Brokers started anew one after the other, as for a new version, while people call.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Instant,
};

use e2e::{
    Database, Issuer, eventually_within,
    provider::{Endpoint, Fault, Moment, TokenRequest},
    run, unique,
};
use futures::future::join_all;

use super::*;

const CALLERS: usize = 6;

/// How long tokens of the provider live, and how long it takes to begin with one: most of what is left of one that is due. So
/// much longer than the gate believes do they live, too: none is over that it has just let through.
const LIFE: Duration = Duration::from_secs(6);
const SLOW: Duration = Duration::from_secs(1);

/// Somebody calls, over and over. Without a name somebody new each time: nothing that they need is in any cache.
async fn calls_on(
    issuer: &Issuer,
    server: &Server,
    name: Option<&str>,
    over: &AtomicBool,
    calls: &AtomicUsize,
) -> Vec<String> {
    let mut failed = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let caller = name.map_or_else(|| unique("caller"), str::to_owned);
        let reply = server.call_as(&issuer.token(&caller, server).mint()).send().await;
        calls.fetch_add(1, Ordering::Relaxed);
        if reply.status != 200 || reply.json().get("result").is_none() {
            failed.push(reply.to_string());
        }
    }
    failed
}

#[test]
fn a_rolling_restart_of_brokers_with_a_key_file_fails_no_call() {
    run(async {
        let mut world = World::build().brokers(BROKERS).key_file().start().await;
        let server = world.server().auth(Auth::header()).apply().await;
        world.others_read_manifests().await;
        server.until_served().await;
        let (over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (issuer, first, others) = (&world.issuer, &mut world.broker, &mut world.others);
        let restarts = async {
            let started = Instant::now();
            for broker in std::iter::once(first).chain(others) {
                let before = calls.load(Ordering::Relaxed);
                broker.stop().await;
                broker.start().await;
                e2e::eventually("people go on calling", async || {
                    (calls.load(Ordering::Relaxed) > before + 20).then_some(())
                })
                .await;
            }
            over.store(true, Ordering::Relaxed);
            started.elapsed()
        };
        let calling = join_all((0..CALLERS).map(|_| calls_on(issuer, &server, None, &over, &calls)));
        let (took, failed) = tokio::join!(restarts, calling);
        let failed: Vec<_> = failed.into_iter().flatten().collect();
        println!("{} calls in {took:?}, {} failed", calls.load(Ordering::Relaxed), failed.len());
        assert!(failed.is_empty(), "{} of {}: {:#?}", failed.len(), calls.load(Ordering::Relaxed), failed.first());
    });
}

/// Which broker is at a refresh.
async fn refreshing(brokers: &[&mut Broker], database: &mut Database) -> Option<usize> {
    let owner = database.text("SELECT COALESCE(MIN(intent_owner), '') FROM grants", &[]).await;
    // Drawn at a broker's first start, and a part of its name.
    let id = |broker: &Broker| std::fs::read_to_string(broker.data.join("broker.id")).expect("it has started");
    brokers.iter().position(|broker| owner.contains(&id(broker)))
}

#[test]
fn i5_a_rolling_restart_in_the_midst_of_refreshes_fails_no_call_and_asks_once_for_each_token() {
    run(async {
        let fleet = Fleet::start(World::build()).await;
        fleet.provider.access_token_life(LIFE);
        fleet.provider.fail(Endpoint::Token, Fault::Delay(Moment::BeforeProcess, SLOW));
        let people: Vec<_> = (0..CALLERS).map(|_| unique("person")).collect();
        for person in &people {
            let page = fleet.world.consent(&Browser::of(person), &fleet.server).await;
            assert!(page.text.contains(" is connected."), "{person}: {page:?}");
        }
        let (over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
        let Fleet { mut world, provider, server } = fleet;
        let World { issuer, broker: first, others, .. } = &mut world;
        let calling = join_all(people.iter().map(|person| calls_on(issuer, &server, Some(person), &over, &calls)));
        let restarts = async {
            let (mut database, mut told_to_end) = (first.database().await, Vec::new());
            let mut brokers: Vec<_> = std::iter::once(first).chain(others).collect();
            for _ in 0..e2e::rounds(2, 10) {
                let mut left: BTreeSet<usize> = (0..brokers.len()).collect();
                while !left.is_empty() {
                    let number = eventually_within(TAKEN_UP, "one of the rest is at a refresh", async || {
                        refreshing(&brokers, &mut database).await.filter(|number| left.contains(number))
                    })
                    .await;
                    told_to_end.push(Instant::now());
                    brokers[number].stop().await;
                    brokers[number].start().await;
                    left.remove(&number);
                }
            }
            over.store(true, Ordering::Relaxed);
            told_to_end
        };
        let (told_to_end, failed) = tokio::join!(restarts, calling);
        let (failed, calls): (Vec<_>, _) = (failed.into_iter().flatten().collect(), calls.load(Ordering::Relaxed));
        let requests = provider.token_requests_by("refresh_token");
        let in_the_midst = told_to_end.iter().filter(|told| {
            let until = |request: &TokenRequest| request.answered.map(|answered| request.at + answered.after);
            requests.iter().any(|request| request.at < **told && until(request).is_some_and(|until| **told < until))
        });
        assert_eq!(in_the_midst.count(), told_to_end.len(), "each was told to end over a request, which was answered");
        let refreshes = requests.len();
        println!("{calls} calls, {} refreshes, {} failed", refreshes, failed.len());
        assert!(failed.is_empty(), "{} of {calls}: {:#?}", failed.len(), failed.first());
        for family in provider.families() {
            assert_eq!(family.revoked, None, "{family:?}");
            assert!(family.refresh_tokens.iter().all(|token| provider.uses_of(token) <= 1), "{family:?}");
        }
    });
}
