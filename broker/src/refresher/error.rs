//! Why there is no token to serve.

use std::sync::Arc;
use std::time::Duration;

use super::ConsentReason;
use crate::oauth::{RefusalCode, TokenEndpointError};
use crate::store::StoreError;
use crate::vault::VaultError;

/// What was at the bottom of it; shared by all who waited.
pub(super) type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Why a template was not resolved.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// A secret in it is not there, or does not open: only an operator mends that.
    #[error("a secret cannot be read")]
    Unusable(#[source] Cause),
    /// The store does not answer: later it may.
    #[error("the store is not available")]
    Unavailable(#[source] Cause),
}

/// Why there is no token to serve.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RefreshError {
    /// The person must agree (again) in their browser.
    #[error("a person's consent is needed: {reason}")]
    NeedsConsent {
        /// Why.
        reason: ConsentReason,
    },
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
    Secret(#[source] Cause),
    /// The store does not answer.
    #[error("the store is not available")]
    Store(#[source] Cause),
    /// The vault does not open or seal.
    #[error("the vault is not available")]
    Vault(#[source] Cause),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Draining,
    /// The renewal ended without a token that lives.
    #[error("the renewal was lost")]
    Lost,
}

impl RefreshError {
    pub(super) fn store(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }

    pub(super) fn vault(error: VaultError) -> Self {
        Self::Vault(Arc::new(error))
    }

    /// What a provider's failure is to a caller, and how long the provider asked to be left alone.
    pub(super) fn of_provider(host: String, error: TokenEndpointError) -> (Self, Option<Duration>) {
        match error {
            TokenEndpointError::Refused { code } => (Self::Refused { host, code }, None),
            TokenEndpointError::Transient { retry_after } => {
                (Self::Provider { host, retry_after: Duration::ZERO }, retry_after)
            }
            TokenEndpointError::NoConnection | TokenEndpointError::NoAnswer | TokenEndpointError::Malformed(_) => {
                (Self::Provider { host, retry_after: Duration::ZERO }, None)
            }
        }
    }

    pub(super) fn retry_in(self, pause: Duration) -> Self {
        match self {
            Self::Provider { host, .. } => Self::Provider { host, retry_after: pause },
            other @ (Self::NeedsConsent { .. }
            | Self::Refused { .. }
            | Self::Overdue { .. }
            | Self::Secret(_)
            | Self::Store(_)
            | Self::Vault(_)
            | Self::Draining
            | Self::Lost) => other,
        }
    }
}

impl From<ConsentReason> for RefreshError {
    fn from(reason: ConsentReason) -> Self {
        Self::NeedsConsent { reason }
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
