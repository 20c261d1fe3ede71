//! Signals reach the command: each, once, in order, with what they carry.

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
            // One at a time: equal ones merge, and the order is the kernel's.
            let line = run.line();
            assert_eq!(
                line.split(' ').next(),
                Some(signal.to_string().as_str()),
                "{home:?}"
            );
        }
        run.signal(64);
        run.expect_signal(64);
        run.expect_exit(0);
        run.expect_no_more_output();
    }
}

#[test]
fn realtime_signals_keep_their_values_and_their_order() {
    for home in [Home::Plain, Home::Pid1]
        .into_iter()
        .filter(|home| home.is_possible())
    {
        let mut run = start(home).fixture(&["print-signals", "64"]);
        run.ready();
        let signal = RTMIN + 3;
        let status = std::process::Command::new(fixture())
            .args([
                "queue",
                &run.pid.to_string(),
                &signal.to_string(),
                "1",
                "1001",
            ])
            .status()
            .unwrap();
        assert!(status.success());
        for value in 1..=1000 {
            let line = run.line();
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(
                (words[0], words[1]),
                ("37", "-1"),
                "signal and SI_QUEUE: {line}"
            );
            assert_eq!(words[3], value.to_string(), "in order: {line}");
        }
        run.signal(64);
        run.line();
        run.expect_exit(0);
    }
}

#[test]
fn a_queued_value_reaches_the_process_group_too() {
    let mut run = start(Home::Plain)
        .options("-g")
        .fixture(&["print-signals", "64"]);
    run.ready();
    let status = std::process::Command::new(fixture())
        .args(["queue", &run.pid.to_string(), "10", "77", "78"])
        .status()
        .unwrap();
    assert!(status.success());
    let line = run.line();
    if kernel_is_at_least(6, 9) {
        assert!(
            line.starts_with("10 -1 ") && line.ends_with(" 77"),
            "{line}"
        );
    } else {
        assert!(
            line.starts_with("10 "),
            "older kernels: the signal, without its value: {line}"
        );
    }
    run.signal(64);
    run.line();
    run.expect_exit(0);
}

fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|word| word.parse::<u32>().ok());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (major, minor)
}

#[test]
fn with_no_queue_left_the_signal_itself_still_arrives() {
    // The command may have nothing queued: a value cannot be sent on, and
    // rt_sigqueueinfo says EAGAIN for a realtime signal.
    let fixture = fixture();
    let mut run =
        start(Home::Plain).run(&["prlimit", "--sigpending=0", &fixture, "print-signals", "15"]);
    run.ready();
    for signal in [libc::SIGUSR1, RTMIN, RTMIN + 5] {
        let status = std::process::Command::new(&fixture)
            .args([
                "queue",
                &run.pid.to_string(),
                &signal.to_string(),
                "77",
                "78",
            ])
            .status()
            .unwrap();
        assert!(status.success());
        let line = run.line();
        assert!(
            line.starts_with(&format!("{signal} ")) && line.ends_with(" 0"),
            "{line}"
        );
    }
    run.signal(libc::SIGTERM);
    run.line();
    run.expect_exit(0);
}

#[test]
fn signals_are_rewritten_and_swallowed() {
    for home in homes() {
        let mut run = start(home)
            .options("-r TERM:USR1 -r 12:RTMIN+2 -r HUP:0 -t infinity")
            .fixture(&["print-signals", "64"]);
        run.ready();
        run.signal(libc::SIGHUP);
        for (sent, expected) in [(libc::SIGTERM, "10 "), (libc::SIGUSR2, "36 "), (64, "64 ")] {
            run.signal(sent);
            let line = run.line();
            assert!(
                line.starts_with(expected),
                "{home:?}: {sent} arrived as {line}"
            );
        }
        run.expect_exit(0);
    }
}

#[test]
fn a_swallowed_stop_signal_stops_nothing() {
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
fn the_command_alone_gets_signals_unless_the_group_is_asked_for() {
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
                // First the one that was left out, so that nothing is left.
                send(children_of(run.command())[0], 64);
                run.expect_signal(64);
                run.expect_signal(17);
            }
            run.signal(64);
            run.expect_signal(64);
            run.expect_exit(0);
        }
    }
}

