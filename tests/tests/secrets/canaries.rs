//! Planted secrets, searched for wherever something is written down.

use std::sync::Arc;

use e2e::{Answer, Auth, Canary, TokenAnswer, TokenEndpoint, World, run};
use prost::Message;
use serde_json::json;

/// Everything that is said outside: answers, Envoy's admin pages, the broker's pages.
async fn everything_said(world: &World) -> Vec<(String, Vec<u8>)> {
    let mut said = Vec::new();
    for page in ["/config_dump?include_eds", "/stats", "/server_info", "/clusters", "/listeners", "/certs", "/memory"] {
        said.push((format!("envoy {page}"), world.envoy.admin(page).await.into_bytes()));
    }
    for page in ["/healthz", "/readyz", "/metrics", "/.well-known/jwks.json"] {
        let url = format!("http://{}{page}", world.broker.http);
        let answer = reqwest::get(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        said.push((url, answer.bytes().await.expect("a body").to_vec()));
    }
    said
}

#[test]
fn v1_h18_a5_planted_secrets_are_found_nowhere() {
    run(async {
        let mut world = World::build().trace().start().await;
        let endpoint = Arc::new(TokenEndpoint::start().await);
        let secret = e2e::unique("canary-header");
        let header = world.server().auth(Auth::Header { secret: secret.clone() }).register().await;
        let grant = world.server().auth(Auth::client_credentials(&endpoint)).register().await;
        let passthrough = world.server().auth(Auth::Passthrough).register().await;
        let audience = json!([header.resource, grant.resource, passthrough.resource, passthrough.upstream.url]);
        let inbound = world.issuer.token("alice", &header).claim("aud", audience).mint();
        let own = world.broker.issue_token("--user", "alice@example.com", "1h").await;
        let mut answers = Vec::new();
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
                    answers.push(("an answer".to_owned(), server.call_as(token).send().await.to_string().into_bytes()));
                    let query = format!("{}?access_token={token}", server.path);
                    answers.push((
                        "an answer".to_owned(),
                        server.call().path(&query).send().await.to_string().into_bytes(),
                    ));
                }
            }
        }
        endpoint.answer(TokenAnswer::Status(400));
        let failing = world.server().auth(Auth::client_credentials(&endpoint)).register().await;
        let call = failing.call_as(&world.issuer.token("alice", &failing).mint());
        answers.push(("an answer".to_owned(), call.send().await.to_string().into_bytes()));

        let tail = |token: &str| token.rsplit('.').next().expect("three parts").to_owned();
        let mut canaries = vec![
            Canary::new("the header secret", &secret),
            Canary::new("the client secret", &endpoint.client_secret),
            Canary::new("the inbound token", tail(&inbound)),
            Canary::new("the self-issued token", tail(&own)),
        ];
        canaries.extend(endpoint.issued().into_iter().map(|token| Canary::new("an upstream token", token)));
        assert!(canaries.len() > 4, "no upstream token was issued");
        answers.extend(everything_said(&world).await);
        for canary in &canaries {
            for (place, bytes) in &answers {
                canary.assert_absent(place, bytes);
            }
            canary.assert_absent_from_process(world.broker.child().pid());
            canary.assert_absent_from_process(world.envoy.child().pid());
        }
        // Database, write-ahead log, logs, configuration: running, and after an orderly end.
        canaries.iter().for_each(|canary| canary.assert_absent_below(world.dir()));
        world.broker.stop().await;
        canaries.iter().for_each(|canary| canary.assert_absent_below(world.dir()));
    });
}

#[test]
fn h18_the_snapshot_holds_no_secret_but_the_session_keys() {
    run(async {
        let world = World::shared().await;
        let endpoint = Arc::new(TokenEndpoint::start().await);
        let secret = e2e::unique("canary-header");
        let header = world.server().auth(Auth::Header { secret: secret.clone() }).register().await;
        let grant = world.server().auth(Auth::client_credentials(&endpoint)).register().await;
        for server in [&header, &grant] {
            server
                .accepts_token("so that there is something to leak", &world.issuer.token("alice", server).mint())
                .await;
        }
        let snapshot = e2e::snapshot(&world.broker.grpc).await.encode_to_vec();
        let mut canaries =
            vec![Canary::new("the header secret", &secret), Canary::new("the client secret", &endpoint.client_secret)];
        canaries.extend(endpoint.issued().into_iter().map(|token| Canary::new("an upstream token", token)));
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
