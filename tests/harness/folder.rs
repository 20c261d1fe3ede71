//! A folder for the files of a test.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// A folder that all users may use, removed with the value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("supervise-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }

    /// One in which users cannot replace files of others, as /tmp is.
    pub fn sticky() -> Self {
        let folder = Self::new();
        let mode = std::fs::Permissions::from_mode(0o1777);
        std::fs::set_permissions(folder.path(), mode).unwrap();
        folder
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: impl AsRef<OsStr>) -> String {
        self.0.join(name.as_ref()).to_str().unwrap().to_owned()
    }

    /// Copies a program here to be executed with this mode. By cp(1): a descriptor that this
    /// process had open for writing would be in each fork of another test, and the kernel
    /// executes no file that is open for writing (ETXTBSY).
    pub fn copy_program(&self, from: &str, name: &str, mode: u32) -> String {
        let path = self.file(name);
        let copied = Command::new("cp").args(["--", from, &path]).status();
        assert!(copied.unwrap().success(), "cp {from} {path}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Writes a file with these contents and this mode; a program by
    /// [`Folder::copy_program`].
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>, mode: u32) -> String {
        if mode & 0o111 != 0 {
            let source = self.write("contents", contents, 0o644);
            let path = self.copy_program(&source, name, mode);
            std::fs::remove_file(source).unwrap();
            return path;
        }
        let path = self.file(name);
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Makes a FIFO that all users may use, despite the umask.
    pub fn fifo(&self, name: &str) -> String {
        let path = self.file(name);
        mkfifo(path.as_str(), Mode::from_bits_truncate(0o666)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
