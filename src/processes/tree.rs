//! The other processes, as one reading of /proc: all of the PID namespace if we are
//! PID 1, and otherwise all descendants. Orphans are reparented to us, so that no process
//! leaves the tree by forking twice or by setsid(2).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::procfs::{self, Children, Process};
use crate::decide::reason::ProcessLabel;
use crate::sys::{descriptors, helpers};

/// How many passes a scan has at most, until one finds no new process. A process that
/// forks without end always has new ones; SIGKILL is sent to them again and again.
pub(crate) const PASSES: usize = 4;

/// Processes by their pids.
type Processes = BTreeMap<i32, Process>;

/// The other processes, as they were when they were first seen.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// Who reads it: not in it, and neither are our helpers.
    pub(crate) own_pid: i32,
    processes: Processes,
}

impl Tree {
    /// Reads which processes there are. `None` where /proc does not show them.
    pub(crate) fn scan(own_pid: i32, passes: usize) -> Option<Self> {
        // To read takes a few descriptors. The command keeps the limit it was given.
        descriptors::raise_limit();
        if !procfs::shows_own_namespace(own_pid) {
            return None;
        }
        let root = match own_pid {
            1 => None,
            _ => Some(procfs::stat(own_pid)?),
        };
        let mut processes = Processes::new();
        for _ in 0..passes {
            let known = processes.len();
            match &root {
                None => add_all(&mut processes)?,
                Some(root) => add_descendants(root, &mut processes)?,
            }
            if processes.len() == known {
                break;
            }
        }
        processes.retain(|pid, _| *pid != own_pid && !helpers::is_helper(*pid));
        Some(Self { own_pid, processes })
    }

    /// All of them, in the order of their pids.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    /// All that have not exited.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &Process> {
        self.all().filter(|process| !process.is_zombie())
    }

    /// What those that have not exited are called.
    pub(crate) fn labels(&self) -> Vec<ProcessLabel> {
        self.alive().map(Process::label).collect()
    }

    /// The process with this pid.
    pub(crate) fn get(&self, pid: i32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// The child that a process has forked last, of those that have not exited.
    pub(crate) fn last_child(&self, pid: i32) -> Option<&Process> {
        let children = self.alive().filter(|process| process.parent == pid);
        children.max_by_key(|process| (process.start, process.pid))
    }
}

#[cfg(test)]
impl Tree {
    /// A tree of these processes.
    pub(super) fn of(own_pid: i32, processes: impl IntoIterator<Item = Process>) -> Self {
        let processes = processes.into_iter();
        let processes = processes.map(|process| (process.pid, process)).collect();
        Self { own_pid, processes }
    }
}

/// The members of a process group that have not exited. `None` where /proc does not show
/// them.
pub(crate) fn members(own_pid: i32, group: i32) -> Option<Vec<Process>> {
    if !procfs::shows_own_namespace(own_pid) {
        return None;
    }
    let all = procfs::all_pids()?.into_iter().filter_map(procfs::stat);
    let is_member = |process: &Process| {
        process.group == group && !process.is_zombie() && !helpers::is_helper(process.pid)
    };
    Some(all.filter(is_member).collect())
}

/// Adds every process that /proc lists. Only those that are new are looked at.
fn add_all(found: &mut Processes) -> Option<()> {
    for pid in procfs::all_pids()? {
        if let Entry::Vacant(new) = found.entry(pid)
            && let Some(process) = procfs::stat(pid)
        {
            new.insert(process);
        }
    }
    Some(())
}

/// Adds the processes below `root`, itself not among them.
///
/// The listing is not atomic: a process that is forked or reparented meanwhile can be
/// missing. `None` where /proc does not show any.
fn add_descendants(root: &Process, found: &mut Processes) -> Option<()> {
    let mut visited = BTreeSet::new();
    let mut to_visit = vec![(root.pid, root.threads)];
    while let Some((pid, threads)) = to_visit.pop() {
        let children = match procfs::read_children(pid, threads) {
            Children::Are(children) => children,
            Children::Gone => continue,
            Children::Unsupported => return add_descendants_by_parent(root, found),
        };
        for child in children {
            let process = match found.entry(child) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => match procfs::stat(child) {
                    Some(process) => new.insert(process),
                    None => continue,
                },
            };
            // The children of a zombie are reparented.
            if visited.insert(child) && !process.is_zombie() {
                to_visit.push((child, process.threads));
            }
        }
    }
    Some(())
}

