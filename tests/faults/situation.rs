//! The stops that a system call fails in, and the rules that each keeps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::calls::{self, Calls};
use crate::harness::{Folder, Home, Leftover, fixture, start};
use crate::tracer::{Fault, Tracer};

/// The grace period. Only a case that breaks a rule takes so long, or waits for a timer.
const GRACE: Duration = Duration::from_secs(4);

/// How long after the deadline a stop may end.
const AFTER: Duration = Duration::from_secs(1);

/// The exit status of the command.
const STATUS: i32 = 3;

/// The exit status of a `supervise` that failed.
const FAILED: i32 = 125;

/// A command that saves on SIGTERM.
const PLAIN: &str = "exec $FIXTURE save $FOLDER/command 3";

/// The same, with processes in other sessions: two below the command, and one below one of
/// these.
const LEFTOVERS: &str = "
    setsid sh -c 'setsid $FIXTURE save $FOLDER/below 0 & exec $FIXTURE save $FOLDER/first 0' &
    setsid $FIXTURE save $FOLDER/second 0 &
    exec $FIXTURE save $FOLDER/command 3";

/// A stop.
pub struct Situation {
    pub name: &'static str,
    home: Home,
    options: &'static str,
    script: &'static str,
    /// The files that its processes write when they are told to exit.
    saved: &'static [&'static str],
}

const ALL: &[&str] = &["command", "first", "second", "below"];

pub const SITUATIONS: [Situation; 4] = [
    Situation {
        name: "plain",
        home: Home::Plain,
        options: "",
        script: PLAIN,
        saved: &["command"],
    },
    Situation {
        name: "leftovers",
        home: Home::Plain,
        options: "-v",
        script: LEFTOVERS,
        saved: ALL,
    },
    // kill(2) reaches all of them at once.
    Situation {
        name: "pid1",
        home: Home::Pid1,
        options: "-v",
        script: LEFTOVERS,
        saved: ALL,
    },
    // They are found one by one, because the group was signaled before.
    Situation {
        name: "pid1-group",
        home: Home::Pid1,
        options: "-g",
        script: LEFTOVERS,
        saved: ALL,
    },
];

impl Situation {
    /// The system calls that it makes without a fault.
    pub fn calls(&self) -> Result<Calls, String> {
        self.run(None).map(|log| calls::count(&log))
    }

    /// Runs it and returns the log of strace.
    ///
    /// # Errors
    /// Which rules it broke.
    pub fn run(&self, fault: Option<&Fault>) -> Result<String, String> {
        let run = || self.stop(fault);
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(text.unwrap_or("no words").to_owned())
        })
    }

    fn stop(&self, fault: Option<&Fault>) -> Result<String, String> {
        let folder = Folder::new();
        let report = folder.file("report");
        let mut run = start(self.home)
            .options(&format!("-t {}s --report {report}", GRACE.as_secs()))
            .options(self.options)
            .variable("FIXTURE", &fixture())
            .variable("FOLDER", folder.path().to_str().unwrap())
            .shell(self.script);
        for _ in self.saved {
            run.ready();
        }
        let tracer = Tracer::attach(run.pid, fault)?;
        let requested = Instant::now();
        run.signal(libc::SIGTERM);
        let mut broken = Vec::new();
        while run.is_running() {
            if requested.elapsed() > GRACE + AFTER {
                broken.push("the stop did not end in time".to_owned());
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let took = requested.elapsed();
        let errors = run.errors();
        if broken.is_empty() {
            let ended = run.wait();
            let failed = ended.code == Some(FAILED) && !errors.is_empty();
            if ended.code != Some(STATUS) && !failed {
                broken.push(format!("wrong status: {ended:?}"));
            }
            let left = left(&folder);
            if !left.is_empty() {
                broken.push(format!("left running: {left:?}"));
            }
        }
        for file in self.saved {
            if folder.read(file) != "saved" {
                broken.push(format!("did not save: {file}"));
            }
        }
        let report = folder.read("report");
        let is_whole = serde_json::from_str::<serde_json::Value>(&report).is_ok();
        if !is_whole && !errors.contains("report") {
            broken.push(format!("no report and no word about it: {report:?}"));
        }
        drop(run);
        let log = tracer.log();
        if broken.is_empty() {
            return Ok(log);
        }
        Err(format!(
            "{}\nafter {took:?}\nstderr:\n{errors}system calls:\n{}",
            broken.join("\n"),
            around_fault(&log)
        ))
    }
}

/// The processes of a run that are there after it. They are killed.
fn left(folder: &Folder) -> Vec<i32> {
    let deadline = Instant::now() + AFTER;
    loop {
        let left = with_argument(folder.path().to_str().unwrap());
        if left.is_empty() || Instant::now() > deadline {
            for pid in &left {
                drop(Leftover(*pid));
            }
            return left;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The processes with an argument in which this path is.
fn with_argument(path: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has_path = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(path)
    };
    pids.filter(has_path).collect()
}

/// The lines of a log about the call that failed.
fn around_fault(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let at = lines.iter().position(|line| line.contains("(INJECTED)"));
    let Some(at) = at else {
        return "none failed".to_owned();
    };
    let (first, last) = (at.saturating_sub(3), lines.len().min(at + 6));
    lines[first..last].join("\n")
}
