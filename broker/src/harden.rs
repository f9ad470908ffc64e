//! What keeps the process's memory to itself, and who the process is.

use std::io;

/// Forbids core dumps and tracing of this process by others of the same user: both would show every opened secret.
///
/// # Errors
/// If the system refuses; the broker then does not start.
pub fn forbid_memory_dumps() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[expect(unsafe_code, reason = "the standard library has no call for resource limits")]
    // SAFETY: `none` outlives the call, which only reads it.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
    if limited != 0 {
        return Err(io::Error::last_os_error());
    }
    #[cfg(target_os = "linux")]
    {
        let not: libc::c_ulong = 0;
        #[expect(unsafe_code, reason = "the standard library has no call for process attributes")]
        // SAFETY: PR_SET_DUMPABLE takes a number and touches no memory of ours.
        let hidden = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, not, not, not, not) };
        if hidden != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whom the system takes this process for.
pub fn effective_uid() -> u32 {
    #[expect(unsafe_code, reason = "the standard library does not tell the user id")]
    // SAFETY: takes nothing, cannot fail.
    unsafe {
        libc::geteuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn i9_a_crash_leaves_no_core_and_nobody_may_trace() {
        forbid_memory_dumps().unwrap();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let values: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
        assert_eq!(values, ["0", "0"]);
        #[expect(unsafe_code, reason = "the standard library has no call for process attributes")]
        // SAFETY: PR_GET_DUMPABLE takes nothing and touches no memory of ours.
        let dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
        assert_eq!(dumpable, 0);
        #[expect(unsafe_code, reason = "the standard library has no call for process attributes")]
        // SAFETY: as above. Undone, because other tests of this process may read their own /proc.
        unsafe {
            libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        }
    }
}
