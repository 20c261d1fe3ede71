//! A queue of lines for a helper that writes them to a file ([`super::helpers`]).
//!
//! It is memory that the helper shares, not a pipe: it takes no descriptor, it can be full
//! without blocking anything, and a line stays in it until it is written. A helper that was
//! killed loses none, because the next one continues with the same line.

use std::iter::once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::getppid;

use super::helpers::Helper;
use super::kill::{Target, kill};
use super::{checked, shared_page, signals, timespec};
use crate::signal::Signal;

const WORD: usize = size_of::<usize>();

/// How many words there are beside the lines.
const STATE: usize = 5;

/// How many words it holds: all together as much as a pipe.
const LENGTH: usize = 65_536 / WORD - STATE;

/// The signal that the helper waits for: lines have come, or the parent has exited. A signal
/// is not lost between a look and the wait, as it stays pending.
const WAKE: Signal = Signal::IO;

/// One end of the queue, for either process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    /// Where in `words` the parent continues.
    pushed: &'static AtomicUsize,
    /// Where in `words` the helper continues.
    taken: &'static AtomicUsize,
    /// Whether the helper is to exit when the queue is empty.
    finish: &'static AtomicUsize,
    /// The number of lines that were lost so far.
    pub(crate) lost: &'static AtomicUsize,
    /// Whether only the beginning of the last line was written: 0 or 1.
    pub(crate) partial: &'static AtomicUsize,
    /// The lines, each with its length before it, in a circle that is never full.
    words: &'static [AtomicUsize],
}

impl Queue {
    /// Makes an empty one.
    ///
    /// # Errors
    /// ENOMEM; see mmap(2).
    pub(crate) fn new() -> nix::Result<Self> {
        let all = shared_page::words(STATE + LENGTH)?;
        let [pushed, taken, finish, lost, partial, words @ ..] = all else {
            return Err(Errno::ENOMEM);
        };
        Ok(Self {
            pushed,
            taken,
            finish,
            lost,
            partial,
            words,
        })
    }

    /// Adds a line; `false`: there is no room for it.
    pub(crate) fn push(&self, line: &[u8]) -> bool {
        let at = self.pushed.load(Ordering::Relaxed);
        let used = (at + LENGTH - self.taken.load(Ordering::Acquire)) % LENGTH;
        if used + words_of(line.len()) >= LENGTH {
            return false;
        }
        let words = line.chunks(WORD).map(|chunk| {
            let mut word = [0; WORD];
            word.iter_mut()
                .zip(chunk)
                .for_each(|(to, byte)| *to = *byte);
            usize::from_ne_bytes(word)
        });
        for (cell, word) in self.from(at).zip(once(line.len()).chain(words)) {
            cell.store(word, Ordering::Relaxed);
        }
        self.pushed.store(after(at, line.len()), Ordering::Release);
        true
    }

    /// Hands each line to `write`, until there is none.
    pub(crate) fn drain(&self, mut write: impl FnMut(&[u8])) {
        loop {
            let at = self.taken.load(Ordering::Relaxed);
            if at == self.pushed.load(Ordering::Acquire) {
                return;
            }
            let mut words = self.from(at).map(|cell| cell.load(Ordering::Relaxed));
            let length = words.next().unwrap_or_default();
            let words = words.take(length.div_ceil(WORD));
            let mut line: Vec<u8> = words.flat_map(usize::to_ne_bytes).collect();
            line.truncate(length);
            write(&line);
            self.taken.store(after(at, length), Ordering::Release);
            // Nothing waits, if this fails.
            let _ = futex(self.taken, libc::FUTEX_WAKE, 1, None);
        }
    }

    /// In a helper of this parent: does the same with each line that comes, until the parent
    /// has called [`Queue::finish`] or has exited.
    pub(crate) fn serve(&self, parent: i32, mut write: impl FnMut(&[u8])) {
        // If it cannot be set, this process remains when the parent is killed.
        let _ = signals::set_parent_death_signal(WAKE, parent);
        loop {
            let last = self.finish.load(Ordering::Acquire) != 0 || getppid().as_raw() != parent;
            self.drain(&mut write);
            if last || signals::wait_for(WAKE.number(), None).is_err() {
                return;
            }
        }
    }

    /// Changes with each line that is written.
    pub(crate) fn position(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// Whether every line is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.taken.load(Ordering::Acquire) == self.pushed.load(Ordering::Relaxed)
    }

    /// Waits until every line is written, but not longer than this.
    pub(crate) fn wait(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        loop {
            let taken = self.taken.load(Ordering::Acquire);
            let left = until.saturating_duration_since(Instant::now());
            if self.is_empty() || left.is_zero() {
                return;
            }
            match futex(self.taken, libc::FUTEX_WAIT, taken, Some(left)) {
                Ok(()) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Has the helper exit when the queue is empty, even if it was suspended.
    pub(crate) fn finish(&self, helper: Helper) {
        self.finish.store(1, Ordering::Release);
        let _ = kill(Target::Process(helper.pid), Signal::CONT);
        wake(helper);
    }

    /// The words from this one on, once around.
    fn from(&self, at: usize) -> impl Iterator<Item = &'static AtomicUsize> {
        let (before, after) = self.words.split_at_checked(at).unwrap_or_default();
        after.iter().chain(before)
    }
}

/// Where the line after one of this length begins.
fn after(at: usize, length: usize) -> usize {
    (at + words_of(length)) % LENGTH
}

/// Has the helper look for lines.
pub(crate) fn wake(helper: Helper) {
    // It is a child of ours that is not reaped, which we may signal.
    let _ = kill(Target::Process(helper.pid), WAKE);
}

/// How many words a line takes.
fn words_of(length: usize) -> usize {
    1 + length.div_ceil(WORD)
}

/// Calls futex(2) on the lower half of a word, which has the lower address.
///
/// # Errors
/// EAGAIN: the word has changed; ETIMEDOUT, EINTR; or a system call filter's.
fn futex(
    word: &AtomicUsize,
    operation: i32,
    value: usize,
    timeout: Option<Duration>,
) -> nix::Result<()> {
    let timeout = timeout.map(timespec);
    // SAFETY: the word and the timeout live until the call returns. The kernel reads the
    // lower 32 bits of the value.
    checked(unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            operation,
            value,
            timeout
                .as_ref()
                .map_or(std::ptr::null(), std::ptr::from_ref),
        )
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(queue: Queue) -> Vec<String> {
        let mut lines = Vec::new();
        queue.drain(|line| lines.push(String::from_utf8(line.to_owned()).unwrap()));
        lines
    }

    #[test]
    fn lines_come_out_as_they_went_in() {
        let queue = Queue::new().unwrap();
        // More than once around, with lines of every length modulo a word.
        let mut number = 0;
        for _ in 0..100 {
            let mut expected = Vec::new();
            for _ in 0..40 {
                let line = "x".repeat(number % 89) + &number.to_string() + "\n";
                assert!(queue.push(line.as_bytes()));
                expected.push(line);
                number += 1;
            }
            assert!(!queue.is_empty());
            assert_eq!(drained(queue), expected);
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn a_full_queue_takes_no_line() {
        let queue = Queue::new().unwrap();
        let line = [b'x'; 1000];
        let mut count = 0;
        while queue.push(&line) {
            count += 1;
        }
        assert_eq!(count, (LENGTH - 1) / words_of(1000));
        assert_eq!(drained(queue).len(), count);
        assert!(queue.push(&line));
        assert_eq!(drained(queue).len(), 1);
    }
}
