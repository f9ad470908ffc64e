//! The whole way of one person, with nothing of our own beside the gate: an agent, Chromium, a certified provider, a server.

use e2e::{
    Application, Auth, Browser, Chromium, Client, Idp, McpServer, OAuth, Person, Provider, Server, World,
    audit_records, provider::Decision, run, unique,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where people sign in, and `demo/notes` behind their own consent at the same provider.
async fn notes() -> (World, McpServer, Server) {
    let world = World::build().sign_in().start().await;
    let idp = idp(&world);
    let (audience, jwks) = (format!("{}/resource", idp.issuer), format!("{}/jwks", idp.issuer));
    let arguments = ["--auth", "bearer", "--issuer", &idp.issuer, "--jwks-uri", &jwks, "--audience", &audience];
    let real = McpServer::start(&world, &arguments).await;
    let at = OAuth::at_idp(idp);
    let auth = Auth::AuthorizationCode { at: at.clone(), scopes: vec!["mcp:tools".to_owned()] };
    let server = world.server().named("demo", "notes").auth(auth).url(&real.url).register().await;
    let operator = Browser::of(&unique("operator"));
    let link = world.consent_link(&operator, &server).await;
    world.admit(&at, idp, &operator, &link).await;
    (world, real, server)
}

fn idp(world: &World) -> &Idp {
    world.idp.as_ref().expect("people can sign in")
}

/// What alice sees of her agent's call, and the link in it, if there is one.
async fn call_as_alice(world: &World, server: &Server) -> (Value, Option<String>) {
    let token = idp(world).login("alice", &server.resource, "RS256").await;
    let [.., newest] = Client::ALL;
    let answer = newest.call(&server.resource, &token, "whoami", &json!({})).await;
    let told = answer.error.to_string();
    let link = told.split(['"', ' ', '\\']).find(|word| word.starts_with(&world.public_url)).map(str::to_owned);
    (answer.result, link)
}

/// From the page with the ways to sign in.
async fn signs_in(person: &Person, world: &World, login: &str) {
    person.presses(&format!("Sign in at {}", idp(world).issuer.trim_start_matches("http://"))).await;
    person.types("login", login).await;
    person.types("password", &format!("{login}-password")).await;
    person.presses("Continue").await;
    person.sees("Authorize").await;
    person.presses("Continue").await;
}

#[test]
fn a_person_goes_from_the_agents_error_through_sign_in_and_consent_to_a_call_of_their_own() {
    run(async {
        let (world, _real, server) = notes().await;
        let link = call_as_alice(&world, &server).await.1.expect("a link");
        let alice = Chromium::person().await;
        alice.opens(&link).await;
        assert!(alice.cookies().await.is_empty(), "a cookie before anybody signed in");
        alice.presses("Sign in").await;
        alice.takes_a_picture("sign-in").await;
        signs_in(&alice, &world, "alice").await;
        alice.sees("An agent wants to use demo/notes on your behalf.").await;
        alice.sees("You are signed in as alice@example.com.").await;
        alice.takes_a_picture("consent").await;
        alice.presses("Connect").await;
        alice.sees("asks for mcp:tools").await;
        alice.takes_a_picture("provider").await;
        alice.presses("Continue").await;
        alice.sees("Return to your agent and let it try again.").await;
        alice.takes_a_picture("connected").await;
        assert_eq!(alice.looks().await.url, link);
        let (result, _) = call_as_alice(&world, &server).await;
        assert_eq!(result["credential"]["authorization"]["claims"]["sub"], "u-1001", "{result}");
        alice.opens(&format!("{}/connections", world.public_url)).await;
        alice.takes_a_picture("connections").await;
        alice.leaves().await;
    });
}

#[test]
fn the_user_of_an_application_goes_from_the_agents_error_through_it_and_consent_to_a_call_of_their_own() {
    run(async {
        let (world, shop) = Application::with_world().await;
        let (provider, name) = (Arc::new(Provider::start().await), unique("shop"));
        provider.decide(Decision::Ask);
        provider.approve_as("carol");
        world.broker.apply(&[shop.identity(&name)]).await.ok();
        let users = format!("external-identity:{name}");
        let server = world.server().auth(Auth::authorization_code(&provider)).subjects(&[&users]).register().await;
        server.upstream.guarded_by(&provider);
        let jwt = shop.sign_in(&Browser::of("carol")).await;
        let carol = Chromium::person().await;
        carol.opens(server.consent_link(&jwt).await.as_str()).await;
        carol.presses("Sign in").await;
        carol.presses("Sign in at 127.0.0.1").await;
        carol.types("Name", "carol").await;
        carol.presses("Sign in").await;
        carol.sees("You are carol here.").await;
        carol.presses("Yes, sign me in").await;
        carol.sees(&format!("An agent wants to use {} on your behalf.", server.name)).await;
        carol.presses("Connect").await;
        carol.presses("Approve").await;
        carol.sees("Return to your agent and let it try again.").await;
        assert!(carol.looks().await.ran.is_empty());
        assert_eq!(server.call_as(&jwt).send().await.result()["holder"], "carol");
        carol.leaves().await;
    });
}

#[test]
fn o2_a_second_person_who_signs_in_behind_the_link_stores_nothing_and_is_recorded() {
    run(async {
        let (world, _real, server) = notes().await;
        let link = world.consent_link(&Browser::of("alice"), &server).await;
        let bob = Chromium::person().await;
        bob.opens(link.as_str()).await;
        bob.presses("Sign in").await;
        signs_in(&bob, &world, "bob").await;
        bob.sees("This was not made for you, and nothing was stored.").await;
        for login in ["alice", "bob"] {
            world.consent_link(&Browser::of(login), &server).await;
        }
        let records = audit_records(&world.broker.admin).await;
        let refused = records.iter().find(|record| record["event"] == "consent.refused").expect("a record");
        assert_eq!((&refused["reason"], &refused["server"]), (&"wrong_person".into(), &"demo/notes".into()));
        bob.leaves().await;
    });
}

#[test]
fn o7_cookies_of_a_signed_in_browser_are_for_this_origin_alone_and_gone_after_sign_out() {
    run(async {
        let world = World::build().sign_in().start().await;
        let connections = format!("{}/connections", world.public_url);
        let alice = Chromium::person().await;
        let ours = async |person: &Person| {
            let cookies = person.cookies().await;
            cookies.into_iter().filter(|cookie| cookie.name.contains("sallyport")).collect::<Vec<_>>()
        };
        alice.opens(&connections).await;
        assert!(ours(&alice).await.is_empty());
        signs_in(&alice, &world, "alice").await;
        alice.is_at(&connections).await;
        let cookies = ours(&alice).await;
        assert_eq!(cookies.len(), 1, "{cookies:?}");
        for cookie in &cookies {
            assert!(cookie.name.starts_with("__Host-") && cookie.path == "/", "{cookie:?}");
            assert!(cookie.http_only && cookie.secure && cookie.same_site == "Lax", "{cookie:?}");
        }
        alice.sees("alice@example.com").await;
        alice.presses("Sign out").await;
        alice.is_at(&format!("{}/signin?to=connections", world.public_url)).await;
        assert!(ours(&alice).await.is_empty());
        alice.opens(&connections).await;
        alice.is_at(&format!("{}/signin", world.public_url)).await;
        alice.leaves().await;
    });
}
