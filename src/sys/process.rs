//! Processes by number and by descriptor, and what prctl(2) sets on ours.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

use super::checked;
use crate::signal::Signal;

/// Our own process id.
pub(crate) fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// Ends this process without what the C library would do first: nothing is
/// registered with it and nothing is left in its buffers, and looking for that
/// takes eight page faults.
pub(crate) fn exit(code: u8) -> ! {
    // SAFETY: no destructor and no handler is owed to anyone.
    unsafe { libc::_exit(i32::from(code)) }
}

/// The process group of a child of ours that is not reaped.
pub(crate) fn group_of(pid: i32) -> Option<i32> {
    let group = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid)));
    group.ok().map(nix::unistd::Pid::as_raw)
}

/// What we may do to processes of other users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Whether we may signal all of them (`CAP_KILL`).
    pub(crate) kill: bool,
    /// Whether we may take on a user id (`CAP_SETUID`).
    pub(crate) set_uid: bool,
}

/// Asks what we may do to processes of other users, by capget(2).
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
        // A filter: kill(2) tells what it tells, and nothing is tried besides.
        Err(_) => Rights {
            kill: true,
            set_uid: false,
        },
    }
}

/// Has the kernel send us `signal` when our parent ends (`PR_SET_PDEATHSIG`).
/// If the parent has ended by the time this is set, the signal is sent here.
///
/// # Errors
/// See prctl(2).
pub(crate) fn die_with_parent(signal: Signal, parent: i32) -> nix::Result<()> {
    // SAFETY: takes plain integers.
    checked(libc::c_long::from(unsafe {
        libc::prctl(
            libc::PR_SET_PDEATHSIG,
            libc::c_long::from(signal.number()),
            0,
            0,
            0,
        )
    }))?;
    let now = nix::unistd::getppid().as_raw();
    // 0: the parent is outside our PID namespace, dead or alive.
    if now != parent && now != 0 {
        super::signals::kill(super::signals::Target::Process(own_pid()), signal)?;
    }
    Ok(())
}

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
