//! Figures side by side in one run.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::workspace::Workspace;
use crate::{build, run, setup};

/// What `bench` can be told.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    setup: setup::Options,
    /// Handed to the benchmark.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Sets up, builds, measures.
///
/// # Errors
/// Those of the set-up and the build.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    build::with_test_parts(workspace, &options.setup)?;
    let broker = build::optimised_broker(workspace)?;
    println!("bench");
    let mut cargo = run::cargo();
    cargo
        .args(["run", "--quiet", "--package", "e2e", "--bin", "bench", "--", "--broker"])
        .arg(broker)
        .args(&options.arguments)
        .current_dir(&workspace.root);
    Ok(if run::shown(&mut cargo)?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
