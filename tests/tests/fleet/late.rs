//! A broker that is stopped while the provider answers, and goes on when another has taken its place (L4).

use e2e::{
    eventually_within,
    provider::{Endpoint, Fault, Moment},
    run, spawn,
};

use super::*;

/// How long the provider takes a refresh token that was used.
const GRACE: Duration = Duration::from_secs(120);

#[test]
fn l4_a_broker_that_was_stopped_over_a_refresh_overwrites_nothing_when_it_goes_on() {
    run(async {
        let mut fleet = Fleet::start(World::build()).await;
        fleet.provider = Arc::new(Provider::start().await);
        fleet.provider.rotation(Rotation::Grace(GRACE));
        let server = fleet.world.server().auth(Auth::authorization_code(&fleet.provider));
        let server = server.manifest(|server| {
            server["auth_data"]["refresh_token_rotation"] = "grace".into();
            server["auth_data"]["refresh_token_grace"] = format!("{}s", GRACE.as_secs()).into();
        });
        fleet.server = server.register().await;
        fleet.server.upstream.guarded_by(&fleet.provider);
        let person = e2e::unique("person");
        fleet.consents(&person).await;
        let late = Fault::Delay(Moment::AfterProcessBeforeReply, Duration::from_secs(1));
        fleet.provider.fail_next(Endpoint::Token, 1, &late);
        let (first, others) = (&fleet.world.broker, &fleet.world.others);
        let request = acquire(&first.grpc, &fleet.token(&person), &fleet.server).await;
        let mut api = broker_api(&first.grpc).await.expect("the same user may connect");
        let told = spawn(async move { api.acquire_credential(request).await });
        let family = || fleet.provider.family_of(&person).expect("they have consented");
        eventually("the provider has acted", async || (family().access_tokens.len() == 2).then_some(())).await;
        first.child().freeze();
        let served = eventually_within(TAKEN_UP, "another takes its place", async || {
            fleet.given_by(&others[0], &person, &fleet.server).await
        })
        .await;
        first.child().thaw();
        // It has its answer now, or gives up; whichever, it comes to nothing in the store.
        let _ = told.await.expect("it ends");
        let newest = format!("Bearer {}", family().access_tokens[2]);
        assert_eq!(served, newest);
        for broker in fleet.world.brokers() {
            let given = eventually("it serves", async || fleet.given_by(broker, &person, &fleet.server).await).await;
            assert_eq!(given, newest, "no older one comes back");
        }
        assert_eq!((fleet.refreshes(), family().access_tokens.len(), family().revoked), (2, 3, None));
    });
}
