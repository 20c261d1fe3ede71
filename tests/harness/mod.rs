//! Runs `supervise` in its homes: as PID 1 of a namespace and not, as root and as a normal
//! user. A test waits for facts, with a deadline, and kills on exit all that it has started.
//! Tests run in threads of one process: none may change what belongs to the process (folder,
//! environment, signals) or open a descriptor that is not close-on-exec.
#![allow(
    dead_code,
    unused_imports,
    reason = "each crate of tests uses its own part of this"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "test code"
)]

mod cgroup;
mod fixture;
mod folder;
mod fuse;
mod home;
pub mod manager;
mod process;
pub mod pty;
pub mod report;
mod run;
pub mod services;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub use cgroup::*;
pub use fixture::*;
pub use folder::*;
pub use fuse::*;
pub use home::*;
pub use process::*;
pub use run::*;

/// How long a fact may take on a busy machine. Only a test that fails waits this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const SUPERVISE: &str = env!("CARGO_BIN_EXE_supervise");

/// A shell that does not exit by itself.
pub const LOOP: &str = "while :; do sleep 0.01; done";

/// A shell that is ready and exits on SIGTERM.
pub const EXITS: &str = "trap 'exit 0' TERM; echo ready 0; while :; do sleep 0.01; done";

/// Prints that something is not tested here, past the capture of the test runner.
pub fn skipped(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

/// Whether this takes root, and the tests are not; if so, prints it.
pub fn lacks_root(what: &str) -> bool {
    if !is_root() {
        skipped(&format!("{what} takes root"));
    }
    !is_root()
}

/// Whether a program is not installed; if so, prints it.
pub fn lacks(program: &str) -> bool {
    let found = is_installed(program);
    if !found {
        skipped(&format!("{program} is not installed"));
    }
    !found
}

pub fn is_installed(program: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-c", "command -v \"$1\"", "sh", program]);
    shell.stdout(Stdio::null()).status().unwrap().success()
}

pub fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|word| word.parse::<u32>().ok());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (major, minor)
}

/// Whether the fixture cannot change what system calls do here; if so, prints it.
pub fn lacks_tracer() -> bool {
    let knows = cfg!(target_arch = "x86_64");
    if !knows {
        skipped("the fixture changes system calls of x86-64 only");
    }
    !knows
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Polls a condition until it holds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came about: {what}");
        pause();
    }
}

/// The time between two looks at a condition.
fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}
