//! This process: its pid, its exit, its children that share descriptors, its rights.

use std::ffi::c_int;

use nix::errno::Errno;
use nix::unistd::ForkResult;

use std::time::Duration;

use super::checked;

/// The id of this process.
pub(crate) fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// The time since the system started, in clock ticks as in /proc/PID/stat: a hundredth
/// of a second each on every architecture that we are built for.
pub(crate) fn ticks() -> u64 {
    let since_start = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    let since_start = since_start.map_or(Duration::MAX, Duration::from);
    u64::try_from(since_start.as_millis() / 10).unwrap_or(u64::MAX)
}

/// Exits with this code, by _exit(2): the C library has no handlers to call and no buffers
/// to write, and looking for them takes eight page faults.
pub(crate) fn exit(code: u8) -> ! {
    // SAFETY: no destructor and no exit handler has to run.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Runs `child` in a child process, which then exits with this status, and returns its pid.
///
/// Its memory is a copy, as after fork(2). The descriptor table is shared, so that its
/// exit closes no descriptor, which might wait for a filesystem. On its exit it sends
/// `exit_signal`.
///
/// # Errors
/// EAGAIN: a limit on processes is reached; ENOMEM; or a system call filter's.
pub(super) fn in_child(exit_signal: c_int, child: impl FnOnce() -> u8) -> nix::Result<i32> {
    let flags = libc::CLONE_FILES | exit_signal;
    // SAFETY: without CLONE_VM and a stack this is fork(2). The C library is not informed:
    // this process has one thread, and the child never returns from this function. All
    // arguments whose order differs between architectures are 0.
    let pid = checked(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    if pid == 0 {
        exit(child());
    }
    i32::try_from(pid).map_err(|_| Errno::ECHILD)
}

/// Runs `child` in a fork of this process, which then exits with this status, and returns its
/// pid. The C library takes part, so that the child may do all that this process may.
///
/// # Errors
/// EAGAIN: a limit on processes is reached; ENOMEM; or a system call filter's.
pub(crate) fn fork(child: impl FnOnce() -> u8) -> nix::Result<i32> {
    // SAFETY: this process has one thread, so that no lock is held by another.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child.as_raw()),
        ForkResult::Child => exit(child()),
    }
}

/// The process group of a child of ours that is not reaped; `None` if there is no such
/// process.
pub(crate) fn group_of(pid: i32) -> Option<i32> {
    let group = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid)));
    group.ok().map(nix::unistd::Pid::as_raw)
}

/// Capabilities of this process concerning processes of other users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Whether it may signal all of them (`CAP_KILL`).
    pub(crate) kill: bool,
    /// Whether it may take on any user id (`CAP_SETUID`).
    pub(crate) set_uid: bool,
}

/// Returns the capabilities of this process, by capget(2).
pub(crate) fn rights() -> Rights {
    /// `_LINUX_CAPABILITY_VERSION_3`, `CAP_KILL` and `CAP_SETUID` of
    /// `linux/capability.h`.
    const VERSION: u32 = 0x2008_0522;
    const KILL: u32 = 5;
    const SET_UID: u32 = 7;
    let mut header = [VERSION, 0];
    // Twice: effective, permitted, inheritable.
    let mut sets = [0_u32; 6];
    // SAFETY: both are live locals of the sizes that this version has.
    let result =
        checked(unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) });
    let [effective, ..] = sets;
    match result {
        Ok(_) => Rights {
            kill: effective & (1 << KILL) != 0,
            set_uid: effective & (1 << SET_UID) != 0,
        },
        // A system call filter: the result of kill(2) counts, and nothing else is tried.
        Err(_) => Rights {
            kill: true,
            set_uid: false,
        },
    }
}
