//! The run of one command: waits for the next event, has the lifecycle decide, and
//! carries out what it answers.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::{Duration, Instant};

use log::{debug, error, log};

use super::conclusion::{REPORT, conclude};
use super::events::{Events, Reaped, Wake};
use super::keeper::link::Link;
use super::relay::Relay;
use super::sender::sender;
use super::start::{Started, start};
use super::terminal::Terminal;
use crate::decide::lifecycle::Lifecycle;
use crate::decide::rules::Rules;
use crate::decide::step::{Action, Event, Scope, Timer};
use crate::ending::{self, Ending, StatusRules, Termination};
use crate::processes::sweep::Sweep;
use crate::processes::{ancestry, cgroup};
use crate::settings::{RehearseAt, Settings};
use crate::signal::{Received, Signal};
use crate::sys::signals::Inherited;
use crate::sys::spawn::Child;
use crate::sys::wait::Waited;
use crate::sys::{memory, process};
use crate::tell::account::Account;
use crate::tell::log::check_helper;
use crate::tell::record::Record;
use crate::tell::report_file::ReportFile;

/// How long the last lines of a log that is a file may take, if the deadline is not sooner.
const LAST_LINES: Duration = Duration::from_secs(10);

/// From this time on, a filesystem may have stopped answering since the start.
const LONG: Duration = Duration::from_secs(1);

/// Runs the command to its end and returns what is to be done last, and until when the log
/// may close its file. `None`: a run so short that nothing will have changed since the
/// start.
pub(crate) fn run(settings: &Settings, inherited: Inherited) -> (Termination, Option<Instant>) {
    let to = settings.run.report.as_ref();
    let file = match to.map(ReportFile::open).transpose() {
        Ok(file) => file,
        Err(why) => {
            error!("{why}");
            return (Termination::Exit(ending::FAILED), None);
        }
    };
    let mut account = Account::new(settings);
    let started = Instant::now();
    let (termination, left) = match start(settings, inherited, file.as_ref()) {
        Ok(command) => {
            if let Waited::Ended(pid, ending) = command.earlier {
                let warn = settings.run.warn_on_reap;
                tell(&mut account, started, Record::Reaped { pid, ending, warn });
            }
            Supervisor::new(settings, command, &mut account, started, None).run()
        }
        Err(why) => {
            tell(&mut account, started, Record::NotStarted(&why));
            (Termination::Exit(ending::FAILED), LAST_LINES)
        }
    };
    let now = Instant::now();
    let until = now + left;
    let is_long = account.stop().is_some() || now.saturating_duration_since(started) > LONG;
    let termination = conclude(settings, file, account, termination, until);
    (termination, is_long.then_some(until))
}

/// Logs what happened, and adds it to the account.
fn tell(account: &mut Account, started: Instant, record: Record<'_>) {
    account.add(&record, started.elapsed());
    log!(record.level(), "{record}");
}

pub(super) struct Supervisor<'a> {
    pub(super) settings: &'a Settings,
    pub(super) account: &'a mut Account,
    pub(super) started: Instant,
    pub(super) terminal: Terminal,
    pub(super) relay: Option<Relay>,
    status_rules: StatusRules,
    pub(super) lifecycle: Lifecycle,
    /// The command as it was started.
    pub(super) child: Child,
    /// The command's pid, until it is reaped: then it is no longer ours.
    pub(super) command: Option<i32>,
    pub(super) sweep: Sweep,
    /// What the count of processes killed for want of memory was at the start.
    pub(super) oom_kills: Option<u64>,
    pub(super) events: Events<Wakeup>,
    /// The rehearsal waits for the command to be ready.
    awaits_ready: bool,
    /// Whether we were suspended and no SIGCONT has come since.
    pub(super) suspended: bool,
    /// In the keeper of a service: its way to the main process.
    pub(super) keeper: Option<Link<'a>>,
}

