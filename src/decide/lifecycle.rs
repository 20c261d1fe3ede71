//! What `supervise` does next: a state, and a function from an event to
//! actions. Pure: no system call, no clock, no log. `docs/design.md` draws it.
//!
//! The caller's side of the contract:
//! - events come in the order in which they were seen, and the actions of one
//!   are carried out before the next is fed in and before anything else is
//!   reaped: between the decision to signal a process and the signal, its pid
//!   cannot change hands;
//! - [`Event::CommandEnded`] or [`Event::CommandHandedOn`] comes when the command
//!   is reaped, and [`Event::SomeLeft`] or [`Event::NothingLeft`] when every child
//!   that has ended is: other events may come in between;
//! - [`Event::Mark`] comes for a mark that was armed, once for each time;
//! - nothing comes after [`Action::Exit`].

use std::time::Duration;

use crate::decide::origin::Origin;
use crate::ending::Ending;
use crate::signal::{Received, Signal, SignalSet};

#[cfg(test)]
mod enumeration;

/// How long after the first SIGKILL the program goes on waiting.
const KILL_WAIT: Duration = Duration::from_secs(1);

/// How long after a SIGKILL to look for what was forked meanwhile. It doubles
/// from one time to the next.
const FIRST_KILL_AGAIN: Duration = Duration::from_millis(10);

/// How long to wait before saying who has not ended: less where the grace period
/// is short, `None` where it never ends.
fn say_after(grace: Option<Duration>) -> Duration {
    let longest = Duration::from_secs(5);
    grace.map_or(longest, |grace| longest.min(grace / 2))
}

/// How often a command that was asked to stop is resumed when it is stopped
/// instead. One that stops itself again each time would keep us busy.
const RESUMES: u8 = 5;

/// How long the command and everything else has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Grace {
    /// So long; zero means SIGKILL at once.
    For(Duration),
    /// For ever: SIGKILL never.
    Infinite,
}

impl std::fmt::Display for Grace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::For(grace) => write!(f, "grace period {}", humantime::format_duration(*grace)),
            Self::Infinite => f.write_str("grace period infinity"),
        }
    }
}

/// What happens to other processes when the command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Leftovers {
    /// Stopped after a stop request and as PID 1; otherwise left.
    Auto,
    /// Always stopped.
    Stop,
    /// Waited for until the last has ended by itself or a stop is requested.
    Wait,
    /// Left: the program ends with the command.
    Leave,
}

/// The rules that the lifecycle follows; they do not change while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    /// Signals that are a stop request.
    pub(crate) stop_on: SignalSet,
    /// What is forwarded in place of what; `None` swallows the signal.
    pub(crate) rewrite: Vec<(Signal, Option<Signal>)>,
    /// The grace period.
    pub(crate) grace: Grace,
    /// How long a stop request waits before it is forwarded, or before the leftovers
    /// are signaled; shorter than the grace period, of which it is a part.
    pub(crate) delay: Duration,
    /// What happens to the leftovers.
    pub(crate) leftovers: Leftovers,
    /// Whether we are PID 1 of our namespace, or it exits when we do.
    pub(crate) pid1: bool,
    /// Whether there is a shell to be told when the command is stopped.
    pub(crate) job_control: bool,
}

/// A moment that the lifecycle asked to be woken at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Mark {
    /// The stop delay is over.
    DelayOver,
    /// Time to say who has not ended, in case somebody's limit is shorter than
    /// ours.
    SayWaiting,
    /// Three quarters of the grace period are over.
    AskRest,
    /// The grace period is over.
    GraceOver,
    /// Time to look for what was forked while we killed.
    KillAgain,
    /// SIGKILL has had its time.
    KillOver,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A signal came in; any but SIGCHLD.
    Signal(Received, Origin),
    /// The command was reaped, or what was to execute it and could not.
    CommandEnded(Ending),
    /// The command was reaped, and it had named a process that is a child of
    /// ours now as the main one.
    CommandHandedOn { ending: Ending, to: i32 },
    /// The command was stopped by this signal. `can_hand_over`: it wants the
    /// terminal (SIGTTIN, SIGTTOU) that our own process group holds.
    CommandStopped { signal: Signal, can_hand_over: bool },
    /// [`Action::Suspend`] did not stop us: there is no shell that could resume
    /// us (an orphaned process group, PID 1).
    NotSuspended(Signal),
    /// [`Action::HandOver`] was refused: the command's process group cannot be the
    /// terminal's foreground group.
    NotHandedOver(Signal),
    /// The command was resumed.
    CommandContinued,
    /// PID 1 of our container is an init that exits when we do: whatever is left then
    /// is killed. To be said where [`Lifecycle::is_about_to_leave`].
    InitExitsWithUs,
    /// Every child that had ended is reaped, and there are others.
    SomeLeft,
    /// There is no child left: waitpid(2) said ECHILD.
    NothingLeft,
    /// A mark that was armed is reached.
    Mark(Mark),
}

