//! The static programs that go into the images.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Which build they are of, unless `TEST_SUPERVISE_TARGET` names another.
const TARGET: &str = "x86_64-unknown-linux-musl";

pub fn supervise() -> PathBuf {
    folder().join("supervise")
}

pub fn fixture() -> PathBuf {
    folder().join("examples/fixture")
}

fn target() -> String {
    std::env::var("TEST_SUPERVISE_TARGET").unwrap_or_else(|_| TARGET.to_owned())
}

fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("target").join(target()).join("release")
}

/// What to run to have them.
fn build() -> String {
    let command = format!(
        "RUSTFLAGS=\"-C target-feature=+crt-static -C relocation-model=static\" cargo build --release --target {}",
        target()
    );
    format!("{command}\n{command} --example fixture")
}

/// Whether they are there and what is in the repository now.
pub fn check() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (program, sources) in [
        (supervise(), root.join("src")),
        (fixture(), root.join("tests/fixture")),
    ] {
        let why = match program.metadata().and_then(|file| file.modified()) {
            Err(error) => error.to_string(),
            Ok(built) if built < newest(&sources) => {
                format!("older than what is in {}", sources.display())
            }
            Ok(_) => continue,
        };
        return Err(format!(
            "{}: {why}\nThe images take static programs. Build them first:\n{}",
            program.display(),
            build()
        ));
    }
    Ok(())
}

/// When the youngest file below was written.
fn newest(folder: &Path) -> SystemTime {
    let entries = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            if path.is_dir() {
                newest(&path)
            } else {
                path.metadata().unwrap().modified().unwrap()
            }
        })
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
