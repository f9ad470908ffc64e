//! Providers like GitHub: a refresh ends the old access token at once.

use std::time::Instant;

use e2e::{
    Call,
    provider::{Endpoint, Fault, Moment},
    run,
};
use futures::future::join_all;
use serde_json::Value;

use super::*;

/// Id of the one grant that serves this server.
async fn grant_of(world: &World, server: &Server) -> String {
    let list = world.broker.command(&["grants", "list", "--server", &server.name, "--json"]).await.ok();
    let list: Value = serde_json::from_str(&list).expect("a list");
    list[0]["id"].as_str().unwrap_or_else(|| panic!("{list}")).to_owned()
}

/// Calls without a pause until there is another token and a while longer; every one must be answered by the upstream.
async fn calls_on(call: &Call, provider: &Provider) -> usize {
    let (mut calls, mut renewed) = (0, None::<Instant>);
    while renewed.is_none_or(|renewed| renewed.elapsed() < BRIEF) {
        let reply = call.send().await;
        assert_eq!(reply.result()["holder"], "alice", "call {calls}: {reply}");
        calls += 1;
        if renewed.is_none() && provider.issued().len() > 1 {
            renewed = Some(Instant::now());
        }
    }
    calls
}

#[test]
fn no_call_is_refused_while_a_refresh_kills_the_old_token() {
    run(async {
        let world = World::build().concurrency(2).start().await;
        let (provider, server) = connected(&world, "github", Duration::from_secs(4)).await;
        provider.refresh_kills_access_token(true);
        // Long enough for every call with the old token to be over, and for calls to come in the midst of it.
        provider.fail(Endpoint::Token, Fault::Delay(Moment::BeforeProcess, Duration::from_millis(500)));
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        let calls = join_all((0..8).map(|_| calls_on(&call, &provider))).await;
        assert!(calls.iter().all(|calls| *calls > 10), "{calls:?}");
        assert_eq!((refreshes(&provider), provider.issued().len()), (1, 2));
        assert!(!provider.is_live(&provider.issued()[0]), "the old one was killed");
    });
}

#[test]
fn a_token_that_a_refresh_has_killed_unseen_is_used_by_nobody() {
    run(async {
        let world = World::shared().await;
        let (provider, server) = connected(world, "github", LONG).await;
        provider.refresh_kills_access_token(true);
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        call.send().await.result();
        provider.fail_next(Endpoint::Token, 1, &Fault::Cut(Moment::AfterProcessBeforeReply));
        let id = grant_of(world, &server).await;
        let refused = world.broker.command(&["grants", "refresh", &id, "--force"]).await;
        assert!(!refused.success && refreshes(&provider) == 1, "{}", refused.stderr);
        server.upstream.forget();
        let told = eventually("its end is told", async || {
            let reply = call.send().await;
            (reply.rpc_error().code != -31004).then_some(reply)
        })
        .await;
        world.link_in(&told);
        server.upstream.assert_untouched("a token that is dead, while it has not expired");
        assert_eq!(refreshes(&provider), 2, "one more request finds out");
    });
}
