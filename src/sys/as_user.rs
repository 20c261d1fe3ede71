//! Sends signals with the receiver's real user id, without `CAP_KILL`.
//!
//! kill(2) then compares the sender's real or effective user id with the receiver's real
//! or saved one, and `CAP_SETUID` alone is enough to take on a real user id. A process of
//! that user may signal any process that has the id. Therefore a short-lived child takes
//! it on, not this process.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::kill::{Target, kill};
use super::shared_page::SharedPage;
use super::signals;
use super::wait::{self, Waited};
use super::{checked, process};
use crate::signal::Signal;

/// How long the child may take before it is killed. It makes a few system calls, none of
/// which waits.
const PATIENCE: Duration = Duration::from_millis(300);

/// How many children are tried if a process of that user suspends or kills them, and how
/// often our own user id is restored.
const TRIES: u32 = 3;

/// What became of the calls.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The result of each call; EPERM where it is unknown.
    pub(crate) results: Vec<nix::Result<()>>,
    /// Why there was no child, if the calls were made in this process.
    pub(crate) no_child: Option<Errno>,
    /// Why this process still has the other real user id, if it does.
    pub(crate) not_back: Option<Errno>,
}

/// Calls `send` with each number below `count`, with the real user id `uid`: in a child,
/// or in this process if there can be no child; `own` is then restored.
///
/// `send` is to make system calls and nothing else. To be called with `CAP_SETUID` only,
/// because a system call filter may kill the process for the attempt.
pub(crate) fn with_real_uid(
    uid: u32,
    own: u32,
    count: usize,
    send: impl Fn(usize) -> nix::Result<()>,
) -> Outcome {
    let mut outcome = Outcome {
        results: Vec::new(),
        no_child: None,
        not_back: None,
    };
    let results = match SharedPage::new(count) {
        Ok(page) => Results(page),
        Err(errno) => {
            // A child could not report its results.
            outcome.no_child = Some(errno);
            let result = set_real_uid(uid);
            outcome.results = (0..count)
                .map(|index| result.and_then(|()| send(index)))
                .collect();
            outcome.not_back = set_back(own).err();
            return outcome;
        }
    };
    for _ in 0..TRIES {
        match in_child(uid, &results, &send) {
            Ok(()) => {}
            Err(errno) => {
                outcome.no_child = Some(errno);
                results.fill(set_real_uid(uid), &send);
                outcome.not_back = set_back(own).err();
            }
        }
        if results.are_complete() {
            break;
        }
    }
    outcome.results = results.all();
    outcome
}

/// Makes the calls whose results are not known in a child, and reaps it.
///
/// # Errors
/// As [`process::in_child`].
fn in_child(
    uid: u32,
    results: &Results,
    send: &impl Fn(usize) -> nix::Result<()>,
) -> nix::Result<()> {
    let pid = process::in_child(libc::SIGCHLD, || {
        results.fill(set_real_uid(uid), send);
        0
    })?;
    let mut taken = false;
    if !wait_for(pid, true, &mut taken) {
        // Permitted: the child still has our effective user id. If it is frozen it does
        // not exit yet, and is reaped later like any other child.
        let _ = kill(Target::Process(pid), Signal::KILL);
        wait_for(pid, false, &mut taken);
    }
    if taken {
        // It may have come from another child as well, which is reaped later. A process
        // may always signal itself.
        let _ = kill(Target::Process(process::own_pid()), Signal::CHLD);
    }
    Ok(())
}

/// Waits until a child is reaped, and returns whether it was: not if it took longer than
/// [`PATIENCE`] or, with `unless_stopped`, was suspended. Sets `taken` if a SIGCHLD was
/// taken meanwhile.
fn wait_for(pid: i32, unless_stopped: bool, taken: &mut bool) -> bool {
    let start = Instant::now();
    loop {
        match wait::one(pid) {
            Waited::Ended(..) | Waited::NoChildren => return true,
            Waited::Stopped(..) if unless_stopped => return false,
            Waited::Stopped(..) | Waited::Continued(_) => continue,
            Waited::NoChange => {}
        }
        let left = PATIENCE.saturating_sub(start.elapsed());
        if left.is_zero() {
            return false;
        }
        match signals::wait_for(libc::SIGCHLD, Some(left)) {
            Ok(received) => *taken |= received,
            Err(_) => return false,
        }
    }
}

