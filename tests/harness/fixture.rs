//! The program that the tests run under `supervise`.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::SUPERVISE;

/// The fixture program; see `tests/fixture/fixture.rs`. Plain `cargo test` has built it;
/// with `--test NAME` Cargo builds no example, so that it may be missing or old.
pub fn fixture() -> String {
    static PATH: OnceLock<String> = OnceLock::new();
    let made = || {
        let folder = Path::new(SUPERVISE).parent().unwrap();
        let path = folder.join("examples/fixture");
        let written = |path: &Path| {
            std::fs::metadata(path)
                .and_then(|file| file.modified())
                .ok()
        };
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture");
        let mut sources = std::fs::read_dir(sources).unwrap().flatten();
        if sources.any(|source| written(&path) < written(&source.path())) {
            build_fixture(folder);
        }
        path.to_str().unwrap().to_owned()
    };
    PATH.get_or_init(made).clone()
}

/// Builds it for the same target and with the same profile as what is tested, which the
/// folder's name tells: `target/debug`, `target/x86_64-unknown-linux-musl/release`.
fn build_fixture(folder: &Path) {
    let name = |folder: &Path| folder.file_name().unwrap().to_str().unwrap().to_owned();
    let profile = name(folder).replace("debug", "dev");
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["build", "--example", "fixture", "--profile", &profile])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let above = folder.parent().unwrap();
    let target = name(above);
    let root = if target.contains("-linux-") {
        command.args(["--target", &target]);
        above.parent().unwrap()
    } else {
        above
    };
    let output = command.env("CARGO_TARGET_DIR", root).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cannot build the fixture: {errors}"
    );
}
