//! What whoever is nobody can cost: rows of sign-ins that are never finished, and records of forged answers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::issuer::Login;
use super::*;

const STRANGER: &str = "192.0.2.1";

impl Site {
    /// A request as Envoy passes it on, from this address.
    async fn from(&self, source: &str, method: Method, path: &str, body: &str) -> Reply {
        let headers = [(SOURCE, source), ("sec-fetch-site", "same-origin")];
        self.send(method, path, &headers, body).await
    }

    /// How often each status was answered to so many requests.
    async fn flooded(&self, times: usize, method: Method, path: &str, body: &str) -> BTreeMap<u16, usize> {
        let mut statuses = BTreeMap::new();
        for _ in 0..times {
            let reply = self.from(STRANGER, method.clone(), path, body).await;
            *statuses.entry(reply.status.as_u16()).or_default() += 1;
        }
        statuses
    }
}

#[tokio::test]
async fn ten_thousand_begun_sign_ins_are_bounded_rows_and_leave_everybody_else_alone() {
    let login = Login::new().await;
    let (site, store) = (&login.site, &login.site.fixture.store);
    let statuses = site.flooded(10_000, Method::POST, "/signin/oidc", "to=connections").await;
    assert_eq!(statuses, BTreeMap::from([(200, 600), (429, 9_400)]));
    assert_eq!(store.count_sign_ins().await, 600);
    let refused = site.from(STRANGER, Method::POST, "/signin/oidc", "to=connections").await;
    assert!(refused.headers[header::RETRY_AFTER] == "5" && refused.says("wait a moment"), "{}", refused.body);
    assert_eq!(refused.headers[header::CACHE_CONTROL], "no-store");

    let other = site.from("192.0.2.2", Method::POST, "/signin/oidc", "to=connections").await;
    assert_eq!(other.status, StatusCode::OK);
    assert!(login.signs_in(&json!({})).await.cookie(COOKIE).is_some(), "and the whole way works");
    site.fixture.clock.advance(Duration::from_secs(600));
    let now = site.fixture.clock.now();
    store.drop_expired(now, START).await.unwrap();
    assert_eq!(store.count_sign_ins().await, 0);
}

