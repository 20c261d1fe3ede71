//! The words between the lifecycle and the event loop: events go in, actions, notices and
//! timers come out.

use std::time::Duration;

use super::origin::Origin;
use crate::ending::Ending;
use crate::signal::{Received, Signal};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A signal came in; any except SIGCHLD.
    Signal(Received, Origin),
    /// A rehearsal requests a stop by this signal.
    Rehearse(Signal),
    /// The main process has told a keeper to stop its service by this signal, which is not
    /// rewritten. SIGKILL is due in `kill_in`, and the other processes are to be sent SIGTERM
    /// in `rest_in` if the command still runs then; `None`: never. Repeatable: a later one
    /// only makes these moments earlier.
    StopBy {
        signal: Signal,
        kill_in: Option<Duration>,
        rest_in: Option<Duration>,
    },
    /// The command was reaped, or the child that could not execute it.
    CommandEnded(Ending),
    /// The command was reaped, and it had named a process that is a child of
    /// ours now as the main process.
    CommandHandedOn { ending: Ending, to: i32 },
    /// This signal suspended the command. `can_take_terminal`: the command wants the
    /// terminal (SIGTTIN, SIGTTOU) that our own process group holds.
    CommandStopped {
        signal: Signal,
        can_take_terminal: bool,
    },
    /// The command was resumed.
    CommandContinued,
    /// [`Action::Suspend`] did not suspend us: no shell could resume us (an orphaned
    /// process group, PID 1).
    NotSuspended(Signal),
    /// [`Action::GiveForeground`] failed: the command's process group cannot become the
    /// foreground process group.
    ForegroundRefused(Signal),
    /// [`Action::TerminateRest`] could not read something in /proc: some processes may not
    /// have received SIGTERM.
    SomeUnread,
    /// PID 1 of our container is an init that exits when we do, and all other processes
    /// are killed then. To be fed in where [`super::lifecycle::Lifecycle::is_about_to_leave`].
    InitExitsWithUs,
    /// Every child that has exited is reaped, and there are others.
    SomeLeft,
    /// No child is left: waitpid(2) failed with ECHILD.
    NothingLeft,
    /// A timer expired.
    Expired(Timer),
}

/// A timer of the lifecycle. Timers that expire at the same time do so in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// The stop delay is over.
    DelayOver,
    /// Time to name the processes that have not exited, in case a stop timeout is
    /// shorter than the grace period.
    StillWaiting,
    /// Three quarters of the grace period are over.
    TerminateRest,
    /// Time to look again for processes that could not be read.
    LookAgain,
    /// The grace period expired.
    GraceOver,
    /// Time to look for processes that were forked while SIGKILL was sent.
    KillAgain,
    /// SIGKILL had its time to take effect.
    GiveUp,
}

/// What to do about an event, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell users.
    Notice(Notice),
    /// Send the command this signal, with all that came with it. `stop`: the signal is a
    /// stop request. `to_group`: send it to the process group that the command is in, if
    /// that is not ours.
    Forward {
        received: Received,
        stop: bool,
        to_group: bool,
    },
    /// Record that the command already received this stop request: it went to the
    /// process group that the command shares with us.
    CommandReceived(Signal),
    /// Treat this process as the command from now on.
    TakeOn(i32),
    /// Send the command SIGCONT.
    Resume,
    /// Make the command's process group the foreground process group and resume the
    /// command, which this signal has suspended. Answered by [`Event::ForegroundRefused`]
    /// if that fails.
    GiveForeground(Signal),
    /// Suspend ourselves by this signal, as the command was, so that the shell that waits
    /// for us sees the job suspended. Answered by [`Event::NotSuspended`] if that fails.
    Suspend(Signal),
    /// Send SIGTERM and SIGCONT to all processes except the command and those that have
    /// received a stop request before. Answered by [`Event::SomeUnread`] if some may be left
    /// out.
    TerminateRest,
    /// Send SIGKILL.
    Kill(Scope),
    /// Send an [`Event::Expired`] so long from now.
    Arm(Timer, Duration),
    /// The same, unless the timer is armed and expires sooner.
    ArmEarlier(Timer, Duration),
    /// Exit, with a status made of this.
    Exit(Ending),
}

/// Which processes a SIGKILL is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The command, or with `-g` its process group.
    Command,
    /// All remaining processes.
    Everything,
}

/// What users are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A stop was requested.
    Stopping(Request),
    /// The command, or if that has exited the leftover processes, are signaled later.
    Delayed,
    /// The command waits for a terminal that it cannot get.
    Stuck(Signal),
    /// Some processes have not exited so far; and how much time there is.
    Waiting,
    /// The grace period expired; and which processes remain.
    GraceOver,
    /// The moment of SIGKILL came that the main process or the grace period has set,
    /// whichever was earlier; and which processes remain.
    Due,
    /// A second Ctrl-C ended the grace period; and which processes remain.
    CutShort(Signal),
    /// Some processes are left running on purpose.
    Left,
    /// Some processes survived SIGKILL.
    Unkillable,
}

/// What requested a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// This signal.
    Signal(Received),
    /// A rehearsal, in the place of this signal.
    Rehearsal(Signal),
    /// The main process, and this signal is sent to the service.
    Main(Signal),
}
