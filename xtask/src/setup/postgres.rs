//! Postgres and PgBouncer, which the tests start for themselves.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::run::{self, step};
use crate::setup::apt;
use crate::workspace::Workspace;

/// Where they are.
pub(crate) struct Postgres {
    /// Directory of `initdb` and `postgres`.
    pub(crate) programs: PathBuf,
    /// The pooler.
    pub(crate) pgbouncer: PathBuf,
}

/// Finds both: Debian keeps the programs of each version in a directory of its own, and PgBouncer where only root looks.
pub(crate) fn find() -> Option<Postgres> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").is_file()).max();
    let programs = newest.or_else(|| run::on_path("initdb")?.canonicalize().ok()?.parent().map(Path::to_path_buf))?;
    let pgbouncer = run::on_path("pgbouncer")
        .or_else(|| Some(PathBuf::from("/usr/sbin/pgbouncer")).filter(|path| path.is_file()))?;
    Some(Postgres { programs, pgbouncer })
}

/// Finds them, else installs Debian's packages.
///
/// # Errors
/// What is missing, and how to get it.
pub(crate) fn install(workspace: &Workspace) -> Result<Postgres> {
    if let Some(found) = find() {
        println!("  postgres: {}, {}", found.programs.display(), found.pgbouncer.display());
        return Ok(found);
    }
    let missing = "the tests of the store need Postgres 15 or later (`initdb`) and PgBouncer (`pgbouncer`)";
    let log = workspace.setup().join("log/apt-postgres.log");
    step("postgres", || apt::install(&["postgresql", "pgbouncer"], &log)).context(missing)?;
    find().context(missing)
}
