//! The notification relay: what the command and its descendants tell the service
//! manager (`sd_notify(3)`) goes on to it as ours. systemd knows `supervise` as the
//! main process, so that `NotifyAccess=main` lets it through.
//!
//! The command finds a socket of ours in `NOTIFY_SOCKET`. Each message goes upstream
//! as it is, with the descriptors that came with it, but for its MAINPID lines:
//! passed on, they would make systemd take another process for the main one and
//! drop whatever we send afterwards.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::{debug, warn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{Shutdown, UnixAddr, bind, connect, getsockname, shutdown};
use nix::sys::stat::{Mode, umask};

use super::events::Watched;
use crate::processes::procfs::{self, Ancestry, Identity};
use crate::sys::closing::{self, Passed};
use crate::sys::datagram::{self, Credentials, Datagram};
use crate::sys::descriptors::{self, above_stdio};
use crate::sys::pidfd::PidFd;
use crate::sys::process::own_pid;

/// The variable that names the socket.
pub(crate) const VARIABLE: &str = "NOTIFY_SOCKET";

/// The variable by which the service manager names the main process (systemd.exec(5)).
pub(crate) const MAIN_VARIABLE: &str = "SYSTEMD_EXEC_PID";

/// How many messages are taken before signals and the deadline are looked at
/// again.
const BATCH: usize = 64;

/// How many are taken at most when there is no later time to take them.
const LAST_BATCH: usize = 4096;

/// The number of the control group in which all others are: to be in it proves nothing.
const ROOT_GROUP: u64 = 1;

/// As many descriptors as are enough for whatever is passed to us.
const ENOUGH: u64 = 4096;

/// How long the end waits at most for a manager that has no room.
const LAST_WAIT: Duration = Duration::from_millis(100);

/// How often is tried again to have descriptors closed.
const CLOSE_AGAIN: Duration = Duration::from_secs(1);

/// The relay, between the start and the end of the command.
#[derive(Debug)]
pub(crate) struct Relay {
    own_pid: i32,
    /// Whether the service manager knows us as the main process of the unit.
    main_of_unit: bool,
    /// The service manager's address, if there is one.
    manager: Option<UnixAddr>,
    /// Connected to it once there was something to send.
    upstream: Option<OwnedFd>,
    /// Where messages come in. Never closed by us: what is left in its queue would be
    /// closed with it.
    socket: ManuallyDrop<OwnedFd>,
    /// What the command finds in `NOTIFY_SOCKET`.
    address: OsString,
    /// The socket's file, if it has one.
    file: Option<PathBuf>,
    /// How many descriptors may be open.
    limit: usize,
    /// What could not be sent yet. While there is something, nothing is taken in:
    /// whoever goes on sending waits, as it would for a busy manager.
    unsent: VecDeque<Message>,
    /// The command's user, as it was last seen.
    user: Option<u32>,
    /// The process that a MAINPID line has named.
    main: Option<Identity>,
    /// Whether the command has said that it is ready.
    ready: bool,
    /// Whether a stranger's message, or one that failed, was complained of.
    complained: bool,
}

/// For what a sender may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// For the command: it is a descendant of ours, or was in our control group.
    Proven,
    /// For its state alone. It has ended, as one that sends a message and nothing else
    /// often has, and its user fits.
    Unproven,
    /// For nothing.
    Stranger,
}

#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    descriptors: Passed,
}

