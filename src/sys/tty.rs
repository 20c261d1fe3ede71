//! Finds the controlling terminal.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, tcgetpgrp};

use super::descriptors::above_stdio;

/// Returns the controlling terminal and its foreground process group; `None` without one.
pub(crate) fn controlling_terminal() -> Option<(OwnedFd, Pid)> {
    let (device, _) = find()?;
    let foreground = tcgetpgrp(&device).ok()?;
    Some((device, foreground))
}

/// Returns the controlling terminal, and whether it is an inherited descriptor; `None`
/// without one.
///
/// To be opened anew each time: an open descriptor would keep the other side of the terminal
/// from seeing that all processes have exited. Without /dev/tty (in a root filesystem
/// without devices), stdin, stdout or stderr is used if it is that terminal.
pub(crate) fn find() -> Option<(OwnedFd, bool)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    match open("/dev/tty", flags, Mode::empty()) {
        Ok(device) => Some((above_stdio(device)?, false)),
        // There is none.
        Err(Errno::ENXIO) => None,
        Err(_) => {
            let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
            [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]
                .into_iter()
                // Fails for a terminal that is not the controlling one.
                .find(|fd| tcgetpgrp(fd).is_ok())
                .and_then(|fd| Some((fd.try_clone_to_owned().ok()?, true)))
        }
    }
}
