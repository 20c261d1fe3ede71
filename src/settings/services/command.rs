//! Reads a program and its arguments.

use std::ffi::CString;

use toml::de::DeValue;

use super::Command;
use super::findings::Place;
use super::text::{Context, Item, Text, Wanted};

const COMMAND: Wanted = Wanted {
    is: "a list of strings",
    advice: "write command = [\"PROGRAM\", \"ARGUMENT\"]",
};

/// A program whose name is known, to be looked up.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) name: CString,
    /// Its text in the file.
    pub(super) shown: String,
    pub(super) place: Place,
}

impl Context<'_> {
    /// Reads a command, and adds its program to those to be looked up.
    pub(super) fn command(
        &mut self,
        item: Item<'_>,
        programs: &mut Vec<Program>,
    ) -> Option<Command> {
        if let DeValue::String(text) = item.value {
            self.findings.error(item.place, begin_list(text));
            return None;
        }
        let Some(elements) = item.elements() else {
            self.wrong_type(item, "command", COMMAND);
            return None;
        };
        if elements.is_empty() {
            self.findings
                .error(item.place, format!("command is empty; {}", COMMAND.advice));
            return None;
        }
        let wanted = Wanted {
            is: "a string",
            advice: "put it in quotes",
        };
        let words: Vec<Text> = elements
            .into_iter()
            .filter_map(|element| self.string(element, "each word of command", wanted))
            .collect();
        self.warn_of_bare_names(&words);
        let program = words.first()?;
        if program.value.as_ref().is_some_and(Vec::is_empty) {
            let text = "the program is empty; write its name first, then the arguments";
            self.findings.error(program.place, text);
            return None;
        }
        let argv: Vec<CString> = words
            .iter()
            .filter_map(|word| CString::new(word.bytes()).ok())
            .collect();
        if program.value.is_some() {
            programs.extend(argv.first().map(|name| Program {
                name: name.clone(),
                shown: program.shown.clone(),
                place: program.place,
            }));
        }
        Some(Command {
            argv,
            shown: program.shown.clone(),
        })
    }

    /// A shell replaces `$NAME` itself, wherever in the command it stands; for any other
    /// program it may be a mistake.
    fn warn_of_bare_names(&mut self, words: &[Text]) {
        if self.is_off || words.iter().any(|word| is_shell(&word.shown)) {
            return;
        }
        for word in words.iter().filter(|word| word.has_bare_name) {
            let text = "a $NAME in this word is not replaced; write ${NAME}";
            self.findings.warning(word.place, text);
        }
    }
}

fn is_shell(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    ["sh", "ash", "bash", "dash", "fish", "ksh", "mksh", "zsh"].contains(&name)
}

/// What to write instead of a command that is a string. Its first word is shown only if it
/// looks like a program: anything else may be secret.
fn begin_list(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-/+".contains(c);
    let first = text.split_whitespace().next().unwrap_or_default();
    let program = if first.is_empty() || first.len() > 80 || !first.chars().all(is_part) {
        "PROGRAM"
    } else {
        first
    };
    format!(
        "command must be a list of strings, not a string; write command = [\"{program}\", …], or, \
         for a shell: command = [\"sh\", \"-c\", \"exec …\"]"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_of_a_program_begins_the_list() {
        for (text, expected) in [
            ("postgres -D /data", "[\"postgres\", …]"),
            ("/usr/bin/x-1.2", "[\"/usr/bin/x-1.2\", …]"),
            ("PASSWORD=x run", "[\"PROGRAM\", …]"),
            ("'a b'", "[\"PROGRAM\", …]"),
            ("", "[\"PROGRAM\", …]"),
            (&"x".repeat(81), "[\"PROGRAM\", …]"),
            (&"x".repeat(80), &format!("[\"{}\", …]", "x".repeat(80))),
        ] {
            let advice = begin_list(text);
            assert!(advice.contains(expected), "{text}: {advice}");
        }
    }

    #[test]
    fn shells_are_known_by_their_names() {
        for (word, expected) in [
            ("sh", true),
            ("/bin/bash", true),
            ("/usr/bin/zsh", true),
            ("ssh", false),
            ("sh/x", false),
            ("", false),
        ] {
            assert_eq!(is_shell(word), expected, "{word}");
        }
    }
}
