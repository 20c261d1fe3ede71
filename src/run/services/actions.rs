//! Carries out what the plan wants: starts, checks, stops and kills services.

use std::time::Duration;

use log::{error, warn};

use super::Shell;
use crate::decide::graph::Id;
use crate::decide::plan::step::{Action, Event, Moment};
use crate::run::check::Check;
use crate::run::keeper;
use crate::run::start::not_forked;
use crate::signal::Signal;
use crate::sys::kill::{Target, kill};
use crate::sys::service_page::{self, Order, ServicePage, now};
use crate::tell::log::about;

/// How long after the grace period a keeper kills by itself. Before that we tell it to, and
/// say why.
const LATER: Duration = Duration::from_millis(100);

impl Shell<'_> {
    /// Returns the next event, where that is known at once.
    pub(super) fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Notice(notice) => self.notice(notice),
            Action::Start(id) => return self.start(id),
            Action::Probe(id) => return self.start_check(id, true),
            Action::Check(id) => return self.start_check(id, false),
            Action::EndCheck(id) => self.end_check(id),
            Action::Stop { id, kill, rest } => self.stop(id, kill, rest),
            Action::StopLeftovers(id) => self.stop_lost(id),
            Action::Kill(id) => self.kill(id),
            Action::KillKeeper(id) => self.kill_keeper(id),
            Action::Arm(timer, Moment(at)) => {
                self.events.timers.arm(timer, at.saturating_sub(now()));
            }
            Action::Disarm(timer) => self.events.timers.disarm(timer),
            // Carried out in `feed`.
            Action::Exit(_) => {}
        }
        None
    }

    fn start(&mut self, id: Id) -> Option<Event> {
        let service = self.service(id);
        let limit = self.plan.limit(id);
        let setup = keeper::Setup {
            service,
            run: self.run,
            inherited: self.inherited,
            main: self.own_pid,
            limit,
            descriptors: self.limit,
        };
        let started = ServicePage::new()
            .map_err(|errno| ("mmap", errno))
            .and_then(|page| {
                let pid = keeper::start(&setup, &page).map_err(|errno| ("fork", errno))?;
                page.hide_from_later_children();
                Ok((pid, page))
            });
        let slot = self.slots.get_mut(id.0)?;
        slot.history.start();
        (slot.executed, slot.ready, slot.ended, slot.lost) = (false, false, false, false);
        match started {
            Ok(keeper) => {
                slot.keeper = Some(keeper);
                None
            }
            Err((call, errno)) => {
                let why = not_forked("its keeper", (call, errno));
                about(&service.name, || error!("{why}"));
                Some(Event::StartFailed(id))
            }
        }
    }

    fn start_check(&mut self, id: Id, is_probe: bool) -> Option<Event> {
        let service = self.service(id);
        let check = Check::start(service, is_probe, self.inherited, self.limit);
        let slot = self.slots.get_mut(id.0)?;
        slot.is_probe = is_probe;
        match check {
            Ok(check) => {
                slot.check = Some(check);
                None
            }
            Err(errno) => {
                let why = not_forked("its check of readiness", ("fork", errno));
                // Told once, until a check runs again and reports something else.
                if slot.history.last_try.as_ref() != Some(&why) {
                    about(&service.name, || warn!("{why}"));
                    slot.history.last_try = Some(why);
                }
                Some(if is_probe {
                    let answers = false;
                    Event::Probed { id, answers }
                } else {
                    Event::CheckEnded(id)
                })
            }
        }
    }

    fn end_check(&mut self, id: Id) {
        if let Some(slot) = self.slots.get_mut(id.0)
            && let Some(check) = slot.check.take()
        {
            check.end();
            slot.history.last_try = check.last_try().or(slot.history.last_try.take());
            self.ended_checks.push(check);
        }
    }

    fn stop(&mut self, id: Id, kill: Option<Moment>, rest: Option<Moment>) {
        let slot = self.slots.get_mut(id.0);
        if slot.is_some_and(|slot| slot.history.stop()) {
            // Before its keeper logs what comes of it.
            self.tell_stopping(id);
        }
        self.order(
            id,
            Order {
                kill: kill.map(|Moment(at)| at.saturating_add(LATER)),
                rest: rest.map(|Moment(at)| at),
            },
        );
    }

    fn order(&self, id: Id, order: Order) {
        if let Some((keeper, page)) = self.slots.get(id.0).and_then(|slot| slot.keeper.as_ref()) {
            page.order(order);
            // Another process may have suspended it.
            let _ = kill(Target::Process(*keeper), Signal::CONT);
            service_page::ring(*keeper);
        }
    }

    /// Another process has suspended a child of ours: resumes it if it is a keeper that is to
    /// stop its service.
    pub(super) fn resume_keeper(&self, pid: i32) {
        let is_told = self.slots.iter().any(|slot| {
            let keeper = slot.keeper.as_ref().map(|(keeper, _)| *keeper);
            keeper == Some(pid) && slot.history.told.is_some()
        });
        if is_told {
            // It has not exited, or its exit is seen next.
            let _ = kill(Target::Process(pid), Signal::CONT);
        }
    }

    fn kill(&mut self, id: Id) {
        if self.page(id).is_some() {
            let now = Some(now());
            self.order(
                id,
                Order {
                    kill: now,
                    rest: now,
                },
            );
        } else {
            self.kill_lost(id);
        }
    }

    fn kill_keeper(&mut self, id: Id) {
        let Some((keeper, _)) = self.slots.get(id.0).and_then(|slot| slot.keeper.as_ref()) else {
            return;
        };
        let _ = kill(Target::Process(*keeper), Signal::KILL);
    }
}
