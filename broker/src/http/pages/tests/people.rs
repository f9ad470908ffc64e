//! Who may look behind a link, and who may finish.

use std::time::Duration;

use super::*;
use crate::consent::Refused;

#[tokio::test]
async fn o2_somebody_elses_link_shows_nothing_stores_nothing_and_leaves_a_record() {
    let site = Site::new().await;
    let (alice, bob) = (site.browser("alice").await, site.browser("bob").await);
    let consent = site.link(&alice, "notes").await;
    let underway = site.set_out(&alice, &consent, &[]).await;
    let path = format!("/connect/{consent}");
    let before = site.consent(&consent).await;
    for reply in [
        site.get(&bob, &path).await,
        site.post(&bob, &path, &[("asked", "x"), ("act-as-me", "yes")]).await,
        site.post(&bob, &format!("{path}/account"), &[("account", "replace")]).await,
        site.get(&bob, &underway.callback("c1")).await,
        site.get(&bob, &format!("/oauth/callback/{CLIENT}?error=access_denied&state={}", underway.state)).await,
    ] {
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        assert!(reply.says("was not made for you") && !reply.says("demo/notes"), "{}", reply.body);
    }
    assert_eq!(site.consent(&consent).await, before);
    assert_eq!(site.fixture.provider.count(), 0);
    assert_eq!((site.grant(&alice, CLIENT).await, site.grant(&bob, CLIENT).await), (None, None));
    let rows = site.fixture.rows("consent.refused").await;
    assert_eq!(rows.len(), 5);
    for row in rows {
        assert!(row.contains("wrong_person") && row.contains(&bob.principal.0) && row.contains(&alice.principal.0));
        assert!(!row.contains(&underway.state) && !row.contains("\"c1\""), "{row}");
    }
    assert_eq!(site.get(&alice, &underway.callback("c1")).await.status, StatusCode::SEE_OTHER, "alice's goes on");
}

#[tokio::test]
async fn r9_whoever_signed_in_as_the_wrong_one_of_theirs_reads_as_whom_and_gets_a_way_out_and_not_whose_link_it_is() {
    let site = Site::new().await;
    let (alice, bob) = (site.browser("alice").await, site.browser("bob").await);
    let consent = site.link(&alice, "notes").await;
    let underway = site.set_out(&alice, &consent, &[]).await;
    let path = format!("/connect/{consent}");
    for reply in [
        site.get(&bob, &path).await,
        site.post(&bob, &path, &[("asked", "x")]).await,
        site.post(&bob, &format!("{path}/account"), &[("account", "replace")]).await,
        site.get(&bob, &underway.callback("c1")).await,
    ] {
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        assert!(reply.says("signed in as <strong>bob@example.com") && reply.says("Sign out"), "{}", reply.body);
        assert!(reply.says("open the link again") && !reply.says("alice"), "{}", reply.body);
    }
}

#[tokio::test]
async fn o2_looking_without_sign_in_shows_and_consumes_nothing() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    let before = site.consent(&consent).await;
    for _ in 0..20 {
        let page = site.send(Method::GET, &format!("/connect/{consent}"), &[], "").await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.says(&format!("/signin?flow={consent}")) && !page.says("demo/notes") && !page.says("<form"));
        site.get(&alice, &format!("/connect/{consent}")).await;
    }
    assert_eq!(site.consent(&consent).await, before);
    assert_eq!(site.link(&alice, "notes").await, consent, "a retry gets the same link");
    assert_eq!(site.send(Method::GET, "/connections", &[], "").await.location(), "/signin?to=connections");
}

