//! A store that is down when the provider has answered.

use std::os::unix::fs::PermissionsExt as _;

use super::people::People;
use super::*;
use crate::oauth::profile::GENERIC;
use crate::store::Intent;

impl People {
    /// The provider has answered, the disk is full, and the broker has stopped hoping.
    async fn spooled() -> Self {
        let (people, caller) = Self::over_a_full_disk(Duration::from_millis(50)).await;
        assert!(matches!(caller.await.unwrap(), Err(RefreshError::Store(_))));
        people
    }

    /// The provider has answered, and the disk is full; and somebody who waits, for this long at most.
    async fn over_a_full_disk(commit: Duration) -> (Self, tokio::task::JoinHandle<Result<Served, RefreshError>>) {
        let limits = Limits { commit, wait: Duration::from_secs(20), ..Limits::default() };
        let people = Self::with(&GENERIC, limits).await;
        people.agrees(Some("canary-refresh-0")).await;
        people.fixture.clock.advance(HOUR);
        // A pair that needs pages of its own.
        let long = provider::PAIR.replace("NUMBER", &format!("NUMBER-{}", "t".repeat(12_000)));
        people.fixture.provider.answers(200, &long);
        people.fixture.provider.gate.send_replace(false);
        let caller = spawn(&people.fixture.refresher, &people.alice(), Need::Live);
        people.fixture.provider.until_asked(1).await;
        people.fixture.store.fill().await;
        people.fixture.provider.gate.send_replace(true);
        (people, caller)
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let directory = self.fixture.dir.path().join("spool").join("a");
        std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect()
    }
}

#[tokio::test]
async fn i5_l6_nobody_asks_again_for_what_waited_while_the_store_took_nothing_for_longer_than_a_right_to_ask_lasts() {
    let people = People::spooled().await;
    people.fixture.clock.advance(HOUR / 2);
    people.fixture.store.make_room().await;
    let caller = spawn(&people.fixture.other_broker(), &people.alice(), Need::Live);
    let has_the_right = |intent: &Intent| intent.owner.starts_with("b/");
    while !people.stored().await.intent.as_ref().is_some_and(has_the_right) {
        tokio::task::yield_now().await;
    }
    // The other broker has the right now, and would count as one that asked if it did; ours lives.
    assert_eq!(people.stored().await.intent.map(|intent| intent.attempt), Some(1), "nobody is asked by it");
    people.fixture.refresher.0.replay_all().await.unwrap();
    assert!(text(&caller.await.unwrap().unwrap()).starts_with("canary-token-1-"));
    assert_eq!(people.fixture.provider.count(), 1);
    let stored = people.stored().await;
    assert_eq!((stored.generation, stored.intent, stored.spare), (Generation(2), None, None));
}

#[tokio::test]
async fn what_the_store_never_takes_holds_up_nothing_else() {
    let people = People::spooled().await;
    people.fixture.store.make_room().await;
    // Before it, in the order of the spool.
    let mut bad = people.next_generation("canary-bad", Some("canary-bad-refresh")).await;
    (bad.id, bad.generation) = ("000".to_owned(), Generation(0));
    bad.key.holder = "bob".to_owned();
    people.fixture.refresher.0.spool.put(bad).await;
    people
        .fixture
        .store
        .tamper(
            "CREATE TRIGGER never BEFORE UPDATE ON grants WHEN NEW.id = '000' BEGIN SELECT raise(ABORT, 'never'); END",
        )
        .await;
    people.fixture.refresher.0.replay_all().await.unwrap();
    assert_eq!(people.stored().await.generation, Generation(2));
}

