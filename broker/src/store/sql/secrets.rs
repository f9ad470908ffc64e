//! The broker's own secrets, sealed, and who may refer to them.

use std::collections::BTreeSet;

use super::columns::{self, Columns};
use super::{Connection, query, signed};
use crate::clock::UnixTime;
use crate::model::Generation;
use crate::store::{Found, Sealed, StoreError, StoredSecret};

pub(super) async fn find(db: &mut Connection, group: &str, key: &str) -> Result<Option<StoredSecret>, StoreError> {
    let row = query("SELECT generation, value FROM secrets WHERE secret_group = $1 AND key = $2")
        .bind(group)
        .bind(key)
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let columns = Columns::named(&row, "secrets", format!("{group}:{key}"));
    let (generation, value) = (Generation(columns.number("generation")?), Sealed(columns.get("value")?));
    Ok(Some(StoredSecret { group: group.to_owned(), key: key.to_owned(), generation, value }))
}

pub(super) async fn put(
    db: &mut Connection,
    secret: &StoredSecret,
    owners: &[String],
    now: UnixTime,
) -> Result<(), StoreError> {
    let Some(before) = secret.generation.0.checked_sub(1) else { return Err(StoreError::Conflict) };
    query("INSERT INTO secret_groups (name) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(&secret.group)
        .execute(&mut *db)
        .await?;
    let stored = if before == 0 {
        query(
            "INSERT INTO secrets (generation, value, updated_at, secret_group, key) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
        )
    } else {
        query(
            "UPDATE secrets SET generation = $1, value = $2, updated_at = $3
             WHERE secret_group = $4 AND key = $5 AND generation = $6",
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
    // In order: two brokers that add the same owners wait for each other, and never both.
    for owner in BTreeSet::from_iter(owners) {
        query("INSERT INTO secret_owners (secret_group, owner) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(&secret.group)
            .bind(owner)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

pub(super) async fn owners(db: &mut Connection, group: &str) -> Result<Option<Vec<String>>, StoreError> {
    let there = query("SELECT 1 FROM secret_groups WHERE name = $1").bind(group).fetch_optional(&mut *db).await?;
    if there.is_none() {
        return Ok(None);
    }
    let sql = "SELECT owner FROM secret_owners WHERE secret_group = $1 ORDER BY owner";
    let rows = query(sql).bind(group).fetch_all(db).await?;
    let owners = rows.iter().map(|row| Columns::of(row, "secret_owners", "owner").map(|columns| columns.id()));
    Ok(Some(Found::sort(owners)?.readable()))
}

pub(super) async fn names(db: &mut Connection) -> Result<Found<(String, String)>, StoreError> {
    let rows = query("SELECT secret_group, key FROM secrets ORDER BY secret_group, key").fetch_all(db).await?;
    let names = rows.iter().map(|row| {
        let id = format!("{}:{}", columns::shown(row, "secret_group"), columns::shown(row, "key"));
        let columns = Columns::named(row, "secrets", id);
        Ok((columns.text("secret_group")?, columns.text("key")?))
    });
    Found::sort(names)
}
