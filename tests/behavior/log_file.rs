//! A log that is a file is written by a helper, which nothing else shows.

use crate::harness::*;

/// A start whose stderr is the file `log` of this folder.
fn start_in(folder: &Folder, home: Home) -> Start {
    let file = folder.write("log", "", 0o666);
    let on_it = "file=$1; shift; exec \"$@\" 2>>\"$file\"";
    start(home).through(&["sh", "-c", on_it, "sh", &file])
}

/// The log without what differs between runs; a process that has not executed yet has the
/// name of its shell.
fn without_numbers(log: &str) -> Vec<String> {
    let word = |word: &str| {
        let word = word.replace(|c: char| c.is_ascii_digit(), "");
        if word == "\"::.Z\"" {
            String::new()
        } else {
            word
        }
    };
    log.replace("(sh)", "(sleep)")
        .lines()
        .map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn a_file_gets_the_same_lines_as_a_pipe() {
    // The command writes to the same file, and leaves a process behind.
    let script = "sleep 1061 & trap 'echo the command >&2; exit 3' TERM; \
                  echo ready 0; [ -z \"$NOTIFY_SOCKET\" ] || \"$FIXTURE\" notify READY=1; wait";
    for home in homes() {
        for options in ["-vv", "-v --log-format json", "-w", "--rehearse ready"] {
            let log = |folder: Option<&Folder>| {
                let start = match folder {
                    Some(folder) => start_in(folder, home),
                    None => start(home),
                };
                let start = start.variable("FIXTURE", &fixture());
                let mut run = start.options(options).shell(script);
                run.ready();
                if !options.contains("rehearse") {
                    run.signal(libc::SIGTERM);
                }
                run.expect_exit(if options.contains("rehearse") { 1 } else { 3 });
                match folder {
                    Some(folder) => folder.read("log"),
                    None => run.errors(),
                }
            };
            let folder = Folder::new();
            let (file, pipe) = (log(Some(&folder)), log(None));
            // It may be quicker than a line about the signal that was sent to it.
            let split = |log| -> (Vec<String>, Vec<String>) {
                let lines = without_numbers(log).into_iter();
                lines.partition(|line| line == "the command")
            };
            let (of_command, ours) = split(&file);
            assert_eq!(of_command.len(), 1, "{home:?} {options}: {file}");
            assert_eq!((of_command, ours), split(&pipe), "{home:?} {options}");
        }
    }
}

#[test]
fn the_log_of_a_kill_is_complete() {
    // As PID 1 SIGKILL for all processes kills the helper as well.
    for home in homes() {
        let folder = Folder::new();
        let mut run = start_in(&folder, home)
            .options("-vv --grace 100ms")
            .fixture(&["print-signals"]);
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_signal(libc::SIGTERM);
        run.expect_killed(libc::SIGKILL);
        let log = folder.read("log");
        for text in [": sending SIGKILL\n", "killed by SIGKILL\n", ": killed\n"] {
            assert_eq!(log.matches(text).count(), 1, "{home:?}: {text}: {log}");
        }
        assert!(log.ends_with(": killed\n"), "{home:?}: {log}");
    }
}

/// The helper of a run whose command is this.
fn helper_of(run: &Run, command: i32) -> i32 {
    let mut helper = None;
    eventually("there is a helper", || {
        helper = children_of(run.pid).into_iter().find(|pid| *pid != command);
        helper.is_some()
    });
    helper.unwrap()
}

#[test]
fn a_killed_or_suspended_helper_loses_no_line() {
    for signal in [libc::SIGKILL, libc::SIGSTOP, libc::SIGTERM] {
        let folder = Folder::new();
        let mut run = start_in(&folder, Home::Plain)
            .options("-vv")
            .fixture(&["print-signals", "15"]);
        let command = run.ready();
        for _ in 0..3 {
            let helper = helper_of(&run, command);
            send(helper, signal);
            if signal == libc::SIGKILL {
                eventually("it is reaped", || !children_of(run.pid).contains(&helper));
            }
            for _ in 0..3 {
                run.signal(libc::SIGUSR1);
                run.expect_signal(libc::SIGUSR1);
            }
        }
        run.signal(libc::SIGTERM);
        run.expect_signal(libc::SIGTERM);
        run.expect_exit(0);
        let log = folder.read("log");
        assert_eq!(
            log.matches("received SIGUSR1").count(),
            9,
            "{signal}: {log}"
        );
        assert!(log.ends_with(": graceful\n"), "{signal}: {log}");
        assert!(!log.contains("reaped"), "{signal}: {log}");
    }
}

#[test]
fn the_lines_of_a_killed_helper_wait_for_no_other_line() {
    let folder = Folder::new();
    let mut run = start_in(&folder, Home::Plain)
        .options("-vv")
        .fixture(&["print-signals", "15"]);
    let command = run.ready();
    run.signal(libc::SIGUSR1);
    run.expect_signal(libc::SIGUSR1);
    let helper = helper_of(&run, command);
    // The signal comes first, and the exit of the helper is seen after its lines are queued.
    run.signal(libc::SIGSTOP);
    wait_for_state(run.pid, 'T');
    send(helper, libc::SIGKILL);
    wait_for_state(helper, 'Z');
    run.signal(libc::SIGUSR2);
    run.signal(libc::SIGCONT);
    run.expect_signal(libc::SIGUSR2);
    eventually("its lines are in the file", || {
        folder.read("log").contains("received SIGUSR2")
    });
    run.signal(libc::SIGTERM);
    run.expect_exit(0);
}

#[test]
fn the_helper_exits_when_supervise_is_killed() {
    let folder = Folder::new();
    let mut run = start_in(&folder, Home::Plain)
        .options("-vv")
        .fixture(&["print-signals", "15"]);
    let command = run.ready();
    let helper = helper_of(&run, command);
    let _leftover = Leftover(command);
    // It is suspended while the last lines come.
    send(helper, libc::SIGSTOP);
    wait_for_state(helper, 'T');
    run.signal(libc::SIGUSR1);
    run.expect_signal(libc::SIGUSR1);
    run.signal(libc::SIGKILL);
    run.wait();
    send(helper, libc::SIGCONT);
    eventually("the helper exits", || !is_alive(helper));
    let log = folder.read("log");
    assert!(log.contains("received SIGUSR1"), "{log}");
}

#[test]
fn a_command_that_exits_is_not_waited_for_by_its_log() {
    // With `wait` only a child that is left delays the exit.
    let folder = Folder::new();
    let mut run = start_in(&folder, Home::Plain)
        .options("-vv --leftovers wait")
        .run(&["sh", "-c", "exit 3"]);
    run.expect_exit(3);
    assert!(folder.read("log").ends_with(": failed\n"));
}

#[test]
fn without_a_helper_the_log_is_written_all_the_same() {
    let folder = Folder::new();
    let mut run = start_in(&folder, Home::Plain)
        .through(&[&fixture(), "childless"])
        .options("-v")
        .run(&["sh", "-c", "exit 3"]);
    run.expect_exit(3);
    let log = folder.read("log");
    assert!(log.ends_with(") exited with status 3\n"), "{log}");
    // And the report.
    let reported = report::Reported::new();
    let mut run = reported
        .start(Home::Plain)
        .through(&[&fixture(), "childless"])
        .run(&["sh", "-c", "exit 3"]);
    run.expect_exit(3);
    reported.expect(&[("/exit_status", 3.into())]);
}
