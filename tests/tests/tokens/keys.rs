//! Key sets: rotation, floods of unknown keys, and providers that fail or lie.

use std::{sync::Arc, time::Duration};

use e2e::{Algorithm, Connection, Jwks, Piece, SigningKey, World, eventually_within, run, unique};
use futures::{StreamExt, stream};

const BODY: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#;

#[test]
fn j13_a_new_key_is_known_within_two_seconds_and_the_old_one_stays() {
    run(async {
        let world = World::start().await;
        let server = world.open_server().await;
        let old = world.issuer.token_signed(Algorithm::Es256, "alice", &server).mint();
        server.accepts_token("the old key", &old).await;
        let key = Arc::new(SigningKey::new(Algorithm::Es256, "ec-2"));
        world.issuer.publish(key);
        let new = world.issuer.token_signed(Algorithm::Es256, "bob", &server).mint();
        eventually_within(Duration::from_secs(2), "the new key is known", async || {
            (server.call_as(&new).send().await.status == 200).then_some(())
        })
        .await;
        server.accepts_token("the old key, still published", &old).await;
        assert!(world.issuer.fetches() <= 3, "{} fetches", world.issuer.fetches());
    });
}

#[test]
fn j14_a_flood_of_unknown_keys_costs_the_issuer_next_to_nothing() {
    run(async {
        let world = World::build().concurrency(8).start().await;
        let server = world.open_server().await;
        let good = world.issuer.token("alice", &server).mint();
        server.accepts_token("before the flood", &good).await;
        let before = world.issuer.fetches();
        let open = stream::iter(0..32).then(|_| Connection::open(world.envoy.gateway, server.host()));
        let connections: Vec<_> = open.map(|connection| connection.expect("it listens")).collect().await;
        let token = world.issuer.token_signed(Algorithm::EdDsa, "mallory", &server);
        let statuses: Vec<u16> = stream::iter(0..10_000)
            .map(|call| {
                let authorization = format!("Bearer {}", token.clone().header("kid", unique("kid")).mint());
                let (connection, path) = (connections[call % connections.len()].clone(), server.path.clone());
                async move {
                    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
                    connection.post(&path, &headers, vec![Piece::Data(BODY.to_vec())]).await.expect("an answer").status
                }
            })
            .buffer_unordered(50)
            .collect()
            .await;
        assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
        assert!(world.issuer.fetches() - before <= 3, "{} fetches", world.issuer.fetches() - before);
        server.accepts_token("after the flood", &good).await;
    });
}

#[test]
fn j15_known_keys_outlive_every_fault_of_the_key_set_and_no_fault_makes_a_key() {
    run(async {
        for fault in faults() {
            let world = World::start().await;
            let server = world.open_server().await;
            let known = world.issuer.token("alice", &server).mint();
            world.issuer.serve(fault.clone());
            world.issuer.publish(Arc::new(SigningKey::new(Algorithm::Es256, "ec-new")));
            let unknown = world.issuer.token_signed(Algorithm::Es256, "alice", &server).mint();
            let reply = server.call_as(&unknown).send().await;
            assert!(matches!(reply.status, 401 | 503), "{fault:?}: {reply}");
            server.upstream.assert_untouched("a token of a key that could not be fetched");
            server.accepts_token(&format!("{fault:?}"), &known).await;
            assert!(world.broker.log().len() < 1_000_000, "{fault:?}: the log holds the answer");
        }
    });
}

#[test]
fn j15_a_gate_that_never_had_keys_lets_nobody_in_and_recovers() {
    run(async {
        for fault in [Jwks::Status(500), Jwks::Html, Jwks::Huge, Jwks::Truncated, Jwks::Hanging] {
            let issuer = e2e::Issuer::start().await;
            issuer.serve(fault.clone());
            let world = World::build().issuer(issuer).start_unready().await;
            assert!(!world.broker.is_ready().await, "{fault:?}: ready without keys");
            let server = world.server().apply().await;
            let token = world.issuer.token("alice", &server).mint();
            let mut statuses = Vec::new();
            eventually_within(Duration::from_secs(10), "the gateway answers", async || {
                statuses.extend(server.call_as(&token).try_send().await.ok().map(|reply| reply.status));
                (statuses.len() == 20).then_some(())
            })
            .await;
            assert!(statuses.iter().all(|status| matches!(status, 401 | 404 | 503)), "{fault:?}: {statuses:?}");
            server.upstream.assert_untouched("a gate without keys");
            world.issuer.serve(Jwks::Good);
            eventually_within(Duration::from_secs(45), "it recovers", async || {
                (server.call_as(&token).try_send().await.ok()?.status == 200).then_some(())
            })
            .await;
        }
    });
}

#[test]
fn j15_a_redirected_key_set_is_not_followed() {
    run(async {
        let world = World::start().await;
        let server = world.open_server().await;
        let elsewhere = e2e::Issuer::start().await;
        world.issuer.serve(Jwks::Redirect(format!("{}/jwks", elsewhere.url)));
        let key = Arc::new(SigningKey::new(Algorithm::Es256, "ec-elsewhere"));
        elsewhere.publish(key.clone());
        let token = world.issuer.token("mallory", &server).header("alg", "ES256").header("kid", "ec-elsewhere");
        let reply = server.call_as(&token.signed_by(&key).mint()).send().await;
        assert_eq!(reply.status, 401, "{reply}");
        assert_eq!(elsewhere.fetches(), 0, "the redirect was followed");
    });
}

fn faults() -> Vec<Jwks> {
    vec![
        Jwks::Status(500),
        Jwks::Status(204),
        Jwks::Html,
        Jwks::Huge,
        Jwks::Truncated,
        Jwks::Redirect("http://169.254.169.254/latest/meta-data/".to_owned()),
        Jwks::Hanging,
        Jwks::Slow(Duration::from_secs(8)),
    ]
}
