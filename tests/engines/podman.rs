//! `supervise` as the entry point of Podman containers.

use crate::engine::Engine;
use crate::machine;
use crate::need::Need;
use crate::runner::{Test, tests};
use crate::stops;

pub fn tests() -> Vec<Test> {
    tests![&[Need::Podman];
        a_worker_saves_its_state,
        a_stubborn_one_is_killed_and_named,
        workers_of_a_shell_save_their_state,
        the_example_of_a_shell_with_workers,
    ]
}

/// There is no daemon to start; where its files are is in the environment.
pub fn podman() -> &'static Engine {
    static PODMAN: Engine = Engine::new("podman");
    &PODMAN
}

/// Notes the pods that there are by their names, which those of their control
/// groups are too: Podman 4.3 leaves these when it removes a pod.
pub fn note_pods() {
    let pods = podman().say(&["pod", "ps", "--no-trunc", "--format={{.ID}}"]);
    for pod in pods.lines() {
        std::fs::create_dir_all(machine::folder().join("pods").join(pod)).unwrap();
    }
}

fn a_worker_saves_its_state() {
    stops::a_worker_saves_its_state(podman());
}

fn a_stubborn_one_is_killed_and_named() {
    stops::a_stubborn_one_is_killed_and_named(podman());
}

fn workers_of_a_shell_save_their_state() {
    stops::workers_of_a_shell_save_their_state(podman(), &[]);
}

fn the_example_of_a_shell_with_workers() {
    stops::the_example_of_a_shell_with_workers(podman());
}
