//! Planted secrets, searched for wherever something is written down.

use std::{collections::BTreeSet, sync::Arc};

use e2e::{
    Answer, Auth, Canary, Connection, Levels, Piece, Provider, Reply, Server, World,
    provider::{Endpoint, Fault},
    run,
};
use prost::Message;
use serde_json::json;

/// Everything that is said outside: Envoy's admin pages, the broker's pages.
async fn everything_said(world: &World) -> Vec<(String, Vec<u8>)> {
    let mut said = Vec::new();
    for page in ["/config_dump?include_eds", "/stats", "/stats/prometheus", "/server_info", "/clusters"] {
        said.push((format!("envoy {page}"), world.envoy.admin(page).await.into_bytes()));
    }
    for page in ["/healthz", "/readyz", "/metrics", "/.well-known/jwks.json"] {
        let url = format!("http://{}{page}", world.broker.http);
        let answer = reqwest::get(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        said.push((url, answer.bytes().await.expect("a body").to_vec()));
    }
    for shown in ["audit query", "grants list", "identities list", "key list", "secret list", "servers", "token list"] {
        let words: Vec<&str> = shown.split(' ').chain(["--json"]).collect();
        said.push((format!("sallyport {shown}"), world.broker.command(&words).await.ok().into_bytes()));
    }
    said
}

/// Secrets of every kind, used in every way an answer can go; what was answered is added to `said`.
async fn use_secrets(world: &World, said: &mut Vec<(String, Vec<u8>)>) -> Vec<Canary> {
    let provider = Arc::new(Provider::start().await);
    let secret = e2e::unique("canary-header");
    let header = world.server().auth(Auth::Header { secret: secret.clone() }).register().await;
    let grant = world.server().auth(Auth::client_credentials(&provider)).register().await;
    let passthrough = world.server().auth(Auth::Passthrough).register().await;
    let audience = json!([header.resource, grant.resource, passthrough.resource, passthrough.upstream.url]);
    let inbound = world.issuer.token("alice", &header).claim("aud", audience).mint();
    let own = world.broker.issue_token("--user", "alice@example.com", "1h").await;
    let mut answered = |reply: Reply| said.push(("an answer".to_owned(), reply.to_string().into_bytes()));
    for server in [&header, &grant, &passthrough] {
        for status in [200, 401, 403, 302, 500] {
            server.upstream.answer(move |request| {
                if status == 200 {
                    Answer::status(200).header("content-type", "application/json").body("{}")
                } else {
                    Answer::status(status).header("x-seen", &request.method)
                }
            });
            for token in [&inbound, &own, &format!("{inbound}x")] {
                answered(server.call_as(token).send().await);
                answered(server.call().path(&format!("{}?access_token={token}", server.path)).send().await);
                answered(over_http2(world, server, token).await);
            }
        }
    }
    provider.fail(Endpoint::Token, Fault::refusal(400, "invalid_client"));
    let failing = world.server().auth(Auth::client_credentials(&provider)).register().await;
    let other = world.issuer.token("alice", &failing).mint();
    answered(failing.call_as(&other).send().await);

    let tail = |token: &str| token.rsplit('.').next().expect("three parts").to_owned();
    let mut canaries = vec![
        Canary::new("the header secret", &secret),
        Canary::new("the client secret", &provider.client_secret),
        Canary::new("the inbound token", tail(&inbound)),
        Canary::new("another inbound token", tail(&other)),
        Canary::new("the self-issued token", tail(&own)),
    ];
    canaries.extend(provider.issued().into_iter().map(|token| Canary::new("an upstream token", token)));
    assert!(canaries.len() > 5, "no upstream token was issued");
    canaries
}

async fn over_http2(world: &World, server: &Server, token: &str) -> Reply {
    let connection = Connection::open(world.envoy.gateway, server.host()).await.expect("it listens");
    let headers = [("authorization", format!("Bearer {token}")), ("content-type", "application/json".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let ping = Piece::Data(br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_vec());
    connection.post(&server.path, &headers, vec![ping, Piece::trailer("x-checksum", "1")]).await.expect("an answer")
}

/// Neither said, nor in a process, nor in a file: database, write-ahead log, spool, logs, configuration.
pub(crate) async fn nowhere(world: &mut World, mut said: Vec<(String, Vec<u8>)>, canaries: &[Canary]) {
    said.extend(everything_said(world).await);
    said.push(("the snapshot".to_owned(), e2e::snapshot(&world.broker.grpc).await.encode_to_vec()));
    let dump: Vec<_> =
        world.broker.dump().into_iter().map(|(path, bytes)| (path.display().to_string(), bytes)).collect();
    is_a_dump(&dump);
    said.extend(dump);
    for canary in canaries {
        for (place, bytes) in &said {
            canary.assert_absent(place, bytes);
        }
        canary.assert_absent_from_process(world.broker.child().pid());
        canary.assert_absent_from_process(world.envoy.child().pid());
    }
    // Running, and after an orderly end.
    canaries.iter().for_each(|canary| canary.assert_absent_below(world.dir()));
    world.broker.stop().await;
    canaries.iter().for_each(|canary| canary.assert_absent_below(world.dir()));
}

/// Of a store that holds what was done: where nothing is written down, no secret is found either.
fn is_a_dump(dump: &[(String, Vec<u8>)]) {
    let known = b"manifest.apply";
    let holds = |bytes: &[u8]| bytes.windows(known.len()).any(|part| part == known);
    assert!(dump.iter().any(|(_, bytes)| holds(bytes)), "nothing that was done is in the store");
    match dump.iter().find(|(path, _)| path.ends_with("-wal")) {
        Some((_, log)) => assert!(log.len() > 4096, "SQLite's log holds no page"),
        None => assert!(dump.iter().all(|(path, _)| path == "pg_dump"), "SQLite's log is missing"),
    }
}

#[test]
fn v1_h18_a5_planted_secrets_are_found_nowhere() {
    run(async {
        let mut world = World::build().trace(Levels::TraceButPinned).start().await;
        let mut said = Vec::new();
        let canaries = use_secrets(&world, &mut said).await;
        nowhere(&mut world, said, &canaries).await;
    });
}

#[test]
fn h18_no_component_of_envoy_but_the_pinned_ones_prints_a_secret_at_trace() {
    run(async {
        let world = World::build().trace(Levels::Trace).start().await;
        let canaries = use_secrets(&world, &mut Vec::new()).await;
        let mut printing = BTreeSet::new();
        let mut component = "none".to_owned();
        // An entry goes on over lines without a head.
        for line in world.envoy.log().lines() {
            component = component_of(line).map_or(component, str::to_owned);
            if canaries.iter().any(|canary| line.contains(&canary.value)) {
                printing.insert(format!("{component}:info"));
            }
        }
        let pinned: BTreeSet<String> = e2e::pinned().split(',').map(str::to_owned).collect();
        assert_eq!(printing, pinned, "envoy/component-log-level names other components than those that print secrets");
    });
}

#[test]
fn h18_the_admin_port_of_envoy_changes_nothing_and_shows_only_what_operators_need() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let client = reqwest::Client::new();
        let status = async |method: &reqwest::Method, path: &str| {
            let url = format!("http://{}{path}", world.envoy.admin);
            client.request(method.clone(), &url).send().await.expect("the admin port answers").status()
        };
        // All that Envoy 1.40 lists under `/help`, and spellings that come near what is served.
        let refused = "/ /help /allocprofiler /certs /contention /cpuprofiler /drain_listeners /drain_listeners?graceful \
            /healthcheck/fail /healthcheck/ok /heap_dump /heapprofiler /hot_restart_version /init_dump /listeners \
            /logging?level=trace /logging?http=trace /memory /memory/tcmalloc /peak_heap_dump /quitquitquit \
            /reopen_logs /reset_counters /runtime /runtime_modify?a=b /stats/recentlookups /stats/recentlookups/clear \
            /stats/recentlookups/disable /stats/recentlookups/enable //quitquitquit /quitquitquit?/stats";
        for path in refused.split_whitespace() {
            for method in [reqwest::Method::GET, reqwest::Method::POST] {
                assert_eq!(status(&method, path).await, 403, "{method} {path}");
            }
        }
        for path in
            "/ready /stats /stats?filter=sallyport /stats/prometheus /clusters /config_dump /server_info".split(' ')
        {
            assert_eq!(status(&reqwest::Method::GET, path).await, 200, "{path}");
        }
        server.accepts_token("after that", &world.issuer.token("alice", &server).mint()).await;
    });
}

