//! Which processes a signal was for: `supervise` alone, or the process group that
//! the command shares with it. Pure: what is known comes as [`Facts`].
//!
//! The kernel does not say. What the terminal sends goes to a group (SIGINT, SIGHUP at a
//! hang-up), and so does a shell's job control; anything else may have been for us alone.
//! A signal that arrives twice is better than one that is lost.

use crate::signal::Signal;

/// Whether this signal may have been for a process group. Facts are gathered for
/// no other, so that forwarding SIGTERM costs nothing.
pub(crate) fn may_be_for_group(signal: Signal) -> bool {
    [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::CONT,
        Signal::TSTP,
        Signal::TTIN,
        Signal::TTOU,
        Signal::WINCH,
    ]
    .contains(&signal)
}

/// Whether a shell or a terminal suspends or resumes jobs by this signal.
pub(crate) fn is_job_control(signal: Signal) -> bool {
    [Signal::CONT, Signal::TSTP, Signal::TTIN, Signal::TTOU].contains(&signal)
}

/// Whether the terminal sends this signal for a key (Ctrl-C, Ctrl-\\, Ctrl-Z).
pub(crate) fn may_be_typed(signal: Signal) -> bool {
    [Signal::INT, Signal::QUIT, Signal::TSTP].contains(&signal)
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The kernel, of its own accord: the terminal.
    Kernel,
    /// The leader of the session, where that can be a shell with job control: it
    /// is not in our process group, and handles the end of its children.
    SessionLeader,
    /// Any other process.
    Other,
}

/// What is known when a signal comes in, on a terminal.
#[expect(clippy::struct_excessive_bools, reason = "facts, each of its own")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Who sent it.
    pub(crate) sender: Sender,
    /// The command is in our process group at this moment.
    pub(crate) shares_group: bool,
    /// Our controlling terminal is gone.
    pub(crate) hung_up: bool,
    /// We lead the session.
    pub(crate) leads_session: bool,
    /// Our stdin is the controlling terminal.
    pub(crate) stdin_is_terminal: bool,
    /// The command handles the signal by a function of its own.
    pub(crate) handled: bool,
    /// The command is suspended at this moment.
    pub(crate) command_suspended: bool,
    /// We were suspended, and this is the first SIGCONT since.
    pub(crate) resumed: bool,
    /// It is a stop signal that was ignored when we started and that no option names.
    pub(crate) ignored_at_start: bool,
}

/// Which processes a signal was for, and what it may mean.
#[expect(clippy::struct_excessive_bools, reason = "answers, each of its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// The command has received it and must not get another.
    pub(crate) received_by_command: bool,
    /// It was for a whole process group: where the command is in another one, that
    /// whole group is to get it.
    pub(crate) for_group: bool,
    /// It may be a stop request while the command runs.
    pub(crate) may_request_stop: bool,
    /// It was typed. When the command has exited no program acts on the key any
    /// more, and it may be a stop request even where it was none before.
    pub(crate) typed: bool,
}

impl Origin {
    /// For us alone. `ignored_at_start` as in [`Facts`].
    pub(crate) fn for_us(ignored_at_start: bool) -> Self {
        Self {
            received_by_command: false,
            for_group: false,
            may_request_stop: !ignored_at_start,
            typed: false,
        }
    }

