//! The report of a run: one JSON object, as its schema says, that tells what
//! happened; JSON log lines; and the verdict of a rehearsal.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output};

use crate::harness::report::{Reported, VALIDATE, validator};
use crate::harness::*;
use serde_json::{Value, json};

#[test]
fn a_report_that_is_not_as_the_schema_says_is_found_out() {
    let Some(python) = validator() else {
        return;
    };
    let reported = Reported::new();
    reported.start(Home::Plain).shell("exit 0").wait();
    let good = reported.read();
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.schema.json");
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
        let output = Command::new(python)
            .args(["-c", VALIDATE, schema, &file])
            .output();
        assert!(!output.unwrap().status.success(), "{path}");
    }
}

#[track_caller]
fn assert_has(report: &Value, expected: &[(&str, Value)]) {
    for (path, value) in expected {
        let found = report.pointer(path);
        assert_eq!(found, Some(value), "{path} in {report}");
    }
}

const LOOP: &str = "while :; do sleep 0.02; done";

/// What inherits that a signal is ignored, and does nothing else.
const DEAF: &str = "exec sleep 1029";

#[test]
fn the_example_in_the_guide_is_one() {
    let guide = include_str!("../../docs/report.md");
    let example = guide.split("```json\n").nth(1).unwrap().split("```").next();
    let folder = Folder::new();
    folder.write("report", example.unwrap(), 0o644);
    Reported { folder }.read();
}

#[test]
fn a_run_that_nobody_stops() {
    for home in homes() {
        for (script, options, outcome, code, status) in [
            ("exit 0", "", "completed", 0, 0),
            ("exit 3", "", "failed", 3, 3),
            ("exit 3", "-e 3", "completed", 3, 0),
        ] {
            let reported = Reported::new();
            let mut run = reported.start(home).options(options).shell(script);
            assert_eq!(run.wait(), Ended::code(status));
            assert_has(
                &reported.read(),
                &[
                    ("/outcome", json!(outcome)),
                    ("/command", json!(["sh", "-c", script])),
                    ("/ended/code", json!(code)),
                    ("/ended/after_stop_seconds", Value::Null),
                    ("/stop", Value::Null),
                    ("/grace_seconds", json!(30.0)),
                    ("/exit_status", json!(status)),
                    ("/truncated", json!(false)),
                ],
            );
        }
    }
}

#[test]
fn a_stop_that_goes_well_and_what_it_was_about() {
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
        assert_eq!(run.wait(), Ended::code(0), "{home:?}");
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
        assert_has(
            &report,
            &[
                ("/outcome", json!("graceful")),
                ("/pid", json!(pid)),
                ("/stop/signal", json!("SIGTERM")),
                ("/stop/sender", sender),
                ("/stop_delay_seconds", json!(0.05)),
                ("/leftovers/killed", json!(0)),
                ("/exit_status", json!(0)),
            ],
        );
        assert!(report["ended"]["after_stop_seconds"].as_f64().unwrap() >= 0.05);
        // The worker, and perhaps the sleep of either.
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

/// `rt_sigqueueinfo(2)` lets a sender fill in who it is.
#[test]
fn a_sender_that_names_itself_is_not_believed() {
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
        assert_eq!(run.wait(), Ended::code(0));
        let expected = format!("received SIGTERM from {says}");
        assert!(run.errors().contains(&expected), "{}", run.errors());
        assert_has(&reported.read(), &[("/stop/sender/claimed", json!(true))]);
    }
}

#[test]
fn a_signal_that_is_not_handled() {
    for home in homes() {
        let reported = Reported::new();
        let mut run = reported
            .start(home)
            .options("-r TERM:USR1 -t infinity")
            .shell("echo ready $$; exec sleep 1024");
        run.ready();
        run.signal(libc::SIGTERM);
        run.wait();
        assert_has(
            &reported.read(),
            &[
                ("/outcome", json!("unhandled")),
                ("/stop/signal", json!("SIGTERM")),
                ("/ended/signal", json!("SIGUSR1")),
                ("/ended/code", Value::Null),
                ("/grace_seconds", Value::Null),
                ("/exit_status", json!(128 + libc::SIGUSR1)),
            ],
        );
    }
}

