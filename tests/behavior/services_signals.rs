//! Stop requests to several services, from a terminal and at any moment, and the signals
//! that are none.

use std::time::{Duration, Instant};

use crate::harness::pty::{CTRL_C, CTRL_Z, Terminal};
use crate::harness::services::*;
use crate::harness::*;

/// Services that become ready in each of the ways that need no port, and one that fails again
/// and again.
fn of_every_kind() -> Services {
    let again = "restart = 'on-failure'; restart_limit = 'infinity'; essential = false";
    let check = "ready = { command = ['/bin/true'] }";
    Services::new("grace = 60")
        .with("web", "cache", "takes=10")
        .with_keys("cache", "migrate", "ready takes=10", "ready = 'notify'")
        .with_keys("migrate", "db", "lives=20", "ready = 'exited'")
        .with_keys("db", "", "takes=10 daemon takes=20", check)
        .with_keys("flaky", "", "lives=10 code=143", again)
}

/// Stops them, and asserts that nothing has started after that and nothing is left.
#[track_caller]
fn stop_now(mut running: Running) {
    running.stop();
    running.expect_exit(0);
    let errors = running.run.errors();
    let (before, _) = errors.split_once("supervise: received SIGTERM").unwrap();
    for (upper, needs) in [
        ("web", "supervise[cache]: ready after"),
        ("cache", "supervise[migrate]: ready after"),
        ("migrate", "supervise[db]: ready after"),
    ] {
        if running.find(upper, "start").is_some() {
            assert!(before.contains(needs), "{upper}: {}", running.told());
        }
    }
    let entries = running.entries();
    let starts = |entry: &&Entry| entry.who == "flaky" && entry.what == "start";
    let pauses = before
        .matches("supervise[flaky]: exited with status 143: ")
        .count();
    let starts = entries.iter().filter(starts).count();
    assert!(starts <= pauses + 1, "{}", running.told());
    for above in ["web", "cache"] {
        for below in ["cache", "db"] {
            let told = running.find(below, "signal 15").map(|entry| entry.at);
            let end = running.find(above, "end").map(|entry| entry.at);
            if above != below
                && let (Some(end), Some(told)) = (end, told)
            {
                assert!(end <= told, "{above} {below}: {}", running.told());
            }
        }
    }
}

#[test]
fn a_stop_request_at_each_step_of_the_start() {
    for home in homes() {
        for step in [
            "plan: Begin",
            "[db]: started",
            "[db]: ready",
            "[migrate]: started",
            "[migrate]: exited",
            "[cache]: started",
            "[cache]: ready",
            "[web]: started",
            "[flaky]: started",
            "[flaky]: exited",
            "[flaky]: exited with status 143: ",
        ] {
            let running = of_every_kind().start(home, "-vv");
            running.run.wait_for_error(step);
            stop_now(running);
        }
    }
}

#[test]
fn a_stop_request_at_any_moment_of_the_start_and_of_pauses() {
    for round in 0..40_u64 {
        let running = of_every_kind().start(Home::Plain, "-vv");
        let at = Duration::from_micros(round * round * 997 % 900_000);
        let since = Instant::now();
        // Before that the signal would kill it.
        running.run.wait_for_error("plan: Begin");
        eventually("the moment comes", || since.elapsed() > at);
        stop_now(running);
    }
}

/// What a terminal has started, and what it has written down.
struct Typed {
    terminal: Terminal,
    services: Services,
}

impl Typed {
    fn new(services: Services) -> Self {
        let file = services.file();
        let mut terminal = Terminal::with(SUPERVISE, &["-v", "-f", &file]);
        terminal.sees("supervise[web]: started");
        let typed = Self { terminal, services };
        typed.wait_for("web", "start");
        typed
    }

    fn at(&self, who: &str, what: &str) -> Option<Duration> {
        let log = std::fs::read_to_string(self.services.log()).unwrap();
        let mut entries = entries(&log).into_iter();
        let entry = entries.find(|entry| entry.who == who && entry.what == what);
        entry.map(|entry| entry.at)
    }

