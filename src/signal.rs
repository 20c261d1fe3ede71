//! Signals as numbers and names, and what is known of one that was received.
//!
//! `nix`'s signal type cannot hold a realtime signal, so this is our own. It
//! does no system call.

use std::fmt;

/// The highest signal number that Linux has (`_NSIG` in signal(7)).
const HIGHEST: i32 = 64;

/// The first realtime signal as the C library counts: the kernel's 32 and 33
/// belong to the thread library (signal(7), nptl(7)), so that `RTMIN` is 34.
const RTMIN: i32 = 34;

/// Standard signals by number, 1 to 31, with the aliases that `kill -l` and
/// signal(7) list after them. The numbers are those of every architecture
/// that the program is built for (signal(7), "Signal numbering").
const NAMES: [(&str, i32); 36] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
    // Aliases: `name` finds the entries above first.
    ("IOT", 6),
    ("CLD", 17),
    ("POLL", 29),
    ("INFO", 30),
    ("UNUSED", 31),
];

/// A signal number, 1 to 64: standard and realtime alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Signal(i32);

impl Signal {
    pub(crate) const HUP: Self = Self(1);
    pub(crate) const INT: Self = Self(2);
    pub(crate) const QUIT: Self = Self(3);
    pub(crate) const KILL: Self = Self(9);
    pub(crate) const PIPE: Self = Self(13);
    pub(crate) const TERM: Self = Self(15);
    pub(crate) const CHLD: Self = Self(17);
    pub(crate) const CONT: Self = Self(18);
    pub(crate) const STOP: Self = Self(19);
    pub(crate) const TSTP: Self = Self(20);
    pub(crate) const TTIN: Self = Self(21);
    pub(crate) const TTOU: Self = Self(22);
    pub(crate) const XFSZ: Self = Self(25);
    pub(crate) const WINCH: Self = Self(28);
    pub(crate) const IO: Self = Self(29);

    /// The signal of this number, or `None` where Linux has none.
    pub(crate) fn from_number(number: i32) -> Option<Self> {
        (1..=HIGHEST).contains(&number).then_some(Self(number))
    }

    /// The number, 1 to 64.
    pub(crate) fn number(self) -> i32 {
        self.0
    }

    /// Reads a signal as people write it: `TERM`, `SIGTERM`, `15`, `RTMIN`,
    /// `RTMIN+3`, `RTMAX-1`; upper or lower case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(number) = parse_digits(text) {
            return Self::from_number(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Some(Self(*number));
        }
        let number = if let Some(rest) = name.strip_prefix("RTMIN") {
            match rest.strip_prefix('+') {
                Some(offset) => RTMIN.checked_add(parse_digits(offset)?)?,
                None if rest.is_empty() => RTMIN,
                None => return None,
            }
        } else {
            let rest = name.strip_prefix("RTMAX")?;
            match rest.strip_prefix('-') {
                Some(offset) => HIGHEST.checked_sub(parse_digits(offset)?)?,
                None if rest.is_empty() => HIGHEST,
                None => return None,
            }
        };
        (RTMIN..=HIGHEST).contains(&number).then_some(Self(number))
    }
}

#[cfg(test)]
impl Signal {
    pub(crate) const USR1: Self = Self(10);
    pub(crate) const USR2: Self = Self(12);
}

/// A number of decimal digits alone: `i32::from_str` would also take a sign.
fn parse_digits(text: &str) -> Option<i32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 == RTMIN => f.write_str("SIGRTMIN"),
            None if self.0 > RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            // 32 and 33 have no name outside the C library.
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// A set of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SignalSet(u64);

impl SignalSet {
    /// The set that holds nothing.
    pub(crate) const EMPTY: Self = Self(0);

    /// The set as the kernel has it: bit N-1 is signal N.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// What is in both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in either.
    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this one and not in the other.
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The signal of the lowest number, if there is one.
    pub(crate) fn first(self) -> Option<Signal> {
        let bit = i32::try_from(self.0.trailing_zeros()).ok()?;
        Signal::from_number(bit + 1)
    }