#[test]
fn a_stop_that_takes_sigkill() {
    for home in homes() {
        let reported = Reported::new();
        let mut run = reported.start(home).options("-t 300ms").shell(&format!(
            "sh -c \"trap '' TERM; echo ready 1; {DEAF}\" & trap '' TERM; echo ready 2; {DEAF}"
        ));
        run.ready();
        run.ready();
        run.signal(libc::SIGTERM);
        run.wait();
        let report = reported.read();
        assert_has(
            &report,
            &[
                ("/outcome", json!("killed")),
                ("/ended/signal", json!("SIGKILL")),
                ("/reason", json!("it ignores SIGTERM")),
                ("/exit_status", json!(137)),
            ],
        );
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
fn a_command_that_cannot_be_run() {
    let reported = Reported::new();
    let mut run = reported.start(Home::Plain).run(&["/nonexistent"]);
    assert_eq!(run.wait(), Ended::code(127));
    assert_has(
        &reported.read(),
        &[
            ("/outcome", json!("failed")),
            ("/ended", Value::Null),
            (
                "/error",
                json!("cannot run '/nonexistent': no such file or directory"),
            ),
            ("/exit_status", json!(127)),
        ],
    );
}

#[test]
fn whatever_is_in_it_it_is_one_object_of_4096_bytes_at_most() {
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
        let report = reported.read();
        assert_has(
            &report,
            &[("/truncated", json!(true)), ("/command/0", json!("sh"))],
        );
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
        assert_eq!(run.wait(), Ended::code(3));
        let length = reported.folder.read("report").len();
        assert!(length <= limit, "{length} {limit}");
        assert_has(&reported.read(), &[("/truncated", json!(true))]);
    }
    let reported = Reported::new();
    let long = "\u{1f980}".repeat(20_000);
    let mut run = reported.start(Home::Plain).run(&[&long]);
    assert_eq!(run.wait(), Ended::code(127));
    assert_has(
        &reported.read(),
        &[("/truncated", json!(true)), ("/outcome", json!("failed"))],
    );
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_the_start() {
    let folder = Folder::new();
    let started = folder.file("started");
    // Nobody reads from this one, and nobody is waited for.
    let fifo = folder.file("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let output = supervise(&["--report", "", "--", "touch", &started]);
    assert_eq!(output.status.code(), Some(125), "an empty path");
    for path in ["/nonexistent/report", "/", &fifo] {
        let output = supervise(&["--report", path, "--", "touch", &started]);
        assert_eq!(output.status.code(), Some(125), "{path}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.starts_with(&format!("supervise: --report: cannot open '{path}'")));
        assert!(!std::path::Path::new(&started).exists());
    }
    // Neither is a file, though the names on it are those of one.
    for path in ["nodir/", "nodir/.", "link"] {
        let path = folder.file(path);
        let _ = symlink("nodir/", folder.file("link"));
        let output = supervise(&["--report", &path, "--", "touch", &started]);
        assert_eq!(output.status.code(), Some(125), "{path}");
        assert!(!std::path::Path::new(&folder.file("nodir")).exists());
    }
    let by_variable = Command::new(SUPERVISE)
        .env("SUPERVISE_REPORT", "/nonexistent/report")
        .args(["--", "true"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&by_variable.stderr);
    let expected = "supervise: SUPERVISE_REPORT: cannot open '/nonexistent/report'";
    assert!(errors.starts_with(expected), "{errors}");
    // One that has no room is no reason to fail.
    let output = supervise(&["--report", "/dev/full", "--", "true"]);
    assert_eq!(output.status.code(), Some(0));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("cannot write the report to '/dev/full': No space left"),
        "{errors}"
    );
}

#[test]
fn as_root_no_link_of_another_user_leads_to_the_file() {
    if !is_root() {
        skipped("other users' links need root");
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
    // Root's link, which leads to a user's.
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
            assert_eq!(run.wait(), Ended::code(125), "{path}");
            assert!(run.errors().contains(words), "{path}: {}", run.errors());
        }
    }
    let mut hard = run(&at("hard"));
    assert_eq!(hard.wait(), Ended::code(125));
    assert!(hard.errors().contains("hard links"), "{}", hard.errors());
    assert_eq!(folder.read("precious"), "precious");
    assert_eq!(folder.read("new"), "");
}

#[test]
fn other_links_lead_to_the_file() {
    let folder = Folder::new();
    let real = folder.file("real");
    std::fs::create_dir(&real).unwrap();
    symlink("real", folder.file("folder")).unwrap();
    symlink("../real/report", format!("{real}/link")).unwrap();
    symlink(format!("{real}/report"), folder.file("absolute")).unwrap();
    symlink("loop", folder.file("loop")).unwrap();
    if is_root() {
        // Its name is a user's to give, and what is there is what was named.
        std::os::unix::fs::lchown(&real, Some(1234), Some(1234)).unwrap();
    }
    let report = |path: &str| {
        let mut run = start(Home::Plain)
            .folder(folder.path())
            .options("--report")
            .options(path)
            .run(&["true"]);
        assert_eq!(run.wait(), Ended::code(0), "{path}: {}", run.errors());
        run
    };
    for path in [
        folder.file("folder/report"),
        folder.file("folder/link"),
        folder.file("absolute"),
        "real/../folder/./report".to_owned(),
    ] {
        let file = folder.file("real/report");
        // One that is there and one that is made.
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
    let mut run = start(Home::Plain)
        .options("--report")
        .options(&folder.file("loop"))
        .run(&["true"]);
    assert_eq!(run.wait(), Ended::code(125));
    for home in homes() {
        for (number, path) in ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"]
            .iter()
            .enumerate()
        {
            // A pipe of root's cannot be opened by the user of a namespace.
            let name = format!("{home:?}-{number}");
            let script = format!("exec \"$@\" > {}", folder.file(&name));
            let mut run = start(home)
                .through(&["sh", "-c", &script, "sh"])
                .options("--report")
                .options(path)
                .run(&["true"]);
            assert_eq!(
                run.wait(),
                Ended::code(0),
                "{name} {path}: {}",
                run.errors()
            );
            assert!(
                folder.read(&name).contains("\"completed\""),
                "{name} {path}"
            );
        }
    }
}

#[test]
fn the_command_does_not_see_the_file() {
    let reported = Reported::new();
    let mut run = reported
        .start(Home::Plain)
        .shell("ls /proc/self/fd | wc -l");
    let with = run.line();
    run.wait();
    let mut run = start(Home::Plain).shell("ls /proc/self/fd | wc -l");
    assert_eq!(run.line(), with);
    run.wait();
}

fn supervise(words: &[&str]) -> Output {
    Command::new(SUPERVISE).args(words).output().unwrap()
}

#[test]
fn a_log_of_json_lines() {
    let output = supervise(&["--log-format", "json", "-vv", "--", "sh", "-c", "exit 3"]);
    assert_eq!(output.status.code(), Some(3));
    let errors = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> = errors
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(!lines.is_empty());
    for line in &lines {
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["level", "message", "time"]);
    }
    let ended = lines.iter().find(|line| line["level"] == "info").unwrap();
    assert!(
        ended["message"]
            .as_str()
            .unwrap()
            .ends_with(") exited with status 3")
    );

    let output = supervise(&["--log-format", "xml", "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
}

/// A rehearsal, its exit code and what it said.
#[track_caller]
fn rehearse(home: Home, options: &str, command: &[&str]) -> (Option<i32>, String) {
    let mut run = start(home).options(options).run(command);
    let ended = run.wait();
    (ended.code, run.errors())
}

/// What a rehearsal says of a command that is killed by SIGTERM.
const UNHANDLED: &str = "rehearsal failed: command killed by SIGTERM: either it has no handler \
                         (handle SIGTERM and exit), or it cleans up and then kills itself with \
                         the signal (use --remap-exit 143)";

#[test]
fn a_rehearsal_judges() {
    let ready = format!("{} notify READY=1", fixture());
    let handles = format!("trap 'exit 0' TERM; {ready}; {LOOP}");
    let accepted = format!("trap 'exit 7' TERM; {ready}; {LOOP}");
    let deaf = format!("trap '' TERM; {ready}; {DEAF}");
    let accept = "rehearsal failed: command exited with status 7; exit with 0 on SIGTERM or use \
                  --remap-exit 7";
    let killed = "rehearsal failed: SIGKILL was needed (command: it ignores SIGTERM); handle \
                  SIGTERM, exit sooner, or raise --grace";
    for home in homes() {
        for (options, script, code, expected) in [
            ("ready", handles.as_str(), 0, "rehearsal passed: graceful"),
            ("ready -e 7", &accepted, 0, "rehearsal passed: graceful"),
            ("ready", &accepted, 1, accept),
            ("ready -t 500ms", &deaf, 1, killed),
            ("200ms", DEAF, 1, UNHANDLED),
        ] {
            let options = format!("--rehearse {options}");
            let (found, errors) = rehearse(home, &options, &["sh", "-c", script]);
            assert_eq!(found, Some(code), "{home:?} {script}: {errors}");
            assert!(
                errors.contains("rehearsal: requested a stop (SIGTERM) after "),
                "{errors}"
            );
            assert!(errors.contains(expected), "{home:?} {script}: {errors}");
            // One search tells a rehearsal that passed.
            assert_eq!(errors.contains("graceful"), code == 0, "{errors}");
        }
        // Nothing is sent with a grace period of 0.
        let (code, errors) = rehearse(home, "--rehearse 0 -t 0", &["sleep", "1023"]);
        assert_eq!(code, Some(1), "{errors}");
        let requested = "rehearsal: requested a stop (SIGTERM) after ";
        assert!(errors.contains(requested), "{errors}");
        assert!(!errors.contains("sent SIGTERM"), "{errors}");
        let (code, _) = rehearse(home, "--rehearse 1", &["/nonexistent"]);
        assert_eq!(code, Some(127), "nothing was rehearsed");
    }
}

#[test]
fn a_rehearsal_advises_where_the_command_exits_before_the_stop_request() {
    for home in homes() {
        for (options, script, expected) in [
            (
                "100s",
                "exit 0",
                ", before the stop request; use a shorter time, or --rehearse ready\n",
            ),
            (
                "ready",
                "exit 0",
                ", before it notified READY=1; give --rehearse a time if it never does\n",
            ),
            (
                "ready",
                "exit 3",
                ": it failed before the stop request; see its own output\n",
            ),
            (
                "100s",
                "kill -INT $$",
                ": it failed before the stop request; see its own output\n",
            ),
            (
                "100s -e 3",
                "exit 3",
                ", before the stop request; use a shorter time, or --rehearse ready\n",
            ),
        ] {
            let options = format!("--rehearse {options}");
            let (code, errors) = rehearse(home, &options, &["sh", "-c", script]);
            assert_eq!(code, Some(1), "{home:?} {script}: {errors}");
            let failed = errors.contains("rehearsal failed: command ");
            assert!(failed && errors.contains(expected), "{home:?}: {errors}");
        }
    }
}

#[test]
fn a_rehearsal_of_a_command_that_exits_during_the_stop_delay_proves_nothing() {
    let ready = format!("{} notify READY=1", fixture());
    for home in homes() {
        for (status, advice) in [
            (0, "use a shorter --stop-delay\n"),
            (3, "it failed by itself; see its own output\n"),
        ] {
            let script = format!("trap 'exit {status}' USR1; {ready}; {LOOP}");
            let reported = Reported::new();
            let mut run = reported
                .start(home)
                .options("-v --rehearse ready --stop-delay 1h -t 2h")
                .run(&["sh", "-c", &script]);
            run.wait_for_error("(--stop-delay)");
            run.signal(libc::SIGUSR1);
            assert_eq!(run.wait(), Ended::code(1), "{home:?}: {}", run.errors());
            let expected = format!(
                "rehearsal failed: command exited with status {status} during the stop delay, \
                 before SIGTERM was forwarded; {advice}"
            );
            assert!(run.errors().contains(&expected), "{}", run.errors());
            assert!(!run.errors().contains("passed"), "{}", run.errors());
            // The log and the report agree with the verdict.
            assert!(run.errors().contains("): failed\n"), "{}", run.errors());
            assert_eq!(reported.read()["outcome"], "failed", "{home:?} {status}");
        }
    }
}

#[test]
fn a_rehearsal_that_comes_before_the_command_handles_anything_finds_that_out() {
    for home in homes() {
        for _ in 0..10 {
            let (code, errors) = rehearse(home, "--rehearse 0", &["sleep", "1019"]);
            assert_eq!(code, Some(1), "{home:?}: {errors}");
            assert!(errors.contains(UNHANDLED), "{errors}");
        }
    }
}

#[test]
fn a_rehearsal_is_of_a_command_that_runs() {
    for home in homes() {
        // The command has ended and is reaped; only what it left is asked.
        let script = format!(
            "(while kill -0 $$ 2>/dev/null; do sleep 0.01; done
              {} notify READY=1; exec sleep 1020) & exit 0",
            fixture()
        );
        let reported = Reported::new();
        let mut run = reported
            .start(home)
            .options("-v --leftovers wait --rehearse ready")
            .run(&["sh", "-c", &script]);
        assert_eq!(run.wait(), Ended::code(1), "{home:?}: {}", run.errors());
        let errors = run.errors();
        assert!(
            errors.contains("before it notified READY=1"),
            "{home:?}: {errors}"
        );
        assert!(
            errors.contains("(command exited earlier): failed\n"),
            "{errors}"
        );
        assert_eq!(reported.read()["outcome"], "failed", "{home:?}");
    }
}

#[test]
fn a_rehearsal_names_what_is_lost_in_the_group() {
    let ready = format!("{} notify READY=1", fixture());
    for home in homes() {
        let script = format!("(sleep 1021 &) ; trap 'exit 0' TERM; {ready}; {LOOP}");
        let (code, errors) = rehearse(home, "--rehearse ready -g", &["sh", "-c", &script]);
        assert_eq!(code, Some(0), "{home:?}: {errors}");
        // Not by its name, for it may not have executed it yet.
        let lost = "was killed by SIGTERM; anything that it had not saved is lost";
        assert!(errors.contains(lost), "{home:?}: {errors}");
    }
}

#[test]
fn two_stop_requests_that_differ_are_two_that_are_not_handled() {
    for home in homes() {
        let reported = Reported::new();
        let mut run = reported
            .start(home)
            .options("--stop-delay 20s")
            .shell("echo ready $$; exec sleep 1022");
        run.ready();
        let command = run.command();
        // The shell handles SIGINT.
        eventually("it has been executed", || {
            status_field(command, "Name").as_deref() == Some("sleep")
        });
        run.signal(libc::SIGTERM);
        run.signal(libc::SIGINT);
        run.wait();
        assert_has(&reported.read(), &[("/outcome", json!("unhandled"))]);
    }
}

#[test]
fn a_rewriting_to_sigkill_is_our_own_sigkill() {
    for home in homes() {
        let reported = Reported::new();
        let mut run = reported
            .start(home)
            .options("-r USR1:KILL")
            .shell("echo ready $$; exec sleep 1023");
        run.ready();
        run.signal(libc::SIGUSR1);
        run.wait();
        assert_eq!(run.errors(), "");
        assert_has(&reported.read(), &[("/outcome", json!("killed"))]);
    }
}

#[test]
fn where_nobody_is_left_none_is_killed_though_many_end_with_the_command() {
    // A round of reaping is 64 at most.
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
            eventually("all have ended", || {
                let children = children_of(supervise);
                children.len() == orphans + 1 && !children.into_iter().any(is_alive)
            });
            send(supervise, libc::SIGCONT);
            assert_eq!(run.wait(), Ended::code(0), "{home:?} {orphans}");
            assert_eq!(run.errors(), "", "{home:?} {orphans}");
            let outcome = ("/outcome", json!("completed"));
            assert_has(&reported.read(), &[outcome]);
        }
    }
}

#[test]
fn a_rehearsal_names_what_is_lost() {
    let ready = format!("{} notify READY=1", fixture());
    for home in homes() {
        let script =
            format!("trap 'exit 0' TERM; sh -c \"trap '' TERM; {ready}; {DEAF}\" & {LOOP}");
        let (code, errors) = rehearse(home, "--rehearse ready -t 2", &["sh", "-c", &script]);
        assert_eq!(code, Some(1), "{home:?}: {errors}");
        let lost =
            "(sleep) was killed by SIGKILL and lost what it had not saved: it ignores SIGTERM";
        assert!(errors.contains(lost), "{home:?}: {errors}");
    }
}

#[test]
fn a_rehearsal_can_wait_until_it_is_ready() {
    for home in homes() {
        // It says something else first; the time until then is its own.
        let fixture = fixture();
        let script = format!(
            "trap 'exit 0' TERM; {fixture} notify STATUS=starting; sleep 0.1
             echo ready; {fixture} notify \"$(printf 'STATUS=up\nREADY=1')\"; {LOOP}"
        );
        let mut run = start(home)
            .options("--rehearse ready")
            .run(&["sh", "-c", &script]);
        assert_eq!(run.line(), "ready", "{home:?}: {}", run.errors());
        assert_eq!(run.wait(), Ended::code(0), "{home:?}: {}", run.errors());
        assert!(
            run.errors().contains("rehearsal passed: graceful"),
            "{}",
            run.errors()
        );
    }
    let output = supervise(&["--rehearse", "ready", "--no-notify-relay", "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
    for words in [
        ["--stop-on", "none"].as_slice(),
        &["--rewrite", "TERM:0", "--rewrite", "INT:0"],
    ] {
        let words = [&["--rehearse", "1"], words, &["--", "true"]].concat();
        let output = supervise(&words);
        assert_eq!(output.status.code(), Some(125));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("no signal is a stop request"), "{errors}");
    }
}

#[test]
fn whoever_is_quicker_than_the_rehearsal_is_the_one_who_asked() {
    let reported = Reported::new();
    let go = reported.folder.file("go");
    let fixture = fixture();
    let script = format!(
        "(trap '' TERM; until [ -e {go} ]; do sleep 0.02; done
          {fixture} notify READY=1; echo notified) &
         exec {fixture} print-signals 10"
    );
    let mut run = reported
        .start(Home::Plain)
        .options("--rehearse ready")
        .run(&["sh", "-c", &script]);
    run.ready();
    run.signal(libc::SIGTERM);
    assert!(run.line().starts_with("15 "));
    std::fs::write(go, "").unwrap();
    assert_eq!(run.line(), "notified");
    // It is ready now, and was asked before: not once more.
    run.signal(libc::SIGUSR1);
    loop {
        let line = run.line();
        assert!(!line.starts_with("15 "), "{line}");
        // It may hear of the end of its child as well.
        if line.starts_with("10 ") {
            break;
        }
    }
    assert_eq!(run.wait(), Ended::code(1));
    let errors = run.errors();
    assert!(errors.contains("rehearsal inconclusive: received SIGTERM from pid "));
    let advice = " first; run it again and let it end by itself\n";
    assert!(errors.contains(advice), "{errors}");
    assert_has(
        &reported.read(),
        &[
            ("/stop/sender/kind", json!("process")),
            ("/outcome", json!("graceful")),
        ],
    );
}

/// Whether a program that is killed by the stop signal had a handler proves nothing:
/// the runtimes of Go, Node and PHP catch the signal and exit from it.
#[test]
fn death_by_the_stop_signal_is_graceful_only_if_it_is_declared() {
    let ready = format!("{} notify READY=1", fixture());
    let reraises = format!("trap 'trap - TERM; kill -TERM $$' TERM; {ready}; {LOOP}");
    let exits = format!("trap 'exit 143' TERM; {ready}; {LOOP}");
    let shows = "(use --remap-exit 143)";
    for home in homes() {
        for (script, how) in [
            (&reraises, "killed by SIGTERM"),
            (&exits, "exited with status 143"),
        ] {
            for (options, status, outcome) in [("", 1, "unhandled"), ("-e 143", 0, "graceful")] {
                let reported = Reported::new();
                let mut run = reported
                    .start(home)
                    .options("-v --rehearse ready")
                    .options(options)
                    .shell(script);
                let ended = run.wait();
                let errors = run.errors();
                assert_eq!(ended, Ended::code(status), "{home:?} {options}: {errors}");
                assert_has(&reported.read(), &[("/outcome", json!(outcome))]);
                let failed = format!("rehearsal failed: command {how}: either it has no handler");
                assert_eq!(errors.contains(&failed), status == 1, "{errors}");
                assert_eq!(errors.contains(shows), status == 1, "{errors}");
                // The last line of the log and the verdict agree.
                let lines = errors.matches("graceful").count();
                assert_eq!(lines, if status == 0 { 2 } else { 0 }, "{errors}");
            }
        }
    }
}

/// As the runtimes do: caught only to be killed by it.
#[test]
fn a_program_whose_runtime_catches_the_signal_does_not_pass() {
    // No pause(): a signal just before it would not end that.
    let python = "import os, signal, subprocess, sys, time
def caught(number, _):
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
signal.signal(signal.SIGTERM, caught)
subprocess.run([sys.argv[1], 'notify', 'READY=1'])
while True: time.sleep(0.01)";
    let (code, errors) = rehearse(
        Home::Plain,
        "--rehearse ready",
        &["python3", "-c", python, &fixture()],
    );
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains(UNHANDLED), "{errors}");
}

#[test]
fn where_nothing_tells_who_was_killed_it_is_no_less_killed() {
    if !is_root() {
        skipped("hiding /proc needs root");
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
    assert_eq!(run.wait(), Ended::code(0));
    assert_has(
        &reported.read(),
        &[
            ("/outcome", json!("killed")),
            ("/leftovers/killed", json!(0)),
        ],
    );
}

#[test]
fn what_others_have_written_to_the_file_is_replaced() {
    let reported = Reported::new();
    let file = reported.folder.file("report");
    // A longer report of another one, below.
    let script = format!("{SUPERVISE} --report {file} -- sh -c 'exit 3' $(seq 300); exit 4");
    let mut run = start(Home::Plain)
        .variable("SUPERVISE_REPORT", &file)
        .run(&["sh", "-c", &script]);
    assert_eq!(run.wait(), Ended::code(4));
    assert_has(&reported.read(), &[("/exit_status", json!(4))]);
}

/// One below would refuse a report that its user cannot write, rehearse, and wait again.
#[test]
fn what_is_about_one_run_is_not_in_the_commands_environment() {
    for home in homes() {
        let reported = Reported::new();
        let mut run = start(home)
            .variable("SUPERVISE_REPORT", &reported.folder.file("report"))
            .variable("SUPERVISE_REPORT_LIMIT", "2048")
            .variable("SUPERVISE_REHEARSE", "100")
            .variable("SUPERVISE_STOP_DELAY", "3")
            .variable("SUPERVISE_GRACE", "7")
            .shell("env | grep ^SUPERVISE_ | sort");
        assert_eq!(run.line(), "SUPERVISE_GRACE=7", "{home:?}");
        assert_eq!(run.line(), "SUPERVISE_REPORT_LIMIT=2048", "{home:?}");
        assert_eq!(run.next_line(), None, "{home:?}");
        run.wait();
        assert_has(&reported.read(), &[("/stop_delay_seconds", json!(3.0))]);
    }
}
