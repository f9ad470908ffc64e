//! Opening the store that the configuration names.

use std::sync::Arc;

use super::ServeError;
use crate::config::{self, Config};
use crate::store::postgres::{self, PostgresStore};
use crate::store::sqlite::{self, SqliteStore};
use crate::store::{Store, latest_migration};

/// By which the connections of a move between stores are told from those of brokers.
const MOVING: &str = "sallyport store migrate-to";

/// For a broker to serve from.
pub(crate) async fn open(config: &Config) -> Result<Arc<dyn Store>, ServeError> {
    let store = opened(config).await?;
    match store.copied_from().await? {
        None => Ok(store),
        Some(source) => Err(ServeError::Copying(source)),
    }
}

async fn opened(config: &Config) -> Result<Arc<dyn Store>, ServeError> {
    match &config.store {
        config::Store::Sqlite => {
            let store = SqliteStore::open(&config.data_dir).await?;
            tracing::info!(store = "sqlite", at = %config.data_dir.display(), "the store is open");
            Ok(Arc::new(store))
        }
        config::Store::Postgres(postgres) => {
            let address = postgres.address()?;
            let store = PostgresStore::open(&address, postgres.connections).await?;
            tracing::info!(store = "postgres", at = %address, "the store is open");
            Ok(Arc::new(store))
        }
    }
}

/// Where it is, for people; no secret.
pub(super) fn place(config: &Config) -> Result<String, ServeError> {
    Ok(match &config.store {
        config::Store::Sqlite => format!("SQLite in {}", config.data_dir.display()),
        config::Store::Postgres(postgres) => postgres.address()?.to_string(),
    })
}

/// For whoever must be the only one that uses it.
pub(crate) async fn open_alone(config: &Config) -> Result<Arc<dyn Store>, ServeError> {
    match &config.store {
        config::Store::Sqlite => Ok(Arc::new(SqliteStore::open(&config.data_dir).await?)),
        config::Store::Postgres(postgres) => {
            let name = format!("{MOVING} {}", std::process::id());
            let address = postgres.address()?.named(&name);
            Ok(Arc::new(PostgresStore::open(&address, postgres.connections).await?))
        }
    }
}

/// Whether to open it would bring its tables forward. Changes nothing there; a store that is not there is not older.
pub(crate) async fn is_of_older_version(config: &Config) -> Result<bool, ServeError> {
    let has = match &config.store {
        config::Store::Sqlite => sqlite::migrations_in(&config.data_dir).await?,
        config::Store::Postgres(postgres) => postgres::migrations_in(&postgres.address()?).await?,
    };
    Ok(has.is_some_and(|has| has < latest_migration()))
}
