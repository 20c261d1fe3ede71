//! How processes are related to us, and which processes are above us.

use std::iter;

use super::procfs::{children, known, link, shows_own_namespace, stat};

/// How a process is related to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ancestry {
    /// We are its parent, or its parent's parent and so on.
    Descendant,
    /// Alive, but not a descendant.
    Stranger,
    /// It has exited, or /proc does not show it.
    Unknown,
}

/// Returns whether `pid` is a descendant of `root`, which is us. A zombie still has its
/// parent.
pub(crate) fn of(pid: i32, root: i32) -> Ancestry {
    if pid <= 0 || !shows_own_namespace(root) {
        return Ancestry::Unknown;
    }
    // If an ancestor exits meanwhile, its children are reparented, and another way leads
    // up.
    for _ in 0..3 {
        for ancestor in lineage(pid).skip(1) {
            match ancestor {
                _ if ancestor == root => return Ancestry::Descendant,
                0 => return Ancestry::Stranger,
                _ => {}
            }
        }
    }
    Ancestry::Unknown
}

/// A process and its ancestors, as far as /proc shows them.
pub(crate) fn with_ancestors(pid: i32) -> Vec<i32> {
    lineage(pid).take_while(|pid| *pid > 0).collect()
}

/// A process, its parent and so on, up to a 0 where there is no further parent.
fn lineage(pid: i32) -> impl Iterator<Item = i32> {
    let above = iter::successors(Some(pid), |pid| (*pid > 0).then(|| parent(*pid)).flatten());
    // No tree is as deep, but one that changes while it is read may seem to have no top.
    above.take(4096)
}

/// The parent of a process; 0 for the first one, and for one that came into the PID
/// namespace from outside.
fn parent(pid: i32) -> Option<i32> {
    match known(stat(pid))?.parent {
        // Also shown of a process in the moment in which it is reaped.
        0 => Some(known(stat(pid))?.parent),
        parent => Some(parent),
    }
}

/// Inits of containers that exit as soon as their child does. A name that is not
/// among them may be a script's, which goes on.
const INITS: [&[u8]; 6] = [
    b"docker-init",
    b"podman-init",
    b"tini",
    b"tini-static",
    b"catatonit",
    b"dumb-init",
];

/// Whether PID 1 exits when we do, and the kernel then kills all others: it is the init
/// of a container, and we are its only child.
pub(crate) fn init_exits_with(own_pid: i32) -> bool {
    // The first namespace, whose PID 1 stays, has this number on every system.
    let first = "pid:[4026531836]";
    nix::unistd::getppid().as_raw() == 1
        && shows_own_namespace(own_pid)
        && link("/proc/self/ns/pid").is_some_and(|namespace| namespace != first)
        && known(stat(1)).is_some_and(|init| INITS.contains(&init.name.as_slice()))
        && children(1) == Some(vec![own_pid])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_told_from_strangers() {
        let own = crate::sys::process::own_pid();
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sleep 1013 & echo $!; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        let mut line = String::new();
        let output = shell.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        let grandchild: i32 = line.trim().parse().unwrap();
        for descendant in [pid, grandchild] {
            assert_eq!(of(descendant, own), Ancestry::Descendant);
        }
        let above = with_ancestors(grandchild);
        assert_eq!(above.get(..3), Some(&[grandchild, pid, own][..]));
        // Of itself and of its parent a process is no descendant.
        let parent = nix::unistd::getppid().as_raw();
        for stranger in [own, parent] {
            assert_eq!(of(stranger, own), Ancestry::Stranger);
        }
        for unknown in [0, -1, i32::MAX] {
            assert_eq!(of(unknown, own), Ancestry::Unknown);
        }
        let kill = |pid| {
            crate::sys::kill::kill(
                crate::sys::kill::Target::Process(pid),
                crate::signal::Signal::KILL,
            )
        };
        kill(grandchild).unwrap();
        shell.wait().unwrap();
        assert_eq!(of(pid, own), Ancestry::Unknown);
        assert!(!init_exits_with(own));
    }
}
