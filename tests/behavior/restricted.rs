//! Where the kernel or a sandbox offers less: /proc missing, hidden or another
//! namespace's, newer system calls forbidden. Less is known; nothing fails.

use crate::harness::*;

/// Leaves two behind when it ends by SIGTERM: one in its process group, one in
/// a session of its own. Both say when they were asked.
const TREE: &str = "
    (trap 'echo group saved; exit 0' TERM; echo ready 1; while :; do sleep 0.01; done) &
    setsid sh -c 'trap \"echo session saved; exit 0\" TERM; echo ready 2; while :; do sleep 0.01; done' &
    trap 'exit 3' TERM; echo ready 3; while :; do sleep 0.01; done";

/// Stops a run of `TREE`, and returns what was said, sorted.
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
fn with_newer_system_calls_forbidden_everything_is_still_stopped() {
    let fixture = fixture();
    for errno in [libc::EPERM, libc::ENOSYS] {
        let errno = errno.to_string();
        for home in homes() {
            let run = start(home)
                .through(&[&fixture, "filtered", &errno])
                .options("-vvv -t 5s")
                .shell(TREE);
            let (said, ended, errors) = stopped(run);
            assert_eq!(
                said,
                ["group saved", "session saved"],
                "{home:?} {errno}: {errors}"
            );
            assert_eq!(ended, Ended::code(3), "{home:?} {errno}: {errors}");
        }
        // Not our own children, and so by descriptor if there were any.
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
fn with_close_range_forbidden_descriptors_are_closed_one_by_one() {
    let fixture = fixture();
    for hide in [false, true] {
        if hide && !is_root() {
            skipped("hiding /proc needs root");
            continue;
        }
        let hiding = if hide {
            "mount -t tmpfs none /proc && "
        } else {
            ""
        };
        let script = format!("{hiding}exec 7</dev/zero \"$@\"");
        let wrapper: &[&str] = if hide {
            &["unshare", "--mount", "sh", "-c", &script, "sh"]
        } else {
            &["sh", "-c", &script, "sh"]
        };
        let mut run = start(Home::Plain)
            .through(wrapper)
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
fn without_proc_the_group_is_asked_and_as_pid_1_everything() {
    if !is_root() {
        skipped("hiding /proc needs root");
        return;
    }
    let hidden = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs none /proc && exec \"$@\"",
        "sh",
    ];
    let run = start(Home::Pid1)
        .through(&hidden)
        .options("-t 5s")
        .shell(TREE);
    let (said, ended, errors) = stopped(run);
    assert_eq!(said, ["group saved", "session saved"], "{errors}");
    assert_eq!(ended, Ended::code(3));

    // The one in a session of its own cannot be found; the deadline ends the
    // wait for it, and it is said.
    let run = start(Home::Plain)
        .through(&hidden)
        .options("-t 500ms")
        .shell(TREE);
    let daemon = {
        let mut run = run;
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
        run.signal(libc::SIGTERM);
        run.expect_line("group saved");
        run.expect_exit(3);
        run.expect_log("signaling only the command's process group");
        run.expect_log("/proc is unavailable");
        Leftover(daemon.unwrap())
    };
    assert!(is_alive(daemon.0), "nobody could find it");
}

#[test]
fn another_namespaces_proc_is_not_believed() {
    if !is_root() {
        skipped("a PID namespace needs root");
        return;
    }
    // No --mount-proc: /proc shows the pids of our namespace to a supervise
    // whose own has other processes with such numbers. With -g, and with a
    // command that hangs, it would like to know who they are.
    for options in [
        &["-t", "5s"][..],
        &["-t", "5s", "-g"],
        &["-t", "4s", "-r", "TERM:WINCH"],
    ] {
        let output = std::process::Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", SUPERVISE])
            .args(options)
            .args(["sh", "-c", TREE_SELF_STOP])
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        // With -g the group was asked as such, and nobody can tell who was in
        // it: asked twice is better than never.
        let asked = stdout.matches("group saved").count();
        assert!(
            asked == 1 || asked == 2 && options.contains(&"-g"),
            "{stdout} {errors}"
        );
    }
}

/// As `TREE`, and asks its supervisor to stop once all of it is ready.
const TREE_SELF_STOP: &str = "
    (trap 'echo group saved; exit 0' TERM; kill -USR1 $$; while :; do sleep 0.01; done) &
    trap 'exit 3' TERM; trap 'kill -TERM $PPID' USR1; while :; do sleep 0.01; done";

#[test]
fn with_hidepid_leftovers_of_the_same_user_are_found() {
    if !is_root() {
        skipped("mounting /proc needs root");
        return;
    }
    let script = "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid=1234 --regid=1234 --clear-groups \"$@\"";
    let hidden = ["unshare", "--mount", "sh", "-c", script, "sh"];
    for home in [Home::Plain, Home::Pid1] {
        for options in ["", "-g"] {
            let run = start(home)
                .through(&hidden)
                .options("-t 5s")
                .options(options)
                .shell(TREE);
            let (said, ended, errors) = stopped(run);
            assert_eq!(
                said,
                ["group saved", "session saved"],
                "{home:?} {options}: {errors}"
            );
            assert_eq!(ended, Ended::code(3), "{home:?} {options}");
            assert!(!errors.contains("supervise: "), "{errors}");
        }
    }
}
