//! The other processes, as one reading of /proc: all of the PID namespace if we are
//! PID 1, and otherwise all descendants. Orphans are reparented to us, so that no process
//! leaves the tree by forking twice or by setsid(2).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::procfs::{self, Children, Process, ReadError};
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
    /// What could not be read, if anything: there may be more processes.
    pub(super) unread: Option<ReadError>,
}

impl Tree {
    /// Reads which processes there are. `None` where /proc does not show them.
    pub(crate) fn scan(own_pid: i32, passes: usize) -> Option<Self> {
        // To read takes a few descriptors. The command keeps the limit it was given.
        descriptors::raise_limit();
        let mut processes = Processes::new();
        let unread = match procfs::find_own_namespace(own_pid) {
            Ok(true) => add_in_passes(own_pid, passes, &mut processes).err(),
            Ok(false) => return None,
            Err(unread) => Some(unread),
        };
        processes.retain(|pid, _| *pid != own_pid && !helpers::is_helper(*pid));
        Some(Self {
            own_pid,
            processes,
            unread,
        })
    }

    /// Whether nothing could be read of any process, though there may be some.
    pub(crate) fn is_blind(&self) -> bool {
        self.unread.is_some() && self.processes.is_empty()
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

    /// Those below us that have not exited, without `spared` and those below these.
    pub(crate) fn below_without(&self, spared: &[i32]) -> Vec<Process> {
        let is_stray = |process: &&Process| {
            let mut at = process.pid;
            // No walk is longer than there are processes.
            for _ in 0..=self.processes.len() {
                if spared.contains(&at) {
                    return false;
                }
                match self.get(at) {
                    Some(process) if process.parent == self.own_pid => {
                        return !spared.contains(&at);
                    }
                    Some(process) => at = process.parent,
                    None => return false,
                }
            }
            false
        };
        self.alive().filter(is_stray).cloned().collect()
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
        Self {
            own_pid,
            processes,
            unread: None,
        }
    }
}

/// The members of a process group that have not exited, as far as they can be read. `None`
/// where /proc does not show any.
pub(crate) fn members(own_pid: i32, group: i32) -> Option<Vec<Process>> {
    if !procfs::shows_own_namespace(own_pid) {
        return None;
    }
    let mut all = Processes::new();
    if add_all(&mut all).is_err() && all.is_empty() {
        return None;
    }
    let is_member = |process: &Process| {
        process.group == group && !process.is_zombie() && !helpers::is_helper(process.pid)
    };
    Some(all.into_values().filter(is_member).collect())
}

/// Adds the other processes, until two passes agree and nothing is unread.
fn add_in_passes(own_pid: i32, passes: usize, found: &mut Processes) -> Result<(), ReadError> {
    let mut outcome = Ok(());
    for _ in 0..passes {
        let known = found.len();
        outcome = match own_pid {
            1 => add_all(found),
            // We have one thread.
            _ => add_descendants((own_pid, 1), found),
        };
        if outcome.is_ok() && found.len() == known {
            break;
        }
    }
    outcome
}

/// Adds every process that /proc lists. Only those that are new are looked at.
///
/// # Errors
/// What could not be read: others were added all the same.
fn add_all(found: &mut Processes) -> Result<(), ReadError> {
    let mut outcome = Ok(());
    for pid in procfs::all_pids()?.unwrap_or_default() {
        if let Entry::Vacant(new) = found.entry(pid) {
            match procfs::stat(pid) {
                Ok(Some(process)) => drop(new.insert(process)),
                Ok(None) => {}
                Err(unread) => outcome = Err(unread),
            }
        }
    }
    outcome
}

/// Adds the processes below `root`, a pid and its number of threads. The root is not among
/// them.
///
/// The listing is not atomic: a process that is forked or reparented meanwhile can be
/// missing.
///
/// # Errors
/// As [`add_all`].
fn add_descendants(root: (i32, u32), found: &mut Processes) -> Result<(), ReadError> {
    let mut outcome = Ok(());
    let mut visited = BTreeSet::new();
    let mut to_visit = vec![root];
    while let Some((pid, threads)) = to_visit.pop() {
        let children = match procfs::read_children(pid, threads) {
            Ok(Children::Are(children)) => children,
            Ok(Children::Gone) => continue,
            // The parents tell the same.
            Ok(Children::Unsupported) | Err(_) => return add_descendants_by_parent(root, found),
        };
        for child in children {
            let process = match found.entry(child) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => match procfs::stat(child) {
                    Ok(Some(process)) => new.insert(process),
                    Ok(None) => continue,
                    Err(unread) => {
                        outcome = Err(unread);
                        continue;
                    }
                },
            };
            // The children of a zombie are reparented.
            if visited.insert(child) && !process.is_zombie() {
                to_visit.push((child, process.threads));
            }
        }
    }
    outcome
}

/// The same by looking at the parent of every process there is.
fn add_descendants_by_parent(
    (root, _): (i32, u32),
    found: &mut Processes,
) -> Result<(), ReadError> {
    let mut all = Processes::new();
    let outcome = add_all(&mut all);
    let parents: Vec<_> = all
        .iter()
        .map(|(pid, process)| (*pid, process.parent))
        .collect();
    let below = below(root, &parents);
    found.extend(all.into_iter().filter(|(pid, _)| below.contains(pid)));
    outcome
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
            add_descendants((shell, 1), &mut found).unwrap();
            if let Some(pid) = found.keys().next() {
                break *pid;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "the shell forked nothing"
            );
            std::thread::yield_now();
        };
        let threads = procfs::stat(own).unwrap().unwrap().threads;
        for add in [add_descendants, add_descendants_by_parent] {
            let mut found = Processes::new();
            add((own, threads), &mut found).unwrap();
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
