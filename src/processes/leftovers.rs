//! The processes besides the command: found, asked to stop, killed, named.
//!
//! "Left" is every process of the namespace when we are PID 1, and every
//! descendant otherwise: orphans come to us as their subreaper, so that
//! nothing leaves the tree by forking twice or by setsid(2).

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use log::{debug, error, info, warn};
use nix::errno::Errno;

use crate::decide::reason::{
    self, Facts, NAMED, ProcessLabel, REMEMBERED, Reason, Remaining, RemainingProcess,
};
use crate::processes::cgroup;
use crate::processes::procfs::{self, Identity, Processes, Stat, Uids};
use crate::signal::{Received, Signal};
use crate::sys::kill::{Target, forward, forward_by_pidfd, kill};
use crate::sys::pidfd::PidFd;
use crate::sys::process::{self, Rights};
use crate::sys::user_ids::KnownUids;
use crate::sys::{as_user, closing, descriptors};

/// How often the tree is read at most, until a reading shows nobody new.
/// Something that forks without end always does; SIGKILL comes to it again and
/// again.
const READINGS: usize = 4;

/// How many processes of other users are signaled together at most: a handle of each is
/// kept until then.
const TOGETHER: usize = 64;

/// A process as it was found.
#[derive(Clone, Copy, Debug)]
struct Found {
    identity: Identity,
    parent: i32,
    /// Whether it has ended and is only waited for.
    ended: bool,
}

impl Found {
    fn new(pid: i32, stat: &Stat) -> Self {
        Self {
            identity: Identity {
                pid,
                start: stat.start,
            },
            parent: stat.parent,
            ended: stat.is_zombie(),
        }
    }
}

/// What is left, and who of it has been asked.
#[expect(clippy::struct_excessive_bools, reason = "facts, each of its own")]
#[derive(Debug)]
pub(crate) struct Leftovers {
    pid1: bool,
    own_pid: i32,
    /// Those signaled one by one or with the command's process group, and with what:
    /// the last signal last.
    asked: BTreeMap<Identity, Vec<Signal>>,
    /// Those that may not be signalled.
    refused: BTreeSet<Identity>,
    /// The command, and the stop signals sent to it: the last one last.
    command_asked: Option<(i32, Vec<Signal>)>,
    /// When everyone was asked at once, without /proc to tell who: in clock ticks
    /// since the system started, as start times are.
    asked_blindly: Option<u64>,
    /// Whether all but the command were asked that were there.
    rest_asked: bool,
    /// Whether somebody wants to know who was asked.
    remember: bool,
    /// Whether the grace period is 0.
    no_grace: bool,
    /// Who we are to processes of other users, once that was needed.
    we: OnceCell<We>,
}

/// What makes kill(2) permit us to signal a process of another user.
#[derive(Clone, Copy, Debug)]
struct We {
    rights: Rights,
    /// Our real user id. It changes while no child can be had that takes on another.
    real: u32,
    effective: u32,
}

impl We {
    fn look() -> Self {
        Self {
            rights: process::rights(),
            real: nix::unistd::getuid().as_raw(),
            effective: nix::unistd::geteuid().as_raw(),
        }
    }

    /// Whether kill(2) permits it by the user ids alone.
    fn is_permitted(&self, receiver: Uids) -> bool {
        [receiver.real, receiver.saved]
            .iter()
            .any(|uid| [self.real, self.effective].contains(uid))
    }
}

/// How a signal went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// It was sent.
    Yes,
    /// There is nobody any more.
    Gone,
    /// It may not be sent (EPERM).
    Refused,
}

impl Leftovers {
    /// Nobody has been asked yet.
    pub(crate) fn new(own_pid: i32, remember: bool, no_grace: bool) -> Self {
        Self {
            pid1: own_pid == 1,
            own_pid,
            asked: BTreeMap::new(),
            refused: BTreeSet::new(),
            command_asked: None,
            asked_blindly: None,
            rest_asked: false,
            remember,
            no_grace,
            we: OnceCell::new(),
        }
    }

