//! The controlling terminal: whether the command shares our process group, what
//! is known of a signal that may have been for that group, and which group is in
//! the foreground.
//!
//! On a terminal the command shares our process group, as it would under env(1):
//! pipelines, pagers and the shell's job control work as if we were not there.
//! Without one it has a process group of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use log::debug;
use nix::errno::Errno;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, getsid, tcgetpgrp, tcsetpgrp};

use crate::decide::origin::{Facts, Sender, may_be_typed};
use crate::processes::procfs::{self, known};
use crate::processes::{ancestry, tree};
use crate::settings::ForwardTo;
use crate::signal::{Received, Signal};
use crate::sys::process;
use crate::sys::spawn::ProcessGroup;
use crate::sys::tty;

/// The terminal as it was at the start, and what we changed.
#[expect(clippy::struct_excessive_bools, reason = "facts, each of its own")]
#[derive(Debug)]
pub(crate) struct Terminal {
    own_pid: i32,
    own_group: Pid,
    group: ProcessGroup,
    /// Whether there was a controlling terminal.
    is_there: bool,
    /// The terminal, where it cannot be opened anew.
    kept: Option<OwnedFd>,
    /// Whether there is a terminal whose process groups we can tell apart.
    job_control: bool,
    /// Whether we were in its foreground.
    in_foreground: bool,
    leads_session: bool,
    session_leader: Option<i32>,
    /// Whether the kernel sends us SIGHUP in the name of a parent that exits: that is for
    /// us alone, and looks the same as the SIGHUP that a shell sends its jobs.
    parent_death_hangs_up: bool,
    is_stdin: bool,
    /// How it was set when we started in its foreground.
    modes: Option<Termios>,
    /// The process group that was given the foreground, if one was.
    gave_foreground: Option<i32>,
}

impl Terminal {
    /// No terminal, and a process group of its own for the command.
    pub(crate) fn none(own_pid: i32) -> Self {
        Self {
            own_pid,
            // Of no use without a terminal.
            own_group: Pid::from_raw(0),
            group: ProcessGroup::New,
            is_there: false,
            kept: None,
            job_control: false,
            in_foreground: false,
            leads_session: false,
            session_leader: None,
            parent_death_hangs_up: false,
            is_stdin: false,
            modes: None,
            gave_foreground: None,
        }
    }

    /// Looks where we are.
    ///
    /// `parent_death`: the signal that the kernel sends us when our parent exits.
    pub(crate) fn inspect(
        own_pid: i32,
        forward_to: ForwardTo,
        parent_death: Option<Signal>,
    ) -> Self {
        let mut terminal = Self::none(own_pid);
        let Some((device, is_inherited)) = tty::find() else {
            return terminal;
        };
        let Ok(foreground) = tcgetpgrp(&device) else {
            return terminal;
        };
        let own_group = getpgrp();
        terminal.is_there = true;
        terminal.own_group = own_group;
        let leader = getsid(None).ok().map(Pid::as_raw);
        terminal.session_leader = leader;
        terminal.parent_death_hangs_up = parent_death == Some(Signal::HUP);
        terminal.leads_session = leader == Some(own_pid);
        terminal.is_stdin = tcgetpgrp(std::io::stdin()).is_ok();
        // A leader outside our PID namespace shows as 0, whichever it is: that
        // proves nothing, and the job control is done out there.
        let unknown = own_group.as_raw() == 0 || foreground.as_raw() == 0;
        terminal.job_control = !unknown;
        terminal.in_foreground = !unknown && foreground == own_group;
        terminal.group = match forward_to {
            ForwardTo::Group if terminal.in_foreground => ProcessGroup::NewForeground,
            ForwardTo::Group => ProcessGroup::New,
            ForwardTo::Command => ProcessGroup::Inherited,
        };
        if terminal.in_foreground {
            terminal.modes = tcgetattr(&device).ok();
        }
        terminal.kept = is_inherited.then_some(device);
        terminal
    }

    /// The process group for the command.
    pub(crate) fn group(&self) -> ProcessGroup {
        self.group
    }

