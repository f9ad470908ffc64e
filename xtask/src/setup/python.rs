//! Virtual environments from lock files with hashes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::run;
use crate::setup::{apt, stamp};
use crate::tools;
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(600);

/// One environment for each version of fastmcp whose callers and servers are tested.
const FASTMCP: [&str; 3] = ["fastmcp-2.14", "fastmcp-3.4", "fastmcp-4.1"];

/// AWS KMS, which only the tests ask.
const MOTO: &str = "moto";

/// Installs all versions of fastmcp; gives their interpreters by name.
///
/// # Errors
/// The first that cannot be installed.
pub(crate) fn install(workspace: &Workspace) -> Result<BTreeMap<String, PathBuf>> {
    environments(workspace, &FASTMCP)
}

/// The same, and what only the tests need.
///
/// # Errors
/// As [`install`].
pub(crate) fn install_for_tests(workspace: &Workspace) -> Result<BTreeMap<String, PathBuf>> {
    environments(workspace, &[&FASTMCP[..], &[MOTO]].concat())
}

fn environments(workspace: &Workspace, names: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    names.iter().map(|name| Ok(((*name).to_owned(), environment(workspace, name, &format!("{name}.txt"))?))).collect()
}

/// Makes the environment `target/setup/<name>` from a lock file of `tests/counterparts`; gives its interpreter.
///
/// # Errors
/// The end of pip's output, or what to install first.
pub(crate) fn environment(workspace: &Workspace, name: &str, lock: &str) -> Result<PathBuf> {
    let lock = workspace.counterparts().join(lock);
    let packages = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let directory = workspace.setup().join(name);
    let interpreter = directory.join("bin/python");
    let source = format!("{}\n{packages}", tools::printed_version("python3"));
    stamp::once(workspace, name, &source, &directory, || {
        let log = workspace.setup().join("log").join(format!("{name}.log"));
        ensure_venv(workspace)?;
        run::logged(Command::new("python3").args(["-m", "venv"]).arg(&directory), &log, LIMIT)?;
        // Wheels only: no code of a package runs before its hash was checked, and none while it is installed.
        let mut pip = Command::new(&interpreter);
        pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--no-compile", "--disable-pip-version-check"]);
        pip.args(["--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement"]).arg(&lock);
        run::logged(&mut pip, &log, LIMIT)
    })?;
    Ok(interpreter)
}

/// Debian splits the part of Python that makes environments into a package of its own.
fn ensure_venv(workspace: &Workspace) -> Result<()> {
    if run::output(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_some() {
        return Ok(());
    }
    apt::install(&["python3-venv"], &workspace.setup().join("log/apt-venv.log"))
        .context("python3 has no module ensurepip")
}
