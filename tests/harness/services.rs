//! Several services that write down what happens to them, and when.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::{Folder, Home, Run, Start, children_of, eventually, fixture, start};

/// A file of services that are fixtures (`tests/fixture/service.rs`).
pub struct Services {
    folder: Folder,
    text: String,
    names: Vec<String>,
}

/// A run of such services.
pub struct Running {
    pub run: Run,
    pub folder: Folder,
    pub names: Vec<String>,
    /// When a stop was last requested.
    pub requested: Instant,
}

/// What a service has written down.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The time of the monotonic clock.
    pub at: Duration,
    pub who: String,
    /// `start`, `signal NUMBER`, `end`.
    pub what: String,
    /// The pid in its namespace that a `start` was written by.
    pub pid: i32,
}

impl Services {
    /// With these keys for the whole file, separated by semicolons.
    pub fn new(keys: &str) -> Self {
        Self {
            folder: Folder::new(),
            text: keys.replace("; ", "\n") + "\n",
            names: Vec::new(),
        }
    }

    /// Adds a fixture that does this, which depends on these, both separated by blanks.
    pub fn with(self, name: &str, depends_on: &str, how: &str) -> Self {
        self.with_keys(name, depends_on, how, "")
    }

    /// The same with more keys, separated by semicolons.
    pub fn with_keys(self, name: &str, depends_on: &str, how: &str, keys: &str) -> Self {
        let fixture = fixture();
        let log = self.log();
        let how: Vec<&str> = how.split_whitespace().collect();
        let command = [&[fixture.as_str(), "service", &log, name], &how[..]].concat();
        let mut services = self.with_command(name, depends_on, &command, keys);
        services.names.push(name.to_owned());
        services
    }

    /// Adds a service of any program.
    pub fn with_command(
        mut self,
        name: &str,
        depends_on: &str,
        words: &[&str],
        keys: &str,
    ) -> Self {
        let depends_on: Vec<&str> = depends_on.split_whitespace().collect();
        let keys = keys.replace("; ", "\n");
        write!(
            self.text,
            "[services.{name}]\ncommand = {words:?}\ndepends_on = {depends_on:?}\n{keys}\n"
        )
        .unwrap();
        self
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What the services write to.
    pub fn log(&self) -> String {
        self.folder.file("log")
    }

    /// Writes the files and returns that of the services.
    pub fn file(&self) -> String {
        self.folder.write("log", "", 0o666);
        self.folder.write("services.toml", &self.text, 0o644)
    }

    pub fn start(self, home: Home, options: &str) -> Running {
        self.start_with(start(home), options)
    }

    pub fn start_with(self, start: Start, options: &str) -> Running {
        let file = self.file();
        let run = start
            .options(&format!("-v -f {file}"))
            .options(options)
            .run(&[]);
        Running {
            run,
            folder: self.folder,
            names: self.names,
            requested: Instant::now(),
        }
    }
}

impl Running {
    pub fn entries(&self) -> Vec<Entry> {
        entries(&self.folder.read("log"))
    }

    /// Waits until all services have started.
    #[track_caller]
    pub fn started(&self) {
        for name in &self.names {
            self.wait_for(name, "start");
        }
    }

    #[track_caller]
    pub fn wait_for(&self, who: &str, what: &str) {
        eventually(&format!("{who}: {what}; {}", self.run.errors()), || {
            self.find(who, what).is_some()
        });
    }

    /// The first entry of this kind.
    pub fn find(&self, who: &str, what: &str) -> Option<Entry> {
        let mut entries = self.entries().into_iter();
        entries.find(|entry| entry.who == who && entry.what == what)
    }

    /// When it came about.
    #[track_caller]
    pub fn at(&self, who: &str, what: &str) -> Duration {
        let found = self.find(who, what);
        found
            .unwrap_or_else(|| panic!("{who} has no {what}: {}", self.told()))
            .at
    }

    /// The pid in its namespace of a service.
    #[track_caller]
    pub fn pid(&self, who: &str) -> i32 {
        self.wait_for(who, "start");
        let mut entries = self.entries().into_iter();
        let of = |entry: &Entry| entry.who == who && entry.what == "start";
        entries.rfind(of).unwrap().pid
    }

    #[track_caller]
    pub fn expect_never(&self, who: &str, what: &str) {
        assert!(
            self.find(who, what).is_none(),
            "{who} {what}: {}",
            self.told()
        );
    }

    /// Asserts that the first came about before the second.
    #[track_caller]
    pub fn expect_order(&self, first: (&str, &str), second: (&str, &str)) {
        let (before, after) = (self.at(first.0, first.1), self.at(second.0, second.1));
        assert!(
            before <= after,
            "{second:?} before {first:?}: {}",
            self.told()
        );
    }

    /// Asserts that a service was stopped when one above it was gone.
    #[track_caller]
    pub fn expect_after(&self, above: &str, below: &str) {
        self.expect_order((above, "end"), (below, "signal 15"));
    }

    /// What was logged and written down.
    pub fn told(&self) -> String {
        format!("{}{}", self.run.errors(), self.folder.read("log"))
    }

    /// Requests a stop.
    pub fn stop(&mut self) {
        self.requested = Instant::now();
        self.run.signal(libc::SIGTERM);
    }

    /// How long after the stop request it came about.
    #[track_caller]
    pub fn after_request(&self, who: &str, what: &str) -> Duration {
        let ago = monotonic().saturating_sub(self.at(who, what));
        self.requested.elapsed().saturating_sub(ago)
    }

    /// Asserts the exit status, and that no process is left.
    #[track_caller]
    pub fn expect_exit(&mut self, code: i32) {
        let ended = self.run.wait();
        assert_eq!(ended.code, Some(code), "{ended:?}: {}", self.told());
        self.expect_nothing_left();
    }

    /// Asserts that no process is left that has the output open.
    #[track_caller]
    pub fn expect_nothing_left(&mut self) {
        self.run.rest();
        self.run.wait_for_end_of_errors();
    }
}

pub fn entries(text: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let at = Duration::from_nanos(words.next()?.parse().ok()?);
        let who = words.next()?.to_owned();
        let what = words.next()?;
        let pid = what.strip_prefix("start ").and_then(|pid| pid.parse().ok());
        Some(Entry {
            at,
            who,
            what: if pid.is_some() { "start" } else { what }.to_owned(),
            pid: pid.unwrap_or(0),
        })
    };
    text.lines().filter_map(entry).collect()
}

/// The time of the monotonic clock.
pub fn monotonic() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    now.into()
}

/// The keeper of a service, by the name that ps shows.
#[track_caller]
pub fn keeper(running: &Running, name: &str) -> i32 {
    let title = format!("supervise[{name}]");
    let mut found = None;
    eventually(&format!("{title} is there"), || {
        found = children_of(running.run.pid).into_iter().find(|pid| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
            line.is_ok_and(|line| line.trim_end_matches('\0') == title)
        });
        found.is_some()
    });
    found.unwrap()
}
