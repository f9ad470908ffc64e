//! Where the brokers of a world keep everything: the one place that knows a file of SQLite's from a database of Postgres's.

use std::path::{Path, PathBuf};

use postgres_counterpart::Server;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{size::Size, world::Change};

/// The store of one world.
#[derive(Clone)]
pub(crate) enum Store {
    /// A file in the broker's data directory.
    Sqlite,
    /// A database that all its brokers share.
    Postgres(Shared),
}

/// A database of a Postgres that the tests started.
#[derive(Clone)]
pub(crate) struct Shared {
    server: &'static Server,
    name: String,
    url: String,
}

/// An open connection, for what no page and no command can do. Statements say `$1`, as both stores know it.
pub enum Database {
    /// To the file.
    Sqlite(SqliteConnection),
    /// To the database.
    Postgres(PgConnection),
}

/// Nobody else writes, until it is released or dropped.
pub struct NoWrites(Database);

/// A statement with its values bound.
macro_rules! bound {
    ($sql:expr, $values:expr) => {
        $values.iter().fold(sqlx::query(AssertSqlSafe($sql.to_owned())), |query, value| query.bind((*value).to_owned()))
    };
}

/// The same on whichever connection it is.
macro_rules! on {
    ($database:expr, $connection:ident => $what:expr) => {
        match $database {
            Database::Sqlite($connection) => $what,
            Database::Postgres($connection) => $what,
        }
    };
}

impl Store {
    /// A new one of this size.
    pub(crate) async fn new(size: Size) -> Self {
        match size {
            Size::Embedded => Self::Sqlite,
            Size::Fleet => Self::in_postgres(Server::shared()).await,
        }
    }

    /// A new database there.
    pub(crate) async fn in_postgres(server: &'static Server) -> Self {
        let database = server.database().await;
        Self::Postgres(Shared { server, name: database.name, url: database.url })
    }

    /// What to change in a broker's configuration so that it uses this store.
    pub(crate) fn change(&self) -> Option<Change> {
        match self {
            Self::Sqlite => None,
            Self::Postgres(Shared { url, .. }) => {
                let url = url.clone();
                Some(Box::new(move |config| config["store"] = json!({"postgres": {"url": url}})))
            }
        }
    }

    /// Connects to it, for a broker with this data directory.
    pub(crate) async fn open(&self, data: &Path) -> Database {
        match self {
            Self::Sqlite => {
                let options = SqliteConnectOptions::new().filename(data.join("sallyport.db"));
                Database::Sqlite(SqliteConnection::connect_with(&options).await.expect("it opens"))
            }
            Self::Postgres(Shared { server, name, .. }) => Database::Postgres(server.administrator(name).await),
        }
    }

    /// The same while it may be down: `None` if it cannot be reached.
    pub(crate) async fn try_open(&self) -> Option<Database> {
        match self {
            Self::Sqlite => None,
            Self::Postgres(Shared { server, name, .. }) => {
                server.try_administrator(name).await.ok().map(Database::Postgres)
            }
        }
    }

    /// Every byte that somebody who gets hold of it reads, by where: the database's files, or what `pg_dump` makes of it.
    pub(crate) fn dump(&self, data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        match self {
            Self::Sqlite => {
                let files = std::fs::read_dir(data).expect("a directory").flatten().map(|entry| entry.path());
                let files = files.filter(|path| path.display().to_string().contains("sallyport.db"));
                files.map(|path| (path.clone(), std::fs::read(&path).expect("it is there"))).collect()
            }
            Self::Postgres(Shared { server, name, .. }) => vec![(PathBuf::from("pg_dump"), server.dump(name))],
        }
    }
}

impl Store {
    /// The files that commits go to first.
    pub(crate) fn commit_logs(&self, data: &Path) -> Vec<PathBuf> {
        match self {
            Self::Sqlite => vec![data.join("sallyport.db-wal")],
            Self::Postgres(Shared { server, .. }) => server.commit_logs(),
        }
    }
}

impl Database {
    /// Does this; answers how many rows it changed.
    ///
    /// # Panics
    /// When the store refuses.
    pub async fn execute(&mut self, sql: &str, values: &[&str]) -> u64 {
        let done =
            on!(self, connection => bound!(sql, values).execute(connection).await.map(|done| done.rows_affected()));
        done.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The one text that this selects.
    ///
    /// # Panics
    /// When it selects none.
    pub async fn text(&mut self, sql: &str, values: &[&str]) -> String {
        let text =
            on!(self, connection => bound!(sql, values).fetch_one(connection).await.and_then(|row| row.try_get(0)));
        text.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The same while it may be down: `None` if it does not answer.
    pub(crate) async fn try_text(&mut self, sql: &str) -> Option<String> {
        let none: [&str; 0] = [];
        on!(self, connection => bound!(sql, none).fetch_one(connection).await.and_then(|row| row.try_get(0))).ok()
    }

    /// The one number that this selects.
    ///
    /// # Panics
    /// When it selects none.
    pub async fn number(&mut self, sql: &str, values: &[&str]) -> i64 {
        let number =
            on!(self, connection => bound!(sql, values).fetch_one(connection).await.and_then(|row| row.try_get(0)));
        number.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The columns of a table that hold bytes: those are sealed.
    ///
    /// # Panics
    /// When there are none.
    pub async fn sealed_columns(&mut self, table: &str) -> Vec<String> {
        let sql = match self {
            Self::Sqlite(_) => "SELECT name FROM pragma_table_info($1) WHERE type = 'BLOB'",
            Self::Postgres(_) => {
                "SELECT column_name::text FROM information_schema.columns WHERE table_name = $1 AND data_type = 'bytea'"
            }
        };
        let columns: Vec<String> = on!(self, connection => {
            let rows = bound!(sql, [table]).fetch_all(connection).await.expect("the schema is readable");
            rows.iter().map(|row| row.get(0)).collect()
        });
        assert!(!columns.is_empty(), "{table} holds nothing sealed");
        columns
    }

    /// Bends the last byte of everything sealed in a column.
    pub async fn bend(&mut self, table: &str, column: &str) {
        let bent = match self {
            Self::Sqlite(_) => format!("CAST(substr({column}, 1, length({column}) - 1) || x'5a' AS BLOB)"),
            Self::Postgres(_) => format!("set_byte({column}, length({column}) - 1, 90)"),
        };
        self.execute(&format!("UPDATE {table} SET {column} = {bent} WHERE length({column}) > 16"), &[]).await;
    }

    /// Keeps everybody else from writing, and from nothing else.
    pub async fn no_writes(mut self) -> NoWrites {
        match &self {
            Self::Sqlite(_) => {
                self.execute("BEGIN IMMEDIATE", &[]).await;
            }
            Self::Postgres(_) => {
                let tables =
                    "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = 'public'";
                let tables = self.text(tables, &[]).await;
                self.execute("BEGIN", &[]).await;
                // The strongest that lets others read.
                self.execute(&format!("LOCK TABLE {tables} IN EXCLUSIVE MODE"), &[]).await;
            }
        }
        NoWrites(self)
    }
}

impl NoWrites {
    /// Everybody may write again.
    pub async fn release(mut self) {
        self.0.execute("ROLLBACK", &[]).await;
    }
}
