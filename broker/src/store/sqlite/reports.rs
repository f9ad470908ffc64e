//! Which batches of reports have come: each once, and those that are missing known.

use sqlx::{Row, SqliteConnection};

use super::{signed, unsigned};
use crate::store::{Recorded, ReportNumber, StoreError};

/// Takes note of a batch's number.
pub(super) async fn number(db: &mut SqliteConnection, number: &ReportNumber) -> Result<Recorded, StoreError> {
    let epoch = signed(number.epoch.0);
    let row = sqlx::query("SELECT last FROM reports WHERE proxy = ? AND worker = ? AND epoch = ?")
        .bind(&number.proxy)
        .bind(&number.worker)
        .bind(epoch)
        .fetch_optional(&mut *db)
        .await?;
    let last = match row {
        Some(row) => unsigned(row.try_get("last")?, "reports", &number.proxy)?,
        None => 0,
    };
    // Nothing above what the store can count; a proxy that counts so far is not one of ours.
    let sequence = number.sequence.min(i64::MAX as u64);
    if sequence <= last {
        return late(db, number, sequence).await;
    }
    sqlx::query(
        "INSERT INTO reports (proxy, worker, epoch, last) VALUES (?, ?, ?, ?)
         ON CONFLICT (proxy, worker, epoch) DO UPDATE SET last = excluded.last",
    )
    .bind(&number.proxy)
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
async fn late(db: &mut SqliteConnection, number: &ReportNumber, sequence: u64) -> Result<Recorded, StoreError> {
    let row = sqlx::query(
        "DELETE FROM report_gaps WHERE proxy = ? AND worker = ? AND epoch = ? AND first <= ? AND last >= ?
         RETURNING first, last",
    )
    .bind(&number.proxy)
    .bind(&number.worker)
    .bind(signed(number.epoch.0))
    .bind(signed(sequence))
    .bind(signed(sequence))
    .fetch_optional(&mut *db)
    .await?;
    let Some(row) = row else { return Ok(Recorded::Repeated) };
    let first = unsigned(row.try_get("first")?, "report_gaps", &number.proxy)?;
    let last = unsigned(row.try_get("last")?, "report_gaps", &number.proxy)?;
    if first < sequence {
        add_gap(db, number, first, sequence - 1).await?;
    }
    if sequence < last {
        add_gap(db, number, sequence + 1, last).await?;
    }
    Ok(Recorded::Stored)
}

async fn add_gap(db: &mut SqliteConnection, number: &ReportNumber, first: u64, last: u64) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO report_gaps (proxy, worker, epoch, first, last) VALUES (?, ?, ?, ?, ?)")
        .bind(&number.proxy)
        .bind(&number.worker)
        .bind(signed(number.epoch.0))
        .bind(signed(first))
        .bind(signed(last))
        .execute(db)
        .await?;
    Ok(())
}
