//! The programs in `examples/`: each does under `supervise` what its first
//! lines say, in every home.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::harness::*;

/// Every file in `examples/`; each is in a test below.
const EXAMPLES: [&str; 6] = [
    "async_tasks.py",
    "hanging_parent.py",
    "shell_workers.sh",
    "stubborn.py",
    "worker.py",
    "worker_no_handler.py",
];

/// What stderr says when the grace period is over.
const KILLING: &str = "sending SIGKILL";

fn folder_of_examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The path of an example.
fn example(name: &str) -> String {
    assert!(EXAMPLES.contains(&name), "{name} is missing in the list");
    let path = folder_of_examples().join(name);
    path.to_str().unwrap().to_owned()
}

/// Runs a test in every home where the examples can be read. All at once: most
/// of the time they wait.
fn in_every_home(test: impl Fn(Home) + Sync) {
    let test = &test;
    std::thread::scope(|scope| {
        for home in homes() {
            if succeeds(home, &["test", "-r", &example("worker.py")]) {
                scope.spawn(move || test(home));
            } else {
                skipped(&format!("the user of {home:?} cannot read the examples"));
            }
        }
    });
}

/// Runs a test in every home that has a Python.
fn in_every_home_with_python(test: impl Fn(Home, &str) + Sync) {
    in_every_home(|home| match python(home) {
        Some(python) => test(home, python),
        None => skipped(&format!(
            "no python3 with asyncio that {home:?} can execute"
        )),
    });
}

/// A Python that the user of this home can execute.
fn python(home: Home) -> Option<&'static str> {
    static FOUND: [OnceLock<Option<String>>; 3] = [const { OnceLock::new() }; 3];
    let find = || {
        let mut candidates = vec!["/usr/bin/python3".to_owned()];
        // The one in PATH may be the script of a version manager in a private
        // folder: it says where the program itself is.
        let in_path = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output();
        if let Ok(output) = in_path {
            candidates.push(String::from_utf8(output.stdout).unwrap().trim().to_owned());
        }
        candidates
            .into_iter()
            .find(|python| succeeds(home, &[python, "-c", "import asyncio"]))
    };
    FOUND[home as usize].get_or_init(find).as_deref()
}

/// Whether a command succeeds there. A failure of `supervise` is no answer.
fn succeeds(home: Home, command: &[&str]) -> bool {
    let script = [
        "sh",
        "-c",
        "if \"$@\"; then echo yes; else echo no; fi",
        "sh",
    ];
    let mut run = start(home).run(&[&script[..], command].concat());
    let answer = run.line();
    run.expect_exit(0);
    assert!(answer == "yes" || answer == "no", "{home:?}: {answer}");
    answer == "yes"
}

/// The lines of a log, each of which must be whole.
#[track_caller]
fn whole_lines(log: &str) -> Vec<&str> {
    assert!(log.ends_with('\n'), "the last line is cut short: {log:?}");
    log.lines().collect()
}

/// Waits until a log has so many lines.
#[track_caller]
fn wait_for_lines(folder: &Folder, count: usize) {
    eventually("the log grows", || {
        folder.read("log").lines().count() >= count
    });
}

/// Asserts that a worker has logged one request after the other, none of them
/// lost or torn.
#[track_caller]
fn assert_every_request_done(log: &str, home: Home) {
    for (index, line) in whole_lines(log).into_iter().enumerate() {
        assert_eq!(line, format!("request {} done", index + 1), "{home:?}");
    }
}

#[test]
fn the_worker_completes_its_request_and_exits() {
    in_every_home_with_python(|home, python| {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let folder = Folder::new();
            let mut run = start(home).run(&[python, &example("worker.py"), &folder.file("log")]);
            run.ready();
            wait_for_lines(&folder, 3);
            run.signal(signal);
            run.expect_line("Shutdown complete");
            run.expect_exit(0);
            assert_every_request_done(&folder.read("log"), home);
            run.expect_no_more_output();
            run.expect_no_log(KILLING);
        }
    });
}

#[test]
fn the_worker_behind_a_shell_completes_its_request() {
    in_every_home_with_python(|home, python| {
        let folder = Folder::new();
        let mut run = start(home).run(&[
            "sh",
            "-c",
            "\"$@\"; true",
            "sh",
            python,
            &example("worker.py"),
            &folder.file("log"),
        ]);
        run.ready();
        wait_for_lines(&folder, 3);
        run.signal(libc::SIGTERM);
        run.expect_line("Shutdown complete");
        // The command was the shell, and SIGTERM ends a shell.
        run.expect_killed(libc::SIGTERM);
        assert_every_request_done(&folder.read("log"), home);
        run.expect_no_more_output();
        run.expect_no_log(KILLING);
    });
}

#[test]
fn the_worker_without_a_handler_is_killed_by_the_signal() {
    in_every_home_with_python(|home, python| {
        let folder = Folder::new();
        let mut run = start(home).run(&[
            python,
            &example("worker_no_handler.py"),
            &folder.file("log"),
        ]);
        run.ready();
        wait_for_lines(&folder, 3);
        run.signal(libc::SIGTERM);
        run.expect_killed(libc::SIGTERM);
        run.expect_no_more_output();
        run.expect_no_log(KILLING);
    });
}

#[test]
fn the_program_that_ignores_sigterm_is_logged_and_killed() {
    in_every_home_with_python(|home, python| {
        let mut run = start(home)
            .options("-t 0.5")
            .run(&[python, &example("stubborn.py")]);
        let pid = run.ready();
        let asked = Instant::now();
        run.signal(libc::SIGTERM);
        run.expect_killed(libc::SIGKILL);
        let after = asked.elapsed();
        assert!(after >= Duration::from_millis(500), "{home:?}: {after:?}");
        run.wait_for_error(&format!("pid {pid} "));
        run.expect_log(KILLING);
    });
}

