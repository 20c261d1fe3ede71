//! The other processes: each that the command leaves is found and signaled, and none is
//! left when `supervise` exits, except by `--leftovers leave`.

use std::time::{Duration, Instant};

use crate::harness::report::Reported;
use crate::harness::*;

/// A shell that ignores SIGTERM.
const NEVER: &str = "trap '' TERM; while :; do sleep 0.05; done";

#[test]
fn leftovers_are_signaled_after_the_command_exits() {
    for home in homes() {
        // The worker is signaled after its parent has exited.
        let script = "
            (trap 'echo worker saved; exit 0' TERM
             echo ready 1; while :; do sleep 0.01; done) &
            trap 'kill -0 $! && echo command exits first; exit 4' TERM
            echo ready 2; while :; do sleep 0.01; done";
        let mut run = start(home).shell(script);
        run.ready();
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_line("command exits first");
        run.expect_line("worker saved");
        run.expect_exit(4);
        run.expect_no_log("supervise: ");
    }
}

#[test]
fn a_stop_request_resumes_a_suspended_leftover() {
    // With -g it is signaled with the group, and not again.
    for (home, options) in homes()
        .into_iter()
        .flat_map(|home| [(home, ""), (home, "-g")])
    {
        let script = "
            sh -c 'trap \"echo saved; exit 0\" TERM; echo ready $$; kill -STOP $$
                   while :; do sleep 0.01; done' &
            trap 'exit 0' TERM; echo ready $$; while :; do sleep 0.01; done";
        let mut run = start(home).options(options).shell(script);
        run.ready();
        run.ready();
        let worker = children_of(run.command())[0];
        wait_for_state(worker, 'T');
        run.signal(libc::SIGTERM);
        run.expect_line("saved");
        run.expect_exit(0);
    }
}

#[test]
fn the_deadline_holds_for_all_processes() {
    for home in homes() {
        let script = format!("(trap '' TERM; echo ready 1; {NEVER}) & {EXITS}");
        let mut run = start(home).options("-t 500ms").shell(&script);
        run.ready();
        run.ready();
        let requested = Instant::now();
        run.signal(libc::SIGTERM);
        run.expect_exit(0);
        assert!(
            requested.elapsed() >= Duration::from_millis(500),
            "{home:?}"
        );
        // Its output is at its end: all processes that had it open have exited.
        run.rest();
        run.expect_log("did not exit");
    }
}

#[test]
fn no_process_is_signaled_twice() {
    let fixture = fixture();
    for home in homes() {
        for options in ["", "-g"] {
            // The command hangs, so that the others are signaled before it exits, and then
            // exits before the deadline.
            let script = format!(
                "{fixture} print-signals & trap 'read _ < $FIFO; exit 0' TERM; echo ready 2
                 while :; do sleep 0.01; done"
            );
            let folder = Folder::new();
            let fifo = folder.fifo("fifo");
            let mut run = start(home)
                .options(options)
                .options("-t 2s --leftovers stop")
                .variable("FIFO", &fifo)
                .shell(&script);
            run.ready();
            run.ready();
            run.signal(libc::SIGTERM);
            // With -g at once, otherwise at three quarters.
            run.expect_signal(15);
            std::fs::write(&fifo, "go\n").unwrap();
            run.expect_exit(0);
            let rest = run.rest();
            assert!(rest.iter().all(|line| line.starts_with("18 ")), "{rest:?}");
        }
    }
}

#[test]
fn other_processes_are_signaled_at_three_quarters_if_the_command_hangs() {
    for home in homes() {
        let worker = format!("(trap 'echo saved; exit 0' TERM; echo ready 1; {LOOP})");
        let mut run = start(home)
            .options("-t 2s")
            .shell(&format!("{worker} & trap : TERM; echo ready 2; {LOOP}"));
        run.ready();
        run.ready();
        let requested = Instant::now();
        run.signal(libc::SIGTERM);
        run.expect_line("saved");
        assert!(
            requested.elapsed() >= Duration::from_millis(1500),
            "{home:?}"
        );
        run.expect_killed(libc::SIGKILL);
    }
}

