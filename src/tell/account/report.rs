//! The report of a run (`docs/report.md`): the account as JSON.

use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Account, Stop, cut_to};
use crate::decide::reason::REMEMBERED;
use crate::decide::rules::Grace;
use crate::ending::Ending;
use crate::signal::Signal;
use crate::tell::log::to_json;
use crate::tell::sender::Sender;

/// The version of the report's format. A field that is added leaves it as it is; one
/// that is removed or changes its meaning makes it the next.
const VERSION: u8 = 1;

/// The report, as far as it is not cut. `docs/report.schema.json` describes it.
struct Report {
    account: Account,
    exit_status: u8,
    truncated: bool,
}

/// How the command ended.
#[derive(Serialize)]
struct Ended {
    code: Option<u8>,
    signal: Option<Signal>,
    core_dumped: bool,
    after_seconds: f64,
    after_stop_seconds: Option<f64>,
}

impl Account {
    /// The report: one JSON object and a line end, within the limit. If the report is
    /// too long, the other processes are cut first, from the last, then the command's
    /// arguments, and at last the texts.
    pub(crate) fn report(mut self, exit_status: u8) -> Option<String> {
        // Arguments behind that many bytes would be cut in any case.
        let mut room = self.limit;
        let kept = self.command.iter().take_while(|word| {
            let fits = room > 0;
            room = room.saturating_sub(word.len().saturating_add(3));
            fits
        });
        let kept = kept.count();
        self.command.truncate(kept);
        // Arguments that are left out here make a text that is too long: it is cut.
        let truncated = self.others.processes.len() >= REMEMBERED;
        let mut report = Report {
            account: self,
            exit_status,
            truncated,
        };
        loop {
            let text = to_json(&report)?;
            if text.len() < report.account.limit {
                return Some(text + "\n");
            }
            report.truncated = true;
            // Whatever is added to the report: less can be cut each time, then nothing.
            if !report.account.cut() {
                return None;
            }
        }
    }

