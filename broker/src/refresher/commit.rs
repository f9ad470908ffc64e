//! From a provider's answer to the store, whatever the store is doing meanwhile (I5).

use std::time::{Duration, Instant};

use super::{Inner, RefreshError};
use crate::coordination::News;
use crate::keys::SERVICE_HOLDER;
use crate::oauth::account;
use crate::store::{GrantCommit, Standing, StoreError, StoredGrant};

/// First pause between two attempts to commit; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What became of a commit.
pub(super) enum Committed {
    /// It is stored.
    Ours,
    /// Somebody else was first; this is what they stored.
    Theirs(Box<StoredGrant>),
}

impl Inner {
    /// Commits, again and again while the store is down, until the deadline: until then the pair is in memory only.
    pub(super) async fn commit(&self, record: &GrantCommit) -> Result<Committed, StoreError> {
        let deadline = Instant::now() + self.limits.commit;
        let mut pause = PAUSE;
        loop {
            let error = match self.commit_once(record).await {
                Ok(committed) => return Ok(committed),
                Err(error) => error,
            };
            if Instant::now() + pause > deadline {
                return Err(error);
            }
            tracing::warn!(grant = record.id, %error, "a renewed token waits for the store");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Commits, or learns who was first.
    pub(super) async fn commit_once(&self, record: &GrantCommit) -> Result<Committed, StoreError> {
        let done = match record.key.holder == SERVICE_HOLDER {
            true => self.store.commit_grant(record).await,
            false => self.store.commit_refresh(record).await,
        };
        match done {
            Ok(()) => {
                if record.invalidates.is_some() {
                    // The old token is dead, and proxies of other brokers use it still.
                    self.coordination.tell(News::Ended);
                }
                Ok(Committed::Ours)
            }
            // Somebody else was first, or an earlier attempt of ours arrived without our learning it.
            Err(StoreError::Conflict) => match self.store.grant(&record.key).await? {
                Some(winner) if winner.material.as_ref() == Some(&record.material) => Ok(Committed::Ours),
                // Nobody was: the database has given way to somebody who did something else with it.
                Some(before) if before.standing == Standing::Live && is_next(record, &before) => {
                    Err(StoreError::Unavailable("the database gave way to somebody else".into()))
                }
                Some(winner) => Ok(Committed::Theirs(Box::new(winner))),
                None => Err(StoreError::Conflict),
            },
            Err(error) => Err(error),
        }
    }

    /// What becomes of a pair whose commit lost. It deletes nothing: the winner's stays as it is, and ours is kept beside
    /// it, in case the winner's was used up by ours. An ended grant has ended: ours is then worth nothing. So it is
    /// after a newer consent, unless that is known to be of the same account: it may have carried over what ours used up.
    pub(super) async fn lose(&self, ours: &GrantCommit, winner: &StoredGrant) -> Result<(), RefreshError> {
        if is_unwanted(ours, winner) {
            // Nobody takes it while the broker stops: it is dropped then.
            let _ = self.unwanted.send(ours.clone());
        }
        let Some(refresh_token) = &ours.material.refresh_token else { return Ok(()) };
        // Not which is later: two brokers' clocks say when.
        let is_agreed_anew = winner.consented_at != ours.consented_at;
        let is_same_account = accounts(ours, winner).is_some_and(|(ours, winners)| account::is_same(ours, winners));
        if winner.standing != Standing::Live || (is_agreed_anew && !is_same_account) {
            tracing::info!(
                grant = ours.id,
                "a renewed token is dropped: the grant was ended or agreed to anew meanwhile"
            );
            return Ok(());
        }
        tracing::warn!(grant = ours.id, "somebody else renewed a grant at the same time; our refresh token is kept");
        let kept = self.store.keep_spare(&ours.id, winner.generation, ours.generation, refresh_token).await;
        kept.map_err(RefreshError::store)
    }
}

/// Whether nobody will want what came home, so that it must not live on at the provider either. Where the same account was
/// agreed to anew it may: a provider that ends all of an account's tokens with one would end the new ones (O13).
fn is_unwanted(ours: &GrantCommit, winner: &StoredGrant) -> bool {
    match &winner.standing {
        Standing::Revoked(_) => true,
        Standing::Live | Standing::NeedsConsent(_) => {
            accounts(ours, winner).is_some_and(|(ours, winners)| !account::is_same(ours, winners))
        }
    }
}

/// Whose both are, where the provider has told.
fn accounts<'a>(ours: &'a GrantCommit, winner: &'a StoredGrant) -> Option<(&'a str, &'a str)> {
    ours.account.as_deref().zip(winner.account.as_deref())
}

/// Whether ours is what comes next; a store that was put back is further behind.
fn is_next(ours: &GrantCommit, before: &StoredGrant) -> bool {
    before.generation.0.checked_add(1) == Some(ours.generation.0)
}
