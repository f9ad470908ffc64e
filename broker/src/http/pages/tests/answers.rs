//! The provider's answer: taken once, from whom it was asked, in the browser that asked.

use std::time::Duration;

use crate::consent::Visit;
use crate::oauth::Verifier;
use crate::secret::Secret;
use crate::store::GrantCommit;

use super::*;

#[tokio::test]
async fn a_consent_ends_with_a_grant_and_sends_back_to_the_agent() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    let page = site.get(&alice, &format!("/connect/{consent}")).await;
    for shown in ["demo/notes", "demo/board", "login.example.com", "<code>board</code>", "<code>read</code>"] {
        assert!(page.says(shown), "{shown}");
    }
    assert!(!page.says("demo/secret") && !page.says("admin"), "what alice may not use is not asked for");

    let underway = site.set_out(&alice, &consent, &[]).await;
    assert_eq!(underway.asked("scope").as_deref(), Some("board read write"));
    assert_eq!(underway.asked("code_challenge_method").as_deref(), Some("S256"));
    assert_eq!(underway.asked("resource").as_deref(), Some("https://mcp.example.com/"));
    let reply = site.get(&alice, &underway.callback("c1")).await;
    assert_eq!((reply.status, reply.location()), (StatusCode::SEE_OTHER, format!("/connect/{consent}").as_str()));
    let page = site.get(&alice, reply.location()).await;
    assert!(page.says("is connected") && page.says("Return to your agent"));

    let grant = site.grant(&alice, CLIENT).await.unwrap();
    assert_eq!(grant.scopes, ["board", "read", "write"]);
    assert_eq!(grant.auth_revisions, ["revision of demo/board", "revision of demo/notes"]);
    assert_eq!(site.tokens(&grant).await, ("canary-token-1".to_owned(), "canary-refresh-1".to_owned()));
    let form = site.fixture.provider.seen().remove(0);
    let sent: Vec<(String, String)> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    let verifier = &sent.iter().find(|(name, _)| name == "code_verifier").unwrap().1;
    let verifier = Verifier::restored(Secret::new(verifier.as_str())).unwrap();
    assert_eq!(underway.asked("code_challenge"), Some(verifier.challenge()), "o4: S256 of the verifier that was sent");
    assert!(form.contains("resource=") && form.contains("code=c1"));
    let rows = [site.fixture.rows("consent.started").await, site.fixture.rows("consent.finished").await].concat();
    assert_eq!(rows.len(), 2);
    assert!(
        rows.iter()
            .all(|row| row.contains(&alice.principal.0) && !row.contains("canary") && !row.contains(&underway.state))
    );
    let stored = site.consent(&consent).await;
    assert_eq!((stored.attempt, stored.outcome.as_deref()), (None, Some("done")), "state and verifier are destroyed");
}

#[tokio::test]
async fn o1_refuses_answers_to_what_this_browser_did_not_ask() {
    let site = Site::new().await;
    let (alice, elsewhere) = (site.browser("alice").await, site.browser("alice").await);
    let consent = site.link(&alice, "notes").await;
    let replaced = site.set_out(&alice, &consent, &[]).await;
    let underway = site.set_out(&alice, &consent, &[]).await;
    let other = site.set_out(&alice, &site.link(&alice, "strict").await, &[]).await;
    let path = |state: &str| format!("/oauth/callback/{CLIENT}?code=c1&state={state}");
    let half = underway.state.split_once('.').unwrap();
    for (why, query) in [
        ("missing", format!("/oauth/callback/{CLIENT}?code=c1")),
        ("empty", path("")),
        ("twice", format!("{}&state={}", path(&underway.state), underway.state)),
        ("of nothing", path(&format!("{}.{}", "0".repeat(32), half.1))),
        ("cut", path(half.0)),
        ("guessed", path(&format!("{}.{}", half.0, "0".repeat(32)))),
        ("longer", path(&format!("{}0", underway.state))),
        ("of an attempt before", path(&replaced.state)),
        ("of another client", path(&other.state)),
    ] {
        let reply = site.get(&alice, &query).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{why}: {}", reply.body);
    }
    assert_eq!(site.get(&elsewhere, &underway.callback("c1")).await.status, StatusCode::BAD_REQUEST, "another browser");
    let nobody = site.send(Method::GET, &underway.callback("c1"), &[], "").await;
    assert_eq!(nobody.status, StatusCode::FORBIDDEN, "nobody is signed in");
    site.fixture.clock.advance(Duration::from_secs(600));
    assert_eq!(site.get(&alice, &underway.callback("c1")).await.status, StatusCode::BAD_REQUEST, "ten minutes later");
    assert_eq!(site.fixture.provider.count(), 0);
    assert_eq!(site.grant(&alice, CLIENT).await, None);
    assert_eq!(site.fixture.rows("consent.refused").await.len(), 12);
}

