//! What /proc says of processes (proc(5)). Reading may fail at any moment, for
//! a process ends when it likes and /proc may be missing, hidden or another
//! namespace's: every answer is an `Option`, and names are bytes that anyone
//! may have chosen.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use crate::decide::reason::SignalSets;
use crate::signal::SignalSet;

/// A process that no reuse of its pid can be mistaken for: within one clock
/// tick the kernel would have to go once around all pids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity {
    /// Its process id.
    pub(crate) pid: i32,
    /// When it started, in clock ticks since the system did.
    pub(crate) start: u64,
}

/// What /proc/PID/stat says, as far as it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The name, as the process or whoever executed it chose it.
    pub(crate) name: Vec<u8>,
    /// One letter: R, S, D, Z, T, t, X, I.
    pub(crate) state: u8,
    /// The parent's process id.
    pub(crate) parent: i32,
    /// The process group.
    pub(crate) group: i32,
    /// How many threads it has.
    pub(crate) threads: u32,
    /// When it started, in clock ticks since the system did.
    pub(crate) start: u64,
}

impl Stat {
    /// Whether it has ended and is only waited for. A main thread that has ended
    /// before the others looks the same but for their number.
    pub(crate) fn is_zombie(&self) -> bool {
        [b'Z', b'X'].contains(&self.state) && self.threads <= 1
    }

    /// The name as text, whatever bytes it is.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

/// Reads /proc/PID/stat. One read is enough: it is a single line, and what is
/// needed of it stands in its first half.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    let mut line = [0; 1024];
    let mut file = fs::File::open(format!("/proc/{pid}/stat")).ok()?;
    let length = file.read(&mut line).ok()?;
    parse_stat(line.get(..length)?)
}

/// The name stands in parentheses and may hold any byte, parentheses too: it
/// ends at the last one.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let open = bytes.iter().position(|b| *b == b'(')?;
    let close = bytes.iter().rposition(|b| *b == b')')?;
    let name = bytes.get(open + 1..close)?.to_vec();
    let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    // Field numbers as in proc(5): state is the 3rd, starttime the 22nd.
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let threads = fields.nth(14)?.parse().ok()?;
    let start = fields.nth(1)?.parse().ok()?;
    Some(Stat {
        name,
        state,
        parent,
        group,
        threads,
        start,
    })
}

/// Whether /proc is there and shows our own PID namespace: in another's the
/// numbers mean other processes.
pub(crate) fn shows_own_namespace(own_pid: i32) -> bool {
    read("/proc/self/status").is_some_and(|status| is_own_namespace(&status, own_pid))
}

/// `NSpid` lists our pid in the namespace of that /proc and in each below it
/// down to our own: one number means that they are the same. Before Linux 4.1
/// there is no such line, and `Pid` has to do.
fn is_own_namespace(status: &[u8], own_pid: i32) -> bool {
    let field = |key: &[u8]| {
        let line = status
            .split(|b| *b == b'\n')
            .find_map(|line| line.strip_prefix(key))?;
        std::str::from_utf8(line).ok()
    };
    let Some(pids) = field(b"NSpid:").or_else(|| field(b"Pid:")) else {
        return false;
    };
    let mut pids = pids.split_ascii_whitespace().map(str::parse);
    pids.next() == Some(Ok(own_pid)) && pids.next().is_none()
}

/// How a process is related to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ancestry {
    /// Its parent, or its parent's parent and so on, is the other.
    Descendant,
    /// It lives, and is none.
    Stranger,
    /// It has exited, or /proc does not show it.
    Unknown,
}

