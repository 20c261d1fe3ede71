//! The processes besides the command: found, asked to stop, killed, named.
//!
//! "Left" is every process of the namespace when we are PID 1, and every
//! descendant otherwise: orphans come to us as their subreaper, so that
//! nothing leaves the tree by forking twice or by setsid(2).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use log::{debug, info, warn};
use nix::errno::Errno;

use crate::procfs::{self, Identity, Stat};
use crate::signal::Signal;
use crate::sys::descriptors;
use crate::sys::process::{PidFd, own_pid};
use crate::sys::signals::{Target, kill};

/// How often the tree is read at most, until a reading shows nobody new.
/// Something that forks without end always does; SIGKILL comes to it again and
/// again.
const READINGS: usize = 4;

/// How many processes are named in the log.
const NAMED: usize = 10;

/// A process as it was found.
#[derive(Clone, Copy, Debug)]
struct Found {
    identity: Identity,
    parent: i32,
}

/// What is left, and who of it has been asked.
#[derive(Debug)]
pub(crate) struct Leftovers {
    pid1: bool,
    own_pid: i32,
    /// Those asked one by one or with the command's process group.
    asked: BTreeSet<Identity>,
    /// Whether everyone was asked at once, without /proc to tell who.
    asked_blindly: bool,
}

impl Leftovers {
    /// Nobody has been asked yet.
    pub(crate) fn new(pid1: bool) -> Self {
        Self {
            pid1,
            own_pid: own_pid(),
            asked: BTreeSet::new(),
            asked_blindly: false,
        }
    }

    /// Notes that the members of this process group are about to be asked.
    ///
    /// Who joins between this and the signal is asked a second time later on,
    /// which is better than never.
    pub(crate) fn note_group(&mut self, group: i32) {
        let members = procfs::is_ours(self.own_pid)
            .then(procfs::all_pids)
            .flatten();
        for pid in members.unwrap_or_default() {
            if let Some(stat) = procfs::stat(pid)
                && stat.group == group
            {
                self.asked.insert(Identity {
                    pid,
                    start: stat.start,
                });
            }
        }
    }

    /// Sends SIGTERM and SIGCONT to everything but `command`, if that runs, and
    /// but those who were asked before.
    pub(crate) fn ask(&mut self, command: Option<i32>, group: Option<i32>) {
        if self.pid1 && command.is_none() && self.asked.is_empty() && !self.asked_blindly {
            // One call reaches all of them at once, forking or not.
            self.ask_blindly(Target::Everyone);
            return;
        }
        let Some(found) = self.find() else {
            if !self.asked_blindly {
                let target = if self.pid1 {
                    Some(Target::Everyone)
                } else {
                    group.map(Target::Group)
                };
                self.say_blind(target);
                if let Some(target) = target {
                    self.ask_blindly(target);
                }
            }
            return;
        };
        let mut asked = 0;
        for process in found {
            if Some(process.identity.pid) == command || self.asked.contains(&process.identity) {
                continue;
            }
            debug!("asking pid {} to stop", process.identity.pid);
            if self.signal(process, &[Signal::TERM, Signal::CONT]) {
                self.asked.insert(process.identity);
                asked += 1;
            }
        }
        info!("asked what else is left to stop: {asked} processes");
    }

    /// Sends SIGKILL to everything that is left, `command` included if it runs.
    pub(crate) fn kill(&self, command: Option<i32>, group: Option<i32>) {
        if self.pid1 {
            report(
                Target::Everyone,
                Signal::KILL,
                kill(Target::Everyone, Signal::KILL),
            );
            return;
        }
        if let Some(pid) = command {
            report(
                Target::Process(pid),
                Signal::KILL,
                kill(Target::Process(pid), Signal::KILL),
            );
        }
        let Some(found) = self.find() else {
            if let Some(target) = group.map(Target::Group) {
                report(target, Signal::KILL, kill(target, Signal::KILL));
            }
            return;
        };
        for process in found
            .into_iter()
            .filter(|process| Some(process.identity.pid) != command)
        {
            self.signal(process, &[Signal::KILL]);
        }
    }

