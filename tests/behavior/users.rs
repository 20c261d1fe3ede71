//! Processes of other users, where `supervise` is root without `CAP_KILL`, as in a
//! container with `cap_drop: ALL` and no more than SETUID and SETGID.

use std::os::unix::fs::{PermissionsExt, chown};

use crate::harness::*;

const WITHOUT_KILL: [&str; 3] = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"];

const WITHOUT_BOTH: [&str; 3] = [
    "setpriv",
    "--bounding-set=-kill,-setuid",
    "--inh-caps=-kill,-setuid",
];

const AS_ANOTHER: [&str; 4] = [
    "setpriv",
    "--reuid=61001",
    "--regid=61001",
    "--clear-groups",
];

/// Saves its state when it is sent SIGTERM.
const SAVES: &str = "trap 'echo saved; exit 3' TERM; echo ready $$; while :; do sleep 0.01; done";

/// As a user of its own, next to a command of root's and in a session of its own. The
/// second user is the overflow user, where that is a user like any other.
fn leftovers() -> String {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let all_are_mapped = map.contains("4294967295");
    let second = if all_are_mapped { 65534 } else { 61002 };
    format!(
        "saves='trap \"echo saved; exit 0\" TERM; echo ready $$; while :; do sleep 0.01; done'
         setpriv --reuid=61001 --clear-groups sh -c \"$saves\" &
         setpriv --reuid={second} --clear-groups setsid sh -c \"$saves\" &
         trap 'exit 3' TERM; echo ready 1; while :; do sleep 0.01; done"
    )
}

/// The homes in which there are other users.
fn homes_of_root() -> Vec<Home> {
    if lacks_root("becoming another user") {
        return Vec::new();
    }
    homes_without_user_namespace()
}

fn as_another<'a>(command: &[&'a str]) -> Vec<&'a str> {
    [&AS_ANOTHER[..], command].concat()
}

fn not_permitted(signal: &str) -> String {
    format!("not permitted to send {signal} to pid ")
}

const ADVICE: &str = "it runs as another user; grant CAP_KILL or CAP_SETUID, or run as that user";

/// A copy of the fixture that becomes user 61001 without any right.
fn setuid_fixture(folder: &Folder) -> String {
    let program = folder.copy_program(&fixture(), "fixture", 0o755);
    chown(&program, Some(61001), None).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
    program
}

#[test]
fn a_command_of_another_user_gets_every_signal_with_its_value() {
    for home in homes_of_root() {
        for group in ["", "-g"] {
            let fixture = fixture();
            let mut run = start(home)
                .through(&WITHOUT_KILL)
                .options(group)
                .run(&as_another(&[&fixture, "print-signals", "15"]));
            run.ready();
            run.signal(libc::SIGHUP);
            assert!(run.line().starts_with("1 0 "), "{home:?} {group}");
            // Values keep their order.
            queue(run.pid, 40, 7..17);
            for value in 7..17 {
                let line = run.line();
                assert!(line.starts_with("40 -1 "), "{home:?} {group}: {line}");
                assert!(line.ends_with(&format!(" {value}")), "{line}");
            }
            run.signal(libc::SIGTERM);
            assert!(run.line().starts_with("15 0 "), "{home:?} {group}");
            run.expect_exit(0);
            run.expect_empty_log();
            run.expect_no_more_output();
        }
    }
}

#[test]
fn a_command_of_another_user_that_ignores_the_stop_signal_is_killed() {
    for home in homes_of_root() {
        for options in ["", "--leftovers leave", "-g --leftovers leave"] {
            // A shell that starts others may be looked at while it waits in vfork(2).
            let stubborn = "trap '' TERM; echo ready $$; exec sleep 1041";
            let mut run = start(home)
                .through(&WITHOUT_KILL)
                .options("-t 300ms")
                .options(options)
                .run(&as_another(&["sh", "-c", stubborn]));
            run.ready();
            run.signal(libc::SIGTERM);
            run.expect_killed(libc::SIGKILL);
            run.expect_log("sending SIGKILL");
            run.expect_log("it ignores SIGTERM");
            run.expect_no_log("survived SIGKILL");
        }
    }
}

