//! Files that are made from tables of the source: parts of the man page and of docs/options.md
//! and the completions from that of options, a part of docs/services.md from that of known
//! programs. `cargo test --test documents -- --ignored write` writes them.

use std::fmt::Write;
use std::path::Path;

use crate::completions;
use crate::known_programs::{PROGRAMS, Program};
use crate::options::{self, Kind, OPTIONS, Opt, variable_name};
use crate::{read, root};

const OPTIONS_PART: &str = "OPTIONS from src/cli/options.rs";

const SERVICES: &str = "docs/services.md";

const PROGRAMS_PART: &str = "PROGRAMS from src/settings/known_programs.rs";

/// Each file, and what it must hold.
fn files() -> Vec<(&'static str, String)> {
    let page = replace("docs/supervise.1", OPTIONS_PART, &man_options());
    vec![
        (
            "docs/supervise.1",
            replace_in(
                &page,
                "ENVIRONMENT from src/cli/options.rs",
                &man_environment(),
            ),
        ),
        (
            "docs/options.md",
            replace("docs/options.md", OPTIONS_PART, &markdown()),
        ),
        (SERVICES, replace(SERVICES, PROGRAMS_PART, &programs())),
        (completions::BASH, completions::bash()),
        (completions::ZSH, completions::zsh()),
        (completions::FISH, completions::fish()),
    ]
}

#[test]
fn files_made_from_tables_of_the_source_are_as_these() {
    for (name, expected) in files() {
        let text = std::fs::read_to_string(root().join(name)).unwrap_or_default();
        let line = (1..).zip(text.lines().zip(expected.lines()));
        let differing = line.filter(|(_, (is, must))| is != must).take(1);
        assert!(
            text == expected,
            "{name} is not what the tables of the source make of it: {:?}; run cargo test --test \
             documents -- --ignored write",
            differing.collect::<Vec<_>>()
        );
    }
}

#[test]
#[ignore = "writes into the source tree"]
fn write() {
    for (name, text) in files() {
        let path = root().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// A file with another part between its marks.
fn replace(name: &str, part: &str, with: &str) -> String {
    replace_in(&read(name), part, with)
}

/// The marks are lines of comment: the first has all of `part`, the last "end of" and its
/// first word.
fn replace_in(text: &str, part: &str, with: &str) -> String {
    let line_of = |mark: String| {
        let at = text.find(&mark);
        let at = at.unwrap_or_else(|| panic!("there is no line with {mark:?}"));
        let start = text[..at].rfind('\n').unwrap() + 1;
        (start, at + text[at..].find('\n').unwrap() + 1)
    };
    let (_, start) = line_of(part.to_owned());
    let name = part.split(' ').next().unwrap();
    let (end, _) = line_of(format!("end of {name}"));
    format!("{}{with}{}", &text[..start], &text[end..])
}

/// The first clause of an option's help.
pub(crate) fn brief(option: &Opt) -> &'static str {
    let end = option.help.find([',', ';', ':', '.', '(']);
    option.help[..end.unwrap_or(option.help.len())].trim_end()
}

/// The help as a sentence, and what the documents add to it.
fn description(option: &Opt) -> String {
    let repeatable = match option.kind {
        Kind::List(_) => " Repeatable.",
        _ => "",
    };
    let separator = if option.doc.starts_with("- ") {
        "\n\n"
    } else {
        " "
    };
    let text = format!("{}.{repeatable}{separator}{}", option.help, option.doc);
    let alone = if option.of_command {
        " Not with `--services`."
    } else {
        ""
    };
    format!("{}{alone}", text.trim_end())
}

/// The paragraphs of a description; each line of a list is one, with its first word.
fn paragraphs(text: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| match line.strip_prefix("- `") {
        Some(item) => {
            let (word, text) = item.split_once("`: ").unwrap();
            (Some(word), text)
        }
        None => (None, line),
    })
}

