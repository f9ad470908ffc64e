//! Consents in progress.

use super::columns::Columns;
use super::{Connection, Lock, Row, lock, one, query, signed, to_json};
use crate::clock::UnixTime;
use crate::model::ServerName;
use crate::store::{ConsentAttempt, Found, Sealed, StoreError, StoredConsent};

/// How many unfinished consents to more scopes there are at most at once, of one holder for one server and the same subjects:
/// which scopes those are is an upstream's word.
const STEP_UPS: u8 = 16;

pub(super) async fn ensure(db: &mut Connection, consent: &StoredConsent) -> Result<StoredConsent, StoreError> {
    lock(db, Lock::Consents(&consent.key)).await?;
    let sql = "SELECT * FROM consents WHERE holder = $1 AND provider_client = $2 AND server = $3 AND extra_scopes = $4
         AND subjects = $5 AND outcome IS NULL AND expires_at > $6 ORDER BY expires_at DESC LIMIT 1";
    let pending = query(sql)
        .bind(&consent.key.holder)
        .bind(&consent.key.provider_client)
        .bind(&consent.server.0)
        .bind(to_json(&consent.extra_scopes))
        .bind(to_json(&consent.subjects))
        .bind(signed(consent.created_at.0))
        .fetch_optional(&mut *db)
        .await?;
    if let Some(row) = pending {
        return read(&row);
    }
    if !consent.extra_scopes.is_empty()
        && let Some(newest) = step_up_in_place_of(db, consent).await?
    {
        return Ok(newest);
    }
    query(
        "INSERT INTO consents (id, provider_client, holder, server, subjects, extra_scopes, created_at, expires_at,
                               attempt, code_taken)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0)",
    )
    .bind(&consent.id)
    .bind(&consent.key.provider_client)
    .bind(&consent.key.holder)
    .bind(&consent.server.0)
    .bind(to_json(&consent.subjects))
    .bind(to_json(&consent.extra_scopes))
    .bind(signed(consent.created_at.0))
    .bind(signed(consent.expires_at.0))
    .execute(db)
    .await?;
    Ok(StoredConsent { attempt: None, attempts: 0, code_taken: None, held: None, outcome: None, ..consent.clone() })
}

/// Where an upstream has asked for as many other scopes as it may: the newest of those that can still be begun. Otherwise
/// there is room, also for this one: what has expired and was never begun makes it.
async fn step_up_in_place_of(
    db: &mut Connection,
    consent: &StoredConsent,
) -> Result<Option<StoredConsent>, StoreError> {
    let most = i64::from(STEP_UPS);
    let sql = "SELECT * FROM consents WHERE holder = $1 AND provider_client = $2 AND server = $3 AND subjects = $4
           AND extra_scopes <> '[]' AND outcome IS NULL AND expires_at > $5
         ORDER BY expires_at DESC, id LIMIT $6";
    let pending = query(sql)
        .bind(&consent.key.holder)
        .bind(&consent.key.provider_client)
        .bind(&consent.server.0)
        .bind(to_json(&consent.subjects))
        .bind(signed(consent.created_at.0))
        .bind(most)
        .fetch_all(&mut *db)
        .await?;
    if let Some(newest) = pending.first().filter(|_| pending.len() >= usize::from(STEP_UPS)) {
        return read(newest).map(Some);
    }
    let sql = "DELETE FROM consents WHERE attempt = 0 AND expires_at <= $5 AND id IN
         (SELECT id FROM consents WHERE holder = $1 AND provider_client = $2 AND server = $3 AND subjects = $4
            AND extra_scopes <> '[]' AND attempt = 0
          ORDER BY expires_at DESC, id LIMIT $6 OFFSET $7)";
    query(sql)
        .bind(&consent.key.holder)
        .bind(&consent.key.provider_client)
        .bind(&consent.server.0)
        .bind(to_json(&consent.subjects))
        .bind(signed(consent.created_at.0))
        .bind(i64::MAX)
        .bind(most - 1)
        .execute(db)
        .await?;
    Ok(None)
}

pub(super) async fn find(db: &mut Connection, id: &str) -> Result<Option<StoredConsent>, StoreError> {
    let sql = "SELECT * FROM consents WHERE id = $1";
    query(sql).bind(id).fetch_optional(db).await?.map(|row| read(&row)).transpose()
}

pub(super) async fn renew(db: &mut Connection, id: &str, expires_at: UnixTime) -> Result<(), StoreError> {
    let renewed = query("UPDATE consents SET expires_at = $1 WHERE id = $2 AND outcome IS NULL")
        .bind(signed(expires_at.0))
        .bind(id)
        .execute(db)
        .await?;
    one(renewed.rows_affected())
}

pub(super) async fn begin(db: &mut Connection, id: &str, attempt: &ConsentAttempt) -> Result<(), StoreError> {
    let Some(before) = attempt.number.checked_sub(1) else { return Err(StoreError::Conflict) };
    let begun = query(
        "UPDATE consents SET attempt = $1, session = $2, state = $3, verifier = $4, scopes = $5, auth_revisions = $6, begun_at = $7,
                code_taken = 0, code_taken_at = NULL
         WHERE id = $8 AND attempt = $9 AND outcome IS NULL AND held IS NULL",
    )
    .bind(i64::from(attempt.number))
    .bind(attempt.session.as_slice())
    .bind(&attempt.state.0)
    .bind(&attempt.verifier.0)
    .bind(to_json(&attempt.scopes))
    .bind(to_json(&attempt.auth_revisions))
    .bind(signed(attempt.begun_at.0))
    .bind(id)
    .bind(i64::from(before))
    .execute(db)
    .await?;
    one(begun.rows_affected())
}

