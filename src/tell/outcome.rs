//! The outcome of a run, one of five words: completed, graceful, unhandled, failed, killed.

use std::fmt;

use serde::Serialize;

/// The judgment of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// No stop was requested, and the status is 0 or one that counts as 0.
    Completed,
    /// A stop was requested, and the command exited with such a status; in a rehearsal,
    /// after it was sent the stop signal.
    Graceful,
    /// The stop signal killed the command, or it exited with 128+N for that signal:
    /// it has no handler, or cleaned up and then killed itself with the signal. That
    /// it had a handler proves nothing, because runtimes (Go, Node, PHP) catch the
    /// signal only to exit from it at once.
    Unhandled,
    /// Any other status, or the command could not be run, or a rehearsal has not shown
    /// how the command stops.
    Failed,
    /// SIGKILL from any sender killed the command, or `supervise` sent SIGKILL.
    Killed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::Graceful => "graceful",
            Self::Unhandled => "stop signal unhandled or re-raised",
            Self::Failed => "failed",
            Self::Killed => "killed",
        })
    }
}
