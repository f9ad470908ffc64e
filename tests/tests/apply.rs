//! Manifests, secrets and configuration: felt within a second when good, told with file, line and field when not.

use std::time::{Duration, Instant};

use e2e::{Auth, Upstream, World, eventually_within, run, unique};
use serde_json::{Value, json};

fn manifest(group: &str, url: &str, subjects: &[&str]) -> Value {
    json!({"type": "provider-account/mcp-server-group", "name": group, "collaborators": [], "integrations": [{
        "type": "integration/mcp-server/remote", "name": "tool", "description": "of a test", "url": url,
        "transport": "streamable-http", "authorized_subjects": subjects}]})
}

#[test]
fn a_server_added_by_apply_is_served_within_a_second_without_a_restart() {
    run(async {
        let world = World::shared().await;
        let envoy = world.envoy.child().pid();
        for _ in 0..3 {
            let server = world.server().auth(Auth::header()).apply().await;
            let applied = Instant::now();
            let token = world.issuer.token("alice", &server).mint();
            eventually_within(Duration::from_secs(1), "the new server is served", async || {
                let reply = server.call_as(&token).try_send().await.ok()?;
                (reply.status == 200 && reply.json().get("result").is_some()).then_some(())
            })
            .await;
            assert!(applied.elapsed() < Duration::from_secs(1));
        }
        assert_eq!(world.envoy.child().pid(), envoy);
    });
}

#[test]
fn a_right_taken_away_by_apply_is_gone_within_two_seconds_even_for_cached_callers() {
    run(async {
        let world = World::shared().await;
        let group = unique("group");
        let upstream = Upstream::start().await;
        let url = upstream.url.clone();
        world.broker.apply(&[manifest(&group, &url, &["user:alice@example.com"])]).await.ok();
        let server = world.server_at(&format!("{group}/tool"), upstream);
        server.until_served().await;
        let token = world.issuer.token("alice", &server).mint();
        server.accepts_token("while allowed", &token).await;
        world.broker.apply(&[manifest(&group, &url, &["user:bob@example.com"])]).await.ok();
        let reply = eventually_within(Duration::from_secs(2), "the right is gone", async || {
            let reply = server.call_as(&token).send().await;
            reply.json().get("error").is_some().then_some(reply)
        })
        .await;
        assert_eq!((reply.status, reply.rpc_error().code), (200, -31002), "{reply}");
        let bob = world.issuer.token("bob", &server).mint();
        server.accepts_token("who may now", &bob).await;
    });
}

#[test]
fn a_revoked_token_is_refused_within_two_seconds() {
    run(async {
        let world = World::shared().await;
        let server = world.open_server().await;
        let token = world.broker.issue_token("--virtual-account", &unique("account"), "1h").await;
        server.accepts_token("before", &token).await;
        world.broker.revoke_token(&token).await;
        let reply = eventually_within(Duration::from_secs(2), "the token is revoked", async || {
            let reply = server.call_as(&token).send().await;
            (reply.status != 200).then_some(reply)
        })
        .await;
        server.assert_challenged("a revoked token", &reply);
    });
}

#[test]
fn a_secret_set_anew_is_used_and_the_old_one_is_not() {
    run(async {
        let world = World::shared().await;
        let server = world.server().auth(Auth::header()).register().await;
        let group = server.name.split('/').next().expect("a group").to_owned();
        let token = world.issuer.token("alice", &server).mint();
        server.accepts_token("the first secret", &token).await;
        let second = unique("header-secret");
        world.broker.set_secret(&group, "header", &second, &group).await;
        eventually_within(Duration::from_secs(2), "the second secret is used", async || {
            let called_as = server.call_as(&token).send().await.called_as();
            (called_as == [format!("Bearer {second}")]).then_some(())
        })
        .await;
    });
}

