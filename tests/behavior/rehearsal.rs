//! `--rehearse`: a stop that `supervise` requests itself, and its verdict.

use crate::harness::report::Reported;
use crate::harness::*;
use serde_json::json;
use std::time::{Duration, Instant};

/// Inherits that a signal is ignored, and does nothing else.
const DEAF: &str = "exec sleep 1029";

/// Rehearses a command, which is to be over with this exit code.
#[track_caller]
fn rehearse(home: Home, options: &str, command: &[&str], code: i32) -> Run {
    let options = format!("--rehearse {options}");
    let mut run = start(home).options(&options).run(command);
    run.expect_exit(code);
    run
}

/// The verdict about a command that is killed by SIGTERM.
const UNHANDLED: &str = "rehearsal failed: command killed by SIGTERM: either it has no handler \
                         (handle SIGTERM and exit), or it cleans up and then kills itself with \
                         the signal (use --remap-exit 143)";

#[test]
fn a_rehearsal_tells_whether_the_stop_was_graceful() {
    let ready = format!("{} notify READY=1", fixture());
    let handles = format!("trap 'exit 0' TERM; {ready}; {LOOP}");
    let accepted = format!("trap 'exit 7' TERM; {ready}; {LOOP}");
    let deaf = format!("trap '' TERM; {ready}; {DEAF}");
    let accept = "rehearsal failed: command exited with status 7; exit with 0 on SIGTERM or use \
                  --remap-exit 7";
    let killed = "rehearsal failed: SIGKILL was needed (command: it ignores SIGTERM); handle \
                  SIGTERM, exit sooner, or raise --grace";
    let killed_itself = format!("trap 'kill -KILL $$' TERM; {ready}; {LOOP}");
    let by_others = "rehearsal failed: the command was killed by a SIGKILL that supervise did not \
                     send; check its memory limit";
    for home in homes() {
        for (options, script, code, expected) in [
            ("ready", killed_itself.as_str(), 1, by_others),
            ("ready", &handles, 0, "rehearsal passed: graceful"),
            ("ready -e 7", &accepted, 0, "rehearsal passed: graceful"),
            ("ready", &accepted, 1, accept),
            ("ready -t 500ms", &deaf, 1, killed),
            ("200ms", DEAF, 1, UNHANDLED),
        ] {
            let run = rehearse(home, options, &["sh", "-c", script], code);
            run.expect_log("rehearsal: requested a stop (SIGTERM) after ");
            run.expect_log(expected);
            // This one word stands in the log of each rehearsal that passed, and in no other.
            let errors = run.errors();
            assert_eq!(errors.contains("graceful"), code == 0, "{errors}");
        }
        // Nothing is sent with a grace period of 0.
        let run = rehearse(home, "0 -t 0", &["sleep", "1023"], 1);
        run.expect_log("rehearsal: requested a stop (SIGTERM) after ");
        run.expect_no_log("sent SIGTERM");
        run.expect_log("rehearsal failed: SIGKILL was needed");
        // Nothing was rehearsed.
        rehearse(home, "1", &["/nonexistent"], 127);
    }
}

#[test]
fn an_exit_before_the_stop_request_gets_advice() {
    for home in homes() {
        for (options, script, expected) in [
            (
                "100s",
                "exit 0",
                ", before the stop request; use a shorter time, or --rehearse ready\n",
            ),
            (
                "ready",
                "exit 0",
                ", before it notified READY=1; give --rehearse a time if it never does\n",
            ),
            (
                "ready",
                "exit 3",
                ": it failed before the stop request; see its own output\n",
            ),
            (
                "100s",
                "kill -INT $$",
                ": it failed before the stop request; see its own output\n",
            ),
            (
                "100s -e 3",
                "exit 3",
                ", before the stop request; use a shorter time, or --rehearse ready\n",
            ),
        ] {
            let run = rehearse(home, options, &["sh", "-c", script], 1);
            run.expect_log("rehearsal failed: command ");
            run.expect_log(expected);
        }
    }
}

