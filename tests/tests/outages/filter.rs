//! The filter is missing, damaged, badly configured, or not shown what it must see; its proxy is killed.

use std::time::{Duration, Instant};

use e2e::{Auth, World, eventually, run};
use serde_json::json;

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
