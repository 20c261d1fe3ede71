//! Where the kernel or a sandbox offers less: /proc is missing, hidden or that of another
//! namespace, newer system calls are forbidden. Less is known; nothing fails.

use crate::harness::*;

/// Leaves two processes behind when it exits on SIGTERM: one in its process group, one in
/// a session of its own. Both print that they received SIGTERM.
const TREE: &str = "
    (trap 'echo group saved; exit 0' TERM; echo ready 1; while :; do sleep 0.01; done) &
    setsid sh -c 'trap \"echo session saved; exit 0\" TERM; echo ready 2; while :; do sleep 0.01; done' &
    trap 'exit 3' TERM; echo ready 3; while :; do sleep 0.01; done";

/// Stops a run of `TREE`, and returns its sorted output, how it ended and its log.
#[track_caller]
fn stopped(mut run: Run) -> (Vec<String>, Ended, String) {
    for _ in 0..3 {
        run.ready();
    }
    run.signal(libc::SIGTERM);
    let ended = run.wait();
    let mut rest = run.rest();
    rest.sort();
    let errors = run.errors();
    (rest, ended, errors)
}

#[test]
fn without_newer_system_calls_all_processes_are_stopped() {
    let fixture = fixture();
    for errno in [libc::EPERM, libc::ENOSYS] {
        let errno = errno.to_string();
        for home in homes() {
            let run = start(home)
                .through(&[&fixture, "filtered", &errno])
                .options("-vvv -t 5s")
                .shell(TREE);
            let (printed, ended, errors) = stopped(run);
            assert_eq!(
                printed,
                ["group saved", "session saved"],
                "{home:?} {errno}: {errors}"
            );
            assert_eq!(ended, Ended::code(3), "{home:?} {errno}: {errors}");
        }
        // Not children of supervise, and so signaled by descriptor if there were any.
        let mut run = start(Home::Plain)
            .through(&[&fixture, "filtered", &errno])
            .options("-vv -t 4s")
            .shell(
                "trap : TERM
                 (sh -c 'trap \"echo saved; exit 0\" TERM; echo ready 1
                         while :; do sleep 0.01; done' & wait) &
                 while :; do sleep 0.01; done",
            );
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_line("saved");
        run.wait();
        run.expect_log("using kill(2)");
    }
}

#[test]
fn without_close_range_descriptors_are_closed_one_by_one() {
    let fixture = fixture();
    for hide in [false, true] {
        if hide && lacks_root("hiding /proc") {
            continue;
        }
        let mut run = start(Home::Plain)
            .through(if hide { &WITHOUT_PROC } else { &[] })
            .through(&["sh", "-c", "exec 7</dev/zero \"$@\"", "sh"])
            .through(&[&fixture, "filtered", &libc::ENOSYS.to_string()])
            .fixture(&["print-signals", "15"]);
        run.ready();
        eventually("7 is closed", || {
            std::fs::read_link(format!("/proc/{}/fd/7", run.pid)).is_err()
        });
        assert!(std::fs::read_link(format!("/proc/{}/fd/7", run.command())).is_ok());
        run.signal(libc::SIGTERM);
        run.line();
        run.expect_exit(0);
    }
}

#[test]
fn without_proc_the_group_or_as_pid_1_all_are_signaled() {
    if lacks_root("hiding /proc") {
        return;
    }
    let run = start(Home::Pid1)
        .through(&WITHOUT_PROC)
        .options("-t 5s")
        .shell(TREE);
    let (printed, ended, errors) = stopped(run);
    assert_eq!(printed, ["group saved", "session saved"], "{errors}");
    assert_eq!(ended, Ended::code(3));

    // The one in a session of its own cannot be found: the deadline ends the wait for it,
    // and the log says so.
    let mut run = start(Home::Plain)
        .through(&WITHOUT_PROC)
        .options("-t 500ms")
        .shell(TREE);
    for _ in 0..3 {
        run.ready();
    }
    let command = run.command();
    let mut daemon = None;
    eventually("the daemon is there", || {
        daemon = children_of(command).into_iter().find(|pid| {
            nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(*pid)))
                .is_ok_and(|s| s.as_raw() == *pid)
        });
        daemon.is_some()
    });
    let daemon = Leftover(daemon.unwrap());
    run.signal(libc::SIGTERM);
    run.expect_line("group saved");
    run.expect_exit(3);
    run.expect_log("signaling only the command's process group");
    run.expect_log("/proc is unavailable");
    assert!(is_alive(daemon.0), "it could not be found");
}