/// Whether `pid` is a descendant of `root`. A zombie still is what it was.
pub(crate) fn ancestry(pid: i32, root: i32) -> Ancestry {
    if pid <= 0 || !shows_own_namespace(root) {
        return Ancestry::Unknown;
    }
    // An ancestor that ends while it is looked for hands its children on: then
    // the way up is another one.
    for _ in 0..3 {
        let mut at = pid;
        // No tree is as deep; one that changes may seem to be without end.
        for _ in 0..4096 {
            match parent(at) {
                Some(parent) if parent == root => return Ancestry::Descendant,
                Some(0) => return Ancestry::Stranger,
                Some(parent) => at = parent,
                None => break,
            }
        }
    }
    Ancestry::Unknown
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

/// Whether PID 1 exits when we do, and takes all others with it: it is the init of
/// a container and we are its only child.
pub(crate) fn init_exits_with(own_pid: i32) -> bool {
    // The first namespace, whose PID 1 stays, has this number on every system.
    let first = Path::new("pid:[4026531836]");
    nix::unistd::getppid().as_raw() == 1
        && shows_own_namespace(own_pid)
        && fs::read_link("/proc/self/ns/pid").is_ok_and(|namespace| namespace != first)
        && stat(1).is_some_and(|init| INITS.contains(&init.name.as_slice()))
        && children(1) == [own_pid]
}

/// A process and those above it, as far as they are shown.
pub(crate) fn with_ancestors(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    let mut at = pid;
    while let Some(parent) = parent(at)
        && parent > 0
        && !found.contains(&parent)
    {
        found.push(parent);
        at = parent;
    }
    found
}

/// The parent of a process; 0 for the first one, and for one that came into the
/// PID namespace from outside.
fn parent(pid: i32) -> Option<i32> {
    match stat(pid)?.parent {
        // Also what is read of a process in the moment in which it is reaped.
        0 => Some(stat(pid)?.parent),
        parent => Some(parent),
    }
}

/// The user ids of a process that kill(2) compares with the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uids {
    /// The real one.
    pub(crate) real: u32,
    /// The saved one.
    pub(crate) saved: u32,
}

/// The real and the saved user id of a process.
pub(crate) fn uids(pid: i32) -> Option<Uids> {
    parse_uids(&read(&format!("/proc/{pid}/status"))?)
}

fn parse_uids(status: &[u8]) -> Option<Uids> {
    // Real, effective, saved, that of the filesystem.
    let mut uids = words(status, "Uid")?.map(str::parse);
    let real = uids.next()?.ok()?;
    let saved = uids.nth(1)?.ok()?;
    Some(Uids { real, saved })
}

/// The real user id of a process.
pub(crate) fn uid(pid: i32) -> Option<u32> {
    uids(pid).map(|uids| uids.real)
}

/// What a process does with signals, all its threads taken together.
pub(crate) fn signal_sets(pid: i32) -> Option<SignalSets> {
    let mut sets = parse_signal_sets(&read(&format!("/proc/{pid}/status"))?)?;
    // A signal for the process goes to any thread that does not block it.
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let of_thread = read(&format!("{}/status", thread.path().display()))
            .and_then(|status| parse_signal_sets(&status));
        if let Some(of_thread) = of_thread {
            sets.blocked = sets.blocked.and(of_thread.blocked);
            sets.pending = sets.pending.or(of_thread.pending);
        }
    }
    Some(sets)
}

fn parse_signal_sets(status: &[u8]) -> Option<SignalSets> {
    let set = |name| {
        let bits = u64::from_str_radix(field(status, name)?, 16).ok()?;
        Some(SignalSet::from_bits(bits))
    };
    Some(SignalSets {
        pending: set("SigPnd")?.or(set("ShdPnd")?),
        blocked: set("SigBlk")?,
        ignored: set("SigIgn")?,
        handled: set("SigCgt")?,
    })
}

/// The first word of a line `NAME: ...` of /proc/PID/status.
fn field<'a>(status: &'a [u8], name: &str) -> Option<&'a str> {
    words(status, name)?.next()
}

/// The words of such a line. A name that the process has chosen cannot pass for a line:
/// the kernel escapes line ends there.
fn words<'a>(status: &'a [u8], name: &str) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
    let line = status
        .split(|b| *b == b'\n')
        .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))?;
    Some(std::str::from_utf8(line).ok()?.split_ascii_whitespace())
}

/// Where in the kernel a process sleeps, if that may be read.
pub(crate) fn wchan(pid: i32) -> Option<String> {
    let name = read(&format!("/proc/{pid}/wchan"))?;
    let name = String::from_utf8(name).ok()?;
    (!name.is_empty() && name != "0").then_some(name)
}

/// The file name of what a process executes, if that may be read: for a script, its
/// interpreter. Not by the command line, whose reading may wait for the process.
pub(crate) fn executable(pid: i32) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.file_name()?.to_str()?.to_owned())
}

