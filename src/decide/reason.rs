//! Why a process is still there after it was asked to stop: judged from what /proc
//! says of it. Pure.

use std::fmt;

use crate::signal::{Signal, SignalSet};

/// How many processes are named in the log.
pub(crate) const NAMED: usize = 10;

/// How many are kept for a report.
pub(crate) const REMEMBERED: usize = 64;

/// A process by its number and the name that it goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessLabel {
    /// Its process id.
    pub(crate) pid: i32,
    /// When it started, in clock ticks: tells it from an earlier one with its pid.
    pub(crate) start: u64,
    /// Its name, as it or whoever executed it chose it: not to be trusted.
    pub(crate) name: String,
}

impl fmt::Display for ProcessLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.name)
    }
}

/// What a process does with signals (proc(5), /proc/PID/status).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SignalSets {
    /// Sent and not delivered.
    pub(crate) pending: SignalSet,
    /// Blocked by every thread.
    pub(crate) blocked: SignalSet,
    /// Ignored.
    pub(crate) ignored: SignalSet,
    /// Handled by a function of its own.
    pub(crate) handled: SignalSet,
}

impl SignalSets {
    /// Whether a signal with the default action of SIGTERM does not kill the process at once.
    pub(crate) fn survives(&self, signal: Signal) -> bool {
        let taken = self.ignored.or(self.handled).or(self.blocked);
        taken.contains(signal)
    }

    /// Whether the process can act on a signal that was sent to it.
    fn can_act_on(&self, signal: Signal, inner_init: bool) -> bool {
        let held = self.blocked.contains(signal) && self.pending.contains(signal);
        let dropped = inner_init
            && !self.handled.contains(signal)
            && !self.blocked.contains(signal)
            && !self.pending.contains(signal);
        !(self.ignored.contains(signal) || held || dropped)
    }
}

/// What is known of a process that is left.
#[expect(clippy::struct_excessive_bools, reason = "facts, each of its own")]
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The letter that /proc/PID/stat has for its state.
    pub(crate) state: u8,
    /// Whether its control group is frozen.
    pub(crate) frozen: bool,
    /// Where in the kernel it sleeps, if that may be read.
    pub(crate) wchan: Option<String>,
    /// What it does with signals, if that may be read.
    pub(crate) signals: Option<SignalSets>,
    /// The stop signals that were sent to it, the last one last.
    pub(crate) sent: Vec<Signal>,
    /// Its parent, unless that is us or outside.
    pub(crate) parent: Option<ProcessLabel>,
    /// Whether its parent is outside our PID namespace: the container engine has started
    /// it for an exec, a hook or a probe.
    pub(crate) outside: bool,
    /// A child of its own that lives.
    pub(crate) child: Option<ProcessLabel>,
    /// Whether it is PID 1 of a PID namespace below ours.
    pub(crate) inner_init: bool,
    /// Whether it is a shell.
    pub(crate) shell: bool,
    /// Whether its parent is.
    pub(crate) parent_is_shell: bool,
    /// How far the stop is.
    pub(crate) stage: Stage,
}

/// How far a stop is: why a process that received no signal received none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// The grace period is 0: no process is signaled before SIGKILL.
    NoGrace,
    /// The command is signaled first, and the other processes were not signaled yet.
    Command,
    /// The other processes were signaled.
    Others,
}

/// Why a process is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It has ended. Its parent lives and has not waited for it.
    NotReaped(Option<ProcessLabel>),
    /// Its control group is frozen.
    Frozen,
    /// It waits in the kernel, where signals do not reach it.
    Uninterruptible(Option<String>),
    /// It was stopped.
    Stopped,
    /// A debugger has stopped it.
    Traced,
    /// Nobody has asked it: its parent is to do that, or has not passed the
    /// signal on.
    NotSignaled(Option<ProcessLabel>),
    /// Nobody has asked it, and its parent is a shell.
    NotSignaledByShell(ProcessLabel),
    /// Nobody has asked it, and its parent is outside the PID namespace.
    NotSignaledOutside,
    /// It runs as another user, and we may not signal it.
    NotAllowed,
    /// Nobody was: the grace period is 0.
    NoGrace,
    /// It was started after everything was asked.
    StartedLate,
    /// It ignores the signal.
    Ignores(Signal),
    /// It blocks the signal.
    Blocks(Signal),
    /// It handles the signal, and is a shell with this child: if that runs in the
    /// foreground, the handler runs when it has ended.
    WaitsFor(Signal, ProcessLabel),
    /// It handles the signal, and has not ended.
    Handles(Signal),
    /// It was sent the signal and has not been seen to take it.
    NotDelivered(Signal),
    /// It is PID 1 of a namespace inside, where a signal without a handler is
    /// dropped.
    InnerInit(Signal),
    /// It has taken the signal without a handler (sigwait(3), signalfd(2)).
    Consumed(Signal),
    /// /proc does not tell what it does with signals.
    Unknown(Signal),
}

