//! The report of a run: one JSON object that conforms to its schema and tells what happened.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::harness::report::{Reported, validate, validator};
use crate::harness::*;
use serde_json::{Value, json};

/// Inherits that a signal is ignored, and does nothing else.
const DEAF: &str = "exec sleep 1029";

#[test]
fn the_schema_rejects_wrong_reports() {
    let Some(python) = validator() else {
        return;
    };
    let reported = Reported::new();
    reported.start(Home::Plain).shell("exit 0").wait();
    let good = reported.read();
    for (path, value) in [
        ("/version", json!(2)),
        ("/outcome", json!("fine")),
        ("/ended", json!({})),
        (
            "/stop",
            json!({"signal": "SIGTERM", "sender": {"kind": "outside"}, "after_seconds": 1}),
        ),
        ("/exit_status", json!(256)),
        ("/oom_kills", json!("0")),
    ] {
        let mut report = good.clone();
        *report.pointer_mut(path).unwrap() = value;
        let file = reported.folder.write("bad", report.to_string(), 0o644);
        assert_ne!(validate(python, &file).code, Some(0), "{path}");
    }
}

#[test]
fn the_example_in_the_guide_is_valid() {
    let guide = include_str!("../../docs/report.md");
    let example = guide.split("```json\n").nth(1).unwrap().split("```").next();
    let folder = Folder::new();
    folder.write("report", example.unwrap(), 0o644);
    Reported { folder }.read();
}

#[test]
fn a_run_without_a_stop_request() {
    for home in homes() {
        for (script, options, outcome, code, status) in [
            ("exit 0", "", "completed", 0, 0),
            ("exit 3", "", "failed", 3, 3),
            ("exit 3", "-e 3", "completed", 3, 0),
        ] {
            let reported = Reported::new();
            let mut run = reported.start(home).options(options).shell(script);
            run.expect_exit(status);
            reported.expect(&[
                ("/outcome", json!(outcome)),
                ("/command", json!(["sh", "-c", script])),
                ("/ended/code", json!(code)),
                ("/ended/after_stop_seconds", Value::Null),
                ("/stop", Value::Null),
                ("/grace_seconds", json!(30.0)),
                ("/exit_status", json!(status)),
                ("/truncated", json!(false)),
            ]);
        }
    }
}

#[test]
fn a_graceful_stop_and_its_sender() {
    for home in homes() {
        let reported = Reported::new();
        let mut run = reported
            .start(home)
            .options("-t 20 --stop-delay 50ms")
            .shell(&format!(
                "(trap 'exit 5' TERM; echo ready $$; {LOOP}) &
                 trap 'exit 0' TERM; echo ready $$; {LOOP}"
            ));
        run.ready();
        let pid = run.ready();
        run.signal(libc::SIGTERM);
        run.expect_exit(0);
        let report = reported.read();
        let sender = if home.is_pid1() {
            let uid = &report["stop"]["sender"]["uid"];
            json!({"kind": "outside", "uid": uid, "claimed": false})
        } else {
            let name = std::fs::read_to_string("/proc/self/comm").unwrap();
            json!({
                "kind": "process",
                "pid": std::process::id(),
                "uid": nix::unistd::getuid().as_raw(),
                "name": name.trim(),
                "claimed": false,
            })
        };
        reported.expect(&[
            ("/outcome", json!("graceful")),
            ("/pid", json!(pid)),
            ("/stop/signal", json!("SIGTERM")),
            ("/stop/sender", sender),
            ("/stop_delay_seconds", json!(0.05)),
            ("/leftovers/killed", json!(0)),
            ("/exit_status", json!(0)),
        ]);
        assert!(report["ended"]["after_stop_seconds"].as_f64().unwrap() >= 0.05);
        // The worker, and perhaps the sleep of it or the command.
        let others = report["leftovers"]["processes"].as_array().unwrap();
        assert_eq!(report["leftovers"]["signaled"], json!(others.len()));
        assert!(
            others
                .iter()
                .any(|other| other["ended"] == "exited with status 5"),
            "{home:?}: {report}"
        );
        assert!(report["orphans_reaped"].as_u64().unwrap() >= 1);
    }
}

