//! The notification relay: notifications of the command and its descendants for the
//! service manager (`sd_notify(3)`) are sent to it as ours. systemd knows `supervise` as
//! the main process, so that `NotifyAccess=main` accepts them.
//!
//! The command finds a socket of ours in `NOTIFY_SOCKET`. Each message is relayed
//! unchanged, with the descriptors that came with it, except for its MAINPID lines:
//! because of them systemd would take another process for the main one and drop
//! all later messages of ours. The process that MAINPID names becomes the command if
//! the command exits by itself.
//!
//! - **Senders.** The kernel names the sender of each message (`SO_PASSCRED`), and
//!   `message.rs` decides what it may notify of. A process that is not a descendant is
//!   refused, even one of root: it does not belong to the unit.
//! - **Order.** While the manager has no room, no message is taken in, so that senders
//!   wait as they would without us. Signals and timers are served meanwhile.
//! - **Time.** Messages are relayed before children are reaped, because a sender can be
//!   looked up only until then, and once more on exit: 100 ms at most and not past the
//!   deadline. Messages that are lost then are counted in the log.
//! - **Descriptors.** They are closed when the message is sent, because the sender of a
//!   BARRIER waits for that. A child closes them, because close(2) may block
//!   ([`crate::sys::closing`]), and while they might leave no room for one more message,
//!   no message is taken in. `SO_PASSRIGHTS` (Linux 6.16) is not used, because the send of
//!   a BARRIER, and so systemd-notify, would fail.
//! - **Our own messages.** STOPPING and STATUS are sent only as the main process of the
//!   unit. From a nested `supervise` they would make systemd stop the whole unit.

mod address;
mod message;
mod upstream;

use std::ffi::{OsStr, OsString};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use log::{debug, warn};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{Shutdown, shutdown};

use self::address::{bind, is_main_of_unit, is_unix, parse_address};
use self::message::{Standing, harmless_lines, standing, without_main_pid};
use self::upstream::{Message, Upstream};
use super::events::Watched;
use crate::processes::ancestry::{self, Ancestry};
use crate::processes::procfs::{self, Identity, known};
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

/// As many descriptors as are enough for what may be passed to us.
const ENOUGH: u64 = 4096;

/// How long the exit waits at most for a manager that has no room.
const LAST_WAIT: Duration = Duration::from_millis(100);

/// How often is tried again to have descriptors closed.
const CLOSE_AGAIN: Duration = Duration::from_secs(1);

/// The relay, between the start and the exit of the command.
#[derive(Debug)]
pub(crate) struct Relay {
    own_pid: i32,
    /// Whether the service manager knows us as the main process of the unit.
    main_of_unit: bool,
    /// The way to the service manager. While messages wait there, no other is taken in:
    /// its sender waits, as it would for a busy manager.
    upstream: Upstream,
    /// Where messages come in. Never closed by us: what is left in its queue would be
    /// closed with it.
    socket: ManuallyDrop<OwnedFd>,
    /// What the command finds in `NOTIFY_SOCKET`.
    address: OsString,
    /// The socket's file, if it has one.
    file: Option<PathBuf>,
    /// How many descriptors may be open.
    limit: usize,
    /// The command's user, as it was last seen.
    user: Option<u32>,
    /// The process that a MAINPID line has named.
    main: Option<Identity>,
    /// Whether READY=1 has come.
    ready: bool,
    /// Whether a stranger's message, or one that failed, was warned of.
    warned: bool,
}

