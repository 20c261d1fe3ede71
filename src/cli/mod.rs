//! The command line and the environment, read into [`Settings`].

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValuesRef;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::decide::rules::{Grace, LeftoverPolicy};
use crate::settings::{self, DEFAULT_LIMIT, ForwardTo, LogFormat, ReportPath, Settings};
use crate::signal::{Signal, SignalSet};

/// What the name of every environment variable starts with; the rest is the
/// option's long name.
pub(crate) const PREFIX: &str = "SUPERVISE_";

const ABOUT: &str = "\
Run COMMAND, forward signals to it, reap what it leaves behind, and when it is
asked to stop give it and every other process a grace period before SIGKILL.
The exit status is the command's.";

const AFTER_HELP: &str = "\
Exits with the status of COMMAND. Where signal N killed it: with 128+N as PID 1,
otherwise supervise dies of N too. 125: supervise itself failed; 126: COMMAND
cannot be executed; 127: it was not found.

SIGNAL is a name (TERM, SIGTERM), a number (15) or RTMIN+N. DURATION is a number
of seconds (10, 0.5), a number with a unit (500ms, 1m30s), or infinity.
An option that names an environment variable can be set by it; the command line
comes first, and a variable that is empty counts as unset. Lists are separated
by commas. SUPERVISE_LOG sets a log filter (warn, debug, off).";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// Run a command.
    Run(Box<Settings>),
    /// Print this to stdout.
    Print(String),
}

/// An option that takes a value.
fn option(id: &'static str, value: &'static str) -> Arg {
    Arg::new(id)
        .long(id)
        .value_name(value)
        .value_parser(value_parser!(OsString))
        // So that a negative number gets our words, not "unknown option".
        .allow_hyphen_values(true)
        .action(ArgAction::Append)
}

/// An option that takes none; to repeat it is no error.
fn switch(id: &'static str) -> Arg {
    Arg::new(id)
        .long(id)
        .action(ArgAction::SetTrue)
        .overrides_with(id)
}

/// The options, as they are documented.
fn command_line() -> Command {
    let command = Arg::new("command")
        .value_name("COMMAND")
        .required(true)
        .hide(true)
        .num_args(1..)
        .trailing_var_arg(true)
        .value_parser(value_parser!(OsString));
    Command::new("supervise")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER_HELP)
        .override_usage("supervise [OPTIONS] [--] COMMAND [ARG...]")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .next_help_heading("Stopping")
        .args(stopping_options())
        .next_help_heading("Signals")
        .args(signal_options())
        .next_help_heading("Exit status")
        .args(status_options())
        .next_help_heading("Service manager")
        .args(manager_options())
        .next_help_heading("Reports")
        .args(report_options())
        .next_help_heading("Logging")
        .args(logging_options())
        .next_help_heading("Help")
        .args(help_options())
        .arg(command)
}

fn stopping_options() -> [Arg; 4] {
    [
        option("grace", "DURATION").short('t').help(
            "Time to stop in before SIGKILL; 0 kills at once, infinity never. Keep it\n\
             about 2s below the limit of whoever stops supervise (Docker 10s,\n\
             Kubernetes 30s, systemd 90s) [default: 30s] [env: SUPERVISE_GRACE]",
        ),
        option("stop-delay", "DURATION").help(
            "Wait before forwarding a stop request, for example while a load balancer\n\
             drains connections. Counts toward the grace period; a second stop request\n\
             ends the wait [default: 0] [env: SUPERVISE_STOP_DELAY]",
        ),
        option("stop-on", "SIGNAL").help(
            "Take SIGNAL as a stop request, in addition to TERM and INT; none clears the\n\
             list, these two included. Repeatable [env: SUPERVISE_STOP_ON]",
        ),
        option("leftovers", "POLICY").help(
            "What to do with other processes when COMMAND has ended: stop them, wait\n\
             for them, or leave them. auto stops them after a stop request and as PID 1,\n\
             and leaves them otherwise [default: auto] [env: SUPERVISE_LEFTOVERS]",
        ),
    ]
}

fn signal_options() -> [Arg; 5] {
    [
        switch("process-group").short('g').help(
            "Forward to the process group of COMMAND, not to COMMAND alone. Not for\n\
             pipelines on a terminal\n\
             [env: SUPERVISE_PROCESS_GROUP]",
        ),
        switch("single-child").short('c').help(
            "Forward to COMMAND alone, as is the default: undoes\n\
             SUPERVISE_PROCESS_GROUP",
        ),
        option("rewrite", "FROM:TO").short('r').help(
            "Forward signal TO when FROM is received; FROM:0 drops FROM. Has no effect on\n\
             what the terminal sends to COMMAND itself (Ctrl-C). Repeatable\n\
             [env: SUPERVISE_REWRITE]",
        ),
        option("parent-death-signal", "SIGNAL").short('p').help(
            "Have SIGNAL sent to supervise when its own parent ends\n\
             [env: SUPERVISE_PARENT_DEATH_SIGNAL]",
        ),
        switch("subreaper").short('s').help(
            "Adopt orphans when not PID 1; always done, accepted because tini has\n\
             it",
        ),
    ]
}

