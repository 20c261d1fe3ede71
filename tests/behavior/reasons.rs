//! What the log says of a process that remains, each reason provoked; who
//! asked; and who killed the command if it was not supervise.

use std::cell::RefCell;

use crate::harness::report::Reported;
use crate::harness::*;

/// Remaining processes are logged for the first time when half of this has passed.
const GRACE: &str = "-t 1500ms";

thread_local! {
    /// The report of the run of this test: each has a thread of its own.
    static REPORT: RefCell<Option<Reported>> = const { RefCell::new(None) };
}

/// A start with that grace period that writes a report.
fn begin(home: Home) -> Start {
    let reported = Reported::new();
    let start = reported.start(home).options(GRACE);
    REPORT.set(Some(reported));
    start
}

/// The report has the last reason that the log has for each process.
#[track_caller]
fn compare(log: &str) {
    let report = REPORT.take().unwrap().read();
    assert_eq!(report["outcome"], "killed", "{report}");
    for line in log.lines() {
        let Some((process, reason)) = line.split_once(" did not exit: ") else {
            continue;
        };
        let pid: i64 = process.split(' ').nth(2).unwrap().parse().unwrap();
        let others = report["leftovers"]["processes"].as_array().unwrap();
        let found = others
            .iter()
            .find(|other| other["pid"] == pid)
            .map_or(&report["reason"], |other| &other["reason"]);
        assert_eq!(found, reason, "{pid}: {report}");
    }
}

/// Requests a stop, and returns the log at half of the grace period and at the deadline.
#[track_caller]
fn stop(run: &mut Run) -> (String, String) {
    run.signal(libc::SIGTERM);
    run.wait();
    let errors = run.errors();
    let (first, second) = errors
        .split_once(" expired: sending SIGKILL")
        .unwrap_or_else(|| panic!("no SIGKILL in {errors}"));
    let header = "supervise: still waiting for processes to exit: SIGKILL in 0.";
    assert!(first.contains(header), "{errors}");
    compare(second);
    (first.to_owned(), second.to_owned())
}

/// A line of this process with this reason.
#[track_caller]
fn assert_says(log: &str, pid: i32, reason: &str) {
    let of_pid = format!("supervise: pid {pid} (");
    let said = log.lines().find(|line| line.starts_with(&of_pid));
    assert!(
        said.is_some_and(|line| line.contains(reason)),
        "{pid}: {reason}\n{log}"
    );
}

/// The command itself has this reason, first and last.
#[track_caller]
fn command_says(mut run: Run, reason: &str) {
    let pid = run.ready();
    let (first, last) = stop(&mut run);
    assert_says(&first, pid, &format!("is still running: {reason}"));
    assert_says(&last, pid, &format!("did not exit: {reason}"));
}

#[test]
fn the_signal_is_ignored() {
    for home in homes() {
        let run = begin(home).shell("trap '' TERM; echo ready $$; exec sleep 1027");
        command_says(run, "it ignores SIGTERM");
    }
}

#[test]
fn the_reason_names_the_signal_that_was_sent() {
    let run = begin(Home::Plain)
        .options("-r TERM:USR1")
        .shell("trap '' USR1; echo ready $$; exec sleep 1028");
    command_says(run, "it ignores SIGUSR1");
}

/// For the command and for a member of its group.
#[test]
fn the_last_signal_that_is_handled_counts() {
    let script = "import os, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
def hang(*_):
    print('hangs', flush=True)
    time.sleep(60)
signal.signal(signal.SIGTERM, hang)
if not os.fork(): signal.signal(signal.SIGTERM, lambda *_: time.sleep(60))
else: print('ready', os.getpid(), flush=True)
while True: time.sleep(60)";
    for options in ["-t 3s", "-t 3s -g"] {
        let reported = Reported::new();
        let mut run = reported
            .start(Home::Plain)
            .options(options)
            .run(&["python3", "-c", script]);
        let pid = run.ready();
        // The fork has returned in both once the child is in its last sleep.
        let child = children_of(pid)[0];
        eventually("it handles SIGTERM", || {
            status_field(child, "SigCgt").is_some_and(|set| set.ends_with("4000"))
        });
        run.signal(libc::SIGINT);
        run.signal(libc::SIGTERM);
        run.expect_line("hangs");
        run.wait();
        let reason = "did not exit: it handles SIGTERM but has not exited";
        for pid in [pid, child] {
            let said = format!("supervise: pid {pid} (python3) {reason}");
            run.expect_log(&said);
        }
    }
}

