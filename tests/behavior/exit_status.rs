//! `supervise` exits with the code of the command, or kills itself with the same signal.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::harness::*;

#[test]
fn every_exit_code_becomes_the_exit_status() {
    for home in homes() {
        for code in 0..=255 {
            start(home).shell(&format!("exit {code}")).expect_exit(code);
        }
    }
}

/// Signals whose default action does not terminate a process (signal(7)).
const HARMLESS: [i32; 9] = [17, 18, 19, 20, 21, 22, 23, 28, 0];

#[test]
fn a_fatal_signal_is_re_raised() {
    for home in homes() {
        for signal in (1..=64).filter(|signal| !HARMLESS.contains(signal)) {
            let command = ["die", &signal.to_string()];
            start(home).fixture(&command).expect_killed(signal);
            let mut run = start(home).options("--no-reraise").fixture(&command);
            run.expect_exit(128 + signal);
        }
    }
}

#[test]
fn exit_codes_are_remapped() {
    for home in homes() {
        for (options, script, code) in [
            ("-e 3", "exit 3", 0),
            ("-e 3 -e 4", "exit 4", 0),
            ("-e 3", "exit 5", 5),
            ("-e 143", "kill -TERM $$", 0),
            ("-e 143", "exit 143", 0),
            ("--no-reraise -e 143", "kill -TERM $$", 0),
        ] {
            start(home).options(options).shell(script).expect_exit(code);
        }
    }
    // Not what `supervise` itself says.
    let mut run = start(Home::Plain)
        .options("-e 127")
        .run(&["nonexistent-command"]);
    run.expect_exit(127);
}

#[test]
fn a_nested_supervise_changes_nothing() {
    for home in homes() {
        let nested = |script: &str| {
            let words = [SUPERVISE, "--", SUPERVISE, "--", "sh", "-c", script];
            start(home).run(&words)
        };
        nested("exit 6").expect_exit(6);
        nested("kill -TERM $$").expect_killed(libc::SIGTERM);
        let mut run = start(home).run(&[SUPERVISE, "--", &fixture(), "print-signals", "15"]);
        run.ready();
        run.signal(libc::SIGTERM);
        run.expect_signal(15);
        run.expect_exit(0);
    }
}

#[test]
fn only_the_command_dumps_core() {
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
    assert!(!output.status.core_dumped(), "supervise does not dump core");
    if pattern.trim() == "core" {
        let cores = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(
            cores, 1,
            "one core, in the working directory of the command"
        );
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            errors.contains("killed by SIGABRT (core dumped)"),
            "{errors}"
        );
        assert_eq!(core(), before, "the working directory of supervise is /");
    } else {
        skipped(&format!(
            "the location of the core: core_pattern is {pattern}"
        ));
    }
}
