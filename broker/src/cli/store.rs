//! `sallyport store`

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::client::print_json;
use super::progress::ProgressLine;
use super::{Failure, Global};
use crate::audit::Actor;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::copies::{Progress, migrate};
use crate::harden::effective_uid;
use crate::keys::hex;

/// Commands about the store as a whole.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Move everything to where another configuration keeps it: from SQLite to Postgres, or back.
    ///
    /// No broker may serve from either. The source (`-c`) is only read; the target must be empty, and no broker starts on it
    /// before every record was read again and compared. Cut off, it goes on where it was when it is run again.
    #[command(after_help = "Example:
  sallyport store migrate-to fleet.yaml -c sallyport.yaml")]
    MigrateTo {
        /// The configuration of the brokers that will serve from the target.
        #[arg(value_name = "CONFIGURATION")]
        target: PathBuf,
    },
}

pub(super) async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    let Command::MigrateTo { target } = command;
    let (source, target) = (Config::load(global.config())?, Config::load(&target)?);
    for config in [&source, &target] {
        config.check_files()?;
    }
    let shown = ProgressLine::begin();
    let tell = |now: &Progress| shown.tell(format_args!("{}: {} of {}", now.table, now.done, now.total));
    let moved = migrate(&source, &target, Actor::operator(effective_uid()), Arc::new(SystemClock), tell).await;
    drop(shown);
    let moved = moved.map_err(|error| Failure::of(&error))?;
    let (total, seconds) = (moved.records.iter().map(|(_, count)| count).sum::<u64>(), moved.took.as_secs_f64());
    if global.json {
        let tables: serde_json::Map<_, _> =
            moved.records.iter().map(|(table, count)| (table.clone(), json!(count))).collect();
        print_json(&json!({
            "records": tables, "total": total, "written": moved.written, "sequence": moved.head.sequence,
            "hash": hex(&moved.head.hash), "seconds": seconds,
        }));
        return Ok(());
    }
    for (table, count) in moved.records.iter().filter(|(_, count)| *count > 0) {
        println!("{count:>10}  {table}");
    }
    println!(
        "{total:>10}  records, each read again and compared, {} of them written, in {seconds:.1} s",
        moved.written
    );
    println!("audit: whole, {} records, the last with hash {}", moved.head.sequence, hex(&moved.head.hash));
    Ok(())
}
