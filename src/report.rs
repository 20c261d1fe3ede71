//! The account of one run: what happened, how it is judged, and the report that is
//! made of it (`docs/report.md`). Pure, but for the time of day at the start.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::leftovers::{AllLeft, Left, REMEMBERED};
use crate::lifecycle::Grace;
use crate::reason::{Named, Reason};
use crate::settings::Settings;
use crate::signal::Signal;
use crate::status::Ending;

/// The version of the report's form. A field that is added leaves it as it is; one
/// that is removed or changes its meaning makes it the next.
const VERSION: u8 = 1;

/// No report is longer, in bytes: Kubernetes takes no more of a termination message.
const LONGEST: usize = 4096;

/// How many bytes of a text of its own length are kept: of a name, of an error.
const LONGEST_TEXT: usize = 400;

/// Who asked for a stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Sender {
    /// A process, by its number and what else is known of it.
    Process {
        pid: i32,
        uid: u32,
        name: Option<String>,
    },
    /// A process that our PID namespace does not know: the container engine, say.
    Outside { uid: u32 },
    /// The kernel: a key, a timer, a limit.
    Kernel,
    /// We ourselves, to see how the command stops.
    Rehearsal,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, uid, name } => match name {
                Some(name) => write!(f, "pid {pid} ({name}, uid {uid})"),
                None => write!(f, "pid {pid} (uid {uid})"),
            },
            Self::Outside { uid } => write!(f, "outside the container (uid {uid})"),
            Self::Kernel => f.write_str("the kernel (a key, a timer, a limit)"),
            Self::Rehearsal => f.write_str("the rehearsal"),
        }
    }
}

/// How a run is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Nobody asked for a stop, and the status is 0 or one that counts as 0.
    Completed,
    /// A stop was requested, and the command exited with such a status.
    Graceful,
    /// The stop signal killed the command, or it exited with 128+N for that signal:
    /// it has no handler, or cleaned up and then killed itself with the signal. That
    /// it had a handler proves nothing, because runtimes (Go, Node, PHP) catch the
    /// signal only to exit from it at once.
    Unhandled,
    /// Any other status, or the command could not be run.
    Failed,
    /// SIGKILL ended the command, whoever sent it, or others that were left.
    Killed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::Graceful => "graceful",
            Self::Unhandled => "stop signal unhandled or re-raised",
            Self::Failed => "failed",
            Self::Killed => "killed",
        })
    }
}

/// A stop request.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    /// The signal that was received.
    pub(crate) signal: Signal,
    /// Who sent it.
    pub(crate) sender: Sender,
    /// How long after the start.
    pub(crate) after: Duration,
}

/// A process other than the command that a stop was about.
#[derive(Clone, Debug)]
pub(crate) struct Other {
    /// Its process id.
    pub(crate) pid: i32,
    /// The name that it went by.
    pub(crate) name: String,
    /// How it ended, where it was a child of ours by then.
    pub(crate) ended: Option<Ending>,
    /// Whether it was there when SIGKILL was sent.
    pub(crate) killed: bool,
    /// Why it was there then.
    pub(crate) reason: Option<String>,
}

/// What has happened so far.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// The command and its arguments.
    pub(crate) command: Vec<String>,
    /// Its process id.
    pub(crate) pid: Option<i32>,
    /// When it was started, by the time of day.
    pub(crate) started: SystemTime,
    /// The grace period.
    pub(crate) grace: Grace,
    /// How long a stop request is held back.
    pub(crate) delay: Duration,
    /// Codes that count as 0.
    pub(crate) accepted: Vec<u8>,
    /// The first stop request.
    pub(crate) stop: Option<Stop>,
    /// The stop signals that were sent to the command, the first one first.
    pub(crate) stop_signals: Vec<Signal>,
    /// How the command ended, and how long after the start.
    pub(crate) ended: Option<(Ending, Duration)>,
    /// Why the command could not be run, or was not ended by SIGKILL.
    pub(crate) error: Option<String>,
    /// Whether we have sent SIGKILL.
    pub(crate) killing: bool,
    /// How many others were asked.
    pub(crate) asked: usize,
    /// How many others were there when SIGKILL was sent.
    pub(crate) killed: usize,
    /// Why the command was there when SIGKILL was sent.
    pub(crate) reason: Option<String>,
    /// Who the others were, as far as they are kept.
    pub(crate) others: Vec<Other>,
    /// How many orphans were reaped.
    pub(crate) orphans: u64,
    /// How many processes of the control group were killed for want of memory.
    pub(crate) oom_kills: Option<u64>,
    /// How long all of it took.
    pub(crate) ran: Duration,
    /// The exit status as a shell would show it.
    pub(crate) exit_status: u8,
}