#[test]
fn a_bad_manifest_changes_nothing_and_is_told_with_line_field_and_remedy() {
    run(async {
        let world = World::shared().await;
        let group = unique("group");
        let upstream = Upstream::start().await;
        let good = manifest(&group, &upstream.url, &["user:alice@example.com"]);
        for (what, change) in bad_manifests() {
            let mut bad = good.clone();
            change(&mut bad);
            // The good document before it is not applied either.
            let output = world.broker.apply(&[manifest(&unique("group"), &upstream.url, &[]), bad]).await;
            assert!(!output.success, "{what}: {}", output.stdout);
            let told = format!("{}{}", output.stdout, output.stderr);
            assert!(told.contains(".yaml:") && told.contains("hint"), "{what}: {told}");
            assert!(!told.contains("Successfully configured"), "{what}: {told}");
        }
        let server = world.server_at(&format!("{group}/tool"), upstream);
        let reply = server.call_as(&world.issuer.token("alice", &server).mint()).send().await;
        assert!(matches!(reply.status, 401 | 404), "{reply}");
    });
}

type Change = fn(&mut Value);

fn bad_manifests() -> Vec<(&'static str, Change)> {
    vec![
        ("an unknown field", |bad| bad["integrations"][0]["authorised_subjects"] = json!([])),
        ("an unknown field of the group", |bad| bad["colaborators"] = json!([])),
        ("no name", |bad| bad["name"] = Value::Null),
        ("a name with a slash", |bad| bad["name"] = json!("a/b")),
        ("a name that climbs", |bad| bad["name"] = json!("..")),
        ("an unknown type", |bad| bad["type"] = json!("provider-account/other")),
        ("no URL", |bad| bad["integrations"][0]["url"] = Value::Null),
        ("a URL that is none", |bad| bad["integrations"][0]["url"] = json!("nowhere")),
        ("a file", |bad| bad["integrations"][0]["url"] = json!("file:///etc/passwd")),
        ("a password in the URL", |bad| bad["integrations"][0]["url"] = json!("https://a:b@example.com/mcp")),
        ("plain http beyond loopback", |bad| bad["integrations"][0]["url"] = json!("http://example.com/mcp")),
        ("a subject of no kind", |bad| bad["integrations"][0]["authorized_subjects"] = json!(["alice@example.com"])),
        ("a subject that is no text", |bad| bad["integrations"][0]["authorized_subjects"] = json!([1])),
        ("an unknown auth", |bad| bad["integrations"][0]["auth_data"] = json!({"type": "magic"})),
        ("an unknown secret", |bad| {
            let headers = json!({"Authorization": "Bearer tfy-secret://demo:no-such-group:key"});
            bad["integrations"][0]["auth_data"] = json!({"type": "header", "headers": headers});
        }),
        ("a secret of another tenant", |bad| {
            let headers = json!({"Authorization": "Bearer tfy-secret://other:group:key"});
            bad["integrations"][0]["auth_data"] = json!({"type": "header", "headers": headers});
        }),
        ("a header with a line break", |bad| {
            let headers = json!({"X-A": "a\r\nX-B: b"});
            bad["integrations"][0]["auth_data"] = json!({"type": "header", "headers": headers});
        }),
        ("a header of ours", |bad| {
            bad["integrations"][0]["auth_data"] = json!({"type": "header", "headers": {"Host": "x"}});
        }),
        ("two servers of one name", |bad| {
            let again = bad["integrations"][0].clone();
            bad["integrations"].as_array_mut().expect("a list").push(again);
        }),
    ]
}

#[test]
fn a_secret_of_others_cannot_be_referred_to() {
    run(async {
        let world = World::shared().await;
        let (owner, thief) = (unique("owner"), unique("thief"));
        let reference = world.broker.set_secret(&owner, "key", "their-secret", &owner).await;
        let upstream = Upstream::start().await;
        let mut stolen = manifest(&thief, &upstream.url, &["team:everyone"]);
        let headers = json!({"Authorization": format!("Bearer {reference}")});
        stolen["integrations"][0]["auth_data"] = json!({"type": "header", "headers": headers});
        let output = world.broker.apply(&[stolen]).await;
        assert!(!output.success, "{}", output.stdout);
        assert!(!format!("{}{}", output.stdout, output.stderr).contains("their-secret"));
    });
}

