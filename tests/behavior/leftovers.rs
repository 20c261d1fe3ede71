//! The other processes: each that the command leaves is found and signaled, and none is
//! left when `supervise` exits, except by `--leftovers leave`.

use std::time::{Duration, Instant};

use crate::harness::*;

/// A shell that ignores SIGTERM.
const NEVER: &str = "trap '' TERM; while :; do sleep 0.05; done";

#[test]
fn leftovers_are_signaled_after_the_command_exits() {
    for home in homes() {
        // The worker is asked after its parent has gone: it says who its
        // parent is then, which is supervise.
        let script = "
            (trap 'read -r _ _ _ parent _ < /proc/self/stat; echo worker saved; exit 0' TERM
             echo ready 1; while :; do sleep 0.01; done) &
            trap 'kill -0 $! && echo command ends first; exit 4' TERM
            echo ready 2; while :; do sleep 0.01; done";
        let mut run = start(home).shell(script);
        run.ready();
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_line("command ends first");
        run.expect_line("worker saved");
        run.expect_exit(4);
        run.expect_no_log("supervise: ");
    }
}

#[test]
fn a_stop_request_resumes_a_suspended_leftover() {
    // With -g it is asked with the group, and nobody asks it again.
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
        let script = format!(
            "(trap '' TERM; echo ready 1; {NEVER}) & trap 'exit 0' TERM; echo ready 2; while :; do sleep 0.01; done"
        );
        let mut run = start(home).options("-t 500ms").shell(&script);
        run.ready();
        run.ready();
        let asked = Instant::now();
        run.signal(libc::SIGTERM);
        run.expect_exit(0);
        assert!(asked.elapsed() >= Duration::from_millis(500), "{home:?}");
        // Its output ends, so that everyone who had it has ended.
        run.rest();
        run.expect_log("did not exit");
    }
}

#[test]
fn no_process_is_signaled_twice() {
    let fixture = fixture();
    for home in homes() {
        for options in ["", "-g"] {
            // The command hangs, so that the rest is asked before it has ended,
            // then ends before the deadline.
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
            let both = [run.line(), run.line()];
            assert!(
                both.iter().all(|line| line.starts_with("ready ")),
                "{both:?}"
            );
            run.signal(libc::SIGTERM);
            // With -g at once, otherwise at three quarters.
            run.expect_signal(15);
            std::fs::write(&fifo, "go\n").unwrap();
            run.expect_exit(0);
            let rest: Vec<String> = run
                .rest()
                .into_iter()
                .filter(|line| !line.starts_with("18 "))
                .collect();
            assert_eq!(
                rest,
                Vec::<String>::new(),
                "{home:?} {options:?}: asked again"
            );
        }
    }
}

#[test]
fn other_processes_are_signaled_at_three_quarters_if_the_command_hangs() {
    for home in homes() {
        let script = "(trap 'echo saved; exit 0' TERM; echo ready 1; while :; do sleep 0.01; done) & trap : TERM; echo ready 2; while :; do sleep 0.01; done";
        let mut run = start(home).options("-t 2s").shell(script);
        run.ready();
        run.ready();
        let asked = Instant::now();
        run.signal(libc::SIGTERM);
        run.expect_line("saved");
        assert!(asked.elapsed() >= Duration::from_millis(1500), "{home:?}");
        run.expect_killed(libc::SIGKILL);
    }
}

#[test]
fn few_descriptors_are_enough_to_signal_all_processes() {
    // Found one by one: as PID 1 because `-g` has signaled some already. The worker is
    // no child of supervise, so that a descriptor is wanted for it. The whole grace
    // period is there for the answer, however busy the machine is.
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
    }
}

/// A program in a session of its own, started by a shell that has ended.
const DAEMON: &str = "setsid sh -c 'trap \"echo daemon saved; exit 0\" TERM; echo ready $$; while :; do sleep 0.01; done' &";

#[test]
fn processes_in_other_sessions_are_signaled() {
    for home in homes() {
        for escape in [
            DAEMON.to_owned(),
            format!("(({DAEMON}) &)"),
            format!("nohup {DAEMON}"),
        ] {
            let mut run = start(home).shell(&format!(
                "{escape}\ntrap 'exit 0' TERM; echo ready 0; while :; do sleep 0.01; done"
            ));
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
            "{fixture} forks-when-told & trap 'exit 0' TERM; while :; do sleep 0.01; done"
        ));
    run.ready();
    // The child of the run is its tracer.
    send(run.command(), libc::SIGTERM);
    // Of what was forked after its parent's children were read.
    run.ready();
    run.expect_signal(15);
    run.expect_exit(0);
}

