//! The command line and the environment, read into [`Settings`].

mod advice;
mod check;
mod help;
mod options;
mod reader;
mod services;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::settings::{ServicesRun, Settings};
pub(crate) use options::PREFIX;
use options::{Kind, Opt};
use reader::Reader;

/// What the command line requests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// Run a command.
    Run(Box<Settings>),
    /// Run several services.
    Services(Box<ServicesRun>),
    /// Print the state of the services, from this status file.
    Status(Option<PathBuf>),
    /// Print this to stdout.
    Print(String),
}

/// The parser of the command line. It knows no texts, see [`help`].
fn parser() -> Command {
    let command = Arg::new("command")
        .required_unless_present_any(services::INSTEAD_OF_COMMAND)
        .num_args(1..)
        .trailing_var_arg(true)
        .value_parser(value_parser!(OsString));
    Command::new("supervise")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(options::all().map(argument))
        .arg(command)
}

/// An option, as the parser wants it.
fn argument(option: &Opt) -> Arg {
    let argument = Arg::new(option.long).long(option.long).short(option.short);
    match option.kind {
        Kind::Switch => argument
            .action(ArgAction::SetTrue)
            .overrides_with(option.long),
        Kind::Count => argument.action(ArgAction::Count),
        Kind::Value(name) | Kind::List(name) => argument
            .value_name(name)
            .value_parser(value_parser!(OsString))
            // So that a negative number gets our words, not "unknown option".
            .allow_hyphen_values(true)
            .action(ArgAction::Append),
        Kind::Optional(name) => argument
            .value_name(name)
            .value_parser(value_parser!(OsString))
            .num_args(0..=1)
            .action(ArgAction::Append),
        Kind::Help => argument.action(ArgAction::Help),
        Kind::Version => argument.action(ArgAction::Version),
    }
}

/// Reads the command line, the program's name first, and the variables that begin
/// with [`PREFIX`].
///
/// # Errors
/// Lines, more than one only about files of services: what is wrong, with which value, and
/// what to use instead.
pub(crate) fn read(
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
) -> Result<Invocation, Vec<String>> {
    let Some(command) = without_options(arguments) else {
        return with_options(arguments, environment);
    };
    let settings = Reader {
        matches: None,
        command: command.iter().collect(),
        environment,
    }
    .settings()
    .map_err(|why| vec![why])?;
    Ok(Invocation::Run(Box::new(settings)))
}

/// A function of its own: otherwise each start would reserve the parser's part of the stack.
#[cold]
#[inline(never)]
fn with_options(
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
) -> Result<Invocation, Vec<String>> {
    let matches = match parser().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return instead_of_a_run(arguments, &error).map_err(|why| vec![why]),
    };
    let reader = Reader {
        matches: Some(&matches),
        command: command_words(&matches),
        environment,
    };
    if services::are_meant(&matches) {
        return reader.services();
    }
    let settings = reader.settings();
    let settings = settings.map_err(|why| {
        let advice = advice::long_with_one_dash(arguments);
        vec![advice.unwrap_or(why)]
    })?;
    Ok(Invocation::Run(Box::new(settings)))
}

/// What the parser found instead of a command to run.
fn instead_of_a_run(arguments: &[OsString], error: &clap::Error) -> Result<Invocation, String> {
    let advice = match error.kind() {
        ErrorKind::DisplayHelp => return Ok(Invocation::Print(help::text())),
        ErrorKind::DisplayVersion => return Ok(Invocation::Print(version(arguments))),
        ErrorKind::MissingRequiredArgument => Some(advice::no_command(arguments)),
        ErrorKind::UnknownArgument => {
            advice::long_with_one_dash(arguments).or_else(|| advice::unknown_option(error))
        }
        ErrorKind::InvalidValue => advice::no_value(arguments),
        _ => None,
    };
    Err(advice.unwrap_or_else(|| advice::one_line(&error.to_string())))
}

/// Returns the command if no option stands before it. Most containers start that way, and
/// the parser alone would take longer than the rest of the start.
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