    /// Adds `signal`.
    pub(crate) fn insert(&mut self, signal: Signal) {
        self.0 |= Self::bit(signal);
    }

    /// Takes `signal` out.
    pub(crate) fn remove(&mut self, signal: Signal) {
        self.0 &= !Self::bit(signal);
    }

    /// Whether `signal` is in the set.
    pub(crate) fn contains(self, signal: Signal) -> bool {
        self.0 & Self::bit(signal) != 0
    }

    fn bit(signal: Signal) -> u64 {
        1 << (signal.0 - 1)
    }
}

/// A signal that was received, and what the kernel says of it (sigaction(2),
/// "The `siginfo_t` argument").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Received {
    /// Which signal.
    pub(crate) signal: Signal,
    /// `si_code`: how it was sent. `SI_USER` (kill(2)) is 0.
    pub(crate) code: i32,
    /// `si_pid`: the sender, 0 where it is outside our PID namespace.
    pub(crate) pid: i32,
    /// `si_uid`: the sender's real user id.
    pub(crate) uid: u32,
    /// `si_value`, as the kernel laid it out.
    pub(crate) value: u64,
}

impl Received {
    /// `SI_TKILL`: sent by tgkill(2), `pthread_kill(3)`, raise(3).
    const SI_TKILL: i32 = -6;

    /// `SI_USER`: sent by kill(2), and by the kernel in the name of a process.
    const SI_USER: i32 = 0;

    /// `SI_KERNEL`: sent by the kernel, as for a key on the terminal.
    const SI_KERNEL: i32 = 0x80;

    /// A signal of our own, as kill(2) sends it.
    pub(crate) fn plain(signal: Signal) -> Self {
        Self {
            signal,
            code: 0,
            pid: 0,
            uid: 0,
            value: 0,
        }
    }

    /// Whether writing a line of the log made the kernel send it, or we have resumed our
    /// own group: no process sent it to the command. A process can queue a signal with
    /// any pid in it, but not with this code.
    pub(crate) fn is_our_own(&self, own_pid: i32) -> bool {
        self.code == Self::SI_USER
            && self.pid == own_pid
            && [Signal::PIPE, Signal::XFSZ, Signal::CONT].contains(&self.signal)
    }

    /// Whether the kernel sent it of its own accord.
    pub(crate) fn is_from_kernel(&self) -> bool {
        self.code == Self::SI_KERNEL
    }

    /// Whether its sender has filled in who that is: the kernel takes any pid and user
    /// with these codes (`rt_sigqueueinfo(2)`).
    pub(crate) fn may_be_forged(&self) -> bool {
        self.can_be_queued()
    }