#[test]
fn few_descriptors_are_enough_to_signal_all_processes() {
    // They are found one by one: as PID 1 because `-g` has signaled some already. The worker
    // is not a child of supervise and takes a descriptor. The whole grace period is there for
    // the answer, however busy the machine is.
    let worker = "trap 'echo saved; exit 0' TERM; echo ready 1; while :; do sleep 0.01; done";
    let parent = "trap : TERM; sh -c \"$0\" & wait; wait";
    let command = "setsid sh -c \"$0\" \"$1\" & trap 'exit 0' TERM; while :; do sleep 0.05; done";
    for home in homes() {
        for limit in ["--nofile=4:64", "--nofile=4:4"] {
            let mut run = start(home)
                .through(&["prlimit", limit])
                .options("-g")
                .run(&["sh", "-c", command, parent, worker]);
            run.ready();
            run.signal(libc::SIGTERM);
            run.expect_line("saved");
            run.expect_exit(0);
        }
        if home == Home::UserPid1 {
            // Another user may not lower its limit.
            continue;
        }
        // With the report none is free, and with the lower limit there are only those that
        // hold the places of stdin and stdout. More are needed to open the report.
        for limit in ["--nofile=4:4", "--nofile=3:3"] {
            let reported = Reported::new();
            let start = reported.start(home).options("-g");
            let mut run = start.run(&["sh", "-c", command, parent, worker]);
            run.ready();
            let set = output(&["prlimit", "--pid", &run.pid.to_string(), limit]);
            assert_eq!(set.code, Some(0), "{}", set.errors);
            run.signal(libc::SIGTERM);
            run.expect_line("saved");
            run.expect_exit(0);
            reported.expect(&[("/ended/code", 0.into())]);
        }
    }
}

#[test]
fn where_processes_cannot_be_read_the_group_of_the_command_is_signaled() {
    if lacks("strace") {
        return;
    }
    // strace attaches itself from outside the tree.
    let fails = "inject=?open,openat:error=EIO";
    let unread = "/proc/self/status";
    let mut run = start(Home::Plain)
        .through(&[
            "strace",
            "-D",
            "-q",
            "-o",
            "/dev/null",
            "-P",
            unread,
            "-e",
            fails,
        ])
        .shell(&format!(
            "(trap 'echo worker saved; exit 0' TERM; echo ready 1; {LOOP}) & {EXITS}"
        ));
    run.ready();
    run.ready();
    run.signal(libc::SIGTERM);
    run.expect_line("worker saved");
    run.expect_exit(0);
    let errors = run.errors();
    let told = "cannot read /proc/self/status: I/O error; other processes may not have received \
                SIGTERM";
    assert_eq!(errors.matches("cannot read").count(), 1, "{errors}");
    run.expect_log(told);
}

/// A program in a session of its own, started by a shell that has exited.
const DAEMON: &str = "setsid sh -c 'trap \"echo daemon saved; exit 0\" TERM; echo ready $$
                      while :; do sleep 0.01; done' &";

#[test]
fn processes_in_other_sessions_are_signaled() {
    for home in homes() {
        for escape in [
            DAEMON.to_owned(),
            format!("(({DAEMON}) &)"),
            format!("nohup {DAEMON}"),
        ] {
            let mut run = start(home).shell(&format!("{escape}\n{EXITS}"));
            run.ready();
            run.ready();
            run.signal(libc::SIGTERM);
            run.expect_line("daemon saved");
            run.expect_exit(0);
        }
    }
}

#[test]
fn a_process_forked_during_the_scan_is_signaled() {
    if lacks_tracer() {
        return;
    }
    let fixture = fixture();
    let mut run = start(Home::Plain)
        .through(&[&fixture, "fork-when-read"])
        .options("-t 10s")
        .shell(&format!(
            "trap 'exit 0' TERM; {fixture} forks-when-told & while :; do sleep 0.01; done"
        ));
    run.ready();
    // The parent of supervise is its tracer.
    send(run.command(), libc::SIGTERM);
    // The process that was forked after the children of its parent were read.
    run.ready();
    run.expect_signal(15);
    run.expect_exit(0);
}

