//! The log: one line for each event, written to stderr without ever blocking.
//!
//! `env_logger` filters the records and hands each formatted line to [`Target`]. A reader
//! of stderr may have stopped reading, and waiting for it would keep a container from
//! stopping. A line that cannot be written at once ([`Stderr::write`]) is therefore dropped
//! and counted, and the next line that can be written is preceded by the number.
//!
//! If stderr is a file, its filesystem may not answer, and then no signal resumes the process
//! that writes. Once the command runs, a helper therefore writes the lines
//! ([`crate::sys::queue`]). Each is waited for, so that it comes before what the command
//! writes later on, but for a short time only.
//!
//! No line is longer than what a pipe takes in one piece, and control characters are
//! escaped, so that no process can forge a line by its name. A SIGPIPE or SIGXFSZ caused
//! by such a write is not forwarded ([`crate::signal::Received::is_our_own`]).

use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use env_logger::{Builder, WriteStyle};
use log::Level;
use nix::errno::Errno;
use serde::Serialize;

use crate::settings::LogFormat;
use crate::sys::helpers::{self, Helper};
use crate::sys::process;
use crate::sys::queue::{self, Queue};
use crate::sys::stderr::{self, Stderr};

/// The maximum length of a line, in bytes: a pipe takes this much in one piece or not at
/// all (`PIPE_BUF`, pipe(7)), so that lines of several writers do not mix.
const MAX_LINE: usize = 4096;

/// How long a line is waited for until the next event is served. A line that is logged while
/// the helper still writes another one is not waited for.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long the helper may take at the end to write one more line, and for all of them if
/// no other time is set.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// How many helpers are tried for the last lines, if each is killed.
const TRIES: u32 = 3;

/// The log of this process: what its lines look like, and what became of the lines so far.
struct Log {
    /// The service that the lines are about; none if empty. A line of text begins with
    /// `supervise[NAME]`, and one of JSON has a field for it.
    service: String,
    format: LogFormat,
    /// The number of lines dropped since the last one that was written.
    lost: &'static AtomicUsize,
    /// Whether stderr took only the beginning of the last line: 0 or 1.
    partial: &'static AtomicUsize,
    /// Whether the command was started: before that there is nothing to delay.
    running: bool,
    /// What the helper writes, and the last helper.
    queue: Option<Queue>,
    helper: Option<Helper>,
    /// [`Queue::position`] when it was started.
    position: usize,
}

static LOST: AtomicUsize = AtomicUsize::new(0);
static PARTIAL: AtomicUsize = AtomicUsize::new(0);

/// One for each process: [`restart`] replaces it in a fork.
static LOG: Mutex<Log> = Mutex::new(Log::new(LogFormat::Text));

fn lock() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts logging the records that `filter` lets through. To be called once, with a filter
/// that [`crate::settings::values::check_log_filter`] accepts: `env_logger` itself prints a warning
/// about any other.
// Inlined, its frame would stay on the stack during the run: one page more.
#[inline(never)]
pub(crate) fn start(filter: &str, format: LogFormat) {
    lock().format = format;
    let mut builder = Builder::new();
    // Nearly always it is a level alone: then a start saves 1,600 instructions.
    match filter.parse() {
        Ok(level) => builder.filter_level(level),
        Err(_) => builder.parse_filters(filter),
    };
    // Fails only if there is a logger already.
    let _ = builder
        .write_style(WriteStyle::Never)
        .format(|line, record| {
            // Formatted before the lock is taken.
            let message = record.args().to_string();
            let formatted = lock().line(record.level(), &message);
            io::Write::write_all(line, formatted.as_bytes())
        })
        .target(env_logger::Target::Pipe(Box::new(Target)))
        .try_init();
}

/// Writes one line past the filter: an error before logging has started, or the verdict of
/// a rehearsal.
pub(crate) fn write_unfiltered(level: Level, message: &str) {
    let mut log = lock();
    let line = log.line(level, message);
    log.write(line.as_bytes());
}

/// To be called once the command is started: from then on no file delays anything.
pub(crate) fn never_block() {
    lock().running = true;
}

/// Logs how many lines were dropped, if any were, and waits for those that the helper has
/// not written. To be called last.
///
/// `until`: a helper closes stderr if that is a file, and is waited for until then. Without a
/// helper our exit closes it, which may block as well.
pub(crate) fn finish(until: Option<Instant>) {
    lock().finish(until);
}

/// Has the lines that `work` logs be about a service.
pub(crate) fn about<T>(service: &str, work: impl FnOnce() -> T) -> T {
    service.clone_into(&mut lock().service);
    let result = work();
    lock().service.clear();
    result
}

