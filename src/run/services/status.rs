//! What each service is doing, for the status file.

use std::path::Path;

use super::Shell;
use crate::settings::services::Services;

/// The rows of the status as they were last written.
#[derive(Debug)]
pub(super) struct StatusRows {}

impl StatusRows {
    pub(super) fn new(_services: &Services, _file: Option<&Path>) -> Self {
        Self {}
    }

    pub(super) fn close(&mut self) {}
}

impl Shell<'_> {
    pub(super) fn show_status(&mut self) {}
}
