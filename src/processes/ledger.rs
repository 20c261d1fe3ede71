//! Which process received which stop signals, so that no process is signaled twice, and
//! why one has not exited can be told.

use std::collections::BTreeMap;

use super::procfs::Identity;
use crate::signal::Signal;

/// What is recorded of a process.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// When it started. Not needed for a child of ours: its pid is its own until it is
    /// reaped, and then it is forgotten.
    start: Option<u64>,
    /// The stop signals that were sent to it, the last one last.
    signals: Vec<Signal>,
    /// Whether it may not be signaled.
    refused: bool,
}

/// The stop signals that were sent.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: BTreeMap<i32, Entry>,
    /// When SIGTERM was sent to processes that nothing lists, in clock ticks as the start
    /// times of processes are.
    unlisted: Option<u64>,
    /// When SIGTERM was sent to every process of the PID namespace at once.
    everyone: Option<u64>,
}

impl Ledger {
    /// Records that a stop signal is sent to a child of ours.
    pub(crate) fn sent_to_child(&mut self, pid: i32, signal: Signal) {
        self.entries.entry(pid).or_default().add(signal);
    }

    /// Records that a stop signal is sent to a process. Returns whether it is the first.
    pub(super) fn sent(&mut self, process: Identity, signal: Signal) -> bool {
        self.entry(process).add(signal)
    }

    /// Records that SIGTERM is sent to processes that nothing lists. `everyone`: to all of
    /// the PID namespace.
    pub(super) fn sent_to_unlisted(&mut self, now: u64, everyone: bool) {
        self.unlisted = Some(now);
        self.everyone = everyone.then_some(now).or(self.everyone);
    }

    /// Records that a process may not be signaled. Returns whether that is new.
    pub(super) fn refused(&mut self, process: Identity) -> bool {
        let entry = self.entry(process);
        entry.signals.clear();
        !std::mem::replace(&mut entry.refused, true)
    }

    /// Records that a process may be signaled after all.
    pub(super) fn permitted(&mut self, process: Identity) {
        let entry = self.entries.get_mut(&process.pid);
        if let Some(entry) = entry.filter(|entry| entry.is_of(process)) {
            entry.refused = false;
        }
    }

    /// Forgets a child that was reaped.
    pub(crate) fn forget(&mut self, pid: i32) {
        self.entries.remove(&pid);
    }

    /// The stop signals that were sent to a process, the last one last. `survives`:
    /// SIGTERM would not have killed it.
    pub(super) fn signals(&self, process: Identity, survives: bool) -> Vec<Signal> {
        if let Some(entry) = self.get(process)
            && !entry.signals.is_empty()
        {
            return entry.signals.clone();
        }
        // Within the same tick only its being alive tells whether it came later.
        let was_there = |sent: u64| process.start < sent || process.start == sent && survives;
        if self.unlisted.is_some_and(was_there) {
            vec![Signal::TERM]
        } else {
            Vec::new()
        }
    }

    /// Whether a stop signal was sent to a process, and recorded for it.
    pub(super) fn is_signaled(&self, process: Identity) -> bool {
        self.get(process)
            .is_some_and(|entry| !entry.signals.is_empty())
    }

    /// Whether a process was there when SIGTERM was sent to every process at once.
    pub(super) fn is_one_of_everyone(&self, process: Identity) -> bool {
        self.everyone.is_some_and(|sent| process.start < sent)
    }

    /// Whether a process may not be signaled.
    pub(super) fn is_refused(&self, process: Identity) -> bool {
        self.get(process).is_some_and(|entry| entry.refused)
    }

    /// Whether SIGTERM was sent to processes that nothing lists.
    pub(super) fn has_unlisted(&self) -> bool {
        self.unlisted.is_some()
    }

    /// Whether no process was signaled that is not known to be reaped.
    pub(super) fn is_empty(&self) -> bool {
        self.unlisted.is_none() && self.entries.values().all(|entry| entry.signals.is_empty())
    }

