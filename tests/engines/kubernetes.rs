//! A pod by its Kubernetes manifest, which Podman runs without a cluster.

use std::path::Path;
use std::process::Stdio;

use crate::guides;
use crate::harness::{Folder, eventually};
use crate::images::Image;
use crate::need::Need;
use crate::podman::{note_pods, podman};
use crate::runner::{Test, tests};
use crate::stops::WORKER;

pub fn tests() -> Vec<Test> {
    tests![&[Need::Podman, Need::Pause];
        the_example_fits,
        a_pod_that_is_stopped,
        the_report_is_where_kubernetes_looks_for_it,
        a_pod_that_shares_the_pid_namespace,
    ]
}

fn manifest() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pod.yaml");
    std::fs::read_to_string(path).unwrap()
}

/// The limit that the manifest sets, in seconds.
fn limit(manifest: &str) -> u32 {
    number_after(manifest, "terminationGracePeriodSeconds: ")
}

fn number_after(text: &str, words: &str) -> u32 {
    let (_, after) = text.split_once(words).unwrap();
    after
        .lines()
        .next()
        .unwrap()
        .trim_matches('"')
        .parse()
        .unwrap()
}

fn the_example_fits() {
    let manifest = manifest();
    let grace = number_after(&manifest, "- name: SUPERVISE_GRACE\n          value: ");
    assert_eq!(grace + 2, limit(&manifest));
}

fn a_pod_that_is_stopped() {
    let pod = Pod::play(&manifest());
    assert_eq!(pod.stop(&["pod", "stop"], "my-pod"), 0);
    assert_eq!(saved(), "saved\n");
}

fn the_report_is_where_kubernetes_looks_for_it() {
    // A cluster mounts the file; Podman has to be told.
    let folder = Folder::new();
    let file = folder.write("termination-log", "", 0o666);
    let mounts = "      volumeMounts:\n";
    let volumes = "  volumes:\n";
    let termination = "name: termination-log\n";
    let manifest = manifest()
        .replace(
            mounts,
            &format!("{mounts}        - {termination}          mountPath: /dev/termination-log\n"),
        )
        .replace(
            volumes,
            &format!("{volumes}    - {termination}      hostPath:\n        path: {file}\n        type: File\n"),
        );
    let pod = Pod::play(&manifest);
    assert_eq!(pod.stop(&["pod", "stop"], "my-pod"), 0);
    let report: serde_json::Value = serde_json::from_str(&folder.read("termination-log")).unwrap();
    assert_eq!(report["outcome"], "graceful", "{report}");
    assert_eq!(report["stop"]["signal"], "SIGTERM");
    assert_eq!(report["stop"]["sender"]["kind"], "outside");
    assert_eq!(report["grace_seconds"], 28.0);
    assert_eq!(report["exit_status"], 0);
}

fn a_pod_that_shares_the_pid_namespace() {
    let shared = manifest().replace("spec:\n", "spec:\n  shareProcessNamespace: true\n");
    let pod = Pod::play(&shared);
    let first = podman().say(&["exec", Pod::WORKER, "cat", "/proc/1/cmdline"]);
    assert!(!first.contains("supervise"), "{first}");
    // Not the pod: Podman 4.3 stops the pod's own PID 1 at the same time, and
    // with that goes the namespace.
    assert_eq!(pod.stop(&["stop"], Pod::WORKER), 0);
    assert_eq!(saved(), "saved\n");
}

/// The pod of a manifest, removed with the value.
struct Pod {
    limit: String,
    _turn: std::sync::MutexGuard<'static, ()>,
}

impl Pod {
    const WORKER: &str = "my-pod-worker";
    const VOLUME: &str = "my-pod-log";

    /// Has the image that the manifest names, and starts it.
    fn play(manifest: &str) -> Self {
        let pod = Self {
            limit: limit(manifest).to_string(),
            _turn: guides::turn(),
        };
        // The worker is for supervise: the command passes nothing on.
        let command = format!("({WORKER}) & trap 'exit 0' TERM; wait");
        let folder = Folder::new();
        let lines = [
            format!("FROM {}", podman().image(Image::Shell)),
            format!("CMD {:?}", ["sh", "-c", &command]),
        ];
        folder.write("Dockerfile", lines.join("\n"), 0o644);
        podman().say(&["build", "-t", "my-image:1", &folder.file("")]);

        let file = folder.write("pod.yaml", manifest, 0o644);
        podman().say(&["play", "kube", "--network=host", &file]);
        note_pods();
        eventually("the worker is ready", || {
            let output = podman()
                .command(&["logs", Self::WORKER])
                .stderr(Stdio::null())
                .output();
            String::from_utf8(output.unwrap().stdout)
                .unwrap()
                .contains("ready")
        });
        pod
    }

    /// Stops it within its limit, and says the worker's exit code.
    fn stop(&self, command: &[&str], what: &str) -> i32 {
        // Podman 4.3 does not read the limit from the manifest.
        podman().say(&[command, &["-t", &self.limit, what]].concat());
        let output = podman().run(&["logs", Self::WORKER]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("sending SIGKILL"), "{errors}");
        let code = podman().say(&["inspect", "--format={{.State.ExitCode}}", Self::WORKER]);
        code.parse().unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        podman().run(&["pod", "rm", "--force", "--time=0", "my-pod"]);
        podman().run(&["volume", "rm", "--force", Self::VOLUME]);
    }
}

/// What the worker has written when it was asked to stop.
fn saved() -> String {
    let folder = podman().say(&["volume", "inspect", "--format={{.Mountpoint}}", Pod::VOLUME]);
    std::fs::read_to_string(Path::new(&folder).join("worker")).unwrap_or_default()
}
