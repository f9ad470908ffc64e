//! `sallyport key`

mod shred;

use sallyport_proto::admin::{
    KeySummary, ListKeysRequest, RewrapKeysRequest, RewrapProgress, RotateKeyRequest, RotateKeyResponse,
};
use serde_json::json;

use super::client::{connect, print_json};
use super::progress::ProgressLine;
use super::{Failure, Global};

/// Commands about master keys.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List master keys: which is current, where each is kept, and how many stored secrets still need it.
    ///
    /// A key that no stored secret needs can be taken away, and the broker restarted: it does not start while one is
    /// needed and missing. Keep what you took away until backups that need it are gone.
    #[command(after_help = "Examples:
  sallyport key list
  sallyport key list --json | jq '.[] | select(.current | not)'")]
    List,
    /// Replace the current key file by a new key; the old one stays beside it, and opens what it has sealed.
    ///
    /// The new key is on disk before it is used. Copy its file to where you keep the old one, then run `key rewrap`.
    /// Refused where brokers share their store (Postgres): the others would not have the new key. The error says what to
    /// do instead.
    #[command(after_help = "Example:
  sallyport key rotate && sallyport key rewrap")]
    Rotate,
    /// Move every stored secret to the current master key, while everything goes on.
    ///
    /// It stops with Ctrl-C, or with the broker, and goes on from there when it is run again.
    #[command(after_help = "Examples:
  sallyport key rewrap
  sallyport key rewrap --json")]
    Rewrap,
    /// Destroy for good what is sealed for somebody, or for the whole tenant: each wrapped data key and what it seals.
    ///
    /// Their tokens, and consents under way, open for nobody then, whoever has the master key; every proxy lets go within
    /// two seconds, and they must agree anew. No provider is told (`grants revoke` does that, before). It needs no master key, and
    /// goes on where it was if it is cut off and run again. Copies from before, such as backups, hold it still: they are of
    /// no use once the master key is replaced (`key rotate`, `key rewrap`) and the old one destroyed everywhere. With `--tenant`
    /// restart every broker when it is done: it begins anew, with keys of its own.
    #[command(after_help = "Examples:
  sallyport key shred --user alice@example.com --dry-run
  sallyport key shred --user alice@example.com
  sallyport key shred --virtual-account nightly --yes
  sallyport key shred --tenant acme")]
    Shred(shred::Arguments),
}

pub(super) async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => list(global).await,
        Command::Rotate => rotate(global).await,
        Command::Rewrap => rewrap(global).await,
        Command::Shred(arguments) => shred::run(global, arguments).await,
    }
}

async fn list(global: &Global) -> Result<(), Failure> {
    let keys = connect(global).await?.list_keys(ListKeysRequest {}).await?.into_inner().keys;
    if global.json {
        let one = |key: &KeySummary| {
            json!({
                "id": key.id, "current": key.is_current, "held": key.is_held, "kept": key.kept, "fields": key.fields,
                "wraps": key.wraps, "version": key.version,
            })
        };
        print_json(&keys.iter().map(one).collect());
        return Ok(());
    }
    for key in &keys {
        let role = match (key.is_current, key.is_held) {
            (true, _) => "current",
            (false, true) => "opens only",
            (false, false) => "NOT HELD",
        };
        let wraps = key.wraps.map_or_else(String::new, |wraps| format!(", at most {wraps} uses"));
        let version = key.version.map_or_else(String::new, |version| format!(", version {version}"));
        println!("{}  {role}  {} secrets{wraps}{version}  {}", key.id, key.fields, key.kept);
    }
    Ok(())
}

async fn rotate(global: &Global) -> Result<(), Failure> {
    let rotated = connect(global).await?.rotate_key(RotateKeyRequest {}).await?.into_inner();
    let RotateKeyResponse { new_id, path, old_id, retired_path } = rotated;
    if global.json {
        print_json(&json!({ "new": new_id, "path": path, "old": old_id, "retired_path": retired_path }));
        return Ok(());
    }
    println!("current: {new_id}  {path}");
    println!("opens only: {old_id}  {retired_path}");
    println!("copy {path} to where you keep its predecessor, then run: sallyport key rewrap");
    Ok(())
}

async fn rewrap(global: &Global) -> Result<(), Failure> {
    let mut progress = connect(global).await?.rewrap_keys(RewrapKeysRequest {}).await?.into_inner();
    let shown = ProgressLine::begin();
    let mut last = RewrapProgress::default();
    while let Some(told) = progress.message().await? {
        shown.tell(format_args!("{} of {}", told.done, told.total));
        last = told;
    }
    drop(shown);
    if global.json {
        let left: Vec<_> = last.left.iter().map(|left| json!({ "what": left.what, "why": left.why })).collect();
        let away = last.away.iter().map(|key| json!({ "key": key.id, "fields": key.fields, "why": key.why }));
        let away: Vec<_> = away.collect();
        print_json(&json!({ "done": last.done, "left": left, "away": away }));
    } else {
        println!("{} stored secrets are under the current master key now", last.done);
    }
    if !last.is_over {
        return Err(Failure::new("the re-wrap ended early", "run it again: it goes on from where it was"));
    }
    let hint =
        "it opens for nobody as it is: restore that record, or set the secret anew, or let its holder agree anew";
    let left = last.left.iter().map(|left| Failure::new(format!("{} stays as it is: {}", left.what, left.why), hint));
    let away = last.away.iter().map(|key| {
        let told = format!("{} stored secrets stay under master key {}: {}", key.fields, key.id, key.why);
        Failure::new(
            told,
            "once the key can be used again, run `sallyport key rewrap` again: it goes on from where it was",
        )
    });
    left.chain(away).reduce(Failure::and).map_or(Ok(()), Err)
}
