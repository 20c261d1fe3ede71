//! Signals reach the command: each of them, once, in order and with its value.

use std::io::BufRead as _;

use crate::harness::*;

const RTMIN: i32 = 34;

#[test]
fn every_signal_is_forwarded_once() {
    for home in homes() {
        let mut run = start(home)
            .options("-t infinity")
            .fixture(&["print-signals", "64"]);
        run.ready();
        let all = (1..=64).filter(|n| ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(n));
        for signal in all.clone().filter(|signal| *signal != 64) {
            run.signal(signal);
            // One at a time: equal ones merge, and the kernel chooses the order.
            run.expect_signal(signal);
        }
        run.signal(64);
        run.expect_signal(64);
        run.expect_exit(0);
        run.expect_no_more_output();
    }
}

#[test]
fn realtime_signals_keep_their_values_and_order() {
    for home in homes().into_iter().filter(|home| *home != Home::UserPid1) {
        let mut run = start(home).fixture(&["print-signals", "64"]);
        run.ready();
        queue(run.pid, RTMIN + 3, 1..1001);
        for value in 1..=1000 {
            let line = run.expect_signal(37);
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(words[1], "-1", "SI_QUEUE: {line}");
            assert_eq!(words[3], value.to_string(), "in order: {line}");
        }
        run.signal(64);
        run.line();
        run.expect_exit(0);
    }
}

#[test]
fn a_queued_value_reaches_the_process_group() {
    let mut run = start(Home::Plain)
        .options("-g")
        .fixture(&["print-signals", "64"]);
    run.ready();
    queue(run.pid, libc::SIGUSR1, 77..78);
    let line = run.expect_signal(10);
    // Older kernels: the signal without its value.
    if kernel_is_at_least(6, 9) {
        let value = line.starts_with("10 -1 ") && line.ends_with(" 77");
        assert!(value, "{line}");
    }
    run.signal(64);
    run.line();
    run.expect_exit(0);
}

#[test]
fn a_full_queue_costs_only_the_value() {
    // The queue of the command has no room: a value cannot be forwarded, and
    // rt_sigqueueinfo(2) fails with EAGAIN for a real-time signal.
    let fixture = fixture();
    let mut run =
        start(Home::Plain).run(&["prlimit", "--sigpending=0", &fixture, "print-signals", "15"]);
    run.ready();
    for signal in [libc::SIGUSR1, RTMIN, RTMIN + 5] {
        queue(run.pid, signal, 77..78);
        let line = run.expect_signal(signal);
        assert!(line.ends_with(" 0"), "{line}");
    }
    run.signal(libc::SIGTERM);
    run.line();
    run.expect_exit(0);
}

#[test]
fn signals_are_rewritten_and_dropped() {
    for home in homes() {
        let mut run = start(home)
            .options("-r TERM:USR1 -r 12:RTMIN+2 -r HUP:0 -t infinity")
            .fixture(&["print-signals", "64"]);
        run.ready();
        run.signal(libc::SIGHUP);
        for (sent, expected) in [(libc::SIGTERM, 10), (libc::SIGUSR2, 36), (64, 64)] {
            run.signal(sent);
            run.expect_signal(expected);
        }
        run.expect_exit(0);
    }
}

#[test]
fn a_dropped_stop_signal_is_not_a_stop_request() {
    let mut run = start(Home::Plain)
        .options("-r TERM:0 -t 0")
        .fixture(&["print-signals", "64"]);
    run.ready();
    run.signal(libc::SIGTERM);
    run.signal(64);
    run.expect_signal(64);
    run.expect_exit(0);
}

#[test]
fn only_the_command_is_signaled_without_process_group() {
    for home in homes() {
        for (options, expected) in [("", 1), ("-c", 1), ("-g", 2)] {
            let fixture = fixture();
            let mut run = start(home)
                .options(options)
                .options("-t infinity")
                .shell(&format!(
                    "{fixture} print-signals 64 & exec {fixture} print-signals 64"
                ));
            run.ready();
            run.ready();
            run.signal(libc::SIGUSR1);
            for _ in 0..expected {
                run.expect_signal(10);
            }
            if expected == 1 {
                // First the process that was not signaled, so that no process is left.
                send(children_of(run.command())[0], 64);
                run.expect_signal(64);
                // Its parent hears of it.
                run.expect_signal(17);
            }
            run.signal(64);
            run.expect_signal(64);
            run.expect_exit(0);
        }
    }
}

#[test]
fn pid_1_forwards_signals_from_inside_the_namespace() {
    if lacks_root("entering a namespace") {
        return;
    }
    for home in homes().into_iter().filter(|home| home.is_pid1()) {
        let mut run = start(home)
            .options("-t infinity")
            .fixture(&["print-signals", "64"]);
        run.ready();
        for (name, number) in [("TERM", 15), ("USR1", 10), ("37", 37)] {
            let kill = ["kill", &format!("-{name}"), "1"];
            assert!(in_namespaces_of(run.pid, &kill).status().unwrap().success());
            run.expect_signal(number);
        }
        run.signal(64);
        run.expect_signal(64);
        run.expect_exit(0);
    }
}

