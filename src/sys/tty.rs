//! The controlling terminal, found anew each time.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, tcgetpgrp};

use super::descriptors::above_stdio;

/// The controlling terminal and its foreground group, if there is one.
pub(crate) fn controlling_terminal() -> Option<(OwnedFd, Pid)> {
    let (device, _) = find()?;
    let foreground = tcgetpgrp(&device).ok()?;
    Some((device, foreground))
}

/// The controlling terminal, and whether it is an inherited descriptor.
///
/// It is opened anew each time: held open it would keep the other side of the
/// terminal from seeing that everyone has gone. Where there is no /dev/tty to open
/// (a root filesystem without devices), stdin, stdout or stderr may be it.
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
                // Refused for a terminal that is not the controlling one.
                .find(|fd| tcgetpgrp(fd).is_ok())
                .and_then(|fd| Some((fd.try_clone_to_owned().ok()?, true)))
        }
    }
}
