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
    for path in ["/signin?to=connections", "/connections", "/connect/00ff", "/signin/link/guess"] {
        assert_eq!(site.flooded(700, Method::GET, path, "").await.get(&429), None, "{path}");
    }
    assert_eq!(site.from(STRANGER, Method::POST, "/signin/oidc", "to=connections").await.status, StatusCode::OK);
}