impl Relay {
    /// Opens the relay, before the command is started. `None` where there is
    /// nobody to relay to, no `NOTIFY_SOCKET` or one that is no Unix socket, and
    /// nobody wants to `listen` either.
    ///
    /// # Errors
    /// One line: what failed, and why.
    pub(crate) fn open(listen: bool) -> Result<Option<Self>, String> {
        let manager = std::env::var_os(VARIABLE).filter(|value| is_unix(value));
        if manager.is_none() && !listen {
            return Ok(None);
        }
        let fail = |what: &str, errno: Errno| format!("{what}: {}", errno.desc());
        let manager = match manager {
            Some(address) => {
                Some(parse_address(address.as_bytes()).map_err(|e| fail(VARIABLE, e))?)
            }
            None => None,
        };
        let socket = datagram::receiver().map_err(|e| fail("socket", e))?;
        let socket = above_stdio(socket).ok_or("no descriptor left")?;
        let file = bind_in_a_folder(&socket);
        let address = match &file {
            Some(path) => path.clone().into_os_string(),
            None => bind_without_a_file(&socket).map_err(|e| fail("bind", e))?,
        };
        let named = std::env::var_os(MAIN_VARIABLE);
        let parent = nix::unistd::getppid().as_raw();
        Ok(Some(Self {
            own_pid: own_pid(),
            main_of_unit: is_main_of_unit(named.as_deref(), own_pid(), parent),
            manager,
            upstream: None,
            socket: ManuallyDrop::new(socket),
            address,
            file,
            limit: 0,
            unsent: VecDeque::new(),
            user: None,
            main: None,
            ready: false,
            complained: false,
        }))
    }

    /// What the command is to find in `NOTIFY_SOCKET`.
    pub(crate) fn address(&self) -> &OsStr {
        &self.address
    }

