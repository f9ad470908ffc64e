//! What the record of a release says (threats A6): all of it, true, and enough to trace a token that turned up somewhere.

use std::sync::Arc;

use e2e::{Auth, Provider, World, audit_records, eventually, run, spawn};
use serde_json::{Value, json};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn releases(world: &World, target: &str) -> Vec<Value> {
    let mut records = audit_records(&world.broker.admin).await;
    records.retain(|record| record["event"] == "credential.release" && record["target"] == target);
    records
}

async fn principal(world: &World, subject: &str) -> String {
    world.broker.database().await.text("SELECT principal FROM identities WHERE subject = $1", &[subject]).await
}

/// What `sallyport audit fingerprint` calls a token by.
async fn fingerprint(world: &World, token: &str) -> String {
    let file = world.dir().join(e2e::unique("token"));
    std::fs::write(&file, format!("{token}\n")).expect("the directory is writable");
    let named = world.broker.command(&["audit", "fingerprint", "--from-file", &file.to_string_lossy()]).await.ok();
    named.trim().to_owned()
}

/// A hash, a fingerprint or a handle: so many bytes in hexadecimal.
fn is_hex(value: &Value, bytes: usize) -> bool {
    let digits = |text: &str| text.len() == bytes * 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    value.as_str().is_some_and(digits)
}

#[test]
fn a6_the_record_of_a_release_has_every_field_and_each_is_true() {
    run(async {
        let world = World::start().await;
        let provider = Arc::new(Provider::start().await);
        let server = world.server().auth(Auth::client_credentials(&provider)).register().await;
        let call = server.call_as(&world.issuer.token("alice", &server).mint()).header("traceparent", TRACE);
        let reply = call.tool("recorded").send().await;
        assert_eq!(reply.called_as(), [format!("Bearer {}", provider.issued()[0])]);
        let mut record = releases(&world, "recorded").await.remove(0);
        let expected = json!({
            "event": "credential.release", "outcome": "success", "reason": "refresh", "tenant": "demo",
            "actor": {"issuer": world.issuer.url, "subject": "alice", "client_id": "agent"},
            "on_behalf_of": principal(&world, "alice").await, "request_id": reply.header("x-request-id"), "traceparent": TRACE,
            "server": server.name, "method": "tools/call", "target": "recorded", "generation": 1,
            "fingerprints": [fingerprint(&world, &provider.issued()[0]).await], "secrets": [],
            "provider_account": "service", "report": null, "count": null,
            "broker_version": env!("CARGO_PKG_VERSION"), "filter_version": env!("CARGO_PKG_VERSION"),
        });
        for (field, value) in expected.as_object().expect("an object") {
            assert_eq!(record.as_object_mut().and_then(|record| record.remove(field)).as_ref(), Some(value), "{field}");
        }
        assert_the_rest_is_sound(&record, &audit_records(&world.broker.admin).await);
    });
}

/// The fields whose values nobody knows before.
fn assert_the_rest_is_sound(record: &Value, all: &[Value]) {
    let before = &all[usize::try_from(record["sequence"].as_u64().expect("a number")).expect("it fits") - 2];
    let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
    for (field, sound) in [
        ("ts", text("ts").len() == 24 && text("ts").starts_with("20") && text("ts").ends_with('Z')),
        ("sequence", before["sequence"].as_u64() < record["sequence"].as_u64()),
        ("source_address", text("source_address").starts_with("127.0.0.1:")),
        ("peer", ["uid:", "dns:", "uri:"].iter().any(|kind| text("peer").starts_with(kind))),
        ("proxy", text("proxy").starts_with("gateway")),
        ("policy", record["policy"]["version"].as_u64() > Some(0) && record["policy"]["rule"] == "team:everyone"),
        ("use_handle", is_hex(&record["use_handle"], 16)),
        ("grant", is_hex(&record["grant"], 16)),
        ("latency_us", record["latency_us"].as_u64() > Some(0)),
        ("previous", is_hex(&record["previous"], 32) && record["previous"] == before["hash"]),
        ("hash", is_hex(&record["hash"], 32)),
    ] {
        assert!(sound, "{field} in {record}");
    }
    assert_eq!(record.as_object().expect("an object").len(), 11, "a field that nobody looked at in {record}");
}

#[test]
fn a6_a_token_that_turned_up_is_traced_to_its_releases_and_no_others() {
    run(async {
        let world = World::start().await;
        let secret = e2e::unique("header-secret");
        let auth = Auth::Header { secret: secret.clone() };
        let (leaking, other) =
            (world.server().auth(auth).register().await, world.server().auth(Auth::header()).register().await);
        let leaked = fingerprint(&world, &secret).await;
        for (server, tool) in [(&leaking, "whose"), (&other, "another"), (&other, leaked.as_str())] {
            let token = world.issuer.token("alice", server).mint();
            assert_eq!(server.call_as(&token).tool(tool).send().await.status, 200);
        }
        let traced = async |fingerprint: &str, limit: &str| {
            let query = ["audit", "query", "--fingerprint", fingerprint, "--limit", limit];
            let lines = world.broker.command(&query).await.ok();
            lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>()
        };
        for limit in ["0", "1"] {
            let found = traced(&leaked, limit).await;
            assert_eq!((found.len(), &found[0]["target"]), (1, &"whose".into()), "{found:?}");
            assert_eq!(found[0]["server"], leaking.name);
        }
        assert!(traced(&fingerprint(&world, "never released").await, "0").await.is_empty());
    });
}

#[test]
fn a6_who_waits_for_a_question_whose_asker_left_is_recorded_with_an_address_of_its_own() {
    run(async {
        let world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let call = server.call_as(&world.issuer.token("alice", &server).mint());
        world.broker.child().freeze();
        let impatient = call.clone().tool("impatient");
        let impatient = spawn(async move { impatient.send().await });
        let wait_for = async |streams: u64| {
            eventually("so many wait", async || {
                (world.envoy.stat("http.gateway.downstream_rq_active").await == streams).then_some(())
            })
            .await;
        };
        wait_for(1).await;
        let patient = spawn(async move { call.tool("patient").send().await });
        wait_for(2).await;
        impatient.abort();
        wait_for(1).await;
        world.broker.child().thaw();
        let reply = patient.await.expect("it was not aborted");
        let record = &releases(&world, "patient").await[0];
        assert_eq!(record["request_id"].as_str(), reply.header("x-request-id").as_deref(), "{reply}");
        assert!(record["source_address"].as_str().is_some_and(|from| from.starts_with("127.0.0.1:")), "{record}");
    });
}
