//! The stop, from the request to the exit: which processes are signaled when.

use std::time::Duration;

use super::{Delivery, Lifecycle, Phase};
use crate::decide::reason::Stage;
use crate::decide::rules::{Grace, LeftoverPolicy};
use crate::decide::step::{Action, Notice, Request, Scope, Timer};
use crate::ending::Ending;
use crate::signal::{Received, Signal};

/// How long after the first SIGKILL the program goes on waiting.
const KILL_WAIT: Duration = Duration::from_secs(1);

/// How long after a SIGKILL to look for processes that were forked meanwhile. It doubles
/// each time.
pub(super) const FIRST_KILL_AGAIN: Duration = Duration::from_millis(10);

/// How long after a look for processes that could not read everything to look again. It
/// doubles each time, so that the deadline limits the number of looks.
pub(super) const FIRST_LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long to wait before naming the processes that have not exited: less where the
/// grace period is short, `None` where it never expires.
fn waiting_after(grace: Option<Duration>) -> Duration {
    let longest = Duration::from_secs(5);
    grace.map_or(longest, |grace| longest.min(grace / 2))
}

impl Lifecycle {
    pub(super) fn note_request(&mut self, by: Request) -> Vec<Action> {
        self.stop_requested = true;
        vec![Action::Notice(Notice::Stopping(by))]
    }

    /// Signals the command, or if it has exited the leftover processes, now or when the
    /// delay is over.
    pub(super) fn request_stop(&mut self, by: Request, delivery: Option<Delivery>) -> Vec<Action> {
        let mut actions = self.note_request(by);
        let deadline = match self.rules.grace {
            Grace::For(Duration::ZERO) => {
                actions.extend(self.start_killing(Notice::GraceOver));
                return actions;
            }
            Grace::For(grace) => Some(grace),
            Grace::Infinite => None,
        };
        let delay = self.rules.delay;
        // What the command has received already cannot be delayed.
        let can_wait = delivery.is_none_or(|delivery| !delivery.done);
        if can_wait && !delay.is_zero() {
            self.phase = Phase::Delaying;
            self.held = delivery;
            actions.push(Action::Notice(Notice::Delayed));
            actions.push(Action::Arm(Timer::DelayOver, delay));
        } else {
            actions.extend(self.stop_command(delivery));
        }
        let left = deadline.map(|grace| grace.saturating_sub(delay));
        actions.push(Action::Arm(
            Timer::StillWaiting,
            delay + waiting_after(left),
        ));
        if let (Some(grace), Some(left)) = (deadline, left) {
            // With `leave` the other processes are not ours to signal.
            if self.rules.leftovers != LeftoverPolicy::Leave {
                actions.push(Action::Arm(Timer::TerminateRest, delay + left / 4 * 3));
            }
            actions.push(Action::Arm(Timer::GraceOver, grace));
        }
        actions
    }

    /// Stops the service of a keeper. If it is being stopped already, or has ended by itself,
    /// that only takes less time from now on.
    pub(super) fn stop_by(
        &mut self,
        signal: Signal,
        kill_in: Option<Duration>,
        rest_in: Option<Duration>,
    ) -> Vec<Action> {
        let no_time = kill_in == Some(Duration::ZERO);
        let mut actions = match self.phase {
            Phase::Running if no_time => {
                self.stage = Stage::NoGrace;
                Vec::new()
            }
            // Its leftover processes have their own grace period at most.
            Phase::Running if self.ending.is_some() => self.start_sweeping(),
            Phase::Running => {
                self.stage = Stage::Command;
                let mut actions = self.note_request(Request::Main(signal));
                actions.extend(self.stop_command(Some(Delivery {
                    received: Received::plain(signal),
                    to_group: false,
                    done: false,
                })));
                actions.push(Action::Arm(Timer::StillWaiting, waiting_after(kill_in)));
                actions
            }
            _ => Vec::new(),
        };
        match self.phase {
            Phase::Running | Phase::Stopping | Phase::Sweeping => self.told = true,
            // A keeper is never in the first two.
            Phase::Delaying | Phase::Lingering | Phase::Killing | Phase::Done => return actions,
        }
        if no_time {
            actions.extend(self.start_killing(Notice::Due));
            return actions;
        }
        // They are signaled before they are killed.
        let rest_in = match kill_in {
            Some(kill_in) => Some(
                rest_in
                    .filter(|rest| *rest < kill_in)
                    .unwrap_or(kill_in / 4 * 3),
            ),
            None => rest_in,
        };
        if self.phase == Phase::Stopping && self.stage != Stage::Others {
            let arm = |rest| Action::ArmEarlier(Timer::TerminateRest, rest);
            actions.extend(rest_in.map(arm));
        }
        actions.extend(kill_in.map(|kill| Action::ArmEarlier(Timer::GraceOver, kill)));
        actions
    }

    fn stop_command(&mut self, delivery: Option<Delivery>) -> Vec<Action> {
        self.phase = Phase::Stopping;
        let deliver = delivery.and_then(|delivery| delivery.action(true));
        let mut actions: Vec<Action> = deliver.into_iter().collect();
        if self.suspended {
            actions.push(Action::Resume);
        }
        actions
    }

    /// A second stop request: its sender does not want to wait. The command receives the
    /// same signal once.
    pub(super) fn cut_delay_short(&mut self, second: Option<Delivery>) -> Vec<Action> {
        let held = self.held;
        let mut actions = self.end_delay();
        let is_same = |second: &Delivery| {
            let signal = held.map(|held| held.received.signal);
            !second.done && signal == Some(second.received.signal)
        };
        let second = second.filter(|second| !is_same(second));
        actions.extend(second.and_then(|second| second.action(true)));
        actions
    }

