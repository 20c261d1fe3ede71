//! The keeper of a service: a fork of the main process that runs the shell of one command
//! with settings made from the service. It is a child subreaper, so that whatever its
//! service leaves behind comes to it, whoever forked it and how often.
//!
//! Keeper and main process tell each other by a page ([`crate::sys::service_page`]), and
//! ring with SIGCHLD. Any other signal that reaches a keeper is left alone, except that of
//! the kernel when the main process has exited: then it stops its service by itself.

use std::ffi::{CString, OsStr, OsString};
use std::ops::ControlFlow::{self, Continue};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use log::{debug, error, warn};
use nix::poll::PollFlags;
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::{Pid, setpgid};

use super::command::Supervisor;
use super::events::Watched;
use super::notices::sender;
use super::relay::{self, Relay};
use super::start::{Started, not_forked};
use super::terminal::Terminal;
use crate::decide::origin::Origin;
use crate::decide::rules::{Grace, LeftoverPolicy};
use crate::decide::step::Event;
use crate::ending::{Ending, FAILED, Termination};
use crate::settings::services::{Ready, Service};
use crate::settings::{Command, DEFAULT_LIMIT, ForwardTo, General, Run, Settings};
use crate::signal::{Received, Signal, SignalSet};
use crate::sys::descriptors::{self, Limit};
use crate::sys::identity::Identity;
use crate::sys::service::{Labeled, ServiceSetup};
use crate::sys::service_page::{self, Order, ServicePage};
use crate::sys::signals::{self, Inherited};
use crate::sys::spawn::{self, ProcessGroup, Variable, spawn};
use crate::sys::wait::Waited;
use crate::sys::{helpers, process, title};
use crate::tell::account::Account;
use crate::tell::log::{finish, restart};

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

