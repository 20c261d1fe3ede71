//! Several services: their options, and what these are read into.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::options::{self, Opt, variable_name};
use super::reader::{Reader, file_name};
use super::{Invocation, check};
use crate::decide::plan::rules::Rules;
use crate::decide::rules::LeftoverPolicy;
use crate::settings::services::{self, Given, Purpose, Services, Sourced, World};
use crate::settings::values::{self, StopOn};
use crate::settings::{General, ServicesRun};

/// The options with which no command is needed.
pub(super) const INSTEAD_OF_COMMAND: [&str; 4] = ["services", "check", "status", "status-file"];

/// Not supported with services yet, each with a variable.
const NOT_YET: [&str; 3] = ["report", "report-limit", "rehearse"];

/// Whether the options are about services.
pub(super) fn are_meant(matches: &ArgMatches) -> bool {
    INSTEAD_OF_COMMAND.iter().any(|id| is_given(matches, id))
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

impl Reader<'_> {
    /// Reads the options about services, and their files.
    pub(super) fn services(&self) -> Result<Invocation, Vec<String>> {
        if self.has("status") {
            return self.status().map_err(|why| vec![why]);
        }
        let (paths, given, mut run) = self.of_services().map_err(|why| vec![why])?;
        let world = World::current();
        if self.has("check") {
            let services = services::read(&paths, &given, &world, Purpose::Check)?;
            let rules = rules(&services)?;
            return Ok(Invocation::Print(check::text(&services, &rules)));
        }
        let mut services = services::read(&paths, &given, &world, Purpose::Run)?;
        let rules = rules(&services)?;
        run.warnings.append(&mut services.warnings);
        run.warnings
            .extend(services::about_scaling(&services, &rules));
        run.warnings
            .extend(services::hints(&services, Purpose::Run));
        run.warnings.extend(about_the_service_manager(&world));
        let status_file = self.path("status-file").map_err(|why| vec![why])?;
        Ok(Invocation::Services(Box::new(ServicesRun {
            run,
            services,
            rules,
            status_file,
        })))
    }

    /// Whether an option stands on the command line.
    fn has(&self, id: &str) -> bool {
        self.matches.is_some_and(|matches| is_given(matches, id))
    }

    fn status(&self) -> Result<Invocation, String> {
        let mut others = options::all().filter(|option| option.long != "status");
        let other = others.find(|option| self.has(option.long));
        if other.is_some() || !self.command.is_empty() {
            let other = other.map_or("a command".to_owned(), |other| format!("--{}", other.long));
            return Err(format!(
                "--status and {other} cannot be used together; use --status alone or with the \
                 name of a status file"
            ));
        }
        Ok(Invocation::Status(self.path("status")?))
    }

    /// What is given in addition to the files.
    fn of_services(&self) -> Result<(Vec<PathBuf>, Given, General), String> {
        self.refuse_for_services()?;
        let paths = self.values("services").into_iter().flatten();
        let paths = paths.map(|path| file_name("services", path).map(PathBuf::from));
        let mut stop_on: Option<Sourced<StopOn>> = None;
        for value in self.list("stop-on")? {
            let all = stop_on.get_or_insert_with(|| Sourced {
                source: value.source.clone(),
                value: StopOn::default(),
            });
            value.read(|text| all.value.add(text))?;
        }
        let stop_delay = self.one("stop-delay")?.map(|given| {
            let value = given.read(|text| values::parse_duration(text, " or 0"))?;
            Ok::<_, String>(Sourced {
                source: given.source,
                value,
            })
        });
        let given = Given {
            grace: self.value("grace", None, |text| values::parse_grace(text).map(Some))?,
            stop_delay: stop_delay.transpose()?,
            stop_on,
            prefix: None,
        };
        Ok((paths.collect::<Result<_, _>>()?, given, self.general()?))
    }

    fn refuse_for_services(&self) -> Result<(), String> {
        if !self.has("services") {
            let first = INSTEAD_OF_COMMAND.iter().find(|id| self.has(id));
            let first = first.copied().unwrap_or_default();
            return Err(format!(
                "--{first} needs files of services; use --services FILE"
            ));
        }
        if let Some(word) = self.command.first() {
            let word = word.to_string_lossy();
            return Err(format!(
                "--services cannot be used with a command yet; remove '{word}', or use \
                 --services before each file"
            ));
        }
        let is_given = |option: &&Opt| option.of_command && self.has(option.long);
        if let Some(option) = options::all().find(is_given) {
            return Err(format!(
                "--{} is about a command and cannot be used with --services; remove it",
                option.long
            ));
        }
        for id in NOT_YET {
            let variable = self.variable(id)?.is_some();
            if self.has(id) || variable {
                let option = format!("--{id}");
                let name = if self.has(id) {
                    option
                } else {
                    variable_name(id)
                };
                return Err(format!(
                    "{name} is not supported with --services yet; remove it"
                ));
            }
        }
        if self.has("leftovers") {
            let policy = self.value("leftovers", LeftoverPolicy::Auto, values::parse_leftovers)?;
            if matches!(policy, LeftoverPolicy::Wait | LeftoverPolicy::Leave) {
                return Err(
                    "--leftovers: leftover processes of services are always stopped; use stop or \
                     remove it"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    /// The path that an option names.
    fn path(&self, id: &str) -> Result<Option<PathBuf>, String> {
        let mut paths = self.values(id).into_iter().flatten();
        let path = paths.next();
        if paths.next().is_some() {
            return Err(format!("--{id} is given twice; use it once"));
        }
        let path = path.map(|path| file_name(id, path));
        Ok(path.transpose()?.map(PathBuf::from))
    }
}

fn rules(services: &Services) -> Result<Rules, Vec<String>> {
    services::rules(services)
        .map_err(|_| vec!["services depend on each other in a loop".to_owned()])
}

/// Warns that the service manager is told nothing.
fn about_the_service_manager(world: &World) -> Option<String> {
    let is_set = |(name, value): &(OsString, OsString)| {
        name.as_bytes() == b"NOTIFY_SOCKET" && !value.is_empty()
    };
    world.variables.iter().any(is_set).then(|| {
        "NOTIFY_SOCKET is set, but with services the service manager is not notified yet; use \
         Type=exec or Type=simple in the unit"
            .to_owned()
    })
}
