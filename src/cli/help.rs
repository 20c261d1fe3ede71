//! The text of `--help`, made only when it is printed: the parser would prepare it at every
//! start, which costs more than all the rest.

use std::fmt::Write;

use super::options::{Kind, OPTIONS, Opt, variable_name};

/// No line is longer.
const WIDTH: usize = 80;

/// How far the texts of options are indented.
const INDENT: usize = 10;

/// How a command line is made up.
pub(super) const USAGE: &str = "supervise [OPTIONS] [--] COMMAND [ARG...]";

/// The other ones.
const OTHER_USAGES: [&str; 2] = [
    "supervise [OPTIONS] --services FILE",
    "supervise --status [FILE]",
];

const ABOUT: &str = "\
Run COMMAND, forward signals to it and reap orphaned processes. When asked to stop, give COMMAND \
and every other process a grace period, then send SIGKILL.";

const NOTES: [&str; 3] = [
    "Exits with the status of COMMAND. If signal N kills COMMAND, supervise exits with 128+N as \
     PID 1 and otherwise kills itself with N. 125: supervise failed; 126: COMMAND cannot be \
     executed; 127: COMMAND not found.",
    "SIGNAL is a name (TERM, SIGTERM), a number (15) or RTMIN+N. DURATION is a number of seconds \
     (10, 0.5), a number with a unit (500ms, 1m30s), or infinity.",
    "The command line overrides environment variables; an empty variable counts as unset. Lists \
     are separated by commas. SUPERVISE_LOG sets a log filter (warn, debug, off).",
];

/// Everything that `--help` prints.
pub(super) fn text() -> String {
    let mut text = String::new();
    wrap(&mut text, 0, ABOUT.split(' '));
    let _ = writeln!(text, "\nUsage: {USAGE}");
    for usage in OTHER_USAGES {
        let _ = writeln!(text, "       {usage}");
    }
    for (heading, options) in OPTIONS {
        let _ = writeln!(text, "\n{heading}:");
        for option in *options {
            describe(&mut text, option);
        }
    }
    for note in NOTES {
        text.push('\n');
        wrap(&mut text, 0, note.split(' '));
    }
    text
}

/// One option: its forms on a line of their own, its text below.
fn describe(text: &mut String, option: &Opt) {
    let short = match option.short {
        Some(short) => format!("-{short}, "),
        None => " ".repeat(4),
    };
    let value = option.shown_value().map(|name| format!(" {name}"));
    let value = value.unwrap_or_default();
    let _ = writeln!(text, "  {short}--{}{value}", option.long);
    let repeatable = matches!(option.kind, Kind::List(_)).then_some(". Repeatable");
    let help = format!("{}{}", option.help, repeatable.unwrap_or_default());
    let default = option.default.map(|value| format!("[default: {value}]"));
    let variable = option
        .variable
        .then(|| format!("[env: {}]", variable_name(option.long)));
    let words = help.split(' ').chain(default.as_deref());
    wrap(text, INDENT, words.chain(variable.as_deref()));
}

/// Adds the words, on as many lines as they need.
fn wrap<'a>(text: &mut String, indent: usize, words: impl Iterator<Item = &'a str>) {
    let mut column = WIDTH;
    let first = text.len();
    for word in words {
        if column + 1 + word.len() > WIDTH {
            if text.len() > first {
                text.push('\n');
            }
            text.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options;

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let text = text();
        for line in text.lines() {
            assert!(line.len() <= 80, "{line}");
            assert_eq!(line, line.trim_end());
        }
        assert!(text.lines().any(|line| line.len() > 75));
    }

    #[test]
    fn an_option_is_shown_with_all_that_is_known_of_it() {
        let text = text();
        for expected in [
            "\nStopping:\n  -t, --grace DURATION\n          Time from",
            "\n      --stop-on SIGNAL\n          Treat SIGNAL",
            "\n  -s, --subreaper\n          Accepted",
            "[default: 30s] [env: SUPERVISE_GRACE]\n",
            "clears the list. Repeatable [env: SUPERVISE_STOP_ON]\n",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in {text}");
        }
        for option in options::all() {
            assert!(text.contains(&format!("--{}", option.long)));
            let variable = format!("[env: {}]", variable_name(option.long));
            assert_eq!(text.contains(&variable), option.variable, "{variable}");
        }
    }

    #[test]
    fn words_are_kept_whole_and_lines_filled() {
        let mut text = String::new();
        let long = "x".repeat(WIDTH - 6);
        wrap(&mut text, 2, ["abc", &long, "d"].into_iter());
        assert_eq!(text, format!("  abc {long}\n  d\n"));
    }
}
