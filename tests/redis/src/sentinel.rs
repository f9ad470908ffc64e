//! A server, its replica, and three Sentinels that put the one in the other's place.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::process::Running;
use crate::{Redis, eventually, free_port, process, programs};

/// What the Sentinels call the pair.
pub const MASTER: &str = "coordination";

/// The pair, and who watches it.
pub struct Sentinels {
    /// The one that serves at first.
    pub first: Redis,
    /// The one that takes its place.
    pub second: Redis,
    /// Where the Sentinels listen.
    pub ports: Vec<u16>,
    dir: PathBuf,
    _running: Vec<Running>,
}

impl Sentinels {
    /// Starts all five and waits until the Sentinels know each other and the replica.
    ///
    /// # Panics
    /// When they do not come up.
    pub fn start() -> Self {
        let first = Redis::start();
        let second = Redis::build().setting(&format!("replicaof 127.0.0.1 {}", first.port())).start();
        eventually("the replica follows", || second.cli(&["info", "replication"]).contains("master_link_status:up"));
        let dir = process::directory();
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let running = ports.iter().map(|port| {
            let file = dir.join(format!("sentinel-{port}.conf"));
            let settings = format!(
                "bind 127.0.0.1\nport {port}\ndir {dir}\nsentinel monitor {MASTER} 127.0.0.1 {first} 2\n\
                 sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 3000\n",
                dir = dir.display(),
                first = first.port()
            );
            fs::write(&file, settings).expect("the directory is writable");
            let mut sentinel = Command::new(programs::server());
            sentinel.arg(&file).arg("--sentinel");
            Running::start(sentinel, &dir.join(format!("sentinel-{port}.log")))
        });
        let running = running.collect();
        let sentinels = Self { first, second, ports, dir, _running: running };
        eventually("the Sentinels know all", || {
            sentinels.ports.iter().all(|port| {
                let known = ask(*port, &["sentinel", "master", MASTER]);
                pair(&known, "num-slaves", "1") && pair(&known, "num-other-sentinels", "2")
            })
        });
        sentinels
    }

    /// Where they are, in the form of a configuration.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis://{}", hosts.join(","))
    }

    /// Kills the one that serves, after everything that its replica had of it is gone, and waits until that one serves.
    ///
    /// # Panics
    /// When the Sentinels do not put it in its place.
    pub fn fail_over_to_nothing(&mut self) {
        self.second.cli(&["config", "set", "replica-read-only", "no"]);
        self.first.kill();
        self.second.cli(&["flushall"]);
        self.until_second_serves();
    }

    fn until_second_serves(&self) {
        let second = self.second.port().to_string();
        eventually("the replica is the master", || {
            let told = |port: &u16| ask(*port, &["sentinel", "get-master-addr-by-name", MASTER]).contains(&second);
            self.ports.iter().all(told) && self.second.cli(&["role"]).starts_with("master")
        });
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        self._running.clear();
        // Best effort: what is left is removed by who comes next.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn ask(port: u16, command: &[&str]) -> String {
    let output = Command::new(programs::cli()).args(["-p", &port.to_string()]).args(command).output();
    String::from_utf8_lossy(&output.expect("redis-cli is there").stdout).into_owned()
}

/// Whether a value follows its name, a line each.
fn pair(text: &str, name: &str, value: &str) -> bool {
    text.lines().zip(text.lines().skip(1)).any(|(line, next)| line == name && next == value)
}
