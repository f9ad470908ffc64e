//! Whatever a browser, an application or an agent sends to no purpose: an answer that says what to do, one record with the
//! cause, and nothing else that stays.

use std::collections::BTreeSet;

use super::issuer::Login;
use super::*;
use crate::signin::BEGUN_COOKIE;

/// At which browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Nobodys,
    Alices,
    Bobs,
}

use At::{Alices, Bobs, Nobodys};

/// One request: route, browser, method, path, body (with the form's token, if somebody is signed in), and what is expected.
type Row = (&'static str, At, &'static str, String, &'static str, (u16, &'static str, &'static str));

/// Every route of the pages, as the router has them.
fn routes() -> BTreeSet<&'static str> {
    let code = include_str!("../mod.rs").split(".route(\"").skip(1);
    code.map(|rest| rest.split_once('"').expect("a path").0).collect()
}

/// `/connect/<consent>` is alice's, which she has begun; `answer` is what the provider would answer to that.
fn table(consent: &str, underway: &Underway) -> Vec<Row> {
    let (connect, begin) = ("/connect/{consent}", format!("/connect/{consent}"));
    let (account, choose) = ("/connect/{consent}/account", format!("/connect/{consent}/account"));
    let callback = "/oauth/callback/{client}";
    let (disconnect, status, link) =
        ("/connections/{grant}/disconnect", "/connections/status", "/signin/link/{secret}");
    let answer = |query: &str| format!("/oauth/callback/{CLIENT}?{query}");
    let (page, consents, sign_ins) = ("pages.refused", "consent.refused", "signin.refused");
    let denied = format!("error=access_denied&state={}", underway.state);
    vec![
        (connect, Nobodys, "GET", "/connect/00ff".into(), "", (404, consents, "not_found")),
        (connect, Nobodys, "GET", "/connect/%ff".into(), "", (400, page, "path")),
        (connect, Bobs, "GET", begin.clone(), "", (403, consents, "wrong_person")),
        (connect, Bobs, "POST", begin.clone(), "asked=x", (403, consents, "wrong_person")),
        (connect, Nobodys, "POST", begin.clone(), "asked=x", (403, page, "signed_out")),
        (connect, Alices, "POST", begin.clone(), "asked=x", (303, consents, "outdated")),
        (connect, Alices, "POST", begin.clone(), "asked=x&asked=x", (403, page, "fields")),
        (connect, Alices, "PUT", begin, "", (405, page, "method")),
        (account, Alices, "POST", choose.clone(), "", (400, page, "choice")),
        (account, Alices, "POST", choose.clone(), "account=both", (400, page, "choice")),
        (account, Alices, "POST", "/connect/00ff/account".into(), "account=keep", (404, consents, "not_found")),
        (account, Bobs, "POST", choose.clone(), "account=replace", (403, consents, "wrong_person")),
        (account, Alices, "GET", choose, "", (405, page, "method")),
        (callback, Nobodys, "GET", "/oauth/callback/00ff?code=c&state=s".into(), "", (404, consents, "not_found")),
        (callback, Nobodys, "GET", "/oauth/callback/%c3?code=c&state=s".into(), "", (400, page, "path")),
        (callback, Alices, "GET", answer(""), "", (400, consents, "state")),
        (callback, Alices, "GET", answer("code=c&state=00ff.guess"), "", (400, consents, "state")),
        (callback, Alices, "GET", answer("code=c&code=d&state=s"), "", (400, consents, "answer")),
        (callback, Bobs, "GET", underway.callback("c"), "", (403, consents, "wrong_person")),
        (callback, Nobodys, "GET", underway.callback("c"), "", (403, consents, "signed_out")),
        (callback, Alices, "GET", answer(&denied), "", (200, consents, "access_denied")),
        ("/connections", Alices, "DELETE", "/connections".into(), "", (405, page, "method")),
        ("/connections/connect", Alices, "POST", "/connections/connect".into(), "", (404, consents, "gone")),
        (
            "/connections/connect",
            Bobs,
            "POST",
            "/connections/connect".into(),
            "server=demo/board",
            (404, consents, "gone"),
        ),
        ("/connections/connect", Nobodys, "POST", "/connections/connect".into(), "", (403, page, "signed_out")),
        (status, Nobodys, "GET", status.into(), "", (400, page, "no_server")),
        (disconnect, Alices, "POST", "/connections/00ff/disconnect".into(), "", (404, consents, "not_found")),
        (disconnect, Alices, "POST", "/connections/%fe/disconnect".into(), "", (400, page, "path")),
        (disconnect, Nobodys, "POST", "/connections/00ff/disconnect".into(), "", (403, page, "signed_out")),
        ("/signin", Nobodys, "GET", "/signin".into(), "", (400, page, "destination")),
        ("/signin", Alices, "GET", "/signin?flow=//evil.example".into(), "", (400, page, "destination")),
        (
            "/signin/application",
            Nobodys,
            "POST",
            "/signin/application".into(),
            "to=connections",
            (400, page, "destination"),
        ),
        (
            "/signin/application",
            Nobodys,
            "POST",
            "/signin/application".into(),
            "flow=00ff",
            (404, sign_ins, "no_application"),
        ),
        ("/signin/callback", Nobodys, "GET", "/signin/callback".into(), "", (400, sign_ins, "state")),
        (
            "/signin/callback",
            Nobodys,
            "GET",
            "/signin/callback?code=c&state=00.11".into(),
            "",
            (400, sign_ins, "unknown"),
        ),
        ("/signin/confirm", Nobodys, "POST", "/signin/confirm".into(), "{}", (400, sign_ins, "body")),
        (
            "/signin/confirm",
            Nobodys,
            "POST",
            "/signin/confirm".into(),
            r#"{"flow":"00ff"}"#,
            (400, sign_ins, "unknown"),
        ),
        (link, Nobodys, "GET", "/signin/link/guess".into(), "", (404, sign_ins, "link")),
        (link, Nobodys, "POST", "/signin/link/guess".into(), "", (404, sign_ins, "link")),
        (link, Nobodys, "GET", "/signin/link/%80".into(), "", (400, page, "path")),
        ("/signin/oidc", Nobodys, "POST", "/signin/oidc".into(), "to=https://evil.example", (400, page, "destination")),
        ("/signin/return/{id}", Nobodys, "GET", "/signin/return/00ff?code=c".into(), "", (400, sign_ins, "unknown")),
        ("/signin/return/{id}", Nobodys, "GET", "/signin/return/%ff?code=c".into(), "", (400, page, "path")),
        ("/signout", Nobodys, "POST", "/signout".into(), "", (403, page, "signed_out")),
        ("/signout", Alices, "GET", "/signout".into(), "", (405, page, "method")),
        ("", Nobodys, "GET", "/signin/nothing".into(), "", (404, page, "no_page")),
        ("", Alices, "POST", "/connect/a/b/c".into(), "", (404, page, "no_page")),
    ]
}

