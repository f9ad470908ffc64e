//! Providers that do not say whose tokens they give, and are asked: as GitHub, on a server of one's own.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::*;
use crate::oauth::profile::GITHUB;
use crate::oauth::{Answer, NoAnswer, Request as Asked, TokenEndpoint};

/// One answer for the token endpoint and for the account, of which each takes its own.
fn of_account(id: u64, login: &str) -> String {
    TOKENS.replace("\"token_type\"", &format!(r#""id":{id},"login":"{login}","token_type""#))
}

/// A broker that ends while it asks for an account.
struct Ends {
    network: Arc<dyn TokenEndpoint>,
    asks: watch::Sender<bool>,
}

#[async_trait]
impl TokenEndpoint for Ends {
    async fn ask(&self, request: Asked<'_>, most: usize, deadline: Duration) -> Result<Answer, NoAnswer> {
        if request.method == Method::GET {
            self.asks.send_replace(true);
            std::future::pending::<()>().await;
        }
        self.network.ask(request, most, deadline).await
    }
}

impl Site {
    /// Every server is at a GitHub of one's own, which is the provider that answers here.
    pub(super) fn are_at_github(&self) {
        self.are_at(&GITHUB);
        self.fixture.servers.send_modify(|servers| {
            for server in Arc::make_mut(servers).by_name.values_mut() {
                let Auth::AuthorizationCode(code) = &server.auth else { continue };
                let mut client = ProviderClient::clone(&code.client);
                client.token_url.set_path("/login/oauth/access_token");
                client.revocation_url = None;
                let code = AuthorizationCode { client: Arc::new(client), ..AuthorizationCode::clone(code) };
                Arc::make_mut(server).auth = Auth::AuthorizationCode(code.into());
            }
        });
    }

    /// Alice is asked for more than before, and comes back; the path of the consent.
    async fn comes_back_for(&self, alice: &Browser, scope: &str) -> String {
        self.needs("wiki", &[scope]);
        let consent = self.link(alice, "wiki").await;
        let underway = self.set_out(alice, &consent, &[]).await;
        let path = format!("/connect/{consent}");
        assert_eq!(self.get(alice, &underway.callback("c")).await.location(), path);
        path
    }

    async fn account(&self, alice: &Browser) -> Option<String> {
        self.grant(alice, WITH_ACCOUNTS).await.and_then(|grant| grant.account)
    }
}

#[tokio::test]
async fn o12_another_account_that_is_asked_for_replaces_the_first_only_when_the_person_says_so() {
    for (choice, left, ended) in [("replace", "2 two", "canary-token-1"), ("keep", "1 one", "canary-token-3")] {
        let site = Site::new().await;
        let alice = site.browser("alice").await;
        site.are_at_github();
        site.fixture.provider.answers(200, &of_account(1, "one"));
        site.comes_back_for(&alice, "a").await;
        assert_eq!(site.account(&alice).await.as_deref(), Some("1 one"));
        assert!(site.get(&alice, "/connections").await.says("<td>one (1)</td>"));
        site.fixture.provider.answers(200, &of_account(2, "two"));
        let path = site.comes_back_for(&alice, "b").await;
        let page = site.get(&alice, &path).await;
        assert!(page.says("<code>two (2)</code>") && page.says("<code>one (1)</code>"), "{}", page.body);
        assert_eq!(site.account(&alice).await.as_deref(), Some("1 one"), "nothing is replaced unasked");
        site.post(&alice, &format!("{path}/account"), &[("account", choice)]).await;
        assert_eq!(site.account(&alice).await.as_deref(), Some(left), "{choice}");
        let told = site.fixture.provider.seen().into_iter().filter(|body| body.starts_with('{')).collect::<Vec<_>>();
        assert_eq!(told, [format!(r#"{{"access_token":"{ended}"}}"#)]);
    }
}

#[tokio::test]
async fn o12_an_account_with_a_new_login_is_the_same_and_needs_no_question() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    site.are_at_github();
    site.fixture.provider.answers(200, &of_account(1, "one"));
    site.comes_back_for(&alice, "a").await;
    site.fixture.provider.answers(200, &of_account(1, "renamed"));
    let path = site.comes_back_for(&alice, "b").await;
    assert!(site.get(&alice, &path).await.says("is connected"));
    assert_eq!(site.account(&alice).await.as_deref(), Some("1 renamed"));
    let row = site.fixture.rows("consent.finished").await.pop().unwrap();
    assert!(row.contains("1 renamed") && !row.contains("account_not_told"), "{row}");
}

#[tokio::test]
async fn an_account_that_nobody_tells_is_unknown_and_the_tokens_are_stored() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    site.are_at_github();
    let path = site.comes_back_for(&alice, "a").await;
    assert!(site.get(&alice, &path).await.says("is connected"));
    let grant = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
    assert_eq!((grant.generation.0, grant.account.as_deref()), (1, None));
    let row = site.fixture.rows("consent.finished").await.pop().unwrap();
    assert!(row.contains("account_not_told"), "{row}");
    let consent = site.consent(path.rsplit('/').next().unwrap()).await;
    assert_eq!((consent.held, consent.outcome.as_deref()), (None, Some("done")), "nothing waits for a choice");
}

#[tokio::test]
async fn i5_a_broker_that_ends_while_it_asks_for_the_account_has_lost_no_token() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    site.are_at_github();
    site.fixture.provider.answers(200, &of_account(1, "one"));
    let consent = site.link(&alice, "wiki").await;
    let underway = site.set_out(&alice, &consent, &[]).await;
    let ends = Arc::new(Ends { network: crate::refresher::tests::loopback(), asks: watch::Sender::new(false) });
    let broker = site.fixture.consents_through(Arc::clone(&ends) as Arc<dyn TokenEndpoint>);
    let dying = router(Pages { consents: broker, ..site.pages.clone() });
    let callback = Request::builder().uri(underway.callback("c")).header("cookie", &alice.cookie);
    let mut asks = ends.asks.subscribe();
    tokio::select! {
        answered = dying.oneshot(callback.body(Body::empty()).unwrap()) => panic!("{answered:?}"),
        asked = asks.wait_for(|asks| *asks) => drop(asked.unwrap()),
    }
    // Another broker does not ask anybody yet: the first may still be at it.
    let (path, form) = (format!("/connect/{consent}"), [("account", "replace")]);
    for reply in [site.get(&alice, &path).await, site.post(&alice, &format!("{path}/account"), &form).await] {
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.body);
    }
    assert_eq!(site.grant(&alice, WITH_ACCOUNTS).await, None);
    site.fixture.clock.advance(Duration::from_secs(60));
    let page = site.get(&alice, &path).await;
    assert!(page.says("did not say with which account. None is connected."), "{}", page.body);
    site.post(&alice, &format!("{path}/account"), &form).await;
    assert!(site.get(&alice, &path).await.says("is connected"));
    let grant = site.grant(&alice, WITH_ACCOUNTS).await.unwrap();
    assert_eq!(site.tokens(&grant).await, ("canary-token-1".to_owned(), "canary-refresh-1".to_owned()));
}

#[tokio::test]
async fn o12_tokens_whose_account_was_told_and_stored_are_not_asked_about_again_where_only_the_end_was_lost() {
    let site = Site::new().await;
    let alice = site.browser("alice").await;
    site.are_at_github();
    site.fixture.provider.answers(200, &of_account(1, "one"));
    let consent = site.link(&alice, "wiki").await;
    let underway = site.set_out(&alice, &consent, &[]).await;
    // Held without a name, stored with one, and ended before the end of the consent was stored.
    let no_end = "CREATE TRIGGER no_end BEFORE UPDATE OF outcome ON consents BEGIN SELECT RAISE(ABORT, 'no'); END";
    site.fixture.store.tamper(no_end).await;
    site.get(&alice, &underway.callback("c")).await;
    site.fixture.store.tamper("DROP TRIGGER no_end").await;
    assert!(site.consent(&consent).await.held.is_some());
    site.fixture.clock.advance(Duration::from_secs(71 * 60));
    assert!(site.get(&alice, &format!("/connect/{consent}")).await.says("is connected"));
    site.pages.consents.abandon().await.unwrap();
    assert_eq!(site.account(&alice).await.as_deref(), Some("1 one"));
    assert!(!site.fixture.provider.seen().iter().any(|body| body.starts_with('{')), "nothing is revoked");
    assert_eq!(site.consent(&consent).await.outcome.as_deref(), Some("done"));
}
