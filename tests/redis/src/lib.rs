//! Real Redis servers for the tests of one process: alone, with Sentinels, as a cluster, and a link to any of them that can
//! be slow, or cut.
//!
//! Each runs in a directory of its own, on loopback, and ends with what it was started for, or with the process, however
//! that ends.

mod cluster;
mod link;
mod process;
mod programs;
mod sentinel;
mod tls;

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use process::Running;

pub use cluster::Cluster;
pub use link::{Link, Mode};
pub use sentinel::{MASTER, SENTINEL_USER, Sentinels};

#[cfg(test)]
mod tests;

/// The user of a server that knows one only, and its password: with every character that a URL must escape.
pub const USER: &str = "sallyport";
/// See [`USER`].
pub const PASSWORD: &str = "p@ss/w:rd?#%";

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// One server.
pub struct Redis {
    dir: PathBuf,
    port: u16,
    tls: bool,
    user: bool,
    running: Option<Running>,
}

/// A server in the making.
#[derive(Default)]
pub struct RedisBuilder {
    tls: bool,
    /// Where certificate, key and authority are; its own directory, where nothing is said.
    certificates: Option<PathBuf>,
    acl: Option<String>,
    settings: String,
}

/// Every command that a server was sent, as `MONITOR` tells it.
pub struct Monitor {
    transcript: PathBuf,
    _running: Running,
}

impl Redis {
    /// A server that anybody on this machine may use, and that writes everything down.
    pub fn start() -> Self {
        Self::build().start()
    }

    /// A server in the making.
    pub fn build() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it is; [`USER`] and [`PASSWORD`] are part of it, where it has a user.
    pub fn url(&self) -> String {
        self.url_by(self.port)
    }

    /// The same, by another port: that of a [`Link`].
    pub fn url_by(&self, port: u16) -> String {
        self.url_to(&[port])
    }

    /// The same, to several that are like it.
    fn url_to(&self, ports: &[u16]) -> String {
        let (scheme, host) = if self.tls { ("rediss", "localhost") } else { ("redis", "127.0.0.1") };
        let user = if self.user { format!("{USER}:p%40ss%2Fw%3Ard%3F%23%25@") } else { String::new() };
        let hosts: Vec<_> = ports.iter().map(|port| format!("{host}:{port}")).collect();
        format!("{scheme}://{user}{}", hosts.join(","))
    }

    /// The authority of its certificate for `localhost`.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Where it writes everything down.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `redis-cli` answers to a command, as whoever may do all.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn cli(&self, command: &[&str]) -> String {
        self.try_cli(command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    fn try_cli(&self, command: &[&str]) -> Result<String, String> {
        let output = self.cli_command().args(command).output().expect("redis-cli is there");
        let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        let is_well = output.status.success() && !said.starts_with("LOADING") && !said.starts_with("MASTERDOWN");
        if is_well { Ok(said) } else { Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr))) }
    }

    fn cli_command(&self) -> Command {
        let mut command = Command::new(programs::cli());
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).stdin(Stdio::null());
        if self.tls {
            command.args(["--tls", "--sni", "localhost", "--cacert"]).arg(self.ca_file());
        }
        if self.user {
            command.args(["--user", "admin", "--pass", PASSWORD, "--no-auth-warning"]);
        }
        command
    }

    /// Writes down every command from here on.
    ///
    /// # Panics
    /// When the server does not tell.
    pub fn monitor(&self) -> Monitor {
        let transcript = self.dir.join("monitor.txt");
        let mut command = self.cli_command();
        command.arg("monitor");
        let running = Running::start(command, &transcript);
        eventually("the server tells every command", || {
            fs::read_to_string(&transcript).is_ok_and(|text| text.starts_with("OK"))
        });
        Monitor { transcript, _running: running }
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it again, with what it has written down.
    pub fn restart(&mut self) {
        self.kill();
        self.run();
    }

    /// Starts it again with nothing.
    pub fn restart_empty(&mut self) {
        self.kill();
        for name in ["appendonlydir", "dump.rdb"] {
            let path = self.dir.join(name);
            // One of them may not be there.
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        self.run();
    }

    /// Lets it do nothing and answer nobody, with its connections open.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.running.as_ref().expect("it runs").pid().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().expect("kill is there");
        assert!(status.success(), "kill -s {name} {pid}: {status}");
    }

    /// Starts it, and again if it ends before it answers: somebody's signal may have been meant for a process whose number it
    /// has got, and somebody else may have taken its port.
    fn run(&mut self) {
        let until = Instant::now() + PATIENCE;
        self.spawn();
        while let Err(error) = self.try_cli(&["ping"]) {
            let log = fs::read_to_string(self.dir.join("redis.log")).unwrap_or_default();
            assert!(Instant::now() < until, "Redis does not answer: {error}\n{log}");
            if self.running.as_mut().is_none_or(Running::has_ended) {
                self.spawn();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn spawn(&mut self) {
        let mut server = Command::new(programs::server());
        server.arg(self.dir.join("redis.conf"));
        self.running = Some(Running::start(server, &self.dir.join("redis.log")));
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        // Best effort: what is left is removed by who comes next.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl RedisBuilder {
    /// By TLS only, as `localhost`.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The same, with the certificate of others that are to believe it: what is in this directory.
    pub(crate) fn tls_of(mut self, certificates: &Path) -> Self {
        self.certificates = Some(certificates.to_owned());
        self.tls()
    }

    /// [`USER`] only, with these rights; besides an administrator for [`Redis::cli`].
    pub fn user(mut self, rights: &str) -> Self {
        self.acl = Some(rights.to_owned());
        self
    }

    /// One more line of its configuration.
    pub fn setting(mut self, line: &str) -> Self {
        // Writing to a String cannot fail.
        let _ = writeln!(self.settings, "{line}");
        self
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(self) -> Redis {
        let dir = process::directory();
        let port = free_port();
        let mut settings = format!(
            "bind 127.0.0.1\ndir {dir}\nappendonly yes\nappendfsync always\nsave 1 1\nenable-debug-command local\n{}",
            self.settings,
            dir = dir.display()
        );
        settings += &if self.tls {
            match &self.certificates {
                None => tls::write(&dir),
                Some(shared) => tls::copy(shared, &dir),
            }
            tls::settings(port, &dir)
        } else {
            format!("port {port}\n")
        };
        if let Some(rights) = &self.acl {
            settings += &format!(
                "user default off\nuser admin on >{PASSWORD} ~* &* +@all\nuser {USER} on >{PASSWORD} {rights}\n"
            );
        }
        fs::write(dir.join("redis.conf"), settings).expect("the directory is writable");
        let mut redis = Redis { dir, port, tls: self.tls, user: self.acl.is_some(), running: None };
        redis.run();
        redis
    }
}

impl Monitor {
    /// Every command so far.
    ///
    /// # Panics
    /// When the transcript is gone.
    pub fn transcript(&self) -> Vec<u8> {
        fs::read(&self.transcript).expect("it is written")
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
