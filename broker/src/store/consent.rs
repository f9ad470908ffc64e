//! Consents and sign-ins in progress, and browsers that are signed in, as stored.

use super::Sealed;
use crate::clock::UnixTime;
use crate::model::{GrantKey, PrincipalId, ServerName};

/// A consent in progress. Its id stands in a URL that an agent sees, and is no secret: without the person's own sign-in
/// it is good for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredConsent {
    /// Random.
    pub id: String,
    /// The grant it is to make; its holder is who must finish it, or an owner of that account.
    pub key: GrantKey,
    /// The server that was called.
    pub server: ServerName,
    /// Of the caller: which other servers of the provider client it may use.
    pub subjects: Vec<String>,
    /// What the server asked for beyond its manifest.
    pub extra_scopes: Vec<String>,
    /// When it was first asked for.
    pub created_at: UnixTime,
    /// From here on it must be restarted.
    pub expires_at: UnixTime,
    /// The last time it was begun, unless that has ended.
    pub attempt: Option<ConsentAttempt>,
    /// Counts the times it was begun.
    pub attempts: u32,
    /// When the code of the last attempt was taken, if it was.
    pub code_taken: Option<UnixTime>,
    /// Sealed tokens of another account than the grant's: whether they replace it is for the person to say.
    pub held: Option<Sealed>,
    /// How it ended, as a code; `done` if it did.
    pub outcome: Option<String>,
}

/// One time that a person set out for the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentAttempt {
    /// From 1.
    pub number: u32,
    /// Hash of the session it was begun in: it ends in the same browser.
    pub session: [u8; 32],
    /// Sealed `state`.
    pub state: Sealed,
    /// Sealed PKCE verifier.
    pub verifier: Sealed,
    /// Asked for, sorted.
    pub scopes: Vec<String>,
    /// Of the servers that were shown, sorted.
    pub auth_revisions: Vec<String>,
    /// When.
    pub begun_at: UnixTime,
}

/// A browser that is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// SHA-256 of the cookie's secret.
    pub hash: [u8; 32],
    /// Who.
    pub principal: PrincipalId,
    /// Through what, for audit: an issuer, or `link`.
    pub signed_in_at: String,
    /// Teams that the issuer says they are in, by name.
    pub teams: Vec<String>,
    /// Names of the external identities that the person's application vouched for.
    pub external_identities: Vec<String>,
    /// When.
    pub created_at: UnixTime,
    /// Until when.
    pub expires_at: UnixTime,
}

/// Ways to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInKind {
    /// The person's application says who it is.
    Application,
    /// An operator made a link.
    Link,
    /// OpenID Connect at a login issuer.
    Oidc,
}

/// A sign-in in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSignIn {
    /// Random; for a link the SHA-256 of its secret in hexadecimal.
    pub id: String,
    /// Which way.
    pub kind: SignInKind,
    /// Hash of the cookie of the browser that began it; none for a link.
    pub browser: Option<[u8; 32]>,
    /// Sealed state, nonce and verifier, where there are any.
    pub secrets: Option<Sealed>,
    /// The consent to go on with; empty for the person's connections.
    pub consent: String,
    /// Who it is, once that is known.
    pub principal: Option<PrincipalId>,
    /// Hash of the code that must come back through the browser.
    pub code: Option<[u8; 32]>,
    /// When it was begun.
    pub created_at: UnixTime,
    /// Until when it can be used.
    pub expires_at: UnixTime,
    /// When it was used.
    pub used_at: Option<UnixTime>,
}
