//! A filesystem that does not answer, under stderr or the report, delays neither a stop nor
//! the exit.
//!
//! In each test the filesystem is a later variable than the run: it is dropped first, because
//! a process that waits for it cannot be killed.

use std::time::{Duration, Instant};

use crate::harness::*;

/// Two processes that exit on no signal.
const STUBBORN: &str = "\"$FIXTURE\" print-signals & exec \"$FIXTURE\" print-signals";

/// The grace period of all, and how long the exit may take on a busy machine. The filesystem
/// does not answer for longer.
const GRACE: &str = "500ms";
const IN_TIME: Duration = Duration::from_secs(15);

/// A start whose stderr is a file.
fn with_stderr(home: Home, file: &str) -> Start {
    let on_it = "file=$1; shift; exec \"$@\" 2>>\"$file\"";
    start(home)
        .variable("FIXTURE", &fixture())
        .through(&["sh", "-c", on_it, "sh", file])
}

#[test]
fn a_log_that_cannot_be_written_delays_no_stop() {
    for home in homes_without_user_namespace() {
        let mut run;
        let Some(mut fuse) = Fuse::mount(&["now", "write"]) else {
            return;
        };
        run = with_stderr(home, &fuse.file("log"))
            .options("-v --grace")
            .options(GRACE)
            .shell(STUBBORN);
        run.ready();
        run.ready();
        let stubborn = descendants_of(run.pid);
        let start = Instant::now();
        run.signal(libc::SIGTERM);
        // Forwarded to the command, later on to the other one, and both are killed.
        run.expect_signal(libc::SIGTERM);
        fuse.expect_held("write");
        let mut helpers = children_of(run.pid);
        helpers.retain(|pid| !stubborn.contains(pid));
        assert_eq!(helpers.len(), 1, "{home:?}");
        run.expect_signal(libc::SIGTERM);
        for pid in stubborn {
            eventually("it is killed", || !is_alive(pid));
        }
        assert!(start.elapsed() < IN_TIME, "{home:?}");
        if home.is_pid1() {
            // The kernel waits for the helper before PID 1 is gone.
            fuse.end();
        }
        run.expect_killed(libc::SIGKILL);
        assert!(start.elapsed() < IN_TIME, "{home:?}");
        fuse.end();
        eventually("the helper exits", || !is_alive(helpers[0]));
    }
}

#[test]
fn a_log_that_cannot_be_closed_delays_no_exit() {
    // Without a line no helper was there before.
    for (options, held, stop) in [
        ("-v", "flush", true),
        ("-q", "flush", true),
        ("-q", "flush", false),
        ("-v", "getattr", true),
    ] {
        let mut run;
        let Some(fuse) = Fuse::mount(&[held]) else {
            return;
        };
        run = with_stderr(Home::Plain, &fuse.file("log"))
            .options(options)
            .shell("exec 2>&-; exec \"$FIXTURE\" print-signals 15");
        run.ready();
        if !stop {
            // Long enough for anything to have changed since the start.
            eventually("it has run for a second", || ran(run.pid) > 1.1);
        }
        fuse.hang();
        let start = Instant::now();
        if stop {
            run.signal(libc::SIGTERM);
        } else {
            send(run.command(), libc::SIGTERM);
        }
        run.expect_signal(libc::SIGTERM);
        if held == "flush" {
            fuse.expect_held(held);
        }
        run.expect_exit(0);
        assert!(start.elapsed() < IN_TIME, "{options} {held}");
    }
}

/// How long a process has been running, in seconds.
fn ran(pid: i32) -> f64 {
    let words = |path: &str| -> Vec<f64> {
        let text = std::fs::read_to_string(path).unwrap();
        let (_, words) = text.rsplit_once(')').unwrap_or(("", &text));
        words
            .split(' ')
            .filter_map(|word| word.trim().parse().ok())
            .collect()
    };
    // Of what follows the name, the state is no number.
    words("/proc/uptime")[0] - words(&format!("/proc/{pid}/stat"))[18] / 100.0
}

