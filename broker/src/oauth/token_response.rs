//! Reads what token endpoints answer, in all the shapes they are seen in, and never shows any of it.
//!
//! RFC 6749 §5 is the norm; the tolerance here is for what providers do instead: form bodies, numbers in strings, errors
//! under status 200, byte order marks, a person's token inside an application's. A provider that rotates has ended the
//! old refresh token by the time it answers, so a success is refused only if nothing in it can be used: a refresh token
//! beside an access token that is none is given as what it is (I5). What could be read in two ways (duplicate keys) is
//! not read at all.

mod account;
mod body;
mod refusal;

use std::time::Duration;

use self::body::{Body, Object, Value};
use self::refusal::Refusal;
pub use self::refusal::{Fault, RefusalCode};
use super::endpoint::Answer;
use super::profile::{GrantedScopes, Profile};
use crate::secret::Secret;

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

/// Most scopes read, and the longest of them; an answer with more is read as one that does not tell.
const MAX_SCOPES: usize = 256;
const MAX_SCOPE: usize = 256;

/// What a token endpoint gave. Whoever had a refresh token before keeps the new one, whatever came with it.
#[derive(Debug)]
pub enum Given {
    /// A token to use.
    Token(Token),
    /// A refresh token, beside no access token that could be used.
    RefreshTokenAlone {
        /// The refresh token to use from now on.
        refresh_token: Secret,
        /// What is wrong with the rest.
        why: Malformed,
    },
}

impl Given {
    /// For whom a refresh token alone is of no use, and who had none that it replaces.
    ///
    /// # Errors
    /// If there is no token to use.
    pub fn token(self) -> Result<Token, TokenEndpointError> {
        match self {
            Self::Token(token) => Ok(token),
            Self::RefreshTokenAlone { why, .. } => Err(TokenEndpointError::Malformed(why)),
        }
    }
}

/// A token to use.
#[derive(Debug)]
pub struct Token {
    /// The access token: visible ASCII, so that it can be a header's value.
    pub access_token: Secret,
    /// Its life, if the endpoint named one above zero; at most [`MAX_EXPIRES_IN`].
    pub expires_in: Option<Duration>,
    /// The refresh token to use from now on; none means that the one there is, if any, stays as it is.
    pub refresh_token: Option<Secret>,
    /// The ID token, if one came, as it came: whoever believes it verifies it first.
    pub id_token: Option<Secret>,
    /// What was granted, if the endpoint tells in a way that can be compared; none means what was asked for.
    pub scopes: Option<Vec<String>>,
    /// Names the account at the provider, if the answer does. Answers to refreshes may name it in fewer words: compare
    /// what came of one consent with what came of another.
    pub account: Option<String>,
}

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

/// `flaw`: what is wrong with the whole, so that nothing of it is believed but a refresh token.
fn given(profile: &Profile, mut body: Object, flaw: Option<Malformed>) -> Result<Given, Malformed> {
    let account = account::read(profile, &body);
    // Everything from one object: the outer refresh token would renew the application's token, not the person's.
    let (mut holder, is_an_applications) = match profile.nested.map(|key| body.take(key)) {
        Some(Value::Object(nested)) if has_a_token(&nested) => (nested, false),
        None | Some(Value::Null) => {
            let is_a_bots = profile.nested.is_some() && is_of_type(&body, &["bot"]);
            (body, is_a_bots)
        }
        Some(_) => (body, true),
    };
    let refresh_token = match holder.take("refresh_token") {
        // RFC 6749 appendix A.17. One that is not a token leaves the old one where it is.
        Value::Text(token) if is_token(&token, MAX_REFRESH_TOKEN, |byte| matches!(byte, b' '..=b'~')) => Some(token),
        _ => None,
    };
    let access_token = match (flaw, holder.take("access_token")) {
        (Some(flaw), _) => Err(flaw),
        (None, Value::Null) => Err(Malformed::NoAccessToken),
        (None, Value::Text(token)) if is_token(&token, MAX_ACCESS_TOKEN, u8::is_ascii_graphic) => {
            if is_of_type(&holder, unusable_types(profile)) { Err(Malformed::TokenType) } else { Ok(token) }
        }
        (None, _) => Err(Malformed::AccessToken),
    };
    match (access_token, refresh_token) {
        (Ok(access_token), refresh_token) => Ok(Given::Token(Token {
            access_token,
            expires_in: seconds(holder.get("expires_in")).and_then(lifetime),
            refresh_token,
            id_token: match holder.take("id_token") {
                Value::Text(token) if is_token(&token, MAX_ACCESS_TOKEN, u8::is_ascii_graphic) => Some(token),
                _ => None,
            },
            scopes: scopes(profile, holder.get("scope")),
            account,
        })),
        (Err(why), Some(refresh_token)) if !is_an_applications => Ok(Given::RefreshTokenAlone { refresh_token, why }),
        (Err(why), _) => Err(why),
    }
}

