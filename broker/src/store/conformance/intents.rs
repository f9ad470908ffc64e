//! The right to refresh a grant, its spare and its end.

use std::time::Duration;

use super::grants::{grant, key};
use super::{NOW, sealed};
use crate::clock::UnixTime;
use crate::model::Generation;
use crate::store::{Intent, Material, Pause, Spare, Standing, Store, StoreError, StoredGrant};

const ONE: Generation = Generation(1);

pub(super) fn intent(owner: &str, attempt: u32) -> Intent {
    let started_at = NOW.after(Duration::from_secs(u64::from(attempt)));
    Intent { owner: owner.to_owned(), attempt, started_at, deadline: started_at.after(Duration::from_secs(20)) }
}

pub(super) fn pause(failures: u32) -> Pause {
    let from = NOW.after(Duration::from_secs(60 * u64::from(failures)));
    Pause {
        failures,
        from,
        until: from.after(Duration::from_secs(30)),
        attempt: failures + 2,
        is_before_the_last: failures == 2,
        may_be_astray: failures == 1,
        spare_is_next: failures == 2,
        why: "unavailable".to_owned(),
    }
}

fn lost(reason: &str) -> Standing {
    Standing::NeedsConsent(reason.to_owned())
}

async fn live(store: &dyn Store, id: &str) {
    store.commit_grant(&grant(id, &key(id, "alice"), 1, id)).await.unwrap();
}

async fn read(store: &dyn Store, id: &str) -> StoredGrant {
    store.grant_by_id(id).await.unwrap().unwrap()
}

fn refused(result: Result<(), StoreError>) {
    assert!(matches!(result, Err(StoreError::Conflict)), "{result:?}");
}

pub(super) async fn are_read_as_written_and_given_back(store: &dyn Store) {
    live(store, "g").await;
    store.take_intent("g", ONE, &intent("a/1", 1), None, None).await.unwrap();
    assert_eq!(read(store, "g").await.intent, Some(intent("a/1", 1)));
    refused(store.take_intent("g", ONE, &intent("b/1", 1), None, None).await);
    assert!(store.clear_intent("g", ONE, &intent("a/1", 1), &pause(1)).await.unwrap());
    assert_eq!(read(store, "g").await.intent, None);
    store.take_intent("g", ONE, &intent("b/1", 1), None, Some(&pause(1))).await.unwrap();
}

pub(super) async fn refuses_one_for_another_generation_or_an_ended_grant(store: &dyn Store) {
    live(store, "g").await;
    for generation in [0, 2, u64::MAX] {
        refused(store.take_intent("g", Generation(generation), &intent("a/1", 1), None, None).await);
    }
    refused(store.take_intent("other", ONE, &intent("a/1", 1), None, None).await);
    store.end_grant("g", ONE, &lost("invalid_grant"), NOW).await.unwrap();
    refused(store.take_intent("g", ONE, &intent("a/1", 1), None, None).await);
}

pub(super) async fn a_dangling_one_is_replaced_by_whoever_names_it(store: &dyn Store) {
    live(store, "g").await;
    refused(store.take_intent("g", ONE, &intent("b/1", 2), Some(&intent("a/1", 1)), None).await);
    store.take_intent("g", ONE, &intent("a/1", 1), None, None).await.unwrap();
    for wrong in [intent("a/2", 1), intent("a/1", 2)] {
        refused(store.take_intent("g", ONE, &intent("b/1", 2), Some(&wrong), None).await);
    }
    store.take_intent("g", ONE, &intent("b/1", 2), Some(&intent("a/1", 1)), None).await.unwrap();
    assert_eq!(read(store, "g").await.intent, Some(intent("b/1", 2)));
}

pub(super) async fn gives_back_no_other_than_the_one_named(store: &dyn Store) {
    live(store, "g").await;
    store.take_intent("g", ONE, &intent("a/1", 1), None, None).await.unwrap();
    for (generation, wrong) in [(1, intent("b/1", 1)), (1, intent("a/1", 2)), (2, intent("a/1", 1))] {
        assert!(!store.clear_intent("g", Generation(generation), &wrong, &pause(1)).await.unwrap());
        assert_eq!(read(store, "g").await.intent, Some(intent("a/1", 1)));
    }
}