    /// A descriptor that must outlive what is closed after the start.
    pub(crate) fn kept(&self) -> Option<BorrowedFd<'_>> {
        self.kept.as_ref().map(AsFd::as_fd)
    }

    /// The terminal and its foreground group; `None` if it is gone.
    fn device(&self) -> Option<(OwnedFd, Pid)> {
        let Some(kept) = &self.kept else {
            return tty::controlling_terminal();
        };
        let foreground = tcgetpgrp(kept).ok()?;
        Some((kept.try_clone().ok()?, foreground))
    }

    /// The terminal's foreground group now.
    fn foreground(&self) -> Option<Pid> {
        self.device().map(|(_, foreground)| foreground)
    }

    /// Records that the command was started, in the group that was chosen for it.
    pub(crate) fn note_started(&mut self, command: i32) {
        if self.group == ProcessGroup::NewForeground {
            self.gave_foreground = Some(command);
        }
    }

    /// Whether a shell may be there that wants to know when the command stops.
    pub(crate) fn job_control(&self) -> bool {
        self.job_control
    }

    /// Whether a process could resume us if we were suspended: none could where we lead
    /// the session or are PID 1, or only inits are above us. Elsewhere the kernel knows.
    pub(crate) fn can_suspend(&self) -> bool {
        self.job_control && !self.leads_session && self.own_pid != 1 && self.may_be_job()
    }

    /// Whether our group may be the job of a shell; also where /proc does not show what is
    /// above us in the session. To the kernel any parent is one that may resume us.
    fn may_be_job(&self) -> bool {
        if !procfs::shows_own_namespace(self.own_pid) {
            return true;
        }
        let above = ancestry::with_ancestors(self.own_pid);
        let is_leader = |pid: &i32| self.session_leader == Some(*pid);
        let Some(leader) = above.iter().position(is_leader) else {
            return true;
        };
        let is_elsewhere =
            |pid| known(procfs::stat(pid)).is_none_or(|stat| stat.group != self.own_group.as_raw());
        above
            .into_iter()
            .take(leader + 1)
            .any(|pid| is_elsewhere(pid) && may_handle(pid, &[Signal::CHLD, Signal::INT]))
    }

    /// Whether the command is in our process group at this moment. It may have left
    /// it, as setsid(1) and timeout(1) do.
    pub(crate) fn shares_group(&self, command: i32) -> bool {
        self.is_there && process::group_of(command) == Some(self.own_group.as_raw())
    }

    /// The process group that the command is in, and when it has exited ours.
    pub(crate) fn group_of(&self, command: Option<i32>) -> i32 {
        command
            .and_then(process::group_of)
            .unwrap_or(self.own_group.as_raw())
    }

    /// What is known of a signal that may be for a process group, without what only
    /// the caller knows: `None` where there is no terminal.
    pub(crate) fn facts(&self, received: &Received, command: Option<i32>) -> Option<Facts> {
        if !self.is_there {
            return None;
        }
        let signal = received.signal;
        let sender = self.sender(received);
        let shares_group = command.is_some_and(|pid| self.shares_group(pid));
        // These two cost something: they are looked up where they decide.
        let of_shell = signal == Signal::HUP && sender == Sender::SessionLeader;
        let is_key = may_be_typed(signal) && sender == Sender::Kernel && !self.is_stdin;
        let handles =
            |pid| procfs::signal_sets(pid).is_none_or(|sets| sets.handled.contains(signal));
        Some(Facts {
            sender,
            shares_group,
            hung_up: of_shell && self.foreground().is_none(),
            leads_session: self.leads_session,
            stdin_is_terminal: self.is_stdin,
            // Where /proc does not show it, it is left to the command: nothing is
            // killed by mistake.
            handled: is_key && shares_group && command.is_some_and(handles),
            command_suspended: false,
            resumed: false,
            ignored_at_start: false,
        })
    }

    fn sender(&self, received: &Received) -> Sender {
        if received.is_from_kernel() {
            return Sender::Kernel;
        }
        // PID 1 as the leader forwards what it gets, to us alone; and so does one
        // that is in our own group, which is not a shell's job.
        let pid = received.pid;
        let may_be_shell = pid > 1 && pid != self.own_pid && pid != self.own_group.as_raw();
        if may_be_shell
            && self.session_leader == Some(pid)
            // No other signal is judged by its sender.
            && (received.signal != Signal::HUP
                || !self.parent_death_hangs_up && may_handle(pid, &[Signal::CHLD]))
        {
            Sender::SessionLeader
        } else {
            Sender::Other
        }
    }
}

