//! A stop request: which process is signaled, when and how often, and what happens at the
//! deadline.
//!
//! Not tested here: that setting the time of day moves no deadline. A time namespace shifts
//! the monotonic clock and not the time of day, and setting that of the machine would disturb
//! everything else on it. The only clock of the program is the monotonic `Instant`.

use std::time::{Duration, Instant};

use crate::harness::*;

#[test]
fn a_command_that_exits_in_time_keeps_its_status() {
    for home in homes() {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            // A shell cannot trap what is ignored at its start, as SIGINT is for background
            // jobs of a script.
            let wrapper = [&fixture(), "default", "2"];
            let mut run = start(home).through(&wrapper).shell(
                "trap 'echo saved; exit 3' TERM INT; echo ready $$; while :; do sleep 0.01; done",
            );
            run.ready();
            run.signal(signal);
            run.expect_line("saved");
            run.expect_exit(3);
            run.expect_empty_log();
        }
    }
}

#[test]
fn a_command_that_does_not_exit_is_killed_at_the_deadline() {
    for home in homes() {
        let mut run = start(home).options("-t 400ms").fixture(&["print-signals"]);
        run.ready();
        let requested = Instant::now();
        run.signal(libc::SIGTERM);
        run.expect_signal(15);
        run.expect_killed(libc::SIGKILL);
        assert!(
            requested.elapsed() >= Duration::from_millis(400),
            "{home:?}"
        );
        run.expect_log("grace period 400ms expired: sending SIGKILL");
        run.expect_log("(fixture) did not exit: it received SIGTERM");
        run.expect_no_log("supervise did not send");
    }
}

/// As the documents say.
#[test]
fn quiet_does_not_log_sigkill() {
    for home in homes() {
        let mut run = start(home)
            .options("-q -t 0")
            .shell("echo ready $$; exec sleep 1038");
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_killed(libc::SIGKILL);
        run.expect_empty_log();
    }
}

#[test]
fn a_grace_period_of_0_kills_at_once() {
    for home in homes() {
        let mut run = start(home).options("-t 0").fixture(&["print-signals"]);
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_killed(libc::SIGKILL);
        run.expect_no_more_output();
    }
}

#[test]
fn later_stop_requests_are_forwarded() {
    for home in homes() {
        let mut run = start(home).fixture(&["print-signals", "64"]);
        run.ready();
        for signal in [libc::SIGTERM, libc::SIGTERM, libc::SIGINT] {
            run.signal(signal);
            run.expect_signal(signal);
        }
        run.signal(64);
        run.line();
        run.expect_exit(0);
    }
}

#[test]
fn only_the_first_stop_request_sets_the_deadline() {
    let mut run = start(Home::Plain)
        .options("-t 1s -v")
        .fixture(&["print-signals"]);
    run.ready();
    // Requests without end: if each moved the deadline, it would never come.
    run.signal(libc::SIGTERM);
    while let Some(line) = run.next_line() {
        assert!(line.starts_with("15 "), "{line}");
        if run.is_running() {
            run.signal(libc::SIGTERM);
        }
    }
    run.expect_killed(libc::SIGKILL);
    let errors = run.errors();
    assert_eq!(errors.matches("stopping").count(), 1, "{errors}");
}

#[test]
fn stop_on_chooses_the_stop_signals() {
    for (options, signal, stops) in [
        ("", libc::SIGHUP, false),
        ("", libc::SIGQUIT, false),
        ("--stop-on HUP", libc::SIGHUP, true),
        ("--stop-on HUP", libc::SIGTERM, true),
        ("--stop-on RTMIN+3", 37, true),
        ("--stop-on none --stop-on QUIT", libc::SIGQUIT, true),
        ("--stop-on none --stop-on QUIT", libc::SIGTERM, false),
        ("--stop-on QUIT -r QUIT:TERM", libc::SIGQUIT, true),
    ] {
        let mut run = start(Home::Plain)
            .options(options)
            .options("-v -t infinity")
            .fixture(&["print-signals", "64"]);
        run.ready();
        run.signal(signal);
        run.line();
        run.signal(64);
        run.line();
        run.expect_exit(0);
        let errors = run.errors();
        assert_eq!(
            errors.contains("stopping"),
            stops,
            "{options} {signal}: {errors}"
        );
    }
}

