//! Chromium, in which the tests look at the pages for people.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::{self, step};
use crate::setup::apt;
use crate::workspace::Workspace;

/// Under which names a shell finds it.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Finds it on PATH.
pub(crate) fn find() -> Option<PathBuf> {
    NAMES.iter().find_map(|name| run::on_path(name))
}

/// Finds it on PATH, else installs Debian's package.
///
/// # Errors
/// What is missing, and how to get it.
pub(crate) fn install(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(found) = find() {
        println!("  chromium: {}", found.display());
        return Ok(found);
    }
    let missing = || format!("the tests of pages need Chromium or Chrome on PATH, as one of {}", NAMES.join(", "));
    step("chromium", || apt::install(&["chromium"], &workspace.setup().join("log/apt-chromium.log")))
        .with_context(missing)?;
    find().with_context(missing)
}