#[tokio::test]
async fn o3_holds_each_answer_to_its_client_and_issuer() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let underway = site.set_out(&alice, &site.link(&alice, "strict").await, &[]).await;
    let answer = underway.callback("c1");
    let refused = |iss: &str| format!("{answer}&iss={iss}");
    for path in [
        answer.clone(),
        refused("https://evil.example"),
        refused("https://login.example.com/"),
        refused("https://LOGIN.example.com"),
        refused("https://login.example.com:443"),
        refused("https://login.example.com&iss=https://login.example.com"),
        format!(
            "/oauth/callback/{WITH_ISSUER}?error=access_denied&error_description=words&iss=https://evil.example&state={}",
            underway.state
        ),
        refused("https://login.example.com").replace(WITH_ISSUER, CLIENT),
    ] {
        let reply = site.get(&alice, &path).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(!reply.says("words") && !reply.says("evil"), "nothing of it is shown");
    }
    assert_eq!(site.get(&alice, &answer.replace(WITH_ISSUER, &"0".repeat(32))).await.status, StatusCode::NOT_FOUND);
    assert_eq!(site.fixture.provider.count(), 0, "the code went nowhere");
    let reply = site.get(&alice, &refused("https://login.example.com")).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    assert!(site.grant(&alice, WITH_ISSUER).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o6_twenty_callbacks_at_two_brokers_are_one_token_request_and_one_grant() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    let underway = site.set_out(&alice, &consent, &[]).await;
    let path = underway.callback("c1");
    let brokers = [site.pages.clone(), Pages { consents: site.fixture.consents(), ..site.pages.clone() }];
    let replies = futures::future::join_all((0..20).map(|at| {
        let request = Request::builder().uri(&path).header("cookie", &alice.cookie).body(Body::empty()).unwrap();
        router(brokers[at % 2].clone()).oneshot(request)
    }))
    .await;
    for reply in replies {
        let reply = reply.unwrap();
        assert_eq!(reply.headers()[header::LOCATION], format!("/connect/{consent}"));
    }
    assert_eq!(site.token_requests(), 1);
    assert_eq!(site.grant(&alice, CLIENT).await.unwrap().generation.0, 1);
    assert_eq!(site.fixture.rows("consent.finished").await.len(), 1);
    assert_eq!(site.get(&alice, &path).await.location(), format!("/connect/{consent}"), "and once more, later");
    assert_eq!(site.token_requests(), 1);
}

#[tokio::test]
async fn i5_a_browser_that_is_closed_loses_nothing() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let underway = site.set_out(&alice, &site.link(&alice, "notes").await, &[]).await;
    site.fixture.provider.gate.send_replace(false);
    let mut requests = site.fixture.provider.requests.subscribe();
    let path = underway.callback("c1");
    tokio::select! {
        _ = site.get(&alice, &path) => panic!("the provider has not answered"),
        asked = requests.wait_for(|count| *count == 1) => { asked.unwrap(); }
    }
    site.fixture.provider.gate.send_replace(true);
    while site.consent(&underway.consent).await.outcome.is_none() {
        tokio::task::yield_now().await;
    }
    assert!(site.grant(&alice, CLIENT).await.is_some());
}

