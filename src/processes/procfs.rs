//! What /proc says of processes (proc(5)). It may be missing, hidden or another
//! namespace's, a process may exit at any moment, and reading may fail. Names are bytes
//! that anyone may have chosen.
//!
//! That a process is not there (`Ok(None)`) is a fact about this process. That something
//! cannot be read ([`ReadError`]) says nothing about any process: it is read again here,
//! and what a stop depends on is read again later on.

use std::fmt;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::decide::reason::{ProcessLabel, SignalSets};
use crate::signal::SignalSet;
use crate::sys::descriptors::make_room;
use crate::sys::listing::numbers_in;

/// How often a file is read that cannot be read.
const TRIES: usize = 3;

/// A file or directory of /proc that cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadError {
    path: String,
    errno: Errno,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read {}: {}", self.path, self.errno.desc())
    }
}

/// What was read; `None` if it is not there: the process has exited, or this kernel has no
/// such file.
pub(crate) type Read<T> = Result<Option<T>, ReadError>;

/// What was read, where it does not matter why there is nothing.
pub(crate) fn known<T>(read: Read<T>) -> Option<T> {
    read.ok().flatten()
}

/// Reads something again if it cannot be read.
fn again<T>(path: &str, read: impl Fn(&str) -> nix::Result<T>) -> Read<T> {
    let mut tries = 1;
    loop {
        match read(path) {
            Ok(value) => return Ok(Some(value)),
            Err(Errno::ENOENT | Errno::ESRCH) => return Ok(None),
            Err(errno) if tries == TRIES => {
                let path = path.to_owned();
                return Err(ReadError { path, errno });
            }
            Err(Errno::EMFILE) => make_room(),
            Err(_) => {}
        }
        tries += 1;
    }
}

fn open_file(path: &str) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Reads a file that the kernel makes up.
pub(crate) fn read(path: &str) -> Read<Vec<u8>> {
    again(path, |path| {
        let file = open_file(path)?;
        let mut bytes = Vec::new();
        let mut part = [0; 1024];
        loop {
            let length = nix::unistd::read(&file, &mut part)?;
            match part.get(..length) {
                // Many are empty: those take no memory.
                None | Some([]) => return Ok(bytes),
                Some(part) => bytes.extend_from_slice(part),
            }
        }
    })
}

/// Lists the processes, or the threads of one.
fn list(path: &str) -> Read<Vec<i32>> {
    again(path, numbers_in)
}

/// A process that no reuse of its pid can be mistaken for: within one clock
/// tick the kernel would have to go once around all pids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity {
    /// Its process id.
    pub(crate) pid: i32,
    /// When it started, in clock ticks since the system did.
    pub(crate) start: u64,
}

/// A process, as /proc/PID/stat shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its process id.
    pub(crate) pid: i32,
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

impl Process {
    /// Whether it has ended and is only waited for. A main thread that has ended
    /// before the others looks the same but for their number.
    pub(crate) fn is_zombie(&self) -> bool {
        [b'Z', b'X'].contains(&self.state) && self.threads <= 1
    }

    /// Tells it from an earlier process with its pid.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            pid: self.pid,
            start: self.start,
        }
    }

    /// The name as text, whatever bytes it is.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// What it is called in the log and in the report.
    pub(crate) fn label(&self) -> ProcessLabel {
        ProcessLabel {
            pid: self.pid,
            start: self.start,
            name: self.name(),
        }
    }
}

#[cfg(test)]
impl Process {
    /// One with this number and state, started at ten times its number.
    pub(super) fn example(pid: i32, parent: i32, state: u8) -> Self {
        Self {
            pid,
            name: format!("p{pid}").into_bytes(),
            state,
            parent,
            group: 1,
            threads: 1,
            start: 10 * u64::try_from(pid).unwrap_or_default(),
        }
    }
}

/// Reads /proc/PID/stat. One read is enough: it is a single line, and what is
/// needed of it stands in its first half.
pub(crate) fn stat(pid: i32) -> Read<Process> {
    again(&format!("/proc/{pid}/stat"), |path| {
        let mut line = [0; 1024];
        let length = nix::unistd::read(open_file(path)?, &mut line)?;
        line.get(..length).and_then(parse_stat).ok_or(Errno::EINVAL)
    })
}

