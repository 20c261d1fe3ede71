//! Several services in one container that Docker stops: their users, their health,
//! and the example.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::docker::docker;
use crate::engine::Container;
use crate::harness::eventually;
use crate::images::Image;
use crate::need::Need;
use crate::runner::{Test, tests};
use crate::stops::{LIMIT, WORKER};

pub fn tests() -> Vec<Test> {
    tests![&[Need::Docker, Need::Services];
        services_of_other_users_without_cap_kill,
        the_health_of_a_container_is_the_status_of_its_services,
        the_example_loses_nothing_when_its_services_stop_in_order,
        the_example_loses_items_when_a_shell_stops_it,
    ]
}

/// The file of services, in the folder of the container.
const FILE: &str = "/log/services.toml";

/// Runs a file of services in the background, after what an entry point would
/// prepare. The mounts are files in the folder of the container, and where they
/// belong.
#[track_caller]
pub fn run(
    container: &Container,
    file: &str,
    prepare: &str,
    options: &[&str],
    mounts: &[(&str, &str)],
) {
    container.folder.write("services.toml", file, 0o644);
    let script = format!("{prepare}\nexec /supervise -v -f {FILE}");
    let mounts: Vec<String> = mounts
        .iter()
        .map(|(name, path)| format!("--volume={}:{path}:ro", container.folder.file(name)))
        .collect();
    let mounts: Vec<&str> = mounts.iter().map(String::as_str).collect();
    let words = container.words(
        "-d",
        docker().image(Image::Services),
        &[options, &mounts].concat(),
        &["sh", "-euc", &script],
    );
    docker().say(&words.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Waits until the log contains a text so many times.
#[track_caller]
pub fn wait_for_log(container: &Container, text: &str, times: usize) {
    let mut logs = String::new();
    eventually(&format!("{text:?}, {times} time(s), in the log"), || {
        logs = container.logs();
        let running = docker().say(&["inspect", "-f", "{{.State.Running}}", &container.name]);
        let found = logs.matches(text).count() >= times;
        assert!(found || running == "true", "{text:?} is not in {logs}");
        found
    });
}

#[track_caller]
pub fn assert_graceful(container: &Container) {
    let code = container.exit_code();
    let logs = container.logs();
    assert_eq!(code, 0, "{logs}");
    let last = logs.lines().rfind(|line| line.contains(" stopped in "));
    assert!(
        last.is_some_and(|line| line.ends_with(": graceful")),
        "{logs}"
    );
    container.assert_nobody_was_killed();
}

/// What an image needs whose services run as other users. The upper service
/// leaves a second process behind.
fn services_of_other_users_without_cap_kill() {
    let container = docker().container();
    let worker = |name: &str| {
        WORKER
            .replace("/log/worker", &format!("/log/{name}"))
            .replace("echo ready", &format!("touch /log/{name}-is-ready"))
    };
    let upper = format!(
        "setsid sh -c '{}' & {}",
        worker("left").replace('\'', "'\\''"),
        worker("upper")
    );
    let file = format!(
        "grace = \"28s\"
        [services.lower]
        command = [\"sh\", \"-c\", '''{}''']
        user = \"4242:4242\"
        ready = {{ command = [\"test\", \"-e\", \"/log/lower-is-ready\"] }}
        [services.upper]
        command = [\"sh\", \"-c\", '''{upper}''']
        user = \"4343:4343\"
        depends_on = [\"lower\"]
        ready = {{ command = [\"test\", \"-e\", \"/log/upper-is-ready\", \"-a\", \"-e\", \"/log/left-is-ready\"] }}
        ",
        worker("lower"),
    );
    let options = ["--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID"];
    run(&container, &file, "", &options, &[]);
    wait_for_log(&container, "supervise[upper]: ready", 1);
    let users = docker().say(&["exec", &container.name, "ps", "-eo", "uid="]);
    let users: BTreeSet<u32> = users
        .lines()
        .map(|line| line.trim().parse().unwrap())
        .collect();
    assert_eq!(users, BTreeSet::from([0, 4242, 4343]));
    container.stop(LIMIT);
    assert_graceful(&container);
    for name in ["lower", "upper", "left"] {
        assert_eq!(container.folder.read(name), "saved\n", "{name}");
    }
}

/// The second service becomes ready when a file is there, and cannot run on
/// without it.
const SLOW_TO_START: &str = "
grace = \"28s\"
[services.first]
command = [\"sleep\", \"1000\"]
[services.second]
command = [\"sh\", \"-c\", \"[ -e /log/go -o ! -e /log/was-ready ] || exit 1; echo $$ >/log/pid; exec sleep 1000\"]
depends_on = [\"first\"]
restart = \"always\"
restart_limit = \"infinity\"
ready = { command = [\"test\", \"-e\", \"/log/go\"] }
";

fn the_health_of_a_container_is_the_status_of_its_services() {
    let container = docker().container();
    let options = [
        "--health-cmd=/supervise --status",
        "--health-interval=500ms",
        "--health-retries=1",
        // Until then it is starting where it is not healthy.
        "--health-start-period=1h",
    ];
    run(&container, SLOW_TO_START, "", &options, &[]);
    let inspect = |format: &str| docker().say(&["inspect", "--format", format, &container.name]);
    let health = || inspect("{{.State.Health.Status}}");
    let said = || inspect("{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}");
    eventually("the health was checked", || said().contains("second"));
    assert_eq!(health(), "starting", "{}", said());
    assert!(said().starts_with("1 "), "{}", said());

    container.folder.write("go", "", 0o644);
    eventually("healthy", || health() == "healthy");

    // Each restart fails, after a longer pause than the one before.
    container.folder.write("was-ready", "", 0o644);
    std::fs::remove_file(container.folder.file("go")).unwrap();
    let pid = container.folder.read("pid");
    docker().say(&["exec", &container.name, "kill", pid.trim()]);
    eventually("unhealthy", || health() == "unhealthy");
    assert_eq!(
        container
            .logs()
            .matches("supervise[first]: started")
            .count(),
        1
    );

    container.folder.write("go", "", 0o644);
    eventually("healthy again", || health() == "healthy");
    container.stop(LIMIT);
    assert_graceful(&container);
}

/// The numbers that stand in whole lines.
pub fn numbers(text: &str) -> BTreeSet<u64> {
    let lines = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    lines.filter_map(|line| line.trim().parse().ok()).collect()
}

/// How many items of the example were acknowledged, and how many of these are
/// lost, when Docker stops the container while items wait in the worker.
fn stop_the_example(command: &[&str]) -> (usize, usize) {
    // Of the machine, whose network the container has as well.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let port = port.port().to_string();
    let container = docker().container();
    let words = container.words(
        "-d",
        docker().image(Image::Services),
        &[
            "--network=host",
            "--workdir=/examples/services",
            "--env=DATA=/log",
            &format!("--env=PORT={port}"),
        ],
        command,
    );
    let acknowledged = container.folder.file("acknowledged");
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/services/client.py");
    let mut client = Command::new("python3")
        .arg(client)
        .args([&port, &acknowledged])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    docker().say(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let items = |name| numbers(&container.folder.read(name));
    eventually("items wait in the worker", || {
        items("acknowledged").len() >= items("stored").len() + 40
    });
    container.stop(LIMIT);
    // The web front is gone, and so is the client.
    assert!(client.wait().unwrap().success());
    let lost = items("acknowledged").difference(&items("stored")).count();
    (items("acknowledged").len(), lost)
}

fn the_example_loses_nothing_when_its_services_stop_in_order() {
    let command = ["/supervise", "-f", "services.toml"];
    assert_eq!(stop_the_example(&command).1, 0);
}

/// Otherwise the test of what is better would show nothing.
fn the_example_loses_items_when_a_shell_stops_it() {
    let (acknowledged, lost) = stop_the_example(&["./services.sh"]);
    assert_ne!(lost, 0, "of {acknowledged}");
}
