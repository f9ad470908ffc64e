//! Grants that are over: by the provider's word, or by their holder's.

use e2e::{audit_records, eventually_within, provider::Revoked, run};

use super::*;

#[test]
fn invalid_grant_asks_for_consent_with_a_reason_and_consent_makes_it_good() {
    run(async {
        let world = World::start().await;
        let (provider, server) = connected(&world, "custom", BRIEF).await;
        provider.withdraw("alice");
        expired(&provider).await;
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        let link = world.link_in(&call.send().await);
        assert_eq!(world.link_in(&call.send().await), link);
        assert_eq!(refreshes(&provider), 1, "the provider's word is taken once");
        let records = audit_records(&world.broker.admin).await;
        let failed = records.iter().find(|record| record["event"] == "refresh.failed").expect("a record");
        assert!(failed.to_string().contains("invalid_grant"), "{failed}");
        world.consent(&Browser::of("alice"), &server).await;
        assert_eq!(call.send().await.result()["holder"], "alice");
    });
}

/// Ends alice's only grant at the page of her connections.
async fn disconnects(world: &World) {
    let alice = Browser::of("alice");
    world.sign_in(&alice).await;
    let connections = format!("{}/connections", world.public_url).parse().expect("a URL");
    let done = alice.press(&alice.get(&connections).await, "Disconnect").await;
    assert!(done.status == 200 && done.text.contains("was told"), "{done:?}");
}

#[test]
fn o13_who_disconnects_is_called_for_no_more_within_two_seconds_and_the_provider_is_told() {
    run(async {
        let world = World::build().concurrency(2).start().await;
        let (provider, server) = connected(&world, "custom", LONG).await;
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        for _ in 0..20 {
            call.send().await.result();
        }
        disconnects(&world).await;
        eventually_within(Duration::from_secs(2), "no call is served", async || {
            call.send().await.json().get("error").is_some().then_some(())
        })
        .await;
        // Every worker, not only the one that answered first.
        eventually_within(Duration::from_secs(2), "no worker serves", async || {
            let replies = futures::future::join_all((0..20).map(|_| call.send())).await;
            replies.iter().all(|reply| reply.json().get("error").is_some()).then_some(())
        })
        .await;
        server.upstream.forget();
        for _ in 0..20 {
            world.link_in(&call.send().await);
        }
        server.upstream.assert_untouched("a grant that its holder has ended");
        let family = provider.family_of("alice").unwrap();
        assert_eq!(family.revoked, Some(Revoked::Client));
        assert_eq!((refreshes(&provider), provider.live_access_tokens().len()), (0, 0));
    });
}