    #[track_caller]
    fn wait_for(&self, who: &str, what: &str) {
        eventually(&format!("{who} {what}"), || self.at(who, what).is_some());
    }

    #[track_caller]
    fn expect_order(&self) {
        for name in ["web", "db"] {
            for signal in ["signal 1", "signal 2"] {
                assert_eq!(self.at(name, signal), None, "{name}");
            }
        }
        assert!(self.at("web", "end").unwrap() <= self.at("db", "signal 15").unwrap());
        assert!(self.at("db", "end").is_some());
    }
}

fn two(keys: &str, how: &str) -> Services {
    Services::new("grace = 60")
        .with_keys("web", "db", how, keys)
        .with("db", "", "takes=50")
}

#[test]
fn ctrl_c_stops_in_order_and_reaches_no_service() {
    let mut typed = Typed::new(two("", "takes=300 fork takes=200"));
    typed.terminal.keys(CTRL_C);
    assert_eq!(typed.terminal.wait(), Some(0), "{}", typed.terminal.screen);
    typed.expect_order();
    assert_eq!(typed.at("web.fork", "signal 2"), None);
    let line = "received SIGINT from the kernel";
    let screen = &typed.terminal.screen;
    assert!(screen.contains(line), "{screen}");
}

#[test]
fn a_second_ctrl_c_kills() {
    let mut typed = Typed::new(two("", "hang daemon hang"));
    typed.terminal.keys(CTRL_C);
    typed.wait_for("web", "signal 15");
    typed.terminal.keys(CTRL_C);
    assert_eq!(
        typed.terminal.wait(),
        Some(137),
        "{}",
        typed.terminal.screen
    );
    assert_eq!(typed.at("db", "signal 15"), None);
    let line = "received SIGINT from the terminal again: sending SIGKILL to web";
    assert!(
        typed.terminal.screen.contains(line),
        "{}",
        typed.terminal.screen
    );
}

#[test]
fn ctrl_z_suspends_no_service() {
    let mut typed = Typed::new(two("", ""));
    typed.terminal.keys(CTRL_Z);
    typed.terminal.sees("Ctrl-Z does not suspend services");
    typed.terminal.keys(CTRL_C);
    assert_eq!(typed.terminal.wait(), Some(0));
    typed.expect_order();
    assert_eq!(typed.at("web", "signal 20"), None);
}

#[test]
fn services_are_a_job_of_a_shell() {
    let services = two("", "takes=100");
    let file = services.file();
    let mut terminal = Terminal::bash();
    terminal.line(&format!("$SUPERVISE -v -f {file}; echo st''atus $?"));
    terminal.sees("supervise[web]: started");
    let typed = Typed { terminal, services };
    typed.wait_for("web", "start");
    let mut typed = typed;
    typed.terminal.keys(CTRL_C);
    typed.terminal.sees(": graceful");
    typed.terminal.prompt();
    typed.expect_order();
}

#[test]
fn a_hang_up_stops_in_order_even_where_hup_is_forwarded() {
    for keys in ["", "forward_signals = ['HUP']"] {
        let mut typed = Typed::new(two(keys, "takes=200"));
        typed.terminal.close();
        typed.terminal.wait();
        typed.expect_order();
    }
}