pub(super) async fn a_pause_is_read_as_written_and_ends_with_its_generation(store: &dyn Store) {
    live(store, "g").await;
    assert_eq!(read(store, "g").await.pause, None);
    store.take_intent("g", ONE, &intent("a/1", 1), None, None).await.unwrap();
    assert!(store.clear_intent("g", ONE, &intent("a/1", 1), &pause(1)).await.unwrap());
    assert_eq!((read(store, "g").await.pause, read(store, "g").await.intent), (Some(pause(1)), None));
    assert!(store.pause("g", ONE, None, &pause(2)).await.unwrap());
    store.take_intent("g", ONE, &intent("a/1", 2), None, Some(&pause(2))).await.unwrap();
    assert_eq!(read(store, "g").await.pause, Some(pause(2)), "an intent ends none");
    store.commit_refresh(&grant("g", &key("g", "alice"), 2, "new")).await.unwrap();
    assert_eq!(read(store, "g").await.pause, None);
    assert!(store.pause("g", Generation(2), None, &pause(1)).await.unwrap());
    store.end_refreshes("g", Generation(2), "lost").await.unwrap();
    assert_eq!(read(store, "g").await.pause, None);
    store.end_grant("g", Generation(2), &lost("lost"), NOW).await.unwrap();
    assert!(!store.pause("g", Generation(2), None, &pause(1)).await.unwrap(), "there is nothing to pause");
}

pub(super) async fn a_pause_is_of_one_generation_and_one_intent(store: &dyn Store) {
    live(store, "g").await;
    store.take_intent("g", ONE, &intent("a/1", 1), None, None).await.unwrap();
    for (generation, wrong) in [(1, None), (1, Some(intent("a/1", 2))), (2, Some(intent("a/1", 1)))] {
        assert!(!store.pause("g", Generation(generation), wrong.as_ref(), &pause(1)).await.unwrap());
        assert_eq!(read(store, "g").await.pause, None);
    }
    assert!(!store.pause("other", ONE, None, &pause(1)).await.unwrap());
    assert!(store.pause("g", ONE, Some(&intent("a/1", 1)), &pause(1)).await.unwrap());
    assert_eq!(read(store, "g").await.intent, Some(intent("a/1", 1)), "what may have been done is not given back");
}

pub(super) async fn refuses_an_intent_of_whom_a_pause_has_overtaken(store: &dyn Store) {
    live(store, "g").await;
    store.take_intent("g", ONE, &intent("a/1", 1), None, None).await.unwrap();
    assert!(store.clear_intent("g", ONE, &intent("a/1", 1), &pause(1)).await.unwrap());
    for unseen in [None, Some(pause(2))] {
        refused(store.take_intent("g", ONE, &intent("b/1", 1), None, unseen.as_ref()).await);
    }
    store.take_intent("g", ONE, &intent("b/1", 1), None, Some(&pause(1))).await.unwrap();
}

pub(super) async fn dangle_after_their_deadline_or_when_their_broker_starts_again(store: &dyn Store) {
    for (id, owner) in [("g1", "a/1"), ("g2", "ab/1"), ("g3", "a%/1"), ("g4", "a/2")] {
        live(store, id).await;
        store.take_intent(id, ONE, &intent(owner, 1), None, None).await.unwrap();
    }
    live(store, "none").await;
    let ids = async |before, broker: &str| -> Vec<String> {
        let mut ids: Vec<_> =
            store.dangling_intents(before, broker).await.unwrap().records.into_iter().map(|grant| grant.id).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(NOW, "a").await, ["g1", "g4"]);
    assert_eq!(ids(NOW, "a%").await, ["g3"]);
    assert!(ids(intent("a/1", 1).deadline, "c").await.is_empty());
    assert_eq!(ids(UnixTime(u64::MAX), "c").await, ["g1", "g2", "g3", "g4"]);
    store.end_grant("g1", ONE, &lost("invalid_grant"), NOW).await.unwrap();
    assert_eq!(ids(NOW, "a").await, ["g4"]);
}

