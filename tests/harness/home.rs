//! Where `supervise` runs: as PID 1 of a namespace and not, as root and as a normal user.

use std::process::Command;
use std::sync::OnceLock;

use super::{SUPERVISE, is_root, skipped};

/// Where `supervise` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// As an ordinary process.
    Plain,
    /// As PID 1 of a namespace that root made.
    Pid1,
    /// As PID 1 of a namespace that a normal user made.
    UserPid1,
}

impl Home {
    pub fn is_pid1(self) -> bool {
        self != Self::Plain
    }

    /// What executes a command here.
    pub(super) fn prefix(self) -> Vec<&'static str> {
        match self {
            Self::Plain => Vec::new(),
            Self::Pid1 => [&UNSHARE[..], &["--"]].concat(),
            Self::UserPid1 if is_root() => [
                &as_user("65534")[..],
                &["unshare", "-Ur"],
                &UNSHARE[1..],
                &["--"],
            ]
            .concat(),
            Self::UserPid1 => [&["unshare", "-Ur"], &UNSHARE[1..], &["--"]].concat(),
        }
    }

    /// Whether this machine allows it; if not, prints that once.
    pub fn is_possible(self) -> bool {
        static TRIED: [OnceLock<bool>; 3] = [const { OnceLock::new() }; 3];
        *TRIED[self as usize].get_or_init(|| self.try_it())
    }

    fn try_it(self) -> bool {
        let Some((program, arguments)) = self.prefix().split_first().map(|(p, a)| (*p, a.to_vec()))
        else {
            return true;
        };
        let tried = Command::new(program)
            .args(arguments)
            .args([SUPERVISE, "--version"])
            .output();
        let why = match tried {
            Ok(output) if output.status.success() => return true,
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => format!("{program}: {error}"),
        };
        // A machine that is only busy does not forbid it.
        assert!(!why.contains("Resource temporarily unavailable"), "{why}");
        skipped(&format!("{self:?} is not possible here: {why}"));
        false
    }
}

/// Executes what follows as PID 1 of a namespace, from root.
pub const UNSHARE: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// Executes what follows as this user, from root.
pub const fn as_user(uid: &str) -> [&str; 6] {
    ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups"]
}

/// Executes what follows where /proc is empty, from root.
pub const WITHOUT_PROC: [&str; 6] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs none /proc && exec \"$@\"",
    "sh",
];

/// The homes in which root keeps its rights.
pub fn homes_without_user_namespace() -> Vec<Home> {
    let mut homes = homes();
    homes.retain(|home| *home != Home::UserPid1);
    homes
}

/// Every home that this machine allows.
pub fn homes() -> Vec<Home> {
    [Home::Plain, Home::Pid1, Home::UserPid1]
        .into_iter()
        .filter(|home| home.is_possible())
        .collect()
}
