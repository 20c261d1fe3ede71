//! Advice in error messages: the nearest name of an option or variable that does not exist,
//! and what a missing value looks like.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::error::{ContextKind, ContextValue};

use super::help::USAGE;
use super::options::{self, LOG, Opt, PREFIX, is_variable_of, variable_name};
use crate::settings::nearest::nearest;

/// Warns of each unknown variable: it may be a typing error, and then the default holds.
pub(super) fn unknown_variables(environment: &[(OsString, OsString)]) -> Vec<String> {
    let warn_of = |(name, _): &(OsString, OsString)| {
        let rest = name.as_bytes().strip_prefix(PREFIX.as_bytes())?;
        // Kubernetes sets these for a service of the name supervise.
        let of_kubernetes = rest.starts_with(b"SERVICE_") || rest.starts_with(b"PORT");
        let is_known = |option: &Opt| is_variable_of(name.as_bytes(), option.long);
        let mut with_variable = options::all().filter(|option| option.variable);
        if of_kubernetes || name == LOG || with_variable.any(is_known) {
            return None;
        }
        let known = options::all().filter(|option| option.variable);
        let known = known.map(|option| variable_name(option.long));
        let known: Vec<String> = known.chain([LOG.to_owned()]).collect();
        let known = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
        let (name, rest) = (name.to_string_lossy(), String::from_utf8_lossy(rest));
        let advice = advice(&rest, known, PREFIX);
        Some(format!("unknown variable {name} is ignored; {advice}"))
    };
    environment.iter().filter_map(warn_of).collect()
}

/// Suggests the known name that is nearest to an unknown one.
fn advice<'a>(name: &str, known: impl Iterator<Item = &'a str>, prefix: &str) -> String {
    match nearest(name, known) {
        Some(known) => format!("did you mean {prefix}{known}?"),
        None => "see supervise --help".to_owned(),
    }
}

/// Why there is no command: it may have been taken for the value of an option.
pub(super) fn no_command(arguments: &[OsString]) -> String {
    let taken = match arguments {
        [.., option, value] if takes_value(option) => {
            let (option, value) = (option.to_string_lossy(), value.to_string_lossy());
            Some(format!(": '{value}' was taken as the value of {option}"))
        }
        _ => None,
    };
    format!("no command{}; usage: {USAGE}", taken.unwrap_or_default())
}

/// Returns the option that a word is, if its value is the next word.
fn option_with_value(word: &OsStr) -> Option<&'static Opt> {
    let word = word.to_str()?;
    let is_it = |option: &&Opt| {
        let short = option.short.map(|short| format!("-{short}"));
        word.strip_prefix("--") == Some(option.long) || short.as_deref() == Some(word)
    };
    options::all()
        .find(is_it)
        .filter(|option| option.value().is_some())
}

fn takes_value(word: &OsStr) -> bool {
    option_with_value(word).is_some()
}

/// Names the option whose value is missing, if that is the last word.
pub(super) fn no_value(arguments: &[OsString]) -> Option<String> {
    let option = option_with_value(arguments.last()?)?;
    let long = option.long;
    Some(match option.value() {
        Some("FILE") => format!("--{long}: a file name is missing"),
        _ => format!("--{long}: a value is missing; see supervise --help"),
    })
}

/// Names a long option with a single dash, for a line that is refused: read as short
/// options, all of them except `-help` are refused.
pub(super) fn long_with_one_dash(arguments: &[OsString]) -> Option<String> {
    let mut words = arguments.iter().skip(1);
    while let Some(word) = words.next() {
        let text = word.to_str()?;
        let name = text.strip_prefix('-').filter(|name| *name != "-")?;
        let name = name.split('=').next().unwrap_or_default();
        if options::all().any(|option| option.long == name) {
            return Some(format!("unknown option '-{name}'; did you mean --{name}?"));
        }
        if takes_value(word) {
            words.next();
        }
    }
    None
}

/// Names that other programs have for an option of ours.
const OTHER_NAMES: [(&str, &str); 3] = [
    ("stop-signal", "stop-on"),
    ("timeout", "grace"),
    ("kill-after", "grace"),
];

/// Names an option that does not exist, and the one that may have been meant.
pub(super) fn unknown_option(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    if name == "--prefix" {
        return Some("--prefix is not supported yet; remove it".to_owned());
    }
    let advice = match name.strip_prefix("--") {
        Some(name) => {
            let known = OTHER_NAMES.iter().find(|(other, _)| *other == name);
            let name = known.map_or(name, |(_, ours)| *ours);
            advice(name, options::all().map(|option| option.long), "--")
        }
        None => "see supervise --help".to_owned(),
    };
    Some(format!("unknown option '{name}'; {advice}"))
}

/// The first paragraph of one of clap's messages, as one line.
pub(super) fn one_line(message: &str) -> String {
    let paragraph = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    let line = words.join(" ");
    format!(
        "{}; see supervise --help",
        line.strip_prefix("error: ").unwrap_or(&line)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_is_near_is_suggested() {
        let of = |name| advice(name, ["abcd", "xyz"].into_iter(), "--");
        for (name, near) in [
            ("abcx", "--abcd"),
            ("xyy", "--xyz"),
            ("abcdef", "--abcd"),
            ("a", "--abcd"),
        ] {
            assert_eq!(of(name), format!("did you mean {near}?"));
        }
        // Half of the characters are wrong.
        assert_eq!(of("abyy"), "see supervise --help");
    }
}
