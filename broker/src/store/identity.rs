//! Identities as stored: which tokens are whose, and since when.

use crate::clock::UnixTime;
use crate::model::{Identity, PrincipalId};

/// An identity and whom it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredIdentity {
    /// Issuer and subject.
    pub identity: Identity,
    /// Whose it is.
    pub principal: PrincipalId,
    /// How it came to be theirs.
    pub linked: Linked,
    /// When.
    pub linked_at: UnixTime,
}

/// How an identity came to its principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// The principal was made for it.
    Created,
    /// By its verified e-mail address, which is that of the principal.
    Email,
    /// An operator said so.
    Operator,
}

impl Linked {
    /// As it is stored and told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Email => "email",
            Self::Operator => "operator",
        }
    }

    /// From what is stored.
    pub fn read(text: &str) -> Option<Self> {
        [Self::Created, Self::Email, Self::Operator].into_iter().find(|linked| linked.as_str() == text)
    }
}

/// What was a user's, and is nobody's by that name any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// Still there, without a name: its grants are left to be ended.
    pub principal: PrincipalId,
    /// Identities that were its own until then.
    pub identities: Vec<StoredIdentity>,
    /// `jti` of each token that was revoked by this.
    pub tokens: Vec<String>,
}
