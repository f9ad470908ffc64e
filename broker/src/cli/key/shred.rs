//! `sallyport key shred`

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use sallyport_proto::admin::shred_keys_request::Whose;
use sallyport_proto::admin::{ShredKeysRequest, ShredProgress};
use serde_json::json;

use crate::cli::client::{connect, print_json};
use crate::cli::progress::ProgressLine;
use crate::cli::{Failure, Global};

/// Whose secrets, and whether it is meant.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whose").required(true).args(["user", "virtual_account", "principal", "tenant"])))]
pub(in crate::cli) struct Arguments {
    /// A person's.
    #[arg(long, value_name = "EMAIL")]
    user: Option<String>,
    /// A virtual account's.
    #[arg(long, value_name = "NAME")]
    virtual_account: Option<String>,
    /// A principal's by its id, also of one that has no name any more.
    #[arg(long, value_name = "ID")]
    principal: Option<String>,
    /// Everything sealed here, secrets and the broker's own keys included; write the tenant's name.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Only say how much it would be.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask first.
    #[arg(long)]
    yes: bool,
}

impl Arguments {
    /// Who it is, as typed, and as it is asked for.
    fn whose(&self) -> Option<(String, Whose)> {
        let Self { user, virtual_account, principal, tenant, .. } = self;
        let user = user.clone().map(|name| (name.clone(), Whose::User(name)));
        let account = virtual_account.clone().map(|name| (name.clone(), Whose::VirtualAccount(name)));
        let principal = principal.clone().map(|name| (name.clone(), Whose::Principal(name)));
        let tenant = tenant.clone().map(|name| (name.clone(), Whose::Tenant(name)));
        user.or(account).or(principal).or(tenant)
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let Some((name, whose)) = arguments.whose() else {
        return Err(Failure::new("it is not said whose", "see `sallyport key shred --help`"));
    };
    let would_be = asked(global, &whose, true).await?;
    if arguments.dry_run {
        if global.json {
            print_json(&json!({ "principal": would_be.principal, "would_destroy": would_be.total }));
        } else {
            println!("{} stored secrets of {name} would be destroyed", would_be.total);
        }
        return Ok(());
    }
    if !arguments.yes {
        confirm(&name, would_be.total)?;
    }
    let done = asked(global, &whose, false).await?;
    if global.json {
        print_json(&json!({ "principal": done.principal, "destroyed": done.done, "is_over": done.is_over }));
    } else {
        println!("{} stored secrets of {name} were destroyed", done.done);
    }
    if !done.is_over {
        return Err(Failure::new("it ended early", "run it again: it goes on from where it was"));
    }
    Ok(())
}

async fn asked(global: &Global, whose: &Whose, dry_run: bool) -> Result<ShredProgress, Failure> {
    let request = ShredKeysRequest { whose: Some(whose.clone()), dry_run };
    let mut progress = connect(global).await?.shred_keys(request).await?.into_inner();
    let shown = (!dry_run).then(ProgressLine::begin);
    let mut last = ShredProgress::default();
    while let Some(told) = progress.message().await? {
        if let Some(shown) = &shown {
            shown.tell(format_args!("{} of {}", told.done, told.total));
        }
        last = told;
    }
    Ok(last)
}

/// Asks for the name once more: this cannot be taken back.
fn confirm(name: &str, total: u64) -> Result<(), Failure> {
    let mut input = std::io::stdin().lock();
    if !input.is_terminal() {
        let hint = "add `--yes` if it is meant; `--dry-run` says how much it would be";
        return Err(Failure::new(format!("nothing was destroyed: {total} stored secrets of {name} would be"), hint));
    }
    eprint!("{total} stored secrets of {name} will be destroyed, and nothing brings them back. Type {name} to go on: ");
    // Only looks.
    let _ = std::io::stderr().flush();
    let mut typed = String::new();
    let read = input.read_line(&mut typed);
    match read {
        Ok(_) if typed.trim_end_matches(['\r', '\n']) == name => Ok(()),
        Ok(_) | Err(_) => Err(Failure::new("nothing was destroyed", "the name must be typed as it was given")),
    }
}
