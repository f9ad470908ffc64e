//! Grants: stored by compare-and-swap on the generation (I5).
//!
//! A row is `live` as long as it has an access token. One with a reason then is a grant whose refreshes have ended, or, if it
//! has its refresh token still, one that is set aside.

use super::columns::Columns;
use super::{Connection, Row, invalidations, one, query, signed, to_json};
use crate::clock::UnixTime;
use crate::keys::SERVICE_HOLDER;
use crate::model::{Generation, GrantKey, PrincipalId};
use crate::store::{Found, GrantCommit, Intent, Material, Pause, Sealed, Spare, Standing, StoreError, StoredGrant};

pub(super) async fn find(db: &mut Connection, key: &GrantKey) -> Result<Option<StoredGrant>, StoreError> {
    let sql = "SELECT * FROM grants WHERE provider_client = $1 AND holder = $2";
    let row = query(sql).bind(&key.provider_client).bind(&key.holder).fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

pub(super) async fn by_id(db: &mut Connection, id: &str) -> Result<Option<StoredGrant>, StoreError> {
    let sql = "SELECT * FROM grants WHERE id = $1";
    query(sql).bind(id).fetch_optional(db).await?.map(|row| read(&row)).transpose()
}

pub(super) async fn all(db: &mut Connection, holder: Option<&PrincipalId>) -> Result<Found<StoredGrant>, StoreError> {
    let sql = "SELECT * FROM grants WHERE coalesce(holder = $1, holder <> $2) ORDER BY id";
    let selected = query(sql).bind(holder.map(|holder| holder.0.as_str())).bind(SERVICE_HOLDER);
    Found::sort(selected.fetch_all(db).await?.iter().map(read))
}

/// What a commit may replace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replacing {
    /// A grant of any standing, or none.
    Any,
    /// A live grant; or one that was ended because answers to its refreshes did not come, which this may be.
    Live,
}

pub(super) async fn commit(db: &mut Connection, grant: &GrantCommit, from: Replacing) -> Result<(), StoreError> {
    let Some(before) = grant.generation.0.checked_sub(1) else { return Err(StoreError::Conflict) };
    if before == 0 && from == Replacing::Live {
        return Err(StoreError::Conflict);
    }
    let written = if before == 0 {
        query(
            "INSERT INTO grants (generation, standing, reason, scopes, auth_revisions, account, consented_at, consented_by,
                                 access_token, refresh_token, issued_at, expires_at, refresh_after, due_at, provider_client, holder, id)
             VALUES ($1, 'live', '', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT DO NOTHING",
        )
    } else {
        // The id is part of the AAD: material sealed for another record must not land in this one.
        query(
            "UPDATE grants SET generation = $1, standing = 'live', reason = '', scopes = $2, auth_revisions = $3, account = $4,
                    consented_at = $5, consented_by = $6,
                    access_token = $7, refresh_token = $8, issued_at = $9, expires_at = $10, refresh_after = $11, due_at = $12,
                    spare = NULL, spare_generation = NULL,
                    intent_owner = NULL, intent_attempt = 0, intent_started_at = NULL, intent_deadline = NULL,
                pause_from = NULL, pause_until = NULL
             WHERE provider_client = $13 AND holder = $14 AND id = $15 AND generation = $16
               AND ($17 OR standing = 'live' OR (standing = 'needs_consent' AND reason IN ('invalid_grant', 'lost')))",
        )
    };
    let material = &grant.material;
    let is_renewed = grant.key.holder != SERVICE_HOLDER && material.refresh_token.is_some();
    let due_at = is_renewed.then_some(material.refresh_after);
    let written = written
        .bind(signed(grant.generation.0))
        .bind(to_json(&grant.scopes))
        .bind(to_json(&grant.auth_revisions))
        .bind(&grant.account)
        .bind(grant.consented_at.map(|at| signed(at.0)))
        .bind(grant.consented_by.as_ref().map(|who| &who.0))
        .bind(&material.access_token.0)
        .bind(material.refresh_token.as_ref().map(|token| &token.0))
        .bind(signed(material.issued_at.0))
        .bind(signed(material.expires_at.0))
        .bind(signed(material.refresh_after.0))
        .bind(due_at.map(|at| signed(at.0)))
        .bind(&grant.key.provider_client)
        .bind(&grant.key.holder)
        .bind(&grant.id);
    let written = if before == 0 { written } else { written.bind(signed(before)).bind(from == Replacing::Any) };
    one(written.execute(&mut *db).await?.rows_affected())?;
    match grant.invalidates {
        Some(at) if before > 0 => invalidations::add(db, &grant.id, Generation(before), at).await,
        Some(_) | None => Ok(()),
    }
}

