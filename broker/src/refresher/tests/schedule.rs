//! What is renewed although nobody asks, in which order, and how often providers are asked for it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::people::{DUE, People, agreed, provider_client};
use super::*;
use crate::oauth::endpoint::{Answer, NoAnswer, Request};
use crate::oauth::profile::GENERIC;
use crate::store::{Intent, Standing};

/// A token endpoint without a network: answers at once, and remembers when it was asked.
struct Counting {
    clock: Arc<FixedClock>,
    asked_at: Mutex<Vec<UnixTime>>,
}

#[async_trait]
impl TokenEndpoint for Counting {
    async fn ask(&self, _: Request<'_>, _: usize, _: Duration) -> Result<Answer, NoAnswer> {
        let mut asked_at = self.asked_at.lock().unwrap();
        asked_at.push(self.clock.now());
        let body = provider::PAIR.replace("NUMBER", &asked_at.len().to_string());
        Ok(Answer { status: 200, content_type: None, retry_after: None, body: Secret::new(body) })
    }
}

impl People {
    /// Somebody agrees, and uses it at once.
    async fn agrees_and_uses(&self, holder: &str) -> String {
        let (key, now) = (self.server(&["read"], "r1", holder).grant(), self.fixture.clock.now());
        let refresh = format!("canary-refresh-of-{holder}");
        let record = agreed(&self.fixture.vault, key, Generation(1), now, "canary-agreed", Some(&refresh)).await;
        self.fixture.store.commit_grant(&record).await.unwrap();
        self.fixture.store.mark_used(std::slice::from_ref(&record.id), now.after(DUE)).await.unwrap();
        record.id
    }

    async fn tick(&self, refresher: &Refresher) -> usize {
        let started = refresher.renew_due(&[Arc::clone(&self.client)]).await.unwrap();
        idle(refresher).await;
        started
    }
}