#[test]
fn an_exit_during_the_stop_delay_fails_the_rehearsal() {
    let ready = format!("{} notify READY=1", fixture());
    for home in homes() {
        for (status, advice) in [
            (0, "use a shorter --stop-delay\n"),
            (3, "it failed by itself; see its own output\n"),
        ] {
            let script = format!("trap 'exit {status}' USR1; {ready}; {LOOP}");
            let reported = Reported::new();
            let mut run = reported
                .start(home)
                .options("-v --rehearse ready --stop-delay 1h -t 2h")
                .run(&["sh", "-c", &script]);
            run.wait_for_error("(--stop-delay)");
            run.signal(libc::SIGUSR1);
            run.expect_exit(1);
            let expected = format!(
                "rehearsal failed: command exited with status {status} during the stop delay, \
                 before SIGTERM was forwarded; {advice}"
            );
            run.expect_log(&expected);
            run.expect_no_log("passed");
            // The log and the report agree with the verdict.
            run.expect_log("): failed\n");
            assert_eq!(reported.read()["outcome"], "failed", "{home:?} {status}");
        }
    }
}

#[test]
fn a_rehearsal_before_the_command_has_a_handler_fails() {
    for home in homes() {
        for _ in 0..10 {
            rehearse(home, "0", &["sleep", "1019"], 1).expect_log(UNHANDLED);
        }
    }
}

#[test]
fn a_rehearsal_needs_a_running_command() {
    for home in homes() {
        // The command has exited and is reaped; only its leftover notifies.
        let script = format!(
            "(while kill -0 $$ 2>/dev/null; do sleep 0.01; done
              {} notify READY=1; exec sleep 1020) & exit 0",
            fixture()
        );
        let reported = Reported::new();
        let mut run = reported
            .start(home)
            .options("-v --leftovers wait --rehearse ready")
            .run(&["sh", "-c", &script]);
        run.expect_exit(1);
        run.expect_log("before it notified READY=1");
        run.expect_log("(command exited earlier): failed\n");
        assert_eq!(reported.read()["outcome"], "failed", "{home:?}");
    }
}

#[test]
fn a_rehearsal_logs_group_members_killed_by_sigterm() {
    let ready = format!("{} notify READY=1", fixture());
    for home in homes() {
        let script = format!("(sleep 1021 &) ; trap 'exit 0' TERM; {ready}; {LOOP}");
        let run = rehearse(home, "ready -g", &["sh", "-c", &script], 0);
        // Without its name, because it may not have executed sleep yet.
        run.expect_log("was killed by SIGTERM; anything that it had not saved is lost");
    }
}

#[test]
fn a_rehearsal_logs_leftovers_killed_by_sigkill() {
    let ready = format!("{} notify READY=1", fixture());
    for home in homes() {
        let script =
            format!("trap 'exit 0' TERM; sh -c \"trap '' TERM; {ready}; {DEAF}\" & {LOOP}");
        let run = rehearse(home, "ready -t 2", &["sh", "-c", &script], 1);
        run.expect_log(
            "(sleep) was killed by SIGKILL and lost what it had not saved: it ignores SIGTERM",
        );
    }
}

#[test]
fn a_rehearsal_counts_the_other_processes_that_were_sent_sigterm() {
    let ready = format!("{} notify READY=1", fixture());
    for home in homes() {
        for (others, counted) in [
            ("sleep 1037 &", Some("1 other process")),
            ("sleep 1037 & sleep 1038 &", Some("2 other processes")),
            ("", None),
        ] {
            // They start before the trap is set, or one could inherit it for a moment.
            let script = format!("{others} trap 'exit 0' TERM; {ready}; while :; do :; done");
            let errors = rehearse(home, "ready", &["sh", "-c", &script], 0).errors();
            let line = errors
                .lines()
                .find_map(|line| line.split_once("rehearsal: sent SIGTERM to "));
            assert_eq!(line.map(|(_, counted)| counted), counted, "{errors}");
        }
    }
}

