//! From bytes to a [`Caller`]: every rule that a token must keep whatever it is used for.
//!
//! The order is: size, form, header, claims, and the signature last. What is cheap to refuse is refused before a key is
//! asked for, so that expired or misshapen tokens cannot make the broker fetch keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::caller::Caller;
use crate::claims;
use crate::external::ExternalIdentities;
use crate::header::Header;
use crate::issuer::{Issuer, Issuers};
use crate::json::{Members, Value};
use crate::signature::{self, HostSignatures};
use crate::subjects;

/// The longest token, in bytes, before anything is decoded.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The longest header, in bytes, decoded.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;

/// How far clocks may differ, milliseconds.
pub const LEEWAY_MS: u64 = 60_000;

/// Base64 of [`MAX_HEADER_BYTES`], rounded up.
const MAX_HEADER_TEXT: usize = 10_923;

/// Why a token is refused. No variant but [`TokenError::UnknownKey`] holds anything the sender wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The header value is not `Bearer`, one space, and one token.
    #[error("send exactly one bearer token")]
    NotBearer,
    /// More than [`MAX_TOKEN_BYTES`], or a header of more than [`MAX_HEADER_BYTES`].
    #[error("the token is too large")]
    TooLarge,
    /// Not three parts of unpadded canonical base64url (RFC 7515 §7.1); encrypted tokens have five.
    #[error("the token is not a compact signed token")]
    NotCompact,
    /// The header is not one strict JSON object.
    #[error("the token's header cannot be read in only one way")]
    Header,
    /// The header asks for something that is never done: `crit`, `b64`, `zip`, a key or certificate of its own, encryption.
    #[error("the token's header has a parameter that is not accepted")]
    HeaderParameter,
    /// `alg` is absent, `none`, symmetric or unknown, or not the one that the key is for.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// `kid` is absent, empty, too long or not a string.
    #[error("the token does not name its key")]
    KeyId,
    /// Not marked as an access token in the way its issuer does it.
    #[error("the token is not an access token")]
    Type,
    /// The claims are not one strict JSON object.
    #[error("the token's claims cannot be read in only one way")]
    Claims,
    /// `iss` is absent, not a string, or nobody who is trusted here.
    #[error("the token's issuer is not trusted here")]
    Issuer,
    /// The issuer has no such key, as far as is known: the broker may find it.
    #[error("the token's key is not known")]
    UnknownKey {
        /// A trusted issuer.
        issuer: String,
        /// As the token has it, at most [`crate::MAX_KID_BYTES`].
        kid: String,
    },
    /// The signature is not the key's.
    #[error("the token's signature is not valid")]
    Signature,
    /// `exp` is absent, or a date is not a whole number of seconds up to the year 9999.
    #[error("the token's dates are missing or not whole numbers")]
    Expiry,
    /// `exp` is past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` is to come, or after `exp`.
    #[error("the token was issued in the future")]
    IssuedInFuture,
    /// It lives longer than its issuer's tokens may.
    #[error("the token lives longer than is allowed here")]
    Lifetime,
    /// The subject claim is absent, empty, too long or not a string.
    #[error("the token does not name its subject")]
    Subject,
    /// The teams claim is neither a name nor a list of names.
    #[error("the token's teams cannot be read")]
    Teams,
    /// Another claim has a shape it cannot have.
    #[error("a claim of the token has the wrong type")]
    ClaimShape,
    /// `aud` names neither this resource nor an audience of the issuer, or cannot be read.
    #[error("the token is meant for another audience")]
    Audience,
    /// A required scope is missing.
    #[error("the token's scope is too small")]
    Scope,
    /// The gate's own tokens are never passed on to an upstream.
    #[error("a token of the gate itself cannot be passed through")]
    PassthroughOfOwn,
}

