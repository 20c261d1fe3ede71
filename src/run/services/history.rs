//! What happened to each service and when, for lines of the log and the status.

use std::time::{Duration, Instant};

use crate::decide::graph::Id;

/// What happened to one service.
#[derive(Debug, Default)]
pub(super) struct History {
    /// How many times it was started.
    pub(super) starts: u32,
    /// When it was started last.
    pub(super) started: Option<Instant>,
    /// When it was first told to stop in its last run.
    pub(super) told: Option<Instant>,
    /// When all of it was gone.
    pub(super) gone: Option<Instant>,
    /// SIGKILL was needed in its last run.
    pub(super) killed: bool,
    /// Why it still ran when its time was over.
    pub(super) reason: Option<String>,
    /// What the last try of its check reported.
    pub(super) last_try: Option<String>,
}

impl History {
    pub(super) fn start(&mut self) {
        *self = Self {
            starts: self.starts.saturating_add(1),
            started: Some(Instant::now()),
            ..Self::default()
        };
    }

    /// Returns whether it is the first time in this run.
    pub(super) fn stop(&mut self) -> bool {
        let is_first = self.told.is_none();
        self.told.get_or_insert_with(Instant::now);
        is_first
    }

    pub(super) fn gone(&mut self, killed: bool) {
        self.gone = Some(Instant::now());
        self.killed = killed;
    }

    /// How long it has run.
    pub(super) fn ran(&self) -> Duration {
        self.started
            .map_or(Duration::ZERO, |started| started.elapsed())
    }

    /// How long its stop took; `None` if it was not told to stop. It may not be over.
    pub(super) fn took(&self) -> Option<Duration> {
        let told = self.told?;
        let gone = self.gone.unwrap_or_else(Instant::now);
        Some(gone.saturating_duration_since(told))
    }
}

/// The stop of everything.
#[derive(Debug)]
pub(super) struct Stop {
    /// When it began.
    pub(super) at: Instant,
    /// The services in the order in which they were stopped.
    pub(super) order: Vec<Id>,
}
