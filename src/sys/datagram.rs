//! Unix datagram sockets as `sd_notify(3)` uses them: messages with the sender's
//! credentials and with descriptors (unix(7)).

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

/// The longest message that is taken, in bytes. systemd takes none that is
/// longer (`NOTIFY_BUFFER_MAX`, which is `PIPE_BUF`).
const LONGEST: usize = 4096;

/// The control message with a descriptor of the sender (`linux/socket.h`).
const SCM_PIDFD: libc::c_int = 4;

/// Room for the credentials, for that and for as many descriptors as one message can carry
/// (`SCM_MAX_FD`, 253), in words: that is how they are aligned.
const CONTROL_WORDS: usize = 192;

/// Who sent a message, as the kernel vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Its process id; 0 if our PID namespace does not know it.
    pub(crate) pid: i32,
    /// Its user id.
    pub(crate) uid: u32,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// What it says.
    pub(crate) bytes: Vec<u8>,
    /// Who sent it; `None` never, unless the kernel breaks its word.
    pub(crate) sender: Option<Credentials>,
    /// The same process, which may have ended; `None` before Linux 6.5, or where no
    /// descriptor is left. Before 6.16 there is none of one that is reaped.
    pub(crate) process: Option<PidFd>,
    /// The descriptors that came with it.
    pub(crate) descriptors: Passed,
    /// Whether some of it did not fit: it is longer than 4096 bytes, or there
    /// was no room for its descriptors.
    pub(crate) truncated: bool,
}

/// A socket to receive messages on, with their senders' credentials; no call on
/// it waits.
///
/// # Errors
/// See socket(2): no descriptor left.
pub(crate) fn receiver() -> nix::Result<OwnedFd> {
    let socket = sender()?;
    setsockopt(&socket, sockopt::PassCred, &true)?;
    let on: libc::c_int = 1;
    // SAFETY: the option is an int, which lives on. Where the kernel does not know it,
    // less is known of senders.
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

/// A socket to send messages from; no call on it waits.
///
/// # Errors
/// See socket(2): no descriptor left.
pub(crate) fn sender() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Datagram, flags, None)
}

/// Sends a message to the address that the socket is connected to.
///
/// # Errors
/// EAGAIN: the receiver's queue is full; ECONNREFUSED: nobody receives there any
/// more; ENOTCONN; see unix(7).
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

/// Takes the next message, without waiting.
///
/// Not `nix`'s: where descriptors do not fit (the limit on open ones is reached)
/// it answers with an error and leaves those open that did.
///
/// # Errors
/// EAGAIN: there is none; see recv(2).
pub(crate) fn receive(socket: BorrowedFd<'_>) -> nix::Result<Datagram> {
    let mut bytes = vec![0_u8; LONGEST];
    let mut control = [0_u64; CONTROL_WORDS];
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: zeros are a valid `msghdr`: no address, no parts, no control.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    // Of another type in other C libraries.
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: everything that the header points to is live, of the lengths that
    // it names, and borrowed by nothing else.
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

/// Reads what the kernel has put beside a message (cmsg(3)), and takes over every
/// descriptor that it has opened for us.
fn read_control(header: &libc::msghdr) -> (Option<Credentials>, Option<PidFd>, Vec<OwnedFd>) {
    let mut sender = None;
    let mut process = None;
    let mut descriptors = Vec::new();
    // SAFETY: the header is one that recvmsg(2) has filled in, and the buffer that
    // it points to is live. The macros stay within the length that it names; they
    // give null at the end.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: not null, and so a whole control message header in that buffer.
    while let Some(message) = unsafe { next.as_ref() } {
        #[allow(
            clippy::unnecessary_cast,
            reason = "of another type in other C libraries"
        )]
        // SAFETY: takes a plain integer.
        let length =
            (message.cmsg_len as usize).saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        // SAFETY: as above; behind the header there are as many bytes as it names.
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
            // Negative where there is none.
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

    /// Two sockets, the second of which sends to the first.
    fn pair() -> (OwnedFd, OwnedFd) {
        let to = receiver().unwrap();
        bind(to.as_raw_fd(), &UnixAddr::new_unnamed()).unwrap();
        let address: UnixAddr = getsockname(to.as_raw_fd()).unwrap();
        let from = sender().unwrap();
        connect(from.as_raw_fd(), &address).unwrap();
        (to, from)
    }

    #[test]
    fn a_message_arrives_with_its_sender_and_its_descriptors() {
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
        // A child that closes them would end the test by its signal.
        std::mem::forget(message);
        assert_eq!(receive(to.as_fd()).unwrap_err(), Errno::EAGAIN);
    }

    #[test]
    fn a_message_that_is_too_long_is_known_as_cut() {
        let (to, from) = pair();
        for (length, truncated) in [(0, false), (4096, false), (4097, true)] {
            send(from.as_fd(), &vec![b'x'; length], &[]).unwrap();
            let message = receive(to.as_fd()).unwrap();
            assert_eq!(message.bytes.len(), length.min(4096));
            assert_eq!(message.truncated, truncated, "{length}");
        }
    }
}
