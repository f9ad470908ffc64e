//! A refresh that an operator asks for: by the same intent, and with the same care, as any other.

use std::sync::Arc;
use std::time::Duration;

use super::providers::AskedBy;
use super::source::has_a_token;
use super::{Limits, RefreshError, Refresher};
use crate::clock::UnixTime;
use crate::keys::{Key, Purpose};
use crate::model::{Generation, ProviderClient};
use crate::store::{Standing, StoredGrant};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// It has another token.
    Refreshed {
        /// The token's generation.
        generation: Generation,
        /// When it expires.
        expires_at: UnixTime,
        /// From here on it is due.
        refresh_after: UnixTime,
    },
    /// It is not due, and was not forced.
    NotDue {
        /// From here on it is.
        refresh_after: UnixTime,
    },
    /// There is nothing to refresh it with: its token serves until it expires.
    NoRefreshToken,
}

impl Refresher {
    /// Refreshes a person's grant now, if it is due, or by force. Force ends a pause as well, but not the one before the
    /// last attempt there may be.
    ///
    /// # Errors
    /// Whatever keeps it from being refreshed.
    pub async fn by_hand(
        &self,
        stored: &StoredGrant,
        client: Arc<ProviderClient>,
        force: bool,
    ) -> Result<ByHand, RefreshError> {
        let inner = &self.0;
        has_a_token(stored)?;
        let Some(material) = stored.material.as_ref().filter(|material| material.refresh_token.is_some()) else {
            return match &stored.standing {
                Standing::Live => Ok(ByHand::NoRefreshToken),
                Standing::NeedsConsent(code) | Standing::Revoked(code) => {
                    Err(super::ConsentReason::of_standing(code).into())
                }
            };
        };
        if !force && inner.clock.now() < material.refresh_after {
            return Ok(ByHand::NotDue { refresh_after: material.refresh_after });
        }
        let key = Key::of_grant(&inner.tenant, Purpose::Grant, &stored.key);
        let flight = inner.start_refresh(&key, &client, &stored.key, stored.generation, force, AskedBy::Caller);
        let flight = flight.ok_or(RefreshError::Draining)?;
        let Limits { settle, provider, commit, .. } = inner.limits;
        let patience = settle + provider + commit + Duration::from_secs(2);
        let landed = tokio::time::timeout(patience, flight.landed()).await;
        let token = landed.ok().flatten().unwrap_or(Err(RefreshError::Lost))?.token;
        Ok(ByHand::Refreshed {
            generation: token.generation,
            expires_at: token.expires_at,
            refresh_after: token.refresh_after,
        })
    }
}
