//! Each part fails in turn: what still works goes on, the rest is refused in time, nothing passes unjudged (design: when
//! things fail; threats H2, H6, A1).

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use e2e::{
    Auth, Reply, Server, TRAPS_BEYOND, TokenAnswer, TokenEndpoint, World, eventually, eventually_within, run,
    trapping_module,
};
use serde_json::json;
use sqlx::{Connection, sqlite::SqliteConnectOptions};

/// The filter's deadline and half a second.
const IN_TIME: Duration = Duration::from_millis(3_500);

/// The call is refused because the gate cannot know, in time, with the request's id.
async fn unavailable(what: &str, server: &Server, token: &str) -> Reply {
    let start = Instant::now();
    let reply = server.call_as(token).send().await;
    assert!(start.elapsed() < IN_TIME, "{what}: answered after {:?}", start.elapsed());
    let error = reply.rpc_error();
    assert_eq!((reply.status, error.code, &error.id), (200, -31004, &json!(1)), "{what}: {reply}");
    reply
}

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
        unavailable("not cached, broker gone", &server, &other).await;
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
        let refused = tokens.iter().map(|token| unavailable("broker stopped", &server, token));
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
        unavailable("not cached, broker frozen", &server, &other).await;
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
        unavailable("no socket", &server, &token).await;
        server.upstream.assert_untouched("a caller whose credential nobody could give");
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

#[test]
fn envoy_killed_and_started_again_serves_as_before() {
    run(async {
        let mut world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let token = world.issuer.token("alice", &server).mint();
        server.accepts_token("before", &token).await;
        world.envoy.kill();
        assert!(server.call_as(&token).try_send().await.is_err(), "nobody listens");
        world.envoy.restart().await;
        server.until_served().await;
        server.accepts_token("after", &token).await;
    });
}

#[test]
fn h2_a_trap_answers_503_at_once_reaches_no_upstream_and_is_over_in_two_seconds() {
    run(async {
        let world = World::start().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        let trap = world.dir().join("trap.wasm");
        std::fs::write(&trap, trapping_module()).expect("the directory is writable");
        let second = world.second_envoy(move |config| e2e::set_module(config, &trap)).await;
        for _ in 0..3 {
            let deadly =
                (0..=TRAPS_BEYOND).fold(server.call_as(&token), |call, n| call.header(&format!("x-pad-{n}"), "1"));
            let start = Instant::now();
            let reply = deadly.at(second.gateway).send().await;
            assert_eq!(reply.status, 503, "{reply}");
            assert!(start.elapsed() < Duration::from_secs(1), "after {:?}", start.elapsed());
            server.upstream.assert_untouched("a filter that trapped");
            eventually_within(Duration::from_secs(2), "the filter is loaded again", async || {
                let reply = server.call_as(&token).at(second.gateway).send().await;
                (reply.status == 200).then_some(())
            })
            .await;
            server.upstream.forget();
        }
    });
}

#[test]
fn h3_a_missing_or_corrupt_module_never_opens_the_gate() {
    run(async {
        let world = World::start().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        let corrupt = world.dir().join("corrupt.wasm");
        std::fs::write(&corrupt, b"\0asm\x01\0\0\0garbage").expect("the directory is writable");
        for module in [corrupt, world.dir().join("missing.wasm")] {
            let mut second = world.second_envoy_unready(move |config| e2e::set_module(config, &module));
            // It either ends, or answers 503; both are shut.
            eventually("it is shut", async || {
                if second.ended() {
                    return Some(());
                }
                let reply = server.call_as(&token).at(second.gateway).try_send().await.ok()?;
                assert_eq!(reply.status, 503, "{reply}");
                Some(())
            })
            .await;
        }
        server.upstream.assert_untouched("a gate without filter");
    });
}

#[test]
fn h3_a_plugin_configuration_with_unknown_fields_never_opens_the_gate() {
    run(async {
        let world = World::start().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        for configuration in ["", "{}", "{", r#"{"broker_cluster":"sallyport_broker","fail_open":true}"#] {
            let configuration = configuration.to_owned();
            let mut second =
                world.second_envoy_unready(move |config| e2e::set_plugin_configuration(config, &configuration));
            eventually("it is shut", async || {
                if second.ended() {
                    return Some(());
                }
                let reply = server.call_as(&token).at(second.gateway).try_send().await.ok()?;
                assert_eq!(reply.status, 503, "{reply}");
                Some(())
            })
            .await;
        }
        server.upstream.assert_untouched("a gate without configuration");
    });
}

