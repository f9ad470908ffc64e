//! Signing in: who is at a browser. Three ways, and each ends in the browser in which it was begun (O2): at a login
//! issuer, by a link that an operator made, or through the application whose user the person is.

mod application;
mod destination;
mod link;
mod oidc;
mod provider;
mod refused;
mod session;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use url::Url;

pub use destination::Destination;
pub use link::Link;
pub use oidc::Oidc;
pub use refused::Refused;
pub use session::{BEGUN_COOKIE, COOKIE, LIFE as SESSION_LIFE, Session, Sessions, cookie, drop_cookie, set_cookie};

use crate::audit::{Actor, Audit, Event};
use crate::clock::Clock;
use crate::fetch::Fetcher;
use crate::issuers::Issuers;
use crate::keys;
use crate::model::{PrincipalId, PrincipalKind, Servers};
use crate::secret::Secret;
use crate::store::{SignInKind, Store, StoreError, StoredSignIn};
use crate::vault::Vault;

/// How long a sign-in may take, and a link is good for.
pub const LIFE: Duration = Duration::from_secs(10 * 60);

/// What [`SignIns`] are made of.
pub struct Parts {
    /// Sign-ins and principals.
    pub store: Arc<dyn Store>,
    /// Seals what a sign-in must keep.
    pub vault: Vault,
    /// Remembers who signed in, and who did not.
    pub audit: Audit,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Whose people sign in.
    pub issuers: Arc<Issuers>,
    /// Reaches the login issuer.
    pub fetcher: Fetcher,
    /// External identities and their applications.
    pub servers: watch::Receiver<Arc<Servers>>,
    /// Origin of the gateway.
    pub public_url: String,
    /// This gateway as a client of a login issuer, if it is one.
    pub oidc: Option<Oidc>,
}

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct SignIns(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    vault: Vault,
    audit: Audit,
    clock: Arc<dyn Clock>,
    issuers: Arc<Issuers>,
    servers: watch::Receiver<Arc<Servers>>,
    sessions: Sessions,
    public_url: String,
    provider: Option<provider::Provider>,
}

/// A browser that asks: what it sent, and how it is named in records.
#[derive(Clone, Copy)]
pub struct Browser<'a> {
    /// The secret of its [`BEGUN_COOKIE`].
    pub begun: Option<&'a Secret>,
    /// Who is signed in there already.
    pub session: Option<&'a Session>,
    /// Of this request.
    pub request_id: &'a str,
}

/// Through what a person signed in, and what it says of them.
#[derive(Clone, Copy)]
struct Through<'a> {
    /// For records: an issuer, `application` or `link`.
    name: &'a str,
    /// Names of teams.
    teams: &'a [String],
    /// Names of external identities.
    external_identities: &'a [String],
}

/// A sign-in that was begun: the browser keeps the cookie, and goes on elsewhere. Not printable: state and nonce are in it.
pub struct Begun {
    /// For [`BEGUN_COOKIE`].
    pub cookie: Secret,
    /// Where to.
    pub url: Url,
    /// What is there, for people.
    pub host: String,
}

/// A browser has signed in.
#[derive(Debug)]
pub struct SignedIn {
    /// For [`COOKIE`].
    pub cookie: Secret,
    /// Where it wanted to go.
    pub to: Destination,
}

/// The ways that are open to a person who wants to go somewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Host of the login issuer.
    pub oidc: Option<String>,
    /// Host of the application whose user the link was made for.
    pub application: Option<String>,
}

