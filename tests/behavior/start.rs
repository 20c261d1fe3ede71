//! The command starts as if it had been executed directly: signal state,
//! descriptors, surroundings; and if it cannot, one line and a status say why.
//!
//! Not tested here: E2BIG, since whatever is too long for the command was too
//! long for `supervise` before; a limit of three descriptors, with which the
//! test build cannot load its libraries; ENOMEM from fork(2), which this machine's
//! overcommitting kernel does not give.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::*;

/// The same directly and under `supervise`, each through `wrapper`.
#[track_caller]
fn assert_same_under_supervise(wrapper: &[&str], command: &[&str]) {
    let direct = output(&[wrapper, command].concat());
    assert_eq!(direct.code, Some(0), "{wrapper:?} {command:?}: {direct:?}");
    assert!(!direct.stdout.is_empty(), "{command:?} prints nothing");
    let supervised = output(&[wrapper, &[SUPERVISE, "--"], command].concat());
    assert_eq!(supervised, direct, "{wrapper:?}");
}

#[test]
fn the_command_inherits_signal_mask_and_dispositions() {
    let fixture = fixture();
    for state in [
        vec![],
        vec!["ignored", "1"],
        vec!["ignored", "13"],
        vec!["ignored", "17"],
        vec!["ignored", "64"],
        vec!["blocked", "10"],
        vec!["blocked", "17"],
        vec!["blocked", "32"],
        vec!["blocked", "0"],
    ] {
        let wrapper = if state.is_empty() {
            Vec::new()
        } else {
            [&[fixture.as_str()], state.as_slice()].concat()
        };
        let command = [
            "grep",
            "-E",
            "^(Sig(Pnd|Blk|Ign|Cgt)|ShdPnd)",
            "/proc/self/status",
        ];
        assert_same_under_supervise(&wrapper, &command);
    }
}

#[test]
fn the_command_inherits_folder_limits_and_environment() {
    let script =
        "pwd -P; umask; nice; ulimit -a; cat /proc/self/oom_score_adj /proc/self/cgroup; env";
    let changed = [
        "sh",
        "-c",
        "cd /usr; umask 027; ulimit -n 100; exec nice -n 5 \"$@\"",
        "sh",
    ];
    assert_same_under_supervise(&[], &["sh", "-c", script]);
    assert_same_under_supervise(&changed, &["sh", "-c", script]);
}

#[test]
fn a_removed_working_directory_is_kept() {
    let folder = Folder::new();
    let gone = folder.file("gone");
    let script = format!("mkdir {gone}; cd {gone}; rmdir {gone}; exec \"$@\"");
    assert_same_under_supervise(
        &["sh", "-c", &script, "sh"],
        &["readlink", "/proc/self/cwd"],
    );
}

#[test]
fn arguments_reach_the_command_byte_for_byte() {
    for home in homes() {
        let mut run = start(home).run(&["printf", "%s|", "-x", "", "--", "a b", "\u{e4}", "-g"]);
        run.expect_exit(0);
        assert_eq!(run.rest(), ["-x||--|a b|\u{e4}|-g|"]);
    }
    let word = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    let output = Command::new(SUPERVISE)
        .args(["printf", "%s"])
        .arg(word)
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"\xff\xfe");
}

#[test]
fn ignored_sigchld_and_blocked_signals_change_nothing() {
    let fixture = fixture();
    for state in [["ignored", "17"], ["blocked", "17"], ["blocked", "0"]] {
        for home in homes() {
            let wrapper = [&[fixture.as_str()], &state[..]].concat();
            let mut run = start(home).through(&wrapper).shell("exit 3");
            run.expect_exit(3);
            let mut run = start(home)
                .through(&wrapper)
                .fixture(&["print-signals", "15"]);
            run.ready();
            run.signal(libc::SIGTERM);
            run.expect_signal(15);
            run.expect_exit(0);
        }
    }
}

/// The descriptors of a process: number and what it refers to.
fn descriptors(pid: i32) -> Vec<(i32, String)> {
    let mut all: Vec<(i32, String)> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((
                number,
                std::fs::read_link(entry.path()).ok()?.to_str()?.to_owned(),
            ))
        })
        .collect();
    all.sort();
    all
}

/// What this test program itself has inherited and would pass on.
fn passed_on() -> Vec<i32> {
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // When it answers, its loader has closed what it had open.
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let numbers = descriptors(pid)
        .iter()
        .map(|(n, _)| *n)
        .filter(|n| *n > 2)
        .collect();
    drop(child.stdin.take());
    child.wait().unwrap();
    numbers
}

