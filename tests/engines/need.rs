//! What a test cannot do without, and whether this machine has it.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::{root, toolchain};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Docker's daemon and client.
    Docker,
    Podman,
    /// The root folder of a Debian; see `root.rs`.
    Debian,
    /// A Rust toolchain that can be copied into an image.
    Toolchain,
}

impl Need {
    /// Why there is none, if so.
    pub fn missing(self) -> Option<&'static str> {
        static ANSWERS: [OnceLock<Option<String>>; 4] = [const { OnceLock::new() }; 4];
        ANSWERS[self as usize]
            .get_or_init(|| match self {
                Self::Docker => programs(&["dockerd", "docker", "containerd", "runc", "iptables"]),
                Self::Podman => programs(&["podman", "conmon", "runc"]),
                Self::Debian => root::missing(),
                Self::Toolchain => toolchain::missing(),
            })
            .as_deref()
    }
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
