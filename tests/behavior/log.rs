//! The log goes to stderr and never delays anything.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use crate::harness::*;
use serde_json::Value;

#[test]
fn a_full_pipe_delays_nothing() {
    let fixture = fixture();
    for home in homes() {
        let mut run = start(home)
            .through(&[&fixture, "tail-of-pipe", "4096"])
            .options("-vvv")
            .fixture(&["print-signals", "64"]);
        run.ready();
        let supervise = run.pid;
        assert_not_delayed(&mut run, supervise);
    }
}

/// Sends `supervise` signals that it logs, and expects it to forward them.
#[track_caller]
fn assert_not_delayed(run: &mut Run, supervise: i32) {
    for _ in 0..50 {
        send(supervise, libc::SIGUSR1);
        run.expect_signal(10);
    }
    send(supervise, 64);
    run.expect_signal(64);
    run.expect_exit(0);
}

#[test]
fn a_full_pipe_delays_nothing_where_rwf_nowait_is_ignored() {
    if lacks_tracer() {
        return;
    }
    let fixture = fixture();
    let mut run = start(Home::Plain)
        .through(&[&fixture, "flag-ignored", &fixture, "tail-of-pipe", "4096"])
        .options("-vvv")
        .fixture(&["print-signals", "64"]);
    run.ready();
    // The parent of supervise is its tracer.
    let supervise = run.command();
    assert_not_delayed(&mut run, supervise);
}

#[test]
fn a_full_pipe_that_cannot_be_reopened_delays_nothing() {
    if lacks_root("hiding /proc and becoming another user") {
        return;
    }
    let fixture = fixture();
    for wrapper in [&WITHOUT_PROC, &as_user("65534")] {
        let mut run = start(Home::Plain)
            .through(&[&fixture, "tail-of-pipe", "4096"])
            .through(wrapper)
            .options("-vvv")
            .fixture(&["print-signals", "64"]);
        run.ready();
        let supervise = run.pid;
        assert_not_delayed(&mut run, supervise);
    }
}

#[test]
fn a_full_terminal_that_cannot_be_reopened_delays_nothing() {
    if lacks_root("becoming another user") {
        return;
    }
    for controlling in [&["setsid", "--ctty"][..], &[]] {
        let (_keyboard, terminal) = pty::open_pty();
        let name = nix::unistd::ttyname(&terminal).unwrap();
        let name = name.display();
        let on_it = format!("exec \"$@\" <{name} 2>{name}");
        let mut run = start(Home::Plain)
            .through(&["sh", "-c", &on_it, "sh"])
            .through(controlling)
            .through(&["sh", "-c", "exec \"$@\" </dev/null", "sh"])
            .through(&as_user("65534"))
            .options("-vvv")
            .fixture(&["print-signals", "64"]);
        run.ready();
        let supervise = run.pid;
        // Far more than fits into a terminal that is not read.
        for _ in 0..1000 {
            send(supervise, libc::SIGUSR1);
            run.expect_signal(10);
        }
        assert_not_delayed(&mut run, supervise);
    }
}

