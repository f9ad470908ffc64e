//! The store as a whole: copied while it is served from, put back, and moved to another back end.
//!
//! A copy holds what the store holds, sealed as it is there: it is of use to whoever has the master keys, and to nobody
//! else. What makes one usable is checked before it takes a store's place: the audit's chain, and the master keys.

mod backup;
mod migrate;
mod restore;

use std::path::{Path, PathBuf};

use crate::audit::{ChainHead, VerifyError, verify_chain};
use crate::master_keys::{NotHeld, keys_needed};
use crate::refresher::Spool;
use crate::store::Store;
use crate::store::sqlite;
use crate::vault::{KeyId, Vault};

pub use backup::{BackedUp, BackupError, back_up};
pub use migrate::{MigrateError, Migrated, Progress, migrate};
pub use restore::{RestoreError, Restored, restore};

/// What was found in a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The end of its audit's chain, which is whole.
    pub head: ChainHead,
    /// The master keys that its records need.
    pub keys: Vec<KeyId>,
}

/// Why a copy is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A master key is missing.
    #[error("its records cannot all be opened with what `vault.keys` or `key_file` names")]
    NotHeld(#[from] NotHeld),
    /// Its audit was changed, or cannot be read.
    #[error("its audit is not whole")]
    Audit(#[from] VerifyError),
}

/// Follows the audit, and finds every master key that is needed among those that are held.
async fn check(store: &dyn Store, spool: &Spool, vault: &Vault) -> Result<Checked, CheckError> {
    let keys = keys_needed(store, spool, vault).await?;
    let head = verify_chain(store).await?;
    Ok(Checked { head, keys })
}

/// Where the embedded store of this directory is.
fn database(data_dir: &Path) -> PathBuf {
    data_dir.join(sqlite::FILE)
}
