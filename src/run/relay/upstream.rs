//! Sends messages on to the service manager, through a queue that never waits for it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{UnixAddr, connect};

use crate::sys::closing::Passed;
use crate::sys::datagram;

/// A message to the service manager.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Passed,
}

/// The messages that were not sent yet, and where they go.
#[derive(Debug)]
pub(super) struct Upstream {
    /// The service manager's address, if there is one.
    manager: Option<UnixAddr>,
    /// Connected to it once there was something to send.
    connection: Option<OwnedFd>,
    unsent: VecDeque<Message>,
}

impl Upstream {
    pub(super) fn new(manager: Option<UnixAddr>) -> Self {
        Self {
            manager,
            connection: None,
            unsent: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, message: Message) {
        self.unsent.push_back(message);
    }

    /// How many messages wait for room at the manager.
    pub(super) fn waiting(&self) -> usize {
        self.unsent.len()
    }

    /// Forgets the messages that wait, and closes their descriptors.
    pub(super) fn clear(&mut self) {
        self.unsent.clear();
    }

    /// The connection, where messages wait for room.
    pub(super) fn blocked(&self) -> Option<BorrowedFd<'_>> {
        let connection = self.connection.as_ref().map(AsFd::as_fd);
        connection.filter(|_| !self.unsent.is_empty())
    }

    /// Sends what goes without waiting. A message that fails is lost: `lost` gets why.
    pub(super) fn send(&mut self, mut lost: impl FnMut(Errno)) {
        // The message's descriptors are closed then: systemd-notify waits for that.
        while let Some(message) = self.unsent.pop_front() {
            match self.send_one(&message) {
                Ok(()) => {}
                Err(Errno::EAGAIN) => return self.unsent.push_front(message),
                Err(errno) => {
                    // The next one is another attempt, on a new socket.
                    self.connection = None;
                    lost(errno);
                }
            }
        }
    }

    fn send_one(&mut self, message: &Message) -> nix::Result<()> {
        if let Some(connection) = &self.connection {
            match datagram::send(
                connection.as_fd(),
                &message.bytes,
                message.descriptors.all(),
            ) {
                // The manager has a new socket at the old address.
                Err(Errno::ECONNREFUSED | Errno::ENOTCONN) => {}
                result => return result,
            }
        }
        let Some(manager) = &self.manager else {
            // It was for us alone.
            return Ok(());
        };
        let connection = datagram::sender()?;
        connect(connection.as_raw_fd(), manager)?;
        let connection = self.connection.insert(connection);
        datagram::send(
            connection.as_fd(),
            &message.bytes,
            message.descriptors.all(),
        )
    }

    /// Waits until the manager has room; `false` when the time is over.
    pub(super) fn has_room_by(&self, end: Instant) -> bool {
        let Some(connection) = &self.connection else {
            return false;
        };
        let left = end.saturating_duration_since(Instant::now());
        let mut waiting = [PollFd::new(connection.as_fd(), PollFlags::POLLOUT)];
        ppoll(&mut waiting, Some(left.into()), None).is_ok_and(|ready| ready > 0)
    }
}
