//! Connects to a service.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::Linger;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, setsockopt, socket};

use super::Limit;

/// The least timeout that the library takes.
const LEAST: Duration = Duration::from_millis(1);

/// Connects to one of these addresses. Each has an equal part of the time that is left: a
/// listener whose queue is full does not answer.
///
/// # Errors
/// What came from the first address.
pub(super) fn connect(addresses: &[SocketAddr], limit: &Limit) -> Result<TcpStream, String> {
    let mut first = None;
    let parts = (1..=addresses.len()).rev();
    for (address, parts) in addresses.iter().zip(parts) {
        let part = limit.left() / u32::try_from(parts).unwrap_or(u32::MAX);
        let connected = TcpStream::connect_timeout(address, part.max(LEAST));
        match connected.and_then(refuse_self) {
            Ok(stream) => return Ok(stream),
            Err(error) => drop(first.get_or_insert_with(|| reason(&error, limit))),
        }
    }
    Err(first.unwrap_or_else(|| lower_case(Errno::EDESTADDRREQ.desc())))
}

/// Refuses a connection to itself: the kernel makes one if no process listens and the port of
/// our end happens to be the same.
fn refuse_self(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? != stream.peer_addr()? {
        return Ok(stream);
    }
    // Without it the port would stay in use for a minute, and the service could not bind it.
    let reset = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let _ = setsockopt(&stream, Linger, &reset);
    Err(io::Error::from_raw_os_error(libc::ECONNREFUSED))
}

/// Connects to the socket at this path, of whatever type it is.
///
/// # Errors
/// Why it does not accept.
pub(super) fn connect_unix(path: &Path) -> Result<(), String> {
    let fail = |errno: Errno| lower_case(errno.desc());
    let address = UnixAddr::new(path).map_err(fail)?;
    let mut result = Err(Errno::EPROTOTYPE);
    for kind in [SockType::Stream, SockType::SeqPacket, SockType::Datagram] {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let own = socket(AddressFamily::Unix, kind, flags, None).map_err(fail)?;
        result = nix::sys::socket::connect(own.as_raw_fd(), &address);
        if result != Err(Errno::EPROTOTYPE) {
            break;
        }
    }
    result.map_err(|errno| match errno {
        // As with TCP, where this is silence: the program does not accept what it has.
        Errno::EAGAIN => "the queue of the listener is full".to_owned(),
        errno => fail(errno),
    })
}

/// Says why a call has failed.
pub(super) fn reason(error: &io::Error, limit: &Limit) -> String {
    match (error.raw_os_error(), error.kind()) {
        (Some(libc::EAGAIN) | None, ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
            limit.exceeded()
        }
        (Some(number), _) => lower_case(Errno::from_raw(number).desc()),
        (None, kind) => kind.to_string(),
    }
}

/// The text as a part of a line.
pub(super) fn lower_case(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use nix::sys::socket::{Backlog, SockaddrStorage, bind, getsockname, listen};

    use super::*;
    use crate::run::check::testing::{Folder, refusing, second};

    /// An address of this machine, and a socket that is bound to it without being shared.
    fn bound(port: u16) -> nix::Result<(SocketAddr, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let own = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        bind(own.as_raw_fd(), &SockaddrStorage::from(address))?;
        let name: SockaddrStorage = getsockname(own.as_raw_fd())?;
        let port = name.as_sockaddr_in().unwrap().port();
        Ok((SocketAddr::from(([127, 0, 0, 1], port)), own))
    }

    #[test]
    fn any_address_may_accept() {
        let refused = refusing();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accepts = listener.local_addr().unwrap();
        for (addresses, expected) in [
            (&[accepts][..], Ok(())),
            (&[refused, accepts], Ok(())),
            (&[accepts, refused], Ok(())),
            (&[refused], Err("connection refused")),
            (&[refused, refused], Err("connection refused")),
        ] {
            let result = connect(addresses, &second()).map(drop);
            assert_eq!(result, expected.map_err(str::to_owned), "{addresses:?}");
        }
    }

    #[test]
    fn a_listener_with_a_full_queue_does_not_accept_nor_use_up_the_time() {
        let (full, listener) = bound(0).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&full, Duration::from_millis(200)) {
            queue.push(stream);
            assert!(queue.len() < 50, "the queue has no end");
        }
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = other.local_addr().unwrap();
        let limit = second();
        assert_eq!(connect(&[full, other], &limit).map(drop), Ok(()));
        assert!(!limit.left().is_zero());
        let alone = connect(&[full], &second()).map(drop);
        assert_eq!(alone, Err("no answer within 1s".to_owned()));
        let both = connect(&[full, refusing()], &second()).map(drop);
        assert_eq!(both, Err("no answer within 1s".to_owned()));
    }

    #[test]
    fn a_connection_to_itself_is_refused_and_leaves_the_port_free() {
        let (address, own) = bound(0).unwrap();
        nix::sys::socket::connect(own.as_raw_fd(), &SockaddrStorage::from(address)).unwrap();
        let error = refuse_self(TcpStream::from(own)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        bound(address.port()).unwrap();
    }

    #[test]
    fn a_unix_socket_of_any_type_may_accept() {
        let folder = Folder::new();
        let path = folder.path("socket");
        let refused = |why: &str| Err(why.to_owned());
        assert_eq!(connect_unix(&path), refused("no such file or directory"));
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(connect_unix(&path), Ok(()));
        drop(listener);
        assert_eq!(connect_unix(&path), refused("connection refused"));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(connect_unix(&path), refused("connection refused"));
        std::fs::remove_file(&path).unwrap();
        let datagrams = UnixDatagram::bind(&path).unwrap();
        assert_eq!(connect_unix(&path), Ok(()));
        drop(datagrams);
        std::fs::remove_file(&path).unwrap();
        let flags = SockFlag::SOCK_CLOEXEC;
        let packets = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        bind(packets.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        assert_eq!(connect_unix(&path), refused("connection refused"));
        listen(&packets, Backlog::new(0).unwrap()).unwrap();
        assert_eq!(connect_unix(&path), Ok(()));
    }

    #[test]
    fn a_unix_socket_with_a_full_queue_does_not_accept() {
        let folder = Folder::new();
        let path = folder.path("socket");
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        // Each leaves its connection in the queue.
        let mut accepted = 0;
        let full = loop {
            match connect_unix(&path) {
                Ok(()) => accepted += 1,
                Err(why) => break why,
            }
            assert!(accepted < 50, "the queue has no end");
        };
        assert_eq!(full, "the queue of the listener is full");
        assert!(accepted > 0);
    }
}
