//! How a process ended, and how `supervise` terminates because of that: the rules for its
//! exit status. Pure.

use crate::signal::Signal;

/// Exit status: `supervise` itself failed, usage errors included. 125 to 127 are those of
/// env(1), timeout(1) and nohup(1).
pub(crate) const FAILED: u8 = 125;
/// Exit status: the command was found but could not be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// Exit status: the command was not found.
pub(crate) const NOT_FOUND: u8 = 127;

/// How a process ended (wait(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    /// The command was not executed: [`NOT_EXECUTABLE`] or [`NOT_FOUND`].
    NotExecuted(u8),
    /// It exited with this status.
    Exited(u8),
    /// A signal killed it; `true`: it left a core dump.
    Killed(Signal, bool),
}

impl Ending {
    /// The exit status as a shell shows it: 128+N if signal N killed the process.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::NotExecuted(code) | Self::Exited(code) => code,
            // It fits, because a signal number is at most 64.
            Self::Killed(signal, _) => u8::try_from(128 + signal.number()).unwrap_or(u8::MAX),
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotExecuted(_) => f.write_str("was not executed"),
            Self::Exited(code) => write!(f, "exited with status {code}"),
            Self::Killed(signal, false) => write!(f, "killed by {signal}"),
            Self::Killed(signal, true) => write!(f, "killed by {signal} (core dumped)"),
        }
    }
}

/// How `supervise` terminates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Termination {
    /// It exits with this status.
    Exit(u8),
    /// It kills itself with this signal, which killed the command.
    Signal(Signal),
}

impl Termination {
    /// The exit status as a shell shows it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Exit(code) => code,
            Self::Signal(signal) => Ending::Killed(signal, false).code(),
        }
    }
}

/// The rules that turn the command's exit status into that of `supervise`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatusRules {
    /// Statuses that become 0; 128+N: killed by signal N.
    pub(crate) remap: Vec<u8>,
    /// Whether `supervise` kills itself with the signal that killed the command. Never as
    /// PID 1, which its own signal does not kill.
    pub(crate) reraise: bool,
}

impl StatusRules {
    /// Returns how `supervise` terminates after the command ended so.
    pub(crate) fn termination(&self, ending: Ending) -> Termination {
        let code = ending.code();
        match ending {
            // Not a status of the command, so that no rule applies.
            Ending::NotExecuted(_) => Termination::Exit(code),
            _ if self.remap.contains(&code) => Termination::Exit(0),
            Ending::Killed(signal, _) if self.reraise => Termination::Signal(signal),
            _ => Termination::Exit(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Ending = Ending::Killed(Signal::TERM, false);

    fn rules(remap: &[u8], reraise: bool) -> StatusRules {
        StatusRules {
            remap: remap.to_vec(),
            reraise,
        }
    }

    #[test]
    fn a_code_is_passed_on_and_a_signal_is_128_and_its_number() {
        assert_eq!(
            rules(&[], false).termination(Ending::Exited(7)),
            Termination::Exit(7)
        );
        assert_eq!(rules(&[], false).termination(TERM), Termination::Exit(143));
        let highest = Signal::from_number(64).unwrap();
        assert_eq!(Ending::Killed(highest, true).code(), 192);
    }

    #[test]
    fn what_happened_is_told_in_words_and_as_a_code() {
        for (ending, text, code) in [
            (Ending::NotExecuted(127), "was not executed", 127),
            (Ending::Exited(3), "exited with status 3", 3),
            (TERM, "killed by SIGTERM", 143),
            (
                Ending::Killed(Signal::TERM, true),
                "killed by SIGTERM (core dumped)",
                143,
            ),
        ] {
            assert_eq!((ending.to_string().as_str(), ending.code()), (text, code));
        }
        assert_eq!(Termination::Exit(7).code(), 7);
        assert_eq!(Termination::Signal(Signal::TERM).code(), 143);
    }

    #[test]
    fn what_was_not_executed_has_no_status_to_remap() {
        let rules = rules(&[127], true);
        let ending = Ending::NotExecuted(127);
        assert_eq!(rules.termination(ending), Termination::Exit(127));
        assert_eq!(rules.termination(Ending::Exited(127)), Termination::Exit(0));
    }

    #[test]
    fn with_reraise_it_dies_of_the_same_signal() {
        assert_eq!(
            rules(&[], true).termination(TERM),
            Termination::Signal(Signal::TERM)
        );
        assert_eq!(
            rules(&[], true).termination(Ending::Exited(143)),
            Termination::Exit(143)
        );
    }

    #[test]
    fn a_command_that_was_not_executed_is_never_remapped() {
        for code in [NOT_EXECUTABLE, NOT_FOUND] {
            let ending = Ending::NotExecuted(code);
            assert_eq!(
                rules(&[code], true).termination(ending),
                Termination::Exit(code)
            );
        }
    }

    #[test]
    fn a_remapped_code_is_0_however_it_came_about() {
        for reraise in [true, false] {
            assert_eq!(
                rules(&[143], reraise).termination(TERM),
                Termination::Exit(0)
            );
            assert_eq!(
                rules(&[143], reraise).termination(Ending::Exited(143)),
                Termination::Exit(0)
            );
            assert_eq!(
                rules(&[143], reraise).termination(Ending::Exited(1)),
                Termination::Exit(1)
            );
        }
    }
}
