//! Unix datagram sockets as `sd_notify(3)` uses them: messages with credentials of the
//! sender and with descriptors (unix(7)).

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, setsockopt,
    socket, sockopt,
};

use super::checked;
use super::closing::Passed;
use super::pidfd::PidFd;

/// The maximum length of a message, in bytes, as in systemd (`NOTIFY_BUFFER_MAX`, which is
/// `PIPE_BUF`).
const MAX_MESSAGE: usize = 4096;

/// The type of the control message with a pidfd of the sender (`linux/socket.h`).
const SCM_PIDFD: libc::c_int = 4;

/// Room for the credentials, the pidfd and the descriptors of one message (at most 253,
/// `SCM_MAX_FD`), in words, because control messages are aligned to words.
const CONTROL_WORDS: usize = 192;

/// The sender of a message, as verified by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Process id; 0 if the sender is outside our PID namespace.
    pub(crate) pid: i32,
    /// User id.
    pub(crate) uid: u32,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// The text.
    pub(crate) bytes: Vec<u8>,
    /// The sender. The kernel adds it to every message, so that it is never `None`.
    pub(crate) sender: Option<Credentials>,
    /// The same process, which may have exited. `None` before Linux 6.5, if no descriptor
    /// is left, and before Linux 6.16 if the process is reaped.
    pub(crate) process: Option<PidFd>,
    /// The descriptors that it passes to us.
    pub(crate) descriptors: Passed,
    /// Whether a part of it did not fit: it is longer than 4096 bytes, or the limit on
    /// open descriptors was reached.
    pub(crate) truncated: bool,
}

/// Makes a socket that receives messages with the credentials of their senders. No call on
/// it blocks.
///
/// # Errors
/// EMFILE: no descriptor left; see socket(2).
pub(crate) fn receiver() -> nix::Result<OwnedFd> {
    let socket = sender()?;
    setsockopt(&socket, sockopt::PassCred, &true)?;
    let on: libc::c_int = 1;
    // SAFETY: the option is an int, and a live local. A kernel without it leaves
    // `Datagram::process` empty.
    unsafe {
        libc::syscall(
            libc::SYS_setsockopt,
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSPIDFD,
            &raw const on,
            size_of_val(&on),
        )
    };
    Ok(socket)
}

/// Makes a socket that sends messages. No call on it blocks.
///
/// # Errors
/// EMFILE: no descriptor left; see socket(2).
pub(crate) fn sender() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Datagram, flags, None)
}

/// Sends a message to the address that the socket is connected to.
///
/// # Errors
/// EAGAIN: the receiver's queue is full; ECONNREFUSED: the receiver has closed its socket;
/// ENOTCONN; see unix(7).
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[OwnedFd],
) -> nix::Result<()> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let with = [ControlMessage::ScmRights(&numbers)];
    let with = if numbers.is_empty() { &[] } else { &with[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        with,
        flags,
        None,
    )
    .map(drop)
}

/// Receives the next message, without waiting.
///
/// Not by `nix`: if not all descriptors fit below the limit on open ones, it returns an
/// error and leaves the others open.
///
/// # Errors
/// EAGAIN: there is no message; see recv(2).
pub(crate) fn receive(socket: BorrowedFd<'_>) -> nix::Result<Datagram> {
    let mut bytes = vec![0_u8; MAX_MESSAGE];
    let mut control = [0_u64; CONTROL_WORDS];
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: zeros are a valid `msghdr`: no address, no parts, no control messages.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    // Its type depends on the C library.
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: all that the header points to is live, has the length given there, and is
    // borrowed by nothing else.
    let length = checked(unsafe {
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) as libc::c_long
    })?;
    bytes.truncate(usize::try_from(length).unwrap_or_default());
    let (sender, process, descriptors) = read_control(&header);
    Ok(Datagram {
        bytes,
        sender,
        process,
        descriptors: descriptors.into(),
        truncated: header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
    })
}

