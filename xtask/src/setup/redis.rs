//! Redis, which the tests start for themselves.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::{self, step};
use crate::setup::apt;
use crate::workspace::Workspace;

/// Finds `redis-server`, with `redis-cli` beside it.
pub(crate) fn find() -> Option<PathBuf> {
    run::on_path("redis-server").filter(|server| server.with_file_name("redis-cli").is_file())
}

/// Finds it, else installs Debian's package.
///
/// # Errors
/// What is missing, and how to get it.
pub(crate) fn install(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(found) = find() {
        println!("  redis: {}", found.display());
        return Ok(found);
    }
    let missing = "the tests of several brokers need Redis 7 or later (`redis-server`, `redis-cli`)";
    let log = workspace.setup().join("log/apt-redis.log");
    step("redis", || apt::install(&["redis-server"], &log)).context(missing)?;
    find().context(missing)
}
