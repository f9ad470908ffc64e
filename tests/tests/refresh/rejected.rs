//! An upstream that refuses a token which the gate takes for good.

use e2e::{Answer, run};

use super::*;

#[test]
fn a_token_that_died_early_is_renewed_once_and_the_next_call_succeeds() {
    run(async {
        let world = World::shared().await;
        let (provider, server) = connected(world, "custom", LONG).await;
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        call.send().await.result();
        provider.kill_access_tokens("alice");
        let reply = call.send().await;
        assert_eq!((reply.status, reply.rpc_error().code), (200, -31003), "{reply}");
        assert_eq!(call.send().await.result()["holder"], "alice");
        assert_eq!(refreshes(&provider), 1);
    });
}

#[test]
fn an_upstream_that_refuses_everything_makes_no_loop() {
    run(async {
        let world = World::shared().await;
        let (provider, server) = connected(world, "custom", LONG).await;
        let token = world.issuer.token("alice", &server).mint();
        server.upstream.answer(|_| Answer::status(401).header("www-authenticate", "Bearer error=\"invalid_token\""));
        for call in 0..50 {
            let reply = server.call_as(&token).send().await;
            let code = reply.rpc_error().code;
            assert!(reply.status == 200 && matches!((call, code), (0, -31003) | (1.., -31005)), "call {call}: {reply}");
        }
        assert_eq!(refreshes(&provider), 1, "one in a minute");
        assert!(server.upstream.requests().len() <= 50, "no call is sent twice");
    });
}

#[test]
fn a_refused_token_whose_grant_is_over_leads_to_consent_in_the_same_answer() {
    run(async {
        let world = World::shared().await;
        let (provider, server) = connected(world, "custom", LONG).await;
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        call.send().await.result();
        provider.withdraw("alice");
        let link = world.link_in(&call.send().await);
        for _ in 0..10 {
            assert_eq!(world.link_in(&call.send().await), link);
        }
        assert_eq!(refreshes(&provider), 1);
    });
}
