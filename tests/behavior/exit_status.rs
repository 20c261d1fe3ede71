//! The exit status is the command's: its code, or its death by a signal.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::harness::*;

#[test]
fn every_exit_code_is_passed_on() {
    for home in homes() {
        for code in 0..=255 {
            let mut run = start(home).shell(&format!("exit {code}"));
            run.expect_exit(code);
        }
    }
}

/// Signals whose default action is not to end a process (signal(7)).
const HARMLESS: [i32; 9] = [17, 18, 19, 20, 21, 22, 23, 28, 0];

#[test]
fn death_by_a_signal_is_passed_on() {
    for home in homes() {
        for signal in (1..=64).filter(|signal| !HARMLESS.contains(signal)) {
            let mut run = start(home).fixture(&["die", &signal.to_string()]);
            run.expect_killed(signal);
            let mut run = start(home)
                .options("--no-reraise")
                .fixture(&["die", &signal.to_string()]);
            run.expect_exit(128 + signal);
        }
    }
}

#[test]
fn codes_are_remapped() {
    for home in homes() {
        for (options, script, code) in [
            ("-e 3", "exit 3", 0),
            ("-e 3 -e 4", "exit 4", 0),
            ("-e 3", "exit 5", 5),
            ("-e 143", "kill -TERM $$", 0),
            ("-e 143", "exit 143", 0),
            ("--no-reraise -e 143", "kill -TERM $$", 0),
        ] {
            let mut run = start(home).options(options).shell(script);
            run.expect_exit(code);
        }
    }
    let mut run = start(Home::Plain)
        .options("-e 127")
        .run(&["nonexistent-command"]);
    run.expect_exit(127);
}

#[test]
fn one_inside_another_makes_no_difference() {
    for home in homes() {
        let mut run = start(home).run(&[SUPERVISE, "--", SUPERVISE, "--", "sh", "-c", "exit 6"]);
        run.expect_exit(6);
        let mut run = start(home).run(&[
            SUPERVISE,
            "--",
            SUPERVISE,
            "--",
            "sh",
            "-c",
            "kill -TERM $$",
        ]);
        run.expect_killed(libc::SIGTERM);
        let mut run = start(home).run(&[SUPERVISE, "--", &fixture(), "print-signals", "15"]);
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_signal(15);
        run.expect_exit(0);
    }
}

#[test]
fn the_core_dump_is_the_commands() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let core = || {
        std::fs::metadata("/core")
            .and_then(|meta| meta.modified())
            .ok()
    };
    let before = core();
    let folder = Folder::new();
    let script = format!(
        "ulimit -c unlimited && exec {SUPERVISE} -v -- {} die 6",
        fixture()
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    assert!(!output.status.core_dumped(), "supervise itself dumps none");
    if pattern.trim() == "core" {
        let cores = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(cores, 1, "one core, in the command's working directory");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            errors.contains("killed by SIGABRT (core dumped)"),
            "{errors}"
        );
        assert_eq!(core(), before, "supervise's working directory is /");
    } else {
        skipped(&format!("where the core went: core_pattern is {pattern}"));
    }
}
