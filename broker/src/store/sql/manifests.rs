//! Manifests, their revision and their history.

use super::columns::{self, Columns};
use super::{Connection, Row, query, signed};
use crate::clock::UnixTime;
use crate::store::{PolicyRevision, StoreError, StoredManifest};

pub(super) async fn all(db: &mut Connection) -> Result<(u64, Vec<StoredManifest>), StoreError> {
    let row = query("SELECT revision FROM manifest_revision WHERE id = 1").fetch_one(&mut *db).await?;
    let revision = Columns::named(&row, "manifest_revision", "1".to_owned()).number("revision")?;
    let rows = query("SELECT kind, name, body FROM manifests ORDER BY kind, name").fetch_all(db).await?;
    let read = |row: &Row| {
        let id = format!("{} {}", columns::shown(row, "kind"), columns::shown(row, "name"));
        let columns = Columns::named(row, "manifests", id);
        Ok(StoredManifest { kind: columns.text("kind")?, name: columns.text("name")?, body: columns.text("body")? })
    };
    Ok((revision, rows.iter().map(read).collect::<Result<_, StoreError>>()?))
}

pub(super) async fn policy_revision(db: &mut Connection) -> Result<PolicyRevision, StoreError> {
    let sql = "SELECT revision, (SELECT CAST(COALESCE(SUM(generation), 0) AS BIGINT) FROM secrets) AS secrets
               FROM manifest_revision WHERE id = 1";
    let row = query(sql).fetch_one(db).await?;
    let columns = Columns::named(&row, "manifest_revision", "1".to_owned());
    Ok(PolicyRevision { manifests: columns.number("revision")?, secrets: columns.number("secrets")? })
}

pub(super) async fn put(
    db: &mut Connection,
    expected: u64,
    manifests: &[StoredManifest],
    actor: &str,
    now: UnixTime,
) -> Result<u64, StoreError> {
    let raised = query("UPDATE manifest_revision SET revision = revision + 1 WHERE id = 1 AND revision = $1")
        .bind(signed(expected))
        .execute(&mut *db)
        .await?;
    if raised.rows_affected() != 1 {
        return Err(StoreError::Conflict);
    }
    let revision = expected + 1;
    for manifest in manifests {
        query(
            "INSERT INTO manifest_history (revision, kind, name, replaced, actor, at)
             VALUES ($1, $2, $3, (SELECT body FROM manifests WHERE kind = $2 AND name = $3), $4, $5)",
        )
        .bind(signed(revision))
        .bind(&manifest.kind)
        .bind(&manifest.name)
        .bind(actor)
        .bind(signed(now.0))
        .execute(&mut *db)
        .await?;
        query(
            "INSERT INTO manifests (kind, name, body, revision) VALUES ($1, $2, $3, $4)
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
