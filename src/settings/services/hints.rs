//! Hints about programs that are known: never more than a hint, because their configuration
//! may say otherwise.

use std::ffi::CStr;

use super::{Command, Purpose, Service, Services};
use crate::settings::known_programs::{Foreground, Program, known};
use crate::signal::Signal;

/// The hints for all services, a line each. What depends on the configuration of a program
/// is said only when the files are checked.
pub(crate) fn hints(services: &Services, purpose: Purpose) -> Vec<String> {
    let hints = services.list.iter();
    hints
        .flat_map(|service| of_service(service, purpose))
        .collect()
}

/// What to add to this command so that the program stays in the foreground, if it is known.
pub(crate) fn foreground_switch(command: &Command) -> Option<&'static str> {
    let (_, program) = program_of(command)?;
    Some(program.foreground.as_ref()?.add)
}

fn of_service(service: &Service, purpose: Purpose) -> Vec<String> {
    let Some((program, known)) = program_of(&service.command) else {
        return Vec::new();
    };
    let name = &service.name;
    let argument = |word: &str| has_word(&service.command, word);
    let mut hints = Vec::new();
    if let Some(stop) = &known.stop {
        let signal = stop.signal;
        // With this option of uwsgi SIGTERM is as good as SIGINT.
        let dies_on_term = argument("--die-on-term") && service.stop_signal == Signal::TERM;
        if Signal::parse(signal) != Some(service.stop_signal) && !dies_on_term {
            let why = if service.stop_signal == Signal::TERM {
                format!("on SIGTERM {program} {}", stop.on_term)
            } else {
                let set = service.stop_signal;
                format!("{set} is not the signal that stops {program} properly")
            };
            hints.push(format!("{name}: {why}; use stop_signal = \"{signal}\""));
        }
        if let (Purpose::Check, Some(also)) = (purpose, stop.also) {
            hints.push(format!("{name}: to stop {program} properly, {also}"));
        }
    }
    if let (Purpose::Check, Some(foreground)) = (purpose, &known.foreground) {
        let is_given = |foreground: &Foreground| {
            let mut words = foreground.words.iter();
            words.any(|word| argument(word))
        };
        if foreground.is_needed && !is_given(foreground) {
            let add = foreground.add;
            hints.push(format!(
                "{name}: {program} may put itself in the background, and then counts as exited; add \
                 {add}"
            ));
        }
    }
    hints
}

/// The program that a command runs if it is known, and the name by which it is. The scripts
/// that images start with run their arguments.
fn program_of(command: &Command) -> Option<(&str, &'static Program)> {
    let mut names = command.argv.iter().map(|word| base_name(word));
    let mut name = names.next()??;
    if name.ends_with("entrypoint") || name.ends_with("entrypoint.sh") {
        name = names.next()??;
    }
    Some((name, known(name)?))
}

fn base_name(word: &CStr) -> Option<&str> {
    word.to_str().ok()?.rsplit('/').next()
}

