//! `sallyport.yaml`, read whole and typed: what is here was found good, and every flaw is told with its line (I8).

mod coordination;
mod grpc;
mod issuer;
mod read;
mod refresh;
mod secret;
mod sign_in;
mod store;
mod value;
mod vault;

pub use coordination::{Coordination, CoordinationError, Redis, Shape};
pub use grpc::{Grpc, PeerSocket, PeerTls};
pub use issuer::{Issuer, Profile};
pub use refresh::Refresh;
pub use secret::{SecretError, SecretSource};
pub use sign_in::SignIn;
pub use store::{AddressError, Postgres, Store};
pub(crate) use value::{duration, http_url, name, one_of, safe_url};
pub use value::{is_loopback, origin};
pub use vault::{MasterKey, Transit};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::model::Tenant;
use crate::yaml::Problem;

/// The configuration of one broker. Paths are absolute, or relative to the working directory of this process.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Which rules hold.
    pub mode: Mode,
    /// The one tenant of this deployment.
    pub tenant: Tenant,
    /// Origin of the gateway as callers see it, without a trailing slash; also the issuer of self-issued tokens.
    pub public_url: String,
    /// Where this broker keeps what is its own, and the store if it is SQLite.
    pub data_dir: PathBuf,
    /// Where everything durable is.
    pub store: Store,
    /// How several brokers spare each other work.
    pub coordination: Coordination,
    /// The master keys; never none, and the first is the current one.
    pub master_keys: Vec<MasterKey>,
    /// The filter's API.
    pub grpc: Grpc,
    /// The operator's API.
    pub admin: Admin,
    /// Health, metrics and public keys.
    pub http: Http,
    /// What the snapshot says besides servers and issuers.
    pub snapshot: Snapshot,
    /// What outbound fetches may reach.
    pub network: Network,
    /// How Envoy verifies upstreams.
    pub upstream: Upstream,
    /// Whose tokens callers may show, besides the broker's own.
    pub issuers: Vec<Issuer>,
    /// Where people sign in, if at one of them.
    pub sign_in: Option<SignIn>,
    /// When grants are refreshed that nobody waits for.
    pub refresh: Refresh,
    /// What is logged, and how.
    pub log: Log,
}

/// Which rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Broker and proxy run under different Unix users.
    Standard,
    /// One Unix user for everything; the broker says so at start.
    Demonstration,
}

/// The operator's API.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Unix socket; its directory gets 0700 and itself 0600.
    pub socket: PathBuf,
}

/// Health, metrics and public keys.
#[derive(Clone, Debug)]
pub struct Http {
    /// Address to listen on.
    pub listen: SocketAddr,
}

/// What the snapshot says besides servers and issuers.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// How long a proxy may serve without hearing from the broker; at most five minutes (I11).
    pub max_staleness: Duration,
    /// Values of `Origin` that browsers may send besides `public_url`.
    pub allowed_origins: Vec<String>,
    /// Authorities that the gateway answers to besides that of `public_url`.
    pub allowed_hosts: Vec<String>,
}

/// What outbound fetches may reach.
#[derive(Clone, Debug)]
pub struct Network {
    /// Private ranges that may be reached all the same.
    pub allow: Vec<IpNet>,
    /// PEM bundle of certificate authorities, in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// How Envoy verifies upstreams.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// PEM bundle of certificate authorities, in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Log {
    /// Least severe level that is written.
    pub level: Level,
    /// One JSON object a line, or text for people.
    pub format: LogFormat,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `error`
    Error,
    /// `warn`
    Warn,
    /// `info`
    Info,
    /// `debug`
    Debug,
    /// `trace`
    Trace,
}

impl Level {
    /// The name in the configuration, which is also `tracing`'s.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It has flaws; all of them are here.
    #[error("{} has {} problem(s)", file.display(), problems.len())]
    Bad {
        /// Which file.
        file: PathBuf,
        /// In order of lines; never empty.
        problems: Vec<Problem>,
    },
    /// A file that the configuration names.
    #[error("{}: {field}: cannot read {}", file.display(), named.display())]
    Named {
        /// Which configuration.
        file: PathBuf,
        /// Which field.
        field: &'static str,
        /// What it names.
        named: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Config {
    /// Reads and checks a file; relative paths in it are relative to its directory.
    ///
    /// # Errors
    /// If the file cannot be read, or with every problem it has.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
        Self::from_text(file, &text)
    }

    /// Checks a configuration that was read from `file`.
    ///
    /// # Errors
    /// With every problem it has.
    pub fn from_text(file: &Path, text: &str) -> Result<Self, ConfigError> {
        read::config(file, text).map_err(|problems| ConfigError::Bad { file: file.to_owned(), problems })
    }

    /// Opens every file that the configuration names and that must be there before the start.
    ///
    /// # Errors
    /// With the first that cannot be read.
    pub fn check_files(&self) -> Result<(), ConfigError> {
        let client_secret = self.sign_in.as_ref().and_then(SignIn::client_secret_file);
        let (store_url, store_ca) = match &self.store {
            Store::Sqlite => (None, None),
            Store::Postgres(postgres) => (postgres.url.file(), postgres.ca_file.as_deref()),
        };
        let tls = self.grpc.tls.as_ref();
        let of_redis = match &self.coordination {
            Coordination::InProcess => Vec::new(),
            Coordination::Redis(redis) => redis.files(),
        };
        let named = [
            ("grpc.tls.certificate_file", tls.map(|tls| &*tls.certificate_file)),
            ("grpc.tls.key_file", tls.map(|tls| &*tls.key_file)),
            ("grpc.tls.client_ca_file", tls.map(|tls| &*tls.client_ca_file)),
            ("network.ca_file", self.network.ca_file.as_deref()),
            ("sign_in.client_secret_file", client_secret),
            ("store.postgres.ca_file", store_ca),
            ("store.postgres.url_file", store_url),
            ("upstream.ca_file", self.upstream.ca_file.as_deref()),
        ];
        let named = named.into_iter().filter_map(|(field, named)| named.map(|named| (field, named)));
        let of_keys = self.master_keys.iter().flat_map(MasterKey::files);
        for (field, named) in named.chain(of_redis).chain(of_keys) {
            std::fs::File::open(named).map_err(|source| ConfigError::Named {
                file: self.file.clone(),
                field,
                named: named.to_owned(),
                source,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
