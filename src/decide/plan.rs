//! What happens next with several services: a state, and a function from an event to
//! actions. Each service starts when those that it depends on are ready, and is stopped
//! when those above it are gone or, at the latest, when its latest moment has come.
//!
//! A service has *ended* when its main process was reaped, and is *gone* when everything
//! that it left has ended too. Its *keeper* is the process of ours that runs it, and the
//! *page* is the memory that we share with the keeper. A service is *stopped* by sending
//! it its stop signal. *Above* it are the services that depend on it, directly or through
//! others, *below* it those that it depends on.
//!
//! The plan has no clock. Each event comes with the moment at which it is fed in, and all
//! moments in actions are by the same clock, so that they can be written to the page and
//! compared: an action never means "so long from the time when you get to it".
//!
//! The caller's side of the contract:
//! - [`Event::Begin`] comes first and once. The moments never go back;
//! - events come in the order in which they were seen, and the actions of one are carried
//!   out, in their order, before the next is fed in and before anything else is reaped;
//! - each [`Action::Start`] is answered by [`Event::StartFailed`], or by
//!   [`Event::Executed`] when the page shows it, then [`Event::Ended`], then
//!   [`Event::Gone`]. What the page shows of one service at the same time is fed in in this
//!   order: executed, ready, ended, gone. A command that could not be executed is ended,
//!   by [`crate::ending::Ending::NotExecuted`], without having been executed. 125 is its code where
//!   something before that has failed, such as the change of user;
//! - [`Event::Gone`] comes when the keeper is reaped. A keeper that is reaped before its
//!   page shows the end of its last process was killed: then [`Event::KeeperKilled`]
//!   comes, and [`Event::Gone`] when what it has left is reaped too;
//! - [`Event::Ready`] comes for services that notify, when the page shows it, and for
//!   those that are checked, when the process of [`Action::Check`] has exited with 0.
//!   Every other exit of that process, and a failed fork, is [`Event::CheckEnded`]; the
//!   plan starts it again later. After [`Action::EndCheck`] neither comes. There is never
//!   more than one check or probe of a service;
//! - [`Action::Stop`], [`Action::Kill`] and [`Action::KillKeeper`] may come for a service
//!   that is executed, being executed, or ended and not gone. Without a keeper
//!   [`Action::Kill`] and [`Action::StopLeftovers`] are about the processes that it has
//!   left, and [`Action::Stop`] does not come. Each may find nothing to signal;
//! - the keeper stops leftovers of a service that ended by itself at once, and kills them
//!   after the time of [`Plan::limit`]; the moments of [`Action::Stop`] only shorten that;
//! - [`Event::StopRequest`] comes for each signal that is a stop request. A rehearsal's
//!   is one too;
//! - [`Event::Expired`] comes for a timer that is armed, once for each time that it was
//!   armed, in the order of the moments. Children are reaped before;
//! - an unknown service, a timer that is not armed and an event that does not fit the
//!   state of its service are ignored, and nothing comes after [`Action::Exit`].
//!
//! The command of `supervise -f FILE -- COMMAND` can be one more service, which depends on
//! all others: it starts when they are ready, its end stops everything, and it counts in
//! the budget. Only what its end counts for and how it is started differ.

use std::collections::BTreeSet;
use std::time::Duration;

use super::graph::Id;
use rules::Rules;
pub(crate) use status::Condition;
use step::{Action, Event, Moment, Notice, Outcome, Timer};

#[cfg(test)]
mod enumeration;
pub(crate) mod rules;
mod start;
mod status;
pub(crate) mod step;
mod stop;
#[cfg(test)]
mod tests;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// No stop has begun.
    Running,
    /// A stop was requested, and the services are stopped when the delay is over. Nothing
    /// starts any more.
    Delaying,
    /// The services are stopped, each in its turn.
    Stopping,
    /// The grace period expired.
    Killing,
    /// [`Action::Exit`] was given.
    Done,
}

/// Where a service is in its course.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Not started so far.
    Waiting,
    /// About to start: something else may answer in its place.
    Probing,
    /// Its keeper was forked.
    Started,
    /// Its command was executed.
    Executed,
    /// Its main process was reaped.
    Ended,
    /// Gone, and about to start again.
    Pausing,
    /// Gone or never started, and it does not start any more.
    Finished,
}

/// The state of one service.
#[expect(clippy::struct_excessive_bools, reason = "facts, each of its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Service {
    state: State,
    /// It was ready once.
    ready: bool,
    /// A check of it runs.
    checked: bool,
    /// Its keeper has reason to stop it: we told it to, or the main process has ended.
    stopped: bool,
    /// It was not ready in time.
    late: bool,
    /// No service below waits for it any more.
    passed_by: bool,
    /// Its keeper was killed.
    keeper_killed: bool,
    /// It was sent SIGKILL.
    killed: bool,
    /// How its last run ended.
    outcome: Option<Outcome>,
    /// That was a failure.
    failed: bool,
    /// The pause before it starts again; `None` if it does not.
    restart: Option<Duration>,
    /// How many times in a row it has failed.
    failures: u32,
    /// How many warnings there were because it is not ready.
    warnings: u32,
}

impl Service {
    const NEW: Self = Self {
        state: State::Waiting,
        ready: false,
        checked: false,
        stopped: false,
        late: false,
        passed_by: false,
        keeper_killed: false,
        killed: false,
        outcome: None,
        failed: false,
        restart: None,
        failures: 0,
        warnings: 0,
    };

    /// Its main process runs, or is about to.
    fn runs(&self) -> bool {
        matches!(self.state, State::Started | State::Executed)
    }

