//! `supervise` runs one command and stands between it and whoever stops it: it
//! forwards signals, reaps orphans, gives everything a grace period to stop
//! in, and passes the exit status on.
//!
//! Where to find what: [`lifecycle`] decides, without a system call;
//! [`supervisor`] waits, asks it and acts; [`leftovers`] finds the processes
//! besides the command; [`terminal`] knows who has the terminal; [`notify`] passes
//! on what the command tells the service manager; [`sys`] holds the system calls and
//! all `unsafe` code; [`cli`] reads the command line into [`settings`].
#![cfg_attr(not(test), no_main)]

mod cgroup;
mod cli;
mod executable;
mod leftovers;
mod lifecycle;
mod logging;
mod notify;
mod origin;
mod procfs;
mod reason;
mod rehearsal;
mod report;
mod report_file;
mod settings;
mod signal;
mod status;
mod supervisor;
mod sys;
mod terminal;

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

use cli::Invocation;
use nix::errno::Errno;
use status::LastAct;
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
    let inherited = sys::signals::take_over();
    let arguments: Vec<OsString> = (0..usize::try_from(count).unwrap_or_default())
        .map(|index| {
            // SAFETY: the C runtime passes `count` valid C strings, which live
            // as long as the process.
            let argument = unsafe { CStr::from_ptr(*arguments.add(index)) };
            OsStr::from_bytes(argument.to_bytes()).to_owned()
        })
        .collect();
    let code = match run(&arguments, inherited) {
        LastAct::Exit(code) => code,
        LastAct::Die(signal) => {
            sys::signals::die_of(signal);
            // A signal that ends nobody cannot have ended the command, but the
            // kernel may yet refuse.
            status::Ending::Killed(signal, false).code()
        }
    };
    sys::process::exit(code)
}

fn run(arguments: &[OsString], inherited: Inherited) -> LastAct {
    let settings = match cli::read(arguments, &sys::environment::beginning_with(cli::PREFIX)) {
        Ok(Invocation::Run(settings)) => settings,
        Ok(Invocation::Print(text)) => return print(&text),
        Err(why) => {
            logging::write(&why);
            return LastAct::Exit(status::FAILED);
        }
    };
    let filter = env_filter::Builder::new().parse(&settings.log).build();
    logging::start(filter, settings.log_format);
    for warning in &settings.warnings {
        log::warn!("{warning}");
    }
    let last_act = supervisor::run(&settings, inherited);
    logging::finish();
    sys::closing::leave();
    last_act
}

/// Prints what was asked for instead of a run.
fn print(text: &str) -> LastAct {
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
                logging::write(&format!("cannot write to stdout: {why}; {advice}"));
                return LastAct::Exit(status::FAILED);
            }
        }
    }
    LastAct::Exit(0)
}
