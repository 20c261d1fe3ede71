//! SIGTERM and SIGKILL for the processes that remain, and signals for the command and its
//! process group where these run as other users.

use log::{debug, info, warn};
use nix::errno::Errno;

use super::ledger::Ledger;
use super::other_users::{OtherUsers, TOGETHER};
use super::procfs::{self, Process, ReadError, known};
use super::reach::{Reach, reach};
use super::send::{log_sent, open, send, warn_not_permitted};
use super::tree::{self, PASSES, Tree};
use crate::decide::reason::ProcessLabel;
use crate::signal::{Received, Signal};
use crate::sys::kill::{Target, forward, kill};
use crate::sys::pidfd::PidFd;
use crate::sys::process;

/// In how many looks nothing can be read before SIGTERM goes to processes that are not
/// listed.
const LOOKS: u32 = 4;

/// What a stop does to the processes, and what it did.
#[derive(Debug)]
pub(crate) struct Sweep {
    own_pid: i32,
    /// Whether a report or a rehearsal names the processes that were signaled.
    is_reported: bool,
    /// Which process received which stop signals.
    pub(crate) ledger: Ledger,
    /// What is sent in the place of SIGTERM to processes that handle it. To many programs
    /// which stop properly by another signal, SIGTERM means: at once.
    pub(crate) stop_signal: Signal,
    other_users: OtherUsers,
    /// What the last look for processes could not read, if anything.
    unread: Option<ReadError>,
    /// How many looks could not read something.
    failed_looks: u32,
}

impl Sweep {
    /// No process was signaled yet.
    pub(crate) fn new(own_pid: i32, is_reported: bool) -> Self {
        Self {
            own_pid,
            is_reported,
            ledger: Ledger::default(),
            stop_signal: Signal::TERM,
            other_users: OtherUsers::new(own_pid),
            unread: None,
            failed_looks: 0,
        }
    }

    /// Records that the members of this process group are about to receive a stop signal,
    /// and returns those for which it is the first.
    ///
    /// A process that joins the group between this and the signal receives another signal
    /// later on, which is better than none.
    pub(crate) fn record_group(&mut self, group: i32, signal: Signal) -> Vec<ProcessLabel> {
        let members = tree::members(self.own_pid, group).unwrap_or_default();
        members
            .iter()
            .filter(|process| self.ledger.sent(process.identity(), signal))
            .map(Process::label)
            .collect()
    }

    /// Whether a member of a process group is suspended; also where /proc does not show it.
    pub(crate) fn may_be_suspended(&self, group: i32) -> bool {
        tree::members(self.own_pid, group)
            .is_none_or(|members| members.iter().any(|process| process.state == b'T'))
    }

    /// Sends a signal on to the command or its process group, processes of other users
    /// included where that is possible. `stop`: it is a stop signal.
    ///
    /// # Errors
    /// As [`forward`]. EPERM is logged here.
    pub(crate) fn send(
        &mut self,
        target: Target,
        received: &Received,
        stop: bool,
    ) -> nix::Result<()> {
        self.other_users.restore();
        let mut sent = forward(target, received);
        match self.passed_over(target, sent, stop) {
            Some(processes) => {
                let reached = self.signal_each(processes, &[*received], false);
                if !reached.is_empty() {
                    sent = Ok(());
                }
            }
            None if sent.is_err() => warn_not_permitted(target, received.signal),
            None => {}
        }
        sent
    }

    /// The processes of a target that a signal did not reach, because they run as other
    /// users; `None` where /proc does not show them.
    fn passed_over(
        &self,
        target: Target,
        sent: nix::Result<()>,
        stop: bool,
    ) -> Option<Vec<Process>> {
        match target {
            Target::Process(pid) if sent == Err(Errno::EPERM) => {
                known(procfs::stat(pid)).map(|process| vec![process])
            }
            Target::Group(group) if sent.is_ok() || sent == Err(Errno::EPERM) => {
                let rights = self.other_users.rights();
                // kill(2) fails only if no process of the group may be signaled.
                if rights.kill || !(rights.set_uid || stop || sent.is_err()) {
                    return Some(Vec::new());
                }
                let members = tree::members(self.own_pid, group)?;
                Some(self.of_other_users(members))
            }
            _ => Some(Vec::new()),
        }
    }

    fn of_other_users(&self, mut processes: Vec<Process>) -> Vec<Process> {
        processes.retain(|process| self.other_users.is_passed_over(process));
        processes
    }

    /// Sends SIGTERM and SIGCONT to all processes except the command and those that received
    /// a stop signal before. Returns which processes received them; of everyone only if that
    /// is to be reported, and of a group none.
    ///
    /// If something could not be read ([`Self::has_unread`]), this is to be repeated.
    pub(crate) fn terminate(
        &mut self,
        command: Option<i32>,
        group: Option<i32>,
    ) -> Vec<ProcessLabel> {
        self.unread = None;
        let reach = self.reach(command, group);
        let signaled = self.terminate_reach(reach);
        if let Some(unread) = &self.unread {
            self.failed_looks += 1;
            if self.failed_looks == LOOKS {
                warn!("{unread}; other processes may not have received SIGTERM");
            } else {
                debug!("{unread}; looking for other processes again");
            }
        }
        signaled
    }

