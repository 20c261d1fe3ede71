//! What the shell of a single command does only in a keeper: reads and answers the main
//! process.

use std::ops::ControlFlow::{self, Continue};
use std::time::Duration;

use log::{debug, warn};

use crate::decide::origin::Origin;
use crate::decide::reason::Remaining;
use crate::decide::step::Event;
use crate::ending::{Ending, Termination};
use crate::run::command::Supervisor;
use crate::run::relay::Relay;
use crate::run::sender::sender;
use crate::signal::{Received, Signal};
use crate::sys::service_page::{self, Order};

impl Supervisor<'_> {
    /// The command was executed, or the child has exited before that. `false`: that is not
    /// what was waited for.
    pub(in crate::run) fn note_executed(&mut self) -> bool {
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
    pub(in crate::run) fn note_ended(&mut self, ending: Ending) {
        if let Some(keeper) = &mut self.keeper {
            if !matches!(ending, Ending::NotExecuted(_)) {
                keeper.page.set_executed();
            }
            keeper.executed = None;
            keeper.page.set_ended(ending);
            keeper.ring();
        }
    }

    /// Tells that this process is the main process of the service from now on. The kernel does
    /// not signal it when we exit.
    pub(in crate::run) fn note_successor(&mut self, pid: i32) {
        if let Some(keeper) = &self.keeper {
            keeper.page.set_user(None);
            keeper.page.set_pid(pid);
            keeper.ring();
        }
    }

    /// Some processes are left, and the command has exited or not.
    pub(in crate::run) fn note_left(&mut self) {
        if let Some(keeper) = &mut self.keeper
            && keeper.page.ended() == Some(Ending::Exited(0))
            && let Some(line) = keeper.background.take()
            && keeper.ordered.is_none()
        {
            warn!("{line}");
        }
    }

    /// Tells why SIGKILL is needed, before it is sent.
    pub(in crate::run) fn note_reason(&self, remaining: Option<&Remaining>) {
        if let Some(keeper) = &self.keeper
            && let Some(first) = remaining.and_then(|remaining| remaining.explained.first())
        {
            let reason = if Some(first.process.pid) == self.command {
                first.reason.to_string()
            } else {
                format!("{}: {}", first.process, first.reason)
            };
            keeper.page.set_reason(&reason);
        }
    }

    /// Tells that READY=1 has come, once.
    pub(in crate::run) fn note_ready(&mut self) {
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
    pub(in crate::run) fn look_at_page(&mut self) -> ControlFlow<Termination> {
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
    pub(in crate::run) fn on_signal_to_keeper(
        &mut self,
        received: &Received,
    ) -> ControlFlow<Termination> {
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
