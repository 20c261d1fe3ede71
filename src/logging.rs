//! The log: one line an event, to stderr, never waiting for its reader.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use env_filter::Filter;
use log::{LevelFilter, Log, Metadata, Record};
use nix::errno::Errno;

use crate::sys::stderr::write_now;

/// No line is longer: a pipe takes this much in one piece or not at all
/// (`PIPE_BUF`, pipe(7)), so that lines of several writers do not mix.
const LONGEST: usize = 4096;

/// Lines that could not be written since the last that could.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Whether the last line was cut off by a reader that took only part of it.
static TORN: AtomicBool = AtomicBool::new(false);

struct Logger(Filter);

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.0.matches(record) {
            write(&record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Starts logging what `filter` lets through. To be called once.
pub(crate) fn start(filter: Filter) {
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
    if DROPPED.load(Ordering::Relaxed) > 0 && !write_dropped() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
        return;
    }
    if !write_line(&line(message)) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn write_dropped() -> bool {
    let dropped = DROPPED.load(Ordering::Relaxed);
    let written = write_line(&line(&format!(
        "{dropped} log lines lost: stderr did not take them"
    )));
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

/// The message as one line that no name in it can break, colour or forge.
fn line(message: &str) -> String {
    let mut line = String::from("supervise: ");
    for character in message.chars() {
        if line.len() > LONGEST - 16 {
            line.push_str("...");
            break;
        }
        if character.is_control() {
            // Cannot fail: a String takes everything.
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            line("a\nb\x1b[31m\u{9b}c"),
            "supervise: a\\nb\\u{1b}[31m\\u{9b}c\n"
        );
    }

    #[test]
    fn a_line_fits_a_pipe() {
        for message in [
            "x".repeat(10_000),
            "\u{1f980}".repeat(3_000),
            "\x01".repeat(5_000),
        ] {
            let line = line(&message);
            assert!(line.len() <= LONGEST, "{} bytes", line.len());
            assert!(line.ends_with("...\n"));
        }
    }
}