#[test]
fn the_command_inherits_descriptors_and_supervise_keeps_stderr() {
    let folder = Folder::new();
    folder.write("file", "", 0o666);
    let script = format!("exec 5<{0} 9>>{0} \"$@\"", folder.file("file"));
    let mut run = start(Home::Plain)
        .through(&["sh", "-c", &script, "sh"])
        .fixture(&["print-signals", "15"]);
    run.ready();
    let numbers: Vec<i32> = descriptors(run.command()).iter().map(|(n, _)| *n).collect();
    let expected: BTreeSet<i32> = [0, 1, 2, 5, 9].into_iter().chain(passed_on()).collect();
    assert_eq!(numbers, expected.into_iter().collect::<Vec<_>>());
    // It lets go after the fork, perhaps after the command is ready.
    eventually("supervise keeps only stderr", || {
        let own = descriptors(run.pid);
        let numbers: Vec<i32> = own.iter().map(|(n, _)| *n).collect();
        numbers == [0, 1, 2] && own[0].1 == "/dev/null" && own[1].1 == "/dev/null"
    });
    assert!(
        descriptors(run.pid)[2].1.starts_with("pipe:"),
        "stderr stays"
    );
    assert_eq!(
        std::fs::read_link(format!("/proc/{}/cwd", run.pid))
            .unwrap()
            .to_str(),
        Some("/")
    );
    run.signal(libc::SIGTERM);
    run.line();
    run.expect_exit(0);
}

#[test]
fn pid_1_keeps_stdout_open_for_other_processes() {
    for home in homes().into_iter().filter(|home| home.is_pid1()) {
        // A pipe of root's cannot be opened by the user of a namespace.
        let write = if home == Home::Pid1 {
            "echo from a child > /proc/1/fd/1"
        } else {
            "echo from a child"
        };
        // What is closed last is closed.
        let script = format!(
            "while [ -e /proc/1/fd/7 ]; do sleep 0.01; done; {write}; echo ready $$; read -r _ <&7"
        );
        let folder = Folder::new();
        let fifo = folder.fifo("fifo");
        let mut run = start(home)
            .through(&["sh", "-c", &format!("exec 7<>{fifo} \"$@\""), "sh"])
            .shell(&script);
        run.expect_line("from a child");
        run.ready();
        eventually("it keeps stdout and stderr", || {
            let own = descriptors(run.pid);
            own.len() == 3 && own[0].1 == "/dev/null" && own[1].1.starts_with("pipe:")
        });
        if home == Home::Pid1 {
            let entered = Command::new("nsenter")
                .args(["--target", &run.pid.to_string(), "--pid", "--mount", "--"])
                .args(["sh", "-c", "echo from outside > /proc/1/fd/1"])
                .status();
            assert!(entered.unwrap().success());
            run.expect_line("from outside");
        }
        std::fs::write(&fifo, "go\n").unwrap();
        run.expect_exit(0);
    }
}

#[test]
fn supervise_keeps_no_pipe_of_the_command_open() {
    let mut run =
        start(Home::Plain).shell("trap 'exit 0' TERM; exec >&-; while :; do sleep 0.01; done");
    // `rest` returns only at end of file, while both still run.
    run.expect_no_more_output();
    assert!(run.is_running());
    run.signal(libc::SIGTERM);
    run.expect_exit(0);
}

#[test]
fn closed_standard_descriptors_stay_closed() {
    for home in homes() {
        let mut run = start(home)
            .through(&["sh", "-c", "exec \"$@\" <&- >&- 2>&-", "sh"])
            .options("-vvv")
            .shell("exit 5");
        run.expect_exit(5);
    }
    let mut run = start(Home::Plain)
        .through(&["sh", "-c", "exec \"$@\" <&- >&- 2>&-", "sh"])
        .options("-vvv")
        .run(&["sleep", "1001"]);
    let command = run.command();
    let numbers = || {
        descriptors(command)
            .iter()
            .map(|(n, _)| *n)
            .collect::<Vec<_>>()
    };
    eventually("the command has what was inherited", || {
        numbers() == passed_on()
    });
    eventually("supervise has harmless ones", || {
        descriptors(run.pid)
            .iter()
            .map(|(_, to)| to.as_str())
            .eq(["/dev/null"; 3])
    });
    run.signal(libc::SIGTERM);
    run.expect_killed(libc::SIGTERM);
}

