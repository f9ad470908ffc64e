//! Child processes: their output in a file, shown only when a test fails, and none of them outlives the tests.

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{LazyLock, Mutex, Once, mpsc},
};

type Order = (Command, mpsc::Sender<io::Result<std::process::Child>>);

/// The kernel kills a child when the *thread* that started it ends: so one thread that never ends starts them all.
static STARTER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (sender, orders) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, reply) in orders {
            // A test that gave up does not want its answer.
            let _ = reply.send(command.spawn());
        }
    });
    Mutex::new(sender)
});

static LOGS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static HOOK: Once = Once::new();

/// How much of each log a failing test shows.
const TAIL_LINES: usize = 40;

/// A running process.
pub struct Child {
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts a command; standard output and error go to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut command: Command, log: &Path) -> Self {
        show_logs_on_panic();
        let file = File::options().create(true).append(true).open(log).expect("the log's directory is writable");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("file handles are left")).stderr(file);
        #[expect(unsafe_code, reason = "the standard library has no parent-death signal")]
        // SAFETY: prctl is async-signal-safe and touches nothing of ours.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let what = format!("{:?}", command.get_program());
        let (reply, process) = mpsc::channel();
        STARTER.lock().expect("no holder panics").send((command, reply)).expect("the starter never ends");
        let process = process.recv().expect("the starter never ends").unwrap_or_else(|error| panic!("{what}: {error}"));
        LOGS.lock().expect("no holder panics").push(log.to_path_buf());
        Self { process, log: log.to_path_buf() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("it is our child")
    }

    /// Freezes it: connections stay open, nothing is answered.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Ends it as a bug in it would.
    pub fn abort(&self) {
        self.signal(libc::SIGABRT);
    }

    /// Ends it at once and waits until it is gone.
    pub fn kill(&mut self) {
        // Fails only when it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn signal(&self, number: i32) {
        signal(self.pid(), number);
    }
}

/// Sends a signal to one of our children, which nobody has waited for.
pub(crate) fn signal(pid: u32, number: i32) {
    let pid = i32::try_from(pid).expect("process ids fit");
    #[expect(unsafe_code, reason = "the standard library can only kill")]
    // SAFETY: the process is our child and not yet waited for, so the id is still its own.
    let outcome = unsafe { libc::kill(pid, number) };
    assert_eq!(outcome, 0, "signal {number} to {pid}: {}", io::Error::last_os_error());
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking()
            && let Ok(mut logs) = LOGS.lock()
        {
            logs.retain(|log| *log != self.log);
        }
    }
}

fn show_logs_on_panic() {
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            let Ok(logs) = LOGS.lock() else { return };
            for log in logs.iter() {
                let text = std::fs::read(log).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("── end of {} ──", log.display());
                for line in lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)) {
                    eprintln!("{line}");
                }
            }
        }));
    });
}
