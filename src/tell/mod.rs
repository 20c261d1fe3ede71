//! What people and programs are told: log lines, the account of a run, the report, and
//! the verdict of a rehearsal.

pub(crate) mod account;
pub(crate) mod log;
mod outcome;
pub(crate) mod record;
pub(crate) mod report_file;
pub(crate) mod sender;
pub(crate) mod status;
pub(crate) mod status_file;
pub(crate) mod verdict;
