//! When a grant is over, and only then.

use super::people::{DUE, People};
use super::*;
use crate::oauth::profile::GENERIC;
use crate::store::Standing;

#[tokio::test]
async fn invalid_grant_asks_for_consent_and_the_provider_is_asked_no_more() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.is_strict("another");
    for _ in 0..5 {
        assert_eq!(people.reason().await, ConsentReason::InvalidGrant);
    }
    assert_eq!(people.fixture.provider.count(), 1);
    let stored = people.stored().await;
    assert_eq!((stored.generation, stored.standing), (Generation(1), ConsentReason::InvalidGrant.as_standing()));
    assert_eq!((stored.material, stored.intent), (None, None));
    assert_eq!(*people.fixture.held.ended.lock().unwrap(), [(stored.id, Generation(1))], "proxies let go of it");
    people.agrees(Some("canary-refresh-9")).await;
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-agreed");
    assert_eq!(people.stored().await.generation, Generation(2));
}

#[tokio::test]
async fn what_a_gateway_said_of_a_strict_provider_that_had_acted_leaves_the_old_token_until_it_expires() {
    for gateway in [Some(504), None] {
        let people = People::at(&GENERIC).await;
        people.agrees(Some("canary-refresh-0")).await;
        people.fixture.clock.advance(DUE);
        if let Some(status) = gateway {
            people.fixture.provider.answers(status, "");
            assert_eq!(people.token(Need::NotDue).await.unwrap(), "canary-agreed");
            assert_eq!(people.stored().await.intent, None, "no attempt is spent on it");
            people.fixture.refresher.reconsider();
        }
        people.fixture.provider.is_strict("what the gateway kept to itself");
        let served = people.token(Need::NotDue).await;
        assert_eq!(people.stored().await.standing, ConsentReason::InvalidGrant.as_standing());
        assert_eq!(served.ok().as_deref(), gateway.map(|_| "canary-agreed"), "{gateway:?}");
        assert_eq!(people.stored().await.material.is_some(), gateway.is_some());
        people.fixture.clock.advance(HOUR);
        assert_eq!(people.reason().await, ConsentReason::InvalidGrant);
    }
}

#[tokio::test]
async fn a_token_without_a_refresh_token_serves_until_it_expires() {
    let people = People::at(&GENERIC).await;
    people.agrees(None).await;
    people.fixture.clock.advance(DUE);
    for need in [Need::Live, Need::NotDue] {
        assert_eq!(people.token(need).await.unwrap(), "canary-agreed");
    }
    people.fixture.clock.advance(HOUR);
    assert_eq!(people.reason().await, ConsentReason::Expired);
    assert_eq!(people.fixture.provider.count(), 0);
}

#[tokio::test]
async fn a_refused_token_without_a_refresh_token_is_over() {
    let people = People::at(&GENERIC).await;
    people.agrees(None).await;
    let error = people.token(Need::LaterThan(Generation(1))).await.unwrap_err();
    assert!(matches!(error, RefreshError::NeedsConsent { reason: ConsentReason::Rejected }), "{error:?}");
    assert_eq!(people.reason().await, ConsentReason::Rejected);
    let rows = people.fixture.store.audit(0, "", "", "refresh.failed", 10).await.unwrap();
    assert!(rows.len() == 1 && rows[0].entry.json.contains("rejected"), "{rows:?}");
}

#[tokio::test]
async fn i4_a_refresh_token_that_was_changed_or_is_somebody_elses_is_sent_to_nobody() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    people.fixture.store.tamper("UPDATE grants SET refresh_token = access_token").await;
    assert_eq!(people.reason().await, ConsentReason::Unreadable);
    assert_eq!(people.fixture.provider.count(), 0);
    assert_eq!(people.stored().await.standing, ConsentReason::Unreadable.as_standing());
}

#[tokio::test]
async fn i5_the_spare_is_tried_before_a_grant_is_given_up() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.keeps_spare(&people.fixture.vault, "canary-refresh-spare").await;
    people.fixture.provider.is_strict("canary-refresh-spare");
    people.fixture.clock.advance(HOUR);
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-2");
    assert_eq!(people.sent(), ["canary-refresh-0", "canary-refresh-spare"]);
    let stored = people.stored().await;
    assert_eq!((stored.generation, stored.spare), (Generation(2), None));
    people.fixture.clock.advance(HOUR);
    assert_eq!(people.token(Need::Live).await.unwrap(), "canary-token-3");
}

#[tokio::test]
async fn a_spare_that_does_not_work_either_is_the_end() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.keeps_spare(&people.fixture.vault, "canary-refresh-spare").await;
    people.fixture.provider.is_strict("another");
    people.fixture.clock.advance(HOUR);
    assert_eq!(people.reason().await, ConsentReason::InvalidGrant);
    assert_eq!(people.fixture.provider.count(), 2);
}

#[tokio::test]
async fn o13_what_its_holder_ended_while_it_was_refreshed_stays_ended() {
    let people = People::at(&GENERIC).await;
    people.agrees(Some("canary-refresh-0")).await;
    people.fixture.clock.advance(HOUR);
    people.fixture.provider.gate.send_replace(false);
    let caller = spawn(&people.fixture.refresher, &people.alice(), Need::Live);
    people.fixture.provider.until_asked(1).await;
    let stored = people.stored().await;
    let revoked = Standing::Revoked("holder".into());
    people.fixture.store.end_grant(&stored.id, stored.generation, &revoked, people.fixture.clock.now()).await.unwrap();
    people.fixture.refresher.forget(&stored.key, stored.generation);
    people.fixture.provider.gate.send_replace(true);
    let error = caller.await.unwrap().unwrap_err();
    assert!(matches!(error, RefreshError::NeedsConsent { reason: ConsentReason::Revoked }), "{error:?}");
    let stored = people.stored().await;
    assert_eq!((stored.standing, stored.material, stored.spare), (revoked, None, None));
    assert_eq!(people.fixture.held.too_late().unwrap().generation, Generation(2), "it is revoked at the provider");
}
