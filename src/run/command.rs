//! The shell around the lifecycle: waits for the next event, asks it what to
//! do, does it. The one loop, and the one clock.

use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use log::{debug, error, info, warn};
use nix::errno::Errno;

use super::relay::{self, Relay};
use super::terminal::Terminal;
use crate::decide::lifecycle::{self, Action, Event, Grace, Lifecycle, Mark, Rules, Scope};
use crate::decide::origin::{self, Origin};
use crate::decide::reason::{ProcessLabel, Remaining};
use crate::ending::{self, Ending, LastAct, StatusRules};
use crate::processes::cgroup;
use crate::processes::leftovers::Leftovers;
use crate::processes::procfs;
use crate::settings::{ForwardTo, Settings};
use crate::signal::{Received, Signal};
use crate::sys::kill::Target;
use crate::sys::signals::{self, Inherited};
use crate::sys::spawn::{Child, Group, Setup, Variable, spawn};
use crate::sys::wait::{self, Waited};
use crate::sys::{descriptors, memory, process};
use crate::tell::account::{Account, Sender, Stop};
use crate::tell::logger;
use crate::tell::report_file::ReportFile;
use crate::tell::verdict::{self, in_seconds};

/// How many children are reaped before signals and the deadline are looked at
/// again, so that a storm of them delays neither.
const BATCH: usize = 64;

/// After how many batches with no end to them those that are left count as such:
/// something that makes orphans faster than they are reaped would else never be
/// stopped.
const BATCHES: usize = 1024;

/// Runs the command to its end and returns what is to be done last.
pub(crate) fn run(settings: &Settings, inherited: Inherited) -> LastAct {
    let file = match settings.report.as_ref().map(ReportFile::open).transpose() {
        Ok(file) => file,
        Err(why) => {
            error!("{why}");
            return LastAct::Exit(ending::FAILED);
        }
    };
    let mut account = Account::new(settings);
    let started = Instant::now();
    let last_act = match start(settings, inherited, file.as_ref(), &mut account, started) {
        Ok(supervisor) => supervisor.run(),
        Err(why) => {
            error!("{why}");
            account.error = Some(why);
            LastAct::Exit(ending::FAILED)
        }
    };
    account.ran = started.elapsed();
    conclude(settings, file.as_ref(), account, last_act)
}

/// Says what has happened, to those who want to know.
fn conclude(
    settings: &Settings,
    file: Option<&ReportFile>,
    mut account: Account,
    last_act: LastAct,
) -> LastAct {
    if let Some(stop) = &account.stop {
        let command = match account.ended_after_stop() {
            Some(after) => format!("command after {}", in_seconds(after)),
            None if account.ended.is_some() => "command exited earlier".to_owned(),
            None => "command did not exit".to_owned(),
        };
        let all = in_seconds(account.ran.saturating_sub(stop.after));
        info!("stopped after {all} ({command}): {}", account.outcome());
    }
    let mut last_act = last_act;
    if let Some(rehearse) = &settings.rehearse
        && account.error.is_none()
    {
        let (lines, passed) = verdict::verdict(&account, rehearse);
        for line in lines {
            logger::say(&line);
        }
        last_act = LastAct::Exit(u8::from(!passed));
    }
    account.exit_status = last_act.code();
    if let Some(file) = file
        && let Some(report) = account.report()
    {
        file.write(&report);
    }
    last_act
}

