//! Under a real systemd, booted in a container by systemd-nspawn: what it makes of
//! a unit whose main process is `supervise`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::Folder;
use crate::need::Need;
use crate::runner::{Test, tests};
use crate::{machine, programs, root};

pub fn tests() -> Vec<Test> {
    tests!(&[Need::Debian, Need::Nspawn];
        a_stop_counts_as_success_if_the_command_ends_or_dies_of_it,
        active_means_that_it_has_said_so,
        the_watchdog_is_fed_and_missed,
        the_first_connection_is_served,
        no_notification_of_twenty_is_lost,
        descriptors_are_stored,
        a_daemon_that_names_another_main_process_stays_in_the_unit,
        another_user_is_heard,
        without_the_relay_the_command_is_heard_itself,
        a_nested_one_that_is_stopped_leaves_the_unit_alone,
        a_hardened_unit_stops_like_any,
        leftovers_are_asked_once_if_systemd_leaves_that_to_us,
        the_unit_in_the_readme_works_as_it_stands,
        the_example_of_a_worker_works_as_it_stands,
        the_example_of_a_notifier_works_as_it_stands,
    )
}

/// What the scripts below begin with.
const WORDS: &str = r#"
show() { systemctl show -P "$1" "$2"; }
is() { [ "$(show "$1" "$2")" = "$3" ]; }
wait_for() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -lt 1000 ] || { echo "never came about: $*"; systemctl status --no-pager "$2"; exit 1; }
        sleep 0.03
    done
}
stop() { systemctl stop "$1"; echo "$(show Result "$1") $(show ExecMainCode "$1") $(show ExecMainStatus "$1")"; }
"#;

/// Enters a control group in each hierarchy that systemd uses, and executes the rest.
const ENTER_GROUP: &str = "\
group=$1; shift
for mount in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    [ -e $mount/cgroup.procs ] || continue
    mkdir -p $mount/$group
    echo $$ > $mount/$group/cgroup.procs
done
exec \"$@\"
";

/// Runs the script as root, and turns the machine off.
const DRIVER: &str = "\
[Unit]
After=UNITS

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'sh -u /test/script > /test/said 2>&1'
ExecStopPost=/usr/bin/systemctl poweroff --force --force
";

