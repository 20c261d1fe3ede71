//! The page of memory that the main process shares with the keeper of a service: what the
//! keeper is to do, and what has become of the service. Whoever writes to it rings the other
//! with SIGCHLD. Each field has one writer, and reading never waits.
//!
//! Moments are nanoseconds of `CLOCK_MONOTONIC`, which all processes share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::mman::{MmapAdvise, madvise};
use nix::unistd::Pid;

use super::kill::{Target, kill};
use super::shared_page::SharedPage;
use crate::ending::Ending;
use crate::signal::{Signal, SignalSet};

/// A word of the page; 0 if it was not written.
#[derive(Clone, Copy)]
enum Field {
    /// Main process: the service is to be stopped.
    Stop,
    /// Main process: when SIGKILL is to be sent.
    Kill,
    /// Main process: when the other processes are to be stopped.
    Rest,
    /// Main process: signals to be forwarded, one bit each. The keeper clears it.
    Forward,
    /// Keeper: the pid of the main process of the service.
    Pid,
    /// Keeper: the user of the service, plus 1.
    User,
    /// Keeper: the command was executed.
    Executed,
    /// Keeper: READY=1 came.
    Ready,
    /// Keeper: how the main process ended.
    Ended,
    /// Keeper: the length of the reason why SIGKILL was needed.
    Reason,
    /// Keeper: SIGKILL was sent.
    Killed,
    /// Keeper: nothing of the service runs any more.
    Gone,
}

/// Where the reason begins, and how long it may be.
const REASON: usize = 128;
const LONGEST: usize = 512;

/// A moment that never comes.
const NEVER: u64 = u64::MAX;

/// What the main process wants: the service is to be stopped now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// When SIGKILL is sent, on the monotonic clock; `None`: never.
    pub(crate) kill: Option<Duration>,
    /// When the other processes of the service are stopped if its main process still runs
    /// then; `None`: never.
    pub(crate) rest: Option<Duration>,
}

/// A shared page.
#[derive(Debug)]
pub(crate) struct ServicePage(SharedPage);

impl ServicePage {
    /// Maps a page, for one start of one service.
    ///
    /// # Errors
    /// ENOMEM; see mmap(2).
    pub(crate) fn new() -> nix::Result<Self> {
        SharedPage::new(4096).map(Self)
    }

    /// Keeps the page from processes that are forked from now on.
    pub(crate) fn hide_from_later_children(&self) {
        // SAFETY: the range is one mapping of ours, which stays as it is in this process.
        // If the call fails, another keeper could read it, which none does.
        let _ = unsafe { madvise(self.0.start(), self.0.len(), MmapAdvise::MADV_DONTFORK) };
    }

    fn word(&self, field: Field) -> &AtomicU64 {
        self.0.word(field as usize)
    }

    fn get(&self, field: Field) -> u64 {
        self.word(field).load(Ordering::Acquire)
    }

    fn set(&self, field: Field, value: u64) {
        self.word(field).store(value, Ordering::Release);
    }
}

/// What the main process writes, and the keeper reads.
impl ServicePage {
    /// Tells the keeper to stop the service. May be repeated; each moment only becomes
    /// earlier.
    pub(crate) fn order(&self, order: Order) {
        for (field, moment) in [(Field::Kill, order.kill), (Field::Rest, order.rest)] {
            let new = moment.map_or(NEVER, nanoseconds);
            let old = self.get(field);
            if old == 0 || new < old {
                self.set(field, new);
            }
        }
        self.set(Field::Stop, 1);
    }

    /// What [`Self::order`] has told.
    pub(crate) fn ordered(&self) -> Option<Order> {
        let moment = |field| match self.get(field) {
            0 | NEVER => None,
            moment => Some(duration(moment)),
        };
        (self.get(Field::Stop) != 0).then(|| Order {
            kill: moment(Field::Kill),
            rest: moment(Field::Rest),
        })
    }

    /// Has a signal forwarded to the service. Equal ones that were not forwarded yet merge, as
    /// they do in the kernel.
    pub(crate) fn forward(&self, signal: Signal) {
        let bit = 1_u64 << (signal.number() - 1);
        self.word(Field::Forward).fetch_or(bit, Ordering::AcqRel);
    }

