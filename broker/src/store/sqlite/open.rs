//! Opening the file: its directory, its permissions, its schema.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::SqliteStore;
use crate::failpoint;
use crate::store::{MIGRATIONS, StoreError};

/// Name of the file in the data directory.
pub(crate) const FILE: &str = "sallyport.db";
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
    /// It is a symbolic link, a directory, a device.
    #[error("{} is not a regular file (symbolic links are not followed); name another `data_dir`", .path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
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
    /// Opens the store in `data_dir`; makes both, for their owner alone, if they are not there.
    pub async fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let path = data_dir.join(FILE);
        let directory = prepare(data_dir, &path)?;
        let directory = locked(directory).await.map_err(|source| OpenError::Io {
            path: data_dir.to_owned(),
            action: "locked",
            source,
        })?;
        let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(if failpoint::is_durable() { SqliteSynchronous::Full } else { SqliteSynchronous::Off })
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .pragma("secure_delete", "ON")
            .pragma("trusted_schema", "OFF")
            .disable_statement_logging();
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE)
            // A file does not go away, as a server does.
            .test_before_acquire(false)
            // When the disk is full SQLite ends a transaction by itself; sqlx still counts it as open and would refuse
            // every later one on that connection. Such a connection is replaced.
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_with(options.clone())
            .await
            .map_err(sqlite)?;
        MIGRATIONS.run(&writer).await.map_err(|source| OpenError::Schema { path: path.clone(), source })?;
        drop(directory);
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(sqlite)?;
        Ok(Self { writer, readers })
    }
}

impl SqliteStore {
    /// What SQLite says of the file of a store that may be closed: `ok`, or what is damaged; nothing if there is no file.
    /// Changes nothing in it, and brings no table forward.
    ///
    /// # Errors
    /// If others than its owner may use it, or it cannot be read.
    pub async fn examine(data_dir: &Path) -> Result<Option<String>, OpenError> {
        let path = data_dir.join(FILE);
        let is = match std::fs::symlink_metadata(&path) {
            Ok(is) => is,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OpenError::Io { path, action: "examined", source }),
        };
        only_its_owners(&path, &is)?;
        let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
        let options = SqliteConnectOptions::new().filename(&path).read_only(true).busy_timeout(BUSY);
        let mut connection = options.disable_statement_logging().connect().await.map_err(sqlite)?;
        let said: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection).await.map_err(sqlite)?;
        connection.close().await.map_err(sqlite)?;
        Ok(Some(said))
    }
}

/// Makes directory and file before SQLite does: its files, `-wal` and `-shm` too, take their mode from the first.
/// Answers the directory, open.
fn prepare(data_dir: &Path, path: &Path) -> Result<File, OpenError> {
    let io = |path: &Path, action, source| OpenError::Io { path: path.to_owned(), action, source };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    made.map_err(|e| io(data_dir, "created", e))?;
    let directory = File::open(data_dir).map_err(|e| io(data_dir, "opened", e))?;
    let mode = directory.metadata().map_err(|e| io(data_dir, "examined", e))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(OpenError::Exposed { path: data_dir.to_owned(), mode });
    }
    // Never opened once it is there: closing a file gives up every lock SQLite holds on it in this process.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => directory.sync_all().map_err(|e| io(data_dir, "made durable", e))?,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(io(path, "created", e)),
    }
    let is = std::fs::symlink_metadata(path).map_err(|e| io(path, "examined", e))?;
    only_its_owners(path, &is)?;
    Ok(directory)
}

fn only_its_owners(path: &Path, is: &std::fs::Metadata) -> Result<(), OpenError> {
    if !is.is_file() {
        return Err(OpenError::NotAFile { path: path.to_owned() });
    }
    let mode = is.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(OpenError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Keeps others out while the tables are made. It may have to wait for them, which must not hold up other tasks.
async fn locked(directory: File) -> io::Result<File> {
    let lock = move || directory.lock().map(|()| directory);
    tokio::task::spawn_blocking(lock).await.map_err(io::Error::other)?
}

/// Number of the last migration that the file has had; nothing if there is no file, or it holds no tables.
///
/// # Errors
/// If it cannot be read.
pub(crate) async fn migrations_in(data_dir: &Path) -> Result<Option<i64>, OpenError> {
    let path = data_dir.join(FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
    let options = SqliteConnectOptions::new().filename(&path).read_only(true).busy_timeout(BUSY);
    let mut connection = options.disable_statement_logging().connect().await.map_err(sqlite)?;
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let tables: i64 = sqlx::query_scalar(tables).fetch_one(&mut connection).await.map_err(sqlite)?;
    let last = match tables {
        0 => None,
        _ => {
            let last = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations");
            last.fetch_one(&mut connection).await.map_err(sqlite)?
        }
    };
    connection.close().await.map_err(sqlite)?;
    Ok(last)
}

/// How long a moment without a writer is waited for: a copy needs none but at its beginning.
const COPY_BUSY: Duration = Duration::from_secs(10);

/// Copies a database as it is at one moment into an empty file that is there, without keeping anybody from writing. What was
/// deleted is not in the copy.
///
/// # Errors
/// If the database cannot be read, or the copy not be written.
pub async fn copy_into(from: &Path, to: &Path) -> Result<(), StoreError> {
    let to = to.to_str().ok_or_else(|| StoreError::Unavailable("the name of a copy must be UTF-8".into()))?;
    let options = SqliteConnectOptions::new().filename(from).busy_timeout(COPY_BUSY).disable_statement_logging();
    let mut connection = options.connect().await?;
    let copied = sqlx::query("VACUUM INTO $1").bind(to).execute(&mut connection).await;
    // A farewell; whether it was copied is known.
    let _ = connection.close().await;
    copied?;
    Ok(())
}
