//! Parses the TOML of a file, and words what is wrong with it.

use toml::Spanned;
use toml::de::DeTable;

use super::findings::{Findings, Place};
use crate::decide::sorted::sorted;

/// Enough errors of one file.
const MOST: usize = 1000;

/// Parses a file; `None` if it is not TOML.
///
/// The library limits how deep tables and lists can be nested. Of its errors only message and
/// place are used: its own display quotes the file.
pub(super) fn parse<'a>(
    file: usize,
    text: &'a str,
    findings: &mut Findings,
) -> Option<Spanned<DeTable<'a>>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Some(table);
    }
    let found: Vec<(usize, &str)> = errors
        .iter()
        .map(|error| (error.span().unwrap_or_default().start, error.message()))
        .collect();
    let mut found = sorted(found, |(at, _)| (0, *at));
    // One mistake often causes further errors in its line.
    let mut last = None;
    found.retain(|(at, _)| {
        let is_in_line = last.is_some_and(|last| {
            let between = text.as_bytes().get(last..*at).unwrap_or_default();
            !between.contains(&b'\n')
        });
        if !is_in_line {
            last = Some(*at);
        }
        !is_in_line
    });
    for (at, message) in found.into_iter().take(MOST) {
        findings.error(Place { file, at }, reword(message));
    }
    None
}

/// Adds to a message of the library what to write instead.
fn reword(message: &str) -> String {
    if message.starts_with("string values must be quoted") {
        return "a value without quotes must be a number, true or false; put it in quotes"
            .to_owned();
    }
    if message.contains("recurs") {
        return "tables or lists are nested too deep; use fewer levels".to_owned();
    }
    match message.split_once(", expected ") {
        Some((what, "nothing")) => format!("{what}; remove it"),
        Some((what, expected)) => format!("{what}; expected {expected}"),
        None if message == "duplicate key" => format!("{message}; keep one of them"),
        None => format!("{message}; correct it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::services::findings::Source;

    fn errors(text: &str) -> Vec<String> {
        let mut findings = Findings::default();
        let is_none = parse(0, text, &mut findings).is_none();
        let source = Source {
            name: "f".to_owned(),
            text: text.to_owned(),
        };
        let lines = findings.into_lines(&[source]);
        assert_eq!(is_none, lines.is_err(), "{text}");
        lines.err().unwrap_or_default()
    }

    #[test]
    fn errors_of_the_syntax_are_one_line_each_with_advice() {
        let quotes = "a value without quotes must be a number, true or false; put it in quotes";
        for (text, expected) in [
            ("a = always", &[&*format!("f:1:5: {quotes}")][..]),
            ("a = 1\na = 2", &["f:2:1: duplicate key; keep one of them"]),
            ("[a]\n[a]", &["f:2:2: duplicate key; keep one of them"]),
            ("a == 1", &["f:1:4: extra `=`; remove it"]),
            ("a", &["f:1:2: key with no value; expected `=`"]),
            (
                "a = \"x\nb = yes\n",
                &[
                    "f:1:7: invalid basic string; expected `\"`",
                    &format!("f:2:5: {quotes}"),
                ],
            ),
            ("[a\nb = 1", &["f:1:3: unclosed table; expected `]`"]),
            (
                "a = 1\rb",
                &["f:1:7: carriage return must be followed by newline; expected newline"],
            ),
        ] {
            assert_eq!(errors(text), expected, "{text}");
        }
        assert!(errors("a = 1\n").is_empty());
        assert_eq!(reword("something else"), "something else; correct it");
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
        let n = 100_000;
        let nested = "tables or lists are nested too deep; use fewer levels";
        for (text, place) in [
            (format!("a = {}", "[".repeat(n)), "f:1:85"),
            (format!("a = {}{}", "[".repeat(n), "]".repeat(n)), "f:1:85"),
            (format!("a = {}", "{a=".repeat(n)), "f:1:245"),
            (format!("a{} = 1", ".a".repeat(n)), "f:1:1"),
            (format!("[a{}]", ".a".repeat(n)), "f:1:1"),
        ] {
            assert_eq!(errors(&text)[0], format!("{place}: {nested}"));
        }
        assert!(!errors(&"[".repeat(n)).is_empty());
        assert_eq!(errors(&"]\n".repeat(n)).len(), 51);
    }
}
