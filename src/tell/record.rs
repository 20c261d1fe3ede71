//! The records: everything that the log can say about a run, with its level and its words.

use std::fmt;
use std::time::Duration;

use log::Level;
use nix::errno::Errno;

use super::outcome::Outcome;
use super::sender::Sender;
use crate::decide::reason::{NAMED, ProcessLabel, Reason, Remaining, RemainingProcess};
use crate::decide::rules::Grace;
use crate::ending::Ending;
use crate::signal::Signal;
use crate::sys::kill::Target;

/// A happening.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Record<'a> {
    /// The command was not started, for this reason.
    NotStarted(&'a str),
    /// The command was started, with this pid.
    Started(i32),
    /// The command could not be executed. `hint`: what to change in the command line.
    NotExecuted { why: &'a str, hint: Option<&'a str> },
    /// A stop was requested.
    StopRequested {
        signal: Signal,
        sender: &'a Sender,
        grace: Grace,
    },
    /// The stop request is held back. `to_command`: the command is to receive it, and
    /// otherwise the leftover processes.
    Delayed { delay: Duration, to_command: bool },
    /// The command is about to receive this stop signal, or has received it, and these
    /// others of its process group with it.
    StopSignal {
        signal: Signal,
        others: &'a [ProcessLabel],
    },
    /// A signal was sent to the command or a process group, or could not be.
    Sent {
        signal: Signal,
        target: Target,
        result: nix::Result<()>,
    },
    /// These other processes were sent SIGTERM and SIGCONT.
    OthersSignaled(&'a [ProcessLabel]),
    /// PID 1 is the init of a container that exits when we do.
    InitExits,
    /// The command waits for a terminal that it cannot get; this signal suspended it.
    Stuck(Signal),
    /// Some processes have not exited so far, with the time to SIGKILL; `None`: it is never
    /// sent.
    Waiting(Option<Duration>),
    /// SIGKILL is about to be sent to these processes, which are known if /proc is
    /// available. `command`: the pid of the command,
    /// unless that has exited.
    Killing {
        cause: KillCause,
        remaining: Option<&'a Remaining>,
        command: Option<i32>,
    },
    /// One of the remaining processes.
    Remains(Moment, &'a RemainingProcess),
    /// Some process remains. Which one is unknown, although /proc is available, or because
    /// it is not.
    SomeRemains { moment: Moment, proc: bool },
    /// So many more processes than are named.
    More(Level, usize),
    /// The command exited.
    CommandEnded { pid: i32, ending: Ending },
    /// The command was killed by SIGKILL that `supervise` did not send. `oom_kills`: how
    /// many processes the OOM killer killed in our control group.
    CommandKilled { pid: i32, oom_kills: Option<u64> },
    /// This process is the command from now on.
    Successor(i32),
    /// An orphan was reaped. `warn`: the user wants to know.
    Reaped {
        pid: i32,
        ending: Ending,
        warn: bool,
    },
    /// This leftover process is not stopped. `killed`: the kernel kills it, because PID 1
    /// exits.
    Left {
        process: &'a ProcessLabel,
        killed: bool,
    },
    /// The run is over.
    Finished {
        outcome: Outcome,
        stop: Option<StopTimes>,
        oom_kills: Option<u64>,
    },
}

/// Why SIGKILL is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KillCause {
    /// The grace period expired.
    Expired(Grace),
    /// The moment came that the main process of several services has set.
    Due,
    /// The user typed this signal once more.
    TypedAgain(Signal),
}

/// When the remaining processes are named.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// The grace period has not expired.
    Waiting,
    /// SIGKILL is about to be sent.
    Killing,
    /// SIGKILL had its time to take effect.
    Killed,
}

/// How long after the stop request the run and the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StopTimes {
    /// The run.
    pub(crate) all: Duration,
    /// The command.
    pub(crate) command: CommandExit,
}

/// When the command exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandExit {
    /// So long after the stop request.
    After(Duration),
    /// Before the stop request.
    Earlier,
    /// It did not.
    Never,
}

