//! What is written about the program agrees with the program: options, their
//! variables, and the commands that a reader can copy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

mod completions;
mod examples;
mod generated;
#[path = "../harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "the program uses what is not used here")]
#[path = "../../src/settings/known_programs.rs"]
mod known_programs;
#[allow(dead_code, reason = "the program uses what is not used here")]
#[path = "../../src/cli/options.rs"]
mod options;
mod services;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// README.md, CONTRIBUTING.md and what is in docs with this ending.
fn documents(ending: &str) -> Vec<String> {
    let mut documents = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    for entry in root().join("docs").read_dir().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(ending) {
            documents.push(format!("docs/{name}"));
        }
    }
    documents
}

#[test]
fn no_document_names_an_unknown_variable() {
    let of_options = options::all().filter(|option| option.variable);
    let mut known: BTreeSet<String> = of_options
        .map(|option| options::variable_name(option.long))
        .collect();
    // The prefix, and what Kubernetes sets for a Service named supervise.
    known.extend(["SUPERVISE_", "SUPERVISE_SERVICE_", "SUPERVISE_PORT"].map(str::to_owned));
    known.insert(options::LOG.to_owned());
    let mut named = BTreeSet::new();
    for document in documents("") {
        let text = read(&document);
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            if word.starts_with(options::PREFIX) {
                assert!(known.contains(word), "{document}: {word}");
                named.insert(word.to_owned());
            }
        }
    }
    assert_eq!(named, known);
}

#[test]
fn the_man_pages_are_well_formed() {
    match Command::new("groff")
        .args(["-man", "-Tutf8", "-ww", "-z"])
        .args(["docs/supervise.1", "docs/supervise.toml.5"])
        .current_dir(root())
        .output()
    {
        Ok(output) => {
            assert!(output.status.success());
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        }
        Err(error) => skipped(&format!("groff: {error}")),
    }
}

/// A shell that runs a block as a reader would. A build that stands in it goes
/// to a folder of its own: in that of the tests it would put a new program in
/// the place of the one that they are running.
fn reader(block: &str) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["-euc", block])
        .env("CARGO_TARGET_DIR", root().join("target/reader"))
        .current_dir(root())
        .stdin(Stdio::null());
    bash
}

/// The blocks of a document that are to be copied into a shell.
fn shell_blocks(document: &str) -> Vec<String> {
    let text = read(document);
    let blocks = text.split("\n```sh\n").skip(1);
    blocks
        .map(|rest| rest.split("\n```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_commands_in_documents_work() {
    let folder = Path::new(SUPERVISE).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut run = 0;
    for document in [
        "README.md",
        "docs/migrating.md",
        "docs/design.md",
        "docs/shell.md",
        "docs/report.md",
        "docs/services.md",
    ] {
        for block in shell_blocks(document) {
            // It takes a build of its own, and `.ci/run` does it.
            if block.contains("cargo build --release") {
                continue;
            }
            let output = reader(&block).env("PATH", &path).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{document}: {block}\n{errors}"
            );
            run += 1;
        }
    }
    assert!(run >= 10, "only {run} blocks were found");
}

/// What a document shows of the output of a block: the `text` block that follows it
/// under the same heading.
fn shown(document: &str) -> Vec<(String, String)> {
    let text = read(document);
    let mut pairs = Vec::new();
    for section in text.split("\n#") {
        let blocks: Vec<&str> = section.split("\n```").collect();
        // Every second part is inside a block, and begins with its language.
        let inside: Vec<&str> = blocks.iter().skip(1).step_by(2).copied().collect();
        for pair in inside.windows(2) {
            if let (Some(block), Some(output)) =
                (pair[0].strip_prefix("sh\n"), pair[1].strip_prefix("text\n"))
            {
                pairs.push((block.to_owned(), output.to_owned()));
            }
        }
    }
    pairs
}

#[test]
fn documents_show_what_their_commands_print() {
    let folder = Path::new(SUPERVISE).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let shown = ["README.md", "docs/shell.md", "docs/services.md"]
        .map(shown)
        .concat();
    assert_eq!(shown.len(), 7, "{shown:?}");
    for (block, expected) in shown {
        let output = reader(&block).env("PATH", &path).output().unwrap();
        let said = [output.stderr, output.stdout]
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .concat();
        // Whatever the numbers are.
        let plain = |line: &str| line.split(|c: char| c.is_ascii_digit()).collect::<String>();
        for line in expected.lines() {
            assert!(
                said.lines().any(|said| plain(said) == plain(line)),
                "{line:?} is not in {said}"
            );
        }
    }
}

/// Examples that a guide shows, and that the tests on real engines use.
#[test]
fn guides_show_examples_in_full() {
    for (guide, example) in [
        ("docs/systemd.md", "examples/worker.service"),
        ("docs/systemd.md", "examples/notifier.service"),
        ("docs/kubernetes.md", "examples/pod.yaml"),
    ] {
        let text = read(example);
        assert!(
            read(guide).contains(&format!("\n{text}```\n")),
            "{guide} does not show {example} as it is"
        );
    }
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let mut links = 0;
    for document in documents(".md") {
        let text = read(&document);
        let folder = root().join(&document);
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let file = folder.parent().unwrap().join(target);
            assert!(file.exists(), "{document}: {target}");
            links += 1;
        }
    }
    assert!(links > 20, "only {links} links were found");
}

#[test]
fn bad_usage_logs_one_line_and_exits_with_125() {
    let folder = Folder::new();
    let file = folder.file("started");
    for words in [
        &["-t", "-1"][..],
        &["-t", "nonsense"],
        &["-t", "99999999999999999999"],
        &["--stop-on", "NOPE"],
        &["-r", "KILL:TERM"],
        &["-r", "TERM:INT", "-r", "TERM:QUIT"],
        &["--leftovers", "keep"],
        &["-g", "-c"],
        &["-q", "-v"],
        &["-e", "256"],
        &["-p", "NOPE"],
        &["--nonsense"],
        &["-Z"],
    ] {
        let output = Command::new(SUPERVISE)
            .args(words)
            .args(["--", "touch", &file])
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(125), "{words:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{words:?}: {errors}");
        assert!(errors.starts_with("supervise: "), "{words:?}: {errors}");
        assert!(!Path::new(&file).exists(), "{words:?}");
    }
    let output = Command::new(SUPERVISE).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no command"));
}

#[test]
fn the_version_is_that_of_the_package() {
    let output = Command::new(SUPERVISE).arg("--version").output().unwrap();
    let expected = format!("supervise {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn a_version_that_cannot_be_printed_is_an_error() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let status = Command::new(SUPERVISE)
        .arg("--help")
        .stdout(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(125));
    for option in ["--version", "--help"] {
        let script = format!("exec {SUPERVISE} {option} >&-");
        let closed = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(closed.status.code(), Some(125), "{option}");
        let errors = String::from_utf8_lossy(&closed.stderr);
        let expected = "cannot write to stdout: Bad file number; open it\n";
        assert!(errors.contains(expected), "{errors}");
    }
}
