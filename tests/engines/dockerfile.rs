//! The project's own Dockerfile.

use crate::docker::docker;
use crate::images::Image;
use crate::need::Need;
use crate::programs;
use crate::runner::{Test, tests};
use crate::stops::LIMIT;
use crate::toolchain;

pub fn tests() -> Vec<Test> {
    tests![&[Need::Docker, Need::Debian, Need::Toolchain];
        it_makes_an_image_with_the_program_alone,
    ]
}

fn it_makes_an_image_with_the_program_alone() {
    const NAME: &str = "made-by-the-dockerfile";
    let builder = format!("BUILDER={}", docker().image(Image::Builder));
    let folder = env!("CARGO_MANIFEST_DIR");
    docker().say(&["build", "--build-arg", &builder, "-t", NAME, folder]);

    let layers = docker().say(&["image", "inspect", "--format={{len .RootFS.Layers}}", NAME]);
    assert_eq!(layers, "1");
    let size: u64 = docker()
        .say(&["image", "inspect", "--format={{.Size}}", NAME])
        .parse()
        .unwrap();
    // Nothing but the program: that with musl, if the builder can build it, and
    // only that is smaller than 1.4 MB.
    let musl = toolchain::folder().join("lib/rustlib/x86_64-unknown-linux-musl");
    assert_eq!(size < 1_400_000, musl.exists(), "{size} bytes");
    assert!(size < 2_200_000, "{size} bytes");

    // It brings nothing to run.
    let container = docker().container();
    let volume = format!("{}:/fixture:ro", programs::fixture().display());
    let words = container.words(
        "-d",
        NAME,
        &["-v", &volume, "-e", "SUPERVISE_GRACE=28"],
        &["/fixture", "print-signals", "15"],
    );
    docker().say(&words.iter().map(String::as_str).collect::<Vec<_>>());
    container.wait_for_line("ready");
    container.stop(LIMIT);
    assert_eq!(container.exit_code(), 0);
    assert!(container.logs().contains("\n15 "), "{}", container.logs());
}
