//! The user of a service, and what it finds at its start.

use std::path::Path;

use crate::harness::services::*;
use crate::harness::*;

/// All that a container has with `cap_drop: ALL` and SETUID and SETGID: no `CAP_KILL`.
const FEW_RIGHTS: [&str; 5] = [
    "setpriv",
    "--bounding-set",
    "-all,+setuid,+setgid",
    "--inh-caps",
    "-all,+setuid,+setgid",
];

/// Executes what follows with the files of users of a folder in the place of those in /etc.
const WITH_USERS: &str = "mount --bind \"$1/passwd\" /etc/passwd &&
    mount --bind \"$1/group\" /etc/group && shift && exec \"$@\"";

/// Prints who it is.
const WHO: &str = "echo $(sed -n 's/^[UG]id://p;s/^Groups://p' /proc/self/status); \
    env | grep -E '^(HOME|USER|LOGNAME)=' | sort; echo end";

/// The homes in which there are other users.
fn homes_of_root() -> Vec<Home> {
    if lacks_root("becoming another user") {
        return Vec::new();
    }
    homes_without_user_namespace()
}

/// The files of users with one of the name `app`.
fn users() -> Folder {
    let folder = Folder::new();
    let passwd = "root:x:0:0::/root:/bin/sh\napp:x:4300:4301::/srv/app:/bin/sh\n";
    folder.write("passwd", passwd, 0o644);
    let group = "root:x:0:\napp:x:4301:\nlog:x:4310:root,app\nweb:x:4311:app\nother:x:4312:root\n";
    folder.write("group", group, 0o644);
    folder
}

/// Starts services where these users are.
fn start_with(services: Services, home: Home, users: &Folder) -> Running {
    let folder = users.path().to_str().unwrap();
    let through = ["unshare", "--mount", "sh", "-c", WITH_USERS, "sh", folder];
    services.start_with(start(home).through(&through), "")
}

#[test]
fn a_user_is_a_name_or_numbers_with_and_without_a_group() {
    let named = ["HOME=/srv/app", "LOGNAME=app", "USER=app"];
    let (app, ids) = (named, "4300 4300 4300 4300");
    for home in homes_of_root() {
        for (user, id, variables) in [
            (
                "app",
                format!("{ids} 4301 4301 4301 4301 4301 4310 4311"),
                &app[..],
            ),
            (
                "4300",
                format!("{ids} 4301 4301 4301 4301 4301 4310 4311"),
                &app,
            ),
            ("app:log", format!("{ids} 4310 4310 4310 4310 4310"), &app),
            ("app:4242", format!("{ids} 4242 4242 4242 4242 4242"), &app),
            (
                "4242:web",
                "4242 4242 4242 4242 4311 4311 4311 4311 4311".to_owned(),
                &["HOME=/"],
            ),
            (
                "4242:4243",
                "4242 4242 4242 4242 4243 4243 4243 4243 4243".to_owned(),
                &["HOME=/"],
            ),
        ] {
            let users = users();
            let keys = format!("user = '{user}'");
            let services =
                Services::new("grace = 60").with_command("web", "", &["/bin/sh", "-c", WHO], &keys);
            let mut running = start_with(services, home, &users);
            let found = running.run.lines_until("end");
            let expected = [&[&*id], variables, &["end"]].concat();
            assert_eq!(found, expected, "{user}: {}", running.run.errors());
            running.expect_exit(0);
        }
    }
}

#[test]
fn a_user_is_looked_up_at_each_start() {
    for home in homes_of_root() {
        let users = users();
        let add = "echo late:x:4400:4400::/late:/bin/sh >>/etc/passwd";
        let services = Services::new("grace = 60")
            .with_command("add", "", &["/bin/sh", "-c", add], "ready = 'exited'")
            .with_command("web", "add", &["/bin/sh", "-c", WHO], "user = 'late'");
        let mut running = start_with(services, home, &users);
        let found = running.run.lines_until("end");
        running.expect_exit(0);
        assert!(
            found[0].starts_with("4400 4400 4400 4400 4400"),
            "{found:?}"
        );
        assert_eq!(found[1], "HOME=/late", "{found:?}");
    }
}

