//! Which master keys the stored records need.

use std::collections::BTreeSet;

use super::key_of;
use crate::refresher::Spool;
use crate::store::{SealedColumn, Store, StoreError};
use crate::vault::{KeyId, KeyIds, Vault, VaultError};

/// How many records of an unknown key are named in the log.
const NAMED: u32 = 10;

/// Why nothing may start: what is stored could not all be opened.
#[derive(Debug, thiserror::Error)]
pub enum NotHeld {
    /// A master key is missing.
    #[error(
        "{fields} stored secrets need master key {needed}, and what is held is {held}; put its key file back where it was, \
         or list the key under vault.keys"
    )]
    Needed {
        /// The key that is missing.
        needed: KeyId,
        /// How many fields of records it has sealed.
        fields: u64,
        /// The keys there are.
        held: KeyIds,
    },
    /// It could not be found out.
    #[error("the store does not say which master keys its records need")]
    Store(#[from] StoreError),
}

/// How everything sealed begins, in the store and in the spool.
pub(super) async fn headers(store: &dyn Store, spool: &Spool) -> Result<BTreeSet<Vec<u8>>, StoreError> {
    let stored = store.seal_headers().await?;
    let waiting = spool.sealed();
    Ok(stored.into_iter().chain(waiting.iter().map(|(_, sealed)| sealed.header().to_vec())).collect())
}

/// The master keys that are needed, each of which is held. A key id that this store has never known is not a key's: one
/// such record was changed, and must not keep all others from being served.
///
/// # Errors
/// [`NotHeld`] with the first that is needed and not held.
pub async fn keys_needed(store: &dyn Store, spool: &Spool, vault: &Vault) -> Result<Vec<KeyId>, NotHeld> {
    let known = known(store).await?;
    let held = KeyIds(vault.keys().iter().map(|key| key.id).collect());
    let mut keys = Vec::new();
    for header in headers(store, spool).await? {
        let needed = key_of(&header);
        if let Some(needed) = needed.filter(|needed| held.0.contains(needed)) {
            keys.push(needed);
            continue;
        }
        let is_known = |id: KeyId| known.is_empty() || known.contains(&id.to_string());
        match needed.filter(|needed| is_known(*needed)) {
            Some(needed) => {
                let fields = store.count_sealed(&header).await?;
                return Err(NotHeld::Needed { needed, fields, held });
            }
            None => name(store, spool, &header).await?,
        }
    }
    Ok(keys)
}

/// Whether it is this record that was changed, and opens for nobody any more; a master key that is missing or away is put
/// back, and what it has sealed must not be given up for it.
///
/// # Errors
/// If the store does not say which master keys it knows.
pub async fn is_damaged(store: &dyn Store, error: &VaultError) -> Result<bool, StoreError> {
    Ok(match error {
        VaultError::NotAuthentic { .. } | VaultError::Unreadable { .. } => true,
        VaultError::OtherMasterKey { needed, .. } => {
            let known = known(store).await?;
            !known.is_empty() && !known.contains(&needed.to_string())
        }
        VaultError::MasterKey { .. } => false,
    })
}

/// Ids of the master keys that were ever used here.
async fn known(store: &dyn Store) -> Result<Vec<String>, StoreError> {
    let known = store.master_keys().await?;
    // It is a key's all the same.
    let unreadable: Vec<_> = known.corrupt.iter().filter_map(StoreError::record).collect();
    Ok(known.readable().into_iter().map(|key| key.id).chain(unreadable).collect())
}

async fn name(store: &dyn Store, spool: &Spool, header: &[u8]) -> Result<(), StoreError> {
    for column in SealedColumn::ALL {
        for field in store.sealed_fields(*column, header, "", NAMED).await?.readable() {
            let (table, field, record) = (column.table(), column.name(), field.record);
            tracing::error!(
                table,
                record,
                field,
                "a stored secret names no master key that was ever used here: it was changed"
            );
        }
    }
    for (grant, _) in spool.sealed().iter().filter(|(_, sealed)| sealed.header() == header) {
        tracing::error!(grant, "a token in the spool names no master key that was ever used here: it was changed");
    }
    Ok(())
}
