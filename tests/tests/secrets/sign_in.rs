//! What browsers, the identity provider and applications exchange with the gate to sign somebody in, searched for wherever
//! something is written down.

use std::{path::PathBuf, sync::Arc};

use e2e::{Application, Auth, Browser, Canary, Levels, Provider, Server, World, run, unique};

use crate::canaries::nowhere;
use crate::people::{Said, exchanged, planted};

/// A file that no world keeps anything in, gone when it is dropped.
struct Outside(PathBuf);

impl Outside {
    fn new() -> Self {
        Self(std::env::temp_dir().join(unique("sallyport-e2e-outside")))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // Best effort: what is left over is in the temporary directory.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Alice signs in at the identity provider, and consents; answers what was hers, the gate's or its issuer's alone.
async fn signs_in_and_consents(world: &World, server: &Server) -> Vec<Canary> {
    let (alice, idp) = (Browser::of("alice"), world.idp.as_ref().expect("people can sign in"));
    let link = world.consent_link(&alice, server).await;
    let ways = alice.get(&alice.get(&link).await.link("Sign in").expect("a way to sign in")).await;
    let button = format!("Sign in at {}", idp.issuer.trim_start_matches("http://"));
    let there = alice.press(&ways, &button).await.location().expect("a way to the issuer");
    let mut canaries: Vec<_> =
        alice.cookies(&link).into_iter().map(|cookie| Canary::new("the cookie of a sign-in", cookie)).collect();
    let back = idp.consent(&alice, &there, "alice").await;
    let consenting = alice.go_on(alice.get(&back).await).await;
    assert!(consenting.text.contains("You are signed in as <strong>alice@example.com</strong>."), "{consenting:?}");
    let hidden = consenting.hidden("Connect").swap_remove(0);
    canaries.push(Canary::new("a form's token", hidden));
    canaries.extend(alice.cookies(&link).into_iter().map(|cookie| Canary::new("a session cookie", cookie)));
    let connected = alice.go_on(alice.press(&consenting, "Connect").await).await;
    assert!(connected.text.contains("Return to your agent"), "{connected:?}");
    for (name, what) in [("state", "a sign-in's state"), ("nonce", "a sign-in's nonce")] {
        let value = there.query_pairs().find(|(key, _)| key == name).expect("it is sent").1.into_owned();
        canaries.push(Canary::new(what, value.rsplit('.').next().unwrap_or_default()));
    }
    for exchange in idp.exchanges().await {
        for (name, what) in [("code", "a code"), ("code_verifier", "a verifier"), ("id_token", "an ID token")] {
            let value = exchange[name].as_str().expect("each exchange has it");
            canaries.push(Canary::new(what, value.rsplit('.').next().unwrap_or_default()));
        }
    }
    canaries
}

#[test]
fn v1_h18_nothing_that_a_sign_in_exchanges_with_the_gate_is_found_anywhere() {
    run(async {
        let secret = Outside::new();
        let world = World::build().sign_in_with_secret_in(secret.0.clone()).trace(Levels::TraceButPinned);
        let mut world = world.start().await;
        let provider = Arc::new(Provider::start().await);
        let server = world.server().auth(Auth::authorization_code(&provider)).register().await;
        let mut canaries = signs_in_and_consents(&world, &server).await;
        let secret = std::fs::read_to_string(&secret.0).expect("the broker was given it");
        canaries.push(Canary::new("the secret of the client for sign-in", secret));
        let every = [
            "the secret of the client for sign-in",
            "the cookie of a sign-in",
            "a session cookie",
            "a sign-in's state",
            "a sign-in's nonce",
            "a code",
            "a verifier",
            "an ID token",
            "a form's token",
        ];
        planted(&canaries, &every);
        canaries.extend(exchanged(&provider));
        nowhere(&mut world, Said::new(), &canaries).await;
    });
}

/// Carol signs in through the application whose user she is, and others try what was hers; what is shown is added to `said`, what
/// was hers, the gate's or the application's alone is answered.
async fn signs_in_through(shop: &Application, world: &World, server: &Server, said: &mut Said) -> Vec<Canary> {
    let (carol, nobody) = (Browser::of("carol"), Browser::of("nobody"));
    let jwt = shop.sign_in(&carol).await;
    let link = server.consent_link(&jwt).await;
    let asking = carol.to_application(world, link.as_str()).await;
    let mut canaries: Vec<_> =
        carol.cookies(&link).into_iter().map(|cookie| Canary::new("the cookie of a sign-in", cookie)).collect();
    let back = carol.press(&asking, "Yes, sign me in").await.location().expect("a way back to the gate");
    let code = back.query_pairs().find(|(name, _)| name == "code").expect("a code of the application").1.into_owned();
    canaries.push(Canary::new("the application's return code", code));
    canaries.push(Canary::new("the token of a user", jwt.rsplit('.').next().unwrap_or_default()));
    let mut bent = back.clone();
    bent.query_pairs_mut().append_pair("code", "x");
    let mut pages = vec![nobody.get(&back).await, carol.get(&bent).await];
    let consenting = carol.go_on(carol.get(&back).await).await;
    canaries.push(Canary::new("a form's token", consenting.hidden("Connect").swap_remove(0)));
    canaries.extend(carol.cookies(&link).into_iter().map(|cookie| Canary::new("a session cookie", cookie)));
    let connected = carol.go_on(carol.press(&consenting, "Connect").await).await;
    assert!(connected.text.contains("Return to your agent"), "{connected:?}");
    pages.extend([carol.get(&back).await, nobody.get(&back).await]);
    said.extend(pages.into_iter().map(|page| (page.url.path().to_owned(), page.text.into_bytes())));
    server.accepts_token("hers", &jwt).await;
    canaries
}

#[test]
fn v1_h18_nothing_that_an_application_and_the_gate_exchange_is_found_anywhere() {
    run(async {
        let (mut world, shop) = Application::with(World::build().trace(Levels::TraceButPinned)).await;
        let (provider, name) = (Arc::new(Provider::start().await), unique("shop"));
        world.broker.apply(&[shop.identity(&name)]).await.ok();
        let users = format!("external-identity:{name}");
        let server = world.server().auth(Auth::authorization_code(&provider)).subjects(&[&users]).register().await;
        let mut said = Said::new();
        let mut canaries = signs_in_through(&shop, &world, &server, &mut said).await;
        planted(&canaries, &["the application's return code", "the cookie of a sign-in", "a session cookie"]);
        canaries.extend(exchanged(&provider));
        nowhere(&mut world, said, &canaries).await;
    });
}
