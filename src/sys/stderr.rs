//! Writes to stderr without ever waiting for its reader.
//!
//! The open file description is shared with the command and often with a shell: setting
//! `O_NONBLOCK` there would make their writes fail. How a line is written therefore depends
//! on what stderr is:
//!
//! - a regular file or block device: by write(2), because it has no reader. Its filesystem
//!   may not answer, so that a helper is to write there;
//! - a pipe, FIFO or terminal: through a description of our own with `O_NONBLOCK`, opened
//!   from `/proc/self/fd/2`, or from `/dev/tty` if the terminal belongs to another user;
//! - a socket: with `MSG_DONTWAIT`;
//! - a pipe that cannot be opened anew (another user's, no /proc, no descriptor left): by
//!   `pwritev2(2)` with `RWF_NOWAIT`, which gVisor ignores;
//! - anything else: after poll(2) has reported room, and on a terminal byte by byte, because
//!   poll(2) does not report how much. Only in this case can another writer fill the room in
//!   between, so that the write blocks.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag};
use nix::sys::termios::tcgetsid;
use nix::unistd::isatty;

use super::checked;
use super::descriptors::{self, above_stdio, stderr};

/// What stderr is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stderr(SFlag);

impl Stderr {
    /// Looks what it is.
    ///
    /// # Errors
    /// EBADF: it is closed; see fstat(2).
    pub(crate) fn look() -> nix::Result<Self> {
        descriptors::file_type(2).map(Self)
    }

    /// Whether it is a file: to write to it may block without end.
    pub(crate) fn is_file(self) -> bool {
        descriptors::is_file(self.0)
    }

    /// Writes as many of these bytes as possible, and returns their number. It does not
    /// block, except on a file.
    ///
    /// # Errors
    /// EAGAIN: nothing can be written now; EPIPE: no reader; see write(2), send(2), open(2).
    pub(crate) fn write(self, bytes: &[u8]) -> nix::Result<usize> {
        match self.0 {
            SFlag::S_IFREG | SFlag::S_IFBLK => nix::unistd::write(stderr(), bytes),
            SFlag::S_IFSOCK => send(2, bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            SFlag::S_IFIFO => match open_anew() {
                Ok(own) => nix::unistd::write(own, bytes),
                // A FIFO without a reader, which may get another.
                Err(Errno::ENXIO) => Err(Errno::EPIPE),
                Err(_) => write_to_shared(bytes),
            },
            // Only terminals: opening any other device can have effects.
            _ if isatty(stderr()).unwrap_or(false) => {
                match open_anew().or_else(|_| open_by_name()) {
                    Ok(own) => nix::unistd::write(own, bytes),
                    Err(_) => write_bytes(bytes),
                }
            }
            _ => write_to_shared(bytes),
        }
    }
}

/// Closes stdout and stderr if they are files. To be called in a helper that has written to
/// them: where that blocks, our exit must not do it.
pub(crate) fn close_files() {
    for number in [1, 2] {
        if descriptors::file_type(number).is_ok_and(descriptors::is_file) {
            descriptors::close(number);
        }
    }
}

/// Opens the file behind stderr anew, for one line: lines are few, and keeping it would
/// take a descriptor.
fn open_anew() -> nix::Result<OwnedFd> {
    open_own("/proc/self/fd/2")
}

/// Opens /dev/tty, which every user may, if stderr is the controlling terminal. That often
/// belongs to another user: after su(1), or in a container that does not run as root.
fn open_by_name() -> nix::Result<OwnedFd> {
    tcgetsid(stderr())?;
    open_own("/dev/tty")
}

fn open_own(path: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let own = open(path, flags, Mode::empty())?;
    above_stdio(own).ok_or(Errno::EMFILE)
}

/// Writes to a terminal that cannot be opened anew, byte by byte.
fn write_bytes(bytes: &[u8]) -> nix::Result<usize> {
    let mut written = 0;
    for byte in bytes.chunks(1) {
        match write_if_ready(byte) {
            Ok(length) => written += length,
            Err(errno) if written == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(written)
}

/// Writes to the shared description.
fn write_to_shared(bytes: &[u8]) -> nix::Result<usize> {
    match write_no_wait(bytes) {
        // Not for devices, old kernels and system call filters.
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) => {}
        result => return result,
    }
    write_if_ready(bytes)
}

/// Writes once poll(2) has reported room.
fn write_if_ready(bytes: &[u8]) -> nix::Result<usize> {
    let mut fds = [PollFd::new(stderr(), PollFlags::POLLOUT)];
    if poll(&mut fds, PollTimeout::ZERO)? == 0 {
        return Err(Errno::EAGAIN);
    }
    nix::unistd::write(stderr(), bytes)
}

/// Calls `pwritev2(2)` with `RWF_NOWAIT`, which works on pipes whatever their flags.
fn write_no_wait(bytes: &[u8]) -> nix::Result<usize> {
    let vector = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: the vector points to `bytes`, which the kernel only reads. Offset -1 is the
    // position of the description; on 64 bits its high half is not used.
    let written = checked(unsafe {
        libc::syscall(
            libc::SYS_pwritev2,
            2,
            &raw const vector,
            1,
            -1_i64,
            -1_i64,
            libc::RWF_NOWAIT,
        )
    })?;
    Ok(usize::try_from(written).unwrap_or_default())
}
