//! The surroundings that the reader of services may look at.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::user::Account;

/// Variables, filesystem and user; handed in, so that tests are independent of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct World {
    /// Our environment.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// The root of the filesystem in which programs, directories and users are looked up.
    pub(crate) root: PathBuf,
    /// Our working directory below that root; empty if it is unknown.
    pub(crate) directory: PathBuf,
    /// Who we are.
    pub(crate) us: Us,
}

/// Our user and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Us {
    /// Our effective user ID.
    pub(crate) uid: u32,
    /// Our effective group ID.
    pub(crate) gid: u32,
    /// Our supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// Whether we may take on other user and group IDs (`CAP_SETUID`, `CAP_SETGID`).
    pub(crate) may_change: bool,
}

impl World {
    /// The world that this process is in.
    pub(crate) fn current() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            root: PathBuf::from("/"),
            directory: std::env::current_dir().unwrap_or_default(),
            us: Us::current(),
        }
    }

    /// The value of one of our variables.
    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        let mut variables = self.variables.iter();
        let (_, value) = variables.find(|(known, _)| known == name)?;
        Some(value)
    }

    /// The path at which a file of this world is found by a process that has this working
    /// directory, seen from ours.
    pub(super) fn locate(&self, directory: &Path, path: &Path) -> PathBuf {
        let path = self.directory.join(directory).join(path);
        self.root.join(path.strip_prefix("/").unwrap_or(&path))
    }
}

impl Us {
    fn current() -> Self {
        let uid = nix::unistd::geteuid().as_raw();
        let groups = nix::unistd::getgroups().unwrap_or_default();
        let status = std::fs::read("/proc/self/status").unwrap_or_default();
        Self {
            uid,
            gid: nix::unistd::getegid().as_raw(),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
            // Without /proc the attempt decides.
            may_change: may_change(&status).unwrap_or(uid == 0),
        }
    }

    /// Whether a service may run with this account: it is ours, or we may change to it.
    pub(crate) fn may_become(&self, account: &Account) -> bool {
        let is_ours = |group: &u32| *group == self.gid || self.groups.contains(group);
        self.may_change
            || (account.uid == self.uid
                && account.gid == self.gid
                && account.groups.iter().all(is_ours))
    }
}

/// Reads from /proc/PID/status whether its process may take on other IDs.
fn may_change(status: &[u8]) -> Option<bool> {
    /// `CAP_SETGID` and `CAP_SETUID` of `linux/capability.h`.
    const NEEDED: u64 = 1 << 6 | 1 << 7;
    let mut lines = status.split(|b| *b == b'\n');
    let set = lines.find_map(|line| line.strip_prefix(b"CapEff:"))?;
    let set = OsStr::from_bytes(set).to_str()?.trim();
    Some(u64::from_str_radix(set, 16).ok()? & NEEDED == NEEDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read() {
        let of = |set: &str| may_change(format!("Name:\tx\nCapEff:\t{set}\nx\n").as_bytes());
        assert_eq!(of("00000000000000c0"), Some(true));
        assert_eq!(of("000001ffffffffff"), Some(true));
        assert_eq!(of("0000000000000080"), Some(false), "setuid alone");
        assert_eq!(of("0000000000000040"), Some(false), "setgid alone");
        assert_eq!(of("x"), None);
        assert_eq!(may_change(b"Name:\tx\n"), None);
    }

    #[test]
    fn only_our_own_account_needs_no_capability() {
        let us = Us {
            uid: 5,
            gid: 6,
            groups: vec![7],
            may_change: false,
        };
        let account = |uid, gid, groups: &[u32]| Account {
            uid,
            gid,
            groups: groups.to_vec(),
            name: None,
            home: "/".into(),
        };
        assert!(us.may_become(&account(5, 6, &[6, 7])));
        assert!(!us.may_become(&account(4, 6, &[6])));
        assert!(!us.may_become(&account(5, 7, &[7])));
        assert!(!us.may_become(&account(5, 6, &[6, 8])));
        let root = Us {
            may_change: true,
            ..us
        };
        assert!(root.may_become(&account(4, 8, &[9])));
    }

    #[test]
    fn paths_are_found_below_the_root_and_the_directory() {
        let world = World {
            variables: vec![("A".into(), "1".into()), ("A".into(), "2".into())],
            root: "/root".into(),
            directory: "/ours".into(),
            us: Us::default(),
        };
        let at = |directory: &str, path: &str| {
            let path = world.locate(Path::new(directory), Path::new(path));
            path.to_str().unwrap().to_owned()
        };
        assert_eq!(at("", "/bin/sh"), "/root/bin/sh");
        assert_eq!(at("", "sh"), "/root/ours/sh");
        assert_eq!(at("/app", "sh"), "/root/app/sh");
        assert_eq!(at("app", "bin/x"), "/root/ours/app/bin/x");
        assert_eq!(at("app", "/x"), "/root/x");
        assert_eq!(world.variable("A"), Some(OsStr::new("1")));
        assert_eq!(world.variable("B"), None);
    }

    #[test]
    fn this_process_has_a_world() {
        let world = World::current();
        assert!(world.variable("PATH").is_some() && world.directory.is_absolute());
        assert_eq!(world.us.uid, nix::unistd::geteuid().as_raw());
        let rights = crate::sys::process::rights();
        assert_eq!(world.us.may_change, rights.set_uid);
    }
}
