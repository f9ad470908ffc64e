//! Why there is no credential, and what the proxy is told: one exhaustive table.

use std::time::Duration;

use sallyport_caller::{PolicyDenied, TokenError};
use sallyport_proto::broker::acquire_credential_response::Answer;
use sallyport_proto::broker::denied::Reason;
use sallyport_proto::broker::{Consent, ConsentRequired, Denied, Unavailable};

use crate::audit::AuditError;
use crate::consent::{self, Link};
use crate::principals::{Contested, NoPrincipal};
use crate::refresher::RefreshError;
use crate::store::StoreError;

/// When something that is down is worth another try.
const RETRY: Duration = Duration::from_secs(1);

/// When a proxy with an older snapshot is worth another try: the new one is on its way.
const RETRY_SNAPSHOT: Duration = Duration::from_millis(200);

/// Why no credential is released. Deny is the default: whatever is not here is not released either.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The caller's token, or what it is meant for.
    #[error("the broker does not accept the caller's token: {0}")]
    Token(#[from] TokenError),
    /// The caller's token was revoked.
    #[error("the caller's token was revoked")]
    Revoked,
    /// A token of our own that we did not issue as it is.
    #[error("the caller's token is not one that was issued here")]
    UnknownToken,
    /// The caller's address is that of another subject of the same issuer.
    #[error(transparent)]
    Contested(Contested),
    /// No such server, or not for this proxy.
    #[error("there is no such server")]
    Server,
    /// The proxy's route may still lead to where the server was (I12).
    #[error("the server was changed a moment ago")]
    ServerChanged,
    /// Policy.
    #[error(transparent)]
    Policy(#[from] PolicyDenied),
    /// The person has not agreed yet.
    #[error("{}", .0.message)]
    Consent(Link),
    /// Nobody can agree, or nobody can be asked now.
    #[error(transparent)]
    NoConsent(consent::Refused),
    /// No token of the provider.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// A header's value has bytes that no header may carry.
    #[error("a configured header has a value that cannot be sent")]
    HeaderValue,
    /// The upstream refused what is configured, or a token that was just renewed.
    #[error("the server refuses the credential that is configured for it")]
    Upstream,
    /// The store.
    #[error("the broker's store is not available")]
    Store(#[from] StoreError),
    /// The release cannot be recorded, so there is none (I7).
    #[error("the broker's audit log is not available")]
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
    /// A code for audit and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(error) => error.reason(),
            Self::Revoked => "revoked",
            Self::UnknownToken => "unknown_token",
            Self::Contested(_) => "identity_contested",
            Self::Server => "server",
            Self::ServerChanged => "server_changed",
            Self::Policy(PolicyDenied) => "policy",
            Self::Refresh(RefreshError::NeedsConsent { .. }) => "consent",
            Self::Refresh(RefreshError::Provider { .. }) => "provider_unavailable",
            Self::Refresh(RefreshError::Overdue { .. }) => "provider_overdue",
            Self::Refresh(RefreshError::Refused { .. }) => "client_refused",
            Self::Refresh(RefreshError::Secret(_)) => "secret",
            Self::Refresh(RefreshError::Store(_)) | Self::Store(_) => "store",
            Self::Refresh(RefreshError::Vault(_)) => "vault",
            Self::Refresh(RefreshError::Draining) => "draining",
            Self::Refresh(RefreshError::Lost) => "broken",
            Self::Consent(_) => "consent_required",
            Self::NoConsent(refused) => refused.code(),
            Self::HeaderValue => "header_value",
            Self::Upstream => "upstream",
            Self::Audit(_) => "audit",
        }
    }

    /// Whether only the operator can mend it, who must find its causes in the log: the proxy is not told them.
    pub(super) fn is_for_operator(&self) -> bool {
        match self {
            Self::Refresh(
                RefreshError::Secret(_) | RefreshError::Store(_) | RefreshError::Vault(_) | RefreshError::Lost,
            )
            | Self::NoConsent(_)
            | Self::HeaderValue
            | Self::Upstream
            | Self::Store(_)
            | Self::Audit(_) => true,
            // The caller's own, for a moment, or logged where it happened.
            Self::Refresh(
                RefreshError::NeedsConsent { .. }
                | RefreshError::Provider { .. }
                | RefreshError::Refused { .. }
                | RefreshError::Overdue { .. }
                | RefreshError::Draining,
            )
            | Self::Token(_)
            | Self::Revoked
            | Self::UnknownToken
            // On record, and nothing that goes on in the log by itself.
            | Self::Contested(_)
            | Self::Server
            | Self::ServerChanged
            | Self::Consent(_)
            | Self::Policy(PolicyDenied) => false,
        }
    }

    /// What the proxy is told: words for the caller, never a secret, never an address.
    pub fn answer(&self) -> Answer {
        match self {
            Self::Token(_) | Self::Revoked | Self::UnknownToken => self.denied(Reason::Token),
            Self::Contested(_) => self.denied(Reason::Identity),
            Self::Server => self.denied(Reason::Server),
            Self::Policy(PolicyDenied) => self.denied(Reason::Policy),
            Self::Consent(link) => Answer::ConsentRequired(ConsentRequired {
                consents: vec![Consent {
                    server: link.server.0.clone(),
                    url: link.url.clone(),
                    message: link.message.clone(),
                }],
            }),
            Self::NoConsent(consent::Refused::NoOwner) => self.denied(Reason::Credential),
            Self::NoConsent(_) => self.unavailable(RETRY),
            Self::Refresh(
                RefreshError::NeedsConsent { .. } | RefreshError::Refused { .. } | RefreshError::Secret(_),
            )
            | Self::HeaderValue
            | Self::Upstream => self.denied(Reason::Credential),
            Self::Refresh(RefreshError::Provider { retry_after, .. }) => self.unavailable(*retry_after),
            Self::ServerChanged => self.unavailable(RETRY_SNAPSHOT),
            Self::Refresh(
                RefreshError::Overdue { .. }
                | RefreshError::Store(_)
                | RefreshError::Vault(_)
                | RefreshError::Draining
                | RefreshError::Lost,
            )
            | Self::Store(_)
            | Self::Audit(_) => self.unavailable(RETRY),
        }
    }

    fn denied(&self, reason: Reason) -> Answer {
        Answer::Denied(Denied { reason: reason.into(), message: self.to_string() })
    }

    fn unavailable(&self, retry_after: Duration) -> Answer {
        let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
        Answer::Unavailable(Unavailable { retry_after_ms, message: self.to_string() })
    }
}
