//! The embedded store: one SQLite file that only its owner may read.
//!
//! Every commit is on disk before it is answered (`synchronous=FULL`), and what is deleted is overwritten
//! (`secure_delete`). One connection writes, a few read; another process with the same file is waited for, 2 s.

mod open;
#[path = "../sql/mod.rs"]
mod sql;

use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Row as _, Sqlite, SqlitePool, Transaction};

pub(crate) use open::{FILE, migrations_in};
pub use open::{OpenError, copy_into};

use super::copy::Table;
use super::{Held, Lock, StoreError};
use crate::clock::UnixTime;

/// A store in a SQLite file.
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

type Handle = SqliteStore;
type Connection = sqlx::SqliteConnection;
type Row = sqlx::sqlite::SqliteRow;
type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// How often the log is tried to be emptied, and the time between.
const SCRUB_ATTEMPTS: u32 = 20;
const SCRUB_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// Its directory is one broker's.
const SHARED: bool = false;

impl SqliteStore {
    /// Begins a transaction that holds the write lock from its start: it never fails at its end because somebody
    /// else wrote meanwhile.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    async fn read(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.readers.begin().await?)
    }

    /// For one statement: a transaction of its own is what it is anyway, without the way there and back.
    async fn read_once(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        Ok(self.readers.acquire().await?)
    }

    /// Every wait of SQLite has an end already.
    async fn bounded<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        work.await
    }

    /// What was deleted is overwritten in the file; here its older pages leave the log before it.
    async fn scrub_files(&self) -> Result<(), StoreError> {
        for _ in 0..SCRUB_ATTEMPTS {
            let row = query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&self.writer).await?;
            // Somebody still reads an older moment.
            if row.try_get::<i64, _>(0)? == 0 {
                return Ok(());
            }
            tokio::time::sleep(SCRUB_PAUSE).await;
        }
        Err(StoreError::Unavailable("the database was read all the time".into()))
    }

    /// One broker has it for itself.
    async fn shared_time(&self) -> Result<Option<UnixTime>, StoreError> {
        Ok(None)
    }

    /// Its directory is locked by whoever serves from it.
    async fn other_connections(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn hold_tables(&self, _: &[Table]) -> Result<Held, StoreError> {
        Ok(Held(Box::new(())))
    }

    async fn close_connections(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn query<'q>(sql: &'static str) -> Query<'q, Sqlite, SqliteArguments> {
    sqlx::query(sql)
}

/// A statement made of names that are the migrations' own.
fn made(sql: String) -> Statement<'static> {
    sqlx::query(AssertSqlSafe(sql)).persistent(false)
}

/// Who writes holds the one write lock there is.
async fn lock(_: &mut Connection, _: Lock<'_>) -> Result<(), StoreError> {
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;

#[cfg(test)]
pub(crate) use tests::open_in;
