//! A server, its replica, and three Sentinels that put the one in the other's place.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::process::Running;
use crate::{PASSWORD, Redis, eventually, free_port, process, programs, tls};

/// What the Sentinels call the pair.
pub const MASTER: &str = "coordination";

/// Who may ask Sentinels that know their users; [`PASSWORD`] is theirs, too.
pub const SENTINEL_USER: &str = "watcher";

/// All that somebody needs of a Sentinel to find the master.
const OF_SENTINEL: &str = "-@all +sentinel|get-master-addr-by-name";

/// The pair, and who watches it.
pub struct Sentinels {
    /// The one that serves at first.
    pub first: Redis,
    /// The one that takes its place.
    pub second: Redis,
    /// Where the Sentinels listen.
    pub ports: Vec<u16>,
    secure: bool,
    dir: PathBuf,
    _running: Vec<Running>,
}

impl Sentinels {
    /// Starts all five and waits until the Sentinels know each other and the replica.
    ///
    /// # Panics
    /// When they do not come up.
    pub fn start() -> Self {
        Self::of(process::directory(), None)
    }

    /// The same by TLS only, among themselves too: the servers for [`crate::USER`] with these rights, the Sentinels for
    /// [`SENTINEL_USER`], and nobody else.
    ///
    /// # Panics
    /// When they do not come up.
    pub fn start_with_tls_and_users(rights: &str) -> Self {
        let dir = process::directory();
        tls::write(&dir);
        Self::of(dir, Some(rights))
    }

    fn of(dir: PathBuf, rights: Option<&str>) -> Self {
        let server = || match rights {
            None => Redis::build(),
            // Each is the replica of the other at some time.
            Some(rights) => Redis::build()
                .tls_of(&dir)
                .user(rights)
                .setting(&format!("tls-replication yes\nmasteruser admin\nmasterauth {PASSWORD}")),
        };
        let first = server().start();
        let second = server().setting(&format!("replicaof 127.0.0.1 {}", first.port())).start();
        eventually("the replica follows", || second.cli(&["info", "replication"]).contains("master_link_status:up"));
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let running = ports.iter().map(|port| {
            let file = dir.join(format!("sentinel-{port}.conf"));
            let listens = match rights {
                None => format!("port {port}\n"),
                Some(_) => tls::settings(*port, &dir) + "tls-replication yes\n",
            };
            let logs_in = match rights {
                None => String::new(),
                Some(_) => format!(
                    "sentinel auth-user {MASTER} admin\nsentinel auth-pass {MASTER} {PASSWORD}\n\
                     user default off\nuser admin on >{PASSWORD} ~* &* +@all\n\
                     user {SENTINEL_USER} on >{PASSWORD} {OF_SENTINEL}\n\
                     sentinel sentinel-user admin\nsentinel sentinel-pass {PASSWORD}\n"
                ),
            };
            let settings = format!(
                "bind 127.0.0.1\n{listens}dir {dir}\nsentinel monitor {MASTER} 127.0.0.1 {first} 2\n{logs_in}\
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
        let sentinels = Self { first, second, ports, secure: rights.is_some(), dir, _running: running };
        eventually("the Sentinels know all", || {
            sentinels.ports.iter().all(|port| {
                let known = sentinels.ask(*port, &["sentinel", "master", MASTER]);
                pair(&known, "num-slaves", "1") && pair(&known, "num-other-sentinels", "2")
            })
        });
        sentinels
    }

    /// Where they are, in the form of a configuration; with the user of the servers, where those have one.
    pub fn url(&self) -> String {
        self.first.url_to(&self.ports)
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

    fn ask(&self, port: u16, command: &[&str]) -> String {
        let mut cli = Command::new(programs::cli());
        cli.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        if self.secure {
            cli.args(["--tls", "--cacert"]).arg(self.dir.join("ca.crt"));
            cli.args(["--user", "admin", "--pass", PASSWORD, "--no-auth-warning"]);
        }
        String::from_utf8_lossy(&cli.args(command).output().expect("redis-cli is there").stdout).into_owned()
    }

    fn until_second_serves(&self) {
        let second = self.second.port().to_string();
        eventually("the replica is the master", || {
            let told = |port: &u16| self.ask(*port, &["sentinel", "get-master-addr-by-name", MASTER]).contains(&second);
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

/// Whether a value follows its name, a line each.
fn pair(text: &str, name: &str, value: &str) -> bool {
    text.lines().zip(text.lines().skip(1)).any(|(line, next)| line == name && next == value)
}
