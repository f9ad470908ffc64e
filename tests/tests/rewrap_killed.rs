//! Master keys: replaced, and everything moved to the new one, while the gate serves and its broker is killed (threat V6).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use e2e::{Auth, Server, World, admin_api, eventually, run};
use sallyport_proto::admin::RewrapKeysRequest;
use serde_json::{Value, json};

/// Secrets in all; each server gets a tenth, in ten headers.
const SECRETS: usize = 10_000;
const SERVERS: usize = 10;
const HEADERS: usize = 10;
const KILLS: usize = 20;

struct Gate {
    world: World,
    servers: Vec<Server>,
}

/// The numbers of the secrets in one header of one server.
fn numbers(server: usize, header: usize) -> std::ops::Range<usize> {
    let each = SECRETS / SERVERS / HEADERS;
    let first = (server * HEADERS + header) * each;
    first..first + each
}

fn name_of(header: usize) -> String {
    format!("x-secrets-{header}")
}

impl Gate {
    async fn start() -> Self {
        let mut world = World::build().embedded().start().await;
        let names: Vec<_> = (0..SERVERS).map(|_| e2e::unique("many")).collect();
        world.broker.stop().await;
        for (server, name) in names.iter().enumerate() {
            world.broker.seed_secrets(name, numbers(server, 0).start..numbers(server, HEADERS - 1).end).await;
        }
        world.broker.start().await;
        let mut servers = Vec::new();
        for (server, name) in names.iter().enumerate() {
            let reference = |n| format!("tfy-secret://demo:{name}:k{n}");
            let value = |header| numbers(server, header).map(reference).collect::<Vec<_>>().join(",");
            let headers: Value = (0..HEADERS)
                .map(|header| (name_of(header), json!(value(header))))
                .collect::<serde_json::Map<_, _>>()
                .into();
            let builder = world.server().named(name, "tool").manifest(move |server| {
                server["auth_data"] = json!({ "type": "header", "headers": headers });
            });
            servers.push(builder.register().await);
        }
        Self { world, servers }
    }

    /// A caller whom the gate has never seen makes the broker open every secret of this server.
    async fn reads(&self, number: usize) {
        let server = &self.servers[number];
        let call = server.call_as(&self.world.issuer.token(&e2e::unique("caller"), server).mint());
        // A thousand are opened for one call, which a busy machine may not do in time: the next finds them open.
        eventually("a new caller is served", async || {
            server.upstream.forget();
            call.send().await.json().get("result").is_some().then_some(())
        })
        .await;
        let request = server.upstream.only_request();
        for header in 0..HEADERS {
            let expected = numbers(number, header).map(|n| format!("{n:05}")).collect::<Vec<_>>().join(",");
            assert_eq!(request.all(&name_of(header)), [expected], "server {number}, header {header}");
        }
    }

    /// Kills the broker over a re-wrap that has begun.
    async fn dies_rewrapping(&mut self) {
        let mut api = admin_api(&self.world.broker.admin).await.unwrap();
        let mut progress = api.rewrap_keys(RewrapKeysRequest {}).await.unwrap().into_inner();
        let told = progress.message().await.unwrap().unwrap();
        assert!(!told.is_over && told.done < told.total, "{told:?}");
        self.world.broker.kill();
    }
}

#[test]
fn embedded_v6_a_rewrap_of_ten_thousand_killed_twenty_times_loses_nothing_and_requests_are_served_throughout() {
    run(async {
        let mut gate = Gate::start().await;
        let steady = gate.world.server().auth(Auth::header()).register().await;
        let caller = steady.call_as(&gate.world.issuer.token("steady", &steady).mint());
        // What the gate holds for a caller serves them while the broker is away; before, there is nothing to hold.
        assert!(caller.send().await.json().get("result").is_some());
        let old: Value =
            serde_json::from_str(&gate.world.broker.command(&["key", "rotate", "--json"]).await.ok()).unwrap();
        let killed = async move {
            for round in 0..KILLS {
                gate.dies_rewrapping().await;
                gate.world.broker.start().await;
                gate.reads(round % SERVERS).await;
            }
            gate
        };
        let served = async {
            loop {
                let reply = caller.send().await;
                assert!(reply.json().get("result").is_some(), "{reply}");
            }
        };
        let mut gate = tokio::select! { gate = killed => gate, () = served => unreachable!() };
        gate.world.broker.command(&["key", "rewrap"]).await.ok();
        let listed: Value =
            serde_json::from_str(&gate.world.broker.command(&["key", "list", "--json"]).await.ok()).unwrap();
        let [current, retired] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
        assert_eq!((&current["current"], &retired["id"], &retired["fields"]), (&json!(true), &old["old"], &json!(0)));
        gate.world.broker.stop().await;
        std::fs::remove_file(PathBuf::from(old["retired_path"].as_str().unwrap())).unwrap();
        gate.world.broker.start().await;
        for server in 0..SERVERS {
            gate.reads(server).await;
        }
    });
}
