//! The broker's own private keys, sealed.

use sqlx::{Row, SqliteConnection};

use super::{signed, unsigned};
use crate::clock::UnixTime;
use crate::store::{Sealed, StoreError, StoredKey};

pub(super) async fn of_purpose(db: &mut SqliteConnection, purpose: &str) -> Result<Vec<StoredKey>, StoreError> {
    let rows =
        sqlx::query("SELECT id, created_at, value FROM keys WHERE purpose = ? ORDER BY created_at DESC, id DESC")
            .bind(purpose)
            .fetch_all(db)
            .await?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        let id: String = row.try_get("id")?;
        Ok(StoredKey {
            created_at: UnixTime(unsigned(row.try_get("created_at")?, "keys", &id)?),
            value: Sealed(row.try_get("value")?),
            purpose: purpose.to_owned(),
            id,
        })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn add(db: &mut SqliteConnection, key: &StoredKey) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO keys (id, purpose, created_at, value) VALUES (?, ?, ?, ?)")
        .bind(&key.id)
        .bind(&key.purpose)
        .bind(signed(key.created_at.0))
        .bind(&key.value.0)
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn drop(db: &mut SqliteConnection, purpose: &str, before: UnixTime) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM keys WHERE purpose = ? AND created_at < ?")
        .bind(purpose)
        .bind(signed(before.0))
        .execute(db)
        .await?;
    Ok(())
}
