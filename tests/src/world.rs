//! A whole gate: issuer, broker, Envoy with the filter, all real, all on loopback, all gone when it is dropped.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::LazyLock;

use postgres_counterpart::Server as Postgres;
use redis_counterpart::Redis;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{
    Authority, Broker, Envoy, Idp, Issuer, Program, Server, ServerBuilder, Upstream,
    dir::Dir,
    envoy::{Levels, Options},
    eventually, ports,
    size::{self, Size},
    store::Store,
};

/// The gate and its issuer.
pub struct World {
    /// The identity provider that callers' tokens come from.
    pub issuer: Issuer,
    /// Where people sign in, if they can.
    pub idp: Option<Idp>,
    /// The broker; the first, if there are several.
    pub broker: Broker,
    /// Those beside it, over the same store.
    pub others: Vec<Broker>,
    /// What they spare each other work by, where there may be several.
    pub redis: Option<Redis>,
    /// The proxy with the filter.
    pub envoy: Envoy,
    /// The authority that upstreams' certificates are checked against.
    pub authority: Authority,
    /// Origin of the gateway.
    pub public_url: String,
    dir: Dir,
}

/// What a test does to a configuration before it is used.
pub type Change = Box<dyn FnOnce(&mut Value) + Send>;

/// A world in the making.
#[derive(Default)]
pub struct WorldBuilder {
    concurrency: Option<u32>,
    levels: Levels,
    broker: Vec<Change>,
    envoy: Vec<Change>,
    issuer: Option<Issuer>,
    sign_in: bool,
    key_file: bool,
    embedded: bool,
    postgres: Option<&'static Postgres>,
    brokers: Option<usize>,
    redis: Between,
    program: Option<Program>,
}

/// What brokers over one database spare each other work by.
#[derive(Default)]
enum Between {
    /// A Redis of their own, where there may be several.
    #[default]
    Own,
    /// This one, by this URL.
    Given(Redis, String),
    Nothing,
}

static SHARED: LazyLock<OnceCell<World>> = LazyLock::new(OnceCell::new);

impl World {
    /// The world that the tests of one binary share: register servers, disturb nothing.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::build().start()).await
    }

    /// A world of its own, with defaults.
    pub async fn start() -> Self {
        Self::build().start().await
    }

    /// A world of its own.
    pub fn build() -> WorldBuilder {
        WorldBuilder::default()
    }

    /// A new server.
    pub fn server(&self) -> ServerBuilder<'_> {
        ServerBuilder::new(self)
    }

    /// A new server without outbound authentication.
    pub async fn open_server(&self) -> Server {
        self.server().register().await
    }

    /// A server that is registered already, or by other means.
    pub fn server_at(&self, name: &str, upstream: Upstream) -> Server {
        Server::new(name, upstream, self.envoy.gateway, &self.public_url)
    }

    /// One more proxy beside the first, with a changed bootstrap; it answers.
    pub async fn second_envoy(&self, change: impl FnOnce(&mut Value) + Send + 'static) -> Envoy {
        let envoy = self.second_envoy_unready(change);
        eventually("the second proxy answers", async || {
            tokio::net::TcpStream::connect(envoy.gateway).await.ok().map(drop)
        })
        .await;
        envoy
    }

    /// One more proxy, which may never answer.
    pub fn second_envoy_unready(&self, change: impl FnOnce(&mut Value) + Send + 'static) -> Envoy {
        let options = Options {
            gateway: ports::free(),
            broker_sockets: self.brokers().map(|broker| broker.grpc.clone()).collect(),
            concurrency: 1,
            levels: Levels::Usual,
            change: vec![Box::new(change)],
        };
        Envoy::spawned(self.dir.path(), options)
    }

    /// Every broker.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        std::iter::once(&self.broker).chain(&self.others)
    }

    /// Every broker.
    pub fn brokers_mut(&mut self) -> impl Iterator<Item = &mut Broker> {
        std::iter::once(&mut self.broker).chain(&mut self.others)
    }

    /// Brokers read manifests when they start: those beside the first start again, and know what it knows.
    pub async fn others_read_manifests(&mut self) {
        for other in &mut self.others {
            other.stop().await;
            other.start().await;
        }
    }

    /// Gives every broker a new master key in a file, as is documented for several of them: first to open with, then to seal
    /// with; each time they start again, one by one.
    pub async fn hand_over_to_a_new_key(&mut self) {
        let file = self.dir.path().join("key").join(crate::unique("master"));
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system has randomness");
        std::fs::write(&file, key).expect("the directory is writable");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("it is there");
        for is_first in [false, true] {
            for broker in self.brokers_mut() {
                broker.change(|config| {
                    let known = config["vault"]["keys"].as_array().cloned();
                    let mut keys =
                        known.unwrap_or_else(|| vec![serde_json::json!({"file": config["key_file"].take()})]);
                    config.as_object_mut().expect("a map").remove("key_file");
                    keys.retain(|key| key["file"] != file.to_string_lossy().as_ref());
                    keys.insert(if is_first { 0 } else { keys.len() }, serde_json::json!({"file": file}));
                    config["vault"] = serde_json::json!({"keys": keys});
                });
                broker.stop().await;
                broker.start().await;
            }
        }
    }

    /// One more broker over the same store, which no proxy knows; it is not started.
    pub fn another_broker(&self) -> Broker {
        self.broker.another(&self.dir.path().join(crate::unique("broker")))
    }

    /// Where everything of this world is kept.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }
}

