//! Starts the command: fork(2), what the child does before execve(2), and why that failed.

use std::ffi::{CString, OsStr};
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid, fork, getpid, setpgid, tcsetpgrp};

use super::exec::{self, ExecError};
use super::service::{self, ServiceSetup};
use super::shared_page::SharedPage;
use super::signals::{self, Inherited};
use super::{environment, process, tty};
use crate::signal::Signal;

/// How the child differs from a copy of its parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    /// Our own process id: the child compares its parent with it.
    pub(crate) own_pid: i32,
    /// The signal state to restore.
    pub(crate) inherited: Inherited,
    /// The signal that the kernel sends to it when `supervise` exits.
    pub(crate) parent_death: Option<Signal>,
    /// Its process group.
    pub(crate) group: ProcessGroup,
    /// Changes to its environment, made in this order.
    pub(crate) variables: &'a [Variable<'a>],
    /// What else a service changes.
    pub(crate) service: Option<&'a ServiceSetup<'a>>,
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
    /// The variable gets this value if it is not set.
    Default(&'a str, &'a OsStr),
    /// The variable is removed.
    Remove(&'a str),
}

/// A command that was started.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its process id, and the id of its process group if that is a new one.
    pub(crate) pid: i32,
    /// Of a service only: at its end (read(2) returns 0) once the child has executed or
    /// exited. No call on it blocks.
    pub(crate) executed: Option<OwnedFd>,
    exec_status: ExecStatus,
}

impl Child {
    /// Why the command was not executed, `None` if it was. To be called once the child is
    /// reaped.
    pub(crate) fn exec_error(&self) -> Option<ExecError> {
        self.exec_status.read()
    }

    /// The same, and gives back the memory: for a process that starts many.
    pub(crate) fn into_exec_error(self) -> Option<ExecError> {
        let error = self.exec_error();
        drop(ManuallyDrop::into_inner(self.exec_status.0));
        error
    }
}

/// Starts the command.
///
/// By fork(2), not vfork(2): while a child hangs before it executes (in a filesystem that
/// does not respond, by SIGSTOP), a vfork parent sleeps uninterruptibly and handles no
/// signal.
///
/// # Errors
/// The name of the system call, and EAGAIN: a limit on processes is reached; ENOMEM; of a
/// service EMFILE: no descriptor left; see fork(2), mmap(2), pipe(2).
pub(crate) fn spawn(
    arguments: &[CString],
    setup: Setup<'_>,
) -> Result<Child, (&'static str, Errno)> {
    let exec_status = ExecStatus::new().map_err(|errno| ("mmap", errno))?;
    let pipe = setup.service.map(|_| service::exec_pipe()).transpose();
    let pipe = pipe.map_err(|errno| ("pipe2", errno))?;
    // SAFETY: this process has one thread, so that the child may do all that the parent
    // may.
    match unsafe { fork() }.map_err(|errno| ("fork", errno))? {
        ForkResult::Parent { child } => {
            // In both processes, so that the group exists before the first signal is
            // forwarded to it. EACCES: the child was first, and executes already. ESRCH
            // cannot be, because the child is not reaped.
            if setup.group != ProcessGroup::Inherited {
                let _ = setpgid(child, child);
            }
            Ok(Child {
                pid: child.as_raw(),
                // The writing end is left to the child.
                executed: pipe.map(|(reader, _)| reader),
                exec_status,
            })
        }
        ForkResult::Child => {
            let error = run(arguments, setup);
            signals::block_all();
            exec_status.write(&error);
            process::exit(crate::ending::FAILED)
        }
    }
}

/// The child: becomes the command. Returns why not.
fn run(arguments: &[CString], setup: Setup<'_>) -> ExecError {
    if setup.group != ProcessGroup::Inherited {
        // Cannot fail: it is not a session leader, and the group is its own.
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    }
    if setup.group == ProcessGroup::NewForeground
        && let Some((device, _)) = tty::controlling_terminal()
    {
        // Works from the new group, which is not in the foreground yet, because SIGTTOU is
        // still blocked. Fails if the terminal has just gone, and with it the foreground.
        let _ = tcsetpgrp(device, getpid());
    }
    if let Some(Err(error)) = setup.service.map(ServiceSetup::enter) {
        return error;
    }
    if let Some(signal) = setup.parent_death {
        // If it cannot be set, the command survives when we are killed, as under any other
        // init.
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
    if let Some(service) = setup.service {
        for (name, value) in service.environment {
            set(name, value);
        }
        if let Err(error) = service.change_directory() {
            return error;
        }
    }
    signals::restore(&setup.inherited);
    exec::exec(arguments, setup.service.map(|service| service.program))
}

/// Replaces the pid of `supervise` by that of the command in the variables that name the
/// process which the service manager passes sockets to (`sd_listen_fds(3)`) or watches
/// (`sd_watchdog_enabled(3)`). A process ignores them if they name another.
fn rewrite_pid_variables(parent: i32) {
    for variable in ["LISTEN_PID", "WATCHDOG_PID"] {
        let named = environment::value_of(variable).and_then(|pid| pid.to_str()?.parse().ok());
        if named == Some(parent) {
            set(variable, OsStr::new(&process::own_pid().to_string()));
            if variable == "LISTEN_PID" {
                // It identifies the same process by another number, and is optional.
                unset("LISTEN_PIDFDID");
            }
        }
    }
}

fn set(variable: impl AsRef<OsStr>, value: &OsStr) {
    // SAFETY: the child has one thread, so that no other reads the environment meanwhile.
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
        // Never unmapped: that would be a system call for nothing right before the exit.
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