    /// Whether it can be sent on with everything it carries: the kernel lets
    /// a process pass on only what cannot be mistaken for its own word or for
    /// kill(2) (`rt_sigqueueinfo(2)`: negative codes but `SI_TKILL`).
    pub(crate) fn can_be_queued(&self) -> bool {
        self.code < 0 && self.code != Self::SI_TKILL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("1", 1),
            ("64", 64),
            ("32", 32),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmin+30", 64),
            ("RTMAX", 64),
            ("RTMAX-30", 34),
            ("CLD", 17),
            ("POLL", 29),
        ] {
            assert_eq!(
                Signal::parse(text).map(Signal::number),
                Some(number),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in [
            "",
            "0",
            "65",
            "-1",
            "+15",
            "TERMS",
            "SIG",
            "SIGSIGTERM",
            "RTMIN+31",
            "RTMIN-1",
            "RTMAX+1",
            "RTMAX-31",
            "RTMIN+",
            "RTMIN3",
            "1 5",
            " 15",
            "99999999999",
            "RTMIN+99999999999",
        ] {
            assert_eq!(Signal::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_number_survives_its_own_name() {
        for number in (1..=64).filter(|n| ![32, 33].contains(n)) {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(Signal::parse(&signal.to_string()), Some(signal));
        }
    }

    #[test]
    fn a_set_holds_the_lowest_and_the_highest() {
        let mut set = SignalSet::EMPTY;
        for number in [1, 64] {
            let signal = Signal::from_number(number).unwrap();
            assert!(!set.contains(signal));
            set.insert(signal);
            assert!(set.contains(signal));
        }
        assert!(!set.contains(Signal::TERM));
    }

    #[test]
    fn names_are_those_of_kill() {
        for (number, name) in [
            (1, "SIGHUP"),
            (6, "SIGABRT"),
            (29, "SIGIO"),
            (31, "SIGSYS"),
            (32, "signal 32"),
            (33, "signal 33"),
            (34, "SIGRTMIN"),
            (35, "SIGRTMIN+1"),
            (64, "SIGRTMIN+30"),
        ] {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(signal.to_string(), name);
            assert_eq!(signal.number(), number);
        }
        for number in [i32::MIN, -1, 0, 65, i32::MAX] {
            assert_eq!(Signal::from_number(number), None, "{number}");
        }
    }

    #[test]
    fn sets_are_made_of_signals() {
        let of = |signals: &[Signal]| {
            let mut set = SignalSet::EMPTY;
            for signal in signals {
                set.insert(*signal);
            }
            set
        };
        let (hup, int, term) = (Signal::HUP, Signal::INT, Signal::TERM);
        assert_eq!(SignalSet::from_bits(1 | 1 << 14), of(&[hup, term]));
        assert_eq!(of(&[hup, term]).and(of(&[hup, int])), of(&[hup]));
        assert_eq!(of(&[hup, term]).or(of(&[hup, int])), of(&[hup, int, term]));
        assert_eq!(of(&[int, term]).first(), Some(int));
        assert_eq!(of(&[Signal(64)]).first(), Some(Signal(64)));
        assert_eq!(SignalSet::EMPTY.first(), None);
        let mut set = of(&[hup, term]);
        set.remove(int);
        set.remove(hup);
        assert_eq!(set, of(&[term]));
        set.insert(term);
        assert_eq!(set, of(&[term]));
    }

    #[test]
    fn a_forged_signal_is_not_taken_for_our_own() {
        let received = |signal, code, pid| Received {
            signal,
            code,
            pid,
            uid: 0,
            value: 0,
        };
        for signal in [Signal::PIPE, Signal::XFSZ, Signal::CONT] {
            assert!(received(signal, 0, 5).is_our_own(5));
            assert!(!received(signal, 0, 6).is_our_own(5), "from another");
            assert!(!received(signal, -1, 5).is_our_own(5), "queued");
        }
        assert!(!received(Signal::TERM, 0, 5).is_our_own(5));
    }

    #[test]
    fn our_own_are_those_that_we_have_caused() {
        let own = |signal, code, pid| {
            let received = Received {
                signal,
                code,
                pid,
                uid: 0,
                value: 0,
            };
            received.is_our_own(7)
        };
        assert!(own(Signal::PIPE, 0, 7) && own(Signal::XFSZ, 0, 7));
        assert!(!own(Signal::TERM, 0, 7), "another signal");
        assert!(!own(Signal::PIPE, 0, 8), "another process");
        assert!(!own(Signal::PIPE, -1, 7), "any process can queue it so");
    }

    #[test]
    fn only_what_the_kernel_lets_pass_is_queued_on() {
        let received = |code| Received {
            signal: Signal::TERM,
            code,
            pid: 1,
            uid: 0,
            value: 7,
        };
        for (code, expected) in [
            (-1, true),
            (-2, true),
            (-6, false),
            (0, false),
            (0x80, false),
        ] {
            assert_eq!(received(code).can_be_queued(), expected, "si_code {code}");
            // What a process may send so, it may have filled in as it liked.
            assert_eq!(received(code).may_be_forged(), expected, "si_code {code}");
            assert_eq!(
                received(code).is_from_kernel(),
                code == 0x80,
                "si_code {code}"
            );
        }
    }
}
