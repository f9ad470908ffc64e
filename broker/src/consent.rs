//! Consent: how a person's grant is made in a browser, and how they end it. Use cases; pages are made elsewhere.
//!
//! A link is no secret: an agent shows it, chats preview it. It is good only for the person it was made for, who must
//! be signed in to look behind it and in the same browser to finish (O1, O2).

mod asked;
mod callback;
mod choice;
mod connections;
mod exchange;
mod flow;
mod grant;
mod held;
mod person;
mod refused;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::audit::{Actor, Audit, Call, Event};
use crate::clock::Clock;
use crate::grants::Grants;
use crate::keys;
use crate::model::{Auth, AuthorizationCode, PrincipalId, Server, ServerName, Servers, Tenant};
use crate::oauth::TokenEndpoint;
use crate::refresher::ResolveTemplate;
use crate::refresher::flight::Flights;
use crate::secret::Secret;
use crate::signin::Session;
use crate::store::{Store, StoredConsent};
use crate::vault::Vault;

pub use asked::Asked;
pub use choice::Choice;
pub use connections::{Connection, Connections};
pub use flow::{Begun, Page, Stage};
pub use refused::{Ended, Refused};

/// How long a link works without a click on "start again", and a person may stay at the provider.
const LIFE: Duration = Duration::from_secs(10 * 60);

/// How many bytes of scopes an upstream may ask for at once. The filter passes on no more, but what a proxy sends is not
/// believed.
const MAX_SCOPES: usize = 1024;

/// What [`Consents`] are made of.
pub struct Parts {
    /// Part of every key.
    pub tenant: Tenant,
    /// Where consents and grants are.
    pub store: Arc<dyn Store>,
    /// Seals and opens them.
    pub vault: Vault,
    /// Reaches token endpoints.
    pub endpoint: Arc<dyn TokenEndpoint>,
    /// Resolves client ids and secrets.
    pub secrets: Arc<dyn ResolveTemplate>,
    /// Remembers who agreed to what.
    pub audit: Audit,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What is registered now.
    pub servers: watch::Receiver<Arc<Servers>>,
    /// Ends grants.
    pub grants: Grants,
    /// Origin of the gateway, without a trailing slash.
    pub public_url: String,
    /// How long the store may take to come back before tokens, which are in memory only, are given back.
    pub commit_limit: Duration,
}

/// How long the store may take to come back before tokens, which are in memory only, are given back.
pub const COMMIT: Duration = Duration::from_secs(5);

/// From a code to tokens that are stored or given back, at most: a shutdown waits for longer. While a provider is asked whose
/// they are, they are held in the store.
pub const LONGEST: Duration =
    exchange::PROVIDER.saturating_add(COMMIT).saturating_add(grant::FIND_OUT).saturating_add(exchange::GIVE_BACK);

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct Consents(Arc<Inner>);

struct Inner {
    tenant: Tenant,
    store: Arc<dyn Store>,
    vault: Vault,
    endpoint: Arc<dyn TokenEndpoint>,
    secrets: Arc<dyn ResolveTemplate>,
    audit: Audit,
    clock: Arc<dyn Clock>,
    servers: watch::Receiver<Arc<Servers>>,
    grants: Grants,
    public_url: String,
    commit_limit: Duration,
    flights: Flights<Result<(), Refused>>,
}

/// Where a person consents to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Of the consent.
    pub id: String,
    /// The server.
    pub server: ServerName,
    /// The page.
    pub url: String,
    /// One sentence for whoever is to open it.
    pub message: String,
}

/// Whether a caller needs to consent to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is a grant.
    Connected,
    /// There is none that covers the server.
    ConsentRequired(Link),
    /// The server needs nobody's consent.
    NotRequired,
}

/// One request of a browser.
#[derive(Clone, Copy)]
pub struct Visit<'a> {
    /// Who it is, if they are signed in.
    pub session: Option<&'a Session>,
    /// Names the request in audit and on pages.
    pub request_id: &'a str,
}

impl Consents {
    /// Over its parts.
    pub fn new(parts: Parts) -> Self {
        let Parts { tenant, store, vault, endpoint, secrets, audit, clock, servers, grants, public_url, commit_limit } =
            parts;
        let flights = Flights::default();
        Self(Arc::new(Inner {
            tenant,
            store,
            vault,
            endpoint,
            secrets,
            audit,
            clock,
            servers,
            grants,
            public_url,
            commit_limit,
            flights,
        }))
    }

