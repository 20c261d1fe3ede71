//! The stops that every engine has to get right.

use std::time::Duration;

use crate::engine::Engine;
use crate::images::Image;

/// Writes a last line when it is asked to stop, which takes a moment.
pub const WORKER: &str = "
    trap 'sleep 1; echo saved >>/log/worker; exit 0' TERM
    echo ready
    while :; do sleep 1 & wait $!; done
";

/// Ignores that it is asked to stop.
const STUBBORN: &str = "trap '' TERM; echo ready; exec sleep 1000";

/// A shell with two workers, to which it passes nothing on.
const SHELL_WITH_WORKERS: &str = "
    worker() {
        trap 'sleep 1; echo \"$1: saved\" >>/log/workers; exit 0' TERM
        echo \"$1 is ready\"
        while :; do sleep 1 & wait $!; done
    }
    worker first &
    worker second &
    wait
";

/// More than any stop that is not cut short takes.
pub const LIMIT: u32 = 30;

/// So that a grace period is long over before the engine's limit.
const WELL_BEFORE: Duration = Duration::from_secs(20);

pub fn a_worker_saves_its_state(engine: &'static Engine) {
    let container = engine.start(
        Image::Shell,
        &["-e", "SUPERVISE_GRACE=28"],
        &["sh", "-c", WORKER],
    );
    container.wait_for_line("ready");
    container.stop(LIMIT);
    assert_eq!(container.exit_code(), 0);
    assert_eq!(container.folder.read("worker"), "saved\n");
    container.assert_nobody_was_killed();
}

/// `supervise` kills it at the end of its own grace period, long before the
/// engine would, and says so.
pub fn a_stubborn_one_is_killed_and_named(engine: &'static Engine) {
    let container = engine.start(
        Image::Shell,
        &["-e", "SUPERVISE_GRACE=1"],
        &["sh", "-c", STUBBORN],
    );
    container.wait_for_line("ready");
    let after = container.stop(LIMIT);
    assert_eq!(container.exit_code(), 137);
    let logs = container.logs();
    for words in [
        "supervise: grace period 1s expired: sending SIGKILL",
        "(sleep",
    ] {
        assert!(logs.contains(words), "{words:?} is not in {logs}");
    }
    assert!(
        Duration::from_secs(1) <= after && after < WELL_BEFORE,
        "{after:?}"
    );
}

/// The shell itself dies of the signal: 128 + 15.
pub fn workers_of_a_shell_save_their_state(engine: &'static Engine, options: &[&str]) {
    let options = [options, &["-e", "SUPERVISE_GRACE=28"]].concat();
    let container = engine.start(Image::Shell, &options, &["sh", "-c", SHELL_WITH_WORKERS]);
    container.wait_for_line("first is ready");
    container.wait_for_line("second is ready");
    container.stop(LIMIT);
    assert_eq!(container.exit_code(), 143, "{}", container.logs());
    let workers = container.folder.read("workers");
    let mut lines: Vec<&str> = workers.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["first: saved", "second: saved"]);
    container.assert_nobody_was_killed();
}

/// The same with the example that is there to be tried.
pub fn the_example_of_a_shell_with_workers(engine: &'static Engine) {
    let container = engine.start(
        Image::Shell,
        &["-e", "SUPERVISE_GRACE=28"],
        &["/examples/shell_workers.sh", "/log/requests"],
    );
    container.wait_for_line("ready ");
    container.stop(LIMIT);
    assert_eq!(container.exit_code(), 0);
    let log = container.folder.read("requests");
    let mut last: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("last line"))
        .collect();
    assert_eq!(last.first(), Some(&"shell: last line"), "{log}");
    last.sort_unstable();
    let expected = [
        "first: last line, signaled 1 time(s), parent 1",
        "second: last line, signaled 1 time(s), parent 1",
        "shell: last line",
    ];
    assert_eq!(last, expected);
    container.assert_nobody_was_killed();
}