/// Starts the command.
///
/// # Errors
/// One line: why there is none.
fn start<'a>(
    settings: &'a Settings,
    inherited: Inherited,
    file: Option<&ReportFile>,
    account: &'a mut Account,
    started: Instant,
) -> Result<Supervisor<'a>, String> {
    let own_pid = process::own_pid();
    let pid1 = own_pid == 1;

    let subreaper = if pid1 {
        Ok(())
    } else {
        nix::sys::prctl::set_child_subreaper(true)
    };
    if let Some(signal) = settings.parent_death {
        let parent = nix::unistd::getppid().as_raw();
        signals::set_parent_death_signal(signal, parent).map_err(|errno| {
            format!(
                "--parent-death-signal: cannot ask for {signal}: prctl: {}; leave the option out",
                errno.desc()
            )
        })?;
    }

    let relay = open_relay(settings)?;
    let mut terminal = Terminal::look(own_pid, settings.forward_to, settings.parent_death);
    let own_pid_text = OsString::from(own_pid.to_string());
    let variables = command_variables(relay.as_ref(), &own_pid_text);
    let setup = Setup {
        own_pid,
        inherited,
        parent_death: (!pid1).then_some(Signal::TERM),
        group: terminal.group(),
        variables: &variables,
    };
    let child = spawn(&settings.command, setup).map_err(|errno| {
        format!(
            "cannot start the command: fork: {}; {}",
            errno.desc(),
            fork_advice(errno)
        )
    })?;
    account.pid = Some(child.pid);
    terminal.note_started(child.pid);
    // The command has what it needs of these; from here on nothing may end us
    // but the end of the command and a stop.
    let relayed = relay.as_ref().map(Relay::socket);
    let kept = file.map(ReportFile::descriptor).into_iter();
    let kept = kept.chain(relayed).chain(terminal.kept());
    descriptors::release_inherited(pid1, &kept.collect::<Vec<_>>());
    if let Err(errno) = subreaper {
        warn!(
            "cannot adopt orphans ({}): those that leave their parent are not stopped",
            errno.desc()
        );
    }
    debug!("started pid {}", child.pid);

    let rules = Rules {
        stop_on: settings.stop_on,
        rewrite: settings.rewrite.clone(),
        grace: settings.grace,
        delay: settings.stop_delay,
        leftovers: settings.leftovers,
        pid1,
        job_control: terminal.job_control(),
    };
    let mut marks = Marks::default();
    if let Some(after) = settings.rehearse.and_then(|rehearse| rehearse.after) {
        marks.set(Wake::Rehearse, after);
    }
    Ok(Supervisor {
        settings,
        account,
        started,
        terminal,
        relay,
        status_rules: StatusRules {
            remap: settings.remap.clone(),
            reraise: settings.reraise && !pid1,
        },
        lifecycle: Lifecycle::new(rules),
        command: Some(child.pid),
        child,
        leftovers: Leftovers::new(
            own_pid,
            settings.report.is_some() || settings.rehearse.is_some(),
            settings.grace == Grace::For(Duration::ZERO),
        ),
        oom_kills: cgroup::oom_kills(),
        marks,
        suspended: false,
        rehearsing: false,
        // Children of before our time (`sh -c "a & exec supervise b"`) may have
        // ended when nobody was listening.
        reaping: true,
        batches: 0,
    })
}

/// Variables that are about one run of `supervise`: one below would write its report to
/// the same file, rehearse as well, and wait for a second time.
const OF_THIS_RUN: [&str; 3] = [
    "SUPERVISE_REPORT",
    "SUPERVISE_REHEARSE",
    "SUPERVISE_STOP_DELAY",
];

/// How the command's environment differs from ours.
fn command_variables<'a>(relay: Option<&'a Relay>, own_pid: &'a OsStr) -> Vec<Variable<'a>> {
    let mut variables: Vec<_> = OF_THIS_RUN.map(Variable::Remove).into();
    if let Some(relay) = relay {
        variables.push(Variable::Set(relay::VARIABLE, relay.address()));
        // Or a `supervise` below, whose parent may be PID 1 as well, would take
        // itself for the main process.
        variables.push(Variable::Default(relay::MAIN_VARIABLE, own_pid));
    }
    variables
}

fn open_relay(settings: &Settings) -> Result<Option<Relay>, String> {
    let listen = settings
        .rehearse
        .is_some_and(|rehearse| rehearse.after.is_none());
    if !settings.notify_relay {
        return Ok(None);
    }
    match Relay::open(listen) {
        Ok(relay) => Ok(relay),
        Err(why) if listen => Err(format!("cannot hear when the command is ready: {why}")),
        Err(why) => {
            warn!(
                "cannot relay notifications: {why}; the service manager must accept them from the \
                 command itself (NotifyAccess=all)"
            );
            Ok(None)
        }
    }
}

fn fork_advice(errno: Errno) -> &'static str {
    match errno {
        Errno::EAGAIN => "raise the limit on processes (ulimit -u, --pids-limit, TasksMax)",
        Errno::ENOMEM => "give it more memory",
        _ => "see fork(2)",
    }
}