pub(super) async fn i5_a_commit_ends_intent_and_spare(store: &dyn Store) {
    live(store, "g").await;
    store.take_intent("g", ONE, &intent("a/1", 1), None, None).await.unwrap();
    store.keep_spare("g", ONE, ONE, &sealed("spare")).await.unwrap();
    store.commit_refresh(&grant("g", &key("g", "alice"), 2, "new")).await.unwrap();
    let after = read(store, "g").await;
    assert_eq!((after.generation, after.intent, after.spare), (Generation(2), None, None));
    refused(store.commit_refresh(&grant("g", &key("g", "alice"), 2, "late")).await);
    refused(store.commit_refresh(&grant("new", &key("new", "alice"), 1, "none to refresh")).await);
}

pub(super) async fn i5_a_refresh_revives_no_ended_grant(store: &dyn Store) {
    for (id, standing) in [("g1", lost("rejected")), ("g2", Standing::Revoked("holder".to_owned()))] {
        live(store, id).await;
        store.take_intent(id, ONE, &intent("a/1", 1), None, None).await.unwrap();
        store.end_grant(id, ONE, &standing, NOW).await.unwrap();
        refused(store.commit_refresh(&grant(id, &key(id, "alice"), 2, "late")).await);
        let after = read(store, id).await;
        assert_eq!((after.generation, after.standing, after.material), (ONE, standing, None));
    }
}

pub(super) async fn a_consent_revives_an_ended_grant_at_the_next_generation(store: &dyn Store) {
    live(store, "g").await;
    store.end_grant("g", ONE, &lost("invalid_grant"), NOW).await.unwrap();
    refused(store.commit_grant(&grant("g", &key("g", "alice"), 1, "again")).await);
    store.commit_grant(&grant("g", &key("g", "alice"), 2, "new")).await.unwrap();
    assert_eq!(read(store, "g").await.standing, Standing::Live);
}

pub(super) async fn i5_ends_no_other_generation(store: &dyn Store) {
    live(store, "g").await;
    store.commit_refresh(&grant("g", &key("g", "alice"), 2, "fresh")).await.unwrap();
    let before = read(store, "g").await;
    for generation in [0, 1, 3] {
        refused(store.end_grant("g", Generation(generation), &lost("invalid_grant"), NOW).await);
    }
    refused(store.end_grant("g", Generation(2), &Standing::Live, NOW).await);
    refused(store.end_grant("other", ONE, &lost("invalid_grant"), NOW).await);
    assert_eq!(read(store, "g").await, before);
}

pub(super) async fn a_revocation_overrules_every_other_end_and_no_other_end_a_revocation(store: &dyn Store) {
    let revoked = Standing::Revoked("operator".to_owned());
    live(store, "g").await;
    store.end_grant("g", ONE, &lost("invalid_grant"), NOW).await.unwrap();
    refused(store.end_grant("g", ONE, &lost("rejected"), NOW).await);
    assert_eq!(read(store, "g").await.standing, lost("invalid_grant"));
    store.end_grant("g", ONE, &revoked, NOW).await.unwrap();
    refused(store.end_grant("g", ONE, &lost("rejected"), NOW).await);
    assert_eq!(read(store, "g").await.standing, revoked);
}

pub(super) async fn an_ended_grant_keeps_its_row_and_no_material(store: &dyn Store) {
    live(store, "g").await;
    store.take_intent("g", ONE, &intent("a/1", 1), None, None).await.unwrap();
    store.keep_spare("g", ONE, ONE, &sealed("spare")).await.unwrap();
    store.end_grant("g", ONE, &lost("invalid_grant"), NOW).await.unwrap();
    let after = read(store, "g").await;
    assert_eq!((after.generation, after.standing), (ONE, lost("invalid_grant")));
    assert_eq!((after.material, after.intent, after.spare), (None, None, None));
    store.keep_spare("g", ONE, ONE, &sealed("late")).await.unwrap();
    assert_eq!(read(store, "g").await.spare, None);
}

