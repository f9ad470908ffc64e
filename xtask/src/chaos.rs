//! A fleet under chosen misfortunes.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::workspace::Workspace;
use crate::{build, run, setup};

/// What `chaos` can be told.
#[derive(Args)]
#[command(
    after_help = "Three brokers over one Postgres and Redis serve people of five kinds of providers through Envoy, while all of these
but Envoy are killed, paused or restarted, or lose an answer. Then the history is checked: every token that was used was issued for
that caller and server, and is on record; no generation went back; nobody is stranded but whose own answer was lost; no refresh
token was used a third time; the audit's chains hold. It fails with what it found, and after a minute in which no
misfortune befell a refresh.

Examples:
  cargo xtask chaos
  cargo xtask chaos --seconds 600 --people 20
  cargo xtask chaos --seed 42                    # the same misfortunes again
  cargo xtask chaos --seconds 30 --json chaos.json"
)]
pub(crate) struct Options {
    /// How long things go wrong.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What they are drawn from; a random one, if not said. It is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// People at each of five kinds of providers.
    #[arg(long, default_value_t = 4)]
    people: u16,
    /// Also writes JSON to this file.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
    #[command(flatten)]
    setup: setup::Options,
}

/// Sets up, builds, and lets things go wrong.
///
/// # Errors
/// Those of the set-up and the build.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    // Postgres and Redis are those of the tests.
    build::with_test_parts(workspace, &options.setup)?;
    let mut cargo = run::cargo();
    cargo.args(["run", "--quiet", "--package", "e2e", "--bin", "chaos", "--"]).current_dir(&workspace.root);
    cargo.arg(format!("--seconds={}", options.seconds)).arg(format!("--people={}", options.people));
    cargo.args(options.seed.map(|seed| format!("--seed={seed}")));
    if let Some(file) = &options.json {
        // Where the user stands, not where cargo is started.
        cargo.arg("--json").arg(std::path::absolute(file)?);
    }
    Ok(if run::shown(&mut cargo)?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
