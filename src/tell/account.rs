//! The account of one run: a fold over the records of what happened. It judges the run,
//! answers questions about it, and makes the report of it (`account/report.rs`).

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::outcome::Outcome;
use super::record::{CommandExit, Record, StopTimes};
use super::sender::Sender;
use crate::decide::reason::{ProcessLabel, REMEMBERED, Reason, Remaining, RemainingProcess};
use crate::decide::rules::Grace;
use crate::ending::Ending;
use crate::settings::Settings;
use crate::signal::Signal;

mod report;

/// How many bytes of a name, a reason or an error are kept.
const LONGEST_TEXT: usize = 400;

/// A stop request.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stop {
    /// The signal that was received.
    pub(crate) signal: Signal,
    /// Who sent it.
    pub(crate) sender: Sender,
    /// How long after the start.
    #[serde(rename = "after_seconds", serialize_with = "report::rounded")]
    pub(crate) after: Duration,
}

/// The processes other than the command that a stop was about.
#[derive(Clone, Debug, Default, Serialize)]
struct Others {
    /// How many were sent a stop signal.
    signaled: usize,
    /// How many remained when SIGKILL was sent.
    killed: usize,
    /// The first of them.
    processes: Vec<Other>,
}

/// A process other than the command.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Other {
    /// Its process id.
    pub(crate) pid: i32,
    /// When it started: tells it from an earlier process with the same pid.
    #[serde(skip)]
    start: u64,
    /// The name that it went by.
    pub(crate) name: String,
    /// How it ended, if it was a child of ours by then.
    pub(crate) ended: Option<Ending>,
    /// Whether it remained when SIGKILL was sent.
    killed: bool,
    /// Why it remained.
    pub(crate) reason: Option<String>,
}

/// What has happened so far.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    command: Vec<String>,
    /// When the run began, by the time of day.
    started: SystemTime,
    grace: Grace,
    delay: Duration,
    /// Codes that count as 0.
    accepted: Vec<u8>,
    /// The limit of the report, in bytes.
    limit: usize,
    /// The command's pid.
    pid: Option<i32>,
    /// Why the command could not be run.
    error: Option<String>,
    /// The first stop request.
    stop: Option<Stop>,
    /// The stop signals that were sent to the command, the first one first.
    stop_signals: Vec<Signal>,
    /// How the command ended, and how long after the start.
    ended: Option<(Ending, Duration)>,
    /// Whether `supervise` has sent SIGKILL.
    sent_sigkill: bool,
    /// Why the command remained when SIGKILL was sent.
    reason: Option<String>,
    others: Others,
    /// How many orphans were reaped.
    orphans: u64,
    /// How many processes of our control group were killed by the OOM killer.
    oom_kills: Option<u64>,
    /// How long the run took.
    ran: Duration,
}

impl Account {
    /// The account of a run in which nothing has happened yet.
    pub(crate) fn new(settings: &Settings) -> Self {
        let argv = settings.command.argv.iter();
        // The report shows it, and nothing else does.
        let shown = argv.filter(|_| settings.run.report.is_some());
        Self {
            command: shown
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            started: SystemTime::now(),
            grace: settings.run.grace,
            delay: settings.run.stop_delay,
            accepted: settings.command.remap.clone(),
            limit: settings.run.report_limit,
            pid: None,
            error: None,
            stop: None,
            stop_signals: Vec::new(),
            ended: None,
            sent_sigkill: false,
            reason: None,
            others: Others::default(),
            orphans: 0,
            oom_kills: None,
            ran: Duration::ZERO,
        }
    }

