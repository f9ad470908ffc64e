//! What a person has connected, what they could connect, and how they end it.

use super::flow::serves;
use super::{Consents, Link, Refused, Visit, actor, authorization_code};
use crate::audit::Event;
use crate::clock::UnixTime;
use crate::grants::{self, Ending};
use crate::model::{PrincipalId, PrincipalKind, ServerName, Servers};
use crate::refresher::ConsentReason;
use crate::signin::Session;
use crate::store::{Standing, StoredGrant};

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
    /// Why its holder must agree again, if they must.
    pub needs_consent: Option<ConsentReason>,
}

/// What a person has and could have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Grants.
    pub connected: Vec<Connection>,
    /// Servers that wait for their consent.
    pub to_connect: Vec<ServerName>,
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
        let subjects = subjects(&servers, session, subject.as_deref());
        let mut grants: Vec<(Option<String>, StoredGrant)> = Vec::new();
        let own = inner.store.grants(Some(&session.principal)).await?.readable();
        grants.extend(own.into_iter().map(|grant| (None, grant)));
        let mut connections = Connections::default();
        for server in servers.by_name.values() {
            let Some(code) = authorization_code(server) else { continue };
            let has = grants.iter().any(|(_, grant)| {
                grant.key.provider_client == code.client.id && serves(grant, code, &[], inner.clock.now())
            });
            if !has && servers.admits(&subjects, server).is_some() {
                connections.to_connect.push(server.name.clone());
            }
        }
        for (name, account) in &servers.virtual_accounts {
            if subject.as_ref().is_some_and(|subject| account.owners.contains(subject)) {
                let kind = PrincipalKind::VirtualAccount { name: name.clone() };
                // To look makes nobody: an account that never called has no grants.
                let Some(holder) = inner.store.principal_named(&kind).await? else { continue };
                let of_account = inner.store.grants(Some(&holder.id)).await?.readable();
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
        let subjects = subjects(&servers, session, self.0.subject(&session.principal).await?.as_deref());
        let server = servers.by_name.get(&ServerName(server.to_owned())).ok_or(Refused::Gone)?;
        servers.admits(&subjects, server).ok_or(Refused::Gone)?;
        self.required(&session.principal, &subjects, server, &[]).await
    }

    /// Ends a grant here, and then at the provider as far as that can be done.
    ///
    /// # Errors
    /// [`Refused::WrongPerson`], recorded, if it is somebody else's; or if it is not there or the store fails.
    pub async fn disconnect(&self, id: &str, visit: Visit<'_>) -> Result<grants::Ended, Refused> {
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
        Ok(inner.grants.revoke(grant, Ending::Disconnected, actor(session), visit.call(None)).await?)
    }
}

/// As which policy knows a person in a browser: by their address, by the teams that their issuer named when they signed in,
/// and by the external identities that their application vouched for, as long as they are registered.
fn subjects(servers: &Servers, session: &Session, subject: Option<&str>) -> Vec<String> {
    let teams = session.teams.iter().map(|team| format!("team:{team}"));
    let registered = session.external_identities.iter().filter(|name| servers.external_identities.contains_key(*name));
    let external = registered.map(|name| format!("external-identity:{name}"));
    subject.map(str::to_owned).into_iter().chain(teams).chain(external).chain(["team:everyone".to_owned()]).collect()
}

/// Without those that their holder has ended.
fn shown(servers: &Servers, grants: &[(Option<String>, StoredGrant)]) -> Vec<Connection> {
    let grants = grants.iter().filter(|(_, grant)| !matches!(grant.standing, Standing::Revoked(_)));
    grants.map(|(holder, grant)| connection(servers, holder.clone(), grant)).collect()
}

fn connection(servers: &Servers, holder: Option<String>, grant: &StoredGrant) -> Connection {
    let client = grants::provider_client(servers, &grant.key.provider_client);
    Connection {
        id: grant.id.clone(),
        provider: client.as_deref().map(grants::host),
        account: grant.account.clone(),
        since: grant.consented_at,
        servers: grants::servers_of(servers, grant),
        holder,
        needs_consent: match &grant.standing {
            Standing::Live => None,
            Standing::NeedsConsent(code) => Some(ConsentReason::of_standing(code)),
            Standing::Revoked(_) => Some(ConsentReason::Revoked),
        },
    }
}
