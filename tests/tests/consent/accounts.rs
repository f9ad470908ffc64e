//! Virtual accounts: an owner consents for them, knowing that everybody who uses the account acts as the owner.

use e2e::{Auth, Browser, Chromium, Provider, World, run, unique};
use serde_json::json;
use std::sync::Arc;

/// A virtual account, its token, and a server that only it may use.
async fn account(owners: &[&str]) -> (e2e::Server, Arc<Provider>, String) {
    let world = World::shared().await;
    let (name, provider) = (unique("agent"), Arc::new(Provider::start().await));
    world.broker.apply(&[json!({"type": "virtual-account", "name": name, "owners": owners})]).await.ok();
    let subject = format!("virtualaccount:{name}");
    let auth = Auth::authorization_code(&provider);
    let server = world.server().auth(auth).subjects(&[&subject]).register().await;
    server.upstream.guarded_by(&provider);
    (server, provider, world.broker.issue_token("--virtual-account", &name, "1h").await)
}

/// Somebody of this company, signed in.
async fn somebody(login: &str) -> Browser {
    let world = World::shared().await;
    let person = Browser::of(login);
    let server = world.open_server().await;
    server.accepts_token("anybody may", &world.token_of(&person, &server)).await;
    world.sign_in(&person).await;
    person
}

#[test]
fn an_owner_consents_for_a_virtual_account_and_only_after_saying_that_it_acts_as_them() {
    run(async {
        let (server, provider, token) = account(&["user:alice@example.com"]).await;
        let link = server.consent_link(&token).await;
        let window = Chromium::person().await;
        window.sits_down_as(&somebody("alice").await, &World::shared().await.public_url).await;
        window.opens(link.as_str()).await;
        window.sees("Everyone who uses it will act as you").await;
        window.presses("Connect").await;
        assert!(provider.authorizations().is_empty(), "the box was not ticked");
        window.ticks().await;
        window.presses("Connect").await;
        window.sees("is connected").await;
        assert_eq!(server.call_as(&token).send().await.result()["holder"], "alice");
        window.leaves().await;
    });
}

#[test]
fn o2_nobody_but_an_owner_consents_for_a_virtual_account() {
    run(async {
        let (server, provider, token) = account(&["user:alice@example.com"]).await;
        let link = server.consent_link(&token).await;
        let page = somebody("bob").await.get(&link).await;
        assert!(page.status == 403 && page.text.contains("This was not made for you"), "{page:?}");
        assert!(provider.authorizations().is_empty());
    });
}

#[test]
fn a_virtual_account_without_owners_gets_no_link() {
    run(async {
        let (server, _, token) = account(&[]).await;
        let reply = server.call_as(&token).send().await;
        assert!(!reply.to_string().contains("/connect/"), "{reply}");
        server.upstream.assert_untouched("a call without consent");
    });
}
