//! Destroying wrapped data keys: what they have sealed opens for nobody then, whoever has the master key.
//!
//! Nothing that is sealed is read, nor anything else that a corrupt record could have wrong.

use sqlx::Row as _;

use super::columns::{self, Columns};
use super::{Connection, Lock, invalidations, lock, query, unsigned};
use crate::clock::UnixTime;
use crate::model::{Generation, GrantKey, PrincipalId};
use crate::store::{Shredded, StoreError};

/// The reason of a grant's standing.
const REASON: &str = "shredded";

pub(super) async fn count(db: &mut Connection, holder: Option<&PrincipalId>) -> Result<u64, StoreError> {
    let id = holder.map(|holder| holder.0.as_str());
    let mut fields = 0;
    for sql in [
        "SELECT count(access_token) + count(refresh_token) + count(spare) FROM grants
         WHERE coalesce(holder = $1, $1 IS NULL)",
        "SELECT count(state) + count(verifier) + count(held) FROM consents WHERE coalesce(holder = $1, $1 IS NULL)",
        "SELECT count(secrets) FROM sign_ins WHERE coalesce(principal = $1, $1 IS NULL)",
    ] {
        let row = query(sql).bind(id).fetch_one(&mut *db).await?;
        fields += unsigned(row.try_get(0)?, "grants", "count")?;
    }
    if holder.is_none() {
        for sql in ["SELECT count(*) FROM secrets", "SELECT count(*) FROM keys"] {
            fields += unsigned(query(sql).fetch_one(&mut *db).await?.try_get(0)?, "secrets", "count")?;
        }
    }
    Ok(fields)
}

pub(super) async fn grants(
    db: &mut Connection,
    holder: Option<&PrincipalId>,
    limit: u32,
    now: UnixTime,
) -> Result<Vec<Shredded>, StoreError> {
    let sql = "SELECT id, provider_client, holder, generation,
                (SELECT count(access_token) + count(refresh_token) + count(spare) FROM grants own
                 WHERE own.id = grants.id) AS fields
         FROM grants
         WHERE coalesce(holder = $1, $1 IS NULL)
           AND (access_token IS NOT NULL OR refresh_token IS NOT NULL OR spare IS NOT NULL
                -- What is left of it may come home late, and must find that it is over for good.
                OR standing <> 'revoked') ORDER BY id LIMIT $2";
    let id = holder.map(|holder| holder.0.as_str());
    let rows = query(sql).bind(id).bind(i64::from(limit)).fetch_all(&mut *db).await?;
    let mut shredded = Vec::with_capacity(rows.len());
    for row in rows {
        let columns = match Columns::of(&row, "grants", "id") {
            Ok(columns) => columns,
            // Nothing says which row it is. It must not keep the others; what it holds stays, and is counted.
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, "a record is not destroyed: drop it by hand");
                continue;
            }
            Err(error) => return Err(error),
        };
        let (id, generation) = (columns.id(), columns.get::<i64>("generation")?);
        let destroyed = query(
            "UPDATE grants SET standing = 'revoked', reason = $1, due_at = NULL, access_token = NULL, refresh_token = NULL,
                    spare = NULL, spare_generation = NULL,
                    intent_owner = NULL, intent_attempt = 0, intent_started_at = NULL, intent_deadline = NULL,
                    pause_from = NULL, pause_until = NULL
             WHERE id = $2 AND generation = $3",
        );
        let destroyed = destroyed.bind(REASON).bind(&id).bind(generation).execute(&mut *db).await?;
        // A refresh has put another pair there meanwhile: it is found the next time.
        if destroyed.rows_affected() == 0 {
            continue;
        }
        let generation = Generation(unsigned(generation, "grants", &id)?);
        invalidations::add(db, &id, generation, now).await?;
        shredded.push(Shredded {
            // Only what is open in memory is found by it.
            key: GrantKey {
                provider_client: columns::shown(&row, "provider_client"),
                holder: columns::shown(&row, "holder"),
            },
            fields: columns.number("fields")?,
            generation,
            id,
        });
    }
    Ok(shredded)
}

pub(super) async fn rest(db: &mut Connection, holder: Option<&PrincipalId>) -> Result<u64, StoreError> {
    // Rows of many, in no order.
    lock(db, Lock::Expired).await?;
    let before = count(db, holder).await?;
    let id = holder.map(|holder| holder.0.as_str());
    query(
        "UPDATE consents SET state = NULL, verifier = NULL, held = NULL, outcome = coalesce(outcome, $2)
         WHERE coalesce(holder = $1, $1 IS NULL)",
    )
    .bind(id)
    .bind(REASON)
    .execute(&mut *db)
    .await?;
    query("DELETE FROM sign_ins WHERE coalesce(principal = $1, $1 IS NULL)").bind(id).execute(&mut *db).await?;
    if holder.is_none() {
        for sql in ["DELETE FROM secrets", "DELETE FROM keys"] {
            query(sql).execute(&mut *db).await?;
        }
    }
    Ok(before.saturating_sub(count(db, holder).await?))
}
