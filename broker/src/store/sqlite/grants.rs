//! Grants: stored by compare-and-swap on the generation (I5).

use sqlx::{Row, SqliteConnection};

use super::{signed, unsigned};
use crate::clock::UnixTime;
use crate::model::{Generation, GrantKey};
use crate::store::{Sealed, StoreError, StoredGrant};

pub(super) async fn find(db: &mut SqliteConnection, key: &GrantKey) -> Result<Option<StoredGrant>, StoreError> {
    let row = sqlx::query(
        "SELECT id, generation, access_token, issued_at, expires_at, refresh_after FROM grants
         WHERE provider_client = ? AND holder = ? AND auth_revision = ?",
    )
    .bind(&key.provider_client)
    .bind(&key.holder)
    .bind(&key.auth_revision)
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let id: String = row.try_get("id")?;
    let number = |column| unsigned(row.try_get(column)?, "grants", &id);
    Ok(Some(StoredGrant {
        key: key.clone(),
        generation: Generation(number("generation")?),
        access_token: Sealed(row.try_get("access_token")?),
        issued_at: UnixTime(number("issued_at")?),
        expires_at: UnixTime(number("expires_at")?),
        refresh_after: UnixTime(number("refresh_after")?),
        id,
    }))
}

pub(super) async fn commit(db: &mut SqliteConnection, grant: &StoredGrant) -> Result<(), StoreError> {
    let Some(before) = grant.generation.0.checked_sub(1) else { return Err(StoreError::Conflict) };
    let written = if before == 0 {
        sqlx::query(
            "INSERT INTO grants (generation, access_token, issued_at, expires_at, refresh_after,
                                 provider_client, holder, auth_revision, id)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
    } else {
        // The id is part of the AAD: material sealed for another record must not land in this one.
        sqlx::query(
            "UPDATE grants SET generation = ?, access_token = ?, issued_at = ?, expires_at = ?, refresh_after = ?
             WHERE provider_client = ? AND holder = ? AND auth_revision = ? AND id = ? AND generation = ?",
        )
    };
    let written = written
        .bind(signed(grant.generation.0))
        .bind(&grant.access_token.0)
        .bind(signed(grant.issued_at.0))
        .bind(signed(grant.expires_at.0))
        .bind(signed(grant.refresh_after.0))
        .bind(&grant.key.provider_client)
        .bind(&grant.key.holder)
        .bind(&grant.key.auth_revision)
        .bind(&grant.id);
    let written = if before == 0 { written } else { written.bind(signed(before)) };
    match written.execute(db).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Conflict),
    }
}
