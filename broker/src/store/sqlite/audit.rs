//! The chain of audit records.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{hash, signed, unsigned};
use crate::clock::UnixTime;
use crate::store::{AuditEntry, StoreError, StoredAudit, chain};

/// Appends in the caller's transaction, which holds the write lock: nobody else extends the chain meanwhile.
pub(super) async fn append(db: &mut SqliteConnection, entries: &[AuditEntry]) -> Result<u64, StoreError> {
    let head =
        sqlx::query("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1").fetch_optional(&mut *db).await?;
    let (mut sequence, mut previous) = match head {
        None => (0, chain::GENESIS),
        Some(row) => {
            let sequence = unsigned(row.try_get("sequence")?, "audit", "head")?;
            (sequence, hash(row.try_get("hash")?, "audit", &sequence.to_string())?)
        }
    };
    for entry in entries {
        sequence += 1;
        let hash = chain::link(&previous, sequence, entry);
        sqlx::query(
            "INSERT INTO audit (sequence, previous, hash, event, actor, server, at, json)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(signed(sequence))
        .bind(&previous[..])
        .bind(&hash[..])
        .bind(&entry.event)
        .bind(&entry.actor)
        .bind(&entry.server)
        .bind(signed(entry.at.0))
        .bind(&entry.json)
        .execute(&mut *db)
        .await?;
        previous = hash;
    }
    Ok(sequence)
}

pub(super) async fn query(
    db: &mut SqliteConnection,
    after: u64,
    actor: &str,
    server: &str,
    event: &str,
    limit: u32,
) -> Result<Vec<StoredAudit>, StoreError> {
    sqlx::query(
        "SELECT sequence, previous, hash, event, actor, server, at, json FROM audit
         WHERE sequence > ? AND (? = '' OR actor = ?) AND (? = '' OR server = ?) AND (? = '' OR event = ?)
         ORDER BY sequence LIMIT ?",
    )
    .bind(signed(after))
    .bind(actor)
    .bind(actor)
    .bind(server)
    .bind(server)
    .bind(event)
    .bind(event)
    .bind(limit)
    .fetch_all(db)
    .await?
    .iter()
    .map(read)
    .collect()
}

fn read(row: &SqliteRow) -> Result<StoredAudit, StoreError> {
    let sequence: i64 = row.try_get("sequence")?;
    let id = sequence.to_string();
    Ok(StoredAudit {
        sequence: unsigned(sequence, "audit", &id)?,
        previous: hash(row.try_get("previous")?, "audit", &id)?,
        hash: hash(row.try_get("hash")?, "audit", &id)?,
        entry: AuditEntry {
            event: row.try_get("event")?,
            actor: row.try_get("actor")?,
            server: row.try_get("server")?,
            at: UnixTime(unsigned(row.try_get("at")?, "audit", &id)?),
            json: row.try_get("json")?,
        },
    })
}
