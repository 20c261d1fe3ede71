//! The start: everything from the settings to a command that runs.

use std::ffi::OsStr;

use log::warn;
use nix::errno::Errno;

use super::relay::{self, Relay};
use super::terminal::Terminal;
use crate::settings::{RehearseAt, Settings};
use crate::signal::Signal;
use crate::sys::signals::{self, Inherited};
use crate::sys::spawn::{Child, Setup, Variable, spawn};
use crate::sys::wait::{self, Waited};
use crate::sys::{descriptors, process};
use crate::tell::log::never_block;
use crate::tell::report_file::ReportFile;

/// Variables that are about one run of `supervise`: one below would write its report to
/// the same file, rehearse as well, and wait for a second time.
const OF_THIS_RUN: [Variable<'static>; 3] = [
    Variable::Remove("SUPERVISE_REPORT"),
    Variable::Remove("SUPERVISE_REHEARSE"),
    Variable::Remove("SUPERVISE_STOP_DELAY"),
];

/// What to do where a system call is denied that no supervision works without.
const IN_FILTER: &str = "allow it in the seccomp filter";

/// A command that was started, and what was opened for it.
#[derive(Debug)]
pub(super) struct Started {
    /// Our own process id.
    pub(super) own_pid: i32,
    /// The command.
    pub(super) child: Child,
    /// The terminal as it was before.
    pub(super) terminal: Terminal,
    /// The notification relay, if there is one.
    pub(super) relay: Option<Relay>,
    /// What happened to a child of before our time (`sh -c "a & exec supervise b"`).
    pub(super) earlier: Waited,
}

/// Starts the command.
///
/// # Errors
/// One line: why it was not started.
pub(super) fn start(
    settings: &Settings,
    inherited: Inherited,
    report: Option<&ReportFile>,
) -> Result<Started, String> {
    let own_pid = process::own_pid();
    let adoption = become_subreaper(own_pid);
    set_parent_death_signal(settings.run.parent_death)?;
    let relay = open_relay(settings)?;
    let mut terminal = Terminal::inspect(
        own_pid,
        settings.command.forward_to,
        settings.run.parent_death,
    );
    let earlier = check_waits()?;
    let child = fork_command(settings, inherited, own_pid, &terminal, relay.as_ref())?;
    terminal.note_started(child.pid);
    close_inherited(own_pid, report, relay.as_ref(), &terminal);
    never_block();
    if let Err(errno) = adoption {
        warn!(
            "cannot adopt orphans: {}; orphaned processes will not be stopped",
            errno.desc()
        );
    }
    Ok(Started {
        own_pid,
        child,
        terminal,
        relay,
        earlier,
    })
}

/// Finds out whether signals and children can be waited for: without that the command
/// could neither be told to stop nor be reaped. Takes no signal, and reaps one child.
pub(super) fn check_waits() -> Result<Waited, String> {
    signals::check_wait()
        .map_err(|errno| ("signals: rt_sigtimedwait", errno))
        .and_then(|()| wait::any(|| None).map_err(|errno| ("children: wait4", errno)))
        .map_err(|(what, errno)| format!("cannot wait for {what}: {}; {IN_FILTER}", errno.desc()))
}

/// Has orphans reparented to us. PID 1 adopts them anyway.
fn become_subreaper(own_pid: i32) -> nix::Result<()> {
    if own_pid == 1 {
        return Ok(());
    }
    nix::sys::prctl::set_child_subreaper(true)
}

pub(super) fn set_parent_death_signal(signal: Option<Signal>) -> Result<(), String> {
    let Some(signal) = signal else {
        return Ok(());
    };
    let parent = nix::unistd::getppid().as_raw();
    signals::set_parent_death_signal(signal, parent).map_err(|errno| {
        format!(
            "--parent-death-signal: cannot set {signal}: prctl: {}; do not use this option here",
            errno.desc()
        )
    })
}

fn open_relay(settings: &Settings) -> Result<Option<Relay>, String> {
    let listen = settings
        .run
        .rehearse
        .is_some_and(|rehearse| rehearse.at == RehearseAt::Ready);
    if !settings.command.notify_relay {
        return Ok(None);
    }
    match Relay::open(listen) {
        Ok(relay) => Ok(relay),
        Err(why) if listen => Err(format!("cannot wait for READY=1: {why}")),
        Err(why) => {
            warn!(
                "cannot relay notifications: {why}; set NotifyAccess=all so that the command can \
                 notify directly"
            );
            Ok(None)
        }
    }
}

fn fork_command(
    settings: &Settings,
    inherited: Inherited,
    own_pid: i32,
    terminal: &Terminal,
    relay: Option<&Relay>,
) -> Result<Child, String> {
    let setup = Setup {
        own_pid,
        inherited,
        parent_death: (own_pid != 1).then_some(Signal::TERM),
        group: terminal.group(),
        variables: &OF_THIS_RUN,
        service: None,
    };
    let spawned = match relay {
        None => spawn(&settings.command.argv, setup),
        Some(relay) => {
            let [report, rehearse, delay] = OF_THIS_RUN;
            let own_pid = own_pid.to_string();
            let variables = [
                report,
                rehearse,
                delay,
                Variable::Set(relay::VARIABLE, relay.address()),
                // Or a `supervise` below, whose parent may be PID 1 as well, would take
                // itself for the main process.
                Variable::Default(relay::MAIN_VARIABLE, OsStr::new(&own_pid)),
            ];
            let variables = &variables;
            spawn(&settings.command.argv, Setup { variables, ..setup })
        }
    };
    spawned.map_err(|failed| not_forked("the command", failed))
}

/// Why something cannot be started, and what to do.
pub(super) fn not_forked(what: &str, (call, errno): (&str, Errno)) -> String {
    let advice = match errno {
        Errno::EAGAIN => "raise the process limit (ulimit -u, --pids-limit, TasksMax=)",
        Errno::ENOMEM => "raise the memory limit",
        _ => IN_FILTER,
    };
    format!("cannot start {what}: {call}: {}; {advice}", errno.desc())
}

/// Closes what the command has inherited and we do not need: from here on we exit
/// only after the command or a stop.
fn close_inherited(
    own_pid: i32,
    report: Option<&ReportFile>,
    relay: Option<&Relay>,
    terminal: &Terminal,
) {
    let kept = report.map(ReportFile::descriptor).into_iter();
    let kept = kept.chain(relay.map(Relay::socket)).chain(terminal.kept());
    descriptors::close_inherited(own_pid == 1, &kept.collect::<Vec<_>>());
}
