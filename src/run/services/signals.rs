//! Signals for the main process: stop requests, and those that are forwarded to services.

use std::ops::ControlFlow::{self, Continue};

use log::{debug, warn};

use super::Shell;
use crate::decide::plan::step::{Event, Status};
use crate::decide::step::Request;
use crate::run::sender::sender;
use crate::signal::{Received, Signal, SignalSet};
use crate::sys::{service_page, signals};

impl Shell<'_> {
    pub(super) fn on_signal(&mut self, received: &Received) -> ControlFlow<Status> {
        let signal = received.signal;
        if self.is_stop_request(received) {
            // Only the terminal's keys come from the kernel.
            let typed = signal == Signal::INT && received.is_from_kernel();
            let request = Request::Signal(*received);
            return self.feed(Event::StopRequest { request, typed });
        }
        let sender = sender(received);
        let takes = |service: &&_| takes(service, signal);
        let mut names = Vec::new();
        for id in self.ids().filter(|id| takes(&self.service(*id))) {
            names.push(self.service(id).name.as_str());
            self.forward(id, signal);
        }
        if !names.is_empty() {
            debug!(
                "received {signal} from {sender}: forwarded to {}",
                names.join(", ")
            );
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

    fn forward(&self, id: crate::decide::graph::Id, signal: Signal) {
        if let Some((keeper, page)) = self.slots.get(id.0).and_then(|slot| slot.keeper.as_ref()) {
            page.forward(signal);
            service_page::ring(*keeper);
        }
    }
}

fn takes(service: &crate::settings::services::Service, signal: Signal) -> bool {
    service.forward_signals.contains(signal)
}