#[test]
fn proc_of_another_namespace_is_not_used() {
    if lacks_root("a PID namespace") {
        return;
    }
    // Without --mount-proc, /proc shows the pids of this namespace to a supervise whose own
    // namespace has other processes with these numbers. With -g, and with a command that
    // hangs, it needs to know which they are.
    for options in [
        &["-t", "5s"][..],
        &["-t", "5s", "-g"],
        &["-t", "4s", "-r", "TERM:WINCH"],
    ] {
        let namespace = &["unshare", "--pid", "--fork", "--kill-child", SUPERVISE][..];
        let command = &["sh", "-c", TREE_SELF_STOP];
        let Output { stdout, errors, .. } = output(&[namespace, options, command].concat());
        // With -g the group was signaled as such, and its members are unknown: twice is
        // better than never.
        let signaled = stdout.matches("group saved").count();
        assert!(
            signaled == 1 || signaled == 2 && options.contains(&"-g"),
            "{stdout} {errors}"
        );
    }
}

/// As `TREE`, and sends supervise a stop request once all of it is ready.
const TREE_SELF_STOP: &str = "
    (trap 'echo group saved; exit 0' TERM; kill -USR1 $$; while :; do sleep 0.01; done) &
    trap 'exit 3' TERM; trap 'kill -TERM $PPID' USR1; while :; do sleep 0.01; done";

#[test]
fn with_hidepid_leftovers_of_the_same_user_are_found() {
    if lacks_root("mounting /proc") {
        return;
    }
    let script = "mount -t proc -o hidepid=2 proc /proc && exec \"$@\"";
    let hidden = ["unshare", "--mount", "sh", "-c", script, "sh"];
    for home in [Home::Plain, Home::Pid1] {
        for options in ["", "-g"] {
            let run = start(home)
                .through(&hidden)
                .through(&as_user("1234"))
                .options("-t 5s")
                .options(options)
                .shell(TREE);
            let (printed, ended, errors) = stopped(run);
            assert_eq!(
                printed,
                ["group saved", "session saved"],
                "{home:?} {options}: {errors}"
            );
            assert_eq!(ended, Ended::code(3), "{home:?} {options}");
            assert!(!errors.contains("supervise: "), "{errors}");
        }
    }
}

#[test]
fn where_a_filter_denies_what_supervision_needs_the_command_is_not_started() {
    if lacks_root("a system call filter") {
        return;
    }
    for (call, expected) in [
        (
            "rt_sigtimedwait",
            "cannot wait for signals: rt_sigtimedwait: Operation not permitted; allow it in the \
             seccomp filter\n",
        ),
        (
            "wait4",
            "cannot wait for children: wait4: Operation not permitted; allow it in the seccomp \
             filter\n",
        ),
        (
            "shared-memory",
            // musl makes ENOMEM of it.
            "cannot start the command: mmap: ",
        ),
    ] {
        for home in [Home::Plain, Home::Pid1] {
            let mut run = start(home)
                .through(&[&fixture(), "without", call])
                .shell("echo started");
            run.expect_exit(125);
            run.expect_no_more_output();
            let errors = run.errors();
            let expected = format!("supervise: {expected}");
            assert!(errors.starts_with(&expected), "{home:?}: {errors}");
        }
    }
}
