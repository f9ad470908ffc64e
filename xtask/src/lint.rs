//! Formatting, lints, licences and sources.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::run::{self, step};
use crate::setup;
use crate::tools;
use crate::workspace::Workspace;

/// Runs all of them, also after one has failed.
///
/// # Errors
/// When one of the programs cannot be had.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    tools::check()?;
    let failed = check(workspace)?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Names of those that failed; what is wrong is on the terminal.
///
/// # Errors
/// When one of the programs cannot be had.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<&'static str>> {
    println!("lint");
    let mut format = run::cargo();
    format.args(["fmt", "--all", "--check"]);
    let mut clippy = run::cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]);
    let mut deny = Command::new(setup::cargo_deny(workspace)?);
    // Advisories need a database from the network and change without a commit: not a matter of this check.
    deny.args(["--all-features", "check", "bans", "licenses", "sources"]);

    let mut failed = Vec::new();
    for (name, command) in [("cargo fmt", &mut format), ("cargo clippy", &mut clippy), ("cargo deny", &mut deny)] {
        let passed = step(name, || Ok(run::shown(command.current_dir(&workspace.root))?.success()))?;
        if !passed {
            println!("  {name}: found something");
            failed.push(name);
        }
    }
    Ok(failed)
}
