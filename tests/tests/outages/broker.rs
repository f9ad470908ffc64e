//! The broker is killed, stopped, frozen, without its socket, without endpoints.

use std::time::{Duration, Instant};

use e2e::{Auth, Call, EndpointsFile, World, eventually, eventually_within, run};

use super::unavailable;

#[test]
fn h6_broker_killed_cached_callers_go_on_others_are_refused_in_time() {
    run(async {
        let mut world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let cached = world.issuer.token("alice", &server).mint();
        let other = world.issuer.token("bob", &server).mint();
        server.accepts_token("before", &cached).await;
        world.broker.kill();
        server.accepts_token("cached, broker gone", &cached).await;
        server.upstream.forget();
        unavailable("not cached, broker gone", &server.call_as(&other)).await;
        server.upstream.assert_untouched("a caller whose credential nobody could give");
        world.broker.spawn();
        let start = Instant::now();
        world.broker.until_ready().await;
        let ready = start.elapsed();
        eventually_within(Duration::from_secs(2), "served after the broker is back", async || {
            let reply = server.call_as(&other).send().await;
            (reply.status == 200 && reply.json().get("result").is_some()).then_some(())
        })
        .await;
        assert!(start.elapsed() - ready < Duration::from_secs(2));
    });
}

#[test]
fn h6_broker_stopped_is_refused_within_the_deadline_a_hundred_times_of_a_hundred() {
    run(async {
        let mut world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let tokens: Vec<String> =
            (0..100).map(|user| world.issuer.token(&format!("user-{user}"), &server).mint()).collect();
        world.broker.stop().await;
        let calls: Vec<Call> = tokens.iter().map(|token| server.call_as(token)).collect();
        let refused = calls.iter().map(|call| unavailable("broker stopped", call));
        futures::future::join_all(refused).await;
        server.upstream.assert_untouched("a caller whose credential nobody could give");
    });
}

#[test]
fn h6_broker_frozen_is_refused_within_the_deadline_and_recovers() {
    run(async {
        let world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let cached = world.issuer.token("alice", &server).mint();
        let other = world.issuer.token("bob", &server).mint();
        server.accepts_token("before", &cached).await;
        world.broker.child().freeze();
        server.upstream.forget();
        unavailable("not cached, broker frozen", &server.call_as(&other)).await;
        server.upstream.assert_untouched("a caller whose credential nobody could give");
        server.accepts_token("cached, broker frozen", &cached).await;
        world.broker.child().thaw();
        eventually_within(Duration::from_secs(3), "served after the broker thawed", async || {
            let reply = server.call_as(&other).send().await;
            (reply.status == 200 && reply.json().get("result").is_some()).then_some(())
        })
        .await;
    });
}

#[test]
fn h6_broker_without_its_socket_is_refused_in_time() {
    run(async {
        let mut world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let token = world.issuer.token("alice", &server).mint();
        world.broker.kill();
        std::fs::remove_file(&world.broker.grpc).expect("it is there");
        unavailable("no socket", &server.call_as(&token)).await;
        server.upstream.assert_untouched("a caller whose credential nobody could give");
    });
}

#[test]
fn h6_a_broker_cluster_that_loses_its_endpoints_is_refused_in_time() {
    run(async {
        let world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let endpoints = EndpointsFile::new(&world);
        let gate = world.second_envoy(endpoints.instead_of_static_ones()).await;
        let call_as = |user: &str| server.call_as(&world.issuer.token(user, &server).mint()).at(gate.gateway);
        let served = async |what: &str, call: &Call| {
            eventually_within(Duration::from_secs(2), what, async || {
                call.send().await.json().get("result").is_some().then_some(())
            })
            .await;
        };
        let (cached, other) = (call_as("alice"), call_as("bob"));
        served("before", &cached).await;
        endpoints.take_away();
        eventually("there are none", async || {
            (gate.stat("cluster.sallyport_broker.membership_total").await == 0).then_some(())
        })
        .await;
        server.upstream.forget();
        unavailable("not cached, no endpoints", &other).await;
        server.upstream.assert_untouched("a caller whose credential nobody could give");
        served("cached, no endpoints", &cached).await;
        endpoints.put_back();
        served("not cached, endpoints are back", &other).await;
    });
}

#[test]
fn h6_a_broker_cluster_that_never_had_endpoints_is_refused_in_time() {
    run(async {
        let world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let token = world.issuer.token("alice", &server).mint();
        let endpoints = EndpointsFile::new(&world);
        endpoints.take_away();
        let gate = world.second_envoy(endpoints.instead_of_static_ones()).await;
        let start = Instant::now();
        let reply = server.call_as(&token).at(gate.gateway).send().await;
        assert_eq!(reply.status, 503, "{reply}");
        assert!(start.elapsed() < super::IN_TIME, "answered after {:?}", start.elapsed());
        server.upstream.assert_untouched("a gate without broker");
    });
}

#[test]
fn i11_without_broker_even_cached_callers_end_with_max_staleness() {
    run(async {
        let mut world = World::build().max_staleness("2s").start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let token = world.issuer.token("alice", &server).mint();
        server.accepts_token("before", &token).await;
        world.broker.kill();
        let start = Instant::now();
        let reply = eventually_within(Duration::from_secs(6), "the snapshot is stale", async || {
            let reply = server.call_as(&token).send().await;
            (reply.status != 200 || reply.json().get("result").is_none()).then_some(reply)
        })
        .await;
        assert!(start.elapsed() > Duration::from_millis(500), "ended at once: {reply}");
        assert!(reply.status == 503 || reply.rpc_error().code == -31004, "{reply}");
        server.upstream.forget();
        for _ in 0..10 {
            let reply = server.call_as(&token).send().await;
            assert!(reply.status == 503 || reply.rpc_error().code == -31004, "{reply}");
        }
        server.upstream.assert_untouched("a stale snapshot");
        world.broker.start().await;
        eventually_within(Duration::from_secs(2), "served again", async || {
            (server.call_as(&token).send().await.json().get("result").is_some()).then_some(())
        })
        .await;
    });
}

#[test]
fn without_any_snapshot_everything_is_503() {
    run(async {
        let mut world = World::start().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        world.broker.kill();
        world.envoy.kill();
        world.envoy.spawn();
        let reply = eventually("envoy listens", async || server.call_as(&token).try_send().await.ok()).await;
        assert_eq!(reply.status, 503, "{reply}");
        assert!(reply.header("retry-after").is_some(), "{reply}");
        for call in [server.call(), server.call().method("GET").path("/sallyport/ready")] {
            assert_eq!(call.send().await.status, 503);
        }
        server.upstream.assert_untouched("a gate without snapshot");
        world.broker.start().await;
        eventually("served once the broker is there", async || {
            (server.call_as(&token).send().await.status == 200).then_some(())
        })
        .await;
    });
}
