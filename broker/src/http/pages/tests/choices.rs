//! A choice between two accounts that is made twice, cut off, late, or not to be made any more.

use std::time::Duration;

use super::accounts::{come_back_as_another, of_account};
use super::*;
use crate::consent::{Choice, Visit};
use crate::secret::Secret;
use crate::signin::Session;
use crate::store::{GrantCommit, Standing, StoredGrant};

/// When the clock comes for what nobody has chosen.
const ABANDONED: Duration = Duration::from_secs(71 * 60);

async fn account(site: &Site, alice: &Browser) -> String {
    site.grant(alice, WITH_ACCOUNTS).await.unwrap().account.unwrap()
}

async fn abandon(site: &Site) {
    site.fixture.clock.advance(ABANDONED);
    site.pages.consents.abandon().await.unwrap();
}

async fn session(site: &Site, browser: &Browser) -> Session {
    let mut headers = HeaderMap::new();
    headers.insert(header::COOKIE, browser.cookie.parse().unwrap());
    site.pages.sign_ins.sessions().of(&headers).await.unwrap().unwrap()
}

/// She has chosen account `two`, and the broker ended once that was stored.
async fn choose_another_and_lose_the_end(site: &Site, alice: &Browser) -> String {
    let consent = come_back_as_another(site, alice).await;
    let first = site.grant(alice, WITH_ACCOUNTS).await.unwrap();
    let chosen = GrantCommit {
        id: first.id,
        key: first.key,
        generation: crate::model::Generation(2),
        material: first.material.unwrap(),
        scopes: vec!["more".to_owned()],
        auth_revisions: first.auth_revisions,
        account: Some("two".into()),
        consented_at: Some(site.fixture.clock.now()),
        consented_by: first.consented_by,
        invalidates: Some(site.fixture.clock.now()),
    };
    let held = site.consent(&consent).await.held.unwrap();
    let place = Place::of_consent(&consent, "held", 1);
    let mut written: serde_json::Value =
        serde_json::from_slice(site.fixture.vault.open(&place, &held).await.unwrap().expose()).unwrap();
    let replaced = serde_json::json!({"access_token": "canary-token-1", "refresh_token": "canary-refresh-1"});
    written["chosen"] = serde_json::json!({"generation": 2, "account": "one", "replaced": [replaced]});
    let written = Secret::new(written.to_string().into_bytes());
    let instead = site.fixture.vault.data_key(&place).await.unwrap().seal(&place, &written);
    site.fixture.store.commit_chosen(&chosen, &consent, 1, &held, &instead).await.unwrap();
    consent
}

/// Records of consents that came to a grant of this account.
async fn finished(site: &Site, account: &str) -> usize {
    let rows = site.fixture.rows("consent.finished").await;
    rows.iter().filter(|row| row.contains(&format!("\"{account}\""))).count()
}

#[tokio::test]
async fn o12_a_choice_that_could_not_be_stored_was_not_made() {
    for is_late in [false, true] {
        let site = Site::new().await;
        let alice = site.browser("alice").await;
        let path = format!("/connect/{}", come_back_as_another(&site, &alice).await);
        let form = format!("{path}/account");
        let down = "CREATE TRIGGER down BEFORE UPDATE ON grants BEGIN SELECT RAISE(ABORT, 'down'); END";
        site.fixture.store.tamper(down).await;
        let reply = site.post(&alice, &form, &[("account", "replace")]).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.body);
        site.fixture.store.tamper("DROP TRIGGER down").await;
        let page = site.get(&alice, &path).await;
        assert!(page.says("Keep the account") && page.says("Use the other account"), "{}", page.body);
        // She thinks better of it; or nobody is there any more.
        match is_late {
            true => abandon(&site).await,
            false => {
                site.post(&alice, &form, &[("account", "keep")]).await;
            }
        }
        assert_eq!(
            (account(&site, &alice).await.as_str(), site.revoked()),
            ("one", vec!["canary-refresh-2".to_owned()])
        );
        assert!(site.get(&alice, &path).await.says("You kept the account"), "{is_late}");
    }
}