    /// The socket, to be kept when descriptors are let go of.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to wait for: a message, or room at the manager.
    pub(crate) fn watched(&mut self) -> Watched<'_> {
        if self.limit == 0 {
            // A message may bring 253 of them.
            self.limit = descriptors::raise_limit_to(ENOUGH);
        }
        closing::start();
        // Where nothing is taken in, what is closed meanwhile ends the wait.
        let full = closing::is_full(self.limit);
        let listening = if full {
            PollFlags::empty()
        } else {
            PollFlags::POLLIN
        };
        let at_most = (full || closing::is_stuck()).then_some(CLOSE_AGAIN);
        let sending = self.upstream.as_ref().filter(|_| !self.unsent.is_empty());
        let (descriptor, flags) = match sending {
            Some(upstream) => (upstream.as_fd(), PollFlags::POLLOUT),
            None => (self.socket.as_fd(), listening),
        };
        Watched {
            descriptor,
            flags,
            at_most,
        }
    }

    /// Relays some of what has come in. `command` is the command's pid while it runs.
    pub(crate) fn serve(&mut self, command: Option<i32>) {
        self.relay(BATCH, command);
    }

    /// Relays what has come in so far.
    pub(crate) fn catch_up(&mut self, command: Option<i32>) {
        self.relay(LAST_BATCH, command);
    }

    /// Relays what was said last. If the manager has no room it is waited for, for a
    /// short time and not longer than `left`, the time to the deadline.
    pub(crate) fn finish(&mut self, left: Option<Duration>) {
        self.finish_until(Instant::now() + last_wait(left));
    }

    fn finish_until(&mut self, end: Instant) {
        loop {
            self.catch_up(None);
            if self.unsent.is_empty() || !self.has_room_by(end) {
                return;
            }
        }
    }

    /// Waits until the manager has room; `false` when the time is over.
    fn has_room_by(&self, end: Instant) -> bool {
        let Some(upstream) = &self.upstream else {
            return false;
        };
        let left = end.saturating_duration_since(Instant::now());
        let mut waiting = [PollFd::new(upstream.as_fd(), PollFlags::POLLOUT)];
        ppoll(&mut waiting, Some(left.into()), None).is_ok_and(|ready| ready > 0)
    }

    /// Tells the manager something of our own, where we are the main process of its
    /// unit: a STOPPING from anyone else would have it stop the whole unit.
    pub(crate) fn say(&mut self, text: &str) {
        if !self.main_of_unit {
            return;
        }
        self.unsent.push_back(Message {
            bytes: text.as_bytes().to_owned(),
            descriptors: Passed::default(),
        });
        self.send();
    }

    /// Whether the command has said that it is ready.
    pub(crate) fn ready(&self) -> bool {
        self.ready
    }

    /// The process that has been named as the main one, if it is a child of ours
    /// now that the command has ended. It is named once.
    pub(crate) fn successor(&mut self) -> Option<i32> {
        let main = self.main.take()?;
        let stat = procfs::stat(main.pid)?;
        (stat.start == main.start && stat.parent == self.own_pid).then_some(main.pid)
    }

    fn relay(&mut self, at_most: usize, command: Option<i32>) {
        // Once the command is reaped nothing tells it.
        self.user = command.and_then(procfs::uid).or(self.user);
        for _ in 0..at_most {
            self.send();
            if !self.unsent.is_empty() || closing::is_full(self.limit) {
                break;
            }
            match datagram::receive(self.socket.as_fd()) {
                Ok(datagram) => self.take(datagram, command),
                // None there; anything else would come again and again, and the
                // next turn of the loop tries again.
                Err(_) => break,
            }
        }
        closing::start();
    }

    /// Takes one message in.
    fn take(&mut self, mut datagram: Datagram, command: Option<i32>) {
        let whom = datagram.sender.map_or_else(
            || "someone unknown".to_owned(),
            |s| format!("pid {} (uid {})", s.pid, s.uid),
        );
        let standing = datagram.sender.map_or(Standing::Stranger, |sender| {
            self.standing(sender, datagram.process.as_ref())
        });
        if standing == Standing::Stranger {
            self.complain(&format!(
                "a notification from {whom} is not passed on: no descendant of ours"
            ));
            return;
        }
        if datagram.cut {
            self.complain(&format!(
                "a notification from {whom} is not passed on: longer than 4096 bytes, or more \
                 descriptors than may be open (ulimit -n)"
            ));
            return;
        }
        debug!("notification from {whom}");
        if standing == Standing::Proven {
            datagram.descriptors.trusted = true;
        } else {
            let harmless = harmless_lines(&datagram.bytes);
            if harmless != datagram.bytes || !datagram.descriptors.all().is_empty() {
                self.complain(&format!(
                    "of a notification from {whom} only READY, STATUS and the like are passed on: \
                     it has ended, or /proc does not show it, and nothing proves that it was a \
                     descendant of ours; send from a process that waits until that is received, \
                     as systemd-notify does"
                ));
            }
            datagram.bytes = harmless;
            datagram.descriptors = Passed::default();
            if datagram.bytes.is_empty() {
                return;
            }
        }
        let mut lines = datagram.bytes.split(|byte| *byte == b'\n');
        self.ready |= lines.any(|line| line == b"READY=1");
        let (bytes, main) = without_main_pid(&datagram.bytes);
        if let Some(pid) = main {
            self.note_main(pid, command);
        }
        if !bytes.is_empty() {
            self.unsent.push_back(Message {
                bytes,
                descriptors: datagram.descriptors,
            });
            self.send();
        }
    }

    /// For what a sender may speak.
    fn standing(&self, sender: Credentials, process: Option<&PidFd>) -> Standing {
        let ancestry = procfs::ancestry(sender.pid, self.own_pid);
        let users = [Some(0), Some(nix::unistd::geteuid().as_raw()), self.user];
        let user_fits = sender.pid > 0 && users.contains(&Some(sender.uid));
        standing(ancestry, user_fits, || {
            let of_sender = process.and_then(PidFd::control_group);
            let ours = || PidFd::open(self.own_pid).ok()?.control_group();
            of_sender.is_some_and(|group| group != ROOT_GROUP && ours() == Some(group))
        })
    }

    fn note_main(&mut self, pid: i32, command: Option<i32>) {
        let named = procfs::stat(pid)
            .filter(|_| procfs::ancestry(pid, self.own_pid) == Ancestry::Descendant);
        self.main = match named {
            Some(_) if Some(pid) == command => None,
            Some(stat) => {
                debug!("pid {pid} is to be the command when this one ends");
                Some(Identity {
                    pid,
                    start: stat.start,
                })
            }
            None => {
                debug!("MAINPID={pid} is left out: no descendant of ours");
                return;
            }
        };
    }

    /// Sends what there is, as far as it goes without waiting.
    fn send(&mut self) {
        // Its descriptors are closed then: systemd-notify waits for that.
        while let Some(message) = self.unsent.pop_front() {
            match self.send_one(&message) {
                Ok(()) => {}
                Err(Errno::EAGAIN) => return self.unsent.push_front(message),
                Err(errno) => {
                    // The next one is another attempt, on a new socket.
                    self.upstream = None;
                    self.complain(&format!(
                        "cannot pass a notification on to the service manager: {}; it is lost",
                        errno.desc()
                    ));
                }
            }
        }
    }

    fn send_one(&mut self, message: &Message) -> nix::Result<()> {
        if let Some(upstream) = &self.upstream {
            match datagram::send(upstream.as_fd(), &message.bytes, message.descriptors.all()) {
                // The manager has a new socket at the old address.
                Err(Errno::ECONNREFUSED | Errno::ENOTCONN) => {}
                result => return result,
            }
        }
        let Some(manager) = &self.manager else {
            // It was for us alone.
            return Ok(());
        };
        let upstream = datagram::sender()?;
        connect(upstream.as_raw_fd(), manager)?;
        let upstream = self.upstream.insert(upstream);
        datagram::send(upstream.as_fd(), &message.bytes, message.descriptors.all())
    }

    /// Complains once. A stranger must not be able to fill the log.
    fn complain(&mut self, what: &str) {
        if self.complained {
            debug!("{what}");
        } else {
            warn!("{what}");
        }
        self.complained = true;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // If it cannot be removed, nobody listens there any more.
            let _ = std::fs::remove_file(file);
        }
        // Nothing more comes in. What is there must not be left to the kernel, which
        // would close its descriptors in our place.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Read);
        let mut emptied = false;
        while !emptied && !closing::is_full(self.limit) {
            match datagram::receive(self.socket.as_fd()) {
                Ok(datagram) => self.take(datagram, None),
                Err(_) => emptied = true,
            }
        }
        self.send();
        if !self.unsent.is_empty() {
            warn!(
                "notifications are lost, for the service manager does not take them: {}",
                self.unsent.len()
            );
        }
        self.unsent.clear();
        closing::finish((!emptied).then(|| self.socket.as_fd()));
    }
}

