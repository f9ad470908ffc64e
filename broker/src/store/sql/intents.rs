//! The right to refresh a grant, and the pause after a request that gave no token: one row with the grant, so that one
//! statement compares all of it and swaps.

use std::collections::BTreeMap;

use super::{Connection, columns, grants, one, query, signed};
use crate::clock::UnixTime;
use crate::model::Generation;
use crate::store::grant::{DANGLING, UNDER_WAY};
use crate::store::{Found, Intent, Pause, StoreError, StoredGrant};

pub(super) async fn take(
    db: &mut Connection,
    id: &str,
    generation: Generation,
    intent: &Intent,
    instead_of: Option<&Intent>,
    paused: Option<&Pause>,
) -> Result<(), StoreError> {
    let taken = query(
        "UPDATE grants SET intent_owner = $1, intent_attempt = $2, intent_started_at = $3, intent_deadline = $4,
                due_at = CASE WHEN refresh_token IS NULL THEN NULL ELSE $4 END
         WHERE id = $5 AND generation = $6 AND standing = 'live' AND reason = ''
           AND intent_owner IS NOT DISTINCT FROM $7
           AND (intent_owner IS NULL OR (intent_attempt = $8 AND intent_started_at = $9))
           AND pause_from IS NOT DISTINCT FROM $10 AND pause_until IS NOT DISTINCT FROM $11",
    )
    .bind(&intent.owner)
    .bind(i64::from(intent.attempt))
    .bind(signed(intent.started_at.0))
    .bind(signed(intent.deadline.0))
    .bind(id)
    .bind(signed(generation.0))
    .bind(instead_of.map(|old| &old.owner))
    .bind(instead_of.map(|old| i64::from(old.attempt)))
    .bind(instead_of.map(|old| signed(old.started_at.0)))
    .bind(paused.map(|pause| signed(pause.from.0)))
    .bind(paused.map(|pause| signed(pause.until.0)))
    .execute(db)
    .await?;
    one(taken.rows_affected())
}

pub(super) async fn clear(
    db: &mut Connection,
    id: &str,
    generation: Generation,
    intent: &Intent,
    pause: &Pause,
) -> Result<bool, StoreError> {
    if !self::pause(&mut *db, id, generation, Some(intent), pause).await? {
        return Ok(false);
    }
    let cleared = query(
        "UPDATE grants SET intent_owner = CASE WHEN intent_attempt > 1 THEN intent_owner END,
                intent_started_at = CASE WHEN intent_attempt > 1 THEN intent_started_at END,
                intent_deadline = CASE WHEN intent_attempt > 1 THEN intent_deadline END,
                intent_attempt = intent_attempt - 1
         WHERE id = $1",
    );
    cleared.bind(id).execute(db).await?;
    Ok(true)
}

pub(super) async fn pause(
    db: &mut Connection,
    id: &str,
    generation: Generation,
    intent: Option<&Intent>,
    pause: &Pause,
) -> Result<bool, StoreError> {
    let paused = query(
        "UPDATE grants SET pause_from = $1, pause_until = $2, pause_failures = $3, pause_is_before_the_last = $4,
                pause_may_be_astray = $5, pause_why = $6, pause_attempt = $7, pause_spare_is_next = $8,
                due_at = CASE WHEN refresh_token IS NULL THEN NULL ELSE $2 END
         WHERE id = $9 AND generation = $10 AND standing = 'live' AND reason = ''
           AND intent_owner IS NOT DISTINCT FROM $11
           AND (intent_owner IS NULL OR (intent_attempt = $12 AND intent_started_at = $13))",
    )
    .bind(signed(pause.from.0))
    .bind(signed(pause.until.0))
    .bind(i64::from(pause.failures))
    .bind(i64::from(pause.is_before_the_last))
    .bind(i64::from(pause.may_be_astray))
    .bind(&pause.why)
    .bind(i64::from(pause.attempt))
    .bind(i64::from(pause.spare_is_next))
    .bind(id)
    .bind(signed(generation.0))
    .bind(intent.map(|intent| &intent.owner))
    .bind(intent.map(|intent| i64::from(intent.attempt)))
    .bind(intent.map(|intent| signed(intent.started_at.0)))
    .execute(db)
    .await?;
    Ok(paused.rows_affected() == 1)
}

pub(super) async fn dangling(
    db: &mut Connection,
    before: UnixTime,
    broker: &str,
) -> Result<Found<StoredGrant>, StoreError> {
    let starts = format!("{broker}/");
    Found::sort(query(DANGLING).bind(signed(before.0)).bind(&starts).fetch_all(db).await?.iter().map(grants::read))
}

pub(super) async fn take_first(
    db: &mut Connection,
    grant: &str,
    intent: &Intent,
    broker: &str,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let taken = query(
        "INSERT INTO first_intents (grant_id, owner, started_at, deadline) VALUES ($1, $2, $3, $4)
         ON CONFLICT (grant_id) DO UPDATE
            SET owner = excluded.owner, started_at = excluded.started_at, deadline = excluded.deadline
            WHERE first_intents.deadline < $5 OR substr(first_intents.owner, 1, length($6)) = $6",
    );
    let (started_at, deadline) = (signed(intent.started_at.0), signed(intent.deadline.0));
    let taken = taken.bind(grant).bind(&intent.owner).bind(started_at).bind(deadline);
    let taken = taken.bind(signed(now.0)).bind(format!("{broker}/"));
    Ok(taken.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn clear_first(db: &mut Connection, grant: &str, intent: &Intent) -> Result<(), StoreError> {
    let cleared = query("DELETE FROM first_intents WHERE grant_id = $1 AND owner = $2 AND started_at = $3");
    cleared.bind(grant).bind(&intent.owner).bind(signed(intent.started_at.0)).execute(db).await?;
    Ok(())
}

pub(super) async fn under_way(db: &mut Connection, now: UnixTime) -> Result<BTreeMap<String, u32>, StoreError> {
    let rows = query(UNDER_WAY).bind(signed(now.0)).fetch_all(db).await?;
    let mut counts = BTreeMap::new();
    for row in &rows {
        *counts.entry(columns::shown(row, "provider_client")).or_default() += 1;
    }
    Ok(counts)
}