#[test]
fn the_signal_is_blocked() {
    for home in homes() {
        let script = "echo ready $$; exec sleep 1017";
        let run = begin(home).fixture(&["blocked", "15", "sh", "-c", script]);
        command_says(run, "it blocks SIGTERM");
    }
}

/// A Python program that does this on SIGTERM.
fn handles(action: &str) -> String {
    format!(
        "import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: {action})
print('ready', os.getpid(), flush=True)
while True: time.sleep(60)"
    )
}

#[test]
fn the_handler_hangs() {
    for home in homes() {
        let run = begin(home).run(&["python3", "-c", &handles("time.sleep(60)")]);
        command_says(run, "it handles SIGTERM but has not exited");
    }
}

#[test]
fn the_signal_is_handled_without_an_exit() {
    let run = begin(Home::Plain).run(&["python3", "-c", &handles("None")]);
    command_says(run, "it handles SIGTERM but has not exited");
}

#[test]
fn the_signal_is_consumed_without_a_handler() {
    let run = begin(Home::Plain).fixture(&["print-signals"]);
    command_says(run, "it received SIGTERM but has not exited");
}

#[test]
fn a_leftover_suspends_itself() {
    for home in homes() {
        let suspends = "trap \"while :; do kill -STOP \\$\\$; done\" TERM";
        let script = format!("sh -c '{suspends}; echo ready $$; {LOOP}' & {EXITS}");
        let mut run = begin(home).shell(&script);
        let pid = [run.ready(), run.ready()].into_iter().max().unwrap();
        let (_, last) = stop(&mut run);
        assert_says(
            &last,
            pid,
            "it is suspended; if it received SIGCONT, it was",
        );
    }
}

#[test]
fn an_uninterruptible_wait() {
    let run = begin(Home::Plain).fixture(&["ignored", "15", &fixture(), "in-kernel"]);
    // Only root may read where.
    let place = if is_root() { " (" } else { "" };
    let reason = format!("it is in uninterruptible sleep{place}");
    command_says(run, &reason);
}

#[test]
fn suspended_by_a_debugger() {
    let mut run = begin(Home::Plain).fixture(&["ignored", "15", &fixture(), "traced"]);
    run.ready();
    let traced = children_of(run.command())[0];
    let (_, last) = stop(&mut run);
    assert_says(&last, traced, "a debugger has suspended it");
}

#[test]
fn a_zombie_and_the_parent_that_does_not_reap_it() {
    for home in homes() {
        let mut run = begin(home).fixture(&[
            "with-zombie",
            "0",
            "sh",
            "-c",
            "trap '' TERM; echo ready $$; while read -r _ < /dev/null || :; do :; done",
        ]);
        let pid = run.ready();
        let (_, last) = stop(&mut run);
        let expected = format!("is a zombie: its parent pid {pid} (sh) has not reaped it");
        assert!(last.contains(&expected), "{last}");
    }
}

#[test]
fn a_shell_that_does_not_forward() {
    // All homes at once, because it takes long: the other processes are signaled after three
    // quarters of the grace period, and must exit in the last one on a busy machine.
    std::thread::scope(|scope| {
        for home in homes() {
            scope.spawn(move || does_not_forward(home));
        }
    });
}

