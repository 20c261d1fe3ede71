//! The run of several services: waits for the next event, has the plan decide, and carries
//! out what it answers. Each service is run by a keeper ([`super::keeper`]).

use std::collections::VecDeque;
use std::ops::ControlFlow::{self, Break, Continue};
use std::time::{Duration, Instant};

use log::{debug, error, trace, warn};

use super::check::Check;
use super::events::{Events, Reaped, Wake};
use crate::decide::graph::Id;
use crate::decide::plan::Plan;
use crate::decide::plan::step::{Action, Event, Moment, Status, Timer};
use crate::ending::{self, Ending, Termination};
use crate::processes::sweep::Sweep;
use crate::settings::services::{Service, Services};
use crate::settings::{General, ServicesRun};
use crate::sys::descriptors::Limit;
use crate::sys::process;
use crate::sys::service_page::{ServicePage, now};
use crate::sys::signals::Inherited;
use crate::sys::wait::{Waited, is_child};
use crate::tell::log::{about, check_helper, never_block};
use history::History;
use status::StatusRows;
pub(crate) use status::shown;

mod actions;
mod history;
mod notices;
mod prepare;
mod signals;
mod status;
mod strays;

/// How long the last lines of a log that is a file may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Runs the services until all have ended and returns what is to be done last, and until when
/// the log may close its file.
pub(crate) fn run(settings: &ServicesRun, inherited: Inherited) -> (Termination, Option<Instant>) {
    let prepared = prepare::prepare(&settings.run, &settings.services).and_then(|limit| {
        let status = StatusRows::open(&settings.services, settings.status_file.as_deref())?;
        Ok((limit, status))
    });
    let termination = match prepared {
        Ok((limit, status)) => {
            never_block();
            let shell = Shell::new(settings, inherited, limit, status);
            Termination::Exit(shell.map_or(0, |mut shell| shell.run()))
        }
        Err(why) => {
            error!("{why}");
            Termination::Exit(ending::FAILED)
        }
    };
    (termination, Some(Instant::now() + LAST_LINES))
}

/// What runs of one service.
#[expect(clippy::struct_excessive_bools, reason = "facts, each of its own")]
#[derive(Debug, Default)]
struct Slot {
    /// Its keeper, and the page that we share with it.
    keeper: Option<(i32, ServicePage)>,
    /// What was fed in of the page.
    executed: bool,
    ready: bool,
    ended: bool,
    /// Its keeper was killed, and not all that it has left is gone.
    lost: bool,
    /// Its main process, as the page of that keeper has it, until it is reaped.
    lost_pid: Option<i32>,
    /// The user that it was started as.
    lost_user: Option<u32>,
    /// The check or the probe that runs.
    check: Option<Check>,
    is_probe: bool,
    /// When things happened to it.
    history: History,
}

struct Shell<'a> {
    run: &'a General,
    services: &'a Services,
    /// The first service: there is one.
    first: &'a Service,
    inherited: Inherited,
    own_pid: i32,
    /// The limit on open descriptors at the start, for services.
    limit: Option<Limit>,
    plan: Plan<'a>,
    events: Events<Timer>,
    slots: Vec<Slot>,
    /// Checks that were killed and are not reaped.
    ended_checks: Vec<Check>,
    /// For what killed keepers leave.
    sweep: Sweep,
    /// When the first stop began, and by what.
    stop: Option<history::Stop>,
    status: StatusRows,
}

impl<'a> Shell<'a> {
    fn new(
        settings: &'a ServicesRun,
        inherited: Inherited,
        limit: Option<Limit>,
        status: StatusRows,
    ) -> Option<Self> {
        let own_pid = process::own_pid();
        let services = &settings.services;
        let first = services.list.first()?;
        Some(Self {
            run: &settings.run,
            services,
            first,
            inherited,
            own_pid,
            limit,
            plan: Plan::new(&settings.rules),
            // Some may have exited before SIGCHLD was blocked.
            events: Events::new(true),
            slots: services.list.iter().map(|_| Slot::default()).collect(),
            ended_checks: Vec::new(),
            sweep: Sweep::new(own_pid, false),
            stop: None,
            status,
        })
    }

    fn run(&mut self) -> u8 {
        let mut flow = self.feed(Event::Begin);
        let status = loop {
            if let Break(status) = flow {
                break status;
            }
            self.show_status();
            flow = self.turn();
        };
        self.show_status();
        self.stop_strays();
        self.tell_end(status);
        self.status.close();
        status.code
    }

    fn turn(&mut self) -> ControlFlow<Status> {
        match self.events.wait(None) {
            Ok(Wake::Signal(received)) => self.on_signal(&received),
            Ok(Wake::Children) => self.on_children(),
            Ok(Wake::Timer(timer)) => {
                // What has happened by now comes before the timer.
                self.events.look();
                self.on_children()?;
                // Not one that was armed again meanwhile.
                if self.events.timers.until(timer).is_some() {
                    return Continue(());
                }
                self.feed(Event::Expired(timer))
            }
            // Nothing is watched.
            Ok(Wake::Ready(_)) => Continue(()),
            Err(errno) => {
                error!(
                    "cannot wait for signals: rt_sigtimedwait: {}; allow it in the seccomp filter",
                    errno.desc()
                );
                Break(Status {
                    code: ending::FAILED,
                    of: None,
                })
            }
        }
    }

