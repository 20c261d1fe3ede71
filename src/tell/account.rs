//! The account of one run: what happened, how it is judged, and the report that is
//! made of it (`docs/report.md`). Pure, but for the time of day at the start.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::decide::reason::{ProcessLabel, REMEMBERED, Reason, Remaining, RemainingProcess};
use crate::decide::rules::Grace;
use crate::ending::Ending;
use crate::settings::Settings;
use crate::signal::Signal;

/// The version of the report's form. A field that is added leaves it as it is; one
/// that is removed or changes its meaning makes it the next.
const VERSION: u8 = 1;

/// How many bytes of a text of its own length are kept: of a name, of an error.
const LONGEST_TEXT: usize = 400;

/// Who asked for a stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Sender {
    /// A process, by its number and what else is known of it. `claimed`: it has
    /// filled these in itself (`rt_sigqueueinfo(2)`), and the kernel has not checked.
    Process {
        pid: i32,
        uid: u32,
        name: Option<String>,
        claimed: bool,
    },
    /// A process that our PID namespace does not know: the container engine, say.
    Outside { uid: u32, claimed: bool },
    /// The kernel: a key, a timer, a limit.
    Kernel,
    /// We ourselves, to see how the command stops.
    Rehearsal,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process {
                pid,
                uid,
                name,
                claimed,
            } => {
                f.write_str(claim(*claimed))?;
                match name {
                    Some(name) => write!(f, "pid {pid} ({name}, uid {uid})"),
                    None => write!(f, "pid {pid} (uid {uid})"),
                }
            }
            Self::Outside { uid, claimed } => {
                let claim = claim(*claimed);
                write!(f, "{claim}outside the PID namespace (uid {uid})")
            }
            Self::Kernel => f.write_str("the kernel (key, timer, limit)"),
            Self::Rehearsal => f.write_str("the rehearsal"),
        }
    }
}

fn claim(claimed: bool) -> &'static str {
    if claimed {
        "a process that claims to be "
    } else {
        ""
    }
}

/// How a run is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Nobody asked for a stop, and the status is 0 or one that counts as 0.
    Completed,
    /// A stop was requested, and the command exited with such a status; in a rehearsal,
    /// after it was sent the stop signal.
    Graceful,
    /// The stop signal killed the command, or it exited with 128+N for that signal:
    /// it has no handler, or cleaned up and then killed itself with the signal. That
    /// it had a handler proves nothing, because runtimes (Go, Node, PHP) catch the
    /// signal only to exit from it at once.
    Unhandled,
    /// Any other status, or the command could not be run, or a rehearsal has not shown
    /// how the command stops.
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
    /// When it started: together they are one process and no other.
    start: u64,
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
    /// The limit of the report, in bytes.
    pub(crate) limit: usize,
}