/// How long to wait for room at the end, if so much time is `left`.
fn last_wait(left: Option<Duration>) -> Duration {
    left.map_or(LAST_WAIT, |left| left.min(LAST_WAIT))
}

/// For what a sender may speak, from what /proc says of it, whether its user is root,
/// ours or the command's, and whether it was in our control group, which is looked up
/// only where the rest does not tell.
fn standing(ancestry: Ancestry, user_fits: bool, in_our_group: impl FnOnce() -> bool) -> Standing {
    match ancestry {
        Ancestry::Descendant => Standing::Proven,
        Ancestry::Unknown if in_our_group() => Standing::Proven,
        Ancestry::Unknown if user_fits => Standing::Unproven,
        Ancestry::Stranger | Ancestry::Unknown => Standing::Stranger,
    }
}

/// The lines that any process of our user may send without doing harm: what stops the
/// unit, names another main process or stores descriptors is not among them. Without
/// WATCHDOG=1 the manager would kill a service that is well.
fn harmless_lines(message: &[u8]) -> Vec<u8> {
    const WHOLE: [&[u8]; 3] = [b"READY=1", b"RELOADING=1", b"WATCHDOG=1"];
    const BEGINNINGS: [&[u8]; 5] = [
        b"STATUS=",
        b"EXTEND_TIMEOUT_USEC=",
        // Goes with RELOADING.
        b"MONOTONIC_USEC=",
        // Shown, like STATUS.
        b"ERRNO=",
        b"BUSERROR=",
    ];
    let is_harmless =
        |line: &&[u8]| WHOLE.contains(line) || BEGINNINGS.iter().any(|key| line.starts_with(key));
    let lines = message.split(|byte| *byte == b'\n');
    let kept: Vec<&[u8]> = lines.filter(is_harmless).collect();
    kept.join(&b'\n')
}

