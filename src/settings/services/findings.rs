//! What is wrong in the files: collected, and made into lines that begin with the place.

use crate::decide::sorted::sorted;
/// The most lines of errors or warnings: more are no help, and stderr takes no more.
const MOST: usize = 50;

/// A file that was read.
#[derive(Debug)]
pub(super) struct Source {
    /// How messages name it.
    pub(super) name: String,
    pub(super) text: String,
}

/// A place in a file: the index of the file, and the offset in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) at: usize,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) place: Place,
    pub(super) value: T,
}

impl Place {
    /// `FILE:LINE:COLUMN`; a column is a character.
    pub(super) fn name(self, sources: &[Source]) -> String {
        let Some(source) = sources.get(self.file) else {
            return String::new();
        };
        let before = source.text.as_bytes().get(..self.at).unwrap_or_default();
        let line = before.split(|b| *b == b'\n').count();
        let last = before.rsplit(|b| *b == b'\n').next().unwrap_or_default();
        // Bytes that begin a character.
        let column = 1 + last.iter().filter(|b| **b & 0xc0 != 0x80).count();
        format!("{}:{line}:{column}", source.name)
    }
}

/// Errors and warnings. Those without a place come first.
#[derive(Debug, Default)]
pub(super) struct Findings {
    errors: Vec<(Option<Place>, String)>,
    warnings: Vec<(Option<Place>, String)>,
}

impl Findings {
    pub(super) fn error(&mut self, place: impl Into<Option<Place>>, text: impl Into<String>) {
        add(&mut self.errors, place.into(), text.into());
    }

    pub(super) fn warning(&mut self, place: impl Into<Option<Place>>, text: impl Into<String>) {
        add(&mut self.warnings, place.into(), text.into());
    }

    pub(super) fn has_no_errors(&self) -> bool {
        self.errors.is_empty()
    }

    /// Returns the warnings as lines, or the errors if there are any.
    pub(super) fn into_lines(self, sources: &[Source]) -> Result<Vec<String>, Vec<String>> {
        if self.errors.is_empty() {
            Ok(lines(self.warnings, "warnings", sources))
        } else {
            Err(lines(self.errors, "errors", sources))
        }
    }
}

#[cold]
#[inline(never)]
fn add(to: &mut Vec<(Option<Place>, String)>, place: Option<Place>, text: String) {
    to.push((place, text));
}

fn lines(found: Vec<(Option<Place>, String)>, what: &str, sources: &[Source]) -> Vec<String> {
    let mut found = sorted(found, |(place, _)| match place {
        Some(Place { file, at }) => (file + 1, *at),
        None => (0, 0),
    });
    // A default that is wrong is wrong for each service.
    found.dedup();
    let more = found.len().saturating_sub(MOST);
    let line = |(place, text): &(Option<Place>, String)| match place {
        Some(place) => format!("{}: {text}", place.name(sources)),
        None => text.clone(),
    };
    let mut lines: Vec<String> = found.iter().take(MOST).map(line).collect();
    if more > 0 {
        lines.push(format!("and {more} more {what}"));
    }
    lines
}

/// Quotes a text of a file, all in one line and not longer than a name.
pub(super) fn quoted(text: &str) -> String {
    /// Longer than the name of a service.
    const LONGEST: usize = 80;
    let is_shown = |(index, c): &(usize, char)| *index < LONGEST && !c.is_control();
    let shown: String = text
        .chars()
        .enumerate()
        .take_while(is_shown)
        .map(|(_, c)| c)
        .collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("'{shown}{more}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Vec<Source> {
        let source = |name: &str, text: &str| Source {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        vec![source("a", "x\nä = 1\n"), source("b", "")]
    }

    #[test]
    fn a_place_is_a_line_and_a_character() {
        let name = |file, at| Place { file, at }.name(&sources());
        assert_eq!(name(0, 0), "a:1:1");
        assert_eq!(name(0, 1), "a:1:2");
        assert_eq!(name(0, 2), "a:2:1");
        assert_eq!(name(0, 4), "a:2:2", "ä is one character");
        assert_eq!(name(0, 9), "a:3:1", "the end");
        assert_eq!(name(1, 0), "b:1:1");
    }

    #[test]
    fn lines_are_in_the_order_of_the_files_and_not_repeated() {
        let mut findings = Findings::default();
        findings.error(Place { file: 1, at: 0 }, "third");
        findings.error(Place { file: 0, at: 2 }, "second");
        findings.error(Place { file: 0, at: 2 }, "second");
        findings.error(Place { file: 0, at: 0 }, "beginning");
        findings.error(None, "first");
        findings.warning(None, "no error");
        let expected =
            ["first", "a:1:1: beginning", "a:2:1: second", "b:1:1: third"].map(str::to_owned);
        assert_eq!(findings.into_lines(&sources()), Err(expected.to_vec()));
        let mut findings = Findings::default();
        findings.warning(Place { file: 1, at: 0 }, "beware");
        let expected = vec!["b:1:1: beware".to_owned()];
        assert_eq!(findings.into_lines(&sources()), Ok(expected));
    }

    #[test]
    fn the_number_of_lines_is_limited() {
        let mut findings = Findings::default();
        for at in 0..MOST + 2 {
            findings.error(None, format!("{at}"));
        }
        let lines = findings.into_lines(&[]).unwrap_err();
        assert_eq!(lines.len(), MOST + 1);
        assert_eq!(lines[MOST], "and 2 more errors");
    }

    #[test]
    fn a_quoted_text_is_short_and_one_line() {
        assert_eq!(quoted("db"), "'db'");
        assert_eq!(quoted("a\nb"), "'a…'");
        assert_eq!(quoted(&"ä".repeat(80)), format!("'{}'", "ä".repeat(80)));
        assert_eq!(quoted(&"ä".repeat(81)), format!("'{}…'", "ä".repeat(80)));
    }
}
