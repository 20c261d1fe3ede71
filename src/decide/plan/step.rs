//! One step of the plan: the event that comes in, and the actions that answer it.

use std::time::Duration;

use crate::decide::graph::Id;
use crate::decide::step::Request;
use crate::ending::Ending;
use crate::signal::Signal;

/// A moment by the caller's clock, as the time since its zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(pub(crate) Duration);

impl Moment {
    /// So much later.
    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// So much earlier.
    pub(super) fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(time))
    }

    /// Three quarters of the way to another moment.
    pub(super) fn three_quarters_to(self, other: Self) -> Self {
        self.after(other.0.saturating_sub(self.0) / 4 * 3)
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Everything is prepared. The first event.
    Begin,
    /// The probe that [`Action::Probe`] started has exited. `answers`: with success.
    Probed { id: Id, answers: bool },
    /// The keeper or its page could not be made: [`Action::Start`] failed.
    StartFailed(Id),
    /// The main process executed its command.
    Executed(Id),
    /// READY=1 came, or the check has exited with success.
    Ready(Id),
    /// The check has exited or was killed without success, or could not be started.
    CheckEnded(Id),
    /// The main process was reaped. What it left may run on.
    Ended { id: Id, ending: Ending },
    /// Nothing of the service runs any more, its keeper included. `killed`: the keeper had
    /// to send SIGKILL.
    Gone { id: Id, killed: bool },
    /// The keeper was reaped before its service was gone. What it kept is ours now.
    KeeperKilled(Id),
    /// A stop was requested. `typed`: by Ctrl-C.
    StopRequest { request: Request, typed: bool },
    /// A timer expired.
    Expired(Timer),
}

/// A timer of the plan. Timers that expire at the same moment do so in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// The stop delay is over.
    DelayOver,
    /// The latest moment of a service: it is stopped whatever runs above it.
    Latest(Id),
    /// A stopped service has had its own period.
    PeriodOver(Id),
    /// A service was sent SIGKILL because its period was over, and had time to be gone.
    NotGone(Id),
    /// The leftovers of a keeper that was killed have had their time.
    LeftoversOver(Id),
    /// The grace period expired.
    GraceOver,
    /// The keepers have had time to report.
    KeepersOver,
    /// SIGKILL had its time to take effect.
    GiveUp,
    /// The probe takes too long.
    ProbeOver(Id),
    /// Time to start the check again.
    CheckAgain(Id),
    /// The service was to be ready by now.
    ReadyTimeout(Id),
    /// Time to name a service that is not ready.
    StillNotReady(Id),
    /// The service has run for so long that earlier failures do not count.
    Settled(Id),
    /// The pause before a restart is over.
    PauseOver(Id),
}

/// What to do about an event, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell users.
    Notice(Notice),
    /// Try the check of the service once, in a process of its own. Answered by
    /// [`Event::Probed`].
    Probe(Id),
    /// Fork a keeper that starts the service.
    Start(Id),
    /// Fork a process that tries the check until it succeeds.
    Check(Id),
    /// Kill the check or the probe, and all its children. No event answers.
    EndCheck(Id),
    /// Tell the keeper by its page to stop its service. Repeatable: the earlier moments
    /// count. `kill`: when the keeper sends SIGKILL. `rest`: when it stops the other
    /// processes of the service, if the main process still runs then. `None`: never.
    Stop {
        id: Id,
        kill: Option<Moment>,
        rest: Option<Moment>,
    },
    /// Send SIGTERM and SIGCONT to what a killed keeper has left.
    StopLeftovers(Id),
    /// Have SIGKILL sent to all processes of the service: by the keeper, or to what a
    /// killed keeper has left.
    Kill(Id),
    /// Kill the keeper, and then what it leaves.
    KillKeeper(Id),
    /// Send an [`Event::Expired`] at this moment, or at once if it has passed.
    Arm(Timer, Moment),
    /// Forget a timer.
    Disarm(Timer),
    /// Exit with this status. Nothing follows.
    Exit(Status),
}

/// An exit status of `supervise`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Status {
    /// The code.
    pub(crate) code: u8,
    /// The service whose status it is; `None` if it is that of none.
    pub(crate) of: Option<Id>,
}

/// How a run of a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// By itself, or it could not be started.
    Ended(Ending),
    /// It was stopped because it was not ready in time.
    NotReadyInTime,
    /// Its keeper was killed.
    KeeperKilled,
}

impl Outcome {
    /// The exit status that stands for it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ended(ending) => ending.code(),
            Self::NotReadyInTime => 124,
            Self::KeeperKilled => Ending::Killed(Signal::KILL, false).code(),
        }
    }
}

/// What users are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The check of a service succeeds although the service is not started.
    AlreadyAnswers(Id),
    /// A service is ready.
    Ready(Id),
    /// A service is not ready so far; and what the last try of its check reported.
    NotReady(Id),
    /// A service was not ready in time, and is stopped.
    NotReadyInTime(Id),
    /// A service starts again after a pause. `failures`: how many times in a row it has
    /// failed.
    Restarting {
        id: Id,
        outcome: Outcome,
        pause: Duration,
        failures: u32,
    },
    /// A service has failed too often, and does not start again.
    GivenUp { id: Id, failures: u32 },
    /// The first stop request.
    Stopping(Request),
    /// Everything is stopped because this service has ended.
    EssentialEnded(Id),
    /// The services are stopped later.
    Delayed,
    /// `above` still runs, and `below` is stopped without waiting for it.
    PassedBy { above: Id, below: Id },
    /// A service has had its own period, and is killed because others wait for it.
    PeriodOver(Id),
    /// The grace period expired; and what remains.
    GraceOver,
    /// A second Ctrl-C ended the grace period; and what remains.
    CutShort,
    /// Some processes survived SIGKILL.
    Unkillable,
}
