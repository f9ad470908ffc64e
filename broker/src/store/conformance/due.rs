//! Which grants the scheduler is shown, and in which order.

use std::time::Duration;

use super::grants::{grant, key};
use super::{NOW, intents};
use crate::clock::UnixTime;
use crate::keys::SERVICE_HOLDER;
use crate::model::{Generation, GrantKey};
use crate::store::{GrantCommit, Standing, Store};

const ONE: Generation = Generation(1);

/// A grant of the client `client` that is due so many seconds from now.
fn due(id: &str, seconds: u64) -> GrantCommit {
    let key = GrantKey { provider_client: "client".to_owned(), holder: id.to_owned() };
    let mut commit = grant(id, &key, 1, id);
    commit.material.refresh_after = NOW.after(Duration::from_secs(seconds));
    commit.material.refresh_token = Some(super::sealed("refresh"));
    commit
}

async fn shown(store: &dyn Store, now: UnixTime, limit: u32) -> Vec<String> {
    store.due_grants("client", now, limit).await.unwrap().records.into_iter().map(|grant| grant.id).collect()
}

fn end() -> UnixTime {
    NOW.after(Duration::from_secs(1_000_000))
}

pub(super) async fn are_shown_by_client_in_order_and_no_more_than_asked_for(store: &dyn Store) {
    for (id, seconds) in [("c", 3), ("a", 1), ("d", 40), ("b", 2)] {
        store.commit_grant(&due(id, seconds)).await.unwrap();
    }
    store.commit_grant(&grant("other", &key("other", "alice"), 1, "other")).await.unwrap();
    let now = NOW.after(Duration::from_secs(3));
    assert_eq!(shown(store, now, 10).await, ["a", "b", "c"]);
    assert_eq!(shown(store, now, 2).await, ["a", "b"]);
    assert!(shown(store, NOW, 10).await.is_empty());
}

pub(super) async fn the_most_lately_used_are_shown_first_after_what_somebody_began_and_never_ended(store: &dyn Store) {
    for id in ["a", "b", "begun", "c", "never"] {
        store.commit_grant(&due(id, 1)).await.unwrap();
    }
    for (id, used) in [("a", 10), ("b", 30), ("c", 20)] {
        store.mark_used(&[id.to_owned()], NOW.after(Duration::from_secs(used))).await.unwrap();
    }
    store.take_intent("begun", ONE, &intents::intent("a/1", 1), None, None).await.unwrap();
    assert_eq!(shown(store, end(), 10).await, ["begun", "b", "c", "a", "never"]);
    assert_eq!(shown(store, end(), 2).await, ["begun", "b"]);
}

pub(super) async fn the_oldest_is_told_of_what_is_used_or_begun(store: &dyn Store) {
    for (id, seconds) in [("idle", 1), ("begun", 2), ("used", 4), ("later", 900)] {
        store.commit_grant(&due(id, seconds)).await.unwrap();
    }
    let used = ["used".to_owned(), "later".to_owned()];
    store.mark_used(&used, NOW.after(Duration::from_secs(2))).await.unwrap();
    let oldest = async |client: &'static str, now: u64, used_since: u64| {
        let at = |seconds| NOW.after(Duration::from_secs(seconds));
        let oldest = store.oldest_due(client, at(now), at(used_since)).await.unwrap();
        oldest.map(|oldest| oldest.since(NOW).as_secs())
    };
    assert_eq!(oldest("client", 100, 1).await, Some(4));
    assert_eq!(oldest("client", 100, 2).await, None, "at that time, not after it");
    assert_eq!(
        (oldest("client", 3, 1).await, oldest("other", 100, 1).await),
        (None, None),
        "it is not due, it is not theirs"
    );
    let intent = intents::intent("a/1", 1);
    store.take_intent("begun", ONE, &intent, None, None).await.unwrap();
    assert_eq!(oldest("client", 100, 1).await, Some(2), "it has waited since then, whoever is at it");
    assert!(store.clear_intent("begun", ONE, &intent, &intents::pause(9)).await.unwrap());
    store.mark_used(&["begun".to_owned()], NOW.after(Duration::from_secs(3))).await.unwrap();
    assert_eq!(oldest("client", 100, 2).await, Some(2), "nor does a pause begin it anew");
}

