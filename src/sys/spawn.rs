//! Starting the command: fork(2), what the child does before it executes, and
//! how the parent hears that it could not.

use std::ffi::{CString, OsStr};
use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering;

use nix::unistd::{ForkResult, Pid, fork, getpid, setpgid, tcsetpgrp};

use super::exec::{self, ExecError};
use super::shared_page::SharedPage;
use super::signals::{self, Inherited};
use super::{environment, process, tty};
use crate::signal::Signal;

/// What the child is to be besides a copy of its parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    /// Our own process id, by which the child knows its parent.
    pub(crate) own_pid: i32,
    /// The signal state that it gets.
    pub(crate) inherited: Inherited,
    /// The signal that it gets if `supervise` is killed.
    pub(crate) parent_death: Option<Signal>,
    /// The process group that it is to be in.
    pub(crate) group: ProcessGroup,
    /// How its environment differs from ours.
    pub(crate) variables: &'a [Variable<'a>],
}

/// The process group that the command runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessGroup {
    /// That of `supervise`.
    Inherited,
    /// One of its own.
    New,
    /// One of its own, made the foreground process group of the terminal before it executes.
    NewForeground,
}

/// A change to the command's environment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Variable<'a> {
    /// The variable gets this value.
    Set(&'a str, &'a OsStr),
    /// The variable gets this value where it is not set.
    Default(&'a str, &'a OsStr),
    /// The variable is removed.
    Remove(&'a str),
}

/// A command that was started.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its process id, and that of its process group if that is its own.
    pub(crate) pid: i32,
    exec_status: ExecStatus,
}

impl Child {
    /// Why the command was not executed, once the child has ended; `None` if
    /// it was.
    pub(crate) fn exec_error(&self) -> Option<ExecError> {
        self.exec_status.read()
    }
}

/// Starts the command.
///
/// A plain fork and not vfork(2): with a child that hangs before it executes
/// (a file system that does not answer, SIGSTOP), a vfork parent sits in
/// uninterruptible sleep and serves no signal.
///
/// # Errors
/// EAGAIN: a limit on processes is reached; ENOMEM; see fork(2), mmap(2).
pub(crate) fn spawn(arguments: &[CString], setup: Setup<'_>) -> nix::Result<Child> {
    let exec_status = ExecStatus::new()?;
    // SAFETY: this process has one thread, so that the child may do whatever
    // the parent may.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            // In both: whoever comes first, the group is there when the first
            // signal is forwarded to it. EACCES: the child did, and executes;
            // ESRCH cannot be: nobody but us reaps it.
            if setup.group != ProcessGroup::Inherited {
                let _ = setpgid(child, child);
            }
            Ok(Child {
                pid: child.as_raw(),
                exec_status,
            })
        }
        ForkResult::Child => {
            run(arguments, setup, &exec_status);
            process::exit(crate::ending::FAILED)
        }
    }
}

/// The child: becomes the command, or writes why not.
fn run(arguments: &[CString], setup: Setup<'_>, exec_status: &ExecStatus) {
    if setup.group != ProcessGroup::Inherited {
        // Cannot fail: it is no session leader and the group is its own.
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    }
    if setup.group == ProcessGroup::NewForeground
        && let Some((device, _)) = tty::controlling_terminal()
    {
        // SIGTTOU is still blocked, so that this works from the new group,
        // which is not in the foreground yet. If the terminal has just gone,
        // there is no foreground either.
        let _ = tcsetpgrp(device, getpid());
    }
    if let Some(signal) = setup.parent_death {
        // If it cannot be had, the command lives on when we are killed, as it
        // would under any other init.
        let _ = signals::set_parent_death_signal(signal, setup.own_pid);
    }
    rewrite_pid_variables(setup.own_pid);
    for variable in setup.variables {
        match *variable {
            Variable::Default(name, _) if environment::value_of(name).is_some() => {}
            Variable::Set(name, value) | Variable::Default(name, value) => set(name, value),
            Variable::Remove(name) => unset(name),
        }
    }
    signals::restore(&setup.inherited);
    let error = exec::exec(arguments);
    signals::block_all();
    exec_status.write(&error);
}

/// Where the environment says that something is for `supervise` by its pid, says
/// that it is for the command: sockets passed by the service manager
/// (`sd_listen_fds(3)`) and its watchdog (`sd_watchdog_enabled(3)`). Their readers
/// ignore what is not for them.
fn rewrite_pid_variables(parent: i32) {
    for variable in ["LISTEN_PID", "WATCHDOG_PID"] {
        let named = environment::value_of(variable).and_then(|pid| pid.to_str()?.parse().ok());
        if named == Some(parent) {
            set(variable, OsStr::new(&process::own_pid().to_string()));
            if variable == "LISTEN_PID" {
                // The same in another form, which readers may do without.
                unset("LISTEN_PIDFDID");
            }
        }
    }
}

fn set(variable: &str, value: &OsStr) {
    // SAFETY: the child has one thread, so that nobody reads the environment
    // meanwhile.
    unsafe { std::env::set_var(variable, value) };
}

fn unset(variable: &str) {
    // SAFETY: as in `set`.
    unsafe { std::env::remove_var(variable) };
}

/// Why the command could not be executed: written by the child, read by the parent once
/// it has reaped the child. The first byte is the exit status, 0 if there is nothing to
/// read; the text follows, up to a null byte.
#[derive(Debug)]
struct ExecStatus(ManuallyDrop<SharedPage>);

impl ExecStatus {
    /// The size of a page, in bytes: a longer text is cut.
    const SIZE: usize = 4096;

    fn new() -> nix::Result<Self> {
        // Unmapping it before the exit would be a system call for nothing.
        SharedPage::new(Self::SIZE).map(|page| Self(ManuallyDrop::new(page)))
    }

    fn write(&self, error: &ExecError) {
        let Some((status, text)) = self.0.split_first() else {
            return;
        };
        // No name has a null byte, and the last byte stays 0.
        for (to, byte) in text.iter().zip(error.text.bytes()).take(Self::SIZE - 2) {
            to.store(byte, Ordering::Relaxed);
        }
        status.store(error.status, Ordering::Release);
    }

    fn read(&self) -> Option<ExecError> {
        let (status, text) = self.0.split_first()?;
        let status = status.load(Ordering::Acquire);
        let text = text.iter().map(|byte| byte.load(Ordering::Relaxed));
        let text: Vec<u8> = text.take_while(|byte| *byte != 0).collect();
        (status != 0).then(|| ExecError {
            status,
            text: String::from_utf8_lossy(&text).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_error_is_read_as_it_was_written() {
        let status = ExecStatus::new().unwrap();
        assert_eq!(status.read(), None);
        for (length, kept) in [(4000, 4000), (0, 0), (4094, 4094), (5000, 4094)] {
            let status = ExecStatus::new().unwrap();
            let error = |length| ExecError {
                status: 127,
                text: "x".repeat(length),
            };
            status.write(&error(length));
            assert_eq!(status.read(), Some(error(kept)), "{length}");
        }
    }
}
