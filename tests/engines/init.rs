//! `supervise` as the init that an engine brings along: `docker run --init` and
//! `podman run --init`.

use crate::docker::{docker, init};
use crate::engine::Engine;
use crate::images::Image;
use crate::need::Need;
use crate::podman::podman;
use crate::runner::{Test, tests};
use crate::stops::{LIMIT, WORKER};
use crate::{machine, programs};

pub fn tests() -> Vec<Test> {
    let mut tests = tests![&[Need::Docker];
        docker_knows_its_init,
        docker_runs_it_before_the_command,
    ];
    tests.extend(tests![&[Need::Podman];
        podman_runs_it_before_the_command,
    ]);
    tests
}

fn docker_knows_its_init() {
    assert_eq!(docker().say(&["info", "--format={{.InitBinary}}"]), init());
    let version = docker().say(&["version"]);
    let (_, ours) = version.split_once("docker-init:").unwrap();
    let ours: Vec<&str> = ours.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(ours, ["Version:", env!("CARGO_PKG_VERSION"), "(supervise)"]);
    // Where it complains when it cannot read the version.
    docker().say(&["info"]);
    let log = std::fs::read_to_string(machine::folder().join("dockerd.log")).unwrap();
    let complaints: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("docker-init") && line.contains("version"))
        .collect();
    assert_eq!(complaints, Vec::<&str>::new());
}

fn docker_runs_it_before_the_command() {
    runs_before_the_command(docker(), &["--init"], "/sbin/docker-init");
}

fn podman_runs_it_before_the_command() {
    let program = programs::supervise();
    let options = ["--init", "--init-path", program.to_str().unwrap()];
    runs_before_the_command(podman(), &options, "/run/podman-init");
}

/// It stops a worker of a command that passes nothing on.
fn runs_before_the_command(engine: &'static Engine, options: &[&str], name: &str) {
    let script = format!("({WORKER}) & wait");
    // The image has supervise for an entry point, which this one takes out.
    let more = ["--entrypoint", "", "-e", "SUPERVISE_GRACE=28"];
    let options = [options, &more].concat();
    let container = engine.start(Image::Shell, &options, &["sh", "-c", &script]);
    container.wait_for_line("ready");
    let first = engine.say(&["exec", &container.name, "cat", "/proc/1/cmdline"]);
    let first: Vec<&str> = first.split('\0').collect();
    assert_eq!(first[..4], [name, "--", "sh", "-c"]);
    container.stop(LIMIT);
    assert_eq!(container.exit_code(), 143);
    assert_eq!(container.folder.read("worker"), "saved\n");
    container.assert_nobody_was_killed();
}
