//! Reads what token endpoints answer, in all the shapes they are seen in, and never shows any of it.
//!
//! RFC 6749 §5 is the norm; the tolerance here is for what providers do instead: form bodies, numbers in strings, errors
//! under status 200, byte order marks, a person's token inside an application's. A provider that rotates has ended the
//! old refresh token by the time it answers, so a success is refused only if nothing in it can be used: a refresh token
//! beside an access token that is none is given as what it is (I5). What could be read in two ways (duplicate keys) is
//! not read at all.

mod account;
mod body;
mod given;
mod refusal;

use std::time::Duration;

pub(super) use self::account::told as account_told;
use self::body::{Body, Object, Value};
use self::given::given;
pub use self::given::{Given, Token};
use self::refusal::Refusal;
pub use self::refusal::{Fault, RefusalCode};
use super::endpoint::Answer;
use super::profile::Profile;

#[cfg(test)]
mod mutations;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod tests;

/// Longest access token taken; what is longer would not fit the headers of most upstreams.
pub const MAX_ACCESS_TOKEN: usize = 16 * 1024;

/// Longest refresh token taken.
pub const MAX_REFRESH_TOKEN: usize = 16 * 1024;

/// Longest life believed: a year. A larger `expires_in` means the same as this.
pub const MAX_EXPIRES_IN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Why there is no token. Holds nothing of the answer but what is known beforehand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenEndpointError {
    /// The provider says no to this client, grant or request; asking again changes nothing.
    #[error("the token endpoint refused: {code}")]
    Refused {
        /// Which of the known codes.
        code: RefusalCode,
    },
    /// It may work later: status 408, 429 or 5xx, or an overload in words.
    #[error("the token endpoint is not available")]
    Transient {
        /// What the provider asked to wait.
        retry_after: Option<Duration>,
    },
    /// There was no connection to ask on.
    #[error("the token endpoint cannot be reached")]
    NoConnection,
    /// It was asked, or may have been, and no whole answer came.
    #[error("the token endpoint gave no answer")]
    NoAnswer,
    /// An answer that is neither a token nor a refusal.
    #[error("the token endpoint's answer is not usable: {0}")]
    Malformed(Malformed),
}

impl TokenEndpointError {
    /// A code for records.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { code: RefusalCode::Unlisted } => "refused",
            Self::Refused { code } => code.name(),
            Self::Transient { .. } | Self::NoConnection | Self::NoAnswer => "unavailable",
            Self::Malformed(_) => "malformed",
        }
    }

    /// Whether a code or refresh token that was sent may be used up. An answer that is no success says that it is not.
    pub fn may_have_acted(&self) -> bool {
        match self {
            Self::NoAnswer => true,
            Self::Malformed(Malformed::Status(_)) => false,
            // A success whose words nobody understands.
            Self::Malformed(
                Malformed::AccessToken
                | Malformed::DuplicateKey
                | Malformed::NoAccessToken
                | Malformed::Shape
                | Malformed::TokenType
                | Malformed::TooLarge,
            ) => true,
            Self::Refused { .. } | Self::Transient { .. } | Self::NoConnection => false,
        }
    }

    /// Who can mend it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused { code } => code.fault(),
            Self::Transient { .. } | Self::NoConnection | Self::NoAnswer | Self::Malformed(_) => Fault::Provider,
        }
    }
}

/// In which way an answer was not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// The access token has bytes that no header may carry, or is a word for nothing.
    #[error("the access token is not one")]
    AccessToken,
    /// A key comes twice.
    #[error("a key comes twice")]
    DuplicateKey,
    /// No access token where RFC 6749 §5.1 or the profile puts it.
    #[error("it holds no access token")]
    NoAccessToken,
    /// Neither JSON nor a form.
    #[error("it is neither a JSON object nor a form")]
    Shape,
    /// A status that says nothing; redirects are not followed.
    #[error("it has status {0}")]
    Status(u16),
    /// A token that is of no use without a proof or a signature, or that is not the person's.
    #[error("the token's type is not one to use")]
    TokenType,
    /// Larger than the cap.
    #[error("it is too large")]
    TooLarge,
}

