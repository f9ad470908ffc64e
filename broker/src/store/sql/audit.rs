//! The chain of audit records.

use sqlx::Row as _;

use super::columns::Columns;
use super::{Connection, Lock, Row, lock, made, query, signed};
use crate::store::{AuditEntry, StoreError, StoredAudit, chain};

/// Records in one statement: whoever has the lock holds all brokers up, for as long as a database far away takes to answer.
const AT_ONCE: usize = 500;
/// Of the table.
const COLUMNS: usize = 8;

pub(super) async fn append(db: &mut Connection, entries: &[AuditEntry]) -> Result<u64, StoreError> {
    lock(db, Lock::Audit).await?;
    extend(db, entries).await
}

/// For who holds [`Lock::Audit`]: nobody else extends the chain until the transaction ends.
pub(super) async fn extend(db: &mut Connection, entries: &[AuditEntry]) -> Result<u64, StoreError> {
    let head =
        query("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1").fetch_optional(&mut *db).await?;
    let (mut sequence, mut previous) = match head {
        None => (0, chain::GENESIS),
        Some(row) => {
            let columns = Columns::named(&row, "audit", row.try_get::<i64, _>("sequence")?.to_string());
            (columns.number("sequence")?, columns.hash("hash")?)
        }
    };
    for entries in entries.chunks(AT_ONCE) {
        let rows = (0..entries.len()).map(|row| {
            let places = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column));
            format!("({})", places.collect::<Vec<_>>().join(", "))
        });
        let rows = rows.collect::<Vec<_>>().join(", ");
        let mut statement =
            made(format!("INSERT INTO audit (sequence, previous, hash, event, actor, server, at, json) VALUES {rows}"));
        for entry in entries {
            sequence += 1;
            let hash = chain::link(&previous, sequence, entry);
            statement = statement
                .bind(signed(sequence))
                .bind(previous.to_vec())
                .bind(hash.to_vec())
                .bind(entry.event.as_str())
                .bind(entry.actor.as_str())
                .bind(entry.server.as_str())
                .bind(signed(entry.at.0))
                .bind(entry.json.as_str());
            previous = hash;
        }
        statement.execute(&mut *db).await?;
    }
    Ok(sequence)
}

pub(super) async fn select(
    db: &mut Connection,
    after: u64,
    actor: &str,
    server: &str,
    event: &str,
    limit: u32,
) -> Result<Vec<StoredAudit>, StoreError> {
    query(
        "SELECT sequence, previous, hash, event, actor, server, at, json FROM audit
         WHERE sequence > $1 AND ($2 = '' OR actor = $2) AND ($3 = '' OR server = $3) AND ($4 = '' OR event = $4)
         ORDER BY sequence LIMIT $5",
    )
    .bind(signed(after))
    .bind(actor)
    .bind(server)
    .bind(event)
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?
    .iter()
    .map(read)
    .collect()
}

fn read(row: &Row) -> Result<StoredAudit, StoreError> {
    let columns = Columns::named(row, "audit", row.try_get::<i64, _>("sequence")?.to_string());
    Ok(StoredAudit {
        sequence: columns.number("sequence")?,
        previous: columns.hash("previous")?,
        hash: columns.hash("hash")?,
        entry: AuditEntry {
            event: columns.text("event")?,
            actor: columns.text("actor")?,
            server: columns.text("server")?,
            at: columns.time("at")?,
            json: columns.text("json")?,
        },
    })
}
