//! Many callers, one grant, one request.

use std::collections::BTreeSet;

use e2e::{Auth, Browser, Idp, OAuth, Server, World, acquire, broker_api, provider::Rotation, run};
use futures::{StreamExt, future::join_all, stream};
use sallyport_proto::broker::acquire_credential_response::Answer;

use super::*;

const ROUNDS: usize = 200;
const CALLERS: usize = 50;

/// A person of their own at the gate, who is alice at the real provider: with a grant of its own.
async fn agrees(world: &World, name: &str, server: &Server) {
    let mut person = Browser::of(name);
    let link = world.consent_link(&person, server).await;
    world.sign_in(&person).await;
    "alice".clone_into(&mut person.login);
    let page = world.connect(&person, &link).await;
    assert!(page.text.contains(" is connected."), "{name}: {page:?}");
}

/// What fifty callers are given at once, past the proxy, which would ask once for all of them.
async fn given_at_once(world: &World, person: &str, server: &Server) -> BTreeSet<Vec<u8>> {
    let socket = &world.broker.grpc;
    let request = acquire(socket, &world.issuer.token(person, server).mint(), server).await;
    let api = broker_api(socket).await.expect("the same user may connect");
    let callers = (0..CALLERS).map(|_| {
        let (mut api, request) = (api.clone(), request.clone());
        async move {
            match api.acquire_credential(request).await.expect("it answers").into_inner().answer {
                Some(Answer::Credential(credential)) => credential.headers[0].value.clone(),
                other => panic!("no credential: {other:?}"),
            }
        }
    });
    join_all(callers).await.into_iter().collect()
}

#[test]
fn l1_fifty_callers_make_one_request_two_hundred_times_at_a_provider_where_a_second_would_end_the_grant() {
    run(async {
        let world = World::shared().await;
        let idp = Idp::start(world.dir()).await;
        let client = OAuth::at_idp(&idp);
        let scopes = vec!["mcp:tools".to_owned()];
        let server = world.server().auth(Auth::AuthorizationCode { at: client.clone(), scopes }).register().await;
        let first = Browser::of("first");
        world.admit(&client, &idp, &first, &world.consent_link(&first, &server).await).await;
        // Over when its turn comes: whoever asks has to wait for the next.
        idp.access_token_ttl(1).await;
        let people: Vec<String> = (0..ROUNDS).map(|round| format!("caller-{round}")).collect();
        let consents = people.iter().map(|person| agrees(world, person, &server));
        stream::iter(consents).buffer_unordered(8).for_each(async |()| {}).await;
        idp.access_token_ttl(3600).await;
        let consented = idp.token_requests(&client.client_id).await;
        for (person, requests) in people.iter().zip(consented + 1..) {
            let given = given_at_once(world, person, &server).await;
            assert_eq!(given.len(), 1, "{person}: {CALLERS} callers, one token");
            assert_eq!(idp.token_requests(&client.client_id).await, requests, "{person}");
        }
        assert_eq!(idp.grants_revoked().await, 0);
    });
}

#[test]
fn l1_two_servers_of_one_provider_client_share_one_strict_grant() {
    run(async {
        let world = World::build().concurrency(2).start().await;
        let provider = Arc::new(Provider::start().await);
        provider.rotation(Rotation::FamilyRevoke);
        let servers = world.two_servers_at(&provider).await;
        servers.iter().for_each(|server| server.upstream.guarded_by(&provider));
        consents(&world, &provider, &servers[0], BRIEF).await;
        expired(&provider).await;
        let calls = (0..CALLERS).map(|caller| {
            let server = &servers[caller % 2];
            let token = world.issuer.token("alice", server).mint();
            async move { server.call_as(&token).send().await }
        });
        let mut given = BTreeSet::new();
        for reply in join_all(calls).await {
            assert_eq!(reply.result()["holder"], "alice", "{reply}");
            given.extend(reply.called_as());
        }
        assert_eq!((given.len(), refreshes(&provider), provider.was_family_revoked()), (1, 1, false));
    });
}