#[test]
fn a_process_forked_by_another_thread_is_signaled() {
    let fixture = fixture();
    let mut run = start(Home::Plain).options("-t 1s").shell(&format!(
        "{fixture} thread-fork sh -c 'trap \"echo saved; exit 0\" TERM; echo ready $$; {LOOP}' &
         {EXITS}"
    ));
    run.ready();
    run.ready();
    run.signal(libc::SIGTERM);
    run.expect_line("saved");
    run.expect_exit(0);
}

#[test]
fn a_nested_pid_namespace_is_killed_at_the_deadline() {
    if lacks_root("a PID namespace") {
        return;
    }
    // SIGTERM kills neither PID 1 of the nested namespace nor unshare.
    let nested = "unshare --pid --fork sh -c 'echo ready $$; sleep 1005; :'";
    let mut run = start(Home::Plain)
        .options("-t 500ms")
        .shell(&format!("{nested} & {EXITS}"));
    run.ready();
    run.ready();
    run.signal(libc::SIGTERM);
    run.expect_exit(0);
    run.rest();
}

#[test]
fn processes_that_fork_without_end_are_all_killed() {
    for home in homes() {
        // Each leaves the session and ignores SIGTERM. They are found by this argument.
        let marker = format!("987654.{}", std::process::id());
        let script = format!(
            "trap '' TERM; echo ready $$; i=0
             while :; do (setsid sleep {marker} &); i=$((i+1)); [ $i -lt 300 ] || i=0; sleep 0.003; done"
        );
        let mut run = start(home).options("-t 300ms").shell(&script);
        run.ready();
        eventually("it has forked", || !with_argument(&marker).is_empty());
        run.signal(libc::SIGTERM);
        run.expect_killed(libc::SIGKILL);
        let left = with_argument(&marker);
        assert!(left.is_empty(), "{home:?}: {left:?} {}", run.errors());
    }
}

/// The processes with this first argument.
fn with_argument(word: &str) -> Vec<i32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            line.split(|b| *b == 0)
                .nth(1)?
                .eq(word.as_bytes())
                .then_some(pid)
        })
        .collect()
}

#[test]
fn the_policy_decides_about_leftovers() {
    // The command exits by itself and leaves a process that prints on SIGTERM.
    let worker = format!("trap 'echo signaled; exit 0' TERM; echo ready $$; {LOOP}");
    let script = format!("({worker}) & read -r line < $FIFO; exit 3");
    for home in homes() {
        for (policy, stops) in [("auto", home.is_pid1()), ("stop", true), ("leave", false)] {
            let folder = Folder::new();
            let fifo = folder.fifo("fifo");
            let mut run = start(home)
                .options(&format!("-v --leftovers {policy}"))
                .variable("FIFO", &fifo)
                .shell(&script);
            run.ready();
            let worker = children_of(run.command())[0];
            let _leftover = (!home.is_pid1()).then(|| Leftover(worker));
            std::fs::write(&fifo, "go\n").unwrap();
            if stops {
                run.expect_line("signaled");
            }
            run.expect_exit(3);
            let is_left = !stops && !home.is_pid1();
            assert_eq!(is_alive(worker), is_left, "{home:?} {policy}");
            let left = if home.is_pid1() {
                "killed by the kernel, because PID 1 exits: pid "
            } else {
                "left running: pid "
            };
            let errors = run.errors();
            assert_eq!(errors.contains(left), !stops, "{home:?} {policy}: {errors}");
        }
    }
}

