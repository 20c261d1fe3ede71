//! What the tests of checks have in common.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::Limit;

/// The limit of a try that is expected to take no time, or all of it.
pub(super) fn second() -> Limit {
    Limit::new(Duration::from_secs(1))
}

/// An address that refuses connections: one that was in use just before, below the ports that
/// are chosen for clients and so for other tests.
pub(super) fn refusing() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let listener = (0..1000).find_map(|_| {
        let offset = std::process::id() + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + offset % 10_000).ok()?;
        TcpListener::bind(("127.0.0.1", port)).ok()
    });
    listener.unwrap().local_addr().unwrap()
}

/// Waits until this is so.
pub(super) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A directory that is removed when dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("supervise-check-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
