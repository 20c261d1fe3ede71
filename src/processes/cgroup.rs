//! What the control groups say (cgroups(7)): whether ours has run out of memory,
//! and whether a process's is frozen. Reading may fail anywhere: then nothing is
//! known.

use crate::processes::procfs::{self, known};

/// Where the hierarchies are mounted, by convention: version 2, version 2 beside
/// version 1, and version 1 by the name of the controller.
const UNIFIED: &[&str] = &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const MEMORY: &[&str] = &["/sys/fs/cgroup/memory"];
const FREEZER: &[&str] = &["/sys/fs/cgroup/freezer"];

/// How many processes of our control group the kernel has killed for want of
/// memory, since the group was made.
pub(crate) fn oom_kills() -> Option<u64> {
    let groups = read("/proc/self/cgroup")?;
    let (mounts, path, file) = match group_of(&groups, "memory") {
        Some(path) => (MEMORY, path, "memory.oom_control"),
        None => (UNIFIED, unified(&groups)?, "memory.events"),
    };
    let text = read_in(mounts, path, file)?;
    value_of(&text, "oom_kill")
}

/// Whether the control group of a process is frozen.
pub(crate) fn is_frozen(pid: i32) -> bool {
    let Some(groups) = read(&format!("/proc/{pid}/cgroup")) else {
        return false;
    };
    let freezer =
        group_of(&groups, "freezer").and_then(|path| read_in(FREEZER, path, "freezer.state"));
    let events = unified(&groups).and_then(|path| read_in(UNIFIED, path, "cgroup.events"));
    freezer.is_some_and(|state| state.trim() == "FROZEN")
        || events.is_some_and(|text| value_of(&text, "frozen") == Some(1))
}

/// The group of version 1 that a line of /proc/PID/cgroup names for a controller.
fn group_of<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let named = controllers.split(',').any(|name| name == controller);
        named.then_some(path)
    })
}

/// The group of version 2.
fn unified(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Reads a file of a group. In a container the group that /proc names may be that
/// of the host, and be mounted as the root.
fn read_in(mounts: &[&str], path: &str, file: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    mounts
        .iter()
        .flat_map(|mount| [[mount, path, "/", file], [mount, "", "/", file]])
        .find_map(|parts| read(&parts.concat()))
}

fn read(path: &str) -> Option<String> {
    String::from_utf8(known(procfs::read(path))?).ok()
}

/// The number in a line `NAME NUMBER`.
fn value_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        if key == name {
            value.trim().parse().ok()
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn groups_are_found_by_controller() {
        let groups = "9:name=systemd:/\n4:memory:/a/b:c\n3:cpu,cpuacct:/d\n0::/e\n";
        assert_eq!(group_of(groups, "memory"), Some("/a/b:c"));
        assert_eq!(group_of(groups, "cpuacct"), Some("/d"));
        assert_eq!(group_of(groups, "freezer"), None);
        assert_eq!(unified(groups), Some("/e"));
        assert_eq!(unified("4:memory:/a\n"), None);
    }

    #[test]
    fn a_value_is_found_by_its_whole_name() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(value_of(events, "oom_kill"), Some(2));
        let control = "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n";
        assert_eq!(value_of(control, "oom_kill"), Some(7));
        assert_eq!(value_of("", "oom_kill"), None);
        assert_eq!(value_of("oom_kill x\n", "oom_kill"), None);
    }

    proptest! {
        #[test]
        fn no_text_upsets_it(text in "(?s).{0,200}") {
            let _ = (group_of(&text, "memory"), unified(&text), value_of(&text, "oom_kill"));
        }
    }
}
