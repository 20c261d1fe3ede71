//! The status of services as text: as the status file has it, and as `--status` prints it.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use crate::decide::plan::Condition;

/// What every status file begins with.
pub(super) const MAGIC: &str = "supervise status ";

/// Raised when the lines change.
const VERSION: &str = "1";

/// A process that no reuse of its pid can be mistaken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    /// Its process id.
    pub(crate) pid: i32,
    /// When it started, as /proc/PID/stat has it.
    pub(crate) start: u64,
}

/// The status of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The name of the service.
    pub(crate) name: String,
    /// What it is doing; `None` if it is off.
    pub(crate) condition: Option<Condition>,
    /// Its main process, while that runs.
    pub(crate) pid: Option<i32>,
    /// Since when it has been in this condition, in seconds since 1970.
    pub(crate) since: u64,
    /// How many times it was started.
    pub(crate) starts: u32,
}

/// The status of all services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// The `supervise` that has written it.
    pub(crate) writer: Writer,
    /// The services.
    pub(crate) rows: Vec<Row>,
}

/// The conditions and their words. `off` is not a condition of the plan.
const WORDS: [(Option<Condition>, &str); 8] = [
    (Some(Condition::Waiting), "waiting"),
    (Some(Condition::Starting), "starting"),
    (Some(Condition::Ready), "ready"),
    (Some(Condition::Done), "done"),
    (Some(Condition::Restarting), "restarting"),
    (Some(Condition::Failed), "failed"),
    (Some(Condition::Stopping), "stopping"),
    (None, "off"),
];

impl Row {
    fn word(&self) -> &'static str {
        let found = WORDS.iter().find(|(of, _)| *of == self.condition);
        found.map_or("", |(_, word)| word)
    }

    fn pid(&self) -> String {
        self.pid.map_or("-".to_owned(), |pid| pid.to_string())
    }
}

/// The text of a status file.
pub(crate) fn written(writer: Writer, rows: &[Row]) -> String {
    let Writer { pid, start } = writer;
    let mut text = format!("{MAGIC}{VERSION} {pid} {start}\n");
    for row in rows {
        let (word, pid) = (row.word(), row.pid());
        let _ = writeln!(
            text,
            "{} {word} {pid} {} {}",
            row.name, row.since, row.starts
        );
    }
    text
}

impl Status {
    /// Reads the text of a status file; `None` if it is not one of this version.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let head = lines.next()?.strip_prefix(MAGIC)?;
        let (pid, start) = head
            .strip_prefix(VERSION)?
            .strip_prefix(' ')?
            .split_once(' ')?;
        let writer = Writer {
            pid: number(pid)?.try_into().ok()?,
            start: number(start)?,
        };
        let rows = lines.map(parse_row).collect::<Option<_>>()?;
        Some(Self { writer, rows })
    }

    /// Whether all services that are on are ready or done.
    pub(crate) fn is_good(&self) -> bool {
        let good = [None, Some(Condition::Ready), Some(Condition::Done)];
        self.rows.iter().all(|row| good.contains(&row.condition))
    }

    /// One line for each service: name, state, pid, since when, starts.
    pub(crate) fn shown(&self) -> String {
        let cells = |row: &Row| {
            let since = UNIX_EPOCH.checked_add(Duration::from_secs(row.since));
            [
                row.name.clone(),
                row.word().to_owned(),
                row.pid(),
                since.map_or("-".to_owned(), |since| {
                    humantime::format_rfc3339_seconds(since).to_string()
                }),
                row.starts.to_string(),
            ]
        };
        let rows: Vec<_> = self.rows.iter().map(cells).collect();
        let mut widths = [0; 5];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.len().max(*width);
            }
        }
        let mut text = String::new();
        for [name, word, pid, since, starts] in rows {
            let [name_width, word_width, pid_width, since_width, starts_width] = widths;
            let _ = writeln!(
                text,
                "{name:name_width$}  {word:word_width$}  {pid:>pid_width$}  \
                 {since:since_width$}  {starts:>starts_width$}"
            );
        }
        text
    }
}