    /// The signals to be forwarded. Each is returned once.
    pub(crate) fn take_forwarded(&self) -> SignalSet {
        if self.get(Field::Forward) == 0 {
            return SignalSet::EMPTY;
        }
        let bits = self.word(Field::Forward).swap(0, Ordering::AcqRel);
        SignalSet::from_bits(bits)
    }
}

/// What the keeper writes, and the main process reads.
impl ServicePage {
    /// The pid of the main process of the service.
    pub(crate) fn set_pid(&self, pid: i32) {
        self.set(Field::Pid, u64::try_from(pid).unwrap_or(0));
    }

    /// As [`Self::set_pid`] has it; `None` before.
    pub(crate) fn pid(&self) -> Option<i32> {
        i32::try_from(self.get(Field::Pid))
            .ok()
            .filter(|pid| *pid > 0)
    }

    /// The user that the main process was started as. `None`: the kernel does not send it a
    /// signal when the keeper exits.
    pub(crate) fn set_user(&self, uid: Option<u32>) {
        self.set(Field::User, uid.map_or(0, |uid| u64::from(uid) + 1));
    }

    /// As [`Self::set_user`] has it.
    pub(crate) fn user(&self) -> Option<u32> {
        u32::try_from(self.get(Field::User).checked_sub(1)?).ok()
    }

    /// The command was executed.
    pub(crate) fn set_executed(&self) {
        self.set(Field::Executed, 1);
    }

    /// Whether it was.
    pub(crate) fn is_executed(&self) -> bool {
        self.get(Field::Executed) != 0
    }

    /// READY=1 came.
    pub(crate) fn set_ready(&self) {
        self.set(Field::Ready, 1);
    }

    /// Whether it came.
    pub(crate) fn is_ready(&self) -> bool {
        self.get(Field::Ready) != 0
    }

