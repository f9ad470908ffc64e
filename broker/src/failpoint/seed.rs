//! Many secrets and grants at once, for tests that need thousands: each as a command or a consent would leave it, without a
//! transaction and a record of its own.

mod grants;

use crate::cli::Failure;
use crate::config::Config;
use crate::model::{Generation, SecretRef};
use crate::secret::Secret;
use crate::serve;
use crate::store::Store;
use crate::store::copy::{Record, Table, Value, tables};
use crate::vault::{Place, RecordKind};

pub use grants::grants;

/// Records written in one transaction.
const BATCH: usize = 500;

/// Sets so many secrets, `<group>:k<first>` and on, each with its own number as its value, for manifests of this name, while
/// no broker serves.
///
/// # Errors
/// If the store or the master key cannot be had.
pub async fn secrets(config: &Config, group: &str, first: usize, count: usize) -> Result<(), Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::of(error);
    let _only = serve::lock(&config.data_dir).map_err(|error| failed(&error))?;
    let store = serve::open_store_alone(config).await.map_err(|error| failed(&error))?;
    let vault = serve::open_vault(config).await.map_err(|error| failed(&error))?;
    let tables = tables().await.map_err(|error| failed(&error))?;
    let mut secrets = Vec::new();
    for n in first..first + count {
        let secret = SecretRef { group: group.to_owned(), key: format!("k{n}") };
        let record = format!("{}:{}:{}", config.tenant.0, secret.group, secret.key);
        let place = Place { kind: RecordKind::Secret, record: &record, field: "value", generation: Generation(1) };
        let key = vault.data_key(&place).await.map_err(|error| failed(&error))?;
        let value = key.seal(&place, &Secret::new(format!("{n:05}")));
        secrets.push(vec![
            ("secret_group", Value::Text(secret.group)),
            ("key", Value::Text(secret.key)),
            ("generation", Value::Integer(1)),
            ("value", Value::Bytes(value.0)),
            ("updated_at", Value::Integer(0)),
        ]);
    }
    let text = || Value::Text(group.to_owned());
    let groups = vec![vec![("name", text())]];
    let owners = vec![vec![("secret_group", text()), ("owner", text())]];
    for (name, records) in [("secret_groups", groups), ("secret_owners", owners), ("secrets", secrets)] {
        let table = named(&tables, name)?;
        put(&*store, table, records.into_iter().map(|record| in_order(table, record)).collect()).await?;
    }
    store.close().await;
    Ok(())
}

fn named<'t>(tables: &'t [Table], name: &str) -> Result<&'t Table, Failure> {
    let table = tables.iter().find(|table| table.name == name);
    table.ok_or_else(|| Failure::new(format!("there is no table `{name}`"), ""))
}

async fn put(store: &dyn Store, table: &Table, records: Vec<Record>) -> Result<(), Failure> {
    for batch in records.chunks(BATCH) {
        store.put_records(table, batch).await.map_err(|error| Failure::of(&error))?;
    }
    Ok(())
}

fn in_order(table: &Table, record: Vec<(&str, Value)>) -> Record {
    let value = |name: &str| record.iter().find(|(column, _)| *column == name).map(|(_, value)| value.clone());
    table.columns.iter().map(|(name, _)| value(name).unwrap_or(Value::Null)).collect()
}
