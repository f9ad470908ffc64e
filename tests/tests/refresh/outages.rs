//! A provider that fails, or is slow, or is gone.

use std::time::Instant;

use e2e::{
    Reply,
    provider::{Endpoint, Fault, Moment, Rotation},
    run,
};
use futures::future::join_all;

use super::*;

/// Of the token that serves while the provider fails.
const LIFE: Duration = Duration::from_secs(6);
/// How long callers go on when it is over.
const OVER: Duration = Duration::from_secs(2);

/// A way to fail, and the most requests it may cost from when the token is due until [`OVER`].
struct Outage {
    fault: Fault,
    kind: &'static str,
    rotation: Rotation,
    most: usize,
}

impl Outage {
    /// An answer, however bad, says that the refresh token was not used up.
    fn answered(fault: Fault, most: usize) -> Self {
        Self { fault, kind: "custom", rotation: Rotation::FamilyRevoke, most }
    }

    /// No answer says nothing: only where the old refresh token stays valid may the provider be asked on and on.
    fn silent(fault: Fault, most: usize) -> Self {
        Self { fault, kind: "microsoft", rotation: Rotation::OldValid, most }
    }

    async fn is_survived(&self, world: &World, provider: Arc<Provider>, server: Server) {
        provider.rotation(self.rotation);
        consents(world, &provider, &server, LIFE).await;
        provider.fail(Endpoint::Token, self.fault.clone());
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        let issued = provider.token_requests()[0].at;
        while issued.elapsed() < LIFE - Duration::from_millis(500) {
            assert_eq!(call.send().await.result()["holder"], "alice", "{:?}", self.fault);
        }
        expired(&provider).await;
        while issued.elapsed() < LIFE + OVER {
            names_the_provider(&call.send().await, &self.fault);
        }
        let asked = refreshes(&provider);
        assert!((1..=self.most).contains(&asked), "{:?}: asked {asked} times", self.fault);
        provider.heal();
        eventually("it serves again", async || {
            let reply = call.send().await;
            (reply.json().get("result").is_some()).then_some(())
        })
        .await;
        assert_eq!((provider.families().len(), provider.was_family_revoked()), (1, false), "{:?}", self.fault);
    }
}

/// Not the agent's fault, nor the person's: nobody is asked for consent.
fn names_the_provider(reply: &Reply, fault: &Fault) {
    let error = reply.rpc_error();
    assert_eq!((reply.status, error.code), (200, -31004), "{fault:?}: {reply}");
    assert!(reply.to_string().contains("127.0.0.1"), "{fault:?}: {reply}");
}

#[test]
fn l7_a_failing_provider_costs_no_grant_and_the_old_token_serves_until_it_is_over() {
    run(async {
        let outages = [
            Outage::answered(Fault::busy(429, 3), 3),
            Outage::answered(Fault::status(500), 5),
            Outage::answered(Fault::status(503), 5),
            Outage::silent(Fault::Cut(Moment::BeforeProcess), 5),
            Outage::silent(Fault::Hang(Moment::BeforeProcess), 1),
        ];
        // A world of its own, all of it there from the start: what an operator changes has every provider asked at once.
        let world = World::start().await;
        let mut survivals = Vec::new();
        for outage in &outages {
            let provider = Arc::new(Provider::start().await);
            let server = guarded(&world, &provider, outage.kind).await;
            survivals.push(outage.is_survived(&world, provider, server));
        }
        join_all(survivals).await;
    });
}

#[test]
fn l7_a_provider_that_is_gone_is_named_and_nobody_is_asked_for_consent() {
    run(async {
        let world = World::shared().await;
        let (provider, server) = connected(world, "custom", BRIEF).await;
        expired(&provider).await;
        server.upstream.answer(e2e::Answer::echo);
        drop(Arc::into_inner(provider).expect("nobody else holds it"));
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        let start = Instant::now();
        while start.elapsed() < OVER {
            names_the_provider(&call.send().await, &Fault::Cut(Moment::BeforeProcess));
        }
        server.upstream.assert_untouched("a call without a credential");
    });
}

#[test]
fn i5_l9_a_slow_providers_token_is_kept_though_nobody_waits_for_it() {
    run(async {
        let world = World::shared().await;
        let (provider, server) = connected(world, "custom", BRIEF).await;
        expired(&provider).await;
        provider.fail_next(Endpoint::Token, 1, &Fault::Delay(Moment::BeforeProcess, Duration::from_secs(5)));
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        let impatient = tokio::time::timeout(Duration::from_secs(1), call.send()).await;
        assert!(impatient.is_err(), "{impatient:?}");
        assert_eq!(call.send().await.rpc_error().code, -31004, "the filter waits three seconds");
        eventually("the token is there", async || (provider.issued().len() == 2).then_some(())).await;
        let reply = eventually("it is stored", async || {
            let reply = call.send().await;
            (reply.json().get("result").is_some()).then_some(reply)
        })
        .await;
        assert_eq!(reply.called_as(), [format!("Bearer {}", provider.issued()[1])]);
        assert_eq!(refreshes(&provider), 1);
    });
}