pub(super) async fn i5_an_access_token_outlives_the_refreshes_of_its_grant(store: &dyn Store) {
    live(store, "g").await;
    store.take_intent("g", ONE, &intent("a/1", 2), None, None).await.unwrap();
    store.keep_spare("g", ONE, ONE, &sealed("spare")).await.unwrap();
    let before = read(store, "g").await.material.unwrap();
    store.end_refreshes("g", ONE, "invalid_grant").await.unwrap();
    refused(store.take_intent("g", ONE, &intent("a/1", 3), None, None).await);
    store.keep_spare("g", ONE, ONE, &sealed("late")).await.unwrap();
    let after = read(store, "g").await;
    assert_eq!((after.generation, after.standing), (ONE, lost("invalid_grant")));
    assert_eq!((after.intent, after.spare), (None, None));
    assert_eq!(after.material, Some(Material { refresh_token: None, ..before }));
    assert!(store.dangling_intents(UnixTime(u64::MAX), "a").await.unwrap().records.is_empty());
}

pub(super) async fn refuses_to_end_refreshes_of_another_generation_or_twice(store: &dyn Store) {
    live(store, "g").await;
    let before = read(store, "g").await;
    for generation in [0, 2, u64::MAX] {
        refused(store.end_refreshes("g", Generation(generation), "invalid_grant").await);
    }
    refused(store.end_refreshes("other", ONE, "invalid_grant").await);
    refused(store.end_refreshes("g", ONE, "").await);
    assert_eq!(read(store, "g").await, before);
    store.end_refreshes("g", ONE, "invalid_grant").await.unwrap();
    refused(store.end_refreshes("g", ONE, "lost").await);
    store.end_grant("g", ONE, &lost("invalid_grant"), NOW).await.unwrap();
    refused(store.end_refreshes("g", ONE, "lost").await);
    assert_eq!(read(store, "g").await.standing, lost("invalid_grant"));
}

pub(super) async fn every_end_destroys_what_is_left(store: &dyn Store) {
    for standing in [lost("invalid_grant"), lost("rejected"), Standing::Revoked("operator".to_owned())] {
        let id = format!("{standing:?}");
        live(store, &id).await;
        store.end_refreshes(&id, ONE, "invalid_grant").await.unwrap();
        store.end_grant(&id, ONE, &standing, NOW).await.unwrap();
        let after = read(store, &id).await;
        assert_eq!((after.standing, after.material), (standing, None));
    }
}

pub(super) async fn a_first_token_is_one_brokers_to_ask_for(store: &dyn Store) {
    let (first, other) = (intent("a/1", 1), intent("b/1", 1));
    assert!(store.take_first_intent("g", &first, "a", NOW).await.unwrap());
    assert!(!store.take_first_intent("g", &other, "b", first.deadline).await.unwrap(), "it is under way");
    assert!(store.take_first_intent("h", &other, "b", NOW).await.unwrap(), "of one grant");
    store.clear_first_intent("g", &other).await.unwrap();
    assert!(!store.take_first_intent("g", &other, "b", NOW).await.unwrap(), "nobody gives back what is another's");
    // An earlier start of the same broker comes to no end any more.
    let again = intent("a/2", 1);
    assert!(store.take_first_intent("g", &again, "a", NOW).await.unwrap());
    assert!(!store.take_first_intent("g", &intent("aa/1", 1), "aa", NOW).await.unwrap());
    assert!(store.take_first_intent("g", &other, "b", UnixTime(again.deadline.0 + 1)).await.unwrap(), "it is over");
    store.clear_first_intent("g", &other).await.unwrap();
    assert!(store.take_first_intent("g", &first, "a", NOW).await.unwrap());
}

