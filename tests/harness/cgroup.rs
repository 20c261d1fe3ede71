//! Control groups that a test makes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{eventually, skipped};

/// A cgroup, removed with the value when the processes in it have exited.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// One of version 1 with this controller or of version 2, where it has one of the files.
    pub fn new(controller: &str, files: &[&str]) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("supervise-test-{}-{number}", std::process::id());
        for mount in [controller, "", "unified"] {
            let group = Self(Path::new("/sys/fs/cgroup").join(mount).join(&name));
            if std::fs::create_dir(&group.0).is_ok() && files.iter().any(|file| group.has(file)) {
                return Some(group);
            }
        }
        skipped(&format!("no cgroup with {files:?} can be made here"));
        None
    }

    pub fn has(&self, file: &str) -> bool {
        self.0.join(file).exists()
    }

    pub fn get(&self, file: &str) -> String {
        let text = std::fs::read_to_string(self.0.join(file)).unwrap();
        text.trim().to_owned()
    }

    /// Sets the first of these files that there is.
    pub fn set(&self, files: &[(&str, &str)]) {
        let found = files.iter().find(|(file, _)| self.has(file));
        let (file, value) = found.unwrap();
        std::fs::write(self.0.join(file), value).unwrap();
    }

    pub fn freeze(&self) {
        self.set(&[("freezer.state", "FROZEN"), ("cgroup.freeze", "1")]);
    }

    pub fn thaw(&self) {
        self.set(&[("freezer.state", "THAWED"), ("cgroup.freeze", "0")]);
    }

    /// Enters it and executes what follows.
    pub fn entered(&self) -> [String; 4] {
        let enter = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", self.0.display());
        ["sh", "-c", &enter, "sh"].map(str::to_owned)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.has("cgroup.freeze") || self.has("freezer.state") {
            self.thaw();
        }
        if self.0.exists() {
            eventually("the cgroup is empty", || {
                std::fs::remove_dir(&self.0).is_ok()
            });
        }
    }
}
