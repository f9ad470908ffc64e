//! Several brokers on one store, with Redis between them, whatever becomes of it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use redis_counterpart::{Link, Mode, Redis};
use tokio::sync::watch;

use super::people::{DUE, People};
use super::*;
use crate::coordination::Leased;
use crate::coordination::tests::{Joined, address_of};
use crate::oauth::profile::GENERIC;

/// Three brokers, and what lies between them and Redis.
struct Fleet {
    people: People,
    redis: Redis,
    link: Link,
    brokers: Vec<(Refresher, Joined)>,
}

impl Fleet {
    /// With alice's grant at a provider that takes each refresh token once.
    async fn start(limits: Limits) -> Self {
        let fleet = Self::without_grants(limits).await;
        fleet.people.agrees(Some("canary-refresh-0")).await;
        fleet
    }

    async fn without_grants(limits: Limits) -> Self {
        let people = People::with(&GENERIC, limits).await;
        let redis = Redis::start();
        let link = Link::to(redis.port()).await;
        let mut brokers = Vec::new();
        for name in ["one", "two", "three"] {
            let joined = Joined::through(address_of(&redis.url_by(link.port()))).await;
            let coordination = joined.coordination.clone();
            brokers.push((Refresher::new(Parts { coordination, ..people.fixture.parts(name) }), joined));
        }
        Self { people, redis, link, brokers }
    }