impl Account {
    /// An account of a run in which nothing has happened yet.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            command: settings
                .command
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            pid: None,
            started: SystemTime::now(),
            grace: settings.grace,
            delay: settings.stop_delay,
            accepted: settings.remap.clone(),
            stop: None,
            stop_signals: Vec::new(),
            ended: None,
            error: None,
            killing: false,
            asked: 0,
            killed: 0,
            reason: None,
            others: Vec::new(),
            orphans: 0,
            oom_kills: None,
            ran: Duration::ZERO,
            exit_status: 0,
        }
    }

    /// Notes that these were asked.
    pub(crate) fn note_asked(&mut self, asked: &[Named]) {
        self.asked += asked.len();
        for process in asked {
            self.other(process);
        }
    }

    /// Notes a stop signal that is sent to the command.
    pub(crate) fn note_stop_signal(&mut self, signal: Signal) {
        if !self.stop_signals.contains(&signal) {
            self.stop_signals.push(signal);
        }
    }

    /// Notes who is there when SIGKILL is sent, and why.
    pub(crate) fn note_left(&mut self, left: &AllLeft, command: Option<i32>) {
        self.killed += left.others;
        // Those that have ended are nobody's loss.
        let alive = |left: &&Left| !matches!(left.reason, Reason::NotReaped(_));
        for Left { process, reason } in left.explained.iter().filter(alive) {
            let reason = Some(short(&reason.to_string()));
            if Some(process.pid) == command {
                self.reason = reason;
                continue;
            }
            if let Some(other) = self.other(process) {
                other.killed = true;
                // It may have executed something else since it was asked.
                other.name = short(&process.name);
                other.reason = reason;
            }
        }
    }

    /// Notes that a child of ours other than the command has ended.
    pub(crate) fn note_reaped(&mut self, pid: i32, ending: Ending) {
        self.orphans = self.orphans.saturating_add(1);
        if let Some(other) = self.others.iter_mut().find(|other| other.pid == pid) {
            other.ended = Some(ending);
        }
    }

    fn other(&mut self, process: &Named) -> Option<&mut Other> {
        let known = self
            .others
            .iter()
            .position(|other| other.pid == process.pid);
        let at = match known {
            Some(at) => at,
            None if self.others.len() >= REMEMBERED => return None,
            None => {
                self.others.push(Other {
                    pid: process.pid,
                    name: short(&process.name),
                    ended: None,
                    killed: false,
                    reason: None,
                });
                self.others.len() - 1
            }
        };
        self.others.get_mut(at)
    }

    /// How it is judged.
    pub(crate) fn outcome(&self) -> Outcome {
        let Some((ending, _)) = self.ended else {
            return match self.reason {
                Some(_) => Outcome::Killed,
                None => Outcome::Failed,
            };
        };
        let accepted = ending.code() == 0 || self.accepted.contains(&ending.code());
        let by_kill = matches!(ending, Ending::Killed(Signal::KILL, _));
        match self.stop {
            _ if self.killing || by_kill => Outcome::Killed,
            None if accepted => Outcome::Completed,
            Some(_) if accepted => Outcome::Graceful,
            Some(_) if self.fatal_stop_signal().is_some() => Outcome::Unhandled,
            _ => Outcome::Failed,
        }
    }

    /// The stop signal that killed the command, or that its exit status stands for:
    /// the JVM exits with 143 where others are killed by SIGTERM.
    pub(crate) fn fatal_stop_signal(&self) -> Option<Signal> {
        let (ending, _) = self.ended?;
        let mut signals = self.stop_signals.iter().copied();
        signals.find(|signal| Ending::Killed(*signal, false).code() == ending.code())
    }

    /// How long after the stop request the command ended.
    pub(crate) fn ended_after_stop(&self) -> Option<Duration> {
        let (_, ended) = self.ended.as_ref()?;
        ended.checked_sub(self.stop.as_ref()?.after)
    }

    /// The report: one JSON object and a line end, at most 4096 bytes. What does not
    /// fit is cut: first the others, from the last, then the command's arguments.
    pub(crate) fn report(&self) -> Option<String> {
        let mut form = Form::of(self);
        loop {
            let text = serde_json::to_string(&form).ok()?;
            if text.len() < LONGEST {
                return Some(text + "\n");
            }
            form.cut = true;
            if form.leftovers.processes.pop().is_some() {
                continue;
            }
            match form.command.as_mut_slice() {
                [] => return None,
                [program] => *program = short(program),
                words => {
                    let fewer = (words.len() * 3 / 4).max(1);
                    form.command.truncate(fewer);
                }
            }
        }
    }
}

