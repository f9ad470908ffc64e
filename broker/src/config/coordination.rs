//! How several brokers spare each other work.

use std::path::{Path, PathBuf};

use super::secret::{SecretError, SecretSource, secret};
use crate::coordination::{Address, Login, Nodes, UrlFlaw};
use crate::yaml::{Field, Fields, Flaw};

/// How several brokers spare each other work.
#[derive(Clone, Debug)]
pub enum Coordination {
    /// Not at all: there is one, or the store is enough.
    InProcess,
    /// Through Redis.
    Redis(Box<Redis>),
}

/// Redis, and who we are to it.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Its URL, which may hold the password.
    pub url: SecretSource,
    /// What is there.
    pub shape: Shape,
    /// PEM bundle of certificate authorities, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Where it is not in the URL.
    pub username: Option<String>,
    /// Where it is not in the URL.
    pub password: Option<SecretSource>,
}

/// What is at the URL.
#[derive(Clone, Debug)]
pub enum Shape {
    /// One server.
    Alone,
    /// Nodes of a cluster.
    Cluster,
    /// Sentinels.
    Sentinel {
        /// Their name for the master.
        master: String,
        /// Who we are to them.
        username: Option<String>,
        /// Likewise.
        password: Option<SecretSource>,
    },
}

/// Why there is no address of Redis.
#[derive(Debug, thiserror::Error)]
pub enum CoordinationError {
    /// URL or password are not where the configuration says.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The authorities cannot be read.
    #[error("coordination.redis.ca_file: cannot be read")]
    Authority(#[source] std::io::Error),
    /// It is no URL of Redis.
    #[error("coordination.redis.url {0}")]
    Url(#[from] UrlFlaw),
}

impl Redis {
    /// Where Redis is.
    ///
    /// # Errors
    /// [`CoordinationError`].
    pub fn address(&self) -> Result<Address, CoordinationError> {
        let read = |source: &Option<SecretSource>, field| source.as_ref().map(|source| source.read(field)).transpose();
        let password = read(&self.password, "coordination.redis.password")?;
        let (nodes, username, sentinel_password) = match &self.shape {
            Shape::Alone => (Nodes::Alone, None, None),
            Shape::Cluster => (Nodes::Cluster, None, None),
            Shape::Sentinel { master, username, password } => {
                let password = read(password, "coordination.redis.sentinel.password")?;
                (Nodes::Sentinels(master), username.as_deref(), password)
            }
        };
        let ca_pem = self.ca_file.as_ref().map(std::fs::read).transpose().map_err(CoordinationError::Authority)?;
        Ok(Address::new(
            &self.url.read("coordination.redis.url")?,
            nodes,
            Login { username: self.username.as_deref(), password: password.as_ref() },
            Login { username, password: sentinel_password.as_ref() },
            ca_pem.as_deref(),
        )?)
    }

    /// Every file that it names, and the field that does.
    pub(super) fn files(&self) -> Vec<(&'static str, &Path)> {
        let of_sentinels = match &self.shape {
            Shape::Alone | Shape::Cluster => None,
            Shape::Sentinel { password, .. } => password.as_ref(),
        };
        [
            ("coordination.redis.url_file", self.url.file()),
            ("coordination.redis.ca_file", self.ca_file.as_deref()),
            ("coordination.redis.password_file", self.password.as_ref().and_then(SecretSource::file)),
            ("coordination.redis.sentinel.password_file", of_sentinels.and_then(SecretSource::file)),
        ]
        .into_iter()
        .filter_map(|(field, file)| file.map(|file| (field, file)))
        .collect()
    }
}

pub(super) fn coordination(field: &Field<'_>, base: &Path) -> Option<Coordination> {
    let fields = field.fields()?;
    let redis = fields.required("redis", "write `redis: { url_file: … }`, or remove `coordination`");
    let redis = redis.and_then(|field| field.fields()).and_then(|fields| redis_of(fields, base));
    fields.finish();
    redis.map(|redis| Coordination::Redis(Box::new(redis)))
}

fn redis_of(fields: Fields<'_>, base: &Path) -> Option<Redis> {
    let url = secret(&fields, ["url", "url_file", "url_env"], "URL", base);
    let ca_file = fields.optional("ca_file").and_then(|field| field.text()).map(|text| base.join(text));
    let username = text(&fields, "username");
    let password = password(&fields, base);
    let is_cluster = fields.optional("cluster");
    let sentinel = fields.optional("sentinel");
    let shape = match (&is_cluster, &sentinel) {
        (Some(field), Some(_)) => {
            field.report(Flaw::new("is said beside `sentinel`", "keep one: a cluster has no Sentinels"));
            None
        }
        (Some(field), None) => match field.bool() {
            Some(true) => Some(Shape::Cluster),
            Some(false) => Some(Shape::Alone),
            None => None,
        },
        (None, Some(field)) => sentinel_of(field, base),
        (None, None) => Some(Shape::Alone),
    };
    if url.is_none() {
        fields.report(Flaw::new("says no URL", "add `url_file` (best), `url_env` or `url`"));
    }
    fields.finish();
    let (field, url) = url?;
    let redis = Redis { url, shape: shape?, ca_file, username, password };
    // What is in a file or a variable is looked at when it is read.
    if let (SecretSource::Here(_), None, Err(CoordinationError::Url(flaw))) =
        (&redis.url, &redis.password, redis.address())
    {
        field.report(Flaw::new(flaw.to_string(), "see docs/coordination.md"));
    }
    Some(redis)
}

fn sentinel_of(field: &Field<'_>, base: &Path) -> Option<Shape> {
    let fields = field.fields()?;
    let master =
        fields.required("master", "write the name that the Sentinels monitor it by, for example `master: mymaster`");
    let master = master.and_then(|field| field.text().map(str::to_owned));
    let (username, password) = (text(&fields, "username"), password(&fields, base));
    fields.finish();
    Some(Shape::Sentinel { master: master?, username, password })
}

fn text(fields: &Fields<'_>, name: &'static str) -> Option<String> {
    fields.optional(name).and_then(|field| field.text().map(str::to_owned))
}

fn password(fields: &Fields<'_>, base: &Path) -> Option<SecretSource> {
    secret(fields, ["password", "password_file", "password_env"], "password", base).map(|(_, source)| source)
}
