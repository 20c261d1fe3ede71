//! Runs a command that exits with 0 if a service is ready.
//!
//! One runs at a time: what it has started is killed when it has exited, or after the time
//! for one try, before the next is started. Its result is its wait status, and not the end of its output,
//! which a process that it leaves may keep open.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{dup2_stderr, dup2_stdout, pipe2};

use super::socket::lower_case;
use super::{Course, Limit};
use crate::ending::Ending;
use crate::processes::sweep::Sweep;
use crate::run::surroundings::Surroundings;
use crate::settings::services::{Command, Service};
use crate::signal::Signal;
use crate::sys::spawn::{ProcessGroup, Setup, spawn};
use crate::sys::wait::{self, Waited};
use crate::sys::{descriptors, process, signals};

/// How long SIGKILL is repeated. What survives it that long is looked at again before the next
/// try.
const KILL: Duration = Duration::from_secs(1);

/// The first and the longest pause between two times.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(50);

/// How many children are reaped before the command is looked at again: they may come without
/// end.
const BATCH: usize = 64;

/// How much of its output is kept, and how much is read after its exit: at least what a pipe
/// holds, if the command has not changed that.
const KEPT: usize = 4096;
const READ_LAST: usize = 65_536;

/// How long a line of its output can be, in characters.
const LONGEST_LINE: usize = 200;

impl Course<'_> {
    /// Runs the command once.
    ///
    /// # Errors
    /// How it failed, and the last line that it wrote to stderr.
    pub(super) fn execute(
        &self,
        service: &Service,
        command: &Command,
        limit: &Limit,
    ) -> Result<(), String> {
        if !self.kill_all(None) {
            return Err("processes of an earlier try survive SIGKILL".to_owned());
        }
        let call = |call: &str, errno: Errno| format!("{call}: {}", lower_case(errno.desc()));
        let signals = signals::watch().map_err(|errno| call("signalfd", errno))?;
        let (mut output, their_end) = Output::open().map_err(|errno| call("pipe", errno))?;
        let surroundings = Surroundings::of(service)?;
        let setup = Setup {
            own_pid: process::own_pid(),
            inherited: self.inherited,
            parent_death: Some(Signal::KILL),
            group: ProcessGroup::New,
            variables: &surroundings.variables(),
            service: Some(&surroundings.setup(command)),
        };
        let spawned = discard_output().and_then(|()| {
            // The program gets our stderr.
            dup2_stderr(&their_end).map_err(|errno| ("dup2", errno))?;
            let spawned = spawn(&command.argv, setup);
            let discarded = discard_output();
            spawned.and_then(|child| discarded.map(|()| child))
        });
        let child = spawned.map_err(|(name, errno)| call(name, errno))?;
        drop(their_end);
        self.page.set_group(Some(child.pid));
        let result = self.wait_for(child.pid, &mut output, signals.as_fd(), limit);
        let is_left = result.is_none().then_some(child.pid);
        self.kill_all(is_left);
        output.read(READ_LAST);
        let exec_error = child.into_exec_error();
        if let Some(error) = exec_error {
            return Err(error.text);
        }
        let result = match result {
            Some(Ending::Exited(0)) => return Ok(()),
            Some(Ending::Exited(status)) => format!("exit status {status}"),
            Some(ending) => ending.to_string(),
            None => limit.exceeded(),
        };
        Err(match output.last_line() {
            Some(line) => format!("{result}: {line}"),
            None => result,
        })
    }

    /// Waits until this child has ended and is reaped. `None`: it takes too long, or the check
    /// is over.
    fn wait_for(
        &self,
        child: i32,
        output: &mut Output,
        signals: BorrowedFd<'_>,
        limit: &Limit,
    ) -> Option<Ending> {
        loop {
            // First: what comes later wakes us up again.
            while let Ok(Some(_)) = signals::wait(Some(Duration::ZERO)) {}
            let reaped = reap(child);
            if let Reaped::Ended(ending) = reaped {
                return Some(ending);
            }
            let left = limit.left();
            if left.is_zero() || self.is_over() {
                return None;
            }
            let timeout = match reaped {
                Reaped::Batch => Duration::ZERO,
                _ => left,
            };
            output.wait(signals, timeout);
            output.read(KEPT);
        }
    }

    /// Kills everything that was started, and reaps it. `child`: the command, if it is not
    /// reaped. Returns whether nothing is left.
    fn kill_all(&self, mut child: Option<i32>) -> bool {
        let until = Instant::now() + KILL;
        let mut look = FIRST_LOOK;
        let mut sweep = None;
        loop {
            match reap(child.unwrap_or(0)) {
                Reaped::Ended(_) => child = None,
                Reaped::None => {
                    self.page.set_group(None);
                    return true;
                }
                Reaped::Batch | Reaped::Some => {}
            }
            let now = Instant::now();
            if now >= until {
                return false;
            }
            // To find them raises the limit on open descriptors.
            let sweep = sweep.get_or_insert_with(|| Sweep::new(process::own_pid(), false));
            sweep.kill(child, self.page.group());
            if let Some(limit) = self.limit {
                descriptors::set_limit(limit);
            }
            // Whatever comes: most of them exit at once.
            let _ = signals::wait(Some(look.min(until - now)));
            look = (look * 2).min(LAST_LOOK);
        }
    }
}

