//! `supervise` as the entry point of Docker containers: stops and signals.

use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use crate::engine::{Container, Engine};
use crate::harness::eventually;
use crate::harness::pty::{CTRL_C, Terminal};
use crate::images::Image;
use crate::need::Need;
use crate::runner::{Test, tests};
use crate::stops::{self, LIMIT};
use crate::{machine, programs};

pub fn tests() -> Vec<Test> {
    tests![&[Need::Docker];
        a_worker_saves_its_state,
        a_stubborn_one_is_killed_and_named,
        workers_of_a_shell_save_their_state,
        the_example_of_a_shell_with_workers,
        each_signal_is_forwarded_once,
        each_signal_is_forwarded_below_an_init_on_a_terminal,
        a_signal_of_the_image_that_stops,
        an_interactive_shell_on_a_terminal,
        a_process_brought_in_is_asked_and_not_waited_for,
        it_was_not_docker_who_killed,
        what_is_written_to_its_stdout_is_in_the_log,
        it_needs_no_file_besides_itself,
        a_stop_in_a_pid_namespace_of_others,
        an_end_in_a_pid_namespace_of_others,
    ]
}

/// The daemon, which is started when the first test asks for it, and ends with
/// the machine that it runs on.
pub fn docker() -> &'static Engine {
    static DOCKER: Engine = Engine::new("docker");
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        std::panic::catch_unwind(start).map_err(|_| "dockerd did not start".to_owned())
    });
    started.as_ref().unwrap();
    &DOCKER
}

/// What `docker run --init` runs: `supervise`, by the name that Docker looks for.
pub fn init() -> String {
    machine::folder()
        .join("docker-init")
        .to_str()
        .unwrap()
        .to_owned()
}

fn start() {
    // By cp(1): see `Folder::copy_program`.
    let copied = Command::new("cp")
        .arg(programs::supervise())
        .arg(init())
        .status();
    assert!(copied.unwrap().success(), "cp to {}", init());
    let folder = machine::folder();
    let log = folder.join("dockerd.log");
    let output = File::create(&log).unwrap();
    let mut dockerd = Command::new("dockerd")
        .args(["--host", &std::env::var("DOCKER_HOST").unwrap()])
        .arg("--data-root")
        .arg(folder.join("docker"))
        .args([
            "--exec-root",
            "/run/docker",
            "--pidfile",
            "/run/dockerd.pid",
        ])
        .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
        .args(["--cgroup-parent", &format!("/{}", machine::cgroup())])
        .args(["--init-path", &init()])
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    eventually("dockerd answers", || {
        let ended = dockerd.try_wait().unwrap();
        let words = std::fs::read_to_string(&log).unwrap();
        assert_eq!(ended, None, "dockerd has ended: {words}");
        let version = Command::new("docker").arg("version").output();
        version.unwrap().status.success()
    });
}

/// The signals that Docker itself has sent to a container.
pub fn sent_by_docker(container: &Container) -> Vec<String> {
    let filters = ["event=kill", &format!("container={}", container.name)];
    events(&filters, "{{.Actor.Attributes.signal}}")
}

/// What Docker has noted, in order.
pub fn events(filters: &[&str], format: &str) -> Vec<String> {
    // In whole seconds it would leave out the latest.
    let now = UNIX_EPOCH.elapsed().unwrap();
    let until = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let mut words = vec![
        "events",
        "--since=1h",
        "--until",
        &until,
        "--format",
        format,
    ];
    for filter in filters {
        words.extend(["--filter", filter]);
    }
    docker().say(&words).lines().map(str::to_owned).collect()
}

fn a_worker_saves_its_state() {
    stops::a_worker_saves_its_state(docker());
}

fn a_stubborn_one_is_killed_and_named() {
    stops::a_stubborn_one_is_killed_and_named(docker());
}

fn workers_of_a_shell_save_their_state() {
    stops::workers_of_a_shell_save_their_state(docker(), &[]);
}

fn the_example_of_a_shell_with_workers() {
    stops::the_example_of_a_shell_with_workers(docker());
}

