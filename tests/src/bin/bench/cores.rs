//! Two cores: one for the proxy that is measured, one for everything else.

use std::{fs, io, time::Duration};

use anyhow::{Context, Result, bail};

/// Which core does what.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    /// Runs the proxy under measurement, and nothing else of ours.
    pub(crate) gateway: usize,
    /// Runs load, upstream, broker and issuer.
    pub(crate) rest: usize,
    /// How many this process may use.
    pub(crate) allowed: usize,
}

impl Cores {
    /// The first two that this process may use.
    ///
    /// # Errors
    /// When there are not two.
    pub(crate) fn find() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let cores = parse(list.context("the kernel does not list the cores")?)?;
        match cores[..] {
            [gateway, rest, ..] => Ok(Self { gateway, rest, allowed: cores.len() }),
            _ => bail!("the benchmark needs two cores: one for the proxy, one for the load"),
        }
    }
}

/// From the kernel's list format, such as `0-3,8`.
fn parse(list: &str) -> Result<Vec<usize>> {
    let mut cores = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cores.extend(first.parse::<usize>()?..=last.parse()?);
    }
    Ok(cores)
}

/// Binds every thread of a process, and all that it starts from now on, to one core.
///
/// # Errors
/// When the process has gone, or the kernel refuses.
pub(crate) fn pin(process: u32, core: usize) -> Result<()> {
    for thread in threads(process)? {
        let thread = libc::pid_t::try_from(thread).context("thread ids fit")?;
        #[expect(unsafe_code, reason = "the standard library cannot bind a thread to a core")]
        // SAFETY: the set is plain data, zero is a valid value of it, and the call only reads it.
        let outcome = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(core, &mut set);
            libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const set)
        };
        if outcome != 0 {
            return Err(io::Error::last_os_error()).with_context(|| format!("cannot bind thread {thread}"));
        }
    }
    Ok(())
}

/// CPU time that a process has used, in all its threads.
///
/// # Errors
/// When it has gone, or the kernel does not say.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in threads(process)? {
        let file = format!("/proc/{process}/task/{thread}/schedstat");
        let text = match fs::read_to_string(&file) {
            // A thread may end between the listing and this; what it used went with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text.with_context(|| format!("cannot read {file}"))?,
        };
        let nanoseconds = text.split_whitespace().next().and_then(|first| first.parse().ok());
        total += Duration::from_nanos(nanoseconds.with_context(|| format!("{file} holds no time"))?);
    }
    Ok(total)
}

fn threads(process: u32) -> Result<Vec<u32>> {
    let directory = format!("/proc/{process}/task");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {directory}"))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_list_of_cores() {
        assert_eq!(parse("\t0-1\n").unwrap(), [0, 1]);
        assert_eq!(parse("3").unwrap(), [3]);
        assert_eq!(parse("0,2-4,9").unwrap(), [0, 2, 3, 4, 9]);
        assert!(parse("").is_err() && parse("a-b").is_err());
    }

    #[test]
    fn cpu_time_grows_with_work() {
        let before = cpu_time(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while cpu_time(std::process::id()).unwrap() <= before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }
}
