//! A verified inbound token, and the door it may enter.

use std::sync::Arc;

use crate::claims::{self, Validity};
use crate::issuer::Issuer;
use crate::json::Members;
use crate::token::TokenError;

/// Proof that a token was verified; made by [`crate::verify`] only. Holds no part of the token itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Caller {
    issuer: Arc<str>,
    subject: Arc<str>,
    subjects: Vec<String>,
    expires_at_ms: u64,
    issued_at_ms: Option<u64>,
    token_id: Option<String>,
    client_id: Option<String>,
    scopes: Vec<String>,
    audiences: Vec<String>,
    self_issued: bool,
}

impl Caller {
    pub(crate) fn from_verified(
        claims: &Members<'_>,
        issuer: &Issuer,
        subject: &str,
        subjects: Vec<String>,
        validity: Validity,
    ) -> Result<Self, TokenError> {
        let optional = |claim: &str| match claims.has(claim) {
            true => claims::name(claims, claim).map(|name| Some(name.to_owned())).ok_or(TokenError::ClaimShape),
            false => Ok(None),
        };
        let token_id = optional("jti")?;
        // Without an id, one of our own tokens could not be revoked.
        if issuer.self_issued && token_id.is_none() {
            return Err(TokenError::ClaimShape);
        }
        let client_id = match optional("client_id")? {
            Some(client) => Some(client),
            None => optional("azp")?,
        };
        Ok(Self {
            issuer: issuer.issuer.as_str().into(),
            subject: subject.into(),
            subjects,
            expires_at_ms: validity.expires_at_ms,
            issued_at_ms: validity.issued_at_ms,
            token_id,
            client_id,
            scopes: claims::scopes(claims)?,
            audiences: claims::audiences(claims)?,
            self_issued: issuer.self_issued,
        })
    }

    /// Exact `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Value of the issuer's subject claim; means something only together with [`Caller::issuer`].
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The names policy knows it by: `user:`, `virtualaccount:`, `external-identity:`, `team:`; always `team:everyone`.
    pub fn subjects(&self) -> &[String] {
        &self.subjects
    }

    /// `exp`, Unix milliseconds. It is accepted for [`crate::LEEWAY_MS`] longer.
    pub fn expires_at_ms(&self) -> u64 {
        self.expires_at_ms
    }

    /// `iat`, Unix milliseconds, if the token has one.
    pub fn issued_at_ms(&self) -> Option<u64> {
        self.issued_at_ms
    }

    /// `jti`, if the token has one.
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// `client_id`, or `azp`, if the token has one.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// Its scopes, in the token's order.
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// `aud`.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Whether the broker itself issued the token.
    pub fn self_issued(&self) -> bool {
        self.self_issued
    }

    pub(crate) fn shared_identity(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.issuer), Arc::clone(&self.subject))
    }

    /// Whether this caller's token is meant for this door, now: expiry (the caller may have been cached), audience and
    /// scopes. `issuer` is the caller's, as the snapshot in force has it.
    ///
    /// At a passthrough door the token goes on to the upstream, so it must name the upstream's own audience and nothing
    /// else will do; a token of the gate itself never goes on (I1).
    ///
    /// # Errors
    /// [`TokenError::Issuer`], [`TokenError::Expired`], [`TokenError::Audience`], [`TokenError::PassthroughOfOwn`] or
    /// [`TokenError::Scope`].
    pub fn enter(&self, door: &Door<'_>, issuer: &Issuer, now_ms: u64) -> Result<Entered<'_>, TokenError> {
        if issuer.issuer != *self.issuer || issuer.self_issued != self.self_issued {
            return Err(TokenError::Issuer);
        }
        if claims::is_expired(self.expires_at_ms, now_ms) {
            return Err(TokenError::Expired);
        }
        let meant_for = |audience: &str| !audience.is_empty() && self.audiences.iter().any(|named| named == audience);
        let right_audience = match door.passthrough_audience {
            Some(_) if self.self_issued => return Err(TokenError::PassthroughOfOwn),
            Some(upstream) => meant_for(upstream),
            None => meant_for(door.resource) || issuer.audiences.iter().any(|audience| meant_for(audience)),
        };
        if !right_audience {
            return Err(TokenError::Audience);
        }
        if !issuer.required_scopes.iter().all(|scope| self.scopes.contains(scope)) {
            return Err(TokenError::Scope);
        }
        Ok(Entered { caller: self })
    }
}

/// What a token must be meant for.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    /// The server's resource URI (RFC 8707), compared to the byte.
    pub resource: &'a str,
    /// For a passthrough server: the upstream's own audience.
    pub passthrough_audience: Option<&'a str>,
}

/// Proof that a caller's token is meant for a door; made by [`Caller::enter`] only.
#[derive(Debug)]
#[must_use = "entering is not being allowed: authorize"]
pub struct Entered<'c> {
    caller: &'c Caller,
}

impl Entered<'_> {
    /// Who entered.
    pub fn caller(&self) -> &Caller {
        self.caller
    }
}
