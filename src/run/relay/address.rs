//! Addresses of notification sockets: the service manager's, and those that ours gets.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{self, UnixAddr, connect, getsockname};
use nix::sys::stat::{Mode, umask};

use crate::sys::datagram;
use crate::sys::process::own_pid;

/// Whether we are the main process of a unit, from what `SYSTEMD_EXEC_PID` says, our
/// pid and our parent's. A manager that sets no such variable (systemd before 248, an
/// engine) starts it as its own child, or as PID 1 of a container. PID 1 of an inner
/// namespace that the variable does not name is not the process that the manager started.
pub(super) fn is_main_of_unit(named: Option<&OsStr>, own_pid: i32, parent: i32) -> bool {
    match named {
        Some(named) => named.to_str().and_then(|pid| pid.parse().ok()) == Some(own_pid),
        None => own_pid == 1 || parent == 1,
    }
}

/// Whether a value of `NOTIFY_SOCKET` is a Unix socket's: a path or an abstract
/// name. Others (vsock) are left to the command.
pub(super) fn is_unix(value: &OsStr) -> bool {
    matches!(value.as_bytes(), [b'/' | b'@', _, ..])
}

pub(super) fn parse_address(value: &[u8]) -> nix::Result<UnixAddr> {
    match value.strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name),
        None => UnixAddr::new(value),
    }
}

/// Gives the socket an address, and a file where that is possible.
///
/// # Errors
/// See bind(2).
pub(super) fn bind(socket: &OwnedFd) -> nix::Result<(OsString, Option<PathBuf>)> {
    match bind_in_a_folder(socket) {
        Some(path) => Ok((path.clone().into_os_string(), Some(path))),
        None => Ok((bind_without_a_file(socket)?, None)),
    }
}

/// Gives the socket a file in `$RUNTIME_DIRECTORY` or /run, where that is possible:
/// not every client knows abstract names, and those are limited to a network namespace.
fn bind_in_a_folder(socket: &OwnedFd) -> Option<PathBuf> {
    let runtime = std::env::var_os("RUNTIME_DIRECTORY").unwrap_or_default();
    let folders = std::env::split_paths(&runtime).chain([PathBuf::from("/run")]);
    let name = format!("supervise.{}.notify", own_pid());
    folders
        .filter(|folder| folder.is_absolute() && others_may_enter(folder))
        .map(|folder| folder.join(&name))
        .find(|path| bind_to(socket, path).is_ok())
}

/// As root we may start a command that becomes another user.
fn others_may_enter(folder: &Path) -> bool {
    !nix::unistd::geteuid().is_root()
        || std::fs::metadata(folder).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
}

fn bind_to(socket: &OwnedFd, path: &Path) -> nix::Result<()> {
    let address = UnixAddr::new(path)?;
    let mut bound = bind_for_all(socket, &address);
    // One of a process that was killed, perhaps before this container was started
    // again: pids are the same then.
    if bound == Err(Errno::EADDRINUSE) && is_abandoned(&address) {
        // The folder may be another user's, and be another one by now: even then it can
        // be only a file of this name that goes.
        let _ = std::fs::remove_file(path);
        bound = bind_for_all(socket, &address);
    }
    bound
}

/// Gives the socket a file that every user may send to, because the command may become
/// another user, and senders are checked. Not by chmod(2), which in a folder of another
/// user may meet another file.
fn bind_for_all(socket: &OwnedFd, address: &UnixAddr) -> nix::Result<()> {
    let before = umask(Mode::from_bits_truncate(0o111));
    let bound = socket::bind(socket.as_raw_fd(), address);
    umask(before);
    bound
}

fn is_abandoned(address: &UnixAddr) -> bool {
    datagram::sender()
        .and_then(|socket| connect(socket.as_raw_fd(), address))
        .is_err_and(|errno| errno == Errno::ECONNREFUSED)
}

/// Gives the socket an abstract name of the kernel's choice (unix(7), autobind).
pub(super) fn bind_without_a_file(socket: &OwnedFd) -> nix::Result<OsString> {
    socket::bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
    let address: UnixAddr = getsockname(socket.as_raw_fd())?;
    let name = address.as_abstract().ok_or(Errno::EADDRNOTAVAIL)?;
    Ok(OsString::from_vec([b"@", name].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_process_of_a_unit_is_known_by_its_pid_or_its_parent() {
        for (named, own_pid, parent, is_main) in [
            (Some("42"), 42, 1, true),
            (Some("42"), 42, 7, true),
            (Some("41"), 42, 1, false),
            (Some("41"), 42, 41, false),
            // PID 1 of a namespace inside the unit.
            (Some("41"), 1, 0, false),
            (Some("1"), 1, 0, true),
            (Some(""), 42, 1, false),
            (Some("x"), 42, 1, false),
            (None, 42, 1, true),
            (None, 42, 41, false),
            (None, 1, 0, true),
            (None, 42, 0, false),
        ] {
            assert_eq!(
                is_main_of_unit(named.map(OsStr::new), own_pid, parent),
                is_main,
                "{named:?} {own_pid} {parent}"
            );
        }
    }

    #[test]
    fn unix_addresses_are_told_from_others() {
        for value in ["/run/systemd/notify", "@name"] {
            assert!(is_unix(OsStr::new(value)), "{value}");
        }
        for value in ["", "@", "/", "vsock:2:1234", "relative"] {
            assert!(!is_unix(OsStr::new(value)), "{value}");
        }
    }
}
