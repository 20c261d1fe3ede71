//! What the plan goes by: the services, their edges, and the time.

use std::time::Duration;

use crate::decide::budget::{Budget, Claim};
use crate::decide::graph::{Graph, Id};
use crate::decide::rules::Grace;
use crate::ending::Ending;
use crate::signal::Signal;

/// What makes a service ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ready {
    /// It was executed.
    Started,
    /// It sent READY=1.
    Notified,
    /// A check succeeded. `probe`: the check is tried once before the service starts,
    /// because a success then is that of another program.
    Checked { probe: bool },
    /// It is a one-shot, and exited with success.
    Exited,
}

/// After which ends a service is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Restart {
    /// After none.
    No,
    /// After a failure, or if a signal killed it that we did not send.
    OnFailure,
    /// After any; not for one-shots.
    Always,
}

/// The rules of one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Service {
    /// What makes it ready.
    pub(crate) ready: Ready,
    /// How long that may take; `None` without a limit.
    pub(crate) ready_timeout: Option<Duration>,
    /// Its `stop_grace_period`.
    pub(crate) period: Option<Duration>,
    /// After which ends it is started again.
    pub(crate) restart: Restart,
    /// How many times in a row after failures; `None` without a limit.
    pub(crate) restart_limit: Option<u32>,
    /// Whether its end stops everything if it is not started again.
    pub(crate) essential: bool,
    /// Exit codes in addition to 0 that are a success.
    pub(crate) success: Vec<u8>,
    /// What it is stopped by.
    pub(crate) stop_signal: Signal,
}

impl Service {
    /// A service with the defaults of the file.
    pub(crate) const DEFAULT: Self = Self {
        ready: Ready::Started,
        ready_timeout: None,
        period: None,
        restart: Restart::No,
        restart_limit: Some(5),
        essential: true,
        success: Vec::new(),
        stop_signal: Signal::TERM,
    };

    /// Whether it is done when it has exited with success.
    pub(super) fn is_one_shot(&self) -> bool {
        self.ready == Ready::Exited
    }

    /// Whether it succeeded with this exit code.
    pub(super) fn is_success(&self, code: u8) -> bool {
        code == 0 || self.success.contains(&code)
    }

    /// Whether its own stop signal ended it so.
    pub(super) fn is_stop_signal(&self, ending: Ending) -> bool {
        let by_signal = Ending::Killed(self.stop_signal, false).code();
        ending.code() == by_signal
    }
}

/// The rules of a run. They do not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(super) services: Vec<Service>,
    pub(super) graph: Graph,
    pub(super) budget: Budget,
    pub(super) grace: Grace,
    pub(super) delay: Duration,
}

impl Rules {
    /// `graph`: has an edge for each service and what it depends on, the disabled ones
    /// removed. `delay`: the stop delay, shorter than the grace period.
    pub(crate) fn new(services: Vec<Service>, graph: Graph, grace: Grace, delay: Duration) -> Self {
        let claim = |service: &Service| Claim {
            period: service.period,
            one_shot: service.is_one_shot(),
        };
        let time = match grace {
            Grace::For(grace) => Some(grace.saturating_sub(delay)),
            Grace::Infinite => None,
        };
        let claims: Vec<Claim> = services.iter().map(claim).collect();
        Self {
            budget: Budget::new(time, &graph, &claims),
            services,
            graph,
            grace,
            delay,
        }
    }

    /// The services and their edges.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// How the time is divided.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The rules of one service.
    pub(super) fn of(&self, id: Id) -> &Service {
        const DEFAULT: &Service = &Service::DEFAULT;
        self.services.get(id.0).unwrap_or(DEFAULT)
    }

    /// How long a stop takes at most that is not a stop of everything: the service's own
    /// period, otherwise the grace period. `None` without an end.
    pub(super) fn limit(&self, id: Id) -> Option<Duration> {
        let grace = match self.grace {
            Grace::For(grace) => Some(grace),
            Grace::Infinite => None,
        };
        self.budget.of(id).period.or(grace)
    }
}