#[tokio::test]
async fn every_route_answers_bad_input_with_a_page_that_says_what_to_do_and_one_record_of_the_cause() {
    let login = Login::new().await;
    let site = &login.site;
    let (alice, bob) = (site.browser("alice").await, site.browser("bob").await);
    let consent = site.link(&alice, "notes").await;
    let underway = site.set_out(&alice, &consent, &[]).await;
    let before = site.consent(&consent).await;
    let recorded = async || site.fixture.store.audit(0, "", "", "", 100_000).await.unwrap();
    let (rows, mut walked) = (table(&consent, &underway), BTreeSet::new());
    for (number, (route, at, method, path, body, (status, event, reason))) in rows.into_iter().enumerate() {
        let (id, known) = (format!("r-{number}"), recorded().await.len());
        let (cookie, csrf, who) = match at {
            Nobodys => ("", "", ""),
            Alices => (alice.cookie.as_str(), alice.csrf.as_str(), alice.principal.0.as_str()),
            Bobs => (bob.cookie.as_str(), bob.csrf.as_str(), bob.principal.0.as_str()),
        };
        let body = if at == Nobodys { body.to_owned() } else { format!("csrf={csrf}&{body}") };
        let headers = [("cookie", cookie), ("sec-fetch-site", "same-origin"), ("x-request-id", &id)];
        let reply = site.send(method.parse().unwrap(), &path, &headers, &body).await;
        let told = format!("{at:?} {method} {path}: {} {}", reply.status, reply.body);
        assert_eq!(reply.status.as_u16(), status, "{told}");
        // What to do, and by which id to ask for help; or where that is told.
        match status {
            303 => assert_eq!(reply.location(), format!("/connect/{consent}"), "{told}"),
            _ if route == "/connections/status" => assert!(reply.says(r#""message":"#), "{told}"),
            _ => assert!(reply.says(&id) && (reply.says(r#"role="alert""#) || reply.says(r#""message":"#)), "{told}"),
        }
        assert_eq!((reply.cookie(COOKIE), reply.cookie(BEGUN_COOKIE)), (None, None), "{told}");
        let all = recorded().await;
        assert_eq!(all.len(), known + 1, "{told}");
        let record: serde_json::Value = serde_json::from_str(&all.last().unwrap().entry.json).unwrap();
        let found = [&record["event"], &record["reason"], &record["request_id"]];
        assert_eq!(found, [event, reason, id.as_str()], "{told}");
        if !who.is_empty() {
            assert_eq!(record["actor"]["subject"], who, "{told}");
        }
        walked.insert(route);
    }
    walked.remove("");
    assert_eq!(walked, routes(), "every route");
    assert_eq!(site.consent(&consent).await, before);
    assert_eq!((site.fixture.provider.count(), site.fixture.store.count_sign_ins().await), (0, 0));
    assert!(site.fixture.store.grants(None).await.unwrap().readable().is_empty());
    // And what was begun before goes on.
    assert_eq!(site.get(&alice, &underway.callback("c1")).await.location(), format!("/connect/{consent}"));
}

#[tokio::test]
async fn looking_at_pages_makes_nobody_and_nothing() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    let before = site.consent(&consent).await;
    for path in ["/connections", "/signin?to=connections", &format!("/connect/{consent}")] {
        assert_eq!(site.get(&alice, path).await.status, StatusCode::OK, "{path}");
    }
    // An account of hers that has never called.
    let account = PrincipalKind::VirtualAccount { name: "runtime".into() };
    assert_eq!(site.fixture.store.principal_named(&account).await.unwrap(), None);
    assert_eq!(site.consent(&consent).await, before);
    assert_eq!(site.fixture.store.count_sign_ins().await, 0);
}