fn status_options() -> [Arg; 2] {
    [
        option("remap-exit", "CODE").short('e').help(
            "Exit with 0 when COMMAND exits with CODE; 128+N stands for death by signal\n\
             N. Repeatable [env: SUPERVISE_REMAP_EXIT]",
        ),
        switch("no-reraise").help(
            "Exit with 128+N when signal N killed COMMAND, do not die of N\n\
             [env: SUPERVISE_NO_RERAISE]",
        ),
    ]
}

fn manager_options() -> [Arg; 1] {
    [switch("no-notify-relay").help(
        "Leave NOTIFY_SOCKET as it is: COMMAND notifies the service manager itself,\n\
         which must accept that (NotifyAccess=all) [env: SUPERVISE_NO_NOTIFY_RELAY]",
    )]
}

fn report_options() -> [Arg; 3] {
    [
        option("report", "FILE")
            .help("Write a JSON report of the run to FILE on exit [env: SUPERVISE_REPORT]"),
        option("report-limit", "BYTES").help(
            "Cut the report to BYTES, for example where a pod has more than three\n\
             containers [default: 4096] [env: SUPERVISE_REPORT_LIMIT]",
        ),
        option("rehearse", "AFTER").help(
            "Test the shutdown: request a stop after AFTER (a DURATION, or ready for\n\
             READY=1) and exit with 0 if it was graceful, with 1 otherwise. A command that\n\
             the stop signal kills fails, unless --remap-exit names that status\n\
             [env: SUPERVISE_REHEARSE]",
        ),
    ]
}

fn logging_options() -> [Arg; 4] {
    [
        option("log-format", "FORMAT").help(
            "text, or json: one object a line [default: text]\n\
             [env: SUPERVISE_LOG_FORMAT]",
        ),
        Arg::new("verbose")
            .long("verbose")
            .action(ArgAction::Count)
            .short('v')
            .help(
                "Say more on stderr: -v what happens at a stop, -vv each signal and\n\
             process",
            ),
        switch("quiet").short('q').help(
            "Log errors only, and the result of a rehearsal; not the warning before\n\
             SIGKILL either",
        ),
        switch("warn-on-reap")
            .short('w')
            .help("Warn about each orphan that is reaped [env: SUPERVISE_WARN_ON_REAP]"),
    ]
}

fn help_options() -> [Arg; 2] {
    [
        Arg::new("help")
            .long("help")
            .short('h')
            .action(ArgAction::Help)
            .help("Print this"),
        Arg::new("version")
            .long("version")
            .short('V')
            .action(ArgAction::Version)
            .help("Print the version"),
    ]
}

/// Reads the command line, the program's name first, and the variables that begin
/// with [`PREFIX`].
///
/// # Errors
/// One line: what is wrong, with which value, and what to write instead.
pub(crate) fn read(
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
) -> Result<Invocation, String> {
    let Some(command) = without_options(arguments) else {
        return with_options(arguments, environment);
    };
    let settings = Reader {
        matches: None,
        command: command.iter().collect(),
        environment,
    }
    .settings()?;
    Ok(Invocation::Run(Box::new(settings)))
}

/// The variables that are read, without [`PREFIX`].
const VARIABLES: [&str; 16] = [
    "GRACE",
    "STOP_DELAY",
    "STOP_ON",
    "LEFTOVERS",
    "PROCESS_GROUP",
    "REWRITE",
    "PARENT_DEATH_SIGNAL",
    "REMAP_EXIT",
    "NO_RERAISE",
    "NO_NOTIFY_RELAY",
    "REPORT",
    "REPORT_LIMIT",
    "REHEARSE",
    "LOG_FORMAT",
    "WARN_ON_REAP",
    "LOG",
];

/// Warns of each variable that is not read: it may be a typing error, and then a stop
/// would go by the default.
fn unknown_variables(environment: &[(OsString, OsString)]) -> Vec<String> {
    let names = environment.iter().filter_map(|(name, _)| {
        let name = name.to_string_lossy();
        let rest = name.strip_prefix(PREFIX)?.to_owned();
        // Kubernetes sets these for a service of the name supervise.
        let of_kubernetes = rest.starts_with("SERVICE_") || rest.starts_with("PORT");
        (!of_kubernetes && !VARIABLES.contains(&rest.as_str())).then_some(rest)
    });
    names
        .map(|name| {
            let advice = advice(&name, VARIABLES.into_iter(), PREFIX);
            format!("unknown variable {PREFIX}{name} is ignored; {advice}")
        })
        .collect()
}

/// What may have been meant by a name that is not known.
fn advice<'a>(name: &str, known: impl Iterator<Item = &'a str>, prefix: &str) -> String {
    // One that goes on where a known one ends (GRACE_PERIOD) is near to it.
    let near = |known: &&str| {
        let distance = distance(name, known);
        let longest = name.len().max(known.len());
        name.starts_with(*known) || known.starts_with(name) || distance * 2 < longest
    };
    match known.filter(near).min_by_key(|known| distance(name, known)) {
        Some(known) => format!("did you mean {prefix}{known}?"),
        None => "see supervise --help".to_owned(),
    }
}

