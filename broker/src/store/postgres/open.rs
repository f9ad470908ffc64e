//! Connecting, and whether what is there keeps what it is given.

use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use tokio::time::timeout;

use super::{Address, LIMIT, PostgresStore, migrate, query};
use crate::store::MIGRATIONS;

/// How long a connection is waited for: those there are may be busy, or the server gone.
const ACQUIRE: Duration = Duration::from_secs(4);
/// One that was idle for so long is asked whether it is still there.
const FRESH: Duration = Duration::from_secs(1);

/// Why the database is not used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nobody answers, or refuses.
    #[error("{at} cannot be reached")]
    Unreachable {
        /// Which database.
        at: String,
        /// What the driver says.
        #[source]
        source: sqlx::Error,
    },
    /// Nobody answers in time.
    #[error("{at} does not answer within {} seconds", LIMIT.as_secs())]
    Silent {
        /// Which database.
        at: String,
    },
    /// What it says late may be wrong, and it takes nothing.
    #[error("{at} is a standby, which takes no writes and learns of revocations late; name the primary")]
    Standby {
        /// Which database.
        at: String,
    },
    /// Some names could not be stored.
    #[error(
        "{at} has the encoding {encoding}; make it anew with `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`"
    )]
    Encoding {
        /// Which database.
        at: String,
        /// Its encoding.
        encoding: String,
    },
    /// A crash would lose refresh tokens that the provider no longer knows.
    #[error("{at} runs with `{setting} = off`, so that a crash would lose tokens; switch it on")]
    NotDurable {
        /// Which database.
        at: String,
        /// What is off.
        setting: &'static str,
    },
    /// Another version was here.
    #[error(
        "the tables of {at} are of a newer version (migration {version}); start that version again, or a later one"
    )]
    Newer {
        /// Which database.
        at: String,
        /// The first migration that is not known here.
        version: i64,
    },
    /// Its tables are not those of this version.
    #[error("the tables of {at} cannot be brought to this version; the user must own the database or its schema")]
    Tables {
        /// Which database.
        at: String,
        /// What went wrong.
        #[source]
        source: MigrateError,
    },
}

impl PostgresStore {
    /// Connects, with at most so many connections, and brings the tables to this version.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(address: &Address, connections: u32) -> Result<Self, OpenError> {
        // On a connection of its own, not the pool's: its error says why.
        Self::examine(address).await?;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .before_acquire(|connection, since| {
                Box::pin(async move {
                    if since.idle_for > FRESH {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(address.options.clone());
        let at = || address.shown.clone();
        migrate::run(&pool, &MIGRATIONS.migrations).await.map_err(|source| match source {
            MigrateError::VersionMissing(version) => OpenError::Newer { at: at(), version },
            source => OpenError::Tables { at: at(), source },
        })?;
        Ok(Self { pool })
    }
}

impl PostgresStore {
    /// Whether the database is reached, takes writes and keeps them. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn examine(address: &Address) -> Result<(), OpenError> {
        let checked = timeout(LIMIT, check(address)).await;
        checked.map_err(|_| OpenError::Silent { at: address.shown.clone() })?
    }
}

/// Number of the last migration that the database has had; nothing if it holds no tables.
///
/// # Errors
/// [`OpenError`].
pub(crate) async fn migrations_in(address: &Address) -> Result<Option<i64>, OpenError> {
    PostgresStore::examine(address).await?;
    let unreachable = |source| OpenError::Unreachable { at: address.shown.clone(), source };
    let mut connection = address.options.connect().await.map_err(unreachable)?;
    let row = query("SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS are_there").fetch_one(&mut connection);
    let are_there: bool = row.await.and_then(|row| row.try_get("are_there")).map_err(unreachable)?;
    let last = match are_there {
        false => None,
        true => {
            let row = query("SELECT max(version) AS last FROM _sqlx_migrations").fetch_one(&mut connection);
            row.await.and_then(|row| row.try_get("last")).map_err(unreachable)?
        }
    };
    // A farewell; the answer is of no use.
    let _ = connection.close().await;
    Ok(last)
}

async fn check(address: &Address) -> Result<(), OpenError> {
    let at = || address.shown.clone();
    let unreachable = |source| OpenError::Unreachable { at: at(), source };
    let mut connection = address.options.connect().await.map_err(unreachable)?;
    let mut tx = connection.begin().await.map_err(unreachable)?;
    let sql = "SELECT pg_is_in_recovery() AS standby, current_setting('server_encoding') AS encoding,
                      current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes";
    let row = query(sql).fetch_one(&mut *tx).await.map_err(unreachable)?;
    if row.try_get("standby").map_err(unreachable)? {
        return Err(OpenError::Standby { at: at() });
    }
    let encoding: String = row.try_get("encoding").map_err(unreachable)?;
    if encoding != "UTF8" {
        return Err(OpenError::Encoding { at: at(), encoding });
    }
    for setting in ["fsync", "full_page_writes"] {
        if row.try_get::<&str, _>(setting).map_err(unreachable)? != "on" {
            return Err(OpenError::NotDurable { at: at(), setting });
        }
    }
    drop(tx);
    // A farewell; the answer is of no use.
    let _ = connection.close().await;
    Ok(())
}