#[test]
fn a_stop_request_resumes_a_suspended_command() {
    for home in homes() {
        let mut run = start(home).run(&["sleep", "1004"]);
        let command = run.command();
        wait_for_name(command, "sleep");
        send(command, libc::SIGSTOP);
        wait_for_state(command, 'T');
        run.signal(libc::SIGTERM);
        run.expect_killed(libc::SIGTERM);
    }
}

#[test]
fn a_command_that_suspends_itself_on_sigterm_is_resumed() {
    for home in homes() {
        let mut run = start(home).shell(
            "trap 'kill -STOP $$; exit 3' TERM; echo ready $$; while :; do sleep 0.01; done",
        );
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_exit(3);
    }
}

#[test]
fn zombies_are_logged_last() {
    // A dozen zombies, and then two processes that ignore SIGTERM.
    let fixture = fixture();
    let mut command = [fixture.as_str(), "with-zombie", "0"].repeat(12);
    let script = "trap '' TERM; sleep 1032 & echo ready $!; exec sleep 1033";
    command.extend(["sh", "-c", script]);
    let mut run = start(Home::Plain).options("-t 400ms").run(&command);
    let worker = run.ready();
    let command = run.command();
    run.signal(libc::SIGTERM);
    run.expect_killed(libc::SIGKILL);
    let errors = run.errors();
    let (_, list) = errors.split_once("expired: sending SIGKILL\n").unwrap();
    let lines: Vec<&str> = list.lines().collect();
    for (line, pid) in lines.iter().zip([command, worker]) {
        let expected = format!("supervise: pid {pid} (sleep) did not exit: it ignores SIGTERM");
        assert_eq!(*line, expected, "{errors}");
    }
    assert!(
        lines[2].contains(") is a zombie: its parent pid "),
        "{errors}"
    );
    assert_eq!(lines.len(), 11, "{errors}");
    assert!(lines[10].ends_with("and 4 more"), "{errors}");
}

#[test]
fn a_command_that_left_its_group_is_signaled() {
    for home in homes() {
        let mut run = start(home).options("-g").fixture(&["other-group", "15"]);
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_signal(15);
        run.expect_exit(0);
    }
}

#[test]
fn a_command_that_keeps_suspending_itself_is_resumed_a_few_times() {
    let mut run = start(Home::Plain).options("-vv -t 500ms").shell(
        "trap 'kill -STOP $$' CONT; trap : TERM; echo ready $$; while :; do sleep 0.01; done",
    );
    run.ready();
    run.signal(libc::SIGTERM);
    send(run.command(), libc::SIGSTOP);
    run.expect_killed(libc::SIGKILL);
    let resumed = run.errors().matches("sent SIGCONT").count();
    assert!((1..=6).contains(&resumed), "resumed {resumed} times");
}

#[test]
fn an_exit_at_the_deadline_is_reported_consistently() {
    for round in 0..40 {
        let mut run = start(Home::Plain)
            .options("-t 50ms")
            .shell("trap 'sleep 0.046; exit 3' TERM; echo ready $$; while :; do sleep 0.01; done");
        run.ready();
        run.signal(libc::SIGTERM);
        let ended = run.wait();
        let killed = run.errors().contains("sending SIGKILL");
        if ended == Ended::signal(libc::SIGKILL) {
            assert!(killed, "round {round}: SIGKILL was not logged");
        } else {
            assert_eq!(ended, Ended::code(3), "round {round}");
        }
    }
}

