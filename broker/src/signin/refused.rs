//! Why nobody is signed in.

use std::sync::Arc;

use sallyport_caller::IdTokenError;

use crate::audit::{Actor, AuditError, Event};
use crate::issuers::ProviderError;
use crate::oauth::TokenEndpointError;
use crate::oauth::authorize::AuthorizationUrlError;
use crate::oauth::callback::{CallbackError, Denial};
use crate::principals::{Contested, NoPrincipal};
use crate::service;
use crate::store::StoreError;
use crate::vault::VaultError;

/// Why nobody is signed in. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Never begun, used before, or expired (O1).
    #[error("there is no such sign-in, or not any more")]
    Unknown,
    /// Begun in another browser, or in none (O2).
    #[error("the sign-in was begun in another browser")]
    OtherBrowser,
    /// The answer's state or code is not the one that was given out (O1).
    #[error("the answer belongs to another sign-in")]
    State,
    /// A link that is not good, or not any more.
    #[error("the link was used or has expired")]
    Link,
    /// No login issuer is configured for signing in.
    #[error("signing in at an issuer is not configured")]
    NotConfigured,
    /// The person is not the user of an application that confirms sign-ins.
    #[error("there is no application that confirms this person")]
    NoApplication,
    /// The application confirmed somebody else than the one the link was made for (O2).
    #[error("the link was made for somebody else")]
    WrongPerson,
    /// The token that the application sent.
    #[error("the application's token is not accepted: {0}")]
    Caller(#[source] Box<service::Refused>),
    /// The address is that of another subject of the same issuer.
    #[error(transparent)]
    Contested(Contested),
    /// No such person, or none who can sign in.
    #[error("there is no such person")]
    NoPerson,
    /// The answer cannot be taken as the issuer's.
    #[error(transparent)]
    Answer(#[from] CallbackError),
    /// The person or the issuer said no.
    #[error("the issuer said no: {}", .0.reason.code())]
    Denied(Denial),
    /// The issuer gave no tokens for its code.
    #[error("the issuer gave no tokens")]
    Tokens(#[from] TokenEndpointError),
    /// The issuer gave an access token only.
    #[error("the issuer gave no ID token; is `openid` among `sign_in.scopes`?")]
    NoIdToken,
    /// The ID token is not good.
    #[error("the ID token is not accepted: {0}")]
    IdToken(#[from] IdTokenError),
    /// The issuer does not say where its endpoints are.
    #[error("the issuer's endpoints are not known")]
    Discovery(#[source] Arc<ProviderError>),
    /// Browsers are not sent to the issuer's authorization endpoint.
    #[error("the issuer's authorization endpoint cannot be used")]
    AuthorizationUrl(#[from] AuthorizationUrlError),
    /// Store.
    #[error("the store is not available")]
    Store(#[from] StoreError),
    /// Vault.
    #[error("the vault is not available")]
    Vault(#[from] VaultError),
    /// Audit.
    #[error("the audit is not available")]
    Audit(#[from] AuditError),
}

impl From<NoPrincipal> for Refused {
    fn from(error: NoPrincipal) -> Self {
        match error {
            NoPrincipal::Contested(contested) => Self::Contested(contested),
            NoPrincipal::Store(error) => Self::Store(error),
        }
    }
}

impl Refused {
    /// The record of it; `who` it was, if that is known otherwise than by the refusal.
    pub fn event(&self, who: Option<Actor>, request_id: &str) -> Event {
        let contested = match self {
            Self::Contested(of) => Some(of),
            Self::Caller(refused) => match &**refused {
                service::Refused::Contested(of) => Some(of),
                _ => None,
            },
            _ => None,
        };
        match contested {
            Some(of) => Event::sign_in_contested(of.actor(), of.owner.clone(), request_id),
            None => Event::sign_in_refused(who, request_id, self.code()),
        }
    }

    /// A code for records.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::OtherBrowser => "other_browser",
            Self::State => "state",
            Self::Link => "link",
            Self::NotConfigured => "not_configured",
            Self::NoApplication => "no_application",
            Self::WrongPerson => "wrong_person",
            Self::Caller(refused) => refused.code(),
            Self::Contested(_) => "identity_contested",
            Self::NoPerson => "no_person",
            Self::Answer(error) => error.code(),
            Self::Denied(denial) => denial.reason.code(),
            Self::Tokens(error) => error.code(),
            Self::NoIdToken => "no_id_token",
            Self::IdToken(error) => error.reason(),
            Self::Discovery(_) => "discovery",
            Self::AuthorizationUrl(_) => "authorization_url",
            Self::Store(_) => "store",
            Self::Vault(_) => "vault",
            Self::Audit(_) => "audit",
        }
    }
}
