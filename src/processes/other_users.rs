//! Signals for processes of other users. Without `CAP_KILL`, kill(2) permits a signal by the
//! user IDs of sender and receiver. With `CAP_SETUID` the signal is sent with the user ID of
//! the receiver (`sys/as_user.rs`).

use std::cell::OnceCell;
use std::collections::BTreeMap;

use log::{debug, error, info};
use nix::errno::Errno;

use super::procfs::{self, Process, Uids, known};
use super::send::{log_sent, send};
use crate::signal::Received;
use crate::sys::as_user;
use crate::sys::kill::{Target, kill};
use crate::sys::pidfd::PidFd;
use crate::sys::process::{self, Rights};
use crate::sys::user_ids::KnownUids;

/// How many processes are signaled together at most: a handle of each is kept until then.
pub(super) const TOGETHER: usize = 64;

/// A process that we may not signal with our own user IDs, and its handle.
pub(super) type Refused = (Process, Option<PidFd>);

/// What became of signals for [`Refused`] processes. A process that has exited is in
/// neither list.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The processes that received all of them.
    pub(super) sent: Vec<Process>,
    /// The processes that may not be signaled at all.
    pub(super) refused: Vec<Process>,
}

/// What kill(2) permits us by user IDs and capabilities.
#[derive(Clone, Copy, Debug)]
struct Permissions {
    rights: Rights,
    /// Our real user ID. It changes while there can be no child to set another one.
    real: u32,
    effective: u32,
}

impl Permissions {
    fn read() -> Self {
        Self {
            rights: process::rights(),
            real: nix::unistd::getuid().as_raw(),
            effective: nix::unistd::geteuid().as_raw(),
        }
    }

    /// Whether the user IDs alone permit it.
    fn by_user_ids(&self, receiver: Uids) -> bool {
        [receiver.real, receiver.saved]
            .iter()
            .any(|uid| [self.real, self.effective].contains(uid))
    }
}

/// The sender of signals for processes of other users.
#[derive(Debug)]
pub(super) struct OtherUsers {
    own_pid: i32,
    /// Read when they are first needed.
    permissions: OnceCell<Permissions>,
}

impl OtherUsers {
    pub(super) fn new(own_pid: i32) -> Self {
        Self {
            own_pid,
            permissions: OnceCell::new(),
        }
    }

    fn permissions(&self) -> &Permissions {
        self.permissions.get_or_init(Permissions::read)
    }

    /// What we may do to processes of other users.
    pub(super) fn rights(&self) -> Rights {
        self.permissions().rights
    }

    /// Whether kill(2) passes over a process without an error when it signals many.
    pub(super) fn is_passed_over(&self, process: &Process) -> bool {
        let uids = known(procfs::uids(process.pid));
        !self.rights().kill && uids.is_some_and(|uids| !self.permissions().by_user_ids(uids))
    }

    /// Restores our own real user ID if that was not possible when it was due.
    pub(super) fn restore(&self) {
        if let Some(permissions) = self.permissions.get()
            && let Err(errno) = as_user::set_back(permissions.real)
        {
            error!(
                "cannot restore the real user ID {}: setresuid: {}",
                permissions.real,
                errno.desc()
            );
        }
    }

    /// Signals processes, each with its own user ID. `all`: the signals are for every
    /// process of the PID namespace.
    pub(super) fn signal(&self, refused: Vec<Refused>, signals: &[Received], all: bool) -> Outcome {
        let mut outcome = Outcome::default();
        if refused.is_empty() {
            return outcome;
        }
        let known = (self.rights().set_uid && procfs::shows_own_namespace(self.own_pid))
            .then(KnownUids::read);
        let mut by_user = BTreeMap::<u32, Vec<Refused>>::new();
        for (process, handle) in refused {
            match known.as_ref().map(|known| user_of(&process, known)) {
                Some(User::Gone) => {}
                Some(User::Is(user)) => by_user.entry(user).or_default().push((process, handle)),
                Some(User::Unknown) | None => outcome.refused.push(process),
            }
        }
        for (user, processes) in by_user {
            let results = self.send_as(user, &processes, signals, all);
            // No signal is none, and not an endless number of them.
            let of_each = results.chunks(signals.len().max(1));
            for ((process, _), results) in processes.into_iter().zip(of_each) {
                for (received, result) in signals.iter().zip(results) {
                    let (signal, pid) = (received.signal, process.pid);
                    match result {
                        Ok(()) => debug!("sent {signal} to pid {pid} as user {user}"),
                        // The caller tells it.
                        Err(Errno::EPERM) => {}
                        Err(_) => log_sent(Target::Process(pid), signal, *result),
                    }
                }
                if results.contains(&Err(Errno::EPERM)) {
                    outcome.refused.push(process);
                } else {
                    outcome.sent.push(process);
                }
            }
        }
        outcome
    }

    /// Returns the result of each signal for each process.
    fn send_as(
        &self,
        user: u32,
        processes: &[Refused],
        signals: &[Received],
        all: bool,
    ) -> Vec<nix::Result<()>> {
        let own = self.permissions().real;
        let orders: Vec<_> = processes
            .iter()
            .flat_map(|process| signals.iter().map(move |signal| (process, signal)))
            .collect();
        let outcome = as_user::with_real_uid(user, own, orders.len(), |index| {
            let Some(((process, handle), received)) = orders.get(index) else {
                return Err(Errno::EINVAL);
            };
            if all && index == 0 {
                // All of this user's at once, forking or not.
                let _ = kill(Target::Everyone, received.signal);
            }
            send(process.pid, handle.as_ref(), received)
        });
        if let Some(errno) = outcome.no_child {
            info!(
                "cannot fork to signal processes of user {user}: {}; supervise took on that user ID \
                 itself meanwhile",
                errno.desc()
            );
        }
        if let Some(errno) = outcome.not_back {
            error!(
                "cannot restore the real user ID {own}: setresuid: {}; processes of user {user} may \
                 signal supervise until then",
                errno.desc()
            );
        }
        outcome.results
    }
}

/// The user ID with which a process can be signaled.
enum User {
    Is(u32),
    /// None that we can take on.
    Unknown,
    /// The process has exited.
    Gone,
}

fn user_of(process: &Process, known: &KnownUids) -> User {
    let uids = procfs::uids(process.pid);
    let now = procfs::stat(process.pid);
    let uids = match (uids, now) {
        // If it is the same now, it was then.
        (Ok(Some(uids)), Ok(Some(now))) if now.start == process.start => uids,
        (Err(_), _) | (_, Err(_)) => return User::Unknown,
        _ => return User::Gone,
    };
    [uids.real, uids.saved]
        .into_iter()
        .find(|uid| known.is_one_user(*uid))
        .map_or(User::Unknown, User::Is)
}
