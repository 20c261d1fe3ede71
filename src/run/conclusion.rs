//! What is said when the run of a command is over, besides the log.

use std::time::{Duration, Instant};

use log::Level;

use crate::ending::Termination;
use crate::settings::Settings;
use crate::tell::account::Account;
use crate::tell::log::write_unfiltered;
use crate::tell::report_file::ReportFile;
use crate::tell::verdict::verdict;

/// How long the report may take. All last writes are to be over a second after the deadline.
pub(super) const REPORT: Duration = Duration::from_secs(1);

/// Prints the verdict of a rehearsal and writes the report.
pub(super) fn conclude(
    settings: &Settings,
    file: Option<ReportFile>,
    account: Account,
    mut termination: Termination,
    until: Instant,
) -> Termination {
    let rehearse = settings.run.rehearse.as_ref();
    if let Some((lines, passed)) = rehearse.and_then(|rehearse| verdict(&account, rehearse)) {
        for line in lines {
            write_unfiltered(Level::Info, &line);
        }
        termination = Termination::Exit(u8::from(!passed));
    }
    if let Some(file) = file
        && let Some(report) = account.report(termination.code())
    {
        file.write(&report, until.min(Instant::now() + REPORT));
    }
    termination
}
