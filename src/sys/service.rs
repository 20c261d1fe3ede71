//! What the child of a service changes before it executes its program, in addition to what
//! each command gets.

use std::ffi::{CStr, OsString};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::descriptors;
use super::exec::{ExecError, quoted};
use super::identity::{self, Identity};
use crate::ending::FAILED;

/// A value, and the text of the file that stands for it in messages: variables may be a part
/// of the value, and may be secret.
#[derive(Debug)]
pub(crate) struct Labeled<'a, T: ?Sized> {
    /// The value.
    pub(crate) value: &'a T,
    /// Its text in the file.
    pub(crate) shown: &'a str,
}

/// What distinguishes a service from other commands. Its stdin is /dev/null, and it inherits
/// no descriptor except stdin, stdout and stderr.
#[derive(Debug)]
pub(crate) struct ServiceSetup<'a> {
    /// The user that it becomes; `None` is ours.
    pub(crate) user: Option<Labeled<'a, Identity>>,
    /// Its working directory; `None` is ours.
    pub(crate) directory: Option<Labeled<'a, CStr>>,
    /// Variables that are set after all other changes to its environment.
    pub(crate) environment: &'a [(OsString, OsString)],
    /// Its program in messages, instead of the first argument.
    pub(crate) program: &'a str,
}

impl ServiceSetup<'_> {
    /// Sets stdin, the descriptors and the user, in this order. The parent-death signal is to
    /// be set afterwards, because the kernel clears it.
    ///
    /// # Errors
    /// Exit status 125 in each case: the program was not looked for.
    pub(super) fn enter(&self) -> Result<(), ExecError> {
        descriptors::open_null_as_stdin()
            .map_err(|errno| failed("cannot open /dev/null as stdin", errno.desc()))?;
        descriptors::close_others_on_exec();
        if let Some(user) = &self.user {
            identity::become_user(user.value).map_err(|refused| {
                failed(
                    &format!("cannot become user {}", quoted(user.shown.as_bytes())),
                    &refused.text(),
                )
            })?;
        }
        Ok(())
    }

    /// Changes to the working directory, as its user.
    ///
    /// # Errors
    /// Exit status 125, as with env(1) `--chdir`: the program was not looked for, so that
    /// nothing is known about it.
    pub(super) fn change_directory(&self) -> Result<(), ExecError> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        nix::unistd::chdir(directory.value).map_err(|errno| {
            let advice = match errno {
                Errno::ENOENT => "create it or correct working_dir",
                Errno::ENOTDIR => "correct working_dir",
                Errno::EACCES => "make it searchable for the user of the service (chmod +x)",
                _ => "use another working_dir",
            };
            failed(
                &format!(
                    "cannot change to the working directory {}",
                    quoted(directory.shown.as_bytes())
                ),
                &format!("{}; {advice}", errno.desc()),
            )
        })
    }
}

fn failed(what: &str, why: &str) -> ExecError {
    ExecError {
        status: FAILED,
        text: format!("{what}: {why}"),
    }
}

/// Makes a pipe whose reading end is at its end once a child has executed or exited: both
/// ends are closed on exec. Reading from it does not block.
///
/// # Errors
/// EMFILE, ENFILE: no descriptor left; or a system call filter's.
pub(super) fn exec_pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    // The child puts /dev/null in the place of descriptor 0.
    let above = |fd| descriptors::above_stdio(fd).ok_or(Errno::EMFILE);
    Ok((above(reader)?, above(writer)?))
}

#[cfg(test)]
mod tests;