/// The same by looking at the parent of every process there is.
fn add_descendants_by_parent(root: &Process, found: &mut Processes) -> Option<()> {
    let mut all = Processes::new();
    add_all(&mut all)?;
    let parents: Vec<_> = all
        .iter()
        .map(|(pid, process)| (*pid, process.parent))
        .collect();
    let below = below(root.pid, &parents);
    found.extend(all.into_iter().filter(|(pid, _)| below.contains(pid)));
    Some(())
}

/// The pids below `root` in a list of pids with their parents.
fn below(root: i32, parents: &[(i32, i32)]) -> BTreeSet<i32> {
    let mut children = BTreeMap::<i32, Vec<i32>>::new();
    for (pid, parent) in parents {
        children.entry(*parent).or_default().push(*pid);
    }
    let mut found = BTreeSet::new();
    let mut to_visit = vec![root];
    while let Some(pid) = to_visit.pop() {
        // Removed, so that a list that is not a tree ends as well.
        for child in children.remove(&pid).unwrap_or_default() {
            found.insert(child);
            to_visit.push(child);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;
    use crate::sys::kill::{Target, kill};

    #[test]
    fn children_of_every_thread_and_their_children_are_found() {
        // A thread that is not the main one forks a shell, which forks sleep and ends
        // with it.
        let (told, pid) = std::sync::mpsc::channel();
        let (done, end) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut child = std::process::Command::new("sh")
                .args(["-c", "sleep 1012 & wait"])
                .spawn()
                .unwrap();
            let pid = i32::try_from(child.id()).unwrap();
            told.send(pid).unwrap();
            let _ = end.recv();
            child.wait().unwrap();
        });
        let shell = pid.recv().unwrap();
        let own = crate::sys::process::own_pid();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let grandchild = loop {
            let mut found = Processes::new();
            add_descendants(&procfs::stat(shell).unwrap(), &mut found).unwrap();
            if let Some(pid) = found.keys().next() {
                break *pid;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "the shell forked nothing"
            );
            std::thread::yield_now();
        };
        for add in [add_descendants, add_descendants_by_parent] {
            let mut found = Processes::new();
            add(&procfs::stat(own).unwrap(), &mut found).unwrap();
            assert!(found.contains_key(&shell), "{shell} not in {found:?}");
            assert!(
                found.contains_key(&grandchild),
                "{grandchild} not in {found:?}"
            );
            assert!(!found.contains_key(&own));
        }
        // By its own pid: before it executes, it may not hear what the shell sends it.
        kill(Target::Process(grandchild), Signal::KILL).unwrap();
        done.send(()).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn a_list_that_is_not_a_tree_ends() {
        let below = below(1, &[(2, 1), (3, 2), (1, 3), (9, 9)]);
        assert_eq!(below, BTreeSet::from([1, 2, 3]));
    }

    #[test]
    fn the_last_child_is_the_one_that_started_last_and_is_alive() {
        let process = |pid, start, state| Process {
            start,
            ..Process::example(pid, 2, state)
        };
        let tree = Tree::of(
            1,
            [
                Process::example(2, 1, b'S'),
                // The pids have gone around.
                process(3, 500, b'S'),
                process(8, 200, b'S'),
                process(9, 600, b'Z'),
                Process::example(10, 3, b'S'),
            ],
        );
        let last = |pid| tree.last_child(pid).map(|child| child.pid);
        assert_eq!([last(2), last(3), last(8)], [Some(3), Some(10), None]);
        assert_eq!((tree.all().count(), tree.alive().count()), (5, 4));
        assert!(tree.get(9).is_some() && tree.get(1).is_none());
    }
}