impl Account {
    /// An account of a run in which nothing has happened yet.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            command: settings
                .command
                .argv
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            pid: None,
            started: SystemTime::now(),
            grace: settings.run.grace,
            delay: settings.run.stop_delay,
            accepted: settings.command.remap.clone(),
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
            limit: settings.run.report_limit,
        }
    }

    /// Notes that these were asked.
    pub(crate) fn note_asked(&mut self, asked: &[ProcessLabel]) {
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
    pub(crate) fn note_left(&mut self, left: &Remaining, command: Option<i32>) {
        self.killed += left.others;
        // Those that have ended are nobody's loss.
        let alive = |left: &&RemainingProcess| !matches!(left.reason, Reason::NotReaped(_));
        for RemainingProcess { process, reason } in left.explained.iter().filter(alive) {
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
        // A pid is used again only after its last process was reaped.
        let mut others = self.others.iter_mut().rev();
        if let Some(other) = others.find(|other| other.pid == pid && other.ended.is_none()) {
            other.ended = Some(ending);
        }
    }

    fn other(&mut self, process: &ProcessLabel) -> Option<&mut Other> {
        let known = self
            .others
            .iter()
            .position(|other| (other.pid, other.start) == (process.pid, process.start));
        let at = match known {
            Some(at) => at,
            None if self.others.len() >= REMEMBERED => return None,
            None => {
                self.others.push(Other {
                    pid: process.pid,
                    start: process.start,
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
        let accepted = self.is_accepted(ending);
        let by_kill = matches!(ending, Ending::Killed(Signal::KILL, _));
        match self.stop {
            _ if self.killing || by_kill => Outcome::Killed,
            None if accepted => Outcome::Completed,
            Some(_) if self.is_unrehearsed() => Outcome::Failed,
            Some(_) if accepted => Outcome::Graceful,
            Some(_) if self.fatal_stop_signal().is_some() => Outcome::Unhandled,
            _ => Outcome::Failed,
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

    /// How long after the stop request the command ended.
    pub(crate) fn ended_after_stop(&self) -> Option<Duration> {
        let (_, ended) = self.ended.as_ref()?;
        ended.checked_sub(self.stop.as_ref()?.after)
    }

    /// The report: one JSON object and a line end, within the limit. What does not fit
    /// is cut: first the other processes, from the last, then the command's arguments,
    /// and at last the texts.
    pub(crate) fn report(&self) -> Option<String> {
        let mut form = Form::of(self);
        loop {
            let text = super::log::to_json(&form)?;
            if text.len() < self.limit {
                return Some(text + "\n");
            }
            form.truncated = true;
            // Whatever is added to the form: less can be cut each time, then nothing.
            if !form.cut() {
                return None;
            }
        }
    }
}

/// A text cut to what is kept of one.
fn short(text: &str) -> String {
    cut_to(text, LONGEST_TEXT)
}

fn cut_to(text: &str, length: usize) -> String {
    let end = (0..=length.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default())
        .unwrap_or_default()
        .to_owned()
}

/// The form of the report; `docs/report.schema.json` describes it. What matters most
/// and is short comes first, so that it is there in a report that others cut as well.
#[derive(Serialize)]
struct Form {
    version: u8,
    outcome: Outcome,
    exit_status: u8,
    truncated: bool,
    oom_kills: Option<u64>,
    reason: Option<String>,
    error: Option<String>,
    stop: Option<StopForm>,
    ended: Option<EndedForm>,
    started: String,
    ran_seconds: f64,
    grace_seconds: Option<f64>,
    stop_delay_seconds: f64,
    orphans_reaped: u64,
    pid: Option<i32>,
    command: Vec<String>,
    leftovers: LeftoversForm,
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
    signaled: usize,
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
        let mut room = account.limit;
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
        // Arguments that are left out above make a text that is too long: it is cut.
        let truncated = account.others.len() >= REMEMBERED;
        let stop = account.stop.as_ref().map(|stop| StopForm {
            signal: stop.signal.to_string(),
            sender: stop.sender.clone(),
            after_seconds: seconds(stop.after),
        });
        let ended = account.ended.map(|(ending, after)| {
            let (code, signal, core_dumped) = match ending {
                // The report's `error` says so.
                Ending::NotExecuted(_) => (None, None, false),
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
            exit_status: account.exit_status,
            truncated,
            oom_kills: account.oom_kills,
            reason: account.reason.clone(),
            error: account.error.as_deref().map(short),
            stop,
            ended,
            started: humantime::format_rfc3339_millis(account.started).to_string(),
            ran_seconds: seconds(account.ran),
            grace_seconds: match account.grace {
                Grace::For(grace) => Some(seconds(grace)),
                Grace::Infinite => None,
            },
            stop_delay_seconds: seconds(account.delay),
            orphans_reaped: account.orphans,
            pid: account.pid,
            command,
            leftovers: LeftoversForm {
                signaled: account.asked,
                killed: account.killed,
                processes: account.others.iter().map(OtherForm::of).collect(),
            },
        }
    }

    /// Cuts something; `false` if there is nothing left to cut.
    fn cut(&mut self) -> bool {
        if self.leftovers.processes.pop().is_some() {
            return true;
        }
        if self.command.len() > 1 {
            self.command.truncate(self.command.len() * 3 / 4);
            return true;
        }
        let sender = match &mut self.stop {
            Some(StopForm {
                sender: Sender::Process { name, .. },
                ..
            }) => name.as_mut(),
            _ => None,
        };
        let texts = [self.reason.as_mut(), self.error.as_mut(), sender];
        let texts = texts.into_iter().flatten().chain(self.command.first_mut());
        match texts.max_by_key(|text| text.len()) {
            Some(longest) if !longest.is_empty() => {
                *longest = cut_to(longest, longest.len() / 2);
                true
            }
            _ => false,
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
    use crate::settings::{DEFAULT_LIMIT, LOWEST_LIMIT};

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
            limit: DEFAULT_LIMIT,
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
    fn a_command_that_exits_without_a_stop_signal_is_graceful_except_in_a_rehearsal() {
        for (sender, expected) in [
            (Sender::Kernel, Outcome::Graceful),
            (Sender::Rehearsal, Outcome::Failed),
        ] {
            let mut account = account(true, Some(Ending::Exited(0)));
            account.stop.as_mut().unwrap().sender = sender;
            assert_eq!(account.outcome(), Outcome::Graceful, "it was sent SIGTERM");
            account.stop_signals.clear();
            assert_eq!(account.outcome(), expected);
            account.killing = true;
            assert_eq!(account.outcome(), Outcome::Killed);
        }
    }

    #[test]
    fn who_is_left_is_noted_once() {
        let mut account = account(true, None);
        let named = |pid, name: &str| ProcessLabel {
            pid,
            start: 0,
            name: name.to_owned(),
        };
        account.note_asked(&[named(8, "a"), named(9, "b")]);
        account.note_reaped(8, TERM);
        let left = |pid, name, reason| RemainingProcess {
            process: named(pid, name),
            reason,
        };
        let all = Remaining {
            others: 2,
            explained: vec![
                left(7, "cmd", Reason::Stopped),
                left(9, "b", Reason::Stopped),
                left(10, "c", Reason::Stopped),
                left(11, "d", Reason::NotReaped(None)),
            ],
            ..Remaining::default()
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
        assert_eq!(read["truncated"], true);
    }

    #[test]
    fn a_report_is_never_too_long() {
        let mut account = account(true, Some(TERM));
        account.command = vec!["\x01".repeat(100_000)];
        account.error = Some("\u{1f980}".repeat(1000));
        for pid in 1..1000 {
            let name = "\"".repeat(64);
            account.note_asked(&[ProcessLabel {
                pid,
                start: 0,
                name,
            }]);
        }
        assert_eq!(account.others.len(), REMEMBERED);
        let report = account.report().unwrap();
        assert!(report.len() <= DEFAULT_LIMIT, "{}", report.len());
        let read: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(read["truncated"], true);
        assert_eq!(read["leftovers"]["signaled"], 999);
    }

    #[test]
    fn the_lowest_limit_has_room_for_any_report_and_none_takes_for_ever() {
        let mut account = account(true, Some(TERM));
        let worst = "\x01".repeat(LONGEST_TEXT);
        account.command = vec![worst.clone(); 3];
        account.error = Some(worst.clone());
        account.reason = Some(worst.clone());
        account.stop = Some(Stop {
            signal: Signal::from_number(63).unwrap(),
            sender: Sender::Process {
                pid: i32::MIN,
                uid: u32::MAX,
                name: Some(worst),
                claimed: false,
            },
            after: Duration::from_secs(u64::MAX),
        });
        account.ended = Some((
            Ending::Killed(Signal::from_number(63).unwrap(), true),
            Duration::MAX,
        ));
        account.started = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
        account.grace = Grace::For(Duration::MAX);
        account.delay = Duration::MAX;
        account.ran = Duration::MAX;
        account.pid = Some(i32::MIN);
        (account.orphans, account.oom_kills) = (u64::MAX, Some(u64::MAX));
        (account.asked, account.killed) = (usize::MAX, usize::MAX);
        for limit in [LOWEST_LIMIT, 1500, 2048, DEFAULT_LIMIT, 1 << 20] {
            account.limit = limit;
            let report = account.report().unwrap();
            assert!(report.len() <= limit, "{limit}: {}", report.len());
            let read: serde_json::Value = serde_json::from_str(&report).unwrap();
            assert_eq!(read["truncated"], limit <= DEFAULT_LIMIT, "{report}");
            assert!(read["command"][0].is_string(), "{report}");
        }
        // Less than that cannot be set. If it could, it would end all the same.
        account.limit = 10;
        assert_eq!(account.report(), None);
    }

    #[test]
    fn the_line_end_counts_as_well() {
        let mut account = account(false, Some(Ending::Exited(0)));
        account.limit = LOWEST_LIMIT;
        let lengths: Vec<usize> = (0..LOWEST_LIMIT)
            .map(|length| {
                account.command = vec!["x".repeat(length)];
                account.report().unwrap().len()
            })
            .collect();
        assert_eq!(lengths.iter().max(), Some(&LOWEST_LIMIT));
    }

    #[test]
    fn no_more_of_a_text_is_cut_than_half() {
        let mut account = account(true, Some(TERM));
        account.limit = LOWEST_LIMIT;
        account.reason = Some("x".repeat(LOWEST_LIMIT));
        let report = account.report().unwrap();
        let read: serde_json::Value = serde_json::from_str(&report).unwrap();
        let kept = read["reason"].as_str().unwrap().len();
        assert_eq!(kept, LOWEST_LIMIT / 2, "{report}");
    }

    #[test]
    fn a_report_without_all_other_processes_says_so() {
        for (others, truncated) in [(REMEMBERED - 1, false), (REMEMBERED + 1, true)] {
            let mut account = account(true, Some(Ending::Exited(0)));
            account.limit = 1 << 20;
            let label = |pid| ProcessLabel {
                pid,
                start: 0,
                name: "a".to_owned(),
            };
            account.note_asked(&(1..).map(label).take(others).collect::<Vec<_>>());
            let read = account.report().unwrap();
            let read: serde_json::Value = serde_json::from_str(&read).unwrap();
            assert_eq!(read["truncated"], truncated, "{others}");
        }
    }

    #[test]
    fn what_matters_most_comes_first() {
        let account = account(true, Some(TERM));
        let head = "{\"version\":1,\"outcome\":\"unhandled\",\"exit_status\":0,\
                    \"truncated\":false,\"oom_kills\":null,\"reason\":null,\"error\":null,\
                    \"stop\":";
        assert!(account.report().unwrap().starts_with(head));
    }

    #[test]
    fn a_pid_that_is_used_again_is_another_process() {
        let mut account = account(true, None);
        let named = |start, name: &str| ProcessLabel {
            pid: 8,
            start,
            name: name.to_owned(),
        };
        account.note_asked(&[named(1, "a")]);
        account.note_reaped(8, Ending::Exited(1));
        account.note_asked(&[named(2, "b")]);
        account.note_reaped(8, Ending::Exited(2));
        let ended: Vec<_> = account
            .others
            .iter()
            .map(|o| (o.name.as_str(), o.ended))
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
