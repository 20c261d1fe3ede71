//! `supervise` as the entry point of Podman containers.

use crate::engine::Engine;
use crate::harness::{Test, tests};
use crate::need::Need;
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
