//! Records as they are, for carrying them from one database to another.
//!
//! The statements are made of the names of tables and columns, which are the migrations' own.

use sqlx::Row as _;

use super::{Connection, Row, Statement, made, query, signed, unsigned};
use crate::clock::UnixTime;
use crate::store::StoreError;
use crate::store::copy::{Kind, Record, Table, Value};

/// Records after one key, in order of the key.
pub(super) async fn page(
    db: &mut Connection,
    table: &Table,
    after: Option<&[Value]>,
    limit: u32,
) -> Result<Vec<Record>, StoreError> {
    let (columns, key) = (names(table, 0..table.columns.len()), names(table, table.key.iter().copied()));
    let sql = match after {
        None => format!("SELECT {columns} FROM {} ORDER BY {key} LIMIT {limit}", table.name),
        Some(_) => {
            let places = places(table.key.len());
            format!("SELECT {columns} FROM {} WHERE ({key}) > ({places}) ORDER BY {key} LIMIT {limit}", table.name)
        }
    };
    let mut statement = made(sql);
    for (value, column) in after.into_iter().flatten().zip(&table.key) {
        statement = bound(statement, value, table.columns[*column].1);
    }
    statement.fetch_all(db).await?.iter().map(|row| read(table, row)).collect()
}

/// Writes records, each over the one of its key if there is one.
pub(super) async fn put(db: &mut Connection, table: &Table, records: &[Record]) -> Result<(), StoreError> {
    let (columns, key) = (names(table, 0..table.columns.len()), names(table, table.key.iter().copied()));
    let rest: Vec<_> = (0..table.columns.len())
        .filter(|column| !table.key.contains(column))
        .map(|column| format!("{0} = excluded.{0}", table.columns[column].0))
        .collect();
    let done = if rest.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", rest.join(", ")) };
    let places = places(table.columns.len());
    let sql = format!("INSERT INTO {} ({columns}) VALUES ({places}) ON CONFLICT ({key}) DO {done}", table.name);
    for record in records {
        let mut statement = made(sql.clone());
        for (value, (_, kind)) in record.iter().zip(&table.columns) {
            statement = bound(statement, value, *kind);
        }
        statement.execute(&mut *db).await?;
    }
    Ok(())
}

pub(super) async fn count(db: &mut Connection, table: &Table) -> Result<u64, StoreError> {
    let row = made(format!("SELECT count(*) FROM {}", table.name)).fetch_one(db).await?;
    unsigned(row.try_get(0)?, "copying", &table.name)
}

/// Which database this one is being filled from.
pub(super) async fn source(db: &mut Connection) -> Result<Option<String>, StoreError> {
    let row = query("SELECT source FROM copying WHERE id = 1").fetch_optional(db).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

pub(super) async fn begin(db: &mut Connection, source: &str, now: UnixTime) -> Result<(), StoreError> {
    let sql = "INSERT INTO copying (id, source, began_at) VALUES (1, $1, $2)";
    query(sql).bind(source).bind(signed(now.0)).execute(db).await?;
    Ok(())
}

pub(super) async fn end(db: &mut Connection) -> Result<(), StoreError> {
    query("DELETE FROM copying WHERE id = 1").execute(db).await?;
    Ok(())
}

fn names(table: &Table, columns: impl Iterator<Item = usize>) -> String {
    columns.map(|column| table.columns[column].0.as_str()).collect::<Vec<_>>().join(", ")
}

fn places(count: usize) -> String {
    (1..=count).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ")
}

fn bound<'q>(statement: Statement<'q>, value: &Value, kind: Kind) -> Statement<'q> {
    match (value, kind) {
        (Value::Integer(number), _) => statement.bind(*number),
        (Value::Text(text), _) => statement.bind(text.clone()),
        (Value::Bytes(bytes), _) => statement.bind(bytes.clone()),
        (Value::Null, Kind::Integer) => statement.bind(None::<i64>),
        (Value::Null, Kind::Text) => statement.bind(None::<String>),
        (Value::Null, Kind::Bytes) => statement.bind(None::<Vec<u8>>),
    }
}

fn read(table: &Table, row: &Row) -> Result<Record, StoreError> {
    let columns = table.columns.iter().enumerate();
    let value = |(at, (_, kind)): (usize, &(String, Kind))| {
        Ok(match kind {
            Kind::Integer => row.try_get::<Option<i64>, _>(at)?.map_or(Value::Null, Value::Integer),
            Kind::Text => row.try_get::<Option<String>, _>(at)?.map_or(Value::Null, Value::Text),
            Kind::Bytes => row.try_get::<Option<Vec<u8>>, _>(at)?.map_or(Value::Null, Value::Bytes),
        })
    };
    columns.map(value).collect()
}
