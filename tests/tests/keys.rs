//! Master keys that are missing when records need them, or kept where they must not be (threats V6, V9), and what of secrets
//! stays in memory (V8).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use e2e::{Auth, World, acquire, broker_api, eventually, run};
use sallyport_proto::broker::acquire_credential_response::Answer;
use serde_json::{Value, json};

#[test]
fn v6_a_retired_key_that_is_needed_still_stops_the_start_with_its_id() {
    run(async {
        let mut world = World::build().embedded().start().await;
        world.broker.set_secret("group", "key", "value", "owner").await;
        let rotated = world.broker.command(&["key", "rotate", "--json"]).await.ok();
        let rotated: Value = serde_json::from_str(&rotated).unwrap();
        world.broker.stop().await;
        std::fs::remove_file(rotated["retired_path"].as_str().unwrap()).unwrap();
        let config: Value = serde_json::from_slice(&std::fs::read(&world.broker.config).unwrap()).unwrap();
        let refused = world.broker.serve_with(&config).await;
        let needed = format!("need master key {}", rotated["old"].as_str().unwrap());
        assert!(!refused.success && refused.stderr.contains(&needed), "{}", refused.stderr);
    });
}

#[test]
fn v9_a_master_key_that_others_can_read_or_that_lies_with_the_data_or_in_the_environment_is_refused() {
    run(async {
        let mut world = World::build().embedded().start().await;
        world.broker.stop().await;
        let mut config: Value = serde_json::from_slice(&std::fs::read(&world.broker.config).unwrap()).unwrap();
        config["mode"] = "standard".into();
        config["grpc"]["allowed_peer_uids"] = json!([65_534]);
        let key = world.dir().join("key/master.key");
        for mode in [0o644, 0o640, 0o660] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            let refused = world.broker.serve_with(&config).await;
            assert!(!refused.success && refused.stderr.contains("chmod 600"), "{mode:o}: {}", refused.stderr);
        }
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let inside = world.broker.data.join("key/master.key");
        std::fs::create_dir_all(inside.parent().unwrap()).unwrap();
        std::fs::copy(&key, &inside).unwrap();
        let linked = world.dir().join("linked");
        std::os::unix::fs::symlink(inside.parent().unwrap(), &linked).unwrap();
        for path in [&inside, &linked.join("master.key")] {
            let refused = world.broker.serve_with(&with(&config, "key_file", json!(path))).await;
            assert!(!refused.success && refused.stderr.contains("a copy of the data"), "{}", refused.stderr);
        }
        // There is no field that takes a key itself, or the name of a variable that holds it.
        for (field, value) in [("key_env", "KEY"), ("key", "AAAA"), ("key_file_env", "KEY")] {
            let refused = world.broker.serve_with(&with(&config, field, json!(value))).await;
            assert!(!refused.success && refused.stderr.contains("unknown field"), "{field}: {}", refused.stderr);
        }
    });
}

fn with(config: &Value, field: &str, value: Value) -> Value {
    let mut changed = config.clone();
    changed[field] = value;
    changed
}

/// How often each of these is in the memory of a process that this one may read: root may, whatever the process forbids.
fn copies(pid: u32, secrets: &[String]) -> Vec<usize> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut counts = vec![0; secrets.len()];
    for line in maps.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|mode| mode.starts_with("rw"))) {
        let (start, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // Some of it is nobody's to read.
        if memory.seek(SeekFrom::Start(start)).is_err() || memory.read_exact(&mut bytes).is_err() {
            continue;
        }
        // Each is `<what all begin with><number>`: looked for once, then told apart.
        let prefix = secrets[0].trim_end_matches(|c: char| c.is_ascii_digit()).as_bytes();
        let mut from = 0;
        while let Some(at) = bytes[from..].windows(prefix.len()).position(|window| window == prefix) {
            let found = &bytes[from + at..];
            if let Some(which) = secrets.iter().position(|secret| found.starts_with(secret.as_bytes())) {
                counts[which] += 1;
            }
            from += at + prefix.len();
        }
    }
    counts
}

#[test]
#[ignore = "needs root, to read another process's memory"]
fn v8_after_ten_thousand_reads_and_the_age_of_the_cache_no_secret_is_in_memory_but_in_a_few_buffers() {
    const SECRETS: usize = 20;
    const READS: usize = 10_000;
    run(async {
        let mut world = World::build().embedded().start().await;
        let mark = e2e::unique("canary-of-memory");
        let secrets: Vec<_> = (0..SECRETS).map(|n| format!("{mark}-{n:04}")).collect();
        let mut servers = Vec::new();
        for secret in &secrets {
            servers.push(world.server().auth(Auth::Header { secret: secret.clone() }).register().await);
        }
        world.broker.stop().await;
        world.broker.start_forgetting(Duration::from_secs(2)).await;
        let mut requests = Vec::new();
        for server in &servers {
            let token = world.issuer.token("alice", server).mint();
            requests.push(acquire(&world.broker.grpc, &token, server).await);
        }
        let mut api = broker_api(&world.broker.grpc).await.unwrap();
        for n in 0..READS {
            let answer = api.acquire_credential(requests[n % SECRETS].clone()).await.unwrap().into_inner().answer;
            assert!(matches!(answer, Some(Answer::Credential(_))), "{answer:?}");
        }
        drop(api);
        let pid = world.broker.child().pid();
        let during: usize = copies(pid, &secrets).into_iter().sum();
        eventually("what was open is let go of", async || {
            let left: usize = copies(pid, &secrets).into_iter().sum();
            println!("after {READS} reads of {SECRETS} secrets: {during} copies in memory, and {left} now");
            (left <= SECRETS).then_some(())
        })
        .await;
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    });
}