/// Whom a SIGKILL is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The command alone, or with `-g` its process group.
    Command,
    /// Everything that is left.
    Everything,
}

/// What to do about it, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Say that a stop was requested by this signal.
    SayStopping(Received),
    /// Say that the command, or if that has exited the rest, is signaled later.
    SayDelayed,
    /// Send the command this signal, with all that came with it. `stop`:
    /// whoever gets it has been asked to stop. `to_group`: the process group that
    /// the command is in is to get it, if that is not ours.
    Forward {
        received: Received,
        stop: bool,
        to_group: bool,
    },
    /// Note that the command has had this stop request already: it went to the
    /// process group that it shares with us.
    NoteAsked(Signal),
    /// Take this process for the command from now on.
    TakeOn(i32),
    /// Send the command SIGCONT.
    Resume,
    /// Make the command's process group the terminal's foreground group and resume
    /// the command, which this signal has suspended.
    HandOver(Signal),
    /// Stop ourselves by this signal, as the command was, so that the shell
    /// that waits for us sees the job stopped.
    Suspend(Signal),
    /// Say that the command waits for a terminal that it cannot get.
    SayStuck(Signal),
    /// Send everything but the command, and but those asked before, SIGTERM
    /// and SIGCONT.
    AskRest,
    /// Say who has not ended so far, and how much time there is.
    SayWaiting,
    /// Say that the grace period is over and who is left.
    SayGraceOver,
    /// Say that a key has cut the grace period short, and who is left.
    SayCutShort(Signal),
    /// Send SIGKILL.
    Kill(Scope),
    /// Send a [`Event::Mark`] so long from now.
    Arm(Mark, Duration),
    /// Say what was left behind on purpose.
    SayLeft,
    /// Say which processes SIGKILL did not end.
    SayUnkillable,
    /// End, and account for the command with this.
    Exit(Ending),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// The command runs and nobody asked it to stop.
    Running,
    /// A stop was requested, and the command is signaled a little later; or if it has
    /// exited, the rest, which may be the service that it launched.
    Delaying,
    /// The command was asked and has not ended.
    Stopping,
    /// The command has ended; the rest may take as long as it likes.
    Lingering,
    /// The command has ended and the rest was asked.
    Sweeping,
    /// The grace period is over.
    Killing,
    /// `Action::Exit` was given.
    Done,
}

/// The state of one run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lifecycle {
    rules: Rules,
    phase: Phase,
    /// How the command ended; `None` while its pid is ours to signal.
    ending: Option<Ending>,
    /// Whether the command is stopped (SIGSTOP and its like).
    stopped: bool,
    /// How often the command was resumed since it was asked to stop.
    resumes: u8,
    /// The stop request that was not forwarded to the command yet, and whether it
    /// is for the command's whole group.
    held: Option<(Received, bool)>,
    /// Whether a stop was requested.
    stop_requested: bool,
    /// When to kill again.
    kill_again: Duration,
}