fn does_not_forward(home: Home) {
    let mut run = start(home)
        .options("-t 8s")
        .shell("trap 'exit 0' TERM; echo ready $$; sh -c 'echo ready $$; sleep 1018; :'; :");
    let (shell, inner) = (run.ready(), run.ready());
    run.signal(libc::SIGTERM);
    run.expect_exit(0);
    let errors = run.errors();
    assert_says(
        &errors,
        shell,
        &format!("it is a shell and acts on it only after pid {inner} (sh) exits"),
    );
    let parent = format!("its parent pid {shell} (sh) is a shell, which does not forward");
    assert_says(&errors, inner, &format!("not signaled yet: {parent}"));
    run.expect_log("use exec or --process-group");
}

#[test]
fn a_script_counts_as_the_shell_that_runs_it() {
    // The kernel gives it the name of the script.
    let folder = Folder::new();
    let text = "#!/bin/sh\ntrap 'exit 0' TERM; echo ready $$; sleep 1024; :\n";
    let script = folder.write("start-app", text, 0o755);
    let mut run = start(Home::Plain).options("-t 8s").run(&[&script]);
    let shell = run.ready();
    eventually("the worker is there", || !children_of(shell).is_empty());
    run.signal(libc::SIGTERM);
    run.expect_exit(0);
    let errors = run.errors();
    run.expect_log(&format!("pid {shell} (start-app)"));
    assert_says(
        &errors,
        shell,
        "it is a shell and acts on it only after pid ",
    );
    let worker = format!("its parent pid {shell} (start-app) is a shell, which does not");
    run.expect_log(&worker);
}

#[test]
fn a_worker_that_its_parent_should_stop() {
    let mut run = begin(Home::Plain).run(&[
        "python3",
        "-c",
        "import os, signal, subprocess, time
worker = subprocess.Popen(['sleep', '1019'])
signal.signal(signal.SIGTERM, lambda *_: None)
print('ready', worker.pid, flush=True)
while True: time.sleep(60)",
    ]);
    let worker = run.ready();
    let (first, _) = stop(&mut run);
    assert_says(&first, worker, "not signaled yet: its parent pid ");
}

#[test]
fn started_after_the_others_were_signaled() {
    for home in homes() {
        let starts = "trap \"setsid sleep 1020 & echo ready \\$!; exit 0\" TERM";
        let script = format!("setsid sh -c '{starts}; echo ready 1; {LOOP}' & {EXITS}");
        let mut run = begin(home).shell(&script);
        run.ready();
        run.ready();
        let (_, last) = stop(&mut run);
        let late = run.ready();
        assert_says(
            &last,
            late,
            "it started after the other processes were signaled",
        );
    }
}

/// What a container engine starts for an exec, a hook or a probe has its parent outside.
#[test]
fn started_by_the_container_engine() {
    if lacks_root("entering a PID namespace") {
        return;
    }
    let mut run = begin(Home::Pid1).shell("trap '' TERM; echo ready $$; exec sleep 1036");
    run.ready();
    // Not a child of supervise: nsenter forks in the namespace and stays outside.
    let hook = ["sh", "-c", "trap '' TERM; exec sleep 1037"];
    let mut hook = in_namespaces_of(run.pid, &hook).spawn().unwrap();
    let entered = i32::try_from(hook.id()).unwrap();
    eventually("the hook runs", || {
        let inside = children_of(entered);
        let name = inside.first().and_then(|pid| status_field(*pid, "Name"));
        name.as_deref() == Some("sleep")
    });
    let (first, last) = stop(&mut run);
    hook.wait().unwrap();
    let said = first.lines().filter(|line| line.contains("(sleep)"));
    let expected = "the container engine started it (exec, hook or probe), not the command";
    assert_eq!(
        said.filter(|line| line.contains(expected)).count(),
        1,
        "{first}"
    );
    // It was signaled after three quarters of the time.
    assert!(!last.contains(expected), "{last}");
}

