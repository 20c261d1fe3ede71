//! Finds out which processes a signal was for, and sends the command its signals: to its
//! process or its process group, and with the foreground of the terminal where it needs it.

use super::command::Supervisor;
use crate::decide::origin::{self, Origin};
use crate::settings::ForwardTo;
use crate::signal::{Received, Signal};
use crate::sys::kill::Target;
use crate::sys::spawn::ProcessGroup;
use crate::sys::{process, signals};
use crate::tell::record::Record;

/// Which processes signals for the process group of the command go to. `first`: the
/// command as it was started, whose pid is that of its group; `current`: the group that
/// the command is in now.
fn of_group(command: i32, first: i32, current: Option<i32>) -> Vec<Target> {
    match current {
        // A group that one of our processes is in cannot be another's by now.
        Some(group) if group == command || group == first => vec![Target::Group(group)],
        // It has gone to another group, and is meant all the same.
        _ if command == first => vec![Target::Group(command), Target::Process(command)],
        _ => vec![Target::Process(command)],
    }
}

impl Supervisor<'_> {
    /// For whom a signal was.
    pub(super) fn origin(&mut self, received: &Received) -> Origin {
        let signal = received.signal;
        let ignored_at_start = self.settings.run.stop_on_by_default.contains(signal)
            && process::own_pid() != 1
            && signals::is_ignored(signal);
        let facts = if origin::may_be_for_group(signal) {
            self.terminal.facts(received, self.command)
        } else {
            None
        };
        let Some(facts) = facts else {
            return Origin::for_us(ignored_at_start);
        };
        let resumed = signal == Signal::CONT && std::mem::take(&mut self.suspended);
        Origin::of(
            signal,
            origin::Facts {
                command_suspended: self.lifecycle.command_is_suspended(),
                resumed,
                ignored_at_start,
                ..facts
            },
        )
    }

    /// Which processes signals for the command, or for its process group, go to: none
    /// once it is reaped.
    fn targets(&self, group: bool) -> Vec<Target> {
        let Some(command) = self.command else {
            return Vec::new();
        };
        if !group || self.terminal.shares_group(command) {
            return vec![Target::Process(command)];
        }
        of_group(command, self.child.pid, process::group_of(command))
    }

    pub(super) fn forward(&mut self, received: &Received, stop: bool, to_group: bool) {
        let targets =
            self.targets(to_group || self.settings.command.forward_to == ForwardTo::Group);
        let group = targets.iter().find_map(|target| match target {
            Target::Group(group) => Some(*group),
            Target::Process(_) | Target::Everyone => None,
        });
        if stop {
            self.note_stop_signal(received.signal, group);
        }
        if received.signal == Signal::CONT {
            self.give_foreground_again();
        }
        for target in targets {
            self.send_to(target, received, stop);
        }
        if stop
            && let Some(group) = group
            && self.sweep.may_be_suspended(group)
        {
            // A suspended member acts on no signal, and gets none again. Looked up
            // after the signal was sent: one that is suspended from now on has
            // acted on it.
            self.resume_group(group);
        }
    }

    /// Notes that the command, and the members of this process group, are about to have
    /// this stop request, or have had it.
    pub(super) fn note_stop_signal(&mut self, signal: Signal, group: Option<i32>) {
        let Some(command) = self.command else {
            return;
        };
        self.sweep.ledger.sent_to_child(command, signal);
        // The command is recorded already.
        let others = group.map(|group| self.sweep.record_group(group, signal));
        self.tell(Record::StopSignal {
            signal,
            others: &others.unwrap_or_default(),
        });
    }

    pub(super) fn give_foreground_again(&mut self) {
        if let Some(command) = self.command {
            self.terminal.give_foreground_again(command);
        }
    }

    /// Makes the command's process group the foreground process group and resumes it;
    /// `false` if it cannot be.
    pub(super) fn give_foreground(&mut self) -> bool {
        let Some(group) = self
            .command
            .and_then(|pid| self.terminal.give_foreground(pid))
        else {
            return false;
        };
        // The terminal has suspended all of it.
        self.resume_group(group);
        true
    }

    /// Suspends ourselves; `false` if that did not happen.
    pub(super) fn suspend(&mut self, signal: Signal) -> bool {
        // What suspends a command outside our group has not reached the group: a script
        // around us is part of the job.
        let whole_group = self
            .command
            .is_some_and(|pid| !self.terminal.shares_group(pid));
        self.suspended = self.terminal.can_suspend() && signals::stop_by(signal, whole_group);
        if !self.suspended && signal == Signal::TSTP {
            // Ctrl-Z stops all of a group, and no other process resumes the others.
            self.resume_group(self.terminal.group_of(self.command));
        }
        self.suspended
    }

    /// Sends SIGTERM and SIGCONT to the other processes; `false` if some could not be read.
    pub(super) fn terminate_rest(&mut self) -> bool {
        let signaled = self.sweep.terminate(self.command, self.own_group());
        // The line of the log is written where they are counted.
        let at = self.started.elapsed();
        self.account.add(&Record::OthersSignaled(&signaled), at);
        !self.sweep.has_unread()
    }

    /// The process group of the command, if it is not ours.
    pub(super) fn own_group(&self) -> Option<i32> {
        (self.terminal.group() != ProcessGroup::Inherited).then_some(self.child.pid)
    }

    fn resume_group(&mut self, group: i32) {
        self.send_to(Target::Group(group), &Received::plain(Signal::CONT), false);
    }

    /// Sends the command a signal of ours, if it is there.
    pub(super) fn send(&mut self, signal: Signal) {
        let stop = signal == Signal::KILL;
        for target in self.targets(self.settings.command.forward_to == ForwardTo::Group) {
            self.send_to(target, &Received::plain(signal), stop);
        }
    }

    fn send_to(&mut self, target: Target, received: &Received, stop: bool) {
        let result = self.sweep.send(target, received, stop);
        self.tell(Record::Sent {
            signal: received.signal,
            target,
            result,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_signaled_only_where_it_is_surely_the_commands() {
        let (group, process) = (Target::Group, Target::Process);
        for (command, first, current, expected) in [
            (7, 7, Some(7), vec![group(7)]),
            // A process that took over, in the group of the first or in its own.
            (9, 7, Some(7), vec![group(7)]),
            (9, 7, Some(9), vec![group(9)]),
            (9, 7, Some(5), vec![process(9)]),
            (9, 7, None, vec![process(9)]),
            // The command has left the group that it was started in.
            (7, 7, Some(5), vec![group(7), process(7)]),
            (7, 7, None, vec![group(7), process(7)]),
        ] {
            assert_eq!(of_group(command, first, current), expected, "{current:?}");
        }
    }
}