/// The name stands in parentheses and may hold any byte, parentheses too: it
/// ends at the last one.
fn parse_stat(bytes: &[u8]) -> Option<Process> {
    let open = bytes.iter().position(|b| *b == b'(')?;
    let close = bytes.iter().rposition(|b| *b == b')')?;
    let pid = std::str::from_utf8(bytes.get(..open)?).ok()?;
    let pid = pid.trim_end().parse().ok()?;
    let name = bytes.get(open + 1..close)?.to_vec();
    let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    // Field numbers as in proc(5): state is the 3rd, starttime the 22nd.
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let threads = fields.nth(14)?.parse().ok()?;
    let start = fields.nth(1)?.parse().ok()?;
    Some(Process {
        pid,
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
    find_own_namespace(own_pid) == Ok(true)
}

/// The same, where it matters why not.
pub(super) fn find_own_namespace(own_pid: i32) -> Result<bool, ReadError> {
    let status = read("/proc/self/status")?;
    Ok(status.is_some_and(|status| is_own_namespace(&status, own_pid)))
}

/// `NSpid` lists our pid in the namespace of that /proc and in each below it
/// down to our own: one number means that they are the same. Before Linux 4.1
/// there is no such line, and `Pid` has to do.
fn is_own_namespace(status: &[u8], own_pid: i32) -> bool {
    let Some(pids) = words(status, "NSpid").or_else(|| words(status, "Pid")) else {
        return false;
    };
    let mut pids = pids.map(str::parse);
    pids.next() == Some(Ok(own_pid)) && pids.next().is_none()
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
pub(crate) fn uids(pid: i32) -> Read<Uids> {
    let status = read(&format!("/proc/{pid}/status"))?;
    Ok(status.and_then(|status| parse_uids(&status)))
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
    known(uids(pid)).map(|uids| uids.real)
}

/// What a process does with signals, all its threads taken together.
pub(crate) fn signal_sets(pid: i32) -> Option<SignalSets> {
    let of = |path: String| parse_signal_sets(&known(read(&path))?);
    let mut sets = of(format!("/proc/{pid}/status"))?;
    // A signal for the process goes to any thread that does not block it.
    for thread in known(list(&format!("/proc/{pid}/task")))? {
        if let Some(of_thread) = of(format!("/proc/{pid}/task/{thread}/status")) {
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
    let name = known(read(&format!("/proc/{pid}/wchan")))?;
    let name = String::from_utf8(name).ok()?;
    (!name.is_empty() && name != "0").then_some(name)
}

/// The file name of what a process executes, if that may be read: for a script, its
/// interpreter. Not by the command line, whose reading may wait for the process.
pub(crate) fn executable(pid: i32) -> Option<String> {
    let path = link(&format!("/proc/{pid}/exe"))?;
    Some(path.rsplit('/').next()?.to_owned())
}

/// Where a symbolic link leads.
pub(super) fn link(path: &str) -> Option<String> {
    known(again(path, nix::fcntl::readlink))?.into_string().ok()
}

/// Whether a process is PID 1 of a PID namespace below that of /proc.
pub(crate) fn is_inner_init(pid: i32) -> bool {
    let status = known(read(&format!("/proc/{pid}/status"))).unwrap_or_default();
    words(&status, "NSpid").and_then(|pids| pids.skip(1).last()) == Some("1")
}

/// Every process that /proc lists.
pub(super) fn all_pids() -> Read<Vec<i32>> {
    list("/proc")
}

/// The children of a process, by their pids.
pub(super) enum Children {
    Are(Vec<i32>),
    /// The process is not there any more.
    Gone,
    /// This kernel has no such file (`CONFIG_PROC_CHILDREN`).
    Unsupported,
}

/// The children of a process, as far as this kernel lists them; `None` if they cannot be
/// read.
pub(crate) fn children(pid: i32) -> Option<Vec<i32>> {
    let Some(stat) = stat(pid).ok()? else {
        return Some(Vec::new());
    };
    match read_children(pid, stat.threads).ok()? {
        Children::Are(children) => Some(children),
        Children::Gone | Children::Unsupported => Some(Vec::new()),
    }
}

/// The children of every thread of a process: each is listed with the thread
/// that forked it.
pub(super) fn read_children(pid: i32, threads: u32) -> Result<Children, ReadError> {
    if threads == 1 {
        // As nearly all have: then there is no need to list them.
        return children_of_thread(pid, pid);
    }
    let Some(threads) = list(&format!("/proc/{pid}/task"))? else {
        return Ok(Children::Gone);
    };
    let mut children = Vec::new();
    for thread in threads {
        match children_of_thread(pid, thread)? {
            Children::Are(its_own) => children.extend(its_own),
            Children::Gone => {}
            Children::Unsupported => return Ok(Children::Unsupported),
        }
    }
    Ok(Children::Are(children))
}

fn children_of_thread(pid: i32, thread: i32) -> Result<Children, ReadError> {
    Ok(
        match read(&format!("/proc/{pid}/task/{thread}/children"))? {
            Some(bytes) => Children::Are(parse_pids(&bytes)),
            None if stat(thread)?.is_some() => Children::Unsupported,
            None => Children::Gone,
        },
    )
}

fn parse_pids(bytes: &[u8]) -> Vec<i32> {
    bytes
        .split(u8::is_ascii_whitespace)
        .filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signal::Signal;

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
                Process {
                    pid: 42,
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
        let own = stat(pid).unwrap().unwrap();
        assert_eq!(own.parent, nix::unistd::getppid().as_raw());
        assert!(shows_own_namespace(pid));
        assert!(own.start <= crate::sys::process::ticks());
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
        uids(crate::sys::process::own_pid()).unwrap().unwrap()
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
    fn what_cannot_be_read_is_told_from_what_is_not_there() {
        // There is nothing at its beginning.
        let unread = read("/proc/self/mem").unwrap_err();
        assert_eq!(unread.to_string(), "cannot read /proc/self/mem: I/O error");
        assert!(list("/proc/self/stat").is_err());
        for missing in ["/proc/self/nothing", "/proc/self/task/0/stat"] {
            assert_eq!(read(missing), Ok(None), "{missing}");
        }
        assert_eq!(stat(i32::MAX), Ok(None));
        assert!(matches!(read_children(i32::MAX, 1), Ok(Children::Gone)));
        assert!(matches!(read_children(i32::MAX, 2), Ok(Children::Gone)));
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
