//! Their processes, which are gone when the tests are.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};

const PREFIX: &str = "sallyport-redis-";

static COUNT: AtomicU32 = AtomicU32::new(0);

type Order = (Command, Sender<Child>);

/// Starts every process, and does not end before this one: the kernel ends a child with the thread that started it.
static STARTER: LazyLock<Sender<Order>> = LazyLock::new(|| {
    let (orders, taken) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, started) in taken {
            // Whoever ordered waits.
            let _ = started.send(command.spawn().expect("setpriv is there"));
        }
    });
    orders
});

/// A process, which ends with this value.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it; what it says goes to `log`.
    pub(crate) fn start(command: Command, log: &Path) -> Self {
        let mut ended_with_us = Command::new("setpriv");
        ended_with_us.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
        let file = File::options().create(true).append(true).open(log).expect("the directory is writable");
        let file_again = file.try_clone().expect("file handles are left");
        ended_with_us.stdin(Stdio::null()).stdout(file).stderr(file_again);
        let (started, begun) = mpsc::channel();
        STARTER.send((ended_with_us, started)).expect("the thread runs");
        Self(begun.recv().expect("it was started"))
    }

    /// Whether it has ended by itself, or by somebody else's signal.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory of one's own; those of processes that are gone are removed.
pub(crate) fn directory() -> PathBuf {
    remove_left_over();
    let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    fs::create_dir(&path).expect("the temporary directory is writable");
    path
}

fn remove_left_over() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // Best effort: another process may be at it as well.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
