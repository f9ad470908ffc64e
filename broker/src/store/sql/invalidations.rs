//! Generations of grants that nobody uses any more, in the order in which that was committed.

use super::columns::Columns;
use super::{Connection, Row, query, signed};
use crate::clock::UnixTime;
use crate::model::Generation;
use crate::store::{Invalidation, StoreError};

/// For a transaction that has changed the grant: it takes the next number, and keeps others from theirs until it ends.
pub(super) async fn add(
    db: &mut Connection,
    grant: &str,
    generation: Generation,
    at: UnixTime,
) -> Result<(), StoreError> {
    query("UPDATE invalidation_count SET last = last + 1 WHERE id = 1").execute(&mut *db).await?;
    query(
        "INSERT INTO invalidations (grant_id, number, provider_client, holder, generation, at)
         SELECT g.id, c.last, g.provider_client, g.holder, $1, $2 FROM grants g, invalidation_count c
         WHERE g.id = $3 AND c.id = 1
         ON CONFLICT (grant_id) DO UPDATE
            SET number = excluded.number, generation = excluded.generation, at = excluded.at",
    )
    .bind(signed(generation.0))
    .bind(signed(at.0))
    .bind(grant)
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn after(db: &mut Connection, number: u64, limit: u32) -> Result<Vec<Invalidation>, StoreError> {
    let sql = "SELECT * FROM invalidations WHERE number > $1 ORDER BY number LIMIT $2";
    let rows = query(sql).bind(signed(number)).bind(i64::from(limit)).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

pub(super) async fn drop_old(db: &mut Connection, before: UnixTime) -> Result<(), StoreError> {
    query("DELETE FROM invalidations WHERE at < $1").bind(signed(before.0)).execute(db).await?;
    Ok(())
}

fn read(row: &Row) -> Result<Invalidation, StoreError> {
    let columns = Columns::of(row, "invalidations", "grant_id")?;
    Ok(Invalidation {
        number: columns.number("number")?,
        grant: columns.id(),
        key: columns.grant_key()?,
        generation: Generation(columns.number("generation")?),
        at: columns.time("at")?,
    })
}
