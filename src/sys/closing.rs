//! Closing the descriptors that others have passed to us.
//!
//! close(2) may block for as long as whoever passed a descriptor likes: on a socket
//! that lingers, on a FUSE file, on a socket whose queue holds either. So may every
//! call that would tell which. A child that shares our descriptor table closes them,
//! and it alone waits.
//!
//! Such a child is no child to anyone else: [`super::wait`] reaps it without a word
//! and does not count it, and its end comes as a SIGCHLD ([`super::signals`]).

use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::checked;

/// The signal that such a child sends when it ends. Not SIGCHLD: waitpid(2) tells
/// these children from all others by that. Realtime signals do not merge with one that
/// somebody else sends.
pub(super) const ENDED: i32 = 64;

/// How many such children there are at most.
const CHILDREN: usize = 8;

/// As many descriptors as one message can carry (`SCM_MAX_FD`).
const ONE_MESSAGE: usize = 253;

/// Descriptors that were passed to us. Dropped, they wait to be closed by [`start`].
#[derive(Debug, Default)]
pub(crate) struct Passed {
    descriptors: Vec<OwnedFd>,
    /// Whether a descendant of ours has passed them. These are closed first, so that
    /// none of them waits for a stranger's.
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
        state()
            .waiting
            .extend(descriptors.map(|descriptor| (!trusted, descriptor)));
    }
}

/// Who closes what.
struct State {
    /// The children, and how many descriptors each has to close.
    children: Vec<(i32, usize)>,
    /// What no child closes yet; `true` where it came from a stranger.
    waiting: Vec<(bool, OwnedFd)>,
}

static STATE: Mutex<State> = Mutex::new(State {
    children: Vec::new(),
    waiting: Vec::new(),
});

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has what waits closed. Where no child can be had it waits for the next call.
pub(crate) fn start() {
    let mut state = state();
    if state.children.len() < CHILDREN {
        state.close(None);
    }
}

/// The same where no call comes after it, and `last` is closed behind all others: the
/// descriptor table stays with the child when we exit, and so does the waiting.
pub(crate) fn finish(last: Option<BorrowedFd<'_>>) {
    state().close(last);
}

/// Whether there may be no room for the descriptors of one more message. Those that
/// find none are closed by the kernel while we receive the message, and that blocks
/// us. `limit` is that on open descriptors.
pub(crate) fn is_full(limit: usize) -> bool {
    let state = state();
    let closing: usize = state.children.iter().map(|(_, count)| count).sum();
    // Half of them, and one message more, are enough for everything else.
    let open = closing + state.waiting.len();
    open > 0 && open + ONE_MESSAGE > limit / 2
}

/// Whether some wait and no child will call for them: none could be had.
pub(crate) fn is_stuck() -> bool {
    let state = state();
    state.children.is_empty() && !state.waiting.is_empty()
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
    state().children.iter().any(|(child, _)| *child == pid)
}

/// Whether there is such a child.
pub(super) fn is_busy() -> bool {
    !state().children.is_empty()
}

/// Notes that this process is reaped; `true` if it was such a child.
pub(super) fn reaped(pid: i32) -> bool {
    let mut state = state();
    let before = state.children.len();
    state.children.retain(|(child, _)| *child != pid);
    let was_one = state.children.len() < before;
    if was_one {
        state.close(None);
    }
    was_one
}

impl State {
    fn close(&mut self, last: Option<BorrowedFd<'_>>) {
        self.waiting.sort_by_key(|(of_stranger, _)| *of_stranger);
        let waiting = self.waiting.iter().map(|(_, fd)| fd.as_raw_fd());
        let last = last.iter().map(AsRawFd::as_raw_fd);
        let numbers: Vec<RawFd> = waiting.chain(last).collect();
        if numbers.is_empty() {
            return;
        }
        if let Ok(child) = close_in_a_child(&numbers) {
            self.children.push((child, numbers.len()));
            for (_, descriptor) in self.waiting.drain(..) {
                // The child's by now.
                let _ = descriptor.into_raw_fd();
            }
        }
    }
}

/// Closes descriptors of ours in a child, whose pid is returned.
fn close_in_a_child(numbers: &[RawFd]) -> nix::Result<i32> {
    let flags = libc::CLONE_FILES | ENDED;
    // SAFETY: without CLONE_VM and with no stack named the child goes on with a copy
    // of our memory, as after fork(2). The C library is not told: this process has one
    // thread, and the child makes system calls alone and never returns from here. Where
    // the order of the arguments differs among architectures, they are all 0.
    let child = checked(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    if child != 0 {
        return i32::try_from(child).map_err(|_| Errno::ECHILD);
    }
    let at_once = [0_i32; 2];
    for number in numbers {
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
    super::process::exit(0)
}
