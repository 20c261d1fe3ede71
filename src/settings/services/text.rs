//! Texts of a file with their places, and what all readers of values share.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use toml::de::{DeTable, DeValue};

use super::findings::{Findings, Place, Source, quoted};
use super::variables::{Problem, replace};
use super::{Purpose, World};
use crate::decide::sorted::sorted;

/// A value of a file with its place.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) value: &'a DeValue<'a>,
    pub(super) place: Place,
    /// The offset of its end.
    end: usize,
}

/// A key of a file with its place.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) name: &'a str,
    pub(super) place: Place,
}

/// The entries of a table in the order of the file.
pub(super) fn entries<'a>(table: &'a DeTable<'a>, file: usize) -> Vec<(Key<'a>, Item<'a>)> {
    let entry = |(key, value): (&'a toml::Spanned<_>, &'a toml::Spanned<DeValue<'a>>)| {
        let name: &std::borrow::Cow<'a, str> = key.get_ref();
        let place = |at| Place { file, at };
        let span = value.span();
        let key = Key {
            name,
            place: place(key.span().start),
        };
        let item = Item {
            value: value.get_ref(),
            place: place(span.start),
            end: span.end,
        };
        (key, item)
    };
    let entries = table.iter().map(entry).collect();
    sorted(entries, |(key, _)| (0, key.place.at))
}

impl<'a> Item<'a> {
    /// The elements of a list.
    pub(super) fn elements(self) -> Option<Vec<Item<'a>>> {
        let element = |value: &'a toml::Spanned<DeValue<'a>>| Item {
            value: value.get_ref(),
            place: Place {
                file: self.place.file,
                at: value.span().start,
            },
            end: value.span().end,
        };
        Some(self.value.as_array()?.iter().map(element).collect())
    }

    /// The entries of a table.
    pub(super) fn entries(self) -> Option<Vec<(Key<'a>, Item<'a>)>> {
        Some(entries(self.value.as_table()?, self.place.file))
    }

    /// What kind of value it is, for error messages.
    pub(super) fn kind(self) -> &'static str {
        match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
}

/// A string or number of a file, its variables replaced.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) place: Place,
    /// Without a null byte; `None` if a variable is not set or the text was refused.
    pub(super) value: Option<Vec<u8>>,
    /// Its text in the file.
    pub(super) shown: String,
    /// Whether a part of it was replaced, so that no message may contain the value.
    pub(super) is_replaced: bool,
    /// Whether it has a `$NAME`, which is not replaced.
    pub(super) has_bare_name: bool,
}

impl Text {
    /// The value; if a variable is not set, the text of the file.
    pub(super) fn bytes(&self) -> &[u8] {
        self.value.as_deref().unwrap_or(self.shown.as_bytes())
    }

    pub(super) fn os_string(&self) -> OsString {
        OsString::from_vec(self.bytes().to_vec())
    }

    /// Whether a message may contain the value: it is that of the file, and one short line.
    fn is_plain(&self) -> bool {
        !self.is_replaced && quoted(&self.shown).len() == self.shown.len() + "''".len()
    }
}

/// What a value must be, for error messages.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) is: &'static str,
    /// What to write, or to use, instead.
    pub(super) advice: &'static str,
}

/// What all readers of values share.
pub(super) struct Context<'a> {
    pub(super) world: &'a World,
    pub(super) purpose: Purpose,
    pub(super) sources: &'a [Source],
    pub(super) findings: Findings,
    /// Whether what is being read is off, so that its variables need not be set.
    pub(super) is_off: bool,
}

impl Context<'_> {
    /// Reports something that is missing on this machine.
    pub(super) fn missing(&mut self, place: Place, text: String) {
        match self.purpose {
            Purpose::Run => self.findings.error(place, text),
            Purpose::Check => self.findings.warning(place, text),
        }
    }

    /// Refuses a value of a wrong type.
    pub(super) fn wrong_type(&mut self, item: Item<'_>, key: &str, wanted: Wanted) {
        let Wanted { is, advice } = wanted;
        let text = format!("{key} must be {is}, not {}; {advice}", item.kind());
        self.findings.error(item.place, text);
    }

    /// Reads a string.
    pub(super) fn string(&mut self, item: Item<'_>, key: &str, wanted: Wanted) -> Option<Text> {
        if let DeValue::String(text) = item.value {
            Some(self.replace(item, text))
        } else {
            self.wrong_type(item, key, wanted);
            None
        }
    }

    /// Reads a string or a number, as a text.
    pub(super) fn scalar(&mut self, item: Item<'_>, key: &str, wanted: Wanted) -> Option<Text> {
        let shown = match item.value {
            DeValue::Integer(number) => {
                let decimal = i64::from_str_radix(number.as_str(), number.radix());
                decimal.map_or(number.as_str().to_owned(), |number| number.to_string())
            }
            DeValue::Float(number) => number.as_str().to_owned(),
            _ => return self.string(item, key, wanted),
        };
        Some(Text {
            place: item.place,
            value: Some(shown.clone().into_bytes()),
            shown,
            is_replaced: false,
            has_bare_name: false,
        })
    }

    fn replace(&mut self, item: Item<'_>, text: &str) -> Text {
        let world = self.world;
        let replaced = replace(text, |name| world.variable(name));
        let is_whole = replaced.problems.is_empty();
        let openings = if is_whole {
            Vec::new()
        } else {
            self.openings(item, text)
        };
        for (index, problem) in replaced.problems {
            let offset = openings.get(index).copied().unwrap_or_default();
            let place = Place {
                at: item.place.at + offset,
                ..item.place
            };
            match problem {
                Problem::Form(why) => self.findings.error(place, why),
                Problem::Unset(_) if self.is_off => {}
                Problem::Unset(name) => self.missing(
                    place,
                    format!("variable {name} is not set; set it, or write ${{{name}:-DEFAULT}}"),
                ),
            }
        }
        let has_null = replaced.bytes.contains(&0);
        if has_null {
            let text = "the text contains a null byte, which no program can receive; remove it";
            self.findings.error(item.place, text);
        }
        Text {
            place: item.place,
            value: (is_whole && !has_null).then_some(replaced.bytes),
            shown: text.to_owned(),
            is_replaced: replaced.differs,
            has_bare_name: replaced.has_bare_name,
        }
    }

    /// The offsets of each `${` of a text in the file; none if some are written with escapes.
    fn openings(&self, item: Item<'_>, text: &str) -> Vec<usize> {
        let source = self.sources.get(item.place.file);
        let source = source.and_then(|source| source.text.get(item.place.at..item.end));
        let openings = source.unwrap_or_default().match_indices("${");
        let openings: Vec<usize> = openings.map(|(offset, _)| offset).collect();
        if openings.len() == text.matches("${").count() {
            openings
        } else {
            Vec::new()
        }
    }

    /// Parses a text. `parse` may quote it in its message.
    pub(super) fn parse<T>(
        &mut self,
        text: &Text,
        wanted: Wanted,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = text.value.as_deref()?;
        let value = std::str::from_utf8(value).map_err(|_| String::new());
        match value.and_then(parse) {
            Ok(value) => Some(value),
            Err(why) => {
                self.refuse(text, wanted, why);
                None
            }
        }
    }

    /// Refuses a text, by the reason given if that may be shown.
    #[cold]
    fn refuse(&mut self, text: &Text, wanted: Wanted, why: String) {
        let why = if text.is_plain() {
            why
        } else {
            let Wanted { is, advice } = wanted;
            format!("{} is not {is}; {advice}", quoted(&text.shown))
        };
        self.findings.error(text.place, why);
    }
}