    fn end_delay(&mut self) -> Vec<Action> {
        if self.ending.is_some() && self.rules.leftovers != LeftoverPolicy::Leave {
            self.phase = Phase::Sweeping;
            return vec![self.terminate_rest()];
        }
        let held = self.held.take();
        self.stop_command(held)
    }

    pub(super) fn on_some_left(&mut self) -> Vec<Action> {
        let Some(ending) = self.ending else {
            return Vec::new();
        };
        match (self.phase, self.rules.leftovers) {
            (
                Phase::Running | Phase::Delaying | Phase::Stopping | Phase::Killing,
                LeftoverPolicy::Leave,
            ) => self.leave(ending),
            (Phase::Running, LeftoverPolicy::Auto) if !self.rules.pid1 => self.leave(ending),
            (Phase::Running, LeftoverPolicy::Wait) => {
                self.phase = Phase::Lingering;
                Vec::new()
            }
            (Phase::Running, LeftoverPolicy::Auto | LeftoverPolicy::Stop) => self.start_sweeping(),
            (Phase::Stopping, _) => {
                // The deadline that the stop request set stays.
                self.phase = Phase::Sweeping;
                vec![self.terminate_rest()]
            }
            // Delaying: what a launcher has started serves on until the delay is over.
            (
                Phase::Delaying | Phase::Lingering | Phase::Sweeping | Phase::Killing | Phase::Done,
                _,
            ) => Vec::new(),
        }
    }

    pub(super) fn on_expired(&mut self, timer: Timer) -> Vec<Action> {
        match (timer, self.phase) {
            (Timer::DelayOver, Phase::Delaying) => self.end_delay(),
            (Timer::StillWaiting, Phase::Stopping | Phase::Sweeping) => {
                vec![Action::Notice(Notice::Waiting)]
            }
            (Timer::LookAgain, Phase::Stopping | Phase::Sweeping) if !self.some_unread => {
                Vec::new()
            }
            (Timer::TerminateRest, Phase::Stopping)
            | (Timer::LookAgain, Phase::Stopping | Phase::Sweeping) => {
                // Though not every child that has exited is reaped.
                if self.ending.is_some() {
                    self.phase = Phase::Sweeping;
                }
                vec![self.terminate_rest()]
            }
            (Timer::GraceOver, Phase::Stopping | Phase::Sweeping) => match self.ending {
                Some(ending) if self.rules.leftovers == LeftoverPolicy::Leave => self.leave(ending),
                _ if self.told => self.start_killing(Notice::Due),
                _ => self.start_killing(Notice::GraceOver),
            },
            (Timer::KillAgain, Phase::Killing) => self.kill(),
            (Timer::GiveUp, Phase::Killing) => {
                let mut actions = vec![Action::Notice(Notice::Unkillable)];
                // SIGKILL is what will end the command when it can be ended.
                actions
                    .extend(self.exit(self.ending.unwrap_or(Ending::Killed(Signal::KILL, false))));
                actions
            }
            // A timer that the course of events has overtaken.
            _ => Vec::new(),
        }
    }

    fn terminate_rest(&mut self) -> Action {
        self.stage = Stage::Others;
        self.some_unread = false;
        Action::TerminateRest
    }

    pub(super) fn on_some_unread(&mut self) -> Vec<Action> {
        self.some_unread = true;
        let again = self.look_again;
        self.look_again = again.saturating_mul(2);
        vec![Action::Arm(Timer::LookAgain, again)]
    }

    /// The command has exited: signals the leftover processes, with a grace period of
    /// their own.
    pub(super) fn start_sweeping(&mut self) -> Vec<Action> {
        let grace = match self.rules.grace {
            Grace::For(Duration::ZERO) => return self.start_killing(Notice::GraceOver),
            Grace::For(grace) => Some(grace),
            Grace::Infinite => None,
        };
        self.phase = Phase::Sweeping;
        let mut actions = vec![
            self.terminate_rest(),
            Action::Arm(Timer::StillWaiting, waiting_after(grace)),
        ];
        actions.extend(grace.map(|grace| Action::Arm(Timer::GraceOver, grace)));
        actions
    }

    pub(super) fn start_killing(&mut self, notice: Notice) -> Vec<Action> {
        self.phase = Phase::Killing;
        let mut actions = vec![Action::Notice(notice)];
        actions.extend(self.kill());
        actions.push(Action::Arm(Timer::GiveUp, KILL_WAIT));
        actions
    }

    fn kill(&mut self) -> Vec<Action> {
        let scope = match (self.rules.leftovers, self.ending) {
            (LeftoverPolicy::Leave, None) => Scope::Command,
            (LeftoverPolicy::Leave, Some(_)) => return Vec::new(),
            _ => Scope::Everything,
        };
        let again = self.kill_again;
        self.kill_again = again.saturating_mul(2);
        vec![Action::Kill(scope), Action::Arm(Timer::KillAgain, again)]
    }

    fn leave(&mut self, ending: Ending) -> Vec<Action> {
        let mut actions = vec![Action::Notice(Notice::Left)];
        actions.extend(self.exit(ending));
        actions
    }

    pub(super) fn exit(&mut self, ending: Ending) -> Vec<Action> {
        self.phase = Phase::Done;
        vec![Action::Exit(ending)]
    }
}
