//! The static programs that go into the images.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

const FOLDER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/x86_64-unknown-linux-gnu/release"
);

/// What to run to have them.
const BUILD: &str = "\
RUSTFLAGS=\"-C target-feature=+crt-static\" cargo build --release --target x86_64-unknown-linux-gnu
RUSTFLAGS=\"-C target-feature=+crt-static\" cargo build --release --target x86_64-unknown-linux-gnu --example fixture";

pub fn supervise() -> PathBuf {
    Path::new(FOLDER).join("supervise")
}

pub fn fixture() -> PathBuf {
    Path::new(FOLDER).join("examples/fixture")
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
            "{}: {why}\nThe images take static programs. Build them first:\n{BUILD}",
            program.display()
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
