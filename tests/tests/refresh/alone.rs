//! A provider that rotates, and forgets to give an access token with the new refresh token.

use e2e::{
    Answer, eventually_within,
    provider::{Endpoint, Fault, Rotation},
    run,
};

use super::*;

#[test]
fn i5_a_refresh_token_that_comes_alone_is_used_next_and_every_call_goes_on() {
    run(async {
        let world = World::shared().await;
        let (provider, server) = connected(world, "custom", Duration::from_secs(20)).await;
        provider.rotation(Rotation::FamilyRevoke);
        let alone = Fault::shape(|own| {
            let mut own = own.clone();
            own.as_object_mut().expect("an object").remove("access_token");
            Answer::json(&own)
        });
        provider.fail_next(Endpoint::Token, 1, &alone);
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        let renewed = eventually_within(Duration::from_secs(30), "it is renewed", async || {
            let reply = call.send().await;
            assert_eq!(reply.result()["holder"], "alice", "{reply}");
            (reply.called_as() != [format!("Bearer {}", provider.issued()[0])]).then_some(reply)
        })
        .await;
        assert_eq!(renewed.called_as(), [format!("Bearer {}", provider.issued()[2])]);
        let tokens = provider.family_of("alice").expect("she has consented").refresh_tokens;
        let uses: Vec<_> = tokens.iter().map(|token| provider.uses_of(token)).collect();
        assert_eq!((uses, provider.was_family_revoked()), (vec![1, 1, 0], false));
    });
}
