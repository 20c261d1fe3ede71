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
