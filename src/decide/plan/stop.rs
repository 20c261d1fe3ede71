//! The stop: each service in its turn, and none later than at its latest moment.

use std::time::Duration;

use super::step::{Action, Moment, Notice, Status, Timer};
use super::{Phase, Plan, State, Turn};
use crate::decide::graph::Id;
use crate::decide::rules::Grace;
use crate::decide::step::Request;

/// How long a service that is killed because its period is over may take to be gone
/// before those below it are stopped.
const NOT_GONE: Duration = Duration::from_millis(300);

/// How long the keepers have to report after SIGKILL.
const KEEPERS: Duration = Duration::from_millis(500);

/// How long we go on waiting after the keepers were killed. With [`KEEPERS`] that is
/// below a second, which leaves time for our own wake-ups.
const GIVE_UP: Duration = Duration::from_millis(400);

impl Plan<'_> {
    pub(super) fn on_stop_request(&mut self, turn: &mut Turn, request: Request, typed: bool) {
        let is_second_key = typed && self.typed;
        self.typed |= typed;
        if !self.requested && self.phase != Phase::Killing {
            turn.notice(Notice::Stopping(request));
        }
        self.requested = true;
        match self.phase {
            Phase::Running => {
                self.blame.stop(None);
                self.begin_stop(turn, self.rules.delay);
            }
            // No service was told to stop so far: the next Ctrl-C kills.
            Phase::Delaying => self.stop_now(turn),
            Phase::Stopping if is_second_key && self.rules.grace != Grace::Infinite => {
                self.kill_all(turn, Notice::CutShort);
            }
            Phase::Stopping | Phase::Killing | Phase::Done => {}
        }
    }

    /// The other services get a grace period of their own. There is no delay, which is for
    /// stop requests.
    pub(super) fn on_essential_ended(&mut self, turn: &mut Turn, id: Id, status: Status) {
        self.blame.stop(Some(status));
        turn.notice(Notice::EssentialEnded(id));
        self.begin_stop(turn, Duration::ZERO);
    }

    fn begin_stop(&mut self, turn: &mut Turn, delay: Duration) {
        self.end_starts(turn);
        match self.rules.grace {
            Grace::For(Duration::ZERO) => {
                self.kill_all(turn, Notice::GraceOver);
                return;
            }
            Grace::For(grace) => {
                let deadline = turn.now.after(grace);
                self.deadline = Some(deadline);
                self.arm(turn, Timer::GraceOver, deadline);
            }
            Grace::Infinite => {}
        }
        if delay.is_zero() {
            self.stop_now(turn);
            return;
        }
        self.phase = Phase::Delaying;
        turn.notice(Notice::Delayed);
        self.arm(turn, Timer::DelayOver, turn.now.after(delay));
    }

    /// Nothing starts any more.
    fn end_starts(&mut self, turn: &mut Turn) {
        for id in self.ids() {
            self.end_tries(turn, id);
            self.disarm(turn, Timer::StillNotReady(id));
            self.disarm(turn, Timer::PauseOver(id));
            self.change(id, |service| {
                service.restart = None;
                if !service.lives() {
                    service.state = State::Finished;
                }
            });
        }
    }

    pub(super) fn stop_now(&mut self, turn: &mut Turn) {
        self.disarm(turn, Timer::DelayOver);
        self.phase = Phase::Stopping;
        for id in self.ids() {
            let service = self.service(id);
            if service.stopped || service.state == State::Ended {
                // A stop of everything shortens what goes on already.
                self.shorten(turn, id);
            } else if service.lives()
                && let Some(deadline) = self.deadline
            {
                let latest = deadline.before(self.rules.budget.of(id).latest);
                self.arm(turn, Timer::Latest(id), latest);
            }
        }
    }

    /// Stops each service that waits for none above it.
    pub(super) fn stop_what_can(&mut self, turn: &mut Turn) {
        for id in self.rules.graph.top_first() {
            let mut above = self.rules.graph.above(id).iter();
            let is_free = above.all(|upper| {
                let upper = self.service(*upper);
                !upper.lives() || upper.passed_by
            });
            if is_free && self.service(id).waits() {
                self.stop(turn, id);
            }
        }
    }

    fn stop(&mut self, turn: &mut Turn, id: Id) {
        self.change(id, |service| service.stopped = true);
        self.disarm(turn, Timer::Latest(id));
        self.tell(turn, id);
        // Where that is not before the deadline, those below are stopped first.
        if let Some(over) = self.period_over(turn, id) {
            self.arm(turn, Timer::PeriodOver(id), over);
        }
    }

    /// A service that is being stopped already, or has ended by itself, has until the
    /// deadline at most, and its other processes are stopped in time for those below.
    pub(super) fn shorten(&mut self, turn: &mut Turn, id: Id) {
        self.change(id, |service| service.stopped = true);
        self.disarm(turn, Timer::Latest(id));
        let service = self.service(id);
        let is_stopping = matches!(self.phase, Phase::Delaying | Phase::Stopping);
        if service.lives() && !service.keeper_killed && is_stopping {
            self.tell(turn, id);
        }
    }

    fn tell(&self, turn: &mut Turn, id: Id) {
        let first = [
            self.first_latest_below(id),
            self.period_over(turn, id),
            self.deadline,
        ];
        let first = first.into_iter().flatten().min();
        turn.act(Action::Stop {
            id,
            kill: self.deadline,
            rest: first.map(|first| turn.now.three_quarters_to(first)),
        });
    }

    /// When a service that is stopped now has had its period, if one below waits for it.
    fn period_over(&self, turn: &Turn, id: Id) -> Option<Moment> {
        self.waiting_below(id).next()?;
        let period = self.rules.budget.of(id).period?;
        Some(turn.now.after(period))
    }

    fn first_latest_below(&self, id: Id) -> Option<Moment> {
        let deadline = self.deadline?;
        let waiting = self.waiting_below(id);
        let latest = waiting.map(|lower| deadline.before(self.rules.budget.of(lower).latest));
        latest.min()
    }

    fn waiting_below(&self, id: Id) -> impl Iterator<Item = Id> {
        let below = self.rules.graph.below(id).iter().copied();
        below.filter(|lower| self.service(*lower).waits())
    }

    /// A service is stopped whatever runs above it, and nothing waits for that any more.
    pub(super) fn on_latest(&mut self, turn: &mut Turn, id: Id) {
        for upper in self.rules.graph.top_first() {
            if !self.rules.graph.above(id).contains(&upper) {
                continue;
            }
            // Its latest moment is the same, where it has no share.
            if self.service(upper).waits() {
                self.stop(turn, upper);
            }
            self.pass_by(turn, upper, id);
        }
        self.stop(turn, id);
    }

    fn pass_by(&mut self, turn: &mut Turn, above: Id, below: Id) {
        let service = self.service(above);
        if service.lives() && !service.passed_by {
            self.change(above, |service| service.passed_by = true);
            self.disarm(turn, Timer::PeriodOver(above));
            self.disarm(turn, Timer::NotGone(above));
            turn.notice(Notice::PassedBy { above, below });
        }
    }

    /// It has had its period. It is killed only where another waits for it.
    pub(super) fn on_period_over(&mut self, turn: &mut Turn, id: Id) {
        if self.waiting_below(id).next().is_some() {
            turn.notice(Notice::PeriodOver(id));
            self.kill(turn, id);
            self.arm(turn, Timer::NotGone(id), turn.now.after(NOT_GONE));
        }
    }

    pub(super) fn on_not_gone(&mut self, turn: &mut Turn, id: Id) {
        let below = self.waiting_below(id).next();
        if let Some(below) = below {
            self.pass_by(turn, id, below);
        }
    }

    pub(super) fn kill(&mut self, turn: &mut Turn, id: Id) {
        self.blame.kill();
        self.change(id, |service| service.killed = true);
        turn.act(Action::Kill(id));
    }

    /// Whatever is left is killed.
    pub(super) fn kill_all(&mut self, turn: &mut Turn, notice: Notice) {
        self.phase = Phase::Killing;
        for timer in std::mem::take(&mut self.armed) {
            turn.act(Action::Disarm(timer));
        }
        let lives = |id: &Id| self.service(*id).lives();
        let left: Vec<Id> = self.ids().filter(lives).collect();
        if left.is_empty() {
            return;
        }
        turn.notice(notice);
        for id in left {
            self.kill(turn, id);
        }
        self.arm(turn, Timer::KeepersOver, turn.now.after(KEEPERS));
    }

    pub(super) fn on_keepers_over(&mut self, turn: &mut Turn) {
        for id in self.ids() {
            let service = self.service(id);
            if service.lives() && !service.keeper_killed {
                turn.act(Action::KillKeeper(id));
            }
        }
        self.arm(turn, Timer::GiveUp, turn.now.after(GIVE_UP));
    }
}
