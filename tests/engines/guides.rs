//! The guides: a test does what a reader does who copies block after block, and
//! sees what the guide says is to be seen.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::docker::docker;
use crate::harness::{Folder, eventually};
use crate::images::Image;
use crate::need::Need;
use crate::podman::{note_pods, podman};
use crate::runner::{Test, tests};
use crate::swarm;

pub fn tests() -> Vec<Test> {
    let mut tests = tests![&[Need::Docker, Need::Debian];
        docker_md,
        swarm_md,
        the_readme,
    ];
    tests.extend(
        tests![&[Need::Docker, Need::Debian, Need::Podman, Need::Pause];
            kubernetes_md,
        ],
    );
    tests
}

fn docker_md() {
    let _turn = turn();
    follow("docs/docker.md", None);
}

fn swarm_md() {
    let _turn = turn();
    swarm::join();
    follow("docs/swarm.md", Some("docs/docker.md"));
}

fn kubernetes_md() {
    let _turn = turn();
    follow("docs/kubernetes.md", Some("docs/docker.md"));
    podman().say(&["pod", "rm", "--force", "my-pod"]);
}

/// Of the README only what is about images: its other blocks are run by
/// `tests/documents`.
fn the_readme() {
    let _turn = turn();
    docker().image(Image::Supervise);
    docker().image(Image::Debian);
    // Of a guide that has failed.
    remove_containers();
    let folder = Folder::new();
    let mut done = Vec::new();
    for block in blocks("README.md") {
        if block.kind == "dockerfile" {
            execute(&block, &folder);
            docker().say(&["build", "-t", "my-image", &folder.file("")]);
            done.push("dockerfile");
        } else if block.text.starts_with("docker run") {
            execute(&block, &folder);
            done.push("run");
        }
    }
    assert_eq!(done, ["dockerfile", "run"]);
    let running = docker().say(&["ps", "--quiet", "--filter", "name=my-container"]);
    assert_ne!(running, "");
    // The kernel drops a SIGTERM for a PID 1 that has only just been executed.
    eventually("the command runs", || {
        let processes = docker().say(&["top", "my-container"]);
        let mut names = processes
            .lines()
            .filter(|line| !line.contains("/supervise"));
        names.any(|line| line.contains("sleep"))
    });
    docker().say(&["stop", "my-container"]);
    // SIGTERM ends sleep, not a SIGKILL.
    assert_eq!(docker().say(&["wait", "my-container"]), "143");
    remove_containers();
}

/// They use the same names for images and containers.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A block of a document, by what stands behind its three backticks.
struct Block {
    kind: String,
    text: String,
}

fn blocks(document: &str) -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = std::fs::read_to_string(path).unwrap();
    let mut parts = text.split("```");
    let mut blocks = Vec::new();
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        let (kind, text) = block.split_once('\n').unwrap();
        blocks.push(Block {
            kind: kind.to_owned(),
            text: text.to_owned(),
        });
    }
    blocks
}

/// Does what a guide says, after the image of another one was built.
fn follow(guide: &str, image_of: Option<&str>) {
    docker().image(Image::Supervise);
    docker().image(Image::Debian);
    // Of a guide that has failed.
    remove_containers();
    let folder = Folder::new();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for entry in examples.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    if let Some(other) = image_of {
        let all = blocks(other);
        let dockerfile = all.iter().find(|block| block.kind == "dockerfile").unwrap();
        folder.write("Dockerfile", &dockerfile.text, 0o644);
        docker().say(&["build", "-t", "my-image", &folder.file("")]);
    }

    let mut said = String::new();
    let mut compared = 0;
    for block in blocks(guide) {
        if block.kind != "text" {
            said = execute(&block, &folder);
            eventually(
                "what was started is ready, what was removed is gone",
                || is_settled(&block),
            );
            continue;
        }
        for line in block.text.lines() {
            assert!(
                said.lines().any(|said| plain(said) == plain(line)),
                "{guide}: {line:?} is not in:\n{said}"
            );
        }
        compared += 1;
    }
    remove_containers();
    assert!(compared > 0, "{guide} shows nothing that a command prints");
}

/// A line, whatever the numbers are in those of `supervise`.
fn plain(line: &str) -> String {
    let digits: &[char] = &['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];
    if line.starts_with("supervise: ") {
        line.replace(digits, "")
    } else {
        line.to_owned()
    }
}

/// Puts a file where the reader would, or runs commands as the reader would,
/// and says what they print.
fn execute(block: &Block, folder: &Folder) -> String {
    match block.kind.as_str() {
        "dockerfile" => {
            folder.write("Dockerfile", &block.text, 0o644);
            String::new()
        }
        "console" => {
            let output = Command::new("bash")
                .args(["-euo", "pipefail", "-c"])
                .arg(format!("exec 2>&1\n{}", block.text))
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{}\n{said}", block.text);
            if block.text.contains("podman play") {
                note_pods();
            }
            said
        }
        // It is an example, and `tests/documents` compares the two.
        "yaml" => String::new(),
        other => panic!("nobody knows what a block of {other:?} is for"),
    }
}

/// A reader types slowly: by the next block everything has started or ended.
fn is_settled(after: &Block) -> bool {
    let format = "--format={{.ID}} {{.Label \"com.docker.swarm.service.name\"}}";
    let running = docker().say(&["ps", "--filter", "name=my-", format]);
    let all_ready = running.lines().all(|line| {
        let (container, service) = line.split_once(' ').unwrap_or((line, ""));
        let there = || {
            docker()
                .run(&["service", "inspect", service])
                .status
                .success()
        };
        says_ready(&docker().run(&["logs", container])) && (service.is_empty() || there())
    });
    if !all_ready || !after.text.contains("podman") {
        return all_ready;
    }
    let pod = podman().say(&["ps", "--quiet", "--filter", "name=my-pod-worker"]);
    pod.is_empty() || says_ready(&podman().run(&["logs", &pod]))
}

fn says_ready(logs: &Output) -> bool {
    String::from_utf8_lossy(&logs.stdout).contains("ready")
}

/// What a guide has started and not stopped.
fn remove_containers() {
    let left = docker().say(&["ps", "--all", "--quiet", "--filter", "name=my-"]);
    for container in left.lines() {
        docker().say(&["rm", "--force", container]);
    }
}