/// A text cut to what is kept of one.
fn short(text: &str) -> String {
    let end = (0..=LONGEST_TEXT.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default())
        .unwrap_or_default()
        .to_owned()
}

/// The form of the report; `docs/report.schema.json` describes it.
#[derive(Serialize)]
struct Form {
    version: u8,
    outcome: Outcome,
    command: Vec<String>,
    pid: Option<i32>,
    started: String,
    ran_seconds: f64,
    stop: Option<StopForm>,
    grace_seconds: Option<f64>,
    stop_delay_seconds: f64,
    ended: Option<EndedForm>,
    reason: Option<String>,
    error: Option<String>,
    leftovers: LeftoversForm,
    orphans_reaped: u64,
    oom_kills: Option<u64>,
    exit_status: u8,
    cut: bool,
}

#[derive(Serialize)]
struct StopForm {
    signal: String,
    sender: Sender,
    after_seconds: f64,
}

#[derive(Serialize)]
struct EndedForm {
    code: Option<u8>,
    signal: Option<String>,
    core_dumped: bool,
    after_seconds: f64,
    after_stop_seconds: Option<f64>,
}

#[derive(Serialize)]
struct LeftoversForm {
    asked: usize,
    killed: usize,
    processes: Vec<OtherForm>,
}

#[derive(Serialize)]
struct OtherForm {
    pid: i32,
    name: String,
    ended: Option<String>,
    killed: bool,
    reason: Option<String>,
}

impl OtherForm {
    fn of(other: &Other) -> Self {
        Self {
            pid: other.pid,
            name: other.name.clone(),
            ended: other.ended.map(|ending| ending.to_string()),
            killed: other.killed,
            reason: other.reason.clone(),
        }
    }
}

impl Form {
    fn of(account: &Account) -> Self {
        // What comes behind that many bytes would be cut below.
        let mut room = LONGEST;
        let command: Vec<String> = account
            .command
            .iter()
            .take_while(|word| {
                let fits = room > 0;
                room = room.saturating_sub(word.len().saturating_add(3));
                fits
            })
            .cloned()
            .collect();
        let cut = command.len() < account.command.len() || account.others.len() >= REMEMBERED;
        let stop = account.stop.as_ref().map(|stop| StopForm {
            signal: stop.signal.to_string(),
            sender: stop.sender.clone(),
            after_seconds: seconds(stop.after),
        });
        let ended = account.ended.map(|(ending, after)| {
            let (code, signal, core_dumped) = match ending {
                Ending::Exited(code) => (Some(code), None, false),
                Ending::Killed(signal, core) => (None, Some(signal.to_string()), core),
            };
            EndedForm {
                code,
                signal,
                core_dumped,
                after_seconds: seconds(after),
                after_stop_seconds: account.ended_after_stop().map(seconds),
            }
        });
        Self {
            version: VERSION,
            outcome: account.outcome(),
            command,
            pid: account.pid,
            started: humantime::format_rfc3339_millis(account.started).to_string(),
            ran_seconds: seconds(account.ran),
            stop,
            grace_seconds: match account.grace {
                Grace::For(grace) => Some(seconds(grace)),
                Grace::Infinite => None,
            },
            stop_delay_seconds: seconds(account.delay),
            ended,
            reason: account.reason.clone(),
            error: account.error.as_deref().map(short),
            leftovers: LeftoversForm {
                asked: account.asked,
                killed: account.killed,
                processes: account.others.iter().map(OtherForm::of).collect(),
            },
            orphans_reaped: account.orphans,
            oom_kills: account.oom_kills,
            exit_status: account.exit_status,
            cut,
        }
    }
}

