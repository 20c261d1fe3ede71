//! The Rust toolchain of this machine, to be copied into the image that the
//! project's Dockerfile builds in.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder that holds `bin` and `lib` of the toolchain.
pub fn folder() -> PathBuf {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(rustc)
        .args(["--print", "sysroot"])
        .output()
        .unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// Where the sources of the dependencies are, so that the build needs no network.
pub fn registry() -> PathBuf {
    let home = std::env::var("CARGO_HOME").map_or_else(
        |_| Path::new(&std::env::var("HOME").unwrap()).join(".cargo"),
        PathBuf::from,
    );
    home.join("registry")
}

/// Why none can be copied, if so.
pub fn missing() -> Option<String> {
    let folder = folder();
    if !folder.join("bin/cargo").exists() || folder == Path::new("/usr") {
        return Some(format!(
            "the Rust toolchain in {} is not one folder with its cargo, as rustup installs it",
            folder.display()
        ));
    }
    let registry = registry();
    (!registry.exists()).then(|| format!("there is no {}", registry.display()))
}
