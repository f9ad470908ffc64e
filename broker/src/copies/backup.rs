//! A copy of the embedded store at one moment, taken while the broker serves from it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::database;
use crate::audit::{ChainHead, VerifyError, verify_chain};
use crate::harden::effective_uid;
use crate::master_keys::key_of;
use crate::store::sqlite::{self, SqliteStore};
use crate::store::{Store as _, StoreError};
use crate::vault::KeyId;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// Its size, bytes.
    pub bytes: u64,
    /// The end of its audit's chain.
    pub head: ChainHead,
    /// The master keys that its records need.
    pub keys: Vec<KeyId>,
    /// Renewed tokens that wait in the spool, and are not in it.
    pub waiting: usize,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to copy.
    #[error("there is no {}; name the configuration of the broker that serves from it", .0.display())]
    NoStore(PathBuf),
    /// It is somebody else's.
    #[error("{} belongs to uid {owner}, and this command runs as uid {uid}; run it as uid {owner}", .path.display())]
    WrongOwner {
        /// The database.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// Nothing is overwritten.
    #[error("{} is there already, and is not overwritten; name another file", .0.display())]
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
    /// SQLite did not copy it.
    #[error("the store was not copied")]
    Copy(#[source] StoreError),
    /// What was copied does not open.
    #[error("the copy does not open, and was removed")]
    Open(#[from] sqlite::OpenError),
    /// What was copied is not whole.
    #[error("the audit in the store is not whole, and so is none in a copy; see `sallyport audit verify`")]
    Audit(#[from] VerifyError),
}

/// Copies the store in `data_dir` as it is at one moment to a new file that only its owner may read: durable and whole
/// under its name, or not there at all. Whoever serves from the store goes on.
///
/// # Errors
/// [`BackupError`].
pub async fn back_up(data_dir: &Path, file: &Path) -> Result<BackedUp, BackupError> {
    let io = |action, source| BackupError::Io { path: file.to_owned(), action, source };
    let from = database(data_dir);
    let owner = match fs::metadata(&from) {
        Ok(is) => is.uid(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(BackupError::NoStore(from)),
        Err(error) => return Err(BackupError::Io { path: from, action: "examined", source: error }),
    };
    // SQLite makes files beside it, which the broker could not open if they were somebody else's.
    if owner != effective_uid() {
        return Err(BackupError::WrongOwner { path: from, owner, uid: effective_uid() });
    }
    if fs::symlink_metadata(file).is_ok() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    let half = Half::beside(file).map_err(|error| io("written", error))?;
    let copy = database(&half.0);
    // Made before SQLite fills it: only its owner may ever read it.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy).map_err(|error| io("written", error))?;
    sqlite::copy_into(&from, &copy).await.map_err(BackupError::Copy)?;
    let store = SqliteStore::open(&half.0).await?;
    let read = async {
        let keys = store.seal_headers().await.map_err(BackupError::Copy)?.into_iter().filter_map(key_of).collect();
        let head = verify_chain(&store).await?;
        store.scrub().await.map_err(BackupError::Copy)?;
        Ok::<_, BackupError>((head, keys))
    };
    let read = read.await;
    store.close().await;
    let (head, keys) = read?;
    File::open(&copy).and_then(|file| file.sync_all()).map_err(|error| io("made durable", error))?;
    match fs::hard_link(&copy, file) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(BackupError::Exists(file.to_owned())),
        Err(error) => return Err(io("written", error)),
    }
    drop(half);
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| io("made durable", error))?;
    let bytes = fs::metadata(file).map_err(|error| io("examined", error))?.len();
    Ok(BackedUp { bytes, head, keys, waiting: waiting(data_dir) })
}

/// A directory beside the file, for what is not whole yet; gone when this is dropped.
struct Half(PathBuf);

impl Half {
    fn beside(file: &Path) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".half-{:016x}", u64::from_be_bytes(random)));
        let path = PathBuf::from(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // It is only in the way.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Files in the spool: pairs that the store has not taken.
fn waiting(data_dir: &Path) -> usize {
    let files = fs::read_dir(data_dir.join("spool")).into_iter().flatten().flatten();
    files.filter(|file| file.path().extension().is_some_and(|extension| extension == "json")).count()
}

#[cfg(test)]
pub(super) mod tests;
