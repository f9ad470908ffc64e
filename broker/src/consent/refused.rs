//! Why a consent does not go on, and how one can end.

use std::sync::Arc;

use crate::audit::AuditError;
use crate::grants::AtProvider;
use crate::oauth::authorize::AuthorizationUrlError;
use crate::oauth::callback::{CallbackError, Denial};
use crate::oauth::{Fault, TokenEndpointError};
use crate::refresher::{RefreshError, ResolveError};
use crate::store::StoreError;
use crate::vault::VaultError;

/// Why a consent does not go on. Nothing was stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// No such consent or grant.
    #[error("there is no such link")]
    NotFound,
    /// The server or its provider client is not registered any more, or not for this person.
    #[error("the server is not there any more, or not for this person")]
    Gone,
    /// A virtual account that no person answers for.
    #[error("the virtual account has no owners who could consent for it; name them in its manifest")]
    NoOwner,
    /// Nobody is signed in at the browser.
    #[error("nobody is signed in")]
    SignedOut,
    /// Somebody else is (O2).
    #[error("the link was made for somebody else")]
    WrongPerson,
    /// Another owner of the virtual account is being asked which account it is to use.
    #[error("another owner of the account is being asked")]
    OtherOwner,
    /// An owner did not confirm that others will act as them.
    #[error("the owner did not confirm")]
    NotConfirmed,
    /// The answer is not one to what this browser asked (O1).
    #[error("the answer belongs to no consent of this browser")]
    State,
    /// The answer came for another provider client than was asked (O3).
    #[error("the answer came to another client's address")]
    Client,
    /// The answer came too late.
    #[error("the answer came too late")]
    Late,
    /// The answer cannot be taken as one of the provider's.
    #[error(transparent)]
    Answer(#[from] CallbackError),
    /// The person or the provider said no.
    #[error("the provider said no: {}", .denial.reason.code())]
    Denied {
        /// The consent, which can be begun again.
        consent: String,
        /// Why.
        denial: Denial,
    },
    /// Browsers are not sent to the configured authorization URL.
    #[error("the authorization URL cannot be used")]
    AuthorizationUrl(#[from] AuthorizationUrlError),
    /// Somebody else is exchanging the code, and has not come to an end.
    #[error("the provider has not answered yet")]
    Pending,
    /// Whoever exchanged the code has not come to an end, and will not any more.
    #[error("the exchange of the code was lost")]
    Lost {
        /// The consent, which can be begun again.
        consent: String,
    },
    /// The provider gave tokens, and the store took none of them.
    #[error("the store did not take what the provider gave")]
    NotStored {
        /// The consent, which can be begun again.
        consent: String,
        /// Host of the provider.
        provider: String,
        /// What became of the tokens there.
        at_provider: AtProvider,
        /// Where people can see to it themselves.
        manage_url: Option<&'static str>,
    },
    /// The provider gave tokens, and meanwhile an operator had given the person's address to somebody else.
    #[error("the holder's address was released while the provider was asked")]
    Withdrawn {
        /// Host of the provider.
        provider: String,
        /// What became of the tokens there.
        at_provider: AtProvider,
        /// Where people can see to it themselves.
        manage_url: Option<&'static str>,
    },
    /// A secret of the configuration cannot be read.
    #[error("a secret of the server's configuration cannot be read")]
    Secret(#[source] ResolveError),
    /// Store.
    #[error("the store is not available")]
    Store(#[source] Arc<StoreError>),
    /// Vault.
    #[error("the vault is not available")]
    Vault(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Audit.
    #[error("the audit is not available")]
    Audit(#[from] AuditError),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Draining,
}

impl Refused {
    /// A code for records.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::NoOwner => "no_owner",
            Self::SignedOut => "signed_out",
            Self::WrongPerson => "wrong_person",
            Self::OtherOwner => "other_owner",
            Self::NotConfirmed => "not_confirmed",
            Self::State => "state",
            Self::Client => "client",
            Self::Late => "late",
            Self::Answer(error) => error.code(),
            Self::Denied { denial, .. } => denial.reason.code(),
            Self::AuthorizationUrl(_) => "authorization_url",
            Self::Pending => "pending",
            Self::Lost { .. } => "lost",
            Self::NotStored { .. } => "not_stored",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Secret(_) => "secret",
            Self::Store(_) => "store",
            Self::Vault(_) => "vault",
            Self::Audit(_) => "audit",
            Self::Draining => "draining",
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<VaultError> for Refused {
    fn from(error: VaultError) -> Self {
        Self::Vault(Arc::new(error))
    }
}

/// Of data keys: nothing else of the refresher is used here.
impl From<RefreshError> for Refused {
    fn from(error: RefreshError) -> Self {
        Self::Vault(Arc::new(error))
    }
}

impl From<ResolveError> for Refused {
    fn from(error: ResolveError) -> Self {
        Self::Secret(error)
    }
}

/// How a consent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The grant is stored.
    Done,
    /// The person kept the account they had.
    Kept,
    /// The person did not take the account they came back with, and has no other.
    Declined,
    /// The provider gave tokens, which could not be stored and were given back.
    NotStored,
    /// The provider did not take the code.
    Code,
    /// The provider does not accept the client as it is configured.
    Client,
    /// The provider gave what cannot be used, and was told so in vain: it may live on there.
    LeftOver,
    /// The provider did not answer, or not with a token.
    Provider,
}

impl Ended {
    /// As it is stored.
    pub fn code(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Kept => "kept",
            Self::Declined => "declined",
            Self::NotStored => "not_stored",
            Self::Code => "code",
            Self::Client => "client",
            Self::LeftOver => "left_over",
            Self::Provider => "provider",
        }
    }

    pub(super) fn from_code(code: &str) -> Self {
        [Self::Done, Self::Kept, Self::Declined, Self::NotStored, Self::Code, Self::Client, Self::LeftOver]
            .into_iter()
            .find(|e| e.code() == code)
            .unwrap_or(Self::Provider)
    }

    pub(super) fn of(error: &TokenEndpointError) -> Self {
        match error.fault() {
            Fault::Grant => Self::Code,
            Fault::Client => Self::Client,
            Fault::Provider => Self::Provider,
        }
    }

    /// What the person is told.
    pub fn sentence(self) -> &'static str {
        match self {
            // Shown only where it is not connected all the same.
            Self::Done => {
                "The provider granted less than this server needs, or it was ended since. Start again, and allow all \
                 that is asked."
            }
            Self::Kept => "You kept the account that was connected before.",
            Self::NotStored => "You agreed, but this gateway could not store it. Start again in a few minutes.",
            Self::Declined => "The account that you came back with was not connected.",
            Self::Code => "The provider did not accept its own answer. Start again.",
            Self::Client => {
                "The provider does not accept this gateway as it is configured. Tell your administrator, and name the \
                 request below."
            }
            Self::LeftOver => {
                "The provider did not answer as it should, and what it gave may live on there. End it there, where it \
                 lists what you have allowed, and start again in a few minutes."
            }
            Self::Provider => "The provider did not answer as it should. Start again in a few minutes.",
        }
    }
}
