//! The file that the report goes to: opened before the command starts, so that a bad
//! path is refused, and written in place when all is over.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use log::warn;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::sys::descriptors::above_stdio;

/// An open file, empty so far.
#[derive(Debug)]
pub(crate) struct ReportFile {
    file: OwnedFd,
    path: PathBuf,
}

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
        let file = above_stdio(file).ok_or_else(|| refuse(Errno::EMFILE))?;
        let path = path.to_owned();
        Ok(Self { file, path })
    }

    /// The descriptor, to be kept when others are let go of.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Writes the report.
    pub(crate) fn write(&self, report: &str) {
        // The command, or another supervise below, may have written there meanwhile.
        // What is no plain file cannot be emptied, and need not be.
        let _ = nix::unistd::ftruncate(&self.file, 0);
        let _ = nix::unistd::lseek(&self.file, 0, nix::unistd::Whence::SeekSet);
        let path = self.path.display();
        match nix::unistd::write(&self.file, report.as_bytes()) {
            Ok(length) if length == report.len() => {}
            Ok(_) => warn!("the report in '{path}' was cut: there is no room for it"),
            Err(errno) => warn!(
                "cannot write the report to '{path}': {}; it is lost",
                errno.desc()
            ),
        }
    }
}