#[test]
fn wait_lasts_until_the_last_leftover_exits_or_a_stop_request() {
    let script = "(trap 'echo signaled; exit 0' TERM; echo ready $$; read -r line < $FIFO) &
                  read -r line < $FIRST; exit 3";
    for home in homes() {
        for stop in [false, true] {
            let folder = Folder::new();
            let [first, fifo] = ["first", "fifo"].map(|name| folder.fifo(name));
            let mut run = start(home)
                .options("-v --leftovers wait")
                .variable("FIRST", &first)
                .variable("FIFO", &fifo)
                .shell(script);
            run.ready();
            std::fs::write(&first, "go\n").unwrap();
            run.wait_for_error(") exited with status 3");
            assert!(run.is_running(), "{home:?}");
            if stop {
                run.signal(libc::SIGTERM);
                run.expect_line("signaled");
            } else {
                std::fs::write(&fifo, "go\n").unwrap();
            }
            run.expect_exit(3);
            run.expect_no_more_output();
        }
    }
}

#[test]
fn with_leave_only_the_command_is_killed_at_the_deadline() {
    let script = format!("trap '' TERM; (echo ready $$; {NEVER}) & {NEVER}");
    let mut run = start(Home::Plain)
        .options("-t 300ms --leftovers leave")
        .shell(&script);
    run.ready();
    let worker = children_of(run.command()).into_iter().next().unwrap();
    let _leftover = Leftover(worker);
    run.signal(libc::SIGTERM);
    run.expect_killed(libc::SIGKILL);
    assert!(is_alive(worker), "it should still run");
}

#[test]
fn zombies_are_not_logged_as_left_running() {
    let mut run = start(Home::Plain).options("-v").shell(
        "trap 'exit 0' USR1
         python3 -c \"
import os, time
for _ in range(12):
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
print('ready', os.getpid(), flush=True)
time.sleep(1000)\" &
         while :; do sleep 0.01; done",
    );
    let left = run.ready();
    let _leftover = Leftover(left);
    run.signal(libc::SIGUSR1);
    run.expect_exit(0);
    run.expect_log("left running: pid ");
    run.expect_no_log("more");
}

#[test]
fn with_leave_only_the_command_is_logged() {
    for home in homes() {
        let mut run = start(home)
            .options("-t 400ms --leftovers leave")
            .shell("sleep 1030 & trap '' TERM; echo ready $$; exec sleep 1031");
        run.ready();
        let command = run.command();
        // supervise does not stop it, so the test does.
        let _worker = Leftover(children_of(command)[0]);
        run.signal(libc::SIGTERM);
        run.expect_killed(libc::SIGKILL);
        let errors = run.errors();
        assert_eq!(errors.matches("is still running: ").count(), 1, "{errors}");
        assert_eq!(errors.matches("did not exit: ").count(), 1, "{errors}");
    }
}

#[test]
fn auto_stops_leftovers_below_an_init_that_exits_with_supervise() {
    if lacks_root("a PID namespace") || !Home::Pid1.is_possible() {
        return;
    }
    // A shell is PID 1, runs supervise and exits; its name is that of an init that does so.
    for (name, before, stops) in [
        ("tini", "", true),
        ("docker-init", "", true),
        // A script may go on.
        ("sh", "", false),
        // Its other child does not exit with supervise.
        ("tini", "sleep 1051 &", false),
    ] {
        let folder = Folder::new();
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        let init = folder.copy_program(shell.to_str().unwrap(), name, 0o755);
        let (ready, signaled) = (folder.file("ready"), folder.file("signaled"));
        let script = format!(
            "{before} {SUPERVISE} -v -- sh -c \"(trap 'echo > {signaled}; exit' TERM; echo > {ready}
             while :; do sleep 0.01; done) & until [ -e {ready} ]; do sleep 0.01; done\"; exit $?"
        );
        let Output { code, errors, .. } = output(&[&UNSHARE[..], &[&init, "-c", &script]].concat());
        assert_eq!(code, Some(0), "{name}: {errors}");
        let found = std::path::Path::new(&signaled).exists();
        assert_eq!(found, stops, "{name} {before}: {errors}");
    }
}
