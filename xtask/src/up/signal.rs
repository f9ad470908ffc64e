//! The few calls to the system that the standard library does not make.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// The child is killed when this process ends, in whatever way; and Ctrl-C reaches this process only, which then stops
/// its children in order.
pub(crate) fn dies_with_us(command: &mut Command) {
    let parent = std::process::id();
    command.process_group(0);
    #[expect(
        unsafe_code,
        reason = "runs between fork and exec; both calls are async-signal-safe and touch no memory of ours"
    )]
    // SAFETY: `prctl` and `getppid` allocate nothing and take no lock.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // This process may have ended before the call.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
}

/// Asks a child of ours to end.
pub(crate) fn terminate(child: &std::process::Child) {
    let Ok(pid) = libc::pid_t::try_from(child.id()) else { return };
    #[expect(unsafe_code, reason = "the child is not yet waited for, so the number is still its own")]
    // SAFETY: `kill` touches no memory of ours.
    unsafe {
        libc::kill(pid, libc::SIGTERM);
    }
}
