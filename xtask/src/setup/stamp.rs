//! Remembers what a part was installed from, so that it is installed once and again when that changes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::run::step;
use crate::workspace::Workspace;

/// Installs into `directory` unless it already holds what `source` describes. The stamp is written last: an
/// installation that was interrupted is begun anew.
///
/// # Errors
/// Those of `install`.
pub(crate) fn once(
    workspace: &Workspace,
    name: &str,
    source: &str,
    directory: &Path,
    install: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let stamp = workspace.setup().join(format!("{name}.stamp"));
    // The first line is for people. What is used of an installation also works from another path.
    let wanted = format!("installed as {}\n{source}", directory.display());
    let same = |found: String| found.split_once('\n').is_some_and(|(_, from)| from == source);
    if directory.exists() && fs::read_to_string(&stamp).is_ok_and(same) {
        println!("  {name}: already there");
        return Ok(());
    }
    step(name, || {
        for old in [fs::remove_file(&stamp), fs::remove_dir_all(directory)] {
            match old {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        fs::create_dir_all(directory)?;
        install()?;
        replace(&stamp, wanted.as_bytes())
    })
    .with_context(|| format!("{name} could not be installed"))
}

/// Writes a file as a whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content, 0o644)
}

/// As [`replace`], for this user's eyes only.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn replace_private(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content, 0o600)
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&name)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&name, path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn with_workspace(name: &str, test: impl FnOnce(&Workspace)) {
        let root = std::env::temp_dir().join(format!("xtask-stamp-{name}-{}", std::process::id()));
        let workspace = Workspace { target: root.join("target"), root: root.clone() };
        fs::create_dir_all(workspace.setup()).unwrap();
        test(&workspace);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn installs_once_and_again_when_the_lock_file_changes() {
        with_workspace("once", |workspace| {
            let (directory, runs) = (workspace.setup().join("part"), Cell::new(0));
            for source in ["a", "a", "b", "b"] {
                once(workspace, "part", source, &directory, || {
                    runs.set(runs.get() + 1);
                    Ok(())
                })
                .unwrap();
            }
            assert_eq!(runs.get(), 2);
        });
    }

    #[test]
    fn an_interrupted_installation_is_begun_anew_without_its_remains() {
        with_workspace("interrupted", |workspace| {
            let directory = workspace.setup().join("part");
            let half = once(workspace, "part", "a", &directory, || {
                fs::write(directory.join("half"), "")?;
                anyhow::bail!("killed")
            });
            assert!(half.is_err());
            once(workspace, "part", "a", &directory, || Ok(())).unwrap();
            assert!(!directory.join("half").exists());
        });
    }

    #[test]
    fn what_holds_tokens_is_for_this_user_only() {
        use std::os::unix::fs::PermissionsExt;
        with_workspace("private", |workspace| {
            let file = workspace.setup().join("up.json");
            replace_private(&file, b"{}").unwrap();
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        });
    }

    #[test]
    fn a_directory_that_was_removed_is_made_again() {
        with_workspace("removed", |workspace| {
            let directory = workspace.setup().join("part");
            once(workspace, "part", "a", &directory, || Ok(())).unwrap();
            fs::remove_dir_all(&directory).unwrap();
            once(workspace, "part", "a", &directory, || Ok(())).unwrap();
            assert!(directory.exists());
        });
    }
}