struct Supervisor<'a> {
    settings: &'a Settings,
    account: &'a mut Account,
    started: Instant,
    terminal: Terminal,
    relay: Option<Relay>,
    status_rules: StatusRules,
    lifecycle: Lifecycle,
    /// The command as it was started.
    child: Child,
    /// The command's pid, until it is reaped: then it is no longer ours.
    command: Option<i32>,
    leftovers: Leftovers,
    /// What the count of processes killed for want of memory was at the start.
    oom_kills: Option<u64>,
    marks: Marks,
    /// Whether we were suspended and no SIGCONT has come since.
    suspended: bool,
    /// Whether the signal at hand is the rehearsal's.
    rehearsing: bool,
    /// Whether a SIGCHLD has come and not every child that ended is reaped.
    reaping: bool,
    /// How many batches of this round were full.
    batches: usize,
}

impl Supervisor<'_> {
    fn run(mut self) -> LastAct {
        memory::give_back_code();
        let last_act = loop {
            match self.turn() {
                Ok(()) => {}
                Err(last_act) => break last_act,
            }
        };
        if let Some(relay) = &mut self.relay {
            let deadline = self.marks.until(Wake::Mark(Mark::GraceOver));
            // It is cleared when it is reached.
            let over = self.account.killing.then_some(Duration::ZERO);
            relay.finish(deadline.or(over));
        }
        if self.settings.report.is_some() {
            self.account.oom_kills = self.new_oom_kills();
        }
        last_act
    }

    /// One turn of the loop; `Err` is the end of it.
    fn turn(&mut self) -> Result<(), LastAct> {
        let timeout = if self.reaping {
            Some(Duration::ZERO)
        } else {
            self.marks.until_next()
        };
        match signals::wait(self.relay_until(timeout)) {
            Ok(Some(received)) if received.signal == Signal::CHLD => self.reaping = true,
            // A line about the SIGPIPE of the last line would only make the next.
            Ok(Some(received)) if received.is_our_own(process::own_pid()) => {}
            Ok(Some(received)) => self.on_signal(received)?,
            Ok(None) => {}
            Err(errno) => {
                // Without signals there is nothing that we can do for anyone.
                error!(
                    "cannot wait for signals: rt_sigtimedwait: {}; allow this system call",
                    errno.desc()
                );
                return Err(LastAct::Exit(ending::FAILED));
            }
        }
        if self.reaping {
            self.reap()?;
        }
        if let Some(mark) = self.marks.due() {
            // The command may have ended in the same moment: its own end, not
            // ours to it, is what happened first.
            if self.look_at_command()? {
                return Ok(());
            }
            self.marks.clear(mark);
            match mark {
                Wake::Mark(mark) => self.feed(Event::Mark(mark))?,
                Wake::Rehearse => self.rehearse()?,
            }
        }
        // Where it can be heard no more, waiting for it would have no end.
        if self.relay.as_ref().is_none_or(Relay::ready)
            && self.settings.rehearse.is_some_and(|r| r.after.is_none())
        {
            self.rehearse()?;
        }
        Ok(())
    }

    fn on_signal(&mut self, received: Received) -> Result<(), LastAct> {
        debug!(
            "received {} from {}",
            received.signal,
            self.sender(&received)
        );
        if origin::is_job_control(received.signal) {
            // It may have been suspended or resumed together with us. A test cannot see
            // this: nearly always SIGCHLD has come first, or the command was looked at
            // when we were resumed.
            self.look_at_command()?;
        }
        let origin = self.origin(&received);
        self.feed(Event::Signal(received, origin))
    }

    /// For whom a signal was.
    fn origin(&mut self, received: &Received) -> Origin {
        let signal = received.signal;
        let ignored_at_start = self.settings.stop_on_by_default.contains(signal)
            && process::own_pid() != 1
            && signals::is_ignored(signal);
        let facts = if origin::may_be_for_group(signal) {
            self.terminal.facts(received, self.command)
        } else {
            None
        };
        let Some(facts) = facts else {
            return Origin::for_us(ignored_at_start);
        };
        let resumed = signal == Signal::CONT && std::mem::take(&mut self.suspended);
        Origin::of(
            signal,
            origin::Facts {
                command_suspended: self.lifecycle.command_is_suspended(),
                resumed,
                ignored_at_start,
                ..facts
            },
        )
    }

    /// Asks for a stop of our own accord, unless somebody was quicker.
    fn rehearse(&mut self) -> Result<(), LastAct> {
        match self.settings.rehearse {
            Some(rehearse) if self.account.stop.is_none() => {
                let received = Received {
                    signal: rehearse.signal,
                    code: 0,
                    pid: process::own_pid(),
                    uid: nix::unistd::getuid().as_raw(),
                    value: 0,
                };
                self.rehearsing = true;
                let fed = self.feed(Event::Signal(received, Origin::for_us(false)));
                self.rehearsing = false;
                fed
            }
            _ => Ok(()),
        }
    }

    /// Relays notifications until a signal has come or the time is over, and
    /// returns how long is still to be waited.
    fn relay_until(&mut self, timeout: Option<Duration>) -> Option<Duration> {
        let Some(relay) = &mut self.relay else {
            return timeout;
        };
        if let Err(errno) = relay.wait(timeout, self.command) {
            // Without it whoever sends is refused, instead of waiting for ever.
            error!(
                "cannot go on relaying notifications: ppoll: {}; the command's are lost from here \
                 on, see --no-notify-relay",
                errno.desc()
            );
            self.relay = None;
        }
        Some(Duration::ZERO)
    }

    /// Reaps a batch of children.
    fn reap(&mut self) -> Result<(), LastAct> {
        // Who sent them can be looked up until it is reaped.
        if let Some(relay) = &mut self.relay {
            relay.catch_up(self.command);
        }
        for _ in 0..BATCH {
            match wait::any(|| procfs::children(process::own_pid())) {
                Waited::Ended(pid, ending) if Some(pid) == self.command => {
                    self.command_ended(pid, ending)?;
                }
                Waited::Ended(pid, ending) => {
                    self.account.note_reaped(pid, ending);
                    if self.settings.warn_on_reap {
                        warn!("reaped orphan pid {pid}: {ending}");
                    } else {
                        debug!("reaped orphan pid {pid}: {ending}");
                    }
                }
                Waited::Nothing => {
                    self.look_at_init()?;
                    return self.reaped(Event::SomeLeft);
                }
                Waited::NoChildren => return self.reaped(Event::NothingLeft),
                waited => self.changed(waited)?,
            }
        }
        self.batches += 1;
        if self.batches < BATCHES {
            // There may be none but those that have ended.
            return Ok(());
        }
        self.batches = 0;
        self.look_at_init()?;
        self.feed(Event::SomeLeft)
    }

    /// Looks whether others can be left: not where an init exits when we do.
    fn look_at_init(&mut self) -> Result<(), LastAct> {
        if self.lifecycle.is_about_to_leave() && procfs::init_exits_with(process::own_pid()) {
            info!("pid 1 exits with supervise: stopping all other processes");
            self.feed(Event::InitExitsWithUs)?;
        }
        Ok(())
    }

    fn reaped(&mut self, event: Event) -> Result<(), LastAct> {
        self.reaping = false;
        self.batches = 0;
        self.feed(event)
    }

    /// Takes in what has become of the command, SIGCHLD or not; `true` if it has
    /// ended.
    fn look_at_command(&mut self) -> Result<bool, LastAct> {
        let Some(pid) = self.command else {
            return Ok(false);
        };
        match wait::one(pid) {
            Waited::Ended(pid, ending) => {
                self.reaping = true;
                self.command_ended(pid, ending)?;
                Ok(true)
            }
            waited => {
                self.changed(waited)?;
                Ok(false)
            }
        }
    }

    fn command_ended(&mut self, pid: i32, ending: Ending) -> Result<(), LastAct> {
        self.command = None;
        self.terminal.take_back();
        if let Some(failure) = self.child.exec_error() {
            let hint = match &self.settings.hint {
                Some(hint) if failure.status == ending::NOT_FOUND => format!(" ({hint})"),
                _ => String::new(),
            };
            error!("{}{hint}", failure.text);
            self.account.error = Some(failure.text);
            // Others may be there all the same: `sh -c "a & exec supervise b"`.
            return self.feed(Event::CommandEnded(Ending::NotExecuted(failure.status)));
        }
        info!("command (pid {pid}) {ending}");
        if !self.account.killing && matches!(ending, Ending::Killed(Signal::KILL, _)) {
            warn!(
                "the command (pid {pid}) was killed by SIGKILL, and not by supervise: {}",
                self.killer_in_words()
            );
        }
        let successor = self.relay.as_mut().and_then(|relay| {
            // What it has said last may be who comes after it.
            relay.catch_up(None);
            relay.successor()
        });
        self.account.ended = Some((ending, self.started.elapsed()));
        self.feed(match successor {
            Some(to) => Event::CommandHandedOn { ending, to },
            None => Event::CommandEnded(ending),
        })
    }

    /// A child was stopped or resumed; only the command's state is of use.
    fn changed(&mut self, waited: Waited) -> Result<(), LastAct> {
        match waited {
            Waited::Stopped(pid, signal) if Some(pid) == self.command => {
                let can_hand_over = self.terminal.can_hand_over(signal, pid);
                self.feed(Event::CommandStopped {
                    signal,
                    can_hand_over,
                })
            }
            Waited::Continued(pid) if Some(pid) == self.command => {
                self.feed(Event::CommandContinued)
            }
            _ => Ok(()),
        }
    }

    fn feed(&mut self, event: Event) -> Result<(), LastAct> {
        for action in self.lifecycle.on(event) {
            self.perform(action)?;
        }
        Ok(())
    }

    fn perform(&mut self, action: Action) -> Result<(), LastAct> {
        match action {
            Action::SayStopping(received) => {
                let sender = self.sender(&received);
                let (signal, grace) = (received.signal, self.settings.grace);
                match sender {
                    Sender::Rehearsal => {
                        info!("rehearsal: simulating {signal}: stopping, {grace}");
                    }
                    _ => info!("received {signal} from {sender}: stopping, {grace}"),
                }
                self.account.stop = Some(Stop {
                    signal: received.signal,
                    sender,
                    after: self.started.elapsed(),
                });
                self.tell_manager("STOPPING=1\nSTATUS=Stopping");
            }
            Action::TakeOn(pid) => {
                info!("pid {pid} is the command now");
                self.command = Some(pid);
                self.account.ended = None;
            }
            Action::Forward {
                received,
                stop,
                to_group,
            } => self.forward(&received, stop, to_group),
            Action::NoteAsked(signal) => self.note_asked(signal),
            Action::Resume => {
                self.hand_over_again();
                self.send(Signal::CONT);
            }
            Action::HandOver(signal) => {
                let group = self.command.and_then(|pid| self.terminal.hand_over(pid));
                let Some(group) = group else {
                    return self.feed(Event::NotHandedOver(signal));
                };
                // The terminal has suspended all of it.
                self.resume_group(group);
            }
            Action::Suspend(signal) => {
                // What suspends a command outside our group has not reached the
                // group: a script around us is part of the job.
                let whole_group = self
                    .command
                    .is_some_and(|pid| !self.terminal.shares_group(pid));
                self.suspended =
                    self.terminal.can_suspend() && signals::stop_by(signal, whole_group);
                if !self.suspended {
                    if signal == Signal::TSTP {
                        // A key stops all of a group, and nobody else resumes the others.
                        self.resume_group(self.terminal.group_of(self.command));
                    }
                    return self.feed(Event::NotSuspended(signal));
                }
            }
            Action::SayStuck(signal) => warn!(
                "command suspended by {signal}: it is not in the foreground process group; redirect \
                 stdin or use fg"
            ),
            Action::AskRest => {
                let asked = self.leftovers.ask(self.command, self.own_group());
                self.account.note_asked(&asked);
            }
            Action::SayDelayed => {
                let what = match self.command {
                    Some(_) => "forwarding the stop request",
                    None => "sending SIGTERM to the other processes",
                };
                let delay = humantime::format_duration(self.settings.stop_delay);
                info!("{what} in {delay} (--stop-delay)");
            }
            Action::SayWaiting => self.say_waiting(),
            Action::SayGraceOver => {
                warn!("{} expired: sending SIGKILL", self.settings.grace);
                self.name_remaining();
                self.tell_manager("STATUS=The grace period is over, sending SIGKILL");
            }
            Action::SayCutShort(signal) => {
                warn!("received {signal} from the terminal again: sending SIGKILL");
                self.name_remaining();
            }
            Action::Kill(scope) => {
                self.account.killing = true;
                match scope {
                    Scope::Everything => self.leftovers.kill(self.command, self.own_group()),
                    Scope::Command => self.send(Signal::KILL),
                }
            }
            Action::Arm(mark, after) => self.marks.set(Wake::Mark(mark), after),
            Action::SayLeft => self.say_left(),
            Action::SayUnkillable => {
                self.name("does not end by SIGKILL and is left behind");
            }
            Action::Exit(ending) => {
                let killed = matches!(ending, Ending::Killed(..));
                self.terminal.give_back(killed);
                return Err(self.status_rules.last_act(ending));
            }
        }
        Ok(())
    }

    fn say_left(&self) {
        let what = if process::own_pid() == 1 {
            "is left: the kernel kills it now, because PID 1 exits"
        } else {
            "is left to itself"
        };
        self.leftovers.list(log::Level::Info, what);
    }

    fn name_remaining(&mut self) {
        let left = self.name("has not ended");
        self.account.note_left(&left, self.command);
    }

    fn hand_over_again(&mut self) {
        if let Some(command) = self.command {
            self.terminal.hand_over_again(command);
        }
    }

    fn tell_manager(&mut self, text: &str) {
        if let Some(relay) = &mut self.relay {
            relay.say(text);
        }
    }

    fn forward(&mut self, received: &Received, stop: bool, to_group: bool) {
        if stop {
            self.note_asked(received.signal);
        }
        let targets = self.targets(to_group || self.settings.forward_to == ForwardTo::Group);
        let group = targets.iter().find_map(|target| match target {
            Target::Group(group) => Some(*group),
            Target::Process(_) | Target::Everyone => None,
        });
        if stop && let Some(group) = group {
            let members = self.leftovers.record_group(group, received.signal);
            let others = |member: &ProcessLabel| Some(member.pid) != self.command;
            let others: Vec<_> = members.into_iter().filter(others).collect();
            self.account.note_asked(&others);
        }
        if received.signal == Signal::CONT {
            self.hand_over_again();
        }
        // By --rewrite.
        self.account.killing |= received.signal == Signal::KILL && !targets.is_empty();
        for target in targets {
            let sent = self.leftovers.send(target, received, stop);
            said(target, received.signal, sent);
        }
        if stop
            && let Some(group) = group
            && self.leftovers.may_be_suspended(group)
        {
            // A suspended member acts on no signal, and gets none again. Looked up
            // after the signal was sent: one that is suspended from now on has
            // acted on it.
            self.resume_group(group);
        }
    }

    /// Notes that the command is about to have this stop request, or has had it.
    fn note_asked(&mut self, signal: Signal) {
        let Some(command) = self.command else {
            return;
        };
        self.account.note_stop_signal(signal);
        self.leftovers.record_command(command, signal);
    }

    /// Who may have sent a SIGKILL that we have not.
    fn killer_in_words(&self) -> String {
        match self.new_oom_kills() {
            Some(0) => "someone else sent it, and not for want of memory".to_owned(),
            Some(kills) => format!(
                "the kernel did, for its control group ran out of memory (oom_kill rose by {kills})"
            ),
            None => "someone else sent it, or the kernel for want of memory".to_owned(),
        }
    }

    /// How many processes of our control group were killed for want of memory
    /// since the start.
    fn new_oom_kills(&self) -> Option<u64> {
        Some(cgroup::oom_kills()?.saturating_sub(self.oom_kills?))
    }

    fn say_waiting(&self) {
        let when = match self.marks.until(Wake::Mark(Mark::GraceOver)) {
            Some(left) => format!("SIGKILL in {}", in_seconds(left)),
            None => format!("no SIGKILL ({})", self.settings.grace),
        };
        warn!("still waiting for processes to exit: {when}");
        self.name("has not ended yet");
    }

    /// Names those that are to end and have not.
    fn name(&self, what: &str) -> Remaining {
        let alone = self.settings.leftovers == lifecycle::Leftovers::Leave;
        self.leftovers.name(what, self.command, alone)
    }

    /// The process group of the command, if it is not ours.
    fn own_group(&self) -> Option<i32> {
        (self.terminal.group() != Group::Shared).then_some(self.child.pid)
    }

    fn resume_group(&mut self, group: i32) {
        let (group, signal) = (Target::Group(group), Signal::CONT);
        let sent = self.leftovers.send(group, &Received::plain(signal), false);
        said(group, signal, sent);
    }

    /// Sends the command a signal of ours, if it is there.
    fn send(&mut self, signal: Signal) {
        let stop = signal == Signal::KILL;
        for target in self.targets(self.settings.forward_to == ForwardTo::Group) {
            let sent = self.leftovers.send(target, &Received::plain(signal), stop);
            said(target, signal, sent);
        }
    }

    /// Where signals for the command, or for its process group, go to; nowhere once
    /// it is reaped.
    fn targets(&self, group: bool) -> Vec<Target> {
        let Some(pid) = self.command else {
            return Vec::new();
        };
        if !group || self.terminal.shares_group(pid) {
            return vec![Target::Process(pid)];
        }
        let first = self.child.pid;
        match process::group_of(pid) {
            // A group that one of ours is in cannot be another's by now.
            Some(group) if group == pid || group == first => vec![Target::Group(group)],
            // It has gone to another group, and is meant all the same.
            _ if pid == first => vec![Target::Group(pid), Target::Process(pid)],
            _ => vec![Target::Process(pid)],
        }
    }

    fn sender(&self, received: &Received) -> Sender {
        if self.rehearsing {
            return Sender::Rehearsal;
        }
        let (pid, uid) = (received.pid, received.uid);
        let claimed = received.may_be_forged();
        match pid {
            0 if received.is_from_kernel() => Sender::Kernel,
            0 => Sender::Outside { uid, claimed },
            pid => {
                // It may have ended already, as kill(1) has.
                let stat =
                    procfs::stat(pid).filter(|_| procfs::shows_own_namespace(process::own_pid()));
                let name = stat.map(|stat| stat.name());
                Sender::Process {
                    pid,
                    uid,
                    name,
                    claimed,
                }
            }
        }
    }
}

