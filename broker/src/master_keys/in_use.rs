//! Which master keys the stored records need.

use std::collections::BTreeSet;

use super::{Parts, key_of};
use crate::store::{SealedColumn, StoreError};
use crate::vault::{KeyId, KeyIds};

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
pub(super) async fn headers(parts: &Parts) -> Result<BTreeSet<Vec<u8>>, StoreError> {
    let stored = parts.store.seal_headers().await?;
    let waiting = parts.spool.sealed();
    Ok(stored.into_iter().chain(waiting.iter().map(|(_, sealed)| sealed.header().to_vec())).collect())
}

/// Refuses if a key is needed and not held. A key id that this store has never known is not a key's: one such record was
/// changed, and must not keep all others from being served.
pub(super) async fn check(parts: &Parts) -> Result<(), NotHeld> {
    let known = parts.store.master_keys().await?;
    let held = KeyIds(parts.vault.keys().iter().map(|key| key.id).collect());
    for header in headers(parts).await? {
        let needed = key_of(&header);
        if needed.is_some_and(|needed| held.0.contains(&needed)) {
            continue;
        }
        let is_known = |id: KeyId| known.is_empty() || known.iter().any(|key| key.id == id.to_string());
        match needed.filter(|needed| is_known(*needed)) {
            Some(needed) => {
                let fields = parts.store.count_sealed(&header).await?;
                return Err(NotHeld::Needed { needed, fields, held });
            }
            None => name(parts, &header).await?,
        }
    }
    Ok(())
}

async fn name(parts: &Parts, header: &[u8]) -> Result<(), StoreError> {
    for column in SealedColumn::ALL {
        for field in parts.store.sealed_fields(*column, header, "", NAMED).await? {
            let (table, field, record) = (column.table(), column.name(), field.record);
            tracing::error!(
                table,
                record,
                field,
                "a stored secret names no master key that was ever used here: it was changed"
            );
        }
    }
    for (grant, _) in parts.spool.sealed().iter().filter(|(_, sealed)| sealed.header() == header) {
        tracing::error!(grant, "a token in the spool names no master key that was ever used here: it was changed");
    }
    Ok(())
}