    /// Notes that the command is about to be asked by this signal.
    pub(crate) fn record_command(&mut self, command: i32, signal: Signal) {
        let (_, signals) = self.command_asked.get_or_insert((command, Vec::new()));
        move_to_end(signals, signal);
    }

    /// Notes that the members of this process group are about to be asked.
    ///
    /// Who joins between this and the signal is asked a second time later on,
    /// which is better than never.
    ///
    /// Returns them, if somebody wants to know.
    pub(crate) fn record_group(&mut self, group: i32, signal: Signal) -> Vec<ProcessLabel> {
        let all = procfs::shows_own_namespace(self.own_pid)
            .then(procfs::all_pids)
            .flatten();
        let mut members = Vec::new();
        for pid in all.unwrap_or_default() {
            if let Some(stat) = procfs::stat(pid)
                && stat.group == group
            {
                let identity = Identity {
                    pid,
                    start: stat.start,
                };
                let signals = self.asked.entry(identity).or_default();
                let first = signals.is_empty();
                move_to_end(signals, signal);
                if self.remember && first && !stat.is_zombie() {
                    members.push(named_by(pid, &stat));
                }
            }
        }
        members
    }

    /// Whether a member of a process group is suspended; also where /proc does not
    /// show it.
    pub(crate) fn may_be_suspended(&self, group: i32) -> bool {
        let shown = procfs::shows_own_namespace(self.own_pid).then(procfs::all_pids);
        shown.flatten().is_none_or(|all| {
            all.into_iter()
                .filter_map(procfs::stat)
                .any(|stat| stat.group == group && stat.state == b'T')
        })
    }

    /// Sends a signal on to the command or its process group, those of other users
    /// included where that is possible. `stop`: it is a stop request.
    ///
    /// # Errors
    /// As [`forward`]. EPERM is logged here.
    pub(crate) fn send(
        &mut self,
        target: Target,
        received: &Received,
        stop: bool,
    ) -> nix::Result<()> {
        self.set_back();
        let sent = forward(target, received);
        let found = match target {
            Target::Process(pid) if sent == Err(Errno::EPERM) => {
                procfs::stat(pid).map(|stat| vec![Found::new(pid, &stat)])
            }
            Target::Group(group) if sent.is_ok() || sent == Err(Errno::EPERM) => {
                let rights = self.we().rights;
                // kill(2) fails only if nobody in the group may be signaled.
                if rights.kill || !(rights.set_uid || stop || sent.is_err()) {
                    return sent;
                }
                self.passed_over(members(self.own_pid, group))
            }
            _ => return sent,
        };
        let Some(found) = found else {
            if sent.is_err() {
                not_permitted(target, received.signal);
            }
            return sent;
        };
        let each = self.signal_each(found, &[*received], false);
        for (identity, _) in each.iter().filter(|(_, sent)| *sent == Sent::Refused) {
            // Noted with its group.
            self.asked.remove(identity);
        }
        if sent.is_err() && each.iter().any(|(_, sent)| *sent == Sent::Yes) {
            return Ok(());
        }
        sent
    }