#[test]
fn an_exit_before_a_missed_deadline_counts() {
    for home in homes() {
        let folder = Folder::new();
        let fifo = folder.fifo("fifo");
        let mut run = start(home)
            .options("-t 300ms")
            .variable("FIFO", &fifo)
            .shell("trap 'read -r _ < $FIFO; exit 3' TERM; echo ready $$; while :; do sleep 0.01; done");
        run.ready();
        let command = run.command();
        let requested = Instant::now();
        run.signal(libc::SIGTERM);
        // The FIFO can be opened once the handler reads from it.
        let mut go = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        send(run.pid, libc::SIGSTOP);
        std::io::Write::write_all(&mut go, b"go\n").unwrap();
        eventually("it has exited, and the deadline is over", || {
            !is_alive(command) && requested.elapsed() > Duration::from_millis(400)
        });
        send(run.pid, libc::SIGCONT);
        run.expect_exit(3);
        run.expect_no_log("SIGKILL");
    }
}

#[test]
fn a_process_that_survives_sigkill_is_logged_and_given_up() {
    // In a frozen cgroup of version 1: in one of version 2 SIGKILL still works.
    let Some(group) = Cgroup::new("freezer", &["freezer.state"]) else {
        return;
    };
    let mut run = start(Home::Plain)
        .options("-t 100ms")
        .fixture(&["print-signals"]);
    run.ready();
    group.set(&[("cgroup.procs", &run.command().to_string())]);
    group.freeze();
    eventually("it is frozen", || group.get("freezer.state") == "FROZEN");
    run.signal(libc::SIGTERM);
    run.expect_killed(libc::SIGKILL);
    run.expect_log("survived SIGKILL");
}

#[test]
fn a_reused_pid_is_not_signaled() {
    if !Home::Pid1.is_possible() {
        return;
    }
    // PID 1 here is a shell. supervise runs below it, its command exits and leaves a process
    // that ignores SIGTERM. Then an unrelated process, which must outlive the deadline, gets
    // the pid of the command.
    let folder = Folder::new();
    let fifo = folder.fifo("fifo");
    folder.fifo("fifo.never");
    let command = folder.write(
        "command",
        format!("#!/bin/sh\nsetsid sh -c 'trap \"\" TERM; echo go > {fifo}; read -r _ < {fifo}.never' &\necho $$ > {fifo}.pid\nread -r go < {fifo}\nexit 0\n"),
        0o755,
    );
    let script = format!(
        "{SUPERVISE} -t 2s --leftovers stop {command} & supervise=$!
         until [ -s {fifo}.pid ]; do sleep 0.01; done; read -r pid < {fifo}.pid
         while kill -0 $pid 2>/dev/null; do sleep 0.01; done
         echo $((pid - 1)) > /proc/sys/kernel/ns_last_pid
         sleep 1006 & unrelated=$!
         wait $supervise; status=$?
         kill -0 $unrelated && echo survived; echo $pid $unrelated $status; kill $unrelated"
    );
    let Output { stdout, errors, .. } = output(&[&UNSHARE[..], &["sh", "-c", &script]].concat());
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "survived", "{stdout} {errors}");
    let numbers: Vec<&str> = lines[1].split(' ').collect();
    assert_eq!(numbers[2], "0", "the status of the command");
    assert_eq!(
        numbers[0], numbers[1],
        "the pid was not reused: nothing was tested"
    );
    assert!(errors.contains("did not exit"), "{errors}");
}

/// A command that prints each signal and exits on SIGTERM, with a stop delay.
fn delayed(home: Home, options: &str) -> Run {
    let mut run = start(home)
        .options(options)
        .fixture(&["print-signals", "15"]);
    run.ready();
    run
}