    /// It was started, and is not gone.
    fn lives(&self) -> bool {
        self.runs() || self.state == State::Ended
    }

    /// It runs, and its turn to be stopped has not come.
    fn waits(&self) -> bool {
        self.runs() && !self.stopped
    }
}

/// The state of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    rules: &'a Rules,
    services: Vec<Service>,
    phase: Phase,
    armed: BTreeSet<Timer>,
    /// When the grace period expires, if a stop has begun and it does.
    deadline: Option<Moment>,
    /// A stop was requested.
    requested: bool,
    /// A stop was requested by Ctrl-C.
    typed: bool,
    /// What the exit status is made of.
    blame: status::Blame,
}

/// What comes of one event.
#[derive(Debug)]
struct Turn {
    now: Moment,
    actions: Vec<Action>,
}

impl Turn {
    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn notice(&mut self, notice: Notice) {
        self.act(Action::Notice(notice));
    }
}

impl<'a> Plan<'a> {
    /// A plan that has not begun.
    pub(crate) fn new(rules: &'a Rules) -> Self {
        Self {
            rules,
            services: vec![Service::NEW; rules.graph.len()],
            phase: Phase::Running,
            armed: BTreeSet::new(),
            deadline: None,
            requested: false,
            typed: false,
            blame: status::Blame::default(),
        }
    }

    /// Takes an event in and returns what to do about it.
    #[must_use = "the actions are what the event leads to"]
    pub(crate) fn on(&mut self, now: Moment, event: Event) -> Vec<Action> {
        let mut turn = Turn {
            now,
            actions: Vec::new(),
        };
        if self.phase != Phase::Done {
            self.take_in(&mut turn, event);
            self.go_on(&mut turn);
        }
        turn.actions
    }

    /// How long the leftovers of a service may take that ended by itself; `None` without
    /// a limit.
    pub(crate) fn limit(&self, id: Id) -> Option<Duration> {
        self.rules.limit(id)
    }

    fn take_in(&mut self, turn: &mut Turn, event: Event) {
        match event {
            Event::Begin => {}
            Event::Probed { id, answers } => self.on_probed(turn, id, answers),
            Event::StartFailed(id) => self.on_start_failed(turn, id),
            Event::Executed(id) => self.on_executed(turn, id),
            Event::Ready(id) => self.on_ready(turn, id),
            Event::CheckEnded(id) => self.on_check_ended(turn, id),
            Event::Ended { id, ending } => self.on_ended(turn, id, Outcome::Ended(ending)),
            Event::Gone { id, killed } => self.on_gone(turn, id, killed),
            Event::KeeperKilled(id) => self.on_keeper_killed(turn, id),
            Event::StopRequest { request, typed } => self.on_stop_request(turn, request, typed),
            Event::Expired(timer) => {
                if self.armed.remove(&timer) {
                    self.on_expired(turn, timer);
                }
            }
        }
    }

    /// Does what has become possible.
    fn go_on(&mut self, turn: &mut Turn) {
        match self.phase {
            Phase::Running => self.start_what_can(turn),
            Phase::Stopping => self.stop_what_can(turn),
            Phase::Delaying | Phase::Killing | Phase::Done => {}
        }
        let is_over = match self.phase {
            Phase::Running => {
                let mut services = self.services.iter();
                services.all(|service| service.state == State::Finished)
            }
            Phase::Done => false,
            _ => !self.services.iter().any(Service::lives),
        };
        if is_over {
            self.exit(turn);
        }
    }

    fn on_expired(&mut self, turn: &mut Turn, timer: Timer) {
        match timer {
            Timer::DelayOver => self.stop_now(turn),
            Timer::Latest(id) => self.on_latest(turn, id),
            Timer::PeriodOver(id) => self.on_period_over(turn, id),
            Timer::NotGone(id) => self.on_not_gone(turn, id),
            Timer::LeftoversOver(id) => self.kill(turn, id),
            Timer::GraceOver => self.kill_all(turn, Notice::GraceOver),
            Timer::KeepersOver => self.on_keepers_over(turn),
            Timer::GiveUp => {
                turn.notice(Notice::Unkillable);
                self.exit(turn);
            }
            Timer::ProbeOver(id) => {
                self.end_check(turn, id);
                self.start(turn, id);
            }
            Timer::CheckAgain(id) => self.check(turn, id),
            Timer::ReadyTimeout(id) => self.on_ready_timeout(turn, id),
            Timer::StillNotReady(id) => self.on_still_not_ready(turn, id),
            Timer::Settled(id) => self.change(id, |service| service.failures = 0),
            Timer::PauseOver(id) => self.begin_start(turn, id),
        }
    }

    fn exit(&mut self, turn: &mut Turn) {
        self.phase = Phase::Done;
        turn.act(Action::Exit(self.blame.status()));
    }

    /// The state of a service; one that does not exist is finished.
    fn service(&self, id: Id) -> Service {
        self.services.get(id.0).copied().unwrap_or(Service {
            state: State::Finished,
            ..Service::NEW
        })
    }

    fn change(&mut self, id: Id, change: impl FnOnce(&mut Service)) {
        if let Some(service) = self.services.get_mut(id.0) {
            change(service);
        }
    }

    fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        (0..self.services.len()).map(Id)
    }

    fn arm(&mut self, turn: &mut Turn, timer: Timer, at: Moment) {
        self.armed.insert(timer);
        turn.act(Action::Arm(timer, at));
    }

    fn disarm(&mut self, turn: &mut Turn, timer: Timer) {
        if self.armed.remove(&timer) {
            turn.act(Action::Disarm(timer));
        }
    }
}
