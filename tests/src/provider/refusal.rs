//! OAuth errors of the token endpoint (RFC 6749 section 5.2, RFC 8707).

use serde_json::json;

use crate::Answer;

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Malformed, or a parameter twice.
    InvalidRequest,
    /// Unknown client, wrong secret, or another way to authenticate than it has registered.
    InvalidClient,
    /// Bad code, verifier, redirect URI or refresh token.
    InvalidGrant,
    /// Not for the resource that there is (RFC 8707 section 2).
    InvalidTarget,
    /// None of the three grants.
    UnsupportedGrantType,
}

impl Refusal {
    /// `error` of the answer.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidTarget => "invalid_target",
            Self::UnsupportedGrantType => "unsupported_grant_type",
        }
    }

    pub(super) fn answer(self) -> Answer {
        let status = match self {
            Self::InvalidClient => 401,
            Self::InvalidRequest | Self::InvalidGrant | Self::InvalidTarget | Self::UnsupportedGrantType => 400,
        };
        let body = json!({"error": self.code(), "error_description": "no"});
        Answer::status(status).header("content-type", "application/json").body(body.to_string())
    }
}