/// In a process that was forked from one that logs: its own log begins, with lines that are
/// about this service, if one is given.
pub(crate) fn restart(service: &str) {
    let mut log = lock();
    LOST.store(0, Ordering::Relaxed);
    PARTIAL.store(0, Ordering::Relaxed);
    *log = Log {
        service: service.to_owned(),
        running: log.running,
        ..Log::new(log.format)
    };
}

/// To be called when children were reaped: the helper may have been one of them.
pub(crate) fn check_helper() {
    lock().check_helper();
}

/// What `env_logger` writes to: one call with each line.
struct Target;

impl io::Write for Target {
    /// Accepts the whole line, written or dropped: after anything else `write_all` would
    /// write the rest of it as a line of its own.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        lock().write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    const fn new(format: LogFormat) -> Self {
        Self {
            service: String::new(),
            format,
            lost: &LOST,
            partial: &PARTIAL,
            running: false,
            queue: None,
            helper: None,
            position: 0,
        }
    }

    fn line(&self, level: Level, message: &str) -> String {
        match self.format {
            LogFormat::Json => json(SystemTime::now(), level, &self.service, message),
            LogFormat::Text => text(&self.service, message),
        }
    }

    /// Writes a line, or drops it if stderr does not take it at once.
    fn write(&mut self, line: &[u8]) {
        match Stderr::look() {
            Ok(stderr) if self.running && stderr.is_file() => self.write_by_helper(stderr, line),
            Ok(stderr) => self.write_here(stderr, line),
            Err(_) => self.drop_line(),
        }
    }

    fn drop_line(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes a line in this process.
    fn write_here(&self, stderr: Stderr, line: &[u8]) {
        if !(self.write_lost(stderr) && self.write_whole(stderr, line)) {
            self.drop_line();
        }
    }

    /// Writes how many lines were dropped, if any were; `false`: that was dropped too.
    fn write_lost(&self, stderr: Stderr) -> bool {
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            let message = format!("log lines lost: {lost} (stderr not writable)");
            let line = self.line(Level::Warn, &message);
            if !self.write_whole(stderr, line.as_bytes()) {
                return false;
            }
            // The parent of a helper may have dropped more.
            self.lost.fetch_sub(lost, Ordering::Relaxed);
        }
        true
    }

    /// Whether stderr took the whole line.
    fn write_whole(&self, stderr: Stderr, line: &[u8]) -> bool {
        // The beginning of a line is ended first.
        let is_partial = self.partial.load(Ordering::Relaxed) != 0;
        let newline: &[u8] = if is_partial { b"\n" } else { b"" };
        let whole = [newline, line].concat();
        loop {
            match stderr.write(&whole) {
                Ok(length) => {
                    let is_whole = length == whole.len();
                    self.partial.store((!is_whole).into(), Ordering::Relaxed);
                    return is_whole;
                }
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }

    fn finish(&mut self, until: Option<Instant>) {
        let lost = self.lost.load(Ordering::Relaxed) > 0;
        if !lost && self.queue.is_none() && until.is_none() {
            return;
        }
        match Stderr::look() {
            Ok(stderr) if self.running && stderr.is_file() => self.finish_helper(stderr, until),
            Ok(stderr) => drop(self.write_lost(stderr)),
            Err(_) => {}
        }
    }
}

/// The helper, which writes to a file.
impl Log {
    fn write_by_helper(&mut self, stderr: Stderr, line: &[u8]) {
        let Some((queue, helper)) = self.helper(stderr) else {
            self.write_here(stderr, line);
            return;
        };
        let is_behind = !queue.is_empty();
        if !queue.push(line) {
            self.drop_line();
        }
        queue::wake(helper);
        if !is_behind {
            queue.wait(PATIENCE);
        }
    }

    /// The helper and the way to it. It is started with the first line, and again if it was
    /// killed. `None`: it cannot be started. Lines that wait for it are then written here:
    /// that the filesystem does not answer either is less likely than that they are needed.
    fn helper(&mut self, stderr: Stderr) -> Option<(Queue, Helper)> {
        let queue = self.queue()?;
        if let Some(helper) = self.helper
            && helpers::is_running(helper)
        {
            return Some((queue, helper));
        }
        let own_pid = process::own_pid();
        self.position = queue.position();
        self.helper = helpers::start(|| self.serve(stderr, queue, own_pid)).ok();
        if self.helper.is_none() {
            queue.drain(|line| self.write_here(stderr, line));
        }
        Some((queue, self.helper?))
    }

    /// Starts the helper again if it was killed and lines wait for it; not one that has
    /// written nothing, or there might be one after the other without end.
    fn check_helper(&mut self) {
        if let (Some(queue), Some(helper)) = (self.queue, self.helper)
            && !queue.is_empty()
            && queue.position() != self.position
            && !helpers::is_running(helper)
            && let Ok(stderr) = Stderr::look()
        {
            let _ = self.helper(stderr);
        }
    }

    fn queue(&mut self) -> Option<Queue> {
        if self.queue.is_none() {
            let queue = Queue::new().ok()?;
            for (from, to) in [(self.lost, queue.lost), (self.partial, queue.partial)] {
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            (self.lost, self.partial) = (queue.lost, queue.partial);
            self.queue = Some(queue);
        }
        self.queue
    }

    /// What the helper does.
    fn serve(&self, stderr: Stderr, queue: Queue, parent: i32) -> u8 {
        queue.serve(parent, |line| self.write_here(stderr, line));
        self.write_lost(stderr);
        stderr::close_files();
        0
    }

    fn finish_helper(&mut self, stderr: Stderr, until: Option<Instant>) {
        let until = until.unwrap_or_else(|| Instant::now() + LAST_PATIENCE);
        for _ in 0..TRIES {
            let Some((queue, helper)) = self.helper(stderr) else {
                break;
            };
            queue.finish(helper);
            // A slow file is waited for as long as there is time, and one that takes nothing
            // for LAST_PATIENCE.
            let mut before = queue.position();
            while helpers::wait(helper, until.min(Instant::now() + LAST_PATIENCE)).is_none() {
                let now = queue.position();
                if now == before || Instant::now() >= until {
                    return;
                }
                before = now;
            }
            // It may have been killed before it wrote them.
            if queue.is_empty() {
                return;
            }
        }
        self.write_lost(stderr);
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    level: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    service: &'a str,
    message: &'a str,
}

/// The message as a JSON object and a newline, cut so that it fits into [`MAX_LINE`].
fn json(now: SystemTime, level: Level, service: &str, message: &str) -> String {
    let mut message = message.to_owned();
    loop {
        // Cannot fail: it holds only strings.
        let line = to_json(&JsonLine {
            time: humantime::format_rfc3339_millis(now).to_string(),
            level: level.as_str().to_ascii_lowercase(),
            service,
            message: &message,
        })
        .unwrap_or_default()
            + "\n";
        if line.len() <= MAX_LINE {
            return line;
        }
        // An escaped character takes up to six bytes.
        let keep = message.chars().count() * 3 / 4;
        message = message.chars().take(keep).chain("...".chars()).collect();
    }
}

/// Returns a value as JSON that a terminal shows as it is; `None` if it cannot be
/// serialized. The library makes one string of any text; the characters that it leaves
/// and that need an escape ([`needs_escape`]) are escaped here.
pub(crate) fn to_json(value: &impl Serialize) -> Option<String> {
    let plain = serde_json::to_string(value).ok()?;
    if !plain.contains(needs_escape) {
        return Some(plain);
    }
    let mut escaped = String::with_capacity(plain.len() * 2);
    for character in plain.chars() {
        if needs_escape(character) {
            // Each has at most four digits, and occurs only inside a string.
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    Some(escaped)
}

/// The message as one line that no name in it can break, color or forge, cut so that it
/// fits into [`MAX_LINE`].
fn text(service: &str, message: &str) -> String {
    let mut line = String::from("supervise");
    if !service.is_empty() {
        line.extend(["[", service, "]"]);
    }
    line.push_str(": ");
    for character in message.chars() {
        if line.len() > MAX_LINE - 16 {
            line.push_str("...");
            break;
        }
        if needs_escape(character) {
            // Cannot fail: a String takes everything.
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

/// Whether a terminal does not show a character as it is: control characters, line
/// separators, and those that change the direction of the text after them.
fn needs_escape(character: char) -> bool {
    let changes_direction = matches!(
        character,
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    changes_direction || character.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_about_a_service_names_it() {
        assert_eq!(text("db", "a"), "supervise[db]: a\n");
        let line = json(SystemTime::UNIX_EPOCH, Level::Info, "db", "a");
        assert_eq!(
            line,
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",\"service\":\"db\",\
             \"message\":\"a\"}\n"
        );
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            text("", "a\nb\x1b[31m\u{9b}c\u{202e}\u{e9}"),
            "supervise: a\\nb\\u{1b}[31m\\u{9b}c\\u{202e}\u{e9}\n"
        );
    }

    #[test]
    fn a_json_line_is_one_object_and_fits_a_pipe() {
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(
            json(now, Level::Warn, "", "a\n\"b"),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"warn\",\"message\":\"a\\n\\\"b\"}\n"
        );
        // As the same string, in characters that a terminal shows as they are.
        let message = "\u{9b}31m\u{202e}\u{7f}\u{2028}\u{e9}\u{1f980}";
        let line = json(now, Level::Warn, "", message);
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
            let line = json(now, Level::Info, "", &message);
            assert!(line.len() <= MAX_LINE, "{} bytes", line.len());
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
            let line = text("", &message);
            assert!(line.len() <= MAX_LINE, "{} bytes", line.len());
            assert!(line.ends_with("...\n"));
        }
    }
}