#[test]
fn a_rehearsal_can_wait_for_ready() {
    for home in homes() {
        // It notifies something else first; until READY=1 it may take its time.
        let fixture = fixture();
        let script = format!(
            "trap 'exit 0' TERM; {fixture} notify STATUS=starting; sleep 0.1
             echo ready; {fixture} notify \"$(printf 'STATUS=up\nREADY=1')\"; {LOOP}"
        );
        let mut run = start(home)
            .options("--rehearse ready")
            .run(&["sh", "-c", &script]);
        run.expect_line("ready");
        run.expect_exit(0);
        run.expect_log("rehearsal passed: graceful");
    }
    rehearse(Home::Plain, "ready --no-notify-relay", &["true"], 125);
    for options in ["1 --stop-on none", "1 --rewrite TERM:0 --rewrite INT:0"] {
        let run = rehearse(Home::Plain, options, &["true"], 125);
        run.expect_log("no signal is a stop request");
    }
}

#[test]
fn an_earlier_stop_request_makes_a_rehearsal_inconclusive() {
    let reported = Reported::new();
    let go = reported.folder.file("go");
    let fixture = fixture();
    let script = format!(
        "(trap '' TERM; until [ -e {go} ]; do sleep 0.02; done
          {fixture} notify READY=1; echo notified) &
         exec {fixture} print-signals 10"
    );
    let mut run = reported
        .start(Home::Plain)
        .options("--rehearse ready")
        .run(&["sh", "-c", &script]);
    run.ready();
    run.signal(libc::SIGTERM);
    run.expect_signal(15);
    std::fs::write(go, "").unwrap();
    run.expect_line("notified");
    // It is ready now, and was signaled before: not once more.
    run.signal(libc::SIGUSR1);
    loop {
        let line = run.line();
        assert!(!line.starts_with("15 "), "{line}");
        // SIGCHLD may come as well.
        if line.starts_with("10 ") {
            break;
        }
    }
    run.expect_exit(1);
    run.expect_log("rehearsal inconclusive: received SIGTERM from pid ");
    let advice = " first; run it again and let it end by itself\n";
    run.expect_log(advice);
    reported.expect(&[
        ("/stop/sender/kind", json!("process")),
        ("/outcome", json!("graceful")),
    ]);
}

/// Whether a program that is killed by the stop signal had a handler proves nothing: the
/// runtimes of Go, Node and PHP catch the signal and exit.
#[test]
fn being_killed_by_the_stop_signal_is_graceful_only_if_remapped() {
    let ready = format!("{} notify READY=1", fixture());
    let reraises = format!("trap 'trap - TERM; kill -TERM $$' TERM; {ready}; {LOOP}");
    let exits = format!("trap 'exit 143' TERM; {ready}; {LOOP}");
    let shows = "(use --remap-exit 143)";
    for home in homes() {
        for (script, how) in [
            (&reraises, "killed by SIGTERM"),
            (&exits, "exited with status 143"),
        ] {
            for (options, status, outcome) in [("", 1, "unhandled"), ("-e 143", 0, "graceful")] {
                let reported = Reported::new();
                let mut run = reported
                    .start(home)
                    .options("-v --rehearse ready")
                    .options(options)
                    .shell(script);
                run.expect_exit(status);
                let errors = run.errors();
                reported.expect(&[("/outcome", json!(outcome))]);
                let failed = format!("rehearsal failed: command {how}: either it has no handler");
                assert_eq!(errors.contains(&failed), status == 1, "{errors}");
                assert_eq!(errors.contains(shows), status == 1, "{errors}");
                // The last line of the log and the verdict agree.
                let lines = errors.matches("graceful").count();
                assert_eq!(lines, if status == 0 { 2 } else { 0 }, "{errors}");
            }
        }
    }
}

