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