/// What to wake up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wakeup {
    /// A timer of the lifecycle.
    Lifecycle(Timer),
    /// The rehearsal's stop request.
    Rehearse,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        started: Started,
        account: &'a mut Account,
        at: Instant,
        keeper: Option<Link<'a>>,
    ) -> Self {
        let Started {
            own_pid,
            child,
            terminal,
            relay,
            earlier,
        } = started;
        let pid1 = own_pid == 1;
        let rules = Rules {
            stop_on: settings.run.stop_on,
            rewrite: settings.command.rewrite.clone(),
            grace: settings.run.grace,
            delay: settings.run.stop_delay,
            leftovers: settings.command.leftovers,
            pid1,
            job_control: terminal.job_control(),
        };
        // SIGCHLD was blocked too late for others of that time.
        let mut events = Events::new(!matches!(earlier, Waited::NoChange | Waited::NoChildren));
        events.first = Some(child.pid);
        let mut sweep = Sweep::new(own_pid, Self::is_reported(settings));
        if let Some(link) = &keeper {
            sweep.stop_signal = link.stop_signal;
        }
        if let Some(RehearseAt::After(after)) = settings.run.rehearse.map(|rehearse| rehearse.at) {
            events.timers.arm(Wakeup::Rehearse, after);
        }
        Self {
            settings,
            account,
            started: at,
            terminal,
            relay,
            status_rules: StatusRules {
                remap: settings.command.remap.clone(),
                reraise: settings.command.reraise && !pid1,
            },
            lifecycle: Lifecycle::new(rules),
            command: Some(child.pid),
            child,
            sweep,
            oom_kills: cgroup::oom_kills(),
            events,
            awaits_ready: settings
                .run
                .rehearse
                .is_some_and(|r| r.at == RehearseAt::Ready),
            suspended: false,
            keeper,
        }
    }
}

