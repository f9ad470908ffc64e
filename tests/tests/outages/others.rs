//! What the broker needs fails: the provider, the store, the identity provider.

use std::{sync::Arc, time::Duration};

use e2e::{
    Auth, Provider, World, eventually, eventually_within,
    provider::{Endpoint, Fault, Moment},
    run,
};

use super::unavailable;

#[test]
fn provider_failures_are_told_in_time_and_leave_no_mark() {
    run(async {
        let world = World::start().await;
        let provider = Arc::new(Provider::start().await);
        for failure in [
            Fault::status(500),
            Fault::status(404),
            Fault::busy(429, 1),
            Fault::busy(503, 1),
            Fault::Hang(Moment::BeforeProcess),
        ] {
            let server = world.server().auth(Auth::client_credentials(&provider)).register().await;
            let token = world.issuer.token("alice", &server).mint();
            provider.fail(Endpoint::Token, failure.clone());
            unavailable(&format!("{failure:?}"), &server.call_as(&token)).await;
            server.upstream.assert_untouched("a server without credential");
            provider.heal();
            eventually_within(Duration::from_secs(30), "served once the provider is well", async || {
                let reply = server.call_as(&token).send().await;
                reply.json().get("result").is_some().then_some(())
            })
            .await;
        }
    });
}

#[test]
fn a_provider_that_fails_at_renewal_leaves_the_old_token_in_use() {
    run(async {
        let world = World::start().await;
        let provider = Arc::new(Provider::start().await);
        provider.access_token_life(Duration::from_secs(6));
        let server = world.server().auth(Auth::client_credentials(&provider)).register().await;
        let token = world.issuer.token("alice", &server).mint();
        server.accepts_token("before", &token).await;
        provider.fail(Endpoint::Token, Fault::status(500));
        eventually("a renewal was tried", async || {
            server.accepts_token("while the old token lives", &token).await;
            (provider.token_requests().len() > 1).then_some(())
        })
        .await;
        server.accepts_token("after a failed renewal", &token).await;
        let reply = eventually("the old token has expired", async || {
            let reply = server.call_as(&token).send().await;
            reply.json().get("result").is_none().then_some(reply)
        })
        .await;
        assert_eq!(reply.rpc_error().code, -31004, "{reply}");
        assert!(provider.token_requests().len() < 20, "{} token requests", provider.token_requests().len());
    });
}

#[test]
fn a1_i7_what_cannot_be_audited_is_not_released() {
    run(async {
        let world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let cached = world.issuer.token("alice", &server).mint();
        server.accepts_token("before", &cached).await;
        server.upstream.forget();
        let no_writes = world.broker.database().await.no_writes().await;
        for user in 0..3 {
            let token = world.issuer.token(&format!("user-{user}"), &server).mint();
            unavailable("the audit cannot be written", &server.call_as(&token)).await;
        }
        server.upstream.assert_untouched("a release that was not recorded");
        server.accepts_token("released before", &cached).await;
        no_writes.release().await;
        let token = world.issuer.token("bob", &server).mint();
        eventually("served once the store is free", async || {
            server.call_as(&token).send().await.json().get("result").is_some().then_some(())
        })
        .await;
    });
}

#[test]
fn identity_provider_gone_known_keys_and_callers_go_on() {
    run(async {
        let mut world = World::start().await;
        let server = world.open_server().await;
        let alice = world.issuer.token("alice", &server).mint();
        let bob = world.issuer.token("bob", &server).mint();
        world.issuer.shut();
        server.accepts_token("known key", &alice).await;
        server.accepts_token("known key, new caller", &bob).await;
        let unknown = world.issuer.token("mallory", &server).header("kid", "unknown").mint();
        server.upstream.forget();
        // Nobody can say whether there is such a key: the token is refused, as one whose key there is not.
        server.refuses_token("unknown key", &unknown).await;
        server.upstream.assert_untouched("a token that nobody could verify");
    });
}
