//! Closing the descriptors that others have passed to us.
//!
//! close(2) may block for as long as whoever passed a descriptor likes: on a socket
//! that lingers, on a FUSE file, on a socket whose queue holds either. So may every
//! call that would tell which. A child that shares our descriptor table closes them,
//! and it alone waits. A timer interrupts it: a socket that lingers is then closed in
//! the background (socket(7)). A FUSE file is not.
//!
//! Such a child is no child to anyone else: [`super::wait`] reaps it without a word
//! and does not count it, and its end comes as a SIGCHLD ([`super::signals`]).

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::siginfo::ENDED;
use super::{descriptors, process, signals};

/// How many such children there are at most.
const CHILDREN: usize = 8;

/// So many of them may close what strangers have passed: they may all block, and what our
/// descendants have passed is not to wait for that.
const FOR_STRANGERS: usize = CHILDREN / 2;

/// How long close(2) may block a child before the timer first interrupts it, and between
/// two interruptions: a stranger may have passed a thousand that block.
const FIRST_INTERRUPTION_US: i64 = 100_000;
const NEXT_INTERRUPTION_US: i64 = 1_000;

/// As many descriptors as one message can carry (`SCM_MAX_FD`).
const ONE_MESSAGE: usize = 253;

/// Descriptors that were passed to us. Dropped, they wait to be closed by [`start`].
#[derive(Debug, Default)]
pub(crate) struct Passed {
    descriptors: Vec<OwnedFd>,
    /// Whether a descendant of ours has passed them. These do not wait for a stranger's:
    /// they are closed first, and half of the children are for them alone.
    pub(crate) trusted: bool,
}

impl Passed {
    /// The descriptors.
    pub(crate) fn all(&self) -> &[OwnedFd] {
        &self.descriptors
    }
}

impl From<Vec<OwnedFd>> for Passed {
    fn from(descriptors: Vec<OwnedFd>) -> Self {
        Self {
            descriptors,
            trusted: false,
        }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        let trusted = self.trusted;
        let descriptors = self.descriptors.drain(..);
        state().waiting(trusted).extend(descriptors);
    }
}

/// Who closes what.
struct State {
    children: Vec<Child>,
    /// What our descendants have passed and no child closes yet.
    trusted: Vec<OwnedFd>,
    /// What strangers have passed and no child closes yet.
    strange: Vec<OwnedFd>,
}

/// A child that closes.
struct Child {
    pid: i32,
    /// What it has to close, and whether a descendant of ours has passed that.
    numbers: Vec<(RawFd, bool)>,
}

static STATE: Mutex<State> = Mutex::new(State {
    children: Vec::new(),
    trusted: Vec::new(),
    strange: Vec::new(),
});

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has what waits closed. Where no child can be had it waits for the next call.
pub(crate) fn start() {
    let mut state = state();
    state.reap();
    state.close(false, None);
}

/// The same where no call comes after it, and `last` is closed behind all others: the
/// descriptor table stays with the child when we exit, and so does the waiting.
pub(crate) fn finish(last: Option<BorrowedFd<'_>>) {
    state().close(true, last);
}

/// Whether there may be no room for the descriptors of one more message. Those that
/// find none are closed by the kernel while we receive the message, and that blocks
/// us. `limit` is that on open descriptors.
pub(crate) fn is_full(limit: usize) -> bool {
    let state = state();
    let closing: usize = state.children.iter().map(|c| c.numbers.len()).sum();
    // Half of them, and one message more, are enough for everything else.
    let open = closing + state.trusted.len() + state.strange.len();
    open > 0 && open + ONE_MESSAGE > limit / 2
}

/// Whether some wait and no child will call for them: none could be had.
pub(crate) fn is_stuck() -> bool {
    let state = state();
    state.children.is_empty() && !(state.trusted.is_empty() && state.strange.is_empty())
}

/// To be called before we end. A child that still closes has stderr open too, and
/// whoever reads that would wait for the child.
pub(crate) fn leave() {
    if is_busy() {
        for number in 0..=2 {
            // SAFETY: takes a plain integer. Nothing is written there any more.
            unsafe { libc::close(number) };
        }
    }
}

/// Whether this is such a child.
pub(crate) fn is_closer(pid: i32) -> bool {
    state().children.iter().any(|child| child.pid == pid)
}

/// Whether there is such a child.
pub(super) fn is_busy() -> bool {
    !state().children.is_empty()
}

/// Notes that this process is reaped; `true` if it was such a child. What one that has
/// not come to its `end` has left open another closes.
pub(super) fn reaped(pid: i32, end: bool) -> bool {
    let mut state = state();
    let Some(index) = state.children.iter().position(|child| child.pid == pid) else {
        return false;
    };
    let child = state.children.remove(index);
    if !end {
        state.take_back(&child);
    }
    state.close(false, None);
    true
}