/// How many characters have to be put in, left out or replaced to make one of the other.
fn distance(from: &str, to: &str) -> usize {
    // Of the part of `from` that was looked at, to each part of `to`.
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (before, a) in from.chars().enumerate() {
        let mut left = before + 1;
        let mut above_left = before;
        for (above, b) in row.iter_mut().skip(1).zip(to.chars()) {
            let replaced = above_left + usize::from(a != b);
            above_left = *above;
            left = replaced.min(left + 1).min(*above + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = before + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Apart, since the parser's part of the stack would be everybody's.
#[cold]
#[inline(never)]
fn with_options(
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
) -> Result<Invocation, String> {
    match command_line().try_get_matches_from(arguments) {
        Ok(matches) => {
            let settings = Reader {
                matches: Some(&matches),
                command: command_words(&matches),
                environment,
            }
            .settings()
            .map_err(|why| long_with_one_dash(arguments).unwrap_or(why))?;
            Ok(Invocation::Run(Box::new(settings)))
        }
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => Ok(Invocation::Print(error.to_string())),
            ErrorKind::DisplayVersion => Ok(Invocation::Print(version(arguments))),
            ErrorKind::MissingRequiredArgument => Err(no_command(arguments)),
            ErrorKind::UnknownArgument => {
                Err(long_with_one_dash(arguments).unwrap_or_else(|| unknown_option(&error)))
            }
            ErrorKind::InvalidValue => {
                Err(no_value(arguments).unwrap_or_else(|| one_line(&error.to_string())))
            }
            _ => Err(one_line(&error.to_string())),
        },
    }
}

/// Why there is no command: it may have been taken for the value of an option.
fn no_command(arguments: &[OsString]) -> String {
    let taken = match arguments {
        [.., option, value] if takes_value(option) => {
            let (option, value) = (option.to_string_lossy(), value.to_string_lossy());
            Some(format!(": '{value}' was taken as the value of {option}"))
        }
        _ => None,
    };
    format!(
        "no command{}; usage: supervise [OPTIONS] [--] COMMAND [ARG...]",
        taken.unwrap_or_default()
    )
}

/// The option that a word is, if its value is the next word.
fn option_with_value(word: &OsStr) -> Option<Arg> {
    let options = command_line();
    let is_it = |arg: &&Arg| {
        let long = arg.get_long().map(|long| format!("--{long}"));
        let short = arg.get_short().map(|short| format!("-{short}"));
        [long, short].into_iter().flatten().any(|it| *word == *it)
    };
    let arg = options.get_arguments().find(is_it)?;
    matches!(arg.get_action(), ArgAction::Append).then(|| arg.clone())
}

fn takes_value(word: &OsStr) -> bool {
    option_with_value(word).is_some()
}

/// The last word is an option whose value is missing.
fn no_value(arguments: &[OsString]) -> Option<String> {
    let arg = option_with_value(arguments.last()?)?;
    Some(match arg.get_long()? {
        "report" => NO_FILE_NAME.to_owned(),
        long => format!("--{long}: a value is missing; see supervise --help"),
    })
}

const NO_FILE_NAME: &str = "--report: a file name is missing";

/// A long option with a single dash, where the short options that it would stand for
/// are in error: all of them are, except those of `-help`.
fn long_with_one_dash(arguments: &[OsString]) -> Option<String> {
    let options = command_line();
    let mut words = arguments.iter().skip(1);
    while let Some(word) = words.next() {
        let text = word.to_str()?;
        let name = text.strip_prefix('-').filter(|name| *name != "-")?;
        let name = name.split('=').next().unwrap_or_default();
        let mut known = options.get_arguments().filter_map(Arg::get_long);
        if known.any(|long| long == name) {
            return Some(format!("unknown option '-{name}'; did you mean --{name}?"));
        }
        if takes_value(word) {
            words.next();
        }
    }
    None
}

/// What other programs call an option of ours.
const OTHER_NAMES: [(&str, &str); 3] = [
    ("stop-signal", "stop-on"),
    ("timeout", "grace"),
    ("kill-after", "grace"),
];

/// An option that does not exist, and what may have been meant.
fn unknown_option(error: &clap::Error) -> String {
    let name = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => name.as_str(),
        _ => return one_line(&error.to_string()),
    };
    let advice = match name.strip_prefix("--") {
        Some(name) => {
            let known = OTHER_NAMES.iter().find(|(other, _)| *other == name);
            let name = known.map_or(name, |(_, ours)| *ours);
            let options = command_line();
            let known = options.get_arguments().filter_map(Arg::get_long);
            advice(name, known, "--")
        }
        None => "see supervise --help".to_owned(),
    };
    format!("unknown option '{name}'; {advice}")
}

/// The command, where no option stands before it. That is how most containers
/// start, and the parser alone would take longer than all else that we do then.
fn without_options(arguments: &[OsString]) -> Option<&[OsString]> {
    let (_, words) = arguments.split_first()?;
    let (first, rest) = words.split_first()?;
    if first == "--" {
        (!rest.is_empty()).then_some(rest)
    } else {
        (!first.as_bytes().starts_with(b"-")).then_some(words)
    }
}

/// The command as the parser has found it.
fn command_words(matches: &ArgMatches) -> Vec<&OsString> {
    matches.get_many("command").into_iter().flatten().collect()
}

/// The version. Docker asks its init for it and reads a line like tini's.
fn version(arguments: &[OsString]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let called = arguments
        .first()
        .and_then(|name| Path::new(name).file_name());
    if called == Some(OsStr::new("docker-init")) {
        format!("tini version {version} (supervise)\n")
    } else {
        format!("supervise {version}\n")
    }
}

/// The first paragraph of one of clap's messages, as one line.
fn one_line(message: &str) -> String {
    let paragraph = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    let line = words.join(" ");
    format!(
        "{}; see supervise --help",
        line.strip_prefix("error: ").unwrap_or(&line)
    )
}

/// The file of the report and what has named it.
fn report_to(by: String, path: &OsStr) -> Result<Option<ReportPath>, String> {
    if path == "-" {
        return Err(format!("{by}: '-' is not a file; use /dev/stdout"));
    }
    let path = PathBuf::from(path);
    Ok(Some(ReportPath { by, path }))
}

/// Where an option's values come from.
struct Reader<'a> {
    /// The options; `None` where none were typed.
    matches: Option<&'a ArgMatches>,
    command: Vec<&'a OsString>,
    /// Our own variables.
    environment: &'a [(OsString, OsString)],
}

/// One value, and the name of where it was given for the error message.
struct Given {
    by: String,
    value: String,
}

impl Given {
    fn new(by: String, value: &OsStr) -> Result<Self, String> {
        match value.to_str() {
            Some(value) => Ok(Self {
                by,
                value: value.to_owned(),
            }),
            None => Err(format!("{by}: '{}' is not UTF-8", value.to_string_lossy())),
        }
    }

    fn read<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
        parse(&self.value).map_err(|why| format!("{}: {why}", self.by))
    }
}

