//! What a refresher is made of.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::spool::TAKEN_WITHIN;
use super::{Budget, ResolveError, Spool};
use crate::audit::Audit;
use crate::clock::{Clock, UnixTime};
use crate::coordination::Coordination;
use crate::model::{Generation, Template, Tenant};
use crate::oauth::TokenEndpoint;
use crate::secret::Secret;
use crate::store::{GrantCommit, Store};
use crate::vault::Vault;

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
    /// Its secrets, in order.
    pub secrets: Vec<UsedSecret>,
}

/// One secret in a template's text.
#[derive(Debug)]
pub struct UsedSecret {
    /// Its reference.
    pub reference: String,
    /// The generation of its value.
    pub generation: Generation,
    /// Its value.
    pub value: Secret,
}

/// How proxies are told that a credential is about to stop working, or has.
pub trait Hold: Send + Sync + 'static {
    /// Until then nobody uses this generation of a grant, or one before it: a refresh may end it. A moment that has passed
    /// says that it has not.
    fn refreshing(&self, grant: &str, generation: Generation, until: UnixTime);
    /// Nobody uses this generation of a grant, or one before it, ever again.
    fn ended(&self, grant: &str, generation: Generation);
}

/// How long things may take, and how much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One request to a token endpoint. With [`Limits::commit`] it stays under what shutdown waits for.
    pub provider: Duration,
    /// From a provider's answer until the store must have taken it.
    pub commit: Duration,
    /// How long whoever takes over what another broker began gives it to store what it may have.
    pub settle: Duration,
    /// How long a caller waits for a renewal; below the filter's own deadline, so that the answer says why.
    pub wait: Duration,
    /// Opened tokens kept in memory.
    pub opened: u64,
    /// How long an opened token is kept in memory.
    pub opened_age: Duration,
    /// How long after its last use a grant is refreshed although nobody asks.
    pub idle: Duration,
    /// What one provider may be asked.
    pub budget: Budget,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            provider: Duration::from_secs(10),
            commit: Duration::from_secs(8),
            settle: TAKEN_WITHIN,
            wait: Duration::from_millis(2500),
            opened: 10_000,
            opened_age: crate::failpoint::opened_age(Duration::from_secs(5 * 60)),
            idle: Duration::from_secs(60 * 60),
            budget: Budget::default(),
        }
    }
}

/// What a [`super::Refresher`] is made of.
pub struct Parts {
    /// Part of every key.
    pub tenant: Tenant,
    /// Names this broker, the same at every start and no other broker's.
    pub broker: String,
    /// Where grants are.
    pub store: Arc<dyn Store>,
    /// Seals and opens them.
    pub vault: Vault,
    /// Reaches token endpoints.
    pub endpoint: Arc<dyn TokenEndpoint>,
    /// Resolves client ids and secrets.
    pub secrets: Arc<dyn ResolveTemplate>,
    /// Tells proxies to wait.
    pub holds: Arc<dyn Hold>,
    /// Takes what came home to a grant that its holder or an operator had ended meanwhile: it is to be revoked.
    pub unwanted: mpsc::UnboundedSender<GrantCommit>,
    /// Where pairs wait for the store.
    pub spool: Spool,
    /// Remembers every renewal.
    pub audit: Audit,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// How long things may take.
    pub limits: Limits,
    /// Spares brokers each other's work.
    pub coordination: Coordination,
}