/// From an image with nothing in it but two static programs.
fn each_signal_is_forwarded_once() {
    let container = docker().start(
        Image::FromScratch,
        &["-e", "SUPERVISE_GRACE=28"],
        &["/fixture", "print-signals", "15"],
    );
    container.wait_for_line("ready");
    for (name, number) in [("HUP", 1), ("USR1", 10), ("WINCH", 28), ("RTMIN+3", 37)] {
        docker().say(&["kill", "-s", name, &container.name]);
        container.wait_for_line(&format!("{number} 0 1 0"));
    }
    container.stop(LIMIT);
    assert_eq!(container.exit_code(), 0);
    let expected = ["1 0 1 0", "10 0 1 0", "28 0 1 0", "37 0 1 0", "15 0 1 0"];
    let logs = container.logs();
    let lines: Vec<&str> = logs.lines().skip(1).collect();
    assert_eq!(lines, expected);
    assert_eq!(
        sent_by_docker(&container).last().map(String::as_str),
        Some("15")
    );
}

/// Docker's init leads the session of the terminal, and forwards to us alone what is
/// the terminal's in other places.
fn each_signal_is_forwarded_below_an_init_on_a_terminal() {
    let options = [
        "-t",
        "--init",
        "--stop-signal=HUP",
        "-e",
        "SUPERVISE_STOP_ON=HUP",
    ];
    let container = docker().start(
        Image::FromScratch,
        &options,
        &["/fixture", "print-signals", "1"],
    );
    container.wait_for_line("ready");
    for (name, number) in [("INT", 2), ("WINCH", 28), ("QUIT", 3), ("CONT", 18)] {
        docker().say(&["kill", "-s", name, &container.name]);
        container.wait_for_line(&format!("{number} "));
    }
    container.stop(LIMIT);
    assert_eq!(container.exit_code(), 0, "{}", container.logs());
    assert!(container.logs().contains("\n1 "), "{}", container.logs());
}

/// Without `--stop-on` it is forwarded and no grace period starts, so that Docker
/// kills everything when its own limit is over.
fn a_signal_of_the_image_that_stops() {
    let stop = |stop_on: &str, limit| {
        let options = [
            "--stop-signal=QUIT",
            "-e",
            "SUPERVISE_GRACE=1",
            "-e",
            stop_on,
        ];
        let script = "trap '' QUIT TERM; echo ready; exec sleep 1000";
        let container = docker().start(Image::Shell, &options, &["sh", "-c", script]);
        container.wait_for_line("ready");
        container.stop(limit);
        assert_eq!(container.exit_code(), 137);
        sent_by_docker(&container)
    };
    assert_eq!(stop("SUPERVISE_STOP_ON=QUIT", LIMIT), ["3"]);
    assert_eq!(stop("SUPERVISE_STOP_ON=", 3), ["3", "9"]);
}

fn it_was_not_docker_who_killed() {
    let script = "trap '' TERM; echo ready; exec sleep 1000";
    let options = ["-e", "SUPERVISE_GRACE=1"];
    let container = docker().start(Image::Shell, &options, &["sh", "-c", script]);
    container.wait_for_line("ready");
    container.stop(LIMIT);
    assert_eq!(container.exit_code(), 137);
    assert_eq!(sent_by_docker(&container), ["15"]);

    // And it is seen when it was.
    let options = ["-e", "SUPERVISE_GRACE=infinity"];
    let container = docker().start(Image::Shell, &options, &["sh", "-c", script]);
    container.wait_for_line("ready");
    container.stop(1);
    assert_eq!(container.exit_code(), 137);
    assert_eq!(sent_by_docker(&container), ["15", "9"]);
    container.assert_nobody_was_killed();
}

/// As hooks, cron jobs and linked log files do.
fn what_is_written_to_its_stdout_is_in_the_log() {
    for options in [&[][..], &["--tty"]] {
        let script = "until [ -e /log/go ]; do sleep 0.1; done
            sh -c 'echo from a child >/proc/1/fd/1'; exec sleep 1000";
        let container = docker().start(Image::Shell, options, &["sh", "-c", script]);
        let write = "echo brought in >/proc/1/fd/1; touch /log/go";
        docker().say(&["exec", &container.name, "sh", "-c", write]);
        container.wait_for_line("from a child");
        assert!(container.logs().contains("brought in"), "{options:?}");
    }
}

