//! What a person has connected, what they could connect, and how they end it.

use std::sync::Arc;

use super::asked::provider_client;
use super::flow::serves;
use super::{AtProvider, Consents, Inner, Link, Refused, Visit, actor, authorization_code};
use crate::audit::Event;
use crate::clock::UnixTime;
use crate::model::{PrincipalId, PrincipalKind, ServerName, Servers};
use crate::signin::Session;
use crate::store::{Standing, StoreError, StoredGrant};

/// How often a refresh may come between before the person is asked to try again.
const RETRIES: usize = 5;

/// One grant, as its holder sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Of the grant.
    pub id: String,
    /// Host of the provider; none if no server has this provider client any more.
    pub provider: Option<String>,
    /// The provider's own id of the account.
    pub account: Option<String>,
    /// When somebody agreed to it.
    pub since: Option<UnixTime>,
    /// What it serves.
    pub servers: Vec<ServerName>,
    /// The virtual account that acts with it, if it is one's.
    pub holder: Option<String>,
    /// Whether it can be used.
    pub is_live: bool,
}

/// What a person has and could have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Grants.
    pub connected: Vec<Connection>,
    /// Servers that wait for their consent.
    pub to_connect: Vec<ServerName>,
}

/// What came of ending a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnected {
    /// Host of the provider, if it is known.
    pub provider: Option<String>,
    /// What the provider did.
    pub at_provider: AtProvider,
    /// Where the person can see to it themselves.
    pub manage_url: Option<&'static str>,
}

impl Consents {
    /// What a signed-in person has connected, for themselves and for virtual accounts they own, and what they could.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn connections(&self, session: &Session) -> Result<Connections, Refused> {
        let inner = &self.0;
        let servers = inner.servers();
        let subject = inner.subject(&session.principal).await?;
        let mut grants: Vec<(Option<String>, StoredGrant)> = Vec::new();
        let own = inner.store.grants(Some(&session.principal)).await?;
        grants.extend(own.into_iter().map(|grant| (None, grant)));
        let mut connections = Connections::default();
        let Some(subject) = subject else {
            connections.connected = shown(&servers, &grants);
            return Ok(connections);
        };
        for server in servers.by_name.values() {
            let Some(code) = authorization_code(server) else { continue };
            let has =
                grants.iter().any(|(_, grant)| grant.key.provider_client == code.client.id && serves(grant, code, &[]));
            if !has && servers.admits(&subjects(&subject), server).is_some() {
                connections.to_connect.push(server.name.clone());
            }
        }
        for (name, account) in &servers.virtual_accounts {
            if account.owners.contains(&subject) {
                let kind = PrincipalKind::VirtualAccount { name: name.clone() };
                let holder = inner.store.ensure_principal(&kind, None, inner.clock.now()).await?.id;
                let of_account = inner.store.grants(Some(&holder)).await?;
                grants.extend(of_account.into_iter().map(|grant| (Some(name.clone()), grant)));
            }
        }
        connections.connected = shown(&servers, &grants);
        Ok(connections)
    }

    /// The link to connect a server that was chosen on the page of connections.
    ///
    /// # Errors
    /// [`Refused::Gone`] if there is no such server for this person.
    pub async fn connect(&self, server: &str, session: &Session) -> Result<Link, Refused> {
        let servers = self.0.servers();
        let subject = self.0.subject(&session.principal).await?.ok_or(Refused::Gone)?;
        let subjects = subjects(&subject);
        let server = servers.by_name.get(&ServerName(server.to_owned())).ok_or(Refused::Gone)?;
        servers.admits(&subjects, server).ok_or(Refused::Gone)?;
        self.required(&session.principal, &subjects, server, &[]).await
    }

    /// Ends a grant here, and then at the provider as far as that can be done.
    ///
    /// # Errors
    /// [`Refused::WrongPerson`], recorded, if it is somebody else's; or if it is not there or the store fails.
    pub async fn disconnect(&self, id: &str, visit: Visit<'_>) -> Result<Disconnected, Refused> {
        let inner = &self.0;
        let session = visit.session.ok_or(Refused::SignedOut)?;
        let grant = inner.store.grant_by_id(id).await?.ok_or(Refused::NotFound)?;
        let holder = PrincipalId(grant.key.holder.clone());
        match inner.role(session, &holder).await {
            Ok(_) => {}
            Err(refused @ Refused::WrongPerson) => {
                let event =
                    Event::consent_refused(Some(actor(session)), Some(holder), visit.call(None), refused.code());
                inner.remember(event).await;
                return Err(refused);
            }
            Err(refused) => return Err(refused),
        }
        let ended = inner.end(grant).await?;
        inner.let_go_of(&ended);
        let client = provider_client(&inner.servers(), &ended.key.provider_client);
        let provider = client.as_ref().and_then(|client| client.authorization_url.host_str().map(str::to_owned));
        let manage_url = client.as_ref().and_then(|client| client.profile.manage_url);
        let (actor, call) = (actor(session), visit.call(None));
        let detached = Arc::clone(inner);
        // Detached: it is gone here already, and must be gone there even if the browser does not wait.
        let telling = tokio::spawn(async move {
            let tokens = detached.open_tokens(&ended).await;
            let at_provider = detached.revoke(client.as_deref(), tokens).await;
            let event = Event::grant_disconnected(actor, holder, call, &ended.id, ended.generation, at_provider.code());
            detached.remember(event).await;
            at_provider
        });
        let at_provider = telling.await.unwrap_or(AtProvider::Failed);
        Ok(Disconnected { provider, at_provider, manage_url })
    }
}

impl Inner {
    /// Ends the grant at whichever generation it is by now; answers it as it was before.
    async fn end(&self, mut grant: StoredGrant) -> Result<StoredGrant, Refused> {
        let standing = Standing::Revoked("disconnected".to_owned());
        for _ in 0..RETRIES {
            match self.store.end_grant(&grant.id, grant.generation, &standing).await {
                Ok(()) => return Ok(grant),
                Err(StoreError::Conflict) => {
                    grant = self.store.grant_by_id(&grant.id).await?.ok_or(Refused::NotFound)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }
}

/// As which policy knows a person in a browser.
fn subjects(subject: &str) -> Vec<String> {
    vec![subject.to_owned(), "team:everyone".to_owned()]
}

/// Without those that their holder has ended.
fn shown(servers: &Servers, grants: &[(Option<String>, StoredGrant)]) -> Vec<Connection> {
    let grants = grants.iter().filter(|(_, grant)| !matches!(grant.standing, Standing::Revoked(_)));
    grants.map(|(holder, grant)| connection(servers, holder.clone(), grant)).collect()
}

fn connection(servers: &Servers, holder: Option<String>, grant: &StoredGrant) -> Connection {
    let client = provider_client(servers, &grant.key.provider_client);
    let is_served = |server: &&Arc<crate::model::Server>| {
        authorization_code(server).is_some_and(|code| {
            code.client.id == grant.key.provider_client && code.is_agreed_to(&grant.auth_revisions, &grant.scopes)
        })
    };
    Connection {
        id: grant.id.clone(),
        provider: client.and_then(|client| client.authorization_url.host_str().map(str::to_owned)),
        account: grant.account.clone(),
        since: grant.consented_at,
        servers: servers.by_name.values().filter(is_served).map(|server| server.name.clone()).collect(),
        holder,
        is_live: grant.standing == Standing::Live,
    }
}
