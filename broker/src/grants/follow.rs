//! What any broker has ended is read from the store by every other, and told to its proxies: the broker that did it may be
//! gone by then, and the proxy that must hear of it may belong to another (I11, O13).

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Grants;
use crate::coordination::News;
use crate::model::Generation;
use crate::snapshot::{Read, Reads};
use crate::store::{Invalidation, Named, StoreError};

/// How often the store is asked for what is new.
const EVERY: Duration = Duration::from_millis(500);

/// How long ago a start looks back: the hour that a proxy may keep a credential, and one that clocks may be apart.
const BACK: Duration = Duration::from_secs(2 * 60 * 60);

/// How many are read at once.
const PAGE: u32 = 1_000;

/// Reads on from where it was.
pub struct Follower {
    grants: Grants,
    /// Number of the last one read.
    last: u64,
    /// Of those without a number, which are told each time: what was let go of.
    unnumbered: BTreeSet<(String, Generation)>,
    named: Named,
}

impl Follower {
    /// Tells what has ended as long ago as it can matter: before a proxy is served, which then hears all of it first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn start(grants: Grants) -> Result<Self, StoreError> {
        let mut follower = Self { grants, last: 0, unnumbered: BTreeSet::new(), named: Named::default() };
        let now = follower.grants.0.clock.now();
        follower.read_on(|invalidation| now.since(invalidation.at) < BACK).await?;
        Ok(follower)
    }

    /// Reads on until `stop`: whenever another broker says so, and every so often.
    pub async fn run(mut self, reads: Reads, stop: CancellationToken) {
        reads.read(Read::Ended);
        let mut looks = self.grants.0.coordination.looks(News::Ended, EVERY);
        while stop.run_until_cancelled(looks.next()).await.is_some() {
            // By its number alone: another broker's clock may say anything.
            match self.read_on(|_| true).await {
                Ok(()) => reads.read(Read::Ended),
                Err(error) => tracing::warn!(%error, "what other brokers have ended cannot be read"),
            }
        }
    }

    async fn read_on(&mut self, matters: impl Fn(&Invalidation) -> bool) -> Result<(), StoreError> {
        loop {
            let page = self.grants.0.store.invalidations(self.last, PAGE).await?;
            self.named.name(&page, "the grant is let go of by what can be read");
            for invalidation in &page.records {
                let Invalidation { number, grant, key, generation, .. } = invalidation;
                let is_new = *number > self.last || self.unnumbered.insert((grant.clone(), *generation));
                if is_new && matters(invalidation) {
                    self.grants.let_go_here(key, grant, *generation);
                }
                self.last = self.last.max(*number);
            }
            let numbered = page.records.iter().filter(|invalidation| invalidation.number > 0);
            if numbered.count() < PAGE as usize {
                return Ok(());
            }
        }
    }
}
