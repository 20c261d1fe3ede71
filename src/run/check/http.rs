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
