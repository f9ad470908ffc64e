//! Bringing the tables to this version: forward only, by one broker at a time, all of it or nothing.

use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::{AssertSqlSafe, PgPool, SqlSafeStr as _};

use super::{Lock, query};

/// Longer than any other broker's migration may take; then it is told as an error, and the start is tried again.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE;
    SET LOCAL synchronous_commit = on;
    SET LOCAL statement_timeout = '10min';
    SET LOCAL lock_timeout = '1min';
    SET LOCAL idle_in_transaction_session_timeout = '1min'";

/// Brings the tables to the version that these migrations make. Those of a newer one are [`MigrateError::VersionMissing`].
pub(super) async fn run(pool: &PgPool, migrations: &[Migration]) -> Result<(), MigrateError> {
    let mut tx = pool.begin_with(BEGIN).await?;
    query("SELECT pg_advisory_xact_lock($1)").bind(Lock::Tables.number()).execute(&mut *tx).await?;
    // The migrator names its statements. Nothing else does, and through a pooler the next broker may come by this connection.
    forget_statements(&mut tx).await?;
    let mut migrations = migrations.to_vec();
    for migration in &mut migrations {
        // Its checksum stays that of the text both back ends know.
        migration.sql = AssertSqlSafe(in_postgres(migration.sql.as_str())).into_sql_str();
    }
    // The lock of the migrator is a session's; ours ends with the transaction.
    Migrator::with_migrations(migrations).set_locking(false).run(&mut *tx).await?;
    forget_statements(&mut tx).await?;
    Ok(tx.commit().await?)
}

async fn forget_statements(db: &mut sqlx::PgConnection) -> Result<(), MigrateError> {
    sqlx::raw_sql("DEALLOCATE ALL").execute(db).await?;
    Ok(())
}

/// The tables' text as Postgres says it. Texts are ordered by their bytes, whatever the language of the database.
fn in_postgres(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text
        .split_inclusive(|c| !is_word(c))
        .map(|piece| piece.split_at(piece.trim_end_matches(|c| !is_word(c)).len()));
    words.flat_map(|(word, rest)| [replaced(word), rest]).collect()
}

fn replaced(word: &str) -> &str {
    match word {
        "BLOB" => "BYTEA",
        "INTEGER" => "BIGINT",
        "STRICT" => "",
        "TEXT" => r#"TEXT COLLATE "C""#,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_replaced_and_nothing_else() {
        let text = "-- a text\nCREATE TABLE t (\n  id TEXT NOT NULL,\n  TEXTS INTEGER, v BLOB CHECK (length(v) = 32)\n) STRICT;\n";
        let expected = "-- a text\nCREATE TABLE t (\n  id TEXT COLLATE \"C\" NOT NULL,\n  TEXTS BIGINT, v BYTEA CHECK (length(v) = 32)\n) ;\n";
        assert_eq!(in_postgres(text), expected);
    }
}
