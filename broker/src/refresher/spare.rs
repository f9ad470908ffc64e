//! The spare: the refresh token of a commit that lost. It may be the later one, so it is tried before a grant is given up.
//!
//! That the stored one is of no use is written down before the spare is sent: however long the spare has to wait, nobody
//! sends the other again, which a provider could take for theft.

use std::error::Error;

use super::backoff::Failure;
use super::refresh::{Refresh, Turn};
use super::{ConsentReason, Inner, RefreshError};
use crate::model::Generation;
use crate::secret::Secret;
use crate::store::{Intent, Pause, Sealed, Spare, StoredGrant};
use crate::vault::VaultError;

/// What the provider of a grant is asked with next, and the generation it was sealed for; nothing if there is nothing.
pub(crate) fn next_refresh_token(stored: &StoredGrant) -> Option<(Generation, &Sealed)> {
    match spare_in_turn(stored) {
        Some(spare) => Some((spare.generation, &spare.refresh_token)),
        None => Some((stored.generation, stored.material.as_ref()?.refresh_token.as_ref()?)),
    }
}

/// The spare, if it is its turn.
pub(super) fn spare_in_turn(stored: &StoredGrant) -> Option<&Spare> {
    let is_its_turn = stored.pause.as_ref().is_some_and(|pause| pause.spare_is_next);
    stored.spare.as_ref().filter(|_| is_its_turn)
}

fn is_under_a_key_not_held(cause: &(dyn Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(VaultError::OtherMasterKey { .. }))
}

impl Refresh {
    /// The stored refresh token is of no use: the spare's turn comes now. `intent`: the one there is.
    pub(super) async fn go_on_with_spare(
        &self,
        stored: &StoredGrant,
        intent: &Intent,
        may_be_astray: bool,
    ) -> Result<Turn, RefreshError> {
        let pause = Pause {
            failures: stored.pause.as_ref().map_or(0, |pause| pause.failures),
            // Of attempts before this one the outcome is no better known.
            attempt: intent.attempt.saturating_sub(1),
            may_be_astray,
            spare_is_next: true,
            ..Pause::over(self.inner.clock.now())
        };
        let cleared = self.inner.store.clear_intent(&stored.id, stored.generation, intent, &pause).await;
        // Whether it is still ours is read with the rest.
        cleared.map_err(RefreshError::store)?;
        Ok(Turn::Again)
    }

    /// Nobody asks with what was sent last any more. That may have been the stored refresh token, and the spare was not sent.
    pub(super) async fn spent(&self, stored: &StoredGrant) -> Result<Turn, RefreshError> {
        match (&stored.intent, &stored.spare) {
            (Some(intent), Some(_)) if spare_in_turn(stored).is_none() => {
                self.go_on_with_spare(stored, intent, true).await
            }
            _ => self.end_refreshes(stored, ConsentReason::Lost).await,
        }
    }

    /// Opens what the provider is asked with next.
    pub(super) async fn open_next(&self, stored: &StoredGrant) -> Result<Secret, RefreshError> {
        let (generation, sealed) = next_refresh_token(stored).ok_or(ConsentReason::Expired)?;
        let why = match self.inner.open_refresh_token(stored, generation, sealed).await {
            Ok(token) => return Ok(token),
            Err(why) => why,
        };
        match why {
            RefreshError::Vault(cause) if spare_in_turn(stored).is_some() => {
                // The other token is of no use, and nobody knows whether this one's key ever comes.
                if is_under_a_key_not_held(&*cause) && self.is_over(stored) {
                    return Err(ConsentReason::Unreadable.into());
                }
                Err(self.leave_spare(stored, RefreshError::Vault(cause)).await)
            }
            why => Err(why),
        }
    }

    fn is_over(&self, stored: &StoredGrant) -> bool {
        let now = self.inner.clock.now();
        stored.material.as_ref().is_none_or(|material| material.expires_at <= now)
    }

    async fn leave_spare(&self, stored: &StoredGrant, why: RefreshError) -> RefreshError {
        tracing::error!(grant = stored.id, %why, "a spare refresh token cannot be tried yet, and is kept");
        let Inner { backoffs, clock, .. } = &*self.inner;
        let (generation, intent) = (stored.generation, stored.intent.as_ref());
        let attempt = intent.map_or(0, |intent| intent.attempt);
        let failure =
            Failure { generation, why, retry_after: None, attempt, last_attempt_in: None, may_be_astray: false };
        let (why, pause) = backoffs.failed(&self.key, failure, stored.pause.as_ref(), clock.now());
        self.inner.write_pause(&stored.id, generation, intent, &pause).await;
        why
    }
}