async fn idle(refresher: &Refresher) {
    while refresher.0.flights.count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l2_ten_thousand_grants_of_one_moment_are_renewed_in_time_and_no_faster_than_their_provider_is_asked() {
    const GRANTS: usize = 10_000;
    let people = People::at(&GENERIC).await;
    let fixture = &people.fixture;
    // Durability is shown elsewhere; here it would only take its time.
    fixture.store.tamper("PRAGMA synchronous = OFF").await;
    let mut ids = Vec::new();
    for number in 0..GRANTS {
        let (key, now) = (people.server(&["read"], "r1", &format!("holder-{number}")).grant(), fixture.clock.now());
        let mut record = agreed(&fixture.vault, key, Generation(1), now, "canary-agreed", Some("canary-refresh")).await;
        record.material.expires_at = now.after(2 * HOUR);
        record.material.refresh_after = now.after(HOUR.mul_f64(1.6));
        fixture.store.commit_grant(&record).await.unwrap();
        ids.push(record.id);
    }
    fixture.clock.advance(HOUR.mul_f64(1.6));
    fixture.store.mark_used(&ids, fixture.clock.now()).await.unwrap();
    let counting = Arc::new(Counting { clock: Arc::clone(&fixture.clock), asked_at: Mutex::default() });
    let endpoint = Arc::clone(&counting) as Arc<dyn TokenEndpoint>;
    let scheduler = Refresher::new(Parts { endpoint, ..fixture.parts("scheduler") });
    while people.tick(&scheduler).await > 0 {
        fixture.clock.advance(Duration::from_secs(1));
    }
    let asked_at = counting.asked_at.lock().unwrap().clone();
    assert_eq!(asked_at.len(), GRANTS, "each once");
    let mut seconds = BTreeMap::new();
    asked_at.iter().for_each(|at| *seconds.entry(at.0 / 1000).or_insert(0) += 1);
    let most = *seconds.values().max().unwrap();
    assert!(most <= Budget::default().per_second, "{most} in one second");
    let took = asked_at.last().unwrap().since(asked_at[0]);
    assert!(took < HOUR.mul_f64(0.4), "none has expired: {took:?}");
    let soon = fixture.clock.now().after(HOUR.mul_f64(0.6));
    let soon = fixture.store.due_grants("client", soon, 1).await.unwrap().records;
    assert!(soon.is_empty(), "{soon:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn l2_three_brokers_ask_a_provider_no_more_often_than_one_may_and_for_the_most_lately_used_first() {
    const GRANTS: u64 = 60;
    let people = People::at(&GENERIC).await;
    let fixture = &people.fixture;
    let mut used: Vec<(UnixTime, GrantKey)> = Vec::new();
    for number in 0..GRANTS {
        let holder = format!("holder-{number}");
        let id = people.agrees_and_uses(&holder).await;
        // In another order than they are due.
        let used_at = fixture.clock.now().after(DUE).after(Duration::from_secs(number * 37 % GRANTS));
        fixture.store.mark_used(&[id], used_at).await.unwrap();
        used.push((used_at, people.server(&["read"], "r1", &holder).grant()));
    }
    used.sort_by_key(|(used_at, _)| std::cmp::Reverse(*used_at));
    fixture.clock.advance(DUE + Duration::from_secs(GRANTS));
    let counting = Arc::new(Counting { clock: Arc::clone(&fixture.clock), asked_at: Mutex::default() });
    let budget = Budget { per_second: 4, ..Budget::default() };
    let broker = |name| {
        let endpoint = Arc::clone(&counting) as Arc<dyn TokenEndpoint>;
        let limits = Limits { budget, ..Limits::default() };
        Refresher::new(Parts { endpoint, limits, ..fixture.parts(name) })
    };
    let brokers = ["a", "b", "c"].map(broker);
    for second in 1..=GRANTS / 4 {
        let clients = [Arc::clone(&people.client)];
        let (a, b, c) = tokio::join!(
            brokers[0].renew_due(&clients),
            brokers[1].renew_due(&clients),
            brokers[2].renew_due(&clients)
        );
        assert!(a.unwrap() + b.unwrap() + c.unwrap() <= 4);
        for broker in &brokers {
            idle(broker).await;
        }
        let asked = counting.asked_at.lock().unwrap().len() as u64;
        assert_eq!(asked, 4 * second, "as many as may be, whoever begins them");
        for (place, (_, key)) in used.iter().enumerate() {
            let renewed = fixture.store.grant(key).await.unwrap().unwrap().generation > Generation(1);
            assert_eq!(renewed, (place as u64) < asked, "the one used {place} before the last, after {asked}");
        }
        fixture.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn what_one_broker_has_renewed_takes_nothing_of_the_budget_at_others_where_it_was_used() {
    let people = People::at(&GENERIC).await;
    let limits = Limits { budget: Budget { per_second: 2, ..Budget::default() }, ..Limits::default() };
    let broker = |name| Refresher::new(Parts { limits, ..people.fixture.parts(name) });
    let brokers = ["a", "b", "c"].map(broker);
    for number in 0..6 {
        people.agrees_and_uses(&format!("holder-{number}")).await;
        for broker in &brokers {
            broker.token(&people.server(&["read"], "r1", &format!("holder-{number}")), Need::Live).await.unwrap();
        }
    }
    people.fixture.clock.advance(DUE);
    for second in 1..=3 {
        for broker in &brokers {
            people.tick(broker).await;
        }
        assert_eq!(people.fixture.provider.count(), 2 * second);
        people.fixture.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn callers_who_are_told_to_wait_and_have_nobody_asked_hold_up_no_other() {
    let people = People::at(&GENERIC).await;
    let limits = Limits { budget: Budget { per_second: 2, ..Budget::default() }, ..Limits::default() };
    let broker = Refresher::new(Parts { limits, ..people.fixture.parts("a") });
    people.agrees(Some("canary-refresh-0")).await;
    people.agrees_and_uses("bob").await;
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.answers(429, "");
    for _ in 0..40 {
        broker.token(&people.alice(), Need::Live).await.unwrap_err();
    }
    assert_eq!(people.fixture.provider.count(), 1, "the others were told to wait");
    people.fixture.provider.answers(200, provider::PAIR);
    assert_eq!(people.tick(&broker).await, 1, "one of two was asked for");
}

#[tokio::test]
async fn what_callers_had_at_one_broker_is_not_begun_at_another_as_well() {
    let people = People::at(&GENERIC).await;
    let budget = Budget { per_second: 2, ..Budget::default() };
    let limits = Limits { budget, ..Limits::default() };
    let broker = |name| Refresher::new(Parts { limits, ..people.fixture.parts(name) });
    let (first, second) = (broker("a"), broker("b"));
    for number in 0..4 {
        people.agrees_and_uses(&format!("holder-{number}")).await;
    }
    people.fixture.clock.advance(HOUR);
    for number in 0..2 {
        first.token(&people.server(&["read"], "r1", &format!("holder-{number}")), Need::Live).await.unwrap();
    }
    assert_eq!(people.tick(&first).await, 0, "callers had a second's worth");
    assert_eq!(people.tick(&second).await, 0, "of all brokers");
    people.fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(people.tick(&second).await, 2);
}

#[tokio::test]
async fn no_more_are_refreshed_at_once_by_all_brokers_than_one_may() {
    let people = People::at(&GENERIC).await;
    let budget = Budget { at_once: 3, ..Budget::default() };
    let broker =
        |name| Refresher::new(Parts { limits: Limits { budget, ..Limits::default() }, ..people.fixture.parts(name) });
    for number in 0..8 {
        people.agrees_and_uses(&format!("holder-{number}")).await;
    }
    people.fixture.clock.advance(DUE);
    people.fixture.provider.gate.send_replace(false);
    let (first, second) = (broker("a"), broker("b"));
    assert_eq!(first.renew_due(&[Arc::clone(&people.client)]).await.unwrap(), 3);
    people.fixture.provider.until_asked(3).await;
    people.fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(second.renew_due(&[Arc::clone(&people.client)]).await.unwrap(), 0, "three are under way elsewhere");
    people.fixture.provider.gate.send_replace(true);
    idle(&first).await;
    people.fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(people.tick(&second).await, 3);
}

#[tokio::test]
async fn what_somebody_has_renewed_since_it_was_looked_at_is_not_renewed_again() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    let (refresher, clock) = (&people.fixture.refresher, &people.fixture.clock);
    refresher.token(&people.alice(), Need::Live).await.unwrap();
    clock.advance(DUE);
    let key = refresher.0.key(&people.alice().grant());
    assert!(refresher.0.recent.take(&key, clock.now()).is_some());
    assert_eq!(people.token(Need::NotDue).await.unwrap(), "canary-token-1");
    assert!(refresher.0.recent.take(&key, clock.now()).is_none(), "its successor is not due");
    clock.advance(DUE);
    assert!(refresher.0.recent.take(&key, clock.now()).is_some());
}

#[tokio::test]
async fn what_is_used_at_any_broker_is_renewed_once_by_whichever_is_there() {
    let people = People::at(&GENERIC).await;
    people.agrees_and_uses("alice").await;
    let brokers = [people.fixture.other_broker(), people.fixture.restarted(), people.fixture.refresher.clone()];
    assert_eq!(people.tick(&brokers[0]).await, 0, "it is not due");
    people.fixture.clock.advance(DUE);
    let mut started = Vec::new();
    for broker in &brokers {
        started.push(people.tick(broker).await);
    }
    assert_eq!((started, people.fixture.provider.count()), (vec![1, 0, 0], 1));
    assert_eq!(people.stored().await.generation, Generation(2));
}

#[tokio::test]
async fn what_nobody_uses_is_left_alone_until_somebody_does() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(DUE);
    let scheduler = people.fixture.restarted();
    for _ in 0..3 {
        assert_eq!(people.tick(&scheduler).await, 0);
    }
    let far = people.fixture.clock.now().after(24 * HOUR);
    assert!(people.fixture.store.due_grants("client", far, 1).await.unwrap().records.is_empty(), "nor looked at again");
    // Used, but not yet noted: who uses it renews it.
    people.fixture.provider.answers(503, "");
    assert_eq!(people.token(Need::NotDue).await.unwrap(), "canary-agreed");
    people.fixture.provider.answers(200, provider::PAIR);
    assert_eq!(people.fixture.refresher.note_uses().await.unwrap(), 1);
    assert_eq!(people.fixture.refresher.note_uses().await.unwrap(), 0);
    people.fixture.clock.advance(Duration::from_secs(5));
    assert_eq!(people.tick(&scheduler).await, 1);
    assert_eq!(people.stored().await.generation, Generation(2));
    people.fixture.clock.advance(2 * HOUR);
    assert_eq!(people.tick(&scheduler).await, 0, "an hour after its last use it is idle again");
}

#[tokio::test]
async fn what_a_broker_began_that_is_gone_for_good_is_taken_up_by_another() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    let (stored, now) = (people.stored().await, people.fixture.clock.now());
    let deadline = now.after(Duration::from_secs(20));
    let intent = Intent { owner: "gone/for-good".to_owned(), attempt: 1, started_at: now, deadline };
    people.fixture.store.take_intent(&stored.id, stored.generation, &intent, None, None).await.unwrap();
    assert_eq!(people.tick(&people.fixture.refresher).await, 0, "it may still be at it");
    people.fixture.clock.advance(HOUR / 2);
    assert_eq!(people.tick(&people.fixture.refresher).await, 1);
    let stored = people.stored().await;
    assert_eq!((stored.generation, stored.intent), (Generation(2), None));
}

#[tokio::test]
async fn l7_a_provider_that_fails_at_everything_is_left_alone_for_all_and_nobody_is_asked_for_consent() {
    let limits = Limits::default();
    let people = People::at(&GENERIC).await;
    for number in 0..20 {
        people.agrees_and_uses(&format!("holder-{number}")).await;
    }
    people.fixture.clock.advance(DUE);
    people.fixture.provider.answers(503, "");
    // One after another, as they are due.
    let broker = Refresher::new(Parts {
        limits: Limits { budget: Budget { at_once: 1, ..limits.budget }, ..limits },
        ..people.fixture.parts("a")
    });
    for _ in 0..25 {
        people.tick(&broker).await;
        people.fixture.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(people.fixture.provider.count(), 5);
    let left_alone = broker.left_alone();
    assert_eq!((left_alone.len(), left_alone[0].failures), (1, 5));
    assert_eq!(left_alone[0].host, people.client.token_url.authority());
    let source = people.server(&["read"], "r1", "holder-19");
    let error = broker.token(&source, Need::LaterThan(Generation(1))).await.unwrap_err();
    assert!(matches!(error, RefreshError::Provider { .. }), "{error:?}");
    assert_eq!(people.fixture.provider.count(), 5, "nor does a caller ask");
    let all = people.fixture.store.grants(None).await.unwrap().records;
    assert!(all.iter().all(|grant| grant.standing == Standing::Live && grant.intent.is_none()));
    people.fixture.provider.answers(200, provider::PAIR);
    people.fixture.clock.advance(limits.budget.pause);
    while people.fixture.provider.count() < 25 {
        people.tick(&broker).await;
        people.fixture.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(broker.left_alone(), []);
}

#[tokio::test]
async fn a_provider_without_room_holds_up_no_other() {
    let people = People::at(&GENERIC).await;
    let budget = Budget { per_second: 1, ..Budget::default() };
    let broker = Refresher::new(Parts { limits: Limits { budget, ..Limits::default() }, ..people.fixture.parts("a") });
    for number in 0..10 {
        people.agrees_and_uses(&format!("holder-{number}")).await;
    }
    let elsewhere = url::Url::parse(&people.client.token_url.as_str().replace("127.0.0.1", "127.0.0.2")).unwrap();
    let other =
        Arc::new(crate::model::ProviderClient { id: "elsewhere".to_owned(), ..provider_client(elsewhere, &GENERIC) });
    let key = GrantKey { provider_client: "elsewhere".to_owned(), holder: "alice".to_owned() };
    let now = people.fixture.clock.now();
    let record = agreed(&people.fixture.vault, key, Generation(1), now, "canary-agreed", Some("r")).await;
    people.fixture.store.commit_grant(&record).await.unwrap();
    people.fixture.store.mark_used(std::slice::from_ref(&record.id), now.after(DUE)).await.unwrap();
    people.fixture.clock.advance(DUE);
    let started = broker.renew_due(&[Arc::clone(&people.client), other]).await.unwrap();
    idle(&broker).await;
    assert_eq!(started, 2, "one of each");
}

/// Resolves everything but what this client is made of.
struct AllBut(&'static str);

#[async_trait]
impl ResolveTemplate for AllBut {
    async fn resolve(&self, template: &Template) -> Result<Resolved, ResolveError> {
        match template.0.as_slice() {
            [TemplatePart::Text(text)] if text == self.0 => {
                Err(ResolveError::Unusable(Arc::new(std::io::Error::other("it is away"))))
            }
            _ => PlainText.resolve(template).await,
        }
    }
}

#[tokio::test]
async fn what_lacks_a_key_or_a_secret_holds_up_no_other_of_its_provider() {
    let people = People::at(&GENERIC).await;
    let budget = Budget { per_second: 1, ..Budget::default() };
    let limits = Limits { budget, ..Limits::default() };
    let broker = Refresher::new(Parts { limits, secrets: Arc::new(AllBut("away")), ..people.fixture.parts("a") });
    let mut other = provider_client(people.client.token_url.clone(), &GENERIC);
    (other.id, other.client_id) = ("other".to_owned(), Template(vec![TemplatePart::Text("away".to_owned())]));
    let now = people.fixture.clock.now();
    for holder in ["bob", "carol"] {
        let key = GrantKey { provider_client: "other".to_owned(), holder: holder.to_owned() };
        let record = agreed(&people.fixture.vault, key, Generation(1), now, "canary-agreed", Some("r")).await;
        people.fixture.store.commit_grant(&record).await.unwrap();
        // After alice: they come first.
        people.fixture.store.mark_used(&[record.id], now.after(DUE * 2)).await.unwrap();
    }
    people.agrees_and_uses("alice").await;
    people.fixture.clock.advance(DUE);
    let clients = [Arc::new(other), Arc::clone(&people.client)];
    // They are put off as soon as it is known, which may be after the next look.
    for _ in 0..30 {
        broker.renew_due(&clients).await.unwrap();
        idle(&broker).await;
        people.fixture.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(people.stored().await.generation, Generation(2));
}

#[tokio::test]
async fn what_cannot_be_read_holds_up_no_other() {
    let people = People::at(&GENERIC).await;
    let budget = Budget { per_second: 1, ..Budget::default() };
    let broker = Refresher::new(Parts { limits: Limits { budget, ..Limits::default() }, ..people.fixture.parts("a") });
    for number in 0..3 {
        people.agrees_and_uses(&format!("holder-{number}")).await;
    }
    people.fixture.store.tamper("UPDATE grants SET scopes = 'read', due_at = 1").await;
    people.agrees_and_uses("alice").await;
    people.fixture.clock.advance(DUE);
    for _ in 0..4 {
        people.tick(&broker).await;
        people.fixture.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(people.stored().await.generation, Generation(2));
}