pub(super) async fn of_each_client_it_is_told_how_many_are_under_refresh(store: &dyn Store) {
    for (id, client) in [("a", "client"), ("b", "client"), ("c", "client"), ("d", "other")] {
        let mut commit = due(id, 1);
        commit.key.provider_client = client.to_owned();
        store.commit_grant(&commit).await.unwrap();
    }
    assert!(store.under_refresh(NOW).await.unwrap().is_empty());
    let intent = intents::intent("a/1", 1);
    for id in ["a", "b", "d"] {
        store.take_intent(id, ONE, &intent, None, None).await.unwrap();
    }
    let under = store.under_refresh(intent.deadline).await.unwrap();
    assert_eq!(under.into_iter().collect::<Vec<_>>(), [("client".to_owned(), 2), ("other".to_owned(), 1)]);
    assert!(store.under_refresh(UnixTime(intent.deadline.0 + 1)).await.unwrap().is_empty(), "who began them is gone");
}

pub(super) async fn of_a_budget_is_spent_what_was_seen_and_nothing_else(store: &dyn Store) {
    assert_eq!(store.spent_until("a").await.unwrap(), None);
    assert!(!store.spend("a", Some(0), 1).await.unwrap(), "nobody has begun to count");
    assert!(store.spend("a", None, 7).await.unwrap());
    assert!(!store.spend("a", None, 8).await.unwrap());
    assert!(!store.spend("a", Some(6), 8).await.unwrap());
    assert!(store.spend("a", Some(7), 9).await.unwrap());
    assert_eq!((store.spent_until("a").await.unwrap(), store.spent_until("b").await.unwrap()), (Some(9), None));
}

pub(super) async fn of_two_who_spend_at_once_one_does(first: &dyn Store, second: &dyn Store) {
    let mut from = None;
    for until in 1..=20 {
        let (a, b) = tokio::join!(first.spend("p", from, until), second.spend("p", from, until));
        assert_ne!(a.unwrap(), b.unwrap(), "round {until}");
        from = Some(until);
    }
}

pub(super) async fn what_was_put_off_leaves_its_place_to_others(store: &dyn Store) {
    for (id, seconds) in [("a", 1), ("b", 2), ("c", 9)] {
        store.commit_grant(&due(id, seconds)).await.unwrap();
    }
    let now = NOW.after(Duration::from_secs(5));
    store.put_off(&["b".to_owned(), "a".to_owned(), "c".to_owned(), "other".to_owned()], now).await.unwrap();
    assert!(shown(store, NOW.after(Duration::from_secs(4)), 10).await.is_empty());
    assert_eq!(shown(store, now, 10).await, ["a", "b"]);
    assert_eq!(shown(store, end(), 10).await, ["a", "b", "c"], "nobody is shown sooner than they were");
}

pub(super) async fn what_cannot_be_refreshed_is_never_shown(store: &dyn Store) {
    let mut without = due("without", 1);
    without.material.refresh_token = None;
    let mut service = due("service", 1);
    service.key.holder = SERVICE_HOLDER.to_owned();
    service.material.refresh_token = None;
    for commit in [&without, &service, &due("ended", 1), &due("over", 2)] {
        store.commit_grant(commit).await.unwrap();
    }
    assert_eq!(shown(store, end(), 10).await, ["ended", "over"]);
    store.end_grant("ended", ONE, &Standing::Revoked("operator".to_owned()), NOW).await.unwrap();
    store.end_refreshes("over", ONE, "lost").await.unwrap();
    assert!(store.pause("service", ONE, None, &intents::pause(1)).await.unwrap());
    store
        .mark_used(&["service".to_owned(), "without".to_owned(), "over".to_owned(), "ended".to_owned()], NOW)
        .await
        .unwrap();
    assert!(shown(store, end(), 10).await.is_empty());
}