#[tokio::test]
async fn o12_who_lost_their_name_chooses_nothing_any_more_and_what_was_held_is_revoked() {
    for is_late in [false, true] {
        let site = Site::new().await;
        let alice = site.browser("alice").await;
        let consent = come_back_as_another(&site, &alice).await;
        // Her form had been read when the operator came.
        let session = session(&site, &alice).await;
        site.fixture.store.release_user("alice@example.com", START).await.unwrap().unwrap();
        if is_late {
            abandon(&site).await;
        } else {
            let visit = Visit { session: Some(&session), request_id: "r-1" };
            site.pages.consents.choose(&consent, Choice::Replace, visit).await.unwrap();
        }
        let grant = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
        assert_eq!((grant.generation.0, grant.account.as_deref()), (1, Some("one")), "{is_late}");
        assert_eq!((site.revoked(), site.consent(&consent).await.held), (vec!["canary-refresh-2".to_owned()], None));
    }
}

#[tokio::test]
async fn o12_of_two_choices_at_once_at_two_brokers_one_counts() {
    for keeps_first in [false, true] {
        let site = Site::new().await;
        let alice = site.browser("alice").await;
        let consent = come_back_as_another(&site, &alice).await;
        let session = session(&site, &alice).await;
        let visit = Visit { session: Some(&session), request_id: "r-1" };
        let (here, there) = (&site.pages.consents, site.fixture.consents());
        let choices = if keeps_first { [Choice::Keep, Choice::Replace] } else { [Choice::Replace, Choice::Keep] };
        let (one, other) =
            tokio::join!(here.choose(&consent, choices[0], visit), there.choose(&consent, choices[1], visit));
        one.and(other).unwrap();
        let revoked = if account(&site, &alice).await == "two" { "canary-refresh-1" } else { "canary-refresh-2" };
        // Each of the two may bring it to its end: a token that is revoked twice is revoked.
        let mut tokens = site.revoked();
        tokens.dedup();
        assert_eq!(tokens, [revoked]);
    }
}

#[tokio::test]
async fn o12_a_choice_is_brought_to_its_end_by_the_clock_where_a_crash_cut_it_off() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = choose_another_and_lose_the_end(&site, &alice).await;
    assert_eq!(finished(&site, "two").await, 0);
    abandon(&site).await;
    assert_eq!((account(&site, &alice).await.as_str(), site.revoked()), ("two", vec!["canary-refresh-1".to_owned()]));
    assert_eq!(site.consent(&consent).await.outcome.as_deref(), Some("done"));
    assert_eq!(finished(&site, "two").await, 1);
}

#[tokio::test]
async fn o12_a_choice_that_was_cut_off_is_brought_to_its_end_and_not_made_again() {
    for choice in ["keep", "replace"] {
        let site = Site::new().await;
        let alice = site.browser("alice").await;
        let consent = choose_another_and_lose_the_end(&site, &alice).await;
        let path = format!("/connect/{consent}");
        assert!(site.get(&alice, &path).await.says("is connected"));
        assert_eq!(finished(&site, "two").await, 0, "to look changes nothing");
        for _ in 0..2 {
            site.post(&alice, &format!("{path}/account"), &[("account", choice)]).await;
        }
        assert_eq!(site.grant(&alice, WITH_ACCOUNTS).await.unwrap().generation.0, 2);
        assert_eq!(site.revoked(), ["canary-refresh-1"], "{choice}");
        assert_eq!(site.consent(&consent).await.outcome.as_deref(), Some("done"));
        assert_eq!(finished(&site, "two").await, 1);
    }
}

#[tokio::test]
async fn o12_of_a_choice_that_was_cut_off_the_first_account_is_left_alone_once_she_came_back_to_it() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = choose_another_and_lose_the_end(&site, &alice).await;
    let second = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
    disconnect(&site, &second).await;
    let server = Arc::clone(&site.fixture.servers.borrow().by_name[&ServerName("demo/wiki".into())]);
    let more = ["else".to_owned()];
    let link = site.pages.consents.required(&alice.principal, &alice.subjects, &server, &more).await.unwrap();
    site.fixture.provider.answers(200, &of_account("one"));
    let underway = site.set_out(&alice, &link.id, &[]).await;
    site.get(&alice, &underway.callback("c3")).await;
    assert_eq!(account(&site, &alice).await, "one");
    abandon(&site).await;
    assert_eq!(site.consent(&consent).await.outcome.as_deref(), Some("done"));
    assert!(site.revoked().is_empty(), "what is connected is not revoked");
}

