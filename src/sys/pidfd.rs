//! Refers to processes by descriptor (`pidfd_open(2)`), signals them, and finds their cgroup.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

use super::checked;
use crate::signal::Signal;

/// A reference to a process that no reuse of its pid can turn into another
/// (`pidfd_open(2)`).
#[derive(Debug)]
pub(crate) struct PidFd(OwnedFd);

impl From<OwnedFd> for PidFd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl PidFd {
    /// Refers to the process that has this pid now.
    ///
    /// # Errors
    /// ESRCH: no such process; EMFILE: no descriptor left; ENOSYS or EPERM: the kernel does
    /// not have it, or a system call filter forbids it.
    pub(crate) fn open(pid: i32) -> nix::Result<Self> {
        // SAFETY: takes plain integers.
        let fd = checked(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel has just made this descriptor for us, and nothing else owns
        // it. It is close-on-exec from the start.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Returns the number of the control group (version 2) that the process is in, or was in
    /// when it exited. Before Linux 6.15 only if the process is not reaped.
    pub(crate) fn control_group(&self) -> Option<u64> {
        // SAFETY: zeros are a valid `pidfd_info`: plain integers.
        let mut info: libc::pidfd_info = unsafe { MaybeUninit::zeroed().assume_init() };
        info.mask = u64::from(libc::PIDFD_INFO_CGROUPID | libc::PIDFD_INFO_EXIT);
        // SAFETY: the kernel writes at most the size of the struct, which is part of the
        // request.
        let result =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) };
        let shown = info.mask & u64::from(libc::PIDFD_INFO_CGROUPID) != 0;
        (result == 0 && shown).then_some(info.cgroupid)
    }

    /// Sends a signal to the process as kill(2) does.
    ///
    /// # Errors
    /// ESRCH: it has exited; EPERM: not permitted, by the kernel or a system call filter.
    pub(crate) fn kill(&self, signal: Signal) -> nix::Result<()> {
        self.send(signal.number(), ptr::null(), 0)
    }

    /// Calls `pidfd_send_signal(2)`. `info` is null or a whole `siginfo_t`.
    ///
    /// # Errors
    /// As [`Self::kill`]; EINVAL: the kernel does not know a flag.
    pub(super) fn send(
        &self,
        signal: i32,
        info: *const libc::siginfo_t,
        flags: libc::c_uint,
    ) -> nix::Result<()> {
        // SAFETY: the descriptor is open while `self` lives; `info` is null or
        // points to a live `siginfo_t`, which the callers in `sys` make sure of.
        checked(unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signal,
                info,
                flags,
            )
        })
        .map(drop)
    }
}