/// What a keeper knows that the shell of a single command does not.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    page: &'a ServicePage,
    /// The pid of the main process.
    main: i32,
    stop_signal: Signal,
    /// How long a stop may take that the main process has not ordered.
    limit: Option<Duration>,
    /// At its end when the command is executed.
    executed: Option<OwnedFd>,
    /// The last order that was fed in.
    ordered: Option<Order>,
    /// Whether READY=1 was told.
    told_ready: bool,
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
    match start_service(setup, &settings) {
        Ok((started_service, executed)) => {
            page.set_pid(started_service.child.pid);
            let keeper = Keeper {
                page,
                main,
                stop_signal: service.stop_signal,
                limit: setup.limit,
                executed,
                ordered: None,
                told_ready: false,
            };
            let shell = Supervisor::new(
                &settings,
                started_service,
                &mut account,
                started,
                Some(keeper),
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
) -> Result<(Started, Option<OwnedFd>), String> {
    let Setup { service, .. } = *setup;
    let own_pid = process::own_pid();
    let account = match &service.user {
        Some(user) => Some(user.resolve(Path::new("/"))?),
        None => None,
    };
    let relay = match settings.command.notify_relay {
        true => Relay::open(true).map_err(|why| format!("cannot wait for READY=1: {why}"))?,
        false => None,
    };
    let mut variables = Vec::new();
    if let Some(account) = &account {
        variables.push(Variable::Set("HOME", account.home.as_os_str()));
        for name in ["USER", "LOGNAME"] {
            variables.push(match &account.name {
                Some(user) => Variable::Set(name, OsStr::new(user)),
                None => Variable::Remove(name),
            });
        }
    }
    let own = OsString::from(own_pid.to_string());
    if let Some(relay) = &relay {
        variables.push(Variable::Set(relay::VARIABLE, relay.address()));
        variables.push(Variable::Default(relay::MAIN_VARIABLE, &own));
    }
    let identity = account.as_ref().map(|account| Identity {
        uid: account.uid,
        gid: account.gid,
        groups: account.groups.clone(),
    });
    let user = identity.as_ref().map(|value| Labeled {
        value,
        shown: service.user.as_ref().map_or("", |user| user.shown.as_str()),
    });
    let path = service.working_dir.as_ref().map(|directory| {
        let path = directory.value.as_os_str().as_bytes();
        // The reader refuses null bytes.
        CString::new(path).unwrap_or_default()
    });
    let directory = path.as_deref().map(|value| Labeled {
        value,
        shown: service
            .working_dir
            .as_ref()
            .map_or("", |directory| directory.shown.as_str()),
    });
    let mut child = spawn(
        &service.command.argv,
        spawn::Setup {
            own_pid,
            inherited: setup.inherited,
            parent_death: Some(Signal::TERM),
            group: ProcessGroup::New,
            variables: &variables,
            service: Some(&ServiceSetup {
                user,
                directory,
                environment: &service.environment,
                program: &service.command.shown,
            }),
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

impl Keeper<'_> {
    /// What to wait for besides signals, until the command is executed.
    pub(super) fn watched(&self) -> Option<Watched<'_>> {
        let executed = self.executed.as_ref()?;
        Some(Watched {
            descriptor: executed.as_fd(),
            flags: PollFlags::POLLIN,
            at_most: None,
        })
    }

    fn ring(&self) {
        service_page::ring(self.main);
    }
}

/// What the shell of a single command does only in a keeper.
impl Supervisor<'_> {
    /// The command was executed, or the child has exited before that. `false`: that is not
    /// what was waited for.
    pub(super) fn note_executed(&mut self) -> bool {
        let failed = self.child.exec_error().is_some();
        let Some(keeper) = &mut self.keeper else {
            return false;
        };
        if keeper.executed.take().is_none() {
            return false;
        }
        if !failed {
            keeper.page.set_executed();
            keeper.ring();
        }
        true
    }

    /// Tells that the main process of the service was reaped.
    pub(super) fn note_ended(&mut self, ending: Ending) {
        if let Some(keeper) = &mut self.keeper {
            if !matches!(ending, Ending::NotExecuted(_)) {
                keeper.page.set_executed();
            }
            keeper.executed = None;
            keeper.page.set_ended(ending);
            keeper.ring();
        }
    }

    /// Tells that READY=1 has come, once.
    pub(super) fn note_ready(&mut self) {
        if let Some(keeper) = &mut self.keeper
            && !keeper.told_ready
            && self.relay.as_ref().is_some_and(Relay::is_ready)
        {
            keeper.told_ready = true;
            keeper.page.set_ready();
            keeper.ring();
        }
    }

    /// Does what the page says.
    pub(super) fn look_at_page(&mut self) -> ControlFlow<Termination> {
        let Some(keeper) = &mut self.keeper else {
            return Continue(());
        };
        let forwarded = keeper.page.take_forwarded();
        let ordered = keeper.page.ordered();
        let is_new = ordered != keeper.ordered;
        keeper.ordered = ordered;
        let signal = keeper.stop_signal;
        for number in 1..=64 {
            if let Some(signal) = Signal::from_number(number)
                && forwarded.contains(signal)
            {
                let received = Received::plain(signal);
                self.feed(Event::Signal(received, Origin::for_us(false)))?;
            }
        }
        if let Some(Order { kill, rest }) = ordered.filter(|_| is_new) {
            let now = service_page::now();
            let left = |at: Duration| at.saturating_sub(now);
            self.feed(Event::StopBy {
                signal,
                kill_in: kill.map(left),
                rest_in: rest.map(left),
            })?;
        }
        Continue(())
    }

    /// A signal that came to a keeper: only the kernel's at the end of the main process is for
    /// it.
    pub(super) fn on_signal_to_keeper(&mut self, received: &Received) -> ControlFlow<Termination> {
        let Some(keeper) = &mut self.keeper else {
            return Continue(());
        };
        let is_orphan = !service_page::is_parent(keeper.main);
        if received.signal == Signal::TERM && is_orphan {
            warn!("supervise was killed: stopping");
            // It writes no more to the page.
            let now = service_page::now();
            let after = |limit: Duration| now.saturating_add(limit);
            keeper.page.order(Order {
                kill: keeper.limit.map(after),
                rest: keeper.limit.map(|limit| after(limit / 4 * 3)),
            });
            return self.look_at_page();
        }
        if received.pid != keeper.main {
            debug!(
                "received {} from {}: ignored, because supervise stops this service",
                received.signal,
                sender(received)
            );
        }
        Continue(())
    }
}
