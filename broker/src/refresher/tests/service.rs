//! Client credentials.

use super::*;
use crate::keys;
use crate::oauth::RefusalCode;
use crate::store::{GrantCommit, Material};
use crate::vault::{Place, Record};

#[tokio::test]
async fn a_token_of_a_client_that_was_shredded_is_obtained_anew() {
    let fixture = Fixture::new().await;
    fixture.refresher.token(&fixture.service(), Need::Live).await.unwrap();
    let grant = fixture.service().grant();
    let stored = fixture.store.grant(&grant).await.unwrap().unwrap();
    fixture.store.shred_grants(None, 10, fixture.clock.now()).await.unwrap();
    fixture.refresher.forget(&grant, stored.generation);
    let served = fixture.refresher.token(&fixture.service(), Need::Live).await.unwrap();
    assert_eq!(text(&served), "canary-token-2");
    assert_eq!(fixture.store.grant(&grant).await.unwrap().unwrap().standing, crate::store::Standing::Live);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_on_one_expired_grant_make_one_token_request() {
    let fixture = Fixture::new().await;
    for round in 1..=40 {
        let callers: Vec<_> = (0..50).map(|_| fixture.spawn(Need::Live)).collect();
        for caller in callers {
            assert_eq!(text(&caller.await.unwrap().unwrap()), format!("canary-token-{round}"));
        }
        assert_eq!(fixture.provider.count(), round);
        fixture.clock.advance(HOUR);
    }
    assert_eq!(fixture.stored().await.unwrap().generation, Generation(40));
}

#[tokio::test]
async fn i5_caller_that_gives_up_does_not_lose_the_token() {
    let fixture = Fixture::new().await;
    fixture.provider.gate.send_replace(false);
    let caller = fixture.spawn(Need::Live);
    fixture.provider.until_asked(1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    fixture.provider.gate.send_replace(true);
    fixture.until_generation(1).await;
    assert_eq!(fixture.text(Need::Live).await, "canary-token-1");
    assert_eq!(fixture.provider.count(), 1);
}

#[tokio::test]
async fn a_caller_waits_no_longer_than_it_may_and_the_renewal_goes_on() {
    let limits = Limits { wait: Duration::from_millis(50), ..Limits::default() };
    let fixture = Fixture::with(limits).await;
    fixture.provider.gate.send_replace(false);
    let error = fixture.token(Need::Live).await.unwrap_err();
    assert!(matches!(&error, RefreshError::Overdue { host } if host == "127.0.0.1"), "{error:?}");
    fixture.provider.gate.send_replace(true);
    fixture.until_generation(1).await;
    assert_eq!(fixture.text(Need::Live).await, "canary-token-1");
}

#[tokio::test]
async fn stored_tokens_outlive_the_process() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    let served = fixture.other_broker().token(&fixture.service(), Need::Live).await.unwrap();
    assert_eq!(text(&served), "canary-token-1");
    assert!(!served.renewed);
    assert_eq!(fixture.provider.count(), 1);
}

#[tokio::test]
async fn due_tokens_are_renewed_behind_callers_that_go_on_with_the_old_one() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    fixture.clock.advance(HOUR.mul_f64(0.79));
    assert_eq!(fixture.text(Need::NotDue).await, "canary-token-1");
    assert_eq!(fixture.provider.count(), 1);
    fixture.clock.advance(HOUR.mul_f64(0.07));
    fixture.provider.gate.send_replace(false);
    assert_eq!(fixture.text(Need::Live).await, "canary-token-1");
    let patient = fixture.spawn(Need::NotDue);
    fixture.provider.gate.send_replace(true);
    assert_eq!(text(&patient.await.unwrap().unwrap()), "canary-token-2");
    fixture.until_idle().await;
    assert_eq!(fixture.text(Need::Live).await, "canary-token-2");
    assert_eq!(fixture.provider.count(), 2);
}

