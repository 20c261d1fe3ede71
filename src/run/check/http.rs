//! Asks a service for a page, and reads the status of the answer, nothing else.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::Limit;
use super::socket::{connect, reason};
use crate::settings::services::Request;

/// The longest beginning of an answer that matters: `HTTP/1.1 200` and what follows.
const LONGEST: usize = 13;

const NO_HTTP: &str = "the answer is not HTTP";

/// Makes one request.
///
/// # Errors
/// What came instead of a status of success.
pub(super) fn get(request: &Request, limit: &Limit) -> Result<(), String> {
    let mut stream = connect(&request.addresses, limit)?;
    let Request { host, path, .. } = request;
    // 1.1, because some proxies refuse 1.0.
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: supervise\r\nConnection: close\r\n\r\n"
    );
    send(&mut stream, text.as_bytes(), limit)?;
    match receive(&mut stream, limit)? {
        200..=399 => Ok(()),
        status => Err(format!("HTTP status {status}")),
    }
}

fn send(stream: &mut TcpStream, mut text: &[u8], limit: &Limit) -> Result<(), String> {
    while !text.is_empty() {
        let left = limit.left();
        if left.is_zero() {
            return Err(limit.exceeded());
        }
        let sent = stream
            .set_write_timeout(Some(left))
            .and_then(|()| stream.write(text));
        match sent {
            Ok(length) => text = text.get(length..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(reason(&error, limit)),
        }
    }
    Ok(())
}

fn receive(stream: &mut TcpStream, limit: &Limit) -> Result<u16, String> {
    let mut answer = [0; LONGEST];
    let mut length = 0;
    loop {
        let left = limit.left();
        if left.is_zero() {
            return Err(limit.exceeded());
        }
        let room = answer.get_mut(length..).unwrap_or_default();
        let received = stream
            .set_read_timeout(Some(left))
            .and_then(|()| stream.read(room));
        let is_end = match received {
            Ok(more) => {
                length += more;
                more == 0
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => false,
            Err(error) => return Err(reason(&error, limit)),
        };
        let answer = answer.get(..length).unwrap_or_default();
        if length == 0 && is_end {
            return Err("the connection was closed without an answer".to_owned());
        }
        if is_end || length == LONGEST || answer.contains(&b'\n') {
            return status(answer).ok_or_else(|| NO_HTTP.to_owned());
        }
    }
}

/// Reads the status from the beginning of an answer.
fn status(answer: &[u8]) -> Option<u16> {
    let (version, rest) = answer.split_at_checked(9)?;
    let [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, b' '] = *version else {
        return None;
    };
    let (code, rest) = rest.split_at_checked(3)?;
    let is_whole = matches!(rest.first(), None | Some(b' ' | b'\r' | b'\n'));
    let digits = [major, minor].iter().chain(code).all(u8::is_ascii_digit);
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    (is_whole && digits).then_some(code)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::sync::mpsc;
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::run::check::testing::{refusing, second};

    /// Makes a request of a server that answers so, and returns what the server received.
    fn get_from(
        answer: impl FnOnce(&mut TcpStream) + Send + 'static,
    ) -> (Result<(), String>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, received) = mpsc::channel();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            tell.send(request).unwrap();
            answer(&mut stream);
        });
        let result = get(&request(address, "/health?a=b"), &second());
        let received = received.recv().unwrap();
        server.join().unwrap();
        (result, received)
    }

    fn request(address: SocketAddr, path: &str) -> Request {
        Request {
            addresses: vec![address],
            host: "example:8000".to_owned(),
            path: path.to_owned(),
        }
    }

    #[test]
    fn the_status_of_the_answer_decides() {
        let refused = |why: &str| Err(why.to_owned());
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Ok(())),
            ("HTTP/1.0 204\r\n\r\n", Ok(())),
            ("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n", Ok(())),
            ("HTTP/1.1 399 x\n\n", Ok(())),
            ("HTTP/1.1 200", Ok(())),
            ("HTTP/1.1 400 Bad\r\n\r\n", refused("HTTP status 400")),
            ("HTTP/1.1 404 Not Found\r\n\r\n", refused("HTTP status 404")),
            ("HTTP/1.1 500 Error\r\n\r\n", refused("HTTP status 500")),
            ("HTTP/1.1 199 x\r\n\r\n", refused("HTTP status 199")),
            ("HTTP/1.1 2000 OK\r\n\r\n", refused(NO_HTTP)),
            ("HTTP/1.1 20\r\n\r\n", refused(NO_HTTP)),
            ("HTTP/1.1 +20 OK\r\n\r\n", refused(NO_HTTP)),
            ("HTTP/1.1\r\n\r\n", refused(NO_HTTP)),
            ("HTTP/1.1 ", refused(NO_HTTP)),
            ("SSH-2.0-OpenSSH_9.2\r\n", refused(NO_HTTP)),
            ("200 OK\r\n", refused(NO_HTTP)),
            ("\n", refused(NO_HTTP)),
            ("", refused("the connection was closed without an answer")),
        ] {
            let (result, _) = get_from(|stream| stream.write_all(answer.as_bytes()).unwrap());
            assert_eq!(result, expected, "{answer:?}");
        }
    }

    #[test]
    fn the_request_names_the_host_and_the_path() {
        let (_, received) = get_from(|_| {});
        let expected = "GET /health?a=b HTTP/1.1\r\nHost: example:8000\r\nUser-Agent: supervise\r\n\
                        Connection: close\r\n\r\n";
        assert_eq!(String::from_utf8(received).unwrap(), expected);
    }

    #[test]
    fn an_answer_may_come_in_pieces_and_have_no_end() {
        let (result, _) = get_from(|stream| {
            stream.set_nodelay(true).unwrap();
            for byte in b"HTTP/1.1 503 Service Unavailable" {
                // The other end may have gone.
                let _ = stream.write_all(&[*byte]);
            }
        });
        assert_eq!(result, Err("HTTP status 503".to_owned()));
        for (start, expected) in [("HTTP/1.1 200 ", Ok(())), ("X", Err(NO_HTTP.to_owned()))] {
            let (result, _) = get_from(move |stream| {
                let _ = stream.write_all(start.as_bytes());
                while stream.write_all(&[b'x'; 4096]).is_ok() {}
            });
            assert_eq!(result, expected, "{start}");
        }
    }

    #[test]
    fn a_server_that_does_not_answer_or_not_fast_enough_is_not_waited_for() {
        let (done, wait) = mpsc::channel::<()>();
        let server = thread::spawn(move || {
            get_from(move |stream| {
                let _ = stream.write_all(b"HTTP/1.1 2");
                let _ = wait.recv();
            })
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = get(&request(listener.local_addr().unwrap(), "/"), &second());
        assert_eq!(silent, Err("no answer within 1s".to_owned()));
        // The request does not fit into the buffers.
        let long = "/".to_owned() + &"x".repeat(20_000_000);
        let unread = get(&request(listener.local_addr().unwrap(), &long), &second());
        assert_eq!(unread, Err("no answer within 1s".to_owned()));
        done.send(()).unwrap_or_default();
        let (slow, _) = server.join().unwrap();
        assert_eq!(slow, Err("no answer within 1s".to_owned()));
        let refused = get(&request(refusing(), "/"), &second());
        assert_eq!(refused, Err("connection refused".to_owned()));
    }

    proptest! {
        #[test]
        fn no_answer_upsets_it(answer in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = status(&answer);
        }
    }
}
