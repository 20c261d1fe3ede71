//! A small world for tests.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::findings::{Findings, Source};
use super::read::from_sources;
use super::{Given, Purpose, Services, Us, World};

/// A service that has all it needs; further keys of it come in line 4.
pub(crate) const SERVICE: &str = "grace = 8\n[services.a]\ncommand = ['app']\n";

/// A world whose files are below a directory of their own, removed with the value.
pub(crate) struct Testing {
    pub(super) world: World,
}

impl Testing {
    /// Programs, directories, users and variables; we are root.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("supervise-services-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let testing = Self {
            world: World {
                variables: [
                    ("PATH", "/private:/bin"),
                    ("PORT", "8000"),
                    ("EMPTY", ""),
                    ("TOKEN", "hunter2"),
                    ("NO", "no"),
                ]
                .map(|(name, value)| (name.into(), value.into()))
                .to_vec(),
                root,
                directory: "/home".into(),
                us: Us {
                    may_change: true,
                    ..Us::default()
                },
            },
        };
        for (path, mode) in [
            ("bin/app", 0o755),
            ("bin/sh", 0o755),
            ("bin/data", 0o644),
            ("private/tool", 0o755),
            ("home/run", 0o755),
            ("home/app/run2", 0o755),
        ] {
            testing.file(path, "", mode);
        }
        testing.file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\n\
             # a comment\n\
             broken\n\
             www:x:33:34::/var/www:/bin/false\n\
             homeless:x:34:34\n\
             bare:x:35:35:::\n\
             high:x:3000000000:35::/:\n\
             own:x:36:36::/:",
            0o644,
        );
        testing.file(
            "etc/group",
            "root:x:0:\nwww:x:34:\nssl:x:50:other,www\nlog:x:60:www\nnone:x:70:wwww\nhigh:x:3000000000:www\n",
            0o644,
        );
        testing.mode("private", 0o700);
        testing
    }

    /// Writes a file.
    pub(crate) fn file(&self, path: &str, contents: &str, mode: u32) {
        let file = self.path(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, contents).unwrap();
        // Whatever the umask is.
        for directory in Path::new(path).ancestors().skip(1) {
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(self.path(directory), mode).unwrap();
        }
        self.mode(path, mode);
    }

    pub(super) fn mode(&self, path: &str, mode: u32) {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.path(path), mode).unwrap();
    }

    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.world.root.join(path)
    }

    /// Reads texts as the files a, b and so on.
    pub(super) fn read_all(
        &self,
        texts: &[&str],
        given: &Given,
        purpose: Purpose,
    ) -> Result<Services, Vec<String>> {
        let source = |(index, text): (usize, &&str)| Source {
            name: ["a", "b", "c"][index].to_owned(),
            text: (*text).to_owned(),
        };
        let sources: Vec<Source> = texts.iter().enumerate().map(source).collect();
        let findings = Findings::default();
        from_sources(&sources, true, findings, given, &self.world, purpose)
    }

    pub(super) fn read(&self, text: &str) -> Result<Services, Vec<String>> {
        self.read_all(&[text], &Given::default(), Purpose::Run)
    }

    #[track_caller]
    pub(crate) fn accepted(&self, text: &str) -> Services {
        self.read(text)
            .unwrap_or_else(|lines| panic!("{text}\n{lines:#?}"))
    }

    #[track_caller]
    pub(super) fn refused(&self, text: &str) -> Vec<String> {
        let result = self.read(text);
        result.expect_err(text)
    }
}

impl Drop for Testing {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.world.root);
    }
}