/// Whether a process is PID 1 of a PID namespace below that of /proc.
pub(crate) fn is_inner_init(pid: i32) -> bool {
    let status = read(&format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .split(|b| *b == b'\n')
        .find_map(|line| line.strip_prefix(b"NSpid:"))
        .and_then(|line| std::str::from_utf8(line).ok());
    let pids = line.unwrap_or_default().split_ascii_whitespace().skip(1);
    pids.last() == Some("1")
}

/// The time in clock ticks since the system started, as start times are: a
/// hundredth of a second each, on every architecture that we are built for.
pub(crate) fn ticks() -> Option<u64> {
    let uptime = String::from_utf8(read("/proc/uptime")?).ok()?;
    let seconds = uptime.split_ascii_whitespace().next()?;
    seconds.replace('.', "").parse().ok()
}

/// Every process that /proc lists.
pub(crate) fn all_pids() -> Option<Vec<i32>> {
    let entries = fs::read_dir("/proc").ok()?;
    Some(
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect(),
    )
}

/// Processes by their pids, as they were when they were first seen.
pub(crate) type Processes = BTreeMap<i32, Stat>;

/// Adds every process that /proc lists. Only those that are new are looked at.
pub(crate) fn add_all(found: &mut Processes) -> Option<()> {
    for pid in all_pids()? {
        if let Entry::Vacant(new) = found.entry(pid)
            && let Some(stat) = stat(pid)
        {
            new.insert(stat);
        }
    }
    Some(())
}

/// Adds the processes below `root`, itself not among them.
///
/// The listing is not atomic: what is forked or handed on while it is made can
/// be missing. `None` where /proc does not tell.
pub(crate) fn add_descendants(root: i32, found: &mut Processes) -> Option<()> {
    let mut visited = BTreeSet::new();
    let mut to_visit = vec![(root, stat(root)?.threads)];
    while let Some((pid, threads)) = to_visit.pop() {
        let children = match read_children(pid, threads) {
            Children::Are(children) => children,
            Children::Gone => continue,
            Children::Unsupported => return add_descendants_by_parent(root, found),
        };
        for child in children {
            let stat = match found.entry(child) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => match stat(child) {
                    Some(stat) => new.insert(stat),
                    None => continue,
                },
            };
            // One that has ended has handed its children on.
            if visited.insert(child) && !stat.is_zombie() {
                to_visit.push((child, stat.threads));
            }
        }
    }
    Some(())
}

enum Children {
    Are(Vec<i32>),
    /// The process is not there any more.
    Gone,
    /// This kernel has no such file (`CONFIG_PROC_CHILDREN`).
    Unsupported,
}

/// The children of a process, as far as they are told.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    match stat(pid).map(|stat| read_children(pid, stat.threads)) {
        Some(Children::Are(children)) => children,
        Some(Children::Gone | Children::Unsupported) | None => Vec::new(),
    }
}

/// The children of every thread of a process: each is listed with the thread
/// that forked it.
fn read_children(pid: i32, threads: u32) -> Children {
    if threads == 1 {
        // As nearly all have: then there is no need to list them.
        return children_of_thread(&format!("/proc/{pid}/task/{pid}"));
    }
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Children::Gone;
    };
    let mut children = Vec::new();
    for thread in threads.flatten() {
        match children_of_thread(&thread.path().to_string_lossy()) {
            Children::Are(its_own) => children.extend(its_own),
            Children::Gone => {}
            Children::Unsupported => return Children::Unsupported,
        }
    }
    Children::Are(children)
}

fn children_of_thread(folder: &str) -> Children {
    match read(&format!("{folder}/children")) {
        Some(bytes) => Children::Are(parse_pids(&bytes)),
        None if Path::new(&format!("{folder}/stat")).exists() => Children::Unsupported,
        None => Children::Gone,
    }
}

fn parse_pids(bytes: &[u8]) -> Vec<i32> {
    bytes
        .split(u8::is_ascii_whitespace)
        .filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
        .collect()
}

/// The same by looking at the parent of every process there is.
fn add_descendants_by_parent(root: i32, found: &mut Processes) -> Option<()> {
    let mut all = Processes::new();
    add_all(&mut all)?;
    let parents: Vec<_> = all.iter().map(|(pid, stat)| (*pid, stat.parent)).collect();
    let below = below(root, &parents);
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
        // Removed, so that a list that makes no tree ends as well.
        for child in children.remove(&pid).unwrap_or_default() {
            found.insert(child);
            to_visit.push(child);
        }
    }
    found
}