/// With `rt_sigqueueinfo(2)` a sender fills in its own pid and user.
#[test]
fn a_claimed_sender_is_marked() {
    for (pid, says) in [
        ("1", "a process that claims to be pid 1 ("),
        (
            "0",
            "a process that claims to be outside the PID namespace (uid 0)",
        ),
        ("-7", "a process that claims to be pid -7 (uid 0)"),
    ] {
        let reported = Reported::new();
        let mut run = reported
            .start(Home::Plain)
            .options("-v")
            .shell(&format!("trap 'exit 0' TERM; echo ready $$; {LOOP}"));
        run.ready();
        let supervise = run.pid.to_string();
        let forge = ["forge", &supervise, "15", pid, "0"];
        let status = Command::new(fixture()).args(forge).status();
        assert!(status.unwrap().success());
        run.expect_exit(0);
        let expected = format!("received SIGTERM from {says}");
        run.expect_log(&expected);
        reported.expect(&[("/stop/sender/claimed", json!(true))]);
    }
}

#[test]
fn an_unhandled_signal() {
    for home in homes() {
        let reported = Reported::new();
        let mut run = reported
            .start(home)
            .options("-r TERM:USR1 -t infinity")
            .shell("echo ready $$; exec sleep 1024");
        run.ready();
        run.signal(libc::SIGTERM);
        run.wait();
        reported.expect(&[
            ("/outcome", json!("unhandled")),
            ("/stop/signal", json!("SIGTERM")),
            ("/ended/signal", json!("SIGUSR1")),
            ("/ended/code", Value::Null),
            ("/grace_seconds", Value::Null),
            ("/exit_status", json!(128 + libc::SIGUSR1)),
        ]);
    }
}

#[test]
fn a_stop_that_needs_sigkill() {
    for home in homes() {
        let reported = Reported::new();
        let mut run = reported.start(home).options("-t 300ms").shell(&format!(
            "sh -c \"trap '' TERM; echo ready 1; {DEAF}\" & trap '' TERM; echo ready 2; {DEAF}"
        ));
        run.ready();
        run.ready();
        run.signal(libc::SIGTERM);
        run.wait();
        let report = reported.expect(&[
            ("/outcome", json!("killed")),
            ("/ended/signal", json!("SIGKILL")),
            ("/reason", json!("it ignores SIGTERM")),
            ("/exit_status", json!(137)),
        ]);
        assert!(report["leftovers"]["killed"].as_u64().unwrap() >= 1);
        let others = report["leftovers"]["processes"].as_array().unwrap();
        let worker = json!({"name": "sleep", "killed": true, "reason": "it ignores SIGTERM"});
        assert!(
            others.iter().any(|other| ["name", "killed", "reason"]
                .iter()
                .all(|key| other[*key] == worker[*key])),
            "{home:?}: {report}"
        );
    }
}

#[test]
fn a_command_that_cannot_be_executed() {
    let reported = Reported::new();
    let mut run = reported.start(Home::Plain).run(&["/nonexistent"]);
    run.expect_exit(127);
    reported.expect(&[
        ("/outcome", json!("failed")),
        ("/ended", Value::Null),
        (
            "/error",
            json!("cannot run '/nonexistent': no such file or directory"),
        ),
        ("/exit_status", json!(127)),
    ]);
}