    /// Sends SIGTERM and SIGCONT to everything but `command`, if that runs, and
    /// but those who were asked before. Returns who was asked, if somebody wants to
    /// know and /proc tells.
    pub(crate) fn ask(&mut self, command: Option<i32>, group: Option<i32>) -> Vec<ProcessLabel> {
        self.rest_asked = true;
        if self.pid1 && command.is_none() && self.asked.is_empty() && self.asked_blindly.is_none() {
            let named = if self.remember {
                self.all_named()
            } else {
                Vec::new()
            };
            // One call reaches all of them at once, forking or not.
            self.ask_blindly(Target::Everyone);
            self.signal_passed_over(READINGS, &[Signal::TERM, Signal::CONT]);
            return named;
        }
        let Some(found) = self.find() else {
            if self.asked_blindly.is_none() {
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
            return Vec::new();
        };
        let not_asked: Vec<_> = found
            .into_iter()
            .filter(|process| {
                // One that has ended hears nothing.
                let passed_over = process.ended || Some(process.identity.pid) == command;
                !passed_over && !self.asked.contains_key(&process.identity)
            })
            .collect();
        let mut asked = Vec::new();
        let signals = [Signal::TERM, Signal::CONT].map(Received::plain);
        for (identity, sent) in self.signal_each(not_asked, &signals, false) {
            if sent == Sent::Yes {
                self.asked.insert(identity, vec![Signal::TERM]);
                asked.push(identity.pid);
            }
        }
        let others = match asked.len() {
            1 => "1 other process".to_owned(),
            count => format!("{count} other processes"),
        };
        info!("sent SIGTERM and SIGCONT to {others}");
        if self.remember {
            asked.into_iter().filter_map(named).collect()
        } else {
            Vec::new()
        }
    }

    /// All that have not ended.
    pub(crate) fn all_named(&self) -> Vec<ProcessLabel> {
        let found = self.find().unwrap_or_default();
        let alive = found
            .iter()
            .filter_map(|found| named_if_alive(found.identity.pid));
        alive.collect()
    }

    /// Sends SIGKILL to everything that is left, `command` included if it runs.
    pub(crate) fn kill(&mut self, command: Option<i32>, group: Option<i32>) {
        self.set_back();
        if self.pid1 {
            report(
                Target::Everyone,
                Signal::KILL,
                kill(Target::Everyone, Signal::KILL),
            );
            self.signal_passed_over(1, &[Signal::KILL]);
            return;
        }
        if let Some(pid) = command {
            let target = Target::Process(pid);
            let sent = self.send(target, &Received::plain(Signal::KILL), true);
            report(target, Signal::KILL, sent);
        }
        // Whom one reading misses the next kill finds.
        let Some(found) = self.read_tree(1) else {
            if let Some(target) = group.map(Target::Group) {
                report(target, Signal::KILL, kill(target, Signal::KILL));
            }
            return;
        };
        let others = found
            .into_iter()
            .filter(|process| !process.ended && Some(process.identity.pid) != command);
        self.signal_each(others, &[Received::plain(Signal::KILL)], false);
    }

    /// Those that are left and why: the command, the others, and last those that
    /// have ended and whose parents have not noticed; with `alone` the command only.
    /// `None` where /proc does not tell.
    pub(crate) fn remaining(&self, command: Option<i32>, alone: bool) -> Option<Remaining> {
        let found = self.find()?;
        let mut left: Vec<(u8, &Found)> = found
            .iter()
            .filter_map(|process| {
                let is_command = Some(process.identity.pid) == command;
                match process.ended {
                    // We are about to reap it.
                    true if process.parent == self.own_pid => None,
                    _ if alone && !is_command => None,
                    true => Some((2, process)),
                    false => Some((u8::from(!is_command), process)),
                }
            })
            .collect();
        left.sort_by_key(|(place, process)| (*place, process.identity.pid));
        let explain_limit = if self.remember { REMEMBERED } else { NAMED };
        let explained = left.iter().take(explain_limit).filter_map(|(_, process)| {
            let stat = procfs::stat(process.identity.pid)?;
            if stat.is_zombie() && stat.parent == self.own_pid {
                // It has ended meanwhile, and we are about to reap it.
                return None;
            }
            Some(self.explain(process.identity, &stat))
        });
        Some(Remaining {
            all: left.len(),
            others: left.iter().filter(|(place, _)| *place == 1).count(),
            explained: explained.collect(),
        })
    }

    fn explain(&self, identity: Identity, stat: &Stat) -> RemainingProcess {
        let pid = identity.pid;
        let zombie = stat.is_zombie();
        let parent = named(stat.parent).filter(|parent| parent.pid != self.own_pid);
        let is_shell = |pid, name: &str| reason::is_shell(name, || procfs::executable(pid));
        let reason = if self.refused.contains(&identity) {
            Reason::NotAllowed
        } else {
            Reason::of(Facts {
                // A main thread that has ended says nothing of the others.
                state: if stat.state == b'Z' && !zombie {
                    b'S'
                } else {
                    stat.state
                },
                frozen: !zombie && cgroup::is_frozen(pid),
                wchan: procfs::wchan(pid),
                signals: procfs::signal_sets(pid),
                sent: self.sent(identity),
                parent_is_shell: parent
                    .as_ref()
                    .is_some_and(|parent| is_shell(parent.pid, &parent.name)),
                parent,
                outside: stat.parent == 0,
                // The one that was forked last is what a shell runs in the foreground.
                child: procfs::children(pid)
                    .into_iter()
                    .rev()
                    .find_map(named_if_alive),
                inner_init: procfs::is_inner_init(pid),
                shell: is_shell(pid, &stat.name()),
                no_grace: self.no_grace,
                all_asked: self.rest_asked,
            })
        };
        RemainingProcess {
            process: named_by(pid, stat),
            reason,
        }
    }

    /// The stop signals that were sent to a process, the last one last.
    fn sent(&self, identity: Identity) -> Vec<Signal> {
        match &self.command_asked {
            Some((command, signals)) if *command == identity.pid => signals.clone(),
            _ => {
                let with_all = self
                    .asked_blindly
                    .filter(|at| match identity.start.cmp(at) {
                        Ordering::Less => true,
                        // Within one tick nothing tells but that it would have ended.
                        Ordering::Equal => may_outlive(identity.pid, Signal::TERM),
                        Ordering::Greater => false,
                    });
                let alone = self.asked.get(&identity).cloned();
                let alone = alone.unwrap_or_default();
                if alone.is_empty() && with_all.is_some() {
                    vec![Signal::TERM]
                } else {
                    alone
                }
            }
        }
    }

    fn ask_blindly(&mut self, target: Target) {
        let whom = match target {
            Target::Everyone => "all other processes".to_owned(),
            target => target.to_string(),
        };
        info!("sending SIGTERM and SIGCONT to {whom}");
        self.asked_blindly = Some(procfs::ticks().unwrap_or(u64::MAX));
        for signal in [Signal::TERM, Signal::CONT] {
            report(target, signal, kill(target, signal));
        }
    }

    fn say_blind(&self, target: Option<Target>) {
        let whom = match target {
            Some(Target::Everyone) => "all other processes at once",
            Some(_) => "only the command's process group",
            None => "only the command",
        };
        warn!(
            "/proc is missing or shows another PID namespace (own pid {}): signaling {whom}",
            self.own_pid
        );
    }

    /// Everything that is left, as far as /proc shows it.
    fn find(&self) -> Option<Vec<Found>> {
        self.read_tree(READINGS)
    }

    fn read_tree(&self, readings: usize) -> Option<Vec<Found>> {
        // To look takes a few descriptors, and the command's limit is its own.
        descriptors::raise_limit();
        if !procfs::shows_own_namespace(self.own_pid) {
            return None;
        }
        let mut found = Processes::new();
        for _ in 0..readings {
            let known = found.len();
            if self.pid1 {
                procfs::add_all(&mut found)?;
            } else {
                procfs::add_descendants(self.own_pid, &mut found)?;
            }
            if found.len() == known {
                break;
            }
        }
        found.retain(|pid, _| *pid != self.own_pid && !closing::is_closer(*pid));
        let found = found.into_iter();
        Some(found.map(|(pid, stat)| Found::new(pid, &stat)).collect())
    }

    /// Signals each of these processes, those of other users included where that is
    /// possible. Those that may not be signaled are noted. `all`: the signals are for
    /// every process of the namespace.
    fn signal_each(
        &mut self,
        processes: impl IntoIterator<Item = Found>,
        signals: &[Received],
        all: bool,
    ) -> Vec<(Identity, Sent)> {
        let mut each = Vec::new();
        let mut refused = Vec::new();
        for process in processes {
            let (sent, handle) = self.signal(process, signals);
            if sent == Sent::Refused {
                refused.push((process.identity, handle));
            } else {
                each.push((process.identity, sent));
            }
            if refused.len() == TOGETHER {
                each.extend(self.signal_refused(std::mem::take(&mut refused), signals, all));
            }
        }
        each.extend(self.signal_refused(refused, signals, all));
        each
    }

    /// Signals a process, and no other that may have got its pid by now.
    fn signal(&self, process: Found, signals: &[Received]) -> (Sent, Option<PidFd>) {
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
                return (Sent::Gone, None);
            }
        }
        let mut sent = Sent::Yes;
        for received in signals {
            match send_to(pid, handle.as_ref(), received) {
                Err(Errno::EPERM) => sent = Sent::Refused,
                result => report(Target::Process(pid), received.signal, result),
            }
        }
        (sent, handle)
    }

    /// Signals processes that we may not signal as who we are, each with the user id that
    /// it has.
    fn signal_refused(
        &mut self,
        refused: Vec<(Identity, Option<PidFd>)>,
        signals: &[Received],
        all: bool,
    ) -> Vec<(Identity, Sent)> {
        let mut by_user = BTreeMap::<_, Vec<_>>::new();
        let known = (!refused.is_empty() && self.we().rights.set_uid && self.is_proc_ours())
            .then(KnownUids::read);
        let mut each = Vec::new();
        for (identity, handle) in refused {
            let user = match known.as_ref().map(|known| user_of(identity, known)) {
                Some(User::Gone) => {
                    each.push((identity, Sent::Gone));
                    continue;
                }
                Some(User::Is(user)) => Some(user),
                Some(User::Unknown) | None => None,
            };
            by_user.entry(user).or_default().push((identity, handle));
        }
        for (user, processes) in by_user {
            let orders: Vec<_> = processes
                .iter()
                .flat_map(|process| signals.iter().map(move |signal| (process, signal)))
                .collect();
            let results = match user {
                Some(user) => self.send_as(user, &orders, all),
                None => vec![Err(Errno::EPERM); orders.len()],
            };
            let mut sent = BTreeMap::new();
            for (((identity, _), received), result) in orders.iter().zip(results) {
                let pid = identity.pid;
                let so_far = sent.entry(*identity).or_insert(Sent::Yes);
                match (result, user) {
                    (Err(Errno::EPERM), _) => {
                        *so_far = Sent::Refused;
                        self.refuse(*identity, received.signal);
                    }
                    (Ok(()), Some(user)) => {
                        debug!("sent {} to pid {pid} as user {user}", received.signal);
                        self.refused.remove(identity);
                    }
                    (result, _) => report(Target::Process(pid), received.signal, result),
                }
            }
            each.extend(sent);
        }
        each
    }

    fn send_as(
        &self,
        user: u32,
        orders: &[(&(Identity, Option<PidFd>), &Received)],
        all: bool,
    ) -> Vec<nix::Result<()>> {
        let own = self.we().real;
        let outcome = as_user::with_real_uid(user, own, orders.len(), |index| {
            let Some(((identity, handle), received)) = orders.get(index) else {
                return Err(Errno::EINVAL);
            };
            if all && index == 0 {
                // All of this user's at once, forking or not.
                let _ = kill(Target::Everyone, received.signal);
            }
            send_to(identity.pid, handle.as_ref(), received)
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

    /// Sends these to those whom kill(2) has passed over without an error when it
    /// signaled everyone.
    fn signal_passed_over(&mut self, readings: usize, signals: &[Signal]) {
        if self.we().rights.kill {
            return;
        }
        let Some(found) = self.passed_over(self.read_tree(readings)) else {
            return;
        };
        let all = signals == [Signal::KILL];
        let signals: Vec<_> = signals.iter().copied().map(Received::plain).collect();
        self.signal_each(found, &signals, all);
    }

    /// Those of these that kill(2) does not let us signal.
    fn passed_over(&self, found: Option<Vec<Found>>) -> Option<Vec<Found>> {
        let mut found = found?;
        found.retain(|process| {
            let uids = procfs::uids(process.identity.pid);
            !process.ended && uids.is_some_and(|uids| !self.we().is_permitted(uids))
        });
        Some(found)
    }

    /// Notes that a process may not be signaled, and logs it the first time. Those that
    /// SIGKILL is for are named in any case.
    fn refuse(&mut self, identity: Identity, signal: Signal) {
        if self.refused.insert(identity) && signal != Signal::KILL {
            not_permitted(Target::Process(identity.pid), signal);
        } else {
            debug!("not permitted to send {signal} to pid {}", identity.pid);
        }
    }

    fn we(&self) -> &We {
        self.we.get_or_init(We::look)
    }

    /// Sets our own real user id again if it was not possible when it was due.
    fn set_back(&self) {
        if let Some(we) = self.we.get()
            && let Err(errno) = as_user::set_back(we.real)
        {
            error!(
                "cannot restore the real user ID {}: setresuid: {}",
                we.real,
                errno.desc()
            );
        }
    }

    fn is_proc_ours(&self) -> bool {
        procfs::shows_own_namespace(self.own_pid)
    }
}

/// The members of a process group, as far as /proc shows them.
fn members(own_pid: i32, group: i32) -> Option<Vec<Found>> {
    if !procfs::shows_own_namespace(own_pid) {
        return None;
    }
    let members = procfs::all_pids()?.into_iter().filter_map(|pid| {
        let stat = procfs::stat(pid).filter(|stat| stat.group == group)?;
        Some(Found::new(pid, &stat))
    });
    Some(members.collect())
}

/// The user id with which a process can be signaled.
enum User {
    Is(u32),
    /// None that we can take on.
    Unknown,
    /// The process is not there any more.
    Gone,
}

fn user_of(identity: Identity, known: &KnownUids) -> User {
    let uids = procfs::uids(identity.pid);
    // If it is the same now, it was then.
    let same = procfs::stat(identity.pid).filter(|stat| stat.start == identity.start);
    let (Some(uids), Some(_)) = (uids, same) else {
        return User::Gone;
    };
    [uids.real, uids.saved]
        .into_iter()
        .find(|uid| known.is_one_user(*uid))
        .map_or(User::Unknown, User::Is)
}

fn send_to(pid: i32, handle: Option<&PidFd>, received: &Received) -> nix::Result<()> {
    match handle.map(|handle| forward_by_pidfd(handle, received)) {
        Some(Ok(())) => Ok(()),
        Some(Err(Errno::ESRCH)) => Err(Errno::ESRCH),
        // No descriptor, or a filter that forbids to use it: kill(2) says
        // whether it is the process that may not be signalled.
        Some(Err(_)) | None => forward(Target::Process(pid), received),
    }
}

fn not_permitted(target: Target, signal: Signal) {
    warn!(
        "not permitted to send {signal} to {target}: it runs as another user; grant CAP_KILL or \
         CAP_SETUID, or run as that user"
    );
}

fn move_to_end(signals: &mut Vec<Signal>, signal: Signal) {
    signals.retain(|known| *known != signal);
    signals.push(signal);
}

fn named(pid: i32) -> Option<ProcessLabel> {
    let stat = procfs::stat(pid)?;
    Some(named_by(pid, &stat))
}

fn named_if_alive(pid: i32) -> Option<ProcessLabel> {
    let stat = procfs::stat(pid).filter(|stat| !stat.is_zombie())?;
    Some(named_by(pid, &stat))
}

fn named_by(pid: i32, stat: &Stat) -> ProcessLabel {
    ProcessLabel {
        pid,
        start: stat.start,
        name: stat.name(),
    }
}

/// Whether a process does not simply end by this signal.
fn may_outlive(pid: i32, signal: Signal) -> bool {
    procfs::signal_sets(pid).is_some_and(|sets| {
        let taken = sets.ignored.or(sets.handled).or(sets.blocked);
        taken.contains(signal)
    })
}

fn open(pid: i32) -> Option<PidFd> {
    match PidFd::open(pid) {
        Ok(handle) => Some(handle),
        Err(Errno::ESRCH) => None,
        Err(errno) => {
            debug!("pidfd_open for pid {pid}: {}; using kill(2)", errno.desc());
            None
        }
    }
}

fn report(target: Target, signal: Signal, result: nix::Result<()>) {
    match result {
        // Gone already, which is all that was wanted.
        // EPERM is logged where it is noted.
        Ok(()) | Err(Errno::ESRCH | Errno::EPERM) => {}
        // Tried again and again, and those that it does not end are named.
        Err(errno) if signal == Signal::KILL => {
            debug!("cannot send {signal} to {target}: {}", errno.desc());
        }
        Err(errno) => warn!("cannot send {signal} to {target}: {}", errno.desc()),
    }
}
