//! Opening the file: its directory, its permissions, its schema.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::SqliteStore;

/// Name of the file in the data directory.
const FILE: &str = "sallyport.db";
/// How long another process's transaction is waited for.
const BUSY: Duration = Duration::from_secs(2);
/// How long a connection of our own is waited for: a little more than one holder may wait for another process.
const ACQUIRE: Duration = Duration::from_secs(4);
/// Connections that only read.
const READERS: u32 = 4;

/// Why the file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Others may read or change what is there.
    #[error("{} has mode {mode:04o}: others than its owner may use it; run `chmod {} {}`", .path.display(), remedy(.path), .path.display())]
    Exposed {
        /// The directory or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refused.
    #[error("{} cannot be {action}", .path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its tables are not those of this version.
    #[error("the tables in {} cannot be brought to this version; a newer version may have written them", .path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// SQLite refused.
    #[error("{} cannot be opened as a SQLite database", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: sqlx::Error,
    },
}

fn remedy(path: &Path) -> &'static str {
    if path.is_dir() { "700" } else { "600" }
}

impl SqliteStore {
    /// Whether a store was ever made in `data_dir`: if so, the key its records are sealed with must be there as well.
    pub fn exists(data_dir: &Path) -> bool {
        data_dir.join(FILE).exists()
    }

    /// Opens the store in `data_dir`; makes both, for their owner alone, if they are not there.
    pub async fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let path = data_dir.join(FILE);
        prepare(data_dir, &path)?;
        let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .pragma("secure_delete", "ON")
            .pragma("trusted_schema", "OFF")
            .disable_statement_logging();
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE)
            // When the disk is full SQLite ends a transaction by itself; sqlx still counts it as open and would refuse
            // every later one on that connection. Such a connection is replaced.
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_with(options.clone())
            .await
            .map_err(sqlite)?;
        sqlx::migrate!("./migrations/sqlite")
            .run(&writer)
            .await
            .map_err(|source| OpenError::Schema { path: path.clone(), source })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(sqlite)?;
        Ok(Self { writer, readers })
    }
}

/// Makes directory and file before SQLite does: its files, `-wal` and `-shm` too, take their mode from the first.
fn prepare(data_dir: &Path, path: &Path) -> Result<(), OpenError> {
    let io = |path: &Path, action, source| OpenError::Io { path: path.to_owned(), action, source };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    made.map_err(|e| io(data_dir, "created", e))?;
    let mode = std::fs::metadata(data_dir).map_err(|e| io(data_dir, "examined", e))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(OpenError::Exposed { path: data_dir.to_owned(), mode });
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path).map_err(|e| io(path, "opened", e))?;
    let mode = file.metadata().map_err(|e| io(path, "examined", e))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(OpenError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}
