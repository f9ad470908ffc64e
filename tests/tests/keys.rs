//! Master keys that are missing when records need them (threat V6).

use e2e::{World, run};
use serde_json::Value;

#[test]
fn v6_a_retired_key_that_is_needed_still_stops_the_start_with_its_id() {
    run(async {
        let mut world = World::build().key_file().start().await;
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
