//! Grants that exist: what they serve, and how they end before their provider ends them.
//!
//! Ending one is one use case, whoever asks for it: the holder on their page, or an operator (O13).

mod at_provider;
mod by_hand;
mod follow;
mod refreshing;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::audit::{Actor, Audit, Call, Event};
use crate::clock::Clock;
use crate::coordination::{Coordination, News};
use crate::model::{Auth, Generation, GrantKey, PrincipalId, ProviderClient, Server, ServerName, Servers, Tenant};
use crate::oauth::TokenEndpoint;
use crate::refresher::{Hold, Refresher, ResolveTemplate};
use crate::store::{Standing, Store, StoreError, StoredGrant};
use crate::vault::Vault;

pub use at_provider::{AtProvider, Tokens};
pub use by_hand::ByHandError;
pub use follow::Follower;

#[cfg(test)]
mod tests;

/// How often a refresh may come between before whoever asked has to ask again.
const RETRIES: usize = 5;

/// What [`Grants`] are made of.
pub struct Parts {
    /// Part of every key.
    pub tenant: Tenant,
    /// Where grants are.
    pub store: Arc<dyn Store>,
    /// Opens the tokens that the provider is told of.
    pub vault: Vault,
    /// Reaches revocation endpoints.
    pub endpoint: Arc<dyn TokenEndpoint>,
    /// Resolves client ids and secrets.
    pub secrets: Arc<dyn ResolveTemplate>,
    /// Remembers who ended what.
    pub audit: Audit,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What is registered now.
    pub servers: watch::Receiver<Arc<Servers>>,
    /// Must let go of the tokens.
    pub refresher: Refresher,
    /// Tells proxies to let go of the credential.
    pub holds: Arc<dyn Hold>,
    /// Tells other brokers to look.
    pub coordination: Coordination,
}

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct Grants(Arc<Parts>, TaskTracker);

/// On whose account a grant ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its holder has disconnected it.
    Disconnected,
    /// An operator has revoked it.
    Operator,
}

impl Ending {
    /// The reason of [`Standing::Revoked`].
    fn code(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Operator => "operator",
        }
    }
}

/// What came of ending a grant: here it has ended, whatever the provider did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Host of the provider, if a server has this provider client still.
    pub provider: Option<String>,
    /// What the provider did.
    pub at_provider: AtProvider,
    /// Where people can see to it themselves.
    pub manage_url: Option<&'static str>,
}