/// Reads a file that the kernel makes up.
pub(crate) fn read(path: &str) -> Option<Vec<u8>> {
    let mut file = fs::File::open(path).ok()?;
    // Most are short, and many empty: those take no memory.
    let mut beginning = [0; 1024];
    let length = file.read(&mut beginning).ok()?;
    let mut bytes = beginning.get(..length)?.to_vec();
    if length > 0 {
        // Limited only in name: a plain file is asked for its size first, which is
        // two system calls, and here it is always 0.
        file.take(u64::MAX).read_to_end(&mut bytes).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signal::Signal;
    use crate::sys::kill::{Target, kill};

    fn line(name: &[u8]) -> Vec<u8> {
        let mut line = b"42 (".to_vec();
        line.extend_from_slice(name);
        line.extend_from_slice(b") S 7 40 40 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 100 1\n");
        line
    }

    #[test]
    fn stat_is_read_whatever_the_name_holds() {
        for name in [&b"sh"[..], b"", b"a b", b") R 1 1 1", b"((", b"x\ny\xff"] {
            let stat = parse_stat(&line(name)).unwrap();
            assert_eq!(
                stat,
                Stat {
                    name: name.to_vec(),
                    state: b'S',
                    parent: 7,
                    group: 40,
                    threads: 1,
                    start: 987_654
                }
            );
        }
    }

    #[test]
    fn our_own_stat_names_our_parent() {
        let pid = crate::sys::process::own_pid();
        assert_eq!(stat(pid).unwrap().parent, nix::unistd::getppid().as_raw());
        assert!(shows_own_namespace(pid));
        assert!(stat(pid).unwrap().start <= ticks().unwrap());
    }

    #[test]
    fn user_ids_are_read_and_told_from_those_that_are_not_mapped() {
        let uids = parse_uids(b"Name:\tx\nUid:\t0\t1\t2\t3\nGid:\t9\t9\t9\t9\n");
        assert_eq!(uids, Some(Uids { real: 0, saved: 2 }));
        for broken in [&b""[..], b"Uid:\n", b"Uid:\t1\t2\n", b"Uid:\tx\t1\t2\t3\n"] {
            assert_eq!(parse_uids(broken), None);
        }
        let own = uids_of_own();
        assert_eq!(own.real, nix::unistd::getuid().as_raw());
    }

    fn uids_of_own() -> Uids {
        uids(crate::sys::process::own_pid()).unwrap()
    }

    #[test]
    fn another_namespaces_proc_is_not_ours() {
        assert!(is_own_namespace(b"Name:\tx\nPid:\t5\nNSpid:\t5\n", 5));
        assert!(!is_own_namespace(b"Pid:\t900\nNSpid:\t900\t1\n", 1));
        assert!(
            !is_own_namespace(b"Pid:\t1\nNSpid:\t1\t1\n", 1),
            "the same number by chance"
        );
        assert!(is_own_namespace(b"Pid:\t5\n", 5), "before Linux 4.1");
        assert!(!is_own_namespace(b"", 5));
    }

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
            add_descendants(shell, &mut found).unwrap();
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
            add(own, &mut found).unwrap();
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
    fn signal_sets_are_read() {
        let status = b"Name:\tx\nUid:\t5\t6\t7\t8\nSigPnd:\t0000000000000000\n\
            ShdPnd:\t0000000000004000\nSigBlk:\t0000000000000001\n\
            SigIgn:\t0000000000001000\nSigCgt:\t0000000180004002\n";
        let sets = parse_signal_sets(status).unwrap();
        assert!(sets.pending.contains(Signal::TERM));
        assert!(sets.blocked.contains(Signal::HUP) && !sets.blocked.contains(Signal::TERM));
        assert!(sets.ignored.contains(Signal::PIPE));
        assert!(sets.handled.contains(Signal::TERM) && sets.handled.contains(Signal::INT));
        assert_eq!(field(status, "Uid"), Some("5"));
        assert_eq!(parse_signal_sets(b"SigBlk:\tx\n"), None);
    }

    #[test]
    fn a_list_that_makes_no_tree_ends() {
        let below = below(1, &[(2, 1), (3, 2), (1, 3), (9, 9)]);
        assert_eq!(below, BTreeSet::from([1, 2, 3]));
    }

    proptest! {
        #[test]
        fn no_name_upsets_stat(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(parse_stat(&line(&name)).unwrap().name, name);
        }

        #[test]
        fn no_bytes_upset_the_parsers(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_stat(&bytes);
            let _ = parse_pids(&bytes);
            let _ = is_own_namespace(&bytes, 1);
            let _ = parse_signal_sets(&bytes);
            let _ = field(&bytes, "Uid");
        }
    }
}
