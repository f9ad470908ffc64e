//! Tokens of grants: served while they live, renewed once, in time, and by one task for all who wait.
//!
//! A token is due at 80-85 % of its life. Whoever finds it due starts its renewal and goes on with the old one; only
//! who finds none that lives waits. The renewal itself belongs to nobody: it ends when it ends, and what the provider
//! gave is stored before anybody sees it (I5).

mod backoff;
pub mod due;
pub mod flight;
mod recent;
mod renewal;
mod schedule;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use moka::sync::Cache;

use self::backoff::Backoffs;
use self::flight::Flights;
use self::recent::Recent;
use self::renewal::{Renewed, host, renew};
use crate::audit::Audit;
use crate::clock::{Clock, UnixTime};
use crate::keys::{self, Key, Purpose};
use crate::model::{ClientCredentials, Generation, Template, Tenant};
use crate::oauth::{RefusalCode, TokenEndpoint};
use crate::secret::Secret;
use crate::store::{Store, StoreError};
use crate::vault::{Vault, VaultError};

#[cfg(test)]
pub(crate) mod tests;

type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Where secret references are resolved.
#[async_trait]
pub trait ResolveTemplate: Send + Sync + 'static {
    /// The text of a template with its secrets in it.
    async fn resolve(&self, template: &Template) -> Result<Resolved, ResolveError>;
}

/// A template's text, and which values of which secrets are in it.
#[derive(Debug)]
pub struct Resolved {
    /// The text.
    pub value: Secret,
    /// References of the secrets, in order, with the generation of each.
    pub secrets: Vec<(String, Generation)>,
}

/// Why a template was not resolved.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// A secret in it is not there, or does not open: only an operator mends that.
    #[error("a secret cannot be read")]
    Unusable(#[source] Source),
    /// The store does not answer: later it may.
    #[error("the store is not available")]
    Unavailable(#[source] Source),
}

/// How long things may take, and how much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One request to a token endpoint. With [`Limits::commit`] it stays under what shutdown waits for.
    pub provider: Duration,
    /// From a provider's answer until the store must have taken it.
    pub commit: Duration,
    /// How long a caller waits for a renewal; below the filter's own deadline, so that the answer says why.
    pub wait: Duration,
    /// Opened tokens kept in memory.
    pub opened: u64,
    /// How long an opened token is kept in memory.
    pub opened_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            provider: Duration::from_secs(10),
            commit: Duration::from_secs(8),
            wait: Duration::from_millis(2500),
            opened: 10_000,
            opened_age: Duration::from_secs(5 * 60),
        }
    }
}

/// Why there is no token to serve.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RefreshError {
    /// The provider fails, or gives what is no token.
    #[error("the token endpoint at {host} is not available")]
    Provider {
        /// Its host.
        host: String,
        /// When it will be asked again.
        retry_after: Duration,
    },
    /// The provider refuses the client as it is configured.
    #[error("{host} refuses the configured client: {code}")]
    Refused {
        /// Its host.
        host: String,
        /// How.
        code: RefusalCode,
    },
    /// The provider has not answered yet; the renewal goes on.
    #[error("the token endpoint at {host} has not answered yet")]
    Overdue {
        /// Its host.
        host: String,
    },
    /// A secret reference of the configuration cannot be resolved.
    #[error("a secret of the server's configuration cannot be read")]
    Secret(#[source] Source),
    /// The store does not answer.
    #[error("the store is not available")]
    Store(#[source] Source),
    /// The vault does not open or seal.
    #[error("the vault is not available")]
    Vault(#[source] Source),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Draining,
    /// The renewal ended without a token that lives.
    #[error("the renewal was lost")]
    Lost,
}

impl RefreshError {
    fn store(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }

    fn vault(error: VaultError) -> Self {
        Self::Vault(Arc::new(error))
    }

    fn retry_in(self, pause: Duration) -> Self {
        match self {
            Self::Provider { host, .. } => Self::Provider { host, retry_after: pause },
            other @ (Self::Refused { .. }
            | Self::Overdue { .. }
            | Self::Secret(_)
            | Self::Store(_)
            | Self::Vault(_)
            | Self::Draining
            | Self::Lost) => other,
        }
    }
}

impl From<ResolveError> for RefreshError {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Unusable(source) => Self::Secret(source),
            ResolveError::Unavailable(source) => Self::Store(source),
        }
    }
}

