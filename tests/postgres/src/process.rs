//! Their processes: under a user that is not root, and gone when the tests are.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

const PREFIX: &str = "sallyport-postgres-";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Whom they run as: Postgres refuses root.
pub(crate) enum Account {
    /// Whoever runs the tests.
    Own,
    /// Another user and group.
    Other(u32, u32),
}

impl Account {
    pub(crate) fn find() -> Self {
        if fs::metadata("/proc/self").expect("proc is mounted").uid() != 0 {
            return Self::Own;
        }
        let users = fs::read_to_string("/etc/passwd").expect("there are users");
        let ids = |name: &str| {
            let mut fields = users.lines().find(|line| line.starts_with(&format!("{name}:")))?.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        let (user, group) = ids("postgres").or_else(|| ids("nobody")).expect("there is a user besides root");
        Self::Other(user, group)
    }

    /// The program as this user, who ends it by this signal when its parent dies.
    pub(crate) fn command(&self, end: &str, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        if let Self::Other(user, group) = self {
            command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--clear-groups");
        }
        command.args(["--pdeathsig", end]).arg(program);
        command
    }

    /// Gives it a file.
    pub(crate) fn own(&self, path: &Path) {
        if let Self::Other(user, group) = self {
            chown(path, Some(*user), Some(*group)).expect("root may give files away");
        }
    }
}

/// Where a server's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In memory, if there is plenty: each database is a thousand files, and to remove those of a few hundred takes a disk
    /// minutes, in which it does little else.
    Quick,
    /// Where temporary files are: a disk, whose own times count.
    Disk,
}

/// What a process may need in memory, bytes.
const PLENTY: u64 = 8 << 30;
const MEMORY: &str = "/dev/shm";

impl Place {
    fn path(self) -> PathBuf {
        let has_plenty = || {
            rustix::fs::statvfs(MEMORY).is_ok_and(|memory| memory.f_bavail.saturating_mul(memory.f_frsize) >= PLENTY)
        };
        match self {
            Self::Quick if has_plenty() => PathBuf::from(MEMORY),
            Self::Quick | Self::Disk => std::env::temp_dir(),
        }
    }
}

/// A directory with a short path, for the sockets in it.
pub(crate) fn directory(account: &Account, place: Place) -> PathBuf {
    let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = place.path().join(name);
    fs::create_dir(&path).expect("the directory for temporary files is writable");
    account.own(&path);
    path
}

/// Removes the directories of processes that are gone, while others begin.
pub(crate) fn remove_left_over() {
    std::thread::spawn(|| {
        for place in [Path::new(MEMORY), &std::env::temp_dir()] {
            remove_left_over_in(place);
        }
    });
}

fn remove_left_over_in(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // Best effort: another process may be at it as well.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Runs it to its end.
pub(crate) fn run(mut command: Command, log: &Path) {
    let status = logged(&mut command, log).status().expect("setpriv is there");
    assert!(status.success(), "{command:?}: {status}\n{}", fs::read_to_string(log).unwrap_or_default());
}

/// Starts it, from a thread that does not end before the process: the kernel looks at the thread.
pub(crate) fn spawn(mut command: Command, log: &Path) {
    logged(&mut command, log);
    let (started, begun) = mpsc::channel();
    std::thread::spawn(move || {
        let mut child = command.spawn().expect("setpriv is there");
        // Whoever waits has not gone.
        let _ = started.send(());
        // It ends after the tests have, or a test says what it lacks.
        let _ = child.wait();
    });
    begun.recv().expect("it was started");
}

/// The same, for a server that wants to be told to end; then removes its directory. With a file `keep` there, the server is
/// started again whenever it ends, once there is no file `down`.
pub(crate) fn supervise(account: &Account, server: &Path, arguments: &[String], dir: &Path, log: &Path) {
    let script = r#"trap 'ends=1; kill -INT $server' INT
        dir=$1; shift
        while :; do
            "$@" & server=$!
            wait $server || wait $server
            while [ -z "$ends" ] && [ -e "$dir/down" ]; do sleep 0.05; done
            [ -z "$ends" ] && [ -e "$dir/keep" ] || break
            # What a killed one has left may hold its memory for another moment.
            sleep 0.05
        done
        rm -rf "$dir""#;
    let mut command = account.command("INT", Path::new("sh"));
    command.args(["-c", script, "sh"]).arg(dir).arg(server).args(arguments);
    spawn(command, log);
}

/// Sends a signal to a process and all that it has started.
pub(crate) fn signal_all(parent: u32, signal: &str) {
    let entries = fs::read_dir("/proc").expect("proc is mounted").flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children = processes.filter(|process| parent_of(*process) == Some(parent));
    let all: Vec<String> = std::iter::once(parent).chain(children).map(|process: u32| process.to_string()).collect();
    // Some may have ended meanwhile, which is no error here.
    let _ = Command::new("kill").arg(format!("-{signal}")).args(all).stderr(Stdio::null()).status();
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name, which is in parentheses and may hold anything: state, parent.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn logged<'c>(command: &'c mut Command, log: &Path) -> &'c mut Command {
    let file = File::create(log).expect("the directory is writable");
    command.stdin(Stdio::null()).stdout(file.try_clone().expect("file handles are left")).stderr(file)
}
