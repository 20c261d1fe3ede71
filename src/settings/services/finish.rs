//! Puts the services of all files together, and checks what concerns more than one key.

use std::ffi::OsString;
use std::path::Path;

use super::findings::{At, Place, quoted};
use super::programs::{self, why_no_directory};
use super::ready::LONGEST_PATH;
use super::service::{Common, Draft};
use super::text::Context;
use super::whole::Whole;
use super::{Account, Given, Ready, Restart, Service, Services, User, graph};
use crate::signal::{Signal, SignalSet};

/// How many restarts in a row after failures by default.
const RESTART_LIMIT: u32 = 5;

/// The most services: dividing the time among a long chain takes memory by its square.
const MOST_SERVICES: usize = 1000;

impl Context<'_> {
    /// Makes the services out of all drafts; `None` if one of them was refused.
    pub(super) fn finish(
        &mut self,
        whole: &Whole,
        given: &Given,
        defaults: &Common,
        drafts: Vec<Draft>,
    ) -> Option<Services> {
        let graph = self.dependencies(&drafts);
        let is_on: Vec<bool> = drafts.iter().map(|draft| draft.is_on).collect();
        self.refuse_number(&is_on);
        let mut services = self.put_together(whole, given, &drafts);
        let needed = graph::without_off(&graph, &is_on);
        let is_one_shot = |draft: &Draft| draft.is_on && draft.is_one_shot();
        let one_shots: Vec<bool> = drafts.iter().map(is_one_shot).collect();
        let after_one_shot = graph::above(&needed, &one_shots);
        // The index of each among those that are on.
        let mut next = 0;
        let index = |is_on: &bool| {
            let index = next;
            next += usize::from(*is_on);
            index
        };
        let indices: Vec<usize> = is_on.iter().map(index).collect();
        let rest = needed.into_iter().zip(after_one_shot);
        for (draft, (needed, after_one_shot)) in drafts.into_iter().zip(rest) {
            if !draft.is_on {
                if let Some(services) = &mut services {
                    services.off.push(draft.name);
                }
                continue;
            }
            let needed = needed.iter().filter_map(|index| indices.get(*index));
            let service = self.build(draft, defaults, needed.copied().collect(), after_one_shot);
            match service {
                Some(service) => {
                    if let Some(services) = &mut services {
                        services.list.push(service);
                    }
                }
                None => services = None,
            }
        }
        services
    }

    /// Refuses files with nothing or too much to run.
    fn refuse_number(&mut self, is_on: &[bool]) {
        let text = if is_on.is_empty() {
            "no services; write [services.NAME], and its command below"
        } else if !is_on.contains(&true) {
            "all services are off; turn one on by its key enabled"
        } else if is_on.len() > MOST_SERVICES {
            "more than 1000 services; remove some of them"
        } else {
            return;
        };
        let file = self.sources.first().map_or("no file", |file| &file.name);
        self.findings.error(None, format!("{file}: {text}"));
    }

    fn build(
        &mut self,
        draft: Draft,
        defaults: &Common,
        depends_on: Vec<usize>,
        after_one_shot: bool,
    ) -> Option<Service> {
        let restart = self.merged_restart(&draft, defaults);
        let user = draft.common.user.as_ref().or(defaults.user.as_ref());
        let account = user.and_then(|user| self.account(user, after_one_shot));
        let working_dir = draft.common.working_dir.as_ref();
        let working_dir = working_dir.or(defaults.working_dir.as_ref());
        let mut directory = Some(Path::new(""));
        if let Some(At { place, value }) = working_dir {
            directory = value.as_ref().map(|value| &*value.value);
            let why = directory.and_then(|directory| why_no_directory(self.world, directory));
            if let (Some(why), Some(value)) = (why, value) {
                directory = None;
                let text = format!("directory {} {why}", quoted(&value.shown));
                self.missing_unless_made(*place, text, after_one_shot);
            }
        }
        let mut environment = draft.common.environment.clone();
        for (name, value) in &defaults.environment {
            if !environment.iter().any(|(known, _)| known == name) {
                environment.push((name.clone(), value.clone()));
            }
        }
        if let Some(directory) = directory {
            self.find_programs(
                &draft,
                directory,
                &environment,
                account.as_ref(),
                after_one_shot,
            );
        }
        let working_dir = working_dir.and_then(|at| at.value.clone());
        let ready = self.located(&draft, working_dir.as_ref().map(|dir| &*dir.value));
        Some(Service {
            name: draft.name,
            command: draft.command?,
            depends_on,
            ready,
            ready_timeout: draft.ready_timeout,
            stop_signal: draft.stop_signal.unwrap_or(Signal::TERM),
            stop_grace_period: draft.stop_grace_period,
            restart,
            restart_limit: draft
                .restart_limit
                .map_or(Some(RESTART_LIMIT), |at| at.value),
            essential: draft.essential,
            success_exit_codes: draft.success_exit_codes,
            user: user.and_then(|at| at.value.clone()),
            working_dir,
            environment,
            forward_signals: draft
                .forward_signals
                .map_or(SignalSet::EMPTY, |at| at.value),
        })
    }

    fn merged_restart(&mut self, draft: &Draft, defaults: &Common) -> Restart {
        let is_one_shot = draft.is_one_shot();
        let restart = match (&draft.common.restart, &defaults.restart) {
            (Some(At { place, value }), _) => {
                if is_one_shot && *value == Restart::Always {
                    let text = "restart = \"always\" contradicts ready = \"exited\"; use \
                                \"on-failure\"";
                    self.findings.error(*place, text);
                }
                *value
            }
            (None, Some(At { value, .. })) if is_one_shot && *value == Restart::Always => {
                Restart::OnFailure
            }
            (None, Some(At { value, .. })) => *value,
            (None, None) => Restart::No,
        };
        if let (Restart::No, Some(limit)) = (restart, &draft.restart_limit) {
            let text = "restart_limit has no effect without restart; use restart = \"on-failure\"";
            self.findings.warning(limit.place, text);
        }
        restart
    }

    /// Looks up the user.
    fn account(&mut self, user: &At<Option<User>>, after_one_shot: bool) -> Option<Account> {
        let At { place, value } = user;
        let user = value.as_ref()?;
        match user.resolve(&self.world.root) {
            Ok(account) => {
                if !self.world.us.may_become(&account) {
                    let text = format!(
                        "supervise may not become user {}; run it as root with the capabilities \
                         SETUID and SETGID",
                        quoted(&user.shown)
                    );
                    self.missing(*place, text);
                }
                Some(account)
            }
            Err(why) => {
                self.missing_unless_made(*place, why, after_one_shot);
                None
            }
        }
    }

    fn find_programs(
        &mut self,
        draft: &Draft,
        directory: &Path,
        environment: &[(OsString, OsString)],
        account: Option<&Account>,
        after_one_shot: bool,
    ) {
        let own_path = environment.iter().find(|(name, _)| name == "PATH");
        let own_path = own_path.map(|(_, value)| value.as_os_str());
        let place = programs::Place {
            world: self.world,
            directory,
            path: own_path.or(self.world.variable("PATH")),
            account,
        };
        for program in &draft.programs {
            if let Some(why) = place.why_no_program(&program.name) {
                // What follows a blank may be an argument.
                let mut words = program.shown.split_whitespace();
                let mut shown = quoted(words.next().unwrap_or_default());
                if words.next().is_some() {
                    shown.push_str(" with arguments");
                }
                let text = format!("program {shown} {why}");
                self.missing_unless_made(program.place, text, after_one_shot);
            }
        }
    }

    /// The readiness with the full path of a socket.
    fn located(&mut self, draft: &Draft, working_dir: Option<&Path>) -> Ready {
        let Some(At { place, value }) = &draft.ready else {
            return Ready::Started;
        };
        let mut ready = value.clone();
        if let Ready::Unix(path) = &mut ready {
            let directory = self
                .world
                .directory
                .join(working_dir.unwrap_or(Path::new("")));
            path.value = directory.join(&path.value);
            if path.value.as_os_str().len() > LONGEST_PATH {
                let text = format!(
                    "the path of the socket has more than {LONGEST_PATH} bytes; use a shorter one"
                );
                self.findings.error(*place, text);
            }
        }
        ready
    }

    /// Reports something that is missing, unless a one-shot before the service may provide it.
    fn missing_unless_made(&mut self, place: Place, text: String, after_one_shot: bool) {
        if after_one_shot {
            let text = format!("{text}, unless a service before it provides that");
            self.findings.warning(place, text);
        } else {
            self.missing(place, text);
        }
    }
}

impl Draft {
    fn is_one_shot(&self) -> bool {
        matches!(
            &self.ready,
            Some(At {
                value: Ready::Exited,
                ..
            })
        )
    }
}