/// A grant's access token, open in memory.
#[derive(Debug)]
pub struct OpenedToken {
    /// The token.
    pub access_token: Secret,
    /// Id of the grant.
    pub grant: String,
    /// Which of the grant's tokens.
    pub generation: Generation,
    /// When it was asked for.
    pub issued_at: UnixTime,
    /// Never served after this.
    pub expires_at: UnixTime,
    /// From here on it is due.
    pub refresh_after: UnixTime,
}

/// A token to serve, and what it took.
#[derive(Debug)]
pub struct Served {
    /// The token.
    pub token: Arc<OpenedToken>,
    /// Whether the provider was asked for it now.
    pub renewed: bool,
    /// Reading and opening.
    pub store: Duration,
    /// Waiting for a renewal, without its time at the token endpoint.
    pub waited: Duration,
    /// The renewal's time at the token endpoint.
    pub at_token_endpoint: Duration,
}

/// What a caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Any token that lives; a due one is renewed behind its back.
    Live,
    /// One that is not due, if it can be had in time: the caller still has the old one. Else any that lives.
    NotDue,
    /// One of a later generation than this, which the upstream refused.
    LaterThan(Generation),
}

impl Need {
    /// Whether a token in memory is older than what another broker has already given out.
    fn is_past(self, generation: Generation) -> bool {
        match self {
            Self::Live | Self::NotDue => false,
            Self::LaterThan(refused) => generation < refused,
        }
    }
}

/// Serves and renews tokens. Cheap to clone.
#[derive(Clone)]
pub struct Refresher(Arc<Inner>);

/// What a [`Refresher`] is made of.
pub struct Parts {
    /// Part of every key.
    pub tenant: Tenant,
    /// Where grants are.
    pub store: Arc<dyn Store>,
    /// Seals and opens them.
    pub vault: Vault,
    /// Reaches token endpoints.
    pub endpoint: Arc<dyn TokenEndpoint>,
    /// Resolves client ids and secrets.
    pub secrets: Arc<dyn ResolveTemplate>,
    /// Remembers every renewal.
    pub audit: Audit,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// How long things may take.
    pub limits: Limits,
}

struct Inner {
    tenant: Tenant,
    store: Arc<dyn Store>,
    vault: Vault,
    endpoint: Arc<dyn TokenEndpoint>,
    secrets: Arc<dyn ResolveTemplate>,
    audit: Audit,
    clock: Arc<dyn Clock>,
    limits: Limits,
    opened: Cache<Key, Arc<OpenedToken>>,
    flights: Flights<Result<Renewed, RefreshError>>,
    backoffs: Backoffs,
    recent: Recent,
}

impl Refresher {
    /// Starts with nothing in memory.
    pub fn new(parts: Parts) -> Self {
        let Parts { tenant, store, vault, endpoint, secrets, audit, clock, limits } = parts;
        let opened = Cache::builder().max_capacity(limits.opened).time_to_live(limits.opened_age).build();
        Self(Arc::new(Inner {
            tenant,
            store,
            vault,
            endpoint,
            secrets,
            audit,
            clock,
            limits,
            opened,
            flights: Flights::default(),
            backoffs: Backoffs::default(),
            recent: Recent::default(),
        }))
    }

