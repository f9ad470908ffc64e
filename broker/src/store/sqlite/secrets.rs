//! The broker's own secrets, sealed, and who may refer to them.

use sqlx::{Row, SqliteConnection};

use super::{signed, unsigned};
use crate::clock::UnixTime;
use crate::model::Generation;
use crate::store::{Sealed, StoreError, StoredSecret};

pub(super) async fn find(
    db: &mut SqliteConnection,
    group: &str,
    key: &str,
) -> Result<Option<StoredSecret>, StoreError> {
    let row = sqlx::query("SELECT generation, value FROM secrets WHERE secret_group = ? AND key = ?")
        .bind(group)
        .bind(key)
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let generation = Generation(unsigned(row.try_get("generation")?, "secrets", &format!("{group}:{key}"))?);
    let value = Sealed(row.try_get("value")?);
    Ok(Some(StoredSecret { group: group.to_owned(), key: key.to_owned(), generation, value }))
}

pub(super) async fn put(
    db: &mut SqliteConnection,
    secret: &StoredSecret,
    owners: &[String],
    now: UnixTime,
) -> Result<(), StoreError> {
    let Some(before) = secret.generation.0.checked_sub(1) else { return Err(StoreError::Conflict) };
    sqlx::query("INSERT INTO secret_groups (name) VALUES (?) ON CONFLICT DO NOTHING")
        .bind(&secret.group)
        .execute(&mut *db)
        .await?;
    let stored = if before == 0 {
        sqlx::query(
            "INSERT INTO secrets (generation, value, updated_at, secret_group, key) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
    } else {
        sqlx::query(
            "UPDATE secrets SET generation = ?, value = ?, updated_at = ?
             WHERE secret_group = ? AND key = ? AND generation = ?",
        )
    };
    let stored = stored
        .bind(signed(secret.generation.0))
        .bind(&secret.value.0)
        .bind(signed(now.0))
        .bind(&secret.group)
        .bind(&secret.key);
    let stored = if before == 0 { stored } else { stored.bind(signed(before)) };
    if stored.execute(&mut *db).await?.rows_affected() != 1 {
        return Err(StoreError::Conflict);
    }
    for owner in owners {
        sqlx::query("INSERT INTO secret_owners (secret_group, owner) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(&secret.group)
            .bind(owner)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

pub(super) async fn owners(db: &mut SqliteConnection, group: &str) -> Result<Option<Vec<String>>, StoreError> {
    let there = sqlx::query("SELECT 1 FROM secret_groups WHERE name = ?").bind(group).fetch_optional(&mut *db).await?;
    if there.is_none() {
        return Ok(None);
    }
    let rows = sqlx::query_scalar("SELECT owner FROM secret_owners WHERE secret_group = ? ORDER BY owner")
        .bind(group)
        .fetch_all(db)
        .await?;
    Ok(Some(rows))
}

pub(super) async fn names(db: &mut SqliteConnection) -> Result<Vec<(String, String)>, StoreError> {
    Ok(sqlx::query_as("SELECT secret_group, key FROM secrets ORDER BY secret_group, key").fetch_all(db).await?)
}