impl<'a> Record<'a> {
    /// What is told of the remaining processes, in lines of their own.
    pub(crate) fn of_remaining(moment: Moment, remaining: Option<&'a Remaining>) -> Vec<Self> {
        let Some(Remaining { all, explained, .. }) = remaining else {
            return vec![Self::SomeRemains {
                moment,
                proc: false,
            }];
        };
        if *all == 0 {
            return vec![Self::SomeRemains { moment, proc: true }];
        }
        let records = explained
            .iter()
            .map(|process| Self::Remains(moment, process));
        Self::first_of(records, *all, Level::Warn)
    }

    /// What is told of the processes that are left running, or are killed by the kernel.
    pub(crate) fn of_left(processes: &'a [ProcessLabel], killed: bool) -> Vec<Self> {
        let records = processes
            .iter()
            .map(|process| Self::Left { process, killed });
        Self::first_of(records, processes.len(), Level::Info)
    }

    fn first_of(records: impl Iterator<Item = Self>, all: usize, level: Level) -> Vec<Self> {
        let mut records: Vec<_> = records.take(NAMED).collect();
        if all > records.len() {
            records.push(Self::More(level, all - records.len()));
        }
        records
    }

    /// Whether it is one of the stations that every run passes.
    pub(crate) fn is_of_course(&self) -> bool {
        matches!(
            self,
            Self::Started(_)
                | Self::StopRequested { .. }
                | Self::CommandEnded { .. }
                | Self::Finished { .. }
        )
    }

    /// The level that it is logged at.
    pub(crate) fn level(&self) -> Level {
        match self {
            Self::NotStarted(_) | Self::NotExecuted { .. } => Level::Error,
            Self::Stuck(_)
            | Self::Waiting(_)
            | Self::Killing { .. }
            | Self::Remains(..)
            | Self::SomeRemains { .. }
            | Self::CommandKilled { .. }
            | Self::Reaped { warn: true, .. } => Level::Warn,
            Self::Sent {
                result: Err(errno), ..
            } if ![Errno::ESRCH, Errno::EPERM].contains(errno) => Level::Warn,
            Self::StopRequested { .. }
            | Self::Delayed { .. }
            | Self::OthersSignaled(_)
            | Self::InitExits
            | Self::CommandEnded { .. }
            | Self::Successor(_)
            | Self::Left { .. }
            | Self::Finished { stop: Some(_), .. } => Level::Info,
            Self::Started(_)
            | Self::StopSignal { .. }
            | Self::Sent { .. }
            | Self::Reaped { warn: false, .. }
            | Self::Finished { stop: None, .. } => Level::Debug,
            Self::More(level, _) => *level,
        }
    }
}

