//! Master keys that are missing when records need them, or kept where they must not be (threats V6, V9), and what of secrets
//! stays in memory (V8).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "keys/memory.rs"]
mod memory;

use std::os::unix::fs::PermissionsExt as _;

use e2e::{World, run};
use serde_json::{Value, json};

#[test]
fn embedded_v6_a_retired_key_that_is_needed_still_stops_the_start_with_its_id() {
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
fn embedded_v9_a_master_key_that_others_can_read_or_that_lies_with_the_data_or_in_the_environment_is_refused() {
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
