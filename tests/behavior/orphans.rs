//! Children: every one that ends is reaped, the command's status is its own
//! among thousands, and neither a storm nor idleness costs anything else.

use crate::harness::report::Reported;
use crate::harness::*;

#[test]
fn ends_that_are_announced_together_are_all_seen() {
    for home in homes() {
        // SIGCHLD merges: a thousand ends may be announced once.
        for _ in 0..8 {
            let mut run = start(home).fixture(&["children", "1000"]);
            run.expect_exit(7);
        }
    }
}

#[test]
fn orphans_are_reaped_while_the_command_runs() {
    for home in homes() {
        let mut run = start(home)
            .options("-vv")
            .shell("(sh -c 'exit 9' &) ; (kill -9 $(sh -c 'echo $PPID') &); echo ready $$; read -r _ < /dev/zero");
        run.ready();
        run.wait_for_error("reaped orphan");
        eventually("no zombie is left", || children_of(run.pid).len() == 1);
        run.signal(libc::SIGTERM);
        run.expect_killed(libc::SIGTERM);
    }
}

#[test]
fn reaped_orphans_are_warned_about_if_that_is_asked_for() {
    for (options, told) in [("-w", true), ("", false), ("-w -q", false)] {
        let mut run = start(Home::Plain)
            .options(options)
            // Or the command may have ended before its orphan.
            .options("--leftovers wait")
            .fixture(&["orphans", "1"]);
        run.expect_exit(7);
        assert_eq!(
            run.errors().contains("reaped orphan"),
            told,
            "{options}: {}",
            run.errors()
        );
    }
}

/// No time is measured, because `supervise` reaps faster than one machine can fork: this
/// passes without a bound on the children reaped in one go. The bound is the next test's.
#[test]
fn in_a_storm_of_orphans_the_signals_arrive_and_the_run_ends() {
    let fixture = fixture();
    for home in homes() {
        // It goes on for ever: whoever waits for it to end waits for ever.
        let storm = format!("{fixture} orphans 2000000000 >/dev/null &");
        let mut run = start(home).shell(&format!("{storm} exec {fixture} print-signals 15"));
        run.ready();
        run.signal(libc::SIGTERM);
        while !run.line().starts_with("15 ") {}
        run.expect_exit(0);

        let mut run = start(home).options("-t 300ms").shell(&format!(
            "trap '' TERM; {storm} exec {fixture} print-signals 15"
        ));
        run.ready();
        run.signal(libc::SIGTERM);
        while !run.line().starts_with("15 ") {}
        run.expect_exit(0);
        run.expect_log("sending SIGKILL");
    }
}

/// Here waitpid(2) has another orphan each time that it is called: without a bound the signals
/// would never be looked at.
#[test]
fn orphans_that_never_end_delay_neither_signals_nor_the_deadline_nor_the_end() {
    if !cfg!(target_arch = "x86_64") {
        skipped("the fixture changes system calls of x86-64 only");
        return;
    }
    let fixture = fixture();
    let start = || start(Home::Plain).through(&[&fixture, "orphans-forever"]);
    let mut run = start().fixture(&["print-signals", "64"]);
    run.ready();
    // The child of the run is its tracer.
    let supervise = run.command();
    send(supervise, libc::SIGUSR1);
    run.expect_signal(10);
    send(supervise, 64);
    run.expect_signal(64);
    // After 65,536 of them the rest counts as left.
    run.expect_exit(0);

    let mut run = start()
        .options("-t 300ms --no-reraise")
        .shell("trap '' TERM; echo ready $$; while :; do sleep 0.01; done");
    run.ready();
    send(run.command(), libc::SIGTERM);
    run.expect_exit(137);
}

#[test]
fn many_orphans_are_all_reaped_and_change_nothing() {
    for home in homes() {
        let reported = Reported::new();
        let mut run = reported
            .start(home)
            .options("--leftovers wait")
            .fixture(&["orphans", "3000"]);
        run.expect_exit(7);
        assert_eq!(reported.read()["orphans_reaped"], 3000, "{home:?}");
    }
}

#[test]
fn a_child_without_an_exit_signal_is_a_child() {
    let fixture = fixture();
    for home in homes() {
        let mut run = start(home)
            .through(&[&fixture, "cloned"])
            .options("--leftovers stop")
            .shell("exit 3");
        run.ready();
        run.expect_signal(15);
        run.expect_exit(3);
    }
}

#[test]
fn children_of_before_our_time_are_not_taken_for_the_command() {
    // The child has ended before supervise begins: that is announced to nobody.
    let fixture = fixture();
    let mut run = start(Home::Plain)
        .through(&[&fixture, "with-zombie", "9"])
        .options("-vv")
        .shell("trap 'exit 3' TERM; echo ready $$; while :; do sleep 0.01; done");
    run.ready();
    run.wait_for_error(": exited with status 9");
    run.signal(libc::SIGTERM);
    run.expect_exit(3);
}

#[test]
fn a_program_whose_main_thread_has_ended_is_not_taken_for_dead() {
    for home in homes() {
        let mut run = start(home).fixture(&["leaderless"]);
        run.ready();
        let command = run.command();
        eventually("its main thread is a zombie", || {
            status_field(command, "State").unwrap().starts_with('Z')
        });
        run.signal(libc::SIGTERM);
        run.expect_exit(9);
    }
}

#[test]
fn a_command_that_is_stopped_and_resumed_is_not_taken_for_dead() {
    for home in homes() {
        let mut run = start(home).fixture(&["print-signals", "64"]);
        run.ready();
        let command = run.command();
        for _ in 0..20 {
            send(command, libc::SIGSTOP);
            eventually("it is stopped", || {
                status_field(command, "State").unwrap().starts_with('T')
            });
            run.signal(libc::SIGCONT);
            run.expect_signal(18);
        }
        run.signal(64);
        run.line();
        run.expect_exit(0);
    }
}

#[test]
fn idle_it_sleeps_without_a_timer() {
    if std::fs::read_to_string("/proc/self/syscall").is_err() {
        skipped("/proc does not show system calls here");
        return;
    }
    for home in homes() {
        let mut run = start(home)
            .options("-t 1000")
            .fixture(&["print-signals", "15"]);
        run.ready();
        // Number and arguments of the call that it sits in: the third argument
        // of rt_sigtimedwait is the timeout, and there is none.
        let mut seen = String::new();
        eventually("it waits without a timeout", || {
            seen =
                std::fs::read_to_string(format!("/proc/{}/syscall", run.pid)).unwrap_or_default();
            let words: Vec<&str> = seen.split(' ').collect();
            words[0] == libc::SYS_rt_sigtimedwait.to_string() && words[3] == "0x0"
        });
        let switches = || status_field(run.pid, "voluntary_ctxt_switches");
        let before = switches();
        // Something else happens meanwhile, in which it has no part.
        assert!(
            std::process::Command::new("true")
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(switches(), before, "{home:?}");
        run.signal(libc::SIGTERM);
        run.line();
        run.expect_exit(0);
    }
}