/// From the head of an entry: `[time][thread][level][component] [file:line] …`; an access log entry is JSON.
fn component_of(line: &str) -> Option<&str> {
    if line.starts_with('{') {
        return Some("access log");
    }
    line.strip_prefix('[')?.split_once("] [")?.0.rsplit_once('[').map(|(_, component)| component)
}

#[test]
fn h18_the_snapshot_holds_no_secret_but_the_session_keys() {
    run(async {
        let world = World::shared().await;
        let provider = Arc::new(Provider::start().await);
        let secret = e2e::unique("canary-header");
        let header = world.server().auth(Auth::Header { secret: secret.clone() }).register().await;
        let grant = world.server().auth(Auth::client_credentials(&provider)).register().await;
        for server in [&header, &grant] {
            server
                .accepts_token("so that there is something to leak", &world.issuer.token("alice", server).mint())
                .await;
        }
        let snapshot = e2e::snapshot(&world.broker.grpc).await.encode_to_vec();
        let mut canaries =
            vec![Canary::new("the header secret", &secret), Canary::new("the client secret", &provider.client_secret)];
        canaries.extend(provider.issued().into_iter().map(|token| Canary::new("an upstream token", token)));
        for canary in canaries {
            canary.assert_absent("the snapshot", &snapshot);
        }
        let text = String::from_utf8_lossy(&snapshot).into_owned();
        assert!(text.contains(&header.name), "the snapshot names its servers");
        assert!(!text.contains("PRIVATE"), "a private key");
    });
}

#[test]
fn a5_a_forged_line_in_a_name_stays_inside_its_line() {
    run(async {
        let world = World::start().await;
        let server = world.server().subjects(&["user:nobody@example.com"]).register().await;
        let token = world.issuer.token("mallory", &server).mint();
        for tool in ["x\n{\"forged\":1}", "x\r\n{\"forged\":1}", "x\u{85}{\"forged\":1}", "x\u{2028}{\"forged\":1}"] {
            assert_eq!(server.call_as(&token).tool(tool).send().await.rpc_error().code, -31002);
        }
        let records = e2e::eventually("the refusals are on record", async || {
            let records = e2e::audit_records(&world.broker.admin).await;
            (records.iter().filter(|record| record.to_string().contains("forged")).count() >= 4).then_some(records)
        })
        .await;
        assert!(records.iter().all(|record| record.get("forged").is_none()));
        for log in [world.envoy.log(), world.broker.log()] {
            assert!(!log.lines().any(|line| line.starts_with("{\"forged\"")), "a forged line");
            let forged = log.lines().filter(|line| line.contains("forged"));
            for line in forged.filter(|line| line.starts_with('{')) {
                assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
            }
        }
    });
}
