//! `sallyport backup` and `sallyport restore`

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::client::print_json;
use super::{Failure, Global};
use crate::audit::Actor;
use crate::clock::SystemClock;
use crate::config::{self, Config};
use crate::copies::{self, BackedUp, BackupError, RestoreError};
use crate::harden::effective_uid;
use crate::keys::hex;
use crate::vault::{KeyId, KeyIds};

/// Where the backup is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sallyport backup /var/backups/sallyport-$(date +%F).db
  sallyport backup --json /var/backups/sallyport.db")]
pub(super) struct To {
    /// A file that is not there yet; only its owner may read it.
    file: PathBuf,
}

/// Where the backup is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  sallyport restore /var/backups/sallyport-2030-01-31.db")]
pub(super) struct From {
    /// What `backup` wrote.
    file: PathBuf,
}

pub(super) async fn back_up(global: &Global, to: To) -> Result<(), Failure> {
    let config = Config::load(global.config())?;
    if let config::Store::Postgres(_) = config.store {
        let hint = "use `pg_dump`; what it holds of secrets is sealed";
        return Err(Failure::new("this broker keeps everything in Postgres", hint));
    }
    let done = copies::back_up(&config.data_dir, &to.file).await;
    let BackedUp { bytes, head, keys, waiting } = done.map_err(|error| {
        let hint = match &error {
            BackupError::Audit(_) => "keep the database as it is, and compare it with an older backup",
            BackupError::NoStore(_)
            | BackupError::WrongOwner { .. }
            | BackupError::Exists(_)
            | BackupError::Io { .. }
            | BackupError::Copy(_)
            | BackupError::Open(_) => "",
        };
        Failure::new(crate::causes::told(&error), hint)
    })?;
    if global.json {
        print_json(&json!({
            "file": to.file, "bytes": bytes, "sequence": head.sequence, "hash": hex(&head.hash), "keys": ids(&keys),
            "waiting": waiting,
        }));
    } else {
        println!("{} bytes in {}", bytes, to.file.display());
        println!("audit: {} records, the last with hash {}", head.sequence, hex(&head.hash));
        println!("needs master key {}", KeyIds(keys));
    }
    if waiting > 0 {
        let hint = "once the broker has taken them (its log says so), take another backup";
        return Err(Failure::new(format!("{waiting} renewed tokens wait in the spool, and are not in it"), hint));
    }
    Ok(())
}

pub(super) async fn restore(global: &Global, from: From) -> Result<(), Failure> {
    let config = Config::load(global.config())?;
    let actor = Actor::operator(effective_uid());
    let done = copies::restore(&config, &from.file, actor, Arc::new(SystemClock)).await;
    let restored = done.map_err(|error| {
        let hint = match &error {
            RestoreError::Serve(_) => "end the broker first",
            RestoreError::Check(_) => "put the key file back from its own copy, or use another backup",
            RestoreError::NotEmbedded
            | RestoreError::Exists(_)
            | RestoreError::Io { .. }
            | RestoreError::Open(_)
            | RestoreError::Audit(_) => "",
        };
        Failure::new(crate::causes::told(&error), hint)
    })?;
    let (head, keys) = (restored.found.head, restored.found.keys);
    if global.json {
        print_json(&json!({
            "path": restored.path, "sequence": head.sequence, "hash": hex(&head.hash), "keys": ids(&keys),
        }));
        return Ok(());
    }
    println!("restored {}", restored.path.display());
    println!("audit: {} records, the last with hash {}", head.sequence, hex(&head.hash));
    println!(
        "tokens that were renewed since the backup are not in it: where a provider has ended the old ones, people agree anew"
    );
    Ok(())
}

fn ids(keys: &[KeyId]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}
