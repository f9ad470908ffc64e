//! ID tokens (OpenID Connect Core 1.0 §3.1.3.7): who has signed in at a login issuer.
//!
//! What comes of one is a [`Person`] and never a [`crate::Caller`]: an ID token calls no server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::algorithm::Algorithm;
use crate::claims;
use crate::header::Header;
use crate::issuer::Issuers;
use crate::json::{Members, Value};
use crate::signature::NoHost;
use crate::subjects;
use crate::token::{Parts, TokenError, decode, verify_signature};

/// Who has signed in; made by [`verify_id_token`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    issuer: String,
    subject: String,
    email: Option<String>,
    teams: Vec<String>,
}

impl Person {
    /// Exact `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The issuer's subject claim.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The address, in lower case, if the issuer says that it has verified it.
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    /// Names of the teams that the issuer says they are in, each once.
    pub fn teams(&self) -> &[String] {
        &self.teams
    }
}

/// What was asked of the issuer, and came with its answer.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Whom: the exact `iss`.
    pub issuer: &'a str,
    /// As which client.
    pub client_id: &'a str,
    /// Sent with the request, and in no other.
    pub nonce: &'a str,
    /// The access token that came with the ID token.
    pub access_token: &'a [u8],
}

/// Why an ID token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// By a rule that every token must keep.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It answers another request than the one that was made (replay).
    #[error("the ID token's nonce is another request's")]
    Nonce,
    /// It was issued to another client, or to several without saying to which.
    #[error("the ID token was issued to another client")]
    AuthorizedParty,
    /// It came with another access token.
    #[error("the ID token belongs to another access token")]
    AccessTokenHash,
}

impl IdTokenError {
    /// A name for records.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Token(error) => error.reason(),
            Self::Nonce => "nonce",
            Self::AuthorizedParty => "azp",
            Self::AccessTokenHash => "at_hash",
        }
    }
}

/// Verifies an ID token of a login issuer, at `now_ms` (Unix milliseconds), as the answer to what was asked.
///
/// # Errors
/// [`IdTokenError`]; [`TokenError::UnknownKey`] is worth one question to the issuer, the others are final.
pub fn verify_id_token(
    token: &[u8],
    asked: &Asked<'_>,
    issuers: &Issuers,
    now_ms: u64,
) -> Result<Person, IdTokenError> {
    let parts = Parts::split(token)?;
    let header_json = decode(parts.header)?;
    let header = Header::read(&header_json)?;
    let claims_json = decode(parts.claims)?;
    let claims = Members::read(&claims_json).map_err(|_| TokenError::Claims)?;

    let issuer = issuers.get(asked.issuer).filter(|issuer| issuer.login && !issuer.self_issued);
    let issuer = issuer.ok_or(TokenError::Issuer)?;
    if text(&claims, "iss") != Some(asked.issuer) {
        return Err(TokenError::Issuer.into());
    }
    if !header.is_plain() || !says_id_token(&claims) {
        return Err(TokenError::Type.into());
    }
    let validity = claims::validity(&claims, issuer, now_ms)?;
    // OpenID Connect Core 1.0 §2: required, unlike in access tokens.
    if validity.issued_at_ms.is_none() {
        return Err(TokenError::Expiry.into());
    }
    is_for_client(&claims, asked.client_id)?;
    verify_signature(&parts, &header, issuer, &NoHost)?;

    if text(&claims, "nonce") != Some(asked.nonce) {
        return Err(IdTokenError::Nonce);
    }
    if claims.has("at_hash") && text(&claims, "at_hash") != Some(&*half_hash(header.algorithm, asked.access_token)) {
        return Err(IdTokenError::AccessTokenHash);
    }
    let subject = claims::name(&claims, &issuer.subject_claim).ok_or(TokenError::Subject)?;
    Ok(Person {
        issuer: issuer.issuer.clone(),
        subject: subject.to_owned(),
        email: issuer.email_claim.as_ref().and_then(|claim| subjects::verified_email(&claims, claim)),
        teams: subjects::teams(&claims, issuer)?,
    })
}

fn text<'c>(claims: &'c Members<'_>, claim: &str) -> Option<&'c str> {
    match claims.get(claim) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// Two providers mark the kind of a token in a claim of their own: an access token of theirs is no ID token.
fn says_id_token(claims: &Members<'_>) -> bool {
    ["token_use", "typ"].iter().all(|claim| match claims.get(claim) {
        None => true,
        Some(Value::Text(kind)) => kind.eq_ignore_ascii_case("id"),
        Some(_) => false,
    })
}

/// Rules 3 to 5 of §3.1.3.7: for us, and to us where it is for others too.
fn is_for_client(claims: &Members<'_>, client_id: &str) -> Result<(), IdTokenError> {
    let audiences = claims::texts(claims, "aud").ok_or(TokenError::Audience)?;
    if !audiences.iter().any(|audience| audience == client_id) {
        return Err(TokenError::Audience.into());
    }
    match claims.get("azp") {
        Some(Value::Text(party)) if party == client_id => Ok(()),
        None if audiences.len() == 1 => Ok(()),
        Some(_) | None => Err(IdTokenError::AuthorizedParty),
    }
}

/// §3.1.3.6: the left half of the hash that the signature's algorithm uses; with Ed25519 that is SHA-512.
fn half_hash(algorithm: Algorithm, access_token: &[u8]) -> String {
    let left = |hash: &[u8]| URL_SAFE_NO_PAD.encode(hash.get(..hash.len() / 2).unwrap_or_default());
    match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => left(&Sha256::digest(access_token)),
        Algorithm::Rs384 | Algorithm::Ps384 | Algorithm::Es384 => left(&Sha384::digest(access_token)),
        Algorithm::Rs512 | Algorithm::Ps512 | Algorithm::EdDsa => left(&Sha512::digest(access_token)),
    }
}