/// The version. Docker reads that of its init from a line like tini's.
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

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;
    use std::time::Duration;

    use clap::parser::ValueSource;
    use proptest::prelude::*;

    use super::*;
    use crate::decide::rules::{Grace, LeftoverPolicy};
    use crate::settings::{ForwardTo, values};
    use crate::signal::Signal;

    fn read_with(words: &str, environment: &[(&str, &str)]) -> Result<Invocation, String> {
        let arguments: Vec<OsString> = std::iter::once("supervise")
            .chain(words.split(' ').filter(|w| !w.is_empty()))
            .map(Into::into)
            .collect();
        let environment: Vec<(OsString, OsString)> = environment
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        read(&arguments, &environment).map_err(|lines| lines.join("\n"))
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
            .argv
            .iter()
            .map(|word| word.to_str().unwrap())
            .collect()
    }

    #[test]
    fn clap_finds_no_fault_with_the_options() {
        parser().debug_assert();
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let settings = settings("-- cmd");
        assert_eq!(settings.run.grace, Grace::For(Duration::from_secs(30)));
        assert_eq!(settings.run.stop_on, values::default_stop_on());
        assert_eq!(settings.command.leftovers, LeftoverPolicy::Auto);
        assert_eq!(settings.command.forward_to, ForwardTo::Command);
        assert!(settings.command.reraise && settings.command.notify_relay);
        assert_eq!(settings.run.log, "warn");
    }

    #[test]
    fn the_table_of_options_has_the_defaults_and_the_variables() {
        let mut defaults = vec!["supervise".into()];
        for option in options::all() {
            let default = option
                .default
                .map(|value| format!("--{}={value}", option.long));
            defaults.extend(default.map(OsString::from));
            let variable = options::variable_name(option.long);
            assert!(options::is_variable_of(variable.as_bytes(), option.long));
            let of_another = format!("{variable}S");
            assert!(!options::is_variable_of(of_another.as_bytes(), option.long));
            let (name, value) = (variable.as_str(), "\u{1}");
            let is_read = match read_with("cmd", &[(name, value)]) {
                Ok(Invocation::Run(settings)) => settings.run.warnings.is_empty(),
                _ => true,
            };
            assert_eq!(is_read, option.variable, "{variable}");
        }
        assert!(defaults.len() > 4);
        defaults.push("cmd".into());
        let Ok(Invocation::Run(read)) = read(&defaults, &[]) else {
            panic!("{defaults:?} are refused");
        };
        assert_eq!(*read, settings("cmd"));
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
        assert_eq!(settings.command.argv[1].as_bytes(), word.as_bytes());
    }

    #[test]
    fn tinis_command_lines_work() {
        let settings = settings("-s -s -p SIGKILL -vvv -w -g -g -e 143 -e 1 -- cmd -e 5");
        assert_eq!(settings.run.parent_death, Some(Signal::KILL));
        assert_eq!(settings.run.log, "trace");
        assert!(settings.run.warn_on_reap);
        assert_eq!(settings.command.forward_to, ForwardTo::Group);
        assert_eq!(settings.command.remap, [143, 1]);
        assert_eq!(command_of(&settings), ["cmd", "-e", "5"]);
    }

    #[test]
    fn dumb_inits_command_lines_work() {
        let settings = settings("-c -r 15:3 --rewrite 1:0 -v cmd");
        assert_eq!(settings.command.forward_to, ForwardTo::Command);
        assert_eq!(
            settings.command.rewrite,
            [(Signal::TERM, Signal::from_number(3)), (Signal::HUP, None)]
        );
        assert_eq!(settings.run.log, "info");
    }

    #[test]
    fn a_signal_after_s_gets_a_hint() {
        assert!(
            settings("-s INT cmd")
                .command
                .hint
                .unwrap()
                .contains("--stop-on INT")
        );
        assert_eq!(settings("-s cmd").command.hint, None);
        assert_eq!(settings("INT").command.hint, None);
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
        assert_eq!(all.run.grace, Grace::For(Duration::from_secs(5)));
        assert_eq!(all.run.stop_delay, Duration::from_secs(1));
        assert_eq!(all.command.rewrite.len(), 2);
        assert!(!all.run.stop_on.contains(Signal::TERM));
        assert_eq!(all.command.leftovers, LeftoverPolicy::Wait);
        assert_eq!(all.command.forward_to, ForwardTo::Group);
        assert_eq!(all.run.parent_death, Some(Signal::TERM));
        assert_eq!(all.command.remap, [143, 130]);
        assert!(!all.command.reraise && !all.command.notify_relay && all.run.warn_on_reap);
        assert_eq!(all.run.log, "debug");
        assert_eq!(all.run.report_limit, 2048);

        let typed = settings_with(
            "-t 7 -c -e 1 -q --stop-on HUP -r USR1:USR2 cmd",
            &environment,
        );
        assert_eq!(typed.run.grace, Grace::For(Duration::from_secs(7)));
        assert_eq!(typed.command.forward_to, ForwardTo::Command);
        assert_eq!(typed.command.remap, [1]);
        assert_eq!(typed.run.log, "error");
        assert!(
            typed.run.stop_on.contains(Signal::TERM),
            "the list is replaced, not added to"
        );
        assert_eq!(typed.command.rewrite.len(), 1);
    }

    #[test]
    fn an_unknown_variable_is_warned_of_with_the_nearest_one() {
        let warnings = |name: &str| settings_with("cmd", &[(name, "8")]).run.warnings;
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
                "--stop-on: SIGKILL cannot be caught; use another signal",
            ),
            (
                "-r CHLD:TERM cmd",
                "SIGCHLD is reserved for reaping children; use another signal",
            ),
            ("--stop-on HUP -r HUP:0 cmd", "SIGHUP"),
            ("-r TERM cmd", "--rewrite: 'TERM'"),
            ("-r TERM:INT -r TERM:QUIT cmd", "SIGTERM"),
            ("--leftovers keep cmd", "--leftovers: 'keep'"),
            ("-g -c cmd", "cannot be used together; use one of them"),
            ("-q -v cmd", "cannot be used together; use one of them"),
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
            Err(vec![
                "--rehearse: '' is not a duration; use for example 5s or ready".to_owned()
            ])
        );
    }

    #[test]
    fn help_is_printed() {
        for words in ["-h", "--help", "-t x --help -Z"] {
            let read = read_with(words, &[]);
            assert_eq!(read, Ok(Invocation::Print(help::text())), "{words}");
        }
    }

    #[test]
    fn no_parser_runs_without_options() {
        let none: [&str; 0] = [];
        for (words, command) in [
            (&["cmd"][..], Some(&["cmd"][..])),
            (&["cmd", "--", "-v"], Some(&["cmd", "--", "-v"])),
            (&["--", "-v"], Some(&["-v"])),
            (&[""], Some(&[""])),
            (&["--"], None),
            (&["-v", "cmd"], None),
            (&["-"], None),
            (&none, None),
        ] {
            let arguments = std::iter::once(&"supervise").chain(words);
            let arguments: Vec<OsString> = arguments.map(Into::into).collect();
            let found = without_options(&arguments);
            assert_eq!(
                found.map(<[_]>::to_vec),
                command.map(|c| c.iter().map(Into::into).collect())
            );
        }
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
                let matches = parser().try_get_matches_from(&arguments).unwrap();
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
