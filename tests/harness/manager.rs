//! A service manager at the other end of `NOTIFY_SOCKET`.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt,
};

use super::{Folder, Home, PATIENCE, Start, start};

/// A service manager, as far as a socket makes one.
pub struct Manager {
    pub folder: Folder,
    pub socket: UnixDatagram,
}

pub struct Message {
    pub text: String,
    pub pid: i32,
    pub descriptors: Vec<OwnedFd>,
}

impl Manager {
    pub fn new() -> Self {
        let folder = Folder::new();
        let path = folder.file("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        setsockopt(&socket, sockopt::PassCred, &true).unwrap();
        Self { folder, socket }
    }

    /// A start under this manager as the main process of a unit, with a folder for the
    /// socket of the relay.
    pub fn start(&self, home: Home) -> Start {
        let main = "SYSTEMD_EXEC_PID=$$ exec \"$@\"";
        self.start_unnamed(home).through(&["sh", "-c", main, "sh"])
    }

    /// The same, under a manager that does not say which the main process is.
    pub fn start_unnamed(&self, home: Home) -> Start {
        let runtime = self.folder.path().to_str().unwrap();
        start(home)
            .through(&["env", "-u", "SYSTEMD_EXEC_PID"])
            .variable("NOTIFY_SOCKET", &self.folder.file("notify"))
            .variable("RUNTIME_DIRECTORY", runtime)
    }

    #[track_caller]
    pub fn receive(&self) -> Message {
        let timeout = PollTimeout::try_from(PATIENCE).unwrap();
        let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut waiting, timeout).unwrap(), 1, "no message came");
        self.take()
    }

    /// To be called when all possible senders have exited.
    #[track_caller]
    pub fn expect_nothing(&self) {
        let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let came = poll(&mut waiting, PollTimeout::ZERO).unwrap() > 0;
        assert!(!came, "{:?} came", self.take().text);
    }

    fn take(&self) -> Message {
        let mut bytes = [0; 8192];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let mut control = cmsg_space!([i32; 253], UnixCredentials);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            flags,
        )
        .unwrap();
        let (mut pid, mut descriptors) = (0, Vec::new());
        for with in received.cmsgs().unwrap() {
            match with {
                ControlMessageOwned::ScmCredentials(who) => pid = who.pid(),
                ControlMessageOwned::ScmRights(numbers) => {
                    descriptors.extend(numbers.into_iter().map(owned));
                }
                other => panic!("{other:?}"),
            }
        }
        let length = received.bytes;
        Message {
            text: String::from_utf8_lossy(&bytes[..length]).into_owned(),
            pid,
            descriptors,
        }
    }

    #[track_caller]
    pub fn expect(&self, text: &str) -> Message {
        let message = self.receive();
        assert_eq!(message.text, text);
        message
    }
}

#[allow(unsafe_code, reason = "a number that the kernel has just made")]
fn owned(number: i32) -> OwnedFd {
    // SAFETY: the kernel has opened it for this process alone.
    unsafe { OwnedFd::from_raw_fd(number) }
}
