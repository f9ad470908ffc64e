//! The claims that decide whether a token counts now: when, for whom, and as what.

use std::borrow::Cow;

use crate::issuer::{Issuer, TokenProfile};
use crate::json::{Members, Value};
use crate::token::{LEEWAY_MS, TokenError};

/// The longest subject, team, account name or token id, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 256;

/// The last second of the year 9999: a later date is a mistake or an attempt to overflow.
const LAST_SECOND: u64 = 253_402_300_799;

/// Claims that only ID tokens, logout tokens and security events carry.
const NOT_OF_ACCESS_TOKENS: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "events"];

/// The validity of a token in time, Unix milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) issued_at_ms: Option<u64>,
    pub(crate) expires_at_ms: u64,
}

/// Whether `now_ms` is past `expires_at_ms` and the leeway.
pub(crate) fn is_expired(expires_at_ms: u64, now_ms: u64) -> bool {
    now_ms >= expires_at_ms.saturating_add(LEEWAY_MS)
}

/// `exp`, `nbf` and `iat`, judged at `now_ms` and by the issuer's lifetime cap.
pub(crate) fn validity(claims: &Members<'_>, issuer: &Issuer, now_ms: u64) -> Result<Validity, TokenError> {
    let expires_at_ms = date(claims, "exp")?.ok_or(TokenError::Expiry)?;
    let issued_at_ms = date(claims, "iat")?;
    let not_before_ms = date(claims, "nbf")?;
    let horizon_ms = now_ms.saturating_add(LEEWAY_MS);
    if is_expired(expires_at_ms, now_ms) {
        return Err(TokenError::Expired);
    }
    if not_before_ms.is_some_and(|not_before| not_before > horizon_ms) {
        return Err(TokenError::NotYetValid);
    }
    if issued_at_ms.is_some_and(|issued_at| issued_at > horizon_ms || issued_at > expires_at_ms) {
        return Err(TokenError::IssuedInFuture);
    }
    // Without `iat` the whole life is not known, but what is left of it is.
    if expires_at_ms.saturating_sub(issued_at_ms.unwrap_or(now_ms)) > issuer.max_lifetime_ms {
        return Err(TokenError::Lifetime);
    }
    Ok(Validity { issued_at_ms, expires_at_ms })
}

/// A NumericDate (RFC 7519 §2), whole seconds only, as milliseconds.
fn date(claims: &Members<'_>, name: &str) -> Result<Option<u64>, TokenError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Integer(seconds)) if *seconds <= LAST_SECOND => Ok(Some(seconds.saturating_mul(1000))),
        Some(_) => Err(TokenError::Expiry),
    }
}

/// Refuses what says of itself that it is not an access token. An issuer that sets `typ` needs no guessing.
pub(crate) fn refuse_other_kinds(claims: &Members<'_>, profile: TokenProfile) -> Result<(), TokenError> {
    match profile {
        TokenProfile::AccessToken => Ok(()),
        TokenProfile::PlainJwt => {
            // Two providers mark the kind in a claim of their own; both write access tokens like this.
            let says = |name: &str, access: &str| match claims.get(name) {
                None => true,
                Some(Value::Text(kind)) => kind.eq_ignore_ascii_case(access),
                Some(_) => false,
            };
            if NOT_OF_ACCESS_TOKENS.iter().any(|name| claims.has(name))
                || !says("token_use", "access")
                || !says("typ", "Bearer")
            {
                return Err(TokenError::Type);
            }
            Ok(())
        }
    }
}

/// A claim that must be a name: not empty, at most [`MAX_NAME_BYTES`], no control characters.
pub(crate) fn name<'c>(claims: &'c Members<'_>, claim: &str) -> Option<&'c str> {
    match claims.get(claim) {
        Some(Value::Text(text)) if is_name(text) => Some(text),
        _ => None,
    }
}

pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control)
}

/// A claim that may be one string or an array of strings; absent and `null` are the empty list.
pub(crate) fn texts<'c, 'j>(claims: &'c Members<'j>, claim: &str) -> Option<&'c [Cow<'j, str>]> {
    match claims.get(claim) {
        None | Some(Value::Null) => Some(&[]),
        Some(Value::Text(text)) => Some(std::slice::from_ref(text)),
        Some(Value::Texts(texts)) => Some(texts),
        Some(_) => None,
    }
}

/// `aud` (RFC 7519 §4.1.3). Absent is the empty list, which enters nowhere.
pub(crate) fn audiences(claims: &Members<'_>) -> Result<Vec<String>, TokenError> {
    let audiences = texts(claims, "aud").ok_or(TokenError::Audience)?;
    Ok(audiences.iter().map(|audience| audience.clone().into_owned()).collect())
}

/// `scope` (RFC 8693 §4.2), or `scp` where there is none; as words or as an array.
pub(crate) fn scopes(claims: &Members<'_>) -> Result<Vec<String>, TokenError> {
    let claim = if claims.has("scope") { "scope" } else { "scp" };
    let lists = texts(claims, claim).ok_or(TokenError::ClaimShape)?;
    let words = lists.iter().flat_map(|list| list.split(' ')).filter(|word| !word.is_empty());
    Ok(words.map(str::to_owned).collect())
}
