//! Moving everything from one store to another, of the same or of another back end, while no broker serves from either.
//!
//! What is there is carried as it is, sealed, and then compared record by record. The source is only read. A target that is
//! not finished is marked, so that no broker starts on half of a store; a move that was cut off goes on where it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{CheckError, check, database};
use crate::audit::{Actor, Audit, AuditError, ChainHead, Event, VerifyError, verify_chain};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::refresher::Spool;
use crate::serve::{self, ServeError};
use crate::store::copy::{Record, Table, tables};
use crate::store::{Store, StoreError};

/// Records that are carried in one transaction.
const PAGE: u32 = 500;

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The table.
    pub table: String,
    /// Records of it that are in the target.
    pub done: u64,
    /// Records of it there are.
    pub total: u64,
}

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Of each table how many records, each of which was read again and compared.
    pub records: Vec<(String, u64)>,
    /// How many of them had to be written: fewer than all if it went on where it had been cut off.
    pub written: u64,
    /// The end of the audit's chain, as it was in the source.
    pub head: ChainHead,
    /// How long it took.
    pub took: Duration,
}

/// Why nothing was moved, or not all.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// What is sealed for one tenant opens for no other.
    #[error("{source_name} is of tenant `{from}`, and the target's configuration of `{to}`; write the same tenant")]
    OtherTenant {
        /// The source.
        source_name: String,
        /// Its tenant.
        from: String,
        /// The target's.
        to: String,
    },
    /// Both are one.
    #[error("source and target are the same: {0}")]
    Same(String),
    /// There is nothing to move.
    #[error("there is no {0}; name the configuration of the brokers that served from the source")]
    NoSource(String),
    /// Somebody is at work on it.
    #[error("{at} has {others} other connections: end every broker and whatever else uses it, and run this again")]
    InUse {
        /// Which.
        at: String,
        /// How many connections there are.
        others: u64,
    },
    /// A broker serves, or a part does not open.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// To move it would bring its tables forward, and the older version would not start on them again.
    #[error(
        "the tables of {0} are of an older version; start a broker of this version there once, or move it with the older one"
    )]
    Older(String),
    /// Tokens would stay behind.
    #[error(
        "{count} renewed tokens wait in the spool of {} and would stay there: start the broker once, so that the store takes them, or keep its `data_dir`",
        .data_dir.display()
    )]
    Spool {
        /// How many.
        count: usize,
        /// Where.
        data_dir: std::path::PathBuf,
    },
    /// It would be mixed with something else.
    #[error("{at} holds {count} records in `{table}` already; name an empty one")]
    NotEmpty {
        /// Which.
        at: String,
        /// The first table that is not empty.
        table: String,
        /// How many it holds.
        count: u64,
    },
    /// Another move into it was cut off.
    #[error("{at} is being filled from {other}; go on with that, or name an empty one")]
    OtherSource {
        /// Which.
        at: String,
        /// What it is filled from.
        other: String,
    },
    /// The source has changed since a part of it was moved, or something is wrong with either.
    #[error("record `{key}` of `{table}` is not the same in both; empty the target, and begin anew")]
    Differs {
        /// Which table.
        table: String,
        /// Key of the first record that differs, or is in one of them only.
        key: String,
    },
    /// The target would be of no use.
    #[error("nothing was moved")]
    Check(#[from] CheckError),
    /// The audit is not whole in the target.
    #[error("the audit is not whole in the target")]
    Audit(#[from] VerifyError),
    /// It is not recorded.
    #[error("everything was moved, and the record of it was not taken; run this again")]
    Record(#[from] AuditError),
    /// A store does not answer.
    #[error("a store does not answer; run this again to go on")]
    Store(#[from] StoreError),
    /// The system refused.
    #[error("the spool cannot be read")]
    Io(#[from] std::io::Error),
}

/// Moves everything that `source` keeps to where `target` keeps it.
///
/// # Errors
/// [`MigrateError`]; the source is as it was, and no broker starts on the target.
pub async fn migrate(
    source: &Config,
    target: &Config,
    actor: Actor,
    clock: Arc<dyn Clock>,
    mut tell: impl FnMut(&Progress) + Send,
) -> Result<Migrated, MigrateError> {
    let began = Instant::now();
    let (from_name, to_name) = (shown(source)?, shown(target)?);
    if source.tenant != target.tenant {
        let (from, to) = (source.tenant.0.clone(), target.tenant.0.clone());
        return Err(MigrateError::OtherTenant { source_name: from_name, from, to });
    }
    if from_name == to_name {
        return Err(MigrateError::Same(from_name));
    }
    if matches!(source.store, config::Store::Sqlite) && !database(&source.data_dir).is_file() {
        return Err(MigrateError::NoSource(from_name));
    }
    let _source = serve::lock(&source.data_dir)?;
    let shares_directory = is_same(&source.data_dir, &target.data_dir);
    let _target = if shares_directory { None } else { Some(serve::lock(&target.data_dir)?) };
    let spool = Spool::open(&source.data_dir.join("spool"))?;
    if !spool.is_empty() && !shares_directory {
        return Err(MigrateError::Spool { count: spool.len(), data_dir: source.data_dir.clone() });
    }
    if serve::is_of_older_version(source).await? {
        return Err(MigrateError::Older(from_name));
    }
    let tables = tables().await?;
    let (from, to) = (serve::open_store_alone(source).await?, serve::open_store_alone(target).await?);
    for (store, at) in [(&from, &from_name), (&to, &to_name)] {
        let others = store.others().await?;
        if others > 0 {
            return Err(MigrateError::InUse { at: at.clone(), others });
        }
    }
    let held = from.hold(&tables).await?;
    // Before anything is written: what the target's brokers could not open is not moved to them.
    let found = check(&*from, &spool, &serve::open_vault(target).await?).await?;
    let is_new = begin(&*from, &*to, &tables, (&from_name, &to_name), &*clock).await?;
    let mut moved = Migrated { records: Vec::new(), written: 0, head: found.head, took: Duration::ZERO };
    if is_new {
        for table in &tables {
            moved.written += carry(&*from, &*to, table, &mut tell).await?;
        }
    }
    for table in &tables {
        moved.records.push((table.name.clone(), compare(&*from, &*to, table).await?));
    }
    let head = verify_chain(&*to).await?;
    if head != found.head {
        return Err(MigrateError::Differs { table: "audit".to_owned(), key: head.sequence.to_string() });
    }
    to.end_copy().await?;
    let audit = Audit::start(Arc::clone(&to), clock, target.tenant.clone());
    let records = moved.records.iter().map(|(_, count)| count).sum();
    audit.record(Event::store_migrated(actor, &from_name, records)).await?;
    drop(held);
    from.close().await;
    to.close().await;
    moved.took = began.elapsed();
    Ok(moved)
}

/// Marks the target, which must be new or have been marked for the same source; answers whether there is anything to carry.
/// There is not where all of it is there and the mark is gone: only the record of the move was not taken.
async fn begin(
    from: &dyn Store,
    to: &dyn Store,
    tables: &[Table],
    (from_name, to_name): (&str, &str),
    clock: &dyn Clock,
) -> Result<bool, MigrateError> {
    match to.copied_from().await? {
        Some(other) if other == from_name => return Ok(true),
        Some(other) => return Err(MigrateError::OtherSource { at: to_name.to_owned(), other }),
        None => {}
    }
    for table in tables {
        let count = to.count_records(table).await?;
        if count > table.records {
            return match is_the_same(from, to, tables).await? {
                true => Ok(false),
                false => Err(MigrateError::NotEmpty { at: to_name.to_owned(), table: table.name.clone(), count }),
            };
        }
    }
    to.begin_copy(from_name, clock.now()).await?;
    Ok(true)
}

/// Whether every record of each is in the other.
async fn is_the_same(from: &dyn Store, to: &dyn Store, tables: &[Table]) -> Result<bool, MigrateError> {
    for table in tables {
        // Cheap, and most that are not empty are something else.
        if from.count_records(table).await? != to.count_records(table).await? {
            return Ok(false);
        }
    }
    for table in tables {
        match compare(from, to, table).await {
            Ok(_) => {}
            Err(MigrateError::Differs { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Writes what is not in the target yet; answers how many records that were.
async fn carry(
    from: &dyn Store,
    to: &dyn Store,
    table: &Table,
    tell: &mut (impl FnMut(&Progress) + Send),
) -> Result<u64, MigrateError> {
    let mut progress = Progress { table: table.name.clone(), done: 0, total: from.count_records(table).await? };
    let (mut after, mut written) = (None, 0);
    loop {
        let page = from.records(table, after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(written) };
        let there = to.records(table, after.as_deref(), PAGE).await?;
        after = Some(table.key_of(last));
        progress.done += page.len() as u64;
        if there != page {
            let lacking: Vec<Record> = page.into_iter().filter(|record| !there.contains(record)).collect();
            to.put_records(table, &lacking).await?;
            written += lacking.len() as u64;
        }
        tell(&progress);
    }
}

/// Reads every record of both; answers how many there are.
async fn compare(from: &dyn Store, to: &dyn Store, table: &Table) -> Result<u64, MigrateError> {
    let (mut after, mut count) = (None, 0);
    loop {
        let ours = from.records(table, after.as_deref(), PAGE).await?;
        let theirs = to.records(table, after.as_deref(), PAGE).await?;
        if ours != theirs {
            let at = ours.iter().zip(&theirs).take_while(|(one, other)| one == other).count();
            let record = ours.get(at).or(theirs.get(at));
            let key = record.map(|record| table.shown(&table.key_of(record))).unwrap_or_default();
            return Err(MigrateError::Differs { table: table.name.clone(), key });
        }
        let Some(last) = ours.last() else { return Ok(count) };
        after = Some(table.key_of(last));
        count += ours.len() as u64;
    }
}

/// Which store a configuration means, for people, and to know it again.
fn shown(config: &Config) -> Result<String, MigrateError> {
    Ok(match &config.store {
        config::Store::Sqlite => {
            let database = database(&config.data_dir);
            format!("{}", database.canonicalize().unwrap_or(database).display())
        }
        config::Store::Postgres(postgres) => postgres.address().map_err(ServeError::from)?.to_string(),
    })
}

fn is_same(one: &std::path::Path, other: &std::path::Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
pub(super) mod tests;
