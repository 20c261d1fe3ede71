//! Processes by descriptor (`pidfd_open(2)`).

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
    /// ESRCH: no such process; EMFILE: no descriptor left; ENOSYS or EPERM:
    /// the kernel or a filter does not offer it.
    pub(crate) fn open(pid: i32) -> nix::Result<Self> {
        // SAFETY: takes plain integers.
        let fd = checked(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody
        // else knows it. It is close-on-exec from the start.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The control group of version 2 that the process is in, or was in when it ended,
    /// by its number (Linux 6.15; before that only of one that is not reaped).
    pub(crate) fn control_group(&self) -> Option<u64> {
        // SAFETY: zeros are a valid `pidfd_info`: plain integers.
        let mut info: libc::pidfd_info = unsafe { MaybeUninit::zeroed().assume_init() };
        info.mask = u64::from(libc::PIDFD_INFO_CGROUPID | libc::PIDFD_INFO_EXIT);
        // SAFETY: the kernel writes no more than the size of the struct, which is part of
        // the request.
        let result =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) };
        let told = info.mask & u64::from(libc::PIDFD_INFO_CGROUPID) != 0;
        (result == 0 && told).then_some(info.cgroupid)
    }

    /// Sends the process a signal as kill(2) does.
    ///
    /// # Errors
    /// ESRCH: it has ended; EPERM: not allowed, by the kernel or a filter.
    pub(crate) fn kill(&self, signal: Signal) -> nix::Result<()> {
        self.send(signal.number(), ptr::null(), 0)
    }

    /// `pidfd_send_signal(2)`. `info` is null or a whole `siginfo_t`.
    pub(super) fn send(
        &self,
        signal: i32,
        info: *const libc::siginfo_t,
        flags: libc::c_uint,
    ) -> nix::Result<()> {
        // SAFETY: the descriptor is open while `self` lives; `info` is null or
        // points to a live `siginfo_t`, as this module's callers see to.
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
