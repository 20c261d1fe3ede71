//! What the shell of a single command has in a keeper: the way to the main process.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::PollFlags;

use crate::run::events::Watched;
use crate::signal::Signal;
use crate::sys::service_page::{self, Order, ServicePage};

/// What a keeper knows that the shell of a single command does not.
#[derive(Debug)]
pub(in crate::run) struct Link<'a> {
    pub(super) page: &'a ServicePage,
    /// The pid of the main process.
    pub(super) main: i32,
    pub(in crate::run) stop_signal: Signal,
    /// How long a stop may take that the main process has not ordered.
    pub(super) limit: Option<Duration>,
    /// At its end when the command is executed.
    pub(super) executed: Option<OwnedFd>,
    /// The last order that was fed in.
    pub(super) ordered: Option<Order>,
    /// Whether READY=1 was told.
    pub(super) told_ready: bool,
    /// What an exit with success that leaves processes is told of, once: how to keep the
    /// program in the foreground. `None` where that is as it should be.
    pub(super) background: Option<String>,
}

impl Link<'_> {
    /// What to wait for in addition to signals, until the command is executed.
    pub(in crate::run) fn watched(&self) -> Option<Watched<'_>> {
        let executed = self.executed.as_ref()?;
        Some(Watched {
            descriptor: executed.as_fd(),
            flags: PollFlags::POLLIN,
            at_most: None,
        })
    }

    pub(super) fn ring(&self) {
        service_page::ring(self.main);
    }
}
