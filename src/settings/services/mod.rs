//! The settings of several services: read from files, checked, and put together with those
//! of the command line and the variables.

mod command;
mod dependencies;
mod files;
mod findings;
mod finish;
mod graph;
mod hints;
mod keys;
mod programs;
mod read;
mod ready;
mod rules;
mod service;
mod syntax;
mod text;
mod user;
mod values;
mod variables;
mod whole;
mod world;

use std::ffi::{CString, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::values::StopOn;
use crate::decide::rules::Grace;
use crate::signal::{Signal, SignalSet};

#[allow(unused_imports, reason = "no user yet")]
pub(crate) use hints::foreground_switch;
pub(crate) use hints::hints;
pub(crate) use read::read;
pub(crate) use rules::{about_scaling, rules};
pub(crate) use user::{Account, User};
pub(crate) use world::{Us, World};

/// The services of a run, and how all of them are stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Services {
    /// The grace period for all of them together.
    pub(crate) grace: Grace,
    /// How long a stop request waits before the first service is stopped.
    pub(crate) stop_delay: Duration,
    /// The signals that are stop requests.
    pub(crate) stop_on: SignalSet,
    /// Those of them that are stop requests by default only, not because they were given.
    pub(crate) stop_on_by_default: SignalSet,
    /// Whether each line of output begins with the name of its service.
    pub(crate) prefix: Prefix,
    /// The services that are on, in the order of the files; never empty.
    pub(crate) list: Vec<Service>,
    /// The names of those that are off.
    pub(crate) off: Vec<String>,
    /// Warnings about the files, each with its place.
    pub(crate) warnings: Vec<String>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its name.
    pub(crate) name: String,
    /// What it runs.
    pub(crate) command: Command,
    /// The services that must be ready before it starts and that outlive it, as indices into
    /// [`Services::list`], each once. One that is off is replaced by those that it depends on.
    pub(crate) depends_on: Vec<usize>,
    /// When it counts as ready.
    pub(crate) ready: Ready,
    /// How long it may take to become ready; `None` is forever.
    pub(crate) ready_timeout: Option<Duration>,
    /// The signal that stops it.
    pub(crate) stop_signal: Signal,
    /// Its share of the grace period; `None` is an equal share.
    pub(crate) stop_grace_period: Option<Duration>,
    /// When it is started again.
    pub(crate) restart: Restart,
    /// How many restarts in a row after failures; `None` is without a limit.
    pub(crate) restart_limit: Option<u32>,
    /// Whether its exit stops all services.
    pub(crate) essential: bool,
    /// The exit codes in addition to 0 that count as success.
    pub(crate) success_exit_codes: Vec<u8>,
    /// The user that it runs as; `None` is ours.
    pub(crate) user: Option<User>,
    /// Its working directory; `None` is ours.
    pub(crate) working_dir: Option<Shown<PathBuf>>,
    /// Names and values that are added to our variables, without null bytes.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// The signals that are forwarded to it.
    pub(crate) forward_signals: SignalSet,
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Program and arguments; never empty. They may be secret.
    pub(crate) argv: Vec<CString>,
    /// The text of the program in the file, for messages.
    pub(crate) shown: String,
}

/// A value that variables may be a part of. Because they may be secret, a message contains the
/// text of the file instead of the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown<T> {
    /// The value.
    pub(crate) value: T,
    /// Its text in the file.
    pub(crate) shown: String,
}

/// When a service counts as ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// When it was executed.
    Started,
    /// When it notifies READY=1.
    Notified,
    /// When it has exited with success.
    Exited,
    /// When one of these addresses accepts a connection.
    Tcp(Shown<Vec<SocketAddr>>),
    /// When this socket accepts a connection; the path is absolute if our working
    /// directory is known.
    Unix(Shown<PathBuf>),
    /// When a request is answered with a status of 2xx or 3xx.
    Http(Shown<Request>),
    /// When this command exits with 0.
    Command(Command),
}

/// An HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Where to connect to, in this order.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The value of the header `Host`.
    pub(crate) host: String,
    /// The path with the query: printable ASCII without blanks.
    pub(crate) path: String,
}

/// When a service is started again after it exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// Never.
    No,
    /// After a failure.
    OnFailure,
    /// Always.
    Always,
}

/// Whether each line of output begins with the name of its service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Prefix {
    /// If stdout is a terminal.
    #[default]
    Auto,
    /// Yes.
    Always,
    /// No.
    Never,
}

/// The settings of the command line and the variables, which precede those of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// The grace period.
    pub(crate) grace: Option<Grace>,
    /// The stop delay.
    pub(crate) stop_delay: Option<Sourced<Duration>>,
    /// The stop requests.
    pub(crate) stop_on: Option<Sourced<StopOn>>,
    /// The prefix of output lines.
    pub(crate) prefix: Option<Prefix>,
}

/// A value, and the option or variable that it was given by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    /// The option or variable, for error messages.
    pub(crate) source: String,
    /// The value.
    pub(crate) value: T,
}

/// Why the files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To run the services here and now.
    Run,
    /// To check the files, perhaps on another machine: what is missing here is a warning.
    Check,
}

#[cfg(test)]
mod accepted;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod refused_files;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod warnings;
