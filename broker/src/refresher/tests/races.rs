//! Two who refresh one grant: one wins, and the other deletes nothing.

use super::people::People;
use super::*;
use crate::oauth::profile::GENERIC;

/// The provider is asked by us, and somebody else commits before it answers.
async fn overtaken(people: &People, winner: &crate::store::GrantCommit) -> Result<Served, RefreshError> {
    let asked = people.fixture.provider.count();
    people.fixture.provider.gate.send_replace(false);
    let loser = spawn(&people.fixture.refresher, &people.alice(), Need::LaterThan(people.stored().await.generation));
    people.fixture.provider.until_asked(asked + 1).await;
    people.fixture.store.commit_grant(winner).await.unwrap();
    people.fixture.provider.gate.send_replace(true);
    loser.await.unwrap()
}

#[tokio::test]
async fn i5_l8_a_loser_that_hears_invalid_grant_deletes_nothing_in_a_thousand_races() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.provider.is_strict("the winner has used the old one up");
    for _ in 0..1_000 {
        let winner = people.next_generation("winners-token", Some("winners-refresh")).await;
        assert_eq!(text(&overtaken(&people, &winner).await.unwrap()), "winners-token");
        let stored = people.stored().await;
        assert_eq!((stored.generation, stored.material.as_ref()), (winner.generation, Some(&winner.material)));
    }
}

#[tokio::test]
async fn i5_a_pair_whose_commit_loses_is_kept_as_the_spare() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    let winner = people.next_generation("winners-token", Some("winners-refresh")).await;
    assert_eq!(text(&overtaken(&people, &winner).await.unwrap()), "winners-token");
    let stored = people.stored().await;
    assert_eq!(stored.material.as_ref(), Some(&winner.material));
    assert_eq!(stored.spare.unwrap().generation, Generation(2));
    // The provider knows ours, and not the winner's.
    people.fixture.clock.advance(HOUR);
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-3");
    assert_eq!(people.sent(), ["canary-refresh-0", "winners-refresh", "canary-refresh-1"]);
}

#[tokio::test]
async fn a_pair_that_a_newer_consent_of_an_unknown_account_has_overtaken_is_dropped() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(Duration::from_secs(1));
    let anew = people.next_generation("agreed-anew", Some("anew-refresh")).await;
    let winner = crate::store::GrantCommit { account: None, ..anew };
    assert_eq!(text(&overtaken(&people, &winner).await.unwrap()), "agreed-anew");
    assert_eq!(people.stored().await.spare, None);
    let too_late = people.fixture.held.too_late();
    assert_eq!(too_late, None, "to revoke it could end what the same account was agreed to anew");
}

#[tokio::test]
async fn i5_a_pair_is_kept_when_a_newer_consent_of_its_account_has_carried_the_used_refresh_token_over() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.provider.answers(200, provider::PAIR);
    people.fixture.clock.advance(Duration::from_secs(1));
    let winner = people.next_generation("agreed-anew", Some("canary-refresh-0")).await;
    assert_eq!(text(&overtaken(&people, &winner).await.unwrap()), "agreed-anew");
    people.fixture.clock.advance(HOUR);
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-3");
    assert_eq!(people.sent(), ["canary-refresh-0", "canary-refresh-0", "canary-refresh-1"]);
    assert_eq!(people.fixture.held.too_late(), None, "it is not revoked either");
}

#[tokio::test]
async fn o13_a_pair_that_another_accounts_consent_has_overtaken_is_revoked() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(Duration::from_secs(1));
    let anew = people.next_generation("agreed-anew", Some("anew-refresh")).await;
    let winner = crate::store::GrantCommit { account: Some("another".into()), ..anew };
    assert_eq!(text(&overtaken(&people, &winner).await.unwrap()), "agreed-anew");
    let too_late = people.fixture.held.too_late().unwrap();
    assert_eq!(too_late.account.as_deref(), Some("account-at-provider"));
    assert_eq!((people.stored().await.material, people.stored().await.spare), (Some(winner.material), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_with_fifty_callers_each_make_one_request() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    let brokers = [people.fixture.refresher.clone(), people.fixture.other_broker()];
    for round in 1..=10 {
        people.fixture.clock.advance(HOUR);
        let callers: Vec<_> = (0..100).map(|n| spawn(&brokers[n % 2], &people.alice(), Need::Live)).collect();
        for caller in callers {
            assert_eq!(text(&caller.await.unwrap().unwrap()), format!("canary-token-{round}"));
        }
        assert_eq!(people.fixture.provider.count(), round);
    }
}