#[test]
fn a_report_is_one_object_of_at_most_4096_bytes() {
    // Arguments that grow when they are escaped, a name that looks like JSON, and more
    // leftovers than there is room for.
    let folder = Folder::new();
    let name = folder.copy_program("/bin/sleep", "\",\n)\x01{", 0o755);
    for home in homes() {
        let reported = Reported::new();
        let quoted = format!("'{name}'");
        let long = "\x01".repeat(3000);
        let script = format!(
            "for i in $(seq 100); do setsid {quoted} 1025 & done; echo ready $$; exec sleep 1025"
        );
        let mut run = reported
            .start(home)
            .options("-t 10")
            .run(&["sh", "-c", &script, &long, &long]);
        run.ready();
        run.signal(libc::SIGTERM);
        run.wait();
        let report = reported.expect(&[("/truncated", json!(true)), ("/command/0", json!("sh"))]);
        assert!(
            report["leftovers"]["signaled"].as_u64().unwrap() >= 100,
            "{report}"
        );
    }
    for (options, limit) in [("", 4096), ("--report-limit 2048", 2048)] {
        let reported = Reported::new();
        let script = format!("exit 3 # {}", "x".repeat(10_000));
        let mut run = reported
            .start(Home::Plain)
            .options(options)
            .run(&["sh", "-c", &script]);
        run.expect_exit(3);
        let length = reported.folder.read("report").len();
        assert!(length <= limit, "{length} {limit}");
        reported.expect(&[("/truncated", json!(true))]);
    }
    let reported = Reported::new();
    let long = "\u{1f980}".repeat(20_000);
    let mut run = reported.start(Home::Plain).run(&[&long]);
    run.expect_exit(127);
    reported.expect(&[("/truncated", json!(true)), ("/outcome", json!("failed"))]);
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_the_start() {
    let folder = Folder::new();
    let started = folder.file("started");
    // This one has no reader, and supervise does not wait for one.
    let fifo = folder.fifo("fifo");
    let output = supervise(&["--report", "", "--", "touch", &started]);
    assert_eq!(output.code, Some(125), "an empty path");
    for path in ["/nonexistent/report", "/", &fifo] {
        let output = supervise(&["--report", path, "--", "touch", &started]);
        assert_eq!(output.code, Some(125), "{path}");
        let errors = &output.errors;
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.starts_with(&format!("supervise: --report: cannot open '{path}'")));
        assert!(!std::path::Path::new(&started).exists());
    }
    // These are not files, although the first part of the name could be one.
    for path in ["nodir/", "nodir/.", "link"] {
        let path = folder.file(path);
        let _ = symlink("nodir/", folder.file("link"));
        let output = supervise(&["--report", &path, "--", "touch", &started]);
        assert_eq!(output.code, Some(125), "{path}");
        assert!(!std::path::Path::new(&folder.file("nodir")).exists());
    }
    // Nor is this one opened on the way.
    let mut run = start(Home::Plain)
        .options("--report")
        .options(&format!("{fifo}/report"))
        .run(&["true"]);
    assert_eq!(run.wait(), Ended::code(125), "{}", run.errors());
    let by_variable = Command::new(SUPERVISE)
        .env("SUPERVISE_REPORT", "/nonexistent/report")
        .args(["--", "true"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&by_variable.stderr);
    let expected = "supervise: SUPERVISE_REPORT: cannot open '/nonexistent/report'";
    assert!(errors.starts_with(expected), "{errors}");
    // A full device does not change the exit status.
    let output = supervise(&["--report", "/dev/full", "--", "true"]);
    assert_eq!(output.code, Some(0));
    let errors = &output.errors;
    assert!(
        errors.contains("cannot write report '/dev/full': No space left"),
        "{errors}"
    );
}

#[test]
fn no_file_keeps_half_a_report() {
    let folder = Folder::new();
    let path = folder.file("report");
    // Of a limit of 512 or 1024 bytes, as the shell counts, the report needs more.
    let script = "ulimit -f 1; exec \"$@\"";
    let long = "x".repeat(1500);
    let limited = ["sh", "-c", script, "sh", SUPERVISE, "--report", &path];
    let command = ["--", "sh", "-c", "exit 3", &long];
    let output = output(&[&limited[..], &command[..]].concat());
    let warning =
        format!("supervise: cannot write report '{path}': File too large; nothing was written\n");
    assert_eq!((output.code, output.errors), (Some(3), warning));
    assert_eq!(folder.read("report"), "");
}

#[test]
fn half_a_report_in_a_pipe_is_logged() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let size = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let long = "x".repeat(2 * usize::try_from(size).unwrap());
    let output = Command::new(SUPERVISE)
        .args(["--report", "/dev/stdout", "--report-limit", "100000", "--"])
        .args(["sh", "-c", "exit 3", &long])
        .stdout(writer)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    let warning = "supervise: report '/dev/stdout' truncated: only its beginning was written; use a \
                   regular file\n";
    assert_eq!(errors, warning);
    let mut report = String::new();
    std::io::Read::read_to_string(&mut reader, &mut report).unwrap();
    assert!(report.starts_with("{\"version\":1,"), "{report}");
}

