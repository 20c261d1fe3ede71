//! What is written about several services: the files that a reader can copy are right, and
//! the services in `examples/services`, stopped at random moments, lose nothing under
//! `supervise`, and items under a shell.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::*;
use crate::{documents, read, root};

/// Stops the services so often, and returns what the example program printed.
#[track_caller]
fn stop(home: Home, rounds: u32, command: &[&str]) -> (Option<i32>, String) {
    let folder = Path::new(SUPERVISE).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut program = Command::new(root().join("examples/services/try.py"));
    program.args(["-v", "--rounds", &rounds.to_string()]);
    if home.is_pid1() {
        program.arg("--pid1");
    }
    let output = program
        .args(command)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), printed.concat())
}

/// As an ordinary process and, if this is root, as PID 1.
fn places() -> Vec<Home> {
    let mut places = homes_without_user_namespace();
    if !is_root() {
        places.truncate(1);
    }
    places
}

#[track_caller]
fn nothing_is_lost(rounds: u32) {
    for home in places() {
        let (code, printed) = stop(home, rounds, &[SUPERVISE, "-f", "services.toml"]);
        assert_eq!(code, Some(0), "{home:?}: {printed}");
        let total = printed.lines().find(|line| line.starts_with("stopped"));
        let _ = writeln!(std::io::stderr(), "{home:?}: {}", total.unwrap());
    }
}

#[test]
fn services_lose_nothing_when_they_are_stopped() {
    if lacks("python3") {
        return;
    }
    nothing_is_lost(3);
}

#[test]
#[ignore = "takes ten minutes: cargo test --test documents -- --ignored --nocapture two_hundred"]
fn services_lose_nothing_in_two_hundred_stops() {
    nothing_is_lost(200);
    for home in places() {
        let (_, printed) = stop(home, 200, &["./services.sh"]);
        let total = printed.lines().find(|line| line.starts_with("stopped"));
        let _ = writeln!(
            std::io::stderr(),
            "{home:?}, in a shell: {}",
            total.unwrap()
        );
    }
}

#[test]
fn the_shell_that_starts_the_same_services_loses_items() {
    if lacks("python3") {
        return;
    }
    for home in places() {
        // With this seed no stop is during the start, when the worker has no items yet.
        let (code, printed) = stop(home, 2, &["--seed", "4", "./services.sh"]);
        assert_eq!(code, Some(1), "{home:?}: {printed}");
        assert!(printed.contains("acknowledged"), "{home:?}: {printed}");
    }
}

/// The files of services in a document.
fn files_in(document: &str) -> Vec<String> {
    let text = read(document);
    let blocks = text.split("\n```toml\n").skip(1);
    blocks
        .map(|rest| rest.split("\n```").next().unwrap().to_owned() + "\n")
        .collect()
}

#[test]
fn the_files_of_services_in_documents_are_right() {
    let folder = Folder::new();
    let mut files = vec![read("examples/services/services.toml")];
    for document in documents(".md") {
        files.extend(files_in(&document));
    }
    // The example of the man page.
    let page = read("docs/supervise.toml.5").replace("\\-", "-");
    let examples = page.split("\n.EX\n").skip(1);
    let examples = examples.map(|rest| rest.split("\n.EE").next().unwrap().to_owned() + "\n");
    files.extend(examples.filter(|text| text.starts_with("grace = ")));
    assert!(files.last().unwrap().contains("pg_isready"), "{files:?}");
    assert!(files.len() >= 8, "only {} files were found", files.len());
    for text in files {
        let path = folder.write("services.toml", &text, 0o644);
        let output = supervise(&["--check", "-f", &path]);
        assert_eq!(output.code, Some(0), "{text}\n{}", output.errors);
    }
}

/// The words in a list of the source of the reader.
fn keys(list: &str) -> Vec<String> {
    let text = read("src/settings/services/keys.rs");
    let (_, rest) = text.split_once(&format!("const {list}: ")).unwrap();
    let (list, _) = rest.split_once("];").unwrap();
    let words = list.split('"').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

#[test]
fn every_key_is_described() {
    let guide = read("docs/services.md");
    let page = read("docs/supervise.toml.5");
    let known = [keys("WHOLE"), keys("SERVICE")].concat();
    assert!(known.len() >= 19, "{known:?}");
    for key in &known {
        // It does nothing yet.
        if key != "prefix" {
            assert!(guide.contains(&format!("\n| `{key}` | ")), "{key}");
        }
        assert!(page.contains(&format!("\n.TP\n.B {key}\n")), "{key}");
    }
    for (kind, table) in [("READY", "`{ "), ("DEFAULTS", "`")] {
        for key in keys(kind) {
            assert!(guide.contains(&format!("{table}{key}")), "{key}");
        }
    }
}
