//! Descriptors: closes those that were inherited once the command has them, and keeps our
//! own away from 0, 1 and 2. Limits on open descriptors.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};

use super::checked;

/// Without `close_range(2)` and without /proc, descriptors are closed one by one up to this
/// number, the usual hard limit. Counting to a higher limit could take minutes.
const LAST_RESORT: RawFd = 65_536;

/// How many of the descriptors from 0 on only hold their place ([`make_room`]).
static PLACEHOLDERS: AtomicI32 = AtomicI32::new(0);

/// Leaves the working directory and closes every inherited descriptor except stderr, so
/// that no mount is kept busy and the reader of a pipe sees its end.
///
/// Descriptors 0 to 2 stay occupied, so that none that is opened later is taken for stdin,
/// stdout or stderr, except where no other is left ([`make_room`]). As PID 1 stdout stays open as well: in a container /proc/1/fd/1 leads
/// to the log, and its reader waits for the container in any case. `keep`: descriptors of
/// our own above 2 that stay open.
///
/// No failure matters to the command: what cannot be closed stays open.
pub(crate) fn close_inherited(pid1: bool, keep: &[BorrowedFd<'_>]) {
    let _ = nix::unistd::chdir("/");
    let null = placeholder().or_else(|| {
        // The limit on open descriptors is reached.
        // SAFETY: no Rust object of this program owns descriptor 0.
        unsafe { libc::close(0) };
        placeholder()
    });
    if let Some(null) = null {
        replace(&null, 0);
        let keeps_stdout = pid1 && is_open(1);
        if !keeps_stdout {
            replace(&null, 1);
        }
        PLACEHOLDERS.store(if keeps_stdout { 1 } else { 2 }, Ordering::Relaxed);
        // It is the lowest that was free: if it is above 2, all three were open.
        if null.as_raw_fd() <= 2 && !is_open(2) {
            replace(&null, 2);
        }
        // It is one of the three, or closed below with all others.
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

/// Closes every inherited descriptor above 2, and opens those of 0 to 2 that are closed, so
/// that none that is opened later is taken for stdin, stdout or stderr.
pub(crate) fn close_above_stdio() {
    close_range(3, RawFd::MAX);
    for _ in 0..=2 {
        match placeholder() {
            Some(null) if null.as_raw_fd() <= 2 => std::mem::forget(null),
            _ => return,
        }
    }
}

/// Opens something harmless to occupy a descriptor: /dev/null, or in a root filesystem
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

/// Replaces stdin by /dev/null, in a child; without a /dev/null by what [`placeholder`]
/// opens.
///
/// # Errors
/// ENFILE: the system's limit on open files is reached; see open(2).
pub(super) fn open_null_as_stdin() -> nix::Result<()> {
    // First, because no other number may be left. The lowest one is taken.
    close(0);
    let null = placeholder().ok_or_else(Errno::last)?;
    // It is inherited. Cannot fail: the descriptor is open.
    let _ = fcntl(&null, FcntlArg::F_SETFD(FdFlag::empty()));
    // It stays open.
    std::mem::forget(null);
    Ok(())
}

/// Has every descriptor except stdin, stdout and stderr closed when this process executes a
/// program. What cannot be marked stays open.
pub(super) fn close_others_on_exec() {
    // SAFETY: takes plain integers, and closes no descriptor of this process.
    let marked = checked(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            RawFd::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    });
    // Before Linux 5.11, or a system call filter.
    if marked.is_err() {
        let all = open_descriptors().unwrap_or_else(|| (3..LAST_RESORT).collect());
        for number in all.into_iter().filter(|number| *number > 2) {
            // SAFETY: borrowed for this one call; for one that is not open it returns EBADF.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            let _ = fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        }
    }
}

/// Raises the limit on open descriptors (`RLIMIT_NOFILE`) as far as possible without
/// privilege, and returns whether it was raised. The command keeps its own limit, because
/// it is already started.
pub(crate) fn raise_limit() -> bool {
    // If it cannot be raised, the limit stays.
    getrlimit(Resource::RLIMIT_NOFILE).is_ok_and(|(soft, hard)| {
        soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok()
    })
}

/// The soft and the hard limit on open descriptors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit(u64, u64);

/// The limit on open descriptors as it is now; `None` if it cannot be read.
pub(crate) fn limit() -> Option<Limit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(Limit(soft, hard))
}

/// Sets the limit on open descriptors, for a program that is executed later. A hard limit that
/// was raised with privilege can always be lowered again.
pub(crate) fn set_limit(limit: Limit) {
    // Cannot fail: neither number is above the hard limit of now.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, limit.0, limit.1);
}

/// Makes room for one more descriptor where the limit is reached: raises the limit, or
/// closes a placeholder of [`close_inherited`]. No program is executed any more that could
/// take what gets its number for stdin or stdout.
pub(crate) fn make_room() {
    let one_less = |count: i32| (count > 0).then_some(count - 1);
    if !raise_limit()
        && let Ok(count) = PLACEHOLDERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
    {
        // SAFETY: takes a plain integer, the number of a placeholder: no Rust object owns
        // it, and it is closed once.
        unsafe { libc::close(count - 1) };
    }
}

/// Raises the limit on open descriptors in the same way, with privilege to `least` or more,
/// and returns it.
pub(crate) fn raise_limit_to(least: u64) -> usize {
    raise_limit();
    let limit = || getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    if limit() < least {
        // Without privilege the limit stays.
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

/// Closes a descriptor that no Rust object owns, or whose owner does not close it.
pub(super) fn close(number: RawFd) {
    // SAFETY: takes a plain integer. The caller has seen to the owner.
    unsafe { libc::close(number) };
}

/// The type of the file behind a descriptor. Its filesystem, which may not answer, is not
/// asked, as fstat(2) may do.
///
/// # Errors
/// EBADF: it is not open; see fstat(2).
pub(super) fn file_type(number: RawFd) -> nix::Result<SFlag> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is an empty C string, and `stat` lives until the call returns.
    let result = checked(unsafe {
        libc::syscall(
            libc::SYS_statx,
            number,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC,
            libc::STATX_TYPE,
            stat.as_mut_ptr(),
        )
    });
    let mode = match result {
        // SAFETY: zeroed before the call, and every bit pattern is a `statx`.
        Ok(_) => u32::from(unsafe { stat.assume_init_ref() }.stx_mode),
        // SAFETY: borrowed for this one call, which does not need it to be open.
        Err(_) => fstat(unsafe { BorrowedFd::borrow_raw(number) })?.st_mode,
    };
    Ok(SFlag::from_bits_truncate(mode) & SFlag::S_IFMT)
}

/// Whether a type is that of a regular file or a block device: it has no reader, but a
/// filesystem or a disk that may not answer.
pub(super) fn is_file(file_type: SFlag) -> bool {
    [SFlag::S_IFREG, SFlag::S_IFBLK].contains(&file_type)
}

/// Closes all descriptors from `first` to `last`.
fn close_range(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: takes plain integers. At this point no Rust object owns a descriptor except
    // those that are kept.
    let closed = checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) });
    if closed.is_ok() {
        return;
    }
    for number in open_descriptors().unwrap_or_else(|| (first..LAST_RESORT).collect()) {
        if (first..=last).contains(&number) {
            // SAFETY: as above; for one that is not open it returns EBADF.
            unsafe { libc::close(number) };
        }
    }
}

