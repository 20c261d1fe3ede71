//! Starting the command: fork(2), what the child does before it executes, and
//! how the parent hears that it could not.

use std::ffi::{CString, OsStr};
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::unistd::{ForkResult, Pid, fork, getpid, setpgid, tcsetpgrp};

use super::exec::{self, ExecError};
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
    note: Note,
}

impl Child {
    /// Why the command was not executed, once the child has ended; `None` if
    /// it was.
    pub(crate) fn exec_error(&self) -> Option<ExecError> {
        self.note.read()
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
    let note = Note::new()?;
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
                note,
            })
        }
        ForkResult::Child => {
            run(arguments, setup, &note);
            process::exit(crate::ending::FAILED)
        }
    }
}

/// The child: becomes the command, or leaves a note why not.
fn run(arguments: &[CString], setup: Setup<'_>, note: &Note) {
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
    note.write(&error);
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

/// A page that parent and child share. The child writes why it could not
/// execute the command; when it is reaped, the parent reads that. No pipe is
/// needed and so no descriptor, and reading never waits.
#[derive(Debug)]
struct Note(NonNull<Page>);

const TEXT: usize = 4000;

#[repr(C)]
#[derive(Debug)]
struct Page {
    /// 0 until the rest is written; then the exit status.
    status: AtomicU32,
    length: AtomicU32,
    text: [std::sync::atomic::AtomicU8; TEXT],
}

impl Note {
    fn new() -> nix::Result<Self> {
        let length = const { NonZeroUsize::new(size_of::<Page>()).unwrap() };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let page = unsafe {
            mmap_anonymous(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
            )
        }?;
        Ok(Self(page.cast()))
    }

    fn page(&self) -> &Page {
        // SAFETY: the mapping is page-aligned, as large as a `Page`, zeroed by
        // the kernel, which is a valid `Page`, and never unmapped. All of it
        // is atomics: the other process may write at any time.
        unsafe { self.0.as_ref() }
    }

    fn write(&self, error: &ExecError) {
        let page = self.page();
        let mut length = 0;
        for (to, byte) in page.text.iter().zip(error.text.bytes()) {
            to.store(byte, Ordering::Relaxed);
            length += 1;
        }
        page.length.store(length, Ordering::Relaxed);
        page.status
            .store(u32::from(error.status), Ordering::Release);
    }

    fn read(&self) -> Option<ExecError> {
        let page = self.page();
        let status = u8::try_from(page.status.load(Ordering::Acquire)).ok()?;
        if status == 0 {
            return None;
        }
        let length = usize::try_from(page.length.load(Ordering::Relaxed)).ok()?;
        let bytes: Vec<u8> = page
            .text
            .iter()
            .take(length)
            .map(|byte| byte.load(Ordering::Relaxed))
            .collect();
        Some(ExecError {
            status,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}
