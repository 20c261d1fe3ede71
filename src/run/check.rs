//! Checks whether a service is ready: a process of its own, forked from the main process, that
//! tries until it succeeds and then exits with 0. So the event loop waits for nothing but
//! children, signals and its clock, whatever a program or a filesystem does to a check.
//!
//! The check has one thread, all signals are blocked in it, and it writes no line. What its
//! last try said is in a page that it shares with the main process
//! ([`crate::sys::check_page`]).
//!
//! A check of a socket starts nothing, and SIGKILL ends it. A check by a command
//! ([`command`]) has to end what it has started, which may be anywhere: a child subreaper can,
//! once it is told to. The page tells, SIGCHLD has it look at the page, and the same signal
//! comes when the main process exits. If such a check is killed itself, the kernel kills its
//! command, and the main process what else is in the group of that ([`Check::reaped`]).

mod command;
mod http;
mod socket;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use log::LevelFilter;
use nix::errno::Errno;

use crate::processes::sweep::Sweep;
use crate::settings::services::{Ready, Service};
use crate::signal::{Received, Signal};
use crate::sys::check_page::CheckPage;
use crate::sys::kill::{Target, kill};
use crate::sys::service_page::{is_parent, ring};
use crate::sys::signals::{self, Inherited};
use crate::sys::title::set_title;
use crate::sys::{descriptors, helpers, process};

/// How long a try may take. Then it has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same of the one try before the start of a service, which waits for that.
const PATIENCE_ONCE: Duration = Duration::from_secs(1);

/// The pause before the first try, and the longest one. It doubles from try to try.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// A check that was started. To be kept until it is reaped.
#[derive(Debug)]
pub(crate) struct Check {
    /// Its process ID.
    pub(crate) pid: i32,
    page: CheckPage,
    has_command: bool,
}

impl Check {
    /// Starts a check of a service. It exits with 0 when a try succeeds. `once`: it makes one
    /// try, at once and for a shorter time, and exits with 1 if that fails. `limit`: that on
    /// open descriptors for its commands.
    ///
    /// # Errors
    /// EINVAL: such a service is not checked; otherwise as fork(2), mmap(2).
    pub(crate) fn start(
        service: &Service,
        once: bool,
        inherited: Inherited,
        limit: Option<descriptors::Limit>,
    ) -> nix::Result<Self> {
        let has_command = match service.ready {
            Ready::Started | Ready::Notified | Ready::Exited => return Err(Errno::EINVAL),
            Ready::Tcp(_) | Ready::Unix(_) | Ready::Http(_) => false,
            Ready::Command(_) => true,
        };
        let page = CheckPage::new()?;
        let parent = process::own_pid();
        let pid = process::fork(|| {
            let course = Course {
                page: &page,
                parent,
                inherited,
                limit,
            };
            course.begin(&service.name, has_command);
            u8::from(!course.run(service, once))
        })?;
        page.hide_from_later_children();
        Ok(Self {
            pid,
            page,
            has_command,
        })
    }

    /// What the last try said, such as `connection refused`; `None` before the first is over.
    /// It may contain what a command has written.
    pub(crate) fn last_try(&self) -> Option<String> {
        self.page.text()
    }

    /// Kills the check and everything that it has started. Does not wait for that. It is
    /// reaped as any child; its exit status then means nothing.
    pub(crate) fn end(&self) {
        // Permitted: it never becomes another user. It is not reaped, and its pid its own.
        if self.has_command {
            self.page.set_end();
            let _ = kill(Target::Process(self.pid), Signal::CONT);
            ring(self.pid);
        } else {
            let _ = kill(Target::Process(self.pid), Signal::KILL);
        }
    }

    /// To be called when the check is reaped, before anything else is: kills what its command
    /// has started if the check was killed and could not do it. Processes that have left the
    /// process group of the command are orphans as any other.
    pub(crate) fn reaped(&self, sweep: &mut Sweep) {
        if let Some(group) = self.page.group() {
            // None may be left in it.
            let kill = Received::plain(Signal::KILL);
            let _ = sweep.send(Target::Group(group), &kill, true);
        }
    }
}

/// The check, in its own process.
struct Course<'a> {
    page: &'a CheckPage,
    parent: i32,
    inherited: Inherited,
    limit: Option<descriptors::Limit>,
}

impl Course<'_> {
    /// Makes this process another than its parent.
    fn begin(&self, name: &str, has_command: bool) {
        signals::block_all();
        set_title(name);
        log::set_max_level(LevelFilter::Off);
        helpers::forget_all();
        let on_parents_exit = if has_command {
            Signal::CHLD
        } else {
            Signal::KILL
        };
        // If it cannot be set, the parent is looked at before the next try.
        let _ = signals::set_parent_death_signal(on_parents_exit, self.parent);
        if has_command {
            // If it cannot be set, the parent gets what the command leaves.
            let _ = nix::sys::prctl::set_child_subreaper(true);
        }
        descriptors::close_above_stdio();
        if let Some(limit) = self.limit {
            descriptors::set_limit(limit);
        }
    }

    /// Tries until a try succeeds, and returns whether one did.
    fn run(&self, service: &Service, once: bool) -> bool {
        let (mut pause, patience) = if once {
            (Duration::ZERO, PATIENCE_ONCE)
        } else {
            (FIRST_PAUSE, PATIENCE)
        };
        loop {
            if !self.rest(pause) {
                return false;
            }
            match self.attempt(service, &Limit::new(patience)) {
                Ok(()) => return true,
                Err(why) => self.page.set_text(&why),
            }
            if once {
                return false;
            }
            pause = next(pause);
        }
    }

    /// One try.
    ///
    /// # Errors
    /// What it said.
    fn attempt(&self, service: &Service, limit: &Limit) -> Result<(), String> {
        match &service.ready {
            Ready::Tcp(addresses) => socket::connect(&addresses.value, limit).map(drop),
            Ready::Unix(path) => socket::connect_unix(&path.value),
            Ready::Http(request) => http::get(&request.value, limit),
            Ready::Command(command) => self.execute(service, command, limit),
            Ready::Started | Ready::Notified | Ready::Exited => Ok(()),
        }
    }

    /// Waits; `false`: the check is over.
    fn rest(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            if self.is_over() {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            // Whatever came, it may have been merged with the signal to look at the page. Only
            // a system call filter makes it fail, and not the one of the main process.
            if signals::wait(Some(left)).is_err() {
                return false;
            }
        }
    }

    /// Whether the check is to end, or its parent has exited.
    fn is_over(&self) -> bool {
        self.page.is_end() || !is_parent(self.parent)
    }
}

/// The pause after this one.
fn next(pause: Duration) -> Duration {
    (pause * 2).min(LAST_PAUSE)
}

/// How long a try may take.
struct Limit {
    until: Instant,
    patience: Duration,
}

impl Limit {
    fn new(patience: Duration) -> Self {
        Self {
            until: Instant::now() + patience,
            patience,
        }
    }

    /// How long it may take yet.
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// What a try says that has taken longer.
    fn exceeded(&self) -> String {
        format!("no answer within {}s", self.patience.as_secs())
    }
}
