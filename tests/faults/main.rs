//! Stops in which a system call fails: of each system call that `supervise` makes after the
//! start, each occurrence fails once, with each error that the call can return. The stop
//! ends in time and with the right status all the same, no process is left, and none is
//! killed that would have exited.
//!
//! A first run of each situation finds out which system calls there are; `calls.rs` has
//! their errors. strace(1) makes them fail. Arguments choose cases by the words of their
//! names: `cargo test --test faults -- leftovers openat EMFILE 3`.

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

mod calls;
#[path = "../harness/mod.rs"]
mod harness;
mod situation;
mod tracer;

use std::fmt;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use harness::{Home, is_installed, is_root};
use situation::{SITUATIONS, Situation};
use tracer::Fault;

/// Most of the time a case waits for a process to start or to save.
const THREADS: usize = 6;

/// A fault in a situation.
struct Case {
    situation: &'static Situation,
    fault: Fault,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.situation.name, self.fault)
    }
}

impl Case {
    /// Whether all these words are in its name.
    fn is_wanted(&self, words: &[String]) -> bool {
        let name = self.to_string();
        words
            .iter()
            .all(|word| name.split(' ').any(|part| part == word))
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(option) = words.iter().find(|word| word.starts_with('-')) {
        eprintln!("error: {option}: arguments are the words of a case, as `openat EMFILE`");
        return ExitCode::from(2);
    }
    if let Some(why) = missing() {
        println!("NOT CHECKED: stops in which a system call fails: {why}");
        return ExitCode::SUCCESS;
    }
    // The message of a check is printed with its case.
    std::panic::set_hook(Box::new(|_| {}));
    let begin = Instant::now();
    let mut cases = Vec::new();
    for situation in &SITUATIONS {
        let calls = match situation.calls() {
            Ok(calls) => calls,
            Err(why) => {
                println!("---- {} without a fault ----\n{why}", situation.name);
                return ExitCode::from(101);
            }
        };
        println!("{}: {}", situation.name, calls::show(&calls));
        let faults = calls::faults(&calls);
        cases.extend(faults.into_iter().map(|fault| Case { situation, fault }));
    }
    cases.retain(|case| case.is_wanted(&words));
    let verbose = !words.is_empty();
    let tally = run(&cases, verbose);
    println!(
        "\n{} cases: {} kept the rules, {} broke them, {} came to an end before the call; {} s",
        cases.len(),
        cases.len() - tally.broken - tally.unreached,
        tally.broken,
        tally.unreached,
        begin.elapsed().as_secs(),
    );
    ExitCode::from(if tally.broken == 0 && !cases.is_empty() {
        0
    } else {
        101
    })
}

/// Why nothing can be checked here, if so.
fn missing() -> Option<&'static str> {
    if !is_installed("strace") {
        return Some("strace is not installed");
    }
    if !is_root() {
        return Some("strace attaches to PID 1 of a namespace only for root");
    }
    (!Home::Pid1.is_possible()).then_some("there can be no PID namespace")
}

#[derive(Default)]
struct Tally {
    broken: usize,
    unreached: usize,
}

fn run(cases: &[Case], verbose: bool) -> Tally {
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = case.situation.run(Some(&case.fault));
                    let mut tally = tally.lock().unwrap();
                    match outcome {
                        Ok(log) if !log.contains("(INJECTED)") => tally.unreached += 1,
                        Ok(_) if verbose => println!("{case}: kept the rules"),
                        Ok(_) => {}
                        Err(why) => {
                            tally.broken += 1;
                            println!("\n---- {case} ----\n{why}");
                            println!("again: cargo test --test faults -- {case}");
                        }
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap()
}