impl Relay {
    /// Opens the relay, before the command is started. `None` where there is
    /// no service manager to relay to (`NOTIFY_SOCKET` is missing or not a Unix
    /// socket) and `listen`, for READY=1, is not set.
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
        let socket = above_stdio(socket).ok_or("no file descriptor left (ulimit -n)")?;
        let (address, file) = bind(&socket).map_err(|e| fail("bind", e))?;
        let named = std::env::var_os(MAIN_VARIABLE);
        let parent = nix::unistd::getppid().as_raw();
        Ok(Some(Self {
            own_pid: own_pid(),
            main_of_unit: is_main_of_unit(named.as_deref(), own_pid(), parent),
            upstream: Upstream::new(manager),
            socket: ManuallyDrop::new(socket),
            address,
            file,
            limit: 0,
            user: None,
            main: None,
            ready: false,
            warned: false,
        }))
    }

    /// What the command is to find in `NOTIFY_SOCKET`.
    pub(crate) fn address(&self) -> &OsStr {
        &self.address
    }

    /// The socket, which stays open when inherited descriptors are closed.
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
        // Where no message is taken in, the exit of a closing child ends the wait.
        let full = closing::is_full(self.limit);
        let listening = if full {
            PollFlags::empty()
        } else {
            PollFlags::POLLIN
        };
        let at_most = (full || closing::is_stuck()).then_some(CLOSE_AGAIN);
        let (descriptor, flags) = match self.upstream.blocked() {
            Some(connection) => (connection, PollFlags::POLLOUT),
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
    pub(crate) fn drain(&mut self, command: Option<i32>) {
        self.relay(LAST_BATCH, command);
    }

    /// Relays the last messages. If the manager has no room it is waited for, for a
    /// short time and not longer than `left`, the time to the deadline.
    pub(crate) fn finish(&mut self, left: Option<Duration>) {
        self.finish_until(Instant::now() + last_wait(left));
    }

    fn finish_until(&mut self, end: Instant) {
        loop {
            self.drain(None);
            if self.upstream.waiting() == 0 || !self.upstream.has_room_by(end) {
                return;
            }
        }
    }

    /// Sends the manager a message of our own, where we are the main process of its
    /// unit: a STOPPING of any other process would have it stop the whole unit.
    pub(crate) fn notify(&mut self, text: &str) {
        if !self.main_of_unit {
            return;
        }
        self.upstream.push(Message {
            bytes: text.as_bytes().to_owned(),
            descriptors: Passed::default(),
        });
        self.send();
    }

    /// Whether the command or a descendant has sent READY=1.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// The process that has been named as the main one, if it is a child of ours
    /// now that the command has exited. It is returned once.
    pub(crate) fn successor(&mut self) -> Option<i32> {
        let main = self.main.take()?;
        let process = known(procfs::stat(main.pid))?;
        (process.identity() == main && process.parent == self.own_pid).then_some(main.pid)
    }
}

/// Messages, from the queue of our socket to that of the manager.
impl Relay {
    fn relay(&mut self, at_most: usize, command: Option<i32>) {
        // Unknown once the command is reaped.
        self.user = command.and_then(procfs::uid).or(self.user);
        for _ in 0..at_most {
            self.send();
            if self.upstream.waiting() > 0 || closing::is_full(self.limit) {
                break;
            }
            match datagram::receive(self.socket.as_fd()) {
                Ok(datagram) => self.accept(datagram, command),
                // No message; any other error would come again and again, and the
                // next turn of the loop tries again.
                Err(_) => break,
            }
        }
        closing::start();
    }

