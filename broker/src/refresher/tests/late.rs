//! Brokers that come late: stopped while the provider answered, or slower than their own right to ask (threats L1, L4, L6).

use tokio::sync::watch;

use super::people::{DUE, People};
use super::*;
use crate::fetch::Fetcher;
use crate::oauth::endpoint::{Answer, NoAnswer};
use crate::oauth::profile::{GENERIC, MICROSOFT, Profile, Rotation};
use crate::store::Standing;

static GRACE: Profile = Profile { rotation: Rotation::Grace(Duration::from_secs(600)), ..GENERIC };

/// The network of a process that is stopped when the answer is there, and goes on when it is let.
struct Stopped {
    network: Arc<Fetcher>,
    answered: watch::Sender<bool>,
    goes_on: watch::Sender<bool>,
}

#[async_trait]
impl TokenEndpoint for Stopped {
    async fn post_form(
        &self,
        url: &url::Url,
        headers: Vec<(&'static str, Secret)>,
        form: Secret,
        max_answer: usize,
        deadline: Duration,
    ) -> Result<Answer, NoAnswer> {
        let answer = self.network.post_form(url, headers, form, max_answer, deadline).await;
        self.answered.send_replace(true);
        self.goes_on.subscribe().wait_for(|goes_on| *goes_on).await.unwrap();
        answer
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
