//! Runs a command that exits with 0 if a service is ready.

use super::{Course, Limit};
use crate::settings::services::{Command, Service};

impl Course<'_> {
    /// Runs the command once.
    ///
    /// # Errors
    /// How it failed.
    pub(super) fn execute(
        &self,
        service: &Service,
        command: &Command,
        limit: &Limit,
    ) -> Result<(), String> {
        let _ = (service, command, self.inherited);
        Err(limit.exceeded())
    }
}
