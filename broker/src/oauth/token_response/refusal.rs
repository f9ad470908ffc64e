//! What a token endpoint says no with, and whose fault that is.

use std::fmt;

use crate::oauth::profile::Profile;

/// `error` of a token endpoint's answer: only codes of RFC 6749 §5.2 and RFC 8707 §2 are kept, and what a profile
/// translates to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// `invalid_client`, or status 401 without a code.
    InvalidClient,
    /// `invalid_grant`.
    InvalidGrant,
    /// `invalid_request`.
    InvalidRequest,
    /// `invalid_scope`.
    InvalidScope,
    /// `invalid_target` (RFC 8707).
    InvalidTarget,
    /// `unauthorized_client`.
    UnauthorizedClient,
    /// Any other word; not kept, since it is the provider's text.
    Unlisted,
    /// `unsupported_grant_type`.
    UnsupportedGrantType,
}

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An operator: the client or the request is not what the provider wants. The grant may be as good as before.
    Client,
    /// The person, by a new consent: code or refresh token are used up, expired or revoked.
    Grant,
    /// Time: nothing was said about the grant.
    Provider,
}

impl RefusalCode {
    /// The code as the RFC spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::Unlisted => "an error of its own",
            Self::UnsupportedGrantType => "unsupported_grant_type",
        }
    }

    /// The code of this name.
    pub fn named(name: &str) -> Option<Self> {
        let every = [
            Self::InvalidClient,
            Self::InvalidGrant,
            Self::InvalidRequest,
            Self::InvalidScope,
            Self::InvalidTarget,
            Self::UnauthorizedClient,
            Self::Unlisted,
            Self::UnsupportedGrantType,
        ];
        every.into_iter().find(|code| code.name() == name)
    }

    /// Who can mend it. A word that is not known ends no grant.
    pub fn fault(self) -> Fault {
        match self {
            Self::InvalidGrant => Fault::Grant,
            Self::InvalidClient
            | Self::InvalidRequest
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::UnauthorizedClient
            | Self::Unlisted
            | Self::UnsupportedGrantType => Fault::Client,
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Copy)]
pub(super) enum Refusal {
    Busy,
    Code(RefusalCode),
}

impl Refusal {
    /// The provider's own words first: it may mean something else by those of the RFC.
    pub(super) fn from_text(profile: &Profile, text: &str) -> Self {
        if let Some((_, code)) = profile.refusals.iter().find(|(word, _)| *word == text) {
            return Self::Code(*code);
        }
        Self::Code(match text {
            "invalid_client" => RefusalCode::InvalidClient,
            "invalid_grant" => RefusalCode::InvalidGrant,
            "invalid_request" => RefusalCode::InvalidRequest,
            "invalid_scope" => RefusalCode::InvalidScope,
            "invalid_target" => RefusalCode::InvalidTarget,
            "unauthorized_client" => RefusalCode::UnauthorizedClient,
            "unsupported_grant_type" => RefusalCode::UnsupportedGrantType,
            // Overload in words, as some endpoints say it under status 200 or 400.
            "temporarily_unavailable"
            | "server_error"
            | "slow_down"
            | "ratelimited"
            | "rate_limited"
            | "rate_limit_exceeded"
            | "too_many_requests"
            | "internal_error"
            | "service_unavailable" => {
                return Self::Busy;
            }
            _ => RefusalCode::Unlisted,
        })
    }
}