    /// Cuts something; `false` if there is nothing left to cut.
    fn cut(&mut self) -> bool {
        if self.others.processes.pop().is_some() {
            return true;
        }
        if self.command.len() > 1 {
            self.command.truncate(self.command.len() * 3 / 4);
            return true;
        }
        let sender = match &mut self.stop {
            Some(Stop {
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

    fn ended_in_report(&self) -> Option<Ended> {
        let (ending, after) = self.ended?;
        let (signal, core_dumped) = match ending {
            Ending::Killed(signal, core_dumped) => (Some(signal), core_dumped),
            Ending::Exited(_) | Ending::NotExecuted(_) => (None, false),
        };
        Some(Ended {
            code: signal.is_none().then(|| ending.code()),
            signal,
            core_dumped,
            after_seconds: seconds(after),
            after_stop_seconds: self.ended_after_stop().map(seconds),
        })
    }
}

/// The short fields that matter most come first, so that a reader still sees them if
/// another program truncates the report.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let account = &self.account;
        let grace = match account.grace {
            Grace::For(grace) => Some(seconds(grace)),
            Grace::Infinite => None,
        };
        let started = humantime::format_rfc3339_millis(account.started).to_string();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", &VERSION)?;
        map.serialize_entry("outcome", &account.outcome())?;
        map.serialize_entry("exit_status", &self.exit_status)?;
        map.serialize_entry("truncated", &self.truncated)?;
        map.serialize_entry("oom_kills", &account.oom_kills)?;
        map.serialize_entry("reason", &account.reason)?;
        map.serialize_entry("error", &account.error)?;
        map.serialize_entry("stop", &account.stop)?;
        map.serialize_entry("ended", &account.ended_in_report())?;
        map.serialize_entry("started", &started)?;
        map.serialize_entry("ran_seconds", &seconds(account.ran))?;
        map.serialize_entry("grace_seconds", &grace)?;
        map.serialize_entry("stop_delay_seconds", &seconds(account.delay))?;
        map.serialize_entry("orphans_reaped", &account.orphans)?;
        map.serialize_entry("pid", &account.pid)?;
        map.serialize_entry("command", &account.command)?;
        map.serialize_entry("leftovers", &account.others)?;
        map.end()
    }
}

/// To a thousandth.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Writes a time in seconds.
pub(super) fn rounded<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(seconds(*time))
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As its text, which only the other processes have.
impl Serialize for Ending {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::Value;

    use super::super::tests::{STOP, account, add, ended, label, of, stop_signal};
    use super::super::{LONGEST_TEXT, Others};
    use super::*;
    use crate::settings::{DEFAULT_LIMIT, LOWEST_LIMIT};
    use crate::tell::record::Record;

    const TERM: Ending = Ending::Killed(Signal::TERM, false);

    fn read(report: &str) -> Value {
        assert!(report.ends_with("}\n"), "{report}");
        serde_json::from_str(report).unwrap()
    }

    fn completed() -> Account {
        of(&[ended(Ending::Exited(0))])
    }

    #[test]
    fn a_report_has_all_fields_the_most_important_ones_first() {
        let mut account = account();
        account.started = SystemTime::UNIX_EPOCH;
        account.grace = Grace::For(Duration::from_micros(1_500_600));
        add(
            &mut account,
            &[
                Record::Started(7),
                STOP,
                stop_signal(Signal::TERM),
                Record::OthersSignaled(&[label(8, 5, "a")]),
                ended(TERM),
                Record::Reaped {
                    pid: 8,
                    ending: Ending::Exited(1),
                    warn: false,
                },
            ],
        );
        let finished = account.finished(Duration::from_secs(9), Some(2));
        account.add(&finished, Duration::from_secs(9));
        assert_eq!(
            account.report(143).unwrap(),
            "{\"version\":1,\"outcome\":\"unhandled\",\"exit_status\":143,\
             \"truncated\":false,\"oom_kills\":2,\"reason\":null,\"error\":null,\
             \"stop\":{\"signal\":\"SIGHUP\",\"sender\":{\"kind\":\"kernel\"},\
             \"after_seconds\":2.0},\
             \"ended\":{\"code\":null,\"signal\":\"SIGTERM\",\"core_dumped\":false,\
             \"after_seconds\":5.0,\"after_stop_seconds\":3.0},\
             \"started\":\"1970-01-01T00:00:00.000Z\",\"ran_seconds\":9.0,\
             \"grace_seconds\":1.501,\"stop_delay_seconds\":0.0,\"orphans_reaped\":1,\
             \"pid\":7,\"command\":[\"cmd\"],\"leftovers\":{\"signaled\":1,\"killed\":0,\
             \"processes\":[{\"pid\":8,\"name\":\"a\",\"ended\":\"exited with status 1\",\
             \"killed\":false,\"reason\":null}]}}\n"
        );
    }

    #[test]
    fn a_command_that_did_not_run_has_not_ended() {
        let why = "x".repeat(2 * LONGEST_TEXT);
        let mut account = of(&[Record::NotStarted(&why)]);
        let report = read(&account.clone().report(125).unwrap());
        assert_eq!(report["ended"], Value::Null);
        assert_eq!(report["error"], why[..LONGEST_TEXT]);
        assert_eq!(report["ran_seconds"], 1.0);
        account.add(&ended(Ending::Killed(Signal::QUIT, true)), Duration::ZERO);
        let report = read(&account.clone().report(131).unwrap());
        assert_eq!(report["ended"]["signal"], "SIGQUIT");
        assert_eq!(report["ended"]["core_dumped"], true);
        account.add(&ended(Ending::Exited(3)), Duration::ZERO);
        let report = read(&account.report(3).unwrap());
        assert_eq!(report["ended"]["code"], 3);
        assert_eq!(report["ended"]["core_dumped"], false);
    }

    #[test]
    fn of_many_arguments_the_first_are_kept() {
        let mut account = completed();
        account.command = (0..100_000).map(|number| number.to_string()).collect();
        let report = read(&account.report(0).unwrap());
        let kept = report["command"].as_array().unwrap();
        assert!(kept.len() > 200 && kept.len() < 1000, "{}", kept.len());
        assert_eq!(kept[200], "200");
        assert_eq!(report["truncated"], true);
    }

    #[test]
    fn a_report_is_never_too_long() {
        let mut account = of(&[STOP, ended(TERM)]);
        account.command = vec!["\x01".repeat(100_000)];
        account.error = Some("\u{1f980}".repeat(1000));
        let others: Vec<_> = (1..1000)
            .map(|pid| label(pid, 0, &"\"".repeat(64)))
            .collect();
        add(&mut account, &[Record::OthersSignaled(&others)]);
        assert_eq!(account.others().len(), REMEMBERED);
        let report = account.report(0).unwrap();
        assert!(report.len() <= DEFAULT_LIMIT, "{}", report.len());
        let report = read(&report);
        assert_eq!(report["truncated"], true);
        assert_eq!(report["leftovers"]["signaled"], 999);
    }

    #[test]
    fn the_lowest_limit_has_room_for_any_report_and_none_takes_for_ever() {
        let worst = "\x01".repeat(LONGEST_TEXT);
        let highest = Signal::from_number(63).unwrap();
        let mut account = of(&[stop_signal(highest)]);
        account.command = vec![worst.clone(); 3];
        account.error = Some(worst.clone());
        account.reason = Some(worst.clone());
        account.stop = Some(Stop {
            signal: highest,
            sender: Sender::Process {
                pid: i32::MIN,
                uid: u32::MAX,
                name: Some(worst),
                claimed: false,
            },
            after: Duration::from_secs(u64::MAX),
        });
        account.ended = Some((Ending::Killed(highest, true), Duration::MAX));
        account.started = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
        account.grace = Grace::For(Duration::MAX);
        account.delay = Duration::MAX;
        account.ran = Duration::MAX;
        account.pid = Some(i32::MIN);
        (account.orphans, account.oom_kills) = (u64::MAX, Some(u64::MAX));
        account.others = Others {
            signaled: usize::MAX,
            killed: usize::MAX,
            processes: Vec::new(),
        };
        for limit in [LOWEST_LIMIT, 1500, 2048, DEFAULT_LIMIT, 1 << 20] {
            account.limit = limit;
            let report = account.clone().report(u8::MAX).unwrap();
            assert!(report.len() <= limit, "{limit}: {}", report.len());
            let read = read(&report);
            assert_eq!(read["truncated"], limit <= DEFAULT_LIMIT, "{report}");
            assert!(read["command"][0].is_string(), "{report}");
        }
        // Less than that cannot be set. If it could, it would end all the same.
        account.limit = 10;
        assert_eq!(account.report(0), None);
    }

    #[test]
    fn the_line_end_counts_as_well() {
        let mut account = completed();
        account.limit = LOWEST_LIMIT;
        let lengths: Vec<usize> = (0..LOWEST_LIMIT)
            .map(|length| {
                account.command = vec!["x".repeat(length)];
                account.clone().report(0).unwrap().len()
            })
            .collect();
        assert_eq!(lengths.iter().max(), Some(&LOWEST_LIMIT));
    }

    #[test]
    fn no_more_of_a_text_is_cut_than_half() {
        let mut account = completed();
        account.limit = LOWEST_LIMIT;
        account.reason = Some("x".repeat(LOWEST_LIMIT));
        let report = read(&account.report(0).unwrap());
        let kept = report["reason"].as_str().unwrap().len();
        assert_eq!(kept, LOWEST_LIMIT / 2, "{report}");
    }

    #[test]
    fn a_report_without_all_other_processes_says_so() {
        for (others, truncated) in [(REMEMBERED - 1, false), (REMEMBERED + 1, true)] {
            let mut account = completed();
            account.limit = 1 << 20;
            let others: Vec<_> = (1..).map(|pid| label(pid, 0, "a")).take(others).collect();
            add(&mut account, &[Record::OthersSignaled(&others)]);
            let report = read(&account.report(0).unwrap());
            assert_eq!(report["truncated"], truncated, "{}", others.len());
        }
    }
}
