//! Reads the value of each option, from the command line or otherwise from its variable, into
//! [`Settings`].

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValuesRef;

use super::advice::unknown_variables;
use super::options::{is_variable_of, variable_name};
use crate::decide::rules::{Grace, LeftoverPolicy};
use crate::settings::values::StopOn;
use crate::settings::{
    Command, DEFAULT_LIMIT, ForwardTo, General, LogFormat, RehearseAt, ReportPath, Run, Settings,
    values,
};
use crate::signal::Signal;

/// The file of the report, and the option or variable that names it.
fn report_to(source: String, path: &OsStr) -> Result<Option<ReportPath>, String> {
    if path == "-" {
        return Err(format!("{source}: '-' is not a file; use /dev/stdout"));
    }
    let path = PathBuf::from(path);
    Ok(Some(ReportPath { source, path }))
}

/// Refuses an option that stands where the file name of another one is missing.
pub(super) fn file_name<'a>(id: &str, path: &'a OsStr) -> Result<&'a OsStr, String> {
    if path.is_empty() || path == "--" {
        return Err(format!("--{id}: a file name is missing"));
    }
    if path.len() > 1 && path.as_bytes().starts_with(b"-") {
        let path = path.to_string_lossy();
        return Err(format!(
            "--{id}: a file name is missing before '{path}'; for a file of that name use ./{path}"
        ));
    }
    Ok(path)
}

/// The sources of values.
pub(super) struct Reader<'a> {
    /// The options; `None` if the command line has none.
    pub(super) matches: Option<&'a ArgMatches>,
    pub(super) command: Vec<&'a OsString>,
    /// The variables that begin with [`super::PREFIX`].
    pub(super) environment: &'a [(OsString, OsString)],
}

/// One value, and the option or variable that it was given by, for error messages.
pub(super) struct Given {
    pub(super) source: String,
    pub(super) value: String,
}

impl Given {
    fn new(source: String, value: &OsStr) -> Result<Self, String> {
        match value.to_str() {
            Some(value) => Ok(Self {
                source,
                value: value.to_owned(),
            }),
            None => Err(format!(
                "{source}: '{}' is not UTF-8",
                value.to_string_lossy()
            )),
        }
    }

    pub(super) fn read<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        parse(&self.value).map_err(|why| format!("{}: {why}", self.source))
    }
}

