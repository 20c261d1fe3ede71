//! Reaps children: waitpid(2), with the status decoded here. `nix` returns an error for a
//! real-time signal, when the kernel has already discarded the status.

use nix::errno::Errno;

use super::{checked, closing, helpers, repeated};
use crate::ending::Ending;
use crate::signal::Signal;

/// One result of waitpid(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// This child has exited or was killed, and is reaped.
    Ended(i32, Ending),
    /// This child was suspended by this signal.
    Stopped(i32, Signal),
    /// This child was resumed.
    Continued(i32),
    /// There are children, but no change to report.
    NoChange,
    /// There are no children.
    NoChildren,
}

/// Returns the next change of any child, without waiting. `children` lists our children,
/// or returns `None` if it cannot; it is called only while there is a helper
/// ([`super::helpers`]).
///
/// # Errors
/// EPERM and others: a system call filter denies wait4(2).
pub(crate) fn any(children: fn() -> Option<Vec<i32>>) -> nix::Result<Waited> {
    wait(-1, Some(children))
}

/// Returns the next change of this child, without waiting.
pub(crate) fn one(pid: i32) -> Waited {
    wait(pid, None).unwrap_or(Waited::NoChange)
}

fn wait(pid: i32, children: Option<fn() -> Option<Vec<i32>>>) -> nix::Result<Waited> {
    // `__WALL`: without it ECHILD would ignore children with another exit signal, which
    // clone(2) may have made before the program was started by execve(2).
    let flags = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED | libc::__WALL;
    loop {
        let mut status = 0;
        // SAFETY: `status` is a live local.
        let call = || libc::c_long::from(unsafe { libc::waitpid(pid, &raw mut status, flags) });
        match repeated(&[Errno::ECHILD], call) {
            Ok(0) => {
                return Ok(match children {
                    Some(children) if helpers::is_busy() && !has_others(children) => {
                        Waited::NoChildren
                    }
                    _ => Waited::NoChange,
                });
            }
            Ok(pid) => {
                // Cannot fail: a pid is an int.
                let pid = i32::try_from(pid).unwrap_or_default();
                match decode(pid, status) {
                    Some(Waited::Ended(pid, ending)) if helpers::forget(pid) => {
                        closing::reaped(pid, ending);
                    }
                    Some(waited) => return Ok(waited),
                    None => {}
                }
            }
            Err(Errno::ECHILD) => return Ok(Waited::NoChildren),
            // It does not block, so that it cannot be interrupted again and again.
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether this is a child of ours that is not reaped.
pub(crate) fn is_child(pid: i32) -> bool {
    let flags = libc::WNOHANG | libc::WNOWAIT | libc::WEXITED | libc::__WALL;
    // SAFETY: takes plain integers, and null pointers for results that are not read.
    let seen = checked(unsafe { libc::syscall(libc::SYS_waitid, libc::P_PID, pid, 0, flags, 0) });
    seen.is_ok()
}

/// Whether there is a child that is not a helper. A helper may block forever, and is not
/// waited for.
fn has_others(children: fn() -> Option<Vec<i32>>) -> bool {
    // Without `__WALL` those are seen that send SIGCHLD when they exit.
    let flags = libc::WNOHANG | libc::WNOWAIT | libc::WEXITED;
    // SAFETY: takes plain integers, and null pointers for results that are not read.
    let seen = checked(unsafe { libc::syscall(libc::SYS_waitid, libc::P_ALL, 0, 0, flags, 0) });
    let is_other = |child: &i32| !helpers::is_helper(*child);
    // Unread, there may be some.
    seen != Err(Errno::ECHILD) || children().is_none_or(|children| children.iter().any(is_other))
}

/// Decodes a wait status (wait(2)); `None` if it is not one of Linux.
fn decode(pid: i32, status: i32) -> Option<Waited> {
    if let Some(ending) = helpers::ending(status) {
        Some(Waited::Ended(pid, ending))
    } else if libc::WIFSTOPPED(status) {
        let signal = Signal::from_number(libc::WSTOPSIG(status))?;
        Some(Waited::Stopped(pid, signal))
    } else if libc::WIFCONTINUED(status) {
        Some(Waited::Continued(pid))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_decoded() {
        let killed = |number, core| {
            Some(Waited::Ended(
                9,
                Ending::Killed(Signal::from_number(number).unwrap(), core),
            ))
        };
        assert_eq!(decode(9, 0), Some(Waited::Ended(9, Ending::Exited(0))));
        assert_eq!(
            decode(9, 255 << 8),
            Some(Waited::Ended(9, Ending::Exited(255)))
        );
        assert_eq!(decode(9, 15), killed(15, false));
        assert_eq!(decode(9, 6 | 0x80), killed(6, true));
        for realtime in [32, 34, 40, 64] {
            assert_eq!(decode(9, realtime), killed(realtime, false));
        }
        assert_eq!(
            decode(9, 19 << 8 | 0x7f),
            Some(Waited::Stopped(9, Signal::STOP))
        );
        assert_eq!(decode(9, 0xffff), Some(Waited::Continued(9)));
    }
}