    /// The main process of the service was reaped.
    pub(crate) fn set_ended(&self, ending: Ending) {
        self.set(Field::Ended, encode(ending));
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn ended(&self) -> Option<Ending> {
        decode(self.get(Field::Ended))
    }

    /// Why SIGKILL is about to be sent. The first one counts. A longer text is cut.
    pub(crate) fn set_reason(&self, text: &str) {
        if self.get(Field::Reason) != 0 {
            return;
        }
        let mut length = text.len().min(LONGEST);
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        let bytes = self.0.iter().skip(REASON).zip(text.bytes().take(length));
        for (to, byte) in bytes {
            to.store(byte, Ordering::Relaxed);
        }
        self.set(Field::Reason, length as u64);
    }

    /// As [`Self::set_reason`] has it.
    pub(crate) fn reason(&self) -> Option<String> {
        let length = usize::try_from(self.get(Field::Reason)).ok()?;
        let bytes = self.0.iter().skip(REASON).take(length.min(LONGEST));
        let bytes: Vec<u8> = bytes.map(|byte| byte.load(Ordering::Relaxed)).collect();
        (length > 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Nothing of the service runs any more. `killed`: SIGKILL was sent. The last that a
    /// keeper writes.
    pub(crate) fn set_gone(&self, killed: bool) {
        self.set(Field::Killed, u64::from(killed));
        self.set(Field::Gone, 1);
    }

    /// Whether SIGKILL was sent; `None` while something of it runs.
    pub(crate) fn gone(&self) -> Option<bool> {
        (self.get(Field::Gone) != 0).then(|| self.get(Field::Killed) != 0)
    }
}

/// Wakes up the main process or a keeper, to look at the page.
pub(crate) fn ring(pid: i32) {
    // One that has exited has no need to look.
    let _ = kill(Target::Process(pid), Signal::CHLD);
}

/// Whether this is the parent of this process.
pub(crate) fn is_parent(pid: i32) -> bool {
    let now = nix::unistd::getppid();
    // 0: it is outside our PID namespace.
    now == Pid::from_raw(pid) || now.as_raw() == 0
}

/// Now, on the monotonic clock.
pub(crate) fn now() -> Duration {
    // Cannot fail: the kernel always has this clock.
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(Duration::ZERO, Duration::from)
}

/// Never 0, which stands for none.
fn nanoseconds(moment: Duration) -> u64 {
    u64::try_from(moment.as_nanos())
        .unwrap_or(NEVER)
        .clamp(1, NEVER - 1)
}

fn duration(moment: u64) -> Duration {
    Duration::from_nanos(moment)
}

/// The kind of ending in the third byte, its number in the first, and a core dump in the
/// second.
fn encode(ending: Ending) -> u64 {
    let number = |signal: Signal| u64::try_from(signal.number()).unwrap_or(0);
    match ending {
        Ending::NotExecuted(code) => 0x1_0000 | u64::from(code),
        Ending::Exited(code) => 0x2_0000 | u64::from(code),
        Ending::Killed(signal, core) => 0x3_0000 | u64::from(core) << 8 | number(signal),
    }
}

fn decode(word: u64) -> Option<Ending> {
    let code = u8::try_from(word & 0xff).ok()?;
    match word >> 16 {
        1 => Some(Ending::NotExecuted(code)),
        2 => Some(Ending::Exited(code)),
        3 => {
            let signal = Signal::from_number(i32::from(code))?;
            Some(Ending::Killed(signal, word & 0x100 != 0))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> ServicePage {
        ServicePage::new().unwrap()
    }

    #[test]
    fn an_order_only_becomes_earlier() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let page = page();
        assert_eq!(page.ordered(), None);
        let order = |kill, rest| Order { kill, rest };
        for (told, expected) in [
            (order(None, None), order(None, None)),
            (order(seconds(9), None), order(seconds(9), None)),
            (
                order(seconds(10), seconds(3)),
                order(seconds(9), seconds(3)),
            ),
            (order(None, seconds(4)), order(seconds(9), seconds(3))),
            (order(seconds(2), seconds(1)), order(seconds(2), seconds(1))),
        ] {
            page.order(told);
            assert_eq!(page.ordered(), Some(expected), "{told:?}");
        }
        // A moment is never taken for none.
        let page = self::page();
        page.order(order(Some(Duration::ZERO), Some(Duration::MAX)));
        let ordered = page.ordered().unwrap();
        assert_eq!(ordered.kill, Some(Duration::from_nanos(1)));
        assert!(ordered.rest.is_some());
    }

    #[test]
    fn a_signal_is_forwarded_once() {
        let page = page();
        let numbers = [1, 2, 31, 63, 64];
        for number in numbers {
            page.forward(Signal::from_number(number).unwrap());
        }
        let taken = page.take_forwarded();
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(
                taken.contains(signal),
                numbers.contains(&number),
                "{number}"
            );
        }
        assert_eq!(page.take_forwarded(), SignalSet::EMPTY);
    }

    #[test]
    fn the_first_reason_is_read_and_a_long_one_is_cut() {
        let page = page();
        assert_eq!(page.reason(), None);
        page.set_reason("it ignores SIGTERM");
        page.set_reason("later");
        page.order(Order {
            kill: Some(Duration::MAX),
            rest: None,
        });
        page.set_gone(true);
        assert_eq!(page.reason().as_deref(), Some("it ignores SIGTERM"));
        assert_eq!(page.gone(), Some(true));
        let page = self::page();
        page.set_reason(&("x".repeat(LONGEST - 1) + "ü"));
        assert_eq!(page.reason(), Some("x".repeat(LONGEST - 1)));
        assert!(REASON >= (Field::Gone as usize + 1) * size_of::<AtomicU64>());
    }

    #[test]
    fn what_became_of_a_service_is_read_as_it_was_written() {
        let page = page();
        assert_eq!((page.pid(), page.ended(), page.gone()), (None, None, None));
        assert!(!page.is_executed() && !page.is_ready());
        for ending in [
            Ending::Exited(0),
            Ending::Exited(255),
            Ending::NotExecuted(127),
            Ending::Killed(Signal::KILL, false),
            Ending::Killed(Signal::from_number(64).unwrap(), true),
        ] {
            page.set_ended(ending);
            assert_eq!(page.ended(), Some(ending));
        }
        assert_eq!(page.user(), None);
        page.set_user(Some(0));
        assert_eq!(page.user(), Some(0));
        page.set_user(Some(u32::MAX));
        assert_eq!(page.user(), Some(u32::MAX));
        page.set_user(None);
        assert_eq!(page.user(), None);
        page.set_pid(4_194_304);
        page.set_executed();
        page.set_ready();
        assert_eq!(page.pid(), Some(4_194_304));
        assert!(page.is_executed() && page.is_ready());
        page.set_gone(false);
        assert_eq!(page.gone(), Some(false));
        page.set_gone(true);
        assert_eq!(page.gone(), Some(true));
    }
}
