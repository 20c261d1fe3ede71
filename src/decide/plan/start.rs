//! The start: what may start, when it is ready, and whether it starts again.

use std::time::Duration;

use super::rules::Ready;
use super::step::{Action, Notice, Outcome, Status, Timer};
use super::{Phase, Plan, Service, State, Turn};
use crate::decide::graph::Id;
use crate::ending::{Ending, FAILED};

/// How long the start of a service waits for its probe.
const PROBE: Duration = Duration::from_secs(1);

/// How long after a check was killed, or could not be started, it is started again.
const CHECK_AGAIN: Duration = Duration::from_millis(500);

/// After how long a service that is not ready is named. It doubles each time.
const FIRST_WARNING: Duration = Duration::from_secs(10);

/// A run that lasted so long makes earlier failures count no more.
const SETTLED: Duration = Duration::from_secs(30);

/// The pause before a restart. It doubles with each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

const LONGEST_PAUSE: Duration = Duration::from_secs(30);

fn doubled(first: Duration, times: u32) -> Duration {
    let factor = 2_u32.checked_pow(times).unwrap_or(u32::MAX);
    first.saturating_mul(factor)
}

fn pause(failures: u32) -> Duration {
    doubled(FIRST_PAUSE, failures.saturating_sub(1)).min(LONGEST_PAUSE)
}

