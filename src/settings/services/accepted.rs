//! Tests of what the files are made into.

use std::time::Duration;

use super::testing::Testing;
use super::*;
use crate::settings::values::{self, StopOn};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn set(signals: &[Signal]) -> SignalSet {
    let mut set = SignalSet::EMPTY;
    for signal in signals {
        set.insert(*signal);
    }
    set
}

fn argv(words: &[&str]) -> Vec<CString> {
    words
        .iter()
        .map(|word| CString::new(*word).unwrap())
        .collect()
}

#[test]
fn a_service_with_nothing_but_a_command_has_the_defaults() {
    let services = Testing::new().accepted("grace = 8\n[services.a]\ncommand = ['app']\n");
    let mut default_stop_on = values::default_stop_on();
    default_stop_on.insert(Signal::QUIT);
    assert_eq!(
        services,
        Services {
            grace: Grace::For(seconds(8)),
            stop_delay: Duration::ZERO,
            stop_on: default_stop_on,
            stop_on_by_default: default_stop_on,
            prefix: Prefix::Auto,
            list: vec![Service {
                name: "a".to_owned(),
                command: Command {
                    argv: argv(&["app"]),
                    shown: "app".to_owned(),
                },
                depends_on: vec![],
                ready: Ready::Started,
                ready_timeout: None,
                stop_signal: Signal::TERM,
                stop_grace_period: None,
                restart: Restart::No,
                restart_limit: Some(5),
                essential: true,
                success_exit_codes: vec![],
                user: None,
                working_dir: None,
                environment: vec![],
                forward_signals: SignalSet::EMPTY,
            }],
            off: vec![],
            warnings: vec![],
        }
    );
}

#[test]
fn all_keys_are_read() {
    let text = r#"
        grace = "28s"
        stop_delay = 0.5
        stop_on = ["none", "TERM", "WINCH"]
        prefix = "never"

        [services.web]
        command = ["app", "--port=${PORT}", "$1", "$${PORT}", "${UNSET:-a b}"]
        depends_on = ["db", "db"]
        ready = { tcp = "${PORT}" }
        ready_timeout = "1m"
        stop_signal = "SIGQUIT"
        stop_grace_period = "5s"
        restart = "always"
        restart_limit = "infinity"
        essential = false
        success_exit_codes = [1, "2"]
        user = "www:ssl"
        working_dir = "/bin"
        environment = { A = "${PORT}", B = 5, C = "" }
        forward_signals = ["HUP", 10]
        enabled = "yes"

        [services.db]
        command = ["app"]
        stop_signal = 2
        restart_limit = "0"
        forward_signals = "usr2"
    "#;
    let services = Testing::new().accepted(text);
    assert_eq!(services.grace, Grace::For(seconds(28)));
    assert_eq!(services.stop_delay, Duration::from_millis(500));
    let winch = set(&[Signal::TERM, Signal::WINCH]);
    assert_eq!(
        (services.stop_on, services.stop_on_by_default),
        (winch, SignalSet::EMPTY)
    );
    assert_eq!(services.prefix, Prefix::Never);
    let [web, db] = &services.list[..] else {
        panic!("{services:?}");
    };
    assert_eq!(
        web.command.argv,
        argv(&["app", "--port=8000", "$1", "${PORT}", "a b"])
    );
    assert_eq!(web.depends_on, [1]);
    let Ready::Tcp(tcp) = &web.ready else {
        panic!("{web:?}");
    };
    assert_eq!(tcp.value[0].to_string(), "127.0.0.1:8000");
    assert_eq!(tcp.shown, "${PORT}");
    assert_eq!(web.ready_timeout, Some(seconds(60)));
    assert_eq!(web.stop_signal, Signal::QUIT);
    assert_eq!(web.stop_grace_period, Some(seconds(5)));
    assert_eq!((web.restart, web.restart_limit), (Restart::Always, None));
    assert!(!web.essential);
    assert_eq!(web.success_exit_codes, [1, 2]);
    assert_eq!(web.user.as_ref().unwrap().shown, "www:ssl");
    assert_eq!(
        web.working_dir.as_ref().unwrap().value,
        PathBuf::from("/bin")
    );
    let environment = [("A", "8000"), ("B", "5"), ("C", "")];
    assert_eq!(
        web.environment,
        environment.map(|(name, value)| (name.into(), value.into()))
    );
    assert_eq!(web.forward_signals, set(&[Signal::HUP, Signal::USR1]));
    assert_eq!(db.stop_signal, Signal::INT);
    assert_eq!(db.restart_limit, Some(0));
    assert_eq!(db.forward_signals, set(&[Signal::USR2]));
}

