//! What `supervise` does next: a state, and a function from an event to
//! actions. `docs/design.md` draws the phases.
//!
//! The caller's side of the contract:
//! - events come in the order in which they were seen, and the actions of one
//!   are carried out before the next is fed in and before anything else is
//!   reaped: between the decision to signal a process and the signal, its pid
//!   cannot become another process's;
//! - [`Event::CommandEnded`] or [`Event::CommandHandedOn`] comes when the command
//!   is reaped, and [`Event::SomeLeft`] or [`Event::NothingLeft`] when every child
//!   that has exited is: other events may come in between;
//! - [`Event::Expired`] comes for a timer that was armed, once for each time;
//! - [`Event::StopBy`] comes only where the rules are those of a keeper: leftover processes
//!   are stopped, and there is neither a stop delay nor job control;
//! - an action that fails is answered by an event right after the actions;
//! - nothing comes after [`Action::Exit`].

use std::time::Duration;

use super::origin::Origin;
use super::reason::Stage;
use super::rules::{Grace, LeftoverPolicy, Rules};
use super::step::{Action, Event, Notice, Request};
use crate::ending::Ending;
use crate::signal::{Received, Signal};

#[cfg(test)]
mod enumeration;
mod stop;

/// How often a command that received a stop request is resumed when it is suspended
/// instead. One that suspends itself again each time would keep us busy.
const RESUMES: u8 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// No stop was requested. The command runs, or has just exited.
    Running,
    /// A stop was requested, and the command is signaled a little later; or if it has
    /// exited, the leftover processes, which may be the service that it launched.
    Delaying,
    /// The command received the stop request and has not exited.
    Stopping,
    /// The command has exited; the other processes may run as long as they like.
    Lingering,
    /// The command has exited and the other processes were sent SIGTERM.
    Sweeping,
    /// The grace period expired.
    Killing,
    /// `Action::Exit` was given.
    Done,
}

/// A signal on its way to the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Delivery {
    /// The signal as the command is to get it.
    received: Received,
    /// The whole process group of the command is to get it.
    to_group: bool,
    /// The command has received it already.
    done: bool,
}

impl Delivery {
    fn action(self, stop: bool) -> Option<Action> {
        let Self {
            received, to_group, ..
        } = self;
        if self.done {
            return stop.then_some(Action::CommandReceived(received.signal));
        }
        Some(Action::Forward {
            received,
            stop,
            to_group,
        })
    }
}

/// The state of one run.
#[expect(clippy::struct_excessive_bools, reason = "facts, each of its own")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lifecycle {
    rules: Rules,
    phase: Phase,
    /// How the command ended; `None` while its pid is ours to signal.
    ending: Option<Ending>,
    /// Whether the command is suspended.
    suspended: bool,
    /// How often the command was resumed since it received a stop request.
    resumes: u8,
    /// The stop request that waits for the delay to be over.
    held: Option<Delivery>,
    /// Whether a stop was requested.
    stop_requested: bool,
    /// Whether the main process has told us to stop: [`Event::StopBy`].
    told: bool,
    /// How far the stop is, for processes that received no signal.
    stage: Stage,
    /// Whether processes that could not be read are to be looked for again.
    some_unread: bool,
    /// How long until the next look for them.
    look_again: Duration,
    /// How long until the next SIGKILL.
    kill_again: Duration,
}

impl Lifecycle {
    /// A lifecycle whose command has just been started.
    pub(crate) fn new(rules: Rules) -> Self {
        let stage = match rules.grace {
            Grace::For(Duration::ZERO) => Stage::NoGrace,
            _ => Stage::Command,
        };
        Self {
            rules,
            phase: Phase::Running,
            ending: None,
            suspended: false,
            resumes: 0,
            held: None,
            stop_requested: false,
            told: false,
            stage,
            some_unread: false,
            look_again: stop::FIRST_LOOK_AGAIN,
            kill_again: stop::FIRST_KILL_AGAIN,
        }
    }

    /// Whether leftover processes are about to be left running, unless they would be
    /// killed then ([`Event::InitExitsWithUs`]).
    pub(crate) fn is_about_to_leave(&self) -> bool {
        self.phase == Phase::Running
            && self.ending.is_some()
            && self.rules.leftovers == LeftoverPolicy::Auto
            && !self.rules.pid1
    }

    /// How far the stop is, for processes that received no signal.
    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether the command is suspended, as far as is known.
    pub(crate) fn command_is_suspended(&self) -> bool {
        self.suspended
    }

