//! The status file: where it is, and how it is written so that a reader sees all of one
//! status, of a `supervise` that runs, and nothing that a stranger has put there.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use log::{debug, info, warn};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{geteuid, unlink};

use super::status::{MAGIC, Row, Status, Writer, written};
use crate::sys::user_ids::KnownUids;

/// For everybody, because a health check may run as any user.
const MODE: Mode = Mode::from_bits_truncate(0o644);

/// The directory of the default, where no service manager has made another.
const FOLDER: &str = "/run/supervise";

/// The name of the file in a directory of its own.
const NAME: &str = "supervise.status";

/// More than ten thousand services have.
const LIMIT: usize = 1 << 20;

/// What it takes to judge a file that was found.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    /// The users whose files are believed. The first are ours.
    pub(crate) trusted: Vec<u32>,
    /// Whether this process runs.
    pub(crate) runs: fn(Writer) -> bool,
}

/// Why a file is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Disbelief {
    Errno(Errno),
    NotRegular,
    Owner(u32),
    /// As after a power failure, or as mktemp(1) makes it.
    Empty,
    OtherVersion,
    NotStatus,
    /// Its writer does not run.
    Left(Writer),
}

impl Disbelief {
    /// Whether nothing is lost that somebody else has written.
    fn may_be_replaced(&self) -> bool {
        matches!(
            self,
            Self::Errno(Errno::ENOENT) | Self::Left(_) | Self::Empty | Self::OtherVersion
        )
    }
}

impl From<Errno> for Disbelief {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl fmt::Display for Disbelief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(Errno::ELOOP) => f.write_str("it is a symbolic link"),
            Self::Errno(errno) => f.write_str(errno.desc()),
            Self::NotRegular => f.write_str("it is not a regular file"),
            Self::Owner(uid) => write!(f, "it belongs to uid {uid}, which is not trusted"),
            Self::Empty => f.write_str("it is empty"),
            Self::OtherVersion => f.write_str("it is of another version of supervise"),
            Self::NotStatus => f.write_str("it is not a status file"),
            Self::Left(Writer { pid, .. }) => write!(
                f,
                "it was left by supervise (pid {pid}), which no longer runs"
            ),
        }
    }
}

/// Reads a status file. It may be a stranger's: nothing here blocks, and no link is followed.
fn believed(path: &Path, judge: &Judge) -> Result<Status, Disbelief> {
    let flags = OFlag::O_RDONLY
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let file = open(path, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(Disbelief::NotRegular);
    }
    if !judge.trusted.contains(&stat.st_uid) {
        return Err(Disbelief::Owner(stat.st_uid));
    }
    let bytes = read(file.as_fd())?;
    if bytes.is_empty() {
        return Err(Disbelief::Empty);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| Disbelief::NotStatus)?;
    match Status::parse(text) {
        Some(status) if (judge.runs)(status.writer) => Ok(status),
        Some(status) => Err(Disbelief::Left(status.writer)),
        None if text.starts_with(MAGIC) => Err(Disbelief::OtherVersion),
        None => Err(Disbelief::NotStatus),
    }
}

/// Reads a file up to the limit. What lies beyond is cut off, which then is not a status.
fn read(file: impl AsFd) -> nix::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    while bytes.len() < LIMIT {
        match nix::unistd::read(&file, &mut part) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(part.get(..length).unwrap_or_default()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(bytes)
}

/// The status in this file, or in the first default one that is believed.
///
/// # Errors
/// One line: why no status was found.
pub(crate) fn find(
    file: Option<&Path>,
    runtime: Option<&OsStr>,
    judge: &Judge,
) -> Result<Status, String> {
    let places = match file {
        Some(file) => vec![file.to_owned()],
        None => places_to_read(runtime, &judge.trusted),
    };
    let mut first = None;
    for place in &places {
        match believed(place, judge) {
            Ok(status) => return Ok(status),
            Err(Disbelief::Errno(Errno::ENOENT | Errno::ENOTDIR)) => {}
            Err(why) => {
                first.get_or_insert_with(|| format!("'{}': {why}", place.display()));
            }
        }
    }
    let why = first.unwrap_or_else(|| {
        let places = places.iter().map(|place| format!("'{}'", place.display()));
        let places: Vec<_> = places.collect();
        format!("no status file {}", places.join(" or "))
    });
    Err(format!(
        "no supervise runs services here: {why}; use --status FILE if it has another name \
         (--status-file)"
    ))
}

/// The absolute directories in `$RUNTIME_DIRECTORY`.
fn runtime_folders(runtime: Option<&OsStr>) -> Vec<PathBuf> {
    let folders = std::env::split_paths(runtime.unwrap_or_default());
    folders.filter(|folder| folder.is_absolute()).collect()
}

fn in_tmp(uid: u32) -> PathBuf {
    format!("/tmp/supervise-{uid}.status").into()
}

/// Where the file is looked for. Our own comes before that of another user who is trusted.
fn places_to_read(runtime: Option<&OsStr>, trusted: &[u32]) -> Vec<PathBuf> {
    let mut places: Vec<_> = runtime_folders(runtime)
        .into_iter()
        .map(|folder| folder.join(NAME))
        .collect();
    let mut in_tmp = trusted.iter().map(|uid| in_tmp(*uid));
    places.extend(in_tmp.next());
    places.push(Path::new(FOLDER).join(NAME));
    places.extend(in_tmp);
    places
}

/// A status file that is kept up to date.
#[derive(Debug)]
pub(crate) struct StatusFile {
    path: PathBuf,
    /// It was named, and may be any file by mistake.
    is_named: bool,
    writer: Writer,
    judge: Judge,
    /// The last attempt to write it failed.
    pub(crate) failed: bool,
}

/// Why a file was not written.
#[derive(Debug)]
enum Failed {
    /// Another one that runs has it.
    Taken(i32),
    Found(Disbelief),
    Write(Errno),
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self::Write(errno)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(pid) => {
                write!(
                    f,
                    "supervise (pid {pid}) runs and uses it; use --status-file"
                )
            }
            Self::Found(why) => write!(f, "{why}; remove it or name another file"),
            Self::Write(errno) => f.write_str(errno.desc()),
        }
    }
}