/// Programs that wait for what they run in the foreground before they act on a
/// signal, and pass none on.
const SHELLS: [&str; 9] = [
    "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "busybox",
];

/// Judges by the name, and by the executable where the name is that of a script.
pub(crate) fn is_shell(name: &str, executable: impl FnOnce() -> Option<String>) -> bool {
    if SHELLS.contains(&name.trim_start_matches('-')) {
        return true;
    }
    match executable().as_deref() {
        // Its applets are no shells, and none of those that have children is named so.
        Some("busybox") => name.contains(['-', '.']),
        Some(executable) => SHELLS.contains(&executable),
        None => false,
    }
}

impl Reason {
    /// Judges by the facts, those first that no signal can change.
    pub(crate) fn of(facts: Facts) -> Self {
        match facts.state {
            b'Z' | b'X' => return Self::NotReaped(facts.parent),
            _ if facts.frozen => return Self::Frozen,
            b'D' => return Self::Uninterruptible(facts.wchan),
            b'T' => return Self::Stopped,
            b't' => return Self::Traced,
            _ => {}
        }
        let Some(last) = facts.sent.last().copied() else {
            return match (facts.stage, facts.parent) {
                (Stage::NoGrace, _) => Self::NoGrace,
                (Stage::Others, _) => Self::StartedLate,
                (Stage::Command, _) if facts.outside => Self::NotSignaledOutside,
                (Stage::Command, Some(shell)) if facts.parent_is_shell => {
                    Self::NotSignaledByShell(shell)
                }
                (Stage::Command, parent) => Self::NotSignaled(parent),
            };
        };
        let Some(sets) = facts.signals else {
            return Self::Unknown(last);
        };
        // The last one that it can act on counts: the one before may have been ignored.
        let acts = |signal: &&Signal| sets.can_act_on(**signal, facts.inner_init);
        let signal = facts.sent.iter().rev().find(acts).copied().unwrap_or(last);
        if sets.ignored.contains(signal) {
            Self::Ignores(signal)
        } else if sets.blocked.contains(signal) && sets.pending.contains(signal) {
            Self::Blocks(signal)
        } else if sets.handled.contains(signal) {
            match facts.child {
                // The advice is for the image, not for what the engine has started.
                Some(child) if facts.shell && !facts.outside => Self::WaitsFor(signal, child),
                _ => Self::Handles(signal),
            }
        } else if sets.pending.contains(signal) {
            Self::NotDelivered(signal)
        } else if facts.inner_init && !sets.blocked.contains(signal) {
            Self::InnerInit(signal)
        } else {
            Self::Consumed(signal)
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReaped(None) => {
                f.write_str("its parent outside the PID namespace has not reaped it")
            }
            Self::NotReaped(Some(parent)) => write!(f, "its parent {parent} has not reaped it"),
            Self::Frozen => f.write_str("its cgroup is frozen; thaw it"),
            Self::Uninterruptible(wchan) => {
                f.write_str("it is in uninterruptible sleep")?;
                match wchan {
                    Some(wchan) => write!(f, " ({wchan})"),
                    None => Ok(()),
                }
            }
            Self::Stopped => {
                f.write_str("it is suspended; if it received SIGCONT, it was suspended again")
            }
            Self::Traced => f.write_str("a debugger has suspended it"),
            Self::NotSignaledByShell(parent) => write!(
                f,
                "not signaled yet: its parent {parent} is a shell, which does not forward signals \
                 unless its script does; use exec or --process-group"
            ),
            Self::NotSignaled(Some(parent)) => write!(
                f,
                "not signaled yet: its parent {parent} should stop it, or supervise will when the \
                 command has exited"
            ),
            Self::NotSignaled(None) => {
                f.write_str("not signaled yet: supervise will stop it when the command has exited")
            }
            Self::NotSignaledOutside => f.write_str(
                "not signaled yet: the container engine started it (exec, hook or probe), not the \
                 command; it gets SIGTERM when the command has exited, and should exit before the \
                 stop",
            ),
            Self::NotAllowed => f.write_str(
                "it runs as another user; grant CAP_KILL or CAP_SETUID, or run as that user",
            ),
            Self::NoGrace => f.write_str("not signaled: the grace period is 0"),
            Self::StartedLate => f.write_str("it started after the other processes were signaled"),
            Self::Ignores(signal) => write!(f, "it ignores {signal}"),
            Self::Blocks(signal) => write!(f, "it blocks {signal}"),
            Self::WaitsFor(signal, child) => write!(
                f,
                "it handles {signal}, but it is a shell and acts on it only after {child} exits, if \
                 that runs in the foreground; use exec or --process-group"
            ),
            Self::Handles(signal) => write!(f, "it handles {signal} but has not exited"),
            Self::NotDelivered(signal) => write!(f, "{signal} is still pending"),
            Self::InnerInit(signal) => write!(
                f,
                "it is PID 1 of a nested PID namespace and does not handle {signal}, so the kernel \
                 drops it"
            ),
            Self::Consumed(signal) => write!(f, "it received {signal} but has not exited"),
            Self::Unknown(signal) => write!(
                f,
                "it was sent {signal}; /proc does not show whether it handles that"
            ),
        }
    }
}

