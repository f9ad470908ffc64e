//! Lints and every test, at both sizes of a gate, with one closing line.

mod count;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::workspace::Workspace;
use crate::{build, lint, run, setup};

use count::Count;

/// End-to-end tests that `test` also runs at the size of a fleet: what goes through every part.
const SELECTION: [&str; 2] = ["people", "rows"];
/// How tests are named that are about one machine with SQLite and a key file: they do not run on the fleet.
const EMBEDDED: &str = "embedded_";

/// What `test` can be told.
#[derive(Args)]
pub(crate) struct Options {
    /// Also the long figures, more rounds and calls (sets `SALLYPORT_FULL=1`), and every end-to-end test on the fleet.
    #[arg(long)]
    full: bool,
    /// The end-to-end tests alone, all of them on a fleet: Postgres, Redis and AWS KMS (sets `SALLYPORT_SIZE=fleet`).
    #[arg(long, conflicts_with = "full")]
    fleet: bool,
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
    let mut count = Count::default();
    for pass in passes(options) {
        count += tests(workspace, options, &pass)?;
    }
    for lint in failed_lints {
        println!("failed: {lint}");
        count.failed += 1;
    }
    if count.ignored > 0 {
        println!("{} not run (marked as ignored)", count.ignored);
    }
    if count.skipped > 0 {
        println!(
            "{} not run (of names that were not asked for, as those on the fleet that are about one machine)",
            count.skipped
        );
    }
    if count.with_key_file > 0 {
        println!("{} of those on the fleet with a key file in place of KMS, or beside it", count.with_key_file);
    }
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(if count.failed == 0 && count.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tests that are run at one size of the gate.
struct Pass {
    cargo: Vec<String>,
    fleet: bool,
}

fn passes(options: &Options) -> Vec<Pass> {
    let pass = |cargo: &[&str], fleet| Pass { cargo: cargo.iter().map(ToString::to_string).collect(), fleet };
    if !options.cargo.is_empty() {
        return vec![Pass { cargo: options.cargo.clone(), fleet: options.fleet }];
    }
    let (everything, end_to_end) = (pass(&["--workspace"], false), pass(&["--package", "e2e"], true));
    match (options.fleet, options.full) {
        (true, _) => vec![end_to_end],
        (false, true) => vec![everything, end_to_end],
        (false, false) => {
            let selection = SELECTION.iter().flat_map(|test| ["--test", test]);
            vec![everything, pass(&["--package", "e2e"].into_iter().chain(selection).collect::<Vec<_>>(), true)]
        }
    }
}

/// Doc tests included, to the end even when some fail.
fn tests(workspace: &Workspace, options: &Options, pass: &Pass) -> Result<Count> {
    let mut cargo = run::cargo();
    cargo.args(["test", "--no-fail-fast"]).args(&pass.cargo).current_dir(&workspace.root);
    let mut harness = Vec::new();
    // What is marked as ignored needs root, and nothing else.
    if is_root()? {
        harness.push("--include-ignored");
    }
    if pass.fleet {
        println!("on the fleet");
        cargo.env("SALLYPORT_SIZE", "fleet");
        harness.extend(["--skip", EMBEDDED]);
    }
    if !pass.cargo.iter().any(|argument| argument == "--") {
        cargo.arg("--").args(harness);
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
        let line = String::from_utf8_lossy(&line);
        if let Some(result) = Count::of_line(&line) {
            count += result;
        }
        if pass.fleet && Count::is_with_key_file(&line) {
            count.with_key_file += 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(full: bool, fleet: bool, cargo: &[&str]) -> Vec<(String, bool)> {
        let cargo = cargo.iter().map(ToString::to_string).collect();
        let options = Options { full, fleet, no_lint: true, setup: setup::Options::default(), cargo };
        passes(&options).into_iter().map(|pass| (pass.cargo.join(" "), pass.fleet)).collect()
    }

    #[test]
    fn everything_runs_on_one_machine_and_as_asked_for_on_the_fleet() {
        let everything = ("--workspace".to_owned(), false);
        let end_to_end = ("--package e2e".to_owned(), true);
        assert_eq!(sizes(true, false, &[]), [everything.clone(), end_to_end.clone()]);
        assert_eq!(sizes(false, true, &[]), [end_to_end]);
        let [first, second] = &sizes(false, false, &[])[..] else { panic!("two passes") };
        assert_eq!((first, second.1), (&everything, true));
        assert!(second.0.starts_with("--package e2e --test "), "{}", second.0);
        assert_eq!(sizes(false, true, &["-p", "x"]), [("-p x".to_owned(), true)]);
    }
}
