//! The file that the report goes to: opened before the command starts, so that a bad
//! path is refused, and written in place when all is over.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use log::warn;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::geteuid;

use crate::ending::Ending;
use crate::settings::ReportPath;
use crate::sys::descriptors::above_stdio;
use crate::sys::helpers;
use crate::sys::user_ids::KnownUids;

/// It holds the whole command line.
const MODE: Mode = Mode::from_bits_truncate(0o600);

/// How many symbolic links may be on the way, as the kernel has it.
const LINKS: u32 = 40;

/// What takes the place of an error number if the file holds the beginning of the report.
const TRUNCATED: u8 = u8::MAX;

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
    pub(crate) fn open(to: &ReportPath) -> Result<Self, String> {
        let ReportPath { source, path } = to;
        // To wait for the reader of a pipe would be to wait for ever. Not emptied before
        // it is known to be no other's.
        let flags = OFlag::O_WRONLY
            | OFlag::O_CREAT
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        let opened = if geteuid().is_root() {
            open_as_root(path, flags)
        } else {
            open(path, flags, MODE).map_err(Refused::Errno)
        };
        let file = opened
            .and_then(|file| above_stdio(file).ok_or(Refused::Errno(Errno::EMFILE)))
            .map_err(|why| {
                let path = path.display();
                format!("{source}: cannot open '{path}' for writing: {why}")
            })?;
        let _ = nix::unistd::ftruncate(&file, 0);
        let path = path.to_owned();
        Ok(Self { file, path })
    }

    /// The descriptor, to be kept when others are let go of.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Writes the report in a helper and closes the file, and waits for that until this time:
    /// the filesystem may not answer.
    pub(crate) fn write(self, report: &str, until: Instant) {
        let Self { file, path } = self;
        let path = path.display();
        let written = helpers::with_file(file, until, |file| write(file, report.as_bytes()));
        match written {
            Ok(Ending::Exited(0)) => {}
            Ok(Ending::Exited(TRUNCATED)) => {
                warn!(
                    "report '{path}' truncated: only its beginning was written; use a regular file"
                );
            }
            Ok(Ending::Exited(errno)) => {
                let why = Errno::from_raw(errno.into()).desc();
                warn!("cannot write report '{path}': {why}; nothing was written");
            }
            Ok(ending) => warn!("cannot write report '{path}': its writer {ending}"),
            Err(pid) => {
                warn!("report '{path}' not written: pid {pid} still waits for the filesystem");
            }
        }
    }
}

/// Writes the report, all or nothing if possible. Returns 0, an error number, or
/// [`TRUNCATED`].
fn write(file: BorrowedFd<'_>, report: &[u8]) -> u8 {
    // The command, or another supervise below, may have written there meanwhile. A file that
    // is not regular cannot be emptied, and need not be.
    let _ = nix::unistd::ftruncate(file, 0);
    let _ = nix::unistd::lseek(file, 0, nix::unistd::Whence::SeekSet);
    let mut rest = report;
    while !rest.is_empty() {
        match nix::unistd::write(file, rest) {
            Ok(length) if length > 0 => rest = rest.get(length..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            failed => {
                let errno = failed.err().unwrap_or(Errno::EIO);
                let is_empty =
                    rest.len() == report.len() || nix::unistd::ftruncate(file, 0).is_ok();
                return if is_empty {
                    u8::try_from(errno as i32).unwrap_or(TRUNCATED)
                } else {
                    TRUNCATED
                };
            }
        }
    }
    0
}

/// Why a path is refused.
#[derive(Debug)]
enum Refused {
    Errno(Errno),
    /// This part of it is a symbolic link of another user's.
    Link {
        name: OsString,
        owner: u32,
    },
    /// The file has other names, and another user may have given it this one.
    HardLink,
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Errno(errno) => write!(f, "{}; name a file that may be written", errno.desc()),
            Self::Link { name, owner } => write!(
                f,
                "'{}' is a symbolic link of uid {owner}, who could have any file of root's \
                 overwritten; name a path without it",
                name.display()
            ),
            Self::HardLink => f.write_str(
                "the file has other names (hard links), and other users may write to its \
                 directory: it may be any file of root's; remove it, or name another",
            ),
        }
    }
}

/// Opens a file for root, who may write everywhere: step by step, because on a path that
/// another user may change nothing is to lead to a file that this user may not write.
/// `/dev/stdout`, a mount, and whatever links the administrator has made stay possible.
fn open_as_root(path: &Path, flags: OFlag) -> Result<OwnedFd, Refused> {
    let step = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let first = if path.is_absolute() { "/" } else { "." };
    let mut folder = open(first, step, Mode::empty())?;
    refuse_folder(path)?;
    let mut to_go = names(path);
    let mut links = 0;
    while let Some(name) = to_go.pop() {
        let last = to_go.is_empty();
        let flags = if last { flags } else { step };
        let found = match openat(&folder, &*name, flags | OFlag::O_NOFOLLOW, MODE) {
            Ok(found) => found,
            Err(errno @ (Errno::ELOOP | Errno::ENOTDIR)) => {
                let link = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let link = openat(&folder, &*name, link, Mode::empty())?;
                let stat = fstat(&link)?;
                if kind(&stat) != SFlag::S_IFLNK {
                    return Err(Refused::Errno(errno));
                }
                if !is_trusted(stat.st_uid) {
                    let owner = stat.st_uid;
                    return Err(Refused::Link { name, owner });
                }
                if fstatfs(&link)?.filesystem_type() != PROC_SUPER_MAGIC {
                    links += 1;
                    if links > LINKS {
                        return Err(Refused::Errno(Errno::ELOOP));
                    }
                    let target = PathBuf::from(readlinkat(&link, "")?);
                    if last {
                        refuse_folder(&target)?;
                    }
                    if target.is_absolute() {
                        folder = open("/", step, Mode::empty())?;
                    }
                    to_go.extend(names(&target));
                    continue;
                }
                // Of the kernel's own links the text is no path.
                openat(&folder, &*name, flags, MODE)?
            }
            Err(errno) => return Err(Refused::Errno(errno)),
        };
        if last {
            refuse_hard_link(&found, &folder)?;
            return Ok(found);
        }
        folder = found;
    }
    Err(Refused::Errno(if path.as_os_str().is_empty() {
        Errno::ENOENT
    } else {
        Errno::EISDIR
    }))
}

/// A path that ends like this can only be a directory, and the names on it do not
/// show that.
fn refuse_folder(path: &Path) -> Result<(), Refused> {
    let path = path.as_os_str().as_bytes();
    if path.ends_with(b"/") || path.ends_with(b"/.") {
        return Err(Refused::Errno(Errno::EISDIR));
    }
    Ok(())
}

/// The names on a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
        _ => None,
    });
    names.collect()
}

/// Where others may write, one of them may have given root's file this name.
fn refuse_hard_link(file: &OwnedFd, folder: &OwnedFd) -> Result<(), Refused> {
    let stat = fstat(file)?;
    if kind(&stat) != SFlag::S_IFREG || stat.st_nlink <= 1 {
        return Ok(());
    }
    let folder = fstat(folder)?;
    let of_others = Mode::from_bits_truncate(folder.st_mode) & (Mode::S_IWGRP | Mode::S_IWOTH);
    if is_trusted(folder.st_uid) && of_others.is_empty() {
        return Ok(());
    }
    Err(Refused::HardLink)
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Root, and in a user namespace whoever is outside it: root there has no power over
/// files of theirs.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || !KnownUids::read().is_mapped(uid)
}