/// Starts the fixture under `supervise` with this stderr.
fn with_stderr(stderr: impl Into<Stdio>) -> (std::process::Child, impl FnMut() -> String) {
    let mut child = Command::new(SUPERVISE)
        .args(["-vv", "--", &fixture(), "print-signals", "64"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(stdout);
    (child, move || lines.next().unwrap().unwrap())
}

#[test]
fn a_full_socket_delays_nothing() {
    let (_reader, mut stderr) = std::os::unix::net::UnixStream::pair().unwrap();
    stderr.set_nonblocking(true).unwrap();
    while std::io::Write::write(&mut stderr, &[b'x'; 100]).is_ok() {}
    stderr.set_nonblocking(false).unwrap();
    let (mut child, mut line) = with_stderr(std::os::fd::OwnedFd::from(stderr));
    let pid = i32::try_from(child.id()).unwrap();
    assert!(line().starts_with("ready "));
    for _ in 0..10 {
        send(pid, libc::SIGUSR1);
        assert!(line().starts_with("10 "));
    }
    send(pid, 64);
    assert!(line().starts_with("64 "));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_fifo_without_a_reader_drops_lines() {
    let folder = Folder::new();
    let path = folder.fifo("fifo");
    let reader = || {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        let options = options.read(true).custom_flags(libc::O_NONBLOCK);
        options.open(&path).unwrap()
    };
    let first = reader();
    let writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let (mut child, mut line) = with_stderr(writer);
    let pid = i32::try_from(child.id()).unwrap();
    assert!(line().starts_with("ready "));
    drop(first);
    // A fork of another test may have the reading end open until it executes.
    eventually("the FIFO has no reader", || {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        let opened = options
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path);
        opened.is_err_and(|why| why.raw_os_error() == Some(libc::ENXIO))
    });
    for _ in 0..5 {
        send(pid, libc::SIGUSR1);
        // And no SIGPIPE that supervise caused itself.
        assert!(line().starts_with("10 "));
    }
    let mut second = reader();
    send(pid, 64);
    assert!(line().starts_with("64 "));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut log = Vec::new();
    eventually("the lost lines are counted", || {
        // Ends with "would block" while a fork of another test has the FIFO open.
        let _ = second.read_to_end(&mut log);
        String::from_utf8_lossy(&log).contains("log lines lost")
    });
}

#[test]
fn lost_lines_are_counted_once_there_is_room() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let size = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let (mut child, mut line) = with_stderr(writer);
    let pid = i32::try_from(child.id()).unwrap();
    line();
    // More lines than fit: two for each signal.
    let signals = usize::try_from(size).unwrap() / 20;
    for _ in 0..signals {
        send(pid, libc::SIGUSR1);
        assert!(line().starts_with("10 "));
    }
    // The pipe is read, so that the last lines find room.
    let mut log = vec![0; usize::try_from(size).unwrap()];
    let length = reader.read(&mut log).unwrap();
    log.truncate(length);
    send(pid, 64);
    line();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    reader.read_to_end(&mut log).unwrap();
    let log = String::from_utf8(log).unwrap();
    let lost = |line: &str| {
        let (_, rest) = line.split_once("log lines lost: ")?;
        rest.split(' ').next().unwrap().parse::<usize>().ok()
    };
    let total: usize = log.lines().filter_map(lost).sum();
    let kept = log.lines().filter(|line| line.contains("SIGUSR1")).count();
    assert!(total > 0, "{log}");
    assert_eq!(kept + total, 2 * signals, "{log}");
    let (before_room, after) = log.split_once("SIGRTMIN+30").unwrap();
    assert!(
        before_room.lines().any(|line| lost(line).is_some()),
        "{log}"
    );
    assert!(!after.contains("log lines lost"), "{log}");
    assert!(
        log.lines().all(|line| line.starts_with("supervise: ")),
        "whole lines only: {log}"
    );
}

#[test]
fn signals_caused_by_logging_are_not_forwarded() {
    // A pipe without a reader (SIGPIPE) and a file size limit (SIGXFSZ).
    let folder = Folder::new();
    for stderr in ["2>&1 >&3 | :", &format!("2>{}", folder.file("log"))] {
        let script = format!(
            "ulimit -f 0; exec 3>&1; {SUPERVISE} -vvv -- {} print-signals 64 {stderr}",
            fixture()
        );
        let mut run = start(Home::Plain)
            .options("--stop-on none -r 64:64")
            .shell(&script);
        run.ready();
        let mut inner = Vec::new();
        eventually("the inner one is found", || {
            inner = descendants_of(run.command())
                .into_iter()
                .filter(|pid| !children_of(*pid).is_empty())
                .collect();
            !inner.is_empty()
        });
        for _ in 0..5 {
            send(inner[0], libc::SIGUSR1);
            run.expect_signal(10);
        }
        send(inner[0], 64);
        run.expect_signal(64);
        run.wait();
    }
}

#[test]
fn logging_leaves_stdout_and_the_flags_of_stderr_alone() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let flags =
        |fd: &std::io::PipeWriter| nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL).unwrap();
    let before = flags(&writer);
    let output = Command::new(SUPERVISE)
        .args(["-vvv", "--", "sh", "-c", "echo payload"])
        .stderr(writer.try_clone().unwrap())
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"payload\n");
    assert_eq!(flags(&writer), before, "descriptor {}", writer.as_raw_fd());
}

