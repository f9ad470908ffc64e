//! The challenges of an upstream's 401 or 403 (RFC 9110 §11.6.1): what a Bearer challenge says is the matter.
//!
//! They never reach the client; the broker is told two parameters of theirs, and of these only what RFC 6750 defines.

use crate::head::Head;
use crate::headers;

/// Longest `scope` that the broker is told, in bytes: the upstream chose it.
const LONGEST_SCOPE: usize = 1_024;

/// What a Bearer challenge says is the matter (RFC 6750 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeError {
    /// The token is too narrow.
    InsufficientScope,
    /// The request is malformed.
    InvalidRequest,
    /// The token is expired, revoked or not one.
    InvalidToken,
}

impl ChallengeError {
    /// Its code in RFC 6750.
    pub fn code(self) -> &'static str {
        match self {
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
        }
    }

    fn of(code: &[u8]) -> Option<Self> {
        [Self::InsufficientScope, Self::InvalidRequest, Self::InvalidToken]
            .into_iter()
            .find(|error| error.code().as_bytes() == code)
    }
}

/// The first Bearer challenge that names an error.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// None where no challenge has one of RFC 6750's codes.
    pub error: Option<ChallengeError>,
    /// The scopes it asks for, each a scope-token of RFC 6749 §3.3, one space between; empty for none, or for a list
    /// that is anything else.
    pub scope: String,
}

impl Challenge {
    /// What the challenges of a response say.
    pub fn of(head: &Head) -> Self {
        let values = head.iter().filter(|(name, _)| *name == headers::WWW_AUTHENTICATE.as_bytes());
        values.flat_map(|(_, value)| read(value)).find(|challenge| challenge.error.is_some()).unwrap_or_default()
    }
}

/// Every Bearer challenge of one header value.
fn read(value: &[u8]) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut is_bearer = false;
    let mut rest = value;
    loop {
        rest = skip(rest, |byte| matches!(byte, b' ' | b'\t' | b','));
        let (name, after) = split(rest, is_token);
        if name.is_empty() {
            // The end, or what is no challenge: nothing behind it can be told apart.
            return challenges;
        }
        let Some(value) = skip(after, is_blank).strip_prefix(b"=") else {
            is_bearer = name.eq_ignore_ascii_case(b"bearer");
            if is_bearer {
                challenges.push(Challenge::default());
            }
            rest = after;
            continue;
        };
        let Some((value, after)) = parameter_value(skip(value, is_blank)) else { return challenges };
        if let Some(challenge) = challenges.last_mut().filter(|_| is_bearer) {
            if name.eq_ignore_ascii_case(b"error") {
                challenge.error = challenge.error.or(ChallengeError::of(&value));
            } else if name.eq_ignore_ascii_case(b"scope") {
                challenge.scope = scope(value);
            }
        }
        rest = after;
    }
}

/// A token or a quoted-string without its quotes, and what comes behind it; `None` for a string without an end.
fn parameter_value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        // A token68 ends in `=`, and has no parameters behind it.
        let (token, after) = split(text, |byte| is_token(byte) || byte == b'=');
        return Some((token.to_vec(), after));
    };
    let mut value = Vec::new();
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some((value, after)),
            [b'\\', escaped, after @ ..] => {
                value.push(*escaped);
                after
            }
            [byte, after @ ..] => {
                value.push(*byte);
                after
            }
            [] => return None,
        };
    }
}

fn scope(list: Vec<u8>) -> String {
    let is_scope_byte = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let is_list = list.split(|byte| *byte == b' ').all(|token| !token.is_empty() && token.iter().all(is_scope_byte));
    if is_list && list.len() <= LONGEST_SCOPE { String::from_utf8(list).unwrap_or_default() } else { String::new() }
}

fn skip(text: &[u8], is_skipped: impl Fn(u8) -> bool) -> &[u8] {
    split(text, is_skipped).1
}

/// The longest beginning of such bytes, and the rest.
fn split(text: &[u8], is_in: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !is_in(*byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Of a token (RFC 9110 §5.6.2), or of a token68, which may have a slash (§11.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&byte)
}

#[cfg(test)]
mod tests;
