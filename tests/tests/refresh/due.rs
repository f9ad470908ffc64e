//! When a token is renewed although nobody has refused it.

use e2e::{
    Answer,
    provider::{Endpoint, Fault},
    run,
};

use super::*;

#[test]
fn l2_a_token_in_use_is_renewed_after_four_fifths_of_its_life_and_every_call_goes_on() {
    run(async {
        let life = Duration::from_secs(5);
        let world = World::shared().await;
        let (provider, server) = connected(world, "custom", life).await;
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        eventually("it is renewed", async || {
            assert_eq!(call.send().await.result()["holder"], "alice");
            (provider.issued().len() == 2).then_some(())
        })
        .await;
        let [first, second] = &provider.token_requests()[..] else { panic!("{:?}", provider.token_requests()) };
        let part = second.at.duration_since(first.at).as_secs_f64() / life.as_secs_f64();
        assert!((0.78..1.0).contains(&part), "after {part} of its life");
    });
}

#[test]
fn l2_a_token_whose_life_is_not_told_is_renewed_when_its_upstream_refuses_it() {
    run(async {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        let server = guarded(world, &provider, "custom").await;
        let untold = Fault::shape(|own| {
            let mut own = own.clone();
            own.as_object_mut().expect("an object").remove("expires_in");
            Answer::json(&own)
        });
        provider.fail_next(Endpoint::Token, 1, &untold);
        consents(world, &provider, &server, LONG).await;
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        call.send().await.result();
        provider.kill_access_tokens("alice");
        assert_eq!(call.send().await.rpc_error().code, -31003);
        assert_eq!(call.send().await.result()["holder"], "alice");
        assert_eq!(refreshes(&provider), 1);
    });
}
