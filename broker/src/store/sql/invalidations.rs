//! Generations of grants that nobody uses any more, in the order in which that was committed.

use super::columns::{self, Columns};
use super::{Connection, Row, query, signed};
use crate::clock::UnixTime;
use crate::model::{Generation, GrantKey};
use crate::store::{Found, Invalidation, StoreError};

const TABLE: &str = "invalidations";

/// The grant knows best what it is for.
macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT i.grant_id, i.number, i.generation, i.at,
                    coalesce(g.provider_client, i.provider_client) AS provider_client, coalesce(g.holder, i.holder) AS holder
             FROM invalidations i LEFT JOIN grants g ON g.id = i.grant_id WHERE ",
            $which
        )
    };
}

const AFTER: &str = select!(
    "i.number > $1 AND i.number <= (SELECT last FROM invalidation_count WHERE id = 1) ORDER BY i.number LIMIT $2"
);
/// All of them, of which there are none but after somebody had the database in hand.
const NEVER_GIVEN: &str =
    select!("i.number < 1 OR i.number > (SELECT last FROM invalidation_count WHERE id = 1) ORDER BY i.number");

/// For a transaction that has changed the grant: it takes the next number, and keeps others from theirs until it ends.
pub(super) async fn add(
    db: &mut Connection,
    grant: &str,
    generation: Generation,
    at: UnixTime,
) -> Result<(), StoreError> {
    query("UPDATE invalidation_count SET last = last + 1 WHERE id = 1").execute(&mut *db).await?;
    // Whoever has it already is corrupt, and must not keep it from whom it is given.
    let sql =
        "UPDATE invalidations SET number = -number WHERE number = (SELECT last FROM invalidation_count WHERE id = 1)";
    query(sql).execute(&mut *db).await?;
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

pub(super) async fn after(db: &mut Connection, number: u64, limit: u32) -> Result<Found<Invalidation>, StoreError> {
    let rows = query(AFTER).bind(signed(number)).bind(i64::from(limit)).fetch_all(&mut *db).await?;
    let mut found = Found::salvage(&rows, check, |row| let_go_by(row, true))?;
    let rows = query(NEVER_GIVEN).fetch_all(db).await?;
    let never_given = Found::salvage(
        &rows,
        |row| Err(Columns::of(row, TABLE, "grant_id")?.corrupt("its number was never given")),
        |row| let_go_by(row, false),
    )?;
    found.records.extend(never_given.records);
    found.corrupt.extend(never_given.corrupt);
    Ok(found)
}

pub(super) async fn drop_old(db: &mut Connection, before: UnixTime) -> Result<(), StoreError> {
    // Of one whose time is before all others nobody knows how old it is.
    query("DELETE FROM invalidations WHERE at >= 0 AND at < $1").bind(signed(before.0)).execute(db).await?;
    Ok(())
}

fn check(row: &Row) -> Result<(), StoreError> {
    let columns = Columns::of(row, TABLE, "grant_id")?;
    for number in ["number", "generation", "at"] {
        columns.number(number)?;
    }
    columns.grant_key().map(drop)
}

/// What is let go of by what can be read: of a generation that nobody knows, all of them.
fn let_go_by(row: &Row, is_given: bool) -> Invalidation {
    let grant = columns::shown(row, "grant_id");
    let columns = Columns::named(row, TABLE, grant.clone());
    let number = if is_given { columns.number("number").unwrap_or(0) } else { 0 };
    Invalidation {
        number,
        grant,
        key: GrantKey {
            provider_client: columns::shown(row, "provider_client"),
            holder: columns::shown(row, "holder"),
        },
        generation: Generation(columns.number("generation").unwrap_or(u64::MAX)),
        at: columns.time("at").unwrap_or(UnixTime(u64::MAX)),
    }
}
