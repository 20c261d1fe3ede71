//! What each service is doing, for the status file and `--status`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use log::info;

use super::Shell;
use crate::decide::plan::Condition;
use crate::processes::procfs;
use crate::settings::services::Services;
use crate::sys::process;
use crate::sys::service_page::ServicePage;
use crate::sys::user_ids::KnownUids;
use crate::tell::status::{Row, Writer};
use crate::tell::status_file::{self, Judge, StatusFile};

/// The rows of the status as they were last written.
#[derive(Debug)]
pub(super) struct StatusRows {
    rows: Vec<Row>,
    /// `None`: no file can be written, and nobody reads the rows.
    file: Option<StatusFile>,
}

impl StatusRows {
    /// Those before the start, which are written.
    ///
    /// # Errors
    /// One line: why the file that was named cannot be written.
    pub(super) fn open(services: &Services, named: Option<&Path>) -> Result<Self, String> {
        let since = now();
        let row = |name: &String, condition| Row {
            name: name.clone(),
            condition,
            pid: None,
            since,
            starts: 0,
        };
        let on = services.list.iter().map(|service| &service.name);
        let on = on.map(|name| row(name, Some(Condition::Waiting)));
        let off = services.off.iter().map(|name| row(name, None));
        let rows: Vec<_> = on.chain(off).collect();
        let file = match ourselves() {
            Some(writer) => {
                let runtime = std::env::var_os("RUNTIME_DIRECTORY");
                StatusFile::create(named, runtime.as_deref(), writer, &judge(), &rows)?
            }
            None if named.is_some() => {
                return Err(format!(
                    "--status-file: cannot be used: {BLIND}; mount /proc"
                ));
            }
            None => {
                info!("no status file: {BLIND}");
                None
            }
        };
        Ok(Self { rows, file })
    }

    /// Removes the file.
    pub(super) fn close(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

/// Why no reader could find out that we run.
const BLIND: &str = "/proc is missing or shows another PID namespace";

impl Shell<'_> {
    /// Writes the status if it has changed, or could not be written.
    pub(super) fn show_status(&mut self) {
        let Some(file) = &mut self.status.file else {
            return;
        };
        let mut is_due = file.failed;
        let slots = self.slots.iter().zip(self.plan.conditions());
        for (row, (slot, condition)) in self.status.rows.iter_mut().zip(slots) {
            let page = slot.keeper.as_ref().map(|(_, page)| page);
            let pid = page.filter(|_| !slot.ended).and_then(ServicePage::pid);
            let starts = slot.history.starts;
            if row.condition != Some(condition) || row.starts != starts {
                row.since = now();
            } else if row.pid == pid {
                continue;
            }
            (row.condition, row.pid, row.starts) = (Some(condition), pid, starts);
            is_due = true;
        }
        if is_due {
            file.write(&self.status.rows);
        }
    }
}

/// What `--status` prints, and its exit status.
///
/// # Errors
/// One line: why there is no status.
pub(crate) fn shown(file: Option<&Path>) -> Result<(String, u8), String> {
    let runtime = std::env::var_os("RUNTIME_DIRECTORY");
    let status = status_file::find(file, runtime.as_deref(), &judge())?;
    Ok((status.shown(), u8::from(!status.is_good())))
}

/// Root and we are trusted, and the owner of PID 1, which runs all of a container: root looks
/// into one that runs as another user.
fn judge() -> Judge {
    let mut trusted = vec![nix::unistd::geteuid().as_raw()];
    let of_init = procfs::uid(1).filter(|uid| KnownUids::read().is_one_user(*uid));
    for uid in [Some(0), of_init].into_iter().flatten() {
        if !trusted.contains(&uid) {
            trusted.push(uid);
        }
    }
    Judge { trusted, runs }
}

fn runs(writer: Writer) -> bool {
    let process = procfs::known(procfs::stat(writer.pid));
    process.is_some_and(|process| process.start == writer.start && !process.is_zombie())
}

fn ourselves() -> Option<Writer> {
    let pid = process::own_pid();
    if !procfs::shows_own_namespace(pid) {
        return None;
    }
    let start = procfs::known(procfs::stat(pid))?.start;
    Some(Writer { pid, start })
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}
