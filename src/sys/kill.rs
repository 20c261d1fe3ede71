//! Sends signals: kill(2), and `rt_sigqueueinfo(2)` with the value that a signal carried.

use std::ptr;

use nix::errno::Errno;

use super::pidfd::PidFd;
use super::siginfo::{RawInfo, raw_info};
use super::{checked, repeated};
use crate::signal::{Received, Signal};

/// The receivers of a signal that kill(2) can address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// One process.
    Process(i32),
    /// A process group.
    Group(i32),
    /// Every process of the namespace except PID 1. To be used as PID 1 only.
    Everyone,
}

/// Sends a signal by kill(2).
///
/// # Errors
/// ESRCH: no such process or group; EPERM: not permitted; see kill(2).
pub(crate) fn kill(target: Target, signal: Signal) -> nix::Result<()> {
    let pid = match target {
        // For kill(2), 0, -1 and negative pids have other meanings.
        Target::Process(pid) | Target::Group(pid) if pid <= 0 => return Err(Errno::ESRCH),
        Target::Process(pid) => pid,
        Target::Group(pid) => -pid,
        Target::Everyone => -1,
    };
    // SAFETY: takes plain integers.
    let call = || libc::c_long::from(unsafe { libc::kill(pid, signal.number()) });
    repeated(&[Errno::ESRCH], call).map(drop)
}

/// Forwards a signal with the value that it carried; for a group, that takes Linux 6.9. If
/// the value cannot be sent, the signal is sent by kill(2), so that it is not lost.
///
/// # Errors
/// As [`kill`].
pub(crate) fn forward(target: Target, received: &Received) -> nix::Result<()> {
    if received.can_be_queued() {
        let info = raw_info(received);
        let result = match target {
            Target::Process(pid) => queue(pid, &info),
            Target::Group(pid) => queue_to_group(pid, &info),
            Target::Everyone => Err(Errno::ENOTSUP),
        };
        // EAGAIN: RLIMIT_SIGPENDING is reached; EPERM and ENOSYS can come from a system
        // call filter.
        if result.is_ok() {
            return Ok(());
        }
    }
    kill(target, received.signal)
}

/// As [`forward`], to a process by its pidfd.
///
/// # Errors
/// As [`PidFd::kill`].
pub(crate) fn forward_by_pidfd(handle: &PidFd, received: &Received) -> nix::Result<()> {
    if received.can_be_queued() {
        let info = raw_info(received);
        let result = handle.send(info.signo, ptr::from_ref(&info).cast(), 0);
        if result.is_ok() {
            return Ok(());
        }
    }
    handle.kill(received.signal)
}

fn queue(pid: i32, info: &RawInfo) -> nix::Result<()> {
    // SAFETY: `info` is a whole `siginfo_t` and outlives the call.
    checked(unsafe {
        libc::syscall(
            libc::SYS_rt_sigqueueinfo,
            pid,
            info.signo,
            ptr::from_ref(info),
        )
    })
    .map(drop)
}

fn queue_to_group(leader: i32, info: &RawInfo) -> nix::Result<()> {
    /// `PIDFD_SIGNAL_PROCESS_GROUP` of `linux/pidfd.h`.
    const PROCESS_GROUP: libc::c_uint = 1 << 2;
    let leader = PidFd::open(leader)?;
    leader.send(info.signo, ptr::from_ref(info).cast(), PROCESS_GROUP)
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process(pid) => write!(f, "pid {pid}"),
            Self::Group(group) => write!(f, "process group {group}"),
            Self::Everyone => f.write_str("all other processes"),
        }
    }
}
