//! The file that the report goes to: opened before the command starts, so that a bad
//! path is refused, and written in place when all is over.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use log::warn;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::sys::descriptors::above_stdio;

/// An open file, empty so far.
#[derive(Debug)]
pub(crate) struct ReportFile(OwnedFd);

impl ReportFile {
    /// Opens the file and empties it. It is neither replaced nor renamed: a
    /// termination log of Kubernetes is a mount of its own.
    ///
    /// # Errors
    /// One line: what is wrong with the path.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        // To wait for the reader of a pipe would be to wait for ever.
        let flags = OFlag::O_WRONLY
            | OFlag::O_CREAT
            | OFlag::O_TRUNC
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        let refuse = |errno: Errno| {
            format!(
                "--report: cannot open '{}' for writing: {}; name a file that may be written",
                path.display(),
                errno.desc()
            )
        };
        let file = open(path, flags, Mode::from_bits_truncate(0o644)).map_err(refuse)?;
        above_stdio(file)
            .map(Self)
            .ok_or_else(|| refuse(Errno::EMFILE))
    }

    /// The descriptor, to be kept when others are let go of.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Writes the report.
    pub(crate) fn write(&self, report: &str) {
        // The command, or another supervise below, may have written there meanwhile.
        // What is no plain file cannot be emptied, and need not be.
        let _ = nix::unistd::ftruncate(&self.0, 0);
        let _ = nix::unistd::lseek(&self.0, 0, nix::unistd::Whence::SeekSet);
        match nix::unistd::write(&self.0, report.as_bytes()) {
            Ok(length) if length == report.len() => {}
            Ok(_) => warn!("the report was cut: there is no room for it"),
            Err(errno) => warn!("cannot write the report: {}", errno.desc()),
        }
    }
}
