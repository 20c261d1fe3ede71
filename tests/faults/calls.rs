//! Which system calls a stop makes, and how each can fail.

use std::collections::BTreeMap;

use crate::tracer::Fault;

/// How many occurrences of a system call fail, one in each case: nearly all.
const OCCURRENCES: usize = 25;

/// The calls that read /proc. They also fail so many times in a row, as they do while there
/// is no memory.
const READS: [&str; 3] = ["openat", "read", "getdents64"];
const IN_A_ROW: usize = 10;

/// How often each system call was made.
pub type Calls = BTreeMap<String, usize>;

/// How a system call can fail once. Not ENOENT and ESRCH: to deny that a process exists is
/// no fault, but a wrong answer.
fn errors(call: &str) -> &'static [&'static str] {
    match call {
        "open" | "openat" => &["EMFILE", "ENFILE", "ENOMEM", "EACCES", "EINTR", "EIO"],
        "read" | "pread64" | "getdents64" => &["EIO", "EINTR", "ENOMEM"],
        "fstat" | "newfstatat" | "statx" | "readlink" | "readlinkat" => {
            &["EACCES", "EIO", "ENOMEM"]
        }
        "write" | "writev" | "pwritev2" => &["EAGAIN", "EINTR", "EIO", "ENOSPC", "EPIPE"],
        "sendto" | "sendmsg" => &["EAGAIN", "EINTR", "ENOBUFS", "ENOMEM"],
        "close" | "ftruncate" | "lseek" => &["EINTR", "EIO"],
        "fcntl" | "dup3" => &["EINTR", "EMFILE"],
        "prlimit64" | "capget" => &["EPERM"],
        "kill" | "rt_sigqueueinfo" | "setresuid" => &["EAGAIN", "EPERM"],
        "pidfd_open" => &["EMFILE", "ENFILE", "ENOMEM", "ENOSYS", "EPERM"],
        "pidfd_send_signal" => &["EAGAIN", "ENOSYS", "EPERM"],
        "wait4" | "waitid" | "rt_sigtimedwait" => &["EAGAIN", "EINTR", "ENOMEM"],
        "ppoll" | "poll" => &["EINTR", "ENOMEM"],
        "fork" | "vfork" | "clone" | "clone3" => &["EAGAIN", "ENOMEM"],
        "brk" | "mmap" | "munmap" | "mremap" | "madvise" => &["ENOMEM"],
        "exit" | "exit_group" | "getpid" | "getppid" | "gettid" | "getpgrp" | "getuid"
        | "geteuid" | "restart_syscall" => &[],
        _ => &["EINTR", "ENOMEM", "EPERM"],
    }
}

/// Counts the system calls in a log of strace.
pub fn count(log: &str) -> Calls {
    let mut calls = Calls::new();
    for line in log.lines() {
        // A signal, the exit, or the second half of a call.
        let is_call = line.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if is_call && let Some((call, _)) = line.split_once('(') {
            *calls.entry(call.to_owned()).or_default() += 1;
        }
    }
    calls
}

/// All faults of these calls.
pub fn faults(calls: &Calls) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (call, count) in calls {
        let mut add = |errno, first, last| {
            let call = call.clone();
            faults.push(Fault {
                call,
                errno,
                first,
                last,
            });
        };
        for first in 1..=OCCURRENCES.min(*count) {
            for errno in errors(call) {
                add(errno, first, first);
            }
            if READS.contains(&call.as_str()) {
                add("ENOMEM", first, first + IN_A_ROW - 1);
            }
        }
    }
    faults
}

/// The calls and how many there are of each.
pub fn show(calls: &Calls) -> String {
    let each = calls.iter().map(|(call, count)| format!("{call} {count}"));
    each.collect::<Vec<_>>().join(", ")
}
