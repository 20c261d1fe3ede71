//! What is done before the first service is started: what none of them is to inherit.

use log::warn;
use nix::sys::prctl::set_child_subreaper;

use crate::run::start;
use crate::settings::General;
use crate::settings::services::Services;
use crate::sys::descriptors::{self, Limit};
use crate::sys::{environment, process};

/// Variables about a service manager of ours, which passes and watches nothing below us.
const OF_MANAGER: [&str; 7] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// What remains of our own variables.
const KEPT: [&str; 2] = ["SUPERVISE_LOG", "SUPERVISE_LOG_FORMAT"];

/// Prepares the run and returns the limit on open descriptors for services.
///
/// # Errors
/// One line: why nothing can be started.
pub(super) fn prepare(run: &General, services: &Services) -> Result<Option<Limit>, String> {
    let own_pid = process::own_pid();
    if own_pid != 1
        && let Err(errno) = set_child_subreaper(true)
    {
        warn!(
            "cannot adopt orphans: {}; what a killed keeper leaves will not be stopped",
            errno.desc()
        );
    }
    start::set_parent_death_signal(run.parent_death)?;
    start::check_waits()?;
    let own = environment::beginning_with(crate::cli::PREFIX);
    let own = own.iter().map(|(name, _)| name.as_os_str());
    let own = own.filter(|name| KEPT.iter().all(|kept| name != kept));
    environment::remove(OF_MANAGER.iter().map(AsRef::as_ref).chain(own));
    descriptors::close_above_stdio();
    if own_pid == 1 && services.list.iter().any(|service| service.user.is_some()) {
        descriptors::let_all_write_to_output();
    }
    Ok(descriptors::limit())
}
