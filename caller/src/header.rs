//! The JOSE header: which key and which algorithm a token claims, and everything it may not ask for.

use std::borrow::Cow;

use crate::algorithm::Algorithm;
use crate::issuer::TokenProfile;
use crate::json::{Members, Value};
use crate::key::MAX_KID_BYTES;
use crate::token::TokenError;

/// Parameters that would make another token of the same bytes, or bring a key of the sender's own (RFC 8725 §3.10).
///
/// `x5t` and `x5t#S256` are not among them: they are digests, several identity providers set them on every token, and
/// nothing here looks at them.
const REFUSED: [&str; 12] = ["crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5c", "x5u", "epk", "p2c", "p2s"];

/// What is read of a header.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Cow<'a, str>,
    typ: Option<Cow<'a, str>>,
}

impl<'a> Header<'a> {
    pub(crate) fn read(json: &'a [u8]) -> Result<Self, TokenError> {
        let members = Members::read(json).map_err(|_| TokenError::Header)?;
        if REFUSED.iter().any(|name| members.has(name)) {
            return Err(TokenError::HeaderParameter);
        }
        let algorithm = match members.get("alg") {
            Some(Value::Text(name)) => Algorithm::from_name(name).ok_or(TokenError::Algorithm)?,
            _ => return Err(TokenError::Algorithm),
        };
        let kid = match members.get("kid") {
            Some(Value::Text(kid)) if !kid.is_empty() && kid.len() <= MAX_KID_BYTES => kid.clone(),
            _ => return Err(TokenError::KeyId),
        };
        let typ = match members.get("typ") {
            None => None,
            Some(Value::Text(typ)) => Some(typ.clone()),
            Some(_) => return Err(TokenError::Type),
        };
        Ok(Self { algorithm, kid, typ })
    }

    /// Whether it says of itself that it is a JWT and no more, or nothing: so ID tokens are marked, where they are.
    pub(crate) fn is_plain(&self) -> bool {
        let is = |name: &str| self.typ.as_ref().is_some_and(|typ| typ.eq_ignore_ascii_case(name));
        self.typ.is_none() || is("jwt") || is("application/jwt")
    }

    /// Whether the issuer says, as its profile demands, that this is an access token (RFC 9068 §4, RFC 8725 §3.11).
    pub(crate) fn is_of(&self, profile: TokenProfile) -> bool {
        let is = |names: &[&str]| {
            self.typ.as_ref().is_some_and(|typ| names.iter().any(|name| typ.eq_ignore_ascii_case(name)))
        };
        match profile {
            TokenProfile::AccessToken => is(&["at+jwt", "application/at+jwt"]),
            TokenProfile::PlainJwt => {
                self.typ.is_none() || is(&["jwt", "application/jwt", "at+jwt", "application/at+jwt"])
            }
        }
    }
}