#[test]
fn h4_without_the_flag_that_shows_bodies_nothing_is_let_through() {
    run(async {
        let world = World::start().await;
        let server = world.open_server().await;
        let token = world.issuer.token("alice", &server).mint();
        let second =
            world.second_envoy(|config| e2e::set_plugin(config, "allow_on_headers_stop_iteration", json!(false))).await;
        let start = Instant::now();
        let reply = server.call_as(&token).at(second.gateway).send().await;
        assert_eq!(reply.status, 503, "{reply}");
        assert!(start.elapsed() < Duration::from_secs(7), "after {:?}", start.elapsed());
        server.upstream.assert_untouched("a filter that sees no bodies");
    });
}

#[test]
fn provider_failures_are_told_in_time_and_leave_no_mark() {
    run(async {
        let world = World::start().await;
        let endpoint = Arc::new(TokenEndpoint::start().await);
        for failure in [
            TokenAnswer::Status(500),
            TokenAnswer::Status(404),
            TokenAnswer::Busy { status: 429, retry_after: 1 },
            TokenAnswer::Busy { status: 503, retry_after: 1 },
            TokenAnswer::Hanging,
        ] {
            let server = world.server().auth(Auth::client_credentials(&endpoint)).register().await;
            let token = world.issuer.token("alice", &server).mint();
            endpoint.answer(failure.clone());
            unavailable(&format!("{failure:?}"), &server, &token).await;
            server.upstream.assert_untouched("a server without credential");
            endpoint.answer(TokenAnswer::Token { expires_in: 3600 });
            eventually_within(Duration::from_secs(30), "served once the provider is well", async || {
                let reply = server.call_as(&token).send().await;
                reply.json().get("result").is_some().then_some(())
            })
            .await;
        }
    });
}

#[test]
fn a_provider_that_fails_at_renewal_leaves_the_old_token_in_use() {
    run(async {
        let world = World::start().await;
        let endpoint = Arc::new(TokenEndpoint::start().await);
        endpoint.answer(TokenAnswer::Token { expires_in: 6 });
        let server = world.server().auth(Auth::client_credentials(&endpoint)).register().await;
        let token = world.issuer.token("alice", &server).mint();
        server.accepts_token("before", &token).await;
        endpoint.answer(TokenAnswer::Status(500));
        eventually("a renewal was tried", async || {
            server.accepts_token("while the old token lives", &token).await;
            (endpoint.requests() > 1).then_some(())
        })
        .await;
        server.accepts_token("after a failed renewal", &token).await;
        let reply = eventually("the old token has expired", async || {
            let reply = server.call_as(&token).send().await;
            reply.json().get("result").is_none().then_some(reply)
        })
        .await;
        assert_eq!(reply.rpc_error().code, -31004, "{reply}");
        assert!(endpoint.requests() < 20, "{} token requests", endpoint.requests());
    });
}

#[test]
fn a1_i7_what_cannot_be_audited_is_not_released() {
    run(async {
        let world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let cached = world.issuer.token("alice", &server).mint();
        server.accepts_token("before", &cached).await;
        server.upstream.forget();
        // All are read before any is locked: closing a file gives up this process's locks on it.
        let files = std::fs::read_dir(&world.broker.data).expect("it is there").flatten().map(|entry| entry.path());
        let is_database = |path: &PathBuf| std::fs::read(path).is_ok_and(|head| head.starts_with(b"SQLite format 3\0"));
        let databases: Vec<PathBuf> = files.filter(is_database).collect();
        let mut locks = Vec::new();
        for path in &databases {
            let options = SqliteConnectOptions::new().filename(path);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("it opens");
            sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.expect("nobody else writes now");
            locks.push(connection);
        }
        assert!(!locks.is_empty(), "no store in {:?}", world.broker.data);
        for user in 0..3 {
            let token = world.issuer.token(&format!("user-{user}"), &server).mint();
            unavailable("the audit cannot be written", &server, &token).await;
        }
        server.upstream.assert_untouched("a release that was not recorded");
        server.accepts_token("released before", &cached).await;
        drop(locks);
        let token = world.issuer.token("bob", &server).mint();
        eventually("served once the store is free", async || {
            server.call_as(&token).send().await.json().get("result").is_some().then_some(())
        })
        .await;
    });
}

#[test]
fn identity_provider_gone_known_keys_and_callers_go_on() {
    run(async {
        let mut world = World::start().await;
        let server = world.open_server().await;
        let alice = world.issuer.token("alice", &server).mint();
        let bob = world.issuer.token("bob", &server).mint();
        world.issuer.shut();
        server.accepts_token("known key", &alice).await;
        server.accepts_token("known key, new caller", &bob).await;
        let unknown = world.issuer.token("mallory", &server).header("kid", "unknown").mint();
        let reply = server.call_as(&unknown).send().await;
        assert!(matches!(reply.status, 401 | 503), "{reply}");
    });
}