    /// Everybody calls at every broker at once, with a token that is due or over; `meanwhile` happens to Redis while the
    /// provider is asked. All get the one new token.
    async fn round(&self, number: usize, callers: usize, meanwhile: impl AsyncFnOnce()) {
        let provider = &self.people.fixture.provider;
        provider.gate.send_replace(false);
        self.people.fixture.clock.advance(HOUR);
        let calls: Vec<_> = (0..callers * self.brokers.len())
            .map(|call| spawn(&self.brokers[call % self.brokers.len()].0, &self.people.alice(), Need::Live))
            .collect();
        provider.until_asked(number).await;
        meanwhile().await;
        provider.gate.send_replace(true);
        for call in calls {
            assert_eq!(text(&call.await.unwrap().unwrap()), format!("canary-token-{number}"));
        }
        for (refresher, _) in &self.brokers {
            let key = refresher.0.key(&self.people.alice().grant());
            while refresher.0.flights.under_way(&key) {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(provider.count(), number, "one refresh, one request");
        assert_eq!(self.people.stored().await.generation, Generation(number as u64 + 1));
    }

    async fn until_up(&self) {
        for (_, joined) in &self.brokers {
            joined.until_up().await;
        }
    }

    /// How often Redis was asked for a lease.
    fn asked(&self) -> usize {
        let stats = self.redis.cli(&["info", "commandstats"]);
        let set = stats.lines().find_map(|line| line.strip_prefix("cmdstat_set:calls="));
        set.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or_default()
    }
}

fn patient() -> Limits {
    Limits { wait: Duration::from_secs(20), ..Limits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn l1_fifty_callers_at_each_of_three_brokers_make_one_request() {
    let fleet = Fleet::start(patient()).await;
    for number in 1..=20 {
        fleet.round(number, 50, async || {}).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_get_the_lease_asks_nobody_until_it_is_given_back() {
    let fleet = Fleet::start(patient()).await;
    let (refresher, _) = &fleet.brokers[0];
    let grant = fleet.people.alice().grant();
    let Leased::Ours(lease) = fleet.brokers[1].1.coordination.lease(&grant).await else { panic!("nobody has it") };
    let asked = fleet.asked();
    fleet.people.fixture.clock.advance(HOUR);
    let waits = spawn(refresher, &fleet.people.alice(), Need::Live);
    while fleet.asked() < asked + 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!((fleet.people.fixture.provider.count(), fleet.people.stored().await.intent), (0, None));
    drop(lease);
    assert_eq!(text(&waits.await.unwrap().unwrap()), "canary-token-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_its_own_is_renewed_by_one_broker_for_all() {
    let fleet = Fleet::without_grants(patient()).await;
    let fixture = &fleet.people.fixture;
    fixture.provider.gate.send_replace(false);
    let calls: Vec<_> = fleet.brokers.iter().map(|(one, _)| spawn(one, &fixture.service(), Need::Live)).collect();
    fixture.provider.until_asked(1).await;
    let asked = fleet.asked();
    while fleet.asked() < asked + 3 {
        tokio::task::yield_now().await;
    }
    fixture.provider.gate.send_replace(true);
    for call in calls {
        assert_eq!(text(&call.await.unwrap().unwrap()), "canary-token-1");
    }
    assert_eq!(fixture.provider.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_the_first_token_of_a_client_of_its_own_is_asked_for_by_one_broker_for_all_while_redis_is_away() {
    let fleet = Fleet::without_grants(patient()).await;
    let fixture = &fleet.people.fixture;
    fleet.link.set(Mode::Cut);
    fixture.provider.gate.send_replace(false);
    let calls: Vec<_> = fleet.brokers.iter().map(|(one, _)| spawn(one, &fixture.service(), Need::Live)).collect();
    fixture.provider.until_asked(1).await;
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_millis(500) {
        assert_eq!(fixture.provider.count(), 1);
        tokio::task::yield_now().await;
    }
    fixture.provider.gate.send_replace(true);
    for call in calls {
        assert_eq!(text(&call.await.unwrap().unwrap()), "canary-token-1");
    }
    assert_eq!(fixture.provider.count(), 1);
}

/// Resolves once it is let.
struct Late(watch::Sender<bool>);

#[async_trait]
impl ResolveTemplate for Late {
    async fn resolve(&self, template: &Template) -> Result<Resolved, ResolveError> {
        self.0.subscribe().wait_for(|goes_on| *goes_on).await.unwrap();
        PlainText.resolve(template).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_held_up_before_the_first_token_was_there_does_not_ask_for_another() {
    let fixture = Fixture::new().await;
    let late = Arc::new(Late(watch::Sender::new(false)));
    let secrets = Arc::clone(&late) as Arc<dyn ResolveTemplate>;
    let broker = Refresher::new(Parts { secrets, ..fixture.parts("late") });
    let call = spawn(&broker, &fixture.service(), Need::Live);
    while late.0.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.text(Need::Live).await, "canary-token-1");
    late.0.send_replace(true);
    assert_eq!(text(&call.await.unwrap().unwrap()), "canary-token-1");
    assert_eq!(fixture.provider.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_who_asked_for_the_first_token_is_gone_or_was_refused_the_next_one_asks() {
    let fleet = Fleet::without_grants(patient()).await;
    let (fixture, broker) = (&fleet.people.fixture, &fleet.brokers[0].0);
    let id = crate::keys::grant_id(&Tenant("t".into()), &fixture.service().grant());
    let now = fixture.clock.now();
    let gone = Intent { owner: "gone/for-good".to_owned(), attempt: 1, started_at: now, deadline: now.after(HOUR) };
    assert!(fixture.store.take_first_intent(&id, &gone, "gone", now).await.unwrap());
    let call = spawn(broker, &fixture.service(), Need::Live);
    while !broker.0.flights.under_way(&broker.0.key(&fixture.service().grant())) {
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.provider.count(), 0);
    fixture.provider.answers(503, "");
    fixture.clock.advance(HOUR + Duration::from_secs(1));
    assert!(matches!(call.await.unwrap(), Err(RefreshError::Provider { .. })));
    fixture.provider.answers(200, provider::PAIR);
    let served = fleet.brokers[1].0.token(&fixture.service(), Need::Live).await.unwrap();
    assert_eq!(text(&served), "canary-token-2", "at once: the right was given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_a_client_of_its_own_is_renewed_by_one_broker_for_all_while_redis_is_away() {
    let fleet = Fleet::without_grants(patient()).await;
    let fixture = &fleet.people.fixture;
    assert_eq!(text(&fleet.brokers[0].0.token(&fixture.service(), Need::Live).await.unwrap()), "canary-token-1");
    fleet.link.set(Mode::Cut);
    fixture.clock.advance(HOUR);
    fixture.provider.gate.send_replace(false);
    let calls: Vec<_> = fleet.brokers.iter().map(|(one, _)| spawn(one, &fixture.service(), Need::Live)).collect();
    fixture.provider.until_asked(2).await;
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_millis(500) {
        assert_eq!(fixture.provider.count(), 2);
        tokio::task::yield_now().await;
    }
    fixture.provider.gate.send_replace(true);
    for call in calls {
        assert_eq!(text(&call.await.unwrap().unwrap()), "canary-token-2");
    }
    assert_eq!(fixture.provider.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_a_lease_that_nobody_gives_back_holds_a_refresh_up_for_a_while_and_never_stops_it() {
    let fleet = Fleet::start(Limits::default()).await;
    let grant = fleet.people.alice().grant();
    let Leased::Ours(_lease) = fleet.brokers[1].1.coordination.lease(&grant).await else { panic!("nobody has it") };
    fleet.people.fixture.clock.advance(HOUR);
    let served = fleet.brokers[0].0.token(&fleet.people.alice(), Need::Live).await.unwrap();
    assert_eq!(text(&served), "canary-token-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_nothing_that_happens_to_redis_during_a_refresh_makes_a_second_request_or_a_wrong_token() {
    let mut fleet = Fleet::start(patient()).await;
    let mut number = 0;
    for _ in 0..5 {
        number += 1;
        fleet.round(number, 5, async || drop(fleet.redis.cli(&["flushall"]))).await;
        for mode in [Mode::Cut, Mode::Partitioned, Mode::Slow(Duration::from_secs(5))] {
            // It begins well; it begins and ends so; it gets well.
            for now in [mode, mode, Mode::Open] {
                number += 1;
                fleet.round(number, 5, async || fleet.link.set(now)).await;
            }
            fleet.until_up().await;
        }
        number += 1;
        fleet.redis.kill();
        fleet.round(number, 5, async || {}).await;
        fleet.redis.restart_empty();
        number += 1;
        fleet.round(number, 5, async || {}).await;
        fleet.until_up().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_a_token_that_lives_is_served_at_once_while_redis_hangs() {
    let fleet = Fleet::start(patient()).await;
    fleet.people.fixture.clock.advance(DUE);
    fleet.link.set(Mode::Partitioned);
    for (refresher, _) in &fleet.brokers {
        let started = Instant::now();
        assert_eq!(text(&refresher.token(&fleet.people.alice(), Need::Live).await.unwrap()), "canary-agreed");
        assert!(started.elapsed() < crate::coordination::PATIENCE, "{:?}", started.elapsed());
    }
    fleet.people.fixture.provider.until_asked(1).await;
}

/// The bytes as they stand, reversed, as hexadecimal, and as base64 whatever stands before and after.
fn spellings(secret: &str) -> Vec<Vec<u8>> {
    let hex = crate::keys::hex(secret.as_bytes());
    let mut all = vec![secret.into(), secret.bytes().rev().collect(), hex.to_uppercase().into(), hex.into()];
    for offset in 0..3 {
        let shifted = [vec![0; offset], secret.into()].concat();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            all.push(engine.encode(&shifted).as_bytes()[(offset * 8).div_ceil(6)..shifted.len() * 8 / 6].to_vec());
        }
    }
    all
}

/// Every file below a directory.
fn files(dir: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    let of = |path: std::path::PathBuf| match path.is_dir() {
        true => files(&path),
        false => vec![(path.display().to_string(), std::fs::read(&path).unwrap())],
    };
    entries.flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_no_planted_secret_is_in_redis_its_files_or_a_transcript_of_every_command() {
    let fleet = Fleet::start(patient()).await;
    let monitor = fleet.redis.monitor();
    for number in 1..=10 {
        fleet.round(number, 5, async || drop(fleet.redis.cli(&["save"]))).await;
    }
    let transcript = String::from_utf8_lossy(&monitor.transcript()).into_owned();
    for what in ["\"SET\" \"sallyport:lease:", "released sallyport:lease:", "\"EVAL\""] {
        assert!(transcript.contains(what), "no {what} to look through");
    }
    let written = files(fleet.redis.dir());
    for (part, least) in [("dump.rdb", 50), (".aof", 500), ("monitor.txt", 5_000)] {
        assert!(written.iter().any(|(name, bytes)| name.ends_with(part) && bytes.len() > least), "{part} is empty");
    }
    let mut planted = vec!["canary-agreed".to_owned(), "canary-secret".to_owned(), "canary".to_owned()];
    planted.extend((0..=10).flat_map(|n| [format!("canary-token-{n}"), format!("canary-refresh-{n}")]));
    // Nor whose it is, and where.
    planted.extend(["alice".to_owned(), fleet.people.fixture.client.token_url.to_string()]);
    for (name, bytes) in &written {
        for secret in &planted {
            for spelling in spellings(secret) {
                let is_there = bytes.windows(spelling.len()).any(|window| window == spelling);
                assert!(!is_there, "{secret} is in {name}, as {}", String::from_utf8_lossy(&spelling));
            }
        }
    }
    let sealed = fleet.people.stored().await.material.unwrap();
    let contains = |needle: &[u8]| written.iter().any(|(_, bytes)| bytes.windows(needle.len()).any(|at| at == needle));
    assert!(!contains(&sealed.access_token.0[..32]), "not even sealed");
}
