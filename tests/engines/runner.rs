//! Runs tests as `cargo test` does, with its filters and its closing line. What
//! the standard harness lacks, and why there is one here: a word before the
//! first test, and tests left out for a reason that is found only at run time.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::need::Need;

/// A test and what it cannot do without.
pub struct Test {
    pub name: String,
    pub needs: &'static [Need],
    pub run: fn(),
}

/// Names the functions of a module as tests: `tests!(needs; one, other)`.
macro_rules! tests {
    ($needs:expr; $($test:ident),+ $(,)?) => {
        vec![$($crate::runner::Test {
            name: format!(
                "{}::{}",
                module_path!().trim_start_matches("engines::"),
                stringify!($test)
            ),
            needs: $needs,
            run: $test,
        }),+]
    };
}
pub(crate) use tests;

/// What the command line asks for.
#[derive(Default)]
pub struct Arguments {
    pub list: bool,
    exact: bool,
    threads: Option<usize>,
    skip: Vec<String>,
    only: Vec<String>,
}

impl Arguments {
    /// Reads those of the standard harness that make sense here.
    pub fn read(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} takes a value"));
            match word.as_str() {
                "--list" => arguments.list = true,
                "--exact" => arguments.exact = true,
                "--nocapture" => {}
                "--skip" => arguments.skip.push(value()?),
                "--test-threads" => {
                    let number = value()?;
                    let number = number.parse().map_err(|_| format!("{number}: no number"))?;
                    arguments.threads = Some(number);
                }
                option if option.starts_with('-') => {
                    return Err(format!(
                        "{option} is not known here; --list, --exact, --skip NAME and \
                         --test-threads N are"
                    ));
                }
                _ => arguments.only.push(word),
            }
        }
        Ok(arguments)
    }

    /// Whether the command line asks for this test.
    pub fn wants(&self, name: &str) -> bool {
        let matches = |pattern: &String| {
            if self.exact {
                name == pattern
            } else {
                name.contains(pattern.as_str())
            }
        };
        (self.only.is_empty() || self.only.iter().any(matches)) && !self.skip.iter().any(matches)
    }
}

/// How a test went.
enum Outcome {
    Passed,
    Failed(String),
    LeftOut,
}

/// Runs what the command line asks for, `threads` at a time, or leaves all of it
/// out for a reason.
pub fn run(
    arguments: &Arguments,
    tests: Vec<Test>,
    threads: usize,
    left_out: Option<&str>,
) -> ExitCode {
    let all = tests.len();
    let tests: Vec<Test> = tests
        .into_iter()
        .filter(|test| arguments.wants(&test.name))
        .collect();
    let filtered = all - tests.len();
    println!("\nrunning {} tests", tests.len());
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.unwrap_or(threads).max(1) {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = outcome(test, left_out);
                    outcomes.lock().unwrap().push((&test.name, outcome));
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();

    let mut failed = 0;
    for (name, outcome) in &outcomes {
        if let Outcome::Failed(why) = outcome {
            failed += 1;
            println!("\n---- {name} ----\n{why}");
        }
    }
    let left_out = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::LeftOut))
        .count();
    println!(
        "\ntest result: {}. {} passed; {failed} failed; {left_out} ignored; 0 measured; \
         {filtered} filtered out; finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        outcomes.len() - failed - left_out,
        begin.elapsed().as_secs_f32(),
    );
    // As the standard harness says that a test has failed.
    ExitCode::from(if failed == 0 { 0 } else { 101 })
}

fn outcome(test: &Test, left_out: Option<&str>) -> Outcome {
    let Test { name, needs, run } = test;
    if let Some(why) = left_out.or_else(|| needs.iter().find_map(|need| need.missing())) {
        crate::harness::skipped(&format!("{name}: {why}"));
        println!("test {name} ... ignored");
        return Outcome::LeftOut;
    }
    let begin = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(run));
    let seconds = begin.elapsed().as_secs_f32();
    match outcome {
        Ok(()) => {
            println!("test {name} ... ok ({seconds:.1}s)");
            Outcome::Passed
        }
        Err(why) => {
            println!("test {name} ... FAILED ({seconds:.1}s)");
            Outcome::Failed(message(why.as_ref()).to_owned())
        }
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<String>() {
        return text;
    }
    panic.downcast_ref::<&str>().unwrap_or(&"no words")
}