pub(super) async fn keep_spare(
    db: &mut Connection,
    id: &str,
    beside: Generation,
    generation: Generation,
    spare: &Sealed,
) -> Result<(), StoreError> {
    query(
        "UPDATE grants SET spare = $1, spare_generation = $2
         WHERE id = $3 AND generation = $4 AND standing = 'live' AND reason = '' AND spare IS NULL",
    )
    .bind(&spare.0)
    .bind(signed(generation.0))
    .bind(id)
    .bind(signed(beside.0))
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn end_refreshes(
    db: &mut Connection,
    id: &str,
    generation: Generation,
    reason: &str,
) -> Result<(), StoreError> {
    let ended = query(
        "UPDATE grants SET reason = $1, due_at = NULL, refresh_token = NULL, spare = NULL, spare_generation = NULL,
                intent_owner = NULL, intent_attempt = 0, intent_started_at = NULL, intent_deadline = NULL,
                pause_from = NULL, pause_until = NULL
         WHERE id = $2 AND generation = $3 AND standing = 'live' AND reason = '' AND $1 <> ''",
    )
    .bind(reason)
    .bind(id)
    .bind(signed(generation.0))
    .execute(db)
    .await?;
    one(ended.rows_affected())
}

pub(super) async fn set_aside(
    db: &mut Connection,
    id: &str,
    generation: Generation,
    reason: &str,
) -> Result<(), StoreError> {
    let set_aside = query(
        "UPDATE grants SET reason = $1, due_at = NULL
         WHERE id = $2 AND generation = $3 AND standing = 'live' AND reason = '' AND refresh_token IS NOT NULL AND $1 <> ''",
    );
    let set_aside = set_aside.bind(reason).bind(id).bind(signed(generation.0)).execute(db).await?;
    one(set_aside.rows_affected())
}

pub(super) async fn take_up(
    db: &mut Connection,
    id: &str,
    generation: Generation,
    reason: &str,
) -> Result<(), StoreError> {
    let taken_up = query(
        "UPDATE grants SET reason = '', due_at = refresh_after
         WHERE id = $1 AND generation = $2 AND standing = 'live' AND reason = $3 AND refresh_token IS NOT NULL AND $3 <> ''",
    );
    let taken_up = taken_up.bind(id).bind(signed(generation.0)).bind(reason).execute(db).await?;
    one(taken_up.rows_affected())
}

pub(super) async fn end(
    db: &mut Connection,
    id: &str,
    generation: Generation,
    standing: &Standing,
    now: UnixTime,
) -> Result<(), StoreError> {
    let (standing, reason) = match standing {
        // There is no material to give it here.
        Standing::Live => return Err(StoreError::Conflict),
        Standing::NeedsConsent(reason) => ("needs_consent", reason),
        Standing::Revoked(reason) => ("revoked", reason),
    };
    let ended = query(
        "UPDATE grants SET standing = $1, reason = $2, due_at = NULL, access_token = NULL, refresh_token = NULL,
                spare = NULL, spare_generation = NULL,
                intent_owner = NULL, intent_attempt = 0, intent_started_at = NULL, intent_deadline = NULL,
                pause_from = NULL, pause_until = NULL
         WHERE id = $3 AND generation = $4 AND (standing = 'live' OR $1 = 'revoked')",
    )
    .bind(standing)
    .bind(reason)
    .bind(id)
    .bind(signed(generation.0))
    .execute(&mut *db)
    .await?;
    one(ended.rows_affected())?;
    invalidations::add(db, id, generation, now).await
}

pub(super) fn read(row: &Row) -> Result<StoredGrant, StoreError> {
    let columns = Columns::of(row, "grants", "id")?;
    let count = |column| u32::try_from(columns.number(column)?).map_err(|_| columns.corrupt("too many attempts"));
    let reason = columns.text("reason")?;
    let standing = match columns.get("standing")? {
        "live" if reason.is_empty() => Standing::Live,
        "live" => Standing::NeedsConsent(reason),
        "needs_consent" => Standing::NeedsConsent(reason),
        "revoked" => Standing::Revoked(reason),
        _ => return Err(columns.corrupt("its standing is unknown")),
    };
    let material = match columns.maybe_sealed("access_token")? {
        None => None,
        Some(access_token) => Some(Material {
            access_token,
            refresh_token: columns.maybe_sealed("refresh_token")?,
            issued_at: columns.time("issued_at")?,
            expires_at: columns.time("expires_at")?,
            refresh_after: columns.time("refresh_after")?,
        }),
    };
    let intent = match (columns.maybe_time("intent_started_at")?, columns.maybe_time("intent_deadline")?) {
        (Some(started_at), Some(deadline)) => Some(Intent {
            owner: columns.text("intent_owner")?,
            attempt: count("intent_attempt")?,
            started_at,
            deadline,
        }),
        (Some(_) | None, _) => None,
    };
    let pause = match (columns.maybe_time("pause_from")?, columns.maybe_time("pause_until")?) {
        (Some(from), Some(until)) => Some(Pause {
            failures: count("pause_failures")?,
            from,
            until,
            attempt: count("pause_attempt")?,
            is_before_the_last: columns.number("pause_is_before_the_last")? != 0,
            may_be_astray: columns.number("pause_may_be_astray")? != 0,
            spare_is_next: columns.number("pause_spare_is_next")? != 0,
            why: columns.text("pause_why")?,
        }),
        (Some(_) | None, _) => None,
    };
    let spare = match (columns.maybe_sealed("spare")?, columns.maybe_number("spare_generation")?) {
        (Some(refresh_token), Some(generation)) => Some(Spare { generation: Generation(generation), refresh_token }),
        (Some(_) | None, _) => None,
    };
    Ok(StoredGrant {
        id: columns.id(),
        key: columns.grant_key()?,
        generation: Generation(columns.number("generation")?),
        standing,
        material,
        scopes: columns.texts("scopes")?,
        auth_revisions: columns.texts("auth_revisions")?,
        account: columns.get("account")?,
        consented_at: columns.maybe_time("consented_at")?,
        consented_by: columns.maybe_principal("consented_by")?,
        intent,
        spare,
        pause,
        due_at: columns.maybe_time("due_at")?,
        used_at: columns.maybe_time("used_at")?,
    })
}