/// Whether an argument has the effect of this one.
fn has_word(command: &Command, word: &str) -> bool {
    let letter = word.strip_prefix('-').filter(|letter| letter.len() == 1);
    let mut arguments = command.argv.iter().skip(1);
    arguments.any(|argument| {
        let argument = argument.to_bytes();
        let argument = String::from_utf8_lossy(argument);
        match letter {
            // Among other letters.
            Some(letter) => {
                let letters = argument.strip_prefix('-').unwrap_or_default();
                !letters.starts_with('-') && letters.contains(letter)
            }
            None if word.contains(' ') => argument.contains(word),
            None => argument == word,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::super::testing::Testing;
    use super::*;
    use crate::settings::known_programs::PROGRAMS;

    fn command(words: &[&str]) -> Command {
        let argv = words.iter().map(|word| CString::new(*word).unwrap());
        Command {
            argv: argv.collect(),
            shown: words[0].to_owned(),
        }
    }

    /// The hints about a service `a` with this command and stop signal.
    fn hints_of(words: &[&str], signal: &str, purpose: Purpose) -> Vec<String> {
        let text =
            format!("grace = 5\n[services.a]\ncommand = ['app']\nstop_signal = '{signal}'\n");
        let mut services = Testing::new().accepted(&text);
        services.list[0].command = command(words);
        hints(&services, purpose)
    }

    #[test]
    fn a_program_with_its_own_stop_signal_gets_a_hint_unless_it_is_set() {
        let expected = "a: on SIGTERM nginx cuts off requests; use stop_signal = \"QUIT\"";
        for words in [
            &["nginx", "-g", "daemon off;"][..],
            &["/usr/sbin/nginx"],
            &["/docker-entrypoint.sh", "nginx"],
        ] {
            assert_eq!(
                hints_of(words, "TERM", Purpose::Run),
                [expected],
                "{words:?}"
            );
            let none: [&str; 0] = [];
            assert_eq!(hints_of(words, "QUIT", Purpose::Run), none, "{words:?}");
        }
        let expected = "a: SIGQUIT is not the signal that stops gunicorn properly; use stop_signal = \
             \"TERM\"";
        assert_eq!(hints_of(&["gunicorn"], "QUIT", Purpose::Run), [expected]);
        for words in [
            &["gunicorn"][..],
            &["app", "nginx"],
            &["docker-entrypoint.sh"],
            &["uwsgi", "--die-on-term"],
        ] {
            assert!(
                hints_of(words, "TERM", Purpose::Run).is_empty(),
                "{words:?}"
            );
        }
    }

    #[test]
    fn what_a_configuration_may_say_is_a_hint_of_the_check_only() {
        let words = ["php-fpm8.2", "--fpm-config", "secret"];
        assert!(hints_of(&words, "QUIT", Purpose::Run).is_empty());
        assert_eq!(
            hints_of(&words, "QUIT", Purpose::Check),
            [
                "a: to stop php-fpm8.2 properly, set process_control_timeout in its \
                 configuration, because it is 0 by default",
                "a: php-fpm8.2 may put itself in the background, and then counts as exited; add -F",
            ]
        );
    }

    #[test]
    fn the_switch_of_the_foreground_is_seen_in_all_its_forms() {
        let is_seen = |words: &[&str]| {
            let hints = hints_of(words, "TERM", Purpose::Check);
            !hints.iter().any(|hint| hint.contains("background"))
        };
        for words in [
            &["nginx", "-g", "daemon off; error_log stderr;"][..],
            &["php-fpm", "-RF"],
            &["php-fpm", "--nodaemonize"],
            &["apache2", "-DFOREGROUND"],
            &["apache2", "-D", "FOREGROUND"],
            &["httpd-foreground"],
            &["cron", "-L15", "-f"],
            &["redis-server", "/etc/redis.conf"],
            &["haproxy", "-f", "x"],
        ] {
            assert!(is_seen(words), "{words:?}");
        }
        for words in [
            &["nginx"][..],
            &["nginx", "-g", "daemon on;"],
            &["php-fpm", "--force-stderr"],
            &["apache2", "-D", "x"],
            &["cron", "--f"],
        ] {
            assert!(!is_seen(words), "{words:?}");
        }
    }

    #[test]
    fn the_switch_of_a_known_program_is_given() {
        let switch = |words: &[&str]| foreground_switch(&command(words));
        assert_eq!(switch(&["/usr/sbin/nginx"]), Some("-g 'daemon off;'"));
        assert_eq!(switch(&["redis-server"]), Some("--daemonize no"));
        assert_eq!(switch(&["gunicorn"]), None);
        assert_eq!(switch(&["app"]), None);
    }

    #[test]
    fn a_program_is_known_by_its_name_with_or_without_a_version() {
        let first = |name| known(name).map(|program| program.names[0]);
        for (name, expected) in [
            ("nginx", Some("nginx")),
            ("php-fpm8.2", Some("php-fpm")),
            ("php-fpm82", Some("php-fpm")),
            ("apache2", Some("httpd")),
            ("unicorn_rails", Some("unicorn")),
            ("nginx-debug", None),
            ("", None),
            ("8.2", None),
        ] {
            assert_eq!(first(name), expected, "{name}");
        }
    }

    #[test]
    fn every_known_program_has_a_manual_and_something_to_say() {
        let mut names: Vec<&str> = Vec::new();
        for program in PROGRAMS {
            assert!(program.manual.starts_with("https://"));
            assert!(program.stop.is_some() || program.foreground.is_some());
            if let Some(stop) = &program.stop {
                assert!(Signal::parse(stop.signal).is_some());
                assert_eq!(stop.signal == "TERM", stop.on_term.is_empty());
            }
            names.extend(program.names);
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name stands there twice");
    }
}