#[test]
fn root_follows_no_link_of_another_user() {
    if lacks_root("other users' links") {
        return;
    }
    let own = |path: &str, uid| std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
    let folder = Folder::new();
    let precious = folder.write("precious", "precious", 0o644);
    let users = folder.file("users");
    std::fs::create_dir(&users).unwrap();
    let at = |name: &str| format!("{users}/{name}");
    symlink("../precious", at("link")).unwrap();
    symlink(folder.file("new"), at("dangling")).unwrap();
    symlink(folder.path(), at("folder")).unwrap();
    for name in ["link", "dangling", "folder"] {
        own(&at(name), 1234);
    }
    // A link of root that leads to one of a user.
    symlink(at("link"), folder.file("roots")).unwrap();
    std::fs::hard_link(&precious, at("hard")).unwrap();
    let run = |path: &str| {
        start(Home::Plain)
            .options("--report")
            .options(path)
            .run(&["true"])
    };
    for owner in [0, 1234] {
        own(&users, owner);
        for (path, words) in [
            (at("link"), "'link' is a symbolic link of uid 1234"),
            (at("dangling"), "'dangling' is a symbolic link of uid 1234"),
            (at("folder/precious"), "'folder' is a symbolic link"),
            (at("folder/new"), "'folder' is a symbolic link"),
            (folder.file("roots"), "'link' is a symbolic link"),
        ] {
            let mut run = run(&path);
            run.expect_exit(125);
            run.expect_log(words);
        }
    }
    let mut hard = run(&at("hard"));
    hard.expect_exit(125);
    hard.expect_log("hard links");
    assert_eq!(folder.read("precious"), "precious");
    assert_eq!(folder.read("new"), "");
}

#[test]
fn other_links_are_followed() {
    let folder = Folder::new();
    let real = folder.file("real");
    std::fs::create_dir(&real).unwrap();
    symlink("real", folder.file("folder")).unwrap();
    symlink("../real/report", format!("{real}/link")).unwrap();
    symlink(format!("{real}/report"), folder.file("absolute")).unwrap();
    symlink("loop", folder.file("loop")).unwrap();
    if is_root() {
        // A folder of another user is not a link.
        std::os::unix::fs::lchown(&real, Some(1234), Some(1234)).unwrap();
    }
    let report = |path: &str| {
        let mut run = start(Home::Plain)
            .folder(folder.path())
            .options("--report")
            .options(path)
            .run(&["true"]);
        run.expect_exit(0);
        run
    };
    for path in [
        folder.file("folder/report"),
        folder.file("folder/link"),
        folder.file("absolute"),
        "real/../folder/./report".to_owned(),
    ] {
        let file = folder.file("real/report");
        // First the file is made, then it exists.
        for _ in 0..2 {
            report(&path);
            assert!(
                folder.read("real/report").contains("\"completed\""),
                "{path}"
            );
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{path}");
        }
        std::fs::remove_file(&file).unwrap();
    }
    // As many as the kernel follows, and one more.
    for number in 1..=41 {
        let target = format!("link-{}", number - 1);
        symlink(target, folder.file(format!("link-{number}"))).unwrap();
    }
    report("link-40");
    assert!(folder.read("link-0").contains("\"completed\""));
    let mut run = start(Home::Plain)
        .folder(folder.path())
        .options("--report link-41")
        .run(&["true"]);
    assert_eq!(run.wait(), Ended::code(125), "{}", run.errors());
    let mut run = start(Home::Plain)
        .options("--report")
        .options(&folder.file("loop"))
        .run(&["true"]);
    run.expect_exit(125);
    for home in homes() {
        for (number, path) in ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"]
            .iter()
            .enumerate()
        {
            // Not a pipe of root, which the user of a namespace cannot open.
            let name = format!("{home:?}-{number}");
            let script = format!("exec \"$@\" > {}", folder.file(&name));
            let mut run = start(home)
                .through(&["sh", "-c", &script, "sh"])
                .options("--report")
                .options(path)
                .run(&["true"]);
            run.expect_exit(0);
            assert!(
                folder.read(&name).contains("\"completed\""),
                "{name} {path}"
            );
        }
    }
}

#[test]
fn the_command_does_not_inherit_the_report_file() {
    let reported = Reported::new();
    let mut run = reported
        .start(Home::Plain)
        .shell("ls /proc/self/fd | wc -l");
    let with = run.line();
    run.wait();
    let mut run = start(Home::Plain).shell("ls /proc/self/fd | wc -l");
    run.expect_line(&with);
    run.wait();
}