fn has_a_token(object: &Object) -> bool {
    ["access_token", "refresh_token"].iter().any(|key| !matches!(object.get(key), Value::Null))
}

/// Not a word for nothing, and made of bytes that may be there.
fn is_token(token: &Secret, max: usize, may_be: impl Fn(&u8) -> bool) -> bool {
    // Judged byte by byte; nothing of it leaves.
    let bytes = token.expose();
    !bytes.trim_ascii().is_empty()
        && bytes.len() <= max
        && bytes.iter().all(may_be)
        && !matches!(bytes, b"null" | b"undefined" | b"None" | b"nil" | b"false" | b"true")
}

/// RFC 6749 §7.1: a token of a type not understood must not be used. Endpoints put many words there for bearer tokens, so
/// only the types that need a proof (RFC 9449) are refused; and where a person's token is nested, an application's.
fn unusable_types(profile: &Profile) -> &'static [&'static str] {
    if profile.nested.is_some() { &["dpop", "mac", "pop", "bot"] } else { &["dpop", "mac", "pop"] }
}

fn is_of_type(holder: &Object, types: &[&str]) -> bool {
    let told = holder.get("token_type").text();
    told.is_some_and(|told| types.iter().any(|word| told.eq_ignore_ascii_case(word)))
}

fn seconds(value: &Value) -> Option<f64> {
    match value {
        Value::Number(seconds) => Some(*seconds),
        Value::Text(text) => text.expose_str().and_then(|text| text.trim().parse().ok()),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Object(_) | Value::Unread => None,
    }
}

/// Zero, less, and no number at all are how endpoints say that they do not say.
fn lifetime(seconds: f64) -> Option<Duration> {
    if seconds.is_nan() || seconds < 1.0 {
        return None;
    }
    let capped = seconds.min(MAX_EXPIRES_IN.as_secs_f64());
    Duration::try_from_secs_f64(capped.trunc()).ok()
}

/// Text, or a list of texts. None at all is how applications without scopes are answered: it tells nothing.
fn scopes(profile: &Profile, value: &Value) -> Option<Vec<String>> {
    let renamed = match profile.granted_scopes {
        GrantedScopes::Listed(renamed) => renamed,
        GrantedScopes::Renamed => return None,
    };
    let texts: Vec<&str> = match value {
        Value::Text(text) => vec![text.expose_str()?],
        Value::List(list) => list.iter().map(Value::text).collect::<Option<_>>()?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) | Value::Unread => return None,
    };
    let mut scopes: Vec<String> = Vec::new();
    for scope in texts.into_iter().flat_map(|text| text.split(profile.answer_separators)).filter(|one| !one.is_empty())
    {
        if scopes.len() == MAX_SCOPES || scope.len() > MAX_SCOPE || !scope.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let asked = renamed.iter().filter(|(listed, _)| *listed == scope).map(|(_, asked)| *asked);
        for name in std::iter::once(scope).chain(asked) {
            if !scopes.iter().any(|known| known == name) {
                scopes.push(name.to_owned());
            }
        }
    }
    (!scopes.is_empty()).then_some(scopes)
}
