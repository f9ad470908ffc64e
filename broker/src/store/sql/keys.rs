//! The broker's own private keys, sealed.

use super::columns::Columns;
use super::{Connection, Lock, Row, lock, query, signed};
use crate::clock::UnixTime;
use crate::store::{Found, Sealed, StoreError, StoredKey};

pub(super) async fn of_purpose(db: &mut Connection, purpose: &str) -> Result<Found<StoredKey>, StoreError> {
    let rows = query("SELECT id, created_at, value FROM keys WHERE purpose = $1 ORDER BY created_at DESC, id DESC")
        .bind(purpose)
        .fetch_all(db)
        .await?;
    let read = |row: &Row| {
        let columns = Columns::of(row, "keys", "id")?;
        Ok(StoredKey {
            id: columns.id(),
            purpose: purpose.to_owned(),
            created_at: columns.time("created_at")?,
            value: Sealed(columns.get("value")?),
        })
    };
    Found::sort(rows.iter().map(read))
}

pub(super) async fn add(db: &mut Connection, key: &StoredKey) -> Result<(), StoreError> {
    query("INSERT INTO keys (id, purpose, created_at, value) VALUES ($1, $2, $3, $4)")
        .bind(&key.id)
        .bind(&key.purpose)
        .bind(signed(key.created_at.0))
        .bind(&key.value.0)
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn add_first(db: &mut Connection, key: &StoredKey) -> Result<(), StoreError> {
    lock(db, Lock::FirstKey(&key.purpose)).await?;
    let found = of_purpose(db, &key.purpose).await?;
    match found.records.is_empty() && found.corrupt.is_empty() {
        true => add(db, key).await,
        false => Err(StoreError::Conflict),
    }
}

pub(super) async fn drop(db: &mut Connection, purpose: &str, before: UnixTime) -> Result<(), StoreError> {
    lock(db, Lock::Expired).await?;
    query("DELETE FROM keys WHERE purpose = $1 AND created_at < $2")
        .bind(purpose)
        .bind(signed(before.0))
        .execute(db)
        .await?;
    Ok(())
}