    /// Takes in a record of what happened, so long after the start.
    pub(crate) fn add(&mut self, record: &Record<'_>, at: Duration) {
        match record {
            Record::NotStarted(why) => {
                self.error = Some(short(why));
                self.ran = at;
            }
            Record::NotExecuted { why, .. } => self.error = Some(short(why)),
            Record::Started(pid) => self.pid = Some(*pid),
            // The first request counts.
            Record::StopRequested { signal, sender, .. } => {
                self.stop.get_or_insert_with(|| Stop {
                    signal: *signal,
                    sender: (*sender).clone(),
                    after: at,
                });
            }
            Record::StopSignal { signal, others } => {
                if !self.stop_signals.contains(signal) {
                    self.stop_signals.push(*signal);
                }
                self.add_signaled(others);
            }
            Record::OthersSignaled(others) => self.add_signaled(others),
            // Sent to the command alone, or by --rewrite.
            Record::Sent { signal, result, .. } => {
                self.sent_sigkill |= *signal == Signal::KILL && result.is_ok();
            }
            Record::Killing {
                remaining, command, ..
            } => {
                self.sent_sigkill = true;
                if let Some(remaining) = remaining {
                    self.add_remaining(remaining, *command);
                }
            }
            Record::CommandEnded { ending, .. } => self.ended = Some((*ending, at)),
            Record::CommandKilled { .. } => {
                self.ended = Some((Ending::Killed(Signal::KILL, false), at));
            }
            // How the command before it ended does not count.
            Record::Successor(_) => self.ended = None,
            Record::Reaped { pid, ending, .. } => self.add_reaped(*pid, *ending),
            Record::Finished { oom_kills, .. } => {
                self.oom_kills = *oom_kills;
                self.ran = at;
            }
            Record::Delayed { .. }
            | Record::InitExits
            | Record::Stuck(_)
            | Record::Waiting { .. }
            | Record::Remains(..)
            | Record::SomeRemains { .. }
            | Record::More(..)
            | Record::Left { .. } => {}
        }
    }

    fn add_signaled(&mut self, others: &[ProcessLabel]) {
        self.others.signaled += others.len();
        for process in others {
            self.other(process);
        }
    }

    /// Notes which processes are sent SIGKILL, and why they remained.
    fn add_remaining(&mut self, remaining: &Remaining, command: Option<i32>) {
        self.others.killed += remaining.others;
        // A zombie has nothing to lose.
        let alive = |left: &&RemainingProcess| !matches!(left.reason, Reason::NotReaped(_));
        for RemainingProcess { process, reason } in remaining.explained.iter().filter(alive) {
            let reason = Some(short(&reason.to_string()));
            if Some(process.pid) == command {
                self.reason = reason;
            } else if let Some(other) = self.other(process) {
                other.killed = true;
                // It may have executed something else since it was signaled.
                other.name = short(&process.name);
                other.reason = reason;
            }
        }
    }

    fn add_reaped(&mut self, pid: i32, ending: Ending) {
        self.orphans = self.orphans.saturating_add(1);
        // A pid is used again only after its last process was reaped.
        let mut others = self.others.processes.iter_mut().rev();
        if let Some(other) = others.find(|other| other.pid == pid && other.ended.is_none()) {
            other.ended = Some(ending);
        }
    }

    /// What is kept of a process; `None` if too many are kept.
    fn other(&mut self, process: &ProcessLabel) -> Option<&mut Other> {
        let others = &mut self.others.processes;
        let is_same = |other: &Other| (other.pid, other.start) == (process.pid, process.start);
        let at = others.iter().position(is_same).unwrap_or(others.len());
        if at == others.len() && at < REMEMBERED {
            others.push(Other {
                pid: process.pid,
                start: process.start,
                name: short(&process.name),
                ended: None,
                killed: false,
                reason: None,
            });
        }
        others.get_mut(at)
    }

    /// How the run is judged.
    pub(crate) fn outcome(&self) -> Outcome {
        let Some((ending, _)) = self.ended else {
            // SIGKILL has not ended it either, or it was never executed.
            return match self.error {
                None if self.sent_sigkill => Outcome::Killed,
                _ => Outcome::Failed,
            };
        };
        if self.sent_sigkill || matches!(ending, Ending::Killed(Signal::KILL, _)) {
            return Outcome::Killed;
        }
        let accepted = self.is_accepted(ending);
        match &self.stop {
            None if accepted => Outcome::Completed,
            Some(_) if self.is_unrehearsed() => Outcome::Failed,
            Some(_) if accepted => Outcome::Graceful,
            Some(_) if self.fatal_stop_signal().is_some() => Outcome::Unhandled,
            None | Some(_) => Outcome::Failed,
        }
    }

