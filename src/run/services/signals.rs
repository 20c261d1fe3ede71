//! Signals for the main process: stop requests, and those that are forwarded to services.

use std::ops::ControlFlow::{self, Continue};

use log::{debug, warn};

use super::Shell;
use crate::decide::graph::Id;
use crate::decide::plan::step::{Event, Status};
use crate::decide::step::Request;
use crate::run::sender::sender;
use crate::signal::{Received, Signal, SignalSet};
use crate::sys::{service_page, signals};

impl Shell<'_> {
    pub(super) fn on_signal(&mut self, received: &Received) -> ControlFlow<Status> {
        let signal = received.signal;
        if self.is_stop_request(received) {
            let typed = is_key(received);
            let request = Request::Signal(*received);
            return self.feed(Event::StopRequest { request, typed });
        }
        let sender = sender(received);
        let takes = |id: &Id| self.service(*id).forward_signals.contains(signal);
        let receivers: Vec<Id> = self.ids().filter(takes).collect();
        let reached = receivers.iter().filter(|id| self.forward(**id, signal));
        let reached: Vec<&str> = reached.map(|id| &*self.service(*id).name).collect();
        if !reached.is_empty() {
            debug!(
                "received {signal} from {sender}: forwarded to {}",
                reached.join(", ")
            );
        } else if !receivers.is_empty() {
            debug!("received {signal} from {sender}: no service that takes it runs");
        } else if signal == Signal::TSTP && received.is_from_kernel() {
            warn!("Ctrl-Z does not suspend services; Ctrl-C stops them");
        } else if received.pid == 0 && !received.is_from_kernel() {
            warn!(
                "received {signal} from outside, and no service takes it; if it is the image's \
                 STOPSIGNAL, set stop_on = [\"{}\"]",
                signal.to_string().trim_start_matches("SIG")
            );
        } else {
            debug!("received {signal} from {sender}: no service takes it");
        }
        Continue(())
    }

    fn is_stop_request(&self, received: &Received) -> bool {
        let signal = received.signal;
        // nohup(1) and `&` in a shell have it ignored.
        let is_ignored = self.services.stop_on_by_default.contains(signal)
            && self.own_pid != 1
            && signals::is_ignored(signal);
        // When the terminal hangs up, no other request follows.
        let hangs_up = signal == Signal::HUP && received.is_from_kernel();
        let hangs_up = hangs_up && self.services.stop_on != SignalSet::EMPTY;
        (self.services.stop_on.contains(signal) || hangs_up) && !is_ignored
    }

    /// Returns whether it has a keeper.
    fn forward(&self, id: Id, signal: Signal) -> bool {
        let keeper = self.slots.get(id.0).and_then(|slot| slot.keeper.as_ref());
        if let Some((pid, page)) = keeper {
            page.forward(signal);
            service_page::ring(*pid);
        }
        keeper.is_some()
    }
}

/// Whether it is Ctrl-C: only keys of the terminal come from the kernel.
pub(super) fn is_key(received: &Received) -> bool {
    received.signal == Signal::INT && received.is_from_kernel()
}
