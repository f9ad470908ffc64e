//! Lints and every test, with one closing line.

use std::io::{BufRead, BufReader, Write};
use std::ops::AddAssign;
use std::os::unix::fs::MetadataExt;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::workspace::Workspace;
use crate::{build, lint, run, setup};

/// What `test` can be told.
#[derive(Args)]
pub(crate) struct Options {
    /// Also the long figures: more rounds and calls (sets `SALLYPORT_FULL=1` for the tests).
    #[arg(long)]
    full: bool,
    /// Tests only, without formatting, lints and licences.
    #[arg(long)]
    no_lint: bool,
    #[command(flatten)]
    setup: setup::Options,
    /// Handed to `cargo test`: `-- -p sallyport-caller`.
    #[arg(last = true)]
    cargo: Vec<String>,
}

/// Sets up, builds, lints, tests.
///
/// # Errors
/// When it did not come to the tests.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    build::with_test_parts(workspace, &options.setup)?;
    let failed_lints = if options.no_lint { Vec::new() } else { lint::check(workspace)? };
    println!("test");
    let mut count = tests(workspace, options)?;
    for lint in failed_lints {
        println!("failed: {lint}");
        count.failed += 1;
    }
    if count.ignored > 0 {
        println!("{} not run (marked as ignored)", count.ignored);
    }
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(if count.failed == 0 && count.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every test of every crate, doc tests included, to the end even when some fail.
fn tests(workspace: &Workspace, options: &Options) -> Result<Count> {
    let mut cargo = run::cargo();
    cargo.args(["test", "--no-fail-fast"]).current_dir(&workspace.root);
    if options.cargo.is_empty() {
        cargo.arg("--workspace");
    }
    cargo.args(&options.cargo);
    // What is marked as ignored needs root, and nothing else.
    if is_root()? && !options.cargo.iter().any(|argument| argument == "--") {
        cargo.args(["--", "--include-ignored"]);
    }
    if options.full {
        cargo.env("SALLYPORT_FULL", "1");
    }
    let mut child = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut count = Count::default();
    let mut terminal = std::io::stdout();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        terminal.write_all(&line)?;
        terminal.write_all(b"\n")?;
        if let Some(result) = Count::of_line(&String::from_utf8_lossy(&line)) {
            count += result;
        }
    }
    if !child.wait()?.success() && count.failed == 0 {
        // A test program that did not build, or was killed before its own count.
        count.failed = 1;
    }
    Ok(count)
}

fn is_root() -> Result<bool> {
    Ok(std::fs::metadata("/proc/self").context("cannot tell who runs the tests")?.uid() == 0)
}

/// What test programs say at their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Count {
    /// From `test result: ok. 3 passed; 0 failed; 1 ignored; …`, with or without colours.
    fn of_line(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?;
        let number = |label: &str| {
            counts
                .split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(label)?.trim().rsplit(' ').next()?.parse().ok())
        };
        Some(Self { passed: number("passed")?, failed: number("failed")?, ignored: number("ignored")? })
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn reads_the_closing_line_of_a_test_program() {
        for (line, passed, failed, ignored) in [
            (
                "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                12,
                0,
                3,
            ),
            (
                "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.25s",
                1,
                2,
                0,
            ),
            (
                "test result: \u{1b}[31mFAILED\u{1b}(B\u{1b}[m. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
                1,
                2,
                0,
            ),
        ] {
            assert_eq!(Count::of_line(line), Some(Count { passed, failed, ignored }), "{line}");
        }
    }

    #[test]
    fn takes_nothing_else_for_a_closing_line() {
        for line in [
            "",
            "running 3 tests",
            "test result: ok.",
            "test says: test result: ok. 1 passed; 0 failed; 0 ignored",
            "3 passed; 0 failed",
        ] {
            assert_eq!(Count::of_line(line), None, "{line}");
        }
    }
}