impl Reader<'_> {
    fn settings(&self) -> Result<Settings, String> {
        let grace = match self.one("grace")? {
            Some(given) => given.read(settings::parse_grace)?,
            None => Grace::For(std::time::Duration::from_secs(30)),
        };

        let stop_delay = match self.one("stop-delay")? {
            Some(given) => given.read(|text| settings::parse_stop_delay(text, grace))?,
            None => std::time::Duration::ZERO,
        };

        let mut rewrite = Vec::new();
        for given in self.list("rewrite")? {
            given
                .read(|text| settings::add_rewrite(&mut rewrite, settings::parse_rewrite(text)?))?;
        }

        let mut stop_on = settings::default_stop_on();
        let mut named = SignalSet::EMPTY;
        for given in self.list("stop-on")? {
            given.read(|text| settings::add_stop_on(&mut stop_on, &mut named, text))?;
        }
        if let Some((signal, _)) = rewrite
            .iter()
            .find(|(from, to)| to.is_none() && named.contains(*from))
        {
            return Err(format!(
                "--stop-on and --rewrite: {signal} cannot be both a stop request and swallowed"
            ));
        }

        let leftovers = match self.one("leftovers")? {
            Some(given) => given.read(settings::parse_leftovers)?,
            None => LeftoverPolicy::Auto,
        };
        let parent_death = match self.one("parent-death-signal")? {
            Some(given) => Some(given.read(settings::parse_signal)?),
            None => None,
        };

        let mut remap = Vec::new();
        for given in self.list("remap-exit")? {
            remap.push(given.read(settings::parse_code)?);
        }

        let notify_relay = !self.switch("no-notify-relay")?;
        let rehearse = match self.one("rehearse")? {
            Some(given) => {
                let typed = self.values("rehearse").is_some();
                Some(given.read(|text| settings::parse_rehearse(text, typed, stop_on, &rewrite))?)
            }
            None => None,
        };
        if !notify_relay && rehearse.is_some_and(|rehearse| rehearse.after.is_none()) {
            return Err(
                "--rehearse ready needs the notifications that --no-notify-relay turns off"
                    .to_owned(),
            );
        }
        let report_limit = match self.one("report-limit")? {
            Some(given) => given.read(settings::parse_report_limit)?,
            None => DEFAULT_LIMIT,
        };
        let log_format = match self.one("log-format")? {
            Some(given) => given.read(settings::parse_log_format)?,
            None => LogFormat::Text,
        };

        let command = self.command()?;
        let hint = self.hint(&command);
        Ok(Settings {
            command,
            grace,
            stop_delay,
            stop_on,
            stop_on_by_default: stop_on.without(named),
            leftovers,
            forward_to: self.forward_to()?,
            rewrite,
            parent_death,
            remap,
            reraise: !self.switch("no-reraise")?,
            notify_relay,
            report: self.report()?,
            report_limit,
            rehearse,
            log_format,
            log: self.log()?,
            warn_on_reap: self.switch("warn-on-reap")?,
            warnings: unknown_variables(self.environment),
            hint,
        })
    }

    /// A path may be any bytes.
    fn report(&self) -> Result<Option<ReportPath>, String> {
        if let Some(path) = self.values("report").and_then(Iterator::last) {
            if *path == *"--" {
                return Err(NO_FILE_NAME.to_owned());
            }
            if path.len() > 1 && path.as_bytes().starts_with(b"-") {
                let path = path.to_string_lossy();
                return Err(format!(
                    "--report: a file name is missing before '{path}'; for a file of that name \
                     use ./{path}"
                ));
            }
            return report_to("--report".to_owned(), path);
        }
        match self.set("report").filter(|path| !path.is_empty()) {
            Some(path) => report_to(variable_name("report"), path),
            None => Ok(None),
        }
    }

    fn forward_to(&self) -> Result<ForwardTo, String> {
        let alone = self.typed("single-child");
        if alone && self.typed("process-group") {
            return Err(
                "--single-child and --process-group cannot be used together; give one of them"
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
        if self.typed("quiet") {
            if verbose > 0 {
                return Err(
                    "--quiet and --verbose cannot be used together; give one of them".to_owned(),
                );
            }
            return Ok("error".to_owned());
        }
        let level = match verbose {
            0 => match self.variable("log")? {
                Some(given) => {
                    given.read(settings::check_log_filter)?;
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
    fn hint(&self, command: &[CString]) -> Option<String> {
        let name = command.first()?.to_str().ok()?;
        (self.typed("subreaper") && Signal::parse(name).is_some()).then(|| {
            format!("-s takes no value; to make {name} a stop request, use --stop-on {name}")
        })
    }

    fn command(&self) -> Result<Vec<CString>, String> {
        self.command
            .iter()
            .map(|word| {
                CString::new(word.as_bytes())
                    .map_err(|_| format!("'{}' has a null byte in it", word.to_string_lossy()))
            })
            .collect()
    }

    /// The values of an option on the command line.
    fn values(&self, id: &str) -> Option<ValuesRef<'_, OsString>> {
        self.matches?.get_many(id)
    }

    /// Whether a switch stands on the command line.
    fn typed(&self, id: &str) -> bool {
        self.matches.is_some_and(|matches| matches.get_flag(id))
    }

    /// Whether a switch is on, by command line or environment.
    fn switch(&self, id: &str) -> Result<bool, String> {
        if self.typed(id) {
            return Ok(true);
        }
        match self.variable(id)? {
            Some(given) => given.read(settings::parse_switch),
            None => Ok(false),
        }
    }

    /// The values of an option that may be given more than once. Each may be
    /// several, separated by commas.
    fn list(&self, id: &str) -> Result<Vec<Given>, String> {
        let split = |given: &Given| -> Vec<Given> {
            given
                .value
                .split(',')
                .map(|value| Given {
                    by: given.by.clone(),
                    value: value.trim().to_owned(),
                })
                .collect()
        };
        Ok(self.given(id)?.iter().flat_map(split).collect())
    }

    /// The value of an option that may be given once.
    fn one(&self, id: &str) -> Result<Option<Given>, String> {
        let mut given = self.given(id)?;
        if given.len() > 1 {
            return Err(format!(
                "--{id} is given {} times; give it once",
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
    fn variable(&self, id: &str) -> Result<Option<Given>, String> {
        let value = self.set(id).filter(|value| !value.is_empty());
        value
            .map(|value| Given::new(variable_name(id), value))
            .transpose()
    }

    /// What an option's environment variable is set to.
    fn set(&self, id: &str) -> Option<&OsString> {
        // Most often there is none at all.
        let (_, value) = self
            .environment
            .iter()
            .find(|(name, _)| *name == *variable_name(id))?;
        Some(value)
    }
}

fn variable_name(id: &str) -> String {
    format!("{PREFIX}{}", id.replace('-', "_").to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;
    use std::time::Duration;

    use clap::parser::ValueSource;
    use proptest::prelude::*;

    use super::*;

    fn read_with(words: &str, environment: &[(&str, &str)]) -> Result<Invocation, String> {
        let arguments: Vec<OsString> = std::iter::once("supervise")
            .chain(words.split(' ').filter(|w| !w.is_empty()))
            .map(Into::into)
            .collect();
        let environment: Vec<(OsString, OsString)> = environment
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        read(&arguments, &environment)
    }

    #[track_caller]
    fn settings_with(words: &str, environment: &[(&str, &str)]) -> Settings {
        match read_with(words, environment) {
            Ok(Invocation::Run(settings)) => *settings,
            other => panic!("{words:?} with {environment:?} gave {other:?}"),
        }
    }

    #[track_caller]
    fn settings(words: &str) -> Settings {
        settings_with(words, &[])
    }

    #[track_caller]
    fn refused(words: &str, environment: &[(&str, &str)]) -> String {
        let why = read_with(words, environment).expect_err(words);
        assert!(!why.contains('\n'), "more than one line: {why:?}");
        why
    }

    fn command_of(settings: &Settings) -> Vec<&str> {
        settings
            .command
            .iter()
            .map(|word| word.to_str().unwrap())
            .collect()
    }

    #[test]
    fn clap_finds_no_fault_with_the_options() {
        command_line().debug_assert();
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let settings = settings("-- cmd");
        assert_eq!(settings.grace, Grace::For(Duration::from_secs(30)));
        assert_eq!(settings.stop_on, settings::default_stop_on());
        assert_eq!(settings.leftovers, LeftoverPolicy::Auto);
        assert_eq!(settings.forward_to, ForwardTo::Command);
        assert!(settings.reraise && settings.notify_relay);
        assert_eq!(settings.log, "warn");
    }

    #[test]
    fn the_commands_own_options_are_its_own() {
        for (words, command) in [
            ("sh -c x", vec!["sh", "-c", "x"]),
            ("-- -x", vec!["-x"]),
            ("-g -- sh -g --grace 5", vec!["sh", "-g", "--grace", "5"]),
            ("-v sh -- x", vec!["sh", "--", "x"]),
            ("sh --help", vec!["sh", "--help"]),
            ("-- -- x", vec!["--", "x"]),
        ] {
            assert_eq!(command_of(&settings(words)), command, "{words}");
        }
    }

    #[test]
    fn words_that_are_not_utf8_reach_the_command() {
        let word = OsString::from_vec(b"\xff\xfe".to_vec());
        let arguments = ["supervise".into(), "cmd".into(), word.clone()];
        let Ok(Invocation::Run(settings)) = read(&arguments, &[]) else {
            panic!("refused");
        };
        assert_eq!(settings.command[1].as_bytes(), word.as_bytes());
    }

    #[test]
    fn tinis_command_lines_work() {
        let settings = settings("-s -s -p SIGKILL -vvv -w -g -g -e 143 -e 1 -- cmd -e 5");
        assert_eq!(settings.parent_death, Some(Signal::KILL));
        assert_eq!(settings.log, "trace");
        assert!(settings.warn_on_reap);
        assert_eq!(settings.forward_to, ForwardTo::Group);
        assert_eq!(settings.remap, [143, 1]);
        assert_eq!(command_of(&settings), ["cmd", "-e", "5"]);
    }

    #[test]
    fn dumb_inits_command_lines_work() {
        let settings = settings("-c -r 15:3 --rewrite 1:0 -v cmd");
        assert_eq!(settings.forward_to, ForwardTo::Command);
        assert_eq!(
            settings.rewrite,
            [(Signal::TERM, Signal::from_number(3)), (Signal::HUP, None)]
        );
        assert_eq!(settings.log, "info");
    }

    #[test]
    fn a_signal_after_s_gets_a_hint() {
        assert!(
            settings("-s INT cmd")
                .hint
                .unwrap()
                .contains("--stop-on INT")
        );
        assert_eq!(settings("-s cmd").hint, None);
        assert_eq!(settings("INT").hint, None);
    }

    #[test]
    fn the_environment_sets_what_the_command_line_does_not() {
        let environment = [
            ("SUPERVISE_GRACE", "5"),
            ("SUPERVISE_STOP_DELAY", "1"),
            ("SUPERVISE_REWRITE", "TERM:QUIT, HUP:0"),
            ("SUPERVISE_STOP_ON", "none,QUIT"),
            ("SUPERVISE_LEFTOVERS", "wait"),
            ("SUPERVISE_PROCESS_GROUP", "yes"),
            ("SUPERVISE_PARENT_DEATH_SIGNAL", "TERM"),
            ("SUPERVISE_REMAP_EXIT", "143,130"),
            ("SUPERVISE_NO_RERAISE", "1"),
            ("SUPERVISE_NO_NOTIFY_RELAY", "1"),
            ("SUPERVISE_WARN_ON_REAP", "on"),
            ("SUPERVISE_REPORT_LIMIT", "2048"),
            ("SUPERVISE_LOG", "debug"),
        ];
        let all = settings_with("cmd", &environment);
        assert_eq!(all.grace, Grace::For(Duration::from_secs(5)));
        assert_eq!(all.stop_delay, Duration::from_secs(1));
        assert_eq!(all.rewrite.len(), 2);
        assert!(!all.stop_on.contains(Signal::TERM));
        assert_eq!(all.leftovers, LeftoverPolicy::Wait);
        assert_eq!(all.forward_to, ForwardTo::Group);
        assert_eq!(all.parent_death, Some(Signal::TERM));
        assert_eq!(all.remap, [143, 130]);
        assert!(!all.reraise && !all.notify_relay && all.warn_on_reap);
        assert_eq!(all.log, "debug");
        assert_eq!(all.report_limit, 2048);

        let typed = settings_with(
            "-t 7 -c -e 1 -q --stop-on HUP -r USR1:USR2 cmd",
            &environment,
        );
        assert_eq!(typed.grace, Grace::For(Duration::from_secs(7)));
        assert_eq!(typed.forward_to, ForwardTo::Command);
        assert_eq!(typed.remap, [1]);
        assert_eq!(typed.log, "error");
        assert!(
            typed.stop_on.contains(Signal::TERM),
            "the list is replaced, not added to"
        );
        assert_eq!(typed.rewrite.len(), 1);
    }

    #[test]
    fn every_option_but_the_compatible_ones_has_its_variable_in_the_help() {
        let help = command_line().render_help().to_string();
        for arg in command_line().get_arguments() {
            let id = arg.get_id().as_str();
            let without = [
                "single-child",
                "subreaper",
                "verbose",
                "quiet",
                "help",
                "version",
                "command",
            ];
            if !without.contains(&id) {
                let variable = format!("[env: {}]", variable_name(id));
                assert!(help.contains(&variable), "{variable} is not in the help");
            }
        }
    }

    #[test]
    fn every_variable_in_the_help_is_known_and_no_other() {
        let help = command_line().render_help().to_string();
        let words = help.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        let mut named: Vec<&str> = words.filter_map(|word| word.strip_prefix(PREFIX)).collect();
        let mut known = VARIABLES.to_vec();
        known.sort_unstable();
        named.sort_unstable();
        named.dedup();
        assert_eq!(known, named);
    }

    #[test]
    fn an_unknown_variable_is_warned_of_with_the_nearest_one() {
        let warnings = |name: &str| settings_with("cmd", &[(name, "8")]).warnings;
        for (name, nearest) in [
            ("SUPERVISE_GRACE_PERIOD", "SUPERVISE_GRACE?"),
            ("SUPERVISE_GRAZE", "SUPERVISE_GRACE?"),
            ("SUPERVISE_LEFTOVER", "SUPERVISE_LEFTOVERS?"),
            ("SUPERVISE_STOPDELAY", "SUPERVISE_STOP_DELAY?"),
            ("SUPERVISE_REPORTS", "SUPERVISE_REPORT?"),
        ] {
            let expected = format!("unknown variable {name} is ignored; did you mean {nearest}");
            assert_eq!(warnings(name), [expected]);
        }
        let expected = "unknown variable SUPERVISE_QQQQ is ignored; see supervise --help";
        assert_eq!(warnings("SUPERVISE_QQQQ"), [expected]);
        for name in [
            "SUPERVISE_GRACE",
            "SUPERVISE_SERVICE_HOST",
            "SUPERVISE_SERVICE_PORT_HTTP",
            "SUPERVISE_PORT",
            "SUPERVISE_PORT_80_TCP_ADDR",
        ] {
            assert_eq!(warnings(name), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn distances_are_counted() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("grace", "grace", 0),
            ("graze", "grace", 1),
            ("gracce", "grace", 1),
            ("grac", "grace", 1),
            ("kitten", "sitting", 3),
            ("abc", "xyz", 3),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let environment = [
            ("SUPERVISE_GRACE", ""),
            ("SUPERVISE_LOG", ""),
            ("SUPERVISE_PROCESS_GROUP", ""),
        ];
        assert_eq!(settings_with("cmd", &environment), settings("cmd"));
    }

    #[test]
    fn bad_input_is_refused_with_its_name_and_value() {
        for (words, expected) in [
            ("", "no command"),
            ("-t -5 cmd", "--grace: '-5'"),
            ("-t x cmd", "--grace: 'x'"),
            ("-t 1 -t 2 cmd", "--grace is given 2 times"),
            ("--stop-delay 30 cmd", "--stop-delay: '30' must be shorter"),
            (
                "--stop-delay 40 cmd",
                "of which it is a part; raise --grace or shorten the delay",
            ),
            (
                "-t 0 --stop-delay 1 cmd",
                "--stop-delay: '1' must be shorter",
            ),
            (
                "-t infinity --stop-delay x cmd",
                "--stop-delay: 'x' is not a duration",
            ),
            ("--stop-on NOPE cmd", "--stop-on: 'NOPE'"),
            (
                "--stop-on KILL cmd",
                "--stop-on: SIGKILL cannot be caught; name another signal",
            ),
            (
                "-r CHLD:TERM cmd",
                "SIGCHLD is reserved for reaping children; name another signal",
            ),
            ("--stop-on HUP -r HUP:0 cmd", "SIGHUP"),
            ("-r TERM cmd", "--rewrite: 'TERM'"),
            ("-r TERM:INT -r TERM:QUIT cmd", "SIGTERM"),
            ("--leftovers keep cmd", "--leftovers: 'keep'"),
            ("-g -c cmd", "cannot be used together; give one of them"),
            ("-q -v cmd", "cannot be used together; give one of them"),
            ("-e 256 cmd", "--remap-exit: '256'"),
            ("--report-limit 1023 cmd", "--report-limit: '1023'"),
            ("-p NOPE cmd", "--parent-death-signal: 'NOPE'"),
        ] {
            let why = refused(words, &[]);
            assert!(why.contains(expected), "{words}: {why}");
        }
    }

    #[test]
    fn what_is_no_option_or_has_no_value_gets_advice() {
        for (words, expected) in [
            ("--nonsense cmd", "--nonsense"),
            ("-Z cmd", "-Z"),
            ("-t", "--grace: a value is missing"),
            ("--graze 5 cmd", "'--graze'; did you mean --grace?"),
            ("--graze=5 cmd", "'--graze'; did you mean --grace?"),
            ("--stop_on=5 cmd", "'--stop_on'; did you mean --stop-on?"),
            ("--xyz cmd", "'--xyz'; see supervise --help"),
            (
                "--stop-signal INT cmd",
                "unknown option '--stop-signal'; did you mean --stop-on?",
            ),
            (
                "--timeout=5 cmd",
                "unknown option '--timeout'; did you mean --grace?",
            ),
            (
                "--kill-after 5 cmd",
                "unknown option '--kill-after'; did you mean --grace?",
            ),
            (
                "-grace 5 cmd",
                "unknown option '-grace'; did you mean --grace?",
            ),
            (
                "-t 5 -stop-on=INT cmd",
                "unknown option '-stop-on'; did you mean --stop-on?",
            ),
            (
                "-quiet cmd",
                "unknown option '-quiet'; did you mean --quiet?",
            ),
            ("-t x cmd -grace", "--grace: 'x'"),
            ("-t x -- -grace", "--grace: 'x'"),
            ("-g -t -grace cmd", "--grace: '-grace'"),
            ("-Z cmd", "'-Z'; see supervise --help"),
            (
                "--rehearse ./server",
                "'./server' was taken as the value of --rehearse",
            ),
            ("-t sleep", "'sleep' was taken as the value of -t"),
            ("-v", "no command; usage"),
            ("-v -v", "no command; usage"),
            (
                "--rehearse ./server x",
                "--rehearse: './server' was taken for the duration",
            ),
            ("--report -- cmd", "--report: a file name is missing"),
            ("--report", "--report: a file name is missing"),
            (
                "--report - cmd",
                "--report: '-' is not a file; use /dev/stdout",
            ),
            (
                "--rehearse infinity cmd",
                "--rehearse: 'infinity' never requests a stop; use for example 5s or ready",
            ),
            ("--report -v cmd", "use ./-v"),
            ("-e -- cmd", "--remap-exit: a value is missing before '--'"),
        ] {
            let why = refused(words, &[]);
            assert!(why.contains(expected), "{words}: {why}");
        }
    }

    #[test]
    fn bad_variables_are_refused_and_the_whole_line_says_what_to_do() {
        for (variable, value) in [
            ("SUPERVISE_GRACE", "-1"),
            ("SUPERVISE_PROCESS_GROUP", "maybe"),
            ("SUPERVISE_LOG", "no=such=filter"),
            ("SUPERVISE_LOG", "nonsense"),
            ("SUPERVISE_STOP_ON", "TERM,,INT"),
        ] {
            let why = refused("cmd", &[(variable, value)]);
            assert!(why.starts_with(variable), "{variable}: {why}");
        }
        for (words, environment, expected) in [
            (
                "cmd",
                &[("SUPERVISE_REHEARSE", "./x")][..],
                "SUPERVISE_REHEARSE: './x' is not a duration; use for example 5s or ready",
            ),
            ("--report -- cmd", &[], "--report: a file name is missing"),
            ("--report", &[], "--report: a file name is missing"),
            (
                "cmd",
                &[("SUPERVISE_REPORT", "-")],
                "SUPERVISE_REPORT: '-' is not a file; use /dev/stdout",
            ),
            (
                "cmd",
                &[("SUPERVISE_LOG", "foo")],
                "SUPERVISE_LOG: 'foo' is neither a level nor a module of this program; use error, \
                 warn, info, debug or off",
            ),
        ] {
            assert_eq!(refused(words, environment), expected);
        }
        let empty = ["supervise", "--rehearse", "", "cmd"].map(OsString::from);
        assert_eq!(
            read(&empty, &[]),
            Err("--rehearse: '' is not a duration; use for example 5s or ready".to_owned())
        );
    }

    proptest! {
        #[test]
        fn the_parser_agrees_with_what_is_read_without_it(
            words in proptest::collection::vec(
                proptest::sample::select(vec!["--", "-", "", "-v", "--help", "-t", "-t5", "cmd", "a b", "-Z"]),
                0..5,
            )
        ) {
            let arguments: Vec<OsString> =
                std::iter::once("supervise").chain(words).map(Into::into).collect();
            if let Some(command) = without_options(&arguments) {
                let matches = command_line().try_get_matches_from(&arguments).unwrap();
                prop_assert_eq!(command_words(&matches), command.iter().collect::<Vec<_>>());
                let typed = matches.ids().filter(|id| {
                    matches.value_source(id.as_str()) == Some(ValueSource::CommandLine)
                });
                prop_assert_eq!(typed.map(clap::Id::as_str).collect::<Vec<_>>(), ["command"]);
            }
        }
    }

    #[test]
    fn docker_can_read_the_version_of_its_init() {
        let version_of = |name: &str| match read(&[name.into(), "--version".into()], &[]) {
            Ok(Invocation::Print(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(version_of("/sbin/docker-init").starts_with("tini version "));
        assert!(version_of("/supervise").starts_with("supervise "));
    }
}
