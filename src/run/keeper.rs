//! The keeper of a service: a fork of the main process that runs the shell of one command
//! with settings made from the service. It is a child subreaper, so that whatever its
//! service leaves behind comes to it, however often it was forked.
//!
//! Keeper and main process tell each other by a page ([`crate::sys::service_page`]), and
//! ring with SIGCHLD. Any other signal that reaches a keeper is left alone, except that of
//! the kernel when the main process has exited: then it stops its service by itself.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use log::{error, warn};
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::{Pid, setpgid};

use super::command::Supervisor;
use super::relay::{self, Relay};
use super::start::{Started, not_forked};
use super::surroundings::Surroundings;
use super::terminal::Terminal;
use crate::decide::rules::{Grace, LeftoverPolicy};
use crate::ending::{Ending, FAILED};
use crate::settings::services::{Ready, Service, foreground_switch};
use crate::settings::{Command, DEFAULT_LIMIT, ForwardTo, General, Run, Settings};
use crate::signal::{Signal, SignalSet};
use crate::sys::descriptors::{self, Limit};
use crate::sys::service_page::ServicePage;
use crate::sys::signals::{self, Inherited};
use crate::sys::spawn::{self, ProcessGroup, Variable, spawn};
use crate::sys::wait::Waited;
use crate::sys::{helpers, process, title};
use crate::tell::account::Account;
use crate::tell::log::{finish, restart};
use link::Link;

pub(super) mod link;
mod shell;

/// How long the last lines of a keeper may take: those below wait for its exit.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What a keeper is started with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup<'a> {
    /// The service.
    pub(super) service: &'a Service,
    /// What holds for all that we do.
    pub(super) run: &'a General,
    /// The signal state for the service.
    pub(super) inherited: Inherited,
    /// The pid of the main process.
    pub(super) main: i32,
    /// How long a stop may take that is not a stop of everything; `None` without an end.
    pub(super) limit: Option<Duration>,
    /// The limit on open descriptors for the service.
    pub(super) descriptors: Option<Limit>,
}

/// Forks a keeper that starts the service, and returns its pid.
///
/// # Errors
/// As [`process::fork`].
pub(super) fn start(setup: &Setup<'_>, page: &ServicePage) -> nix::Result<i32> {
    process::fork(|| keep(setup, page))
}

/// The keeper, from its fork to its exit.
fn keep(setup: &Setup<'_>, page: &ServicePage) -> u8 {
    let Setup { service, main, .. } = *setup;
    restart(&service.name);
    helpers::forget_all();
    // Cannot fail: it is not a session leader, and the group is its own.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    title::set_title(&service.name);
    if let Err(errno) = set_child_subreaper(true) {
        warn!(
            "cannot adopt orphans: {}; orphaned processes will not be stopped",
            errno.desc()
        );
    }
    // If it cannot be set, the keeper stays when the main process is killed.
    let _ = signals::set_parent_death_signal(Signal::TERM, main);
    if let Some(limit) = setup.descriptors {
        descriptors::set_limit(limit);
    }
    let settings = settings(setup);
    let mut account = Account::new(&settings);
    let started = Instant::now();
    match start_service(setup, &settings, page) {
        Ok((started_service, executed)) => {
            page.set_pid(started_service.child.pid);
            let link = Link {
                page,
                main,
                stop_signal: service.stop_signal,
                limit: setup.limit,
                executed,
                ordered: None,
                told_ready: false,
                background: background(service),
            };
            let shell = Supervisor::new(
                &settings,
                started_service,
                &mut account,
                started,
                Some(link),
            );
            shell.run();
        }
        Err(why) => {
            error!("{why}");
            page.set_ended(Ending::NotExecuted(FAILED));
        }
    }
    // Otherwise something of it still runs, which is for the main process to find.
    if page.ended().is_some() {
        page.set_gone(account.has_sent_sigkill());
    }
    finish(Some(Instant::now() + LAST_LINES));
    0
}

/// The line about a service that has put itself in the background; `None` for a one-shot, which
/// may leave whatever it likes.
fn background(service: &Service) -> Option<String> {
    if service.ready == Ready::Exited {
        return None;
    }
    let how = match foreground_switch(&service.command) {
        Some(switch) => format!("add {switch}"),
        None => "run its program in the foreground".to_owned(),
    };
    Some(format!(
        "exited with status 0 and left processes, which are stopped: a service must not put itself \
         in the background; {how}"
    ))
}

/// The settings of a single command that a service is run with.
fn settings(setup: &Setup<'_>) -> Settings {
    let Setup { service, run, .. } = *setup;
    Settings {
        run: Run {
            grace: setup.limit.map_or(Grace::Infinite, Grace::For),
            stop_delay: Duration::ZERO,
            // The main process decides when it is stopped.
            stop_on: SignalSet::EMPTY,
            stop_on_by_default: SignalSet::EMPTY,
            parent_death: None,
            report: None,
            report_limit: DEFAULT_LIMIT,
            rehearse: None,
            log_format: run.log_format,
            log: run.log.clone(),
            warn_on_reap: run.warn_on_reap,
            warnings: Vec::new(),
        },
        command: Command {
            argv: service.command.argv.clone(),
            leftovers: LeftoverPolicy::Stop,
            forward_to: ForwardTo::Command,
            rewrite: Vec::new(),
            remap: service.success_exit_codes.clone(),
            reraise: false,
            notify_relay: service.ready == Ready::Notified,
            hint: None,
        },
    }
}

/// Starts the service, and returns what tells that it is executed.
fn start_service(
    setup: &Setup<'_>,
    settings: &Settings,
    page: &ServicePage,
) -> Result<(Started, Option<OwnedFd>), String> {
    let Setup { service, .. } = *setup;
    let own_pid = process::own_pid();
    let surroundings = Surroundings::of(service)?;
    page.set_user(Some(surroundings.uid()));
    let relay = if settings.command.notify_relay {
        Relay::open(true).map_err(|why| format!("cannot wait for READY=1: {why}"))?
    } else {
        None
    };
    let mut variables = surroundings.variables();
    let own = OsString::from(own_pid.to_string());
    if let Some(relay) = &relay {
        variables.push(Variable::Set(relay::VARIABLE, relay.address()));
        variables.push(Variable::Default(relay::MAIN_VARIABLE, &own));
    }
    let mut child = spawn(
        &service.command.argv,
        spawn::Setup {
            own_pid,
            inherited: setup.inherited,
            parent_death: Some(service.stop_signal),
            group: ProcessGroup::New,
            variables: &variables,
            service: Some(&surroundings.setup(&service.command)),
        },
    )
    .map_err(|failed| not_forked("the service", failed))?;
    let executed = child.executed.take();
    let kept = relay.iter().map(Relay::socket);
    let kept = kept.chain(executed.iter().map(AsFd::as_fd));
    descriptors::close_inherited(false, &kept.collect::<Vec<_>>());
    let started = Started {
        own_pid,
        child,
        terminal: Terminal::none(own_pid),
        relay,
        earlier: Waited::NoChange,
    };
    Ok((started, executed))
}