/// The open descriptors as /proc lists them, including that of the listing itself.
fn open_descriptors() -> Option<Vec<RawFd>> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    // Collected first, because the listing itself would be closed while it is read.
    Some(
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect(),
    )
}

/// Gives every user the permission to open stdout and stderr by name for writing
/// (/dev/stdout), where they are pipes: nginx and php-fpm do so. Their pipes belong to the user
/// that the container was started as. A failure changes nothing.
pub(crate) fn let_all_write_to_output() {
    for number in [1, 2] {
        // SAFETY: borrowed for this one call, which does not need it to be open.
        let_all_write(unsafe { BorrowedFd::borrow_raw(number) });
    }
}

/// The same for one descriptor. A named pipe belongs to another program, and is left alone.
/// Without /proc nothing is changed: no descriptor could be opened by name.
fn let_all_write(fd: BorrowedFd<'_>) {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    if link.is_ok_and(|name| name.as_os_str().as_bytes().starts_with(b"pipe:["))
        && let Ok(stat) = fstat(fd)
    {
        let mode = Mode::from_bits_truncate(stat.st_mode) | Mode::from_bits_truncate(0o222);
        let _ = fchmod(fd, mode);
    }
}

/// stderr, which stays open as long as the program runs: [`close_inherited`] keeps it.
pub(super) fn stderr() -> BorrowedFd<'static> {
    // SAFETY: this program closes descriptor 2 only right before it exits. If it was
    // inherited closed, calls on it return EBADF until a placeholder takes its number.
    unsafe { BorrowedFd::borrow_raw(2) }
}

/// Moves a descriptor above 2 if it is not there yet, closed on exec. `None`: the limit on
/// open descriptors is reached.
pub(crate) fn above_stdio(fd: OwnedFd) -> Option<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Some(fd);
    }
    let moved = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(3)).ok()?;
    // SAFETY: fcntl has just made this descriptor for us.
    Some(unsafe { OwnedFd::from_raw_fd(moved) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn every_user_may_open_a_pipe_for_writing_but_no_other_file() {
        let mode = |fd: BorrowedFd<'_>| fstat(fd).unwrap().st_mode & 0o777;
        let (_reader, writer) = std::io::pipe().unwrap();
        assert_eq!(mode(writer.as_fd()), 0o600);
        let_all_write(writer.as_fd());
        assert_eq!(mode(writer.as_fd()), 0o622);
        let folder = std::env::temp_dir().join(format!("supervise-modes-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let fifo = folder.join("pipe:[1]");
        nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let named = open(&fifo, flags, Mode::empty()).unwrap();
        let file = open(
            &folder.join("file"),
            flags | OFlag::O_CREAT,
            Mode::from_bits_truncate(0o600),
        );
        for fd in [named, file.unwrap()] {
            let_all_write(fd.as_fd());
            assert_eq!(mode(fd.as_fd()), 0o600);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
