//! What the scheduler looks at: grants by when they want to be looked at, by an index that holds no others.

use sqlx::Row as _;

use super::{Connection, grants, query, signed, unsigned};
use crate::clock::UnixTime;
use crate::model::Generation;
use crate::store::grant::{DUE, OLDEST_DUE};
use crate::store::{Found, StoreError, StoredGrant};

pub(super) async fn due(
    db: &mut Connection,
    provider_client: &str,
    now: UnixTime,
    limit: u32,
) -> Result<Found<StoredGrant>, StoreError> {
    let due = query(DUE).bind(provider_client).bind(signed(now.0)).bind(i64::from(limit));
    Found::sort(due.fetch_all(db).await?.iter().map(grants::read))
}

pub(super) async fn oldest(
    db: &mut Connection,
    provider_client: &str,
    now: UnixTime,
    used_since: UnixTime,
) -> Result<Option<UnixTime>, StoreError> {
    let oldest = query(OLDEST_DUE).bind(provider_client).bind(signed(now.0)).bind(signed(used_since.0));
    let due_at: Option<i64> = oldest.fetch_one(db).await?.try_get(0)?;
    due_at.map(|due_at| unsigned(due_at, "grants", provider_client).map(UnixTime)).transpose()
}

/// In the order in which everybody locks them who locks several: in another, two wait for each other.
fn in_order<T>(all: &[T], id: impl Fn(&T) -> &String) -> Vec<&T> {
    let mut all: Vec<&T> = all.iter().collect();
    all.sort_unstable_by(|a, b| id(a).cmp(id(b)));
    all
}

pub(super) async fn leave(db: &mut Connection, idle: &[StoredGrant]) -> Result<(), StoreError> {
    for grant in in_order(idle, |grant| &grant.id) {
        query(
            "UPDATE grants SET due_at = NULL
             WHERE id = $1 AND generation = $2 AND intent_owner IS NULL AND used_at IS NOT DISTINCT FROM $3",
        )
        .bind(&grant.id)
        .bind(signed(grant.generation.0))
        .bind(grant.used_at.map(|at| signed(at.0)))
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

pub(super) async fn put_off(db: &mut Connection, ids: &[String], until: UnixTime) -> Result<(), StoreError> {
    for id in in_order(ids, |id| id) {
        let put_off = query("UPDATE grants SET due_at = $1 WHERE id = $2 AND due_at < $1");
        put_off.bind(signed(until.0)).bind(id).execute(&mut *db).await?;
    }
    Ok(())
}

pub(super) async fn used(db: &mut Connection, ids: &[String], at: UnixTime) -> Result<(), StoreError> {
    for id in in_order(ids, |id| id) {
        query(
            "UPDATE grants SET used_at = $1,
                    due_at = CASE WHEN refresh_token IS NULL OR reason <> '' THEN NULL ELSE coalesce(due_at, refresh_after) END
             WHERE id = $2 AND standing = 'live' AND (used_at IS NULL OR used_at < $1)",
        )
        .bind(signed(at.0))
        .bind(id)
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

pub(super) async fn set_life(
    db: &mut Connection,
    id: &str,
    generation: Generation,
    expires_at: UnixTime,
    refresh_after: UnixTime,
) -> Result<bool, StoreError> {
    let set = query(
        "UPDATE grants SET expires_at = $1, refresh_after = $2, due_at = CASE WHEN due_at IS NULL THEN NULL ELSE $2 END
         WHERE id = $3 AND generation = $4 AND standing = 'live' AND intent_owner IS NULL",
    );
    let set = set.bind(signed(expires_at.0)).bind(signed(refresh_after.0)).bind(id).bind(signed(generation.0));
    Ok(set.execute(db).await?.rows_affected() == 1)
}