#[test]
fn a_user_that_is_not_there_prevents_the_start_with_125() {
    for home in homes_of_root() {
        // A mistake in the file.
        let mut running = Services::new("grace = 60")
            .with("db", "", "")
            .with_keys("web", "", "", "user = 'no-such-user'")
            .start(home, "");
        running.expect_exit(125);
        running.expect_never("db", "start");
        running.run.expect_log("no-such-user");
        // One that a one-shot might have made.
        let mut running = Services::new("grace = 60")
            .with("db", "", "")
            .with_command("add", "db", &["/bin/true"], "ready = 'exited'")
            .with_keys("web", "add", "", "user = 'no-such-user'")
            .start(home, "");
        running.expect_exit(125);
        running.expect_never("web", "start");
        running
            .run
            .expect_log("supervise: exiting with status 125, the status of web\n");
        running.at("db", "end");
    }
}

#[test]
fn a_service_of_another_user_is_stopped_without_cap_kill() {
    for home in homes_of_root() {
        let services = Services::new("grace = 60")
            .with_keys(
                "web",
                "db",
                "takes=50 daemon takes=300",
                "user = '4242:4242'",
            )
            .with_keys("db", "", "fork takes=100", "user = '4243:4243'");
        let mut running = services.start_with(start(home).through(&FEW_RIGHTS), "");
        running.started();
        running.stop();
        running.expect_exit(0);
        running.expect_after("web", "db");
        running.expect_after("web.daemon", "db");
        running.expect_order(("db.fork", "signal 15"), ("db.fork", "end"));
        running.run.expect_no_log("not permitted");
    }
}

#[test]
fn what_ignores_the_signal_is_killed_without_cap_kill() {
    for home in homes_of_root() {
        let services = Services::new("grace = 1").with_keys(
            "web",
            "",
            "ignore daemon ignore",
            "user = '4242:4242'",
        );
        let mut running = services.start_with(start(home).through(&FEW_RIGHTS), "");
        running.started();
        running.stop();
        running.expect_exit(137);
        running.run.expect_log("(killed: it ignores SIGTERM)");
        running.run.expect_no_log("not permitted");
    }
}

#[test]
fn a_check_that_hangs_is_stopped_without_cap_kill() {
    for home in homes_of_root() {
        let folder = Folder::new();
        folder.write("pids", "", 0o666);
        let pids = folder.file("pids");
        // It is a process of the service's user in another session, and one in its group.
        let script = format!(
            "setsid sleep 1000 & echo $! >>{pids};sleep 1000 & echo $! >>{pids};\
             id -u >>{pids} && wait"
        );
        let keys =
            format!("user = '4242:4242'; ready = {{ command = ['/bin/sh', '-c', '{script}'] }}");
        let services = Services::new("grace = 60").with_keys("web", "", "", &keys);
        let mut running = services.start_with(start(home).through(&FEW_RIGHTS), "");
        running.started();
        eventually("the check runs", || {
            folder.read("pids").ends_with("\n4242\n")
        });
        running.stop();
        running.expect_exit(0);
        // The kernel ends all of a PID namespace.
        let pids = folder.read("pids");
        for pid in pids.lines().take(2).filter(|_| !home.is_pid1()) {
            assert!(!Path::new("/proc").join(pid).exists(), "{}", running.told());
        }
        running.run.expect_no_log("not permitted");
    }
}

#[test]
fn what_a_killed_keeper_leaves_is_stopped_without_cap_kill() {
    for home in homes_of_root() {
        let services = Services::new("grace = 60")
            .with_keys(
                "web",
                "db",
                "takes=50 daemon takes=300",
                "user = '4242:4242'",
            )
            .with_keys("db", "", "", "user = '4243:4243'");
        let mut running = services.start_with(start(home).through(&FEW_RIGHTS), "");
        running.started();
        send(keeper(&running, "web"), libc::SIGKILL);
        running.expect_exit(137);
        running.expect_after("web", "db");
        running.expect_after("web.daemon", "db");
        running.run.expect_no_log("not permitted");
    }
}