impl fmt::Display for Record<'_> {
    #[expect(clippy::too_many_lines, reason = "one place for all the words")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(why) => f.write_str(why),
            Self::NotExecuted { why, hint } => {
                f.write_str(why)?;
                match hint {
                    Some(hint) => write!(f, " ({hint})"),
                    None => Ok(()),
                }
            }
            Self::Started(pid) => write!(f, "started command (pid {pid})"),
            Self::StopRequested {
                signal,
                sender: Sender::Rehearsal,
                grace,
            } => write!(f, "rehearsal: simulating {signal}: stopping, {grace}"),
            Self::StopRequested {
                signal,
                sender: Sender::Main,
                ..
            } => write!(f, "stopping: sent {signal}"),
            Self::StopRequested {
                signal,
                sender,
                grace,
            } => write!(f, "received {signal} from {sender}: stopping, {grace}"),
            Self::Delayed { delay, to_command } => {
                let what = if *to_command {
                    "forwarding the stop request"
                } else {
                    "sending SIGTERM to the other processes"
                };
                let delay = humantime::format_duration(*delay);
                write!(f, "{what} in {delay} (--stop-delay)")
            }
            Self::StopSignal { signal, .. } => {
                write!(f, "stop signal for the command: {signal}")
            }
            Self::Sent {
                signal,
                target,
                result,
            } => match result {
                Ok(()) => write!(f, "sent {signal} to {target}"),
                // A zombie, or an empty process group.
                Err(Errno::ESRCH) => write!(f, "{target} is gone: {signal} not sent"),
                Err(Errno::EPERM) => write!(f, "not permitted to send {signal} to {target}"),
                Err(errno) => write!(f, "cannot send {signal} to {target}: {}", errno.desc()),
            },
            Self::OthersSignaled(others) => {
                let others = other_processes(others.len());
                write!(f, "sent SIGTERM and SIGCONT to {others}")
            }
            Self::InitExits => {
                f.write_str("pid 1 exits with supervise: stopping all other processes")
            }
            Self::Stuck(signal) => write!(
                f,
                "command suspended by {signal}: it is not in the foreground process group; redirect \
                 stdin or use fg"
            ),
            Self::Waiting(left) => {
                f.write_str("still waiting for processes to exit: ")?;
                match left {
                    Some(left) => write!(f, "SIGKILL in {}", in_seconds(*left)),
                    None => write!(f, "no SIGKILL ({})", Grace::Infinite),
                }
            }
            Self::Killing { cause, .. } => match cause {
                KillCause::Expired(grace) => write!(f, "{grace} expired: sending SIGKILL"),
                KillCause::Due => f.write_str("deadline reached: sending SIGKILL"),
                KillCause::TypedAgain(signal) => {
                    write!(
                        f,
                        "received {signal} from the terminal again: sending SIGKILL"
                    )
                }
            },
            Self::Remains(moment, RemainingProcess { process, reason }) => match reason {
                Reason::NotReaped(_) => write!(f, "{process} is a zombie: {reason}"),
                reason => write!(f, "{process} {moment}: {reason}"),
            },
            Self::SomeRemains { moment, proc: true } => {
                write!(f, "some process {moment}: not visible in /proc")
            }
            Self::SomeRemains {
                moment,
                proc: false,
            } => {
                write!(f, "some process {moment}: /proc is unavailable")
            }
            Self::More(_, count) => write!(f, "and {count} more"),
            Self::CommandEnded { pid, ending } => write!(f, "command (pid {pid}) {ending}"),
            Self::CommandKilled { pid, oom_kills } => {
                write!(
                    f,
                    "command (pid {pid}) killed by SIGKILL that supervise did not send: "
                )?;
                match oom_kills {
                    Some(0) => f.write_str("no OOM kill in supervise's cgroup"),
                    Some(1) => f.write_str("1 OOM kill in supervise's cgroup"),
                    Some(kills) => write!(f, "{kills} OOM kills in supervise's cgroup"),
                    None => f.write_str("OOM kill count unavailable"),
                }
            }
            Self::Successor(pid) => write!(f, "pid {pid} takes over as the command (MAINPID)"),
            Self::Reaped { pid, ending, .. } => write!(f, "reaped orphan pid {pid}: {ending}"),
            Self::Left {
                process,
                killed: true,
            } => write!(f, "killed by the kernel, because PID 1 exits: {process}"),
            Self::Left {
                process,
                killed: false,
            } => write!(f, "left running: {process}"),
            Self::Finished { outcome, stop, .. } => match stop {
                Some(StopTimes { all, command }) => {
                    let all = in_seconds(*all);
                    write!(f, "stopped after {all} ({command}): {outcome}")
                }
                None => write!(f, "finished: {outcome}"),
            },
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "is still running",
            Self::Killing => "did not exit",
            Self::Killed => "survived SIGKILL, giving up",
        })
    }
}

impl fmt::Display for CommandExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(after) => write!(f, "command after {}", in_seconds(*after)),
            Self::Earlier => f.write_str("command exited earlier"),
            Self::Never => f.write_str("command did not exit"),
        }
    }
}

/// A number of processes other than the command.
pub(crate) fn other_processes(count: usize) -> String {
    match count {
        1 => "1 other process".to_owned(),
        count => format!("{count} other processes"),
    }
}

