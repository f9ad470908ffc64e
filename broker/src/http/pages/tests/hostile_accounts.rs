//! Accounts that are named as an attacker would name theirs, by providers of every shape, on every page that names one.

use super::words::{HOSTILE, tags};
use super::*;
use crate::oauth::profile::{GITHUB, SALESFORCE, SLACK};

/// An answer of a provider in which this account stands wherever its shape has a name.
type Shape = fn(&str) -> serde_json::Value;

fn tokens() -> serde_json::Value {
    serde_json::from_str(TOKENS).unwrap()
}

fn with(members: serde_json::Value) -> serde_json::Value {
    let mut answer = tokens();
    answer.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    answer
}

fn id_token(account: &str) -> serde_json::Value {
    let claims = serde_json::json!({"sub": account, "name": account, "email": account, "preferred_username": account});
    with(serde_json::json!({"id_token": format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()))}))
}

fn notion(account: &str) -> serde_json::Value {
    let user = serde_json::json!({"id": account, "name": account});
    let owner = serde_json::json!({"type": "user", "user": user});
    with(
        serde_json::json!({"workspace_id": account, "workspace_name": account, "workspace_icon": account, "owner": owner}),
    )
}

fn salesforce(account: &str) -> serde_json::Value {
    with(serde_json::json!({"id": format!("https://login.salesforce.com/id/{account}"), "instance_url": account}))
}

fn slack(account: &str) -> serde_json::Value {
    let mut user = tokens();
    user["id"] = account.into();
    let place = serde_json::json!({"id": account, "name": account});
    serde_json::json!({"ok": true, "app_id": account, "team": place, "enterprise": place, "authed_user": user})
}

/// Both answers in one: the token endpoint's, and the account's.
fn github(account: &str) -> serde_json::Value {
    with(serde_json::json!({"id": account, "login": account, "name": account, "company": account}))
}

const SHAPES: [(&Profile, Shape); 5] =
    [(&GENERIC, id_token), (&NOTION, notion), (&SALESFORCE, salesforce), (&SLACK, slack), (&GITHUB, github)];

impl Site {
    /// Every server is at a provider of this kind, which answers wherever such a one does.
    fn are_really_at(&self, profile: &'static Profile) {
        match profile.account_request {
            Some(_) => self.are_at_github(),
            None => self.are_at(profile),
        }
    }

    /// Alice is asked for more than before, and comes back with this answer; the page that she sees then.
    async fn comes_back(&self, alice: &Browser, time: usize, answer: &serde_json::Value) -> (String, Reply) {
        self.needs("wiki", &[&format!("scope-{time}")]);
        self.fixture.provider.answers(200, &answer.to_string());
        let consent = self.link(alice, "wiki").await;
        let underway = self.set_out(alice, &consent, &[]).await;
        let path = format!("/connect/{consent}");
        assert_eq!(self.get(alice, &underway.callback("c")).await.location(), path);
        let page = self.get(alice, &path).await;
        (path, page)
    }

    /// The pages that name an account: the choice, the choice after a disconnect, success, and the list.
    async fn pages_of(&self, alice: &Browser, time: usize, answer: &serde_json::Value) -> [Reply; 4] {
        let (path, choice) = self.comes_back(alice, time, answer).await;
        let grant = self.grant(alice, WITH_ACCOUNTS).await.unwrap();
        self.post(alice, &format!("/connections/{}/disconnect", grant.id), &[]).await;
        let take_or_leave = self.get(alice, &path).await;
        self.post(alice, &format!("{path}/account"), &[("account", "replace")]).await;
        [choice, take_or_leave, self.get(alice, &path).await, self.get(alice, "/connections").await]
    }
}

#[tokio::test]
async fn o7_thirty_hostile_names_of_accounts_stay_text_in_whichever_shape_they_come() {
    for (number, (profile, shape)) in SHAPES.into_iter().enumerate() {
        let site = Site::new().await;
        let alice = site.browser("alice").await;
        site.are_really_at(profile);
        assert!(site.comes_back(&alice, 0, &shape("zz0")).await.1.says("is connected"), "{}", profile.name);
        let plain = site.pages_of(&alice, 1, &shape("zz1")).await;
        for (page, says) in plain.iter().zip(["than the one that is connected", "meanwhile", "is connected", "<td>"]) {
            assert!(page.says(says), "{}: {}", profile.name, page.body);
        }
        // Each page writes a name alike, wherever it is from: every shape has its share of them.
        for (words, time) in HOSTILE.into_iter().skip(number).step_by(SHAPES.len()).zip(2..) {
            // Bytes that no name of an account may have are left out, so that each of them is shown.
            let visible: String = words.chars().filter(char::is_ascii_graphic).collect();
            let name = format!("zz{time}{visible}");
            let pages = site.pages_of(&alice, time, &shape(&name)).await;
            for (page, plain) in pages.iter().zip(&plain) {
                assert_eq!(tags(&page.body), tags(&plain.body), "{}: {name}", profile.name);
                assert!(
                    !name.contains(['<', '>', '"']) || !page.says(&name),
                    "{}: {name} stands as it came",
                    profile.name
                );
            }
            for named in [&pages[0], &pages[1], &pages[3]] {
                assert!(named.says(&format!("zz{time}")), "{}: {name} is not shown", profile.name);
            }
        }
    }
}

#[tokio::test]
async fn o7_names_of_accounts_that_are_no_names_are_not_shown_at_all() {
    let nameless = HOSTILE.into_iter().filter(|words| !words.bytes().all(|byte| byte.is_ascii_graphic()));
    let nameless: Vec<String> = nameless.map(str::to_owned).chain(["x".repeat(10_000), String::new()]).collect();
    assert!(nameless.len() > 10, "{}", nameless.len());
    for (profile, shape) in SHAPES.into_iter().take(2) {
        let site = Site::new().await;
        let alice = site.browser("alice").await;
        site.are_really_at(profile);
        for (time, words) in nameless.iter().enumerate() {
            let (_, page) = site.comes_back(&alice, time, &shape(words)).await;
            let list = site.get(&alice, "/connections").await;
            assert!(page.says("is connected") && list.says("<td>not told</td>"), "{}: {words:?}", profile.name);
        }
    }
}