pub(super) async fn of_two_who_want_a_first_token_one_asks(first: &dyn Store, second: &dyn Store) {
    for round in 0..20 {
        let grant = format!("g{round}");
        let (a, b) = (intent("a/1", 1), intent("b/1", 1));
        let (a, b) =
            tokio::join!(first.take_first_intent(&grant, &a, "a", NOW), second.take_first_intent(&grant, &b, "b", NOW));
        assert_ne!(a.unwrap(), b.unwrap(), "round {round}");
    }
}

pub(super) async fn what_is_set_aside_keeps_everything_and_is_due_no_more(store: &dyn Store) {
    live(store, "g").await;
    store.keep_spare("g", ONE, ONE, &sealed("spare")).await.unwrap();
    let begun = intent("a/1", 1);
    store.take_intent("g", ONE, &begun, None, None).await.unwrap();
    assert!(store.pause("g", ONE, Some(&begun), &pause(1)).await.unwrap());
    let before = read(store, "g").await;
    store.set_aside("g", ONE, "unreadable").await.unwrap();
    let aside = StoredGrant { standing: lost("unreadable"), due_at: None, ..before.clone() };
    assert_eq!(read(store, "g").await, aside);
    assert!(store.due_grants("client", UnixTime(u64::MAX >> 1), 9).await.unwrap().records.is_empty());
    refused(store.take_intent("g", ONE, &intent("a/1", 2), Some(&begun), Some(&pause(1))).await);
    store.take_up("g", ONE, "unreadable").await.unwrap();
    let due_at = before.material.as_ref().map(|material| material.refresh_after);
    assert_eq!(read(store, "g").await, StoredGrant { due_at, ..before });
    store.set_aside("g", ONE, "unreadable").await.unwrap();
    store.commit_grant(&grant("g", &key("g", "alice"), 2, "agreed anew")).await.unwrap();
    assert_eq!(read(store, "g").await.standing, Standing::Live);
}

pub(super) async fn refuses_to_set_aside_or_take_up_anything_else(store: &dyn Store) {
    live(store, "g").await;
    let before = read(store, "g").await;
    for (id, generation, reason) in
        [("g", 0, "unreadable"), ("g", 2, "unreadable"), ("other", 1, "unreadable"), ("g", 1, "")]
    {
        refused(store.set_aside(id, Generation(generation), reason).await);
        refused(store.take_up(id, Generation(generation), reason).await);
    }
    refused(store.take_up("g", ONE, "unreadable").await);
    assert_eq!(read(store, "g").await, before);
    store.set_aside("g", ONE, "unreadable").await.unwrap();
    refused(store.set_aside("g", ONE, "unreadable").await);
    refused(store.take_up("g", ONE, "lost").await);
    for ended in ["over", "left"] {
        live(store, ended).await;
    }
    store.end_grant("over", ONE, &lost("unreadable"), NOW).await.unwrap();
    store.end_refreshes("left", ONE, "unreadable").await.unwrap();
    for ended in ["over", "left"] {
        refused(store.take_up(ended, ONE, "unreadable").await);
        refused(store.set_aside(ended, ONE, "unreadable").await);
    }
}

pub(super) async fn i5_an_answer_that_was_believed_lost_revives_what_is_left(store: &dyn Store) {
    live(store, "g").await;
    store.end_refreshes("g", ONE, "invalid_grant").await.unwrap();
    let late = grant("g", &key("g", "alice"), 2, "late");
    store.commit_refresh(&late).await.unwrap();
    let after = read(store, "g").await;
    assert_eq!((after.standing, after.material), (Standing::Live, Some(late.material)));
}