impl StatusFile {
    /// Writes the first status, to this file or to the first default one that can be written;
    /// `None`: no file can be written.
    ///
    /// # Errors
    /// One line: why a file that was named cannot be written.
    pub(crate) fn create(
        named: Option<&Path>,
        runtime: Option<&OsStr>,
        writer: Writer,
        judge: &Judge,
        rows: &[Row],
    ) -> Result<Option<Self>, String> {
        let at = |path: PathBuf| Self {
            path,
            is_named: named.is_some(),
            writer,
            judge: judge.clone(),
            failed: false,
        };
        if let Some(path) = named {
            let file = at(path.to_owned());
            return match file.replace(rows) {
                Ok(()) => Ok(Some(file)),
                Err(why) => Err(format!(
                    "--status-file: cannot write '{}': {why}",
                    path.display()
                )),
            };
        }
        let own = geteuid().as_raw();
        let mut places: Vec<_> = runtime_folders(runtime);
        if places.is_empty() {
            make_folder();
            places.push(FOLDER.into());
        }
        places.retain(|folder| is_safe(folder, own));
        let places = places.into_iter().map(|folder| folder.join(NAME));
        for path in places.chain([in_tmp(own)]) {
            let file = at(path);
            let path = file.path.display();
            match file.replace(rows) {
                Ok(()) => {
                    debug!("status file: '{path}'");
                    return Ok(Some(file));
                }
                Err(why @ Failed::Taken(_)) => {
                    warn!("no status file for --status: '{path}': {why}");
                    return Ok(None);
                }
                Err(why) => info!("cannot write status file '{path}': {why}"),
            }
        }
        info!("no status file: --status will not show these services; use --status-file");
        Ok(None)
    }

    /// Writes a status.
    pub(crate) fn write(&mut self, rows: &[Row]) {
        let failed = match self.replace(rows) {
            Ok(()) => false,
            Err(why) => {
                // What it shows is no longer true.
                self.remove();
                if !self.failed {
                    let path = self.path.display();
                    warn!("cannot write status file '{path}': {why}");
                }
                true
            }
        };
        self.failed = failed;
    }

    /// Removes the file if it is still ours.
    pub(crate) fn remove(&self) {
        if believed(&self.path, &self.judge).is_ok_and(|status| status.writer == self.writer) {
            // Its directory may have become read-only: then its writer no longer runs.
            let _ = unlink(&self.path);
        }
    }

    fn replace(&self, rows: &[Row]) -> Result<(), Failed> {
        match believed(&self.path, &self.judge) {
            Ok(status) if status.writer != self.writer => {
                return Err(Failed::Taken(status.writer.pid));
            }
            // The name of the default is for us alone.
            Err(why) if self.is_named && !why.may_be_replaced() => {
                return Err(Failed::Found(why));
            }
            _ => {}
        }
        let text = written(self.writer, rows);
        let new = self.new_path().ok_or(Errno::EISDIR)?;
        let written = write_new(&new, text.as_bytes())
            .and_then(|()| renameat(AT_FDCWD, &new, AT_FDCWD, &self.path));
        if written.is_err() {
            let _ = unlink(&new);
        }
        Ok(written?)
    }

    /// In the same directory, and ours: two processes that run do not have one pid.
    fn new_path(&self) -> Option<PathBuf> {
        let mut name = OsString::from(".");
        name.push(self.path.file_name()?);
        name.push(format!(".{}", self.writer.pid));
        Some(self.path.with_file_name(name))
    }
}