/// A time in seconds, to a hundredth.
pub(crate) fn in_seconds(time: Duration) -> String {
    format!("{:.2}s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(pid: i32) -> ProcessLabel {
        ProcessLabel {
            pid,
            start: 0,
            name: "app".to_owned(),
        }
    }

    fn lines(records: &[Record<'_>]) -> Vec<String> {
        let line = |record: &Record<'_>| format!("{} {record}", record.level());
        records.iter().map(line).collect()
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    #[test]
    fn each_record_has_its_level_and_its_words() {
        let grace = Grace::For(Duration::from_secs(30));
        let sent = |result| Record::Sent {
            signal: Signal::HUP,
            target: Target::Process(7),
            result,
        };
        let ending = Ending::Exited(3);
        let finished = |stop| Record::Finished {
            outcome: Outcome::Graceful,
            stop,
            oom_kills: None,
        };
        let all = Duration::from_millis(1020);
        let stopped = |command| finished(Some(StopTimes { all, command }));
        let killed = |oom_kills| Record::CommandKilled { pid: 7, oom_kills };
        let killing = |cause| Record::Killing {
            cause,
            remaining: None,
            command: None,
        };
        for (record, expected) in [
            (Record::NotStarted("why"), "ERROR why"),
            (Record::Started(7), "DEBUG started command (pid 7)"),
            (
                Record::NotExecuted {
                    why: "why",
                    hint: Some("a hint"),
                },
                "ERROR why (a hint)",
            ),
            (
                Record::NotExecuted {
                    why: "why",
                    hint: None,
                },
                "ERROR why",
            ),
            (
                Record::StopRequested {
                    signal: Signal::TERM,
                    sender: &Sender::Kernel,
                    grace,
                },
                "INFO received SIGTERM from the kernel (key, timer, limit): stopping, grace \
                 period 30s",
            ),
            (
                Record::StopRequested {
                    signal: Signal::TERM,
                    sender: &Sender::Rehearsal,
                    grace: Grace::Infinite,
                },
                "INFO rehearsal: simulating SIGTERM: stopping, grace period infinity",
            ),
            (
                Record::StopRequested {
                    signal: Signal::QUIT,
                    sender: &Sender::Main,
                    grace,
                },
                "INFO stopping: sent SIGQUIT",
            ),
            (
                Record::Delayed {
                    delay: Duration::from_millis(300),
                    to_command: true,
                },
                "INFO forwarding the stop request in 300ms (--stop-delay)",
            ),
            (
                Record::Delayed {
                    delay: Duration::from_secs(1),
                    to_command: false,
                },
                "INFO sending SIGTERM to the other processes in 1s (--stop-delay)",
            ),
            (
                Record::StopSignal {
                    signal: Signal::QUIT,
                    others: &[],
                },
                "DEBUG stop signal for the command: SIGQUIT",
            ),
            (sent(Ok(())), "DEBUG sent SIGHUP to pid 7"),
            (
                sent(Err(Errno::ESRCH)),
                "DEBUG pid 7 is gone: SIGHUP not sent",
            ),
            (
                sent(Err(Errno::EPERM)),
                "DEBUG not permitted to send SIGHUP to pid 7",
            ),
            (
                sent(Err(Errno::EAGAIN)),
                "WARN cannot send SIGHUP to pid 7: Try again",
            ),
            (
                Record::OthersSignaled(&[label(8)]),
                "INFO sent SIGTERM and SIGCONT to 1 other process",
            ),
            (
                Record::OthersSignaled(&[label(8), label(9)]),
                "INFO sent SIGTERM and SIGCONT to 2 other processes",
            ),
            (
                Record::InitExits,
                "INFO pid 1 exits with supervise: stopping all other processes",
            ),
            (
                Record::Stuck(Signal::TTIN),
                "WARN command suspended by SIGTTIN: it is not in the foreground process group; \
                 redirect stdin or use fg",
            ),
            (
                Record::Waiting(Some(Duration::from_secs(5))),
                "WARN still waiting for processes to exit: SIGKILL in 5.00s",
            ),
            (
                Record::Waiting(None),
                "WARN still waiting for processes to exit: no SIGKILL (grace period infinity)",
            ),
            (
                killing(KillCause::Expired(grace)),
                "WARN grace period 30s expired: sending SIGKILL",
            ),
            (
                killing(KillCause::Due),
                "WARN deadline reached: sending SIGKILL",
            ),
            (
                killing(KillCause::TypedAgain(Signal::INT)),
                "WARN received SIGINT from the terminal again: sending SIGKILL",
            ),
            (
                Record::CommandEnded { pid: 7, ending },
                "INFO command (pid 7) exited with status 3",
            ),
            (
                killed(Some(1)),
                "WARN command (pid 7) killed by SIGKILL that supervise did not send: 1 OOM kill \
                 in supervise's cgroup",
            ),
            (
                killed(Some(2)),
                "WARN command (pid 7) killed by SIGKILL that supervise did not send: 2 OOM kills \
                 in supervise's cgroup",
            ),
            (
                killed(Some(0)),
                "WARN command (pid 7) killed by SIGKILL that supervise did not send: no OOM kill \
                 in supervise's cgroup",
            ),
            (
                killed(None),
                "WARN command (pid 7) killed by SIGKILL that supervise did not send: OOM kill \
                 count unavailable",
            ),
            (
                Record::Successor(15),
                "INFO pid 15 takes over as the command (MAINPID)",
            ),
            (
                Record::Reaped {
                    pid: 12,
                    ending,
                    warn: false,
                },
                "DEBUG reaped orphan pid 12: exited with status 3",
            ),
            (
                Record::Reaped {
                    pid: 12,
                    ending,
                    warn: true,
                },
                "WARN reaped orphan pid 12: exited with status 3",
            ),
            (
                stopped(CommandExit::After(Duration::from_millis(10))),
                "INFO stopped after 1.02s (command after 0.01s): graceful",
            ),
            (
                stopped(CommandExit::Earlier),
                "INFO stopped after 1.02s (command exited earlier): graceful",
            ),
            (
                stopped(CommandExit::Never),
                "INFO stopped after 1.02s (command did not exit): graceful",
            ),
            (finished(None), "DEBUG finished: graceful"),
        ] {
            assert_eq!(lines(&[record]), [expected]);
        }
    }

    #[test]
    fn remaining_processes_are_told_with_their_reasons_as_far_as_they_are_known() {
        let process = |pid, reason| RemainingProcess {
            process: label(pid),
            reason,
        };
        let remaining = |all, explained| Remaining {
            all,
            others: 0,
            explained,
        };
        let stopped = Reason::Stopped;
        let zombie = Reason::NotReaped(None);
        let two = remaining(
            2,
            vec![process(7, stopped.clone()), process(8, zombie.clone())],
        );
        for (stage, words) in [
            (Moment::Waiting, "is still running"),
            (Moment::Killing, "did not exit"),
            (Moment::Killed, "survived SIGKILL, giving up"),
        ] {
            assert_eq!(
                lines(&Record::of_remaining(stage, Some(&two))),
                [
                    format!("WARN pid 7 (app) {words}: {stopped}"),
                    format!("WARN pid 8 (app) is a zombie: {zombie}"),
                ]
            );
        }
        let none = remaining(0, Vec::new());
        let told = Record::of_remaining(Moment::Killing, Some(&none));
        assert_eq!(
            lines(&told),
            ["WARN some process did not exit: not visible in /proc"]
        );
        let told = Record::of_remaining(Moment::Killed, None);
        assert_eq!(
            lines(&told),
            ["WARN some process survived SIGKILL, giving up: /proc is unavailable"]
        );
    }

    #[test]
    fn of_many_processes_ten_are_named() {
        let explained = (1..=20).map(|pid| RemainingProcess {
            process: label(pid),
            reason: Reason::Stopped,
        });
        let remaining = Remaining {
            all: 25,
            others: 0,
            explained: explained.collect(),
        };
        let told = lines(&Record::of_remaining(Moment::Waiting, Some(&remaining)));
        assert_eq!(told.len(), NAMED + 1);
        assert_eq!(told[NAMED], "WARN and 15 more");
        let left: Vec<_> = (1..=12).map(label).collect();
        let told = lines(&Record::of_left(&left, false));
        assert_eq!(told[0], "INFO left running: pid 1 (app)");
        assert_eq!(told[NAMED..], ["INFO and 2 more"]);
        let told = lines(&Record::of_left(&left[..NAMED], true));
        assert_eq!(told.len(), NAMED);
        let killed = "INFO killed by the kernel, because PID 1 exits: pid 10 (app)";
        assert_eq!(told[NAMED - 1], killed);
    }
}
