//! Reads when a service counts as ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use toml::de::DeValue;

use super::command::Program;
use super::findings::quoted;
use super::keys;
use super::text::{Context, Item, Key, Wanted};
use super::values::refuse;
use super::{Ready, Request, Shown};

const READY: Wanted = Wanted {
    is: "a kind of readiness",
    advice: "use \"started\", \"notify\", \"exited\", { tcp = \"HOST:PORT\" }, { unix = \"PATH\" }, \
             { http = \"http://HOST:PORT/PATH\" } or { command = [\"PROGRAM\"] }",
};
const TCP: Wanted = Wanted {
    is: "a numeric address or localhost, with a port",
    advice: "use for example 5432, \"127.0.0.1:5432\" or \"[::1]:5432\"; for any other host use \
             { command = [\"PROGRAM\"] }",
};
const UNIX: Wanted = Wanted {
    is: "the path of a socket",
    advice: "use for example \"/run/app.sock\"",
};
const HTTP: Wanted = Wanted {
    is: "an http address with a numeric host or localhost",
    advice: "use for example \"http://127.0.0.1:8000/health\"; for https or any other host use \
             { command = [\"PROGRAM\"] }",
};

/// The longest path that an address of a socket can have (unix(7)).
pub(super) const LONGEST_PATH: usize = 107;

impl Context<'_> {
    /// Reads `ready`, and adds the program of a check to those to be looked up.
    pub(super) fn ready(&mut self, item: Item<'_>, programs: &mut Vec<Program>) -> Option<Ready> {
        let Some(entries) = item.entries() else {
            return self.word_of_readiness(item);
        };
        if entries.is_empty() {
            let text = format!(
                "ready must be {}, not an empty table; {}",
                READY.is, READY.advice
            );
            self.findings.error(item.place, text);
        }
        let mut known = Vec::new();
        for (key, value) in entries {
            if keys::READY.contains(&key.name) {
                known.push((key, value));
            } else {
                let text = keys::unknown(key.name, &keys::READY);
                self.findings.error(key.place, text);
            }
        }
        let (first, rest) = known.split_first()?;
        if let Some((second, _)) = rest.first() {
            let text = format!(
                "ready has both {} and {}; use one of them",
                first.0.name, second.name
            );
            self.findings.error(second.place, text);
        }
        let (key, value) = *first;
        self.check_of_readiness(key, value, programs)
    }

    fn word_of_readiness(&mut self, item: Item<'_>) -> Option<Ready> {
        let text = self.string(item, "ready", READY)?;
        self.parse(&text, READY, |text| match text {
            "started" => Ok(Ready::Started),
            "notify" => Ok(Ready::Notified),
            "exited" => Ok(Ready::Exited),
            text => Err(refuse(text, READY)),
        })
    }

    fn check_of_readiness(
        &mut self,
        key: Key<'_>,
        item: Item<'_>,
        programs: &mut Vec<Program>,
    ) -> Option<Ready> {
        match key.name {
            "tcp" => {
                let mut text = self.scalar(item, "tcp", TCP)?;
                let value = self.parse(&text, TCP, parse_tcp)?;
                if matches!(item.value, DeValue::Integer(_)) {
                    text.shown.insert_str(0, "localhost:");
                }
                let shown = text.shown;
                Some(Ready::Tcp(Shown { value, shown }))
            }
            "unix" => {
                let text = self.string(item, "unix", UNIX)?;
                let value = PathBuf::from(text.os_string());
                if text.value.as_ref().is_some_and(Vec::is_empty) {
                    let text = format!("'' is not {}; {}", UNIX.is, UNIX.advice);
                    self.findings.error(item.place, text);
                }
                let shown = text.shown;
                Some(Ready::Unix(Shown { value, shown }))
            }
            "http" => {
                let text = self.string(item, "http", HTTP)?;
                let value = text.value.as_deref()?;
                let value = std::str::from_utf8(value).ok().and_then(parse_http);
                // A part of the address may be a password or a token.
                let shown = text.shown.split(['?', '#']).next().unwrap_or_default();
                let Some(value) = value else {
                    let text = if shown.contains('@') {
                        format!("this is not {}; {}", HTTP.is, HTTP.advice)
                    } else {
                        format!("{} is not {}; {}", quoted(shown), HTTP.is, HTTP.advice)
                    };
                    self.findings.error(item.place, text);
                    return None;
                };
                let shown = shown.to_owned();
                Some(Ready::Http(Shown { value, shown }))
            }
            _ => Some(Ready::Command(self.command(item, programs)?)),
        }
    }
}

