//! What a provider gave and nobody here can keep: it is given back, and the person told.

use super::*;

#[tokio::test]
async fn a_refresh_token_alone_makes_no_grant_and_is_given_back() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    site.fixture.provider.answers(200, r#"{"refresh_token":"canary-refresh-NUMBER","expires_in":3600}"#);
    let underway = site.set_out(&alice, &consent, &[]).await;
    let reply = site.get(&alice, &underway.callback("c1")).await;
    let page = site.get(&alice, reply.location()).await;
    assert!(page.says("in a few minutes") && page.says("Start again"), "{}", page.body);
    assert_eq!((site.grant(&alice, CLIENT).await, site.revoked()), (None, vec!["canary-refresh-1".to_owned()]));
}

#[tokio::test]
async fn a_refresh_token_alone_that_the_provider_does_not_take_back_is_told_of_and_recorded() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    site.fixture.provider.answers(200, r#"{"refresh_token":"canary-refresh-NUMBER","expires_in":3600}"#);
    let underway = site.set_out(&alice, &consent, &[]).await;
    let failing = async {
        while site.token_requests() == 0 {
            tokio::task::yield_now().await;
        }
        site.fixture.provider.answers(503, "{}");
    };
    site.fixture.provider.gate.send_replace(false);
    let mut requests = site.fixture.provider.requests.subscribe();
    let opened = async {
        requests.wait_for(|count| *count == 1).await.unwrap();
        site.fixture.provider.gate.send_replace(true);
        failing.await;
    };
    let path = underway.callback("c1");
    let (reply, ()) = tokio::join!(site.get(&alice, &path), opened);
    let page = site.get(&alice, reply.location()).await;
    assert!(page.says("End it there") && page.says("Start again"), "{}", page.body);
    assert!(site.fixture.rows("consent.refused").await[0].contains("revocation_failed"));
}

#[tokio::test]
async fn i5_tokens_that_the_store_does_not_take_are_given_back_and_the_page_says_what_to_do() {
    for (revocation, told) in [(200, "was told, and has ended the access"), (503, "End it there as well")] {
        let site = Site::new().await;
        let alice = site.browser("alice").await;
        let consent = site.link(&alice, "notes").await;
        // Tokens that need pages of their own.
        site.fixture.provider.answers(200, &TOKENS.replace("NUMBER", &format!("NUMBER-{}", "t".repeat(12_000))));
        let underway = site.set_out(&alice, &consent, &[]).await;
        site.fixture.provider.gate.send_replace(false);
        let mut requests = site.fixture.provider.requests.subscribe();
        let full = async {
            requests.wait_for(|count| *count == 1).await.unwrap();
            site.fixture.store.fill().await;
            site.fixture.provider.gate.send_replace(true);
            while site.token_requests() == 0 {
                tokio::task::yield_now().await;
            }
            site.fixture.provider.answers(revocation, "{}");
        };
        let path = underway.callback("c1");
        let (page, ()) = tokio::join!(site.get(&alice, &path), full);
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{}", page.body);
        assert!(page.says("could not store it") && page.says(told) && !page.says("canary"), "{}", page.body);
        assert!(site.revoked().len() == 1 && site.revoked()[0].starts_with("canary-refresh-1-"));
        site.fixture.store.make_room().await;
        assert_eq!(site.grant(&alice, CLIENT).await, None);
        assert!(page.says(&format!("href=\"/connect/{consent}\"")));
        site.fixture.provider.answers(200, TOKENS);
        let underway = site.set_out(&alice, &consent, &[]).await;
        let reply = site.get(&alice, &underway.callback("c2")).await;
        assert!(site.get(&alice, reply.location()).await.says("is connected"));
    }
}

#[tokio::test]
async fn i5_whoever_loads_an_answer_again_that_could_not_be_stored_is_told_so_and_waits_for_nothing() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    site.fixture.provider.answers(200, &TOKENS.replace("NUMBER", &format!("NUMBER-{}", "t".repeat(12_000))));
    let underway = site.set_out(&alice, &consent, &[]).await;
    let gate = &site.fixture.provider.gate;
    gate.send_replace(false);
    let mut requests = site.fixture.provider.requests.subscribe();
    let full = async {
        requests.wait_for(|count| *count == 1).await.unwrap();
        site.fixture.store.fill().await;
        gate.send_replace(true);
        while site.token_requests() == 0 {
            tokio::task::yield_now().await;
        }
        gate.send_replace(false);
        // The store is back while the provider is told.
        requests.wait_for(|count| *count == 2).await.unwrap();
        site.fixture.store.make_room().await;
        gate.send_replace(true);
    };
    let path = underway.callback("c1");
    let (page, ()) = tokio::join!(site.get(&alice, &path), full);
    assert!(page.says("could not store it"), "{}", page.body);
    let again = site.get(&alice, &path).await;
    assert_eq!(again.location(), format!("/connect/{consent}"), "{}", again.body);
    let page = site.get(&alice, again.location()).await;
    assert!(page.says("could not store it") && page.says("Start again"), "{}", page.body);
    assert_eq!((site.grant(&alice, CLIENT).await, site.token_requests()), (None, 1));
}