/// Reads the control messages of a message (cmsg(3)), and takes every descriptor that the
/// kernel has opened for us.
fn read_control(header: &libc::msghdr) -> (Option<Credentials>, Option<PidFd>, Vec<OwnedFd>) {
    let mut sender = None;
    let mut process = None;
    let mut descriptors = Vec::new();
    // SAFETY: recvmsg(2) has filled in the header, and the buffer that it points to is
    // live. The macros stay within its length and return null after the last message.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: not null, and so a whole control message header in that buffer.
    while let Some(message) = unsafe { next.as_ref() } {
        #[allow(clippy::unnecessary_cast, reason = "its type depends on the C library")]
        // SAFETY: takes a plain integer.
        let length =
            (message.cmsg_len as usize).saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        // SAFETY: as above; the header is followed by as many bytes as it gives.
        let data = unsafe { std::slice::from_raw_parts(libc::CMSG_DATA(message), length) };
        let mut numbers = data
            .chunks_exact(4)
            .filter_map(|bytes| bytes.try_into().ok())
            .map(i32::from_ne_bytes);
        match (message.cmsg_level, message.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                descriptors.extend(numbers.map(|number| {
                    // SAFETY: the kernel has opened it for us alone.
                    unsafe { OwnedFd::from_raw_fd(number) }
                }));
            }
            // Negative if there is none.
            (libc::SOL_SOCKET, SCM_PIDFD) => {
                process = numbers.next().filter(|number| *number >= 0).map(|number| {
                    // SAFETY: as above.
                    PidFd::from(unsafe { OwnedFd::from_raw_fd(number) })
                });
            }
            // A `ucred`: pid, uid, gid.
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                sender = numbers
                    .next()
                    .zip(numbers.next())
                    .map(|(pid, uid)| Credentials {
                        pid,
                        uid: uid.cast_unsigned(),
                    });
            }
            _ => {}
        }
        // SAFETY: `message` is a control message of this header.
        next = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    (sender, process, descriptors)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use nix::errno::Errno;
    use nix::sys::socket::{bind, connect, getsockname};

    use super::*;

    /// Two sockets: the second one sends to the first one.
    fn pair() -> (OwnedFd, OwnedFd) {
        let to = receiver().unwrap();
        bind(to.as_raw_fd(), &UnixAddr::new_unnamed()).unwrap();
        let address: UnixAddr = getsockname(to.as_raw_fd()).unwrap();
        let from = sender().unwrap();
        connect(from.as_raw_fd(), &address).unwrap();
        (to, from)
    }

    #[test]
    fn a_message_arrives_with_its_sender_and_descriptors() {
        let (to, from) = pair();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let writers: Vec<OwnedFd> = (0..253)
            .map(|_| writer.as_fd().try_clone_to_owned().unwrap())
            .collect();
        drop(writer);
        send(from.as_fd(), b"FDSTORE=1", &writers).unwrap();
        drop(writers);

        let message = receive(to.as_fd()).unwrap();
        assert_eq!(message.bytes, b"FDSTORE=1");
        let own = Credentials {
            pid: std::process::id().cast_signed(),
            uid: nix::unistd::getuid().as_raw(),
        };
        assert_eq!(message.sender, Some(own));
        assert_eq!(message.descriptors.all().len(), 253);
        assert!(!message.truncated);
        for descriptor in message.descriptors.all() {
            let mut file = std::fs::File::from(descriptor.try_clone().unwrap());
            file.write_all(b"x").unwrap();
        }
        let mut all = [0; 253];
        reader.read_exact(&mut all).unwrap();
        // The signal of a closer would kill the test.
        std::mem::forget(message);
        assert_eq!(receive(to.as_fd()).unwrap_err(), Errno::EAGAIN);
    }

    #[test]
    fn a_message_that_is_too_long_is_truncated() {
        let (to, from) = pair();
        for (length, truncated) in [(0, false), (4096, false), (4097, true)] {
            send(from.as_fd(), &vec![b'x'; length], &[]).unwrap();
            let message = receive(to.as_fd()).unwrap();
            assert_eq!(message.bytes.len(), length.min(4096));
            assert_eq!(message.truncated, truncated, "{length}");
        }
    }
}
