//! Three servers, each with a third of the keys.

use std::fs;

use crate::{Redis, RedisBuilder, eventually, process, tls};

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
        Self::of((0..3).map(|_| Redis::build()).collect())
    }

    /// The same by TLS only, among themselves too, and for [`crate::USER`] only, with these rights.
    ///
    /// # Panics
    /// When they do not come up.
    pub fn start_with_tls_and_user(rights: &str) -> Self {
        let certificates = process::directory();
        tls::write(&certificates);
        let node = || Redis::build().tls_of(&certificates).setting("tls-cluster yes").user(rights);
        let cluster = Self::of((0..3).map(|_| node()).collect());
        // Each has its own copy.
        let _ = fs::remove_dir_all(certificates);
        cluster
    }

    fn of(builders: Vec<RedisBuilder>) -> Self {
        let node = |node: RedisBuilder| {
            let node = node.setting("cluster-enabled yes").setting("cluster-node-timeout 1000");
            node.setting("cluster-require-full-coverage no").start()
        };
        let nodes: Vec<Redis> = builders.into_iter().map(node).collect();
        let mut create = nodes[0].cli_command();
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
        let ports: Vec<_> = self.nodes.iter().map(Redis::port).collect();
        self.nodes[0].url_to(&ports)
    }
}
