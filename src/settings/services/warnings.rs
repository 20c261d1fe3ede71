//! Tests of what is warned of: each line with its place.

use super::testing::{SERVICE, Testing};
use super::*;

#[test]
fn what_a_one_shot_may_provide_is_a_warning() {
    let testing = Testing::new();
    let missing = "command = ['/opt/new']\nuser = 'new'\nworking_dir = '/bin'\n";
    let text = |ready: &str, enabled: bool| {
        format!(
            "grace = 5\n[services.setup]\ncommand = ['app']\nready = '{ready}'\n\
             enabled = {enabled}\n[services.middle]\ncommand = ['app']\ndepends_on = ['setup']\n\
             [services.web]\ndepends_on = ['middle']\n{missing}"
        )
    };
    let warnings = testing.accepted(&text("exited", true)).warnings;
    assert_eq!(
        warnings,
        [
            "a:11:12: program '/opt/new' does not exist; install it or correct the path, unless a \
             service before it provides that",
            "a:12:8: user 'new' is not in /etc/passwd; add it, or use numbers, as in \
             \"4242:4242\", unless a service before it provides that",
        ]
    );
    assert_eq!(testing.refused(&text("started", true)).len(), 2);
    assert_eq!(testing.refused(&text("exited", false)).len(), 2);
    let directory = "working_dir = '/new'\n";
    let text = text("exited", true).replace("working_dir = '/bin'\n", directory);
    assert_eq!(
        testing.accepted(&text).warnings.len(),
        2,
        "no program without its directory"
    );
}

#[test]
fn a_check_warns_of_what_is_missing_here() {
    let testing = Testing::new();
    let text = "grace = 5\n[services.a]\ncommand = ['nothing', '${UNSET}']\nuser = 'nobody'\n\
                working_dir = '/nothing'\nstop_signal = '${UNSET}'\nenabled = '${UNSET}'\n\
                [services.b]\ncommand = ['${UNSET}']\nuser = '${UNSET}'\n\
                depends_on = ['a', '${UNSET}']\n[services.c]\ncommand = ['nothing']\n";
    let check = |text: &str| testing.read_all(&[text], &Given::default(), Purpose::Check);
    let services = check(text).unwrap();
    let places: Vec<&str> = services
        .warnings
        .iter()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "a:3:24", "a:4:8", "a:5:15", "a:6:16", "a:7:12", "a:9:13", "a:10:9", "a:11:21",
            "a:13:12"
        ]
    );
    assert_eq!(services.list[1].depends_on, [0]);
    assert_eq!(services.list[1].command.argv, [c"${UNSET}".to_owned()]);
    // But not of what is wrong.
    let lines = check(&text.replace("'nobody'", "'nobody:'")).unwrap_err();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(testing.refused(text).len() >= 9);
}

#[test]
fn we_must_be_allowed_to_become_a_user() {
    let mut testing = Testing::new();
    testing.world.us = Us {
        uid: 36,
        gid: 36,
        groups: vec![],
        may_change: false,
    };
    let text = |user: &str| format!("{SERVICE}user = '{user}'\n");
    testing.accepted(&text("own"));
    let expected = "a:4:8: supervise may not become user 'www'; run it as root with the \
                    capabilities SETUID and SETGID";
    assert_eq!(testing.refused(&text("www")), [expected]);
    let check = testing.read_all(&[&text("www")], &Given::default(), Purpose::Check);
    assert_eq!(check.unwrap().warnings, [expected]);
}

#[test]
fn what_may_be_a_mistake_is_warned_of() {
    let testing = Testing::new();
    let bare = "a $NAME in this word is not replaced; write ${NAME}";
    for (command, column) in [
        ("['app', '$HOME']", Some(19)),
        ("['$HOME']", Some(12)),
        ("['app', '$1', '$', '$${HOME}', '${PORT}']", None),
        ("['sh', '-c', 'echo $HOME']", None),
        ("['/bin/sh', '-c', 'echo $HOME']", None),
        ("['app', '/bin/bash', '-c', 'echo $HOME']", None),
    ] {
        let text = format!("grace = 8\n[services.a]\ncommand = {command}\n");
        let result = testing
            .read_all(&[&text], &Given::default(), Purpose::Check)
            .unwrap();
        let of_names: Vec<_> = result
            .warnings
            .iter()
            .filter(|line| line.contains("$NAME"))
            .collect();
        let expected = column.map(|column| format!("a:3:{column}: {bare}"));
        assert_eq!(of_names, expected.iter().collect::<Vec<_>>(), "{command}");
    }
    let limit = "a:4:17: restart_limit has no effect without restart; use restart = \"on-failure\"";
    assert_eq!(
        testing
            .accepted(&format!("{SERVICE}restart_limit = 3"))
            .warnings,
        [limit]
    );
    let text = format!("{SERVICE}restart_limit = 3\n[defaults]\nrestart = 'always'");
    assert_eq!(testing.accepted(&text).warnings, Vec::<String>::new());
}