#[test]
fn as_pid_1_signals_from_inside_arrive_as_those_from_outside_do() {
    for home in homes().into_iter().filter(|home| home.is_pid1()) {
        let mut run = start(home)
            .options("-t infinity")
            .fixture(&["print-signals", "64"]);
        run.ready();
        let pid = run.pid;
        let inside = |signal: &str| {
            let status = nsenter(pid, &["kill", &format!("-{signal}"), "1"]);
            assert!(status.success(), "{home:?}");
        };
        if !is_root() {
            skipped("entering a namespace needs root");
            continue;
        }
        for (name, number) in [("TERM", "15"), ("USR1", "10"), ("37", "37")] {
            inside(name);
            assert_eq!(
                run.line().split(' ').next(),
                Some(number),
                "{home:?} from inside"
            );
        }
        run.signal(64);
        run.expect_signal(64);
        run.expect_exit(0);
    }
}

fn nsenter(pid: i32, command: &[&str]) -> std::process::ExitStatus {
    std::process::Command::new("nsenter")
        .args(["--target", &pid.to_string(), "--pid", "--mount", "--"])
        .args(command)
        .status()
        .unwrap()
}

#[test]
fn a_command_of_another_user_is_warned_about_and_outlived() {
    if !is_root() {
        skipped("making a program setuid root needs root");
        return;
    }
    let folder = Folder::new();
    let program = folder.copy_program(&fixture(), "root-user", 0o4755);
    let supervise = folder.copy_program(SUPERVISE, "supervise", 0o755);
    let mut run = start(Home::Plain)
        .through(&[
            "setpriv",
            "--reuid=1000",
            "--regid=1000",
            "--clear-groups",
            &supervise,
            "-t",
            "0.2",
        ])
        .run(&[&program, "root-user"]);
    run.ready();
    let command = run.command();
    // The inner one runs with the right to signal nothing of root's.
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
    let mut run = std::process::Command::new("setpriv")
        .args(["--reuid=1000", "--regid=1000", "--clear-groups"])
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
fn a_command_that_signals_its_supervisor_and_everyone_is_not_answered_twice() {
    for home in homes() {
        // TERM for supervise: forwarded once, as from anyone.
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
    // TERM for everyone: in a namespace of our own only. The kernel leaves out
    // the sender and PID 1, and nobody may tell them after all.
    for home in homes().into_iter().filter(|home| home.is_pid1()) {
        let fixture = fixture();
        let mut run = start(home).options("-v").shell(&format!(
            "trap 'kill -TERM -1' USR1; trap 'echo got TERM' TERM
             {fixture} print-signals 15 & echo $$; wait $!; wait $!; echo end"
        ));
        // The shell says its pid, the fixture that it is ready.
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
fn a_stop_signal_that_was_ignored_at_the_start_is_forwarded_and_stops_nothing() {
    let fixture = fixture();
    for home in homes() {
        for (signal, name) in [(libc::SIGINT, "INT"), (libc::SIGTERM, "TERM")] {
            // As a shell has it for jobs in the background.
            let ignored = [fixture.as_str(), "ignored", &signal.to_string()];
            let mut run = start(home)
                .through(&ignored)
                .options("-t 0")
                .fixture(&["print-signals", "64"]);
            run.ready();
            run.signal(signal);
            if home.is_pid1() {
                // There it would leave nothing to stop us by.
                run.expect_killed(libc::SIGKILL);
            } else {
                run.expect_signal(signal);
                run.signal(64);
                run.expect_signal(64);
                run.expect_exit(0);
            }
            // What was named is one.
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
fn a_stop_request_for_the_group_resumes_only_what_is_suspended() {
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
        eventually("it is suspended", || {
            status_field(member, "State").is_some_and(|state| state.starts_with('T'))
        });
        run.signal(libc::SIGTERM);
        eventually("it has exited", || !is_alive(member));
        run.signal(64);
        run.expect_exit(0);
    }
}

#[test]
fn a_command_that_waits_for_a_terminal_that_nobody_can_give_is_named() {
    // In a session of our own there is no terminal.
    let mut run = start(Home::Plain)
        .through(&["setsid"])
        .shell("kill -TTIN $$; echo resumed");
    run.wait_for_error("suspended by SIGTTIN");
    run.signal(libc::SIGCONT);
    run.expect_line("resumed");
    run.expect_exit(0);
}