    /// Names those that are left in the log, each with `what` is the matter.
    pub(crate) fn name(&self, level: log::Level, what: &str) {
        let Some(found) = self.find() else {
            log::log!(level, "some process {what}; /proc does not tell which");
            return;
        };
        // Nobody is waiting for those that have ended but for their parent.
        let alive: Vec<(i32, Stat)> = found
            .iter()
            .filter_map(|process| {
                let pid = process.identity.pid;
                Some((pid, procfs::stat(pid)?))
            })
            .filter(|(_, stat)| ![b'Z', b'X'].contains(&stat.state))
            .collect();
        if alive.is_empty() {
            log::log!(level, "some process {what}; /proc does not show which");
        }
        for (pid, stat) in alive.iter().take(NAMED) {
            let name = String::from_utf8_lossy(&stat.name);
            let state = char::from(stat.state);
            log::log!(level, "pid {pid} ({name}, state {state}) {what}");
        }
        if let Some(more) = alive.len().checked_sub(NAMED)
            && more > 0
        {
            log::log!(level, "and {more} more");
        }
    }

    fn ask_blindly(&mut self, target: Target) {
        info!("asking {target} that is left to stop");
        self.asked_blindly = true;
        for signal in [Signal::TERM, Signal::CONT] {
            report(target, signal, kill(target, signal));
        }
    }

    fn say_blind(&self, target: Option<Target>) {
        let whom = match target {
            Some(Target::Everyone) => "every process is asked to stop at once",
            Some(_) => "only the command's process group is asked to stop",
            None => "nobody but the command is asked to stop",
        };
        warn!(
            "/proc cannot be read or is not that of our PID namespace (pid {}): {whom}",
            self.own_pid
        );
    }

    /// Everything that is left, as far as /proc shows it.
    fn find(&self) -> Option<Vec<Found>> {
        // To look takes a few descriptors, and the command's limit is its own.
        descriptors::raise_limit();
        if !procfs::is_ours(self.own_pid) {
            return None;
        }
        let mut found = BTreeMap::new();
        for _ in 0..READINGS {
            let pids = if self.pid1 {
                procfs::all_pids()?
            } else {
                procfs::descendants(self.own_pid)?
            };
            let known = found.len();
            for pid in pids.into_iter().filter(|pid| *pid != self.own_pid) {
                if let Entry::Vacant(new) = found.entry(pid)
                    && let Some(stat) = procfs::stat(pid)
                {
                    let identity = Identity {
                        pid,
                        start: stat.start,
                    };
                    new.insert(Found {
                        identity,
                        parent: stat.parent,
                    });
                }
            }
            if found.len() == known {
                break;
            }
        }
        Some(found.into_values().collect())
    }

    /// Signals a process, and no other that may have got its pid by now; `false`
    /// if it is gone.
    fn signal(&self, process: Found, signals: &[Signal]) -> bool {
        let pid = process.identity.pid;
        // A child of ours keeps its pid until we reap it, and between finding
        // and signalling we do not.
        let mut handle = None;
        if process.parent != self.own_pid {
            handle = open(pid);
            // Read after it was opened: if it is the same now, it was then.
            let mut stat = procfs::stat(pid);
            if stat.is_none() && handle.is_some() {
                // The handle may have taken the last descriptor.
                handle = None;
                stat = procfs::stat(pid);
            }
            if stat.is_none_or(|stat| stat.start != process.identity.start) {
                return false;
            }
        }
        for signal in signals {
            let by_handle = handle.as_ref().map(|handle| handle.kill(*signal));
            let result = match by_handle {
                Some(Ok(())) => Ok(()),
                Some(Err(Errno::ESRCH)) => Err(Errno::ESRCH),
                // No descriptor, or a filter that forbids to use it: kill(2)
                // says whether it is the process that may not be signalled.
                Some(Err(_)) | None => kill(Target::Process(pid), *signal),
            };
            report(Target::Process(pid), *signal, result);
        }
        true
    }
}

fn open(pid: i32) -> Option<PidFd> {
    match PidFd::open(pid) {
        Ok(handle) => Some(handle),
        Err(Errno::ESRCH) => None,
        Err(errno) => {
            debug!(
                "pidfd_open for pid {pid}: {}; using its number alone",
                errno.desc()
            );
            None
        }
    }
}

fn report(target: Target, signal: Signal, result: nix::Result<()>) {
    match result {
        // Gone already, which is all that was wanted.
        Ok(()) | Err(Errno::ESRCH) => {}
        // Tried again and again, and those that it does not end are named.
        Err(errno) if signal == Signal::KILL => {
            debug!("cannot send {signal} to {target}: {}", errno.desc());
        }
        Err(errno) => warn!("cannot send {signal} to {target}: {}", errno.desc()),
    }
}
