//! Replaces variables in a text: `${NAME}`, `${NAME:-text}`, and `$${` for a literal `${`.
//! Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A text whose variables were replaced.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Replaced<'a> {
    /// What the text stands for. Any bytes, because a variable may be any bytes.
    pub(super) bytes: Vec<u8>,
    /// Whether any of it differs from the text.
    pub(super) differs: bool,
    /// What could not be replaced, and by how many `${` it is preceded.
    pub(super) problems: Vec<(usize, Problem<'a>)>,
    /// Whether there is a `$NAME`, which is not replaced.
    pub(super) has_bare_name: bool,
}

/// Why something was not replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem<'a> {
    /// This variable is not set, and there is no default.
    Unset(&'a str),
    /// It is not one of the forms above: what it is, and what to write. Without any part of
    /// the text, which may be secret.
    Form(&'static str),
}

/// Replaces the variables in `text`; `value` returns that of a variable.
pub(super) fn replace<'a>(
    text: &'a str,
    value: impl Fn(&str) -> Option<&'a OsStr>,
) -> Replaced<'a> {
    let mut replaced = Replaced::default();
    let mut openings = 0;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        replaced.bytes.extend_from_slice(before.as_bytes());
        rest = after;
        if let Some(after) = rest.strip_prefix("${") {
            replaced.bytes.extend_from_slice(b"${");
            replaced.differs = true;
            openings += 1;
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            replaced.differs = true;
            let mut inside = 0;
            let result = if let Some((inner, after)) = after.split_once('}') {
                rest = after;
                inside = inner.matches("${").count();
                variable(inner, &value)
            } else {
                rest = after;
                let why = "'${' has no '}'; add it, or write $${ for a literal ${";
                Err(Problem::Form(why))
            };
            match result {
                Ok(value) => replaced.bytes.extend_from_slice(value),
                Err(problem) => replaced.problems.push((openings, problem)),
            }
            openings += 1 + inside;
        } else {
            replaced.bytes.push(b'$');
            replaced.has_bare_name |= !split_name(rest).0.is_empty();
        }
    }
    replaced.bytes.extend_from_slice(rest.as_bytes());
    replaced
}

/// The value of what stands between the braces.
fn variable<'a>(
    inner: &'a str,
    value: impl Fn(&str) -> Option<&'a OsStr>,
) -> Result<&'a [u8], Problem<'a>> {
    let (name, rest) = split_name(inner);
    let value = value(name).map(OsStr::as_bytes);
    if !name.is_empty() {
        if rest.is_empty() {
            return value.ok_or(Problem::Unset(name));
        }
        if let Some(default) = rest.strip_prefix(":-") {
            if default.contains("${") {
                return Err(Problem::Form(
                    "a variable within the default of another is not replaced; write a plain text \
                     after ':-'",
                ));
            }
            let value = value.filter(|value| !value.is_empty());
            return Ok(value.unwrap_or(default.as_bytes()));
        }
    }
    Err(Problem::Form(match rest.as_bytes() {
        _ if name.is_empty() => {
            "'${' is not followed by the name of a variable; write $${ for a literal ${"
        }
        [b'-', ..] => "${NAME-text} is not known here; write ${NAME:-text}",
        [b'?', ..] | [b':', b'?', ..] => {
            "${NAME:?text} is not known here; write ${NAME}, which is refused if it is not set"
        }
        [b'+', ..] | [b':', b'+', ..] => {
            "${NAME:+text} is not known here; write ${OTHER:-} with a variable that has the text"
        }
        _ => "only ${NAME} and ${NAME:-text} are replaced; write $${ for a literal ${",
    }))
}

/// Splits off the name of a variable; it may be empty.
fn split_name(text: &str) -> (&str, &str) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return ("", text);
    }
    text.split_at_checked(end).unwrap_or(("", text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value<'a>(name: &str) -> Option<&'a OsStr> {
        match name {
            "SET" => Some(OsStr::new("value")),
            "EMPTY" => Some(OsStr::new("")),
            "NESTED" => Some(OsStr::new("${SET}")),
            "BYTES" => Some(OsStr::from_bytes(b"\xff")),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced() {
        for (text, expected) in [
            ("", ""),
            ("a", "a"),
            ("${SET}", "value"),
            ("a${SET}b${SET}c", "avaluebvaluec"),
            ("${SET:-x}", "value"),
            ("${UNSET:-x}", "x"),
            ("${UNSET:-}", ""),
            ("${UNSET:-a b:-c$d}", "a b:-c$d"),
            ("${UNSET:-a}}", "a}"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NESTED}", "${SET}"),
            ("$${SET}", "${SET}"),
            ("$$${SET}", "$${SET}"),
            ("$SET", "$SET"),
            ("$$", "$$"),
            ("$", "$"),
            ("a$", "a$"),
            ("$1 $(x) }", "$1 $(x) }"),
            ("ä${SET}ä", "ävalueä"),
        ] {
            let replaced = replace(text, value);
            assert_eq!(
                String::from_utf8(replaced.bytes).unwrap(),
                expected,
                "{text}"
            );
            assert_eq!(replaced.problems, [], "{text}");
            let differs = text.contains("${");
            assert_eq!(replaced.differs, differs, "{text}");
        }
        assert_eq!(replace("${BYTES}", value).bytes, b"\xff");
    }

    #[test]
    fn other_forms_are_refused() {
        for (text, expected) in [
            ("${SET-x}", "write ${NAME:-text}"),
            ("${SET?x}", "write ${NAME},"),
            ("${SET:?x}", "write ${NAME},"),
            ("${SET+x}", "write ${OTHER:-}"),
            ("${SET:+x}", "write ${OTHER:-}"),
            ("${SET:x}", "only ${NAME}"),
            ("${SET%x}", "only ${NAME}"),
            ("${SET", "has no '}'"),
            ("${", "has no '}'"),
            ("${}", "not followed by the name"),
            ("${1}", "not followed by the name"),
            ("${1A:-x}", "not followed by the name"),
            ("${#SET}", "not followed by the name"),
            ("${:-x}", "not followed by the name"),
            ("${ä}", "not followed by the name"),
            ("${A:-${SET}}", "within the default"),
        ] {
            match &replace(text, value).problems[..] {
                [(0, Problem::Form(why))] => assert!(why.contains(expected), "{text}: {why}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn all_problems_are_found_with_their_place() {
        let replaced = replace("$${a} ${A} ${SET} ${B:-${A}} ${C-x}", value);
        let problems: Vec<_> = replaced.problems.iter().map(|(index, _)| *index).collect();
        assert_eq!(problems, [1, 3, 5]);
        assert_eq!(replaced.problems[0].1, Problem::Unset("A"));
    }

    #[test]
    fn bare_names_are_noticed() {
        for (text, expected) in [
            ("$HOME", true),
            ("a $_x", true),
            ("$$HOME", true),
            ("$1", false),
            ("$", false),
            ("$(x)", false),
            ("${SET}", false),
            ("$${SET}", false),
            ("cost: $ 5", false),
        ] {
            assert_eq!(replace(text, value).has_bare_name, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_without_a_variable_is_itself(text in "[^{]{0,30}") {
            let replaced = replace(&text, value);
            prop_assert_eq!(replaced.bytes, text.as_bytes());
            prop_assert!(!replaced.differs && replaced.problems.is_empty());
        }

        #[test]
        fn no_text_upsets_it(text in r"([${}:?+\-]|SET|ä|\PC){0,12}") {
            let _ = replace(&text, value);
        }
    }
}
