//! Tests of the keys of a service that are refused: each line with its place.

use super::testing::{SERVICE, Testing};

/// A key of a service, the column of what is wrong with it, and the message. Column 0 is the
/// service.
type Case<'a> = (&'a str, usize, String);

#[track_caller]
fn refuse_all(cases: &[Case<'_>]) {
    let testing = Testing::new();
    for (line, column, expected) in cases {
        let place = if *column == 0 {
            "2:11".to_owned()
        } else {
            format!("4:{column}")
        };
        let lines = testing.refused(&format!("{SERVICE}{line}\n"));
        assert_eq!(lines, [format!("a:{place}: {expected}")], "{line}");
    }
}

#[test]
fn wrong_dependencies_and_readiness_are_refused() {
    let ready = "use \"started\", \"notify\", \"exited\", { tcp = \"HOST:PORT\" }, { unix = \
                 \"PATH\" }, { http = \"http://HOST:PORT/PATH\" } or { command = [\"PROGRAM\"] }";
    let tcp = "use for example 5432, \"127.0.0.1:5432\" or \"[::1]:5432\"; for any other host use \
               { command = [\"PROGRAM\"] }";
    let http = "use for example \"http://127.0.0.1:8000/health\"; for https or any other host use \
                { command = [\"PROGRAM\"] }";
    refuse_all(&[
        ("depends_on = 'b'", 14, "depends_on must be a list of services, not a string; use for example [\"db\"]".to_owned()),
        ("depends_on = { db = { condition = 'service_healthy' } }", 14, "depends_on must be a list of services, not a table; write [\"db\"]: the condition belongs to db, so give db a ready = …".to_owned()),
        ("depends_on = { 'd b' = 1 }", 14, "depends_on must be a list of services, not a table; write [\"NAME\"]: the condition belongs to NAME, so give NAME a ready = …".to_owned()),
        ("depends_on = [1]", 15, "each of depends_on must be the name of a service, not an integer; use for example [\"db\"]".to_owned()),
        ("depends_on = ['b']", 15, "'b' is not a service; add [services.NAME] for it, or remove it here".to_owned()),
        ("depends_on = ['aa']", 15, "'aa' is not a service; did you mean a?".to_owned()),
        ("depends_on = ['${PORT}']", 15, "'${PORT}' is not a service; add [services.NAME] for it, or remove it here".to_owned()),
        ("depends_on = ['a']", 0, "services depend on each other in a circle: a -> a; remove one of these from depends_on".to_owned()),
        ("ready = 5", 9, format!("ready must be a kind of readiness, not an integer; {ready}")),
        ("ready = 'healthy'", 9, format!("'healthy' is not a kind of readiness; {ready}")),
        ("ready = '${PORT}'", 9, format!("'${{PORT}}' is not a kind of readiness; {ready}")),
        ("ready = {}", 9, format!("ready must be a kind of readiness, not an empty table; {ready}")),
        ("ready = { tcpp = 1 }", 11, "unknown key 'tcpp'; did you mean tcp?".to_owned()),
        ("ready = { tcp = 1, unix = '/x' }", 20, "ready has both tcp and unix; use one of them".to_owned()),
        ("ready = { tcp = true }", 17, format!("tcp must be a numeric address or localhost, with a port, not a boolean; {tcp}")),
        ("ready = { tcp = 'db:5432' }", 17, format!("'db:5432' is not a numeric address or localhost, with a port; {tcp}")),
        ("ready = { tcp = '${TOKEN}:5432' }", 17, format!("'${{TOKEN}}:5432' is not a numeric address or localhost, with a port; {tcp}")),
        ("ready = { tcp = 65536 }", 17, format!("'65536' is not a numeric address or localhost, with a port; {tcp}")),
        ("ready = { unix = 5 }", 18, "unix must be the path of a socket, not an integer; use for example \"/run/app.sock\"".to_owned()),
        ("ready = { unix = '' }", 18, "'' is not the path of a socket; use for example \"/run/app.sock\"".to_owned()),
        (&format!("ready = {{ unix = '/{}' }}", "x".repeat(107)), 9, "the path of the socket has more than 107 bytes; use a shorter one".to_owned()),
        ("ready = { http = 80 }", 18, format!("http must be an http address with a numeric host or localhost, not an integer; {http}")),
        ("ready = { http = 'https://127.0.0.1/x?token=hunter2' }", 18, format!("'https://127.0.0.1/x' is not an http address with a numeric host or localhost; {http}")),
        ("ready = { http = 'http://u:hunter2@127.0.0.1/' }", 18, format!("this is not an http address with a numeric host or localhost; {http}")),
        ("ready = { command = 'app hunter2' }", 21, "command must be a list of strings, not a string; write command = [\"app\", …], or, for a shell: command = [\"sh\", \"-c\", \"exec …\"]".to_owned()),
        ("ready = { command = ['nothing'] }", 22, "program 'nothing' is not in PATH; install it or give its full path".to_owned()),
    ]);
}

#[test]
fn wrong_times_signals_and_codes_are_refused() {
    let signal = "use for example \"TERM\", \"SIGTERM\", 15 or \"RTMIN+3\"";
    refuse_all(&[
        ("ready_timeout = true", 17, "ready_timeout must be a duration, not a boolean; use for example 10, \"500ms\" or \"1m30s\"".to_owned()),
        ("ready_timeout = 'soon'", 17, "'soon' is not a duration; use for example 10, 500ms, 1m30s or infinity".to_owned()),
        ("ready_timeout = '${TOKEN}'", 17, "'${TOKEN}' is not a duration; use for example 10, \"500ms\" or \"1m30s\"".to_owned()),
        ("ready_timeout = -5", 17, "'-5' is not a duration; use for example 10, 500ms, 1m30s or infinity".to_owned()),
        ("ready_timeout = 0", 17, "'0' leaves no time; use a longer duration or infinity".to_owned()),
        ("stop_signal = 'TEMR'", 15, "'TEMR' is not a signal; use for example TERM, SIGTERM, 15 or RTMIN+3".to_owned()),
        ("stop_signal = '${TOKEN}'", 15, format!("'${{TOKEN}}' is not a usable signal; {signal}")),
        ("stop_signal = [15]", 15, format!("stop_signal must be a usable signal, not a list; {signal}")),
        ("stop_signal = 65", 15, "'65' is not a signal; use for example TERM, SIGTERM, 15 or RTMIN+3".to_owned()),
        ("stop_signal = 9", 15, "SIGKILL leaves no time to stop; use another signal, such as TERM".to_owned()),
        ("stop_signal = 'STOP'", 15, "SIGSTOP suspends; use another signal, such as TERM".to_owned()),
        ("stop_signal = 'TSTP'", 15, "SIGTSTP suspends; use another signal, such as TERM".to_owned()),
        ("stop_signal = 'CHLD'", 15, "SIGCHLD stops no program; use another signal, such as TERM".to_owned()),
        ("stop_signal = 'CONT'", 15, "SIGCONT stops no program; use another signal, such as TERM".to_owned()),
        ("stop_grace_period = 'infinity'", 21, "'infinity' is not a duration; use for example 10, 500ms, 1m30s".to_owned()),
        ("stop_grace_period = '5M'", 21, "'5M': unknown unit 'M'; use ms, s, m (minutes), h or d".to_owned()),
        ("stop_grace_period = 1979-05-27", 21, "stop_grace_period must be a duration, not a date or time; use for example 10, \"500ms\" or \"1m30s\"".to_owned()),
        ("restart = false", 11, "restart must be a restart policy, not a boolean; use \"no\", \"on-failure\" or \"always\"".to_owned()),
        ("restart = 'never'", 11, "'never' is not a restart policy; use \"no\", \"on-failure\" or \"always\"".to_owned()),
        ("restart = 'unless-stopped'", 11, "'unless-stopped' is not known here; use \"always\"".to_owned()),
        ("restart = 'on-failure:5'", 11, "a limit is a key of its own; use \"on-failure\" and restart_limit".to_owned()),
        ("restart_limit = -1", 17, "'-1' is not a number of restarts; use a whole number, or \"infinity\"".to_owned()),
        ("restart_limit = '+5'", 17, "'+5' is not a number of restarts; use a whole number, or \"infinity\"".to_owned()),
        ("restart_limit = 4294967296", 17, "'4294967296' is not a number of restarts; use a whole number, or \"infinity\"".to_owned()),
        ("restart_limit = [1]", 17, "restart_limit must be a number of restarts, not a list; use a whole number, or \"infinity\"".to_owned()),
        ("essential = 'maybe'", 13, "'maybe' is not a switch; use 1, true, yes, on or 0, false, no, off".to_owned()),
        ("essential = '${TOKEN}'", 13, "'${TOKEN}' is not a boolean; use true or false".to_owned()),
        ("essential = []", 13, "essential must be a boolean, not a list; use true or false".to_owned()),
        ("success_exit_codes = 143", 22, "success_exit_codes must be a list of exit codes, not an integer; use for example [1, 143]".to_owned()),
        ("success_exit_codes = [256]", 23, "'256' is not an exit code; use a number from 0 to 255".to_owned()),
        ("success_exit_codes = [1, true]", 26, "each of success_exit_codes must be an exit code, not a boolean; use a number from 0 to 255".to_owned()),
    ]);
}

#[test]
fn wrong_users_directories_and_variables_are_refused() {
    let signal = "use for example \"TERM\", \"SIGTERM\", 15 or \"RTMIN+3\"";
    let range = "use one from 0 to 2147483647";
    refuse_all(&[
        ("user = true", 8, "user must be a user, not a boolean; use for example \"postgres\", \"postgres:ssl\" or \"4242:4242\"".to_owned()),
        ("user = 'nobody'", 8, "user 'nobody' is not in /etc/passwd; add it, or use numbers, as in \"4242:4242\"".to_owned()),
        ("user = '${TOKEN}'", 8, "user '${TOKEN}' is not in /etc/passwd; add it, or use numbers, as in \"4242:4242\"".to_owned()),
        ("user = 'www:nothing'", 8, "the group of user 'www:nothing' is not in /etc/group; add it, or use a number".to_owned()),
        ("user = 4242", 8, "user '4242' is not in /etc/passwd and has no group; add one, as in \"4242:4242\"".to_owned()),
        ("user = -1", 8, format!("user '-1' has a number that is not an ID; {range}")),
        ("user = '4294967295:0'", 8, format!("user '4294967295:0' has a number that is not an ID; {range}")),
        ("user = '0:2147483648'", 8, format!("user '0:2147483648' has a number that is not an ID; {range}")),
        ("user = '99999999999'", 8, format!("user '99999999999' has a number that is not an ID; {range}")),
        ("user = 'high'", 8, "user 'high' has an ID above 2147483647 in /etc/passwd or /etc/group; use a lower one".to_owned()),
        ("user = ''", 8, "user '' has an empty part; write NAME, NAME:GROUP or numbers".to_owned()),
        ("user = 'www:'", 8, "user 'www:' has an empty part; write NAME, NAME:GROUP or numbers".to_owned()),
        ("user = ':www'", 8, "user ':www' has an empty part; write NAME, NAME:GROUP or numbers".to_owned()),
        ("working_dir = 5", 15, "working_dir must be a directory, not an integer; use for example \"/app\"".to_owned()),
        ("working_dir = ''", 15, "working_dir is empty; use for example \"/app\"".to_owned()),
        ("working_dir = '/nothing'", 15, "directory '/nothing' does not exist; create it or correct the path".to_owned()),
        ("working_dir = '/bin/app'", 15, "directory '/bin/app' is not a directory; correct the path".to_owned()),
        ("working_dir = '/bin/app/x'", 15, "directory '/bin/app/x' does not exist; create it or correct the path".to_owned()),
        ("working_dir = '/${TOKEN}'", 15, "directory '/${TOKEN}' does not exist; create it or correct the path".to_owned()),
        ("environment = ['A=hunter2']", 15, "environment must be a table of variables, not a list; write environment = { NAME = \"value\" }".to_owned()),
        ("environment = { A = true }", 21, "a variable must be a string or an integer, not a boolean; put it in quotes".to_owned()),
        ("environment = { A = 1.5 }", 21, "a variable must be a string or an integer, not a fraction; put it in quotes".to_owned()),
        ("environment.A.B = 1", 13, "a variable must be a string or an integer, not a table; put it in quotes".to_owned()),
        ("environment = { 'A=hunter2' = 'hunter2' }", 17, "a variable needs a name without '=' and null bytes".to_owned()),
        ("environment = { '' = 'x' }", 17, "a variable needs a name without '=' and null bytes".to_owned()),
        ("environment = { A = \"\\u0000\" }", 21, "the text contains a null byte, which no program can receive; remove it".to_owned()),
        ("forward_signals = ['KILL']", 20, "SIGKILL cannot be caught; use another signal".to_owned()),
        ("forward_signals = ['NOPE']", 20, "'NOPE' is not a signal; use for example TERM, SIGTERM, 15 or RTMIN+3".to_owned()),
        ("forward_signals = true", 19, "forward_signals must be a list of signals, not a boolean; use for example [\"HUP\", \"USR1\"]".to_owned()),
        ("forward_signals = [true]", 20, format!("each of forward_signals must be a usable signal, not a boolean; {signal}")),
        ("forward_signals = ['TERM']", 19, "SIGTERM is a stop request by default and cannot be forwarded as well; use stop_on = [\"none\"] with those that are to be stop requests".to_owned()),
        ("enabled = 'maybe'", 11, "'maybe' is not a switch; use 1, true, yes, on or 0, false, no, off".to_owned()),
        ("enabled = 2", 11, "'2' is not a switch; use 1, true, yes, on or 0, false, no, off".to_owned()),
    ]);
}

#[test]
fn wrong_commands_are_refused() {
    let list = "write command = [\"PROGRAM\", \"ARGUMENT\"]";
    let testing = Testing::new();
    for (command, column, expected) in [
        ("5", 11, format!("command must be a list of strings, not an integer; {list}")),
        ("'app --password=hunter2'", 11, "command must be a list of strings, not a string; write command = [\"app\", …], or, for a shell: command = [\"sh\", \"-c\", \"exec …\"]".to_owned()),
        ("'TOKEN=hunter2 app'", 11, "command must be a list of strings, not a string; write command = [\"PROGRAM\", …], or, for a shell: command = [\"sh\", \"-c\", \"exec …\"]".to_owned()),
        ("[]", 11, format!("command is empty; {list}")),
        ("['']", 12, "the program is empty; write its name first, then the arguments".to_owned()),
        ("['${EMPTY}']", 12, "the program is empty; write its name first, then the arguments".to_owned()),
        ("['app', 8080]", 19, "each word of command must be a string, not an integer; put it in quotes".to_owned()),
        ("['app', ['hunter2']]", 19, "each word of command must be a string, not a list; put it in quotes".to_owned()),
        ("['nothing', 'hunter2']", 12, "program 'nothing' is not in PATH; install it or give its full path".to_owned()),
        ("['app hunter2']", 12, "program 'app' with arguments is not in PATH; write the program and each argument as a string of its own".to_owned()),
        ("['${TOKEN}']", 12, "program '${TOKEN}' is not in PATH; install it or give its full path".to_owned()),
        ("['data']", 12, "program 'data' is not executable; use chmod +x".to_owned()),
        ("['/bin/data']", 12, "program '/bin/data' is not executable; use chmod +x".to_owned()),
        ("['/bin']", 12, "program '/bin' is a directory; give a program".to_owned()),
        ("['/nothing']", 12, "program '/nothing' does not exist; install it or correct the path".to_owned()),
        ("['./nothing']", 12, "program './nothing' does not exist; install it or correct the path".to_owned()),
        ("[\"app\\u0000\"]", 12, "the text contains a null byte, which no program can receive; remove it".to_owned()),
        ("['app', '${UNSET}']", 20, "variable UNSET is not set; set it, or write ${UNSET:-DEFAULT}".to_owned()),
        ("['app', 'hunter2 ${TOKEN-x}']", 28, "${NAME-text} is not known here; write ${NAME:-text}".to_owned()),
        ("['sh', '-c', 'echo ${1}']", 30, "'${' is not followed by the name of a variable; write $${ for a literal ${".to_owned()),
        ("['app', \"\\u0024{UNSET}\"]", 19, "variable UNSET is not set; set it, or write ${UNSET:-DEFAULT}".to_owned()),
    ] {
        let text = format!("grace = 8\n[services.a]\ncommand = {command}\n");
        assert_eq!(testing.refused(&text), [format!("a:3:{column}: {expected}")], "{command}");
    }
}

#[test]
fn a_directory_in_path_is_not_a_program() {
    let text = "grace = 8\n[services.a]\ncommand = ['app']\nenvironment = { PATH = '/home' }\n";
    let expected = "a:3:12: program 'app' is not in PATH; install it or give its full path";
    assert_eq!(Testing::new().refused(text), [expected]);
}

#[test]
fn wrong_keys_are_refused() {
    let testing = Testing::new();
    let engine = "leave it out: the container engine or service manager does this";
    let known = super::keys::SERVICE.join(", ");
    for (line, expected) in [
        (
            "comand = ['app']",
            "unknown key 'comand'; did you mean command?",
        ),
        (
            "qqqqq = 1",
            &*format!("unknown key 'qqqqq'; use one of {known}"),
        ),
        (
            "directory = '/app'",
            "unknown key 'directory'; use working_dir",
        ),
        ("cwd = '/app'", "unknown key 'cwd'; use working_dir"),
        (
            "stopwaitsecs = 5",
            "unknown key 'stopwaitsecs'; use stop_grace_period",
        ),
        (
            "type = 'oneshot'",
            "unknown key 'type'; use ready = \"exited\" for a one-shot",
        ),
        ("image = 'x'", &*format!("unknown key 'image'; {engine}")),
        (
            "deploy = { replicas = 2 }",
            "unknown key 'deploy'; write one table [services.NAME] for each copy",
        ),
        (
            "grace = 5",
            "grace is for all services: put it above the first [services.NAME]",
        ),
        (
            "stop_on = 'none'",
            "stop_on is for all services: put it above the first [services.NAME]",
        ),
        (
            "b.command = ['app']",
            "unknown key 'b'; a service's name has no dot, because in TOML that is a table in a table: use '-' or '_' instead",
        ),
        (
            "\"a\\nb\" = 1",
            &*format!("unknown key 'a…'; use one of {known}"),
        ),
    ] {
        let lines = testing.refused(&format!("{SERVICE}{line}\n"));
        assert_eq!(lines, [format!("a:4:1: {expected}")], "{line}");
    }
    for (line, expected) in [
        ("grase = 5", "unknown key 'grase'; did you mean grace?"),
        (
            "service.b.command = ['app']",
            "unknown key 'service'; did you mean services?",
        ),
        (
            "web = { command = ['app'] }",
            "a service is a table in 'services'; write [services.web]",
        ),
        (
            "command = ['app']",
            "command is for one service: put it below [services.NAME]",
        ),
        (
            "version = '3'",
            "unknown key 'version'; use one of defaults, services, grace, stop_delay, stop_on, prefix",
        ),
    ] {
        let lines = testing.refused(&format!("{line}\n{SERVICE}"));
        assert_eq!(lines, [format!("a:1:1: {expected}")], "{line}");
    }
    for (line, expected) in [
        (
            "grace = 5",
            "grace is for all services: put it above the first [services.NAME]",
        ),
        (
            "stop_signal = 'INT'",
            "stop_signal has no default; write it below each [services.NAME]",
        ),
        (
            "restrat = 'no'",
            "unknown key 'restrat'; did you mean restart?",
        ),
        ("cwd = '/'", "unknown key 'cwd'; use working_dir"),
    ] {
        let lines = testing.refused(&format!("{SERVICE}[defaults]\n{line}\n"));
        assert_eq!(lines, [format!("a:5:1: {expected}")], "{line}");
    }
}

#[test]
fn a_misspelled_command_is_one_error() {
    let testing = Testing::new();
    for key in ["comand", "Command", "commands", "entrypoint"] {
        let lines = testing.refused(&format!("grace = 5\n[services.a]\n{key} = ['app']\n"));
        assert_eq!(lines.len(), 1, "{lines:#?}");
    }
}
