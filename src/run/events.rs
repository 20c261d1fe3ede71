//! The one wait: signals, ended children, timers and one descriptor come from here. The
//! timers are the only clock. It does not know what a command is.
//!
//! The caller's side of the contract:
//! - after [`Wake::Children`], call [`Events::reap`] until it returns `None`, and act on
//!   each child before the next call: a pid that is not reaped is still its owner's;
//! - take what the watched descriptor has to give after [`Wake::Ready`].
//!
//! What is promised: each call looks at the descriptor, the signals, the children and the
//! timers in turn, so that none of them keeps another waiting. A change of the first
//! child comes before a timer and before a signal of job control, because it happened
//! first; whether others are left is found out after the signals got their turn. After 64
//! children the others get their turn.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};

use crate::decide::origin::is_job_control;
use crate::processes::procfs;
use crate::signal::{Received, Signal};
use crate::sys::process::own_pid;
use crate::sys::signals;
use crate::sys::wait::{self, Waited};

/// How many children are reaped before the others get their turn.
const BATCH: usize = 64;

/// After how many full batches the children that remain count as such: orphans may be
/// made faster than they are reaped.
const BATCHES: usize = 1024;

/// What ended the wait.
#[derive(Debug)]
pub(crate) enum Wake<T> {
    /// A signal; any except SIGCHLD.
    Signal(Received),
    /// Children may have exited, or been suspended or resumed.
    Children,
    /// This timer expired, and is disarmed.
    Timer(T),
    /// The watched descriptor is ready, or cannot be watched.
    Ready(nix::Result<()>),
}

/// What [`Events::reap`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaped {
    /// A child exited and is reaped, or was suspended or resumed.
    Changed(Waited),
    /// Every child that has exited is reaped. `left`: there are others.
    All { left: bool },
}

/// A descriptor to be watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched<'a> {
    /// The descriptor.
    pub(crate) descriptor: BorrowedFd<'a>,
    /// What to wait for; nothing at all is possible.
    pub(crate) flags: PollFlags,
    /// When it counts as ready in any case.
    pub(crate) at_most: Option<Duration>,
}

/// What is looked at next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Descriptor,
    Signals,
    Children,
    Timers,
}

/// The source of events. `T`: the timers of the caller.
#[derive(Debug)]
pub(crate) struct Events<T> {
    /// The timers.
    pub(crate) timers: Timers<T>,
    /// The child whose changes come first, if it matters.
    pub(crate) first: Option<i32>,
    turn: Turn,
    /// A signal that waits for the children.
    held: Option<Received>,
    /// Children may have exited that are not reaped.
    children: bool,
    /// `first` is to be looked at, SIGCHLD or not.
    look_at_first: bool,
    /// The children were looked at for the timer that is about to be returned.
    looked: bool,
    /// How many children may still be reaped in this batch.
    room: usize,
    /// How many batches of this round were full.
    batches: usize,
    /// Readable while a signal waits. Made only where a descriptor is watched.
    signals: Option<OwnedFd>,
}