#[test]
fn the_log_goes_to_files_sockets_and_devices() {
    let folder = Folder::new();
    let log = folder.file("log");
    let run = |redirection: &str| {
        let script = format!("exec {SUPERVISE} -v -- sh -c 'exit 3' {redirection}");
        Command::new("sh")
            .args(["-c", &script])
            .status()
            .unwrap()
            .code()
    };
    assert_eq!(run(&format!("2>>{log}")), Some(3));
    assert!(
        folder.read("log").contains(") exited with status 3"),
        "{}",
        folder.read("log")
    );
    for device in ["/dev/null", "/dev/full"] {
        assert_eq!(run(&format!("2>{device}")), Some(3), "{device}");
    }

    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let status = Command::new(SUPERVISE)
        .args(["-v", "--", "sh", "-c", "exit 3"])
        .stderr(std::os::fd::OwnedFd::from(theirs))
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3));
    let mut text = String::new();
    ours.read_to_string(&mut text).unwrap();
    assert!(text.contains(") exited with status 3"), "{text}");
}

#[test]
fn a_command_name_cannot_forge_a_log_line() {
    let mut run = start(Home::Plain).run(&["no\nsupervise: \x1b[31mforged"]);
    run.expect_exit(127);
    eventually("a line", || run.errors().ends_with('\n'));
    assert_eq!(run.errors().lines().count(), 1, "{}", run.errors());
    run.expect_no_log("\x1b");
}

#[test]
fn an_unknown_variable_is_warned_about() {
    let run_with = |options: &str, name: &str| {
        let mut run = start(Home::Plain)
            .options(options)
            .variable(name, "8")
            .run(&["true"]);
        run.expect_exit(0);
        run.errors()
    };
    let warning = "supervise: unknown variable SUPERVISE_GRACE_PERIOD is ignored; did you mean \
                   SUPERVISE_GRACE?\n";
    assert_eq!(run_with("", "SUPERVISE_GRACE_PERIOD"), warning);
    assert_eq!(run_with("-q", "SUPERVISE_GRACE_PERIOD"), "");
    assert_eq!(run_with("", "SUPERVISE_SERVICE_PORT"), "");
}

#[test]
fn a_bad_filter_is_refused_in_one_line() {
    for filter in ["warm", "debug/a/b", "supervise=warm", "supervise=a=b", ","] {
        let mut run = start(Home::Plain)
            .variable("SUPERVISE_LOG", filter)
            .run(&["true"]);
        run.expect_exit(125);
        let log = run.errors();
        assert!(log.starts_with("supervise: SUPERVISE_LOG: '"), "{log}");
        assert_eq!(log.lines().count(), 1, "{log}");
    }
}

#[test]
fn options_and_variable_set_the_log_level() {
    for (options, variable, contains, lacks) in [
        ("", "", "", "supervise: "),
        ("-v", "", "exited with", "sent SIGTERM"),
        ("-vv", "", "sent SIGTERM", "\u{0}"),
        ("", "debug", "sent SIGTERM", "\u{0}"),
        ("-q", "debug", "", "supervise: "),
        ("", "off", "", "supervise: "),
    ] {
        let mut run = start(Home::Plain)
            .options(options)
            .variable("SUPERVISE_LOG", variable)
            .fixture(&["print-signals", "15"]);
        run.ready();
        run.signal(libc::SIGTERM);
        run.line();
        run.expect_exit(0);
        run.expect_log(contains);
        run.expect_no_log(lacks);
    }
}

#[test]
fn the_json_log_is_one_object_a_line() {
    let output = supervise(&["--log-format", "json", "-vv", "--", "sh", "-c", "exit 3"]);
    assert_eq!(output.code, Some(3));
    let errors = &output.errors;
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
    assert_eq!(output.code, Some(125));
}