impl WorldBuilder {
    /// Envoy's worker threads; one, if not said.
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = Some(workers);
        self
    }

    /// The broker logs at its finest, Envoy and the filter as said.
    pub fn trace(mut self, levels: Levels) -> Self {
        self.levels = levels;
        self.broker(|config| config["log"]["level"] = "trace".into())
    }

    /// Changes `sallyport.yaml`.
    pub fn broker(mut self, change: impl FnOnce(&mut Value) + Send + 'static) -> Self {
        self.broker.push(Box::new(change));
        self
    }

    /// Changes Envoy's bootstrap.
    pub fn envoy(mut self, change: impl FnOnce(&mut Value) + Send + 'static) -> Self {
        self.envoy.push(Box::new(change));
        self
    }

    /// How long the gateway serves without its broker.
    pub fn max_staleness(self, duration: &'static str) -> Self {
        self.broker(move |config| config["snapshot"]["max_staleness"] = duration.into())
    }

    /// People can sign in, at the real identity provider, whose tokens callers may show as well.
    pub fn sign_in(mut self) -> Self {
        self.sign_in = true;
        self
    }

    /// The same, where the secret of the client for sign-in is in this file, outside the world.
    pub fn sign_in_with_secret_in(mut self, file: std::path::PathBuf) -> Self {
        self.sign_in = true;
        self.broker(move |config| {
            let secret = config["sign_in"].as_object_mut().and_then(|sign_in| sign_in.remove("client_secret"));
            std::fs::write(&file, secret.as_ref().and_then(Value::as_str).expect("there is one"))
                .expect("it is writable");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("it is there");
            config["sign_in"]["client_secret_file"] = file.to_string_lossy().into();
        })
    }

    /// The master key is in a file, whatever the size of the gate.
    ///
    /// # Panics
    /// When the test's name does not say so: it is what `cargo xtask test` counts such tests on the fleet by.
    pub fn key_file(mut self) -> Self {
        size::is_said_by_the_test("key_file");
        self.key_file = true;
        self
    }

    /// One broker, with everything in its own directory, whatever the size of the gate.
    ///
    /// # Panics
    /// When the test's name does not say so: it is what `cargo xtask test` leaves such tests out of the fleet by.
    pub fn embedded(mut self) -> Self {
        size::is_said_by_the_test(size::EMBEDDED);
        self.embedded = true;
        self.key_file()
    }

    /// So many brokers over one database of Postgres, whatever the size of the gate; the proxy knows them all.
    pub fn brokers(mut self, count: usize) -> Self {
        self.brokers = Some(count);
        self
    }

    /// The same, in a Postgres that the test may break.
    pub fn postgres(mut self, server: &'static Postgres) -> Self {
        self.postgres = Some(server);
        self
    }

    /// Brokers reach this Redis, by this URL.
    pub fn redis(mut self, redis: Redis, url: String) -> Self {
        self.redis = Between::Given(redis, url);
        self
    }

    /// Brokers know nothing of each other but what is in their database.
    pub fn without_redis(mut self) -> Self {
        self.redis = Between::Nothing;
        self
    }

    /// Runs this build of the broker.
    pub fn program(mut self, program: Program) -> Self {
        self.program = Some(program);
        self
    }

    /// Uses an issuer that was started, and perhaps broken, before.
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// Starts it all and returns when the gateway is ready.
    pub async fn start(self) -> World {
        let mut world = self.start_unready().await;
        for broker in world.brokers_mut() {
            broker.until_ready().await;
        }
        world.envoy.until_ready().await;
        world
    }

    /// Starts it all and returns when the broker takes commands; it may never be ready.
    pub async fn start_unready(self) -> World {
        let dir = Dir::new();
        let issuer = match self.issuer {
            Some(issuer) => issuer,
            None => Issuer::start().await,
        };
        let authority = Authority::new();
        let ca_file = dir.path().join("upstreams.pem");
        std::fs::write(&ca_file, authority.pem()).expect("the directory is writable");
        let gateway = ports::free();
        let public_url = format!("http://127.0.0.1:{gateway}");
        let mut changes: Vec<Change> =
            vec![Box::new(move |config| config["upstream"] = serde_json::json!({"ca_file": ca_file}))];
        let idp = match self.sign_in {
            true => Some(Idp::start(dir.path()).await),
            false => None,
        };
        if let Some(idp) = &idp {
            changes.push(idp.signs_people_in(&public_url).await);
        }
        let size = if self.embedded { Size::Embedded } else { Size::of_environment() };
        if !self.key_file {
            changes.extend(size.master_key().await);
        }
        changes.extend(self.broker);
        let store = match (self.postgres, self.brokers) {
            (Some(server), _) => Store::in_postgres(server).await,
            (None, Some(_)) => Store::new(Size::Fleet).await,
            (None, None) => Store::new(size).await,
        };
        let (redis, url) = match (self.redis, &store) {
            (Between::Given(redis, url), _) => (Some(redis), Some(url)),
            (Between::Own, Store::Postgres(_)) => {
                let redis = Redis::start();
                let url = redis.url();
                (Some(redis), Some(url))
            }
            (Between::Own, Store::Sqlite) | (Between::Nothing, _) => (None, None),
        };
        let coordination: Option<Change> = url.map(|url| {
            let change: Change =
                Box::new(move |config| config["coordination"] = serde_json::json!({"redis": {"url": url}}));
            change
        });
        let changes = coordination.into_iter().chain(changes).collect();
        let program = self.program.unwrap_or_default();
        let mut broker = Broker::new(dir.path(), &public_url, &issuer.url, store, program, changes);
        let others = (1..self.brokers.unwrap_or(1)).map(|number| broker.another(&dir.path().join(number.to_string())));
        let mut others: Vec<_> = others.collect();
        // At once: tables and keys that all share are made by one of them, whichever it is.
        for broker in std::iter::once(&mut broker).chain(&mut others) {
            broker.spawn();
        }
        for broker in std::iter::once(&mut broker).chain(&mut others) {
            broker.until_alive().await;
        }
        let sockets = std::iter::once(&broker).chain(&others).map(|broker| broker.grpc.clone());
        let options = Options {
            gateway,
            broker_sockets: sockets.collect(),
            concurrency: self.concurrency.unwrap_or(1),
            levels: self.levels,
            change: self.envoy,
        };
        let envoy = Envoy::spawned(dir.path(), options);
        World { issuer, idp, broker, others, redis, envoy, authority, public_url, dir }
    }
}
