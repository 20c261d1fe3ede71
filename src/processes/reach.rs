//! Which processes SIGTERM and SIGKILL go to.

use super::ledger::Ledger;
use super::procfs::Process;
use super::tree::Tree;
use crate::signal::Signal;

/// Which processes a signal of ours goes to, the command aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Every process of the PID namespace at once, forking or not.
    Everyone,
    /// These, one by one.
    Found(Vec<Process>),
    /// The process group of the command: nothing shows the other processes.
    Group(i32),
    /// None.
    Nobody,
}

/// Decides that. `command`: its pid, if it is not reaped. `group`: its process group, if
/// that is not ours. `tree` is called only where its answer matters.
pub(super) fn reach(
    signal: Signal,
    pid1: bool,
    command: Option<i32>,
    group: Option<i32>,
    is_signaled: impl Fn(&Process) -> bool,
    ledger: &Ledger,
    tree: impl FnOnce() -> Option<Tree>,
) -> Reach {
    let kills = signal == Signal::KILL;
    if pid1 && (kills || command.is_none() && ledger.is_empty()) {
        return Reach::Everyone;
    }
    match tree() {
        Some(tree) => {
            let is_meant = |process: &Process| {
                // A process receives SIGTERM once, SIGKILL again and again.
                Some(process.pid) != command && (kills || !is_signaled(process))
            };
            Reach::Found(
                tree.alive()
                    .filter(|process| is_meant(process))
                    .cloned()
                    .collect(),
            )
        }
        // Signaled before, as far as that is possible.
        None if !kills && ledger.has_unlisted() => Reach::Nobody,
        None if pid1 => Reach::Everyone,
        None => group.map_or(Reach::Nobody, Reach::Group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes, the command, and a zombie.
    fn tree() -> Tree {
        let states = [(5, b'S'), (6, b'T'), (7, b'S'), (8, b'Z')];
        Tree::of(
            1,
            states.map(|(pid, state)| Process::example(pid, 1, state)),
        )
    }

    fn show(reach: &Reach) -> String {
        match reach {
            Reach::Everyone => "everyone".to_owned(),
            Reach::Group(group) => format!("group {group}"),
            Reach::Nobody => "nobody".to_owned(),
            Reach::Found(processes) => {
                let pids: Vec<_> = processes.iter().map(|p| p.pid.to_string()).collect();
                pids.join(" ")
            }
        }
    }

    #[test]
    fn each_signal_goes_to_the_processes_that_it_is_for() {
        let none = Ledger::default();
        let (mut command, mut other) = (Ledger::default(), Ledger::default());
        command.sent_to_child(7, Signal::TERM);
        other.sent(Process::example(5, 1, b'S').identity(), Signal::TERM);
        let mut unlisted = Ledger::default();
        unlisted.sent_to_unlisted(1000, false);
        let (term, kill) = (Signal::TERM, Signal::KILL);
        // The signal; whether we are PID 1; the command, if it is not reaped; who was
        // signaled before; whether /proc shows the processes; the group of the command.
        for (signal, pid1, alive, ledger, shown, group, expected) in [
            (term, true, None, &none, true, Some(7), "everyone"),
            (term, true, None, &other, true, Some(7), "6 7"),
            (term, true, Some(7), &none, true, Some(7), "5 6"),
            (term, true, Some(7), &command, true, Some(7), "5 6"),
            (term, true, Some(7), &other, true, Some(7), "6"),
            (term, true, None, &unlisted, true, Some(7), "5 6 7"),
            (term, true, Some(7), &command, false, Some(7), "everyone"),
            (term, true, Some(7), &unlisted, false, Some(7), "nobody"),
            (term, false, None, &none, true, Some(7), "5 6 7"),
            (term, false, Some(7), &command, true, Some(7), "5 6"),
            (term, false, Some(7), &other, true, None, "6"),
            (term, false, Some(7), &command, false, Some(7), "group 7"),
            (term, false, Some(7), &command, false, None, "nobody"),
            (term, false, None, &unlisted, false, Some(7), "nobody"),
            (kill, true, Some(7), &other, true, Some(7), "everyone"),
            (kill, true, None, &unlisted, false, None, "everyone"),
            (kill, false, Some(7), &other, true, Some(7), "5 6"),
            (kill, false, None, &unlisted, true, Some(7), "5 6 7"),
            (kill, false, Some(7), &unlisted, false, Some(7), "group 7"),
            (kill, false, Some(7), &unlisted, false, None, "nobody"),
        ] {
            let is_signaled = |process: &Process| ledger.is_signaled(process.identity());
            let look = || shown.then(tree);
            let found = reach(signal, pid1, alive, group, is_signaled, ledger, look);
            let case = format!("{signal} {pid1} {alive:?} {ledger:?} {shown} {group:?}");
            assert_eq!(show(&found), expected, "{case}");
        }
    }

    #[test]
    fn no_process_is_looked_for_where_all_are_signaled_at_once() {
        let never = || panic!("read the tree");
        let ledger = Ledger::default();
        for signal in [Signal::TERM, Signal::KILL] {
            let found = reach(signal, true, None, None, |_| false, &ledger, never);
            assert_eq!(found, Reach::Everyone);
        }
    }
}
