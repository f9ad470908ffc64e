//! Brokers that come late: stopped while the provider answered, or slower than their own right to ask (threats L1, L4, L6).

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::people::{DUE, People};
use super::*;
use crate::fetch::Fetcher;
use crate::oauth::endpoint::{Answer, NoAnswer, Request};
use crate::oauth::profile::{GENERIC, GITHUB, MICROSOFT, Profile, Rotation};
use crate::store::{Intent, Standing};

static GRACE: Profile = Profile { rotation: Rotation::Grace(Duration::from_secs(600)), ..GENERIC };

/// The network of a process that is stopped when the answer is there, and goes on when it is let.
struct Stopped {
    network: Arc<Fetcher>,
    answered: watch::Sender<bool>,
    goes_on: watch::Sender<bool>,
}

#[async_trait]
impl TokenEndpoint for Stopped {
    async fn ask(&self, request: Request<'_>, max_answer: usize, deadline: Duration) -> Result<Answer, NoAnswer> {
        let answer = self.network.ask(request, max_answer, deadline).await;
        self.answered.send_replace(true);
        self.goes_on.subscribe().wait_for(|goes_on| *goes_on).await.unwrap();
        answer
    }
}

/// Of a process that is held up between any two looks at it, for this long.
struct Hasty(AtomicU64, Duration);

impl Clock for Hasty {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.fetch_add(self.1.as_millis() as u64, Ordering::SeqCst))
    }
}

/// Remembers how long it was given for an answer.
struct Given {
    network: Arc<Fetcher>,
    limit: watch::Sender<Option<Duration>>,
}

#[async_trait]
impl TokenEndpoint for Given {
    async fn ask(&self, request: Request<'_>, max_answer: usize, deadline: Duration) -> Result<Answer, NoAnswer> {
        self.limit.send_replace(Some(deadline));
        self.network.ask(request, max_answer, deadline).await
    }
}

#[tokio::test]
async fn l4_a_broker_that_was_stopped_over_a_refresh_overwrites_nothing_when_it_goes_on() {
    for profile in [&GRACE, &MICROSOFT] {
        let people = People::at(profile).await;
        // A provider that takes the old refresh token again.
        let agreed = people.next_generation("canary-agreed", Some("canary-refresh-0")).await;
        people.fixture.store.commit_grant(&agreed).await.unwrap();
        people.fixture.clock.advance(DUE);
        let stopped = Arc::new(Stopped {
            network: loopback(),
            answered: watch::Sender::new(false),
            goes_on: watch::Sender::new(false),
        });
        let endpoint = Arc::clone(&stopped) as Arc<dyn TokenEndpoint>;
        let first = Refresher::new(Parts { endpoint, ..people.fixture.parts("stopped") });
        let late = spawn(&first, &people.alice(), Need::NotDue);
        stopped.answered.subscribe().wait_for(|answered| *answered).await.unwrap();
        // Longer than its right holds, whatever the clocks say.
        let deadline = people.stored().await.intent.unwrap().deadline;
        people.fixture.clock.advance(deadline.since(people.fixture.clock.now()) + Duration::from_secs(301));
        let other = people.fixture.other_broker();
        let served = other.token(&people.alice(), Need::LaterThan(Generation(1))).await.unwrap();
        assert_eq!(text(&served), "canary-token-2");
        let newest = people.stored().await;
        stopped.goes_on.send_replace(true);
        assert_eq!(text(&late.await.unwrap().unwrap()), "canary-token-2", "{}", profile.name);
        idle(&first, &people).await;
        let stored = people.stored().await;
        assert_eq!((stored.generation, stored.material, stored.intent), (Generation(2), newest.material, None));
        assert_eq!(people.fixture.provider.count(), 2);
        assert_eq!(stored.spare.map(|spare| spare.generation), Some(Generation(2)), "what it brought home is kept");
    }
}

#[tokio::test]
async fn i5_whoever_was_overtaken_ends_nothing_while_the_answer_to_the_other_is_on_its_way() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(DUE);
    people.fixture.provider.gate.send_replace(false);
    let mut late = spawn(&people.fixture.refresher, &people.alice(), Need::NotDue);
    people.fixture.provider.until_asked(1).await;
    // Its right is over, and somebody else has taken it and asked.
    let (stored, now) = (people.stored().await, people.fixture.clock.now());
    let theirs = Intent { owner: "b/1".into(), attempt: 2, started_at: now, deadline: now.after(HOUR) };
    let store = &people.fixture.store;
    store.take_intent(&stored.id, Generation(1), &theirs, stored.intent.as_ref(), None).await.unwrap();
    people.fixture.provider.is_strict("what the other one was given");
    people.fixture.provider.gate.send_replace(true);
    let record = people.next_generation("canary-theirs", Some("what the other one was given")).await;
    let over = tokio::time::timeout(Duration::from_millis(300), &mut late).await;
    assert!(over.is_err() && people.fixture.provider.seen().len() == 1, "{over:?}");
    store.commit_refresh(&record).await.unwrap();
    assert_eq!(text(&late.await.unwrap().unwrap()), "canary-theirs");
    assert_eq!((people.stored().await.standing, people.fixture.provider.count()), (Standing::Live, 1));
}