/// A piece of a paragraph.
enum Piece<'a> {
    Text(&'a str),
    Code(&'a str),
    Link(&'a str),
}

fn pieces(mut text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    while let Some(at) = text.find(['`', '[']) {
        pieces.push(Piece::Text(&text[..at]));
        if text[at..].starts_with('`') {
            let (code, rest) = text[at + 1..].split_once('`').unwrap();
            pieces.push(Piece::Code(code));
            text = rest;
        } else {
            let (name, rest) = text[at + 1..].split_once("](").unwrap();
            pieces.push(Piece::Link(name));
            text = rest.split_once(')').unwrap().1;
        }
    }
    pieces.push(Piece::Text(text));
    pieces
}

fn man_options() -> String {
    let mut page = String::new();
    for (heading, options) in OPTIONS {
        writeln!(page, ".SS \"{heading}\"").unwrap();
        for option in *options {
            man_option(&mut page, option);
        }
    }
    page
}

fn man_option(page: &mut String, option: &Opt) {
    page.push_str(".TP\n");
    if let Some(short) = option.short {
        write!(page, "\\fB\\-{short}\\fR, ").unwrap();
    }
    write!(page, "\\fB{}\\fR", literal(&format!("--{}", option.long))).unwrap();
    if let Some(value) = option.shown_value() {
        let value = value.replace(':', "\\fB:\\fI");
        let value = value.replace('[', "\\fR[\\fI").replace(']', "\\fR]");
        write!(page, " \\fI{value}\\fR").unwrap();
    }
    page.push('\n');
    let mut in_list = false;
    for (number, (word, text)) in paragraphs(&description(option)).enumerate() {
        if word.is_some() && !in_list {
            page.push_str(".RS\n");
            in_list = true;
        }
        match word {
            Some(word) => writeln!(page, ".TP\n.B {}", literal(word)).unwrap(),
            None if number > 0 => page.push_str(".IP\n"),
            None => {}
        }
        page.push_str(&man_text(text));
    }
    if in_list {
        page.push_str(".RE\n.IP\n");
    } else if option.default.is_some() || option.variable {
        page.push_str(".br\n");
    }
    if let Some(default) = option.default {
        writeln!(page, "Default: {default}.").unwrap();
    }
    if option.variable {
        writeln!(page, "Environment:\n.BR {} .", variable_name(option.long)).unwrap();
    }
}

fn man_environment() -> String {
    let mut page = String::new();
    for option in options::all().filter(|option| option.variable) {
        let what = match option.kind {
            Kind::List(_) => "A list, as",
            Kind::Switch => "A switch, as",
            _ => "As",
        };
        let long = literal(&format!("--{}", option.long));
        let name = variable_name(option.long);
        writeln!(page, ".TP\n.B {name}\n{what}\n.BR {long} .").unwrap();
    }
    page
}

/// A paragraph in the language of man pages, a sentence a line.
fn man_text(text: &str) -> String {
    let pieces = pieces(text).into_iter().map(|piece| match piece {
        Piece::Code(code) => format!("\\fB{}\\fR", literal(code)),
        Piece::Text(text) | Piece::Link(text) => man_words(text),
    });
    let text: String = pieces.collect();
    let lines = text.replace(". ", ".\n");
    let lines = lines.lines().map(|line| {
        // At the start of a line these would begin a request.
        let escape = if line.starts_with(['.', '\'']) {
            "\\&"
        } else {
            ""
        };
        format!("{escape}{line}\n")
    });
    lines.collect()
}

/// Text between marks: what is an option, a program or a value by its looks gets its font.
fn man_words(text: &str) -> String {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let mut styled = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_of_word) {
        styled.push_str(&rest[..start]);
        rest = &rest[start..];
        let (word, after) = rest.split_at(rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()));
        let is_page = after.starts_with('(') && after[1..].starts_with(|c: char| c.is_numeric());
        let is_option = word.len() > 1 && word.starts_with('-');
        if is_value_name(word) {
            write!(styled, "\\fI{word}\\fR").unwrap();
        } else if is_page || is_option || word == "supervise" || word.contains('_') {
            write!(styled, "\\fB{}\\fR", literal(word)).unwrap();
        } else {
            styled.push_str(word);
        }
        rest = after;
    }
    styled + rest
}

/// Whether a word stands for what is to be typed.
fn is_value_name(word: &str) -> bool {
    let mut values = options::all().filter_map(Opt::value);
    word == "COMMAND" || values.any(|name| name.split(':').any(|name| name == word))
}

/// What is to be typed as it stands.
fn literal(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

fn markdown() -> String {
    let mut page =
        "\n| option | variable | default | what it does |\n|---|---|---|---|\n".to_owned();
    for option in options::all() {
        let code = |text: &str| format!("`{text}`");
        let variable = option.variable.then(|| code(&variable_name(option.long)));
        writeln!(
            page,
            "| [{}](#--{}) | {} | {} | {} |",
            forms(option),
            option.long,
            variable.unwrap_or_default(),
            option.default.map(code).unwrap_or_default(),
            brief(option)
        )
        .unwrap();
    }
    for (heading, options) in OPTIONS {
        writeln!(page, "\n## {heading}").unwrap();
        for option in *options {
            writeln!(page, "\n### --{}\n\n{}", option.long, forms(option)).unwrap();
            let mut in_list = false;
            for (word, text) in paragraphs(&description(option)) {
                if word.is_none() || !in_list {
                    page.push('\n');
                }
                in_list = word.is_some();
                let item = word.map(|word| format!("- `{word}`: "));
                wrap(&mut page, &format!("{}{text}", item.unwrap_or_default()));
            }
        }
    }
    page.push('\n');
    page
}

/// The known programs as a table.
fn programs() -> String {
    let mut page = "\n| program | `stop_signal` | on SIGTERM | in the foreground | what else |\n\
         |---|---|---|---|---|\n"
        .to_owned();
    for program in PROGRAMS {
        let Program { names, manual, .. } = program;
        let names = names.join(", ");
        let (signal, on_term, also) = match &program.stop {
            Some(stop) => (
                format!("`{}`", stop.signal),
                match stop.on_term {
                    "" => "stops properly",
                    on_term => on_term,
                },
                stop.also.unwrap_or_default(),
            ),
            None => (String::new(), "", ""),
        };
        let foreground = match &program.foreground {
            Some(foreground) if foreground.is_needed => format!("`{}`", foreground.add),
            Some(foreground) => format!("by default, otherwise `{}`", foreground.add),
            None => String::new(),
        };
        writeln!(
            page,
            "| [{names}]({manual}) | {signal} | {on_term} | {foreground} | {also} |"
        )
        .unwrap();
    }
    page.push('\n');
    page
}

/// The forms of an option, with its value.
fn forms(option: &Opt) -> String {
    let short = option.short.map(|short| format!("`-{short}`, "));
    let value = option.shown_value().map(|name| format!(" {name}"));
    let (short, value) = (short.unwrap_or_default(), value.unwrap_or_default());
    format!("{short}`--{}{value}`", option.long)
}

/// Adds a paragraph or an item of a list.
fn wrap(page: &mut String, text: &str) {
    let indent = if text.starts_with("- ") { 2 } else { 0 };
    let mut column = 0;
    for word in text.split(' ') {
        if column + 1 + word.len() > 90 {
            page.push('\n');
            page.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > 0 {
            page.push(' ');
            column += 1;
        }
        page.push_str(word);
        column += word.len();
    }
    page.push('\n');
}
