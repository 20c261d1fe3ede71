//! Whether a program or a directory is there.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::user::Account;
use super::world::World;
use crate::sys::exec::candidates;

/// Where and how a service is executed.
pub(super) struct Place<'a> {
    pub(super) world: &'a World,
    /// Its working directory, seen from ours.
    pub(super) directory: &'a Path,
    /// Its PATH.
    pub(super) path: Option<&'a OsStr>,
    /// The user that it becomes, if that is not ours.
    pub(super) account: Option<&'a Account>,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Program,
    Directory,
    /// It is not executable for any user.
    NotExecutable,
    Nothing,
    /// It may be there: permission to look is missing.
    Unknown,
}

impl Place<'_> {
    /// Returns why a program cannot be executed; `None` if it is there or may be there.
    pub(super) fn why_no_program(&self, name: &CStr) -> Option<&'static str> {
        let has_slash = name.to_bytes().contains(&b'/');
        let mut why = if has_slash {
            "does not exist; install it or correct the path"
        } else if name.to_bytes().iter().any(u8::is_ascii_whitespace) {
            "is not in PATH; write the program and each argument as a string of its own"
        } else {
            "is not in PATH; install it or give its full path"
        };
        for path in candidates(name, self.path) {
            let path = Path::new(OsStr::from_bytes(path.to_bytes()));
            match self.find(path) {
                Found::Program | Found::Unknown => return None,
                Found::Directory if has_slash => why = "is a directory; give a program",
                Found::NotExecutable => why = "is not executable; use chmod +x",
                Found::Directory | Found::Nothing => {}
            }
        }
        Some(why)
    }

    fn find(&self, path: &Path) -> Found {
        let path = self.world.locate(self.directory, path);
        if !self.may_reach(&path) {
            return Found::Nothing;
        }
        match std::fs::metadata(path) {
            Ok(data) if data.is_dir() => Found::Directory,
            Ok(data) if data.mode() & 0o111 == 0 => Found::NotExecutable,
            Ok(_) => Found::Program,
            Err(error) if is_absence(&error) => Found::Nothing,
            Err(_) => Found::Unknown,
        }
    }

    /// Whether the user may search the directories of a path. Where an access control list
    /// may permit it, the mode shows that of the group as well, so that it counts for all.
    fn may_reach(&self, path: &Path) -> bool {
        let Some(account) = self.account.filter(|account| account.uid != 0) else {
            return true;
        };
        let parents = path.ancestors().skip(1);
        parents
            .filter_map(|parent| std::fs::metadata(parent).ok())
            .all(|data| {
                let needed = if data.uid() == account.uid {
                    0o100
                } else {
                    0o011
                };
                data.mode() & needed != 0
            })
    }
}

/// Returns why a directory cannot be the working directory; `None` if it can or may be.
pub(super) fn why_no_directory(world: &World, path: &Path) -> Option<&'static str> {
    match std::fs::metadata(world.locate(Path::new(""), path)) {
        Ok(data) if data.is_dir() => None,
        Ok(_) => Some("is not a directory; correct the path"),
        Err(error) if is_absence(&error) => Some("does not exist; create it or correct the path"),
        Err(_) => None,
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