pub(super) async fn take_code(db: &mut Connection, id: &str, attempt: u32, now: UnixTime) -> Result<(), StoreError> {
    let taken = query(
        "UPDATE consents SET code_taken = 1, code_taken_at = $3
         WHERE id = $1 AND attempt = $2 AND code_taken = 0 AND outcome IS NULL",
    )
    .bind(id)
    .bind(i64::from(attempt))
    .bind(signed(now.0))
    .execute(db)
    .await?;
    one(taken.rows_affected())
}

/// Held to the end of the transaction: whoever takes the consent away then, by a release, finds what came of it.
pub(super) async fn claim(db: &mut Connection, id: &str) -> Result<(), StoreError> {
    let claimed = query("UPDATE consents SET subjects = subjects WHERE id = $1 AND subjects <> '[]'");
    one(claimed.bind(id).execute(db).await?.rows_affected())
}

/// As [`claim`], of one that holds just this: it says with `instead` that what it holds has become the grant's.
pub(super) async fn choose(
    db: &mut Connection,
    id: &str,
    attempt: u32,
    held: &Sealed,
    instead: &Sealed,
) -> Result<(), StoreError> {
    let sql = "UPDATE consents SET held = $1
         WHERE id = $2 AND attempt = $3 AND held = $4 AND outcome IS NULL AND subjects <> '[]'";
    let chosen = query(sql).bind(&instead.0).bind(id).bind(i64::from(attempt)).bind(&held.0).execute(db).await?;
    one(chosen.rows_affected())
}

pub(super) async fn hold(db: &mut Connection, id: &str, attempt: u32, held: &Sealed) -> Result<(), StoreError> {
    let sql = "UPDATE consents SET held = $1
         WHERE id = $2 AND attempt = $3 AND code_taken = 1 AND held IS NULL AND outcome IS NULL";
    let kept = query(sql).bind(&held.0).bind(id).bind(i64::from(attempt)).execute(db).await?;
    one(kept.rows_affected())
}

/// In place of the same without its account.
pub(super) async fn replace_held(
    db: &mut Connection,
    id: &str,
    attempt: u32,
    before: &Sealed,
    held: &Sealed,
) -> Result<(), StoreError> {
    let sql = "UPDATE consents SET held = $1 WHERE id = $2 AND attempt = $3 AND held = $4 AND outcome IS NULL";
    let replaced = query(sql).bind(&held.0).bind(id).bind(i64::from(attempt)).bind(&before.0).execute(db).await?;
    one(replaced.rows_affected())
}

/// `held`: only one that holds just this.
pub(super) async fn finish(
    db: &mut Connection,
    id: &str,
    attempt: u32,
    held: Option<&Sealed>,
    outcome: &str,
) -> Result<(), StoreError> {
    let finished = query(
        "UPDATE consents SET outcome = $1, state = NULL, verifier = NULL, held = NULL
         WHERE id = $2 AND attempt = $3 AND outcome IS NULL AND coalesce(held = $4, $4 IS NULL)",
    )
    .bind(outcome)
    .bind(id)
    .bind(i64::from(attempt))
    .bind(held.map(|held| &held.0))
    .execute(db)
    .await?;
    one(finished.rows_affected())
}

pub(super) async fn abandoned(db: &mut Connection, before: UnixTime) -> Result<Found<StoredConsent>, StoreError> {
    let sql = "SELECT * FROM consents WHERE held IS NOT NULL AND expires_at < $1 ORDER BY id";
    Found::sort(query(sql).bind(signed(before.0)).fetch_all(db).await?.iter().map(read))
}

pub(super) async fn drop_expired(db: &mut Connection, before: UnixTime) -> Result<(), StoreError> {
    query("DELETE FROM consents WHERE expires_at < $1").bind(signed(before.0)).execute(db).await?;
    Ok(())
}

fn read(row: &Row) -> Result<StoredConsent, StoreError> {
    let columns = Columns::of(row, "consents", "id")?;
    let attempts = u32::try_from(columns.number("attempt")?).map_err(|_| columns.corrupt("too many attempts"))?;
    let attempt = match (columns.maybe_sealed("state")?, columns.maybe_sealed("verifier")?) {
        (Some(state), Some(verifier)) => Some(ConsentAttempt {
            number: attempts,
            session: columns.hash("session")?,
            state,
            verifier,
            scopes: columns.texts("scopes")?,
            auth_revisions: columns.texts("auth_revisions")?,
            begun_at: columns.time("begun_at")?,
        }),
        (Some(_) | None, _) => None,
    };
    let code_taken = match (columns.get::<i64>("code_taken")?, columns.maybe_time("code_taken_at")?) {
        (0, _) => None,
        (_, Some(at)) => Some(at),
        // By a broker that did not say when: long ago.
        (_, None) => Some(UnixTime::default()),
    };
    Ok(StoredConsent {
        id: columns.id(),
        key: columns.grant_key()?,
        server: ServerName(columns.text("server")?),
        subjects: columns.texts("subjects")?,
        extra_scopes: columns.texts("extra_scopes")?,
        created_at: columns.time("created_at")?,
        expires_at: columns.time("expires_at")?,
        attempt,
        attempts,
        code_taken,
        held: columns.maybe_sealed("held")?,
        outcome: columns.get("outcome")?,
    })
}
