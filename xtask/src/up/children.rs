//! The processes of `up`: started in order, watched, stopped in the opposite order.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::run;
use crate::up::{poll, signal};

/// Longest wait for a child that was asked to end: the broker drains for up to 20 s.
const PATIENCE: Duration = Duration::from_secs(25);

/// All that run, first started first.
pub(crate) struct Children {
    logs: PathBuf,
    stop: Arc<AtomicBool>,
    running: Vec<Running>,
}

struct Running {
    name: String,
    process: Child,
    log: PathBuf,
}

impl Children {
    /// None yet. Waiting for a child ends when `stop` is set.
    pub(crate) fn new(logs: PathBuf, stop: Arc<AtomicBool>) -> Self {
        Self { logs, stop, running: Vec::new() }
    }

    /// Starts a child with its output in `var/log/<name>.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let log = self.logs.join(format!("{}.log", name.replace('/', "-")));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        signal::dies_with_us(command);
        let process = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().to_string_lossy()))?;
        self.running.push(Running { name: name.to_owned(), process, log });
        Ok(())
    }

    /// Polls until `ready` says so.
    ///
    /// # Errors
    /// When a child has ended, or it takes longer than `limit`; with the end of the log.
    pub(crate) fn until(
        &mut self,
        name: &str,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let done = poll(limit, || {
            self.check()?;
            Ok(ready())
        })?;
        if !done {
            bail!("{name}: not yet after {} s: {what}\n{}", limit.as_secs(), self.tail(name));
        }
        Ok(())
    }

    /// Polls until `attempt` succeeds; gives what it gave.
    ///
    /// # Errors
    /// The last failure, with the end of the log of `name`.
    pub(crate) fn eventually<T>(
        &mut self,
        name: &str,
        limit: Duration,
        mut attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let mut last = None;
        poll(limit, || {
            self.check()?;
            last = Some(attempt());
            Ok(last.as_ref().is_some_and(Result::is_ok))
        })?;
        last.context("never tried")?.with_context(|| format!("the log of {name} ends:\n{}", self.tail(name)))
    }

    /// The line of JSON that a counterpart prints when it serves.
    ///
    /// # Errors
    /// As [`Children::until`].
    pub(crate) fn first_line(&mut self, name: &str, limit: Duration) -> Result<String> {
        let log = self.find(name).map(|child| child.log.clone()).with_context(|| format!("{name} was not started"))?;
        let mut found = None;
        self.until(name, "says that it serves", limit, || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            found = text
                .split_inclusive('\n')
                .find(|line| line.starts_with('{') && line.ends_with('\n'))
                .map(|line| line.trim().to_owned());
            found.is_some()
        })?;
        found.context("the line has gone")
    }

    /// Process ids by name.
    pub(crate) fn pids(&self) -> BTreeMap<String, u32> {
        self.running.iter().map(|child| (child.name.clone(), child.process.id())).collect()
    }

    /// # Errors
    /// When a child has ended by itself, with the end of its log; or when everything shall stop.
    pub(crate) fn check(&mut self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            bail!("stopped");
        }
        for Running { name, process, log } in &mut self.running {
            if let Some(status) = process.try_wait()? {
                bail!("{name} has ended ({status}); all it said is in {}\n{}", log.display(), run::tail(log));
            }
        }
        Ok(())
    }

    /// Stops them, last started first, and waits for each.
    pub(crate) fn stop(&mut self) {
        while let Some(mut child) = self.running.pop() {
            if !matches!(child.process.try_wait(), Ok(None)) {
                continue;
            }
            signal::terminate(&child.process);
            let ended = poll(PATIENCE, || Ok(!matches!(child.process.try_wait(), Ok(None))));
            if !matches!(ended, Ok(true)) {
                println!("  {} did not end within {} s and was killed", child.name, PATIENCE.as_secs());
                let _ = child.process.kill();
                let _ = child.process.wait();
            }
        }
    }

    fn find(&self, name: &str) -> Option<&Running> {
        self.running.iter().find(|child| child.name == name)
    }

    fn tail(&self, name: &str) -> String {
        self.find(name).map_or_else(String::new, |child| run::tail(&child.log))
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn children(name: &str) -> (Children, PathBuf) {
        let logs = std::env::temp_dir().join(format!("xtask-children-{name}-{}", std::process::id()));
        fs::create_dir_all(&logs).unwrap();
        (Children::new(logs.clone(), Arc::default()), logs)
    }

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn says_which_child_ended_and_shows_the_end_of_its_log() {
        let (mut children, logs) = children("ended");
        children.start("good", &mut sh("exec sleep 60")).unwrap();
        children.start("bad", &mut sh("echo out of cheese; exit 7")).unwrap();
        let error = children.until("good", "never", Duration::from_secs(10), || false).unwrap_err().to_string();
        children.stop();
        fs::remove_dir_all(logs).unwrap();
        assert!(
            error.contains("bad has ended") && error.contains("exit status: 7") && error.contains("out of cheese"),
            "{error}"
        );
    }

    #[test]
    fn takes_the_first_line_of_json_for_the_answer() {
        let (mut children, logs) = children("line");
        children
            .start("idp", &mut sh("echo warning; echo '{\"port\":1}'; echo '{\"port\":2}'; exec sleep 60"))
            .unwrap();
        let line = children.first_line("idp", Duration::from_secs(10)).unwrap();
        children.stop();
        fs::remove_dir_all(logs).unwrap();
        assert_eq!(line, "{\"port\":1}");
    }

    #[test]
    fn leaves_no_child_behind() {
        let (mut children, logs) = children("stop");
        children.start("a", &mut sh("exec sleep 60")).unwrap();
        let pid = children.pids()["a"];
        drop(children);
        fs::remove_dir_all(logs).unwrap();
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