    /// Takes one message in.
    fn accept(&mut self, mut datagram: Datagram, command: Option<i32>) {
        let whom = datagram.sender.map_or_else(
            || "an unknown process".to_owned(),
            |s| format!("pid {} (uid {})", s.pid, s.uid),
        );
        let standing = datagram.sender.map_or(Standing::Stranger, |sender| {
            self.standing(sender, datagram.process.as_ref())
        });
        if standing == Standing::Stranger {
            self.warn_once(&format!(
                "dropped notification from {whom}: not a descendant of supervise"
            ));
            return;
        }
        if datagram.truncated {
            self.warn_once(&format!(
                "dropped notification from {whom}: over 4096 bytes, or too many file descriptors \
                 (ulimit -n)"
            ));
            return;
        }
        debug!("notification from {whom}");
        if standing == Standing::Proven {
            datagram.descriptors.trusted = true;
        } else {
            let harmless = harmless_lines(&datagram.bytes);
            if harmless != datagram.bytes || !datagram.descriptors.all().is_empty() {
                self.warn_once(&format!(
                    "dropped part of notification from {whom}: it exited, or /proc does not show \
                     it, so only READY, STATUS and the like are relayed; notify from a process that \
                     waits until the message is received, as systemd-notify does"
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
            self.record_main(pid, command);
        }
        if !bytes.is_empty() {
            self.upstream.push(Message {
                bytes,
                descriptors: datagram.descriptors,
            });
            self.send();
        }
    }

    /// For what a sender may speak.
    fn standing(&self, sender: Credentials, process: Option<&PidFd>) -> Standing {
        let ancestry = ancestry::of(sender.pid, self.own_pid);
        let users = [Some(0), Some(nix::unistd::geteuid().as_raw()), self.user];
        let user_fits = sender.pid > 0 && users.contains(&Some(sender.uid));
        standing(ancestry, user_fits, || {
            let of_sender = process.and_then(PidFd::control_group);
            // Not from /proc, which in a cgroup namespace shows every group as the root.
            let ours = || PidFd::open(self.own_pid).ok()?.control_group();
            of_sender.is_some_and(|group| group != ROOT_GROUP && ours() == Some(group))
        })
    }

    fn record_main(&mut self, pid: i32, command: Option<i32>) {
        let named = known(procfs::stat(pid))
            .filter(|_| ancestry::of(pid, self.own_pid) == Ancestry::Descendant);
        self.main = match named {
            Some(_) if Some(pid) == command => None,
            Some(process) => {
                debug!("pid {pid} will take over when the command exits (MAINPID)");
                Some(process.identity())
            }
            None => {
                debug!("ignored MAINPID={pid}: not a descendant of supervise");
                return;
            }
        };
    }

    /// Sends what goes without waiting.
    fn send(&mut self) {
        let mut failed = None;
        self.upstream.send(|errno| failed = Some(errno));
        if let Some(errno) = failed {
            self.warn_once(&format!(
                "notification lost: cannot send to the service manager: {}",
                errno.desc()
            ));
        }
    }

    /// Warns once. A stranger must not be able to fill the log.
    fn warn_once(&mut self, what: &str) {
        if self.warned {
            debug!("{what}");
        } else {
            warn!("{what}");
        }
        self.warned = true;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // If it cannot be removed, no process listens there any more.
            let _ = std::fs::remove_file(file);
        }
        // Nothing more comes in. What is there must not be left to the kernel, which
        // would close its descriptors in our place.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Read);
        let mut emptied = false;
        while !emptied && !closing::is_full(self.limit) {
            match datagram::receive(self.socket.as_fd()) {
                Ok(datagram) => self.accept(datagram, None),
                Err(_) => emptied = true,
            }
        }
        self.send();
        if self.upstream.waiting() > 0 {
            warn!(
                "notifications lost: {} (not accepted by the service manager)",
                self.upstream.waiting()
            );
        }
        self.upstream.clear();
        closing::finish((!emptied).then(|| self.socket.as_fd()));
    }
}

/// How long to wait for room at the end, if so much time is `left`.
fn last_wait(left: Option<Duration>) -> Duration {
    left.map_or(LAST_WAIT, |left| left.min(LAST_WAIT))
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{UnixAddr, connect};

    use super::address::bind_without_a_file;
    use super::*;

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
            upstream: Upstream::new(Some(manager)),
            socket: ManuallyDrop::new(socket),
            address,
            file: None,
            limit: 0,
            user: None,
            main: None,
            ready: false,
            warned: false,
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
        while relay.upstream.waiting() == 0 {
            relay.notify(&format!("STATUS={expected}"));
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
}
