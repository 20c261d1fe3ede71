//! Makes records of the lifecycle's notices: looks up names, senders and reasons.

use log::{Level, log_enabled};

use super::command::{Supervisor, Wakeup};
use super::sender::sender;
use crate::decide::reason::{NAMED, REMEMBERED, Remaining};
use crate::decide::rules::LeftoverPolicy;
use crate::decide::step::{Notice, Request, Scope, Timer};
use crate::processes::cgroup;
use crate::processes::explain::explain;
use crate::processes::tree::{self, Tree};
use crate::settings::Settings;
use crate::sys::process;
use crate::tell::record::{KillCause, Moment, Record};
use crate::tell::sender::Sender;

impl Supervisor<'_> {
    pub(super) fn notice(&mut self, notice: Notice) {
        let grace = self.settings.run.grace;
        match notice {
            Notice::Stopping(request) => {
                let (signal, sender) = match request {
                    Request::Signal(received) => (received.signal, sender(&received)),
                    Request::Rehearsal(signal) => (signal, Sender::Rehearsal),
                    Request::Main(signal) => (signal, Sender::Main),
                };
                self.tell(Record::StopRequested {
                    signal,
                    sender: &sender,
                    grace,
                });
                self.tell_manager("STOPPING=1\nSTATUS=Stopping");
            }
            Notice::Delayed => self.tell(Record::Delayed {
                delay: self.settings.run.stop_delay,
                to_command: self.command.is_some(),
            }),
            Notice::Stuck(signal) => self.tell(Record::Stuck(signal)),
            Notice::Waiting => {
                let deadline = Wakeup::Lifecycle(Timer::GraceOver);
                let left = self.events.timers.until(deadline);
                self.tell(Record::Waiting(left));
                self.tell_remaining(Moment::Waiting, self.remaining().as_ref());
            }
            Notice::GraceOver => {
                self.tell_killing(KillCause::Expired(grace));
                self.tell_manager("STATUS=Grace period expired, sending SIGKILL");
            }
            Notice::Due => self.tell_killing(KillCause::Due),
            Notice::CutShort(signal) => self.tell_killing(KillCause::TypedAgain(signal)),
            Notice::Left if !log_enabled!(Level::Info) => {}
            Notice::Left => {
                let tree = Tree::scan(process::own_pid(), tree::PASSES);
                let left = tree.as_ref().map(Tree::labels).unwrap_or_default();
                for record in Record::of_left(&left, process::own_pid() == 1) {
                    self.tell(record);
                }
            }
            Notice::Unkillable => self.tell_remaining(Moment::Killed, self.remaining().as_ref()),
        }
    }

    fn tell_killing(&mut self, cause: KillCause) {
        let remaining = self.remaining();
        self.note_reason(remaining.as_ref());
        self.tell(Record::Killing {
            cause,
            remaining: remaining.as_ref(),
            command: self.command,
        });
        self.tell_remaining(Moment::Killing, remaining.as_ref());
    }

    fn tell_remaining(&mut self, moment: Moment, remaining: Option<&Remaining>) {
        for record in Record::of_remaining(moment, remaining) {
            self.tell(record);
        }
    }

    /// The processes that are to exit and did not; `None` where /proc does not show them.
    fn remaining(&self) -> Option<Remaining> {
        let tree = Tree::scan(process::own_pid(), tree::PASSES).filter(|tree| !tree.is_blind())?;
        let scope = match self.settings.command.leftovers {
            LeftoverPolicy::Leave => Scope::Command,
            _ => Scope::Everything,
        };
        let limit = if Self::is_reported(self.settings) {
            REMEMBERED
        } else {
            NAMED
        };
        let (ledger, stage) = (&self.sweep.ledger, self.lifecycle.stage());
        Some(explain(&tree, ledger, stage, self.command, scope, limit))
    }

    fn tell_manager(&mut self, text: &str) {
        if let Some(relay) = &mut self.relay {
            relay.notify(text);
        }
    }

    /// How many processes of our control group were killed for want of memory
    /// since the start.
    pub(super) fn new_oom_kills(&self) -> Option<u64> {
        Some(cgroup::oom_kills()?.saturating_sub(self.oom_kills?))
    }

    /// Whether more is to be told of processes than the log does.
    pub(super) fn is_reported(settings: &Settings) -> bool {
        settings.run.report.is_some() || settings.run.rehearse.is_some()
    }
}