#[test]
fn without_dev_null_inherited_descriptors_are_closed() {
    if lacks_root("hiding /dev") {
        return;
    }
    let mut run = start(Home::Plain)
        .through(&[
            "unshare",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs none /dev && exec \"$@\"",
            "sh",
        ])
        .fixture(&["print-signals", "15"]);
    run.ready();
    eventually("the root directory stands in", || {
        descriptors(run.pid)
            .iter()
            .take(2)
            .map(|(_, to)| to.as_str())
            .eq(["/"; 2])
    });
    run.signal(libc::SIGTERM);
    run.line();
    run.expect_exit(0);
}

/// Runs a command that cannot be executed and returns its line.
#[track_caller]
fn refused(home: Home, command: &[&str], status: i32) -> String {
    let mut run = start(home).run(command);
    run.expect_exit(status);
    run.expect_no_more_output();
    eventually("a line on stderr", || run.errors().ends_with('\n'));
    let errors = run.errors();
    assert_eq!(errors.lines().count(), 1, "{home:?} {command:?}: {errors}");
    errors
}

#[test]
fn a_mistyped_command_gets_advice() {
    let folder = Folder::new();
    folder.write("server", "", 0o755);
    for (command, advice) in [
        (
            &["sleep 5"][..],
            "split it into the program and its arguments",
        ),
        (
            &["/bin/sleep 5"],
            "split it into the program and its arguments",
        ),
        (&["sleep 5", "x"], "install it or give its full path"),
        (
            &["server"],
            "it is in the working directory: use './server'",
        ),
        (&["nonexistent"], "install it or give its full path"),
    ] {
        let mut run = start(Home::Plain).folder(folder.path()).run(command);
        run.expect_exit(127);
        run.expect_log(advice);
    }
}

#[test]
fn a_command_that_cannot_be_executed_is_explained() {
    let folder = Folder::new();
    let sub = folder.file("directory");
    std::fs::create_dir(&sub).unwrap();
    symlink("loop", folder.file("loop")).unwrap();
    symlink("nowhere", folder.file("dangling")).unwrap();
    let mut foreign = std::fs::read(SUPERVISE).unwrap()[..4096].to_vec();
    foreign[18..20].copy_from_slice(&2_u16.to_le_bytes());
    let mut no_loader = std::fs::read("/bin/sh").unwrap();
    let loader = b"/lib64/ld-linux";
    let at = no_loader
        .windows(loader.len())
        .position(|window| window == loader);

    let mut cases = vec![
        ("nonexistent-command".to_owned(), 127, "not found in PATH"),
        (folder.file("nonexistent"), 127, "no such file"),
        (folder.file("dangling"), 127, "no such file"),
        (String::new(), 127, "command is empty"),
        (folder.write("plain", "echo", 0o644), 126, "chmod +x"),
        (sub, 126, "is a directory"),
        ("/dev/null".to_owned(), 126, "not a regular file"),
        (folder.file("loop"), 126, "symbolic links"),
        (
            folder.write("lost", "#!/nonexistent/sh\n", 0o755),
            127,
            "interpreter '/nonexistent/sh'",
        ),
        (
            folder.write("crlf", "#!/bin/sh\r\necho\r\n", 0o755),
            127,
            "CRLF",
        ),
        (
            folder.write("foreign", &foreign, 0o755),
            126,
            "machine type 2",
        ),
        (
            folder.write("damaged", "\x7fELF\x02\x01\x01\0", 0o755),
            126,
            "neither an executable",
        ),
        (
            folder.write("binary", "\0\x01\x02\n", 0o755),
            126,
            "neither an executable",
        ),
        (
            folder.write("nameless", "#!\n", 0o755),
            126,
            "names no interpreter",
        ),
    ];
    if let Some(at) = at {
        no_loader[at..at + 5].copy_from_slice(b"/none");
        cases.push((
            folder.write("no-loader", &no_loader, 0o755),
            127,
            "its loader '/none",
        ));
    } else {
        skipped("/bin/sh names no loader that this test knows");
    }
    for home in homes() {
        for (command, status, words) in &cases {
            let line = refused(home, &[command], *status);
            assert!(
                line.starts_with("supervise: ") && line.contains(words),
                "{command}: {line}"
            );
        }
    }
}

/// Becomes what follows once a child of it is ready, which on SIGTERM waits for the file
/// `$0/go` and then says "saved".
const WORKER: &str =
    "sh -c 'trap \"until [ -e $0/go ]; do sleep 0.01; done; echo saved; exit 0\" TERM
        touch $0/ready; while :; do sleep 0.01; done' $0 &
    until [ -e $0/ready ]; do sleep 0.01; done; exec \"$@\"";

