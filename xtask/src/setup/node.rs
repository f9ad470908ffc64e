//! Packages of the Node.js counterparts.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::run;
use crate::setup::stamp;
use crate::tools;
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(600);

/// Installs exactly what the lock file says; gives `node_modules`.
///
/// # Errors
/// The end of npm's output.
pub(crate) fn install(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.setup().join("node");
    let mut source = tools::printed_version("node");
    let files = ["package.json", "package-lock.json"].map(|name| (name, workspace.counterparts().join(name)));
    for (_, file) in &files {
        source.push_str(&fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    stamp::once(workspace, "node", &source, &directory, || {
        for (name, file) in &files {
            fs::copy(file, directory.join(name))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]).current_dir(&directory);
        run::logged(&mut npm, &workspace.setup().join("log/node.log"), LIMIT)
    })?;
    Ok(directory.join("node_modules"))
}

/// Where Node.js is.
///
/// # Errors
/// When it is not on PATH.
pub(crate) fn program() -> Result<PathBuf> {
    run::on_path("node").context("node is not on PATH")
}