/// The foreground process group.
impl Terminal {
    /// Whether a command that was suspended by this signal wants the terminal
    /// and we have it to give: no other process may read from it.
    pub(crate) fn can_give_foreground(&self, signal: Signal, command: i32) -> bool {
        self.job_control
            && [Signal::TTIN, Signal::TTOU].contains(&signal)
            && !self.shares_group(command)
            && self.foreground() == Some(self.own_group)
            && self.is_alone()
    }

    /// Makes the process group of the command the foreground group, and returns it
    /// if that was possible. All signals are blocked here, SIGTTOU among them, so
    /// that this works from the background too.
    pub(crate) fn give_foreground(&mut self, command: i32) -> Option<i32> {
        let (device, _) = self.device()?;
        let group = process::group_of(command)?;
        match tcsetpgrp(device, Pid::from_raw(group)) {
            Ok(()) => self.gave_foreground = Some(group),
            // The terminal is gone, or the group is one of another session.
            Err(errno) => {
                debug!(
                    "cannot set the foreground process group: tcsetpgrp: {}",
                    errno.desc()
                );
                return None;
            }
        }
        Some(group)
    }

    /// When the command is resumed and had the terminal before, it gets it
    /// again if we have it and no other process may read from it.
    pub(crate) fn give_foreground_again(&mut self, command: i32) {
        if self.gave_foreground.is_some()
            && self.foreground() == Some(self.own_group)
            && !self.shares_group(command)
            && self.is_alone()
        {
            self.give_foreground(command);
        }
    }

    /// Whether no other process of our group uses the terminal, as far as /proc
    /// shows. A script around us waits for us and does not count.
    fn is_alone(&self) -> bool {
        let Some(members) = tree::members(self.own_pid, self.own_group.as_raw()) else {
            return true;
        };
        let own_and_above = ancestry::with_ancestors(self.own_pid);
        members
            .iter()
            .all(|member| own_and_above.contains(&member.pid))
    }

    /// Takes the foreground back that was given away, when the command has exited:
    /// terminal signals are for us from then on, whatever remains of its group.
    pub(crate) fn take_back(&self) {
        if self.gave_foreground.is_some() {
            self.reclaim();
        }
    }

    /// The terminal, if we are in its foreground or could be put there again.
    fn reclaim(&self) -> Option<OwnedFd> {
        let (device, foreground) = self.device()?;
        let is_commands = self.gave_foreground == Some(foreground.as_raw());
        let is_nobodys = nix::sys::signal::killpg(foreground, None) == Err(Errno::ESRCH);
        let mut ours = foreground == self.own_group;
        if !ours && (is_commands || is_nobodys) && self.own_group.as_raw() > 0 {
            ours = tcsetpgrp(&device, self.own_group).is_ok();
        }
        ours.then_some(device)
    }

    /// Leaves the terminal as it was. `killed`: a signal killed the command, so
    /// that it cannot have meant to leave the modes as they are.
    pub(crate) fn restore(&self, killed: bool) {
        if !(self.gave_foreground.is_some() || self.in_foreground && killed) {
            return;
        }
        // A pager at the end of the pipeline has set the modes that it needs.
        if let Some(device) = self.reclaim()
            && killed
            && let Some(modes) = &self.modes
            && self.is_alone()
        {
            // Not flushed: what was typed ahead is for the next program.
            let _ = tcsetattr(device, SetArg::TCSANOW, modes);
        }
    }
}

/// Whether a process handles one of these signals. A shell with job control handles the
/// end of its children; an init, and others that forward a signal to their child alone,
/// wait for it. One that is gone counts as a shell: that exits when it has hung up its jobs.
fn may_handle(pid: i32, signals: &[Signal]) -> bool {
    procfs::signal_sets(pid)
        .is_none_or(|sets| signals.iter().any(|signal| sets.handled.contains(*signal)))
}
