//! The controlling terminal: whether the command shares our process group, for
//! whom a signal of the terminal was, and whose the foreground is.
//!
//! In the foreground the command shares our process group, as it would under
//! env(1): pipelines, pagers and the shell's job control work as if we were not
//! there. Everywhere else it has a process group of its own.

use std::os::fd::{AsFd, OwnedFd};

use log::debug;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, getsid, tcgetpgrp, tcsetpgrp};

use crate::procfs;
use crate::settings::ForwardTo;
use crate::signal::{Origin, Received, Signal};
use crate::sys::descriptors::above_stdio;

/// What the terminal sends to process groups.
const OF_TERMINAL: [Signal; 8] = [
    Signal::INT,
    Signal::QUIT,
    Signal::TSTP,
    Signal::TTIN,
    Signal::TTOU,
    Signal::HUP,
    Signal::CONT,
    Signal::WINCH,
];

/// What stops and resumes jobs.
const JOB_CONTROL: [Signal; 4] = [Signal::TSTP, Signal::TTIN, Signal::TTOU, Signal::CONT];

/// The process group that the command runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Ours.
    Shared,
    /// Its own.
    Own,
    /// Its own, and made the terminal's foreground group before it executes.
    OwnInForeground,
}

/// The terminal as it was at the start, and what we changed.
#[expect(clippy::struct_excessive_bools, reason = "facts, each of its own")]
#[derive(Debug)]
pub(crate) struct Terminal {
    own_pid: i32,
    own_group: Pid,
    group: Group,
    /// Whether there is a terminal whose process groups we can tell apart.
    job_control: bool,
    /// Whether we were in its foreground.
    in_foreground: bool,
    leads_session: bool,
    session_leader: Option<i32>,
    is_stdin: bool,
    /// How it was set when we started in its foreground.
    modes: Option<Termios>,
    /// Whether the foreground was given to the command's group.
    handed_over: bool,
}

impl Terminal {
    /// Looks where we are.
    pub(crate) fn look(own_pid: i32, forward_to: ForwardTo) -> Self {
        let mut terminal = Self {
            own_pid,
            // Of no use without a terminal.
            own_group: Pid::from_raw(0),
            group: Group::Own,
            job_control: false,
            in_foreground: false,
            leads_session: false,
            session_leader: None,
            is_stdin: false,
            modes: None,
            handed_over: false,
        };
        let Some((device, foreground)) = controlling_terminal() else {
            return terminal;
        };
        let own_group = getpgrp();
        terminal.own_group = own_group;
        let leader = getsid(None).ok().map(Pid::as_raw);
        terminal.session_leader = leader;
        terminal.leads_session = leader == Some(own_pid);
        terminal.is_stdin = tcgetpgrp(std::io::stdin()).is_ok();
        // A leader outside our PID namespace shows as 0, whichever it is: that
        // proves nothing, and whoever is out there does the job control.
        let unknown = own_group.as_raw() == 0 || foreground.as_raw() == 0;
        terminal.job_control = !unknown;
        terminal.in_foreground = !unknown && foreground == own_group;
        terminal.group = match forward_to {
            ForwardTo::Group if terminal.in_foreground => Group::OwnInForeground,
            ForwardTo::Command if unknown || terminal.in_foreground => Group::Shared,
            _ => Group::Own,
        };
        terminal.handed_over = terminal.group == Group::OwnInForeground;
        if terminal.in_foreground {
            terminal.modes = tcgetattr(device.as_fd()).ok();
        }
        terminal
    }

    /// The process group for the command.
    pub(crate) fn group(&self) -> Group {
        self.group
    }

    /// Whether a shell may be there that wants to know when the command stops.
    pub(crate) fn job_control(&self) -> bool {
        self.job_control
    }

    /// Whether somebody could resume us if we stopped: nobody can where we lead
    /// the session or are PID 1. Elsewhere the kernel knows.
    pub(crate) fn can_suspend(&self) -> bool {
        self.job_control && !self.leads_session && self.own_pid != 1
    }

    /// For whom a signal was, and whether a key sent it.
    pub(crate) fn origin(&self, received: &Received) -> Origin {
        if received.is_our_own(self.own_pid) {
            return Origin::Ourselves;
        }
        let from_kernel = received.is_from_kernel();
        let keys = [Signal::INT, Signal::QUIT, Signal::TSTP];
        let key = from_kernel && self.is_stdin && keys.contains(&received.signal);
        match (self.is_for_group(received), key) {
            (true, true) => Origin::GroupKey,
            (true, false) => Origin::Group,
            (false, true) => Origin::Key,
            (false, false) => Origin::ForUs,
        }
    }

