//! Records as they are, whatever they mean: to carry all of them from one database to another.
//!
//! Which tables there are, their columns, keys and references is asked of the migrations themselves: a table that a later
//! one adds is carried like the others.

use std::collections::BTreeSet;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};

use super::{MIGRATIONS, StoreError};

/// What is no record of the store's: what the migrator keeps, and whether the database is being filled.
const LEFT_OUT: [&str; 2] = ["_sqlx_migrations", "copying"];

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers.
    Integer,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

/// One column of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<(String, Kind)>,
    /// Which of them make its key, in order of the key.
    pub key: Vec<usize>,
    /// How many records the migrations put there.
    pub records: u64,
}

/// One record, column by column.
pub type Record = Vec<Value>;

impl Table {
    /// The key of one of its records.
    pub fn key_of(&self, record: &[Value]) -> Vec<Value> {
        self.key.iter().filter_map(|column| record.get(*column).cloned()).collect()
    }

    /// A key, for people.
    pub fn shown(&self, key: &[Value]) -> String {
        let parts: Vec<_> = key
            .iter()
            .map(|part| match part {
                Value::Null => "-".to_owned(),
                Value::Integer(number) => number.to_string(),
                Value::Text(text) => text.clone(),
                Value::Bytes(bytes) => crate::keys::hex(bytes),
            })
            .collect();
        parts.join(" ")
    }
}

/// Every table with records of the store, each after those it refers to.
///
/// # Errors
/// If SQLite does not make them, which it has done at every start.
pub async fn tables() -> Result<Vec<Table>, StoreError> {
    let mut db = SqliteConnectOptions::new().filename(":memory:").connect().await?;
    MIGRATIONS.run(&mut db).await.map_err(|error| StoreError::Unavailable(error.into()))?;
    let mut left = Vec::new();
    let names = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
    for row in names.fetch_all(&mut db).await? {
        let name: String = row.try_get(0)?;
        if !LEFT_OUT.contains(&name.as_str()) && !name.starts_with("sqlite_") {
            left.push((table(&mut db, name.clone()).await?, references(&mut db, &name).await?));
        }
    }
    let (mut ordered, mut placed): (Vec<Table>, BTreeSet<String>) = Default::default();
    while !left.is_empty() {
        let is_ready = |(_, needs): &(Table, BTreeSet<String>)| needs.is_subset(&placed);
        let (ready, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(is_ready);
        if ready.is_empty() {
            return Err(StoreError::Unavailable("tables refer to each other in a circle".into()));
        }
        placed.extend(ready.iter().map(|(table, _)| table.name.clone()));
        ordered.extend(ready.into_iter().map(|(table, _)| table));
        left = rest;
    }
    Ok(ordered)
}

async fn table(db: &mut SqliteConnection, name: String) -> Result<Table, StoreError> {
    let (mut columns, mut key) = (Vec::new(), Vec::new());
    let rows = sqlx::query("SELECT name, type, pk FROM pragma_table_info($1) ORDER BY cid").bind(&name);
    for (at, row) in rows.fetch_all(&mut *db).await?.iter().enumerate() {
        let kind = match row.try_get::<&str, _>("type")? {
            "INTEGER" => Kind::Integer,
            "TEXT" => Kind::Text,
            "BLOB" => Kind::Bytes,
            _ => return Err(StoreError::Unavailable("a column is of no type that is known".into())),
        };
        columns.push((row.try_get("name")?, kind));
        let place: i64 = row.try_get("pk")?;
        if place > 0 {
            key.push((place, at));
        }
    }
    key.sort_unstable();
    // The name is one of the migrations' own.
    let count = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {name}"))).fetch_one(db).await?;
    let records = u64::try_from(count.try_get::<i64, _>(0)?).unwrap_or_default();
    Ok(Table { name, columns, key: key.into_iter().map(|(_, at)| at).collect(), records })
}

async fn references(db: &mut SqliteConnection, name: &str) -> Result<BTreeSet<String>, StoreError> {
    let rows = sqlx::query("SELECT \"table\" FROM pragma_foreign_key_list($1)").bind(name).fetch_all(db).await?;
    let others = rows.iter().map(|row| Ok(row.try_get::<String, _>(0)?));
    others.filter(|other| !matches!(other, Ok(other) if other == name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_table_has_a_key_and_comes_after_those_it_refers_to() {
        let tables = tables().await.unwrap();
        let at = |name: &str| tables.iter().position(|table| table.name == name).unwrap();
        assert!(at("principals") < at("identities") && at("secret_groups") < at("secrets"));
        assert!(at("audit") < tables.len() && !tables.iter().any(|table| table.name == "copying"));
        for table in &tables {
            assert!(!table.key.is_empty() && !table.columns.is_empty(), "{table:?}");
        }
        let reports = &tables[at("reports")];
        let key: Vec<_> = reports.key.iter().map(|column| reports.columns[*column].0.as_str()).collect();
        assert_eq!(key, ["proxy", "worker", "epoch"]);
        assert_eq!((tables[at("probe")].records, tables[at("grants")].records), (1, 0));
    }
}
