//! The completions for bash, zsh and fish, made from the table of options, and tried in
//! the shells.

use std::path::Path;
use std::process::Command;

use crate::generated::brief;
use crate::harness::pty::Terminal;
use crate::harness::{Folder, SUPERVISE, skipped};
use crate::options::{self, Kind, Opt};
use crate::root;

pub(crate) const BASH: &str = "completions/supervise.bash";
pub(crate) const ZSH: &str = "completions/_supervise";
pub(crate) const FISH: &str = "completions/supervise.fish";

/// Every form of an option.
fn forms(option: &Opt) -> Vec<String> {
    let short = option.short.map(|short| format!("-{short}"));
    let long = format!("--{}", option.long);
    short.into_iter().chain([long]).collect()
}

/// The forms of all options that this holds for.
fn forms_of(holds: impl Fn(&&Opt) -> bool, separator: &str) -> String {
    let forms: Vec<String> = options::all().filter(holds).flat_map(forms).collect();
    forms.join(separator)
}

/// The short forms of options with a value, or of those without.
fn letters(with_value: bool) -> String {
    let options = options::all().filter(|option| option.value().is_some() == with_value);
    options.filter_map(|option| option.short).collect()
}

/// Values of this name are files.
const FILE: &str = "FILE";

pub(crate) fn bash() -> String {
    let values: String = options::all()
        .filter_map(|option| {
            let action = if option.value() == Some(FILE) {
                "compopt -o default".to_owned()
            } else if option.words.is_empty() {
                return None;
            } else {
                format!("words='{}'", option.words.join(" "))
            };
            let forms = forms(option).join(" | ");
            Some(format!("        {forms}) {action} ;;\n"))
        })
        .collect();
    include_str!("completions.bash")
        .replace("@values@\n", &values)
        .replace("@options@", &forms_of(|_| true, " "))
        .replace(
            "@with_value@",
            &forms_of(|option| option.value().is_some(), " | "),
        )
        .replace("@switches@", &letters(false))
        .replace("@valued@", &letters(true))
}

pub(crate) fn zsh() -> String {
    let option = |option: &Opt| {
        // Before them: what they exclude.
        let (repeated, excluded) = match option.kind {
            Kind::Count | Kind::List(_) => ("*", String::new()),
            Kind::Help | Kind::Version => ("", "(- *)".to_owned()),
            Kind::Switch | Kind::Value(_) | Kind::Optional(_) => {
                ("", format!("({})", forms(option).join(" ")))
            }
        };
        // After them: where the value may stand.
        let forms: Vec<String> = forms(option)
            .into_iter()
            .map(|form| match option.value() {
                Some(_) if form.starts_with("--") => form + "=",
                Some(_) => form + "+",
                None => form,
            })
            .collect();
        let forms = match forms.as_slice() {
            [short, long] => format!("'{{{short},{long}}}'"),
            forms => forms.concat(),
        };
        let value = option.value().map(|name| {
            let action = match option.words {
                _ if name == FILE => "_files".to_owned(),
                [] => " ".to_owned(),
                words => format!("({})", words.join(" ")),
            };
            format!(":{}:{action}", name.replace(':', "\\:"))
        });
        let value = match option.kind {
            Kind::Optional(name) => Some(format!("::{name}:_files")),
            _ => value,
        };
        format!(
            "    '{excluded}{repeated}{forms}[{}]{}' \\\n",
            brief(option),
            value.unwrap_or_default()
        )
    };
    let options: Vec<String> = options::all().map(option).collect();
    include_str!("completions.zsh").replace("@options@\n", &options.concat())
}

pub(crate) fn fish() -> String {
    let option = |option: &Opt| {
        let short = option.short.map(|short| format!(" -s {short}"));
        let value = match option.value() {
            Some(FILE) => " -r -F".to_owned(),
            Some(_) if option.words.is_empty() => " -x".to_owned(),
            Some(_) => format!(" -x -a '{}'", option.words.join(" ")),
            None => String::new(),
        };
        format!(
            "complete -c supervise -n __supervise_takes_options{} -l {}{value} -d '{}'\n",
            short.unwrap_or_default(),
            option.long,
            brief(option)
        )
    };
    let options: Vec<String> = options::all().map(option).collect();
    include_str!("completions.fish")
        .replace("@options@\n", &options.concat())
        .replace(
            "@with_value@",
            &forms_of(|option| option.value().is_some(), " "),
        )
        .replace("@switches@", &letters(false))
        .replace("@valued@", &letters(true))
}

/// A folder with a command and a file in it.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("some-server", "", 0o755);
    folder.write("report-of-a-run", "", 0o644);
    folder
}

/// A shell in this folder, which is in its PATH; `None`, said aloud, if there is none.
fn shell(name: &str, folder: &Folder) -> Option<Command> {
    if let Err(error) = Command::new(name).args(["-c", ":"]).status() {
        skipped(&format!("completions: {name}: {error}"));
        return None;
    }
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new(name);
    shell
        .current_dir(folder.path())
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .env("HOME", folder.path())
        .env("ZDOTDIR", folder.path());
    Some(shell)
}

