//! Tests of files that are refused as a whole: each line with its place.

use std::time::Duration;

use super::testing::{SERVICE, Testing};
use super::*;
use crate::settings::values::StopOn;

#[test]
fn wrong_values_for_all_services_are_refused() {
    let testing = Testing::new();
    for (line, column, expected) in [
        (
            "grace = 'x'",
            9,
            "'x' is not a duration; use for example 10, 500ms, 1m30s, 0 or infinity",
        ),
        (
            "grace = '${TOKEN}'",
            9,
            "'${TOKEN}' is not a duration; use for example 10, \"500ms\" or \"1m30s\"",
        ),
        (
            "grace = true",
            9,
            "grace must be a duration, not a boolean; use for example 10, \"500ms\" or \"1m30s\"",
        ),
        (
            "grace = 5\nstop_delay = 5",
            14,
            "'5' must be shorter than the grace period of 5s, of which it is a part; raise --grace or shorten the delay",
        ),
        (
            "grace = 5\nstop_delay = '${PORT}'",
            14,
            "'${PORT}' must be shorter than the grace period of 5s, of which it is a part; raise --grace or shorten the delay",
        ),
        (
            "grace = 5\nstop_delay = 'x'",
            14,
            "'x' is not a duration; use for example 10, 500ms, 1m30s or 0",
        ),
        (
            "grace = 5\nstop_on = ['KILL']",
            12,
            "SIGKILL cannot be caught; use another signal",
        ),
        (
            "grace = 5\nstop_on = {}",
            11,
            "stop_on must be a list of signals, not a table; use for example [\"HUP\", \"USR1\"]",
        ),
        (
            "grace = 5\nprefix = 'yes'",
            10,
            "'yes' is not a choice for the prefix; use \"auto\", \"always\" or \"never\"",
        ),
        (
            "grace = 5\nprefix = 'auto'",
            10,
            "prefix is not supported yet; use \"never\" or remove it",
        ),
        (
            "grace = 5\nprefix = true",
            10,
            "prefix must be a choice for the prefix, not a boolean; use \"auto\", \"always\" or \"never\"",
        ),
        (
            "grace = 5\ndefaults = 1",
            12,
            "defaults must be a table, not an integer; write [defaults], and its keys below",
        ),
    ] {
        let text = format!("{line}\n[services.a]\ncommand = ['app']\n");
        let row = line.lines().count();
        assert_eq!(
            testing.refused(&text),
            [format!("a:{row}:{column}: {expected}")],
            "{line}"
        );
    }
}

#[test]
fn more_than_1000_services_are_refused() {
    let service = |number: usize| format!("[services.s{number}]\ncommand = ['app']\n");
    let mut text = "grace = 5\n".to_owned();
    text.extend((0..1000).map(service));
    let testing = Testing::new();
    assert_eq!(testing.accepted(&text).list.len(), 1000);
    text.push_str(&service(1000));
    let expected = "a: more than 1000 services; remove some of them";
    assert_eq!(testing.refused(&text), [expected]);
}

#[test]
fn files_without_services_are_refused() {
    let testing = Testing::new();
    let none = "a: no services; write [services.NAME], and its command below";
    let off = "a: all services are off; turn one on by its key enabled";
    let list = "a service must be a table, not a list; write [services.a] with single brackets, \
                and its keys below";
    for (text, expected) in [
        ("", none),
        ("[services]", none),
        (
            "services = 5",
            "a:2:12: services must be a table, not an integer; write [services.NAME] for each service",
        ),
        (
            "[[services]]\ncommand = ['app']",
            "a:2:1: services must be a table, not a list; write [services.NAME] for each service",
        ),
        (
            "[[services.a]]\ncommand = ['app']",
            &*format!("a:2:12: {list}"),
        ),
        ("[services.a]\ncommand = ['app']\nenabled = false", off),
        ("[services.a]\ncommand = ['app']\nenabled = '${NO}'", off),
        ("[services.a]\ncommand = ['app']\nenabled = '${EMPTY}'", off),
        (
            "[services.a]",
            "a:2:11: command is missing; write command = [\"PROGRAM\", \"ARGUMENT\"]",
        ),
        (
            "[services.a-]\ncommand = ['app']\nenabled = false\n[services.a]",
            "a:5:11: command is missing; write command = [\"PROGRAM\", \"ARGUMENT\"]",
        ),
    ] {
        let lines = testing.refused(&format!("grace = 5\n{text}\n"));
        assert!(lines.contains(&expected.to_owned()), "{text}\n{lines:#?}");
    }
    let lines = testing.refused("[services.a]\ncommand = ['app']\n");
    assert_eq!(
        lines,
        [
            "no grace period is set; use --grace, SUPERVISE_GRACE or grace = \"8s\" at the top of a: \
          \"8s\" for docker stop (10s), \"28s\" for Kubernetes (30s), \"88s\" for systemd (90s)"
        ]
    );
}