pub(super) async fn an_intent_and_a_pause_put_off_until_they_end(store: &dyn Store) {
    store.commit_grant(&due("g", 1)).await.unwrap();
    let intent = intents::intent("a/1", 1);
    store.take_intent("g", ONE, &intent, None, None).await.unwrap();
    assert!(shown(store, UnixTime(intent.deadline.0 - 1), 10).await.is_empty());
    assert_eq!(shown(store, intent.deadline, 10).await, ["g"], "whoever took it may have died over it");
    let pause = intents::pause(9);
    assert!(store.clear_intent("g", ONE, &intent, &pause).await.unwrap());
    assert!(shown(store, UnixTime(pause.until.0 - 1), 10).await.is_empty());
    assert_eq!(shown(store, pause.until, 10).await, ["g"]);
    store.commit_refresh(&GrantCommit { generation: Generation(2), ..due("g", 5_000) }).await.unwrap();
    assert!(shown(store, pause.until, 10).await.is_empty());
    assert_eq!(shown(store, end(), 10).await, ["g"]);
}

pub(super) async fn an_idle_one_is_left_until_it_is_used_again(store: &dyn Store) {
    store.commit_grant(&due("g", 1)).await.unwrap();
    let idle = store.due_grants("client", end(), 10).await.unwrap().records;
    assert_eq!(idle[0].used_at, None);
    store.leave_idle(&idle).await.unwrap();
    assert!(shown(store, end(), 10).await.is_empty());
    store.mark_used(&["g".to_owned()], NOW).await.unwrap();
    store.mark_used(&["g".to_owned()], UnixTime(NOW.0 - 1)).await.unwrap();
    let used = store.due_grants("client", end(), 10).await.unwrap().records;
    assert_eq!(used[0].used_at, Some(NOW), "the later use stays");
    // Who read it before it was used again, or before somebody began to refresh it.
    store.leave_idle(&idle).await.unwrap();
    store.take_intent("g", ONE, &intents::intent("a/1", 1), None, None).await.unwrap();
    store.leave_idle(&used).await.unwrap();
    assert_eq!(shown(store, end(), 10).await, ["g"]);
}

pub(super) async fn a_life_is_set_of_the_generation_it_was_asked_for_and_no_other(store: &dyn Store) {
    store.commit_grant(&due("g", 500)).await.unwrap();
    let (expires_at, refresh_after) = (NOW.after(Duration::from_secs(9)), NOW.after(Duration::from_secs(7)));
    for (id, generation) in [("g", 2), ("other", 1)] {
        assert!(!store.set_life(id, Generation(generation), expires_at, refresh_after).await.unwrap());
    }
    assert!(shown(store, refresh_after, 10).await.is_empty());
    assert!(store.set_life("g", ONE, expires_at, refresh_after).await.unwrap());
    assert_eq!(shown(store, refresh_after, 10).await, ["g"]);
    let material = store.grant_by_id("g").await.unwrap().unwrap().material.unwrap();
    assert_eq!((material.expires_at, material.refresh_after), (expires_at, refresh_after));
    store.take_intent("g", ONE, &intents::intent("a/1", 1), None, None).await.unwrap();
    assert!(!store.set_life("g", ONE, NOW, NOW).await.unwrap(), "its successor is on its way");
}

pub(super) async fn an_idle_one_that_another_broker_uses_meanwhile_is_shown(first: &dyn Store, second: &dyn Store) {
    for round in 0..20 {
        let id = format!("g{round:02}");
        first.commit_grant(&due(&id, 1)).await.unwrap();
        let idle = first.due_grants("client", end(), 50).await.unwrap().records;
        let idle: Vec<_> = idle.into_iter().filter(|grant| grant.id == id).collect();
        let used = [id.clone()];
        // Whichever comes first: nobody leaves out what somebody uses.
        let (left, marked) = tokio::join!(first.leave_idle(&idle), second.mark_used(&used, NOW));
        left.and(marked).unwrap();
        let shown = first.due_grants("client", end(), 50).await.unwrap().records;
        let shown = shown.iter().find(|grant| grant.id == id).unwrap_or_else(|| panic!("round {round}"));
        assert_eq!(shown.used_at, Some(NOW));
    }
}