    fn on_children(&mut self) -> ControlFlow<Status> {
        self.look_at_pages()?;
        while let Some(reaped) = self.events.reap() {
            match reaped {
                Reaped::Changed(Waited::Ended(pid, ending)) => self.on_reaped(pid, ending)?,
                Reaped::Changed(Waited::Stopped(pid, _)) => self.resume_keeper(pid),
                Reaped::Changed(_) => {}
                Reaped::All { .. } => self.look_for_strays()?,
            }
        }
        check_helper();
        Continue(())
    }

    fn on_reaped(&mut self, pid: i32, ending: Ending) -> ControlFlow<Status> {
        self.sweep.ledger.forget(pid);
        if let Some(at) = self.ended_checks.iter().position(|check| check.pid == pid) {
            self.ended_checks.swap_remove(at).reaped(&mut self.sweep);
            return Continue(());
        }
        for id in self.ids() {
            let Some(slot) = self.slots.get_mut(id.0) else {
                continue;
            };
            slot.lost_pid.take_if(|lost| *lost == pid);
            if slot
                .keeper
                .as_ref()
                .is_some_and(|(keeper, _)| *keeper == pid)
            {
                return self.on_keeper_reaped(id, ending);
            }
            if slot.check.as_ref().is_some_and(|check| check.pid == pid) {
                return self.on_check_reaped(id, ending);
            }
        }
        if self.run.warn_on_reap {
            warn!("reaped orphan pid {pid}: {ending}");
        } else {
            debug!("reaped orphan pid {pid}: {ending}");
        }
        Continue(())
    }

    fn on_keeper_reaped(&mut self, id: Id, ending: Ending) -> ControlFlow<Status> {
        self.look_at_page(id)?;
        let Some(slot) = self.slots.get_mut(id.0) else {
            return Continue(());
        };
        let page = slot.keeper.take().map(|(_, page)| page);
        if let Some(killed) = page.as_ref().and_then(ServicePage::gone) {
            slot.history.gone(killed);
            let reason = page.as_ref().and_then(ServicePage::reason);
            slot.history.reason = reason.or(slot.history.reason.take());
            return self.feed(Event::Gone { id, killed });
        }
        slot.lost = true;
        slot.lost_user = page.as_ref().and_then(ServicePage::user);
        let main = page.and_then(|page| page.pid().filter(|_| page.ended().is_none()));
        // Unless another process adopts orphans.
        slot.lost_pid = main.filter(|pid| is_child(*pid));
        about(&self.service(id).name, || {
            error!(
                "its supervise process has ended ({ending}): stopping what is left of the service"
            );
        });
        self.feed(Event::KeeperKilled(id))
    }

    fn on_check_reaped(&mut self, id: Id, ending: Ending) -> ControlFlow<Status> {
        let success = ending == Ending::Exited(0);
        let Some(slot) = self.slots.get_mut(id.0) else {
            return Continue(());
        };
        if let Some(check) = slot.check.take() {
            slot.history.last_try = check.last_try().or(slot.history.last_try.take());
            check.reaped(&mut self.sweep);
        }
        let event = match (slot.is_probe, success) {
            (true, answers) => Event::Probed { id, answers },
            (false, true) => Event::Ready(id),
            (false, false) => Event::CheckEnded(id),
        };
        self.feed(event)
    }

    fn look_at_pages(&mut self) -> ControlFlow<Status> {
        self.ids().try_for_each(|id| self.look_at_page(id))
    }

    /// Feeds in what is new on the page of a service.
    fn look_at_page(&mut self, id: Id) -> ControlFlow<Status> {
        if self.is_new(id, |slot| &mut slot.executed, ServicePage::is_executed) {
            self.tell_started(id);
            self.feed(Event::Executed(id))?;
        }
        if self.is_new(id, |slot| &mut slot.ready, ServicePage::is_ready) {
            self.feed(Event::Ready(id))?;
        }
        if self.is_new(id, |slot| &mut slot.ended, |page| page.ended().is_some())
            && let Some(ending) = self.page(id).and_then(ServicePage::ended)
        {
            self.tell_ended(id, ending);
            self.feed(Event::Ended { id, ending })?;
        }
        Continue(())
    }

    /// Whether the page shows something that was not fed in.
    fn is_new(
        &mut self,
        id: Id,
        fed: impl Fn(&mut Slot) -> &mut bool,
        shows: impl Fn(&ServicePage) -> bool,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(id.0) else {
            return false;
        };
        let shows = slot.keeper.as_ref().is_some_and(|(_, page)| shows(page));
        shows && !std::mem::replace(fed(slot), true)
    }

    /// Carries out what the plan answers to an event. Where an action fails, that is the next
    /// event.
    fn feed(&mut self, event: Event) -> ControlFlow<Status> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            trace!("plan: {event:?}");
            for action in self.plan.on(Moment(now()), event) {
                if let Action::Exit(status) = action {
                    return Break(status);
                }
                events.extend(self.perform(action));
            }
        }
        Continue(())
    }

    fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        (0..self.slots.len()).map(Id)
    }

    /// The settings of a service. Every id is an index of the list.
    fn service(&self, id: Id) -> &'a Service {
        self.services.list.get(id.0).unwrap_or(self.first)
    }

    fn page(&self, id: Id) -> Option<&ServicePage> {
        let (_, page) = self.slots.get(id.0)?.keeper.as_ref()?;
        Some(page)
    }
}