impl Lifecycle {
    /// A lifecycle whose command has just been started.
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            phase: Phase::Running,
            ending: None,
            stopped: false,
            resumes: 0,
            held: None,
            stop_requested: false,
            kill_again: FIRST_KILL_AGAIN,
        }
    }

    /// Whether what is left would be left, unless it would be killed then
    /// ([`Event::InitExitsWithUs`]).
    pub(crate) fn is_about_to_leave(&self) -> bool {
        self.phase == Phase::Running
            && self.ending.is_some()
            && self.rules.leftovers == Leftovers::Auto
            && !self.rules.pid1
    }

    /// Whether the command is suspended, as far as is known.
    pub(crate) fn command_is_suspended(&self) -> bool {
        self.stopped
    }

    /// Takes an event in and says what to do about it.
    #[must_use = "the actions are what the event leads to"]
    pub(crate) fn on(&mut self, event: Event) -> Vec<Action> {
        if self.phase == Phase::Done {
            return Vec::new();
        }
        match event {
            Event::Signal(received, origin) => self.on_signal(received, origin),
            // After a stop request it is the command that was asked whose end
            // counts, and the other is one of those that are left.
            Event::CommandHandedOn { to, .. } if self.phase == Phase::Running => {
                self.stopped = false;
                vec![Action::TakeOn(to)]
            }
            Event::CommandEnded(ending) | Event::CommandHandedOn { ending, .. } => {
                self.ending = Some(ending);
                self.stopped = false;
                self.held = None;
                Vec::new()
            }
            Event::CommandStopped {
                signal,
                can_hand_over,
            } => {
                self.stopped = true;
                self.on_stopped(signal, can_hand_over)
            }
            Event::NotSuspended(signal) => self.on_not_suspended(signal),
            Event::NotHandedOver(signal) if self.phase == Phase::Running => {
                vec![Action::Suspend(signal)]
            }
            Event::NotHandedOver(_) => Vec::new(),
            Event::CommandContinued => {
                self.stopped = false;
                Vec::new()
            }
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
            Event::Mark(mark) => self.on_mark(mark),
        }
    }

    fn on_signal(&mut self, received: Received, origin: Origin) -> Vec<Action> {
        let Some(signal) = self.rewritten(received.signal) else {
            return Vec::new();
        };
        if self.ending.is_some() {
            return self.on_signal_after_command(received, origin);
        }
        let stop = self.rules.stop_on.contains(received.signal) && origin.may_request_stop;
        let forward = if origin.received_by_command {
            stop.then_some(Action::NoteAsked(received.signal))
        } else {
            let received = Received { signal, ..received };
            let to_group = origin.for_group;
            Some(Action::Forward {
                received,
                stop,
                to_group,
            })
        };
        match self.phase {
            Phase::Running if stop => self.request_stop(received, forward),
            // The shell resumes its job as a group, but whoever resumes us alone
            // means the command too.
            Phase::Running if received.signal == Signal::CONT && self.stopped => {
                vec![forward.unwrap_or(Action::Resume)]
            }
            Phase::Delaying if stop => self.cut_delay_short(forward),
            Phase::Running | Phase::Delaying | Phase::Stopping => forward.into_iter().collect(),
            // The command is about to be killed, or its end is known to be decided.
            Phase::Lingering | Phase::Sweeping | Phase::Killing | Phase::Done => Vec::new(),
        }
    }

    /// The command has exited: there is nobody to forward to, and no program that
    /// acts on a key.
    fn on_signal_after_command(&mut self, received: Received, origin: Origin) -> Vec<Action> {
        let may_stop = origin.may_request_stop || origin.typed;
        let stop = self.rules.stop_on.contains(received.signal) && may_stop;
        match self.phase {
            // Nothing but the command is ours to stop.
            Phase::Running if self.rules.leftovers == Leftovers::Leave => Vec::new(),
            Phase::Lingering if stop && self.rules.delay.is_zero() => {
                let mut actions = self.say_stopping(received);
                actions.extend(self.start_sweeping());
                actions
            }
            Phase::Running | Phase::Lingering if stop => self.request_stop(received, None),
            Phase::Delaying if stop => self.cut_delay_short(None),
            Phase::Sweeping if stop && origin.typed => self.on_second_key(received),
            Phase::Killing | Phase::Done => Vec::new(),
            // What is left in our group has been suspended by the key.
            _ if origin.typed && received.signal == Signal::TSTP && self.rules.job_control => {
                vec![Action::Suspend(Signal::TSTP)]
            }
            _ => Vec::new(),
        }
    }

    /// Ctrl-C while the leftovers have been asked: the first is a stop request like
    /// any, the next does not want to wait.
    fn on_second_key(&mut self, received: Received) -> Vec<Action> {
        if !self.stop_requested {
            return self.say_stopping(received);
        }
        if self.rules.grace == Grace::Infinite {
            return Vec::new();
        }
        self.start_killing(Action::SayCutShort(received.signal))
    }

    fn say_stopping(&mut self, received: Received) -> Vec<Action> {
        self.stop_requested = true;
        vec![Action::SayStopping(received)]
    }

    fn request_stop(&mut self, received: Received, forward: Option<Action>) -> Vec<Action> {
        let mut actions = self.say_stopping(received);
        actions.extend(self.start_stopping(forward));
        actions
    }

    fn on_stopped(&mut self, signal: Signal, can_hand_over: bool) -> Vec<Action> {
        match self.phase {
            // No shell sees it, and a key was for the command.
            Phase::Running if !self.rules.job_control => match signal {
                Signal::TTIN | Signal::TTOU => vec![Action::SayStuck(signal)],
                _ => Vec::new(),
            },
            Phase::Running if can_hand_over => vec![Action::HandOver(signal)],
            Phase::Running => vec![Action::Suspend(signal)],
            // What is asked to stop must be able to run.
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
            // A key has stopped it, and nobody else would resume it.
            Phase::Running if signal == Signal::TSTP => vec![Action::Resume],
            // Whoever sent SIGSTOP wants it stopped.
            Phase::Running if signal == Signal::STOP => Vec::new(),
            Phase::Running => vec![Action::SayStuck(signal)],
            _ => Vec::new(),
        }
    }

    /// Asks the command to stop, or if it has exited the rest, now or when the delay is
    /// over.
    fn start_stopping(&mut self, forward: Option<Action>) -> Vec<Action> {
        let deadline = match self.rules.grace {
            Grace::For(Duration::ZERO) => return self.start_killing(Action::SayGraceOver),
            Grace::For(grace) => Some(grace),
            Grace::Infinite => None,
        };
        let delay = self.rules.delay;
        let held = match forward {
            Some(Action::Forward {
                received, to_group, ..
            }) => Some((received, to_group)),
            _ => None,
        };
        // What the command has had already cannot be delayed.
        let can_wait = held.is_some() || self.ending.is_some();
        let mut actions = if can_wait && !delay.is_zero() {
            self.phase = Phase::Delaying;
            self.held = held;
            vec![Action::SayDelayed, Action::Arm(Mark::DelayOver, delay)]
        } else {
            self.ask_command(forward)
        };
        let left = deadline.map(|grace| grace.saturating_sub(delay));
        actions.push(Action::Arm(Mark::SayWaiting, delay + say_after(left)));
        if let (Some(grace), Some(left)) = (deadline, left) {
            // With `leave` the rest is not ours to ask.
            if self.rules.leftovers != Leftovers::Leave {
                actions.push(Action::Arm(Mark::AskRest, delay + left / 4 * 3));
            }
            actions.push(Action::Arm(Mark::GraceOver, grace));
        }
        actions
    }

    fn ask_command(&mut self, forward: Option<Action>) -> Vec<Action> {
        self.phase = Phase::Stopping;
        let mut actions: Vec<Action> = forward.into_iter().collect();
        if self.stopped {
            actions.push(Action::Resume);
        }
        actions
    }

    /// A second stop request: whoever sent it does not want to wait. If it is the
    /// same signal, the command hears of one.
    fn cut_delay_short(&mut self, second: Option<Action>) -> Vec<Action> {
        let first = self.end_delay();
        let held = first.first().copied();
        let differs = |action: &Action| match (action, held) {
            (
                Action::Forward {
                    received: second, ..
                },
                Some(Action::Forward { received, .. }),
            ) => second.signal != received.signal,
            _ => true,
        };
        first.into_iter().chain(second.filter(differs)).collect()
    }

    fn end_delay(&mut self) -> Vec<Action> {
        if self.ending.is_some() && self.rules.leftovers != Leftovers::Leave {
            self.phase = Phase::Sweeping;
            return vec![Action::AskRest];
        }
        let forward = self
            .held
            .take()
            .map(|(received, to_group)| Action::Forward {
                received,
                stop: true,
                to_group,
            });
        self.ask_command(forward)
    }

    fn on_some_left(&mut self) -> Vec<Action> {
        let Some(ending) = self.ending else {
            return Vec::new();
        };
        match (self.phase, self.rules.leftovers) {
            (
                Phase::Running | Phase::Delaying | Phase::Stopping | Phase::Killing,
                Leftovers::Leave,
            ) => self.leave(ending),
            (Phase::Running, Leftovers::Auto) if !self.rules.pid1 => self.leave(ending),
            (Phase::Running, Leftovers::Wait) => {
                self.phase = Phase::Lingering;
                Vec::new()
            }
            (Phase::Running, Leftovers::Auto | Leftovers::Stop) => self.start_sweeping(),
            (Phase::Stopping, _) => {
                // The deadline that the stop request set stays.
                self.phase = Phase::Sweeping;
                vec![Action::AskRest]
            }
            // Delaying: what a launcher has started serves on until the delay is over.
            (
                Phase::Delaying | Phase::Lingering | Phase::Sweeping | Phase::Killing | Phase::Done,
                _,
            ) => Vec::new(),
        }
    }

    fn on_mark(&mut self, mark: Mark) -> Vec<Action> {
        match (mark, self.phase) {
            (Mark::DelayOver, Phase::Delaying) => self.end_delay(),
            (Mark::SayWaiting, Phase::Stopping | Phase::Sweeping) => vec![Action::SayWaiting],
            (Mark::AskRest, Phase::Stopping) => {
                // Though not everyone that has ended is reaped.
                if self.ending.is_some() {
                    self.phase = Phase::Sweeping;
                }
                vec![Action::AskRest]
            }
            (Mark::GraceOver, Phase::Stopping | Phase::Sweeping) => match self.ending {
                Some(ending) if self.rules.leftovers == Leftovers::Leave => self.leave(ending),
                _ => self.start_killing(Action::SayGraceOver),
            },
            (Mark::KillAgain, Phase::Killing) => self.kill(),
            (Mark::KillOver, Phase::Killing) => {
                let mut actions = vec![Action::SayUnkillable];
                // SIGKILL is what will end the command when it can end.
                actions
                    .extend(self.exit(self.ending.unwrap_or(Ending::Killed(Signal::KILL, false))));
                actions
            }
            // A mark that the course of events has overtaken.
            _ => Vec::new(),
        }
    }

    /// The command has ended: asks what is left, with a grace period of its
    /// own.
    fn start_sweeping(&mut self) -> Vec<Action> {
        match self.rules.grace {
            Grace::For(Duration::ZERO) => self.start_killing(Action::SayGraceOver),
            Grace::For(grace) => {
                self.phase = Phase::Sweeping;
                vec![
                    Action::AskRest,
                    Action::Arm(Mark::SayWaiting, say_after(Some(grace))),
                    Action::Arm(Mark::GraceOver, grace),
                ]
            }
            Grace::Infinite => {
                self.phase = Phase::Sweeping;
                vec![
                    Action::AskRest,
                    Action::Arm(Mark::SayWaiting, say_after(None)),
                ]
            }
        }
    }

    fn start_killing(&mut self, say: Action) -> Vec<Action> {
        self.phase = Phase::Killing;
        let mut actions = vec![say];
        actions.extend(self.kill());
        actions.push(Action::Arm(Mark::KillOver, KILL_WAIT));
        actions
    }

    fn kill(&mut self) -> Vec<Action> {
        let scope = match (self.rules.leftovers, self.ending) {
            (Leftovers::Leave, None) => Scope::Command,
            (Leftovers::Leave, Some(_)) => return Vec::new(),
            _ => Scope::Everything,
        };
        let again = self.kill_again;
        self.kill_again = again.saturating_mul(2);
        vec![Action::Kill(scope), Action::Arm(Mark::KillAgain, again)]
    }

    fn leave(&mut self, ending: Ending) -> Vec<Action> {
        let mut actions = vec![Action::SayLeft];
        actions.extend(self.exit(ending));
        actions
    }

    fn exit(&mut self, ending: Ending) -> Vec<Action> {
        self.phase = Phase::Done;
        vec![Action::Exit(ending)]
    }

    fn rewritten(&self, signal: Signal) -> Option<Signal> {
        match self.rules.rewrite.iter().find(|(from, _)| *from == signal) {
            Some((_, to)) => *to,
            None => Some(signal),
        }
    }
}
