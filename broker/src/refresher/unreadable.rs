//! Grants whose refresh token does not open: set aside, never destroyed.
//!
//! A key service names its keys, and what it answers for a name may be wrong for a while: it is behind a rotation, or was
//! put back from a backup that is too old, or somebody has made another key under the name. The right key may come back,
//! and with it everything that it has wrapped. Until then the holder is asked to agree again; what they agree to replaces
//! what does not open.

use std::time::Duration;

use super::refresh::{Refresh, Turn};
use super::spare::spare_in_turn;
use super::{ConsentReason, RefreshError};
use crate::audit::Event;
use crate::clock::UnixTime;
use crate::store::{Pause, StoreError, StoredGrant};

/// Before what does not open is tried again here: each try may be a request to a key service.
const TRIED_EVERY: Duration = Duration::from_secs(60);

impl Refresh {
    /// Keeps everything as it is, and asks for consent.
    pub(super) async fn set_aside(&self, stored: &StoredGrant) -> Result<Turn, RefreshError> {
        let (inner, reason) = (&self.inner, ConsentReason::Unreadable);
        match inner.store.set_aside(&stored.id, stored.generation, reason.code()).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Ok(Turn::Again),
            Err(error) => return Err(RefreshError::store(error)),
        }
        self.leave_for_a_while(stored, inner.clock.now());
        self.count("needs_consent", reason.code());
        let account = stored.account.as_deref().unwrap_or_default();
        let failed = Event::refresh_failed(&stored.id, stored.generation, account, reason.code(), Duration::ZERO);
        inner.remember(failed).await;
        tracing::warn!(
            grant = stored.id,
            reason = reason.code(),
            "a grant is set aside: its holder is asked to agree again, and it goes on by itself if its key comes back"
        );
        Err(reason.into())
    }

    /// It was set aside: it goes on if it opens by now.
    pub(super) async fn read_again(&self, stored: &StoredGrant) -> Result<Turn, RefreshError> {
        let (inner, now) = (&self.inner, self.inner.clock.now());
        if self.by_force {
            inner.backoffs.clear_one(&self.key, now);
        }
        if let Some(why) = inner.backoffs.at(&self.key, stored.generation, now) {
            return Err(why);
        }
        if let Err(error) = self.open_next(stored).await {
            self.leave_for_a_while(stored, now);
            return Err(error);
        }
        match inner.store.take_up(&stored.id, stored.generation, ConsentReason::Unreadable.code()).await {
            Ok(()) => tracing::info!(grant = stored.id, "a grant that was set aside opens again, and goes on"),
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(RefreshError::store(error)),
        }
        Ok(Turn::Again)
    }

    fn leave_for_a_while(&self, stored: &StoredGrant, now: UnixTime) {
        let backoffs = &self.inner.backoffs;
        let pause = Pause {
            failures: 0,
            from: now,
            until: now.after(TRIED_EVERY),
            attempt: 0,
            is_before_the_last: false,
            may_be_astray: backoffs.may_be_astray(&self.key, stored.generation),
            spare_is_next: spare_in_turn(stored).is_some(),
            why: ConsentReason::Unreadable.code().to_owned(),
        };
        backoffs.adopt(&self.key, stored.generation, pause, ConsentReason::Unreadable.into());
    }
}