    /// Takes an event in and returns what to do about it.
    #[must_use = "the actions are what the event leads to"]
    pub(crate) fn on(&mut self, event: Event) -> Vec<Action> {
        if self.phase == Phase::Done {
            return Vec::new();
        }
        match event {
            Event::Signal(received, origin) => {
                self.on_signal(received, origin, Request::Signal(received))
            }
            Event::Rehearse(_) if self.stop_requested => Vec::new(),
            Event::Rehearse(signal) => {
                let (received, origin) = (Received::plain(signal), Origin::for_us(false));
                self.on_signal(received, origin, Request::Rehearsal(signal))
            }
            Event::StopBy {
                signal,
                kill_in,
                rest_in,
            } => self.stop_by(signal, kill_in, rest_in),
            // After a stop request the exit of the command that received it counts, and
            // the other process is one of the leftovers.
            Event::CommandHandedOn { to, .. } if self.phase == Phase::Running => {
                self.suspended = false;
                vec![Action::TakeOn(to)]
            }
            Event::CommandEnded(ending) | Event::CommandHandedOn { ending, .. } => {
                self.ending = Some(ending);
                self.suspended = false;
                self.held = None;
                Vec::new()
            }
            Event::CommandStopped {
                signal,
                can_take_terminal,
            } => {
                self.suspended = true;
                self.on_suspended(signal, can_take_terminal)
            }
            Event::CommandContinued => {
                self.suspended = false;
                Vec::new()
            }
            Event::NotSuspended(signal) => self.on_not_suspended(signal),
            Event::ForegroundRefused(signal) if self.phase == Phase::Running => {
                vec![Action::Suspend(signal)]
            }
            Event::ForegroundRefused(_) => Vec::new(),
            Event::SomeUnread => self.on_some_unread(),
            Event::InitExitsWithUs => {
                self.rules.pid1 = true;
                Vec::new()
            }
            Event::SomeLeft => self.on_some_left(),
            Event::NothingLeft => match self.ending {
                Some(ending) => self.exit(ending),
                // Only a child that is not reaped can leave this unanswered.
                None => Vec::new(),
            },
            Event::Expired(timer) => self.on_expired(timer),
        }
    }

    fn on_signal(&mut self, received: Received, origin: Origin, by: Request) -> Vec<Action> {
        let Some(signal) = self.rewritten(received.signal) else {
            return Vec::new();
        };
        if self.ending.is_some() {
            return self.on_signal_after_command(received, origin, by);
        }
        let stop = self.rules.stop_on.contains(received.signal) && origin.may_request_stop;
        let delivery = Delivery {
            received: if origin.received_by_command {
                received
            } else {
                Received { signal, ..received }
            },
            to_group: origin.for_group,
            done: origin.received_by_command,
        };
        let deliver = delivery.action(stop);
        match self.phase {
            Phase::Running if stop => self.request_stop(by, Some(delivery)),
            Phase::Delaying if stop => self.cut_delay_short(Some(delivery)),
            // The main process was killed after it had told us to stop. To many programs a
            // second stop signal means: without saving.
            Phase::Stopping if stop && self.told => Vec::new(),
            Phase::Running | Phase::Delaying | Phase::Stopping => deliver.into_iter().collect(),
            // The command is about to be killed.
            Phase::Lingering | Phase::Sweeping | Phase::Killing | Phase::Done => Vec::new(),
        }
    }

    /// The command has exited: no process is left to forward to, and none that acts on
    /// Ctrl-C by itself.
    fn on_signal_after_command(
        &mut self,
        received: Received,
        origin: Origin,
        by: Request,
    ) -> Vec<Action> {
        let may_stop = origin.may_request_stop || origin.typed;
        let stop = self.rules.stop_on.contains(received.signal) && may_stop;
        match self.phase {
            // Nothing but the command is ours to stop.
            Phase::Running if self.rules.leftovers == LeftoverPolicy::Leave => Vec::new(),
            Phase::Lingering if stop && self.rules.delay.is_zero() => {
                let mut actions = self.note_request(by);
                actions.extend(self.start_sweeping());
                actions
            }
            Phase::Running | Phase::Lingering if stop => self.request_stop(by, None),
            Phase::Delaying if stop => self.cut_delay_short(None),
            Phase::Sweeping if stop && origin.typed => self.on_second_key(received, by),
            Phase::Killing | Phase::Done => Vec::new(),
            // The terminal has suspended the leftover processes of our group.
            _ if origin.typed && received.signal == Signal::TSTP && self.rules.job_control => {
                vec![Action::Suspend(Signal::TSTP)]
            }
            _ => Vec::new(),
        }
    }

    /// Ctrl-C while the leftover processes stop: the first is a stop request like any,
    /// the next does not want to wait.
    fn on_second_key(&mut self, received: Received, by: Request) -> Vec<Action> {
        if !self.stop_requested {
            return self.note_request(by);
        }
        if self.rules.grace == Grace::Infinite {
            return Vec::new();
        }
        self.start_killing(Notice::CutShort(received.signal))
    }

    fn on_suspended(&mut self, signal: Signal, can_take_terminal: bool) -> Vec<Action> {
        match self.phase {
            // No shell sees it, and Ctrl-Z was for the command.
            Phase::Running if !self.rules.job_control => match signal {
                Signal::TTIN | Signal::TTOU => vec![Action::Notice(Notice::Stuck(signal))],
                _ => Vec::new(),
            },
            Phase::Running if can_take_terminal => vec![Action::GiveForeground(signal)],
            Phase::Running => vec![Action::Suspend(signal)],
            // A command that is to stop must be able to run.
            Phase::Delaying | Phase::Stopping if self.resumes < RESUMES => {
                self.resumes += 1;
                vec![Action::Resume]
            }
            _ => Vec::new(),
        }
    }

    fn on_not_suspended(&mut self, signal: Signal) -> Vec<Action> {
        match self.phase {
            _ if self.ending.is_some() => Vec::new(),
            // Ctrl-Z has suspended it, and no other process would resume it.
            Phase::Running if signal == Signal::TSTP => vec![Action::Resume],
            // The sender of SIGSTOP wants it suspended.
            Phase::Running if signal == Signal::STOP => Vec::new(),
            Phase::Running => vec![Action::Notice(Notice::Stuck(signal))],
            _ => Vec::new(),
        }
    }

    fn rewritten(&self, signal: Signal) -> Option<Signal> {
        match self.rules.rewrite.iter().find(|(from, _)| *from == signal) {
            Some((_, to)) => *to,
            None => Some(signal),
        }
    }
}