#[tokio::test]
async fn o12_a_link_whose_choice_was_cut_off_says_when_it_is_over_and_begins_again() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let consent = choose_another_and_lose_the_end(&site, &alice).await;
    let second = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
    disconnect(&site, &second).await;
    let page = site.get(&alice, &format!("/connect/{consent}")).await;
    assert!(!page.says("is connected") && page.says("Start again"), "{}", page.body);
    let underway = site.set_out(&alice, &consent, &[]).await;
    assert_eq!(site.revoked(), ["canary-refresh-1"], "and brings it to its end");
    let reply = site.get(&alice, &underway.callback("c3")).await;
    assert!(site.get(&alice, reply.location()).await.says("is connected"));
}

async fn disconnect(site: &Site, grant: &StoredGrant) {
    let revoked = Standing::Revoked("disconnected".into());
    site.fixture.store.end_grant(&grant.id, grant.generation, &revoked, START).await.unwrap();
}

/// Two links on which she has come back with account `two`, and chosen it on the second.
async fn come_back_twice(site: &Site, alice: &Browser, others_scopes: &[&str]) -> String {
    site.fixture.servers.send_modify(|servers| {
        let servers = Arc::make_mut(servers);
        let Auth::AuthorizationCode(code) = &servers.by_name[&ServerName("demo/wiki".into())].auth else {
            panic!("wiki needs no consent");
        };
        let beside = server("blog", &code.client.clone(), &[], &["user:alice@example.com"]);
        servers.by_name.extend([beside]);
    });
    site.fixture.provider.answers(200, &of_account("one"));
    site.connect(alice, "wiki").await;
    site.needs("wiki", &["more"]);
    site.needs("blog", &["more"]);
    site.fixture.provider.answers(200, &of_account("two"));
    let blog = Arc::clone(&site.fixture.servers.borrow().by_name[&ServerName("demo/blog".into())]);
    let extra: Vec<String> = others_scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let other = site.pages.consents.required(&alice.principal, &alice.subjects, &blog, &extra).await.unwrap().id;
    let wiki = site.link(alice, "wiki").await;
    for consent in [&other, &wiki] {
        let underway = site.set_out(alice, consent, &[]).await;
        site.get(alice, &underway.callback("c2")).await;
        assert!(site.get(alice, &format!("/connect/{consent}")).await.says("Use the other account"));
    }
    site.post(alice, &format!("/connect/{wiki}/account"), &[("account", "replace")]).await;
    assert_eq!((account(site, alice).await.as_str(), site.revoked()), ("two", vec!["canary-refresh-1".to_owned()]));
    other
}

#[tokio::test]
async fn o12_tokens_of_the_account_that_is_connected_by_now_are_not_revoked_nor_asked_about() {
    for choice in [None, Some("keep"), Some("decline"), Some("replace")] {
        let site = Site::new().await;
        let alice = site.browser("alice").await;
        let other = come_back_twice(&site, &alice, &[]).await;
        let path = format!("/connect/{other}");
        let page = site.get(&alice, &path).await;
        assert!(page.says("is connected") && !page.says("<code>two</code>"), "{}", page.body);
        match choice {
            None => abandon(&site).await,
            // The form of a page that was loaded before.
            Some(choice) => {
                site.post(&alice, &format!("{path}/account"), &[("account", choice)]).await;
            }
        }
        let ended = site.consent(&other).await;
        assert_eq!((ended.held, ended.outcome.as_deref()), (None, Some("done")), "{choice:?}");
        assert_eq!(site.grant(&alice, WITH_ACCOUNTS).await.unwrap().generation.0, 2);
        assert_eq!(site.revoked(), ["canary-refresh-1"], "{choice:?}: revoking would end what is connected");
    }
}

#[tokio::test]
async fn o12_where_the_account_that_is_connected_by_now_gave_less_the_same_link_asks_again() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    let other = come_back_twice(&site, &alice, &["else"]).await;
    let page = site.get(&alice, &format!("/connect/{other}")).await;
    assert!(page.says("granted less") && page.says("<code>else</code>"), "{}", page.body);
    let underway = site.set_out(&alice, &other, &[]).await;
    let reply = site.get(&alice, &underway.callback("c4")).await;
    assert!(site.get(&alice, reply.location()).await.says("is connected"));
    assert_eq!(site.grant(&alice, WITH_ACCOUNTS).await.unwrap().generation.0, 3);
    assert_eq!(site.revoked(), ["canary-refresh-1"]);
}
