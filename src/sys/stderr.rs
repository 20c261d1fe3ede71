//! Writing a line to stderr without ever waiting for whoever reads it.
//!
//! The description behind stderr is shared with the command and often with the
//! shell, so that its flags are not ours to change: `O_NONBLOCK` set here
//! would make their writes fail.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::termios::tcgetsid;
use nix::unistd::isatty;

use super::checked;
use super::descriptors::{above_stdio, stderr};

/// Writes as many of these bytes as go at once, and says how many.
///
/// # Errors
/// EAGAIN: nothing can be written now; whatever else write(2) says.
pub(crate) fn write_nonblocking(bytes: &[u8]) -> nix::Result<usize> {
    let kind = SFlag::from_bits_truncate(fstat(stderr())?.st_mode) & SFlag::S_IFMT;
    match kind {
        // A disk does not wait for a reader.
        SFlag::S_IFREG | SFlag::S_IFBLK => nix::unistd::write(stderr(), bytes),
        SFlag::S_IFSOCK => send(2, bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
        SFlag::S_IFIFO => match open_anew() {
            Ok(own) => nix::unistd::write(own, bytes),
            // A FIFO that has lost its reader, and may get another.
            Err(Errno::ENXIO) => Err(Errno::EPIPE),
            Err(_) => write_to_shared(bytes),
        },
        // Other devices can do anything when they are opened again.
        _ if isatty(stderr()).unwrap_or(false) => match open_anew().or_else(|_| open_by_name()) {
            Ok(own) => nix::unistd::write(own, bytes),
            Err(_) => write_bytes(bytes),
        },
        _ => write_to_shared(bytes),
    }
}

/// What stderr is, with a description of our own that does not block. Made for each
/// line: kept, it would take a descriptor, and lines are few.
fn open_anew() -> nix::Result<OwnedFd> {
    open_own("/proc/self/fd/2")
}

/// The same by the name that everyone may open, where stderr is the controlling terminal:
/// it is most often another user's after su(1), or in a container with a user.
fn open_by_name() -> nix::Result<OwnedFd> {
    tcgetsid(stderr())?;
    open_own("/dev/tty")
}

fn open_own(path: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let own = open(path, flags, Mode::empty())?;
    above_stdio(own).ok_or(Errno::EMFILE)
}

/// Writes to a terminal that is shared, byte by byte: poll(2) says whether there is room,
/// and not for how much; without it a write waits.
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

/// Writes to the description that is shared: it cannot be opened anew (the pipe of
/// another user, no /proc, no descriptor left).
fn write_to_shared(bytes: &[u8]) -> nix::Result<usize> {
    match write_no_wait(bytes) {
        // Devices; old kernels; system call filters.
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) => {}
        result => return result,
    }
    write_if_ready(bytes)
}

/// The best that is left: another writer may fill it in between.
fn write_if_ready(bytes: &[u8]) -> nix::Result<usize> {
    let mut fds = [PollFd::new(stderr(), PollFlags::POLLOUT)];
    if poll(&mut fds, PollTimeout::ZERO)? == 0 {
        return Err(Errno::EAGAIN);
    }
    nix::unistd::write(stderr(), bytes)
}

/// `pwritev2(2)` with `RWF_NOWAIT`, which serves pipes whatever their flags. Not the
/// first choice: gVisor accepts the flag and waits all the same.
fn write_no_wait(bytes: &[u8]) -> nix::Result<usize> {
    let vector = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: the vector points to `bytes`, which the kernel only reads.
    // Offset -1 is the description's own position; the offset's high half is
    // not used on 64 bits.
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
