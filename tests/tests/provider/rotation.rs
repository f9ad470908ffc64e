//! What a refresh does to the tokens before it, provider by provider.

use std::time::Duration;

use e2e::{
    Provider,
    provider::{Revoked, Rotation},
    run,
};

use crate::browser::{consented, family, refresh};

async fn rotating(rotation: Rotation) -> Provider {
    let provider = Provider::start().await;
    provider.rotation(rotation);
    provider
}

#[test]
fn without_rotation_one_refresh_token_serves_for_ever_and_is_not_repeated() {
    run(async {
        let provider = rotating(Rotation::None).await;
        let (_, token) = consented(&provider).await;
        for _ in 0..3 {
            let answer = refresh(&provider, &token).await;
            assert!(answer.status == 200 && answer.body.get("refresh_token").is_none(), "{answer:?}");
        }
        assert_eq!((family(&provider).refresh_tokens.len(), provider.uses_of(&token)), (1, 3));
    });
}

#[test]
fn old_valid_rotates_and_takes_the_old_one_again() {
    run(async {
        let provider = rotating(Rotation::OldValid).await;
        let (_, first) = consented(&provider).await;
        let second = refresh(&provider, &first).await.text("refresh_token");
        assert_eq!(refresh(&provider, &second).await.status, 200);
        assert_eq!(refresh(&provider, &first).await.status, 200);
        assert!(!provider.was_family_revoked());
    });
}

#[test]
fn grace_takes_the_old_one_again_within_its_window_only() {
    run(async {
        let provider = rotating(Rotation::Grace(Duration::from_secs(30))).await;
        let (_, first) = consented(&provider).await;
        refresh(&provider, &first).await.text("refresh_token");
        let again = refresh(&provider, &first).await.text("refresh_token");
        provider.advance(Duration::from_secs(31));
        refresh(&provider, &first).await.assert_refused("invalid_grant");
        assert_eq!(family(&provider).revoked, Some(Revoked::Reuse));
        refresh(&provider, &again).await.assert_refused("invalid_grant");
    });
}

#[test]
fn grace_ends_with_the_first_use_of_the_successor() {
    run(async {
        let provider = rotating(Rotation::Grace(Duration::from_secs(30))).await;
        let (_, first) = consented(&provider).await;
        let second = refresh(&provider, &first).await.text("refresh_token");
        refresh(&provider, &second).await.text("refresh_token");
        refresh(&provider, &first).await.assert_refused("invalid_grant");
        assert!(provider.was_family_revoked());
    });
}

#[test]
fn grace_does_not_run_before_the_token_is_used() {
    run(async {
        let provider = rotating(Rotation::Grace(Duration::from_secs(30))).await;
        let (_, first) = consented(&provider).await;
        provider.advance(Duration::from_secs(3600));
        assert_eq!(refresh(&provider, &first).await.status, 200);
    });
}

#[test]
fn strict_refuses_the_old_one_and_spares_the_family() {
    run(async {
        let provider = rotating(Rotation::Strict).await;
        let (_, first) = consented(&provider).await;
        let second = refresh(&provider, &first).await.text("refresh_token");
        refresh(&provider, &first).await.assert_refused("invalid_grant");
        assert!(!provider.was_family_revoked());
        assert_eq!(refresh(&provider, &second).await.status, 200);
    });
}

#[test]
fn family_revoke_ends_every_token_of_the_family_and_of_no_other() {
    run(async {
        let provider = rotating(Rotation::FamilyRevoke).await;
        let (access, first) = consented(&provider).await;
        let (other, _) = consented(&provider).await;
        let renewed = refresh(&provider, &first).await;
        refresh(&provider, &first).await.assert_refused("invalid_grant");
        refresh(&provider, &renewed.text("refresh_token")).await.assert_refused("invalid_grant");
        assert!(provider.was_family_revoked());
        assert_eq!(provider.families()[0].revoked, Some(Revoked::Reuse));
        assert!(!provider.is_live(&access) && !provider.is_live(&renewed.text("access_token")));
        assert!(provider.is_live(&other), "another family died");
    });
}

#[test]
fn a_refresh_kills_the_access_token_before_it_only_where_that_is_the_habit() {
    run(async {
        for kills in [false, true] {
            let provider = rotating(Rotation::Strict).await;
            provider.refresh_kills_access_token(kills);
            let (access, token) = consented(&provider).await;
            let renewed = refresh(&provider, &token).await.text("access_token");
            assert_eq!((provider.is_live(&access), provider.is_live(&renewed)), (!kills, true), "kills: {kills}");
        }
    });
}

#[test]
fn an_access_token_dies_of_age_and_tells_its_age_beforehand() {
    run(async {
        let provider = rotating(Rotation::None).await;
        provider.access_token_life(Duration::from_secs(60));
        let (_, token) = consented(&provider).await;
        let renewed = refresh(&provider, &token).await;
        assert_eq!(renewed.body["expires_in"], 60);
        provider.advance(Duration::from_secs(59));
        assert_eq!(provider.holder_of(&renewed.text("access_token")).as_deref(), Some("alice"));
        provider.advance(Duration::from_secs(1));
        assert_eq!(provider.holder_of(&renewed.text("access_token")), None);
    });
}

#[test]
fn a_person_who_withdraws_ends_their_families_and_nobody_elses() {
    run(async {
        let provider = rotating(Rotation::Strict).await;
        let (alices, token) = consented(&provider).await;
        provider.approve_as("bob");
        let (bobs, _) = consented(&provider).await;
        provider.withdraw("alice");
        refresh(&provider, &token).await.assert_refused("invalid_grant");
        assert_eq!((provider.is_live(&alices), provider.holder_of(&bobs).as_deref()), (false, Some("bob")));
    });
}
