//! One broker at a time renews a grant, as far as Redis can say: the others wait for what it stores instead of contending
//! for the intent, which excludes a second request whatever Redis says.

use std::future::Future;
use std::time::{Duration, Instant};

use super::Inner;
use crate::coordination::{Lease, Leased};
use crate::model::{Generation, GrantKey};
use crate::store::{Standing, StoredGrant};

/// How often a grant that another broker renews is looked at, when nobody tells.
const LOOK: Duration = Duration::from_millis(100);

/// How long whoever has the lease may show nothing in the store, neither an intent nor a result: it may be gone, or its
/// release was lost. Below what a caller waits.
const SIGN: Duration = Duration::from_secs(1);

impl Inner {
    /// Does this under the grant's lease, or without where there is none to be had, or none is needed any more.
    pub(super) async fn under_lease<T>(
        &self,
        grant: &GrantKey,
        beyond: Generation,
        work: impl Future<Output = T>,
    ) -> T {
        let started = Instant::now();
        let lease = self.lease(grant, beyond, started).await;
        metrics::histogram!("sallyport_lease_wait_seconds").record(started.elapsed().as_secs_f64());
        let done = work.await;
        drop(lease);
        done
    }

    /// Gets it, or learns that it is of no use: nothing is to be had, nothing is left to do, or nothing happens.
    async fn lease(&self, grant: &GrantKey, beyond: Generation, started: Instant) -> Option<Lease> {
        let mut waiting = self.coordination.waiting(grant);
        // As long as whoever has it may take.
        let patience = self.limits.provider + self.limits.commit;
        while started.elapsed() < patience {
            match self.coordination.lease(grant).await {
                Leased::Ours(lease) => return Some(lease),
                Leased::Unavailable => return None,
                Leased::Theirs => {}
            }
            self.coordination.given_back(&mut waiting, LOOK).await;
            match self.store.grant(grant).await {
                Ok(Some(stored)) if self.is_done(&stored, beyond) => return None,
                // Its time counts from this look on; once that is over, whoever has the lease waits for nobody.
                Ok(Some(stored)) if self.is_abandoned(&stored) => return None,
                Ok(Some(stored)) if stored.intent.is_some() => {}
                Ok(_) if started.elapsed() < SIGN => {}
                Ok(_) => return None,
                // Whoever does the work reads it again, and says what it is.
                Err(_) => return None,
            }
        }
        None
    }

    /// Whether whoever has begun a refresh is at it no more.
    fn is_abandoned(&self, stored: &StoredGrant) -> bool {
        let over = |intent| self.left_of_intent(stored, intent, self.clock.now()).is_zero();
        stored.intent.as_ref().is_some_and(|intent| self.owner.is_of_this_broker(intent) || over(intent))
    }

    /// Whether there is nothing left to do but to read it: whoever has the lease has stored its result.
    fn is_done(&self, stored: &StoredGrant, beyond: Generation) -> bool {
        let lives = stored.material.as_ref().is_some_and(|material| self.clock.now() < material.expires_at);
        stored.standing != Standing::Live || (stored.generation > beyond && lives && stored.intent.is_none())
    }
}