#[tokio::test]
async fn i4_the_spool_holds_sealed_bytes_for_its_owner_alone() {
    let people = People::spooled().await;
    let files = people.files();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(std::fs::metadata(&files[0]).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(std::fs::metadata(files[0].parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o700);
    let text = std::fs::read_to_string(&files[0]).unwrap();
    assert!(!text.contains("canary") && !text.contains("tttttttt"));
}

#[tokio::test]
async fn i5_a_pair_is_on_disk_while_the_store_is_tried_again_and_until_it_has_it() {
    let (people, caller) = People::over_a_full_disk(Duration::from_secs(20)).await;
    while !people.files().iter().any(|file| file.extension().is_some_and(|end| end == "json")) {
        assert!(!caller.is_finished());
        tokio::task::yield_now().await;
    }
    people.fixture.store.make_room().await;
    assert!(text(&caller.await.unwrap().unwrap()).starts_with("canary-token-1-"));
    assert_eq!((people.files(), people.stored().await.generation), (vec![], Generation(2)));
}

#[tokio::test]
async fn i5_a_pair_comes_from_the_spool_when_the_store_is_back() {
    let people = People::spooled().await;
    people.fixture.store.make_room().await;
    people.fixture.refresher.0.replay_all().await.unwrap();
    assert!(people.files().is_empty());
    assert_eq!(people.stored().await.generation, Generation(2));
    assert!(people.token(Need::Live).await.unwrap().starts_with("canary-token-1-"));
    assert_eq!(people.fixture.provider.count(), 1);
}

#[tokio::test]
async fn i5_a_pair_comes_from_the_spool_at_the_next_start() {
    let people = People::spooled().await;
    people.fixture.store.make_room().await;
    let restarted = people.fixture.restarted();
    assert_eq!(restarted.recover(&[Arc::clone(&people.client)]).await.unwrap(), 0, "its intent ended with it");
    let served = restarted.token(&people.alice(), Need::Live).await.unwrap();
    assert!(text(&served).starts_with("canary-token-1-"));
    assert!(people.files().is_empty());
    assert_eq!(people.fixture.provider.count(), 1);
}

#[tokio::test]
async fn i5_no_refresh_uses_the_old_refresh_token_while_a_pair_waits() {
    let people = People::spooled().await;
    people.fixture.refresher.reconsider();
    assert!(matches!(people.token(Need::Live).await, Err(RefreshError::Store(_))));
    people.fixture.store.make_room().await;
    assert!(people.token(Need::Live).await.unwrap().starts_with("canary-token-1-"));
    assert_eq!(people.fixture.provider.count(), 1);
}

#[tokio::test]
async fn i5_a_pair_from_the_spool_that_comes_too_late_deletes_nothing() {
    let people = People::spooled().await;
    people.fixture.store.make_room().await;
    let winner = people.next_generation("winners-token", Some("winners-refresh")).await;
    people.fixture.store.commit_grant(&winner).await.unwrap();
    people.fixture.refresher.0.replay_all().await.unwrap();
    assert_eq!(people.stored().await.material, Some(winner.material));
    assert!(people.files().is_empty());
}

#[tokio::test]
async fn i5_a_pair_from_the_spool_is_kept_by_a_store_that_was_put_back_to_before_it() {
    let people = People::spooled().await;
    people.fixture.store.make_room().await;
    people.fixture.store.tamper("UPDATE grants SET generation = 0").await;
    people.fixture.refresher.0.replay_all().await.unwrap();
    assert!(people.fixture.held.too_late().is_none(), "nothing is revoked at the provider");
    assert_eq!(people.stored().await.spare.map(|spare| spare.generation), Some(Generation(2)));
    assert!(people.files().is_empty());
}

#[tokio::test]
async fn o13_a_pair_from_the_spool_of_a_grant_that_was_ended_meanwhile_is_revoked() {
    let people = People::spooled().await;
    people.fixture.store.make_room().await;
    let (stored, now) = (people.stored().await, people.fixture.clock.now());
    let revoked = crate::store::Standing::Revoked("operator".into());
    people.fixture.store.end_grant(&stored.id, stored.generation, &revoked, now).await.unwrap();
    people.fixture.refresher.0.replay_all().await.unwrap();
    assert_eq!(people.fixture.held.too_late().unwrap().generation, Generation(2));
    assert_eq!((people.stored().await.standing, people.files()), (revoked, vec![]));
}

#[tokio::test]
async fn o13_a_pair_from_the_spool_whose_grant_is_gone_is_revoked_and_recorded() {
    let people = People::spooled().await;
    people.fixture.store.make_room().await;
    people.fixture.store.tamper("DELETE FROM grants").await;
    people.fixture.refresher.0.replay_all().await.unwrap();
    assert_eq!(people.fixture.held.too_late().unwrap().generation, Generation(2));
    assert_eq!(people.files(), Vec::<std::path::PathBuf>::new());
    let rows = people.fixture.store.audit(0, "", "", "refresh.failed", 10).await.unwrap();
    assert!(rows.iter().any(|row| row.entry.json.contains("grant_gone")), "{rows:?}");
}

#[tokio::test]
async fn half_a_file_is_dropped_and_a_strange_one_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.1.json.half", "b.1.json"] {
        std::fs::write(dir.path().join(name), "{").unwrap();
    }
    assert!(Spool::open(dir.path()).unwrap().is_empty());
    assert!(!dir.path().join("a.1.json.half").exists() && dir.path().join("b.1.json").exists());
}
