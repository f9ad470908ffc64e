//! The checker of licences, bans and sources.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::run;
use crate::setup::stamp;
use crate::workspace::Workspace;

const VERSION: &str = "0.20.2";
const LIMIT: Duration = Duration::from_secs(1800);

/// Finds cargo-deny on PATH, else builds the pinned version.
///
/// # Errors
/// The end of cargo's output.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(found) = run::on_path("cargo-deny") {
        return Ok(found);
    }
    let directory = workspace.setup().join("cargo-deny");
    stamp::once(workspace, "cargo-deny", VERSION, &directory, || {
        let mut cargo = run::cargo();
        // Unoptimised: it runs for a second, but would build for minutes.
        cargo
            .args(["install", "cargo-deny", "--locked", "--debug", "--no-track", "--version", VERSION, "--root"])
            .arg(&directory);
        run::logged(&mut cargo, &workspace.setup().join("log/cargo-deny.log"), LIMIT)
    })?;
    Ok(directory.join("bin/cargo-deny"))
}
