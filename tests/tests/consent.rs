//! People consent in a browser, each for themselves, and what goes wrong on the way stores nothing.

#[path = "consent/accounts.rs"]
mod accounts;
#[path = "consent/answers.rs"]
mod answers;
#[path = "consent/connections.rs"]
mod connections;
#[path = "consent/headers.rs"]
mod headers;
#[path = "consent/links.rs"]
mod links;
#[path = "consent/other_account.rs"]
mod other_account;
#[path = "consent/path.rs"]
mod path;
#[path = "consent/people.rs"]
mod people;
#[path = "consent/redirects.rs"]
mod redirects;
#[path = "consent/resource.rs"]
mod resource;
#[path = "consent/walk.rs"]
mod walk;
#[path = "consent/words.rs"]
mod words;

use e2e::{Auth, Browser, OAuth, Page, Provider, Server, World, github, unique};
use std::sync::Arc;
use url::Url;

/// A server behind per-user OAuth at a provider of its own, which says yes at once.
struct Notes {
    world: &'static World,
    provider: Arc<Provider>,
    server: Server,
}

impl Notes {
    async fn open() -> Self {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        let server = world.server().auth(Auth::authorization_code(&provider)).register().await;
        server.upstream.guarded_by(&provider);
        Self { world, provider, server }
    }

    /// The same at a GitHub of one's own.
    async fn at_github() -> Self {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        let auth = Auth::AuthorizationCode { at: OAuth::at_github(&provider), scopes: vec!["repo".to_owned()] };
        let server = world.server().auth(auth).manifest(github).register().await;
        server.upstream.guarded_by(&provider);
        Self { world, provider, server }
    }

    /// Somebody who has called for the first time, was refused with this link, and is signed in.
    async fn caller(&self, login: &str) -> (Browser, Url) {
        let person = Browser::of(&unique(login));
        let link = self.world.consent_link(&person, &self.server).await;
        self.world.sign_in(&person).await;
        (person, link)
    }

    async fn is_connected(&self, person: &Browser) -> bool {
        let reply = self.server.call_as(&self.world.token_of(person, &self.server)).send().await;
        reply.json().get("result").is_some()
    }

    /// Neither a token nor a grant has come of it.
    async fn assert_nothing_stored(&self, people: &[&Browser]) {
        assert!(self.provider.token_requests().is_empty(), "{:?}", self.provider.token_requests());
        for person in people {
            assert!(!self.is_connected(person).await, "{} is connected", person.login);
        }
    }
}

/// What a page at this gateway must not do to be safe: lead anywhere else.
fn leads_away(page: &Page, gate: &str) -> Option<Url> {
    page.location().filter(|url| url.origin().ascii_serialization() != gate)
}
