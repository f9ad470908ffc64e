//! The programs that must be there before anything else.

use std::process::Command;

use anyhow::{Result, bail};

use crate::run;
use crate::version::Version;

struct Tool {
    name: &'static str,
    arguments: &'static [&'static str],
    least: Version,
    remedy: &'static str,
}

const TOOLS: [Tool; 5] = [
    Tool {
        name: "cargo",
        arguments: &["--version"],
        least: Version(1, 95, 0),
        remedy: "install Rust from https://rustup.rs, or `rustup update stable`",
    },
    Tool {
        name: "cc",
        arguments: &["--version"],
        least: Version(0, 0, 0),
        remedy: "Debian: `apt-get install build-essential`; Fedora: `dnf install gcc`",
    },
    Tool {
        name: "python3",
        arguments: &["--version"],
        least: Version(3, 11, 0),
        remedy: "Debian: `apt-get install python3 python3-venv`",
    },
    Tool {
        name: "node",
        arguments: &["--version"],
        least: Version(20, 0, 0),
        remedy: "Node.js 20 or later from https://nodejs.org, with npm",
    },
    Tool {
        name: "npm",
        arguments: &["--version"],
        least: Version(9, 0, 0),
        remedy: "it comes with Node.js from https://nodejs.org; Debian: `apt-get install npm`",
    },
];

/// Checks them all.
///
/// # Errors
/// One message that names each missing or too old tool and how to get it.
pub(crate) fn check() -> Result<()> {
    let missing: Vec<String> = TOOLS.iter().filter_map(|tool| lack(tool, &printed(tool))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("some tools are missing; install them and run this again:\n{}", missing.join("\n"))
}

/// The version of Node.js and of Python, as they print it: part of what an installation depends on.
pub(crate) fn printed_version(name: &str) -> String {
    run::output(Command::new(name).arg("--version")).unwrap_or_default()
}

fn printed(tool: &Tool) -> Option<String> {
    run::output(Command::new(tool.name).args(tool.arguments))
}

fn lack(tool: &Tool, printed: &Option<String>) -> Option<String> {
    let Tool { name, least, remedy, .. } = tool;
    match printed.as_deref().map(Version::find) {
        None => Some(format!("  {name}: not found; {remedy}")),
        Some(Some(version)) if version < *least => {
            Some(format!("  {name}: {version} is too old, {least} is needed; {remedy}"))
        }
        Some(Some(_)) => None,
        Some(None) if *least == Version(0, 0, 0) => None,
        Some(None) => Some(format!("  {name}: does not say its version; {remedy}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &Tool = &TOOLS[3];

    #[test]
    fn names_missing_old_and_odd_tools_with_the_remedy() {
        for (printed, expected) in
            [(None, "not found"), (Some("v18.20.4"), "18.20.4 is too old"), (Some("?"), "does not say")]
        {
            let lack = lack(NODE, &printed.map(str::to_owned)).unwrap();
            assert!(lack.contains(expected) && lack.contains("nodejs.org"), "{lack}");
        }
    }

    #[test]
    fn accepts_what_is_new_enough() {
        assert_eq!(lack(NODE, &Some("v20.20.2".to_owned())), None);
        assert_eq!(lack(&TOOLS[1], &Some("cc without a number".to_owned())), None);
    }
}