impl State {
    /// Reaps the children that have exited. The kernel drops the signal that tells of one
    /// where other processes of our user have used up `RLIMIT_SIGPENDING`.
    fn reap(&mut self) {
        let mut index = 0;
        while let Some(child) = self.children.get(index) {
            let mut status = 0;
            // SAFETY: `status` lives until the call returns.
            let reaped =
                unsafe { libc::waitpid(child.pid, &raw mut status, libc::WNOHANG | libc::__WALL) };
            if reaped != child.pid {
                index += 1;
                continue;
            }
            let child = self.children.remove(index);
            if status != 0 {
                self.take_back(&child);
            }
        }
    }

    fn waiting(&mut self, trusted: bool) -> &mut Vec<OwnedFd> {
        if trusted {
            &mut self.trusted
        } else {
            &mut self.strange
        }
    }

    /// Has closed what waits, as far as there may be one more child for it, or `all`, and
    /// `last` behind that.
    fn close(&mut self, all: bool, last: Option<BorrowedFd<'_>>) {
        let count = self.children.len();
        let mut now = Vec::new();
        for (trusted, children) in [(true, CHILDREN), (false, FOR_STRANGERS)] {
            if all || count < children {
                let waiting = self.waiting(trusted).drain(..);
                now.extend(waiting.map(|descriptor| (descriptor, trusted)));
            }
        }
        if now.is_empty() && last.is_none() {
            return;
        }
        for (descriptor, _) in &now {
            // A mark by which it is known again: all that are our own have the flag.
            let _ = fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()));
        }
        let last = last.iter().map(|fd| (fd.as_raw_fd(), false));
        let numbers = now.iter().map(|(fd, of)| (fd.as_raw_fd(), *of));
        let numbers: Vec<_> = numbers.chain(last).collect();
        if let Ok(pid) = close_in_a_child(&numbers) {
            self.children.push(Child { pid, numbers });
            for (descriptor, _) in now {
                // The child's by now.
                let _ = descriptor.into_raw_fd();
            }
        } else {
            for (descriptor, trusted) in now {
                self.waiting(trusted).push(descriptor);
            }
        }
    }

    /// Takes back what this child has left open. A number that it has closed may be
    /// another descriptor by now: one without the mark, or one that waits to be closed or
    /// that another child closes.
    fn take_back(&mut self, child: &Child) {
        let waiting = self.trusted.iter().chain(&self.strange);
        let others = self.children.iter().flat_map(|other| &other.numbers);
        let taken: BTreeSet<RawFd> = waiting
            .map(AsRawFd::as_raw_fd)
            .chain(others.map(|(number, _)| *number))
            .collect();
        for (number, trusted) in &child.numbers {
            if !taken.contains(number) && is_marked(*number) {
                // SAFETY: it is open, and nobody owned it but the child.
                let descriptor = unsafe { OwnedFd::from_raw_fd(*number) };
                self.waiting(*trusted).push(descriptor);
            }
        }
    }
}

/// Whether this descriptor is open and has the mark of one that a child is to close.
fn is_marked(number: RawFd) -> bool {
    descriptors::flags(number) == Ok(FdFlag::empty())
}

/// Closes descriptors of ours in a child, whose pid is returned.
fn close_in_a_child(numbers: &[(RawFd, bool)]) -> nix::Result<i32> {
    process::in_child(ENDED, || {
        interrupt_often();
        let at_once = [0_i32; 2];
        for (number, _) in numbers {
            // SAFETY: the option is a `linger`, two ints, and lives on: off. The number is
            // one that the parent owns and leaves to us; on what is no socket the first call
            // fails, and that is all right.
            unsafe {
                libc::syscall(
                    libc::SYS_setsockopt,
                    *number,
                    libc::SOL_SOCKET,
                    libc::SO_LINGER,
                    at_once.as_ptr(),
                    size_of_val(&at_once),
                );
                libc::syscall(libc::SYS_close, *number);
            }
        }
    })
}

/// Sets the timer of the child. Should it fail, the child waits as long as it takes.
fn interrupt_often() {
    let often = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: NEXT_INTERRUPTION_US,
        },
        it_value: libc::timeval {
            tv_sec: 0,
            tv_usec: FIRST_INTERRUPTION_US,
        },
    };
    signals::catch_without_effect(libc::SIGALRM);
    // SAFETY: `often` is a live local, and the old value is not asked for.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const often, std::ptr::null_mut()) };
}
