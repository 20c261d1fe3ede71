//! What /proc shows of a process, and signals to it.

use std::ops::Range;
use std::process::Command;

use super::{eventually, fixture};

/// The children of a process, of all its threads.
pub fn children_of(pid: i32) -> Vec<i32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect()
}

pub fn descendants_of(pid: i32) -> Vec<i32> {
    let mut found = children_of(pid);
    let mut next = 0;
    while next < found.len() {
        let more = children_of(found[next]);
        found.extend(more);
        next += 1;
    }
    found
}

/// A line of /proc/PID/status.
pub fn status_field(pid: i32, field: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Whether a process is there and not a zombie.
pub fn is_alive(pid: i32) -> bool {
    status_field(pid, "State").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// A process that a test leaves running on purpose, killed with the value.
pub struct Leftover(pub i32);

impl Drop for Leftover {
    fn drop(&mut self) {
        raw_kill(self.0, libc::SIGKILL);
    }
}

#[allow(unsafe_code, reason = "no library sends a realtime signal")]
pub(super) fn raw_kill(pid: i32, signal: i32) -> i32 {
    // SAFETY: takes plain integers.
    unsafe { libc::kill(pid, signal) }
}

#[track_caller]
pub fn send(pid: i32, signal: i32) {
    assert!(pid > 1);
    let result = raw_kill(pid, signal);
    assert_eq!(result, 0, "kill {pid}: {}", std::io::Error::last_os_error());
}

/// Sends a signal with each of these values, in order.
#[track_caller]
pub fn queue(pid: i32, signal: i32, values: Range<i32>) {
    let numbers = [pid, signal, values.start, values.end].map(|number| number.to_string());
    let status = Command::new(fixture()).arg("queue").args(numbers).status();
    assert!(status.unwrap().success());
}

/// Waits until a process is in the state that /proc shows by this letter.
#[track_caller]
pub fn wait_for_state(pid: i32, letter: char) {
    eventually(&format!("pid {pid} is in state {letter}"), || {
        status_field(pid, "State").is_some_and(|state| state.starts_with(letter))
    });
}

/// Waits until a process executes the program of this name.
#[track_caller]
pub fn wait_for_name(pid: i32, name: &str) {
    eventually(&format!("pid {pid} is {name}"), || {
        status_field(pid, "Name").is_some_and(|now| now == name)
    });
}

/// A command in the namespaces of another process.
pub fn in_namespaces_of(pid: i32, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command
        .args(["--target", &pid.to_string(), "--pid", "--mount", "--"])
        .args(words);
    command
}