    /// Whether the command, sharing our group, has had this signal too.
    fn is_for_group(&self, received: &Received) -> bool {
        if self.group != Group::Shared {
            return false;
        }
        let hang_up = [Signal::HUP, Signal::CONT].contains(&received.signal);
        if received.is_from_kernel() {
            // Others are from timers and limits of our own; and a hang-up is told to
            // the leader of the session alone.
            return OF_TERMINAL.contains(&received.signal) && !(hang_up && self.leads_session);
        }
        // 0: outside our PID namespace, as many others are.
        if hang_up && received.pid > 0 && self.session_leader == Some(received.pid) {
            // A shell that goes tells its jobs, and one that resumes a job
            // resumes it, each as a group. While we have its terminal nobody
            // can have typed it.
            let held = foreground().is_none_or(|foreground| foreground == self.own_group);
            return held || received.signal == Signal::CONT;
        }
        // An editor stops its group by it. Of anything else nothing tells whether it
        // was for the group or for us alone: twice is better than not at all.
        JOB_CONTROL.contains(&received.signal) && self.is_of_group(received.pid)
    }

    /// Whether a sender is a member of the shared group, or below us.
    fn is_of_group(&self, sender: i32) -> bool {
        if sender <= 0 || sender == self.own_pid {
            return false;
        }
        if nix::unistd::getpgid(Some(Pid::from_raw(sender))) == Ok(self.own_group) {
            return true;
        }
        let mut pid = sender;
        // A process tree is not deeper than this, or not honest.
        for _ in 0..64 {
            match procfs::stat(pid) {
                Some(stat) if stat.parent == self.own_pid => return true,
                Some(stat) if stat.parent > 1 => pid = stat.parent,
                _ => return false,
            }
        }
        false
    }

    /// Whether a command that was stopped by this signal wants the terminal
    /// and we have it to give.
    pub(crate) fn can_hand_over(&self, signal: Signal) -> bool {
        self.job_control
            && self.group != Group::Shared
            && [Signal::TTIN, Signal::TTOU].contains(&signal)
            && foreground() == Some(self.own_group)
    }

    /// Makes the command's group the foreground group. All signals are blocked
    /// here, SIGTTOU among them, so that this works from the background too.
    pub(crate) fn hand_over(&mut self, command: i32) {
        let Some((device, _)) = controlling_terminal() else {
            return;
        };
        match tcsetpgrp(device, Pid::from_raw(command)) {
            Ok(()) => self.handed_over = true,
            // The terminal or the group is gone.
            Err(errno) => debug!("cannot hand the terminal over: {}", errno.desc()),
        }
    }

    /// When the command is resumed and had the terminal before, it gets it
    /// again if we have it.
    pub(crate) fn hand_over_again(&mut self, command: i32) {
        if self.handed_over && foreground() == Some(self.own_group) {
            self.hand_over(command);
        }
    }

    /// Leaves the terminal as it was. `killed`: a signal ended the command, so
    /// that it cannot have meant to leave the modes as they are.
    pub(crate) fn give_back(&self, command: i32, killed: bool) {
        if !(self.handed_over || self.in_foreground && killed) {
            return;
        }
        let Some((device, foreground)) = controlling_terminal() else {
            return;
        };
        let is_commands = self.handed_over && foreground.as_raw() == command;
        let is_nobodys = nix::sys::signal::killpg(foreground, None) == Err(Errno::ESRCH);
        let mut ours = foreground == self.own_group;
        if !ours && (is_commands || is_nobodys) && self.own_group.as_raw() > 0 {
            ours = tcsetpgrp(&device, self.own_group).is_ok();
        }
        if ours
            && killed
            && let Some(modes) = &self.modes
        {
            // Not flushed: what was typed ahead is for the next program.
            let _ = tcsetattr(device, SetArg::TCSANOW, modes);
        }
    }
}

/// The terminal's foreground group now; `None` if there is no terminal any more.
fn foreground() -> Option<Pid> {
    controlling_terminal().map(|(_, foreground)| foreground)
}

/// The controlling terminal and its foreground group, if there is one.
///
/// Opened anew each time: held open it would keep the other side of the
/// terminal from seeing that everyone has gone.
pub(crate) fn controlling_terminal() -> Option<(OwnedFd, Pid)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let device = above_stdio(open("/dev/tty", flags, Mode::empty()).ok()?)?;
    let foreground = tcgetpgrp(&device).ok()?;
    Some((device, foreground))
}