/// As some runtimes do: the handler restores the default and sends the signal again.
#[test]
fn a_runtime_that_re_raises_the_signal_does_not_pass() {
    // Not pause(2): a signal just before it would not interrupt it.
    let python = "import os, signal, subprocess, sys, time
def caught(number, _):
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
signal.signal(signal.SIGTERM, caught)
subprocess.run([sys.argv[1], 'notify', 'READY=1'])
while True: time.sleep(0.01)";
    let command = ["python3", "-c", python, &fixture()];
    rehearse(Home::Plain, "ready", &command, 1).expect_log(UNHANDLED);
}

#[test]
fn a_command_that_exits_right_after_it_is_ready_fails_the_rehearsal() {
    let notify = format!("{} notify READY=1", fixture());
    let script = format!("trap '{notify}; exit 0' USR1; echo ready 0; {LOOP}");
    for home in homes() {
        let mut run = start(home)
            .options("--rehearse ready")
            .run(&["sh", "-c", &script]);
        run.ready();
        let command = run.command();
        // Both happen before supervise can look.
        run.signal(libc::SIGSTOP);
        wait_for_state(run.pid, 'T');
        send(command, libc::SIGUSR1);
        wait_for_state(command, 'Z');
        run.signal(libc::SIGCONT);
        run.expect_exit(1);
        run.expect_no_log("requested a stop");
        run.expect_log("rehearsal failed: command exited with status 0 ");
    }
}

#[test]
fn a_stop_request_that_waits_when_the_command_is_ready_comes_first() {
    let notify = format!("{} notify READY=1", fixture());
    let script =
        format!("trap '{notify}; echo told' USR1; trap 'exit 0' TERM; echo ready 0; {LOOP}");
    for home in homes() {
        let reported = Reported::new();
        let mut run = reported
            .start(home)
            .options("--rehearse ready")
            .run(&["sh", "-c", &script]);
        run.ready();
        let command = run.command();
        run.signal(libc::SIGSTOP);
        wait_for_state(run.pid, 'T');
        run.signal(libc::SIGTERM);
        send(command, libc::SIGUSR1);
        run.expect_line("told");
        run.signal(libc::SIGCONT);
        run.wait();
        let stop = reported.read()["stop"].clone();
        assert_eq!(stop["signal"], "SIGTERM", "{home:?}");
        assert_ne!(stop["sender"]["kind"], "rehearsal", "{home:?}");
    }
}

#[test]
fn a_stop_request_that_waits_when_the_rehearsal_is_due_is_about_the_leftovers() {
    let leftover = format!("setsid sh -c 'trap \"echo saved; exit\" TERM; echo started; {LOOP}' &");
    let script = format!("trap 'exit 3' USR1; {leftover} echo ready 0; {LOOP}");
    let due = Duration::from_secs(4);
    for home in homes() {
        let reported = Reported::new();
        let begin = Instant::now();
        let mut run = reported
            .start(home)
            .options(&format!("--rehearse {}s", due.as_secs()))
            .run(&["sh", "-c", &script]);
        let mut lines = [run.line(), run.line()];
        lines.sort();
        assert_eq!(lines, ["ready 0", "started"]);
        let command = run.command();
        run.signal(libc::SIGSTOP);
        wait_for_state(run.pid, 'T');
        run.expect_no_log("requested a stop");
        send(command, libc::SIGUSR1);
        wait_for_state(command, 'Z');
        run.signal(libc::SIGTERM);
        eventually("the rehearsal is due", || {
            begin.elapsed() > due + Duration::from_millis(200)
        });
        run.signal(libc::SIGCONT);
        run.wait();
        run.expect_line("saved");
        assert_eq!(reported.read()["stop"]["signal"], "SIGTERM", "{home:?}");
    }
}
