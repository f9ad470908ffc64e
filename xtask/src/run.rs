//! Runs other programs: with a log, a time limit and an error that shows why.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Lines of a failed program's log that are shown.
const SHOWN: usize = 25;

/// Prints what begins, does it, prints how long it took.
pub(crate) fn step<T>(what: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("  {what} ...");
    let started = Instant::now();
    let outcome = action();
    let word = if outcome.is_ok() { "done" } else { "FAILED" };
    println!("  {what}: {word} in {:.1} s", started.elapsed().as_secs_f64());
    outcome
}

/// What a program prints; `None` when it cannot be started or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a program with its output in `log`, at most for `limit`.
///
/// # Errors
/// When it cannot start, fails or is too slow; with the end of its log.
pub(crate) fn logged(command: &mut Command, log: &Path, limit: Duration) -> Result<()> {
    if let Some(directory) = log.parent() {
        fs::create_dir_all(directory)?;
    }
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let until = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            bail!("{program} took longer than {} s\n{}", limit.as_secs(), tail(log));
        }
        thread::sleep(Duration::from_millis(20));
    };
    if !status.success() {
        bail!("{program} failed ({status}); all of it in {}\n{}", log.display(), tail(log));
    }
    Ok(())
}

/// Runs a program on this terminal.
///
/// # Errors
/// When it cannot start.
pub(crate) fn shown(command: &mut Command) -> Result<ExitStatus> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {program}"))
}

/// The end of a log, indented.
pub(crate) fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(SHOWN);
    lines.iter().skip(from).map(|line| format!("    | {line}\n")).collect()
}

/// The program of that name that a shell would start.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|candidate| candidate.is_file())
}

/// This cargo, for the same toolchain, in the environment of a shell: what `cargo run` added would make build scripts
/// that look at it run again.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn failure_shows_the_end_of_the_log() {
        let log = std::env::temp_dir().join(format!("xtask-run-{}", std::process::id()));
        let error =
            logged(&mut sh("seq 100; echo why >&2; exit 3"), &log, Duration::from_secs(10)).unwrap_err().to_string();
        fs::remove_file(&log).unwrap();
        assert!(error.contains("exit status: 3") && error.contains("| why") && !error.contains("| 70\n"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let log = std::env::temp_dir().join(format!("xtask-hang-{}", std::process::id()));
        let error = logged(&mut sh("exec sleep 60"), &log, Duration::from_millis(50)).unwrap_err().to_string();
        fs::remove_file(&log).unwrap();
        assert!(error.contains("took longer"), "{error}");
    }

    #[test]
    fn output_of_a_failing_or_missing_program_is_none() {
        assert_eq!(output(&mut sh("echo x; exit 1")), None);
        assert_eq!(output(&mut Command::new("/nonexistent/program")), None);
    }
}