#[tokio::test]
async fn o1_a_form_needs_its_sessions_token_and_our_page() {
    let site = Site::new().await;
    let (alice, again) = (site.browser("alice").await, site.browser("alice").await);
    let consent = site.link(&alice, "notes").await;
    let page = site.get(&alice, &format!("/connect/{consent}")).await;
    let asked = page.between(r#"name="asked" value=""#, "\"").to_owned();
    let path = format!("/connect/{consent}");
    let (ours, cookie) = (("sec-fetch-site", "same-origin"), ("cookie", alice.cookie.as_str()));
    let good = format!("csrf={}&asked={asked}", alice.csrf);
    for (headers, body) in [
        (&[ours, cookie][..], format!("asked={asked}")),
        (&[ours, cookie], format!("csrf=&asked={asked}")),
        (&[ours, cookie], format!("csrf={}&asked={asked}", again.csrf)),
        (&[ours, cookie], format!("{good}&csrf={}", alice.csrf)),
        (&[cookie], good.clone()),
        (&[("sec-fetch-site", "cross-site"), cookie], good.clone()),
        (&[("origin", "https://evil.example"), cookie], good.clone()),
        (&[ours], good.clone()),
        (&[ours, ("cookie", again.cookie.as_str())], good.clone()),
    ] {
        let reply = site.send(Method::POST, &path, headers, &body).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{headers:?} {body}");
    }
    assert_eq!(site.consent(&consent).await.attempts, 0);
    let reply = site.send(Method::POST, &path, &[ours, cookie], &good).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(site.consent(&consent).await.attempts, 1);
}

#[tokio::test]
async fn an_expired_link_starts_again_with_one_click() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    site.fixture.clock.advance(Duration::from_secs(601));
    let page = site.get(&alice, &format!("/connect/{consent}")).await;
    assert!(page.says("has expired") && page.says("Start again"));
    assert_ne!(site.link(&alice, "notes").await, consent, "an agent that asks now gets a fresh one");
    let underway = site.set_out(&alice, &consent, &[]).await;
    assert_eq!(underway.consent, consent);
    assert_eq!(site.get(&alice, &underway.callback("c1")).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn nobody_agrees_to_more_than_the_page_showed() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    let path = format!("/connect/{consent}");
    let asked = site.get(&alice, &path).await.between(r#"name="asked" value=""#, "\"").to_owned();
    site.needs("board", &["board", "everything"]);
    let reply = site.post(&alice, &path, &[("asked", &asked)]).await;
    assert_eq!(reply.location(), path);
    assert_eq!(site.consent(&consent).await.attempts, 0);
    assert!(site.get(&alice, &path).await.says("everything"));
}

#[tokio::test]
async fn an_owner_consents_for_a_virtual_account_only_in_so_many_words() {
    let site = Site::new().await;
    let (alice, bob) = (site.browser("alice").await, site.browser("bob").await);
    let kind = PrincipalKind::VirtualAccount { name: "runtime".into() };
    let principal = site.fixture.store.ensure_principal(&kind, None, START).await.unwrap().id;
    let runtime = Browser { principal, subjects: vec!["virtualaccount:runtime".into()], ..site.browser("carol").await };
    let consent = site.link(&runtime, "notes").await;
    let path = format!("/connect/{consent}");
    assert_eq!(site.get(&bob, &path).await.status, StatusCode::FORBIDDEN);
    let page = site.get(&alice, &path).await;
    assert!(page.says("Everyone who uses it will act as you") && !page.says("demo/board"), "{}", page.body);
    let asked = page.between(r#"name="asked" value=""#, "\"").to_owned();
    assert_eq!(site.post(&alice, &path, &[("asked", &asked)]).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(site.consent(&consent).await.attempts, 0);
    let underway = site.set_out(&alice, &consent, &[("act-as-me", "yes")]).await;
    site.get(&alice, &underway.callback("c1")).await;
    assert!(site.grant(&runtime, CLIENT).await.is_some(), "the account's");
    assert_eq!(site.grant(&alice, CLIENT).await, None, "and not alice's");
    let row = site.fixture.rows("consent.finished").await.remove(0);
    assert!(row.contains(&alice.principal.0) && row.contains(&runtime.principal.0));
    let page = site.get(&alice, "/connections").await;
    assert!(page.says("as virtual account runtime"));
}

#[tokio::test]
async fn a_virtual_account_without_owners_gets_no_link() {
    let site = Site::new().await;
    let kind = PrincipalKind::VirtualAccount { name: "orphan".into() };
    let principal = site.fixture.store.ensure_principal(&kind, None, START).await.unwrap().id;
    let server = Arc::clone(&site.fixture.servers.borrow().by_name[&ServerName("demo/notes".into())]);
    let refused = site.pages.consents.required(&principal, &[], &server, &[]).await.unwrap_err();
    assert!(matches!(refused, Refused::NoOwner), "{refused:?}");
}