#[test]
fn two_different_stop_requests_are_unhandled() {
    for home in homes() {
        let reported = Reported::new();
        let mut run = reported
            .start(home)
            .options("--stop-delay 20s")
            .shell("echo ready $$; exec sleep 1022");
        run.ready();
        // The shell handles SIGINT.
        wait_for_name(run.command(), "sleep");
        run.signal(libc::SIGTERM);
        run.signal(libc::SIGINT);
        run.wait();
        reported.expect(&[("/outcome", json!("unhandled"))]);
    }
}

#[test]
fn a_signal_rewritten_to_sigkill_counts_as_killed() {
    for home in homes() {
        let reported = Reported::new();
        let mut run = reported
            .start(home)
            .options("-r USR1:KILL")
            .shell("echo ready $$; exec sleep 1023");
        run.ready();
        run.signal(libc::SIGUSR1);
        run.wait();
        run.expect_empty_log();
        reported.expect(&[("/outcome", json!("killed"))]);
    }
}

#[test]
fn nothing_is_killed_if_all_exit_with_the_command() {
    // At most 64 are reaped in a row.
    for home in homes() {
        for orphans in [0, 63, 64, 200] {
            let reported = Reported::new();
            let mut run = reported
                .start(home)
                .options("-t 0 --leftovers stop")
                .shell(&format!(
                    "echo ready $$; until [ -e {} ]; do sleep 0.01; done
                     i=0; while [ $i -lt {orphans} ]; do (true &); i=$((i+1)); done",
                    reported.folder.file("go")
                ));
            run.ready();
            let supervise = run.pid;
            send(supervise, libc::SIGSTOP);
            reported.folder.write("go", "", 0o644);
            eventually("all have exited", || {
                let children = children_of(supervise);
                children.len() == orphans + 1 && !children.into_iter().any(is_alive)
            });
            send(supervise, libc::SIGCONT);
            run.expect_exit(0);
            run.expect_empty_log();
            let outcome = ("/outcome", json!("completed"));
            reported.expect(&[outcome]);
        }
    }
}

#[test]
fn without_proc_a_sigkill_is_still_reported() {
    if lacks_root("hiding /proc") {
        return;
    }
    let reported = Reported::new();
    let hide = "mount --make-rprivate / && umount -l /proc && exec \"$@\"";
    let script = "(trap '' TERM; echo ready 1; exec sleep 1035) & trap 'exit 0' TERM; echo ready 2
                  while :; do sleep 0.02; done";
    let mut run = reported
        .start(Home::Pid1)
        .options("-t 3s")
        .through(&["sh", "-c", hide, "sh"])
        .shell(script);
    run.ready();
    run.ready();
    run.signal(libc::SIGTERM);
    run.expect_exit(0);
    reported.expect(&[
        ("/outcome", json!("killed")),
        ("/leftovers/killed", json!(0)),
    ]);
}

#[test]
fn the_report_of_a_nested_supervise_is_replaced() {
    let reported = Reported::new();
    let file = reported.folder.file("report");
    // That one is longer.
    let script = format!("{SUPERVISE} --report {file} -- sh -c 'exit 3' $(seq 300); exit 4");
    let mut run = start(Home::Plain)
        .variable("SUPERVISE_REPORT", &file)
        .run(&["sh", "-c", &script]);
    run.expect_exit(4);
    reported.expect(&[("/exit_status", json!(4))]);
}

/// A nested one would refuse a report that its user cannot write, rehearse, and wait again.
#[test]
fn variables_of_one_run_do_not_reach_the_command() {
    for home in homes() {
        let reported = Reported::new();
        let mut run = start(home)
            .variable("SUPERVISE_REPORT", &reported.folder.file("report"))
            .variable("SUPERVISE_REPORT_LIMIT", "2048")
            .variable("SUPERVISE_REHEARSE", "100")
            .variable("SUPERVISE_STOP_DELAY", "3")
            .variable("SUPERVISE_GRACE", "7")
            .shell("env | grep ^SUPERVISE_ | sort");
        run.expect_line("SUPERVISE_GRACE=7");
        run.expect_line("SUPERVISE_REPORT_LIMIT=2048");
        run.expect_no_more_output();
        run.wait();
        reported.expect(&[("/stop_delay_seconds", json!(3.0))]);
    }
}