/// Sets the real user id only, by the raw call: the C library's function would also have
/// it set in other threads.
///
/// # Errors
/// EPERM, whatever the reason: the signal is not permitted then.
fn set_real_uid(uid: u32) -> nix::Result<()> {
    const UNCHANGED: libc::uid_t = libc::uid_t::MAX;
    // SAFETY: takes plain integers.
    checked(unsafe { libc::syscall(libc::SYS_setresuid, uid, UNCHANGED, UNCHANGED) })
        .map(drop)
        .map_err(|_| Errno::EPERM)
}

/// Restores our own real user id if it is another one.
///
/// # Errors
/// EPERM: it cannot be set.
pub(crate) fn set_back(own: u32) -> nix::Result<()> {
    let mut result = Ok(());
    for _ in 0..TRIES {
        if nix::unistd::getuid().as_raw() == own {
            return Ok(());
        }
        result = set_real_uid(own);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The results of the calls, one byte for each: written by the child, read by the parent.
struct Results(SharedPage);

impl Results {
    const UNKNOWN: u8 = 0;
    /// Higher than any error number of Linux. All other bytes are error numbers.
    const SENT: u8 = u8::MAX;

    /// Makes the calls whose results are not known, if `allowed`, and records the results.
    fn fill(&self, allowed: nix::Result<()>, send: &impl Fn(usize) -> nix::Result<()>) {
        for (index, result) in self.0.iter().enumerate() {
            if result.load(Ordering::Relaxed) == Self::UNKNOWN {
                let code = match allowed.and_then(|()| send(index)) {
                    Ok(()) => Self::SENT,
                    Err(errno) => u8::try_from(errno as i32).unwrap_or(Self::UNKNOWN),
                };
                result.store(code, Ordering::Release);
            }
        }
    }

    fn are_complete(&self) -> bool {
        let mut codes = self.0.iter().map(|code| code.load(Ordering::Acquire));
        codes.all(|code| code != Self::UNKNOWN)
    }

    fn all(&self) -> Vec<nix::Result<()>> {
        let result = |code: &AtomicU8| match code.load(Ordering::Acquire) {
            Self::SENT => Ok(()),
            Self::UNKNOWN => Err(Errno::EPERM),
            errno => Err(Errno::from_raw(errno.into())),
        };
        self.0.iter().map(result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_back_from_the_child_in_order() {
        let own = nix::unistd::getuid().as_raw();
        let sent = |index| match index {
            1 => Err(Errno::ESRCH),
            _ => Ok(()),
        };
        // Every process may set its own user id.
        let outcome = with_real_uid(own, own, 3, sent);
        assert_eq!(outcome.results, [Ok(()), Err(Errno::ESRCH), Ok(())]);
        assert_eq!((outcome.no_child, outcome.not_back), (None, None));
    }

    #[test]
    fn a_suspended_or_killed_child_does_not_block_its_parent() {
        let own = nix::unistd::getuid().as_raw();
        for signal in [Signal::STOP, Signal::KILL] {
            let parent = process::own_pid();
            let outcome = with_real_uid(own, own, 2, |index| {
                if index == 1 && process::own_pid() != parent {
                    return kill(Target::Process(process::own_pid()), signal);
                }
                Ok(())
            });
            let first = outcome.results.first().copied();
            assert_eq!(first, Some(Ok(())), "{signal}");
            assert_eq!(outcome.results.len(), 2, "{signal}");
            assert_eq!(outcome.no_child, None, "{signal}");
        }
    }
}
