//! A filesystem that stops answering, by the fixture.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::{Folder, PATIENCE, fixture, lacks_root, skipped};

/// A mounted filesystem with the files `log` and `report`.
pub struct Fuse {
    folder: Folder,
    server: Child,
    /// The server stops and unmounts when this is closed.
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Fuse {
    /// Mounts one; see `fixture fuse`. `None`: that is not possible here.
    pub fn mount(what: &[&str]) -> Option<Self> {
        if lacks_root("mounting") {
            return None;
        }
        let folder = Folder::new();
        let mut server = Command::new(fixture())
            .args(["fuse", &folder.path().display().to_string()])
            .args(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(server.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = server.stdin.take();
        let mounted = Self {
            folder,
            server,
            stdin,
            lines,
        };
        let line = mounted.lines.recv_timeout(PATIENCE).unwrap();
        if line.starts_with("no ") {
            skipped(&format!("{line}: no filesystem that does not answer"));
            return None;
        }
        assert!(line.starts_with("ready "), "{line}");
        Some(mounted)
    }

    pub fn file(&self, name: &str) -> String {
        self.folder.file(name)
    }

    pub fn read(&self, name: &str) -> String {
        self.folder.read(name)
    }

    /// Has it stop answering.
    pub fn hang(&self) {
        assert!(std::fs::metadata(self.file("hang")).is_err());
    }

    /// Waits until it has received such a request, which it does not answer.
    #[track_caller]
    pub fn expect_held(&self, operation: &str) {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        assert_eq!(line, format!("held {operation}"));
    }

    /// Has all requests fail that wait, as if the server were killed.
    pub fn end(&mut self) {
        drop(self.stdin.take());
        let _ = self.server.wait();
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.end();
    }
}
