//! Manifests, their revision and their history.

use sqlx::{Row, SqliteConnection};

use super::{signed, unsigned};
use crate::clock::UnixTime;
use crate::store::{StoreError, StoredManifest};

pub(super) async fn all(db: &mut SqliteConnection) -> Result<(u64, Vec<StoredManifest>), StoreError> {
    let row = sqlx::query("SELECT revision FROM manifest_revision WHERE id = 1").fetch_one(&mut *db).await?;
    let revision = unsigned(row.try_get("revision")?, "manifest_revision", "1")?;
    let rows = sqlx::query("SELECT kind, name, body FROM manifests ORDER BY kind, name").fetch_all(db).await?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        Ok(StoredManifest { kind: row.try_get("kind")?, name: row.try_get("name")?, body: row.try_get("body")? })
    };
    Ok((revision, rows.iter().map(read).collect::<Result<_, StoreError>>()?))
}

pub(super) async fn put(
    db: &mut SqliteConnection,
    expected: u64,
    manifests: &[StoredManifest],
    actor: &str,
    now: UnixTime,
) -> Result<u64, StoreError> {
    let raised = sqlx::query("UPDATE manifest_revision SET revision = revision + 1 WHERE id = 1 AND revision = ?")
        .bind(signed(expected))
        .execute(&mut *db)
        .await?;
    if raised.rows_affected() != 1 {
        return Err(StoreError::Conflict);
    }
    let revision = expected + 1;
    for manifest in manifests {
        sqlx::query(
            "INSERT INTO manifest_history (revision, kind, name, replaced, actor, at)
             VALUES (?, ?, ?, (SELECT body FROM manifests WHERE kind = ? AND name = ?), ?, ?)",
        )
        .bind(signed(revision))
        .bind(&manifest.kind)
        .bind(&manifest.name)
        .bind(&manifest.kind)
        .bind(&manifest.name)
        .bind(actor)
        .bind(signed(now.0))
        .execute(&mut *db)
        .await?;
        sqlx::query(
            "INSERT INTO manifests (kind, name, body, revision) VALUES (?, ?, ?, ?)
             ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body, revision = excluded.revision",
        )
        .bind(&manifest.kind)
        .bind(&manifest.name)
        .bind(&manifest.body)
        .bind(signed(revision))
        .execute(&mut *db)
        .await?;
    }
    Ok(revision)
}