/// Whether we are the main process of a unit, from what `SYSTEMD_EXEC_PID` says, our
/// pid and our parent's. A manager that sets no such variable (systemd before 248, an
/// engine) starts it as its own child, or as PID 1 of a container.
fn is_main_of_unit(named: Option<&OsStr>, own_pid: i32, parent: i32) -> bool {
    match named {
        Some(named) => named.to_str().and_then(|pid| pid.parse().ok()) == Some(own_pid),
        None => own_pid == 1 || parent == 1,
    }
}

/// Whether a value of `NOTIFY_SOCKET` is a Unix socket's: a path or an abstract
/// name. Others (vsock) are left to the command.
fn is_unix(value: &OsStr) -> bool {
    matches!(value.as_bytes(), [b'/' | b'@', _, ..])
}

fn parse_address(value: &[u8]) -> nix::Result<UnixAddr> {
    match value.strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name),
        None => UnixAddr::new(value),
    }
}

/// Gives the socket a file in `$RUNTIME_DIRECTORY` or /run, where that is possible:
/// not every client knows abstract names, and those end at a network namespace.
fn bind_in_a_folder(socket: &OwnedFd) -> Option<PathBuf> {
    let runtime = std::env::var_os("RUNTIME_DIRECTORY").unwrap_or_default();
    let folders = std::env::split_paths(&runtime).chain([PathBuf::from("/run")]);
    let name = format!("supervise.{}.notify", own_pid());
    folders
        .filter(|folder| folder.is_absolute() && others_may_enter(folder))
        .map(|folder| folder.join(&name))
        .find(|path| bind_to(socket, path).is_ok())
}

/// As root we may start a command that becomes another user.
fn others_may_enter(folder: &Path) -> bool {
    !nix::unistd::geteuid().is_root()
        || std::fs::metadata(folder).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
}

fn bind_to(socket: &OwnedFd, path: &Path) -> nix::Result<()> {
    let address = UnixAddr::new(path)?;
    let mut bound = bind_for_all(socket, &address);
    // One of a process that was killed, perhaps before this container was started
    // again: pids are the same then.
    if bound == Err(Errno::EADDRINUSE) && is_abandoned(&address) {
        // The folder may be another user's, and be another one by now: even then it can
        // be only a file of this name that goes.
        let _ = std::fs::remove_file(path);
        bound = bind_for_all(socket, &address);
    }
    bound
}

/// Gives the socket a file that everyone may send to: whoever the command becomes may,
/// and who it was is checked. Not chmod(2), which in a folder of another user's may meet
/// another file.
fn bind_for_all(socket: &OwnedFd, address: &UnixAddr) -> nix::Result<()> {
    let before = umask(Mode::from_bits_truncate(0o111));
    let bound = bind(socket.as_raw_fd(), address);
    umask(before);
    bound
}

fn is_abandoned(address: &UnixAddr) -> bool {
    datagram::sender()
        .and_then(|socket| connect(socket.as_raw_fd(), address))
        .is_err_and(|errno| errno == Errno::ECONNREFUSED)
}

/// Gives the socket an abstract name of the kernel's choice (unix(7), autobind).
fn bind_without_a_file(socket: &OwnedFd) -> nix::Result<OsString> {
    bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
    let address: UnixAddr = getsockname(socket.as_raw_fd())?;
    let name = address.as_abstract().ok_or(Errno::EADDRNOTAVAIL)?;
    Ok(OsString::from_vec([b"@", name].concat()))
}