#[test]
fn our_output_may_be_opened_by_name_as_pid_1() {
    for home in homes_of_root() {
        let script = "echo out >/dev/stdout && echo error >/dev/stderr; echo $?";
        let services = Services::new("grace = 60").with_command(
            "web",
            "",
            &["/bin/sh", "-c", script],
            "user = '4242:4242'",
        );
        let mut running = services.start(home, "");
        let first = running.run.line();
        // Otherwise its mode is not ours to change.
        if home.is_pid1() {
            assert_eq!(first, "out", "{}", running.run.errors());
            running.run.expect_line("0");
            running.run.wait_for_error("error\n");
        } else {
            assert_ne!(first, "out", "{}", running.run.errors());
        }
        running.expect_exit(0);
    }
}

#[test]
fn of_our_variables_a_service_gets_those_about_the_log() {
    let script = "env | grep ^SUPERVISE_ | sort; echo end";
    let kept = ["SUPERVISE_LOG=warn", "SUPERVISE_LOG_FORMAT=text"];
    for home in homes() {
        let services = Services::new("").with_command("web", "", &["/bin/sh", "-c", script], "");
        let start = start(home)
            .variable("SUPERVISE_LOG", "warn")
            .variable("SUPERVISE_LOG_FORMAT", "text")
            .variable("SUPERVISE_STOP_DELAY", "0")
            .variable("SUPERVISE_GRACE", "60s");
        let mut running = services.start_with(start, "");
        let found = running.run.lines_until("end");
        assert_eq!(found, [&kept[..], &["end"]].concat());
        running.expect_exit(0);
    }
}

/// Prints what a command finds that `supervise` might have changed. The masks first, by the shell
/// alone: it changes them when it starts programs.
const SURROUNDINGS: &str = "while read -r line; do case $line in \
    Sig[BI]*|NoNewPrivs*|Groups*|Uid*) echo \"$line\";; esac; done </proc/$$/status; \
    ulimit -Sn; ulimit -Hn; umask; pwd; \
    cat /proc/$$/comm /proc/$$/oom_score_adj; cut -d' ' -f19 /proc/$$/stat; \
    test $(cut -d' ' -f5 /proc/$$/stat) = $$ && echo leads its group; echo end";

/// Prints the descriptors of a shell, and opens none for that.
const DESCRIPTORS: &str = "open=; for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; \
    do test -e /proc/$$/fd/$fd && open=\"$open $fd\"; done; echo $open";

/// Executes what follows with a limit, a mask and a nice value that are not the usual ones, and
/// a descriptor.
const UNUSUAL: [&str; 4] = [
    "sh",
    "-c",
    "ulimit -Sn 77; umask 027; trap '' USR1; exec nice -n 3 \"$@\" 7</dev/null",
    "sh",
];

#[test]
fn each_start_is_as_that_of_a_single_command() {
    for home in homes() {
        let mut single =
            start(home)
                .through(&UNUSUAL)
                .options("-g")
                .run(&["sh", "-c", SURROUNDINGS]);
        let mut expected = single.lines_until("end");
        single.expect_exit(0);
        assert!(expected.iter().any(|line| line == "77"), "{expected:?}");
        expected.push("0 1 2".to_owned());
        let script = format!("{SURROUNDINGS}; {DESCRIPTORS}; exec sleep 1000");
        let keys = "restart = 'on-failure'; restart_limit = 1";
        let services =
            Services::new("grace = 60").with_command("web", "", &["sh", "-c", &script], keys);
        let mut running = services.start_with(start(home).through(&UNUSUAL), "");
        for is_first in [true, false] {
            let mut found = running.run.lines_until("end");
            found.push(running.run.line());
            assert_eq!(found, expected, "{home:?}");
            if is_first {
                // What it leaves is stopped by the main process, which raises its limit for that.
                send(keeper(&running, "web"), libc::SIGKILL);
            }
        }
        running.stop();
        running.expect_exit(0);
    }
}