#[test]
fn sigquit_is_a_stop_request_unless_a_service_takes_it() {
    for home in homes() {
        let mut running = two("", "takes=100").start(home, "");
        running.started();
        running.run.signal(libc::SIGQUIT);
        running.expect_exit(0);
        running.expect_after("web", "db");
        running.expect_never("web", "signal 3");

        let keys = "forward_signals = ['QUIT', 'HUP']";
        let mut running = two(keys, "takes=100").start(home, "");
        running.started();
        for (signal, entry) in [(libc::SIGQUIT, "signal 3"), (libc::SIGHUP, "signal 1")] {
            running.run.signal(signal);
            running.wait_for("web", entry);
            running.expect_never("db", entry);
        }
        running.expect_never("web", "signal 15");
        running.stop();
        running.expect_exit(0);
        running.expect_after("web", "db");
    }
    let mut running = two("", "").start(Home::Plain, "-vv --stop-on none");
    running.started();
    running.run.signal(libc::SIGQUIT);
    running.run.wait_for_error("received SIGQUIT from ");
    running.run.signal(libc::SIGTERM);
    running.run.wait_for_error("received SIGTERM from ");
    for name in ["web", "db"] {
        running.expect_never(name, "signal 3");
        running.expect_never(name, "signal 15");
    }
    assert!(running.run.is_running());
}

#[test]
fn a_signal_from_outside_that_no_service_takes_is_a_warning() {
    if !Home::Pid1.is_possible() {
        return;
    }
    let mut running = two("", "").start(Home::Pid1, "");
    running.started();
    running.run.signal(libc::SIGWINCH);
    running.run.wait_for_error(
        "supervise: received SIGWINCH from outside, and no service takes it; if it is the \
         image's STOPSIGNAL, set stop_on = [\"WINCH\"]\n",
    );
    running.stop();
    running.expect_exit(0);
    running.expect_never("web", "signal 28");

    let mut running = Services::new("grace = 60; stop_on = ['WINCH']")
        .with("web", "db", "takes=50")
        .with("db", "", "")
        .start(Home::Pid1, "");
    running.started();
    running.run.signal(libc::SIGWINCH);
    running.expect_exit(0);
    running.expect_after("web", "db");
}

#[test]
fn each_service_is_stopped_by_its_own_signal() {
    for home in homes() {
        let mut running = Services::new("grace = 60")
            .with_keys("web", "db", "on=3 daemon takes=50", "stop_signal = 'QUIT'")
            .with_keys("db", "", "on=2", "stop_signal = 'INT'")
            .start(home, "");
        running.started();
        running.stop();
        running.expect_exit(0);
        running.expect_order(("web.daemon", "end"), ("db", "signal 2"));
        running.expect_order(("web", "end"), ("db", "signal 2"));
        running.expect_never("web", "signal 15");
        running.expect_never("web.daemon", "signal 3");
    }
}

#[test]
fn each_line_of_json_about_a_service_has_its_name() {
    let mut running = two("", "hang").start(Home::Plain, "--log-format json -t 2s");
    running.started();
    running.stop();
    running.expect_exit(137);
    let errors = running.run.errors();
    for what in [
        "started",
        "stopping: sending SIGTERM",
        "still running after",
        "did not exit",
    ] {
        let line = errors.lines().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("{what}: {errors}"));
        assert!(line.contains("\"service\":\""), "{line}");
    }
    for line in errors.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
        assert!(!line.contains("supervise["), "{line}");
    }
    let last = errors.lines().last().unwrap();
    assert!(!last.contains("\"service\""), "{last}");
}

#[test]
fn a_descriptor_of_a_service_may_outlive_it() {
    let mut running = two("", "").start(Home::Plain, "");
    running.started();
    let output = format!("/proc/{}/fd/1", running.pid("web"));
    let kept = std::fs::OpenOptions::new()
        .write(true)
        .open(output)
        .unwrap();
    running.stop();
    assert_eq!(running.run.wait(), Ended::code(0));
    running.expect_after("web", "db");
    drop(kept);

    // One of a check, which is over when its command has exited.
    let check = "ready = { command = ['sh', '-c', 'setsid sleep 1071 & exit 0'] }";
    let mut running = Services::new("grace = 60")
        .with("web", "db", "")
        .with_keys("db", "", "", check)
        .start(Home::Plain, "");
    running.started();
    running.stop();
    running.expect_exit(0);
    running.expect_after("web", "db");
}
