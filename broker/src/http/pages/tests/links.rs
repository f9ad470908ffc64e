//! Operators' links, sessions, and where a sign-in leads.

use std::time::Duration;

use super::*;
use crate::audit::Actor;
use crate::signin::BEGUN_COOKIE;

impl Reply {
    /// The value that a cookie is set to.
    pub(super) fn cookie(&self, name: &str) -> Option<String> {
        let lines = self.headers.get_all(header::SET_COOKIE).iter().map(|line| line.to_str().unwrap());
        let found = lines.filter_map(|line| line.split("; ").next()?.strip_prefix(&format!("{name}=")));
        found.map(str::to_owned).next()
    }
}

impl Site {
    /// A form of ours, in a browser that may have cookies.
    pub(super) async fn press(&self, path: &str, cookie: &str, body: &str) -> Reply {
        self.send(Method::POST, path, &[("cookie", cookie), ("sec-fetch-site", "same-origin")], body).await
    }

    pub(super) async fn link_path(&self, email: &str) -> String {
        let link = self.pages.sign_ins.link_for_user(email, Actor::operator(1000)).await.unwrap();
        link.url.expose_str().unwrap().strip_prefix(URL).unwrap().to_owned()
    }

    pub(super) async fn refusals(&self) -> Vec<String> {
        self.fixture.rows("signin.refused").await
    }
}

#[tokio::test]
async fn a_link_signs_in_once_whom_it_was_made_for() {
    let site = Site::new().await;
    let path = site.link_path("alice@example.com").await;
    for _ in 0..5 {
        let page = site.send(Method::GET, &path, &[], "").await;
        assert!(page.status == StatusCode::OK && page.says("alice@example.com"), "{}", page.body);
        assert_eq!(page.cookie(COOKIE), None, "a preview signs nobody in");
    }
    let reply = site.press(&path, "", "").await;
    assert_eq!((reply.status, reply.location()), (StatusCode::SEE_OTHER, "/connections"));
    let cookie = format!("{COOKIE}={}", reply.cookie(COOKIE).unwrap());
    let page = site.send(Method::GET, "/signin?to=connections", &[("cookie", &cookie)], "").await;
    assert!(page.says("signed in as") && page.says("alice@example.com"));
    for again in [site.press(&path, "", "").await, site.send(Method::GET, &path, &[], "").await] {
        assert_eq!((again.status, again.cookie(COOKIE)), (StatusCode::NOT_FOUND, None));
    }
    let alice = site.browser("alice").await.principal.0;
    let made = site.fixture.rows("signin.link").await.concat();
    assert!(made.contains("\"unix\"") && made.contains("1000") && made.contains(&alice), "{made}");
    assert!(site.fixture.rows("signin.done").await.concat().contains(&alice));
    assert_eq!(site.refusals().await.len(), 2, "what was used up leads nowhere, to who looks and to who presses");
}

#[tokio::test]
async fn o1_links_that_were_never_made_or_have_expired_sign_nobody_in() {
    let site = Site::new().await;
    let path = site.link_path("alice@example.com").await;
    for bad in ["", "x", "..", &"A".repeat(43), &"A".repeat(44), &format!("{}A", &path[13..]), "%00"] {
        let reply = site.press(&format!("/signin/link/{bad}"), "", "").await;
        assert!(reply.status == StatusCode::NOT_FOUND && reply.cookie(COOKIE).is_none(), "{bad}");
    }
    site.fixture.clock.advance(Duration::from_secs(600));
    let late = site.press(&path, "", "").await;
    assert_eq!((late.status, late.cookie(COOKIE)), (StatusCode::NOT_FOUND, None));
}

#[tokio::test]
async fn o1_a_page_of_somebody_else_presses_no_button_of_ours() {
    let site = Site::new().await;
    let path = site.link_path("alice@example.com").await;
    for path in [path.as_str(), "/signin/oidc", "/signin/application", "/signout"] {
        for headers in
            [&[][..], &[("sec-fetch-site", "cross-site")], &[("origin", "https://evil.example")], &[("origin", "null")]]
        {
            let reply = site.send(Method::POST, path, headers, "to=connections").await;
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
            assert!(reply.headers.get(header::SET_COOKIE).is_none(), "{path}");
        }
    }
    assert_eq!(site.press(&path, "", "").await.status, StatusCode::SEE_OTHER, "it was not used up");
}

