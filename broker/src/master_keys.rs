//! The master keys as operators see and change them: which records need which, how the current one is replaced, and how
//! records move from one to another while everything goes on.

mod in_use;
mod rewrap;
mod shred;
mod wraps;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::audit::{Actor, Audit, AuditError, Event};
use crate::clock::Clock;
use crate::model::Tenant;
use crate::refresher::Spool;
use crate::store::{Store, StoreError};
use crate::vault::{HeldKey, KeyId, RotateError, Vault, VaultError};

pub use in_use::{NotHeld, is_damaged, keys_needed};
pub use rewrap::{Away, Left, Progress};
pub use shred::{Shred, Shredding};
pub use wraps::WRAPS_ALARM;

/// What [`MasterKeys`] are made of.
pub struct Parts {
    /// Part of the ids of some records.
    pub tenant: Tenant,
    /// Holds the keys.
    pub vault: Vault,
    /// Where what they have sealed is.
    pub store: Arc<dyn Store>,
    /// Where renewed tokens wait for the store.
    pub spool: Spool,
    /// Remembers who changed what.
    pub audit: Audit,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct MasterKeys(Arc<Inner>);

struct Inner {
    parts: Parts,
    /// Held by who rotates or re-wraps: one at a time.
    changing: Mutex<()>,
}

/// A master key, and what needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What records name it by.
    pub id: KeyId,
    /// The key, if it is held.
    pub held: Option<HeldKey>,
    /// Stored fields whose data keys it has wrapped.
    pub fields: u64,
    /// Data keys it may have wrapped in all, where that is ours to count.
    pub wraps: Option<u64>,
}

/// What a rotation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The key that wraps from now on.
    pub new: KeyId,
    /// Its file.
    pub path: std::path::PathBuf,
    /// The key that only unwraps from now on.
    pub old: KeyId,
    /// Its file.
    pub retired: std::path::PathBuf,
}

/// Why the keys stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Somebody else is at it.
    #[error("a rotation, re-wrap or shredding is under way already; wait for its end")]
    UnderWay,
    /// The other brokers would not have the new key.
    #[error(
        "the store is one that several brokers share: the others would not have a new key that this one makes, and could not \
         open what it seals; make the key as a file of 32 random bytes, list it last under vault.keys of every broker and \
         restart them one by one, then list it first and restart them again, then run `sallyport key rewrap`"
    )]
    Shared,
    /// The current key cannot be replaced.
    #[error("the current master key was not replaced")]
    Rotate(#[from] RotateError),
    /// A key cannot be used.
    #[error("the re-wrap stopped where it was; begin it again to go on")]
    Vault(#[from] VaultError),
    /// Nothing of another tenant is here.
    #[error("the tenant of this broker is `{here}`; to destroy what is sealed for it, write its name")]
    OtherTenant {
        /// The name of the one there is.
        here: String,
    },
    /// The store.
    #[error("the store does not answer; begin again to go on")]
    Store(#[from] StoreError),
    /// The record of it.
    #[error("it was done, and not recorded")]
    Audit(#[from] AuditError),
}

impl MasterKeys {
    /// Over its parts, once every key that a record needs is found to be held.
    ///
    /// # Errors
    /// [`NotHeld`] names the key that is missing: nothing may start without it.
    pub async fn open(parts: Parts) -> Result<Self, NotHeld> {
        keys_needed(&*parts.store, &parts.spool, &parts.vault).await?;
        // Remembered before their first use: a key id that nobody knows is that of a changed record.
        for key in parts.vault.keys() {
            match parts.store.add_wraps(&key.id.to_string(), 0, parts.clock.now()).await {
                Ok(_) => {}
                Err(error @ StoreError::Corrupt { .. }) => {
                    tracing::error!(%error, "how much the master key has wrapped is not known: run `sallyport key rotate`");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self(Arc::new(Inner { parts, changing: Mutex::new(()) })))
    }

    /// Every master key that is held, current one first, and then those that are not and are needed.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let Parts { vault, store, .. } = &self.0.parts;
        let counted = store.master_keys().await?.readable();
        let held = vault.keys();
        let needed: BTreeSet<KeyId> = self.headers().await?.into_iter().filter_map(key_of).collect();
        let missing = needed.into_iter().filter(|id| held.iter().all(|key| key.id != *id));
        let mut listed = Vec::new();
        for (id, held) in held.iter().map(|key| (key.id, Some(key.clone()))).chain(missing.map(|id| (id, None))) {
            let wraps = counted.iter().find(|key| key.id == id.to_string()).map(|key| key.wraps);
            let is_counted = held.as_ref().is_some_and(|held| held.wraps.is_some());
            listed.push(Listed {
                id,
                fields: self.fields_of(&id.header()).await?,
                held,
                wraps: wraps.filter(|_| is_counted),
            });
        }
        Ok(listed)
    }

    /// Puts a new key in the place of the current key file, and wraps by it from now on. What is stored stays readable, by
    /// the old key, until it is re-wrapped. Never where other brokers may have the store too: a key that one broker makes
    /// reaches the others by hand only, and must have reached all of them before the first record needs it.
    ///
    /// # Errors
    /// [`MasterKeyError`]; unless it says otherwise, the current key is the one it was.
    pub async fn rotate(&self, actor: Actor) -> Result<Rotated, MasterKeyError> {
        let keys = self.clone();
        // Detached: whoever asked may give up when the file is replaced and nobody uses it yet.
        tokio::spawn(async move { keys.replace(actor).await }).await.expect("replacing a key does not panic")
    }

    async fn replace(&self, actor: Actor) -> Result<Rotated, MasterKeyError> {
        let Parts { vault, store, audit, clock, .. } = &self.0.parts;
        if store.is_shared() {
            return Err(MasterKeyError::Shared);
        }
        let _alone = self.0.changing.try_lock().map_err(|_| MasterKeyError::UnderWay)?;
        // First, because a new key must be remembered before it is used.
        store.ready().await?;
        let replacing = vault.clone();
        let new = tokio::task::spawn_blocking(move || replacing.replace_key_file()).await;
        let new = new.expect("replacing a file does not panic")?;
        store.add_wraps(&new.id().to_string(), 0, clock.now()).await?;
        vault.adopt(&new);
        tracing::info!(new = %new.id(), old = %new.old_id(), "the master key was replaced");
        audit.record(Event::key_rotated(actor, &new.id().to_string())).await?;
        Ok(Rotated { new: new.id(), path: new.path.clone(), old: new.old_id(), retired: new.retired.clone() })
    }

    /// How everything sealed begins, in the store and in the spool.
    async fn headers(&self) -> Result<BTreeSet<Vec<u8>>, StoreError> {
        in_use::headers(&*self.0.parts.store, &self.0.parts.spool).await
    }

    async fn fields_of(&self, header: &[u8]) -> Result<u64, StoreError> {
        let waiting = self.0.parts.spool.sealed().iter().filter(|(_, sealed)| sealed.header() == header).count();
        Ok(self.0.parts.store.count_sealed(header).await? + waiting as u64)
    }
}

/// The master key that envelopes with this header need; nothing if they are none.
pub(crate) fn key_of(header: impl AsRef<[u8]>) -> Option<KeyId> {
    header.as_ref().try_into().ok().and_then(KeyId::of_header)
}

#[cfg(test)]
mod tests;
