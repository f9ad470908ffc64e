//! What people, their browsers and providers exchange with the gate, searched for wherever something is written down.

use std::{sync::Arc, time::Duration};

use e2e::{
    Answer, Auth, Browser, Canary, Levels, Provider, Server, World, eventually, eventually_within,
    provider::{Endpoint, Fault, Moment},
    run,
};
use url::Url;

use crate::canaries::nowhere;

pub(crate) type Said = Vec<(String, Vec<u8>)>;

/// Where the provider last sent a browser.
fn last_callback(provider: &Provider) -> Url {
    let (codes, authorizations) = (provider.codes(), provider.authorizations());
    let (code, asked) = (codes.last().expect("a code"), authorizations.last().expect("a question"));
    let (redirect_uri, state) = (asked.get("redirect_uri").expect("one"), asked.get("state").expect("one"));
    let answer = [("code", code.as_str()), ("state", state), ("iss", &provider.issuer)];
    Url::parse_with_params(redirect_uri, answer).expect("a URL")
}

/// Alice consents, and everybody tries what they should not: what is shown to them is added to `said`, what was
/// theirs alone is answered.
async fn consent(world: &World, provider: &Provider, server: &Server, said: &mut Said) -> Vec<Canary> {
    let (alice, bob, nobody) = (Browser::of("alice"), Browser::of("bob"), Browser::of("nobody"));
    let (hers, _his) = (world.consent_link(&alice, server).await, world.consent_link(&bob, server).await);
    let used = [world.sign_in(&alice).await, world.sign_in(&bob).await];
    provider.fail_next(Endpoint::Token, 1, &Fault::refusal(400, "invalid_grant"));
    let failed = world.connect(&alice, &hers).await;
    let again = alice.go_on(alice.press(&alice.get(&hers).await, "Start again").await).await;
    let callback = last_callback(provider);
    let mut pages = vec![failed, again, nobody.get(&used[0]).await, nobody.post(&used[0], &[]).await];
    for person in [&alice, &bob, &nobody] {
        pages.extend([person.get(&callback).await, person.get(&hers).await]);
    }
    for (parameter, other) in [("state", "x"), ("iss", "http://127.0.0.1:1"), ("error", "access_denied")] {
        let mut bent = callback.clone();
        bent.query_pairs_mut().append_pair(parameter, other);
        pages.push(alice.get(&bent).await);
    }
    said.extend(pages.into_iter().map(|page| (page.url.path().to_owned(), page.text.into_bytes())));
    let secret = |link: &Url| link.path_segments().and_then(Iterator::last).unwrap_or_default().to_owned();
    let cookies = [&alice, &bob].into_iter().flat_map(|person| person.cookies(&callback));
    let links = used.iter().map(|link| Canary::new("a one-time link", secret(link)));
    cookies.map(|cookie| Canary::new("a session cookie", cookie)).chain(links).collect()
}

/// What the provider gave to the gate, and was given by it.
pub(crate) fn exchanged(provider: &Provider) -> Vec<Canary> {
    let mut canaries = vec![Canary::new("the client secret", &provider.client_secret)];
    canaries.extend(provider.codes().into_iter().map(|code| Canary::new("a code", code)));
    for family in provider.families() {
        canaries.extend(family.access_tokens.into_iter().map(|token| Canary::new("an access token", token)));
        canaries.extend(family.refresh_tokens.into_iter().map(|token| Canary::new("a refresh token", token)));
    }
    for request in provider.token_requests_by("authorization_code") {
        canaries.push(Canary::new("a verifier", request.form.get("code_verifier").expect("PKCE")));
    }
    for asked in provider.authorizations() {
        // The first half is the consent's id, which is no secret.
        let (_, secret) = asked.get("state").and_then(|state| state.split_once('.')).expect("two halves");
        canaries.push(Canary::new("a state", secret));
    }
    canaries
}

/// There is something of each kind that cannot be found by chance.
pub(crate) fn planted(canaries: &[Canary], kinds: &[&str]) {
    for what in kinds {
        let is_one = |canary: &Canary| canary.what == *what && canary.value.len() > 20;
        assert!(canaries.iter().any(is_one), "no {what}: {canaries:?}");
    }
}

#[test]
fn v1_h18_nothing_that_people_and_providers_exchange_with_the_gate_is_found_anywhere() {
    run(async {
        let mut world = World::build().trace(Levels::TraceButPinned).start().await;
        let provider = Arc::new(Provider::start().await);
        provider.access_token_life(Duration::from_secs(3));
        let server = world.server().auth(Auth::authorization_code(&provider)).register().await;
        let mut said = Said::new();
        let mut canaries = consent(&world, &provider, &server, &mut said).await;
        let token = world.issuer.token("alice", &server).mint();
        eventually("her token is renewed", async || {
            server.accepts_token("hers", &token).await;
            (provider.token_requests_by("refresh_token").len() == 1).then_some(())
        })
        .await;
        provider.fail(Endpoint::Token, Fault::refusal(400, "invalid_grant"));
        eventually("her grant has ended", async || {
            let reply = server.call_as(&token).send().await;
            // Any other is the upstream's, which tells whom it was called as.
            reply.json().get("error")?;
            said.push(("an answer".to_owned(), reply.to_string().into_bytes()));
            Some(())
        })
        .await;
        canaries.extend(exchanged(&provider));
        for what in ["a session cookie", "a one-time link", "a code", "an access token", "a refresh token", "a state"] {
            assert!(canaries.iter().filter(|canary| canary.what == what).count() >= 2, "{what} was not planted");
        }
        nowhere(&mut world, said, &canaries).await;
    });
}

