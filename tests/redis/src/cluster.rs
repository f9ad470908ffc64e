//! Three servers, each with a third of the keys.

use std::process::Command;

use crate::{Redis, eventually, programs};

/// The three.
pub struct Cluster {
    /// In no order.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts them and waits until every key has a server.
    ///
    /// # Panics
    /// When they do not come up.
    pub fn start() -> Self {
        let node = || {
            let node = Redis::build().setting("cluster-enabled yes").setting("cluster-node-timeout 1000");
            node.setting("cluster-require-full-coverage no").start()
        };
        let nodes: Vec<Redis> = (0..3).map(|_| node()).collect();
        let mut create = Command::new(programs::cli());
        create.args(["--cluster", "create"]).args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())));
        let output = create.args(["--cluster-yes"]).output().expect("redis-cli is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        eventually("every key has a server", || {
            nodes.iter().all(|node| {
                let info = node.cli(&["cluster", "info"]);
                info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
            })
        });
        Self { nodes }
    }

    /// Where they are, in the form of a configuration.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis://{}", hosts.join(","))
    }
}
