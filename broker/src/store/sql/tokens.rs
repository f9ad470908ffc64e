//! Tokens that the broker issued: their hashes, never themselves.

use super::columns::{self, Columns};
use super::{Connection, Row, query, signed};
use crate::clock::UnixTime;
use crate::model::PrincipalId;
use crate::store::{Found, RevokedToken, StoreError, StoredToken};

const EVER: UnixTime = UnixTime(u64::MAX);

pub(super) async fn add(db: &mut Connection, token: &StoredToken) -> Result<(), StoreError> {
    query(
        "INSERT INTO tokens (id, hash, principal, issued_at, expires_at, revoked_at) VALUES ($1, $2, $3, $4, $5, $6)",
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

pub(super) async fn find(db: &mut Connection, id: &str) -> Result<Option<StoredToken>, StoreError> {
    query("SELECT id, hash, principal, issued_at, expires_at, revoked_at FROM tokens WHERE id = $1")
        .bind(id)
        .fetch_optional(db)
        .await?
        .map(|row| read(&row))
        .transpose()
}

pub(super) async fn live(db: &mut Connection, now: UnixTime) -> Result<Found<StoredToken>, StoreError> {
    let sql = "SELECT id, hash, principal, issued_at, expires_at, revoked_at FROM tokens
         WHERE expires_at > $1 ORDER BY issued_at DESC, id";
    Found::sort(query(sql).bind(signed(now.0)).fetch_all(db).await?.iter().map(read))
}

pub(super) async fn revoked(db: &mut Connection, now: UnixTime) -> Result<Found<RevokedToken>, StoreError> {
    // Of no token is it known that it has expired if when it does is before all time.
    let sql = "SELECT id, hash, principal, issued_at, expires_at, revoked_at FROM tokens
         WHERE revoked_at IS NOT NULL AND (expires_at > $1 OR expires_at < 0) ORDER BY id";
    let rows = query(sql).bind(signed(now.0)).fetch_all(db).await?;
    Found::salvage(&rows, |row| read(row).map(drop), refused_by)
}

pub(super) async fn revoke(db: &mut Connection, id: &str, now: UnixTime) -> Result<bool, StoreError> {
    // The first moment stays: a second revocation does not move it.
    let marked = query("UPDATE tokens SET revoked_at = COALESCE(revoked_at, $1) WHERE id = $2")
        .bind(signed(now.0))
        .bind(id)
        .execute(db)
        .await?;
    Ok(marked.rows_affected() == 1)
}

/// Whatever cannot be read, it is refused.
fn refused_by(row: &Row) -> RevokedToken {
    let columns = Columns::named(row, "tokens", columns::shown(row, "id"));
    RevokedToken {
        id: columns.text("id").ok(),
        principal: PrincipalId(columns::shown(row, "principal")),
        issued_at: columns.time("issued_at").unwrap_or(EVER),
        expires_at: columns.time("expires_at").unwrap_or(EVER),
    }
}

fn read(row: &Row) -> Result<StoredToken, StoreError> {
    let columns = Columns::of(row, "tokens", "id")?;
    Ok(StoredToken {
        id: columns.id(),
        hash: columns.hash("hash")?,
        principal: PrincipalId(columns.text("principal")?),
        issued_at: columns.time("issued_at")?,
        expires_at: columns.time("expires_at")?,
        revoked_at: columns.maybe_time("revoked_at")?,
    })
}
