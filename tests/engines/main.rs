//! On real engines: what somebody sees who runs `supervise` under Docker, Podman,
//! Swarm, as a Kubernetes pod and under systemd, and what the guides say.
//!
//! It takes root, and the static program that the README's build command makes.
//! It goes into namespaces of its own first (`machine.rs`), so that nothing is
//! left on the machine, however it ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    reason = "test code"
)]

mod docker;
mod dockerfile;
mod engine;
mod guides;
#[path = "../harness/mod.rs"]
mod harness;
mod images;
mod init;
mod kubernetes;
mod machine;
mod need;
mod podman;
mod programs;
mod recipes;
mod restricted;
mod root;
mod runner;
mod services;
mod stops;
mod swarm;
mod systemd;
mod toolchain;

use std::process::ExitCode;

use runner::{Arguments, Test};

/// Most of the time a test waits for a grace period.
const THREADS: usize = 6;

fn tests() -> Vec<Test> {
    // What takes longest first.
    let all = [
        dockerfile::tests(),
        guides::tests(),
        swarm::tests(),
        recipes::tests(),
        services::tests(),
        systemd::tests(),
        docker::tests(),
        init::tests(),
        restricted::tests(),
        podman::tests(),
        kubernetes::tests(),
    ];
    all.into_iter().flatten().collect()
}

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(2);
        }
    };
    if arguments.list {
        for test in tests() {
            println!("{}: test", test.name);
        }
        return ExitCode::SUCCESS;
    }
    if machine::is_inside() {
        return runner::run(&arguments, tests(), THREADS, None);
    }
    if let Some(why) = machine::missing() {
        return runner::run(&arguments, tests(), THREADS, Some(&why));
    }
    if let Err(why) = programs::check() {
        eprintln!("error: {why}");
        return ExitCode::from(101);
    }
    root::DEBIAN.make();
    root::SERVICES.make();
    machine::enter()
}
