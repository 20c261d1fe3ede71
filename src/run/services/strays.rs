//! Strays: processes below us that no keeper keeps, because theirs was killed, or because
//! they were children of ours before the start. They are stopped as leftover processes are.

use std::ops::ControlFlow::{self, Continue};
use std::time::Duration;

use log::{info, warn};
use nix::unistd::Pid;

use super::signals::is_key;
use super::{Shell, Slot};
use crate::decide::graph::Id;
use crate::decide::plan::step::{Event, Status, Timer};
use crate::decide::rules::Grace;
use crate::processes::procfs::{self, Process};
use crate::processes::tree::{self, Tree};
use crate::run::events::{Reaped, Wake};
use crate::signal::{Received, Signal};
use crate::sys::kill::Target;

/// How long we wait after SIGKILL.
const KILL_WAIT: Duration = Duration::from_millis(400);

impl Shell<'_> {
    /// Below us and below no keeper; `None` where /proc does not show them. `of`: without what
    /// is known to be of another service.
    fn strays(&self, of: Option<Id>) -> Option<Vec<Process>> {
        // The main process of a service comes to us before the end of its keeper does.
        let main = |slot: &Slot| match &slot.keeper {
            Some((_, page)) => page.pid().filter(|_| page.ended().is_none()),
            None => slot.lost_pid,
        };
        let others = self.ids().filter(|id| of.is_some_and(|of| of != *id));
        let others = others.filter_map(|id| self.slots.get(id.0).and_then(main));
        let keepers = self.slots.iter().filter_map(|slot| slot.keeper.as_ref());
        let checks = self.slots.iter().filter_map(|slot| slot.check.as_ref());
        let ours: Vec<i32> = keepers
            .map(|(pid, _)| *pid)
            .chain(checks.map(|check| check.pid))
            .chain(self.ended_checks.iter().map(|check| check.pid))
            .chain(others)
            .collect();
        let tree = Tree::scan(self.own_pid, tree::PASSES).filter(|tree| !tree.is_blind())?;
        Some(tree.below_without(&ours))
    }

    /// When children were reaped: whether what killed keepers have left is gone.
    pub(super) fn look_for_strays(&mut self) -> ControlFlow<Status> {
        if !self.slots.iter().any(|slot| slot.lost) {
            return Continue(());
        }
        let is_left = match self.strays(None) {
            Some(strays) => !strays.is_empty(),
            // Of the others nothing is known.
            None => self.slots.iter().any(|slot| slot.lost_pid.is_some()),
        };
        if is_left {
            return Continue(());
        }
        for id in self.ids() {
            let Some(slot) = self.slots.get_mut(id.0) else {
                continue;
            };
            if std::mem::take(&mut slot.lost) {
                let killed = slot.history.killed;
                slot.history.gone(killed);
                self.feed(Event::Gone { id, killed })?;
            }
        }
        Continue(())
    }

    /// Stops what a killed keeper has left. The kernel has sent the main process of the service
    /// its stop signal, and a second one often means: without saving.
    pub(super) fn stop_lost(&mut self, id: Id) {
        let signal = self.service(id).stop_signal;
        let pid = self.slots.get(id.0).and_then(|slot| slot.lost_pid);
        let strays = self.strays(Some(id));
        let runs = |pid: &i32| match &strays {
            Some(strays) => strays.iter().any(|stray| stray.pid == *pid),
            None => true,
        };
        if let Some(pid) = pid.filter(runs) {
            // The kernel may not signal another user's process where we may not: without
            // CAP_KILL.
            let is_permitted = nix::sys::signal::kill(Pid::from_raw(pid), None).is_ok();
            let user = self.slots.get(id.0).and_then(|slot| slot.lost_user);
            if !is_permitted || is_unsignaled(pid, user) {
                // It may have exited.
                let received = Received::plain(signal);
                let _ = self.sweep.send(Target::Process(pid), &received, true);
            }
            self.sweep.ledger.sent_to_child(pid, signal);
            // Another process may have suspended it.
            let resume = Received::plain(Signal::CONT);
            let _ = self.sweep.send(Target::Process(pid), &resume, false);
        }
        match strays {
            Some(strays) => self.sweep.terminate_these(strays),
            None => warn!("/proc is unavailable: what the killed process has left is not stopped"),
        }
    }

    /// Kills what a killed keeper has left.
    pub(super) fn kill_lost(&mut self, id: Id) {
        let strays = self.strays(Some(id));
        let pid = self.slots.get(id.0).and_then(|slot| slot.lost_pid);
        match (strays, pid) {
            (Some(strays), _) if !strays.is_empty() => {
                self.tell_lost_killed(id, strays.len());
                self.sweep.kill_these(strays);
            }
            (None, Some(pid)) => {
                self.tell_lost_killed(id, 1);
                let kill = Received::plain(Signal::KILL);
                // It is not reaped.
                let _ = self.sweep.send(Target::Process(pid), &kill, true);
            }
            _ => {}
        }
    }

    fn kill_strays(&mut self) {
        let strays = self.strays(None).unwrap_or_default();
        self.sweep.kill_these(strays);
    }

    /// At the end, when all services are gone: stops what else is below us, within what is
    /// left of the grace period.
    pub(super) fn stop_strays(&mut self) {
        // PID 1 takes all others along.
        let has_some = |shell: &Self| shell.strays(None).is_some_and(|strays| !strays.is_empty());
        if self.own_pid == 1 || !has_some(self) {
            return;
        }
        info!("processes that belong to no service remain: stopping them");
        let strays = self.strays(None).unwrap_or_default();
        self.sweep.terminate_these(strays);
        let grace = match self.services.grace {
            Grace::For(grace) => Some(grace),
            Grace::Infinite => None,
        };
        let spent = self
            .stop
            .as_ref()
            .map_or(Duration::ZERO, |stop| stop.at.elapsed());
        if let Some(grace) = grace {
            let left = grace.saturating_sub(spent);
            self.events.timers.arm(Timer::GraceOver, left);
        }
        self.events.look();
        loop {
            match self.events.wait(None) {
                Ok(Wake::Children) => {
                    while let Some(reaped) = self.events.reap() {
                        if matches!(reaped, Reaped::All { .. }) && !has_some(self) {
                            return;
                        }
                    }
                }
                Ok(Wake::Timer(Timer::GraceOver)) => self.kill_last_strays(),
                // Ctrl-C once more.
                Ok(Wake::Signal(received)) if is_key(&received) => self.kill_last_strays(),
                Ok(Wake::Timer(Timer::GiveUp)) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn kill_last_strays(&mut self) {
        self.kill_strays();
        self.events.timers.arm(Timer::GiveUp, KILL_WAIT);
        self.events.look();
    }
}

/// Whether the kernel has sent a process no signal when its keeper exited: where it is a
/// successor of the one that the keeper started (`None`), or has changed its user since, as with
/// gosu(1) or a set-user-ID program (`PR_SET_PDEATHSIG(2const)`).
fn is_unsignaled(pid: i32, user: Option<u32>) -> bool {
    let is_other = |user| {
        let uids = procfs::known(procfs::uids(pid));
        uids.is_some_and(|uids| uids.real != user || uids.saved != user)
    };
    user.is_none_or(is_other)
}
