//! Every child that exits is reaped, and neither thousands of them nor none change anything
//! else.

use crate::harness::report::Reported;
use crate::harness::*;

#[test]
fn exits_merged_into_one_sigchld_are_all_reaped() {
    for home in homes() {
        // SIGCHLD merges: one may announce a thousand exits.
        for _ in 0..8 {
            start(home).fixture(&["children", "1000"]).expect_exit(7);
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
        eventually("all zombies are reaped", || children_of(run.pid).len() == 1);
        run.signal(libc::SIGTERM);
        run.expect_killed(libc::SIGTERM);
    }
}

#[test]
fn warn_on_reap_logs_reaped_orphans() {
    for (options, logged) in [("-w", true), ("", false), ("-w -q", false)] {
        let mut run = start(Home::Plain)
            .options(options)
            // Otherwise the command may exit before its orphan.
            .options("--leftovers wait")
            .fixture(&["orphans", "1"]);
        run.expect_exit(7);
        let errors = run.errors();
        assert_eq!(errors.contains("reaped orphan"), logged, "{errors}");
    }
}

/// No time is measured, because `supervise` reaps faster than one machine can fork: this
/// passes without a limit on the children reaped in one go. The next test is about that.
#[test]
fn a_storm_of_orphans_delays_neither_signals_nor_the_exit() {
    let fixture = fixture();
    for home in homes() {
        // Without end: waiting for it would never end either.
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

/// Here waitpid(2) has another orphan each time that it is called: without a limit no signal
/// would be handled.
#[test]
fn an_endless_supply_of_orphans_delays_nothing() {
    if lacks_tracer() {
        return;
    }
    let fixture = fixture();
    let start = || start(Home::Plain).through(&[&fixture, "orphans-forever"]);
    let mut run = start().fixture(&["print-signals", "64"]);
    run.ready();
    // The parent of supervise is its tracer.
    let supervise = run.command();
    send(supervise, libc::SIGUSR1);
    run.expect_signal(10);
    send(supervise, 64);
    run.expect_signal(64);
    // After 65,536 of them the others count as left running.
    run.expect_exit(0);

    let mut run = start()
        .options("-t 300ms --no-reraise")
        .shell("trap '' TERM; echo ready $$; while :; do sleep 0.01; done");
    run.ready();
    send(run.command(), libc::SIGTERM);
    run.expect_exit(137);
}

#[test]
fn thousands_of_orphans_are_reaped_and_counted() {
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
fn a_child_without_an_exit_signal_is_stopped() {
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
fn inherited_children_are_not_mistaken_for_the_command() {
    // The child exits before supervise starts: no signal announces it.
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
fn a_command_whose_main_thread_exited_still_runs() {
    for home in homes() {
        let mut run = start(home).fixture(&["leaderless"]);
        run.ready();
        let command = run.command();
        wait_for_state(command, 'Z');
        run.signal(libc::SIGTERM);
        run.expect_exit(9);
    }
}

#[test]
fn a_suspended_command_still_runs() {
    for home in homes() {
        let mut run = start(home).fixture(&["print-signals", "64"]);
        run.ready();
        let command = run.command();
        for _ in 0..20 {
            send(command, libc::SIGSTOP);
            wait_for_state(command, 'T');
            run.signal(libc::SIGCONT);
            run.expect_signal(18);
        }
        run.signal(64);
        run.line();
        run.expect_exit(0);
    }
}

#[test]
fn idle_supervise_waits_without_a_timeout() {
    if std::fs::read_to_string("/proc/self/syscall").is_err() {
        skipped("/proc does not show system calls here");
        return;
    }
    for home in homes() {
        let mut run = start(home)
            .options("-t 1000")
            .fixture(&["print-signals", "15"]);
        run.ready();
        // The number and the arguments of the system call: the third argument of
        // rt_sigtimedwait is the timeout, here a null pointer.
        let mut seen = String::new();
        eventually("it waits without a timeout", || {
            seen =
                std::fs::read_to_string(format!("/proc/{}/syscall", run.pid)).unwrap_or_default();
            let words: Vec<&str> = seen.split(' ').collect();
            words[0] == libc::SYS_rt_sigtimedwait.to_string() && words[3] == "0x0"
        });
        let switches = || status_field(run.pid, "voluntary_ctxt_switches");
        let before = switches();
        // Something happens meanwhile that is not about it.
        output(&["true"]);
        assert_eq!(switches(), before, "{home:?}");
        run.signal(libc::SIGTERM);
        run.line();
        run.expect_exit(0);
    }
}