/// A process that is left, and why.
#[derive(Clone, Debug)]
pub(crate) struct RemainingProcess {
    /// Which.
    pub(crate) process: ProcessLabel,
    /// Why it is still there.
    pub(crate) reason: Reason,
}

/// All that are left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remaining {
    /// How many, with those that have ended and are not reaped.
    pub(crate) all: usize,
    /// How many others than the command have not ended.
    pub(crate) others: usize,
    /// The first of them, looked at closely: that takes a dozen files of each, and
    /// the more there are the less each is read.
    pub(crate) explained: Vec<RemainingProcess>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(signal: Signal) -> SignalSet {
        let mut set = SignalSet::EMPTY;
        set.insert(signal);
        set
    }

    fn named(pid: i32, name: &str) -> ProcessLabel {
        ProcessLabel {
            pid,
            start: 0,
            name: name.to_owned(),
        }
    }

    fn asked() -> Facts {
        Facts {
            state: b'S',
            frozen: false,
            wchan: None,
            signals: Some(SignalSets::default()),
            sent: vec![Signal::TERM],
            parent: None,
            child: None,
            outside: false,
            inner_init: false,
            shell: false,
            parent_is_shell: false,
            stage: Stage::Command,
        }
    }

    #[test]
    fn each_reason_is_told_from_the_others() {
        let sets = |change: fn(&mut SignalSets)| {
            let mut sets = SignalSets::default();
            change(&mut sets);
            Some(sets)
        };
        let ignored = sets(|sets| sets.ignored = set(Signal::TERM));
        let blocked = sets(|sets| {
            sets.blocked = set(Signal::TERM);
            sets.pending = set(Signal::TERM);
        });
        let handled = sets(|sets| sets.handled = set(Signal::TERM));
        let pending = sets(|sets| sets.pending = set(Signal::TERM));
        let others = sets(|sets| sets.ignored = set(Signal::HUP));
        let waited_for = sets(|sets| sets.blocked = set(Signal::TERM));
        let with = |change: &dyn Fn(&mut Facts)| {
            let mut facts = asked();
            change(&mut facts);
            Reason::of(facts)
        };
        let app = || Some(named(8, "app"));
        assert_eq!(
            with(&|f| f.signals = ignored),
            Reason::Ignores(Signal::TERM)
        );
        assert_eq!(with(&|f| f.signals = blocked), Reason::Blocks(Signal::TERM));
        assert_eq!(
            with(&|f| f.signals = handled),
            Reason::Handles(Signal::TERM)
        );
        assert_eq!(
            with(&|f| f.signals = pending),
            Reason::NotDelivered(Signal::TERM)
        );
        for sets in [others, waited_for] {
            assert_eq!(with(&|f| f.signals = sets), Reason::Consumed(Signal::TERM));
        }
        assert_eq!(with(&|f| f.signals = None), Reason::Unknown(Signal::TERM));
        assert_eq!(
            with(&|f| f.inner_init = true),
            Reason::InnerInit(Signal::TERM)
        );
        let with_child = |name: &str| {
            with(&|f| {
                f.signals = handled;
                f.child = app();
                f.shell = is_shell(name, || None);
            })
        };
        assert_eq!(with_child("server"), Reason::Handles(Signal::TERM));
        let waits = Reason::WaitsFor(Signal::TERM, named(8, "app"));
        assert_eq!(with_child("-bash"), waits);
        let not_asked = with(&|f| {
            f.sent = Vec::new();
            f.parent = app();
        });
        assert_eq!(not_asked, Reason::NotSignaled(app()));
        let outside = with(&|f| {
            f.sent = Vec::new();
            f.outside = true;
        });
        assert_eq!(outside, Reason::NotSignaledOutside);
        let of_a_hook = with(&|f| {
            f.signals = handled;
            f.child = app();
            f.outside = true;
            f.shell = true;
        });
        assert_eq!(of_a_hook, Reason::Handles(Signal::TERM));
        let too_late = with(&|f| {
            f.sent = Vec::new();
            f.stage = Stage::Others;
        });
        assert_eq!(too_late, Reason::StartedLate);
        let no_time = with(&|f| {
            f.sent = Vec::new();
            f.stage = Stage::NoGrace;
        });
        assert_eq!(no_time, Reason::NoGrace);
        // What no signal can change comes first.
        let in_state = |state, frozen| {
            with(&|f| {
                f.state = state;
                f.frozen = frozen;
                f.signals = ignored;
                f.parent = app();
                f.wchan = Some("nfs_wait".to_owned());
            })
        };
        assert_eq!(in_state(b'Z', false), Reason::NotReaped(app()));
        assert_eq!(in_state(b'T', false), Reason::Stopped);
        assert_eq!(in_state(b't', false), Reason::Traced);
        let place = Some("nfs_wait".to_owned());
        assert_eq!(in_state(b'D', false), Reason::Uninterruptible(place));
        assert_eq!(in_state(b'D', true), Reason::Frozen);
        assert_eq!(in_state(b'S', true), Reason::Frozen);
    }

    #[test]
    fn a_shell_is_known_by_its_name_or_its_executable() {
        for (name, executable, expected) in [
            ("sh", None, true),
            ("-bash", None, true),
            ("start-app", Some("dash"), true),
            ("start-app", Some("python3.12"), false),
            ("start-app", None, false),
            ("docker-entrypoi", Some("busybox"), true),
            ("runsvdir", Some("busybox"), false),
        ] {
            let found = is_shell(name, || executable.map(str::to_owned));
            assert_eq!(found, expected, "{name} {executable:?}");
        }
        let shell = || named(7, "start-app");
        let below_shell = Reason::of(Facts {
            sent: Vec::new(),
            parent: Some(shell()),
            parent_is_shell: true,
            ..asked()
        });
        assert_eq!(below_shell, Reason::NotSignaledByShell(shell()));
    }

    #[test]
    fn the_last_signal_that_it_can_act_on_counts() {
        let both = || vec![Signal::INT, Signal::TERM];
        let of = |sent: Vec<Signal>, inner_init: bool, sets: SignalSets| {
            Reason::of(Facts {
                sent,
                inner_init,
                signals: Some(sets),
                ..asked()
            })
        };
        let handles_term = SignalSets {
            handled: set(Signal::TERM),
            ignored: set(Signal::INT),
            ..SignalSets::default()
        };
        let expected = Reason::Handles(Signal::TERM);
        assert_eq!(of(both(), false, handles_term), expected);
        let reversed = vec![Signal::TERM, Signal::INT];
        assert_eq!(of(reversed, false, handles_term), expected);
        let handles_both = SignalSets {
            handled: set(Signal::TERM).or(set(Signal::INT)),
            ..SignalSets::default()
        };
        assert_eq!(of(both(), false, handles_both), expected);
        let blocks_term = SignalSets {
            blocked: set(Signal::TERM),
            pending: set(Signal::TERM),
            handled: set(Signal::INT),
            ..SignalSets::default()
        };
        assert_eq!(of(both(), false, blocks_term), Reason::Handles(Signal::INT));
        let inner = SignalSets {
            handled: set(Signal::INT),
            ..SignalSets::default()
        };
        assert_eq!(of(both(), true, inner), Reason::Handles(Signal::INT));
        // What blocks it without it being pending has taken it (sigwait); what is pending
        // there is not dropped.
        let waits_for_term = SignalSets {
            blocked: set(Signal::TERM),
            handled: set(Signal::INT),
            ..SignalSets::default()
        };
        assert_eq!(
            of(both(), true, waits_for_term),
            Reason::Consumed(Signal::TERM)
        );
        let pending = SignalSets {
            pending: set(Signal::TERM),
            handled: set(Signal::INT),
            ..SignalSets::default()
        };
        for inner_init in [false, true] {
            assert_eq!(
                of(both(), inner_init, pending),
                Reason::NotDelivered(Signal::TERM)
            );
        }
        let handles_term = SignalSets {
            handled: set(Signal::TERM),
            ..SignalSets::default()
        };
        let reversed = || vec![Signal::TERM, Signal::INT];
        assert_eq!(
            of(reversed(), true, handles_term),
            Reason::Handles(Signal::TERM)
        );
        assert_eq!(
            of(reversed(), false, handles_term),
            Reason::Consumed(Signal::INT)
        );
        let blocks_term = SignalSets {
            blocked: set(Signal::TERM),
            pending: set(Signal::TERM),
            ..SignalSets::default()
        };
        assert_eq!(
            of(vec![Signal::TERM], false, blocks_term),
            Reason::Blocks(Signal::TERM)
        );
        // If it can act on none of them, the last one counts as well.
        let ignores_both = SignalSets {
            ignored: set(Signal::TERM).or(set(Signal::INT)),
            ..SignalSets::default()
        };
        let expected = Reason::Ignores(Signal::TERM);
        assert_eq!(of(both(), false, ignores_both), expected);
        let none = SignalSets::default();
        assert_eq!(of(both(), true, none), Reason::InnerInit(Signal::TERM));
    }

    #[test]
    fn what_has_ended_or_is_dead_is_not_reaped() {
        for state in [b'Z', b'X'] {
            let facts = Facts { state, ..asked() };
            assert_eq!(Reason::of(facts), Reason::NotReaped(None));
        }
    }

    #[test]
    fn each_reason_has_its_own_words() {
        let app = || named(8, "app");
        let sh = || named(7, "sh");
        let term = Signal::TERM;
        for (reason, words) in [
            (Reason::NotReaped(None), "parent outside the PID namespace"),
            (
                Reason::NotReaped(Some(app())),
                "its parent pid 8 (app) has not reaped it",
            ),
            (Reason::Frozen, "frozen; thaw it"),
            (Reason::Uninterruptible(None), "uninterruptible sleep"),
            (
                Reason::Uninterruptible(Some("nfs_wait".to_owned())),
                "uninterruptible sleep (nfs_wait)",
            ),
            (Reason::Stopped, "it is suspended"),
            (Reason::Traced, "a debugger"),
            (
                Reason::NotSignaled(None),
                "will stop it when the command has exited",
            ),
            (
                Reason::NotSignaled(Some(app())),
                "pid 8 (app) should stop it",
            ),
            (Reason::NotSignaledByShell(sh()), "pid 7 (sh) is a shell"),
            (
                Reason::NotSignaledOutside,
                "the container engine started it",
            ),
            (Reason::NotAllowed, "runs as another user"),
            (Reason::NoGrace, "the grace period is 0"),
            (
                Reason::StartedLate,
                "after the other processes were signaled",
            ),
            (Reason::Ignores(term), "ignores SIGTERM"),
            (Reason::Blocks(term), "blocks SIGTERM"),
            (
                Reason::WaitsFor(term, app()),
                "only after pid 8 (app) exits",
            ),
            (Reason::Handles(term), "handles SIGTERM"),
            (Reason::NotDelivered(term), "SIGTERM is still pending"),
            (Reason::InnerInit(term), "a nested PID namespace"),
            (Reason::Consumed(term), "received SIGTERM"),
            (Reason::Unknown(term), "was sent SIGTERM"),
        ] {
            let text = reason.to_string();
            assert!(text.contains(words), "{reason:?}: {text}");
            assert!(!text.contains('\n') && !text.ends_with('.'), "{text}");
        }
    }

    #[test]
    fn a_shell_in_between_gets_advice() {
        let waits = Reason::WaitsFor(Signal::TERM, named(8, "app"));
        let not_asked = Reason::NotSignaledByShell(named(7, "sh"));
        for reason in [waits, not_asked] {
            let text = reason.to_string();
            assert!(
                text.contains("exec") && text.contains("--process-group"),
                "{text}"
            );
        }
        let text = Reason::NotSignaled(Some(named(7, "gunicorn"))).to_string();
        assert!(!text.contains("exec"), "{text}");
    }
}
