//! The settings of a run: plain values, already checked.

pub(crate) mod known_programs;
pub(crate) mod nearest;
pub(crate) mod services;
pub(crate) mod values;

use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

use services::Services;

use crate::decide::plan::rules::Rules;
use crate::decide::rules::{Grace, LeftoverPolicy};
use crate::signal::{Signal, SignalSet};

/// The default limit of a report in bytes: Kubernetes takes no more of the termination
/// message of a container, and less in a pod with more than three containers.
pub(crate) const DEFAULT_LIMIT: usize = 4096;

/// The lowest limit: the size of any report when all that can be cut is cut.
pub(crate) const LOWEST_LIMIT: usize = 1024;

/// Everything that the command line and the environment can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What holds for all that `supervise` does.
    pub(crate) run: Run,
    /// What is about the command.
    pub(crate) command: Command,
}

/// Everything that can be set for a run of several services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicesRun {
    /// What holds with a command too. It has all warnings, those about the files as well.
    pub(crate) run: General,
    /// The services, and how all of them are stopped.
    pub(crate) services: Services,
    /// The rules of the plan, made from them.
    pub(crate) rules: Rules,
    /// Where the status file is written, if that was given.
    pub(crate) status_file: Option<PathBuf>,
}

/// What holds with a command and with services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct General {
    /// The signal that the kernel sends us when our parent exits.
    pub(crate) parent_death: Option<Signal>,
    /// How log lines are written.
    pub(crate) log_format: LogFormat,
    /// What is logged: a filter that `env_logger` parses and [`values::check_log_filter`] accepts.
    pub(crate) log: String,
    /// Whether to warn of each reaped orphan.
    pub(crate) warn_on_reap: bool,
    /// Warnings about what was given; the run starts nevertheless.
    pub(crate) warnings: Vec<String>,
}

/// How a run is stopped, and what is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The grace period.
    pub(crate) grace: Grace,
    /// How long a stop request waits before it is forwarded.
    pub(crate) stop_delay: Duration,
    /// The signals that are stop requests.
    pub(crate) stop_on: SignalSet,
    /// Those of them that are stop requests by default only, not because they were given.
    pub(crate) stop_on_by_default: SignalSet,
    /// The signal that the kernel sends us when our parent exits.
    pub(crate) parent_death: Option<Signal>,
    /// Where the report of the run goes.
    pub(crate) report: Option<ReportPath>,
    /// The limit of the report in bytes.
    pub(crate) report_limit: usize,
    /// When to request a stop ourselves, as a test of the shutdown.
    pub(crate) rehearse: Option<Rehearse>,
    /// How log lines are written.
    pub(crate) log_format: LogFormat,
    /// What is logged: a filter that `env_logger` parses and [`values::check_log_filter`] accepts.
    pub(crate) log: String,
    /// Whether to warn of each reaped orphan.
    pub(crate) warn_on_reap: bool,
    /// Warnings about what was given; the run starts nevertheless.
    pub(crate) warnings: Vec<String>,
}

/// What is run, how it is signaled, and what its exit means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The command and its arguments; never empty.
    pub(crate) argv: Vec<CString>,
    /// What to do with processes that outlive the command.
    pub(crate) leftovers: LeftoverPolicy,
    /// Where signals are forwarded to.
    pub(crate) forward_to: ForwardTo,
    /// Signals that are forwarded as another one; `None` drops the signal.
    pub(crate) rewrite: Vec<(Signal, Option<Signal>)>,
    /// Exit statuses that become 0.
    pub(crate) remap: Vec<u8>,
    /// Whether to kill ourselves with the signal that killed the command.
    pub(crate) reraise: bool,
    /// Whether notifications are relayed to the service manager.
    pub(crate) notify_relay: bool,
    /// Advice to log if the command is not found.
    pub(crate) hint: Option<String>,
}

/// Where the report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReportPath {
    /// The option or variable that names it, for error messages.
    pub(crate) source: String,
    /// The file.
    pub(crate) path: PathBuf,
}

/// When a rehearsal requests a stop, and by which signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rehearse {
    /// The moment.
    pub(crate) at: RehearseAt,
    /// The signal that it simulates.
    pub(crate) signal: Signal,
}

/// The moment of a rehearsal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RehearseAt {
    /// So long after the start.
    After(Duration),
    /// When the command notifies READY=1.
    Ready,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// As text for people.
    Text,
    /// As one JSON object per line.
    Json,
}

/// Where signals are forwarded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForwardTo {
    /// The command's process.
    Command,
    /// The command's process group.
    Group,
}
