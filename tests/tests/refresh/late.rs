//! A store that is away when the provider has answered, and a broker that is stopped just then (threats L4, L6).

use std::time::Instant;

use e2e::{
    Reply, eventually_within,
    provider::{Endpoint, Fault, Moment, Rotation},
    run,
};

use super::*;

/// How long the store takes nothing.
const AWAY: Duration = Duration::from_secs(30);
/// How long the broker is stopped: longer than it would wait for the provider.
const STOPPED: Duration = Duration::from_secs(12);

/// Alice's token is over; for the next one the provider acts, and answers a second later.
async fn answers_late(world: &World, rotation: Rotation) -> (Arc<Provider>, Server) {
    let (provider, server) = connected(world, "custom", BRIEF).await;
    provider.rotation(rotation);
    expired(&provider).await;
    let late = Fault::Delay(Moment::AfterProcessBeforeReply, Duration::from_secs(1));
    provider.fail_next(Endpoint::Token, 1, &late);
    (provider, server)
}

async fn acted(provider: &Provider) {
    eventually("the provider has acted", async || (provider.issued().len() == 2).then_some(())).await;
}

/// Until then nobody is served, nor asked for consent.
async fn nobody_is_served_for(time: Duration, ask: impl AsyncFn() -> Reply) {
    let since = Instant::now();
    while since.elapsed() < time {
        let told = ask().await;
        assert_eq!(told.rpc_error().code, -31004, "{told}");
    }
}

#[test]
fn i5_l6_a_pair_that_the_store_does_not_take_for_thirty_seconds_is_stored_when_it_is_back() {
    run(async {
        let world = World::start().await;
        let (provider, server) = answers_late(&world, Rotation::FamilyRevoke).await;
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        let database = world.broker.database().await;
        let away = async {
            acted(&provider).await;
            let away = database.no_writes().await;
            nobody_is_served_for(AWAY, async || call.send().await).await;
            away.release().await;
        };
        let (told, ()) = tokio::join!(call.send(), away);
        assert_eq!(told.rpc_error().code, -31004, "{told}");
        let reply = eventually("it is stored", async || {
            let reply = call.send().await;
            reply.json().get("result").is_some().then_some(reply)
        })
        .await;
        assert_eq!(reply.called_as(), [format!("Bearer {}", provider.issued()[1])]);
        assert_eq!((refreshes(&provider), provider.was_family_revoked()), (1, false));
    });
}

#[test]
fn l4_a_broker_that_was_stopped_while_the_provider_answered_asks_twice_at_most_and_loses_no_grant_within_grace() {
    run(async {
        let world = World::start().await;
        let (provider, server) = answers_late(&world, Rotation::Grace(Duration::from_secs(60))).await;
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        let stopped = async {
            acted(&provider).await;
            world.broker.child().freeze();
            nobody_is_served_for(STOPPED, async || call.send().await).await;
            world.broker.child().thaw();
        };
        let (told, ()) = tokio::join!(call.send(), stopped);
        assert_eq!(told.rpc_error().code, -31004, "{told}");
        let reply = eventually_within(STOPPED * 4, "it serves again", async || {
            let reply = call.send().await;
            reply.json().get("result").is_some().then_some(reply)
        })
        .await;
        let newest = provider.issued().last().cloned().expect("it gave some");
        assert_eq!(reply.called_as(), [format!("Bearer {newest}")]);
        assert!(refreshes(&provider) <= 2 && !provider.was_family_revoked());
    });
}