#[tokio::test]
async fn forged_answers_leave_a_record_each_within_the_budget_and_one_for_all_the_rest() {
    for (method, path) in [
        (Method::GET, format!("/oauth/callback/{CLIENT}?code=c&state=00ff.guess")),
        (Method::GET, "/signin/callback?code=c&state=00ff.guess".to_owned()),
        (Method::GET, "/signin/return/00ff?code=c".to_owned()),
        (Method::POST, "/signin/link/guess".to_owned()),
    ] {
        let login = Login::new().await;
        let site = &login.site;
        let statuses = site.flooded(700, method, &path, "").await;
        assert_eq!(statuses.get(&429), Some(&100), "{path}: {statuses:?}");
        let records = site.refusals().await.len() + site.fixture.rows("consent.refused").await.len();
        assert_eq!(records, 600, "{path}");
        for _ in 0..2 {
            site.pages.budget.tell().await;
            let told = site.fixture.rows("pages.refused").await;
            assert!(
                told.len() == 1 && told[0].contains(r#""count":100"#) && told[0].contains("over_budget"),
                "{told:?}"
            );
        }
    }
}

#[tokio::test]
async fn whoever_signs_in_pays_nothing() {
    let login = Login::new().await;
    // Of the budget of whom Envoy tells nothing of, two requests are left: what one sign-in needs on its way.
    for _ in 0..598 {
        login.site.press("/signin/oidc", "", "to=nowhere").await;
    }
    for _ in 0..5 {
        assert!(login.signs_in(&json!({})).await.cookie(COOKIE).is_some());
    }
    let path = login.site.link_path("alice@example.com").await;
    assert!(login.site.press(&path, "", "").await.cookie(COOKIE).is_some());
    let alice = login.site.browser("alice").await;
    login.site.connect(&alice, "notes").await;
    let left = (0..3).map(|_| login.site.press("/signin/oidc", "", "to=nowhere"));
    let left = futures::future::join_all(left).await;
    assert_eq!(left.iter().filter(|reply| reply.status == StatusCode::TOO_MANY_REQUESTS).count(), 1);
}

#[tokio::test]
async fn what_leaves_nothing_behind_costs_nothing() {
    let login = Login::new().await;
    let site = &login.site;
    let consent = format!("/connect/{}", site.link(&site.browser("alice").await, "notes").await);
    let link = site.link_path("alice@example.com").await;
    for path in ["/signin?to=connections", "/connections", &consent, &link] {
        assert_eq!(site.flooded(700, Method::GET, path, "").await.get(&429), None, "{path}");
    }
    assert_eq!(site.from(STRANGER, Method::POST, "/signin/oidc", "to=connections").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_a_stranger_sends_to_no_purpose_leaves_a_record_with_its_cause_each_within_the_budget() {
    for (method, path, status, event, reason) in [
        (Method::GET, "/connect/guess", 404, "consent.refused", "not_found"),
        (Method::POST, "/connect/guess", 403, "pages.refused", "signed_out"),
        (Method::GET, "/oauth/callback/guess?code=c&state=s", 404, "consent.refused", "not_found"),
    ] {
        let site = Site::new().await;
        let statuses = site.flooded(700, method, path, "").await;
        assert_eq!(
            statuses.get(&status).copied().unwrap_or_default() + statuses.get(&429).unwrap_or(&0),
            700,
            "{path}"
        );
        let rows = site.fixture.rows(event).await;
        assert_eq!(rows.len(), 600, "{path}");
        assert!(rows.iter().all(|row| row.contains(&format!(r#""reason":"{reason}""#))), "{path}: {}", rows[0]);
        site.pages.budget.tell().await;
        let told = site.fixture.rows("pages.refused").await;
        assert!(told.last().unwrap().contains(r#""count":100"#), "{path}: {told:?}");
    }
}

#[tokio::test]
async fn a_form_that_is_not_taken_is_on_record_once_with_the_cause_and_whose_browser_it_was() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let (cookie, csrf) = (("cookie", alice.cookie.as_str()), format!("csrf={}", alice.csrf));
    let (ours, others) = (("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site"));
    let twice = format!("{csrf}&{csrf}");
    for (path, from, body, reason) in [
        ("/connect/00ff", others, csrf.as_str(), "cross_site"),
        ("/signin/oidc", others, "to=connections", "cross_site"),
        ("/signin/oidc", ours, "to=a&to=b", "fields"),
        ("/connections/connect", ours, "csrf=guess", "csrf"),
        ("/connections/00ff/disconnect", ours, "", "csrf"),
        ("/signout", ours, twice.as_str(), "fields"),
    ] {
        let before = site.fixture.rows("pages.refused").await.len();
        let reply = site.send(Method::POST, path, &[cookie, from, ("x-request-id", "r-1")], body).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path}");
        let rows = site.fixture.rows("pages.refused").await;
        assert_eq!(rows.len(), before + 1, "{path} {reason}");
        let row = rows.last().unwrap();
        for told in [format!(r#""reason":"{reason}""#), r#""request_id":"r-1""#.to_owned(), alice.principal.0.clone()] {
            assert!(row.contains(&told), "{told}: {row}");
        }
    }
}

#[tokio::test]
async fn what_leads_nowhere_for_somebody_who_is_signed_in_is_on_record_as_theirs() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    for (sent, path) in
        ["/connect/00ff", "/connect/00ff/account", "/connections/00ff/disconnect", "/connections/connect"]
            .into_iter()
            .enumerate()
    {
        let reply = site.post(&alice, path, &[("account", "keep"), ("server", "demo/none")]).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
        let rows = site.fixture.rows("consent.refused").await;
        assert!(rows.len() == sent + 1 && rows[sent].contains(&alice.principal.0), "{path}: {rows:?}");
    }
}

#[tokio::test]
async fn strangers_do_not_keep_from_finishing_who_is_signed_in() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = site.link(&alice, "notes").await;
    let underway = site.set_out(&alice, &consent, &[]).await;
    // From where she is, too.
    for _ in 0..601 {
        site.press("/signin/oidc", "", "to=nowhere").await;
    }
    assert_eq!(site.press("/signin/oidc", "", "to=nowhere").await.status, StatusCode::TOO_MANY_REQUESTS);
    let reply = site.get(&alice, &underway.callback("c1")).await;
    assert_eq!(reply.location(), format!("/connect/{consent}"), "{}", reply.body);
}