#[test]
fn leftovers_are_stopped_if_the_command_cannot_be_executed() {
    let cases = homes().into_iter().flat_map(|home| {
        let options = if home.is_pid1() {
            ""
        } else {
            "--leftovers stop"
        };
        [("nonexistent", 127), ("/dev/null", 126)].map(|case| (home, options, case))
    });
    for (home, options, (command, status)) in cases {
        let folder = Folder::new();
        let mut run = start(home)
            .through(&["sh", "-c", WORKER, folder.path().to_str().unwrap()])
            .options(&format!("-t 60s -e {status} {options}"))
            .run(&[command]);
        // At once, while others are still waited for.
        run.wait_for_error("cannot run");
        folder.write("go", "", 0o644);
        run.expect_line("saved");
        run.expect_exit(status);
    }
}

#[test]
fn auto_leaves_others_running_if_the_command_cannot_be_executed() {
    let folder = Folder::new();
    let mut run = start(Home::Plain)
        .through(&["sh", "-c", WORKER, folder.path().to_str().unwrap()])
        .options("-v")
        .run(&["nonexistent"]);
    run.expect_exit(127);
    let left = run.errors();
    let pid = left.lines().find_map(|line| {
        let (before, _) = line.split_once(" (sh)")?;
        before.rsplit_once(' ')?.1.parse().ok()
    });
    let leftover = Leftover(pid.unwrap_or_else(|| panic!("nothing is left: {left}")));
    assert!(is_alive(leftover.0), "{left}");
}

#[test]
fn a_command_on_a_noexec_filesystem_is_explained() {
    if lacks_root("mounting") {
        return;
    }
    let folder = Folder::new();
    let script = format!(
        "mount -t tmpfs -o noexec none {0} && cp /bin/true {0}/true && exec {SUPERVISE} {0}/true",
        folder.path().display()
    );
    let Output { errors, code, .. } = output(&["unshare", "--mount", "sh", "-c", &script]);
    assert_eq!(code, Some(126), "{errors}");
    assert!(errors.contains("noexec"), "{errors}");
}

#[test]
fn a_command_open_for_writing_is_explained() {
    let folder = Folder::new();
    let program = folder.file("busy");
    std::fs::copy("/bin/true", &program).unwrap();
    let _open = std::fs::OpenOptions::new()
        .append(true)
        .open(&program)
        .unwrap();
    let line = refused(Home::Plain, &[&program], 126);
    assert!(line.contains("open for writing"), "{line}");
}

#[test]
fn a_script_without_an_interpreter_line_is_run_by_the_shell() {
    let folder = Folder::new();
    let script = folder.write("script", "echo \"$0 $1\"; exit 3\n", 0o755);
    let mut run = start(Home::Plain).run(&[&script, "x"]);
    run.expect_exit(3);
    assert_eq!(run.rest(), [format!("{script} x")]);
}