    /// Whether a rehearsal requested the stop, and the command exited before it was sent
    /// a stop signal: during the stop delay, or before the stop request.
    pub(crate) fn is_unrehearsed(&self) -> bool {
        let rehearsal = |stop: &Stop| stop.sender == Sender::Rehearsal;
        self.stop.as_ref().is_some_and(rehearsal) && self.stop_signals.is_empty()
    }

    /// Whether the status is 0 or counts as 0.
    pub(crate) fn is_accepted(&self, ending: Ending) -> bool {
        ending.code() == 0 || self.accepted.contains(&ending.code())
    }

    /// The stop signal that killed the command, or that its exit status stands for:
    /// the JVM exits with 143 where others are killed by SIGTERM.
    pub(crate) fn fatal_stop_signal(&self) -> Option<Signal> {
        let (ending, _) = self.ended?;
        let mut signals = self.stop_signals.iter().copied();
        signals.find(|signal| Ending::Killed(*signal, false).code() == ending.code())
    }

    /// Whether `supervise` has sent SIGKILL. If it has not, a command that was killed by
    /// SIGKILL was killed by another process or the kernel.
    pub(crate) fn has_sent_sigkill(&self) -> bool {
        self.sent_sigkill
    }

    /// Whether there is an error that kept the command from running.
    pub(crate) fn has_failed_to_start(&self) -> bool {
        self.error.is_some()
    }

    /// The grace period.
    pub(crate) fn grace(&self) -> Grace {
        self.grace
    }

    /// The first stop request.
    pub(crate) fn stop(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    /// The first stop signal that was sent to the command.
    pub(crate) fn first_stop_signal(&self) -> Option<Signal> {
        self.stop_signals.first().copied()
    }

    /// How the command ended, and how long after the start.
    pub(crate) fn ended(&self) -> Option<(Ending, Duration)> {
        self.ended
    }

    /// How long after the stop request the command ended.
    pub(crate) fn ended_after_stop(&self) -> Option<Duration> {
        let (_, ended) = self.ended?;
        ended.checked_sub(self.stop.as_ref()?.after)
    }

    /// Why the command remained when SIGKILL was sent.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// How many other processes were sent a stop signal.
    pub(crate) fn signaled(&self) -> usize {
        self.others.signaled
    }

    /// The other processes that the stop was about, as far as they are kept.
    pub(crate) fn others(&self) -> &[Other] {
        &self.others.processes
    }

    /// The record of the end of the run, so long after its start.
    pub(crate) fn finished(&self, at: Duration, oom_kills: Option<u64>) -> Record<'static> {
        let stop = self.stop.as_ref().map(|stop| StopTimes {
            all: at.saturating_sub(stop.after),
            command: match (self.ended, self.ended_after_stop()) {
                (_, Some(after)) => CommandExit::After(after),
                (Some(_), None) => CommandExit::Earlier,
                (None, None) => CommandExit::Never,
            },
        });
        Record::Finished {
            outcome: self.outcome(),
            stop,
            oom_kills,
        }
    }
}

/// As much of a text as is kept.
fn short(text: &str) -> String {
    cut_to(text, LONGEST_TEXT)
}

