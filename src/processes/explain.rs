//! Why processes remain: the facts of each, for `decide/reason.rs`.

use super::cgroup;
use super::ledger::Ledger;
use super::procfs::{self, Process};
use super::tree::Tree;
use crate::decide::reason::{self, Facts, Reason, Remaining, RemainingProcess, Stage};
use crate::decide::sorted::sorted;
use crate::decide::step::Scope;
use crate::signal::Signal;

/// The order in which processes are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Command,
    Other,
    Zombie,
}

/// Returns the processes of a tree that are to exit, and explains the first of them.
/// `command`: its pid, if it is not reaped. `explain_limit`: each explanation takes a
/// dozen files.
pub(crate) fn explain(
    tree: &Tree,
    ledger: &Ledger,
    stage: Stage,
    command: Option<i32>,
    scope: Scope,
    explain_limit: usize,
) -> Remaining {
    let remaining = in_order(tree, command, scope);
    let explained = remaining
        .iter()
        .take(explain_limit)
        .filter_map(|(_, process)| {
            // It may have exited meanwhile.
            let now = procfs::stat(process.pid);
            let now = now.unwrap_or_else(|_| Some((*process).clone()))?;
            (!is_about_to_be_reaped(tree, &now)).then(|| RemainingProcess {
                process: now.label(),
                reason: reason(tree, ledger, stage, &now),
            })
        });
    Remaining {
        all: remaining.len(),
        others: remaining
            .iter()
            .filter(|(place, _)| *place == Place::Other)
            .count(),
        explained: explained.collect(),
    }
}

fn in_order(tree: &Tree, command: Option<i32>, scope: Scope) -> Vec<(Place, &Process)> {
    let remaining: Vec<_> = tree
        .all()
        .filter(|process| scope == Scope::Everything || Some(process.pid) == command)
        .filter(|process| !is_about_to_be_reaped(tree, process))
        .map(|process| (place(process, command), process))
        .collect();
    sorted(remaining, |(place, process)| {
        // No pid is negative.
        (*place as usize, process.pid.unsigned_abs() as usize)
    })
}

fn place(process: &Process, command: Option<i32>) -> Place {
    if process.is_zombie() {
        Place::Zombie
    } else if Some(process.pid) == command {
        Place::Command
    } else {
        Place::Other
    }
}

fn is_about_to_be_reaped(tree: &Tree, process: &Process) -> bool {
    process.is_zombie() && process.parent == tree.own_pid
}

fn reason(tree: &Tree, ledger: &Ledger, stage: Stage, process: &Process) -> Reason {
    let pid = process.pid;
    if ledger.is_refused(process.identity()) {
        return Reason::NotAllowed;
    }
    let zombie = process.is_zombie();
    let parent = tree.get(process.parent);
    let signals = procfs::signal_sets(pid);
    let survives = signals.is_some_and(|sets| sets.survives(Signal::TERM));
    Reason::of(Facts {
        // The state of a main thread that has exited tells nothing of the others.
        state: if process.state == b'Z' && !zombie {
            b'S'
        } else {
            process.state
        },
        frozen: !zombie && cgroup::is_frozen(pid),
        wchan: procfs::wchan(pid),
        signals,
        sent: ledger.signals(process.identity(), survives),
        parent: parent.map(Process::label),
        outside: process.parent == 0,
        // A shell runs in the foreground what it has forked last.
        child: tree.last_child(pid).map(Process::label),
        inner_init: procfs::is_inner_init(pid),
        shell: is_shell(process),
        parent_is_shell: parent.is_some_and(is_shell),
        stage,
    })
}

fn is_shell(process: &Process) -> bool {
    reason::is_shell(&process.name(), || procfs::executable(process.pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell with a child that it waits for, a zombie of the child, and one of ours.
    fn tree() -> Tree {
        let processes = [
            (5, 2, b'Z'),
            (6, 7, b'S'),
            (7, 2, b'S'),
            (8, 6, b'Z'),
            (9, 2, b'S'),
        ];
        let example = |(pid, parent, state)| Process::example(pid, parent, state);
        Tree::of(2, processes.map(example))
    }

    #[test]
    fn the_command_comes_first_and_zombies_come_last() {
        let ledger = Ledger::default();
        let explain = |command, scope| explain(&tree(), &ledger, Stage::Command, command, scope, 0);
        let pids = |remaining: &[(Place, &Process)]| {
            remaining
                .iter()
                .map(|(_, process)| process.pid)
                .collect::<Vec<_>>()
        };
        let tree = tree();
        assert_eq!(
            pids(&in_order(&tree, Some(9), Scope::Everything)),
            [9, 6, 7, 8]
        );
        assert_eq!(
            pids(&in_order(&tree, None, Scope::Everything)),
            [6, 7, 9, 8]
        );
        assert_eq!(pids(&in_order(&tree, Some(9), Scope::Command)), [9]);
        assert!(in_order(&tree, None, Scope::Command).is_empty());
        let remaining = explain(Some(9), Scope::Everything);
        assert_eq!((remaining.all, remaining.others), (4, 2));
        assert!(remaining.explained.is_empty());
    }
}