#[test]
fn path_is_searched_as_by_execvp() {
    let (first, second) = (Folder::new(), Folder::new());
    first.write("tool", "#!/bin/sh\nexit 1\n", 0o644);
    second.write("tool", "#!/bin/sh\nexit 4\n", 0o755);
    let both = format!("{}:{}", first.path().display(), second.path().display());
    // One that may not be executed does not hide a later one.
    let mut run = start(Home::Plain).variable("PATH", &both).run(&["tool"]);
    run.expect_exit(4);
    // Nor does one whose name is too long.
    let long = format!("/{}:{}", "a".repeat(5000), second.path().display());
    let mut run = start(Home::Plain).variable("PATH", &long).run(&["tool"]);
    run.expect_exit(4);
    // But it is what is told of if there is no other.
    let only = first.path().to_str().unwrap();
    let mut run = start(Home::Plain).variable("PATH", only).run(&["tool"]);
    run.expect_exit(126);
    run.wait_for_error("chmod +x");
    // A folder that may not be searched has nothing to tell.
    if Home::UserPid1.is_possible() && is_root() {
        let hidden = Folder::new();
        std::fs::set_permissions(hidden.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let path = format!("{}:/usr/bin:/bin", hidden.path().display());
        let wrapper = ["env", &format!("PATH={path}")];
        let mut run = start(Home::UserPid1)
            .through(&wrapper)
            .run(&["nonexistent"]);
        run.expect_exit(127);
    }
    // An empty entry is the working directory, in which the command starts.
    let mut run = start(Home::Plain)
        .variable("PATH", "")
        .folder(second.path())
        .run(&["tool"]);
    run.expect_exit(4);
    // Without PATH: /bin and /usr/bin.
    let mut run = start(Home::Plain)
        .through(&["env", "-u", "PATH"])
        .run(&["sh", "-c", "exit 6"]);
    run.expect_exit(6);
}

#[test]
fn a_failing_fork_is_explained() {
    if lacks_root("a limit on processes of another user") {
        return;
    }
    // A user of whom nothing else runs.
    let Output { errors, code, .. } = output(&[
        "setpriv",
        "--reuid=61234",
        "--regid=61234",
        "--clear-groups",
        "prlimit",
        "--nproc=1",
        SUPERVISE,
        "--",
        "sleep",
        "1002",
    ]);
    assert_eq!(code, Some(125), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(
        errors.contains("fork") && errors.contains("raise the process limit"),
        "{errors}"
    );
}

fn has_strace() -> bool {
    let found = Command::new("strace")
        .arg("-V")
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        skipped("strace is not installed");
    }
    found
}

#[test]
fn a_signal_before_exec_is_not_lost() {
    if !has_strace() {
        return;
    }
    for options in ["", "-g"] {
        for signals in [&[libc::SIGTERM][..], &[libc::SIGTSTP, libc::SIGTERM]] {
            // execve of the command is held up until the signals are there:
            // the first one is that of supervise itself.
            let mut run = start(Home::Plain)
                .through(&[
                    "strace",
                    "-f",
                    "-qq",
                    "-o",
                    "/dev/null",
                    "-e",
                    "trace=execve",
                    "-e",
                    "inject=execve:delay_enter=300000:when=1+",
                ])
                .options(options)
                .run(&["/bin/sleep", "1000"]);
            // strace is the child of the test; supervise is below it.
            let mut below = Vec::new();
            eventually("supervise has forked", || {
                below = descendants_of(run.pid);
                below.len() == 2
            });
            for signal in signals {
                send(below[0], *signal);
            }
            run.expect_killed(libc::SIGTERM);
        }
    }
}

#[test]
fn the_command_gets_sigterm_when_supervise_is_killed() {
    let mut run = start(Home::Plain).fixture(&["print-signals", "15"]);
    run.ready();
    run.signal(libc::SIGKILL);
    run.expect_signal(15);
    run.expect_killed(libc::SIGKILL);
}

#[test]
fn the_command_exits_if_supervise_is_killed_before_prctl() {
    if !has_strace() {
        return;
    }
    // Asking (prctl) is held up until supervise is gone.
    let mut run = start(Home::Plain)
        .through(&[
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=prctl",
        ])
        .through(&["-e", "inject=prctl:delay_enter=1000000:when=1+"])
        .shell("echo executed");
    let mut below = Vec::new();
    eventually("supervise has forked", || {
        below = descendants_of(run.pid);
        below.len() == 2
    });
    send(below[0], libc::SIGKILL);
    // To the end: the child has ended as well.
    run.expect_no_more_output();
    run.wait();
}

#[test]
fn the_parent_death_signal_reaches_supervise() {
    let fixture = fixture();
    let script = format!("{SUPERVISE} -p TERM -t infinity -- {fixture} print-signals 15 & wait");
    let mut run = start(Home::Plain).shell(&script);
    run.ready();
    // The shell is the parent of the inner supervise.
    send(run.command(), libc::SIGKILL);
    run.expect_signal(15);
    // The outer one leaves what the shell left; it ends by itself.
    run.expect_killed(libc::SIGKILL);
}

/// Every signal but SIGKILL and SIGSTOP, as /proc/PID/status shows a set.
const ALL_BLOCKED: &str = "fffffffffffbfeff";

/// How many starts each way; the default keeps the suite short.
fn rounds() -> u32 {
    std::env::var("TEST_SUPERVISE_STARTS").map_or(50, |text| text.parse().unwrap())
}

#[test]
fn a_stop_request_in_the_first_moments_is_not_lost() {
    for home in homes() {
        for options in ["", "-g"] {
            for round in 0..rounds() {
                let mut run = start(home).options(options).run(&["sleep", "1003"]);
                if home.is_pid1() {
                    // Before it has blocked signals the kernel drops what it
                    // is sent: that is the start from here.
                    eventually("supervise has taken over", || {
                        let blocked = status_field(run.pid, "SigBlk");
                        // While it waits, the kernel shows none as blocked.
                        blocked.is_some_and(|set| set == ALL_BLOCKED)
                            || !children_of(run.pid).is_empty()
                    });
                }
                // From 0 to 3 ms after the start.
                let after = Duration::from_micros(u64::from(round * 37 % 3000));
                let begun = Instant::now();
                while begun.elapsed() < after {
                    std::hint::spin_loop();
                }
                run.signal(libc::SIGTERM);
                let ended = run.wait();
                let expected = Ended::killed(home, libc::SIGTERM);
                assert_eq!(
                    ended, expected,
                    "{home:?} {options:?} after {after:?}, round {round}"
                );
            }
        }
    }
}
