//! Destroying what is sealed for somebody, or for the whole tenant (threat V7).
//!
//! A sealed field and the wrapped data key that opens it are one value, so destroying the key takes the field with it. It
//! needs no master key, and reads nothing of what it destroys: it works where a key service is away, and on records that
//! are corrupt. What is left to destroy is what is there: it may end at any moment and begins again where it was.

use super::{MasterKeyError, MasterKeys};
use crate::audit::{Actor, Event};
use crate::model::PrincipalId;
use crate::store::Shredded;

/// Grants that are destroyed in one transaction.
const BATCH: u32 = 64;

/// How often what a refresh brings home meanwhile is looked for.
const ROUNDS: usize = 10;

/// What is to be destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shred {
    /// What is sealed for one principal: tokens of their grants, consents and sign-ins under way.
    Principal(PrincipalId),
    /// Everything sealed: also secrets, and the broker's own keys. The name must be the tenant's.
    Tenant(String),
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shredding {
    /// Sealed fields that were destroyed, each with its wrapped data key.
    pub done: u64,
    /// Sealed fields there were when it began.
    pub total: u64,
}

impl MasterKeys {
    /// How much would be destroyed.
    ///
    /// # Errors
    /// If it is another tenant's, or the store cannot be read.
    pub async fn to_shred(&self, what: &Shred) -> Result<Shredding, MasterKeyError> {
        let parts = &self.0.parts;
        let holder = self.holder(what)?;
        let waiting = parts.spool.sealed_of(holder);
        Ok(Shredding { done: 0, total: parts.store.count_sealed_of(holder).await? + waiting })
    }

    /// Destroys it: the record that it was begun is durable first. `ended` is told of each grant, so that what is open of
    /// it in memory and at proxies goes too; `tell` of the progress after each batch, and where it answers `false` this
    /// ends early.
    ///
    /// # Errors
    /// If it is another tenant's, or the store fails; what was destroyed until then stays destroyed.
    pub async fn shred(
        &self,
        what: &Shred,
        actor: Actor,
        ended: impl Fn(&Shredded) + Send + Sync,
        mut tell: impl FnMut(&Shredding) -> bool + Send,
    ) -> Result<Shredding, MasterKeyError> {
        let parts = &self.0.parts;
        let holder = self.holder(what)?;
        let _alone = self.0.changing.try_lock().map_err(|_| MasterKeyError::UnderWay)?;
        let mut progress = self.to_shred(what).await?;
        parts.audit.record(Event::key_shredding(actor.clone(), holder.cloned(), progress.total)).await?;
        for _ in 0..ROUNDS {
            loop {
                let batch = parts.store.shred_grants(holder, BATCH, parts.clock.now()).await?;
                if batch.is_empty() {
                    break;
                }
                for grant in &batch {
                    ended(grant);
                    progress.done += grant.fields;
                }
                progress.total = progress.total.max(progress.done);
                if !tell(&progress) {
                    return Ok(progress);
                }
            }
            progress.done += parts.spool.shred(holder).await + parts.store.shred_rest(holder).await?;
            progress.total = progress.total.max(progress.done);
            // Who was being served meanwhile may have got something new.
            if self.to_shred(what).await?.total == 0 {
                break;
            }
        }
        parts.store.scrub().await?;
        parts.audit.record(Event::key_shredded(actor, holder.cloned(), progress.done)).await?;
        // Only its end is left to tell.
        let _ = tell(&progress);
        Ok(progress)
    }

    fn holder<'a>(&self, what: &'a Shred) -> Result<Option<&'a PrincipalId>, MasterKeyError> {
        let here = &self.0.parts.tenant.0;
        match what {
            Shred::Principal(holder) => Ok(Some(holder)),
            Shred::Tenant(name) if name == here => Ok(None),
            Shred::Tenant(_) => Err(MasterKeyError::OtherTenant { here: here.clone() }),
        }
    }
}