/// Reads `HOST:PORT` or a port.
fn parse_tcp(text: &str) -> Result<Vec<SocketAddr>, String> {
    let addresses = match parse_port(text) {
        Some(port) => Some(local(port)),
        None => parse_host_and_port(text),
    };
    addresses.ok_or_else(|| refuse(text, TCP))
}

fn parse_host_and_port(text: &str) -> Option<Vec<SocketAddr>> {
    let (host, port) = text.rsplit_once(':')?;
    let port = parse_port(port)?;
    if host == "localhost" {
        return Some(local(port));
    }
    let address = match host.strip_prefix('[') {
        Some(host) => IpAddr::V6(host.strip_suffix(']')?.parse().ok()?),
        None => IpAddr::V4(host.parse().ok()?),
    };
    Some(vec![SocketAddr::new(address, port)])
}

fn local(port: u16) -> Vec<SocketAddr> {
    let hosts: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    hosts.map(|host| SocketAddr::new(host, port)).to_vec()
}

fn parse_port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port != 0)
}

fn parse_http(text: &str) -> Option<Request> {
    let rest = text.strip_prefix("http://")?;
    if !rest.bytes().all(|b| b.is_ascii_graphic()) || rest.contains('#') {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(end)?;
    let addresses =
        parse_host_and_port(host).or_else(|| parse_host_and_port(&format!("{host}:80")));
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some(Request {
        addresses: addresses?,
        host: host.to_owned(),
        path: format!("{slash}{path}"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tcp(text: &str) -> Option<Vec<String>> {
        let addresses = parse_tcp(text).ok()?;
        Some(addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn hosts_and_ports_are_read() {
        for (text, expected) in [
            ("5432", &["127.0.0.1:5432", "[::1]:5432"][..]),
            ("localhost:1", &["127.0.0.1:1", "[::1]:1"]),
            ("127.0.0.1:65535", &["127.0.0.1:65535"]),
            ("0.0.0.0:80", &["0.0.0.0:80"]),
            ("[::1]:80", &["[::1]:80"]),
            ("[2001:db8::1]:80", &["[2001:db8::1]:80"]),
        ] {
            assert_eq!(tcp(text).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            ":",
            "0",
            "65536",
            "+80",
            "-1",
            "x",
            "db:5432",
            ":5432",
            "localhost",
            "localhost:",
            "localhost:0",
            "localhost:+1",
            "127.0.0.1",
            "127.0.0.1:",
            "127.1:80",
            "::1:80",
            "::1",
            "[::1]",
            "[127.0.0.1]:80",
            "[::1:80",
            "1.2.3.4:5:6",
            " 80",
            "host name:80",
        ] {
            assert_eq!(tcp(text), None, "{text:?}");
        }
    }

    #[test]
    fn http_addresses_are_read() {
        for (text, address, host, path) in [
            (
                "http://127.0.0.1:8000/health",
                "127.0.0.1:8000",
                "127.0.0.1:8000",
                "/health",
            ),
            ("http://127.0.0.1", "127.0.0.1:80", "127.0.0.1", "/"),
            ("http://127.0.0.1/", "127.0.0.1:80", "127.0.0.1", "/"),
            (
                "http://[::1]:1/a/b?c=d&e",
                "[::1]:1",
                "[::1]:1",
                "/a/b?c=d&e",
            ),
            ("http://[::1]?x", "[::1]:80", "[::1]", "/?x"),
            ("http://localhost:5/x", "127.0.0.1:5", "localhost:5", "/x"),
        ] {
            let request = parse_http(text).unwrap();
            assert_eq!(request.addresses[0].to_string(), address, "{text}");
            assert_eq!((&*request.host, &*request.path), (host, path), "{text}");
        }
        for text in [
            "",
            "127.0.0.1:80",
            "http://",
            "http:///x",
            "https://127.0.0.1/",
            "http://db:80/",
            "http://u:p@127.0.0.1:80/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:80/a b",
            "http://127.0.0.1/\r\nX: y",
            "http://127.0.0.1/#a",
            "http://127.0.0.1/ä",
            "HTTP://127.0.0.1/",
            "http://127.0.0.1:/",
        ] {
            assert_eq!(parse_http(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_upsets_the_parsers(text in r"(http://)?[\[\]:.0-9a-z/?#@ ]{0,20}") {
            let _ = (parse_tcp(&text), parse_http(&text));
        }
    }
}
