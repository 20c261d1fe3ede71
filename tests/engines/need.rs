//! What a test cannot do without, and whether this machine has it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::{root, toolchain};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Docker's daemon and client.
    Docker,
    Podman,
    /// What holds the namespaces of Podman's pods.
    Pause,
    /// The root folder of a Debian; see `root.rs`.
    Debian,
    /// The same with the programs of several services.
    Services,
    /// What boots the former.
    Nspawn,
    /// A Rust toolchain that can be copied into an image.
    Toolchain,
}

impl Need {
    /// Why it is missing, if so.
    pub fn missing(self) -> Option<&'static str> {
        static ANSWERS: [OnceLock<Option<String>>; 7] = [const { OnceLock::new() }; 7];
        ANSWERS[self as usize]
            .get_or_init(|| match self {
                Self::Docker => programs(&["dockerd", "docker", "containerd", "runc", "iptables"]),
                Self::Podman => programs(&["podman", "conmon", "runc"]),
                Self::Pause => pause(),
                Self::Debian => root::DEBIAN.missing(),
                Self::Services => root::SERVICES.missing(),
                Self::Nspawn => programs(&["systemd-nspawn"]),
                Self::Toolchain => toolchain::missing(),
            })
            .as_deref()
    }
}

/// Podman looks for it there.
fn pause() -> Option<String> {
    let places = ["/usr/libexec/podman/catatonit", "/usr/bin/catatonit"];
    let there = places.iter().any(|place| Path::new(place).exists());
    (!there).then(|| "not installed: catatonit".to_owned())
}

/// Which of these programs are not installed.
pub fn programs(names: &[&str]) -> Option<String> {
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !is_program(name))
        .collect();
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}

fn is_program(name: &str) -> bool {
    let status = Command::new("sh")
        .args(["-c", "command -v \"$1\"", "sh", name])
        .stdout(Stdio::null())
        .status();
    status.unwrap().success()
}