/// Tokens of this account, as the provider answers with them.
fn of_account(name: &'static str) -> Fault {
    Fault::shape(move |own| {
        let mut own = own.clone();
        own["workspace_id"] = name.into();
        Answer::json(&own)
    })
}

#[test]
fn v1_h18_nothing_that_a_choice_between_accounts_needs_is_found_anywhere() {
    run(async {
        let mut world = World::build().trace(Levels::TraceButPinned).start().await;
        let provider = Arc::new(Provider::start().await);
        let server = world.server().auth(Auth::authorization_code(&provider));
        let server = server.manifest(|server| server["auth_data"]["provider"] = "notion".into()).register().await;
        let (alice, nobody) = (Browser::of("alice"), Browser::of("nobody"));
        let (mut said, mut canaries) = (Said::new(), Vec::new());
        for (button, accounts) in [
            ("Keep the account that is connected", ["one", "two"]),
            ("Use the other account from now on", ["one", "two"]),
        ] {
            provider.fail_next(Endpoint::Token, 1, &of_account(accounts[0]));
            provider.access_token_life(Duration::from_secs(1));
            assert!(world.consent(&alice, &server).await.text.contains("is connected"));
            provider.withdraw("alice");
            let token = world.token_of(&alice, &server);
            let link = eventually("her grant has ended", async || {
                let reply = server.call_as(&token).send().await;
                let is_over = reply.to_string().contains("/connect/");
                is_over.then(|| world.link_in(&reply))
            })
            .await;
            provider.fail_next(Endpoint::Token, 1, &of_account(accounts[1]));
            let choice = world.connect(&alice, &link).await;
            let hidden = choice.hidden(button).swap_remove(0);
            assert!(choice.text.contains("<code>two</code>") && hidden.len() > 20, "{choice:?}");
            canaries.push(Canary::new("the token of a choice between accounts", hidden));
            canaries.extend(alice.cookies(&link).into_iter().map(|cookie| Canary::new("a session cookie", cookie)));
            // While it is held, too.
            exchanged(&provider).iter().for_each(|canary| canary.assert_absent_below(world.dir()));
            let pages = vec![nobody.get(&choice.url).await, nobody.press(&choice, button).await];
            // Her own pages have it, as every form of hers does.
            alice.go_on(alice.press(&choice, button).await).await;
            said.extend(pages.into_iter().map(|page| (page.url.path().to_owned(), page.text.into_bytes())));
        }
        canaries.extend(exchanged(&provider));
        planted(&canaries, &["the token of a choice between accounts", "an access token", "a refresh token"]);
        nowhere(&mut world, said, &canaries).await;
    });
}

#[test]
fn i5_v1_a_pair_that_the_store_does_not_take_waits_in_the_spool_sealed_and_is_not_lost() {
    run(async {
        let world = World::start().await;
        let provider = Arc::new(Provider::start().await);
        provider.access_token_life(Duration::from_secs(4));
        let server = world.server().auth(Auth::authorization_code(&provider)).register().await;
        world.consent(&Browser::of("alice"), &server).await;
        provider.access_token_life(Duration::from_secs(3600));
        provider.fail_next(Endpoint::Token, 1, &Fault::Delay(Moment::AfterProcessBeforeReply, Duration::from_secs(2)));
        let token = world.issuer.token("alice", &server).mint();
        eventually("the provider has a new pair for her", async || {
            server.accepts_token("meanwhile", &token).await;
            (provider.families()[0].access_tokens.len() == 2).then_some(())
        })
        .await;
        let no_writes = world.broker.database().await.no_writes().await;
        let spool = world.broker.data.join("spool");
        let waiting = || std::fs::read_dir(&spool).expect("a directory").count();
        eventually("it is in the spool", async || (waiting() == 1).then_some(())).await;
        exchanged(&provider).iter().for_each(|canary| canary.assert_absent_below(&spool));
        no_writes.release().await;
        let soon = Duration::from_secs(60);
        eventually_within(soon, "it is in the store", async || (waiting() == 0).then_some(())).await;
        let newest = format!("Bearer {}", provider.families()[0].access_tokens[1]);
        assert_eq!(server.call_as(&token).send().await.called_as(), [newest]);
        assert_eq!(provider.token_requests_by("refresh_token").len(), 1, "nothing had to be asked again");
    });
}