impl Reader<'_> {
    pub(super) fn settings(&self) -> Result<Settings, String> {
        let command = self.of_the_command()?;
        let run = self.of_the_run(&command)?;
        Ok(Settings { run, command })
    }

    fn of_the_command(&self) -> Result<Command, String> {
        let argv = self.argv()?;
        let mut rewrite = Vec::new();
        for given in self.list("rewrite")? {
            given.read(|text| values::add_rewrite(&mut rewrite, values::parse_rewrite(text)?))?;
        }
        let mut remap = Vec::new();
        for given in self.list("remap-exit")? {
            remap.push(given.read(values::parse_code)?);
        }
        Ok(Command {
            hint: self.hint(&argv),
            argv,
            leftovers: self.value("leftovers", LeftoverPolicy::Auto, values::parse_leftovers)?,
            forward_to: self.forward_to()?,
            rewrite,
            remap,
            reraise: !self.switch("no-reraise")?,
            notify_relay: !self.switch("no-notify-relay")?,
        })
    }

    fn of_the_run(&self, command: &Command) -> Result<Run, String> {
        let half_a_minute = Grace::For(Duration::from_secs(30));
        let grace = self.value("grace", half_a_minute, values::parse_grace)?;
        let stop_delay = self.value("stop-delay", Duration::ZERO, |text| {
            values::parse_stop_delay(text, grace)
        })?;

        let mut given_stop_on = StopOn::default();
        for given in self.list("stop-on")? {
            given.read(|text| given_stop_on.add(text))?;
        }
        let named = given_stop_on.named;
        let stop_on = given_stop_on.with(values::default_stop_on());
        let is_dropped = |(from, to): &&(Signal, _)| Option::is_none(to) && named.contains(*from);
        if let Some((signal, _)) = command.rewrite.iter().find(is_dropped) {
            return Err(format!(
                "--stop-on and --rewrite: {signal} cannot be both a stop request and dropped; use \
                 one of the two"
            ));
        }

        let on_command_line = self.values("rehearse").is_some();
        let rehearse = self.value("rehearse", None, |text| {
            values::parse_rehearse(text, on_command_line, stop_on, &command.rewrite).map(Some)
        })?;
        if !command.notify_relay && rehearse.is_some_and(|it| it.at == RehearseAt::Ready) {
            return Err(
                "--rehearse ready needs the notifications that --no-notify-relay turns off"
                    .to_owned(),
            );
        }

        let General {
            parent_death,
            log_format,
            log,
            warn_on_reap,
            warnings,
        } = self.general()?;
        Ok(Run {
            grace,
            stop_delay,
            stop_on,
            stop_on_by_default: stop_on.without(named),
            parent_death,
            report: self.report()?,
            report_limit: self.value("report-limit", DEFAULT_LIMIT, values::parse_report_limit)?,
            rehearse,
            log_format,
            log,
            warn_on_reap,
            warnings,
        })
    }

    /// What holds with services too.
    pub(super) fn general(&self) -> Result<General, String> {
        Ok(General {
            parent_death: self.value("parent-death-signal", None, |text| {
                values::parse_signal(text).map(Some)
            })?,
            log_format: self.value("log-format", LogFormat::Text, values::parse_log_format)?,
            log: self.log()?,
            warn_on_reap: self.switch("warn-on-reap")?,
            warnings: unknown_variables(self.environment),
        })
    }

    /// A path may be any bytes.
    fn report(&self) -> Result<Option<ReportPath>, String> {
        if let Some(path) = self.values("report").and_then(Iterator::last) {
            return report_to("--report".to_owned(), file_name("report", path)?);
        }
        match self.env_value("report").filter(|path| !path.is_empty()) {
            Some(path) => report_to(variable_name("report"), path),
            None => Ok(None),
        }
    }

    fn forward_to(&self) -> Result<ForwardTo, String> {
        let alone = self.is_on_command_line("single-child");
        if alone && self.is_on_command_line("process-group") {
            return Err(
                "--single-child and --process-group cannot be used together; use one of them"
                    .to_owned(),
            );
        }
        let group = !alone && self.switch("process-group")?;
        Ok(if group {
            ForwardTo::Group
        } else {
            ForwardTo::Command
        })
    }

    fn log(&self) -> Result<String, String> {
        let verbose = self
            .matches
            .map_or(0, |matches| matches.get_count("verbose"));
        if self.is_on_command_line("quiet") {
            if verbose > 0 {
                return Err(
                    "--quiet and --verbose cannot be used together; use one of them".to_owned(),
                );
            }
            return Ok("error".to_owned());
        }
        let level = match verbose {
            0 => match self.variable("log")? {
                Some(given) => {
                    given.read(values::check_log_filter)?;
                    return Ok(given.value);
                }
                None => "warn",
            },
            1 => "info",
            2 => "debug",
            _ => "trace",
        };
        Ok(level.to_owned())
    }

    /// `-s` takes a value in other programs, not here and not in tini.
    fn hint(&self, argv: &[CString]) -> Option<String> {
        let name = argv.first()?.to_str().ok()?;
        (self.is_on_command_line("subreaper") && Signal::parse(name).is_some()).then(|| {
            format!("-s takes no value; to make {name} a stop request, use --stop-on {name}")
        })
    }

    fn argv(&self) -> Result<Vec<CString>, String> {
        self.command
            .iter()
            .map(|word| {
                CString::new(word.as_bytes())
                    .map_err(|_| format!("'{}' contains a null byte", word.to_string_lossy()))
            })
            .collect()
    }

    /// The values of an option on the command line.
    pub(super) fn values(&self, id: &str) -> Option<ValuesRef<'_, OsString>> {
        self.matches?.get_many(id)
    }

    /// Whether a switch stands on the command line.
    fn is_on_command_line(&self, id: &str) -> bool {
        self.matches.is_some_and(|matches| matches.get_flag(id))
    }

    /// Whether a switch is on, by command line or environment.
    fn switch(&self, id: &str) -> Result<bool, String> {
        if self.is_on_command_line(id) {
            return Ok(true);
        }
        match self.variable(id)? {
            Some(given) => given.read(values::parse_switch),
            None => Ok(false),
        }
    }

    /// The values of an option that may be given more than once. Each may be
    /// several, separated by commas.
    pub(super) fn list(&self, id: &str) -> Result<Vec<Given>, String> {
        let split = |given: &Given| -> Vec<Given> {
            given
                .value
                .split(',')
                .map(|value| Given {
                    source: given.source.clone(),
                    value: value.trim().to_owned(),
                })
                .collect()
        };
        Ok(self.given(id)?.iter().flat_map(split).collect())
    }

    /// The value of an option that may be given once, or else the default.
    pub(super) fn value<T>(
        &self,
        id: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        match self.one(id)? {
            Some(given) => given.read(parse),
            None => Ok(default),
        }
    }

    pub(super) fn one(&self, id: &str) -> Result<Option<Given>, String> {
        let mut given = self.given(id)?;
        if given.len() > 1 {
            return Err(format!(
                "--{id} is given {} times; use it once",
                given.len()
            ));
        }
        Ok(given.pop())
    }

    fn given(&self, id: &str) -> Result<Vec<Given>, String> {
        match self.values(id) {
            Some(values) => values
                .map(|value| {
                    if value == "--" {
                        return Err(format!("--{id}: a value is missing before '--'"));
                    }
                    Given::new(format!("--{id}"), value)
                })
                .collect(),
            None => Ok(self.variable(id)?.into_iter().collect()),
        }
    }

    /// What an option's environment variable says; empty counts as unset.
    pub(super) fn variable(&self, id: &str) -> Result<Option<Given>, String> {
        let value = self.env_value(id).filter(|value| !value.is_empty());
        value
            .map(|value| Given::new(variable_name(id), value))
            .transpose()
    }

    /// What an option's environment variable is set to.
    fn env_value(&self, id: &str) -> Option<&OsString> {
        let mut environment = self.environment.iter();
        let (_, value) = environment.find(|(name, _)| is_variable_of(name.as_bytes(), id))?;
        Some(value)
    }
}