fn said(target: Target, signal: Signal, result: nix::Result<()>) {
    match result {
        Ok(()) => debug!("sent {signal} to {target}"),
        // It has ended and is not reaped yet, or its group is empty.
        Err(Errno::ESRCH) => debug!("{target} is gone: {signal} not sent"),
        // Logged where it is noted.
        Err(Errno::EPERM) => debug!("not permitted to send {signal} to {target}"),
        Err(errno) => warn!("cannot send {signal} to {target}: {}", errno.desc()),
    }
}

/// When to wake up, by the monotonic clock: setting the time of day moves
/// nothing. It runs on while `supervise` itself is stopped or frozen.
#[derive(Debug, Default)]
struct Marks(Vec<(Instant, Wake)>);

/// What to wake up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    /// A mark of the lifecycle.
    Mark(Mark),
    /// The rehearsal's stop request.
    Rehearse,
}

impl Marks {
    fn set(&mut self, mark: Wake, after: Duration) {
        self.clear(mark);
        // No clock goes that far: never reached.
        if let Some(at) = Instant::now().checked_add(after) {
            self.0.push((at, mark));
        }
    }

    fn clear(&mut self, mark: Wake) {
        self.0.retain(|(_, set)| *set != mark);
    }

    /// How long until the next; `None` where there is none.
    fn until_next(&self) -> Option<Duration> {
        let (next, _) = self.0.iter().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// How long until this one; `None` where it is not set.
    fn until(&self, mark: Wake) -> Option<Duration> {
        let (at, _) = self.0.iter().find(|(_, set)| *set == mark)?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// The first that is reached.
    fn due(&self) -> Option<Wake> {
        let (at, mark) = self.0.iter().min()?;
        (*at <= Instant::now()).then_some(*mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_in_the_order_of_their_times() {
        let mut marks = Marks::default();
        assert_eq!((marks.due(), marks.until_next()), (None, None));
        marks.set(Wake::Mark(Mark::KillOver), Duration::ZERO);
        marks.set(Wake::Mark(Mark::GraceOver), Duration::from_secs(3600));
        assert_eq!(marks.due(), Some(Wake::Mark(Mark::KillOver)));
        marks.clear(Wake::Mark(Mark::KillOver));
        assert_eq!(marks.due(), None);
        assert!(marks.until_next() > Some(Duration::from_secs(3000)));
        marks.set(Wake::Mark(Mark::GraceOver), Duration::ZERO);
        assert_eq!(marks.due(), Some(Wake::Mark(Mark::GraceOver)));
    }
}
