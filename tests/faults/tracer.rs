//! strace(1), attached to a `supervise` that is running.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::harness::Folder;

/// A system call that fails, from one of its occurrences to another. The first is 1.
pub struct Fault {
    pub call: String,
    pub errno: &'static str,
    pub first: usize,
    pub last: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.call, self.errno, self.occurrences())
    }
}

impl Fault {
    fn occurrences(&self) -> String {
        let Self { first, last, .. } = self;
        if first == last {
            return first.to_string();
        }
        format!("{first}..{last}")
    }
}

/// A strace that writes down each system call of one process and has one of them fail. It
/// does not follow the children.
pub struct Tracer {
    strace: Child,
    folder: Folder,
}

impl Tracer {
    /// Attaches to a process. From then on its system calls count.
    pub fn attach(pid: i32, fault: Option<&Fault>) -> Result<Self, String> {
        let folder = Folder::new();
        let mut command = Command::new("strace");
        command.args(["-p", &pid.to_string(), "-o", &folder.file("log")]);
        if let Some(fault) = fault {
            let Fault { call, errno, .. } = fault;
            let when = fault.occurrences();
            command.arg("-e");
            command.arg(format!("inject={call}:error={errno}:when={when}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut strace = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut says = BufReader::new(strace.stderr.take().unwrap());
        let mut line = String::new();
        says.read_line(&mut line).unwrap();
        let tracer = Self { strace, folder };
        if line.contains("attached") {
            Ok(tracer)
        } else {
            Err(format!("cannot attach: {line}"))
        }
    }

    /// Waits until the process has exited, and returns what was written down.
    pub fn log(mut self) -> String {
        self.strace.wait().unwrap();
        self.folder.read("log")
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}