impl Plan<'_> {
    /// Starts each service that no other holds up.
    pub(super) fn start_what_can(&mut self, turn: &mut Turn) {
        for id in self.ids() {
            let mut direct = self.rules.graph.direct(id).iter();
            let can_start = direct.all(|lower| !self.holds_up(*lower));
            if can_start && self.service(id).state == State::Waiting {
                self.begin_start(turn, id);
            }
        }
    }

    /// Whether those above must wait for a service. One that is over does not hold them up:
    /// were it essential and not ready, everything would be stopped.
    fn holds_up(&self, id: Id) -> bool {
        let service = self.service(id);
        let is_over = match service.state {
            State::Finished => true,
            State::Ended => service.restart.is_none(),
            _ => false,
        };
        !service.ready && !is_over
    }

    /// Starts a service, after a look at whether something answers in its place.
    pub(super) fn begin_start(&mut self, turn: &mut Turn, id: Id) {
        let is_probed = self.rules.of(id).ready == (Ready::Checked { probe: true });
        if !is_probed || self.service(id).ready {
            self.start(turn, id);
            return;
        }
        self.change(id, |service| {
            service.state = State::Probing;
            service.checked = true;
        });
        turn.act(Action::Probe(id));
        self.arm(turn, Timer::ProbeOver(id), turn.now.after(PROBE));
    }

    pub(super) fn on_probed(&mut self, turn: &mut Turn, id: Id, answers: bool) {
        if self.service(id).state != State::Probing {
            return;
        }
        self.change(id, |service| service.checked = false);
        self.disarm(turn, Timer::ProbeOver(id));
        if answers {
            turn.notice(Notice::AlreadyAnswers(id));
        }
        self.start(turn, id);
    }

    pub(super) fn start(&mut self, turn: &mut Turn, id: Id) {
        self.change(id, |service| {
            *service = Service {
                state: State::Started,
                ready: service.ready,
                failures: service.failures,
                warnings: service.warnings,
                ..Service::NEW
            };
        });
        turn.act(Action::Start(id));
        if self.service(id).ready {
            return;
        }
        if let Some(timeout) = self.rules.of(id).ready_timeout {
            self.arm(turn, Timer::ReadyTimeout(id), turn.now.after(timeout));
        }
        // It goes on through restarts.
        if !self.armed.contains(&Timer::StillNotReady(id)) {
            let at = turn.now.after(FIRST_WARNING);
            self.arm(turn, Timer::StillNotReady(id), at);
        }
    }

    pub(super) fn on_start_failed(&mut self, turn: &mut Turn, id: Id) {
        if self.service(id).state == State::Started {
            self.on_lost(turn, id, Outcome::Ended(Ending::NotExecuted(FAILED)));
        }
    }

    pub(super) fn on_executed(&mut self, turn: &mut Turn, id: Id) {
        let service = self.service(id);
        if service.state != State::Started {
            return;
        }
        self.change(id, |service| service.state = State::Executed);
        if self.phase != Phase::Running || service.stopped {
            return;
        }
        if service.failures > 0 {
            self.arm(turn, Timer::Settled(id), turn.now.after(SETTLED));
        }
        match self.rules.of(id).ready {
            Ready::Started => self.become_ready(turn, id),
            Ready::Checked { .. } => self.check(turn, id),
            Ready::Notified | Ready::Exited => {}
        }
    }

    /// Starts a check, if the service is still to become ready.
    pub(super) fn check(&mut self, turn: &mut Turn, id: Id) {
        if !self.service(id).ready {
            self.change(id, |service| service.checked = true);
            turn.act(Action::Check(id));
        }
    }

    pub(super) fn on_check_ended(&mut self, turn: &mut Turn, id: Id) {
        let service = self.service(id);
        if service.state == State::Executed && service.checked {
            self.change(id, |service| service.checked = false);
            self.arm(turn, Timer::CheckAgain(id), turn.now.after(CHECK_AGAIN));
        }
    }

    pub(super) fn on_ready(&mut self, turn: &mut Turn, id: Id) {
        let service = self.service(id);
        let can_become = service.state == State::Executed && !service.stopped;
        let is_expected = match self.rules.of(id).ready {
            Ready::Notified => true,
            Ready::Checked { .. } => service.checked,
            Ready::Started | Ready::Exited => false,
        };
        if self.phase == Phase::Running && can_become && is_expected {
            self.change(id, |service| service.checked = false);
            self.become_ready(turn, id);
        }
    }

    fn become_ready(&mut self, turn: &mut Turn, id: Id) {
        self.disarm(turn, Timer::ReadyTimeout(id));
        self.disarm(turn, Timer::StillNotReady(id));
        if !self.service(id).ready {
            self.change(id, |service| service.ready = true);
            turn.notice(Notice::Ready(id));
        }
    }

    pub(super) fn on_still_not_ready(&mut self, turn: &mut Turn, id: Id) {
        let next = doubled(FIRST_WARNING, self.service(id).warnings);
        self.change(id, |service| {
            service.warnings = service.warnings.saturating_add(1);
        });
        turn.notice(Notice::NotReady(id));
        self.arm(turn, Timer::StillNotReady(id), turn.now.after(next));
    }

    /// It has failed, and is stopped. What follows is decided when it has ended.
    pub(super) fn on_ready_timeout(&mut self, turn: &mut Turn, id: Id) {
        self.end_tries(turn, id);
        self.change(id, |service| {
            service.late = true;
            service.stopped = true;
        });
        turn.notice(Notice::NotReadyInTime(id));
        let kill = self.rules.limit(id).map(|limit| turn.now.after(limit));
        let rest = kill.map(|kill| turn.now.three_quarters_to(kill));
        turn.act(Action::Stop { id, kill, rest });
    }

    /// The check or the probe of a service is over.
    pub(super) fn end_check(&mut self, turn: &mut Turn, id: Id) {
        if self.service(id).checked {
            self.change(id, |service| service.checked = false);
            turn.act(Action::EndCheck(id));
        }
    }

    /// This run of a service does not become ready any more, nor does it settle.
    pub(super) fn end_tries(&mut self, turn: &mut Turn, id: Id) {
        self.end_check(turn, id);
        self.disarm(turn, Timer::ProbeOver(id));
        self.disarm(turn, Timer::CheckAgain(id));
        self.disarm(turn, Timer::ReadyTimeout(id));
        self.disarm(turn, Timer::Settled(id));
    }

    pub(super) fn on_ended(&mut self, turn: &mut Turn, id: Id, outcome: Outcome) {
        if !self.service(id).runs() {
            return;
        }
        let stops_all = self.end_run(turn, id, outcome);
        if self.phase != Phase::Running {
            self.shorten(turn, id);
        }
        if let Some(status) = stops_all {
            self.on_essential_ended(turn, id, status);
        }
    }

    /// A service has ended that has no keeper, and leaves nothing.
    fn on_lost(&mut self, turn: &mut Turn, id: Id, outcome: Outcome) {
        let stops_all = self.end_run(turn, id, outcome);
        self.on_gone(turn, id, false);
        if let Some(status) = stops_all {
            self.on_essential_ended(turn, id, status);
        }
    }

    /// Returns the exit status if everything is to be stopped because of this end.
    fn end_run(&mut self, turn: &mut Turn, id: Id, outcome: Outcome) -> Option<Status> {
        let outcome = if self.service(id).late {
            Outcome::NotReadyInTime
        } else {
            outcome
        };
        let failed = self.has_failed(id, outcome);
        self.end_tries(turn, id);
        self.change(id, |service| {
            service.state = State::Ended;
            service.outcome = Some(outcome);
            service.failed = failed;
        });
        if self.phase != Phase::Running {
            if failed {
                self.blame.fail(Status {
                    code: outcome.code(),
                    of: Some(id),
                });
            }
            return None;
        }
        self.change(id, |service| {
            service.failures = if failed {
                service.failures.saturating_add(1)
            } else {
                0
            };
        });
        if self.rules.of(id).is_one_shot() && !failed {
            self.become_ready(turn, id);
        }
        self.decide_on_restart(turn, id, outcome, failed)
    }

    /// Whether an end, which was not during a stop, leads to a restart, to a stop of
    /// everything or to nothing.
    fn decide_on_restart(
        &mut self,
        turn: &mut Turn,
        id: Id,
        outcome: Outcome,
        failed: bool,
    ) -> Option<Status> {
        let rules = self.rules.of(id);
        let failures = self.service(id).failures;
        let wants_restart = self.is_restarted(id, outcome, failed);
        let is_given_up = failed && rules.restart_limit.is_some_and(|limit| failures > limit);
        if wants_restart && !is_given_up {
            self.change(id, |service| service.restart = Some(pause(failures)));
            return None;
        }
        if wants_restart {
            turn.notice(Notice::GivenUp { id, failures });
        }
        self.disarm(turn, Timer::StillNotReady(id));
        let status = Status {
            code: if failed { outcome.code() } else { 0 },
            of: Some(id),
        };
        if failed {
            self.blame.fail(status);
        }
        (rules.essential && (failed || !rules.is_one_shot())).then_some(status)
    }

    pub(super) fn on_gone(&mut self, turn: &mut Turn, id: Id, killed: bool) {
        if self.service(id).runs() {
            // Its keeper was lost without a word.
            self.on_lost(turn, id, Outcome::KeeperKilled);
            return;
        }
        let service = self.service(id);
        if service.state != State::Ended {
            return;
        }
        if killed {
            self.blame.kill();
        }
        self.disarm(turn, Timer::Latest(id));
        self.disarm(turn, Timer::PeriodOver(id));
        self.disarm(turn, Timer::NotGone(id));
        self.disarm(turn, Timer::LeftoversOver(id));
        let (Some(pause), Some(outcome)) = (service.restart, service.outcome) else {
            self.change(id, |service| service.state = State::Finished);
            return;
        };
        self.change(id, |service| service.state = State::Pausing);
        turn.notice(Notice::Restarting {
            id,
            outcome,
            pause,
            failures: service.failures,
        });
        self.arm(turn, Timer::PauseOver(id), turn.now.after(pause));
    }

    /// What the keeper has kept is ours: it is stopped at once.
    pub(super) fn on_keeper_killed(&mut self, turn: &mut Turn, id: Id) {
        let service = self.service(id);
        if !service.lives() || service.keeper_killed {
            return;
        }
        self.change(id, |service| {
            service.keeper_killed = true;
            service.stopped = true;
        });
        turn.act(if service.killed {
            Action::Kill(id)
        } else {
            Action::StopLeftovers(id)
        });
        self.on_ended(turn, id, Outcome::KeeperKilled);
        if self.service(id).killed {
            return;
        }
        if let Some(limit) = self.rules.limit(id) {
            let over = turn.now.after(limit);
            let over = self.deadline.map_or(over, |deadline| over.min(deadline));
            self.arm(turn, Timer::LeftoversOver(id), over);
        }
    }
}