    /// Whether [`Self::terminate`] could not read something, so that there may be processes
    /// that it did not signal.
    pub(crate) fn has_unread(&self) -> bool {
        self.unread.is_some()
    }

    fn reach(&mut self, command: Option<i32>, group: Option<i32>) -> Reach {
        let (own_pid, pid1) = (self.own_pid, self.own_pid == 1);
        let may_be_blind = self.failed_looks + 1 < LOOKS;
        let (ledger, others) = (&self.ledger, &self.other_users);
        let is_signaled = |process: &Process| {
            let identity = process.identity();
            ledger.is_signaled(identity)
                || ledger.is_one_of_everyone(identity) && !others.is_passed_over(process)
        };
        let mut is_shown = true;
        let mut unread = None;
        let look = || {
            let tree = Tree::scan(own_pid, PASSES);
            unread = tree.as_ref().and_then(|tree| tree.unread.clone());
            let tree = tree.filter(|tree| may_be_blind || !tree.is_blind());
            is_shown = tree.is_some();
            tree
        };
        let term = Signal::TERM;
        let reach = reach(term, pid1, command, group, is_signaled, ledger, look);
        if !is_shown && !ledger.has_unlisted() {
            let whom = match reach {
                Reach::Everyone | Reach::Found(_) => "all other processes at once",
                Reach::Group(_) => "only the command's process group",
                Reach::Nobody => "only the command",
            };
            match &unread {
                None => warn!(
                    "/proc is missing or shows another PID namespace (own pid {own_pid}): \
                     signaling {whom}"
                ),
                Some(unread) if pid1 => warn!("{unread}; signaling {whom}"),
                // Said when all that could be done is done.
                Some(_) => {}
            }
        }
        // Everyone is reached unread.
        self.unread = unread.filter(|_| reach != Reach::Everyone);
        reach
    }

    fn terminate_reach(&mut self, reach: Reach) -> Vec<ProcessLabel> {
        match reach {
            Reach::Everyone => {
                // kill(2) does not tell which processes it reaches.
                let tree = self
                    .is_reported
                    .then(|| Tree::scan(self.own_pid, PASSES))
                    .flatten();
                self.terminate_unlisted(Target::Everyone);
                self.signal_passed_over(PASSES, &[Signal::TERM, Signal::CONT]);
                tree.as_ref().map(Tree::labels).unwrap_or_default()
            }
            Reach::Group(group) => {
                self.terminate_unlisted(Target::Group(group));
                Vec::new()
            }
            Reach::Found(processes) => {
                let own = self.stop_signal;
                let handles_own = |process: &Process| {
                    let sets = procfs::signal_sets(process.pid);
                    sets.is_some_and(|sets| sets.handled.contains(own))
                };
                // Nearly always it is SIGTERM, and nothing needs to be read.
                let (by_own, by_term) = if own == Signal::TERM {
                    (Vec::new(), processes)
                } else {
                    processes.into_iter().partition(handles_own)
                };
                let mut labels = self.terminate_found(by_term, Signal::TERM, by_own.is_empty());
                labels.extend(self.terminate_found(by_own, own, false));
                labels
            }
            Reach::Nobody => Vec::new(),
        }
    }

    /// `even_none`: it is told although there was nothing to be signaled.
    fn terminate_found(
        &mut self,
        processes: Vec<Process>,
        signal: Signal,
        even_none: bool,
    ) -> Vec<ProcessLabel> {
        let signals = [signal, Signal::CONT].map(Received::plain);
        let sent = self.signal_each(processes, &signals, false);
        for process in &sent {
            self.ledger.sent(process.identity(), signal);
        }
        let others = match sent.len() {
            1 => "1 other process".to_owned(),
            count => format!("{count} other processes"),
        };
        if even_none && self.failed_looks == 0 || !sent.is_empty() {
            info!("sent {signal} and SIGCONT to {others}");
        }
        sent.iter().map(Process::label).collect()
    }

    fn terminate_unlisted(&mut self, target: Target) {
        info!("sending SIGTERM and SIGCONT to {target}");
        let everyone = target == Target::Everyone;
        self.ledger.sent_to_unlisted(process::ticks(), everyone);
        for signal in [Signal::TERM, Signal::CONT] {
            log_sent(target, signal, kill(target, signal));
        }
    }

    /// Sends SIGTERM and SIGCONT to these processes, each once.
    pub(crate) fn terminate_these(&mut self, mut processes: Vec<Process>) {
        processes.retain(|process| !self.ledger.is_signaled(process.identity()));
        self.terminate_reach(Reach::Found(processes));
    }

    /// Sends SIGKILL to these processes.
    pub(crate) fn kill_these(&mut self, processes: Vec<Process>) {
        self.other_users.restore();
        self.signal_each(processes, &[Received::plain(Signal::KILL)], false);
    }