impl Grants {
    /// Over its parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts), TaskTracker::new())
    }

    /// Ends a grant here, at every proxy, and then at the provider as far as that can be done. That it is ended is recorded
    /// first, what the provider did last; but a revocation is never held up by a record.
    ///
    /// # Errors
    /// If the store cannot end it; then nothing has ended.
    pub async fn revoke(
        &self,
        grant: StoredGrant,
        ending: Ending,
        actor: Actor,
        call: Call,
    ) -> Result<Ended, StoreError> {
        let holder = PrincipalId(grant.key.holder.clone());
        let (actor_too, holder_too, call_too) = (actor.clone(), holder.clone(), call.clone());
        let (id, code) = (&grant.id, ending.code());
        let ending_now = Event::grant_ending(actor_too, holder_too, call_too, id, grant.generation, code);
        self.remember(ending_now).await;
        let ended = self.end(grant, ending).await?;
        self.let_go_of(&ended.key, &ended.id, ended.generation);
        let client = provider_client(&self.0.servers.borrow(), &ended.key.provider_client);
        let provider = client.as_deref().map(host);
        let manage_url = client.as_ref().and_then(|client| client.profile.manage_url);
        let detached = self.clone();
        // Detached: it is gone here already, and must be gone there even if nobody waits.
        let telling = self.1.spawn(async move {
            let at_provider = detached.revoke_tokens_of(client.as_deref(), &ended).await;
            let code = at_provider.code();
            detached.remember(Event::grant_revoked(actor, holder, call, &ended.id, ended.generation, code)).await;
            at_provider
        });
        let at_provider = telling.await.unwrap_or(AtProvider::Failed);
        Ok(Ended { provider, at_provider, manage_url })
    }

    /// Asks how long the token of a grant lives, if nobody has told and there is somebody to ask.
    pub fn learn_life(&self, key: &GrantKey) {
        if let Some(client) = provider_client(&self.0.servers.borrow(), &key.provider_client) {
            self.0.refresher.learn_life(key, &client);
        }
    }

    /// Waits until providers have been told of what has ended; answers how many were not when `limit` had passed.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.1.close();
        let _ = tokio::time::timeout(limit, self.1.wait()).await;
        self.1.len()
    }

    async fn remember(&self, event: Event) {
        if let Err(error) = self.0.audit.record(event).await {
            tracing::error!(%error, "the end of a grant was not recorded");
        }
    }

    /// Nobody uses the tokens that this grant had up to this generation any more, neither here nor at a proxy; the store
    /// says so to other brokers, who are told to look.
    pub fn let_go_of(&self, key: &GrantKey, id: &str, generation: Generation) {
        self.let_go_here(key, id, generation);
        self.0.coordination.tell(News::Ended);
    }

    fn let_go_here(&self, key: &GrantKey, id: &str, generation: Generation) {
        self.0.refresher.forget(key, generation);
        self.0.holds.ended(id, generation);
    }

    /// Ends the grant at whichever generation it is by now; answers it as it was before.
    async fn end(&self, mut grant: StoredGrant, ending: Ending) -> Result<StoredGrant, StoreError> {
        let standing = Standing::Revoked(ending.code().to_owned());
        for _ in 0..RETRIES {
            match self.0.store.end_grant(&grant.id, grant.generation, &standing, self.0.clock.now()).await {
                Ok(()) => return Ok(grant),
                Err(StoreError::Conflict) => {
                    grant = self.0.store.grant_by_id(&grant.id).await?.ok_or(StoreError::Conflict)?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict)
    }
}

/// The provider client of this id, if a server has it.
pub fn provider_client(servers: &Servers, id: &str) -> Option<Arc<ProviderClient>> {
    servers.provider_clients().into_iter().find(|client| client.id == id)
}

/// The host that people know a provider by.
pub fn host(client: &ProviderClient) -> String {
    client.authorization_url.host_str().unwrap_or("the provider").to_owned()
}

/// What servers that were agreed to need beyond what a grant covers: `<group>/<name> <scope>`. Scopes are missing where the
/// manifest asks for more than before, or the provider gave less at a refresh.
pub fn lacks(servers: &Servers, grant: &StoredGrant) -> Vec<String> {
    let missing = |server: &Server| match &server.auth {
        Auth::AuthorizationCode(code)
            if code.client.id == grant.key.provider_client && grant.auth_revisions.contains(&code.auth_revision) =>
        {
            let missing = code.scopes.iter().filter(|scope| !grant.scopes.contains(scope));
            missing.map(|scope| format!("{} {scope}", server.name)).collect()
        }
        Auth::AuthorizationCode(_)
        | Auth::ClientCredentials(_)
        | Auth::Header(_)
        | Auth::None
        | Auth::Passthrough { .. } => Vec::new(),
    };
    servers.by_name.values().flat_map(|server| missing(server)).collect()
}

/// The servers that a grant can be used for as they are now.
pub fn servers_of(servers: &Servers, grant: &StoredGrant) -> Vec<ServerName> {
    let is_served = |auth: &Auth| match auth {
        Auth::AuthorizationCode(code) => {
            code.client.id == grant.key.provider_client && code.is_agreed_to(&grant.auth_revisions, &grant.scopes)
        }
        Auth::ClientCredentials(_) | Auth::Header(_) | Auth::None | Auth::Passthrough { .. } => false,
    };
    servers.by_name.values().filter(|server| is_served(&server.auth)).map(|server| server.name.clone()).collect()
}
