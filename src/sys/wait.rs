//! Reaping: waitpid(2) with the raw status decoded here. `nix` refuses a
//! status with a realtime signal in it after the kernel has given it away.

use nix::errno::Errno;

use super::{checked, closing};
use crate::ending::Ending;
use crate::signal::Signal;

/// One answer of waitpid(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// This child has ended and is reaped.
    Ended(i32, Ending),
    /// This child was stopped by this signal.
    Stopped(i32, Signal),
    /// This child was resumed.
    Continued(i32),
    /// There are children, and none has anything to say.
    NoChange,
    /// There are no children.
    NoChildren,
}

/// Asks for the next change of any child, without waiting. `children` lists them, as
/// far as that can be told; it is asked only while descriptors are being closed.
pub(crate) fn any(children: fn() -> Vec<i32>) -> Waited {
    wait(-1, Some(children))
}

/// Asks for a change of this child, without waiting.
pub(crate) fn one(pid: i32) -> Waited {
    wait(pid, None)
}

fn wait(pid: i32, children: Option<fn() -> Vec<i32>>) -> Waited {
    // `__WALL`: or ECHILD would overlook children that a clone(2) of before
    // our own start made with another exit signal.
    let flags = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED | libc::__WALL;
    loop {
        let mut status = 0;
        // SAFETY: `status` is a live local.
        let result = checked(libc::c_long::from(unsafe {
            libc::waitpid(pid, &raw mut status, flags)
        }));
        match result {
            Ok(0) => {
                return match children {
                    Some(children) if closing::is_busy() && !has_others(children) => {
                        Waited::NoChildren
                    }
                    _ => Waited::NoChange,
                };
            }
            Ok(pid) => {
                // A pid is an int; the conversion cannot fail.
                let pid = i32::try_from(pid).unwrap_or_default();
                match decode(pid, status) {
                    Some(Waited::Ended(pid, ending))
                        if closing::reaped(pid, ending == Ending::Exited(0)) => {}
                    Some(waited) => return waited,
                    None => {}
                }
            }
            Err(Errno::ECHILD) => return Waited::NoChildren,
            // It does not wait, so that nothing interrupts it for good.
            Err(Errno::EINTR) => {}
            Err(_) => return Waited::NoChange,
        }
    }
}

/// Whether there is a child that does not just close descriptors: one may do so for
/// ever, and nobody is to wait for it.
fn has_others(children: fn() -> Vec<i32>) -> bool {
    // Those that send SIGCHLD when they end are seen without `__WALL`.
    let flags = libc::WNOHANG | libc::WNOWAIT | libc::WEXITED;
    // SAFETY: takes plain integers and a null pointer for what nobody reads.
    let seen = checked(unsafe { libc::syscall(libc::SYS_waitid, libc::P_ALL, 0, 0, flags, 0) });
    seen != Err(Errno::ECHILD)
        || children()
            .into_iter()
            .any(|child| !closing::is_closer(child))
}

/// Decodes a wait status (wait(2)); `None` for one that Linux does not make.
fn decode(pid: i32, status: i32) -> Option<Waited> {
    if libc::WIFEXITED(status) {
        let code = u8::try_from(libc::WEXITSTATUS(status)).ok()?;
        Some(Waited::Ended(pid, Ending::Exited(code)))
    } else if libc::WIFSIGNALED(status) {
        let signal = Signal::from_number(libc::WTERMSIG(status))?;
        Some(Waited::Ended(
            pid,
            Ending::Killed(signal, libc::WCOREDUMP(status)),
        ))
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