/// Reads an answer.
pub fn read(profile: &Profile, answer: &Answer) -> Result<Given, TokenEndpointError> {
    let retry_after = answer.retry_after;
    if matches!(answer.status, 408 | 429 | 500..=599) {
        return Err(TokenEndpointError::Transient { retry_after });
    }
    let success = (200..300).contains(&answer.status);
    // Read here to be taken apart; only tokens leave, as secrets again.
    match body::read(answer.content_type.as_deref(), answer.body.expose()) {
        Ok(Body::Plain(body)) => match refusal(profile, &body) {
            Some(Refusal::Busy) => Err(TokenEndpointError::Transient { retry_after }),
            Some(Refusal::Code(code)) => Err(TokenEndpointError::Refused { code }),
            None if success => given(profile, body, None).map_err(TokenEndpointError::Malformed),
            None => Err(bare_status(answer.status)),
        },
        Ok(Body::Ambiguous(body)) if success => match refusal(profile, &body) {
            Some(_) => Err(TokenEndpointError::Malformed(Malformed::DuplicateKey)),
            None => given(profile, body, Some(Malformed::DuplicateKey)).map_err(TokenEndpointError::Malformed),
        },
        Ok(Body::Ambiguous(_)) => Err(bare_status(answer.status)),
        Err(why) if success => Err(TokenEndpointError::Malformed(why)),
        Err(_) => Err(bare_status(answer.status)),
    }
}

/// What a status means when the body says nothing.
fn bare_status(status: u16) -> TokenEndpointError {
    match status {
        // RFC 6749 §5.2: the status for failed client authentication.
        401 => TokenEndpointError::Refused { code: RefusalCode::InvalidClient },
        other => TokenEndpointError::Malformed(Malformed::Status(other)),
    }
}

/// How an endpoint says that it did not do what it was asked.
pub(super) enum Refused {
    /// The token is not valid (any more).
    AlreadyDead,
    /// Not now.
    Later,
    /// Not at all.
    No,
}

/// Whether the body of an answer is an object that has this member.
pub(super) fn is_told(answer: &Answer, member: &str) -> bool {
    let body = body::read(answer.content_type.as_deref(), answer.body.expose()).ok().and_then(Body::plain);
    body.is_some_and(|body| !matches!(body.get(member), Value::Null))
}

/// Judges an answer in which no token is expected; its body need not be anything.
pub(super) fn refused(profile: &Profile, answer: &Answer) -> Option<Refused> {
    let body = body::read(answer.content_type.as_deref(), answer.body.expose()).ok().and_then(Body::plain);
    let success = (200..300).contains(&answer.status);
    match (answer.status, body.as_ref().and_then(|body| refusal(profile, body))) {
        (408 | 429 | 500..=599, _) | (_, Some(Refusal::Busy)) => Some(Refused::Later),
        (_, Some(Refusal::Code(RefusalCode::InvalidGrant))) => Some(Refused::AlreadyDead),
        // What Google and others say of a token that they no longer know.
        _ if body.as_ref().and_then(|body| body.get("error").text()) == Some("invalid_token") => {
            Some(Refused::AlreadyDead)
        }
        (_, Some(Refusal::Code(_))) => Some(Refused::No),
        (_, None) => (!success).then_some(Refused::No),
    }
}

fn refusal(profile: &Profile, body: &Object) -> Option<Refusal> {
    let unlisted = Some(Refusal::Code(RefusalCode::Unlisted));
    let not_ok = matches!(body.get("ok"), Value::Bool(false) | Value::Unread) || body.get("ok").text() == Some("false");
    match body.get("error") {
        Value::Text(text) if !text.expose().is_empty() => {
            Some(Refusal::from_text(profile, text.expose_str().unwrap_or_default()))
        }
        Value::Number(_) | Value::Bool(true) | Value::List(_) | Value::Object(_) | Value::Unread => unlisted,
        Value::Text(_) | Value::Null | Value::Bool(false) => unlisted.filter(|_| not_ok),
    }
}