/// For want of anything else to run it runs itself.
fn it_needs_no_file_besides_itself() {
    let (code, said) = docker().foreground(Image::Supervise, &[], &["/supervise", "--version"]);
    assert_eq!(said, concat!("supervise ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(code, Some(0));
    let (code, said) = docker().foreground(Image::Supervise, &[], &["/nonexistent"]);
    assert_eq!(code, Some(127));
    assert!(said.starts_with("supervise: "), "{said}");
}

/// It notes that it was asked and then hangs. A worker sees to it that PID 1 is
/// still there by then.
fn a_process_brought_in_is_asked_and_not_waited_for() {
    let main = "
        (trap 'until [ -e /log/asked ]; do sleep 0.1; done; exit 0' TERM
         echo ready
         while :; do sleep 1 & wait $!; done) &
        trap 'exit 0' TERM
        wait
    ";
    let brought_in = "
        trap 'echo asked >>/log/asked; while :; do sleep 1; done' TERM
        echo ready >/log/brought-in
        while :; do sleep 1 & wait $!; done
    ";
    let options = ["-e", "SUPERVISE_GRACE=28"];
    let container = docker().start(Image::Shell, &options, &["sh", "-c", main]);
    container.wait_for_line("ready");
    docker().say(&["exec", "--detach", &container.name, "sh", "-c", brought_in]);
    eventually("it is ready", || {
        container.folder.read("brought-in") == "ready\n"
    });
    container.stop(LIMIT);
    assert_eq!(container.exit_code(), 0, "{}", container.logs());
    assert_eq!(container.folder.read("asked"), "asked\n");
    assert_eq!(sent_by_docker(&container), ["15"]);
    container.assert_nobody_was_killed();
}

fn an_interactive_shell_on_a_terminal() {
    let container = docker().container();
    let image = docker().image(Image::Shell);
    let words = container.words("-it", image, &["-e", "PS1=prompt$ "], &["sh"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut terminal = Terminal::led_by(docker().command(&words));
    terminal.sees("prompt$ ");
    terminal.keys("echo $((6 * 7))\r");
    terminal.sees("\n42");
    terminal.sees("prompt$ ");
    terminal.keys(CTRL_C);
    terminal.sees("prompt$ ");
    // What runs in it is ended by that key, and the shell is not.
    terminal.keys("sh -c 'echo wait''ing; sleep 1000'\r");
    terminal.sees("waiting");
    terminal.keys(CTRL_C);
    terminal.sees("prompt$ ");
    terminal.keys("echo status $?\r");
    terminal.sees("\nstatus 130");
    terminal.sees("prompt$ ");
    terminal.keys("exit 3\r");
    assert_eq!(terminal.wait(), Some(3));
    assert_eq!(container.exit_code(), 3);
}

/// There `supervise` is not PID 1, and the shell's end is its own.
fn a_stop_in_a_pid_namespace_of_others() {
    stops::workers_of_a_shell_save_their_state(docker(), &["--pid=host"]);
}

/// The command ends by itself and leaves a worker.
fn an_end_in_a_pid_namespace_of_others() {
    // The fifo tells when the worker is ready.
    let script = "
        mkfifo /tmp/ready
        (trap 'echo saved >>/log/worker; exit 0' TERM
         echo ready >/tmp/ready
         while :; do sleep 1 & wait $!; done) &
        read -r _ </tmp/ready
    ";
    let left = |option| {
        let options = ["--pid=host", "-e", option];
        let container = docker().start(Image::Shell, &options, &["sh", "-c", script]);
        assert_eq!(container.exit_code(), 0);
        container.folder.read("worker")
    };
    assert_eq!(left("SUPERVISE_LEFTOVERS=stop"), "saved\n");
    // Docker kills it. By default this is so only where supervise is not PID 1.
    assert_eq!(left("SUPERVISE_LEFTOVERS="), "");
}
