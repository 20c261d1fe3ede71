//! Docker containers that may do less than others.

use crate::docker::docker;
use crate::images::Image;
use crate::machine;
use crate::need::Need;
use crate::runner::{Test, tests};
use crate::stops;

pub fn tests() -> Vec<Test> {
    let mut tests = tests![&[Need::Docker];
        a_command_of_another_user_without_cap_kill,
        another_user,
        a_root_that_is_read_only,
        no_capabilities_and_no_new_privileges,
        no_room_for_a_second_process,
        room_for_few_processes,
        system_calls_that_a_filter_denies,
        system_calls_that_a_filter_hides,
    ];
    tests.extend(tests![&[Need::Docker, Need::Debian];
        the_filter_is_what_it_is_called,
    ]);
    tests
}

/// What an image needs whose entry point starts as root and becomes another user.
fn a_command_of_another_user_without_cap_kill() {
    let options = [
        "--cap-drop",
        "ALL",
        "--cap-add",
        "SETUID",
        "--cap-add",
        "SETGID",
        "-e",
        "SUPERVISE_GRACE=28",
    ];
    let command = ["/fixture", "as-user", "61001", "sh", "-c", stops::WORKER];
    let container = docker().start(Image::Shell, &options, &command);
    container.wait_for_line("ready");
    container.stop(stops::LIMIT);
    assert_eq!(container.exit_code(), 0, "{}", container.logs());
    assert_eq!(container.folder.read("worker"), "saved\n");
    container.assert_nobody_was_killed();
}

fn another_user() {
    stops::workers_of_a_shell_save_their_state(docker(), &["--user", "1000"]);
}

fn a_root_that_is_read_only() {
    stops::workers_of_a_shell_save_their_state(docker(), &["--read-only"]);
}

fn no_capabilities_and_no_new_privileges() {
    let options = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
    stops::workers_of_a_shell_save_their_state(docker(), &options);
}

fn no_room_for_a_second_process() {
    let (code, said) = docker().foreground(Image::Shell, &["--pids-limit", "1"], &["true"]);
    assert_eq!(code, Some(125), "{said}");
    // Docker has a 125 of its own.
    assert!(
        said.starts_with("supervise: cannot start the command: fork: "),
        "{said}"
    );
    assert!(said.contains("--pids-limit"), "{said}");
}

/// `supervise`, the shell, two workers, and what each of these waits for before
/// and after it is asked.
fn room_for_few_processes() {
    stops::workers_of_a_shell_save_their_state(docker(), &["--pids-limit", "8"]);
}

fn system_calls_that_a_filter_denies() {
    stops::workers_of_a_shell_save_their_state(docker(), &["--security-opt", &filter(libc::EPERM)]);
}

fn system_calls_that_a_filter_hides() {
    let option = filter(libc::ENOSYS);
    stops::workers_of_a_shell_save_their_state(docker(), &["--security-opt", &option]);
}

/// A filter under which newer system calls fail with this error, as a value for
/// `--security-opt`.
fn filter(error: i32) -> String {
    let path = machine::folder().join(format!("seccomp-{error}.json"));
    let profile = format!(
        r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{
            "names": ["pidfd_open", "pidfd_send_signal", "close_range", "clone3"],
            "action": "SCMP_ACT_ERRNO", "errnoRet": {error}
        }}]}}"#
    );
    std::fs::write(&path, profile).unwrap();
    format!("seccomp={}", path.display())
}

/// If it were not, the two tests of it would show nothing.
fn the_filter_is_what_it_is_called() {
    let script = "import os
try:
    os.pidfd_open(os.getpid())
    print('allowed')
except OSError as error:
    print('error', error.errno)";
    let python = ["python3", "-c", script];
    for error in [libc::EPERM, libc::ENOSYS] {
        let options = ["--security-opt", &filter(error)];
        let (_, said) = docker().foreground(Image::Debian, &options, &python);
        assert_eq!(said.trim(), format!("error {error}"));
    }
    let (_, said) = docker().foreground(Image::Debian, &[], &python);
    assert_eq!(said.trim(), "allowed");
}