#[test]
fn leftovers_of_other_users_are_stopped() {
    for home in homes_of_root() {
        for options in ["", "-g"] {
            let mut run = start(home)
                .through(&WITHOUT_KILL)
                .options(options)
                .shell(&leftovers());
            for _ in 0..3 {
                run.ready();
            }
            run.signal(libc::SIGTERM);
            run.expect_exit(3);
            let saved = ["saved", "saved"];
            assert_eq!(run.rest(), saved, "{home:?} {options}: {}", run.errors());
            // The shell may say what has become of its children.
            run.expect_no_log("supervise: ");
        }
    }
}

#[test]
fn leftovers_of_other_users_are_killed_at_the_deadline() {
    for home in homes_of_root() {
        let mut run = start(home)
            .through(&WITHOUT_KILL)
            .options("-t 300ms")
            .shell(
                "setpriv --reuid=61001 --clear-groups \
                 sh -c 'trap \"\" TERM; echo ready $$; while :; do sleep 0.01; done' &
             trap 'exit 3' TERM; echo ready 1; while :; do sleep 0.01; done",
            );
        run.ready();
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_exit(3);
        run.expect_log("it ignores SIGTERM");
        run.expect_no_log("survived SIGKILL");
    }
}

#[test]
fn a_group_with_members_of_another_user_gets_every_signal() {
    for home in homes_of_root() {
        let fixture = fixture();
        let mut run = start(home)
            .through(&WITHOUT_KILL)
            .options("-g")
            .shell(&format!(
                "trap : HUP; trap 'wait; exit 3' TERM
                 setpriv --reuid=61001 --clear-groups {fixture} print-signals 15 &
                 while :; do sleep 0.01; done"
            ));
        run.ready();
        // kill(2) reports success: the shell has had it.
        run.signal(libc::SIGHUP);
        run.expect_signal(1);
        run.signal(libc::SIGTERM);
        // A group is resumed after a stop request.
        run.expect_signal(15);
        run.expect_exit(3);
        run.expect_no_log("supervise: ");
    }
}

#[test]
fn many_leftovers_of_another_user_are_signaled_together() {
    for home in homes_of_root() {
        let mut run = start(home).through(&WITHOUT_KILL).options("-vv").shell(
            "setpriv --reuid=61001 --clear-groups \
                 sh -c 'for i in $(seq 150); do sleep 1000 & done; echo ready $$; wait' &
             trap 'exit 3' TERM; while :; do sleep 0.01; done",
        );
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_exit(3);
        let errors = run.errors();
        let sent = errors.matches(" as user 61001").count();
        // Two signals each; the shell may have reaped some by the second.
        assert!((151..=302).contains(&sent), "{home:?}: {sent}: {errors}");
        run.expect_no_log("not permitted");
    }
}

#[test]
fn a_failing_fork_does_not_prevent_the_signal() {
    let fixture = fixture();
    for home in homes_of_root() {
        let mut run = start(home)
            .through(&WITHOUT_KILL)
            .through(&[&fixture, "childless"])
            .options("-v")
            .run(&as_another(&["sh", "-c", SAVES]));
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_line("saved");
        run.wait_for_error("cannot fork to signal");
        // Root again, and nobody else.
        if let Some(uids) = status_field(run.pid, "Uid") {
            assert_eq!(uids, "0\t0\t0\t0");
        }
        run.expect_exit(3);
    }
}

