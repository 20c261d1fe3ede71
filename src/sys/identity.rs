//! Becomes another user for good, in the child that executes a service.

use nix::errno::Errno;

use super::checked;

/// The user and groups of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Real, effective and saved user ID.
    pub(crate) uid: u32,
    /// Real, effective and saved group ID.
    pub(crate) gid: u32,
    /// The supplementary groups, in any order. That group may be one of them.
    pub(crate) groups: Vec<u32>,
}

/// Why this process is not the user that it was to become. It may be neither that user nor
/// the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// This system call failed.
    Call(&'static str, Errno),
    /// The calls succeeded, but the IDs or groups are not those that were set.
    NotSet,
    /// The process can become root again.
    StillRoot,
}

/// Makes this process that user for good: supplementary groups, group IDs, user IDs, by the
/// raw calls, because the C library's functions would set them in other threads as well. Then
/// all are read back.
///
/// Makes no call that needs a capability if the user and group IDs are those already, and
/// the groups are among ours: there may be more, which a container engine has added
/// (`--group-add`, `fsGroup`).
///
/// The kernel clears the parent-death signal. It also makes the process undumpable until it
/// executes a program. This stays so: other processes of that user could read our memory, and
/// with it the settings of other services, by ptrace(2).
///
/// # Errors
/// See [`Refused`].
pub(super) fn become_user(identity: &Identity) -> Result<(), Refused> {
    let Identity { uid, gid, groups } = identity;
    let (uid, gid) = (*uid, *gid);
    let now = Current::read()?;
    let is_ours = |group: &u32| *group == gid || now.groups.contains(group);
    if now.has_ids(uid, gid) && groups.iter().all(is_ours) {
        return Ok(());
    }
    // SAFETY: the kernel reads `groups.len()` IDs.
    let set = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    checked(set).map_err(|errno| Refused::Call("setgroups", errno))?;
    // SAFETY: takes plain integers.
    let set = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    checked(set).map_err(|errno| Refused::Call("setresgid", errno))?;
    // SAFETY: takes plain integers.
    let set = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    checked(set).map_err(|errno| Refused::Call("setresuid", errno))?;
    let now = Current::read()?;
    // A system call filter can make a call succeed that it does not let through.
    if !now.has_ids(uid, gid) || now.groups != sorted(groups) {
        return Err(Refused::NotSet);
    }
    // SAFETY: takes a plain integer.
    if uid != 0 && checked(unsafe { libc::syscall(libc::SYS_setuid, 0) }).is_ok() {
        return Err(Refused::StillRoot);
    }
    Ok(())
}

/// What this process is.
struct Current {
    uids: [u32; 3],
    gids: [u32; 3],
    /// Sorted, each once.
    groups: Vec<u32>,
}

impl Current {
    fn read() -> Result<Self, Refused> {
        let failed = |call| move |errno| Refused::Call(call, errno);
        let uids = nix::unistd::getresuid().map_err(failed("getresuid"))?;
        let gids = nix::unistd::getresgid().map_err(failed("getresgid"))?;
        let groups = nix::unistd::getgroups().map_err(failed("getgroups"))?;
        let groups: Vec<_> = groups.into_iter().map(nix::unistd::Gid::as_raw).collect();
        Ok(Self {
            uids: [uids.real, uids.effective, uids.saved].map(nix::unistd::Uid::as_raw),
            gids: [gids.real, gids.effective, gids.saved].map(nix::unistd::Gid::as_raw),
            groups: sorted(&groups),
        })
    }

    fn has_ids(&self, uid: u32, gid: u32) -> bool {
        self.uids == [uid; 3] && self.gids == [gid; 3]
    }
}

fn sorted(groups: &[u32]) -> Vec<u32> {
    let mut groups = groups.to_vec();
    groups.sort_unstable();
    groups.dedup();
    groups
}

impl Refused {
    /// What failed, why, and what to do.
    pub(super) fn text(self) -> String {
        let (call, errno) = match self {
            Self::Call(call, errno) => (call, errno),
            Self::NotSet => {
                return "the IDs are not those that were set; allow setgroups, setresgid and \
                        setresuid in the seccomp filter"
                    .to_owned();
            }
            Self::StillRoot => {
                return "setuid(0) still succeeds; start supervise as root, without \
                        SECBIT_KEEP_CAPS and SECBIT_NO_SETUID_FIXUP"
                    .to_owned();
            }
        };
        let advice = match (call, errno) {
            ("setgroups", Errno::EPERM) if setgroups_is_denied() => {
                return "setgroups: /proc/self/setgroups is \"deny\" in this user namespace; map \
                        groups with newgidmap (/etc/subgid)"
                    .to_owned();
            }
            ("setresuid", Errno::EINVAL) => {
                return "setresuid: the user ID is not mapped in this user namespace; map it \
                        (/etc/subuid) or use another user"
                    .to_owned();
            }
            (_, Errno::EINVAL) => {
                return format!(
                    "{call}: a group ID is not mapped in this user namespace; map it \
                     (/etc/subgid) or use another group"
                );
            }
            ("setresuid", Errno::EPERM) => "grant CAP_SETUID",
            (_, Errno::EPERM) => "grant CAP_SETGID",
            (_, Errno::EAGAIN) => "raise the limit on processes of that user (ulimit -u)",
            _ => "allow it in the seccomp filter",
        };
        format!("{call}: {}; {advice}", errno.desc())
    }
}

fn setgroups_is_denied() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|text| text.trim_ascii() == b"deny")
}
