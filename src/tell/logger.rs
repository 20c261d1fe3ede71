//! The log: one line an event, to stderr, never waiting for its reader.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use env_filter::Filter;
use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::errno::Errno;
use serde::Serialize;

use crate::settings::LogFormat;
use crate::sys::stderr::write_now;

/// No line is longer: a pipe takes this much in one piece or not at all
/// (`PIPE_BUF`, pipe(7)), so that lines of several writers do not mix.
const LONGEST: usize = 4096;

/// Lines that could not be written since the last that could.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Whether the last line was cut off by a reader that took only part of it.
static TORN: AtomicBool = AtomicBool::new(false);

/// Whether lines are JSON objects.
static JSON: AtomicBool = AtomicBool::new(false);

struct Logger(Filter);

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.0.matches(record) {
            write_at(record.level(), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Starts logging what `filter` lets through. To be called once.
pub(crate) fn start(filter: Filter, format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let level: LevelFilter = filter.filter();
    // The logger lives as long as the program; the only error is that there
    // is one already.
    if log::set_logger(Box::leak(Box::new(Logger(filter)))).is_ok() {
        log::set_max_level(level);
    }
}

/// Says how many lines were lost, if any were, as the last thing of all.
pub(crate) fn finish() {
    if DROPPED.load(Ordering::Relaxed) > 0 {
        write_dropped();
    }
}

/// Writes one line, whatever the level: what comes before logging is started
/// and refuses to go on.
pub(crate) fn write(message: &str) {
    write_at(Level::Error, message);
}

/// Writes one line whatever is to be logged: one that was asked for.
pub(crate) fn say(message: &str) {
    write_at(Level::Info, message);
}

fn write_at(level: Level, message: &str) {
    if DROPPED.load(Ordering::Relaxed) > 0 && !write_dropped() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
        return;
    }
    if !write_line(&line(level, message)) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn write_dropped() -> bool {
    let dropped = DROPPED.load(Ordering::Relaxed);
    let message = format!("{dropped} log lines lost: stderr did not take them");
    let written = write_line(&line(Level::Warn, &message));
    if written {
        DROPPED.fetch_sub(dropped, Ordering::Relaxed);
    }
    written
}

fn write_line(line: &str) -> bool {
    // After part of a line, a line of its own.
    let torn = TORN.load(Ordering::Relaxed);
    let whole = if torn {
        format!("\n{line}")
    } else {
        line.to_owned()
    };
    loop {
        match write_now(whole.as_bytes()) {
            Ok(length) => {
                TORN.store(length < whole.len(), Ordering::Relaxed);
                return length == whole.len();
            }
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

fn line(level: Level, message: &str) -> String {
    if JSON.load(Ordering::Relaxed) {
        json(SystemTime::now(), level, message)
    } else {
        text(message)
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    level: String,
    message: &'a str,
}

/// The message as a JSON object, cut so that it fits.
fn json(now: SystemTime, level: Level, message: &str) -> String {
    let mut message = message.to_owned();
    loop {
        // Cannot fail: there are only strings in it.
        let line = to_json(&JsonLine {
            time: humantime::format_rfc3339_millis(now).to_string(),
            level: level.as_str().to_ascii_lowercase(),
            message: &message,
        })
        .unwrap_or_default()
            + "\n";
        if line.len() <= LONGEST {
            return line;
        }
        // What is escaped takes up to six bytes.
        let keep = message.chars().count() * 3 / 4;
        message = message.chars().take(keep).chain("...".chars()).collect();
    }
}

/// A value as JSON that a terminal shows as it is. By the library, so that whatever is
/// in it stays one string; what the library leaves and [`deceives`] is escaped here.
pub(crate) fn to_json(value: &impl Serialize) -> Option<String> {
    let plain = serde_json::to_string(value).ok()?;
    if !plain.contains(deceives) {
        return Some(plain);
    }
    let mut escaped = String::with_capacity(plain.len() * 2);
    for character in plain.chars() {
        if deceives(character) {
            // They have four digits at most, and stand only in strings.
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    Some(escaped)
}

/// The message as one line that no name in it can break, colour or forge.
fn text(message: &str) -> String {
    let mut line = String::from("supervise: ");
    for character in message.chars() {
        if line.len() > LONGEST - 16 {
            line.push_str("...");
            break;
        }
        if deceives(character) {
            // Cannot fail: a String takes everything.
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

/// Whether a character is not what is seen of it: control characters, and those
/// that end a line or turn the direction of what follows.
fn deceives(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    turns || character.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            text("a\nb\x1b[31m\u{9b}c\u{202e}\u{e9}"),
            "supervise: a\\nb\\u{1b}[31m\\u{9b}c\\u{202e}\u{e9}\n"
        );
    }

    #[test]
    fn a_json_line_is_one_object_and_fits_a_pipe() {
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(
            json(now, Level::Warn, "a\n\"b"),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"warn\",\"message\":\"a\\n\\\"b\"}\n"
        );
        // As the same string, in characters that a terminal shows as they are.
        let message = "\u{9b}31m\u{202e}\u{7f}\u{2028}\u{e9}\u{1f980}";
        let line = json(now, Level::Warn, message);
        assert!(
            line.ends_with("\"\\u009b31m\\u202e\\u007f\\u2028\u{e9}\u{1f980}\"}\n"),
            "{line}"
        );
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["message"], message);
        for message in [
            "x".repeat(10_000),
            "\x01".repeat(5_000),
            "\u{202e}".repeat(5_000),
        ] {
            let line = json(now, Level::Info, &message);
            assert!(line.len() <= LONGEST, "{} bytes", line.len());
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(read["message"].as_str().unwrap().ends_with("..."));
        }
    }

    #[test]
    fn a_line_fits_a_pipe() {
        for message in [
            "x".repeat(10_000),
            "\u{1f980}".repeat(3_000),
            "\x01".repeat(5_000),
        ] {
            let line = text(&message);
            assert!(line.len() <= LONGEST, "{} bytes", line.len());
            assert!(line.ends_with("...\n"));
        }
    }
}
