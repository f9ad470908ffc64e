//! The store of a fleet: one Postgres database for any number of brokers.
//!
//! Nothing lasts longer than a transaction: no named statements, no settings, no locks of a session. So PgBouncer may stand
//! before it in transaction mode. Every transaction asks for a server that takes writes, reading ones too: a standby, which
//! may not have heard of a revocation yet, refuses it.
//!
//! Transactions are `READ COMMITTED`: a statement that had to wait for another broker's row looks at it again. What SQLite
//! gives by its one writer is given by compare-and-swap in one statement, by unique keys, or by a [`Lock`].

mod address;
mod migrate;
mod open;
#[path = "../sql/mod.rs"]
#[expect(clippy::duplicate_mod, reason = "one text, compiled for each back end's types")]
mod sql;

use std::time::Duration;

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row as _, Transaction};

pub use address::{Address, UrlFlaw};
pub use open::OpenError;
pub(crate) use open::migrations_in;

use super::copy::Table;
use super::{Held, Lock, StoreError};
use crate::clock::UnixTime;

/// No network ever ends a wait by itself. Longer than a connection and a statement may take together.
const LIMIT: Duration = Duration::from_secs(10);

/// Durable before it is answered, whatever the database's default. What hangs ends before its caller gives up.
const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE;
    SET LOCAL synchronous_commit = on;
    SET LOCAL statement_timeout = '3s';
    SET LOCAL lock_timeout = '2s';
    SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// Sees one moment. `READ WRITE` all the same: a standby refuses it.
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ WRITE;
    SET LOCAL statement_timeout = '3s';
    SET LOCAL lock_timeout = '2s';
    SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// Keeps others from writing for as long as it lives, which may be long.
const HOLD: &str = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE;
    SET LOCAL statement_timeout = '3s';
    SET LOCAL lock_timeout = '2s';
    SET LOCAL idle_in_transaction_session_timeout = 0";

/// A store in a Postgres database.
pub struct PostgresStore {
    pool: PgPool,
}

type Handle = PostgresStore;
type Connection = sqlx::PgConnection;
type Row = sqlx::postgres::PgRow;
type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Any number of brokers may come at any time.
const SHARED: bool = true;

impl PostgresStore {
    async fn write(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        Ok(self.pool.begin_with(WRITE).await?)
    }

    async fn read(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        Ok(self.pool.begin_with(READ).await?)
    }

    /// For one statement: within the limits of a transaction all the same.
    async fn read_once(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.read().await
    }

    /// A commit that is not answered may have been done or not: the caller hears that the store is not available, and every
    /// method is safe to call again.
    async fn bounded<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match tokio::time::timeout(LIMIT, work).await {
            Ok(done) => done,
            Err(late) => Err(StoreError::Unavailable(Box::new(late))),
        }
    }

    /// Rows that nobody sees any more are taken out of the tables. What is in write-ahead logs and on standbys stays there.
    async fn scrub_files(&self) -> Result<(), StoreError> {
        for sql in ["VACUUM grants", "VACUUM consents", "VACUUM sign_ins", "VACUUM secrets", "VACUUM keys"] {
            // No transaction may hold it, and without one a pooler may give each message of a prepared statement to another
            // connection: one message, then.
            sqlx::raw_sql(sql).execute(&self.pool).await?;
        }
        Ok(())
    }

    async fn shared_time(&self) -> Result<Option<UnixTime>, StoreError> {
        let sql = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        let asking = async {
            let row = query(sql).fetch_one(&mut *self.read().await?).await?;
            let time: i64 = row.try_get(0)?;
            Ok(UnixTime(time.cast_unsigned()))
        };
        self.bounded(asking).await.map(Some)
    }

    /// Connections of anybody to this database that are not of this name. Of another role's only that they are there can be
    /// seen; what Postgres does by itself has no role.
    async fn other_connections(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usesysid IS NOT NULL
             AND coalesce(backend_type, 'client backend') = 'client backend'
             AND application_name IS DISTINCT FROM current_setting('application_name')
             AND pid <> pg_backend_pid()";
        let count: i64 = query(sql).fetch_one(&mut *self.read().await?).await?.try_get(0)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    async fn hold_tables(&self, tables: &[Table]) -> Result<Held, StoreError> {
        let mut tx = self.pool.begin_with(HOLD).await?;
        for table in tables {
            made(format!("LOCK TABLE {} IN SHARE MODE", table.name)).execute(&mut *tx).await?;
        }
        Ok(Held(Box::new(tx)))
    }

    async fn close_connections(&self) {
        self.pool.close().await;
    }
}

/// Prepared without a name, which lasts until the next: a pooler may give the connection to somebody else.
fn query<'q>(sql: &'static str) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(sql).persistent(false)
}

/// A statement made of names that are the migrations' own.
fn made(sql: String) -> Statement<'static> {
    sqlx::query(AssertSqlSafe(sql)).persistent(false)
}

async fn lock(db: &mut Connection, lock: Lock<'_>) -> Result<(), StoreError> {
    query("SELECT pg_advisory_xact_lock($1)").bind(lock.number()).execute(db).await?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
