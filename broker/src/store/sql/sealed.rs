//! Sealed fields, wherever they are, by how they were sealed; and the master keys that have sealed them.

use sqlx::Row as _;

use super::columns::Columns;
use super::{Connection, Row, query, signed, unsigned};
use crate::clock::UnixTime;
use crate::store::sealed::{SealedColumn, SealedField, StoredMasterKey, Swap};
use crate::store::{Found, Sealed, StoreError};

pub(super) async fn headers(db: &mut Connection) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut headers: Vec<Vec<u8>> = Vec::new();
    for column in SealedColumn::ALL {
        let mut last = Vec::new();
        // From one to the next by the index: it costs as much as there are headers, not as there are fields.
        while let Some(row) = query(column.statements().next_header).bind(last.clone()).fetch_optional(&mut *db).await?
        {
            last = row.try_get(0)?;
            headers.push(last.clone());
        }
    }
    headers.sort();
    headers.dedup();
    Ok(headers)
}

pub(super) async fn count(db: &mut Connection, header: &[u8]) -> Result<u64, StoreError> {
    let mut count = 0;
    for column in SealedColumn::ALL {
        let row = query(column.statements().count).bind(header).fetch_one(&mut *db).await?;
        count += unsigned(row.try_get(0)?, column.table(), "count")?;
    }
    Ok(count)
}

pub(super) async fn page(
    db: &mut Connection,
    column: SealedColumn,
    header: &[u8],
    after: &str,
    limit: u32,
) -> Result<Found<SealedField>, StoreError> {
    let page = query(column.statements().page).bind(header).bind(after).bind(i64::from(limit));
    let rows = page.fetch_all(db).await?;
    Found::sort(rows.iter().map(|row| {
        let columns = Columns::of(row, column.table(), "record")?;
        Ok(SealedField { column, record: columns.id(), sealed: Sealed(columns.get("sealed")?) })
    }))
}

pub(super) async fn swap(db: &mut Connection, swaps: &[Swap]) -> Result<u64, StoreError> {
    let mut swapped = 0;
    for Swap { old, new } in swaps {
        let done = query(old.column.statements().swap)
            .bind(old.sealed.header())
            .bind(&old.record)
            .bind(&old.sealed.0)
            .bind(&new.0)
            .execute(&mut *db)
            .await?;
        swapped += done.rows_affected();
    }
    Ok(swapped)
}

pub(super) async fn master_keys(db: &mut Connection) -> Result<Found<StoredMasterKey>, StoreError> {
    let rows = query("SELECT id, wraps FROM master_keys ORDER BY id").fetch_all(db).await?;
    let read = |row: &Row| {
        let columns = Columns::of(row, "master_keys", "id")?;
        Ok(StoredMasterKey { id: columns.id(), wraps: columns.number("wraps")? })
    };
    Found::sort(rows.iter().map(read))
}

pub(super) async fn add_wraps(db: &mut Connection, id: &str, wraps: u64, now: UnixTime) -> Result<u64, StoreError> {
    let row = query(
        "INSERT INTO master_keys (id, wraps, first_used_at) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET wraps = master_keys.wraps + excluded.wraps RETURNING wraps",
    );
    let row = row.bind(id).bind(signed(wraps)).bind(signed(now.0)).fetch_one(db).await?;
    unsigned(row.try_get(0)?, "master_keys", id)
}
