//! Which batches of reports have come: each once, and those that are missing known.

use super::columns::Columns;
use super::{Connection, Lock, audit, lock, query, signed};
use crate::store::{AuditEntry, Recorded, ReportNumber, StoreError};

pub(super) async fn record(
    db: &mut Connection,
    number: &ReportNumber,
    entries: &[AuditEntry],
    gap: &(dyn Fn(u64, u64) -> AuditEntry + Send + Sync),
) -> Result<Recorded, StoreError> {
    lock(db, Lock::Audit).await?;
    let recorded = note(db, number).await?;
    match recorded {
        Recorded::Repeated => {}
        Recorded::Stored => {
            audit::extend(db, entries).await?;
        }
        Recorded::Gap(first, last) => {
            audit::extend(db, &[gap(first, last)]).await?;
            audit::extend(db, entries).await?;
        }
    }
    Ok(recorded)
}

/// Takes note of a batch's number.
async fn note(db: &mut Connection, number: &ReportNumber) -> Result<Recorded, StoreError> {
    let epoch = signed(number.epoch.0);
    let row = query("SELECT last FROM reports WHERE proxy = $1 AND worker = $2 AND epoch = $3")
        .bind(reporter(number))
        .bind(&number.worker)
        .bind(epoch)
        .fetch_optional(&mut *db)
        .await?;
    let last = match row {
        Some(row) => Columns::named(&row, "reports", reporter(number)).number("last")?,
        None => 0,
    };
    // Nothing above what the store can count; a proxy that counts so far is not one of ours.
    let sequence = number.sequence.min(i64::MAX as u64);
    if sequence <= last {
        return late(db, number, sequence).await;
    }
    query(
        "INSERT INTO reports (proxy, worker, epoch, last) VALUES ($1, $2, $3, $4)
         ON CONFLICT (proxy, worker, epoch) DO UPDATE SET last = excluded.last",
    )
    .bind(reporter(number))
    .bind(&number.worker)
    .bind(epoch)
    .bind(signed(sequence))
    .execute(&mut *db)
    .await?;
    if sequence == last + 1 {
        return Ok(Recorded::Stored);
    }
    add_gap(db, number, last + 1, sequence - 1).await?;
    Ok(Recorded::Gap(last + 1, sequence - 1))
}

/// A number at or below the highest: either it came before, or it fills a gap.
async fn late(db: &mut Connection, number: &ReportNumber, sequence: u64) -> Result<Recorded, StoreError> {
    let row = query(
        "DELETE FROM report_gaps WHERE proxy = $1 AND worker = $2 AND epoch = $3 AND first <= $4 AND last >= $4
         RETURNING first, last",
    )
    .bind(reporter(number))
    .bind(&number.worker)
    .bind(signed(number.epoch.0))
    .bind(signed(sequence))
    .fetch_optional(&mut *db)
    .await?;
    let Some(row) = row else { return Ok(Recorded::Repeated) };
    let columns = Columns::named(&row, "report_gaps", reporter(number));
    let (first, last) = (columns.number("first")?, columns.number("last")?);
    if first < sequence {
        add_gap(db, number, first, sequence - 1).await?;
    }
    if sequence < last {
        add_gap(db, number, sequence + 1, last).await?;
    }
    Ok(Recorded::Stored)
}

/// What the column `proxy` holds: who reports, and as what it does. The length keeps one peer from being read as another.
fn reporter(number: &ReportNumber) -> String {
    format!("{}:{}/{}", number.peer.len(), number.peer, number.proxy)
}

async fn add_gap(db: &mut Connection, number: &ReportNumber, first: u64, last: u64) -> Result<(), StoreError> {
    query("INSERT INTO report_gaps (proxy, worker, epoch, first, last) VALUES ($1, $2, $3, $4, $5)")
        .bind(reporter(number))
        .bind(&number.worker)
        .bind(signed(number.epoch.0))
        .bind(signed(first))
        .bind(signed(last))
        .execute(db)
        .await?;
    Ok(())
}
