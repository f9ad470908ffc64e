//! docker-compose, which reads the fleet's composition for the tests; no engine is needed for that.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::{self, step};
use crate::setup::apt;
use crate::workspace::Workspace;

/// Finds `docker-compose`.
pub(crate) fn find() -> Option<PathBuf> {
    run::on_path("docker-compose")
}

/// Finds it, else installs Debian's package.
///
/// # Errors
/// What is missing, and how to get it.
pub(crate) fn install(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(found) = find() {
        println!("  docker-compose: {}", found.display());
        return Ok(found);
    }
    let missing = "the tests of docker-compose.yml need `docker-compose`";
    let log = workspace.setup().join("log/apt-docker-compose.log");
    step("docker-compose", || apt::install(&["docker-compose"], &log)).context(missing)?;
    find().context(missing)
}