#[tokio::test]
async fn i5_an_answer_that_comes_after_somebody_else_was_refused_makes_the_grant_whole() {
    for (profile, ended) in [(&GENERIC, "invalid_grant"), (&GITHUB, "invalid_grant"), (&GENERIC, "lost")] {
        let people = People::at(profile).await;
        people.agrees(Some("canary-refresh-0")).await;
        let answer = people.next_generation("canary-late", Some("canary-late-refresh")).await;
        let (stored, now) = (people.stored().await, people.fixture.clock.now());
        let ended = Standing::NeedsConsent(ended.to_owned());
        people.fixture.store.end_grant(&stored.id, Generation(1), &ended, now).await.unwrap();
        people.fixture.refresher.0.spool.put(answer).await;
        people.fixture.refresher.0.replay_all().await.unwrap();
        assert_eq!(people.token(Need::Live).await.unwrap(), "canary-late", "{}", profile.name);
        assert_eq!(people.stored().await.standing, Standing::Live);
    }
}

#[tokio::test]
async fn i5_who_was_held_up_for_longer_than_their_right_to_ask_asks_nobody() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(DUE);
    let clock = Arc::new(Hasty(AtomicU64::new(people.fixture.clock.now().0), Duration::from_secs(60)));
    let held_up = Refresher::new(Parts { clock, ..people.fixture.parts("held up") });
    let error = held_up.token(&people.alice(), Need::LaterThan(Generation(1))).await.unwrap_err();
    assert!(matches!(error, RefreshError::Lost), "{error:?}");
    let stored = people.stored().await;
    assert_eq!((stored.standing, stored.intent, people.fixture.provider.count()), (Standing::Live, None, 0));
}

#[tokio::test]
async fn i5_who_was_held_up_gives_the_provider_no_longer_than_their_right_lasts_and_the_commit_takes() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(DUE);
    let held_up = Duration::from_secs(4);
    let clock = Arc::new(Hasty(AtomicU64::new(people.fixture.clock.now().0), held_up));
    let given = Arc::new(Given { network: loopback(), limit: watch::Sender::new(None) });
    let endpoint = Arc::clone(&given) as Arc<dyn TokenEndpoint>;
    let broker = Refresher::new(Parts { clock, endpoint, ..people.fixture.parts("held up") });
    broker.token(&people.alice(), Need::LaterThan(Generation(1))).await.unwrap();
    let (limit, limits) = (given.limit.borrow().expect("it was asked"), Limits::default());
    let right = limits.provider + limits.commit + Duration::from_secs(2);
    assert!(held_up + limit + limits.commit <= right && limit < limits.provider, "{limit:?}");
}

#[tokio::test]
async fn what_was_asked_of_nobody_counts_as_no_attempt() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    let (stored, store) = (people.stored().await, &people.fixture.store);
    let inner = &people.fixture.refresher.0;
    // Twice it was not answered that the right was taken, and it was all the same.
    let mut before = None;
    for attempt in 1..=2 {
        let intent = inner.owner.intent(attempt, inner.clock.now(), HOUR);
        store.take_intent(&stored.id, Generation(1), &intent, before.as_ref(), None).await.unwrap();
        inner.unsent.remember(&stored.id, &intent);
        before = Some(intent);
    }
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-1", "not spent");
    assert_eq!(people.fixture.provider.count(), 1);
}

#[tokio::test]
async fn l4_a_provider_slower_than_twice_the_right_to_ask_is_asked_twice_at_most_by_however_many_brokers() {
    let people = People::impatient(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(DUE);
    people.fixture.provider.gate.send_replace(false);
    let brokers = [people.fixture.refresher.clone(), people.fixture.other_broker(), people.fixture.restarted()];
    for _ in 0..40 {
        for broker in &brokers {
            let served = broker.token(&people.alice(), Need::NotDue).await;
            assert!(served.is_ok() || people.fixture.clock.now() > people.expires_at().await, "the old one serves");
        }
        people.fixture.clock.advance(Duration::from_secs(12));
    }
    assert_eq!(people.fixture.provider.count(), 2);
    let stored = people.stored().await;
    assert_eq!((stored.generation, stored.standing), (Generation(1), ConsentReason::Lost.as_standing()));
}

#[tokio::test(flavor = "multi_thread")]
async fn l1_fifty_callers_at_each_of_three_brokers_make_one_request() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    let brokers = ["b", "c", "d"].map(|name| Refresher::new(people.fixture.parts(name)));
    for round in 1..=40 {
        people.fixture.clock.advance(HOUR);
        let callers: Vec<_> = (0..150).map(|n| spawn(&brokers[n % 3], &people.alice(), Need::Live)).collect();
        for caller in callers {
            assert_eq!(text(&caller.await.unwrap().unwrap()), format!("canary-token-{round}"));
        }
        assert_eq!(people.fixture.provider.count(), round);
    }
}

#[tokio::test]
async fn l9_a_caller_that_gives_up_is_served_at_its_next_call_by_the_one_request_there_was() {
    let people = People::with(&GENERIC, Limits { wait: Duration::from_millis(50), ..Limits::default() }).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.gate.send_replace(false);
    let error = people.token(Need::Live).await.unwrap_err();
    assert!(matches!(error, RefreshError::Overdue { .. }), "{error:?}");
    people.fixture.provider.gate.send_replace(true);
    people.until_idle().await;
    assert_eq!((people.stored().await.generation, people.stored().await.standing), (Generation(2), Standing::Live));
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-1");
    assert_eq!(people.fixture.provider.count(), 1);
}

impl People {
    async fn expires_at(&self) -> UnixTime {
        self.stored().await.material.map_or(UnixTime(0), |material| material.expires_at)
    }
}

async fn idle(refresher: &Refresher, people: &People) {
    let key = refresher.0.key(&people.alice().grant());
    while refresher.0.flights.under_way(&key) {
        tokio::task::yield_now().await;
    }
}
