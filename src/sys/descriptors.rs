//! Giving up what was inherited once the command has it.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;

use super::checked;

/// Where `close_range(2)` is missing and /proc is too, descriptors are closed one
/// by one up to this number: the usual hard limit, past which counting to the
/// limit itself could take minutes.
const LAST_RESORT: RawFd = 65_536;

/// Lets go of the working directory and of every inherited descriptor but
/// stderr, so that no mount is kept busy and no pipe is kept from its end.
/// Descriptors 0 to 2 stay occupied: nothing that is opened later can land
/// there and be taken for stdin, stdout or stderr. As PID 1 stdout stays too: in a
/// container /proc/1/fd/1 leads to the log, and no reader waits for an end that comes
/// before that of the container. `keep` are some of our own, above those, that are to
/// stay.
///
/// Nothing here can fail in a way that matters to the command: what cannot be
/// given up is kept.
pub(crate) fn close_inherited(pid1: bool, keep: &[BorrowedFd<'_>]) {
    let _ = nix::unistd::chdir("/");
    let null = placeholder().or_else(|| {
        // Every descriptor that the limit allows is taken.
        // SAFETY: no Rust object of this program owns descriptor 0.
        unsafe { libc::close(0) };
        placeholder()
    });
    if let Some(null) = null {
        replace(&null, 0);
        if !(pid1 && is_open(1)) {
            replace(&null, 1);
        }
        // It is the lowest that was free: above 2 it says that all three were open.
        if null.as_raw_fd() <= 2 && !is_open(2) {
            replace(&null, 2);
        }
        // One of the three itself, or closed below with all others.
        std::mem::forget(null);
    }
    let mut kept: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    let mut first = 3;
    for number in kept {
        close_range(first, number - 1);
        first = number + 1;
    }
    close_range(first, RawFd::MAX);
}

/// Something harmless to occupy a descriptor with: /dev/null, or in a root
/// without devices the root directory, which can be neither read nor written.
fn placeholder() -> Option<OwnedFd> {
    open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
        .or_else(|_| {
            open(
                "/",
                OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
                Mode::empty(),
            )
        })
        .ok()
}

/// Raises the limit on open descriptors as far as it goes without privilege.
/// The command has been started and keeps its own.
pub(crate) fn raise_limit() {
    // If it cannot be raised, there is as much as there was.
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// The same, and with privilege to at least so many. Returns what it is then.
pub(crate) fn raise_limit_to(least: u64) -> usize {
    raise_limit();
    let limit = || getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    if limit() < least {
        // Without privilege it stays.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, least, least);
    }
    usize::try_from(limit()).unwrap_or(usize::MAX)
}

fn replace(with: &OwnedFd, number: RawFd) {
    if with.as_raw_fd() != number {
        // SAFETY: takes plain integers; `number` is one of 0 to 2, which no
        // Rust object of this program owns.
        unsafe { libc::dup3(with.as_raw_fd(), number, libc::O_CLOEXEC) };
    }
}

fn is_open(number: RawFd) -> bool {
    flags(number) != Err(Errno::EBADF)
}

/// The flags of a descriptor, whether or not this program owns it.
///
/// # Errors
/// EBADF: it is not open.
pub(super) fn flags(number: RawFd) -> nix::Result<FdFlag> {
    // SAFETY: borrowed for this one call, which does not need it to be open.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(fd, FcntlArg::F_GETFD).map(FdFlag::from_bits_truncate)
}

/// Closes every descriptor from `first` to `last`.
fn close_range(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: takes plain integers. No Rust object owns a descriptor at this
    // point but those that are made after it and the one that is kept.
    let closed = checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) });
    if closed.is_ok() {
        return;
    }
    for number in open_descriptors().unwrap_or_else(|| (first..LAST_RESORT).collect()) {
        if (first..=last).contains(&number) {
            // SAFETY: as above; one that is not open gives EBADF.
            unsafe { libc::close(number) };
        }
    }
}

/// The open descriptors as /proc lists them, the listing's own among them.
fn open_descriptors() -> Option<Vec<RawFd>> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    // Collected first: to close one while reading would close the listing.
    Some(
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect(),
    )
}

/// stderr, for as long as the program runs: [`close_inherited`] keeps it.
pub(super) fn stderr() -> BorrowedFd<'static> {
    // SAFETY: descriptor 2 is closed by nobody in this program. If it was
    // inherited closed, calls on it give EBADF until a placeholder takes it.
    unsafe { BorrowedFd::borrow_raw(2) }
}

/// Moves a descriptor above 2 where it has landed below, and keeps it from the
/// command.
pub(crate) fn above_stdio(fd: OwnedFd) -> Option<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Some(fd);
    }
    let moved = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(3)).ok()?;
    // SAFETY: fcntl has just made this descriptor for us.
    Some(unsafe { OwnedFd::from_raw_fd(moved) })
}