    fn get(&self, process: Identity) -> Option<&Entry> {
        let entry = self.entries.get(&process.pid)?;
        entry.is_of(process).then_some(entry)
    }

    fn entry(&mut self, process: Identity) -> &mut Entry {
        let entry = self.entries.entry(process.pid).or_default();
        if !entry.is_of(process) {
            *entry = Entry::default();
        }
        entry.start = Some(process.start);
        entry
    }
}

impl Entry {
    /// Whether it is of this process, and not of an earlier one with its pid.
    fn is_of(&self, process: Identity) -> bool {
        self.start.is_none_or(|start| start == process.start)
    }

    /// Adds a signal at the end. Returns whether it is the first.
    fn add(&mut self, signal: Signal) -> bool {
        let first = self.signals.is_empty();
        self.signals.retain(|known| *known != signal);
        self.signals.push(signal);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Identity = Identity { pid: 7, start: 100 };
    /// With the pid of `A`, later.
    const B: Identity = Identity { pid: 7, start: 200 };

    #[test]
    fn signals_are_those_of_the_process_and_not_of_an_earlier_one_with_its_pid() {
        let mut ledger = Ledger::default();
        assert!(ledger.is_empty() && !ledger.is_signaled(A));
        assert!(ledger.sent(A, Signal::TERM));
        assert!(!ledger.sent(A, Signal::INT));
        assert!(!ledger.sent(A, Signal::TERM));
        assert_eq!(ledger.signals(A, true), [Signal::INT, Signal::TERM]);
        assert!(ledger.is_signaled(A) && !ledger.is_signaled(B));
        assert_eq!(ledger.signals(B, true), []);
        assert!(ledger.sent(B, Signal::TERM));
        assert!(ledger.is_signaled(B) && !ledger.is_signaled(A));
    }

    #[test]
    fn a_child_is_known_by_its_pid_until_it_is_reaped() {
        let mut ledger = Ledger::default();
        ledger.sent_to_child(7, Signal::TERM);
        assert!(ledger.is_signaled(A));
        // As a member of its group.
        assert!(!ledger.sent(A, Signal::TERM));
        assert!(!ledger.is_empty());
        ledger.forget(7);
        assert!(ledger.is_empty() && !ledger.is_signaled(A));
    }

    #[test]
    fn a_process_that_may_not_be_signaled_is_not_signaled() {
        let mut ledger = Ledger::default();
        ledger.sent_to_child(7, Signal::TERM);
        assert!(ledger.refused(A));
        assert!(!ledger.refused(A));
        assert!(ledger.is_refused(A) && !ledger.is_refused(B));
        assert!(!ledger.is_signaled(A) && ledger.is_empty());
        ledger.permitted(A);
        assert!(!ledger.is_refused(A));
        // It is still to be seen whether the next signal is permitted.
        ledger.refused(A);
        ledger.sent(A, Signal::TERM);
        assert!(ledger.is_signaled(A) && ledger.is_refused(A));
        // Of the earlier process.
        ledger.permitted(B);
        assert!(ledger.is_refused(A));
    }

    #[test]
    fn what_started_before_a_signal_to_all_received_it() {
        let mut ledger = Ledger::default();
        ledger.sent_to_unlisted(150, false);
        assert!(!ledger.is_empty() && ledger.has_unlisted());
        for (start, survives, received) in [
            (149, false, true),
            (150, true, true),
            // Alive, so that it started later within the tick.
            (150, false, false),
            (151, true, false),
        ] {
            let process = Identity { pid: 9, start };
            let signals = ledger.signals(process, survives);
            assert_eq!(!signals.is_empty(), received, "{start} {survives}");
            assert!(!ledger.is_signaled(process) && !ledger.is_one_of_everyone(process));
        }
        ledger.sent_to_unlisted(150, true);
        let is_one = [149, 150].map(|start| ledger.is_one_of_everyone(Identity { pid: 9, start }));
        assert_eq!(is_one, [true, false]);
    }
}
