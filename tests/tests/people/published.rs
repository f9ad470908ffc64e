//! The client code that is published for agents, as it is printed, with every library that agents have.

use std::sync::Arc;

use e2e::{Auth, Browser, Client, McpServer, Provider, Server, World, run, unique};
use serde_json::{Value, json};
use url::Url;

/// A fastmcp server behind a provider of its own; it lets everyone in and tells whom it was called as.
struct Notes {
    provider: Arc<Provider>,
    real: McpServer,
    server: Server,
}

impl Notes {
    async fn start(world: &World) -> Self {
        let provider = Arc::new(Provider::start().await);
        let real = McpServer::start(world, &[]).await;
        let server = world.server().auth(Auth::authorization_code(&provider)).url(&real.url).register().await;
        Self { provider, real, server }
    }

    /// The published code has the server's answer, and it was called with this person's own token.
    fn assert_called_as(&self, person: &Browser, said: &Value) {
        let family = self.provider.family_of(&person.login).expect("they have consented");
        let own = &family.access_tokens[family.access_tokens.len() - 1];
        let tail = &said["result"]["credential"]["authorization"]["tail"];
        assert_eq!((&said["success"], tail), (&json!(true), &json!(own[own.len() - 6..])), "{said}");
    }
}

fn asked_for_consent(link: &Url) -> Value {
    json!({"success": false, "auth_required": true, "authorization_urls": [link.as_str()]})
}

#[test]
fn the_published_code_gets_each_servers_url_at_connect_time_and_after_consent_the_users_own_calls() {
    run(async {
        let world = World::shared().await;
        let (first, second) = (Notes::start(world).await, Notes::start(world).await);
        for client in Client::ALL {
            let person = Browser::of(&unique("alice"));
            let audience = json!([first.server.resource, second.server.resource]);
            let token = world.issuer.token(&person.login, &first.server).claim("aud", audience).mint();
            let call =
                async || client.published(&token, "whoami", &[&first.server.resource, &second.server.resource]).await;
            let links = (first.server.consent_link(&token).await, second.server.consent_link(&token).await);
            assert_ne!(links.0, links.1);
            let before = (first.real.seen().await.len(), second.real.seen().await.len());
            assert_eq!(call().await, [asked_for_consent(&links.0), asked_for_consent(&links.1)], "{client:?}");
            assert_eq!((first.real.seen().await.len(), second.real.seen().await.len()), before, "{client:?}");
            world.consent(&person, &first.server).await;
            let said = call().await;
            first.assert_called_as(&person, &said[0]);
            assert_eq!(said[1], asked_for_consent(&links.1), "{client:?}");
            world.consent(&person, &second.server).await;
            let said = call().await;
            first.assert_called_as(&person, &said[0]);
            second.assert_called_as(&person, &said[1]);
        }
    });
}

#[test]
fn the_published_code_gets_no_url_where_consent_would_not_help() {
    run(async {
        let world = World::shared().await;
        let notes = Notes::start(world).await;
        let auth = Auth::authorization_code(&Provider::start().await);
        let closed = world.server().auth(auth).subjects(&["user:nobody@example.com"]).register().await;
        // Policy keeps it from one, and at the other nobody could consent for it.
        let ownerless = world.broker.issue_token("--virtual-account", &unique("agent"), "1h").await;
        for client in Client::ALL {
            let urls = [closed.resource.as_str(), &notes.server.resource];
            for said in client.published(&ownerless, "whoami", &urls).await {
                assert!(said["raised"].is_string(), "{client:?}: {said}");
            }
        }
        assert!(notes.real.seen().await.is_empty() && notes.provider.authorizations().is_empty());
    });
}