    /// Sends SIGKILL to all that remain, and to the command if it is not reaped.
    pub(crate) fn kill(&mut self, command: Option<i32>, group: Option<i32>) {
        let pid1 = self.own_pid == 1;
        if !pid1 && let Some(pid) = command {
            let target = Target::Process(pid);
            let sent = self.send(target, &Received::plain(Signal::KILL), true);
            log_sent(target, Signal::KILL, sent);
        }
        self.other_users.restore();
        // The next SIGKILL reaches processes that one pass misses.
        let scan = || Tree::scan(self.own_pid, 1).filter(|tree| !tree.is_blind());
        let (signal, ledger) = (Signal::KILL, &self.ledger);
        match reach(signal, pid1, command, group, |_| false, ledger, scan) {
            Reach::Everyone => {
                let everyone = Target::Everyone;
                log_sent(everyone, Signal::KILL, kill(everyone, Signal::KILL));
                self.signal_passed_over(1, &[Signal::KILL]);
            }
            Reach::Group(group) => {
                let group = Target::Group(group);
                log_sent(group, Signal::KILL, kill(group, Signal::KILL));
            }
            Reach::Found(processes) => {
                self.signal_each(processes, &[Received::plain(Signal::KILL)], false);
            }
            Reach::Nobody => {}
        }
    }
}

/// Processes one by one.
impl Sweep {
    /// Sends these to the processes that kill(2) passed over without an error when it
    /// signaled everyone.
    fn signal_passed_over(&mut self, passes: usize, signals: &[Signal]) {
        if self.other_users.rights().kill {
            return;
        }
        let Some(tree) = Tree::scan(self.own_pid, passes) else {
            return;
        };
        let passed_over = self.of_other_users(tree.alive().cloned().collect());
        self.unread = tree.unread;
        let all = signals == [Signal::KILL];
        let to_send: Vec<_> = signals.iter().copied().map(Received::plain).collect();
        for process in self.signal_each(passed_over, &to_send, all) {
            self.ledger.sent(process.identity(), Signal::TERM);
        }
    }

    /// Signals each of these processes, those of other users included where that is
    /// possible, and returns those that were signaled. Those that may not be signaled are
    /// recorded. `all`: the signals are for every process of the PID namespace.
    fn signal_each(
        &mut self,
        processes: Vec<Process>,
        signals: &[Received],
        all: bool,
    ) -> Vec<Process> {
        let mut sent = Vec::new();
        let mut refused = Vec::new();
        for process in processes {
            match self.signal(&process, signals) {
                Sent::Yes => sent.push(process),
                Sent::Gone => {}
                Sent::Unread(unread) => self.unread = Some(unread),
                Sent::Refused(handle) => refused.push((process, handle)),
            }
            if refused.len() == TOGETHER {
                sent.extend(self.signal_refused(std::mem::take(&mut refused), signals, all));
            }
        }
        sent.extend(self.signal_refused(refused, signals, all));
        sent
    }

    /// Signals a process, and no other that may have got its pid by now.
    fn signal(&self, process: &Process, signals: &[Received]) -> Sent {
        let pid = process.pid;
        // A child of ours keeps its pid until we reap it, and not between the scan and
        // the signal.
        let mut handle = None;
        if process.parent != self.own_pid {
            handle = open(pid);
            // Read after it was opened: if it is the same now, it was then.
            let mut now = procfs::stat(pid);
            if now.is_err() && handle.is_some() {
                // The handle may have taken the last descriptor.
                handle = None;
                now = procfs::stat(pid);
            }
            match now {
                Ok(Some(now)) if now.start == process.start => {}
                Ok(_) => return Sent::Gone,
                Err(unread) => return Sent::Unread(unread),
            }
        }
        let mut is_refused = false;
        for received in signals {
            match send(pid, handle.as_ref(), received) {
                // Another user ID may be permitted to.
                Err(Errno::EPERM) => is_refused = true,
                result => log_sent(Target::Process(pid), received.signal, result),
            }
        }
        if is_refused {
            Sent::Refused(handle)
        } else {
            Sent::Yes
        }
    }

    /// Signals processes of other users, and records and logs those that may not be
    /// signaled at all. Returns the others.
    fn signal_refused(
        &mut self,
        refused: Vec<(Process, Option<PidFd>)>,
        signals: &[Received],
        all: bool,
    ) -> Vec<Process> {
        let outcome = self.other_users.signal(refused, signals, all);
        let signal = signals.first().map_or(Signal::KILL, |first| first.signal);
        for process in &outcome.refused {
            let target = Target::Process(process.pid);
            // The processes that SIGKILL is for are named in any case.
            if self.ledger.refused(process.identity()) && signal != Signal::KILL {
                warn_not_permitted(target, signal);
            } else {
                log_sent(target, signal, Err(Errno::EPERM));
            }
        }
        for process in &outcome.sent {
            self.ledger.permitted(process.identity());
        }
        outcome.sent
    }
}

/// What became of signals for a process.
enum Sent {
    Yes,
    /// It has exited.
    Gone,
    /// It cannot be told from another process that may have got its pid.
    Unread(ReadError),
    /// It may not be signaled (EPERM); its handle.
    Refused(Option<PidFd>),
}