/// Writes a file that was not there.
fn write_new(path: &Path, bytes: &[u8]) -> nix::Result<()> {
    let flags = OFlag::O_WRONLY
        | OFlag::O_CREAT
        | OFlag::O_EXCL
        | OFlag::O_NOFOLLOW
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let file = match open(path, flags, MODE) {
        // One that a killed process has left: pids are the same when a container starts again.
        Err(Errno::EEXIST) => {
            unlink(path)?;
            open(path, flags, MODE)?
        }
        opened => opened?,
    };
    // Despite the umask.
    fchmod(&file, MODE)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        match nix::unistd::write(&file, rest) {
            Ok(0) => return Err(Errno::EIO),
            Ok(length) => rest = rest.get(length..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Makes the directory of the default, for all users, if nothing has this name.
fn make_folder() {
    let made = std::fs::DirBuilder::new().mode(0o700).create(FOLDER);
    if made.is_ok() {
        // Despite the umask.
        let _ = std::fs::set_permissions(FOLDER, std::fs::Permissions::from_mode(0o755));
    }
}

/// Whether no stranger can replace a file of ours in this directory, and it is not a link.
fn is_safe(folder: &Path, own: u32) -> bool {
    std::fs::symlink_metadata(folder).is_ok_and(|folder| {
        let is_of_others = folder.mode() & 0o022 != 0 && folder.mode() & 0o1000 == 0;
        // A user who is not mapped is outside our user namespace: root there.
        let is_trusted = |uid| [0, own].contains(&uid) || !KnownUids::read().is_mapped(uid);
        folder.is_dir() && is_trusted(folder.uid()) && !is_of_others
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_looked_for_where_they_are_written_and_our_own_first() {
        let places = |runtime: &str, trusted| {
            let places = places_to_read(Some(OsStr::new(runtime)), trusted);
            let text = |place: PathBuf| place.to_str().unwrap().to_owned();
            places.into_iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(
            places("/run/a:b:/run/c", &[0]),
            [
                "/run/a/supervise.status",
                "/run/c/supervise.status",
                "/tmp/supervise-0.status",
                "/run/supervise/supervise.status",
            ]
        );
        assert_eq!(
            places("", &[5, 0, 6]),
            [
                "/tmp/supervise-5.status",
                "/run/supervise/supervise.status",
                "/tmp/supervise-0.status",
                "/tmp/supervise-6.status",
            ]
        );
    }

    fn folder(name: &str) -> PathBuf {
        let name = format!("supervise-unit-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn a_directory_in_which_strangers_can_replace_files_is_not_safe() {
        let folder = folder("safe");
        let own = geteuid().as_raw();
        for (mode, expected) in [
            (0o755, true),
            (0o1777, true),
            (0o777, false),
            (0o775, false),
            (0o757, false),
        ] {
            let mode_of_it = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&folder, mode_of_it).unwrap();
            assert_eq!(is_safe(&folder, own), expected, "{mode:o}");
        }
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let link = folder.join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        let file = folder.join("file");
        std::fs::write(&file, "").unwrap();
        assert!(!is_safe(&link, own) && !is_safe(&file, own));
        assert!(!is_safe(&folder.join("none"), own));
        if own == 0 {
            std::os::unix::fs::chown(&folder, Some(61241), None).unwrap();
            assert!(!is_safe(&folder, own) && is_safe(&folder, 61241));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_is_replaced_and_removed_only_if_that_takes_nothing_from_others() {
        let folder = folder("replace");
        let path = folder.join("status");
        let judge = Judge {
            trusted: vec![geteuid().as_raw()],
            runs: |writer| writer.pid < 100,
        };
        let row = |starts| Row {
            name: "web".to_owned(),
            condition: None,
            pid: None,
            since: 0,
            starts,
        };
        let create = |pid| {
            let writer = Writer { pid, start: 5 };
            let created = StatusFile::create(Some(&path), None, writer, &judge, &[row(u32::MAX)]);
            created.map(Option::unwrap)
        };
        let found = || find(Some(&path), None, &judge).map(|status| status.rows[0].starts);
        // What a killed process of this pid has left, and a link.
        let target = folder.join("target");
        std::fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, folder.join(".status.7")).unwrap();
        let mut first = create(7).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"kept");
        assert_eq!(found(), Ok(u32::MAX));
        first.write(&[row(2)]);
        assert_eq!((found(), first.failed), (Ok(2), false));
        assert!(create(8).unwrap_err().contains("(pid 7) runs and uses it"));
        // One that did not run at that time has it now.
        let other = written(Writer { pid: 8, start: 5 }, &[row(3)]);
        std::fs::write(&path, &other).unwrap();
        first.write(&[row(4)]);
        assert!(first.failed);
        first.remove();
        assert_eq!(found(), Ok(3));
        for (text, is_kept) in [
            ("", false),
            ("supervise status 2\n", false),
            ("supervise status 1 100 5\n", false),
            ("supervise statu", true),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(create(7).is_err(), is_kept, "{text}");
        }
        std::fs::remove_file(&path).unwrap();
        let mut last = create(7).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        // It is written again when that is possible again.
        let away = folder.with_extension("away");
        std::fs::rename(&folder, &away).unwrap();
        last.write(&[row(5)]);
        assert!(last.failed);
        std::fs::rename(&away, &folder).unwrap();
        last.write(&[row(6)]);
        assert_eq!((found(), last.failed), (Ok(6), false));
        last.remove();
        assert!(!path.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