#[test]
fn the_tasks_are_cancelled_and_awaited() {
    in_every_home_with_python(|home, python| {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let folder = Folder::new();
            let mut run =
                start(home).run(&[python, &example("async_tasks.py"), &folder.file("log")]);
            run.ready();
            let tasks = ["task 1: ", "task 2: ", "task 3: "];
            eventually("every task works", || {
                let log = folder.read("log");
                tasks.iter().all(|task| log.contains(task))
            });
            run.signal(signal);
            run.expect_line("All tasks stopped");
            run.expect_exit(0);
            let log = folder.read("log");
            let lines = whole_lines(&log);
            let mut known = 0;
            for task in tasks {
                let done: Vec<&str> = lines
                    .iter()
                    .filter_map(|line| line.strip_prefix(task))
                    .collect();
                let last = done.len() - 1;
                let mut expected: Vec<String> =
                    (1..=last).map(|step| format!("step {step}")).collect();
                expected.push(format!("stopped after step {last}"));
                assert_eq!(done, expected, "{home:?} {signal} {task}");
                known += done.len();
            }
            assert_eq!(lines.len(), known, "{home:?} {signal}: {lines:?}");
            run.expect_no_more_output();
            run.expect_no_log(KILLING);
        }
    });
}

#[test]
fn the_workers_of_a_shell_are_signaled_after_it_exited() {
    in_every_home(|home| {
        let folder = Folder::new();
        let mut run = start(home).run(&["sh", &example("shell_workers.sh"), &folder.file("log")]);
        let shell = run.ready();
        let supervise = if home.is_pid1() { 1 } else { run.pid };
        run.signal(libc::SIGTERM);
        run.expect_exit(0);
        // At once: what is not in the log by now was not waited for.
        let log = folder.read("log");
        let mut last: Vec<&str> = whole_lines(&log)
            .into_iter()
            .filter(|line| !line.contains(": request "))
            .collect();
        assert_eq!(last.first(), Some(&"shell: last line"), "{home:?}");
        last.sort_unstable();
        // Each noted its parent at the moment when it was asked: by then the
        // shell had gone and `supervise` had adopted them.
        let expected = [
            format!("first: last line, signaled 1 time(s), parent {supervise}"),
            format!("second: last line, signaled 1 time(s), parent {supervise}"),
            "shell: last line".to_owned(),
        ];
        assert_eq!(last, expected, "{home:?}, shell {shell}");
        run.expect_no_more_output();
        run.expect_no_log(KILLING);
    });
}

#[test]
fn the_workers_of_a_hanging_program_save_and_only_it_is_killed() {
    // A quarter of it is what the workers have on a busy machine.
    const GRACE: Duration = Duration::from_secs(6);
    in_every_home_with_python(|home, python| {
        let folder = Folder::new();
        let mut run = start(home)
            .options(&format!("-t {}", GRACE.as_secs()))
            .run(&[python, &example("hanging_parent.py"), &folder.file("log")]);
        let program = run.ready();
        let command = run.command();
        let workers = children_of(command);
        assert_eq!(workers.len(), 2, "{home:?}");
        let asked = Instant::now();
        run.signal(libc::SIGTERM);
        eventually("the workers end", || {
            !workers.iter().any(|worker| is_alive(*worker))
        });
        let workers_after = asked.elapsed();
        // SIGKILL comes to everyone at once, so that it was not what ended
        // the workers.
        let alone = is_alive(command);
        run.expect_killed(libc::SIGKILL);
        let ended_after = asked.elapsed();
        assert!(alone, "{home:?}: the workers ended with the program");
        let log = folder.read("log");
        let mut lines = whole_lines(&log);
        lines.sort_unstable();
        let expected = [1, 2]
            .map(|number| format!("worker {number}: saved, signaled 1 time(s), parent {program}"));
        assert_eq!(lines, expected, "{home:?}: {}", run.errors());
        assert!(
            workers_after >= GRACE / 4 * 3,
            "{home:?}: {workers_after:?}"
        );
        assert!(ended_after >= GRACE, "{home:?}: {ended_after:?}");
        run.wait_for_error(&format!("pid {program} "));
        run.expect_log(KILLING);
    });
}

#[test]
fn every_example_is_tested_and_says_how_to_run_it() {
    // Those for a service manager are tested under one.
    let of_a_service = |name: &String| name.starts_with("notifier.") || name.ends_with(".service");
    let mut files: Vec<String> = std::fs::read_dir(folder_of_examples())
        .unwrap()
        .map(Result::unwrap)
        // The services are tested in `services.rs`.
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !of_a_service(name))
        .collect();
    // Units and manifests are shown by guides, and used by the tests on engines.
    files.retain(|name| {
        let extension = Path::new(name).extension();
        !extension.is_some_and(|extension| extension == "service" || extension == "yaml")
    });
    files.sort_unstable();
    assert_eq!(files, EXAMPLES, "the files and the list of them");
    for name in EXAMPLES {
        let call = format!("example(\"{name}\")");
        assert!(
            include_str!("examples.rs").contains(&call),
            "{name} is in no test"
        );
        let path = example(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let interpreter = match name.rsplit_once('.') {
            Some((_, "py")) => "#!/usr/bin/env python3",
            _ => "#!/bin/sh",
        };
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(interpreter), "{name}");
        let mut comment = lines.take_while(|line| line.starts_with('#'));
        let command = format!(" -- ./{name}");
        assert!(
            comment.any(|line| line.starts_with("#   supervise ") && line.contains(&command)),
            "{name} does not say how to run it"
        );
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{name} is not executable");
    }
}
