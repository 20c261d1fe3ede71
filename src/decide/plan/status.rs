//! The exit status, and what each service is doing.

use super::rules::Restart;
use super::step::{Outcome, Status};
use super::{Phase, Plan, State};
use crate::decide::graph::Id;
use crate::ending::Ending;
use crate::signal::Signal;

/// What the exit status is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Blame {
    /// The service whose end stopped everything.
    stopped_by: Option<Status>,
    /// The first that failed for good before a stop.
    failed: Option<Status>,
    /// The first that failed during the stop.
    failed_at_stop: Option<Status>,
    /// A stop has begun.
    stopping: bool,
    /// SIGKILL was needed during the stop.
    killed: bool,
}

impl Blame {
    /// Everything is stopped, because this service has ended if it is given.
    pub(super) fn stop(&mut self, by: Option<Status>) {
        self.stopping = true;
        self.stopped_by = by;
    }

    /// A service failed, and is not started again.
    pub(super) fn fail(&mut self, status: Status) {
        let first = if self.stopping {
            &mut self.failed_at_stop
        } else {
            &mut self.failed
        };
        first.get_or_insert(status);
    }

    /// SIGKILL was needed.
    pub(super) fn kill(&mut self) {
        self.killed |= self.stopping;
    }

    /// The exit status.
    pub(super) fn status(&self) -> Status {
        let none = |code| Status { code, of: None };
        let first = if self.stopping {
            self.stopped_by
        } else {
            self.failed
        };
        let killed = || {
            let code = Ending::Killed(Signal::KILL, false).code();
            self.killed.then(|| none(code))
        };
        first
            .filter(|status| status.code != 0)
            .or_else(killed)
            .or(self.failed_at_stop)
            .unwrap_or(none(0))
    }
}

/// What a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It waits for those that it depends on.
    Waiting,
    /// It is not executed, or was never ready.
    Starting,
    /// It was executed, and was ready once.
    Ready,
    /// It is over, and it has not failed.
    Done,
    /// It is about to start again.
    Restarting,
    /// It has failed for good.
    Failed,
    /// It is not gone so far.
    Stopping,
}

impl Plan<'_> {
    /// What each service is doing.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = Condition> {
        self.ids().map(|id| self.condition(id))
    }

    /// What a service is doing.
    pub(crate) fn condition(&self, id: Id) -> Condition {
        let service = self.service(id);
        match service.state {
            State::Started | State::Executed if service.stopped => Condition::Stopping,
            State::Executed if service.ready => Condition::Ready,
            State::Started | State::Executed | State::Probing => Condition::Starting,
            State::Ended if service.restart.is_none() => Condition::Stopping,
            State::Ended | State::Pausing => Condition::Restarting,
            State::Finished if service.failed => Condition::Failed,
            State::Finished if service.outcome.is_some() => Condition::Done,
            State::Finished | State::Waiting => Condition::Waiting,
        }
    }

    /// Whether a service that ended so has failed. During a stop its own stop signal is
    /// as good as a success.
    pub(super) fn has_failed(&self, id: Id, outcome: Outcome) -> bool {
        let rules = self.rules.of(id);
        match outcome {
            Outcome::NotReadyInTime
            | Outcome::KeeperKilled
            | Outcome::Ended(Ending::NotExecuted(_)) => true,
            Outcome::Ended(ending) => {
                let by_stop = self.phase != Phase::Running && rules.is_stop_signal(ending);
                !rules.is_success(ending.code()) && !by_stop
            }
        }
    }

    /// Whether a service that ended so is started again, if it has not failed too often.
    pub(super) fn is_restarted(&self, id: Id, outcome: Outcome, failed: bool) -> bool {
        let rules = self.rules.of(id);
        let killed = matches!(outcome, Outcome::Ended(Ending::Killed(..)));
        match rules.restart {
            _ if rules.is_one_shot() && !failed => false,
            Restart::No => false,
            Restart::OnFailure => failed || killed,
            Restart::Always => true,
        }
    }
}
