//! Grants that are over: by the provider's word, or by their holder's.

use e2e::{
    audit_records, eventually_within,
    provider::{Endpoint, Fault, Revoked},
    run,
};
use futures::future::join_all;

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

/// Alice is called for, until somebody ends her grant: after two seconds no worker of the proxy has her token any more,
/// and the provider knows.
async fn o13(end: impl AsyncFnOnce(&World)) {
    let world = World::build().concurrency(2).start().await;
    let (provider, server) = connected(&world, "custom", LONG).await;
    let call = server.call_as(&world.issuer.token("alice", &server).mint());
    let twenty = async || join_all((0..20).map(|_| call.send())).await;
    for reply in twenty().await {
        assert_eq!(reply.result()["holder"], "alice", "{reply}");
    }
    end(&world).await;
    eventually_within(Duration::from_secs(2), "no worker serves", async || {
        twenty().await.iter().all(|reply| reply.json().get("error").is_some()).then_some(())
    })
    .await;
    server.upstream.forget();
    for reply in twenty().await {
        world.link_in(&reply);
    }
    server.upstream.assert_untouched("a grant that has ended");
    let family = provider.family_of("alice").expect("she has consented");
    assert_eq!(family.revoked, Some(Revoked::Client));
    assert_eq!((refreshes(&provider), provider.live_access_tokens().len()), (0, 0));
}

#[test]
fn o13_who_disconnects_is_called_for_no_more_within_two_seconds_and_the_provider_is_told() {
    run(o13(async |world| {
        let alice = Browser::of("alice");
        world.sign_in(&alice).await;
        let connections = format!("{}/connections", world.public_url).parse().expect("a URL");
        let done = alice.press(&alice.get(&connections).await, "Disconnect").await;
        assert!(done.status == 200 && done.text.contains("was told"), "{done:?}");
    }));
}

#[test]
fn o13_whose_grants_the_operator_revokes_is_called_for_no_more_within_two_seconds_and_the_provider_is_told() {
    run(o13(async |world| {
        let said = world.broker.command(&["grants", "revoke", "--all-of", "alice@example.com"]).await.ok();
        assert!(said.starts_with("revoked "), "{said}");
    }));
}

#[test]
fn o13_a_proxy_that_was_away_while_a_grant_ended_and_the_broker_restarted_uses_it_no_more_within_two_seconds() {
    run(async {
        let mut world = World::build().concurrency(2).start().await;
        let (provider, server) = connected(&world, "custom", LONG).await;
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        let twenty = async || join_all((0..20).map(|_| call.send())).await;
        for reply in twenty().await {
            assert_eq!(reply.result()["holder"], "alice", "{reply}");
        }
        // The token lives on there: only who holds it can let go of it.
        provider.fail(Endpoint::Revoke, Fault::status(500));
        world.envoy.child().freeze();
        world.broker.command(&["grants", "revoke", "--all-of", "alice@example.com"]).await.ok();
        world.broker.kill();
        world.broker.start().await;
        world.envoy.child().thaw();
        eventually_within(Duration::from_secs(2), "no worker serves", async || {
            twenty().await.iter().all(|reply| reply.json().get("error").is_some()).then_some(())
        })
        .await;
        server.upstream.forget();
        for reply in twenty().await {
            world.link_in(&reply);
        }
        server.upstream.assert_untouched("a grant that has ended");
        assert_eq!(provider.live_access_tokens().len(), 1);
    });
}
