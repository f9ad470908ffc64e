//! The rows of the table that users know: what a server asks for and who calls, and what then works.

use std::sync::Arc;

use e2e::{Application, Auth, Browser, Issuer, Provider, Server, World, eventually_within, run, unique};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The application's own identity provider: its users are customers, and nobody of this company.
static SHOP: OnceCell<Issuer> = OnceCell::const_new();
static WORLD: OnceCell<World> = OnceCell::const_new();

async fn shop() -> &'static Issuer {
    SHOP.get_or_init(Issuer::start).await
}

async fn world() -> &'static World {
    WORLD
        .get_or_init(async || {
            let shop = shop().await.url.clone();
            let external = json!({"issuer": shop, "login": false, "algorithms": ["RS256"]});
            let issuers = |config: &mut Value| config["issuers"].as_array_mut().expect("a list").push(external);
            World::build().broker(issuers).start().await
        })
        .await
}

/// Applies an external identity of the shop for one tenant; answers its subject.
async fn identity(name: &str, tenant: &str) -> String {
    let (world, shop) = (world().await, shop().await);
    let claims = json!({"tenant": tenant});
    let manifest = json!({"type": "external-identity", "name": name, "issuer": shop.url, "claims": claims});
    world.broker.apply(&[manifest]).await.ok();
    format!("external-identity:{name}")
}

/// The shop's token for a customer of this tenant.
async fn customer(subject: &str, audience: &str, tenant: &str) -> String {
    shop().await.token_for(subject, audience).claim("tenant", tenant).mint()
}

/// Two end users behind one application: it calls for both with the account's one token.
async fn any_user_by_the_account_s_token(auth: Auth, expected: &[String]) {
    let world = world().await;
    let account = unique("agent");
    let owned = json!({"type": "virtual-account", "name": account, "owners": ["user:alice@example.com"]});
    world.broker.apply(&[owned]).await.ok();
    let server = world.server().auth(auth).subjects(&[&format!("virtualaccount:{account}")]).register().await;
    let token = world.broker.issue_token("--virtual-account", &account, "1h").await;
    for _end_user in ["carol", "dave"] {
        assert_eq!(server.call_as(&token).send().await.called_as(), expected);
    }
    server.upstream.forget();
    let other = world.broker.issue_token("--virtual-account", &unique("agent"), "1h").await;
    is_not_allowed(&server, &other).await;
    is_not_allowed(&server, &world.issuer.token("alice", &server).mint()).await;
    is_not_allowed(&server, &customer("carol", &server.resource, "acme").await).await;
    server.refuses_token("no token", "").await;
    server.upstream.assert_untouched("a call of somebody else");
}

async fn is_not_allowed(server: &Server, token: &str) {
    let reply = server.call_as(token).send().await;
    assert_eq!((reply.status, reply.rpc_error().code), (200, -31002), "{reply}");
}

#[test]
fn row_1_no_auth_any_user_virtual_account_token() {
    run(any_user_by_the_account_s_token(Auth::None, &[]));
}

#[test]
fn row_2_header_auth_any_user_virtual_account_token() {
    run(async {
        let secret = unique("header-secret");
        let expected = [format!("Bearer {secret}")];
        any_user_by_the_account_s_token(Auth::Header { secret }, &expected).await;
    });
}

#[test]
fn row_3_oauth2_platform_user_own_token_and_consent() {
    run(async {
        let (world, provider) = (world().await, Arc::new(Provider::start().await));
        let people = [Browser::of(&unique("alice")), Browser::of(&unique("bob"))];
        let subjects: Vec<String> = people.iter().map(|person| format!("user:{}@example.com", person.login)).collect();
        let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
        let server = world.server().auth(Auth::authorization_code(&provider)).subjects(&subjects).register().await;
        server.upstream.guarded_by(&provider);
        for person in &people {
            let own = world.broker.issue_token("--user", &format!("{}@example.com", person.login), "1h").await;
            // The same person by the company's own provider: one link, and one grant, for both.
            assert_eq!(server.consent_link(&own).await, world.consent_link(person, &server).await);
            world.consent(person, &server).await;
            for token in [own, world.token_of(person, &server)] {
                assert_eq!(server.call_as(&token).send().await.result()["holder"], json!(person.login));
            }
        }
        assert_eq!(provider.token_requests().len(), people.len(), "one grant each");
        server.upstream.forget();
        is_not_allowed(&server, &world.issuer.token("mallory", &server).mint()).await;
        is_not_allowed(&server, &customer("carol", &server.resource, "acme").await).await;
        server.upstream.assert_untouched("a call of somebody else");
    });
}