#[test]
fn a_file_that_is_no_yaml_is_told_with_its_line() {
    run(async {
        let world = World::shared().await;
        for text in ["a: [", "a: b: c", "\t- x", "a: *unknown", "", "- just\n- a list", "a: 1\na: 2"] {
            let output = world.broker.apply_text(text).await;
            assert!(!output.success, "{text:?}: {}", output.stdout);
            assert!(output.stderr.contains(".yaml") || output.stdout.contains(".yaml"), "{text:?}: {}", output.stderr);
        }
    });
}

#[test]
fn what_was_applied_survives_a_restart() {
    run(async {
        let mut world = World::start().await;
        let server = world.server().auth(Auth::header()).register().await;
        let own = world.broker.issue_token("--user", "alice@example.com", "1h").await;
        world.broker.kill();
        world.broker.start().await;
        server.accepts_token("issued before the restart", &own).await;
        let token = world.issuer.token("bob", &server).mint();
        assert_eq!(server.call_as(&token).send().await.called_as().len(), 1);
    });
}

#[test]
fn a_wrong_configuration_stops_serve_with_file_field_and_remedy() {
    run(async {
        let world = World::shared().await;
        let good: Value =
            serde_json::from_slice(&std::fs::read(&world.broker.config).expect("it is there")).expect("JSON");
        let changes: Vec<(&str, Change)> = vec![
            ("unknown field", |config| config["fail_open"] = json!(true)),
            ("unknown mode", |config| config["mode"] = json!("lenient")),
            ("no tenant", |config| config["tenant"] = Value::Null),
            ("URL with a path", |config| config["public_url"] = json!("http://127.0.0.1:1/x")),
            ("issuer twice", |config| {
                let again = config["issuers"][0].clone();
                config["issuers"].as_array_mut().expect("a list").push(again);
            }),
            ("plain http issuer elsewhere", |config| config["issuers"][0]["issuer"] = json!("http://idp.example")),
            ("algorithm none", |config| config["issuers"][0]["algorithms"] = json!(["none"])),
            ("algorithm HS256", |config| config["issuers"][0]["algorithms"] = json!(["HS256"])),
            ("staleness too long", |config| config["snapshot"] = json!({"max_staleness": "1h"})),
            ("no such file", |config| config["upstream"] = json!({"ca_file": "/no/such/file"})),
            ("not an address", |config| config["http"]["listen"] = json!("nowhere")),
        ];
        for (what, change) in changes {
            let mut bad = good.clone();
            change(&mut bad);
            let output = world.broker.serve_with(&bad).await;
            assert!(!output.success, "{what}: it serves");
            assert!(output.stderr.contains("sallyport") && output.stderr.contains("hint"), "{what}: {}", output.stderr);
        }
    });
}

#[test]
fn a_key_file_that_others_can_read_or_that_is_damaged_stops_serve() {
    use std::os::unix::fs::PermissionsExt;
    run(async {
        let mut world = World::build().key_file().start().await;
        world.broker.stop().await;
        let key = world.dir().join("key/master.key");
        let good = std::fs::read(&key).expect("it is there");
        let config: Value =
            serde_json::from_slice(&std::fs::read(&world.broker.config).expect("it is there")).expect("JSON");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("ours");
        let output = world.broker.serve_with(&config).await;
        assert!(!output.success && output.stderr.contains("master.key"), "readable by all: {}", output.stderr);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("ours");
        for (what, bytes) in
            [("empty", Vec::new()), ("cut", good[..good.len() / 2].to_vec()), ("zeros", vec![0; good.len()])]
        {
            std::fs::write(&key, bytes).expect("ours");
            let output = world.broker.serve_with(&config).await;
            assert!(!output.success && output.stderr.contains("master.key"), "{what}: {}", output.stderr);
        }
        std::fs::write(&key, good).expect("ours");
        world.broker.start().await;
    });
}