#[tokio::test]
async fn i5_consent_commits_on_top_of_a_refresh_that_was_faster() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    site.connect(&alice, "wiki").await;
    let before = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
    let other = site.browser("alice").await;
    site.needs("wiki", &["more"]);
    let underway = site.set_out(&other, &site.link(&other, "wiki").await, &[]).await;
    site.fixture.provider.gate.send_replace(false);
    let mut requests = site.fixture.provider.requests.subscribe();
    let refreshing = async {
        requests.wait_for(|count| *count == 2).await.unwrap();
        let refreshed = GrantCommit {
            id: before.id.clone(),
            key: before.key.clone(),
            generation: crate::model::Generation(2),
            material: before.material.clone().unwrap(),
            scopes: before.scopes.clone(),
            auth_revisions: before.auth_revisions.clone(),
            account: before.account.clone(),
            consented_at: before.consented_at,
            consented_by: before.consented_by.clone(),
            invalidates: None,
        };
        site.fixture.store.commit_grant(&refreshed).await.unwrap();
        site.fixture.provider.gate.send_replace(true);
    };
    let path = underway.callback("c2");
    let (reply, ()) = tokio::join!(site.get(&other, &path), refreshing);
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    let grant = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
    assert_eq!(grant.generation.0, 3);
    assert_eq!(site.tokens(&grant).await.0, "canary-token-2");
}

#[tokio::test]
async fn what_the_provider_refuses_is_told_and_can_be_started_again() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    for (status, answer, told) in [
        (400, r#"{"error":"invalid_grant","error_description":"<b>canary</b>"}"#, "did not accept its own answer"),
        (401, r#"{"error":"invalid_client"}"#, "Tell your administrator"),
        (503, "", "in a few minutes"),
        (200, "<html>", "in a few minutes"),
    ] {
        site.fixture.provider.answers(status, answer);
        let underway = site.set_out(&alice, &consent, &[]).await;
        let reply = site.get(&alice, &underway.callback("c1")).await;
        let page = site.get(&alice, reply.location()).await;
        assert!(page.says(told) && page.says("Start again") && !page.says("canary"), "{answer}: {}", page.body);
    }
    assert_eq!(site.grant(&alice, CLIENT).await, None);
    site.fixture.provider.answers(200, TOKENS);
    let underway = site.set_out(&alice, &consent, &[]).await;
    let reply = site.get(&alice, &underway.callback("c1")).await;
    assert!(site.get(&alice, reply.location()).await.says("is connected"));
    assert!(site.get(&alice, &format!("/connect/{consent}")).await.says("is connected"), "so says the first link");
}

#[tokio::test]
async fn a_person_who_says_no_can_think_again() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    let underway = site.set_out(&alice, &consent, &[]).await;
    let denied = format!("/oauth/callback/{CLIENT}?error=access_denied&state={}", underway.state);
    let page = site.get(&alice, &denied).await;
    assert!(page.says("Access was not granted") && page.says(&format!("/connect/{consent}")));
    assert_eq!((site.fixture.provider.count(), site.grant(&alice, CLIENT).await), (0, None));
    assert!(site.fixture.rows("consent.refused").await[0].contains("access_denied"));
    let underway = site.set_out(&alice, &consent, &[]).await;
    assert_eq!(underway.consent, consent);
    assert_eq!(site.get(&alice, &underway.callback("c1")).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_secret_of_a_consent_opens_for_its_own_attempt_only() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    site.set_out(&alice, &consent, &[]).await;
    let attempt = site.consent(&consent).await.attempt.unwrap();
    let opens = async |place: Place<'_>| site.fixture.vault.open(&place, &attempt.state).await.is_ok();
    assert!(opens(Place::of_consent(&consent, "state", 1)).await);
    assert!(!opens(Place::of_consent(&consent, "state", 2)).await);
    assert!(!opens(Place::of_consent(&consent, "verifier", 1)).await);
    assert!(!opens(Place::of_consent(&"0".repeat(32), "state", 1)).await);
    let visit = Visit { session: None, request_id: "q1" };
    assert!(site.fixture.consents().callback(CLIENT, "", visit).await.is_err());
}