#[test]
fn a_stop_delay_holds_back_only_the_stop_request() {
    for home in homes() {
        let mut run = delayed(home, "-t 20s --stop-delay 300ms -v");
        let requested = Instant::now();
        run.signal(libc::SIGTERM);
        run.wait_for_error("forwarding the stop request in 300ms");
        run.signal(libc::SIGHUP);
        run.expect_signal(1);
        run.expect_signal(15);
        assert!(
            requested.elapsed() >= Duration::from_millis(300),
            "{home:?}"
        );
        run.expect_exit(0);
    }
}

#[test]
fn a_second_stop_request_ends_the_delay() {
    for home in homes() {
        // Long, because the test does not wait for it.
        let options = "-t 1000s --stop-delay 900s -v";
        let mut run = delayed(home, options);
        run.signal(libc::SIGTERM);
        run.wait_for_error("forwarding the stop request in 15m");
        run.signal(libc::SIGTERM);
        run.expect_signal(15);
        // Two equal ones are forwarded as one.
        run.expect_no_more_output();
        run.expect_exit(0);

        // Two different ones are both forwarded, in order.
        let mut run = delayed(home, options);
        run.signal(libc::SIGINT);
        run.wait_for_error("forwarding the stop request in 15m");
        run.signal(libc::SIGTERM);
        run.expect_signal(2);
        run.expect_signal(15);
        run.expect_exit(0);
    }
}

/// A launcher and the service that it leaves behind.
const LAUNCHER: &str = "(trap 'echo signaled; exit 0' TERM; echo ready $$
                         while :; do sleep 0.02; done) &
                        trap 'exit 4' USR1; echo ready $$; while :; do sleep 0.02; done";

/// The workers of a launcher are the service: they go on for the rest of the delay when
/// the launcher exits during it, and for all of it when the launcher exited before.
#[test]
fn a_stop_delay_holds_for_leftovers() {
    for home in homes() {
        for before in [false, true] {
            let delay = Duration::from_secs(1);
            let mut run = start(home)
                .options("-t 1000s --stop-delay 1s --leftovers wait -v")
                .shell(LAUNCHER);
            run.ready();
            run.ready();
            if before {
                run.signal(libc::SIGUSR1);
                run.wait_for_error(") exited with status 4");
            }
            let requested = Instant::now();
            run.signal(libc::SIGTERM);
            if before {
                run.wait_for_error("sending SIGTERM to the other processes in 1s");
            } else {
                run.wait_for_error("forwarding the stop request in 1s");
                // Not SIGHUP: nohup(1) ignores it, and a shell cannot trap what is ignored at
                // its start.
                run.signal(libc::SIGUSR1);
            }
            run.expect_line("signaled");
            assert!(requested.elapsed() >= delay, "{home:?} {before}");
            run.expect_exit(4);
        }
    }
}

#[test]
fn a_second_stop_request_ends_the_delay_for_leftovers() {
    for home in homes() {
        for before in [false, true] {
            let mut run = start(home)
                .options("-t 1000s --stop-delay 900s --leftovers wait -v")
                .shell(LAUNCHER);
            run.ready();
            run.ready();
            let signals = [libc::SIGTERM, libc::SIGUSR1];
            let order = if before { [1, 0] } else { [0, 1] };
            for at in order {
                run.signal(signals[at]);
                let seen = ["in 15m (--stop-delay)", ") exited with status 4"][at];
                run.wait_for_error(seen);
            }
            run.signal(libc::SIGTERM);
            run.expect_line("signaled");
            run.expect_exit(4);
        }
    }
}

#[test]
fn a_stop_delay_counts_toward_the_grace_period() {
    for home in homes() {
        let mut run = start(home)
            .options("-t 2s --stop-delay 500ms")
            .fixture(&["print-signals"]);
        run.ready();
        let requested = Instant::now();
        run.signal(libc::SIGTERM);
        run.expect_signal(15);
        run.expect_killed(libc::SIGKILL);
        let after = requested.elapsed();
        assert!(after >= Duration::from_secs(2), "{home:?}: {after:?}");
        run.expect_log("grace period 2s expired");
    }
}
