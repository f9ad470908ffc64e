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

/// Keeps the memory of `value` out of swap for as long as this process lives. Never undone: what else lies in the same pages
/// may be locked as well, and a page is locked once.
///
/// # Errors
/// If the system does not allow it: the limit for locked memory, or a sandbox.
pub fn keep_out_of_swap<T>(value: &T) -> io::Result<()> {
    #[expect(unsafe_code, reason = "the standard library has no call for locked memory")]
    // SAFETY: the range is that of a live value; locking changes nothing in it.
    let locked = unsafe { libc::mlock(std::ptr::from_ref(value).cast(), size_of::<T>()) };
    if locked == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
    fn v8_what_is_locked_is_not_swapped() {
        let locked = || -> u64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let (before, page) = (locked(), Box::new([0_u8; 4096]));
        match keep_out_of_swap(&*page) {
            Ok(()) => assert!(locked() > before),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ENOMEM), "only for want of a higher limit: {error}")
            }
        }
    }

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
