//! A success taken apart: which tokens it gives, and whose they are.

use std::time::Duration;

use super::body::{Object, Value};
use super::{MAX_ACCESS_TOKEN, MAX_EXPIRES_IN, MAX_REFRESH_TOKEN, Malformed, TokenEndpointError, account};
use crate::oauth::profile::{GrantedScopes, Profile};
use crate::secret::Secret;

/// Most scopes read, and the longest of them; an answer with more is read as one that does not tell.
pub(super) const MAX_SCOPES: usize = 256;
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
    /// What was granted, if the endpoint tells in a way that can be compared ([`Profile::has_granted`]); none means what was
    /// asked for.
    pub scopes: Option<Vec<String>>,
    /// Names the account at the provider, if the answer does. Answers to refreshes may name it in fewer words: compare
    /// what came of one consent with what came of another.
    pub account: Option<String>,
}

/// `flaw`: what is wrong with the whole, so that nothing of it is believed but a refresh token.
pub(super) fn given(profile: &Profile, mut body: Object, flaw: Option<Malformed>) -> Result<Given, Malformed> {
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
    match profile.granted_scopes {
        GrantedScopes::Listed(_) => {}
        GrantedScopes::Renamed => return None,
    }
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
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    (!scopes.is_empty()).then_some(scopes)
}