    /// The link by which `holder` consents to a server: that of a consent not finished yet, or a new one. `subjects` say
    /// which other servers of the provider client the grant may serve; `extra_scopes` are asked for besides the manifest's.
    ///
    /// # Errors
    /// If the server needs no consent, if nobody may give it, or the store fails.
    pub async fn required(
        &self,
        holder: &PrincipalId,
        subjects: &[String],
        server: &Server,
        extra_scopes: &[String],
    ) -> Result<Link, Refused> {
        let inner = &self.0;
        let code = authorization_code(server).ok_or(Refused::Gone)?;
        inner.has_consenter(holder).await?;
        let mut extra_scopes: Vec<String> =
            extra_scopes.iter().filter(|scope| !code.scopes.contains(scope)).cloned().collect();
        extra_scopes.sort();
        extra_scopes.dedup();
        let mut subjects = subjects.to_vec();
        subjects.sort();
        subjects.dedup();
        let now = inner.clock.now();
        let consent = inner
            .store
            .ensure_consent(&StoredConsent {
                // Random, so that nobody runs into another's; no secret: it stands in a URL that agents see.
                id: keys::hex(Secret::random::<16>().expose()),
                key: code.grant_of(holder),
                server: server.name.clone(),
                subjects,
                extra_scopes,
                created_at: now,
                expires_at: now.after(LIFE),
                attempt: None,
                attempts: 0,
                code_taken: None,
                held: None,
                outcome: None,
            })
            .await?;
        Ok(Link {
            url: format!("{}/connect/{}", inner.public_url, consent.id),
            message: format!("{} needs your consent before it can be used on your behalf.", server.name),
            server: consent.server,
            id: consent.id,
        })
    }

    /// Whether `holder` needs to consent to a server that policy lets them use.
    ///
    /// # Errors
    /// As [`Consents::required`].
    pub async fn status(&self, holder: &PrincipalId, subjects: &[String], server: &Server) -> Result<Status, Refused> {
        let Some(code) = authorization_code(server) else { return Ok(Status::NotRequired) };
        self.0.has_consenter(holder).await?;
        match self.0.is_connected(code, holder, &[]).await? {
            true => Ok(Status::Connected),
            false => Ok(Status::ConsentRequired(self.required(holder, subjects, server, &[]).await?)),
        }
    }

    /// The link to agree to scopes that an upstream asks for beyond the manifest's; none if agreeing would not help: they
    /// were agreed to, or are none that a provider could be asked for.
    ///
    /// # Errors
    /// As [`Consents::required`].
    pub async fn widened(
        &self,
        holder: &PrincipalId,
        subjects: &[String],
        server: &Server,
        scopes: &[String],
    ) -> Result<Option<Link>, Refused> {
        let code = authorization_code(server).ok_or(Refused::Gone)?;
        if !are_scopes(scopes) {
            return Ok(None);
        }
        match self.0.is_connected(code, holder, scopes).await? {
            true => Ok(None),
            false => Ok(Some(self.required(holder, subjects, server, scopes).await?)),
        }
    }

    /// Starts no more token requests and waits for those under way; answers how many were left after `limit`.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.0.flights.drain(limit).await
    }
}

impl Inner {
    fn servers(&self) -> Arc<Servers> {
        Arc::clone(&self.servers.borrow())
    }

    /// Records a refusal, and passes it on.
    async fn refuse(&self, visit: Visit<'_>, consent: Option<&StoredConsent>, refused: Refused) -> Refused {
        self.remember(visit.refused(consent, &refused)).await;
        refused
    }

    /// Records what has happened already: nothing is undone if that fails, but it is told loudly.
    async fn remember(&self, event: Event) {
        if let Err(error) = self.audit.record(event).await {
            tracing::error!(%error, "what became of a consent was not recorded");
        }
    }
}

impl Visit<'_> {
    /// Who it is, for records.
    pub fn actor(&self) -> Option<Actor> {
        self.session.map(actor)
    }

    /// The record of a refusal.
    pub fn refused(&self, consent: Option<&StoredConsent>, refused: &Refused) -> Event {
        let holder = consent.map(|consent| PrincipalId(consent.key.holder.clone()));
        let call = self.call(consent.map(|consent| &consent.server));
        Event::consent_refused(self.actor(), holder, call, refused.code())
    }

    fn call(&self, server: Option<&ServerName>) -> Call {
        let server = server.map(|server| server.0.clone()).unwrap_or_default();
        Call { request_id: self.request_id.to_owned(), server, ..Call::default() }
    }
}

fn actor(session: &Session) -> Actor {
    Actor { issuer: session.signed_in_at.clone(), subject: session.principal.0.clone(), client_id: None }
}

/// Whether an upstream's words are scope tokens (RFC 6749 §3.3), and no more than a page and a URL have room for.
fn are_scopes(scopes: &[String]) -> bool {
    let is_token = |scope: &String| {
        !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
    };
    scopes.iter().all(is_token) && scopes.join(" ").len() <= MAX_SCOPES
}

fn authorization_code(server: &Server) -> Option<&AuthorizationCode> {
    match &server.auth {
        Auth::AuthorizationCode(code) => Some(code),
        Auth::ClientCredentials(_) | Auth::Header(_) | Auth::None | Auth::Passthrough { .. } => None,
    }
}