/// To a thousandth.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILL: Ending = Ending::Killed(Signal::KILL, false);
    const TERM: Ending = Ending::Killed(Signal::TERM, false);

    fn account(stopped: bool, ending: Option<Ending>) -> Account {
        let stop = stopped.then_some(Stop {
            signal: Signal::HUP,
            sender: Sender::Kernel,
            after: Duration::from_secs(2),
        });
        Account {
            command: vec!["cmd".to_owned()],
            pid: Some(7),
            started: SystemTime::UNIX_EPOCH,
            grace: Grace::Infinite,
            delay: Duration::ZERO,
            accepted: vec![3, 137],
            stop,
            // As after --rewrite HUP:TERM.
            stop_signals: if stopped {
                vec![Signal::TERM, Signal::INT]
            } else {
                Vec::new()
            },
            ended: ending.map(|ending| (ending, Duration::from_secs(3))),
            error: None,
            killing: false,
            asked: 0,
            killed: 0,
            reason: None,
            others: Vec::new(),
            orphans: 0,
            oom_kills: None,
            ran: Duration::from_secs(4),
            exit_status: 0,
        }
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
            assert_eq!(
                account(stopped, Some(ending)).outcome(),
                expected,
                "{ending}"
            );
        }
        assert_eq!(account(false, None).outcome(), Outcome::Failed);
        let mut others = account(true, Some(Ending::Exited(0)));
        others.killing = true;
        assert_eq!(others.outcome(), Outcome::Killed, "whoever it was");
        for ending in [TERM, Ending::Exited(143)] {
            let mut declared = account(true, Some(ending));
            declared.accepted = vec![143];
            assert_eq!(declared.outcome(), Outcome::Graceful, "by --remap-exit 143");
        }
    }

    #[test]
    fn who_is_left_is_noted_once() {
        let mut account = account(true, None);
        let named = |pid, name: &str| Named {
            pid,
            name: name.to_owned(),
        };
        account.note_asked(&[named(8, "a"), named(9, "b")]);
        account.note_reaped(8, TERM);
        let left = |pid, name, reason| Left {
            process: named(pid, name),
            reason,
        };
        let all = AllLeft {
            others: 2,
            explained: vec![
                left(7, "cmd", Reason::Stopped),
                left(9, "b", Reason::Stopped),
                left(10, "c", Reason::Stopped),
                left(11, "d", Reason::NotReaped(None)),
            ],
            ..AllLeft::default()
        };
        account.note_left(&all, Some(7));
        assert_eq!((account.asked, account.killed, account.orphans), (2, 2, 1));
        let others: Vec<(i32, bool, bool)> = account
            .others
            .iter()
            .map(|other| (other.pid, other.killed, other.ended.is_some()))
            .collect();
        assert_eq!(
            others,
            [(8, false, true), (9, true, false), (10, true, false)]
        );
        account.killing = true;
        assert_eq!(account.outcome(), Outcome::Killed);
        // SIGKILL did not end the command either.
        assert!(account.report().unwrap().contains("\"ended\":null"));
    }

    #[test]
    fn of_many_arguments_the_first_are_kept() {
        let mut account = account(false, Some(Ending::Exited(0)));
        account.command = (0..100_000).map(|number| number.to_string()).collect();
        let report = account.report().unwrap();
        let read: serde_json::Value = serde_json::from_str(&report).unwrap();
        let kept = read["command"].as_array().unwrap();
        assert!(kept.len() > 200 && kept.len() < 1000, "{}", kept.len());
        assert_eq!(kept[200], "200");
        assert_eq!(read["cut"], true);
    }

    #[test]
    fn a_report_is_never_too_long() {
        let mut account = account(true, Some(TERM));
        account.command = vec!["\x01".repeat(100_000)];
        account.error = Some("\u{1f980}".repeat(1000));
        for pid in 1..1000 {
            let name = "\"".repeat(64);
            account.note_asked(&[Named { pid, name }]);
        }
        assert_eq!(account.others.len(), REMEMBERED);
        let report = account.report().unwrap();
        assert!(report.len() <= LONGEST, "{}", report.len());
        let read: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(read["cut"], true);
        assert_eq!(read["leftovers"]["asked"], 999);
    }
}
