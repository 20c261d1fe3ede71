//! The options about several services, and what `--check` prints.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::*;

const SERVICES: &str = "grace = '8s'\n\
    [services.web]\ncommand = ['/bin/touch', 'FOLDER/started']\ndepends_on = ['db']\n\
    [services.db]\ncommand = ['/bin/touch', 'FOLDER/started']\nstop_grace_period = '1.5s'\n";

/// A folder with this file in it, in which FOLDER stands for the folder.
fn folder(name: &str, text: &str) -> Folder {
    let folder = Folder::new();
    let path = folder.path().to_str().unwrap().to_owned();
    folder.write(name, text.replace("FOLDER", &path), 0o644);
    folder
}

#[test]
fn the_check_prints_the_plan_and_starts_nothing() {
    let folder = folder("services.toml", SERVICES);
    let file = folder.file("services.toml");
    for words in [
        &["--check", "-f", &file][..],
        &["-f", &file, "--check", "--"],
    ] {
        let output = supervise(words);
        assert_eq!((output.code, &*output.errors), (Some(0), ""));
        let expected = "\
start: each service when those that it depends on are ready

  service  ready     after
  db       started
  web      started   db

stop: each service when those that depend on it are gone, or at the
latest so long after the stop request

  service  signal        share    latest  after
  web      SIGTERM       2.16s        0s
  db       SIGTERM        1.5s      6.5s  web

SIGKILL after 8s
stop requests: SIGINT, SIGQUIT, SIGTERM

stop timeout for this grace period of 8s: 2s more

  docker run    --stop-timeout 10
  Compose       stop_grace_period: 10s
  Kubernetes    terminationGracePeriodSeconds: 10
  systemd       TimeoutStopSec=10
";
        assert_eq!(output.stdout, expected);
        assert!(!Path::new(&folder.file("started")).exists());
    }
}

#[test]
fn a_directory_is_checked_in_order_of_name_and_what_is_missing_is_a_warning() {
    let folder = folder(
        "b.toml",
        "[services.b]\ncommand = ['/nothing/b', '${UNSET}']\n",
    );
    folder.write(
        "a.toml",
        "grace = 5\n[services.a]\ncommand = ['nginx']\n",
        0o644,
    );
    folder.write("c.txt", "nonsense", 0o644);
    let output = supervise(&["--check", "--services", folder.path().to_str().unwrap()]);
    assert_eq!((output.code, &*output.errors), (Some(0), ""), "{output:?}");
    let rows = "  service  ready     after\n  a        started\n  b        started\n";
    assert!(output.stdout.contains(rows), "{}", output.stdout);
    let (_, warnings) = output.stdout.split_once("\n\nwarning: ").unwrap();
    for expected in [
        "b.toml:2:12: program '/nothing/b' does not exist",
        "b.toml:2:27: variable UNSET is not set",
        "warning: a: on SIGTERM nginx cuts off requests; use stop_signal = \"QUIT\"\n",
        "warning: a: nginx may put itself in the background, and then counts as exited; add -g \
         'daemon off;'\n",
    ] {
        assert!(warnings.contains(expected), "{expected}: {warnings}");
    }
}

#[test]
fn every_error_in_the_files_is_a_line_on_stderr() {
    let text = "grace = 'x'\n[services.a]\ncommand = 'touch FOLDER/started'\nrestart = 'maybe'\n";
    let folder = folder("services.toml", text);
    let file = folder.file("services.toml");
    for words in [&["-f", &file][..], &["-f", &file, "--check"]] {
        let output = supervise(words);
        assert_eq!((output.code, &*output.stdout), (Some(125), ""));
        let lines: Vec<&str> = output.errors.lines().collect();
        assert_eq!(lines.len(), 3, "{lines:#?}");
        for (line, place) in lines.iter().zip(["1:9", "3:11", "4:11"]) {
            let start = format!("supervise: {file}:{place}: ");
            assert!(line.starts_with(&start), "{line}");
        }
        assert!(!Path::new(&folder.file("started")).exists());
    }
}

#[test]
fn what_does_not_go_with_services_is_one_line_and_starts_nothing() {
    let folder = folder("services.toml", SERVICES);
    let file = folder.file("services.toml");
    let marker = folder.file("started");
    for words in [
        &["-f", &file, "touch", &marker][..],
        &["-f", &file, "--", "touch", &marker],
        &["-g", "-f", &file],
        &["-f", &file, "--report", &marker],
        &["-f", &file, "--rehearse", "ready"],
        &["-f", &file, "--prefix", "always"],
        &["-f", &file, "--leftovers", "leave"],
        &["--check"],
        &["--check", "touch", &marker],
        &["--status-file", &marker],
        &["--status", "-f", &file],
        &["--status", &marker, "touch", &marker],
        &["-f"],
    ] {
        let output = supervise(words);
        assert_eq!(output.code, Some(125), "{words:?}: {output:?}");
        assert_eq!(output.stdout, "", "{words:?}");
        assert_eq!(output.errors.lines().count(), 1, "{words:?}: {output:?}");
        assert!(!Path::new(&marker).exists(), "{words:?}");
    }
}

#[test]
fn a_plan_that_cannot_be_printed_is_an_error() {
    let folder = folder("services.toml", SERVICES);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let status = Command::new(SUPERVISE)
        .args(["--check", "-f", &folder.file("services.toml")])
        .stdout(full.unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(125));
}