#[test]
fn every_kind_of_readiness_is_read() {
    let testing = Testing::new();
    let ready = |key: &str| {
        let text = format!("grace = 8\n[services.a]\ncommand = ['app']\n{key}\n");
        testing.accepted(&text).list.remove(0).ready
    };
    assert_eq!(ready("ready = 'started'"), Ready::Started);
    assert_eq!(ready("ready = 'notify'"), Ready::Notified);
    assert_eq!(ready("ready = 'exited'"), Ready::Exited);
    let Ready::Tcp(tcp) = ready("ready = { tcp = 0x50 }") else {
        panic!("not tcp");
    };
    assert_eq!((tcp.value.len(), &*tcp.shown), (2, "localhost:80"));
    let socket = |key: &str| match ready(key) {
        Ready::Unix(path) => path.value.to_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(socket("ready = { unix = '/run/x' }"), "/run/x");
    assert_eq!(socket("ready = { unix = 'x' }"), "/home/x");
    assert_eq!(
        socket("ready.unix = 'x'\nworking_dir = 'app'"),
        "/home/app/x"
    );
    assert_eq!(socket("ready.unix = 'x'\nworking_dir = '/bin'"), "/bin/x");
    let longest = format!("/{}", "x".repeat(106));
    assert_eq!(
        socket(&format!("ready = {{ unix = '{longest}' }}")),
        longest
    );
    let Ready::Http(http) = ready("ready = { http = 'http://localhost:${PORT}/x?y' }") else {
        panic!("not http");
    };
    assert_eq!(
        (&*http.value.host, &*http.value.path),
        ("localhost:8000", "/x?y")
    );
    assert_eq!(http.shown, "http://localhost:${PORT}/x");
    let Ready::Command(command) = ready("ready = { command = ['app', '${TOKEN}'] }") else {
        panic!("not a command");
    };
    assert_eq!(command.argv, argv(&["app", "hunter2"]));
}

#[test]
fn the_command_line_precedes_the_file() {
    let testing = Testing::new();
    let mut stop_on = StopOn::default();
    stop_on.add("HUP").unwrap();
    let sourced = "--x".to_owned();
    let given = Given {
        grace: Some(Grace::Infinite),
        stop_delay: Some(Sourced {
            source: sourced.clone(),
            value: seconds(2),
        }),
        stop_on: Some(Sourced {
            source: sourced,
            value: stop_on,
        }),
        prefix: Some(Prefix::Always),
    };
    let service = "[services.a]\ncommand = ['app']\nforward_signals = ['QUIT']\n";
    let whole = "grace = 5\nstop_delay = 1\nstop_on = 'none'\nprefix = 'never'\n";
    for text in [&format!("{whole}{service}"), service] {
        let services = testing.read_all(&[text], &given, Purpose::Run).unwrap();
        assert_eq!(services.grace, Grace::Infinite);
        assert_eq!(services.stop_delay, seconds(2));
        assert_eq!(services.prefix, Prefix::Always);
        let default = set(&[Signal::TERM, Signal::INT]);
        assert_eq!(services.stop_on, default.or(set(&[Signal::HUP])));
        assert_eq!(services.stop_on_by_default, default);
    }
}

#[test]
fn sigquit_is_a_stop_request_unless_it_is_forwarded() {
    let testing = Testing::new();
    let stop_on = |whole: &str, forwarded: &str| {
        testing
            .accepted(&format!(
                "grace = 5\n{whole}\n[services.a]\ncommand = ['app']\nforward_signals = [{forwarded}]\n"
            ))
            .stop_on
    };
    let default = set(&[Signal::TERM, Signal::INT]);
    let with_quit = default.or(set(&[Signal::QUIT]));
    assert_eq!(stop_on("", "'HUP'"), with_quit);
    assert_eq!(stop_on("", "'QUIT'"), default);
    assert_eq!(stop_on("stop_on = 'none'", ""), SignalSet::EMPTY);
    assert_eq!(
        stop_on("stop_on = 'none'", "'TERM', 'QUIT'"),
        SignalSet::EMPTY
    );
    assert_eq!(
        stop_on("stop_on = ['USR1']", ""),
        with_quit.or(set(&[Signal::USR1]))
    );
    let text = "grace = 5\nstop_on = 'QUIT'\n[services.a]\ncommand = ['app']\nforward_signals = ['QUIT']\n";
    assert_eq!(testing.refused(text).len(), 1);
    // One that is off forwards nothing.
    let text = "grace = 5\n[services.a]\ncommand = ['app']\n[services.b]\ncommand = ['app']\n\
                forward_signals = ['TERM', 'QUIT']\nenabled = false\n";
    assert_eq!(testing.accepted(text).stop_on, with_quit);
}

#[test]
fn defaults_hold_where_a_service_says_nothing() {
    let text = "grace = 5\n[defaults]\nrestart = 'always'\nuser = 'www'\nworking_dir = '/bin'\n\
                environment = { A = '1', B = '2' }\n\
                [services.a]\ncommand = ['app']\nenvironment = { B = '3', C = '4' }\n\
                [services.b]\ncommand = ['app']\nready = 'exited'\nuser = '5:6'\n\
                working_dir = '/etc'\nrestart = 'no'\n\
                [services.c]\ncommand = ['app']\nready = 'exited'\n";
    let services = Testing::new().accepted(text).list;
    let [a, b, c] = &services[..] else {
        panic!("{services:?}");
    };
    assert_eq!(a.restart, Restart::Always);
    assert_eq!(a.user.as_ref().unwrap().shown, "www");
    assert_eq!(a.working_dir.as_ref().unwrap().value, PathBuf::from("/bin"));
    let environment = [("B", "3"), ("C", "4"), ("A", "1")];
    assert_eq!(
        a.environment,
        environment.map(|(name, value)| (name.into(), value.into()))
    );
    assert_eq!(b.restart, Restart::No);
    assert_eq!(b.user.as_ref().unwrap().shown, "5:6");
    assert_eq!(b.working_dir.as_ref().unwrap().value, PathBuf::from("/etc"));
    assert_eq!(b.environment.len(), 2);
    assert_eq!(
        c.restart,
        Restart::OnFailure,
        "a one-shot that is not started over and over"
    );
}

#[test]
fn what_is_off_needs_nothing_and_leaves_what_it_depends_on() {
    let text = "grace = 5\n\
                [services.web]\ncommand = ['app']\ndepends_on = ['cron', 'app']\n\
                [services.cron]\ncommand = ['nothing', '${UNSET}', '$HOME']\nuser = 'nobody'\n\
                working_dir = '/nothing'\nenabled = '${CRON:-off}'\ndepends_on = ['old']\n\
                [services.old]\ncommand = ['${UNSET}']\nenabled = 0\ndepends_on = ['db', 'app']\n\
                [services.app]\ncommand = ['app']\nenabled = 'ON'\n\
                [services.db]\ncommand = ['app']\n";
    let services = Testing::new().accepted(text);
    let names: Vec<&str> = services.list.iter().map(|service| &*service.name).collect();
    assert_eq!(names, ["web", "app", "db"]);
    assert_eq!(services.list[0].depends_on, [2, 1]);
    assert_eq!(services.off, ["cron", "old"]);
    assert_eq!(services.warnings, Vec::<String>::new());
    // What is wrong in it is refused nevertheless.
    let lines = Testing::new().refused(&text.replace("'nobody'", "'nobody:'"));
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

#[test]
fn programs_are_found_as_the_service_finds_them() {
    let testing = Testing::new();
    for (keys, is_found) in [
        ("command = ['app']", true),
        ("command = ['/bin/app']", true),
        ("command = ['./run']", true),
        ("command = ['app/run2']", true),
        ("command = ['run']", false),
        ("command = ['./run']\nworking_dir = '/bin'", false),
        ("command = ['./app']\nworking_dir = '/bin'", true),
        ("command = ['./run2']\nworking_dir = 'app'", true),
        ("command = ['run']\nenvironment = { PATH = '/home' }", true),
        ("command = ['app']\nenvironment = { PATH = '/home' }", false),
        ("command = ['run']\nenvironment = { PATH = '/x:' }", true),
        (
            "command = ['run2']\nenvironment = { PATH = '' }\nworking_dir = 'app'",
            true,
        ),
        ("command = ['tool']", true),
        ("command = ['/private/tool']", true),
        ("command = ['tool']\nuser = 'root'", true),
        ("command = ['tool']\nuser = 'www'", false),
        ("command = ['/private/tool']\nuser = 'www'", false),
        ("command = ['app']\nuser = 'www'", true),
        (
            "command = ['app', '-c']\nready = { command = ['tool'] }",
            true,
        ),
        (
            "command = ['app']\nready = { command = ['tool'] }\nuser = 'www'",
            false,
        ),
        (
            "command = ['app']\nready = { command = ['./app'] }\nworking_dir = '/bin'",
            true,
        ),
    ] {
        let result = testing.read(&format!("grace = 5\n[services.a]\n{keys}\n"));
        assert_eq!(result.is_ok(), is_found, "{keys}\n{result:#?}");
    }
    // Whoever owns a directory may search it.
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(testing.path("private"), Some(33), None).unwrap();
        testing.accepted("grace = 5\n[services.a]\ncommand = ['tool']\nuser = 'www'\n");
        testing.mode("private", 0o077);
        testing.refused("grace = 5\n[services.a]\ncommand = ['tool']\nuser = 'www'\n");
    }
    // A file of which the kernel does not say whether it exists may exist.
    std::os::unix::fs::symlink("loop", testing.path("loop")).unwrap();
    testing.accepted("grace = 5\n[services.a]\ncommand = ['/loop']\n");
    testing.accepted("grace = 5\n[services.a]\ncommand = ['app']\nworking_dir = '/loop'\n");
    let mut testing = testing;
    testing.world.variables.clear();
    testing.accepted("grace = 5\n[services.a]\ncommand = ['app']\n");
}