/// What is passed on of a message, and the last pid that a MAINPID line names.
/// MAINPIDFD and MAINPIDFDID go with it.
fn without_main_pid(message: &[u8]) -> (Vec<u8>, Option<i32>) {
    let mut main = None;
    let mut removed = false;
    let mut kept: Vec<&[u8]> = Vec::new();
    for line in message.split(|byte| *byte == b'\n') {
        if let Some(value) = line.strip_prefix(b"MAINPID=") {
            main = std::str::from_utf8(value)
                .ok()
                .and_then(|value| value.trim().parse().ok());
        }
        if line.starts_with(b"MAINPID") {
            removed = true;
        } else {
            kept.push(line);
        }
    }
    if removed && kept.iter().all(|line| line.is_empty()) {
        return (Vec::new(), main);
    }
    (kept.join(&b'\n'), main)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn main_pid_lines_are_taken_out() {
        for (message, passed_on, main) in [
            (&b"READY=1"[..], &b"READY=1"[..], None),
            (
                b"READY=1\nMAINPID=42\nSTATUS=x",
                b"READY=1\nSTATUS=x",
                Some(42),
            ),
            (b"MAINPID=42", b"", Some(42)),
            (b"MAINPID=42\n", b"", Some(42)),
            (b"MAINPID=1\nMAINPID=2", b"", Some(2)),
            (
                b"MAINPIDFD=1\nMAINPIDFDID=77\nREADY=1\n",
                b"READY=1\n",
                None,
            ),
            (b"MAINPID=x\nREADY=1", b"READY=1", None),
            (b"MAINPID=99999999999\nREADY=1", b"READY=1", None),
            (b"STATUS=MAINPID=5", b"STATUS=MAINPID=5", None),
            (b"", b"", None),
            (b"\n", b"\n", None),
            (b"STATUS=\xff\n", b"STATUS=\xff\n", None),
        ] {
            assert_eq!(
                without_main_pid(message),
                (passed_on.to_vec(), main),
                "{}",
                message.escape_ascii()
            );
        }
    }

    #[test]
    fn a_sender_speaks_for_as_much_as_is_proven() {
        use Ancestry::{Descendant, Unknown};
        for (ancestry, user_fits, in_our_group, expected) in [
            (Descendant, false, false, Standing::Proven),
            (Descendant, true, true, Standing::Proven),
            (Ancestry::Stranger, true, true, Standing::Stranger),
            (Unknown, true, true, Standing::Proven),
            (Unknown, false, true, Standing::Proven),
            (Unknown, true, false, Standing::Unproven),
            (Unknown, false, false, Standing::Stranger),
        ] {
            assert_eq!(standing(ancestry, user_fits, || in_our_group), expected);
        }
    }

    #[test]
    fn what_nothing_proves_is_heard_of_the_state_alone() {
        for (message, kept) in [
            ("READY=1", "READY=1"),
            (
                "RELOADING=1\nMONOTONIC_USEC=5",
                "RELOADING=1\nMONOTONIC_USEC=5",
            ),
            (
                "STATUS=up\nEXTEND_TIMEOUT_USEC=9",
                "STATUS=up\nEXTEND_TIMEOUT_USEC=9",
            ),
            ("WATCHDOG=1", "WATCHDOG=1"),
            ("ERRNO=2\nBUSERROR=x", "ERRNO=2\nBUSERROR=x"),
            ("STOPPING=1\nSTATUS=x\n", "STATUS=x"),
            ("MAINPID=7\nREADY=1", "READY=1"),
            ("WATCHDOG=trigger", ""),
            ("WATCHDOG=10", ""),
            ("WATCHDOG_USEC=1", ""),
            ("FDSTORE=1\nFDNAME=x", ""),
            ("FDSTOREREMOVE=1", ""),
            ("BARRIER=1", ""),
            ("EXIT_STATUS=1", ""),
            ("READY=10", ""),
            ("X=READY=1", ""),
            ("", ""),
        ] {
            let found = harmless_lines(message.as_bytes());
            assert_eq!(
                found.escape_ascii().to_string(),
                kept.escape_default().to_string()
            );
        }
    }

    #[test]
    fn the_main_process_of_a_unit_is_known_by_its_pid_or_its_parent() {
        for (named, own_pid, parent, is_main) in [
            (Some("42"), 42, 1, true),
            (Some("42"), 42, 7, true),
            (Some("41"), 42, 1, false),
            (Some("41"), 42, 41, false),
            // PID 1 of a namespace inside the unit.
            (Some("41"), 1, 0, false),
            (Some("1"), 1, 0, true),
            (Some(""), 42, 1, false),
            (Some("x"), 42, 1, false),
            (None, 42, 1, true),
            (None, 42, 41, false),
            (None, 1, 0, true),
            (None, 42, 0, false),
        ] {
            assert_eq!(
                is_main_of_unit(named.map(OsStr::new), own_pid, parent),
                is_main,
                "{named:?} {own_pid} {parent}"
            );
        }
    }

    /// A relay to this manager, and a socket that sends to it.
    fn relay_to(manager: UnixAddr) -> (Relay, OwnedFd) {
        let socket = datagram::receiver().unwrap();
        let address = bind_without_a_file(&socket).unwrap();
        let sender = datagram::sender().unwrap();
        let to = parse_address(address.as_bytes()).unwrap();
        connect(sender.as_raw_fd(), &to).unwrap();
        let relay = Relay {
            // Of no process: nothing is known of any sender but its user.
            own_pid: 0,
            main_of_unit: true,
            manager: Some(manager),
            upstream: None,
            socket: ManuallyDrop::new(socket),
            address,
            file: None,
            limit: 0,
            unsent: VecDeque::new(),
            user: None,
            main: None,
            ready: false,
            complained: false,
        };
        (relay, sender)
    }

    #[test]
    fn at_the_end_room_is_waited_for() {
        let manager = datagram::receiver().unwrap();
        let address = bind_without_a_file(&manager).unwrap();
        let address = parse_address(address.as_bytes()).unwrap();
        let (mut relay, sender) = relay_to(address);
        // As much as the manager takes, and one that waits with us.
        let mut expected = 0;
        while relay.unsent.is_empty() {
            relay.say(&format!("STATUS={expected}"));
            expected += 1;
        }
        for _ in 0..2 {
            let text = format!("STATUS={expected}");
            datagram::send(sender.as_fd(), text.as_bytes(), &[]).unwrap();
            expected += 1;
        }
        let done = std::sync::atomic::AtomicBool::new(false);
        let thread = nix::unistd::gettid();
        let received = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let waits = || {
                    let call = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall"));
                    call.is_ok_and(|call| call.starts_with(&format!("{} ", libc::SYS_ppoll)))
                };
                let is_done = || done.load(std::sync::atomic::Ordering::Acquire);
                while !waits() && !is_done() {
                    std::thread::yield_now();
                }
                let mut received = Vec::new();
                loop {
                    // Looked up first: what was sent before it is there then.
                    let last = is_done();
                    match datagram::receive(manager.as_fd()) {
                        Ok(message) => received.push(message.bytes),
                        Err(_) if last => return received,
                        Err(_) => std::thread::yield_now(),
                    }
                }
            });
            relay.finish_until(Instant::now() + Duration::from_secs(60));
            drop(relay);
            done.store(true, std::sync::atomic::Ordering::Release);
            reader.join().unwrap()
        });
        let expected: Vec<_> = (0..expected)
            .map(|number| format!("STATUS={number}").into_bytes())
            .collect();
        assert_eq!(received, expected);
    }

    #[test]
    fn the_last_wait_is_short_and_ends_with_the_deadline() {
        let ms = Duration::from_millis;
        for (left, expected) in [
            (None, ms(100)),
            (Some(ms(30_000)), ms(100)),
            (Some(ms(20)), ms(20)),
            (Some(ms(0)), ms(0)),
        ] {
            assert_eq!(last_wait(left), expected);
        }
    }

    #[test]
    fn unix_addresses_are_told_from_others() {
        for value in ["/run/systemd/notify", "@name"] {
            assert!(is_unix(OsStr::new(value)), "{value}");
        }
        for value in ["", "@", "/", "vsock:2:1234", "relative"] {
            assert!(!is_unix(OsStr::new(value)), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_message_upsets_it(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (passed_on, _) = without_main_pid(&message);
            prop_assert!(passed_on.len() <= message.len());
        }

        #[test]
        fn a_message_without_a_main_pid_stays_as_it_is(message in "[A-LN-Z=\n]{0,60}") {
            prop_assert_eq!(without_main_pid(message.as_bytes()).0, message.as_bytes());
        }
    }
}