#[test]
fn pid_1_of_a_nested_namespace() {
    if lacks_root("a PID namespace") {
        return;
    }
    let nested = "unshare --pid --fork sh -c 'echo ready $$; exec sleep 1021'";
    let mut run = begin(Home::Plain).shell(&format!("{nested} & {EXITS}"));
    run.ready();
    run.ready();
    let (first, _) = stop(&mut run);
    assert!(
        first.contains("(sleep) is still running: it is PID 1 of a nested PID namespace"),
        "{first}"
    );
}

#[test]
fn the_cgroup_is_frozen() {
    if lacks_root("a cgroup") {
        return;
    }
    let Some(group) = Cgroup::new("freezer", &["freezer.state", "cgroup.freeze"]) else {
        return;
    };
    let mut run =
        begin(Home::Plain).shell(&format!("sh -c 'echo ready $$; exec sleep 1022' & {EXITS}"));
    let pid = [run.ready(), run.ready()].into_iter().max().unwrap();
    group.set(&[("cgroup.procs", &pid.to_string())]);
    group.freeze();
    run.signal(libc::SIGTERM);
    run.wait_for_error("sending SIGKILL");
    run.wait_for_error("frozen; thaw it");
    group.thaw();
    run.wait();
    assert_says(&run.errors(), pid, "its cgroup is frozen; thaw it");
    compare(&run.errors());
}

#[test]
fn an_oom_kill_differs_from_another_sigkill() {
    let mut run = start(Home::Plain).shell("echo ready $$; kill -KILL $$");
    let pid = run.ready();
    run.wait();
    run.expect_log(&format!(
        "command (pid {pid}) killed by SIGKILL that supervise did not send: "
    ));
    if lacks_root("a cgroup") {
        return;
    }
    let Some(group) = Cgroup::new("memory", &["memory.limit_in_bytes", "memory.max"]) else {
        return;
    };
    group.set(&[("memory.limit_in_bytes", "20M"), ("memory.max", "20M")]);
    let enter = group.entered();
    let enter: Vec<&str> = enter.iter().map(String::as_str).collect();
    // The second one is no OOM kill although the count is not 0 any more.
    for (words, expected) in [
        (
            &["eat-memory"][..],
            "not send: 1 OOM kill in supervise's cgroup",
        ),
        (&["die", "9"], "not send: no OOM kill in supervise's cgroup"),
    ] {
        let reported = Reported::new();
        let mut run = reported.start(Home::Plain).through(&enter).fixture(words);
        run.expect_killed(libc::SIGKILL);
        run.expect_log(expected);
        let report = reported.read();
        assert_eq!(report["outcome"], "killed");
        assert_eq!(
            report["oom_kills"],
            u32::from(words[0] == "eat-memory"),
            "{report}"
        );
    }
}

#[test]
fn the_sender_of_a_stop_request_is_logged() {
    let own = std::fs::read_to_string("/proc/self/comm").unwrap();
    for home in homes() {
        let mut run = start(home)
            .options("-v")
            .shell("echo ready $$; exec sleep 1023");
        run.ready();
        run.signal(libc::SIGTERM);
        run.wait();
        let expected = match home {
            Home::Plain => {
                let uid = nix::unistd::getuid();
                format!(
                    "received SIGTERM from pid {} ({}, uid {uid}): stopping, ",
                    std::process::id(),
                    own.trim()
                )
            }
            _ => "SIGTERM from outside the PID namespace (uid ".to_owned(),
        };
        run.expect_log(&expected);
    }
}

#[test]
fn a_graceful_stop_logs_nothing() {
    for home in homes() {
        let mut run = start(home).shell(&format!("({EXITS}) & {EXITS}"));
        run.ready();
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_exit(0);
        // The shell may print that its sleep was terminated.
        run.expect_no_log("supervise");
    }
}

#[test]
fn with_grace_0_no_process_is_signaled_first() {
    for home in homes() {
        let mut run = start(home)
            .options("-t 0")
            .shell("echo ready $$; exec sleep 1034");
        let pid = run.ready();
        run.signal(libc::SIGTERM);
        run.wait();
        let reason = "did not exit: not signaled: the grace period is 0";
        assert_says(&run.errors(), pid, reason);
    }
}
