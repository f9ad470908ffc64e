//! Many callers at every broker, one grant, one request (L1).

use std::{collections::BTreeSet, time::Instant};

use e2e::{acquire, broker_api, run};
use futures::{StreamExt, future::join_all, stream};
use sallyport_proto::broker::acquire_credential_response::Answer;

use super::*;

/// At each broker.
const CALLERS: usize = 50;

fn rounds() -> usize {
    e2e::rounds(20, 500)
}

/// Rounds between two master keys.
const ROUNDS_OF_A_KEY: usize = 50;

impl Fleet {
    /// What all callers of a person are given at once, at every broker and past the proxy, which would ask once for all.
    async fn given_at_once(&self, person: &str) -> BTreeSet<Vec<u8>> {
        let request = acquire(&self.world.broker.grpc, &self.token(person), &self.server).await;
        let mut apis = Vec::new();
        for broker in self.world.brokers() {
            apis.push(broker_api(&broker.grpc).await.expect("the same user may connect"));
        }
        let callers = (0..BROKERS * CALLERS).map(|caller| {
            let (mut api, request) = (apis[caller % BROKERS].clone(), request.clone());
            async move {
                match api.acquire_credential(request).await.expect("it answers").into_inner().answer {
                    Some(Answer::Credential(credential)) => credential.headers[0].value.clone(),
                    other => panic!("no credential: {other:?}"),
                }
            }
        });
        join_all(callers).await.into_iter().collect()
    }

    pub(super) fn redis(&mut self) -> &mut redis_counterpart::Redis {
        self.world.redis.as_mut().expect("brokers over Postgres have one")
    }

    /// So many people, whose tokens are over.
    pub(super) async fn people(&self, count: usize) -> Vec<String> {
        let people: Vec<String> = (0..count).map(|_| e2e::unique("caller")).collect();
        stream::iter(people.iter().map(|person| self.consents(person)))
            .buffer_unordered(8)
            .for_each(async |()| {})
            .await;
        people
    }

    /// For each of these people every caller gets the one token that the provider was asked for once.
    pub(super) async fn one_request_each(&self, people: &[String]) {
        let started = Instant::now();
        for person in people {
            let before = self.refreshes();
            let given = self.given_at_once(person).await;
            let family = self.provider.family_of(person).expect("they have consented");
            let newest = format!("Bearer {}", family.access_tokens[1]).into_bytes();
            assert_eq!(given, BTreeSet::from([newest]), "{person}");
            assert_eq!((self.refreshes() - before, family.revoked), (1, None), "{person}");
        }
        let each = started.elapsed() / u32::try_from(people.len()).expect("few");
        println!("{} rounds of {CALLERS} callers at each of {BROKERS} brokers: {each:?} each", people.len());
    }
}

#[test]
fn l1_fifty_callers_at_each_of_three_brokers_make_one_request() {
    run(async {
        let fleet = Fleet::start(World::build()).await;
        fleet.one_request_each(&fleet.people(rounds()).await).await;
    });
}

#[test]
fn l1_l5_fifty_callers_at_each_of_three_brokers_make_one_request_whatever_becomes_of_redis() {
    run(async {
        let mut fleet = Fleet::start(World::build()).await;
        let people = fleet.people(rounds()).await;
        for (number, five) in people.chunks(5).enumerate() {
            let (fifth, others) = five.split_last().expect("no chunk is empty");
            fleet.one_request_each(others).await;
            match number % 4 {
                0 => fleet.redis().kill(),
                1 => drop(fleet.redis().cli(&["flushall"])),
                2 => fleet.redis().pause(),
                _ => fleet.redis().restart_empty(),
            }
            fleet.one_request_each(std::slice::from_ref(fifth)).await;
            match number % 4 {
                0 => fleet.redis().restart_empty(),
                2 => fleet.redis().resume(),
                _ => {}
            }
        }
    });
}

#[test]
fn l1_v6_fifty_callers_at_each_of_three_brokers_make_one_request_while_their_grants_are_re_wrapped() {
    run(async {
        let mut fleet = Fleet::start(World::build().key_file()).await;
        let mut people = fleet.people(rounds()).await;
        // Twice as many grants as rounds: nobody calls for the others, which keep the re-wrap at it.
        fleet.people(rounds()).await;
        while !people.is_empty() {
            let now = people.split_off(people.len().saturating_sub(ROUNDS_OF_A_KEY));
            fleet.world.hand_over_to_a_new_key().await;
            let rewrap = async { fleet.world.broker.command(&["key", "rewrap"]).await.ok() };
            let (said, ()) = tokio::join!(rewrap, fleet.one_request_each(&now));
            let moved: usize = said.split(' ').next().and_then(|count| count.parse().ok()).expect("a number");
            assert!(moved >= now.len(), "{said}");
        }
    });
}
