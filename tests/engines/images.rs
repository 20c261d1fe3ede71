//! The images, made here: no registry is asked.

use std::fs::{copy, create_dir_all};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{machine, programs, root, toolchain};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// What the project's Dockerfile makes: `supervise` and nothing else.
    Supervise,
    /// That and the static fixture.
    FromScratch,
    /// That, the examples and a shell, which is busybox.
    Shell,
    /// A Debian without `supervise`.
    Debian,
    /// That and the Rust toolchain of this machine.
    Builder,
    /// `supervise`, the example of several services, and programs for others.
    Services,
}

impl Image {
    pub const COUNT: usize = 6;

    pub fn name(self) -> &'static str {
        match self {
            Self::Supervise => "supervise",
            Self::FromScratch => "from-scratch",
            Self::Shell => "shell",
            // As the guides name it.
            Self::Debian => "debian:bookworm-slim",
            Self::Builder => "builder",
            Self::Services => "services",
        }
    }

    /// What a Dockerfile would say of it.
    pub fn changes(self) -> &'static [&'static str] {
        match self {
            Self::Supervise | Self::FromScratch | Self::Shell => {
                &["ENTRYPOINT [\"/supervise\", \"--\"]"]
            }
            Self::Debian => &["CMD [\"bash\"]"],
            Self::Builder => &[
                "ENV PATH=/usr/local/rust/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "ENV CARGO_HOME=/usr/local/cargo CARGO_NET_OFFLINE=true",
            ],
            Self::Services => {
                &["ENV PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin:/usr/sbin:/sbin"]
            }
        }
    }

    /// A command that writes it to stdout as an archive.
    pub fn archive(self) -> Command {
        let mut tar = Command::new("tar");
        // What a base image has no use for.
        tar.args([
            "-c",
            "--exclude=./var/cache/apt/*",
            "--exclude=./var/lib/apt/*",
        ]);
        tar.args(["--exclude=./usr/share/doc", "--exclude=./usr/share/locale"]);
        match self {
            Self::Supervise => tar.args(folder_of(&programs::supervise(), "supervise")),
            Self::FromScratch => tar
                .args(folder_of(&programs::supervise(), "supervise"))
                .args(folder_of(&programs::fixture(), "fixture")),
            Self::Shell => tar.arg("-C").arg(shell()).arg("."),
            Self::Debian => tar.arg("-C").arg(root::DEBIAN.folder()).arg("."),
            Self::Builder => tar
                .arg("-C")
                .arg(root::DEBIAN.folder())
                .arg(".")
                .arg(moved(&toolchain::folder(), "usr/local/rust"))
                .arg(moved(&toolchain::registry(), "usr/local/cargo/registry"))
                .args(["-C", "/"])
                .args(
                    ["bin/cargo", "bin/rustc", "lib"].map(|name| below(&toolchain::folder(), name)),
                )
                .args(["index", "cache"].map(|name| below(&toolchain::registry(), name))),
            Self::Services => tar
                .arg("-C")
                .arg(root::SERVICES.folder())
                .arg(".")
                .arg("--transform=s,^services/,examples/services/,")
                .args(folder_of(&programs::supervise(), "supervise"))
                .arg("-C")
                .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"))
                .args(SERVICES.map(|name| format!("services/{name}"))),
        };
        tar
    }
}

/// The example of several services.
const SERVICES: [&str; 5] = [
    "services.sh",
    "services.toml",
    "store.py",
    "web.py",
    "worker.py",
];

/// The words for tar to put one file at the top.
fn folder_of(file: &Path, name: &str) -> [String; 3] {
    let folder = file.parent().unwrap().to_str().unwrap();
    ["-C".to_owned(), folder.to_owned(), name.to_owned()]
}

/// A path below the root, for tar.
fn below(folder: &Path, name: &str) -> PathBuf {
    folder.strip_prefix("/").unwrap().join(name)
}

/// The word for tar to put a folder elsewhere. What symbolic links say stays.
fn moved(folder: &Path, to: &str) -> String {
    format!("--transform=s,^{},{to},S", below(folder, "").display()).replace("/,", ",")
}

/// The files of the image with a shell.
fn shell() -> PathBuf {
    // Each engine asks for it, and not at the same time.
    static MADE: std::sync::Once = std::sync::Once::new();
    let folder = machine::folder().join("shell");
    MADE.call_once(|| {
        for name in ["bin", "tmp", "examples"] {
            create_dir_all(folder.join(name)).unwrap();
        }
        std::fs::set_permissions(folder.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
        copy(programs::supervise(), folder.join("supervise")).unwrap();
        copy(programs::fixture(), folder.join("fixture")).unwrap();
        let output = Command::new("sh")
            .args(["-c", "command -v busybox"])
            .output()
            .unwrap();
        let busybox = String::from_utf8(output.stdout).unwrap();
        copy(busybox.trim(), folder.join("bin/busybox")).unwrap();
        let output = Command::new(busybox.trim()).arg("--list").output().unwrap();
        for name in String::from_utf8(output.stdout).unwrap().lines() {
            if name != "busybox" {
                symlink("busybox", folder.join("bin").join(name)).unwrap();
            }
        }
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        for entry in examples.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            copy(
                &path,
                folder.join("examples").join(path.file_name().unwrap()),
            )
            .unwrap();
        }
    });
    folder
}