impl TokenError {
    /// A name for counters and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotBearer => "not_bearer",
            Self::TooLarge => "too_large",
            Self::NotCompact => "not_compact",
            Self::Header => "header",
            Self::HeaderParameter => "header_parameter",
            Self::Algorithm => "algorithm",
            Self::KeyId => "key_id",
            Self::Type => "type",
            Self::Claims => "claims",
            Self::Issuer => "issuer",
            Self::UnknownKey { .. } => "unknown_key",
            Self::Signature => "signature",
            Self::Expiry => "expiry",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::Lifetime => "lifetime",
            Self::Subject => "subject",
            Self::Teams => "teams",
            Self::ClaimShape => "claim_shape",
            Self::Audience => "audience",
            Self::Scope => "scope",
            Self::PassthroughOfOwn => "passthrough_of_own",
        }
    }
}

/// Verifies a compact JWS by every rule but audience, scope and policy, which depend on the door: see [`Caller::enter`].
///
/// `now_ms` is Unix milliseconds. Revocation is the caller's to check, with [`crate::Revocations`].
///
/// # Errors
/// [`TokenError`]; [`TokenError::UnknownKey`] is worth one question to the broker, the others are final.
pub fn verify(
    token: &[u8],
    issuers: &Issuers,
    identities: &ExternalIdentities,
    now_ms: u64,
    host: &dyn HostSignatures,
) -> Result<Caller, TokenError> {
    let parts = Parts::split(token)?;
    let header_json = decode(parts.header)?;
    let header = Header::read(&header_json)?;
    let claims_json = decode(parts.claims)?;
    let claims = Members::read(&claims_json).map_err(|_| TokenError::Claims)?;

    let issuer = match claims.get("iss") {
        Some(Value::Text(name)) => issuers.get(name).ok_or(TokenError::Issuer)?,
        _ => return Err(TokenError::Issuer),
    };
    if !header.is_of(issuer.profile) {
        return Err(TokenError::Type);
    }
    claims::refuse_other_kinds(&claims, issuer.profile)?;
    let validity = claims::validity(&claims, issuer, now_ms)?;
    let subject = claims::name(&claims, &issuer.subject_claim).ok_or(TokenError::Subject)?;

    verify_signature(&parts, &header, issuer, host)?;

    let subjects = subjects::of(&claims, issuer, identities)?;
    Caller::from_verified(&claims, issuer, subject, subjects, validity)
}

/// The key that the header names is the issuer's, is for this algorithm, and has signed the parts.
pub(crate) fn verify_signature(
    parts: &Parts<'_>,
    header: &Header<'_>,
    issuer: &Issuer,
    host: &dyn HostSignatures,
) -> Result<(), TokenError> {
    let key = issuer.keys.iter().find(|key| key.kid() == header.kid).ok_or_else(|| TokenError::UnknownKey {
        issuer: issuer.issuer.clone(),
        kid: header.kid.clone().into_owned(),
    })?;
    if key.algorithm() != header.algorithm {
        return Err(TokenError::Algorithm);
    }
    if !signature::is_valid(key, parts.signed, &decode(parts.signature)?, host) {
        return Err(TokenError::Signature);
    }
    Ok(())
}

/// The parts of a compact JWS, still encoded.
pub(crate) struct Parts<'t> {
    /// Header and claims with the dot between them: what is signed.
    signed: &'t [u8],
    pub(crate) header: &'t [u8],
    pub(crate) claims: &'t [u8],
    signature: &'t [u8],
}

impl<'t> Parts<'t> {
    pub(crate) fn split(token: &'t [u8]) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::NotCompact);
        };
        if header.is_empty() || claims.is_empty() || signature.is_empty() {
            return Err(TokenError::NotCompact);
        }
        if header.len() > MAX_HEADER_TEXT {
            return Err(TokenError::TooLarge);
        }
        let signed_bytes = header.len().saturating_add(1).saturating_add(claims.len());
        let signed = token.get(..signed_bytes).ok_or(TokenError::NotCompact)?;
        Ok(Self { signed, header, claims, signature })
    }
}

/// Base64url without padding, and no spare bits set: one encoding for one value.
pub(crate) fn decode(part: &[u8]) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::NotCompact)
}
