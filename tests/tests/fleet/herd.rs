//! Many callers at every broker, one grant, one request (L1).

use std::{collections::BTreeSet, time::Instant};

use e2e::{
    acquire, broker_api,
    provider::{Endpoint, Family, Fault, Moment},
    run,
};
use futures::{StreamExt, future::join_all, stream};
use redis_counterpart::Mode;
use sallyport_proto::broker::acquire_credential_response::Answer;

use super::*;

/// At each broker.
const CALLERS: usize = 50;
/// How long a provider holds an answer back over which something happens: less than callers wait.
const HELD: Duration = Duration::from_millis(600);

pub(super) fn rounds() -> usize {
    e2e::rounds(20, 500)
}

/// How the token is that everybody calls with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Its {
    /// Who calls waits for another.
    Over,
    /// Who calls goes on with it, and nobody waits.
    Due,
}

impl Its {
    /// Half of the rounds are so, and half otherwise.
    pub(super) fn of_round(number: usize) -> Self {
        if number.is_multiple_of(2) { Self::Over } else { Self::Due }
    }
}

fn header(token: &str) -> Vec<u8> {
    format!("Bearer {token}").into_bytes()
}

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

    fn family(&self, person: &str) -> Family {
        self.provider.family_of(person).expect("they have consented")
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

    /// Until this person has another pair than so many; the newest of their tokens.
    async fn another_pair(&self, person: &str, had: usize) -> String {
        let newest = async || self.family(person).access_tokens.get(had).cloned();
        eventually("the provider has another pair", newest).await
    }

    /// The provider is asked once for this person, whose token is over, and every caller gets what it gave. Or it is due: then
    /// callers get that, or the one that it was, and later callers the new one everywhere.
    pub(super) async fn round(&self, person: &str, its: Its) {
        if its == Its::Due {
            self.is_due(person).await;
        }
        let (before, had) = (self.refreshes(), self.family(person).access_tokens);
        let mut given = self.given_at_once(person).await;
        let newest = self.another_pair(person, had.len()).await;
        let everybody = given.remove(&header(&newest));
        match its {
            Its::Over => assert!(everybody && given.is_empty(), "{person}: {given:?}"),
            Its::Due => {
                let old = |given: &Vec<u8>| match had.last() {
                    Some(old) => *given == header(old),
                    None => given.starts_with(&header(&format!("seeded-access-token-of-{person}-"))),
                };
                assert!(given.len() <= 1 && given.iter().all(old), "{person}: {given:?}");
                eventually("the new one is served everywhere", async || {
                    let given = self.given_by_each(person, &self.server).await;
                    given.iter().flatten().all(|given| given.as_bytes() == header(&newest)).then_some(())
                })
                .await;
            }
        }
        assert_eq!((self.refreshes() - before, self.family(person).revoked), (1, None), "{person}");
    }

    /// Over the whole test, and when all that was under way has ended with the brokers: no more requests than rounds, and
    /// nobody's grant was ended.
    pub(super) async fn nothing_came_late(&mut self, rounds: usize) {
        for broker in self.world.brokers_mut() {
            broker.stop().await;
        }
        assert_eq!((self.refreshes(), self.provider.was_family_revoked()), (rounds, false), "after the last round");
        let ended: Vec<_> = self.provider.families().into_iter().filter(|family| family.revoked.is_some()).collect();
        assert!(ended.is_empty(), "{ended:#?}");
    }

    /// A round for each of these people, every other with a token that is due and lives.
    pub(super) async fn one_request_each(&self, people: &[String]) {
        let started = Instant::now();
        for (number, person) in people.iter().enumerate() {
            self.round(person, Its::of_round(number)).await;
        }
        let each = started.elapsed() / u32::try_from(people.len()).expect("few");
        println!("{} rounds of {CALLERS} callers at each of {BROKERS} brokers: {each:?} each", people.len());
    }
}

#[test]
fn l1_fifty_callers_at_each_of_three_brokers_make_one_request() {
    run(async {
        let mut fleet = Fleet::start(World::build()).await;
        fleet.one_request_each(&fleet.people(rounds()).await).await;
        fleet.nothing_came_late(rounds()).await;
    });
}

#[test]
fn l1_l5_fifty_callers_at_each_of_three_brokers_make_one_request_whatever_becomes_of_redis_in_the_midst_of_it() {
    run(async {
        let (mut fleet, link) = redis::linked().await;
        let mut redis = fleet.world.redis.take().expect("brokers over Postgres have one");
        let people = fleet.people(rounds()).await;
        for (number, five) in people.chunks(5).enumerate() {
            let (fifth, others) = five.split_last().expect("no chunk is empty");
            if !others.is_empty() {
                fleet.one_request_each(others).await;
            }
            fleet.until_they_coordinate().await;
            let held = Fault::Delay(Moment::AfterProcessBeforeReply, HELD);
            fleet.provider.fail_next(Endpoint::Token, 1, &held);
            let had = fleet.family(fifth).access_tokens.len();
            let befalls = async {
                fleet.another_pair(fifth, had).await;
                match number % 4 {
                    0 => link.set(Mode::Partitioned),
                    1 => redis.kill(),
                    2 => link.set(Mode::Cut),
                    _ => drop(redis.cli(&["flushall"])),
                }
                let asked = fleet.provider.token_requests_by("refresh_token").pop().expect("it was asked");
                assert!(asked.answered.is_none(), "it came too late: nobody waits for the provider any more");
            };
            // Of each kind in turn.
            tokio::join!(fleet.round(fifth, Its::of_round(number + number / 4)), befalls);
            link.set(Mode::Open);
            if number % 4 == 1 {
                redis.restart_empty();
            }
        }
        fleet.nothing_came_late(people.len()).await;
    });
}
