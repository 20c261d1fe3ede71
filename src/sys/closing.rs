//! Closes the descriptors that other processes have passed to us, without blocking.
//!
//! The process that passed a descriptor decides how long close(2) blocks: on a socket that
//! lingers, on a FUSE file, on a socket whose queue holds either. Every call that could
//! find out which it is can block as well. Therefore a child that shares our descriptor
//! table (a closer, one of the [`super::helpers`]) closes them. A timer interrupts it: a
//! lingering socket is then closed in the background (socket(7)), a FUSE file is not.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::{descriptors, helpers, signals};
use crate::ending::Ending;

/// The maximum number of closers.
const CLOSERS: usize = 8;

/// How many of them may close what strangers have passed. All of these may block; the
/// others remain for what our descendants have passed.
const FOR_STRANGERS: usize = CLOSERS / 2;

/// How long close(2) may block a closer before the timer interrupts it for the first time,
/// and between two interruptions: a stranger may have passed a thousand that block.
const FIRST_INTERRUPTION_US: i64 = 100_000;
const NEXT_INTERRUPTION_US: i64 = 1_000;

/// The maximum number of descriptors in one message (`SCM_MAX_FD`, unix(7)).
const ONE_MESSAGE: usize = 253;

/// Descriptors that were passed to us. When dropped, they wait until [`start`] closes them.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    descriptors: Vec<OwnedFd>,
    /// Whether a descendant of ours has passed them. They do not wait for those of
    /// strangers: they are closed first, and half of the closers are for them only.
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

/// The closers, and the descriptors that wait for one.
struct State {
    closers: Vec<Closer>,
    /// Passed by our descendants.
    trusted: Vec<OwnedFd>,
    /// Passed by strangers.
    strange: Vec<OwnedFd>,
}

struct Closer {
    pid: i32,
    /// What it is to close, and whether a descendant of ours has passed that.
    numbers: Vec<(RawFd, bool)>,
}

static STATE: Mutex<State> = Mutex::new(State {
    closers: Vec::new(),
    trusted: Vec::new(),
    strange: Vec::new(),
});

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts to close what waits. If there can be no closer, it waits for the next call.
pub(crate) fn start() {
    let mut state = state();
    state.reap();
    state.close(false, None);
}

/// The same as the last call, which closes everything and finally `last`: the descriptor
/// table stays with the closer when we exit, and so does the waiting.
pub(crate) fn finish(last: Option<BorrowedFd<'_>>) {
    state().close(true, last);
}

/// Whether the descriptors of one more message might not fit below `limit`, the limit on
/// open descriptors. The kernel closes those that do not fit while we receive the message,
/// which blocks us.
pub(crate) fn is_full(limit: usize) -> bool {
    let state = state();
    let closing: usize = state
        .closers
        .iter()
        .map(|closer| closer.numbers.len())
        .sum();
    // Half of the limit, and one message more, are enough for all other descriptors.
    let open = closing + state.trusted.len() + state.strange.len();
    open > 0 && open + ONE_MESSAGE > limit / 2
}

/// Whether descriptors wait and there is no closer whose exit would call for them.
pub(crate) fn is_stuck() -> bool {
    let state = state();
    state.closers.is_empty() && !(state.trusted.is_empty() && state.strange.is_empty())
}

/// Records that this helper is reaped. What a closer that did not finish has left open
/// another closes.
pub(super) fn reaped(pid: i32, ending: Ending) {
    let mut state = state();
    if let Some(index) = state.closers.iter().position(|closer| closer.pid == pid) {
        state.remove(index, ending);
        state.close(false, None);
    }
}

impl State {
    /// Reaps the closers that have exited. The kernel drops their signal if other processes
    /// of our user have used up `RLIMIT_SIGPENDING`.
    fn reap(&mut self) {
        let mut index = 0;
        while let Some(closer) = self.closers.get(index) {
            match helpers::reap(closer.pid) {
                Some(ending) => self.remove(index, ending),
                None => index += 1,
            }
        }
    }

    fn remove(&mut self, index: usize, ending: Ending) {
        let closer = self.closers.remove(index);
        if ending != Ending::Exited(0) {
            self.take_back(&closer);
        }
    }

    fn waiting(&mut self, trusted: bool) -> &mut Vec<OwnedFd> {
        if trusted {
            &mut self.trusted
        } else {
            &mut self.strange
        }
    }

    /// Starts one more closer for what waits, as far as the limits allow, or for `all`, and
    /// finally for `last`.
    fn close(&mut self, all: bool, last: Option<BorrowedFd<'_>>) {
        let count = self.closers.len();
        let mut now = Vec::new();
        for (trusted, most) in [(true, CLOSERS), (false, FOR_STRANGERS)] {
            if all || count < most {
                let waiting = self.waiting(trusted).drain(..);
                now.extend(waiting.map(|descriptor| (descriptor, trusted)));
            }
        }
        if now.is_empty() && last.is_none() {
            return;
        }
        for (descriptor, _) in &now {
            // The mark of one that a closer is to close: all our own have FD_CLOEXEC.
            let _ = fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()));
        }
        let last = last.iter().map(|fd| (fd.as_raw_fd(), false));
        let numbers = now.iter().map(|(fd, of)| (fd.as_raw_fd(), *of));
        let numbers: Vec<_> = numbers.chain(last).collect();
        if let Ok(pid) = close_in_a_child(&numbers) {
            self.closers.push(Closer { pid, numbers });
            for (descriptor, _) in now {
                // The closer owns it now.
                let _ = descriptor.into_raw_fd();
            }
        } else {
            for (descriptor, trusted) in now {
                self.waiting(trusted).push(descriptor);
            }
        }
    }

    /// Takes back what this closer has left open. A number that it has closed may be another
    /// descriptor by now: one without the mark, or one that waits to be closed or that
    /// another closer closes.
    fn take_back(&mut self, closer: &Closer) {
        let waiting = self.trusted.iter().chain(&self.strange);
        let others = self.closers.iter().flat_map(|other| &other.numbers);
        let taken: BTreeSet<RawFd> = waiting
            .map(AsRawFd::as_raw_fd)
            .chain(others.map(|(number, _)| *number))
            .collect();
        for (number, trusted) in &closer.numbers {
            if !taken.contains(number) && is_marked(*number) {
                // SAFETY: it is open, and only the closer owned it.
                let descriptor = unsafe { OwnedFd::from_raw_fd(*number) };
                self.waiting(*trusted).push(descriptor);
            }
        }
    }
}

/// Whether this descriptor is open and has the mark of one that a closer is to close.
fn is_marked(number: RawFd) -> bool {
    descriptors::flags(number) == Ok(FdFlag::empty())
}

/// Closes these descriptors of ours in a child, and returns its pid.
fn close_in_a_child(numbers: &[(RawFd, bool)]) -> nix::Result<i32> {
    let helper = helpers::start(|| {
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
        0
    })?;
    Ok(helper.pid)
}

/// Sets the timer of the closer. If that fails, the closer waits as long as close(2) does.
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
    // SAFETY: `often` is a live local, and a null pointer leaves out the old value.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const often, std::ptr::null_mut()) };
}