impl SignIns {
    /// Over its parts.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, vault, audit, clock, issuers, fetcher, servers, public_url, oidc } = parts;
        let sessions = Sessions::new(Arc::clone(&store), Arc::clone(&clock));
        let provider = oidc.map(|oidc| provider::Provider::new(oidc, fetcher, Arc::clone(&clock)));
        Self(Arc::new(Inner { store, vault, audit, clock, issuers, servers, sessions, public_url, provider }))
    }

    /// Knows who is signed in.
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// How somebody may sign in who wants to go there.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn ways(&self, to: &Destination) -> Result<Ways, Refused> {
        let host = |url: &Url| url.host_str().unwrap_or_default().to_owned();
        let application = match to {
            Destination::Connections => None,
            Destination::Consent(consent) => match self.0.verifier_of(consent).await {
                Ok(verifier) => Some(host(&verifier)),
                Err(Refused::NoApplication) => None,
                Err(refused) => return Err(refused),
            },
        };
        let oidc = self.0.provider.as_ref().map(|provider| provider.host().to_owned());
        Ok(Ways { oidc, application })
    }

    /// The name of a principal, for people.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn name_of(&self, principal: &PrincipalId) -> Result<String, Refused> {
        Ok(match self.0.store.principal_by_id(principal).await?.map(|principal| principal.kind) {
            Some(PrincipalKind::User { email }) => email,
            Some(PrincipalKind::VirtualAccount { name }) => name,
            Some(PrincipalKind::External) | None => format!("user {}", principal.0),
        })
    }

    /// Signs a browser out.
    ///
    /// # Errors
    /// If the store or the audit does not answer.
    pub async fn sign_out(&self, session: &Session, request_id: &str) -> Result<(), Refused> {
        self.0.sessions.end(&session.hash).await?;
        let actor = actor(&session.signed_in_at, &session.principal);
        self.0.audit.record(Event::signed_out(actor, request_id)).await?;
        Ok(())
    }
}

impl Inner {
    /// A sign-in of this kind that begins now, in a browser that is to keep the secret.
    fn fresh(&self, kind: SignInKind, id: String, browser: Option<&Secret>) -> StoredSignIn {
        let now = self.clock.now();
        StoredSignIn {
            id,
            kind,
            browser: browser.map(session::hash),
            secrets: None,
            consent: String::new(),
            principal: None,
            code: None,
            created_at: now,
            expires_at: now.after(LIFE),
            used_at: None,
        }
    }

    /// An unused sign-in of this kind, if it was begun in this very browser.
    async fn begun_here(&self, kind: SignInKind, id: &str, browser: Browser<'_>) -> Result<StoredSignIn, Refused> {
        let stored = self.store.sign_in(id, self.clock.now()).await?.ok_or(Refused::Unknown)?;
        let sent = browser.begun.map(session::hash);
        match (stored.browser, sent) {
            (Some(begun), Some(sent)) if is_equal(&begun, &sent) => {}
            (Some(_) | None, _) => return Err(Refused::OtherBrowser),
        }
        match stored.kind == kind && stored.used_at.is_none() {
            true => Ok(stored),
            false => Err(Refused::Unknown),
        }
    }

    /// Signs the browser in, on record first; whoever was signed in there is not any more. The sign-in of the id `using` is
    /// used up with it, and only then: what fails before that costs nobody their link.
    async fn finish(
        &self,
        principal: &PrincipalId,
        through: Through<'_>,
        to: Destination,
        browser: Browser<'_>,
        using: Option<&str>,
    ) -> Result<SignedIn, Refused> {
        self.audit.record(Event::signed_in(actor(through.name, principal), browser.request_id)).await?;
        match self.sessions.start(principal, through, using, browser.session).await {
            Ok(cookie) => Ok(SignedIn { cookie, to }),
            // Used elsewhere in the same moment.
            Err(StoreError::Conflict) => Err(Refused::Unknown),
            Err(error) => Err(error.into()),
        }
    }

    /// Records a refusal, and passes it on.
    async fn refuse(&self, who: Option<Actor>, request_id: &str, refused: Refused) -> Refused {
        if let Err(error) = self.audit.record(refused.event(who, request_id)).await {
            tracing::error!(%error, "a sign-in that was refused was not recorded");
        }
        refused
    }
}

fn actor(through: &str, principal: &PrincipalId) -> Actor {
    Actor { issuer: through.to_owned(), subject: principal.0.clone(), client_id: None }
}

/// Compared in constant time: one of the two was sent.
fn is_equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    subtle::ConstantTimeEq::ct_eq(one.as_slice(), other.as_slice()).into()
}

/// Nobody runs into another's.
fn random_id() -> String {
    // Random and no secret: what it names is good in one browser only.
    keys::hex(Secret::random::<16>().expose())
}
