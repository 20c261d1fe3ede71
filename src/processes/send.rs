//! One signal to one process, and how the log tells it.

use log::{debug, warn};
use nix::errno::Errno;

use crate::signal::{Received, Signal};
use crate::sys::kill::{Target, forward, forward_by_pidfd};
use crate::sys::pidfd::PidFd;

/// Returns a handle of a process; `None` if there is none to be had.
pub(super) fn open(pid: i32) -> Option<PidFd> {
    match PidFd::open(pid) {
        Ok(handle) => Some(handle),
        Err(Errno::ESRCH) => None,
        Err(errno) => {
            debug!("pidfd_open for pid {pid}: {}; using kill(2)", errno.desc());
            None
        }
    }
}

/// Sends a process a signal, by its handle if possible.
///
/// # Errors
/// As [`forward`].
pub(super) fn send(pid: i32, handle: Option<&PidFd>, received: &Received) -> nix::Result<()> {
    match handle.map(|handle| forward_by_pidfd(handle, received)) {
        Some(Ok(())) => Ok(()),
        Some(Err(Errno::ESRCH)) => Err(Errno::ESRCH),
        // No descriptor, or a filter that forbids to use it: kill(2) tells whether it is
        // the process that may not be signaled.
        Some(Err(_)) | None => forward(Target::Process(pid), received),
    }
}

/// Logs how a signal went.
pub(super) fn log_sent(target: Target, signal: Signal, result: nix::Result<()>) {
    let Err(errno) = result else {
        debug!("sent {signal} to {target}");
        return;
    };
    let is_expected = match errno {
        // It has exited or no process is left in the group; or a warning tells it, once.
        Errno::ESRCH | Errno::EPERM => true,
        // SIGKILL is sent again and again, and the processes that survive it are named.
        _ => signal == Signal::KILL,
    };
    let level = if is_expected {
        log::Level::Debug
    } else {
        log::Level::Warn
    };
    log::log!(level, "cannot send {signal} to {target}: {}", errno.desc());
}

/// Warns that a process or a group may not be signaled.
pub(super) fn warn_not_permitted(target: Target, signal: Signal) {
    warn!(
        "not permitted to send {signal} to {target}: it runs as another user; grant CAP_KILL or \
         CAP_SETUID, or run as that user"
    );
}