/// What is typed, and what `supervise` is given then.
const CASES: [(&str, &str); 16] = [
    ("--gr", "--grace"),
    ("-gt 5 --no-re", "-gt 5 --no-reraise"),
    ("--leftovers wa", "--leftovers wait"),
    ("--leftovers=wa", "--leftovers=wait"),
    ("--stop-on QU", "--stop-on QUIT"),
    ("-gp QU", "-gp QUIT"),
    ("--report rep", "--report report-of-a-run"),
    ("some-ser", "some-server"),
    ("-g -- some-ser", "-g -- some-server"),
    ("--grace 5 some-ser", "--grace 5 some-server"),
    (
        "--rewrite=TERM:INT -gt 5 some-ser",
        "--rewrite=TERM:INT -gt 5 some-server",
    ),
    ("some-server rep", "some-server report-of-a-run"),
    // Nothing is known of the value, and the options of the command are its own.
    ("-e some-ser", "-e some-ser"),
    ("some-server --gr", "some-server --gr"),
    // The command has a completion.
    (
        "--grace=5 some-server --spe",
        "--grace=5 some-server --special",
    ),
    ("-- some-server --spe", "-- some-server --special"),
];

/// Types each case into an interactive shell with these settings and presses Tab and Enter.
fn try_in(name: &str, settings: &str, cases: &[(&str, &str)]) {
    let folder = folder();
    let settings = settings.replace("@root@", root().to_str().unwrap());
    for file in [".bashrc", ".zshrc"] {
        folder.write(file, &settings, 0o644);
    }
    let Some(mut shell) = shell(name, &folder) else {
        return;
    };
    shell.arg("-i").env("TERM", "dumb").env("PS1", "$ ");
    let mut terminal = Terminal::led_by(shell);
    terminal.sees("settings are read");
    for (typed, given) in cases {
        terminal.keys(&format!("supervise {typed}\t\n"));
        terminal.sees("given:");
        assert_eq!(terminal.sees(";"), *given, "{typed}");
    }
}

#[test]
fn bash_completes_options_values_and_the_command() {
    const BASH_COMPLETION: &str = "/usr/share/bash-completion/bash_completion";
    if !Path::new(BASH_COMPLETION).exists() {
        return skipped(&format!("completions: {BASH_COMPLETION} is missing"));
    }
    let settings = format!(
        r#"
        . {BASH_COMPLETION}
        . @root@/{BASH}
        complete -o default -W --special some-server
        supervise() {{ printf 'given:%s;' "$*"; }}
        echo settings are read
        "#
    );
    try_in("bash", &settings, &CASES);
}

#[test]
fn bash_alone_completes_all_but_options_of_the_command() {
    let settings = format!(
        r#"
        . @root@/{BASH}
        supervise() {{ printf 'given:%s;' "$*"; }}
        echo settings are read
        "#
    );
    let (own, _) = CASES.split_at(CASES.len() - 2);
    try_in("bash", &settings, own);
}

#[test]
fn zsh_completes_options_values_and_the_command() {
    let settings = r#"
        fpath=(@root@/completions $fpath)
        autoload -U compinit
        compinit -u -D
        # Complete although more is typed already.
        zstyle ':completion:*' insert-tab false
        _some_server() { compadd -- --special || _files }
        compdef _some_server some-server
        supervise() { printf 'given:%s;' "$*" }
        echo settings are read
    "#;
    try_in("zsh", settings, &CASES);
}

#[test]
fn fish_completes_options_values_and_the_command() {
    let folder = folder();
    for (typed, given) in CASES {
        let Some(mut shell) = shell("fish", &folder) else {
            return;
        };
        let script = format!(
            "source {}/{FISH}; complete -c some-server -l special; complete -C 'supervise {typed}'",
            root().display()
        );
        let output = shell.args(["-c", &script]).output().unwrap();
        assert!(output.stderr.is_empty(), "{typed}: {output:?}");
        let found = String::from_utf8(output.stdout).unwrap();
        let found: Vec<_> = found.lines().map(|line| line.split('\t').next()).collect();
        let last = given.rsplit(' ').next();
        if typed == given {
            assert_eq!(found, [], "{typed}");
        } else {
            assert_eq!(found, [last], "{typed}");
        }
    }
}

/// A completion must not offer what is refused.
#[test]
fn the_program_takes_every_value_that_is_offered() {
    for option in options::all() {
        for word in option.words {
            let value = format!("--{}={word}", option.long);
            let mut supervise = Command::new(SUPERVISE);
            let output = supervise.args([&value, "-q", "-v", "true"]).output();
            let why = String::from_utf8(output.unwrap().stderr).unwrap();
            assert!(why.contains("--quiet and --verbose"), "{value}: {why}");
        }
    }
}
