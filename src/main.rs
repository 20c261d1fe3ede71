//! `supervise` is a small init: it runs one command, forwards signals to it, reaps orphans,
//! stops all processes within a grace period, and exits with the status of the command.
//!
//! Its folders and modules, each of which uses only those below it:
//!
//! - [`mod@run`] starts the command, waits, decides and acts;
//! - [`tell`] words what happened: log, report, verdict of a rehearsal;
//!   [`processes`] reads /proc and signals what remains; [`cli`] reads options and
//!   variables;
//! - [`settings`] holds what the options and variables say, checked;
//! - [`decide`] has the decisions, all pure; [`sys`] the system calls that no library
//!   offers, and all `unsafe` code;
//! - [`ending`] is how a process exits, [`signal`] its numbers and names.
#![cfg_attr(not(test), no_main)]

mod cli;
mod decide;
mod ending;
mod processes;
mod run;
mod settings;
mod signal;
mod sys;
mod tell;

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use cli::Invocation;
use ending::Termination;
use nix::errno::Errno;
use settings::LogFormat;
use sys::signals::Inherited;

/// The C entry point. The language runtime's own would change the disposition
/// of SIGPIPE, open /dev/null on closed descriptors and install handlers
/// before a line of ours could see what was inherited.
#[expect(
    unsafe_code,
    reason = "the entry point gets its arguments as C strings"
)]
#[cfg_attr(not(test), unsafe(export_name = "main"))]
#[cfg_attr(test, expect(dead_code, reason = "the test harness has its own"))]
extern "C" fn entry(count: c_int, arguments: *const *const c_char) -> c_int {
    let inherited = sys::signals::block_all();
    // SAFETY: these are the arguments of `main`.
    unsafe { sys::title::note_arguments(count, arguments) };
    let arguments: Vec<OsString> = (0..usize::try_from(count).unwrap_or_default())
        .map(|index| {
            // SAFETY: the C runtime passes `count` valid C strings, which live
            // as long as the process.
            let argument = unsafe { CStr::from_ptr(*arguments.add(index)) };
            OsStr::from_bytes(argument.to_bytes()).to_owned()
        })
        .collect();
    let code = match run(&arguments, inherited) {
        Termination::Exit(code) => code,
        Termination::Signal(signal) => {
            sys::signals::raise_default(signal);
            // A signal that ends nobody cannot have ended the command, but the
            // kernel may yet refuse.
            ending::Ending::Killed(signal, false).code()
        }
    };
    sys::process::exit(code)
}

fn run(arguments: &[OsString], inherited: Inherited) -> Termination {
    let settings = match cli::read(arguments, &sys::environment::beginning_with(cli::PREFIX)) {
        Ok(Invocation::Run(settings)) => settings,
        Ok(Invocation::Print(text)) => return print(&text),
        Ok(Invocation::Services(settings)) => {
            start_log(
                &settings.run.log,
                settings.run.log_format,
                &settings.run.warnings,
            );
            return end_log(run::services::run(&settings, inherited));
        }
        Ok(Invocation::Status(file)) => {
            return match run::services::shown(file.as_deref()) {
                Ok((text, code)) => match print(&text) {
                    Termination::Exit(0) => Termination::Exit(code),
                    failed => failed,
                },
                Err(why) => {
                    tell::log::write_unfiltered(log::Level::Error, &why);
                    Termination::Exit(ending::FAILED)
                }
            };
        }
        Err(lines) => {
            for why in &lines {
                tell::log::write_unfiltered(log::Level::Error, why);
            }
            return Termination::Exit(ending::FAILED);
        }
    };
    start_log(
        &settings.run.log,
        settings.run.log_format,
        &settings.run.warnings,
    );
    end_log(run::command::run(&settings, inherited))
}

fn start_log(filter: &str, format: LogFormat, warnings: &[String]) {
    tell::log::start(filter, format);
    for warning in warnings {
        log::warn!("{warning}");
    }
}

fn end_log((termination, until): (Termination, Option<Instant>)) -> Termination {
    tell::log::finish(until);
    sys::helpers::release_stdio();
    termination
}

/// Prints what was asked for instead of a run.
fn print(text: &str) -> Termination {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        // Not by the library, which takes a closed stdout for one that was written to.
        match nix::unistd::write(std::io::stdout(), rest) {
            Ok(length) => rest = rest.get(length..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(errno) => {
                let advice = match errno {
                    Errno::EBADF => "open it",
                    _ => "redirect it elsewhere",
                };
                let why = errno.desc();
                let message = format!("cannot write to stdout: {why}; {advice}");
                tell::log::write_unfiltered(log::Level::Error, &message);
                return Termination::Exit(ending::FAILED);
            }
        }
    }
    Termination::Exit(0)
}
