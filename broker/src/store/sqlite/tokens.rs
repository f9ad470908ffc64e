//! Tokens that the broker issued: their hashes, never themselves.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{hash, signed, unsigned};
use crate::clock::UnixTime;
use crate::model::PrincipalId;
use crate::store::{StoreError, StoredToken};

pub(super) async fn add(db: &mut SqliteConnection, token: &StoredToken) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tokens (id, hash, principal, issued_at, expires_at, revoked_at) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&token.id)
    .bind(&token.hash[..])
    .bind(&token.principal.0)
    .bind(signed(token.issued_at.0))
    .bind(signed(token.expires_at.0))
    .bind(token.revoked_at.map(|at| signed(at.0)))
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn find(db: &mut SqliteConnection, id: &str) -> Result<Option<StoredToken>, StoreError> {
    sqlx::query("SELECT id, hash, principal, issued_at, expires_at, revoked_at FROM tokens WHERE id = ?")
        .bind(id)
        .fetch_optional(db)
        .await?
        .map(|row| read(&row))
        .transpose()
}

pub(super) async fn live(db: &mut SqliteConnection, now: UnixTime) -> Result<Vec<StoredToken>, StoreError> {
    sqlx::query(
        "SELECT id, hash, principal, issued_at, expires_at, revoked_at FROM tokens
         WHERE expires_at > ? ORDER BY issued_at DESC, id",
    )
    .bind(signed(now.0))
    .fetch_all(db)
    .await?
    .iter()
    .map(read)
    .collect()
}

pub(super) async fn revoked(db: &mut SqliteConnection, now: UnixTime) -> Result<Vec<StoredToken>, StoreError> {
    sqlx::query(
        "SELECT id, hash, principal, issued_at, expires_at, revoked_at FROM tokens
         WHERE revoked_at IS NOT NULL AND expires_at > ? ORDER BY id",
    )
    .bind(signed(now.0))
    .fetch_all(db)
    .await?
    .iter()
    .map(read)
    .collect()
}

pub(super) async fn revoke(db: &mut SqliteConnection, id: &str, now: UnixTime) -> Result<bool, StoreError> {
    // The first moment stays: a second revocation does not move it.
    let marked = sqlx::query("UPDATE tokens SET revoked_at = COALESCE(revoked_at, ?) WHERE id = ?")
        .bind(signed(now.0))
        .bind(id)
        .execute(db)
        .await?;
    Ok(marked.rows_affected() == 1)
}

fn read(row: &SqliteRow) -> Result<StoredToken, StoreError> {
    let id: String = row.try_get("id")?;
    let time = |value: i64| unsigned(value, "tokens", &id).map(UnixTime);
    Ok(StoredToken {
        hash: hash(row.try_get("hash")?, "tokens", &id)?,
        principal: PrincipalId(row.try_get("principal")?),
        issued_at: time(row.try_get("issued_at")?)?,
        expires_at: time(row.try_get("expires_at")?)?,
        revoked_at: row.try_get::<Option<i64>, _>("revoked_at")?.map(time).transpose()?,
        id,
    })
}
