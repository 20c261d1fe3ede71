//! The start of several services: in which order, when they are ready, and how they are
//! started again.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use crate::harness::services::*;
use crate::harness::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_service_starts_when_what_it_depends_on_is_ready() {
    for home in homes() {
        let gate = Folder::new();
        let open = gate.file("open");
        let check = format!("ready = {{ command = ['/bin/sh', '-c', 'test -e {open}'] }}");
        let mut running = Services::new("grace = 60")
            .with("web", "db", "")
            .with("alone", "", "")
            .with_keys("db", "", "", &check)
            .start(home, "");
        running.wait_for("db", "start");
        // Side by side with what waits for nothing.
        running.wait_for("alone", "start");
        running.expect_never("web", "start");
        gate.write("open", "", 0o644);
        running.wait_for("web", "start");
        running.stop();
        running.expect_exit(0);
        running.expect_order(("db", "start"), ("web", "start"));
        let errors = running.run.errors();
        let ready = errors.find("supervise[db]: ready after").unwrap();
        assert!(
            ready < errors.find("supervise[web]: started").unwrap(),
            "{errors}"
        );
    }
}

#[test]
fn a_socket_is_ready_when_it_accepts_a_connection() {
    let folder = Folder::new();
    let path = folder.file("socket");
    // Found free, and nothing else takes it: the kernel gives out others first.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut running = Services::new("grace = 60")
        .with_keys("tcp", "", "", &format!("ready = {{ tcp = {port} }}"))
        .with_keys("unix", "", "", &format!("ready = {{ unix = '{path}' }}"))
        .with("web", "tcp unix", "")
        .start(Home::Plain, "");
    running.wait_for("tcp", "start");
    running.wait_for("unix", "start");
    let _unix = UnixListener::bind(&path).unwrap();
    running.run.wait_for_error("supervise[unix]: ready after");
    running.expect_never("web", "start");
    let _tcp = TcpListener::bind(("127.0.0.1", port)).unwrap();
    running.wait_for("web", "start");
    running.stop();
    running.expect_exit(0);
}

#[test]
fn a_port_that_another_program_holds_is_told_of() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut running = Services::new("grace = 60")
        .with_keys("db", "", "", &format!("ready = {{ tcp = {port} }}"))
        .start(Home::Plain, "");
    running.started();
    running
        .run
        .wait_for_error("already answers, before it was started");
    running.stop();
    running.expect_exit(0);
}

#[test]
fn a_service_that_ends_before_it_is_ready_starts_nothing() {
    let mut running = Services::new("grace = 60")
        .with("web", "db", "")
        .with_keys(
            "db",
            "",
            "lives=50 code=3",
            "ready = { command = ['/bin/false'] }",
        )
        .start(Home::Plain, "");
    running.expect_exit(3);
    running.expect_never("web", "start");
}

#[test]
fn a_dependency_that_is_not_essential_and_over_holds_up_nothing() {
    let keys = "ready = 'notify'; essential = false";
    let mut running = Services::new("grace = 60")
        .with("web", "cache", "")
        .with_keys("cache", "", "lives=20 code=3", keys)
        .start(Home::Plain, "");
    running.wait_for("web", "start");
    running.stop();
    running.expect_exit(0);
}

#[test]
fn nothing_of_a_check_that_hangs_is_left() {
    for home in homes() {
        let folder = Folder::new();
        let pids = folder.write("pids", "", 0o666);
        let script = format!("(setsid sleep 1000 & echo $! >> {pids}) && sleep 1000");
        let check = format!("ready = {{ command = ['/bin/sh', '-c', '{script}'] }}");
        let mut running = Services::new("grace = 60")
            .with_keys("db", "", "", &check)
            .start(home, "");
        running.started();
        eventually("the check runs", || !folder.read("pids").is_empty());
        running.stop();
        running.expect_exit(0);
        let pid = folder.read("pids");
        let gone = || !std::path::Path::new("/proc").join(pid.trim()).exists();
        // The kernel ends all of a PID namespace.
        if home == Home::Plain {
            eventually("it is gone", gone);
        }
        assert!(running.requested.elapsed() < SECOND * 20);
    }
}

#[test]
fn what_is_not_ready_is_told_of_with_the_last_try() {
    let check = "ready = { command = ['/bin/sh', '-c', 'echo nothing there >&2 && exit 4'] }";
    let keys = format!("{check}; ready_timeout = '300ms'");
    let mut running = Services::new("grace = 60")
        .with_keys("db", "", "takes=20", &keys)
        .start(Home::Plain, "");
    running.expect_exit(124);
    let errors = running.run.errors();
    let line = errors
        .lines()
        .find(|line| line.contains("(ready_timeout)"))
        .unwrap();
    assert!(line.contains("exit status 4: nothing there"), "{errors}");
    running.at("db", "signal 15");
}