#[test]
fn without_either_capability_the_process_is_logged() {
    let fixture = fixture();
    for home in homes_of_root() {
        let folder = Folder::new();
        let program = setuid_fixture(&folder);
        // Were it tried, it would be in the process itself, and the end of that.
        let mut run = start(home)
            .through(&[&fixture, "childless", &fixture, "no-setresuid"])
            .through(&WITHOUT_BOTH)
            .options("-t 500ms")
            .run(&[
                &program,
                "as-user",
                "61001",
                &fixture,
                "print-signals",
                "15",
            ]);
        run.ready();
        let command = Leftover(run.command());
        run.signal(libc::SIGUSR1);
        run.wait_for_error(&not_permitted("SIGUSR1"));
        run.signal(libc::SIGTERM);
        // Accounted for as killed, and left to whoever can.
        run.expect_killed(libc::SIGKILL);
        let errors = run.errors();
        assert_eq!(errors.matches("not permitted").count(), 1, "{errors}");
        run.expect_log(ADVICE);
        for when in ["is still running", "survived SIGKILL, giving up"] {
            let line = format!("{when}: {ADVICE}");
            run.expect_log(&line);
        }
        drop(command);
    }
}

#[test]
fn leftovers_that_cannot_be_signaled_are_logged() {
    for home in homes_of_root() {
        for options in ["", "-g"] {
            let folder = Folder::new();
            let program = setuid_fixture(&folder);
            let fixture = fixture();
            let mut run = start(home)
                .through(&WITHOUT_BOTH)
                .options("-t 500ms")
                .options(options)
                .shell(&format!(
                    "{program} as-user 61001 {fixture} print-signals 15 &
                     trap 'exit 3' TERM; echo ready 1; while :; do sleep 0.01; done",
                ));
            let ready = [run.ready(), run.ready()];
            // As PID 1 it is killed with its namespace.
            let left = ready.into_iter().find(|pid| *pid != 1);
            let left = left.filter(|_| !home.is_pid1()).map(Leftover);
            run.signal(libc::SIGTERM);
            run.expect_exit(3);
            let errors = run.errors();
            let line = not_permitted("SIGTERM");
            assert_eq!(errors.matches(&line).count(), 1, "{home:?}: {errors}");
            let line = format!("survived SIGKILL, giving up: {ADVICE}");
            run.expect_log(&line);
            drop(left);
        }
    }
}

#[test]
fn a_filter_that_kills_for_setresuid_kills_only_the_child() {
    for home in homes_of_root() {
        let mut run = start(home)
            .through(&WITHOUT_KILL)
            .through(&[&fixture(), "no-setresuid"])
            .options("-t 500ms")
            .run(&[&fixture(), "as-user", "61001", "sh", "-c", SAVES]);
        run.ready();
        let command = Leftover(run.command());
        run.signal(libc::SIGTERM);
        run.expect_killed(libc::SIGKILL);
        run.expect_log(&not_permitted("SIGTERM"));
        drop(command);
    }
}

#[test]
fn unmapped_users_are_not_impersonated() {
    if homes_of_root().is_empty() || !Home::UserPid1.is_possible() {
        return;
    }
    let fixture = fixture();
    // Were it tried, it would be in the process itself, and the end of that.
    let mut run = start(Home::UserPid1)
        .through(&[&fixture, "childless", &fixture, "no-setresuid"])
        .through(&WITHOUT_KILL)
        .options("-t 500ms")
        .shell(
            "(trap '' TERM; while :; do sleep 0.01; done) &
             trap 'exit 3' TERM; echo ready 1; while :; do sleep 0.01; done",
        );
    run.ready();
    // Of root outside, whom there is no number for inside.
    let mut stranger = std::process::Command::new("nsenter")
        .args(["--target", &run.pid.to_string(), "--pid", "--"])
        .args([
            "sh",
            "-c",
            "trap '' TERM; echo; while :; do sleep 0.01; done",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(stranger.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    run.signal(libc::SIGTERM);
    run.expect_exit(3);
    run.expect_log(&not_permitted("SIGTERM"));
    stranger.wait().unwrap();
}