impl Supervisor<'_> {
    /// Runs it, and returns how long the last writes may take.
    pub(super) fn run(mut self) -> (Termination, Duration) {
        self.tell(Record::Started(self.child.pid));
        memory::release_code();
        let termination = loop {
            if let Break(termination) = self.turn() {
                break termination;
            }
        };
        if let Some(relay) = &mut self.relay {
            let deadline = Wakeup::Lifecycle(Timer::GraceOver);
            let left = self.events.timers.until(deadline);
            // It is disarmed when it expires.
            let over = self.account.has_sent_sigkill().then_some(Duration::ZERO);
            relay.finish(left.or(over));
        }
        let for_report = self.settings.run.report.is_some();
        let oom_kills = for_report.then(|| self.new_oom_kills()).flatten();
        let finished = self.account.finished(self.started.elapsed(), oom_kills);
        self.tell(finished);
        (termination, self.time_for_last_writes())
    }

    /// Until a second after the deadline, when [`Timer::GiveUp`] expires, which disarms it.
    fn time_for_last_writes(&self) -> Duration {
        let until = |timer| self.events.timers.until(Wakeup::Lifecycle(timer));
        let given_up = self.account.has_sent_sigkill().then_some(Duration::ZERO);
        let after_grace = || until(Timer::GraceOver).map(|left| left.saturating_add(REPORT));
        let left = until(Timer::GiveUp).or(given_up).or_else(after_grace);
        left.map_or(LAST_LINES, |left| left.min(LAST_LINES))
    }

    /// One turn of the loop; `Break` is the end of it.
    fn turn(&mut self) -> ControlFlow<Termination> {
        let executed = self.keeper.as_ref().and_then(Link::watched);
        let watched = executed.or_else(|| self.relay.as_mut().map(Relay::watched));
        match self.events.wait(watched) {
            Ok(Wake::Signal(received)) if self.keeper.is_some() => {
                self.on_signal_to_keeper(&received)?;
            }
            Ok(Wake::Signal(received)) => self.on_signal(received)?,
            Ok(Wake::Children) => self.on_children()?,
            Ok(Wake::Timer(Wakeup::Lifecycle(timer))) => self.feed(Event::Expired(timer))?,
            Ok(Wake::Timer(Wakeup::Rehearse)) => self.rehearse()?,
            // It is told by its end even where it cannot be waited for.
            Ok(Wake::Ready(_)) if self.note_executed() => {}
            Ok(Wake::Ready(ready)) => self.on_message(ready),
            Err(errno) => {
                // Without signals there is nothing that we can do for any process.
                error!(
                    "cannot wait for signals: rt_sigtimedwait: {}; allow it in the seccomp filter",
                    errno.desc()
                );
                return Break(Termination::Exit(ending::FAILED));
            }
        }
        self.note_ready();
        // Where READY=1 cannot come any more, waiting for it would have no end.
        if self.awaits_ready && self.relay.as_ref().is_none_or(Relay::is_ready) {
            self.awaits_ready = false;
            // Signals and children that are already there come first.
            self.events.timers.arm(Wakeup::Rehearse, Duration::ZERO);
        }
        Continue(())
    }

    fn on_signal(&mut self, received: Received) -> ControlFlow<Termination> {
        debug!("received {} from {}", received.signal, sender(&received));
        let origin = self.origin(&received);
        self.feed(Event::Signal(received, origin))
    }

    fn rehearse(&mut self) -> ControlFlow<Termination> {
        let rehearse = self.settings.run.rehearse;
        rehearse.map_or(Continue(()), |it| self.feed(Event::Rehearse(it.signal)))
    }

    /// Relays notifications, or gives up where they cannot be waited for.
    fn on_message(&mut self, ready: nix::Result<()>) {
        let Some(relay) = &mut self.relay else {
            return;
        };
        match ready {
            Ok(()) => relay.serve(self.command),
            Err(errno) => {
                // Without it whoever sends is refused, instead of waiting for ever.
                error!(
                    "notification relay failed: ppoll: {}; notifications are lost; allow it in the \
                     seccomp filter or use --no-notify-relay",
                    errno.desc()
                );
                self.relay = None;
            }
        }
    }

    fn on_children(&mut self) -> ControlFlow<Termination> {
        // A sender can be looked up until it is reaped.
        if let Some(relay) = &mut self.relay {
            relay.drain(self.command);
        }
        self.look_at_page()?;
        while let Some(reaped) = self.events.reap() {
            match reaped {
                Reaped::Changed(change) => self.on_child(change)?,
                Reaped::All { left: true } => {
                    self.look_at_init()?;
                    self.note_left();
                    self.feed(Event::SomeLeft)?;
                }
                Reaped::All { left: false } => self.feed(Event::NothingLeft)?,
            }
        }
        check_helper();
        Continue(())
    }

    /// Of other children only the end is of interest.
    fn on_child(&mut self, change: Waited) -> ControlFlow<Termination> {
        if let Waited::Ended(pid, _) = change {
            self.sweep.ledger.forget(pid);
        }
        match change {
            Waited::Ended(pid, ending) if Some(pid) == self.command => {
                self.command_ended(pid, ending)
            }
            Waited::Ended(pid, ending) => {
                let warn = self.settings.run.warn_on_reap;
                self.tell(Record::Reaped { pid, ending, warn });
                Continue(())
            }
            Waited::Stopped(pid, signal) if Some(pid) == self.command => {
                let can_take_terminal = self.terminal.can_give_foreground(signal, pid);
                self.feed(Event::CommandStopped {
                    signal,
                    can_take_terminal,
                })
            }
            Waited::Continued(pid) if Some(pid) == self.command => {
                self.feed(Event::CommandContinued)
            }
            _ => Continue(()),
        }
    }

    /// Looks whether others can be left: not where an init exits when we do.
    fn look_at_init(&mut self) -> ControlFlow<Termination> {
        if self.lifecycle.is_about_to_leave() && ancestry::init_exits_with(process::own_pid()) {
            self.tell(Record::InitExits);
            self.feed(Event::InitExitsWithUs)?;
        }
        Continue(())
    }

    fn command_ended(&mut self, pid: i32, ending: Ending) -> ControlFlow<Termination> {
        self.command = None;
        self.events.first = None;
        self.terminal.take_back();
        if let Some(failure) = self.child.exec_error() {
            let hint = self.settings.command.hint.as_deref();
            self.tell(Record::NotExecuted {
                why: &failure.text,
                hint: hint.filter(|_| failure.status == ending::NOT_FOUND),
            });
            // Others may be there all the same: `sh -c "a & exec supervise b"`.
            let ending = Ending::NotExecuted(failure.status);
            self.note_ended(ending);
            return self.feed(Event::CommandEnded(ending));
        }
        let by_sigkill = matches!(ending, Ending::Killed(Signal::KILL, _));
        self.tell(if by_sigkill && !self.account.has_sent_sigkill() {
            let oom_kills = self.new_oom_kills();
            Record::CommandKilled { pid, oom_kills }
        } else {
            Record::CommandEnded { pid, ending }
        });
        let successor = self.relay.as_mut().and_then(|relay| {
            // What it has said last may be who comes after it.
            relay.drain(None);
            relay.successor()
        });
        if let Some(to) = successor {
            return self.feed(Event::CommandHandedOn { ending, to });
        }
        self.note_ended(ending);
        self.feed(Event::CommandEnded(ending))
    }

    /// Carries out what the lifecycle answers to an event. Where an action fails, that is
    /// the next event.
    pub(super) fn feed(&mut self, event: Event) -> ControlFlow<Termination> {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            for action in self.lifecycle.on(event) {
                match action {
                    Action::Exit(ending) => {
                        let killed = matches!(ending, Ending::Killed(..));
                        self.terminal.restore(killed);
                        return Break(self.status_rules.termination(ending));
                    }
                    Action::Suspend(signal) if !self.suspend(signal) => {
                        next = Some(Event::NotSuspended(signal));
                    }
                    Action::GiveForeground(signal) if !self.give_foreground() => {
                        next = Some(Event::ForegroundRefused(signal));
                    }
                    Action::TerminateRest if !self.terminate_rest() => {
                        next = Some(Event::SomeUnread);
                    }
                    action => self.perform(action),
                }
            }
        }
        Continue(())
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Notice(notice) => self.notice(notice),
            Action::TakeOn(pid) => {
                self.tell(Record::Successor(pid));
                self.command = Some(pid);
                self.events.first = Some(pid);
                self.note_successor(pid);
            }
            Action::Forward {
                received,
                stop,
                to_group,
            } => self.forward(&received, stop, to_group),
            Action::CommandReceived(signal) => self.note_stop_signal(signal, None),
            Action::Resume => {
                self.give_foreground_again();
                self.send(Signal::CONT);
            }
            Action::Kill(Scope::Everything) => self.sweep.kill(self.command, self.own_group()),
            Action::Kill(Scope::Command) => self.send(Signal::KILL),
            Action::Arm(timer, after) => self.events.timers.arm(Wakeup::Lifecycle(timer), after),
            Action::ArmEarlier(timer, after) => {
                self.events
                    .timers
                    .arm_earlier(Wakeup::Lifecycle(timer), after);
            }
            // Carried out in `feed`, which hears whether it worked.
            Action::Exit(_)
            | Action::Suspend(_)
            | Action::GiveForeground(_)
            | Action::TerminateRest => {}
        }
    }

    pub(super) fn tell(&mut self, record: Record<'_>) {
        // The main process of several services tells the course of each in its own words.
        if self.keeper.is_some() && record.is_of_course() {
            self.account.add(&record, self.started.elapsed());
        } else {
            tell(self.account, self.started, record);
        }
    }
}
