//! The broker: the real binary, its configuration file, and the operator's command line.

use std::{
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{Child, Database, Program, eventually, kms, ports, setup, store::Store, world::Change};

/// A running broker.
pub struct Broker {
    /// Its configuration file.
    pub config: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    /// The filter's socket.
    pub grpc: PathBuf,
    /// The operator's socket.
    pub admin: PathBuf,
    /// Its HTTP listener.
    pub http: SocketAddr,
    dir: PathBuf,
    log: PathBuf,
    store: Store,
    program: Program,
    child: Option<Child>,
}

/// What a command of the operator ended with.
#[derive(Debug)]
pub struct Output {
    /// Exit code 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The Unix user that runs the tests.
fn own_uid() -> u32 {
    std::fs::metadata("/proc/self").expect("proc is mounted").uid()
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        Self {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Output {
    /// Standard output of a command that went well.
    ///
    /// # Panics
    /// When it did not.
    pub fn ok(self) -> String {
        assert!(self.success, "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

const DATA: &str = "data";
const GRPC: &str = "run/broker.sock";
const ADMIN: &str = "admin/admin.sock";

/// What no two brokers of one machine may share.
fn place(config: &mut Value, dir: &Path, http: SocketAddr) {
    config["data_dir"] = json!(dir.join(DATA));
    // The owner of the key may be a peer only because this is a demonstration.
    config["grpc"] = json!({"socket": dir.join(GRPC), "allowed_peer_uids": [own_uid()]});
    config["admin"] = json!({"socket": dir.join(ADMIN)});
    config["http"] = json!({"listen": http.to_string()});
}

impl Broker {
    /// Writes the configuration: that of a demonstration on loopback, changed by the test.
    pub(crate) fn new(
        dir: &Path,
        public_url: &str,
        issuer: &str,
        store: Store,
        program: Program,
        change: Vec<Change>,
    ) -> Self {
        let http = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let mut config = json!({
            "mode": "demonstration",
            "tenant": "demo",
            "public_url": public_url,
            "key_file": dir.join("key/master.key"),
            "network": {"allow": ["127.0.0.0/8", "::1/128"]},
            "issuers": [{"issuer": issuer, "login": true, "algorithms": ["RS256", "ES256", "EdDSA"]}],
            "log": {"level": "info", "format": "json"},
        });
        place(&mut config, dir, http);
        for change in store.change().into_iter().chain(change) {
            change(&mut config);
        }
        Self::of(&config, dir, http, store, program)
    }

    /// One more like it, over the same store and with the same master key, in a directory of its own; it is not started.
    pub(crate) fn another(&self, dir: &Path) -> Self {
        std::fs::create_dir(dir).expect("the directory is new");
        let config = std::fs::read(&self.config).expect("it was written");
        let mut config = serde_json::from_slice(&config).expect("JSON is YAML, and ours is JSON");
        let http = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        place(&mut config, dir, http);
        Self::of(&config, dir, http, self.store.clone(), self.program.clone())
    }

    fn of(config: &Value, dir: &Path, http: SocketAddr, store: Store, program: Program) -> Self {
        let file = dir.join("sallyport.yaml");
        std::fs::write(&file, format!("{config:#}")).expect("the directory is writable");
        Self {
            config: file,
            data: dir.join(DATA),
            grpc: dir.join(GRPC),
            admin: dir.join(ADMIN),
            http,
            dir: dir.to_path_buf(),
            log: dir.join("broker.log"),
            store,
            program,
            child: None,
        }
    }

    /// Changes its configuration, for its next start.
    ///
    /// # Panics
    /// When the file is not as it was written.
    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        let text = std::fs::read(&self.config).expect("it was written");
        let mut config: Value = serde_json::from_slice(&text).expect("it is JSON");
        change(&mut config);
        std::fs::write(&self.config, format!("{config:#}")).expect("the directory is writable");
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&mut self) {
        self.spawn();
        self.until_ready().await;
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn until_ready(&mut self) {
        self.until("readyz").await;
    }

    /// Waits until it takes commands.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn until_alive(&mut self) {
        self.until("healthz").await;
    }

    async fn until(&mut self, page: &str) {
        let url = format!("http://{}/{page}", self.http);
        let client = reqwest::Client::new();
        eventually(&format!("the broker's {page}"), async || {
            let ended = self.child.as_mut().and_then(Child::ended);
            assert!(ended.is_none(), "the broker ended: {ended:?}");
            client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200).then_some(())
        })
        .await;
    }

    /// Its store, for what no page and no command can do.
    ///
    /// # Panics
    /// When there is none yet.
    pub async fn database(&self) -> Database {
        self.store.open(&self.data).await
    }

    /// The files that commits go to first: what is on disk of them is durable.
    ///
    /// # Panics
    /// When they cannot be listed.
    pub fn commit_logs(&self) -> Vec<PathBuf> {
        self.store.commit_logs(&self.data)
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    pub(crate) fn store(&self) -> Store {
        self.store.clone()
    }

    /// Every byte that somebody who gets hold of its store reads, by where.
    pub fn dump(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.store.dump(&self.data)
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> bool {
        self.child.as_mut().and_then(Child::ended).is_some()
    }

    /// Whether its process is there.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.ended().is_none())
    }

    /// Whether it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        reqwest::get(format!("http://{}/readyz", self.http)).await.is_ok_and(|answer| answer.status() == 200)
    }

    /// Starts it and does not wait.
    pub fn spawn(&mut self) {
        self.spawn_as(self.program.command());
    }

    /// Starts one that ends as by `kill -9` when it reaches this point of a refresh, and waits until it is ready.
    pub async fn start_to_end_at(&mut self, point: &str) {
        let mut command = Command::new(&setup().broker_failpoints);
        command.env("SALLYPORT_FAILPOINT", point);
        self.spawn_as(command);
        self.until_ready().await;
    }

    /// Starts one that keeps what is open in memory for so long only, and waits until it is ready.
    pub async fn start_forgetting(&mut self, after: Duration) {
        let mut command = Command::new(&setup().broker_failpoints);
        command.env("SALLYPORT_OPENED_MS", after.as_millis().to_string());
        self.spawn_as(command);
        self.until_ready().await;
    }

    /// Starts one on a machine whose clock is ahead by so many milliseconds, or behind, and waits until it is ready.
    pub async fn start_with_clock_off(&mut self, by_ms: i64) {
        let mut command = Command::new(&setup().broker_failpoints);
        command.env("SALLYPORT_CLOCK_OFF_MS", by_ms.to_string());
        self.spawn_as(command);
        self.until_ready().await;
    }

    fn spawn_as(&mut self, mut command: Command) {
        command.arg("serve").arg("-c").arg(&self.config).current_dir(&self.dir);
        command.envs(kms::CREDENTIALS);
        self.child = Some(Child::start(command, &self.log));
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Aborts it, as a bug would; answers how it ended.
    ///
    /// # Panics
    /// When it was ended.
    pub async fn aborted(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("it runs");
        child.abort();
        let ended = crate::eventually("it ends", async || child.ended()).await;
        self.child = None;
        ended
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Panics
    /// When it does not within 25 seconds: the drain lasts 20 at most.
    pub async fn stop(&mut self) {
        let Some(child) = &mut self.child else { return };
        child.terminate();
        crate::eventually_within(Duration::from_secs(25), "the broker ends", async || child.ended()).await;
        self.child = None;
    }

    /// The process.
    ///
    /// # Panics
    /// When it was ended.
    pub fn child(&self) -> &Child {
        self.child.as_ref().expect("it runs")
    }

    /// Its log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Runs `sallyport` with these arguments and this broker's configuration.
    pub async fn command(&self, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(&setup().broker);
        command.args(arguments).arg("-c").arg(&self.config).current_dir(&self.dir).kill_on_drop(true);
        command.envs(kms::CREDENTIALS);
        Output::from(command.output().await.expect("the binary is there"))
    }

    /// `sallyport serve` with another configuration, which is expected to refuse; cut off after ten seconds.
    pub async fn serve_with(&self, config: &Value) -> Output {
        let file = self.dir.join(format!("{}.yaml", crate::unique("sallyport")));
        std::fs::write(&file, format!("{config:#}")).expect("the directory is writable");
        let mut command = tokio::process::Command::new(&setup().broker);
        command.args(["serve", "-c"]).arg(&file).current_dir(&self.dir).kill_on_drop(true);
        command.envs(kms::CREDENTIALS);
        let output = tokio::time::timeout(Duration::from_secs(10), command.output()).await;
        std::fs::remove_file(&file).expect("just written");
        match output {
            Ok(output) => Output::from(output.expect("the binary is there")),
            Err(_) => Output { success: true, stdout: String::new(), stderr: "it serves".to_owned() },
        }
    }

    /// `sallyport apply -f` of these manifests, one document after the other.
    pub async fn apply(&self, manifests: &[Value]) -> Output {
        let documents: Vec<String> = manifests.iter().map(|manifest| format!("{manifest:#}")).collect();
        self.apply_text(&documents.join("\n---\n")).await
    }

    /// `sallyport apply -f` of a file with this text.
    pub async fn apply_text(&self, text: &str) -> Output {
        let file = self.dir.join(format!("{}.yaml", crate::unique("manifest")));
        std::fs::write(&file, text).expect("the directory is writable");
        let output = self.command(&["apply", "-f", &file.to_string_lossy()]).await;
        std::fs::remove_file(&file).expect("just written");
        output
    }

    /// Stores a secret that manifests of this owner may refer to; returns the reference.
    pub async fn set_secret(&self, group: &str, key: &str, value: &str, owner: &str) -> String {
        self.share_secret(group, key, value, &[owner]).await
    }

    /// The same, for manifests of several owners.
    pub async fn share_secret(&self, group: &str, key: &str, value: &str, owners: &[&str]) -> String {
        let file = self.dir.join(crate::unique("secret"));
        std::fs::write(&file, value).expect("the directory is writable");
        let path = file.to_string_lossy();
        let name = format!("{group}:{key}");
        let set = ["secret", "set", &name, "--from-file", &path, "--owner"];
        self.command(&[&set, owners].concat()).await.ok();
        std::fs::remove_file(&file).expect("just written");
        format!("tfy-secret://demo:{group}:{key}")
    }

    /// `sallyport token issue`; `whom` is `--user` or `--virtual-account`.
    pub async fn issue_token(&self, whom: &str, name: &str, ttl: &str) -> String {
        let output = self.command(&["token", "issue", whom, name, "--ttl", ttl]).await.ok();
        output.split_whitespace().find(|word| word.starts_with("ey")).expect("a token").to_owned()
    }

    /// `sallyport token revoke` of a token the broker issued.
    pub async fn revoke_token(&self, token: &str) {
        let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).expect("a token");
        let claims: Value = serde_json::from_slice(&claims).expect("claims");
        self.command(&["token", "revoke", claims["jti"].as_str().expect("an id")]).await.ok();
    }
}