#[tokio::test]
async fn o2_a_session_ends_by_itself_and_by_signing_out_and_is_never_one_brought_along() {
    let site = Site::new().await;
    let planted = format!("{COOKIE}={}", URL_SAFE_NO_PAD.encode([7; 32]));
    let path = site.link_path("alice@example.com").await;
    let signed_in = site.press(&path, &planted, "").await.cookie(COOKIE).unwrap();
    assert!(!planted.contains(&signed_in));
    let is_in = async |cookie: &str| {
        site.send(Method::GET, "/connections", &[("cookie", cookie)], "").await.status == StatusCode::OK
    };
    let cookie = format!("{COOKIE}={signed_in}");
    assert!(is_in(&cookie).await && !is_in(&planted).await);
    site.fixture.clock.advance(Duration::from_secs(3600));
    assert!(!is_in(&cookie).await, "an hour");

    let alice = site.browser("alice").await;
    assert_eq!(site.press("/signout", &alice.cookie, "csrf=x").await.status, StatusCode::FORBIDDEN);
    assert!(is_in(&alice.cookie).await, "only her own form signs her out");
    let out = site.post(&alice, "/signout", &[]).await;
    assert_eq!((out.cookie(COOKIE).as_deref(), out.location()), (Some(""), "/signin?to=connections"));
    assert!(!is_in(&alice.cookie).await);
    assert_eq!(site.fixture.rows("signout").await.len(), 1);
}

#[tokio::test]
async fn o5_a_sign_in_leads_to_pages_of_ours_only() {
    let site = Site::new().await;
    for query in [
        "",
        "?to=",
        "?to=//evil.example",
        "?to=https://evil.example",
        "?to=/connections",
        "?to=connections&to=connections",
        "?flow=",
        "?flow=//evil.example",
        "?flow=%2F%2Fevil.example",
        "?flow=..%2Fmetrics",
        "?flow=javascript:alert(1)",
        "?flow=ab&flow=ab",
        "?flow=ab&to=connections",
        "?return_to=https://evil.example",
        "?flow=%5C%5Cevil.example",
    ] {
        let reply = site.send(Method::GET, &format!("/signin{query}"), &[], "").await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(!reply.says("evil") && !reply.says("javascript"), "{query}");
        let body = query.strip_prefix('?').unwrap_or_default();
        let pressed = site.press("/signin/oidc", "", body).await;
        assert!(matches!(pressed.status, StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN), "{query}");
        assert_eq!((pressed.location(), pressed.cookie(BEGUN_COOKIE)), ("", None), "{query}");
    }
}

#[tokio::test]
async fn o7_no_page_of_a_sign_in_can_be_framed_or_kept() {
    let site = Site::new().await;
    for path in
        ["/signin?to=connections", "/signin", "/signin/link/x", "/signin/callback?state=x&code=y", "/signin/return/x"]
    {
        let reply = site.send(Method::GET, path, &[], "").await;
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(reply.headers["cache-control"], "no-store", "{path}");
    }
    let page = site.send(Method::GET, "/signin?to=connections", &[], "").await;
    assert!(page.says("Ask the operator") && !page.says("<form"), "no way leads nowhere");
}

#[tokio::test]
async fn i7_a_link_that_signed_nobody_in_since_that_could_not_be_recorded_is_good_still() {
    let mut site = Site::new().await;
    let path = site.link_path("alice@example.com").await;
    let broken = Site::new().await;
    broken.fixture.store.close().await;
    let audit = std::mem::replace(&mut site.fixture.audit, broken.fixture.audit.clone());
    site.pages.sign_ins = site.fixture.sign_ins(None);
    let refused = site.press(&path, "", "").await;
    assert_eq!((refused.status, refused.cookie(COOKIE)), (StatusCode::SERVICE_UNAVAILABLE, None));
    site.fixture.audit = audit;
    site.pages.sign_ins = site.fixture.sign_ins(None);
    assert_eq!(site.press(&path, "", "").await.status, StatusCode::SEE_OTHER, "it was not used up");
}
