//! What a provider sends to the redirect URI (RFC 6749 §4.1.2, RFC 9207): read before any of it is used, and before the
//! code goes anywhere.

mod denial;

use std::collections::HashSet;

use url::form_urlencoded;

pub use self::denial::{Denial, DenialReason};
use crate::secret::Secret;

#[cfg(test)]
mod tests;

/// Largest query read.
const MAX_QUERY: usize = 16 * 1024;
/// Longest code read.
const MAX_CODE: usize = 4 * 1024;
/// Longest state read; ours is shorter.
const MAX_STATE: usize = 512;

/// What `iss` of an answer must be. Compared as it stands, without any normalisation (RFC 9207 §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedIssuer<'a> {
    /// The provider is known to send it (`authorization_response_iss_parameter_supported`, or the manifest names it): an
    /// answer without it is another's.
    Always(&'a str),
    /// Its issuer is known, and not whether it sends it.
    IfSent(&'a str),
    /// Nothing to compare with. The redirect URI, which is each provider client's own, still tells providers apart.
    Unknown,
}

/// An answer whose issuer is the expected one. Whether its state is the browser's is for the flow to say.
#[derive(Debug)]
pub struct Callback {
    /// As it came.
    pub state: Secret,
    /// Code or refusal.
    pub outcome: Outcome,
}

/// What came of the authorization request.
#[derive(Debug)]
pub enum Outcome {
    /// The person agreed.
    Code(Secret),
    /// They did not, or the provider did not.
    Denied(Denial),
}

/// Why an answer is not taken. Holds nothing of it: whoever sent it may not be the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// RFC 6749 §3.1.
    #[error("a parameter comes twice")]
    Duplicate,
    /// RFC 9207 §2.4: neither its code nor its error text may be used.
    #[error("it comes from another issuer than the one that was asked")]
    Issuer,
    /// No issuer, where the provider always names it.
    #[error("it does not name its issuer")]
    IssuerMissing,
    /// Without state nobody knows whose it is.
    #[error("it has no usable state")]
    State,
    /// Neither a code nor an error, or both.
    #[error("it has neither a code nor an error, or both")]
    Shape,
    /// A code that no provider gives.
    #[error("its code is not one")]
    Code,
    /// More than would be read.
    #[error("it is too large")]
    TooLarge,
}

impl CallbackError {
    /// A code for records.
    pub fn code(self) -> &'static str {
        match self {
            Self::Issuer => "iss",
            Self::IssuerMissing => "iss_missing",
            Self::State => "state",
            Self::Duplicate | Self::Shape | Self::Code | Self::TooLarge => "answer",
        }
    }
}

/// Reads the query of a request to the redirect URI.
///
/// # Errors
/// [`CallbackError`].
pub fn read(query: &str, issuer: ExpectedIssuer<'_>) -> Result<Callback, CallbackError> {
    if query.len() > MAX_QUERY {
        return Err(CallbackError::TooLarge);
    }
    let (mut code, mut state, mut iss, mut error, mut description) = (None, None, None, None, None);
    let mut seen = HashSet::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "code" => code = Some(Secret::new(value.into_owned())),
            "state" => state = Some(Secret::new(value.into_owned())),
            "iss" => iss = Some(value.into_owned()),
            "error" => error = Some(value.into_owned()),
            "error_description" => description = Some(value.into_owned()),
            // Providers add what they like: `scope`, `session_state`, `hd`.
            _ => {}
        }
        if !seen.insert(name.into_owned()) {
            return Err(CallbackError::Duplicate);
        }
    }
    match (issuer, iss) {
        (ExpectedIssuer::Always(known) | ExpectedIssuer::IfSent(known), Some(sent)) if sent != known => {
            return Err(CallbackError::Issuer);
        }
        (ExpectedIssuer::Always(_), None) => return Err(CallbackError::IssuerMissing),
        (ExpectedIssuer::Always(_) | ExpectedIssuer::IfSent(_) | ExpectedIssuer::Unknown, _) => {}
    }
    let state = state.filter(|state| is_visible(state, MAX_STATE)).ok_or(CallbackError::State)?;
    let outcome = match (code, error) {
        (Some(code), None) if is_visible(&code, MAX_CODE) => Outcome::Code(code),
        (Some(_), None) => return Err(CallbackError::Code),
        (None, Some(error)) => Outcome::Denied(Denial::read(&error, description.as_deref())),
        (None, None) | (Some(_), Some(_)) => return Err(CallbackError::Shape),
    };
    Ok(Callback { state, outcome })
}

/// RFC 6749 appendix A: codes and states are visible ASCII.
fn is_visible(text: &Secret, max: usize) -> bool {
    // Judged byte by byte; nothing of it leaves.
    let bytes = text.expose();
    !bytes.is_empty() && bytes.len() <= max && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
}
