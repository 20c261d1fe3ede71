//! What the log says about services.

use std::time::{Duration, Instant};

use humantime::format_duration;
use log::{Level, info, log, warn};

use super::Shell;
use super::history::Stop;
use crate::decide::graph::Id;
use crate::decide::plan::step::{Notice, Outcome, Status};
use crate::decide::reason::Stage;
use crate::decide::rules::Grace;
use crate::decide::sorted::sorted;
use crate::decide::step::{Request, Scope};
use crate::ending::{Ending, FAILED};
use crate::processes::explain::explain;
use crate::processes::ledger::Ledger;
use crate::processes::tree::Tree;
use crate::run::sender::sender;
use crate::settings::services::{Ready, Service};
use crate::signal::Signal;
use crate::tell::log::about;
use crate::tell::record::in_seconds;

/// How many services the last line names.
const NAMED: usize = 10;

impl Shell<'_> {
    pub(super) fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::AlreadyAnswers(id) => {
                let service = self.service(id);
                let what = shown(&service.ready);
                self.about(id, Level::Warn, || {
                    format!("{what} already answers, before it was started: another program listens there")
                });
            }
            // That it has started was told.
            Notice::Ready(id) if self.service(id).ready == Ready::Started => {}
            Notice::Ready(id) => {
                let ran = self.ran(id);
                self.about(id, Level::Info, || {
                    format!("ready after {}", in_seconds(ran))
                });
            }
            Notice::NotReady(id) => {
                let text = self.not_ready(id);
                self.about(id, Level::Warn, || text);
            }
            Notice::NotReadyInTime(id) => {
                let text = format!("{}: stopping it (ready_timeout)", self.not_ready(id));
                self.about(id, Level::Warn, || text);
            }
            Notice::Restarting {
                id,
                outcome,
                pause,
                failures,
            } => self.about(id, Level::Warn, || {
                let count = match failures {
                    0 => String::new(),
                    count => format!(" (failure {count} in a row)"),
                };
                let pause = format_duration(pause);
                format!("{}: restarting in {pause}{count}", told(outcome))
            }),
            Notice::GivenUp { id, failures } => self.about(id, Level::Error, || {
                format!("failed {failures} times in a row: not restarted again (restart_limit)")
            }),
            Notice::Stopping(request) => self.tell_request(request),
            Notice::EssentialEnded(id) => {
                self.begin_stop();
                self.about(id, Level::Warn, || {
                    "is essential and no longer runs: stopping all services".to_owned()
                });
            }
            Notice::Delayed => info!(
                "stopping the services in {} (stop_delay)",
                format_duration(self.services.stop_delay)
            ),
            Notice::PassedBy { above, below } => {
                let why = self.why(above);
                let took = self.took(above);
                let below = self.service(below).name.clone();
                self.about(above, Level::Warn, || {
                    format!(
                        "still running after {}{}; stopping {below} without waiting for it",
                        in_seconds(took),
                        in_parentheses(why.as_deref())
                    )
                });
            }
            Notice::PeriodOver(id) => {
                let why = self.why(id);
                let took = self.took(id);
                self.about(id, Level::Warn, || {
                    format!(
                        "still running after its stop_grace_period of {}{}, and others wait for \
                         it: sending SIGKILL",
                        in_seconds(took),
                        in_parentheses(why.as_deref())
                    )
                });
            }
            Notice::GraceOver => {
                let left = self.left();
                warn!("{} expired: sending SIGKILL to {left}", self.services.grace);
            }
            Notice::CutShort => {
                let left = self.left();
                warn!("received SIGINT from the terminal again: sending SIGKILL to {left}");
            }
            Notice::Unkillable => {
                let left = self.left();
                warn!("still running after SIGKILL: {left}");
            }
        }
    }

    pub(super) fn tell_started(&self, id: Id) {
        self.about(id, Level::Info, || "started".to_owned());
    }

    pub(super) fn tell_stopping(&mut self, id: Id) {
        if let Some(stop) = &mut self.stop
            && !stop.order.contains(&id)
        {
            stop.order.push(id);
        }
        // Otherwise only leftover processes remain, and its keeper stops these already.
        if self.slots.get(id.0).is_some_and(|slot| slot.ended) {
            return;
        }
        let signal = self.service(id).stop_signal;
        self.about(id, Level::Info, || format!("stopping: sending {signal}"));
    }

    /// Without a keeper it is not told to stop, and takes part in the stop all the same.
    pub(super) fn tell_lost_killed(&mut self, id: Id, count: usize) {
        if let Some(stop) = &mut self.stop
            && !stop.order.contains(&id)
        {
            stop.order.push(id);
        }
        if let Some(slot) = self.slots.get_mut(id.0) {
            slot.history.killed = true;
            slot.history.stop();
        }
        self.about(id, Level::Warn, || {
            format!("sending SIGKILL to what is left of it ({count})")
        });
    }

    pub(super) fn tell_ended(&self, id: Id, ending: Ending) {
        let (took, ran) = self.slots.get(id.0).map_or((None, Duration::ZERO), |slot| {
            (slot.history.took(), slot.history.ran())
        });
        // Why it was not executed was logged by its keeper.
        if matches!(ending, Ending::NotExecuted(_)) {
            return;
        }
        let after = in_seconds(took.unwrap_or(ran));
        self.about(id, Level::Info, || format!("{ending} after {after}"));
    }

    fn tell_request(&mut self, request: Request) {
        self.begin_stop();
        let Request::Signal(received) = request else {
            return;
        };
        info!(
            "received {} from {}: stopping, {}",
            received.signal,
            sender(&received),
            self.services.grace
        );
    }

    /// A request during the stop of an essential service's end does not begin another.
    fn begin_stop(&mut self) {
        self.stop.get_or_insert_with(|| Stop {
            at: Instant::now(),
            order: Vec::new(),
        });
    }

    /// The last lines: how the stop went, and whose exit status it is.
    pub(super) fn tell_end(&self, status: Status) {
        if let Some(stop) = &self.stop {
            let was_killed = |id: &Id| self.slots.get(id.0).is_some_and(|slot| slot.history.killed);
            let killed = stop.order.iter().any(was_killed);
            let level = if killed { Level::Warn } else { Level::Info };
            log!(level, "{}", self.stopped(stop, killed));
        }
        match (status.code, status.of) {
            // Why we failed was told already.
            (0, _) | (FAILED, None) => {}
            (code, Some(id)) => {
                let name = &self.service(id).name;
                warn!("exiting with status {code}, the status of {name}");
            }
            (code, None) => warn!("exiting with status {code}: SIGKILL was needed"),
        }
    }

    /// For example `stopped in 3.5s of 28s: web 2.1s, worker 0.4s, db 1.0s: graceful`.
    fn stopped(&self, stop: &Stop, killed: bool) -> String {
        let mut times: Vec<(Id, Duration)> = stop
            .order
            .iter()
            .filter_map(|id| Some((*id, self.slots.get(id.0)?.history.took()?)))
            .collect();
        let all = times.len();
        if all > NAMED {
            times = sorted(times, |(_, took)| {
                let took = usize::try_from(took.as_millis()).unwrap_or(usize::MAX);
                (usize::MAX - took, 0)
            });
            times.truncate(NAMED);
        }
        let named = times.iter().map(|(id, took)| {
            let slot = self.slots.get(id.0);
            let reason = slot.filter(|slot| slot.history.killed).map(|slot| {
                let reason = slot.history.reason.as_deref();
                format!(
                    " (killed{})",
                    reason.map_or(String::new(), |why| format!(": {why}"))
                )
            });
            let name = &self.service(*id).name;
            format!("{name} {}{}", in_seconds(*took), reason.unwrap_or_default())
        });
        let mut named: Vec<String> = named.collect();
        if all > NAMED {
            named.push(format!("{} more", all - NAMED));
        }
        let of = match self.services.grace {
            Grace::For(grace) => format!(" of {}", format_duration(grace)),
            Grace::Infinite => String::new(),
        };
        let all_named = if named.is_empty() {
            "no service ran".to_owned()
        } else {
            named.join(", ")
        };
        let verdict = if killed {
            "SIGKILL was needed"
        } else {
            "graceful"
        };
        format!(
            "stopped in {}{of}: {all_named}: {verdict}",
            in_seconds(stop.at.elapsed())
        )
    }

    /// Those that are not gone, and why, as far as that is known.
    fn left(&mut self) -> String {
        let lives = |shell: &Self, id: &Id| {
            let slot = shell.slots.get(id.0);
            slot.is_some_and(|slot| slot.keeper.is_some() || slot.lost)
        };
        let left: Vec<Id> = self.ids().filter(|id| lives(self, id)).collect();
        let all = left.len();
        let named = left.into_iter().take(NAMED).map(|id| {
            let why = self.why(id);
            format!(
                "{}{}",
                self.service(id).name,
                in_parentheses(why.as_deref())
            )
        });
        let mut named: Vec<String> = named.collect();
        if all > NAMED {
            named.push(format!("{} more", all - NAMED));
        }
        named.join(", ")
    }

    /// Why the main process of a service still runs; `None` where that is not known, or where
    /// only other processes of it remain.
    fn why(&mut self, id: Id) -> Option<String> {
        let signal = self.service(id).stop_signal;
        let page = self.page(id)?;
        match page.ended() {
            // Its keeper was quicker than we are.
            Some(Ending::Killed(Signal::KILL, _)) if page.reason().is_some() => {
                return page.reason();
            }
            Some(_) => return Some("its other processes remain".to_owned()),
            None if page.ordered().is_none() => return Some("not signaled yet".to_owned()),
            None => {}
        }
        let pid = page.pid()?;
        let tree = Tree::scan(self.own_pid, 1).filter(|tree| !tree.is_blind())?;
        let mut ledger = Ledger::default();
        ledger.sent_to_child(pid, signal);
        let remaining = explain(&tree, &ledger, Stage::Command, Some(pid), Scope::Command, 1);
        let explained = remaining.explained.first();
        let reason = explained.map(|explained| explained.reason.to_string());
        // Where its keeper has one, it may have killed it before we looked.
        let reason = page.reason().or(reason)?;
        let slot = self.slots.get_mut(id.0)?;
        slot.history.reason = Some(reason.clone());
        Some(reason)
    }

    fn not_ready(&self, id: Id) -> String {
        let service = self.service(id);
        let slot = self.slots.get(id.0);
        let check = slot.and_then(|slot| slot.check.as_ref());
        let last = check.and_then(super::Check::last_try);
        let last = last.or_else(|| slot.and_then(|slot| slot.history.last_try.clone()));
        let mut text = format!(
            "not ready after {}, waiting for {}",
            in_seconds(self.ran(id)),
            waited_for(service)
        );
        if let Some(last) = last {
            text.push_str(": ");
            text.push_str(&last);
        }
        text
    }

    fn ran(&self, id: Id) -> Duration {
        let slot = self.slots.get(id.0);
        slot.map_or(Duration::ZERO, |slot| slot.history.ran())
    }

    fn took(&self, id: Id) -> Duration {
        let slot = self.slots.get(id.0);
        slot.and_then(|slot| slot.history.took())
            .unwrap_or_default()
    }

    fn about(&self, id: Id, level: Level, text: impl FnOnce() -> String) {
        if log::log_enabled!(level) {
            about(&self.service(id).name, || log!(level, "{}", text()));
        }
    }
}

fn in_parentheses(why: Option<&str>) -> String {
    why.map_or(String::new(), |why| format!(" ({why})"))
}

/// How a run ended, as the beginning of a line.
fn told(outcome: Outcome) -> String {
    match outcome {
        Outcome::Ended(ending) => ending.to_string(),
        Outcome::NotReadyInTime => "not ready in time".to_owned(),
        Outcome::KeeperKilled => "its supervise process was killed".to_owned(),
    }
}

fn waited_for(service: &Service) -> String {
    match &service.ready {
        Ready::Started => "its start".to_owned(),
        Ready::Notified => "READY=1".to_owned(),
        Ready::Exited => "its exit".to_owned(),
        Ready::Command(command) => format!("its check by {}", command.shown),
        checked => shown(checked).to_owned(),
    }
}

/// What a check looks at, as the file shows it.
fn shown(ready: &Ready) -> &str {
    match ready {
        Ready::Tcp(at) => &at.shown,
        Ready::Unix(at) => &at.shown,
        Ready::Http(at) => &at.shown,
        Ready::Command(command) => &command.shown,
        Ready::Started | Ready::Notified | Ready::Exited => "it",
    }
}
