//! Tokens as they are served.

use std::sync::Arc;
use std::time::Duration;

use super::Agreed;
use crate::clock::UnixTime;
use crate::keys::SERVICE_HOLDER;
use crate::model::{Generation, GrantKey};
use crate::secret::Secret;
use crate::store::{GrantCommit, Material, StoredGrant};

/// A grant's access token, open in memory. Refresh tokens are open only while they are sent.
#[derive(Debug)]
pub struct OpenedToken {
    /// The token.
    pub access_token: Secret,
    /// Id of the grant.
    pub grant: String,
    /// Which of the grant's tokens.
    pub generation: Generation,
    /// When it was asked for.
    pub issued_at: UnixTime,
    /// Never served after this.
    pub expires_at: UnixTime,
    /// From here on it is due.
    pub refresh_after: UnixTime,
    /// What its holder agreed to.
    pub agreed: Agreed,
    /// The provider's own id of the account, where it tells one.
    pub account: Option<String>,
}

impl OpenedToken {
    pub(super) fn of_commit(access_token: Secret, record: &GrantCommit) -> Self {
        let GrantCommit { id, key, generation, material, scopes, auth_revisions, account, .. } = record;
        let agreed = Agreed { scopes: scopes.clone(), auth_revisions: auth_revisions.clone() };
        Self::new(access_token, id.clone(), key, *generation, material, agreed, account.clone())
    }

    pub(super) fn of_stored(access_token: Secret, id: String, stored: &StoredGrant, material: &Material) -> Self {
        let agreed = Agreed { scopes: stored.scopes.clone(), auth_revisions: stored.auth_revisions.clone() };
        Self::new(access_token, id, &stored.key, stored.generation, material, agreed, stored.account.clone())
    }

    fn new(
        access_token: Secret,
        grant: String,
        key: &GrantKey,
        generation: Generation,
        material: &Material,
        agreed: Agreed,
        account: Option<String>,
    ) -> Self {
        // A client asks anew by itself; without a refresh token a person's is used until it ends.
        let can_be_renewed = key.holder == SERVICE_HOLDER || material.refresh_token.is_some();
        Self {
            access_token,
            grant,
            generation,
            issued_at: material.issued_at,
            expires_at: material.expires_at,
            refresh_after: if can_be_renewed { material.refresh_after } else { material.expires_at },
            agreed,
            account,
        }
    }
}

/// A token to serve, and what it took.
#[derive(Debug)]
pub struct Served {
    /// The token.
    pub token: Arc<OpenedToken>,
    /// Whether the provider was asked for it now.
    pub renewed: bool,
    /// Reading and opening.
    pub store: Duration,
    /// Waiting for a renewal, without its time at the token endpoint.
    pub waited: Duration,
    /// The renewal's time at the token endpoint.
    pub at_token_endpoint: Duration,
}

impl Served {
    /// As it is in memory or in the store.
    pub(super) fn as_it_is(token: Arc<OpenedToken>, store: Duration) -> Self {
        Self { token, renewed: false, store, waited: Duration::ZERO, at_token_endpoint: Duration::ZERO }
    }
}

/// What a caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Any token that lives; a due one is renewed behind its back.
    Live,
    /// One that is not due, if it can be had in time: the caller still has the old one. Else any that lives.
    NotDue,
    /// One of a later generation than this, which the upstream refused.
    LaterThan(Generation),
}

impl Need {
    /// Whether a token in memory is older than what another broker has already given out.
    pub(super) fn is_past(self, generation: Generation) -> bool {
        match self {
            Self::Live | Self::NotDue => false,
            Self::LaterThan(refused) => generation < refused,
        }
    }
}