/// Boots a machine with these files in it, runs the script there, and returns the
/// lines that it has printed.
#[track_caller]
fn boot(files: &[(&str, String)], script: &str) -> Vec<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = Folder::new();
    // In a control group of its own, with which it is removed in the end.
    let mut nspawn = Command::new("sh");
    nspawn
        .args(["-euc", ENTER_GROUP, "sh"])
        .arg(format!("{}/machine-{number}", machine::cgroup()))
        .arg("systemd-nspawn")
        .args(["-q", "--volatile=overlay", "--register=no", "--keep-unit"])
        .arg(format!("--machine=supervise-{number}"))
        .arg("-D")
        .arg(root::DEBIAN.folder());
    let mut bind = |option: &str, from: &Path, to: &str| {
        nspawn.arg(format!("--{option}={}:{to}", from.display()));
    };
    bind("bind", folder.path(), "/test");
    bind(
        "bind-ro",
        &programs::supervise(),
        "/usr/local/bin/supervise",
    );
    // What another unit names is not forgotten when it is stopped.
    let units: Vec<&str> = files
        .iter()
        .filter_map(|(path, _)| path.strip_prefix("/etc/systemd/system/"))
        .collect();
    let driver = [(
        "/etc/systemd/system/driver.service",
        DRIVER.replace("UNITS", &units.join(" ")),
    )];
    for (number, (path, text)) in files.iter().chain(&driver).enumerate() {
        let file = folder.write(&format!("file-{number}"), text, 0o755);
        bind("bind-ro", Path::new(&file), path);
    }
    folder.write("script", format!("{WORDS}{script}"), 0o755);
    let output = nspawn
        .args([
            "-b",
            "systemd.unit=multi-user.target",
            "systemd.wants=driver.service",
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = folder.read("said");
    assert!(
        !said.is_empty(),
        "no word from the machine: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    said.lines().map(str::to_owned).collect()
}

/// A unit whose main process is `supervise`.
fn unit(name: &str, options: &str, command: &str, settings: &str) -> (String, String) {
    let path = format!("/etc/systemd/system/{name}.service");
    let text = format!(
        "[Service]\nExecStart=/usr/local/bin/supervise {options} -- {command}\n\
         KillMode=mixed\n{settings}\n"
    );
    (path, text)
}

/// A unit that runs a script.
fn script_unit(name: &str, options: &str, script: &str, settings: &str) -> [(String, String); 2] {
    let path = format!("/usr/local/bin/{name}");
    let interpreter = if script.contains("import ") {
        "/usr/bin/python3"
    } else {
        "/bin/sh"
    };
    let script = format!("#!{interpreter}\n{script}\n");
    [unit(name, options, &path, settings), (path, script)]
}

#[track_caller]
fn expect(files: &[(String, String)], script: &str, expected: &[&str]) {
    let files: Vec<(&str, String)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.clone()))
        .collect();
    assert_eq!(boot(&files, script), expected);
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

fn a_stop_counts_as_success_if_the_command_ends_or_dies_of_it() {
    let mut files = Vec::new();
    let trap = |code| {
        format!("trap 'exit {code}' TERM; systemd-notify --ready; while :; do sleep 0.05; done")
    };
    files.extend(script_unit("ends", "", &trap(0), "Type=notify"));
    files.extend(script_unit("fails", "", &trap(3), "Type=notify"));
    files.push(unit("dies", "", "/usr/bin/sleep infinity", "Type=exec"));
    files.push(unit(
        "counted",
        "--no-reraise",
        "/usr/bin/sleep infinity",
        "Type=exec",
    ));
    let script = "for unit in ends fails dies counted; do systemctl start $unit; stop $unit; done";
    // A code of 1 is an exit, of 2 a death by a signal.
    let expected = [
        "success 1 0",
        "exit-code 1 3",
        "success 2 15",
        "exit-code 1 143",
    ];
    expect(&files, script, &expected);
}

fn active_means_that_it_has_said_so() {
    let service = "echo here > /run/here
        until [ -e /run/go ]; do sleep 0.02; done
        systemd-notify --ready --status=up
        trap 'systemd-notify RELOADING=1; until [ -e /run/on ]; do sleep 0.02; done; systemd-notify --ready' HUP
        while :; do sleep 0.05; done";
    let files = script_unit("late", "", service, "Type=notify\nNotifyAccess=main");
    let script = "
        systemctl start --no-block late
        wait_for [ -e /run/here ]
        show ActiveState late
        touch /run/go
        wait_for is ActiveState late active
        show StatusText late
        kill -HUP $(show MainPID late)
        wait_for is ActiveState late reloading
        echo reloading
        touch /run/on
        wait_for is ActiveState late active
        stop late
        show StatusText late";
    expect(
        &files,
        script,
        &["activating", "up", "reloading", "success 2 15", "Stopping"],
    );
}

fn the_watchdog_is_fed_and_missed() {
    let service = r#"[ "$WATCHDOG_PID" = $$ ] || exit 1
        systemd-notify --ready
        until [ -e /run/enough ]; do
            systemd-notify WATCHDOG=1; echo >> /run/pings; sleep 0.2
        done
        exec sleep infinity"#;
    let files = script_unit(
        "dog",
        "--grace 2",
        service,
        "Type=notify\nWatchdogSec=1\nTimeoutAbortSec=5",
    );
    // 20 times 0.2 s are four times what it may be silent.
    let script = "
        many() { [ -e /run/pings ] && [ $(wc -l < /run/pings) -ge 20 ]; }
        systemctl start dog
        wait_for many
        show ActiveState dog
        show Result dog
        touch /run/enough
        wait_for is Result dog watchdog
        echo bitten";
    expect(&files, script, &["active", "success", "bitten"]);
}

fn the_first_connection_is_served() {
    let service = "import os, socket
assert os.environ['LISTEN_PID'] == str(os.getpid())
assert os.environ['LISTEN_FDS'] == '1'
listening = socket.socket(fileno=3)
while True:
    connection, _ = listening.accept()
    connection.sendall(b'served\\n')
    connection.close()";
    let mut files = script_unit("served", "", service, "Type=exec").to_vec();
    files.push((
        "/etc/systemd/system/served.socket".to_owned(),
        "[Socket]\nListenStream=/run/served\n".to_owned(),
    ));
    files.push((
        "/usr/local/bin/connect".to_owned(),
        "#!/usr/bin/python3
import socket
connection = socket.socket(socket.AF_UNIX)
connection.connect('/run/served')
print(connection.makefile().read().strip())\n"
            .to_owned(),
    ));
    let script = "
        systemctl start served.socket
        show ActiveState served.service
        connect
        show ActiveState served.service
        connect
        stop served.service 2>/dev/null";
    expect(
        &files,
        script,
        &["inactive", "served", "active", "served", "success 2 15"],
    );
}

fn no_notification_of_twenty_is_lost() {
    let service = "systemd-notify --ready
        number=0
        while [ $number -lt 20 ]; do
            number=$((number + 1))
            systemd-notify --status=$number
            [ \"$(systemctl show -P StatusText twenty)\" = $number ] && echo $number >> /run/heard
        done
        touch /run/done
        exec sleep infinity";
    let files = script_unit("twenty", "", service, "Type=notify");
    let script =
        "systemctl start twenty; wait_for [ -e /run/done ]; wc -l < /run/heard; stop twenty";
    expect(&files, script, &["20", "success 2 15"]);
}

fn descriptors_are_stored() {
    let service = "import array, os, socket, time
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.connect(os.environ['NOTIFY_SOCKET'])
ends = array.array('i', os.pipe())
manager.sendmsg([b'FDSTORE=1\\nFDNAME=pipe'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, ends)])
manager.send(b'READY=1')
time.sleep(1000)";
    let files = script_unit(
        "store",
        "",
        service,
        "Type=notify\nFileDescriptorStoreMax=5",
    );
    let script = "systemctl start store; show NFileDescriptorStore store; stop store";
    expect(&files, script, &["2", "success 2 15"]);
}

fn a_daemon_that_names_another_main_process_stays_in_the_unit() {
    let service = "sh -c 'systemd-notify MAINPID=$$ --ready; touch /run/named
            trap \"systemd-notify --status=asked; exit 0\" TERM; while :; do sleep 0.05; done' &
        until [ -e /run/named ]; do sleep 0.02; done
        exit 1";
    let files = script_unit("daemon", "-v", service, "Type=notify");
    let script = "
        systemctl start daemon
        new() { journalctl -u daemon --no-pager -o cat | grep -q 'takes over as the command'; }
        wait_for new
        show ActiveState daemon
        [ $(cat /proc/$(show MainPID daemon)/comm) = supervise ] && echo ours
        stop daemon
        show StatusText daemon";
    expect(&files, script, &["active", "ours", "success 1 0", "asked"]);
}

fn another_user_is_heard() {
    let other = "exec setpriv --reuid=65534 --regid=65534 --clear-groups \
                  sh -c 'systemd-notify --ready --status=$(id -u); exec sleep infinity'";
    let is_one = "systemd-notify --ready --status=$(id -u); exec sleep infinity";
    let mut files = Vec::new();
    files.extend(script_unit(
        "becomes",
        "",
        other,
        "Type=notify\nNotifyAccess=main",
    ));
    files.extend(script_unit(
        "is",
        "",
        is_one,
        "Type=notify\nNotifyAccess=main\nUser=nobody",
    ));
    files.extend(script_unit(
        "folder",
        "",
        is_one,
        "Type=notify\nNotifyAccess=main\nDynamicUser=yes\nRuntimeDirectory=folder",
    ));
    let script = "for unit in becomes is folder; do
            systemctl start $unit
            [ \"$(show StatusText $unit)\" != 0 ] && show ActiveState $unit
            stop $unit
        done";
    let each = ["active", "success 2 15"];
    expect(&files, script, &[each, each, each].concat());
}

fn without_the_relay_the_command_is_heard_itself() {
    let service = "systemd-notify --ready --status=itself; exec sleep infinity";
    let files = script_unit(
        "itself",
        "--no-notify-relay",
        service,
        "Type=notify\nNotifyAccess=all",
    );
    let script =
        "systemctl start itself; show StatusText itself; stop itself; show StatusText itself";
    expect(&files, script, &["itself", "success 2 15", "itself"]);
}

fn a_nested_one_that_is_stopped_leaves_the_unit_alone() {
    let service = "systemd-notify --ready
        /usr/local/bin/supervise -t 2 -- sh -c 'echo >/run/inner-$1; exec sleep 100' sh $1 &
        until [ -e /run/inner-$1 ]; do sleep 0.02; done
        kill $!; wait $!
        systemd-notify --status=after
        exec sleep infinity";
    let mut files = Vec::new();
    let access = |access| format!("Type=notify\nNotifyAccess={access}");
    for (name, options, access) in [
        ("nested", "", access("main")),
        ("nested-all", "--no-notify-relay", access("all")),
    ] {
        let [(path, text), script] = script_unit(name, options, service, &access);
        let command = format!("/usr/local/bin/{name}");
        files.extend([
            (path, text.replace(&command, &format!("{command} {name}"))),
            script,
        ]);
    }
    let script = "
        for unit in nested nested-all; do
            systemctl start $unit
            wait_for is StatusText $unit after
            show SubState $unit
            stop $unit
        done";
    let expected = ["running", "success 2 15", "running", "success 2 15"];
    expect(&files, script, &expected);
}

fn a_hardened_unit_stops_like_any() {
    let service = "setsid sh -c 'trap \"echo worker >> /run/hard/said; exit 0\" TERM
            echo >> /run/hard/ready; while :; do sleep 0.05; done' &
        until [ -e /run/hard/ready ]; do sleep 0.02; done
        systemd-notify --ready
        exec sleep infinity";
    let settings = "Type=notify
        User=nobody
        RuntimeDirectory=hard
        RuntimeDirectoryPreserve=yes
        SystemCallFilter=@system-service
        NoNewPrivileges=yes
        CapabilityBoundingSet=
        ProtectSystem=strict
        ProtectProc=invisible
        PrivateTmp=yes
        TasksMax=20";
    let files = script_unit("hard", "--grace 10", service, settings);
    let script = "systemctl start hard; stop hard; cat /run/hard/said
        journalctl -u hard --no-pager -o cat | grep -c supervise:";
    expect(&files, script, &["success 2 15", "worker", "0"]);
}

/// What a command and its worker, which has left the session, are asked how often
/// under each mode; and who ends one that does not want to.
fn leftovers_are_asked_once_if_systemd_leaves_that_to_us() {
    // The command does not end until it has been asked as often as it will be.
    let service = "
        setsid sh -c 'trap \"echo worker >> /run/$1\" TERM; echo >> /run/$1.ready
            until [ -e /run/$1.end ]; do sleep 0.02; done' sh $1 &
        setsid sh -c 'trap \"\" TERM; echo >> /run/$1.ready; exec sleep infinity' sh $1 &
        trap 'echo command >> /run/$1' TERM
        until [ \"$(wc -l < /run/$1.ready)\" = 2 ]; do sleep 0.02; done 2>/dev/null
        systemd-notify --ready
        until [ -e /run/$1.command ]; do sleep 0.02; done";
    let service = |mode: &str| service.replace("$1", mode);
    let settings = |mode: &str| format!("Type=notify\nKillMode={mode}\nTimeoutStopSec=30");
    let mut files = Vec::new();
    for mode in ["mixed", "control-group"] {
        files.extend(script_unit(
            mode,
            "--grace 4",
            &service(mode),
            &settings(mode),
        ));
    }
    let script = "
        asked() { [ -e /run/$2 ] && [ $(grep -c $1 /run/$2) -ge $3 ]; }
        for mode in mixed control-group; do
            systemctl start $mode
            systemctl stop --no-block $mode
            wait_for asked command $mode 1
            touch /run/$mode.command
            wait_for asked worker $mode 1
            [ $mode = mixed ] || wait_for asked worker $mode 2
            touch /run/$mode.end
            wait_for is ActiveState $mode inactive
            [ $mode = control-group ] || grep -c command /run/$mode
            echo $mode: $(grep -c worker /run/$mode) $(show Result $mode)
            journalctl -u $mode --no-pager -o cat | grep -c 'Killing process'
            journalctl -u $mode --no-pager -o cat | grep -c 'expired: sending SIGKILL'
        done";
    // Of two signals that come at the same time the kernel makes one: how often
    // the command hears of both is left open.
    let expected = [
        "1",
        "mixed: 1 success",
        "0",
        "1",
        "control-group: 2 success",
        "0",
        "1",
    ];
    expect(&files, script, &expected);
}

fn the_unit_in_the_readme_works_as_it_stands() {
    let readme = include_str!("../../README.md");
    let block = readme.split("```ini\n").nth(1).unwrap();
    let unit = block.split("```").next().unwrap().to_owned();
    let server = "#!/bin/sh\ntrap 'exit 0' TERM; touch /run/here; while :; do sleep 0.05; done\n";
    let files = [
        ("/etc/systemd/system/mine.service".to_owned(), unit),
        ("/usr/local/bin/my-server".to_owned(), server.to_owned()),
    ];
    let script = "systemctl start mine; wait_for [ -e /run/here ]; stop mine";
    expect(&files, script, &["success 1 0"]);
}

fn the_example_of_a_worker_works_as_it_stands() {
    let files = [
        (
            "/etc/systemd/system/worker.service".to_owned(),
            example("worker.service"),
        ),
        ("/usr/local/bin/worker.py".to_owned(), example("worker.py")),
    ];
    let script = "
        log=/var/lib/worker/requests.log
        many() { [ -e $log ] && [ $(wc -l < $log) -ge 5 ]; }
        systemctl start worker
        wait_for many
        stop worker
        journalctl -u worker --no-pager -o cat | grep Shutdown
        grep -cv '^request [0-9]* done$' $log
        tail -c 5 $log";
    expect(
        &files,
        script,
        &["success 1 0", "Shutdown complete", "0", "done"],
    );
}

fn the_example_of_a_notifier_works_as_it_stands() {
    let files = [
        (
            "/etc/systemd/system/notifier.service".to_owned(),
            example("notifier.service"),
        ),
        (
            "/usr/local/bin/notifier.sh".to_owned(),
            example("notifier.sh"),
        ),
    ];
    let script = "
        systemctl start notifier
        show ActiveState notifier
        show StatusText notifier
        systemctl reload notifier
        wait_for is ActiveState notifier active
        stop notifier
        journalctl -u notifier --no-pager -o cat | grep Shutdown";
    let expected = ["active", "Running", "success 1 0", "Shutdown complete"];
    expect(&files, script, &expected);
}