pub(super) async fn i5_an_answer_that_was_believed_lost_revives_what_was_ended_for_it(store: &dyn Store) {
    for reason in ["invalid_grant", "lost"] {
        live(store, reason).await;
        store.end_grant(reason, ONE, &lost(reason), NOW).await.unwrap();
        let late = |generation| grant(reason, &key(reason, "alice"), generation, "late");
        refused(store.commit_refresh(&late(3)).await);
        store.commit_refresh(&late(2)).await.unwrap();
        let after = read(store, reason).await;
        assert_eq!((after.standing, after.material), (Standing::Live, Some(late(2).material)));
        // Somebody agreed anew meanwhile: what is late is too late.
        store.end_grant(reason, Generation(2), &lost(reason), NOW).await.unwrap();
        store.commit_grant(&grant(reason, &key(reason, "alice"), 3, "agreed")).await.unwrap();
        refused(store.commit_refresh(&late(3)).await);
    }
}

pub(super) async fn i5_what_came_to_nothing_takes_nothing_from_the_attempts_before_it(store: &dyn Store) {
    live(store, "g").await;
    let (first, second) = (intent("a/1", 1), intent("b/1", 2));
    store.take_intent("g", ONE, &first, None, None).await.unwrap();
    store.take_intent("g", ONE, &second, Some(&first), None).await.unwrap();
    assert!(store.clear_intent("g", ONE, &second, &pause(1)).await.unwrap());
    assert_eq!(read(store, "g").await.intent, Some(Intent { attempt: 1, ..second }));
}

pub(super) async fn keeps_the_first_spare(store: &dyn Store) {
    live(store, "g").await;
    let first = Spare { generation: Generation(2), refresh_token: sealed("first") };
    store.keep_spare("g", Generation(2), Generation(2), &sealed("of what was overtaken")).await.unwrap();
    store.keep_spare("g", ONE, Generation(2), &sealed("first")).await.unwrap();
    store.keep_spare("g", ONE, Generation(3), &sealed("second")).await.unwrap();
    assert_eq!(read(store, "g").await.spare, Some(first));
}

pub(super) async fn of_two_takers_one_gets_the_right(first: &dyn Store, second: &dyn Store) {
    for round in 0..20 {
        let id = format!("g{round}");
        live(first, &id).await;
        let (mine, yours) = (intent("a/1", 1), intent("b/1", 1));
        let took = tokio::join!(
            first.take_intent(&id, ONE, &mine, None, None),
            second.take_intent(&id, ONE, &yours, None, None)
        );
        assert_eq!(read(second, &id).await.intent, Some(winner(took, mine, yours)));
    }
}

pub(super) async fn of_two_recoveries_one_gets_the_right(first: &dyn Store, second: &dyn Store) {
    for round in 0..20 {
        let id = format!("g{round}");
        live(first, &id).await;
        let dead = intent("c/1", 1);
        first.take_intent(&id, ONE, &dead, None, None).await.unwrap();
        let (mine, yours) = (intent("a/1", 2), intent("b/1", 2));
        let took = tokio::join!(
            first.take_intent(&id, ONE, &mine, Some(&dead), None),
            second.take_intent(&id, ONE, &yours, Some(&dead), None)
        );
        assert_eq!(read(first, &id).await.intent, Some(winner(took, mine, yours)));
    }
}

pub(super) async fn i5_a_grant_is_ended_or_renewed_and_never_both(first: &dyn Store, second: &dyn Store) {
    for round in 0..20 {
        let id = format!("g{round}");
        live(first, &id).await;
        let fresh = grant(&id, &key(&id, "alice"), 2, "fresh");
        let gone = lost("rejected");
        let (committed, ended) = tokio::join!(first.commit_refresh(&fresh), second.end_grant(&id, ONE, &gone, NOW));
        let after = read(first, &id).await;
        match (committed, ended) {
            (Ok(()), Err(StoreError::Conflict)) => assert_eq!(after.material, Some(fresh.material)),
            (Err(StoreError::Conflict), Ok(())) => assert_eq!((after.material, after.standing), (None, gone)),
            other => panic!("{other:?}"),
        }
    }
}

fn winner(took: (Result<(), StoreError>, Result<(), StoreError>), mine: Intent, yours: Intent) -> Intent {
    match took {
        (Ok(()), Err(StoreError::Conflict)) => mine,
        (Err(StoreError::Conflict), Ok(())) => yours,
        other => panic!("{other:?}"),
    }
}