#[test]
fn a_report_that_cannot_be_written_delays_no_exit() {
    for home in homes_without_user_namespace() {
        for held in ["write", "setattr", "flush"] {
            let mut run;
            let Some(mut fuse) = Fuse::mount(&[held]) else {
                return;
            };
            run = start(home)
                .options("--report")
                .options(&fuse.file("report"))
                .fixture(&["print-signals", "15"]);
            run.ready();
            fuse.hang();
            let start = Instant::now();
            run.signal(libc::SIGTERM);
            run.expect_signal(libc::SIGTERM);
            fuse.expect_held(held);
            let warning = format!("report '{}' not written: pid ", fuse.file("report"));
            run.wait_for_error(&warning);
            run.expect_log(" still waits for the filesystem\n");
            if home.is_pid1() {
                fuse.end();
            }
            run.expect_exit(0);
            assert!(start.elapsed() < IN_TIME, "{home:?} {held}");
            // A reader of stderr does not wait for the helper.
            run.wait_for_end_of_errors();
        }
    }
}

#[test]
fn a_report_is_written_again_after_an_interruption() {
    // EINTR, and once more after 10 bytes were written.
    let Some(fuse) = Fuse::mount(&["errno=4", "errno=0", "errno=4"]) else {
        return;
    };
    let path = fuse.file("report");
    let output = supervise(&["--report", &path, "--", "sh", "-c", "exit 3"]);
    assert_eq!((output.code, output.errors.as_str()), (Some(3), ""));
    let report: serde_json::Value = serde_json::from_str(&fuse.read("report")).unwrap();
    assert_eq!(report["exit_status"], 3);
}

#[test]
fn no_full_disk_keeps_half_a_report() {
    // No space left, once 10 bytes were written.
    let Some(fuse) = Fuse::mount(&["errno=0", "errno=28"]) else {
        return;
    };
    let path = fuse.file("report");
    let output = supervise(&["--report", &path, "--", "sh", "-c", "exit 3"]);
    let why = "No space left on device; nothing was written";
    let warning = format!("supervise: cannot write report '{path}': {why}\n");
    assert_eq!((output.code, output.errors), (Some(3), warning));
    assert_eq!(fuse.read("report"), "");
}

#[test]
fn lines_that_a_file_does_not_take_are_counted() {
    // No space left for two lines, and half a line.
    let Some(fuse) = Fuse::mount(&["errno=28", "errno=28", "errno=28", "errno=0"]) else {
        return;
    };
    let mut run = with_stderr(Home::Plain, &fuse.file("log"))
        .options("-vv")
        .fixture(&["print-signals", "15"]);
    run.ready();
    run.signal(libc::SIGTERM);
    run.expect_signal(libc::SIGTERM);
    run.expect_exit(0);
    let log = fuse.read("log");
    // The first try is the first line; then each line is preceded by how many were lost.
    let mut lines = log.lines();
    assert_eq!(lines.next(), Some("supervise:"), "{log}");
    let lost = lines.next().unwrap();
    assert!(lost.starts_with("supervise: log lines lost: "), "{log}");
    assert!(lines.all(|line| line.starts_with("supervise: ")), "{log}");
    assert!(log.ends_with(": graceful\n"), "{log}");
}

#[test]
fn a_log_that_is_written_slowly_is_complete() {
    for home in homes_without_user_namespace() {
        let mut run;
        let Some(fuse) = Fuse::mount(&["slow"]) else {
            return;
        };
        run = with_stderr(home, &fuse.file("log"))
            .options("-vv")
            .fixture(&["print-signals", "15"]);
        run.ready();
        // Their lines take longer than one that hangs is waited for.
        for _ in 0..60 {
            run.signal(libc::SIGUSR1);
            run.expect_signal(libc::SIGUSR1);
        }
        run.signal(libc::SIGTERM);
        run.expect_signal(libc::SIGTERM);
        run.expect_exit(0);
        let log = fuse.read("log");
        assert_eq!(
            log.matches("received SIGUSR1").count(),
            60,
            "{home:?}: {log}"
        );
        assert!(log.ends_with(": graceful\n"), "{home:?}: {log}");
    }
}