#[test]
fn a_process_forked_by_another_thread_is_signaled() {
    let fixture = fixture();
    let mut run = start(Home::Plain).options("-t 1s").shell(&format!(
        "{fixture} thread-fork sh -c 'trap \"echo saved; exit 0\" TERM; echo ready $$; while :; do sleep 0.01; done' &
         trap 'exit 0' TERM; echo ready 0; while :; do sleep 0.01; done"
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
    // PID 1 of the inner one does not end by SIGTERM, nor does unshare.
    let mut run = start(Home::Plain).options("-t 500ms").shell(
        "unshare --pid --fork sh -c 'echo ready $$; sleep 1005; :' &
         trap 'exit 0' TERM; echo ready 0; while :; do sleep 0.01; done",
    );
    run.ready();
    run.ready();
    run.signal(libc::SIGTERM);
    run.expect_exit(0);
    run.rest();
}

#[test]
fn processes_that_fork_without_end_are_all_killed() {
    for home in homes() {
        // Each leaves the session and ignores what it is asked. The number is
        // what they are found by.
        let marker = format!(
            "{}.{}",
            987_654,
            std::process::id() + u32::from(home == Home::Pid1)
        );
        let script = format!(
            "trap '' TERM; echo ready $$; i=0
             while :; do (setsid sleep {marker} &); i=$((i+1)); [ $i -lt 300 ] || i=0; sleep 0.003; done"
        );
        let mut run = start(home).options("-t 300ms").shell(&script);
        run.ready();
        eventually("it has forked", || !with_argument(&marker).is_empty());
        run.signal(libc::SIGTERM);
        run.expect_killed(libc::SIGKILL);
        assert_eq!(
            with_argument(&marker),
            Vec::<i32>::new(),
            "{home:?}: {}",
            run.errors()
        );
    }
}

/// The processes that have this word on their command line, after the name of
/// a program.
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
    // The command ends by itself and leaves a process that writes when it is
    // asked; what follows depends on the policy and the home.
    let script = "(trap 'echo asked; exit 0' TERM; echo ready $$; while :; do sleep 0.01; done) & read -r line < $FIFO; exit 3";
    for home in homes() {
        for (policy, stops) in [("auto", home.is_pid1()), ("stop", true), ("leave", false)] {
            let folder = Folder::new();
            let fifo = folder.fifo("fifo");
            let mut run = start(home)
                .options(&format!("-v --leftovers {policy}"))
                .variable("FIFO", &fifo)
                .shell(script);
            run.ready();
            let worker = children_of(run.command())[0];
            let _leftover = (!home.is_pid1()).then(|| Leftover(worker));
            std::fs::write(&fifo, "go\n").unwrap();
            if stops {
                run.expect_line("asked");
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
    let script = "(trap 'echo asked; exit 0' TERM; echo ready $$; read -r line < $FIFO) & read -r line < $FIRST; exit 3";
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
                run.expect_line("asked");
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
    assert!(is_alive(worker), "it was to be left");
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
    let said = run.errors();
    assert!(said.contains("left running: pid "), "{said}");
    assert!(!said.contains("more"), "{said}");
}

#[test]
fn with_leave_only_the_command_is_logged() {
    for home in homes() {
        let mut run = start(home)
            .options("-t 400ms --leftovers leave")
            .shell("sleep 1030 & trap '' TERM; echo ready $$; exec sleep 1031");
        run.ready();
        let command = run.command();
        // Not ours to stop, but this test's to end.
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
    if !(Home::Pid1.is_possible() && is_root()) {
        skipped("a PID namespace needs root");
        return;
    }
    // A shell that is PID 1, runs supervise and exits; by its name it is an init that does.
    for (name, before, stops) in [
        ("tini", "", true),
        ("docker-init", "", true),
        // A script may go on.
        ("sh", "", false),
        // What else it has started does not end with us.
        ("tini", "sleep 1051 &", false),
    ] {
        let folder = Folder::new();
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        let init = folder.copy_program(shell.to_str().unwrap(), name, 0o755);
        let (ready, told) = (folder.file("ready"), folder.file("told"));
        let script = format!(
            "{before} {SUPERVISE} -v -- sh -c \"(trap 'echo > {told}; exit' TERM; echo > {ready}
             while :; do sleep 0.01; done) & until [ -e {ready} ]; do sleep 0.01; done\"; exit $?"
        );
        let output = std::process::Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
            .args([&init, "-c", &script])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {errors}");
        assert_eq!(
            std::path::Path::new(&told).exists(),
            stops,
            "{name} {before}: {errors}"
        );
    }
}