#[tokio::test]
async fn a_failing_provider_costs_nothing_until_the_old_token_expires() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    fixture.clock.advance(HOUR.mul_f64(0.9));
    for (status, body) in
        [(500, "canary"), (429, "{}"), (200, "<html>canary"), (302, ""), (400, r#"{"error":"invalid_client"}"#)]
    {
        fixture.provider.answers(status, body);
        fixture.refresher.reconsider();
        assert_eq!(fixture.text(Need::NotDue).await, "canary-token-1");
    }
    assert_eq!(fixture.provider.count(), 6);
    fixture.clock.advance(HOUR.mul_f64(0.1));
    fixture.provider.answers(503, "canary");
    fixture.refresher.reconsider();
    let error = fixture.token(Need::Live).await.unwrap_err();
    assert!(
        matches!(&error, RefreshError::Provider { host, retry_after } if host == "127.0.0.1" && !retry_after.is_zero())
    );
    assert!(!format!("{error} {error:?}").contains("canary"));
    assert_eq!(fixture.stored().await.unwrap().generation, Generation(1));
    let rows = fixture.store.audit(0, "", "", "", 100).await.unwrap();
    let rows: Vec<_> = rows.into_iter().map(|row| row.entry).collect();
    assert_eq!(rows.iter().filter(|row| row.event == "refresh.done").count(), 1);
    assert_eq!(rows.iter().filter(|row| row.event == "refresh.failed").count(), 6);
    assert!(rows.iter().all(|row| !row.json.contains("canary")));
}

#[tokio::test]
async fn a_failing_provider_is_left_alone() {
    let fixture = Fixture::new().await;
    fixture.provider.asks_to_wait(429, 90);
    for _ in 0..20 {
        assert!(matches!(fixture.token(Need::Live).await, Err(RefreshError::Provider { .. })));
    }
    assert_eq!(fixture.provider.count(), 1);
    fixture.clock.advance(Duration::from_secs(89));
    assert!(fixture.token(Need::Live).await.is_err());
    assert_eq!(fixture.provider.count(), 1);
    fixture.clock.advance(Duration::from_secs(20));
    fixture.provider.answers(200, provider::TOKEN);
    fixture.text(Need::Live).await;
    assert_eq!(fixture.provider.count(), 2);
}

#[tokio::test]
async fn a_hanging_provider_is_given_up() {
    let fixture = Fixture::with(Limits { provider: Duration::from_millis(50), ..Limits::default() }).await;
    fixture.provider.hangs(true);
    assert!(matches!(fixture.token(Need::Live).await, Err(RefreshError::Provider { .. })));
}

#[tokio::test]
async fn a_refused_client_is_not_an_outage() {
    let fixture = Fixture::new().await;
    fixture.provider.answers(401, r#"{"error":"invalid_client","error_description":"canary"}"#);
    let error = fixture.token(Need::Live).await.unwrap_err();
    assert!(matches!(error, RefreshError::Refused { code: RefusalCode::InvalidClient, .. }));
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[tokio::test]
async fn a_missing_secret_asks_no_provider() {
    let fixture = Fixture::new().await;
    let client =
        Arc::new(ClientCredentials { client_secret: Template(vec![]), ..ClientCredentials::clone(&fixture.client) });
    let source = Source::Service(client);
    assert!(matches!(fixture.refresher.token(&source, Need::Live).await, Err(RefreshError::Secret(_))));
    assert_eq!(fixture.provider.count(), 0);
}

#[tokio::test]
async fn i5_loser_of_a_race_serves_the_winners_and_deletes_nothing() {
    let fixture = Fixture::new().await;
    fixture.provider.gate.send_replace(false);
    let loser = fixture.spawn(Need::Live);
    fixture.provider.until_asked(1).await;
    let key = keys::service_grant(&fixture.client);
    let id = keys::grant_id(&Tenant("t".into()), &key);
    let data_key = fixture.vault.data_key(Record::grant(&id)).await.unwrap();
    let winner = GrantCommit {
        material: Material {
            access_token: data_key.seal(&Place::access_token(&id, Generation(1)), &Secret::new("winners-token")),
            refresh_token: None,
            issued_at: START,
            expires_at: START.after(HOUR),
            refresh_after: START.after(HOUR),
        },
        id,
        key,
        generation: Generation(1),
        scopes: vec![],
        auth_revisions: vec![],
        account: None,
        consented_at: None,
        consented_by: None,
        invalidates: None,
    };
    fixture.store.commit_grant(&winner).await.unwrap();
    fixture.provider.gate.send_replace(true);
    assert_eq!(text(&loser.await.unwrap().unwrap()), "winners-token");
    assert_eq!(fixture.text(Need::Live).await, "winners-token");
    assert_eq!(fixture.stored().await.unwrap().material, Some(winner.material));
}

#[tokio::test]
async fn i5_a_token_waits_in_memory_while_the_store_is_full() {
    let fixture = Fixture::new().await;
    fixture.provider.gate.send_replace(false);
    // A token that needs pages of its own.
    let token = "t".repeat(12_000);
    fixture.provider.answers(200, &format!(r#"{{"access_token":"{token}"}}"#));
    let caller = fixture.spawn(Need::Live);
    fixture.provider.until_asked(1).await;
    fixture.store.fill().await;
    fixture.provider.gate.send_replace(true);
    // The disk stays full until an attempt has been refused, which nothing but the caller's patience shows.
    tokio::time::timeout(Duration::from_millis(200), fixture.until_idle()).await.unwrap_err();
    assert!(!caller.is_finished());
    fixture.store.make_room().await;
    assert_eq!(text(&caller.await.unwrap().unwrap()), token);
    assert_eq!(fixture.provider.count(), 1);
}

#[tokio::test]
async fn i5_a_token_that_was_not_stored_is_not_served() {
    let fixture = Fixture::with(Limits { commit: Duration::from_millis(50), ..Limits::default() }).await;
    fixture.provider.answers(200, &format!(r#"{{"access_token":"{}"}}"#, "t".repeat(12_000)));
    fixture.store.fill().await;
    assert!(matches!(fixture.token(Need::Live).await, Err(RefreshError::Store(_))));
}

#[tokio::test]
async fn a_refused_generation_is_renewed_once() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    let callers: Vec<_> = (0..20).map(|_| fixture.spawn(Need::LaterThan(Generation(1)))).collect();
    for caller in callers {
        assert_eq!(text(&caller.await.unwrap().unwrap()), "canary-token-2");
    }
    assert_eq!(fixture.provider.count(), 2);
}

#[tokio::test]
async fn a_generation_that_never_was_moves_nothing() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    assert_eq!(fixture.text(Need::LaterThan(Generation(99))).await, "canary-token-1");
    assert_eq!(fixture.text(Need::LaterThan(Generation(0))).await, "canary-token-1");
    assert_eq!(fixture.provider.count(), 1);
}

#[tokio::test]
async fn i4_a_token_that_was_tampered_with_is_replaced() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    fixture.store.tamper("UPDATE grants SET access_token = zeroblob(length(access_token))").await;
    let served = fixture.other_broker().token(&fixture.service(), Need::Live).await.unwrap();
    assert_eq!(text(&served), "canary-token-2");
    assert_eq!(served.token.generation, Generation(2));
}

#[tokio::test]
async fn grants_in_use_are_renewed_in_the_background_and_idle_ones_are_not() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    assert_eq!(fixture.refresher.renew_due(&[]).await.unwrap(), 0);
    fixture.clock.advance(HOUR.mul_f64(0.86));
    assert_eq!(fixture.refresher.renew_due(&[]).await.unwrap(), 1);
    fixture.until_generation(2).await;
    // Nobody has used the second token: it is left to expire.
    fixture.clock.advance(HOUR.mul_f64(0.86));
    assert_eq!(fixture.refresher.renew_due(&[]).await.unwrap(), 0);
    assert_eq!(fixture.provider.count(), 2);
}

#[tokio::test]
async fn shutdown_waits_for_renewals_and_starts_none() {
    let fixture = Fixture::new().await;
    fixture.provider.gate.send_replace(false);
    let caller = fixture.spawn(Need::Live);
    fixture.provider.until_asked(1).await;
    assert_eq!(fixture.refresher.drain(Duration::from_millis(20)).await, 1);
    fixture.provider.gate.send_replace(true);
    assert_eq!(fixture.refresher.drain(Duration::from_secs(10)).await, 0);
    assert_eq!(text(&caller.await.unwrap().unwrap()), "canary-token-1");
    fixture.clock.advance(HOUR);
    assert!(matches!(fixture.token(Need::Live).await, Err(RefreshError::Draining)));
}

#[tokio::test]
async fn sends_what_the_manifest_says() {
    let fixture = Fixture::new().await;
    fixture.text(Need::Live).await;
    let seen = fixture.provider.seen();
    assert_eq!(seen, ["grant_type=client_credentials&scope=mcp&client_id=gate&client_secret=canary-secret"]);
}
