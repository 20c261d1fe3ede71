//! Helpers: children that make the system calls that may block without end, because a
//! filesystem does not answer or another process does not.
//!
//! A helper shares our descriptor table: a file that blocks on close(2) stays open with the
//! helper that uses it when we exit, and does not block our exit.
//!
//! No other code sees a helper as a child. [`super::wait`] reaps it without reporting or
//! counting it, the tree of processes leaves it out, and its exit is delivered as SIGCHLD
//! ([`super::siginfo`]). All signals are blocked in it, as they are in us.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::siginfo::HELPER_EXITED;
use super::{descriptors, process, signals};
use crate::ending::Ending;
use crate::signal::Signal;

/// How long the exit of a helper is waited for until it is looked up for the first time.
/// Twice as long each time after that. The signal of the exit ends the wait, but the kernel
/// drops it if other processes of our user have used up `RLIMIT_SIGPENDING`.
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// How long a helper is waited for at least, however little time is left: an answer takes
/// much less than this.
const LEAST: Duration = Duration::from_millis(100);

/// A helper. Its pid is used again once it is reaped, its number is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Helper {
    /// Its process id.
    pub(crate) pid: i32,
    number: u64,
}

/// Those that are not reaped, and how many were started.
static HELPERS: Mutex<(Vec<Helper>, u64)> = Mutex::new((Vec::new(), 0));

fn helpers() -> MutexGuard<'static, (Vec<Helper>, u64)> {
    HELPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` in a helper, which then exits with this status.
///
/// # Errors
/// As [`process::in_child`].
pub(crate) fn start(work: impl FnOnce() -> u8) -> nix::Result<Helper> {
    let pid = process::in_child(HELPER_EXITED, work)?;
    let (helpers, started) = &mut *helpers();
    *started += 1;
    let number = *started;
    let helper = Helper { pid, number };
    helpers.push(helper);
    Ok(helper)
}

/// Has a helper use a file and close it, and waits for it. Returns how it ended, with the
/// status that `work` returns. If there can be no helper, this process does the same.
///
/// # Errors
/// The pid of the helper, if it still runs at this time.
pub(crate) fn with_file(
    file: OwnedFd,
    until: Instant,
    work: impl Fn(BorrowedFd<'_>) -> u8,
) -> Result<Ending, i32> {
    // The helper closes it in the table that is ours as well.
    let file = ManuallyDrop::new(file);
    let helper = start(|| {
        let code = work(file.as_fd());
        descriptors::close(file.as_raw_fd());
        code
    });
    match helper {
        Ok(helper) => wait(helper, until).ok_or(helper.pid),
        Err(_) => Ok(Ending::Exited(work(ManuallyDrop::into_inner(file).as_fd()))),
    }
}

/// Waits until a helper has ended and is reaped, and returns how it ended; `None` if it
/// still runs at this time, or after [`LEAST`] if that is later.
pub(crate) fn wait(helper: Helper, until: Instant) -> Option<Ending> {
    let until = until.max(Instant::now() + LEAST);
    let mut look = FIRST_LOOK;
    loop {
        if let Some(ending) = reap(helper.pid) {
            return Some(ending);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || signals::wait_for(HELPER_EXITED, Some(left.min(look))).is_err() {
            return None;
        }
        look *= 2;
    }
}

/// Reaps a helper that has ended, without waiting for that.
pub(super) fn reap(pid: i32) -> Option<Ending> {
    let mut status = 0;
    // SAFETY: `status` lives until the call returns.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG | libc::__WALL) };
    if reaped != pid {
        return None;
    }
    forget(pid);
    ending(status)
}

/// Decodes the wait status of a process that has ended (wait(2)).
pub(super) fn ending(status: i32) -> Option<Ending> {
    if libc::WIFEXITED(status) {
        let code = u8::try_from(libc::WEXITSTATUS(status)).ok()?;
        Some(Ending::Exited(code))
    } else if libc::WIFSIGNALED(status) {
        let signal = Signal::from_number(libc::WTERMSIG(status))?;
        Some(Ending::Killed(signal, libc::WCOREDUMP(status)))
    } else {
        None
    }
}

/// Records that this process is reaped, and returns whether it was a helper.
pub(super) fn forget(pid: i32) -> bool {
    let (helpers, _) = &mut *helpers();
    let count = helpers.len();
    helpers.retain(|helper| helper.pid != pid);
    helpers.len() < count
}

/// In a fork: the helpers of its parent are not its own.
pub(crate) fn forget_all() {
    helpers().0.clear();
}

/// Whether this helper is not reaped.
pub(crate) fn is_running(helper: Helper) -> bool {
    helpers().0.contains(&helper)
}

/// Whether this is the pid of a helper.
pub(crate) fn is_helper(pid: i32) -> bool {
    helpers().0.iter().any(|helper| helper.pid == pid)
}

/// Whether there is a helper.
pub(super) fn is_busy() -> bool {
    !helpers().0.is_empty()
}

/// Closes stdin, stdout and stderr if there is a helper. To be called before we exit: the
/// helper has them open as well, and their readers would wait for it. A regular file has no
/// reader, and may block.
pub(crate) fn release_stdio() {
    if is_busy() {
        let has_reader =
            |number: &RawFd| !descriptors::file_type(*number).is_ok_and(descriptors::is_file);
        (0..=2).filter(has_reader).for_each(descriptors::close);
    }
}