impl<T: Copy + Ord> Events<T> {
    /// No timer is armed. `children`: some may have exited for which no SIGCHLD comes.
    pub(crate) fn new(children: bool) -> Self {
        Self {
            timers: Timers(Vec::new()),
            first: None,
            turn: Turn::Descriptor,
            held: None,
            children,
            look_at_first: false,
            looked: false,
            room: 0,
            batches: 0,
            signals: None,
        }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// As [`signals::wait`].
    pub(crate) fn wait(&mut self, watched: Option<Watched<'_>>) -> nix::Result<Wake<T>> {
        loop {
            match self.turn {
                Turn::Descriptor => {
                    self.turn = Turn::Signals;
                    if let Some(watched) = watched {
                        match self.watch(watched) {
                            Ok(false) | Err(Errno::EINTR) => {}
                            ready => return Ok(Wake::Ready(ready.map(drop))),
                        }
                    }
                }
                Turn::Signals => {
                    self.turn = Turn::Children;
                    let timeout = match watched {
                        Some(_) => Some(Duration::ZERO),
                        None => self.timeout(),
                    };
                    match signals::wait(timeout)? {
                        Some(received) if received.signal == Signal::CHLD => self.children = true,
                        // A line about the SIGPIPE of the last line would only make the next.
                        Some(received) if received.is_our_own(own_pid()) => {}
                        Some(received) if is_job_control(received.signal) => {
                            self.look_at_first = true;
                            if let Some(earlier) = self.held.replace(received) {
                                return Ok(Wake::Signal(earlier));
                            }
                        }
                        Some(received) => return Ok(Wake::Signal(received)),
                        None => {}
                    }
                }
                Turn::Children => {
                    self.turn = Turn::Timers;
                    if self.children || self.look_at_first {
                        self.room = if self.children { BATCH } else { 0 };
                        return Ok(Wake::Children);
                    }
                }
                Turn::Timers => {
                    if let Some(received) = self.held.take() {
                        return Ok(Wake::Signal(received));
                    }
                    match self.timers.expired() {
                        Some(_) if !self.looked && self.first.is_some() => {
                            self.looked = true;
                            self.look_at_first = true;
                            self.turn = Turn::Children;
                        }
                        Some(timer) => {
                            self.looked = false;
                            self.turn = Turn::Descriptor;
                            self.timers.disarm(timer);
                            return Ok(Wake::Timer(timer));
                        }
                        None => {
                            self.looked = false;
                            self.turn = Turn::Descriptor;
                        }
                    }
                }
            }
        }
    }

    /// Looks at the children, whether SIGCHLD has come or not.
    pub(crate) fn look(&mut self) {
        self.children = true;
        self.room = BATCH;
    }

    /// Reaps one child, or takes in another change of one. `None` when there is none, or
    /// when the others are to get their turn.
    pub(crate) fn reap(&mut self) -> Option<Reaped> {
        if std::mem::take(&mut self.look_at_first)
            && let Some(first) = self.first
        {
            match wait::one(first) {
                Waited::NoChange | Waited::NoChildren => {}
                changed => {
                    if matches!(changed, Waited::Ended(..)) {
                        // Its SIGCHLD may have been taken for another child.
                        self.children = true;
                        // A stop request may have come before it, and is about the rest.
                        self.turn = Turn::Descriptor;
                    }
                    return Some(Reaped::Changed(changed));
                }
            }
        }
        if self.batches == BATCHES {
            self.batches = 0;
            return Some(Reaped::All { left: true });
        }
        if !self.children || self.room == 0 {
            return None;
        }
        // It worked before the start.
        match wait::any(|| procfs::children(own_pid())).unwrap_or(Waited::NoChange) {
            Waited::NoChange => Some(self.reaped_all(true)),
            Waited::NoChildren => Some(self.reaped_all(false)),
            changed => {
                self.room -= 1;
                if self.room == 0 {
                    self.batches += 1;
                }
                Some(Reaped::Changed(changed))
            }
        }
    }

    fn reaped_all(&mut self, left: bool) -> Reaped {
        self.children = false;
        self.batches = 0;
        Reaped::All { left }
    }

    fn timeout(&self) -> Option<Duration> {
        if self.children {
            return Some(Duration::ZERO);
        }
        self.timers.until_next()
    }

    /// Waits until the descriptor is ready or a signal waits; `true` for the first.
    fn watch(&mut self, watched: Watched<'_>) -> nix::Result<bool> {
        let signals = match self.signals.take() {
            Some(signals) => signals,
            None => signals::watch()?,
        };
        let timeout = self.timeout();
        let timeout = match watched.at_most {
            Some(at_most) => Some(timeout.map_or(at_most, |timeout| timeout.min(at_most))),
            None => timeout,
        };
        let mut waiting = [
            PollFd::new(watched.descriptor, watched.flags),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        let waited = ppoll(&mut waiting, timeout.map(Into::into), None);
        let [descriptor, _] = waiting;
        let ready = descriptor.any() != Some(false);
        self.signals = Some(signals);
        waited.map(|count| ready || count == 0 && watched.at_most.is_some())
    }
}

/// When to wake up, by the monotonic clock: setting the time of day moves nothing. It
/// runs on while `supervise` is suspended or frozen.
#[derive(Debug)]
pub(crate) struct Timers<T>(Vec<(Instant, T)>);

impl<T: Copy + Ord> Timers<T> {
    /// Sets a timer, instead of an earlier setting of the same.
    pub(crate) fn arm(&mut self, timer: T, after: Duration) {
        self.disarm(timer);
        // No clock goes that far: it never expires.
        if let Some(at) = Instant::now().checked_add(after) {
            self.0.push((at, timer));
        }
    }

    /// Sets a timer, unless it is set to an earlier time.
    pub(crate) fn arm_earlier(&mut self, timer: T, after: Duration) {
        if self.until(timer).is_none_or(|left| after < left) {
            self.arm(timer, after);
        }
    }

    /// Forgets a timer.
    pub(crate) fn disarm(&mut self, timer: T) {
        self.0.retain(|(_, armed)| *armed != timer);
    }

    /// How long until this one expires; `None` where it is not armed.
    pub(crate) fn until(&self, timer: T) -> Option<Duration> {
        let (at, _) = self.0.iter().find(|(_, armed)| *armed == timer)?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// How long until the next one expires; `None` where there is none.
    fn until_next(&self) -> Option<Duration> {
        let (next, _) = self.0.iter().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// The first that has expired.
    fn expired(&self) -> Option<T> {
        let (at, timer) = self.0.iter().min()?;
        (*at <= Instant::now()).then_some(*timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_expire_in_the_order_of_their_times() {
        let mut timers = Timers(Vec::new());
        assert_eq!((timers.expired(), timers.until_next()), (None, None));
        timers.arm('b', Duration::ZERO);
        timers.arm('a', Duration::from_secs(3600));
        assert_eq!(timers.expired(), Some('b'));
        timers.disarm('b');
        assert_eq!(timers.expired(), None);
        assert!(timers.until_next() > Some(Duration::from_secs(3000)));
        assert!(timers.until('a') > Some(Duration::from_secs(3000)));
        timers.arm('a', Duration::ZERO);
        assert_eq!((timers.expired(), timers.until('b')), (Some('a'), None));
    }

    #[test]
    fn a_timer_is_only_made_earlier() {
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        let mut timers = Timers(Vec::new());
        for (after, left) in [(5, 5), (9, 5), (2, 2), (3, 2)] {
            timers.arm_earlier('a', hours(after));
            let until = timers.until('a').unwrap();
            assert!(until <= hours(left) && until > hours(left - 1), "{until:?}");
        }
        // Of another timer it is known nothing.
        timers.arm_earlier('b', hours(9));
        assert!(timers.until('b') > Some(hours(8)));
    }
}
