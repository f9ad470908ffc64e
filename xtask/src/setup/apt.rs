//! Debian packages, where this user may install them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::run;

const LIMIT: Duration = Duration::from_secs(600);

/// Installs packages as root or by `sudo -n`.
///
/// # Errors
/// The exact command for the user to run, or the end of apt's own output.
pub(crate) fn install(packages: &[&str], log: &Path) -> Result<()> {
    let by_hand = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if run::output(Command::new("apt-get").arg("--version")).is_none() {
        bail!("this is not Debian: no apt-get, so these cannot be installed: {}", packages.join(" "));
    }
    let Some(rights) = rights() else {
        bail!("this user may not install packages; run: sudo {by_hand}");
    };
    let install = |update: bool| {
        let mut arguments = vec!["-q"];
        if update {
            arguments.push("update");
        } else {
            arguments.extend(["install", "-y", "--no-install-recommends"]);
            arguments.extend(packages);
        }
        let mut command = match rights {
            Rights::Root => Command::new("apt-get"),
            Rights::Sudo => {
                let mut sudo = Command::new("sudo");
                sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
                sudo
            }
        };
        run::logged(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"), log, LIMIT)
    };
    // A fresh machine has no package lists yet.
    install(false).or_else(|_| install(true).and_then(|()| install(false)))
}

#[derive(Clone, Copy)]
enum Rights {
    Root,
    Sudo,
}

fn rights() -> Option<Rights> {
    if run::output(Command::new("id").arg("-u")).is_some_and(|id| id == "0") {
        return Some(Rights::Root);
    }
    run::output(Command::new("sudo").args(["-n", "true"])).map(|_| Rights::Sudo)
}