#[test]
fn names_are_letters_digits_dashes_and_underscores() {
    let testing = Testing::new();
    let long = "x".repeat(64);
    for name in ["a", "A-1_b", "9", "-", &*long] {
        let services =
            testing.accepted(&format!("grace = 5\n[services.{name}]\ncommand = ['app']"));
        assert_eq!(services.list[0].name, name);
    }
    let longer = "x".repeat(65);
    for name in ["", "a b", "ä", "a.b", &*longer] {
        let lines = testing.refused(&format!(
            "grace = 5\n[services.'{name}']\ncommand = ['app']"
        ));
        let expected = format!(
            "a:2:11: '{name}' is not a name for a service; use letters, digits, '-' and '_', at \
             most 64"
        );
        assert_eq!(lines, [expected]);
    }
}

#[test]
fn contradictions_are_refused() {
    let testing = Testing::new();
    let lines = testing.refused(&format!("{SERVICE}ready = 'exited'\nrestart = 'always'"));
    let expected =
        "a:5:11: restart = \"always\" contradicts ready = \"exited\"; use \"on-failure\"";
    assert_eq!(lines, [expected]);
    let lines = testing.refused(&format!(
        "stop_on = ['HUP']\n{SERVICE}forward_signals = ['USR1', 1]"
    ));
    let expected = "a:5:19: SIGHUP is a stop request by stop_on and cannot be forwarded as well; \
                    remove it from one of them";
    assert_eq!(lines, [expected]);
    let mut stop_on = StopOn::default();
    stop_on.add("USR1").unwrap();
    let given = Given {
        stop_on: Some(Sourced {
            source: "SUPERVISE_STOP_ON".to_owned(),
            value: stop_on,
        }),
        stop_delay: Some(Sourced {
            source: "--stop-delay".to_owned(),
            value: Duration::from_secs(9),
        }),
        ..Given::default()
    };
    let text =
        format!("stop_on = 'HUP'\nstop_delay = 1\n{SERVICE}forward_signals = ['HUP', 'USR1']");
    let lines = testing
        .read_all(&[&text], &given, Purpose::Run)
        .unwrap_err();
    assert_eq!(
        lines,
        [
            "--stop-delay: '9s' must be shorter than the grace period of 8s, of which it is a \
             part; raise --grace or shorten the delay",
            "a:6:19: SIGUSR1 is a stop request by SUPERVISE_STOP_ON and cannot be forwarded as \
             well; remove it from one of them",
        ]
    );
}

#[test]
fn circles_are_named_whole() {
    let testing = Testing::new();
    let service = |name: &str, needed: &str| {
        format!("[services.{name}]\ncommand = ['app']\ndepends_on = [{needed}]\n")
    };
    let text = [
        "grace = 5\n".to_owned(),
        service("web", "'app'"),
        service("app", "'db', 'cache'"),
        service("db", ""),
        service("cache", "'web'"),
        service("x", "'y'"),
        service("y", "'x'"),
    ]
    .concat();
    assert_eq!(
        testing.refused(&text),
        [
            "a:2:11: services depend on each other in a circle: web -> app -> cache -> web; \
             remove one of these from depends_on",
            "a:14:11: services depend on each other in a circle: x -> y -> x; remove one of these \
             from depends_on",
        ]
    );
}

#[test]
fn several_files_are_one() {
    let testing = Testing::new();
    let read = |texts: &[&str]| testing.read_all(texts, &Given::default(), Purpose::Run);
    let first = "grace = 5\n[defaults]\nrestart = 'always'\n[services.a]\ncommand = ['app']\ndepends_on = ['b']\n";
    let second = "stop_delay = 1\n[services.b]\ncommand = ['app']\n";
    let services = read(&[first, second]).unwrap();
    assert_eq!(services.stop_delay, Duration::from_secs(1));
    assert_eq!(services.list[0].depends_on, [1]);
    assert_eq!(services.list[1].restart, Restart::Always);
    let first = first.replace("depends_on = ['b']\n", "");
    assert_eq!(
        read(&[&first, &first]).unwrap_err(),
        [
            "b:1:1: grace stands in two files, also at a:1:1; keep one of them",
            "b:2:2: defaults stands in two files, also at a:2:2; keep one of them",
            "b:4:11: service 'a' stands in two files, also at a:4:11; rename or remove one of them",
        ]
    );
}

#[test]
fn all_errors_are_found_in_one_go() {
    let testing = Testing::new();
    let text = "grace = 'x'\n[services.web]\ncommand = 'app'\nready = 'up'\ncwd = '/'\n\
                [services.db]\ncommand = ['nothing']\nuser = 'nobody'\ndepends_on = ['web', 'cache']\n";
    let places: Vec<String> = testing
        .refused(text)
        .iter()
        .map(|line| line.splitn(4, ':').take(3).collect::<Vec<_>>().join(":"))
        .collect();
    assert_eq!(
        places,
        [
            "a:1:9", "a:3:11", "a:4:9", "a:5:1", "a:7:12", "a:8:8", "a:9:22"
        ]
    );
    // What is missing may be in the part that could not be read. Other errors are reported.
    let texts = [
        "[services.web]\ncommand = [app]\n",
        "[services.db]\nuser = true\ncommand = ['nothing']\ndepends_on = ['web']",
    ];
    let lines = testing
        .read_all(&texts, &Given::default(), Purpose::Run)
        .unwrap_err();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[0].starts_with("a:2:12: ") && lines[1].starts_with("b:2:8: "),
        "{lines:#?}"
    );
}
