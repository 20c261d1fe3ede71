//! Writing a line to stderr without ever waiting for whoever reads it.
//!
//! The description behind stderr is shared with the command and often with the
//! shell, so that its flags are not ours to change: `O_NONBLOCK` set here
//! would make their writes fail.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::isatty;

use super::checked;
use super::descriptors::{above_stdio, stderr};

/// Writes as many of these bytes as go at once, and says how many.
///
/// # Errors
/// EAGAIN: nothing can be written now; whatever else write(2) says.
pub(crate) fn write_now(bytes: &[u8]) -> nix::Result<usize> {
    let kind = SFlag::from_bits_truncate(fstat(stderr())?.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFREG || kind == SFlag::S_IFBLK {
        // A disk does not wait for a reader.
        return nix::unistd::write(stderr(), bytes);
    }
    match write_no_wait(bytes) {
        // Terminals and other devices; old kernels; system call filters.
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) => {
            write_by_kind(bytes, kind)
        }
        result => result,
    }
}

/// `pwritev2(2)` with `RWF_NOWAIT`, which serves pipes and sockets whatever
/// their flags.
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

fn write_by_kind(bytes: &[u8], kind: SFlag) -> nix::Result<usize> {
    let stderr = stderr();
    if kind == SFlag::S_IFSOCK {
        return send(2, bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }
    if isatty(stderr).unwrap_or(false)
        && let Some(own) = open(
            "/proc/self/fd/2",
            OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .ok()
        .and_then(above_stdio)
    {
        return nix::unistd::write(own, bytes);
    }
    // The best that is left: another writer may fill it in between.
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, PollTimeout::ZERO)? == 0 {
        return Err(Errno::EAGAIN);
    }
    nix::unistd::write(stderr, bytes)
}