    /// The token of a client-credentials grant.
    pub async fn token(&self, client: &Arc<ClientCredentials>, need: Need) -> Result<Served, RefreshError> {
        let inner = &self.0;
        let grant = keys::service_grant(client);
        let key = Key::of_grant(&inner.tenant, Purpose::Grant, &grant);
        let started = Instant::now();
        let current = match inner.opened.get(&key) {
            Some(token) if inner.clock.now() < token.expires_at && !need.is_past(token.generation) => Some(token),
            Some(_) | None => {
                let stored = inner.store.grant(&grant).await.map_err(RefreshError::store)?;
                let token = match &stored {
                    Some(stored) => inner.open_live(stored).await?,
                    None => None,
                };
                if let Some(token) = &token {
                    inner.opened.insert(key.clone(), Arc::clone(token));
                }
                token
            }
        };
        let store = started.elapsed();
        let served =
            |token| Served { token, renewed: false, store, waited: Duration::ZERO, at_token_endpoint: Duration::ZERO };
        let now = inner.clock.now();
        let result = match (current, need) {
            (Some(token), Need::Live | Need::NotDue) if now < token.refresh_after => Ok(served(token)),
            // Later, or one that was never given out: a forged report moves nothing.
            (Some(token), Need::LaterThan(refused)) if token.generation != refused => Ok(served(token)),
            (Some(token), Need::Live) => {
                // Nobody waits: a fifth of its life is left to try.
                if inner.backoffs.now(&key, now).is_none() {
                    let _ = inner.start(&key, client, token.generation);
                }
                Ok(served(token))
            }
            (Some(token), Need::NotDue) => match inner.wait(&key, client, token.generation).await {
                Ok(renewed) => Ok(Served { store, ..renewed }),
                Err(_) => Ok(served(token)),
            },
            (Some(token), Need::LaterThan(_)) => inner.wait(&key, client, token.generation).await,
            (None, Need::Live | Need::NotDue | Need::LaterThan(_)) => inner.wait(&key, client, Generation(0)).await,
        };
        if let Ok(served) = &result {
            inner.recent.used(&key, client, &served.token, now);
        }
        result
    }

    /// The generation of a client-credentials grant's stored token, if it has one.
    pub async fn generation(&self, client: &ClientCredentials) -> Result<Option<Generation>, RefreshError> {
        let stored = self.0.store.grant(&keys::service_grant(client)).await.map_err(RefreshError::store)?;
        Ok(stored.map(|stored| stored.generation))
    }

    /// Asks providers again at once that failed before: an operator has changed a manifest or a secret.
    pub fn reconsider(&self) {
        self.0.backoffs.clear();
    }

    /// Starts no more renewals and waits for those under way; answers how many were left when `limit` had passed.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.0.flights.drain(limit).await
    }
}

impl Inner {
    /// The renewal of this grant: the one under way, or a new one.
    fn start(
        self: &Arc<Self>,
        key: &Key,
        client: &Arc<ClientCredentials>,
        beyond: Generation,
    ) -> Option<flight::Flight<Result<Renewed, RefreshError>>> {
        self.flights
            .join(key, || renew(Arc::clone(self), key.clone(), keys::service_grant(client), Arc::clone(client), beyond))
    }

    /// Waits for a token of a later generation than `beyond`, as long as a caller may.
    async fn wait(
        self: &Arc<Self>,
        key: &Key,
        client: &Arc<ClientCredentials>,
        beyond: Generation,
    ) -> Result<Served, RefreshError> {
        let started = Instant::now();
        let waiting = async {
            // A renewal under way may have begun for an older generation: its token may be the refused one.
            for _ in 0..3 {
                let flight = self.start(key, client, beyond).ok_or(RefreshError::Draining)?;
                let renewed = flight.landed().await.unwrap_or(Err(RefreshError::Lost))?;
                if renewed.token.generation > beyond && self.clock.now() < renewed.token.expires_at {
                    return Ok(renewed);
                }
            }
            Err(RefreshError::Lost)
        };
        let renewed = tokio::time::timeout(self.limits.wait, waiting)
            .await
            .unwrap_or_else(|_| Err(RefreshError::Overdue { host: host(client) }))?;
        Ok(Served {
            renewed: !renewed.at_token_endpoint.is_zero(),
            store: Duration::ZERO,
            waited: started.elapsed().saturating_sub(renewed.at_token_endpoint),
            at_token_endpoint: renewed.at_token_endpoint,
            token: renewed.token,
        })
    }
}
