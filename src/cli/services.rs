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
        let paths = self.values("services").into_iter().flatten();
        let paths = paths.map(|path| file_name("services", path).map(PathBuf::from));
        let paths = paths.collect::<Result<_, _>>()?;
        self.refuse_for_services()?;
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
        Ok((paths, given, self.general()?))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::read;
    use super::*;
    use crate::decide::rules::Grace;
    use crate::settings::services::Prefix;
    use crate::signal::Signal;

    /// A file of services, removed with the value.
    struct File(PathBuf);

    impl File {
        fn new(name: &str, text: &str) -> Self {
            let name = format!("supervise-cli-{}-{name}.toml", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, text).unwrap();
            Self(path)
        }

        /// Reads these words, of which FILE is this file.
        fn read(
            &self,
            words: &str,
            environment: &[(&str, &str)],
        ) -> Result<Invocation, Vec<String>> {
            let path = self.0.to_str().unwrap();
            let words = words.split(' ').map(|word| match word {
                "FILE" => path.to_owned(),
                word => word.to_owned(),
            });
            let arguments = std::iter::once("supervise".to_owned()).chain(words);
            let arguments: Vec<OsString> = arguments.map(Into::into).collect();
            let environment: Vec<(OsString, OsString)> = environment
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect();
            read(&arguments, &environment)
        }

        #[track_caller]
        fn run(&self, words: &str, environment: &[(&str, &str)]) -> ServicesRun {
            match self.read(words, environment) {
                Ok(Invocation::Services(run)) => *run,
                other => panic!("{words:?} with {environment:?} gave {other:?}"),
            }
        }

        #[track_caller]
        fn refused(&self, words: &str, environment: &[(&str, &str)]) -> String {
            let lines = self.read(words, environment).expect_err(words);
            assert_eq!(lines.len(), 1, "{words}: {lines:?}");
            lines.concat()
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    const WHOLE: &str = "grace = 5\nstop_delay = 1\nstop_on = 'HUP'\n";

    const SERVICE: &str = "[services.a]\ncommand = ['/bin/sh']\n";

    #[test]
    fn the_option_precedes_the_variable_and_that_the_file() {
        let whole = File::new("precedence", &format!("{WHOLE}{SERVICE}"));
        let environment = [
            ("SUPERVISE_GRACE", "6"),
            ("SUPERVISE_STOP_DELAY", "2"),
            ("SUPERVISE_STOP_ON", "USR1,USR2"),
        ];
        let seconds = Duration::from_secs;
        for (words, environment, grace, delay, signal) in [
            ("-f FILE", &[][..], 5, 1, Signal::HUP),
            ("-f FILE", &environment, 6, 2, Signal::USR2),
            (
                "-f FILE -t 7 --stop-delay 3 --stop-on WINCH",
                &environment,
                7,
                3,
                Signal::WINCH,
            ),
        ] {
            let run = whole.run(words, environment);
            assert_eq!(run.services.grace, Grace::For(seconds(grace)));
            assert_eq!(run.services.stop_delay, seconds(delay));
            assert!(run.services.stop_on.contains(signal), "{words}");
            assert_eq!(run.services.stop_on.contains(Signal::HUP), grace == 5);
            assert_eq!(run.services.prefix, Prefix::Auto);
            assert_eq!(run.status_file, None);
        }
        // The default of a single command is not one here.
        let alone = File::new("alone", SERVICE);
        assert!(
            alone
                .refused("-f FILE", &[])
                .starts_with("no grace period is set")
        );
        let run = alone.run("--grace infinity -f FILE", &[]);
        assert_eq!(run.services.grace, Grace::Infinite);
        assert_eq!(run.rules, services::rules(&run.services).unwrap());
    }

    #[test]
    fn what_is_no_stop_is_read_as_with_a_command() {
        let file = File::new("general", &format!("{WHOLE}{SERVICE}"));
        let words =
            "-f FILE -v -w -s -p TERM --log-format json --status-file x --leftovers stop --";
        let run = file.run(words, &[("SUPERVISE_QQQQ", "1")]);
        assert_eq!((&*run.run.log, run.run.warn_on_reap), ("info", true));
        assert_eq!(run.run.parent_death, Some(Signal::TERM));
        assert_eq!(run.run.log_format, crate::settings::LogFormat::Json);
        assert_eq!(run.status_file, Some("x".into()));
        let unknown = "unknown variable SUPERVISE_QQQQ is ignored; see supervise --help";
        assert_eq!(run.run.warnings.first().unwrap(), unknown);
    }

    #[test]
    fn variables_about_a_command_are_ignored() {
        let file = File::new("ignored", &format!("{WHOLE}{SERVICE}"));
        let environment = [
            ("SUPERVISE_PROCESS_GROUP", "maybe"),
            ("SUPERVISE_REWRITE", "x"),
            ("SUPERVISE_REMAP_EXIT", "x"),
            ("SUPERVISE_NO_RERAISE", "1"),
            ("SUPERVISE_NO_NOTIFY_RELAY", "1"),
            ("SUPERVISE_LEFTOVERS", "wait"),
        ];
        assert_eq!(file.run("-f FILE", &environment), file.run("-f FILE", &[]));
    }

    #[test]
    fn hints_and_scaled_periods_are_warnings() {
        let text = "grace = 4\n[services.a]\ncommand = ['/bin/sh', 'nginx']\ndepends_on = ['b']\n\
                    stop_grace_period = 4\n[services.b]\ncommand = ['/bin/ls', '$HOME']\n";
        let file = File::new("warnings", text);
        let run = file.run("-f FILE", &[]);
        assert_eq!(run.services.warnings, Vec::<String>::new());
        let warnings: Vec<&str> = run.run.warnings.iter().map(String::as_str).collect();
        let expected = "stop_grace_period: those of a add up to 4s, but may take 2s; all are scaled \
                        by 0.50; raise the grace period or lower them";
        let [bare, scaled, ..] = &warnings[..] else {
            panic!("{warnings:?}");
        };
        assert!(
            bare.contains(":7:23: a $NAME in this word is not replaced"),
            "{bare}"
        );
        assert_eq!(*scaled, expected);
    }

    #[test]
    fn a_notification_socket_is_warned_of() {
        let with = |name: &str, value: &str| {
            let mut world = World::current();
            world.variables = vec![(name.into(), value.into())];
            about_the_service_manager(&world).is_some()
        };
        assert!(with("NOTIFY_SOCKET", "/run/x"));
        assert!(!with("NOTIFY_SOCKET", ""));
        assert!(!with("NOTIFY_SOCKETS", "/run/x"));
    }

    #[test]
    fn the_state_is_asked_for_alone() {
        let file = File::new("status", SERVICE);
        for (words, path) in [
            ("--status", None),
            ("--status x", Some("x")),
            ("--status=x", Some("x")),
            ("--status --", None),
        ] {
            let expected = Invocation::Status(path.map(PathBuf::from));
            let environment = [("SUPERVISE_GRACE", "nonsense")];
            assert_eq!(file.read(words, &environment), Ok(expected), "{words}");
        }
        for (words, other) in [
            ("--status x y", "a command"),
            ("--status -v", "--verbose"),
            ("--status --check", "--check"),
            ("--status -f FILE", "--services"),
            ("--status-file x --status", "--status-file"),
        ] {
            let expected = format!("--status and {other} cannot be used together");
            let why = file.refused(words, &[]);
            assert!(why.starts_with(&expected), "{words}: {why}");
        }
        let why = file.refused("--status=", &[]);
        assert_eq!(why, "--status: a file name is missing");
        let why = file.refused("--status a --status b", &[]);
        assert_eq!(why, "--status is given twice; use it once");
    }

    #[test]
    fn what_does_not_go_with_services_is_refused() {
        let file = File::new("refused", &format!("{WHOLE}{SERVICE}"));
        for (words, expected) in [
            (
                "-f FILE cmd",
                "a command yet; remove 'cmd', or use --services before",
            ),
            ("-f FILE -- cmd", "a command yet; remove 'cmd'"),
            ("-f FILE FILE", "or use --services before each file"),
            (
                "-f FILE -g",
                "--process-group is about a command and cannot be used with",
            ),
            ("-f FILE -c", "--single-child is about a command"),
            ("-f FILE -r HUP:0", "--rewrite is about a command"),
            ("-f FILE -e 143", "--remap-exit is about a command"),
            ("-f FILE --no-reraise", "--no-reraise is about a command"),
            (
                "-f FILE --no-notify-relay",
                "--no-notify-relay is about a command",
            ),
            (
                "-f FILE --report x",
                "--report is not supported with --services yet; remove it",
            ),
            (
                "-f FILE --report-limit 2000",
                "--report-limit is not supported",
            ),
            ("-f FILE --rehearse ready", "--rehearse is not supported"),
            ("-f FILE --prefix always", "--prefix is not supported yet"),
            (
                "-f FILE --leftovers wait",
                "are always stopped; use stop or remove it",
            ),
            ("-f FILE --leftovers leave", "are always stopped"),
            (
                "-f FILE --leftovers keep",
                "--leftovers: 'keep' is not a policy",
            ),
            ("-f FILE -t x", "--grace: 'x'"),
            (
                "-f FILE --stop-delay 5",
                "--stop-delay: '5s' must be shorter",
            ),
            ("-f FILE --stop-on x", "--stop-on: 'x'"),
            (
                "-f FILE -q -v",
                "--quiet and --verbose cannot be used together",
            ),
            (
                "-f FILE --status-file x --status-file y",
                "--status-file is given twice",
            ),
            (
                "-f FILE --status-file",
                "--status-file: a file name is missing",
            ),
            ("-f", "--services: a file name is missing"),
            ("-f -- FILE", "--services: a file name is missing"),
            (
                "-f -v FILE",
                "missing before '-v'; for a file of that name use ./-v",
            ),
            (
                "--check",
                "--check needs files of services; use --services FILE",
            ),
            ("--check cmd", "--check needs files of services"),
            (
                "--status-file x cmd",
                "--status-file needs files of services",
            ),
        ] {
            let why = file.refused(words, &[]);
            assert!(why.contains(expected), "{words}: {why}");
        }
        for (variable, value) in [
            ("SUPERVISE_REPORT", "x"),
            ("SUPERVISE_REHEARSE", "ready"),
            ("SUPERVISE_GRACE", "x"),
            ("SUPERVISE_STOP_ON", "x"),
        ] {
            let why = file.refused("-f FILE", &[(variable, value)]);
            assert!(why.starts_with(variable), "{why}");
        }
    }

    #[test]
    fn every_error_in_the_files_is_a_line() {
        let file = File::new(
            "errors",
            "grace = 5\n[services.a]\ncomand = 1\nrestart = 1\n",
        );
        for words in ["-f FILE", "-f FILE --check"] {
            let lines = file.read(words, &[]).unwrap_err();
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert!(
                lines
                    .iter()
                    .any(|line| line.contains(":3:1: unknown key 'comand'"))
            );
        }
    }

    #[test]
    fn the_check_prints_the_plan_with_the_grace_period_of_the_options() {
        let text = "[services.a]\ncommand = ['/nothing']\n";
        let file = File::new("check", text);
        let Ok(Invocation::Print(text)) = file.read("--check -t 7 -f FILE", &[]) else {
            panic!("refused");
        };
        assert!(text.contains("\nSIGKILL after 7s\n"), "{text}");
        assert!(text.contains("program '/nothing' does not exist"), "{text}");
        assert!(
            file.refused("-f FILE --check", &[])
                .contains("no grace period")
        );
    }
}
