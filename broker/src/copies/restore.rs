//! A backup in the place of the embedded store, while no broker serves.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{CheckError, Checked, check, database};
use crate::audit::{Actor, Audit, AuditError, Event};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::refresher::Spool;
use crate::serve::{self, ServeError};
use crate::store::Store;
use crate::store::sqlite::{self, SqliteStore};
use crate::vault::Vault;

/// What was put in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What was found in it.
    pub found: Checked,
    /// Where it is now.
    pub path: PathBuf,
}

/// Why nothing was put in place.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A broker serves.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Backups are of the embedded store.
    #[error("this broker keeps everything in Postgres; restore that with Postgres's own tools")]
    NotEmbedded,
    /// Nothing is overwritten.
    #[error("{} is there already, and is not overwritten: move it, and what lies beside it as `-wal` and `-shm`, elsewhere", .0.display())]
    Exists(PathBuf),
    /// The system refused.
    #[error("{} cannot be {action}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is no database of ours.
    #[error("the backup does not open as a store")]
    Open(#[from] sqlite::OpenError),
    /// It is of no use.
    #[error("the backup was not put in place")]
    Check(#[from] CheckError),
    /// There is no record of it.
    #[error("the backup was not put in place: it takes no records")]
    Audit(#[from] AuditError),
}

/// Puts a backup in the place of the store that this configuration names: checked, durable and whole, or not at all.
///
/// # Errors
/// [`RestoreError`].
pub async fn restore(
    config: &Config,
    file: &Path,
    actor: Actor,
    clock: Arc<dyn Clock>,
) -> Result<Restored, RestoreError> {
    match config.store {
        config::Store::Sqlite => {}
        config::Store::Postgres(_) => return Err(RestoreError::NotEmbedded),
    }
    let data_dir = &config.data_dir;
    // Read first: a wrong name makes no directory.
    let io = |path: &Path, action, source| RestoreError::Io { path: path.to_owned(), action, source };
    File::open(file).map_err(|error| io(file, "opened", error))?;
    let _only = serve::lock(data_dir)?;
    let place = database(data_dir);
    for name in [sqlite::FILE.to_owned(), format!("{}-wal", sqlite::FILE), format!("{}-shm", sqlite::FILE)] {
        let path = data_dir.join(name);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(RestoreError::Exists(path));
        }
    }
    let vault = serve::open_vault(config).await?;
    let spool = Spool::open(&data_dir.join("spool")).map_err(|error| io(&data_dir.join("spool"), "read", error))?;

    let half = data_dir.join("restoring");
    match fs::remove_dir_all(&half) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(&half, "cleared", error)),
    }
    DirBuilder::new().mode(0o700).create(&half).map_err(|error| io(&half, "made", error))?;
    let done = async {
        let copy = database(&half);
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy);
        let copied = match &mut to {
            Ok(to) => File::open(file).and_then(|mut from| io::copy(&mut from, to)).and_then(|_| to.sync_all()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        copied.map_err(|error| io(&copy, "written", error))?;
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&half).await?);
        let found = use_of(&store, &spool, &vault, config, actor, clock).await;
        store.close().await;
        let found = found?;
        File::open(&copy).and_then(|file| file.sync_all()).map_err(|error| io(&copy, "made durable", error))?;
        fs::rename(&copy, &place).map_err(|error| io(&place, "put in place", error))?;
        File::open(data_dir).and_then(|d| d.sync_all()).map_err(|error| io(data_dir, "made durable", error))?;
        Ok(Restored { found, path: place.clone() })
    };
    let done = done.await;
    // It is only in the way; and cleared the next time.
    let _ = fs::remove_dir_all(&half);
    done
}

/// Checks the copy, and records in its own audit where it comes from.
async fn use_of(
    store: &Arc<dyn Store>,
    spool: &Spool,
    vault: &Vault,
    config: &Config,
    actor: Actor,
    clock: Arc<dyn Clock>,
) -> Result<Checked, RestoreError> {
    let found = check(&**store, spool, vault).await?;
    let audit = Audit::start(Arc::clone(store), clock, config.tenant.clone());
    audit.record(Event::store_restored(actor, found.head.sequence)).await?;
    // The log before the file goes into it: what is renamed is one file.
    store.scrub().await.map_err(|error| RestoreError::Audit(AuditError::Store(Arc::new(error))))?;
    Ok(found)
}

#[cfg(test)]
pub(super) mod tests;