#[tokio::test]
async fn i5_tokens_are_given_back_in_time_by_a_broker_whose_store_hangs() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    let underway = site.set_out(&alice, &consent, &[]).await;
    site.fixture.provider.gate.send_replace(false);
    let mut requests = site.fixture.provider.requests.subscribe();
    let hanging = async {
        requests.wait_for(|count| *count == 1).await.unwrap();
        let hanging = site.fixture.store.hang().await;
        let told = async {
            site.fixture.provider.gate.send_replace(true);
            requests.wait_for(|count| *count == 2).await.unwrap();
        };
        tokio::select! {
            biased;
            _ = site.fixture.store.ready() => panic!("whoever began to write before has been told sooner that it hangs"),
            () = told => {}
        }
        drop(hanging);
    };
    let path = underway.callback("c1");
    let (page, ()) = tokio::join!(site.get(&alice, &path), hanging);
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{}", page.body);
    assert!(page.says("could not store it") && page.says("has ended the access"), "{}", page.body);
    assert_eq!((site.grant(&alice, CLIENT).await, site.revoked()), (None, vec!["canary-refresh-1".to_owned()]));
}

#[tokio::test]
async fn o6_an_answer_whose_broker_died_while_it_exchanged_the_code_is_started_again() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    let underway = site.set_out(&alice, &consent, &[]).await;
    let now = site.fixture.clock.now();
    site.fixture.store.take_code(&consent, 1, now).await.unwrap();
    site.fixture.clock.advance(std::time::Duration::from_secs(60));
    let page = site.get(&alice, &underway.callback("c1")).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.says("lost the provider") && page.says(&format!("href=\"/connect/{consent}\"")), "{}", page.body);
    assert!(site.fixture.rows("consent.refused").await.concat().contains(r#""reason":"lost""#));
    let underway = site.set_out(&alice, &consent, &[]).await;
    let reply = site.get(&alice, &underway.callback("c2")).await;
    assert!(site.get(&alice, reply.location()).await.says("is connected"));
}

#[tokio::test]
async fn o2_a_consent_whose_holder_lost_their_name_while_the_provider_was_asked_leaves_no_grant_and_no_token() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let underway = site.set_out(&alice, &site.link(&alice, "notes").await, &[]).await;
    site.fixture.provider.gate.send_replace(false);
    let mut requests = site.fixture.provider.requests.subscribe();
    let released = async {
        requests.wait_for(|count| *count == 1).await.unwrap();
        site.fixture.store.release_user("alice@example.com", START).await.unwrap().unwrap();
        site.fixture.provider.gate.send_replace(true);
    };
    let path = underway.callback("c1");
    let (page, ()) = tokio::join!(site.get(&alice, &path), released);
    assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.body);
    assert!(page.says("nothing was stored") && page.says("has ended the access") && !page.says("Start again"));
    assert_eq!((site.grant(&alice, CLIENT).await, site.revoked()), (None, vec!["canary-refresh-1".to_owned()]));
    let rows = site.fixture.rows("consent.refused").await;
    assert!(rows.len() == 1 && rows[0].contains(r#""reason":"withdrawn""#), "{rows:?}");
}

#[tokio::test]
async fn r10_what_an_owner_was_about_to_agree_to_for_an_account_is_not_stored_once_their_name_was_taken_away() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let kind = PrincipalKind::VirtualAccount { name: "runtime".into() };
    let principal = site.fixture.store.ensure_principal(&kind, None, START).await.unwrap().id;
    let runtime = Browser { principal, subjects: vec!["virtualaccount:runtime".into()], ..site.browser("carol").await };
    let consent = site.link(&runtime, "notes").await;
    let underway = site.set_out(&alice, &consent, &[("act-as-me", "yes")]).await;
    site.fixture.provider.gate.send_replace(false);
    let mut requests = site.fixture.provider.requests.subscribe();
    let released = async {
        requests.wait_for(|count| *count == 1).await.unwrap();
        site.fixture.store.release_user("alice@example.com", START).await.unwrap().unwrap();
        site.fixture.provider.gate.send_replace(true);
    };
    let path = underway.callback("c1");
    let (page, ()) = tokio::join!(site.get(&alice, &path), released);
    assert_eq!((page.status, site.grant(&runtime, CLIENT).await), (StatusCode::FORBIDDEN, None), "{}", page.body);
    assert!(page.says("nothing was stored") && page.says("has ended the access"), "{}", page.body);
    assert_eq!(site.revoked(), ["canary-refresh-1"]);
    // The account's other owners go on with the same link.
    assert!(!site.consent(&consent).await.subjects.is_empty());
}