/// What a service finds: its limits, masks, place and descriptors.
const SURROUNDINGS: &str = "ulimit -n; ulimit -u; umask; pwd; \
    grep -E '^(Sig(Ign|Blk)|NoNewPrivs|Groups|Uid)' /proc/self/status; \
    ls -l /proc/$$/fd | sed 's/.* //'; cat /proc/$$/oom_score_adj; \
    cut -d' ' -f19 /proc/$$/stat; env | sort | grep -v ^_=; echo; echo end";

#[test]
fn a_service_starts_again_as_it_did_the_first_time() {
    for home in homes() {
        let folder = Folder::new();
        let found = folder.write("found", "", 0o666);
        let script = format!("({SURROUNDINGS}) >> {found} 2>/dev/null; exit 1");
        let keys = "restart = 'on-failure'; restart_limit = 1; working_dir = '/usr'; \
                    environment = { A = 'b' }";
        let mut running = Services::new("grace = 60")
            .with_command("web", "", &["/bin/sh", "-c", &script], keys)
            .start(home, "");
        running.expect_exit(1);
        let found = folder.read("found");
        let runs: Vec<&str> = found.split("\nend\n").collect();
        let [first, second, ""] = runs[..] else {
            panic!("{found}");
        };
        assert_eq!(first, second);
        assert!(
            first.contains("\n/usr\n") && first.contains("\nA=b\n"),
            "{first}"
        );
        // Nothing of ours.
        let inherited = first.lines().find(|line| line.starts_with("SigBlk"));
        assert_eq!(inherited, Some("SigBlk:\t0000000000000000"), "{first}");
        assert!(first.contains("/dev/null"), "{first}");
    }
}

#[test]
fn only_when_nothing_of_the_last_run_is_left_it_starts_again() {
    let keys = "restart = 'on-failure'; restart_limit = 1";
    let mut running = Services::new("grace = 60")
        .with_keys("web", "", "lives=50 code=1 daemon takes=900", keys)
        .start(Home::Plain, "");
    running.expect_exit(1);
    let entries = running.entries();
    let starts: Vec<Duration> = entries
        .iter()
        .filter(|entry| entry.who == "web" && entry.what == "start")
        .map(|entry| entry.at)
        .collect();
    let [_, second] = starts[..] else {
        panic!("{}", running.told());
    };
    assert!(
        running.at("web.daemon", "end") <= second,
        "{}",
        running.told()
    );
}

#[test]
fn what_has_succeeded_starts_again_only_with_always() {
    let mut running = Services::new("grace = 60")
        .with_keys("often", "", "lives=20", "restart = 'always'")
        .with_keys(
            "once",
            "",
            "lives=20",
            "restart = 'on-failure'; essential = false",
        )
        .start(Home::Plain, "");
    let count = |running: &Running, who: &str| {
        let entries = running.entries().into_iter();
        entries
            .filter(|entry| entry.who == who && entry.what == "start")
            .count()
    };
    eventually("it starts again", || count(&running, "often") == 3);
    running.stop();
    running.expect_exit(0);
    assert_eq!(count(&running, "once"), 1);
}

#[test]
fn a_program_that_puts_itself_in_the_background_is_told_how_not_to() {
    let mut running = Services::new("grace = 60")
        .with("web", "", "lives=50 daemon takes=20")
        .start(Home::Plain, "");
    running.expect_exit(0);
    running.at("web.daemon", "signal 15");
    let errors = running.run.errors();
    assert!(
        errors.contains("must not put itself in the background"),
        "{errors}"
    );
}

#[test]
fn a_service_has_no_stdin_and_nothing_of_our_service_manager() {
    let folder = Folder::new();
    let found = folder.write("found", "", 0o666);
    let script = format!("(cat; env) > {found}; exec sleep 1000");
    let services =
        Services::new("grace = 60").with_command("web", "", &["/bin/sh", "-c", &script], "");
    let start = start(Home::Plain)
        .variable("NOTIFY_SOCKET", "/run/nobody-listens")
        .variable("LISTEN_FDS", "0")
        .variable("WATCHDOG_USEC", "1000000")
        .variable("SUPERVISE_GRACE", "61s");
    let mut running = services.start_with(start, "");
    eventually("it has looked", || folder.read("found").contains("PATH="));
    running.stop();
    running.expect_exit(0);
    let found = folder.read("found");
    for name in [
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
        "WATCHDOG_USEC",
        "SUPERVISE_GRACE",
    ] {
        assert!(!found.contains(name), "{found}");
    }
    assert!(
        running.run.errors().contains("NOTIFY_SOCKET"),
        "{}",
        running.run.errors()
    );
}
