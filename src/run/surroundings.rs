//! The surroundings of a service: what its command gets, and the command that checks whether
//! it is ready.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::unistd::geteuid;

use crate::settings::services::{Account, Command, Service};
use crate::sys::identity::Identity;
use crate::sys::service::{Labeled, ServiceSetup};
use crate::sys::spawn::Variable;

/// The surroundings of a service, its user looked up.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    service: &'a Service,
    user: Option<(Account, Identity)>,
    directory: Option<CString>,
}

impl<'a> Surroundings<'a> {
    /// Looks up the user, whose entries may have changed since the last start.
    ///
    /// # Errors
    /// One line that names the user.
    pub(super) fn of(service: &'a Service) -> Result<Self, String> {
        let user = match &service.user {
            Some(user) => {
                let account = user.resolve(Path::new("/"))?;
                let identity = Identity {
                    uid: account.uid,
                    gid: account.gid,
                    groups: account.groups.clone(),
                };
                Some((account, identity))
            }
            None => None,
        };
        let directory = service.working_dir.as_ref().map(|directory| {
            // The reader refuses null bytes.
            CString::new(directory.value.as_os_str().as_bytes()).unwrap_or_default()
        });
        Ok(Self {
            service,
            user,
            directory,
        })
    }

    /// The user that its processes are started as.
    pub(super) fn uid(&self) -> u32 {
        let user = self.user.as_ref().map(|(account, _)| account.uid);
        user.unwrap_or_else(|| geteuid().as_raw())
    }

    /// The variables of the user.
    pub(super) fn variables(&self) -> Vec<Variable<'_>> {
        let Some((account, _)) = &self.user else {
            return Vec::new();
        };
        let name = |variable| match &account.name {
            Some(name) => Variable::Set(variable, OsStr::new(name)),
            None => Variable::Remove(variable),
        };
        vec![
            Variable::Set("HOME", account.home.as_os_str()),
            name("USER"),
            name("LOGNAME"),
        ]
    }

    /// What a child changes that is to execute this command.
    pub(super) fn setup<'b>(&'b self, command: &'b Command) -> ServiceSetup<'b> {
        let service = self.service;
        let user = self.user.as_ref().zip(service.user.as_ref());
        let directory = self.directory.as_deref().zip(service.working_dir.as_ref());
        ServiceSetup {
            user: user.map(|((_, value), user)| Labeled {
                value,
                shown: &user.shown,
            }),
            directory: directory.map(|(value, directory)| Labeled {
                value,
                shown: &directory.shown,
            }),
            environment: &service.environment,
            program: &command.shown,
        }
    }
}
