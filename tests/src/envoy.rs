//! Envoy as users run it: the shipped bootstrap, with its five site values replaced by type.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{Child, eventually, ports, setup, setup::root, world::Change};

/// A running Envoy.
pub struct Envoy {
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// Where its admin interface listens.
    pub admin: SocketAddr,
    config: PathBuf,
    log: PathBuf,
    concurrency: u32,
    levels: Levels,
    child: Option<Child>,
}

/// What it logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Levels {
    /// Warnings, and what the filter says to operators.
    #[default]
    Usual,
    /// Everything.
    Trace,
    /// Everything but what users are told to hold back.
    TraceButPinned,
}

/// `envoy/component-log-level`: the components that print requests, held back as users start Envoy.
///
/// # Panics
/// When there is no such file.
pub fn pinned() -> String {
    let file = root().join("envoy/component-log-level");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.trim().to_owned()
}

/// What the tests decide about Envoy.
pub(crate) struct Options {
    pub(crate) gateway: u16,
    pub(crate) broker_sockets: Vec<PathBuf>,
    pub(crate) concurrency: u32,
    pub(crate) levels: Levels,
    pub(crate) change: Vec<Change>,
}

impl Envoy {
    /// Starts it and does not wait.
    pub(crate) fn spawned(dir: &Path, options: Options) -> Self {
        let admin = ports::free();
        let config = dir.join(format!("envoy-{admin}.json"));
        let mut bootstrap = bootstrap(options.gateway, admin, &options.broker_sockets);
        for change in options.change {
            change(&mut bootstrap);
        }
        std::fs::write(&config, bootstrap.to_string()).expect("the directory is writable");
        let mut envoy = Self {
            gateway: SocketAddr::from(([127, 0, 0, 1], options.gateway)),
            admin: SocketAddr::from(([127, 0, 0, 1], admin)),
            config,
            log: dir.join(format!("envoy-{admin}.log")),
            concurrency: options.concurrency,
            levels: options.levels,
            child: None,
        };
        envoy.spawn();
        envoy
    }

    /// Starts it again after [`Envoy::kill`].
    pub async fn restart(&mut self) {
        self.spawn();
        self.until_ready().await;
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// The process.
    ///
    /// # Panics
    /// When it was killed.
    pub fn child(&self) -> &Child {
        self.child.as_ref().expect("it runs")
    }

    /// Its log, access log included.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// A page of the admin interface.
    pub async fn admin(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.admin);
        let answer = reqwest::get(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        answer.text().await.unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// The sum of all counters and gauges whose name contains this.
    pub async fn stat(&self, name: &str) -> u64 {
        let stats = self.admin("/stats").await;
        let values = stats.lines().filter_map(|line| line.split_once(": ")).filter(|(stat, _)| stat.contains(name));
        values.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> bool {
        self.child.as_mut().and_then(Child::ended).is_some()
    }

    /// Starts it and does not wait.
    pub fn spawn(&mut self) {
        let mut command = Command::new(&setup().envoy);
        command.arg("-c").arg(&self.config).arg("--disable-hot-restart");
        command.arg("--concurrency").arg(self.concurrency.to_string());
        match self.levels {
            Levels::Usual => command.args(["--log-level", "warn", "--component-log-level", "wasm:info"]),
            Levels::Trace => command.args(["--log-level", "trace"]),
            Levels::TraceButPinned => command.args(["--log-level", "trace", "--component-log-level", &pinned()]),
        };
        self.child = Some(Child::start(command, &self.log));
    }

    /// Waits until the gateway says that it is ready.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn until_ready(&mut self) {
        let url = format!("http://{}/sallyport/ready", self.gateway);
        let client = reqwest::Client::new();
        eventually("the gateway is ready", async || {
            let ended = self.child.as_mut().and_then(Child::ended);
            assert!(ended.is_none(), "envoy ended: {ended:?}");
            client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200).then_some(())
        })
        .await;
    }
}

/// Where the filter stands in the bootstrap.
const PLUGIN: &str =
    "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/config";

/// Loads another module.
pub fn set_module(config: &mut Value, module: &Path) {
    replace(config, &format!("{PLUGIN}/vm_config/code/local/filename"), json!(module));
}

/// Gives the filter another configuration.
pub fn set_plugin_configuration(config: &mut Value, text: &str) {
    replace(config, &format!("{PLUGIN}/configuration/value"), json!(text));
}

/// Changes a field of the plugin.
pub fn set_plugin(config: &mut Value, field: &str, value: Value) {
    replace(config, &format!("{PLUGIN}/{field}"), value);
}

/// Changes a field of the connection manager.
pub fn set_manager(config: &mut Value, field: &str, value: Value) {
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    replace(config, &format!("{manager}/{field}"), value);
}

/// Reaches a broker on another machine, by the lines of the bootstrap that are marked for that. In `files` are
/// `proxy.crt`, `proxy.key` and `brokers.pem`.
pub fn set_broker_over_tls(config: &mut Value, broker: SocketAddr, files: &Path) {
    let text = shipped().replace("#mtls", "").replace("/etc/sallyport/mtls/", &format!("{}/", files.display()));
    let mut marked: Value = serde_saphyr::from_str(&text).expect("the marked lines are YAML too");
    let cluster = "/static_resources/clusters/0";
    let address = json!({"socket_address": {"address": broker.ip(), "port_value": broker.port()}});
    replace(&mut marked, &format!("{cluster}/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address"), address);
    replace(config, cluster, marked.pointer(cluster).expect("it was just replaced").clone());
}

fn shipped() -> String {
    let file = root().join("envoy/envoy.yaml");
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn bootstrap(gateway: u16, admin: u16, broker_sockets: &[PathBuf]) -> Value {
    let mut bootstrap: Value =
        serde_saphyr::from_str(&shipped()).unwrap_or_else(|error| panic!("envoy/envoy.yaml: {error}"));
    let gateway_address = json!({"socket_address": {"address": "127.0.0.1", "port_value": gateway}});
    let admin_address = json!({"socket_address": {"address": "127.0.0.1", "port_value": admin}});
    replace(&mut bootstrap, "/node/id", json!(crate::unique("gateway")));
    replace(&mut bootstrap, "/admin/address", admin_address);
    replace(&mut bootstrap, "/static_resources/listeners/0/address", gateway_address);
    set_module(&mut bootstrap, &setup().wasm);
    let endpoint = |socket: &PathBuf| json!({"endpoint": {"address": {"pipe": {"path": socket}}}});
    let endpoints = broker_sockets.iter().map(endpoint).collect();
    replace(&mut bootstrap, "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints", endpoints);
    bootstrap
}

/// Replaces what is there: a bootstrap of another shape is an error, not an addition.
fn replace(config: &mut Value, pointer: &str, value: Value) {
    *config.pointer_mut(pointer).unwrap_or_else(|| panic!("envoy.yaml has no {pointer}")) = value;
}