#[test]
fn row_4_oauth2_external_user_own_jwt_and_consent_confirmed_by_the_application() {
    run(async {
        let (world, shop) = Application::with_world().await;
        let (provider, name) = (Arc::new(Provider::start().await), unique("shop"));
        world.broker.apply(&[shop.identity(&name)]).await.ok();
        let subject = format!("external-identity:{name}");
        let server = world.server().auth(Auth::authorization_code(&provider)).subjects(&[&subject]).register().await;
        server.upstream.guarded_by(&provider);
        for user in [Browser::of("carol"), Browser::of("dave")] {
            let jwt = shop.sign_in(&user).await;
            let link = server.consent_link(&jwt).await;
            let asked = user.to_application(&world, link.as_str()).await;
            user.go_on(user.press(&asked, "Yes, sign me in").await).await;
            world.connect(&user, &link).await;
            assert_eq!(server.call_as(&jwt).send().await.result()["holder"], json!(user.login));
        }
        assert_eq!(provider.token_requests().len(), 2, "one grant each");
        server.upstream.forget();
        is_not_allowed(&server, &world.issuer.token("carol", &server).mint()).await;
        let erin = shop.sign_in(&Browser::of("erin")).await;
        server.consent_link(&erin).await;
        server.upstream.assert_untouched("a call of somebody else");
    });
}

#[test]
fn row_5_token_passthrough_any_user_external_identity_and_own_jwt() {
    run(async {
        let (name, tenant) = (unique("shop"), unique("tenant"));
        let subject = identity(&name, &tenant).await;
        let server = world().await.server().auth(Auth::Passthrough).subjects(&[&subject]).register().await;
        let upstream = server.upstream.url.clone();
        for user in ["carol", "dave"] {
            let jwt = customer(user, &upstream, &tenant).await;
            assert_eq!(server.call_as(&jwt).send().await.called_as(), [format!("Bearer {jwt}")], "their very own");
        }
        server.upstream.forget();
        is_not_allowed(&server, &customer("carol", &upstream, "another").await).await;
        is_not_allowed(
            &server,
            &world().await.issuer.token_for("alice", &upstream).claim("tenant", tenant.as_str()).mint(),
        )
        .await;
        server.refuses_token("for the gate only", &customer("carol", &server.resource, &tenant).await).await;
        let own = world().await.broker.issue_token("--user", "carol@example.com", "1h").await;
        server.refuses_token("a token of the gate itself", &own).await;
        server.upstream.assert_untouched("a call of somebody else");
    });
}

#[test]
fn i11_a_changed_external_identity_is_felt_within_two_seconds_even_by_cached_callers() {
    run(async {
        let (name, tenant) = (unique("shop"), unique("tenant"));
        let subject = identity(&name, &tenant).await;
        let server = world().await.server().auth(Auth::header()).subjects(&[&subject]).register().await;
        let token = customer("carol", &server.resource, &tenant).await;
        server.accepts_token("while it means her", &token).await;
        identity(&name, "another").await;
        let reply = eventually_within(std::time::Duration::from_secs(2), "it means somebody else", async || {
            let reply = server.call_as(&token).send().await;
            reply.json().get("error").is_some().then_some(reply)
        })
        .await;
        assert_eq!((reply.status, reply.rpc_error().code), (200, -31002), "{reply}");
        server.accepts_token("whom it means now", &customer("dave", &server.resource, "another").await).await;
    });
}