    /// Judges a signal that may be for a group, on a terminal.
    pub(crate) fn of(signal: Signal, facts: Facts) -> Self {
        let from_kernel = facts.sender == Sender::Kernel;
        let for_group = match signal {
            // The kernel signals the leader of a session alone, and other processes with
            // their groups.
            Signal::HUP | Signal::CONT if from_kernel => !facts.leads_session,
            _ if from_kernel => may_be_for_group(signal),
            // A shell hangs up its jobs when it is hung up itself. While the
            // terminal is there the signal may have been for us alone.
            Signal::HUP => facts.sender == Sender::SessionLeader && facts.hung_up,
            // A shell resumes a job as a group.
            Signal::CONT => facts.resumed,
            // An editor suspends its own group. It suspends itself with it.
            Signal::TSTP | Signal::TTIN | Signal::TTOU => {
                facts.shares_group && facts.command_suspended
            }
            _ => false,
        };
        let not_resumed = signal == Signal::CONT && facts.command_suspended;
        let received_by_command = for_group && facts.shares_group && !not_resumed;
        let typed = from_kernel && may_be_typed(signal);
        // A shell, an interpreter, a pager lives on Ctrl-C. What does not handle it
        // is killed by it, or ignores it: then it is for us to stop.
        let up_to_command =
            typed && (facts.stdin_is_terminal || received_by_command && facts.handled);
        Self {
            received_by_command,
            for_group,
            may_request_stop: !(facts.ignored_at_start || up_to_command),
            typed: typed && !facts.ignored_at_start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row for a signal and a sender, one letter for each combination of four
    /// facts, the first of which changes slowest:
    ///
    /// - `.` for us alone, `f` for a group that the command is not in, `g` for a
    ///   group that it is in, so that it has received it;
    /// - the capital letters are the same, and it is no stop request.
    const TABLE: &str = "
        shares_group handled stdin_is_terminal leads_session
        INT   Kernel         ffFFffFFggGGGGGG
        QUIT  Kernel         ffFFffFFggGGGGGG
        INT   SessionLeader  ................
        INT   Other          ................
        QUIT  SessionLeader  ................
        QUIT  Other          ................
        TERM  Kernel         ................
        TERM  SessionLeader  ................
        TERM  Other          ................

        shares_group hung_up leads_session stdin_is_terminal
        HUP   Kernel         ff..ff..gg..gg..
        HUP   SessionLeader  ....ffff....gggg
        HUP   Other          ................

        shares_group command_suspended handled stdin_is_terminal
        TSTP  Kernel         fFfFfFfFgGGGgGGG
        TSTP  SessionLeader  ............gggg
        TSTP  Other          ............gggg
        TTIN  Kernel         ffffffffgggggggg
        TTIN  SessionLeader  ............gggg
        TTIN  Other          ............gggg
        TTOU  Kernel         ffffffffgggggggg
        TTOU  SessionLeader  ............gggg
        TTOU  Other          ............gggg
        WINCH Kernel         ffffffffgggggggg
        WINCH SessionLeader  ................
        WINCH Other          ................

        shares_group resumed command_suspended leads_session
        CONT  Kernel         f.f.f.f.g.f.g.f.
        CONT  SessionLeader  ....ffff....ggff
        CONT  Other          ....ffff....ggff
    ";

    const SENDERS: [Sender; 3] = [Sender::Kernel, Sender::SessionLeader, Sender::Other];

    const FACTS: [&str; 8] = [
        "shares_group",
        "hung_up",
        "leads_session",
        "stdin_is_terminal",
        "handled",
        "command_suspended",
        "resumed",
        "ignored_at_start",
    ];

    fn facts(sender: Sender, holds: impl Fn(&str) -> bool) -> Facts {
        Facts {
            sender,
            shares_group: holds("shares_group"),
            hung_up: holds("hung_up"),
            leads_session: holds("leads_session"),
            stdin_is_terminal: holds("stdin_is_terminal"),
            handled: holds("handled"),
            command_suspended: holds("command_suspended"),
            resumed: holds("resumed"),
            ignored_at_start: holds("ignored_at_start"),
        }
    }

    fn letter(origin: Origin) -> char {
        let letter = match (origin.for_group, origin.received_by_command) {
            (false, false) => '.',
            (true, false) => 'f',
            (true, true) => 'g',
            (false, true) => panic!("received, and not for its group: {origin:?}"),
        };
        if origin.may_request_stop {
            letter
        } else {
            letter.to_ascii_uppercase()
        }
    }

    #[test]
    fn every_combination_of_facts_is_judged_as_the_table_says() {
        let mut columns: Vec<&str> = Vec::new();
        let mut rows = 0;
        for line in TABLE.lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [signal, sender, letters] = words[..] else {
                columns = words;
                continue;
            };
            rows += 1;
            let of_name = |known: &&Sender| format!("{known:?}") == sender;
            let sender = *SENDERS.iter().find(of_name).unwrap();
            let signal = Signal::parse(signal).unwrap();
            // All combinations of all facts: those that the row does not name
            // change nothing.
            for bits in 0..1_usize << FACTS.len() {
                let is_set = |name: &str| {
                    let at = FACTS.iter().position(|known| *known == name).unwrap();
                    bits >> at & 1 == 1
                };
                let given = facts(sender, is_set);
                let column = columns
                    .iter()
                    .fold(0, |column, name| column * 2 + usize::from(is_set(name)));
                let mut expected = letters.chars().nth(column).unwrap();
                let origin = Origin::of(signal, given);
                if given.ignored_at_start {
                    assert!(!origin.may_request_stop && !origin.typed, "{given:?}");
                    expected = expected.to_ascii_uppercase();
                } else {
                    let key = sender == Sender::Kernel && may_be_typed(signal);
                    assert_eq!(origin.typed, key, "{signal} with {given:?}");
                }
                // '.' has no capital letter.
                assert!(
                    letter(origin) == expected,
                    "{signal} with {given:?}: {origin:?}"
                );
                assert!(origin.for_group || origin.may_request_stop != given.ignored_at_start);
            }
        }
        assert_eq!(rows, 27);
    }

    #[test]
    fn what_is_for_us_alone_is_a_stop_request_unless_it_was_ignored() {
        for ignored in [false, true] {
            let origin = Origin::for_us(ignored);
            assert_eq!(origin.may_request_stop, !ignored);
            assert!(!(origin.received_by_command || origin.for_group || origin.typed));
        }
    }
}
