//! Refusals at the authorization endpoint, in plain words.

/// Longest description kept.
const MAX_DESCRIPTION: usize = 200;

/// A refusal, for a person and for the operator's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Which of the known ones.
    pub reason: DenialReason,
    /// The provider's own words, cut and without anything but visible ASCII. Never markup: a page escapes it.
    pub description: Option<String>,
}

/// `error` of an authorization response (RFC 6749 §4.1.2.1, RFC 8707 §2, OpenID Connect Core §3.1.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialReason {
    /// `access_denied`.
    AccessDenied,
    /// `server_error`, `temporarily_unavailable`.
    Busy,
    /// `invalid_request`, `unsupported_response_type`, and what providers call a redirect URI that they do not know.
    InvalidRequest,
    /// `invalid_scope`.
    InvalidScope,
    /// `invalid_target`.
    InvalidTarget,
    /// `login_required`, `interaction_required`, `consent_required`, `account_selection_required`.
    SignInRequired,
    /// `unauthorized_client`, `invalid_client`.
    UnauthorizedClient,
    /// Any other word; not kept.
    Unlisted,
}

impl Denial {
    pub(super) fn read(error: &str, description: Option<&str>) -> Self {
        let reason = match error {
            "access_denied" | "user_denied" | "consent_denied" => DenialReason::AccessDenied,
            "server_error" | "temporarily_unavailable" => DenialReason::Busy,
            "invalid_request"
            | "unsupported_response_type"
            | "redirect_uri_mismatch"
            | "bad_redirect_uri"
            | "invalid_redirect_uri" => DenialReason::InvalidRequest,
            "invalid_scope" | "no_scopes" => DenialReason::InvalidScope,
            "invalid_target" | "invalid_resource" => DenialReason::InvalidTarget,
            "login_required" | "interaction_required" | "consent_required" | "account_selection_required" => {
                DenialReason::SignInRequired
            }
            "unauthorized_client" | "invalid_client" | "application_suspended" | "admin_policy_enforced" => {
                DenialReason::UnauthorizedClient
            }
            _ => DenialReason::Unlisted,
        };
        Self { reason, description: description.and_then(visible) }
    }
}

impl DenialReason {
    /// A code for records.
    pub fn code(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::Busy => "unavailable",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::SignInRequired => "sign_in_required",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::Unlisted => "refused",
        }
    }

    /// What a person is told, and what they can do.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::AccessDenied => "Access was not granted. Nothing was stored; start again if that was not intended.",
            Self::Busy => "The provider is not available at the moment. Try again in a few minutes.",
            Self::InvalidRequest => {
                "The provider does not accept the request of this gateway. Tell your administrator: the redirect URI may \
                 not be registered there."
            }
            Self::InvalidScope => {
                "The provider does not know the permissions that were asked for. Tell your administrator: the scopes of \
                 this server need another look."
            }
            Self::InvalidTarget => {
                "The provider gives no access to this server's address. Tell your administrator: the provider does not \
                 know the server as a resource."
            }
            Self::SignInRequired => "The provider wants you to sign in there first. Do so, and start again.",
            Self::UnauthorizedClient => {
                "The provider does not let this gateway ask for access. Tell your administrator: the application may \
                 need approval there."
            }
            Self::Unlisted => "The provider refused. Start again, and tell your administrator if it stays so.",
        }
    }
}

/// RFC 6749 §4.1.2.1 allows visible ASCII and space; line breaks and what else could forge a line of a log goes.
fn visible(text: &str) -> Option<String> {
    let kept: String = text.chars().filter(|c| matches!(c, ' '..='~')).take(MAX_DESCRIPTION).collect();
    (!kept.trim().is_empty()).then_some(kept)
}