/// What [`reap`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaped {
    /// The child that was looked for had ended so, and is reaped.
    Ended(Ending),
    /// Others, and perhaps there are more to be reaped.
    Batch,
    /// All that had ended. There are children.
    Some,
    /// All children.
    None,
}

/// Reaps children that have ended, up to the one with this pid.
fn reap(child: i32) -> Reaped {
    for _ in 0..BATCH {
        match wait::any(|| None) {
            Ok(Waited::Ended(pid, ending)) if pid == child => return Reaped::Ended(ending),
            Ok(Waited::Ended(..) | Waited::Stopped(..) | Waited::Continued(_)) => {}
            Ok(Waited::NoChildren) => return Reaped::None,
            // It worked in the main process.
            Ok(Waited::NoChange) | Err(_) => return Reaped::Some,
        }
    }
    Reaped::Batch
}

/// Makes /dev/null our own stdout and stderr. This process writes nothing, and holds no pipe
/// open.
fn discard_output() -> Result<(), (&'static str, Errno)> {
    let null = open(
        "/dev/null",
        OFlag::O_WRONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    );
    let null = null.map_err(|errno| ("open /dev/null", errno))?;
    dup2_stdout(&null)
        .and_then(|()| dup2_stderr(&null))
        .map_err(|errno| ("dup2", errno))
}

/// What a command writes to stderr.
struct Output {
    /// `None` at its end.
    pipe: Option<File>,
    /// The last of it.
    kept: Vec<u8>,
}

impl Output {
    /// Opens a pipe, and returns the end for the command as well.
    ///
    /// # Errors
    /// EMFILE, ENFILE; see pipe(2).
    fn open() -> nix::Result<(Self, OwnedFd)> {
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // Another user may open it by name, as /dev/stderr. Where that fails, it cannot.
        let everyone_writes = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IWGRP | Mode::S_IWOTH;
        let _ = fchmod(&theirs, everyone_writes);
        let pipe = Some(File::from(ours));
        let kept = Vec::new();
        Ok((Self { pipe, kept }, theirs))
    }

    /// Waits until there is something to read, or a signal. Returns early if that fails.
    fn wait(&self, signals: BorrowedFd<'_>, timeout: Duration) {
        let mut fds = vec![PollFd::new(signals, PollFlags::POLLIN)];
        let pipe = self.pipe.iter();
        fds.extend(pipe.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        let waited = ppoll(&mut fds, Some(timeout.into()), None);
        if waited.is_err_and(|errno| errno != Errno::EINTR) {
            // Instead of turning round and round.
            let _ = signals::wait(Some(timeout.min(LAST_LOOK)));
        }
    }

    /// Reads what there is, at most so many bytes.
    fn read(&mut self, at_most: usize) {
        let mut part = [0; KEPT];
        let mut total = 0;
        while total < at_most
            && let Some(pipe) = &mut self.pipe
        {
            match pipe.read(&mut part) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    total += length;
                    self.kept.extend(part.iter().take(length));
                    let superfluous = self.kept.len().saturating_sub(KEPT);
                    self.kept.drain(..superfluous);
                }
                Err(_) => return,
            }
        }
    }

    /// The last line that is not empty.
    fn last_line(&self) -> Option<String> {
        let mut lines = self.kept.split(|byte| *byte == b'\n').rev();
        let line = lines.find_map(|line| {
            let line = line.trim_ascii();
            (!line.is_empty()).then_some(line)
        })?;
        let line = String::from_utf8_lossy(line);
        Some(line.chars().take(LONGEST_LINE).collect())
    }
}