#[test]
fn a_command_that_cannot_be_signaled_is_logged_and_outlived() {
    if lacks_root("making a program setuid root") {
        return;
    }
    let folder = Folder::new();
    let program = folder.copy_program(&fixture(), "root-user", 0o4755);
    let supervise = folder.copy_program(SUPERVISE, "supervise", 0o755);
    let mut run = start(Home::Plain)
        .through(&as_user("1000"))
        .through(&[&supervise, "-t", "0.2"])
        .run(&[&program, "root-user"]);
    run.ready();
    let command = run.command();
    // The inner one is not permitted to signal processes of root.
    let inner = command;
    let target = children_of(inner);
    let leftover = Leftover(*target.first().unwrap_or(&inner));
    run.signal(libc::SIGUSR2);
    run.wait_for_error("not permitted to send SIGUSR2");
    assert!(run.is_running(), "EPERM must not end supervise");
    run.signal(libc::SIGTERM);
    run.wait_for_error("survived SIGKILL");
    drop(leftover);
    run.wait();

    // And with nothing in between.
    let errors = folder.file("errors");
    let user = as_user("1000");
    let mut run = std::process::Command::new(user[0])
        .args(&user[1..])
        .args([&supervise, "-t", "0.2", "--", &program, "root-user"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    std::io::BufReader::new(run.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    let pid = run.id().try_into().unwrap();
    let _leftover = Leftover(children_of(pid)[0]);
    send(pid, libc::SIGTERM);
    run.wait().unwrap();
    let errors = folder.read("errors");
    for when in ["is still running", "survived SIGKILL, giving up"] {
        let line = format!("(root-user) {when}: it runs as another user");
        assert!(errors.contains(&line), "{errors}");
    }
}

#[test]
fn signals_sent_by_the_command_are_not_doubled() {
    for home in homes() {
        // TERM for supervise: forwarded once, as from any sender.
        let mut run = start(home).options("-t infinity").shell(
            "trap 'echo got TERM; exit 4' TERM; kill -TERM $PPID; while :; do sleep 0.01; done",
        );
        run.expect_line("got TERM");
        run.expect_exit(4);

        // TERM for its own process group, which supervise is not in.
        let mut run = start(home).shell("trap 'echo got TERM; exit 5' TERM; kill -TERM 0; exit 6");
        run.expect_line("got TERM");
        run.expect_exit(5);
        run.expect_no_more_output();
    }
    // TERM for all processes: in a namespace only. The kernel leaves out the sender and
    // PID 1, and supervise does not make up for that.
    for home in homes().into_iter().filter(|home| home.is_pid1()) {
        let fixture = fixture();
        let mut run = start(home).options("-v").shell(&format!(
            "trap 'kill -TERM -1' USR1; trap 'echo got TERM' TERM
             {fixture} print-signals 15 & echo $$; wait $!; wait $!; echo end"
        ));
        // The shell prints its pid, the fixture that it is ready.
        let first = [run.line(), run.line()];
        assert!(
            first.iter().any(|line| line.starts_with("ready ")),
            "{first:?}"
        );
        run.signal(libc::SIGUSR1);
        run.expect_signal(15);
        run.expect_line("end");
        run.expect_exit(0);
        run.expect_no_more_output();
        run.expect_no_log("stopping");
    }
}

#[test]
fn a_stop_signal_ignored_at_the_start_is_only_forwarded() {
    let fixture = fixture();
    for home in homes() {
        for (signal, name) in [(libc::SIGINT, "INT"), (libc::SIGTERM, "TERM")] {
            // As in a shell for background jobs.
            let ignored = [fixture.as_str(), "ignored", &signal.to_string()];
            let mut run = start(home)
                .through(&ignored)
                .options("-t 0")
                .fixture(&["print-signals", "64"]);
            run.ready();
            run.signal(signal);
            if home.is_pid1() {
                // Otherwise nothing could stop supervise.
                run.expect_killed(libc::SIGKILL);
            } else {
                run.expect_signal(signal);
                run.signal(64);
                run.expect_signal(64);
                run.expect_exit(0);
            }
            // A signal of --stop-on is a stop request all the same.
            let mut run = start(home)
                .through(&ignored)
                .options(&format!("-t 0 --stop-on {name}"))
                .fixture(&["print-signals", "64"]);
            run.ready();
            run.signal(signal);
            run.expect_killed(libc::SIGKILL);
        }
    }
}

#[test]
fn a_stop_request_resumes_only_suspended_group_members() {
    for home in homes() {
        let fixture = fixture();
        let mut run = start(home)
            .options("-g -t 1000")
            .fixture(&["print-signals", "64"]);
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_signal(15);
        run.signal(64);
        run.expect_signal(64);
        run.expect_exit(0);

        let mut run = start(home).options("-g -t 1000").shell(&format!(
            "{fixture} print-signals 15 & exec {fixture} print-signals 64"
        ));
        run.ready();
        run.ready();
        let member = children_of(run.command())[0];
        send(member, libc::SIGSTOP);
        wait_for_state(member, 'T');
        run.signal(libc::SIGTERM);
        eventually("it has exited", || !is_alive(member));
        run.signal(64);
        run.expect_exit(0);
    }
}

#[test]
fn a_command_suspended_without_a_terminal_is_logged() {
    // A new session has no terminal.
    let mut run = start(Home::Plain)
        .through(&["setsid"])
        .shell("kill -TTIN $$; echo resumed");
    run.wait_for_error("suspended by SIGTTIN");
    run.signal(libc::SIGCONT);
    run.expect_line("resumed");
    run.expect_exit(0);
}