fn cut_to(text: &str, length: usize) -> String {
    let mut ends = (0..=length.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default())
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::rules::LeftoverPolicy;
    use crate::settings;
    use crate::signal::SignalSet;
    use crate::sys::kill::Target;
    use crate::tell::record::KillCause;

    const KILL: Ending = Ending::Killed(Signal::KILL, false);
    const TERM: Ending = Ending::Killed(Signal::TERM, false);

    pub(super) const STOP: Record<'static> = Record::StopRequested {
        signal: Signal::HUP,
        sender: &Sender::Kernel,
        grace: Grace::Infinite,
    };
    const REHEARSAL: Record<'static> = Record::StopRequested {
        signal: Signal::HUP,
        sender: &Sender::Rehearsal,
        grace: Grace::Infinite,
    };
    const KILLING: Record<'static> = Record::Killing {
        cause: KillCause::Expired(Grace::Infinite),
        remaining: None,
        command: None,
    };

    /// An account with --remap-exit 3 and 137.
    pub(super) fn account() -> Account {
        let run = settings::Run {
            grace: Grace::Infinite,
            stop_delay: Duration::ZERO,
            stop_on: SignalSet::EMPTY,
            stop_on_by_default: SignalSet::EMPTY,
            parent_death: None,
            report: Some(settings::ReportPath {
                source: "--report".to_owned(),
                path: "report".into(),
            }),
            report_limit: settings::DEFAULT_LIMIT,
            rehearse: None,
            log_format: settings::LogFormat::Text,
            log: String::new(),
            warn_on_reap: false,
            warnings: Vec::new(),
        };
        let command = settings::Command {
            argv: vec![c"cmd".to_owned()],
            leftovers: LeftoverPolicy::Auto,
            forward_to: settings::ForwardTo::Command,
            rewrite: Vec::new(),
            remap: vec![3, 137],
            reraise: true,
            notify_relay: true,
            hint: None,
        };
        Account::new(&Settings { run, command })
    }

    /// Adds these records, one each second.
    pub(super) fn add(account: &mut Account, records: &[Record<'_>]) {
        for (second, record) in (1..).zip(records) {
            account.add(record, Duration::from_secs(second));
        }
    }

    pub(super) fn of(records: &[Record<'_>]) -> Account {
        let mut account = account();
        add(&mut account, records);
        account
    }

    pub(super) fn ended(ending: Ending) -> Record<'static> {
        Record::CommandEnded { pid: 7, ending }
    }

    /// A stop signal for the command alone.
    pub(super) fn stop_signal(signal: Signal) -> Record<'static> {
        Record::StopSignal {
            signal,
            others: &[],
        }
    }

    pub(super) fn label(pid: i32, start: u64, name: &str) -> ProcessLabel {
        let name = name.to_owned();
        ProcessLabel { pid, start, name }
    }

    #[test]
    fn runs_are_judged() {
        for (stopped, ending, expected) in [
            (false, Ending::Exited(0), Outcome::Completed),
            (false, Ending::Exited(3), Outcome::Completed),
            (false, Ending::Exited(1), Outcome::Failed),
            (false, TERM, Outcome::Failed),
            (true, Ending::Exited(0), Outcome::Graceful),
            (true, Ending::Exited(3), Outcome::Graceful),
            (true, Ending::Exited(1), Outcome::Failed),
            // As the JVM does.
            (true, Ending::Exited(143), Outcome::Unhandled),
            (true, Ending::Exited(130), Outcome::Unhandled),
            (true, Ending::Exited(129), Outcome::Failed),
            (false, Ending::Exited(143), Outcome::Failed),
            (true, TERM, Outcome::Unhandled),
            (true, Ending::Killed(Signal::INT, false), Outcome::Unhandled),
            (true, Ending::Killed(Signal::HUP, false), Outcome::Failed),
            // Though 137 is accepted here.
            (true, KILL, Outcome::Killed),
            (false, KILL, Outcome::Killed),
        ] {
            let mut records = vec![Record::Started(7)];
            if stopped {
                // As after --rewrite HUP:TERM.
                records.extend([STOP, stop_signal(Signal::TERM), stop_signal(Signal::INT)]);
            }
            records.push(ended(ending));
            assert_eq!(of(&records).outcome(), expected, "{ending}");
        }
        let why = "not found";
        assert_eq!(of(&[Record::NotStarted(why)]).outcome(), Outcome::Failed);
        for ending in [TERM, Ending::Exited(143)] {
            let mut account = account();
            account.accepted = vec![143];
            let records = [STOP, stop_signal(Signal::TERM), ended(ending)];
            add(&mut account, &records);
            assert_eq!(account.outcome(), Outcome::Graceful, "by --remap-exit 143");
        }
    }

    /// What has happened so far, of what the outcome may depend on.
    #[expect(clippy::struct_excessive_bools, reason = "facts, each of its own")]
    #[derive(Clone, Copy, Default)]
    struct World {
        stop: Option<&'static Sender>,
        stop_signal: bool,
        sigkill: bool,
        ended: Option<Ending>,
        taken_over: bool,
        not_executed: bool,
    }

    impl World {
        /// Every record that can come next, and the world after it.
        fn next(self) -> Vec<(Record<'static>, Self)> {
            let runs = self.ended.is_none() && !self.not_executed;
            let mut next = Vec::new();
            if self.stop.is_none() {
                for (record, sender) in [(STOP, &Sender::Kernel), (REHEARSAL, &Sender::Rehearsal)] {
                    let stop = Some(sender);
                    next.push((record, Self { stop, ..self }));
                }
            }
            if self.stop.is_some() && runs && !self.stop_signal {
                let stop_signal = true;
                next.push((
                    super::tests::stop_signal(Signal::TERM),
                    Self {
                        stop_signal,
                        ..self
                    },
                ));
            }
            if !self.sigkill {
                let sigkill = true;
                next.push((KILLING, Self { sigkill, ..self }));
                let by_rewrite = |result| Record::Sent {
                    signal: Signal::KILL,
                    target: Target::Process(7),
                    result,
                };
                if runs {
                    next.push((by_rewrite(Ok(())), Self { sigkill, ..self }));
                    next.push((by_rewrite(Err(nix::errno::Errno::EPERM)), self));
                }
            }
            if runs {
                let mut endings = vec![Ending::Exited(0), Ending::Exited(1), TERM];
                if self.sigkill {
                    endings.push(KILL);
                } else {
                    let oom_kills = None;
                    let ended = Some(KILL);
                    next.push((
                        Record::CommandKilled { pid: 7, oom_kills },
                        Self { ended, ..self },
                    ));
                }
                for ending in endings {
                    let ended = Some(ending);
                    next.push((super::tests::ended(ending), Self { ended, ..self }));
                }
            }
            if runs && !self.taken_over {
                let (why, hint) = ("not found", None);
                let not_executed = true;
                next.push((
                    Record::NotExecuted { why, hint },
                    Self {
                        not_executed,
                        ..self
                    },
                ));
            }
            if self.ended.is_some() && !self.taken_over && self.stop.is_none() {
                let (ended, taken_over) = (None, true);
                next.push((
                    Record::Successor(8),
                    Self {
                        ended,
                        taken_over,
                        ..self
                    },
                ));
            }
            next
        }

        fn outcome(self) -> Outcome {
            let Some(ending) = self.ended else {
                let survived = self.sigkill && !self.not_executed;
                return if survived {
                    Outcome::Killed
                } else {
                    Outcome::Failed
                };
            };
            let rehearsal = self.stop == Some(&Sender::Rehearsal);
            match (self.stop.is_some(), ending) {
                _ if self.sigkill || ending == KILL => Outcome::Killed,
                (false, Ending::Exited(0)) => Outcome::Completed,
                (true, _) if rehearsal && !self.stop_signal => Outcome::Failed,
                (true, Ending::Exited(0)) => Outcome::Graceful,
                (true, TERM) if self.stop_signal => Outcome::Unhandled,
                _ => Outcome::Failed,
            }
        }
    }

    #[test]
    fn only_what_happened_counts_in_every_order_that_can_occur() {
        let mut to_visit = vec![(World::default(), vec![Record::Started(7)])];
        let mut orders = 0;
        while let Some((world, records)) = to_visit.pop() {
            orders += 1;
            let account = of(&records);
            assert_eq!(account.outcome(), world.outcome(), "{records:?}");
            assert_eq!(account.has_sent_sigkill(), world.sigkill, "{records:?}");
            assert_eq!(account.has_failed_to_start(), world.not_executed);
            assert_eq!(account.ended().map(|(ending, _)| ending), world.ended);
            let bounded = world.next().into_iter().filter(|_| records.len() < 9);
            for (record, world) in bounded {
                let mut records = records.clone();
                records.push(record);
                to_visit.push((world, records));
            }
        }
        assert!(orders > 1000, "{orders}");
    }

    #[test]
    fn the_first_stop_request_and_the_last_end_count() {
        let account = of(&[
            Record::Started(7),
            ended(Ending::Exited(1)),
            Record::Successor(8),
            STOP,
            REHEARSAL,
            stop_signal(Signal::TERM),
            ended(Ending::Exited(0)),
        ]);
        let stop = account.stop().unwrap();
        assert_eq!((&stop.sender, stop.after.as_secs()), (&Sender::Kernel, 4));
        assert_eq!(account.ended_after_stop(), Some(Duration::from_secs(3)));
        assert_eq!(account.first_stop_signal(), Some(Signal::TERM));
    }

    #[test]
    fn the_end_is_told_with_the_times_since_the_stop_request() {
        let exit = ended(Ending::Exited(0));
        for (records, expected) in [
            (vec![exit], None),
            (vec![exit, STOP], Some((8, CommandExit::Earlier))),
            (vec![STOP], Some((9, CommandExit::Never))),
            (
                vec![STOP, exit],
                Some((9, CommandExit::After(Duration::from_secs(1)))),
            ),
        ] {
            let account = of(&records);
            let record = account.finished(Duration::from_secs(10), Some(2));
            let Record::Finished { outcome, stop, .. } = record else {
                panic!("{record:?}");
            };
            let stop = stop.map(|stop| (stop.all.as_secs(), stop.command));
            assert_eq!((outcome, stop), (account.outcome(), expected));
        }
    }

    #[test]
    fn remaining_processes_are_noted_once() {
        let left = |pid, name, reason| RemainingProcess {
            process: label(pid, 0, name),
            reason,
        };
        let remaining = Remaining {
            others: 2,
            explained: vec![
                left(7, "cmd", Reason::Stopped),
                left(9, "worker", Reason::Traced),
                left(10, "c", Reason::Stopped),
                left(11, "d", Reason::NotReaped(None)),
            ],
            ..Remaining::default()
        };
        let account = of(&[
            Record::Started(7),
            Record::OthersSignaled(&[label(8, 0, "a"), label(9, 0, "b")]),
            Record::Reaped {
                pid: 8,
                ending: TERM,
                warn: false,
            },
            Record::Killing {
                cause: KillCause::Expired(Grace::Infinite),
                remaining: Some(&remaining),
                command: Some(7),
            },
        ]);
        assert_eq!(account.signaled(), 2);
        assert_eq!((account.others.killed, account.orphans), (2, 1));
        let others: Vec<_> = account
            .others()
            .iter()
            .map(|other| {
                let reason = other.reason.as_deref();
                (other.pid, &*other.name, other.ended, other.killed, reason)
            })
            .collect();
        let (stopped, traced) = (Reason::Stopped.to_string(), Reason::Traced.to_string());
        assert_eq!(
            others,
            [
                (8, "a", Some(TERM), false, None),
                // By the name that it has now.
                (9, "worker", None, true, Some(&*traced)),
                (10, "c", None, true, Some(&*stopped)),
            ]
        );
        assert_eq!(account.reason(), Some(&*stopped));
    }

    #[test]
    fn the_same_pid_is_another_process_if_its_start_is_another() {
        let exited = |code| Record::Reaped {
            pid: 8,
            ending: Ending::Exited(code),
            warn: false,
        };
        let others = [label(8, 2, "b")];
        let account = of(&[
            Record::OthersSignaled(&[label(8, 1, "a")]),
            exited(1),
            // In a process group this time.
            Record::StopSignal {
                signal: Signal::TERM,
                others: &others,
            },
            Record::OthersSignaled(&others),
            exited(2),
        ]);
        let ended: Vec<_> = account
            .others()
            .iter()
            .map(|other| (other.name.as_str(), other.ended))
            .collect();
        assert_eq!(
            ended,
            [
                ("a", Some(Ending::Exited(1))),
                ("b", Some(Ending::Exited(2)))
            ]
        );
    }
}
