//! The settings that the lifecycle decides by: stop requests, grace period, stop delay,
//! leftover processes. They do not change while the command runs.

use std::time::Duration;

use crate::signal::{Signal, SignalSet};

/// The grace period: the time from a stop request to SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Grace {
    /// A finite grace period; zero sends SIGKILL at once.
    For(Duration),
    /// SIGKILL is never sent.
    Infinite,
}

impl std::fmt::Display for Grace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::For(grace) => write!(f, "grace period {}", humantime::format_duration(*grace)),
            Self::Infinite => f.write_str("grace period infinity"),
        }
    }
}

/// What happens to leftover processes, which outlive the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LeftoverPolicy {
    /// Stop them after a stop request and as PID 1; otherwise leave them.
    Auto,
    /// Always stop them.
    Stop,
    /// Wait until the last has exited by itself or a stop is requested.
    Wait,
    /// Leave them: `supervise` exits with the command.
    Leave,
}

/// What the lifecycle goes by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    /// Signals that are a stop request.
    pub(crate) stop_on: SignalSet,
    /// What is forwarded instead of what; `None` drops the signal.
    pub(crate) rewrite: Vec<(Signal, Option<Signal>)>,
    /// The grace period.
    pub(crate) grace: Grace,
    /// How long a stop request waits before it is forwarded, or before the leftover
    /// processes are signaled; shorter than the grace period, of which it is a part.
    pub(crate) delay: Duration,
    /// What happens to leftover processes.
    pub(crate) leftovers: LeftoverPolicy,
    /// Whether we are PID 1 of our namespace, or its PID 1 exits when we do.
    pub(crate) pid1: bool,
    /// Whether a shell may want to know when the command is suspended.
    pub(crate) job_control: bool,
}