fn parse_row(line: &str) -> Option<Row> {
    let mut words = line.split(' ');
    let mut next = || words.next();
    let (name, word, pid, since, starts) = (next()?, next()?, next()?, next()?, next()?);
    // It goes to a terminal.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if next().is_some() || name.is_empty() || !name.chars().all(is_plain) {
        return None;
    }
    Some(Row {
        name: name.to_owned(),
        condition: WORDS.iter().find(|(_, known)| *known == word)?.0,
        pid: match pid {
            "-" => None,
            pid => Some(number(pid)?.try_into().ok()?),
        },
        // Later ones have no date.
        since: number(since).filter(|since| *since <= 253_402_300_799)?,
        starts: number(starts)?.try_into().ok()?,
    })
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITER: Writer = Writer { pid: 7, start: 123 };

    fn row(name: &str, condition: Option<Condition>, pid: Option<i32>, starts: u32) -> Row {
        Row {
            name: name.to_owned(),
            condition,
            pid,
            since: 1_000_000_000,
            starts,
        }
    }

    fn rows() -> Vec<Row> {
        vec![
            row("db", Some(Condition::Ready), Some(42), 1),
            row("my_web-2", Some(Condition::Restarting), None, 12),
            row("cron", None, None, 0),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let text = written(WRITER, &rows());
        let expected = "supervise status 1 7 123\n\
            db ready 42 1000000000 1\n\
            my_web-2 restarting - 1000000000 12\n\
            cron off - 1000000000 0\n";
        assert_eq!(text, expected);
        let status = Status {
            writer: WRITER,
            rows: rows(),
        };
        assert_eq!(Status::parse(&text), Some(status));
        for (condition, word) in WORDS {
            let text = written(WRITER, &[row("a", condition, None, 0)]);
            assert!(text.contains(&format!("a {word} -")), "{text}");
            assert_eq!(Status::parse(&text).unwrap().rows[0].condition, condition);
        }
    }

    #[test]
    fn what_is_not_a_status_file_is_not_read() {
        let head = "supervise status 1 7 123\n";
        assert!(Status::parse(head).is_some());
        for text in [
            "",
            "\n",
            "supervise status 1 7 123",
            "supervise status 2 7 123\n",
            "supervise status 17 123\n",
            "supervise status 1 7\n",
            "supervise status 1 -7 123\n",
            "supervise status 1 +7 123\n",
            "supervise status 1 3000000000 123\n",
            "supervise status 1 7 123 \n",
            "other status 1 7 123\n",
        ] {
            assert_eq!(Status::parse(text), None, "{text:?}");
        }
        let row = "db ready 42 1000000000 1";
        assert!(Status::parse(&format!("{head}{row}\n")).is_some());
        for row in [
            "",
            "db ready 42 1000000000",
            "db ready 42 1000000000 1 1",
            "db ready  1000000000 1",
            "db what 42 1000000000 1",
            "db ready x 1000000000 1",
            "db ready 42 253402300800 1",
            "db ready 42 1000000000 4294967296",
            " ready 42 1000000000 1",
            "\u{1b}[m ready 42 1000000000 1",
        ] {
            let text = format!("{head}{row}\n");
            assert_eq!(Status::parse(&text), None, "{row:?}");
        }
    }

    #[test]
    fn a_status_is_shown_in_columns() {
        let status = Status {
            writer: WRITER,
            rows: rows(),
        };
        let expected = "\
db        ready       42  2001-09-09T01:46:40Z   1
my_web-2  restarting   -  2001-09-09T01:46:40Z  12
cron      off          -  2001-09-09T01:46:40Z   0
";
        assert_eq!(status.shown(), expected);
        let last = "supervise status 1 7 123\na done - 253402300799 1\n";
        let shown = Status::parse(last).unwrap().shown();
        assert_eq!(shown, "a  done  -  9999-12-31T23:59:59Z  1\n");
    }

    #[test]
    fn all_that_are_on_must_be_ready_or_done() {
        for (condition, word) in WORDS {
            let rows = vec![
                row("a", Some(Condition::Ready), None, 1),
                row("b", condition, None, 1),
            ];
            let status = Status {
                writer: WRITER,
                rows,
            };
            let expected = ["ready", "done", "off"].contains(&word);
            assert_eq!(status.is_good(), expected, "{word}");
        }
    }
}
