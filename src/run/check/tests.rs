//! Checks as processes, in forks of this one.

use std::ffi::CString;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::testing::{Folder, eventually, refusing};
use super::*;
use crate::ending::Ending;
use crate::processes::procfs;
use crate::settings::services::{Command, Request, Restart, Shown, User};
use crate::signal::SignalSet;
use crate::sys::wait::{self, Waited};

fn service(ready: Ready) -> Service {
    Service {
        name: "db".to_owned(),
        command: command(&["true"]),
        depends_on: Vec::new(),
        ready,
        ready_timeout: None,
        stop_signal: Signal::TERM,
        stop_grace_period: None,
        restart: Restart::No,
        restart_limit: None,
        essential: true,
        success_exit_codes: Vec::new(),
        user: None,
        working_dir: None,
        environment: Vec::new(),
        forward_signals: SignalSet::EMPTY,
    }
}

fn command(words: &[&str]) -> Command {
    Command {
        argv: words
            .iter()
            .map(|word| CString::new(*word).unwrap())
            .collect(),
        shown: "shown".to_owned(),
    }
}

fn tcp(address: SocketAddr) -> Service {
    service(Ready::Tcp(Shown {
        value: vec![address],
        shown: String::new(),
    }))
}

fn shell(script: &str) -> Service {
    service(Ready::Command(command(&["sh", "-c", script])))
}

/// A check of a test. What is left of it is killed.
struct Checked(Check);

impl Checked {
    fn start(service: &Service, once: bool) -> Self {
        let inherited = signals::block_all();
        signals::restore(&inherited);
        Self(Check::start(service, once, inherited, descriptors::limit()).unwrap())
    }

    /// How the check exits.
    fn ending(&self) -> Ending {
        ending_of(self.0.pid)
    }

    /// Waits until a try has said this.
    fn says(&self, expected: &str) {
        eventually(expected, || self.0.last_try().as_deref() == Some(expected));
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        if let Some(group) = self.0.page.group() {
            let _ = kill(Target::Group(group), Signal::KILL);
        }
        if wait::one(self.0.pid) == Waited::NoChange {
            let _ = kill(Target::Process(self.0.pid), Signal::KILL);
        }
    }
}

/// How this child exits.
fn ending_of(child: i32) -> Ending {
    let mut ending = None;
    eventually("it exits", || {
        if let Waited::Ended(_, how) = wait::one(child) {
            ending = Some(how);
        }
        ending.is_some()
    });
    ending.unwrap()
}

/// How one try ends, and what it says.
fn once(service: &Service) -> (Ending, Option<String>) {
    let check = Checked::start(service, true);
    (check.ending(), check.0.last_try())
}

fn failed(why: &str) -> (Ending, Option<String>) {
    (Ending::Exited(1), Some(why.to_owned()))
}

/// Reads the pids that a script has written, once there are so many.
fn pids(file: &Path, count: usize) -> Vec<i32> {
    let mut pids = Vec::new();
    eventually("the script writes its pids", || {
        let text = fs::read_to_string(file).unwrap_or_default();
        pids = text.lines().filter_map(|line| line.parse().ok()).collect();
        pids.len() == count && text.ends_with('\n')
    });
    pids
}

fn is_alive(pid: i32) -> bool {
    let process = procfs::stat(pid).unwrap();
    process.is_some_and(|process| !process.is_zombie())
}

fn all_exit(pids: &[i32]) {
    eventually("all have exited", || !pids.iter().any(|pid| is_alive(*pid)));
}

/// A script that writes its pid and those of a child in its process group and one in another,
/// and hangs; all ignore SIGTERM.
fn hanging(folder: &Folder) -> (String, std::path::PathBuf) {
    let file = folder.path("pids");
    let script = format!(
        "trap '' TERM HUP; sleep 1000 & a=$!; setsid sleep 1000 & printf '%s\\n' $$ $a $! >>{}; wait",
        file.display()
    );
    (script, file)
}

#[test]
fn a_check_exits_once_its_service_answers() {
    let address = refusing();
    let check = Checked::start(&tcp(address), false);
    check.says("connection refused");
    let process = procfs::stat(check.0.pid).unwrap().unwrap();
    assert_eq!(process.name, b"supervise[db]");
    let listener = TcpListener::bind(address).unwrap();
    assert_eq!(check.ending(), Ending::Exited(0));
    // As it was before that.
    check.says("connection refused");
    drop(listener);
}

#[test]
fn one_try_tells_success_from_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepts = listener.local_addr().unwrap();
    let succeeded = (Ending::Exited(0), None);
    assert_eq!(once(&tcp(accepts)), succeeded);
    assert_eq!(once(&tcp(refusing())), failed("connection refused"));
    let request = Ready::Http(Shown {
        value: Request {
            addresses: vec![accepts],
            host: "localhost".to_owned(),
            path: "/".to_owned(),
        },
        shown: String::new(),
    });
    assert_eq!(once(&service(request)), failed("no answer within 1s"));
    let folder = Folder::new();
    let unix = service(Ready::Unix(Shown {
        value: folder.path("socket"),
        shown: String::new(),
    }));
    assert_eq!(once(&unix), failed("no such file or directory"));
    let listener = UnixListener::bind(folder.path("socket")).unwrap();
    assert_eq!(once(&unix), succeeded);
    drop(listener);
    assert_eq!(once(&shell("exit 0")), succeeded);
}

#[test]
fn a_service_without_a_check_is_not_checked() {
    for ready in [Ready::Started, Ready::Notified, Ready::Exited] {
        let inherited = signals::block_all();
        signals::restore(&inherited);
        let result = Check::start(&service(ready), false, inherited, None);
        assert_eq!(result.err(), Some(Errno::EINVAL));
    }
}

#[test]
fn pauses_double_up_to_half_a_second() {
    let pauses = std::iter::successors(Some(FIRST_PAUSE), |pause| Some(next(*pause)));
    let pauses: Vec<_> = pauses.take(8).map(|pause| pause.as_millis()).collect();
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 500, 500]);
}

#[test]
fn a_command_that_fails_tells_how() {
    for (script, expected) in [
        ("exit 2", "exit status 2"),
        ("echo a; exit 3", "exit status 3"),
        (
            "echo a >&2; echo ' b c ' >&2; echo >&2; exit 2",
            "exit status 2: b c",
        ),
        (
            "printf 'no line end' >/dev/stderr; exit 1",
            "exit status 1: no line end",
        ),
        ("echo x >&2; kill -TERM $$", "killed by SIGTERM: x"),
        ("printf '\\377' >&2; exit 1", "exit status 1: \u{fffd}"),
    ] {
        assert_eq!(once(&shell(script)), failed(expected), "{script}");
    }
    let missing = service(Ready::Command(command(&["/nonexistent/program"])));
    let (ending, text) = once(&missing);
    assert_eq!(ending, Ending::Exited(1));
    assert!(text.unwrap().contains("no such file or directory"));
}

#[test]
fn much_output_does_not_keep_a_command_from_exiting() {
    let much = "head -c 1000000 /dev/zero | tr '\\0' x >&2";
    assert_eq!(once(&shell(much)), (Ending::Exited(0), None));
    let failing = format!("{much}; echo >&2; echo last >&2; exit 4");
    assert_eq!(once(&shell(&failing)), failed("exit status 4: last"));
    let (_, text) = once(&shell(&format!("{much}; exit 5")));
    let line = "x".repeat(200);
    assert_eq!(text, Some(format!("exit status 5: {line}")));
    let endless = "while :; do echo y >&2; done";
    assert_eq!(once(&shell(endless)), failed("no answer within 1s: y"));
}

#[test]
fn a_process_that_keeps_the_output_open_does_not_hold_the_result_and_is_killed() {
    let folder = Folder::new();
    for (number, status) in [0, 1].into_iter().enumerate() {
        let file = folder.path(&number.to_string());
        let script = format!(
            "setsid sh -c 'trap \"\" TERM HUP; echo $$ >{}; exec sleep 1000' & \
             while ! test -s {0}; do sleep 0.01; done; exit {status}",
            file.display()
        );
        let check = Checked::start(&shell(&script), true);
        let daemon = pids(&file, 1);
        assert_eq!(check.ending(), Ending::Exited(status));
        let expected = (status == 1).then(|| "exit status 1".to_owned());
        assert_eq!(check.0.last_try(), expected);
        assert!(!daemon.iter().any(|pid| is_alive(*pid)));
    }
}

#[test]
fn everything_that_a_command_has_started_is_killed_when_its_time_is_over() {
    let folder = Folder::new();
    let (script, file) = hanging(&folder);
    let check = Checked::start(&shell(&script), true);
    let started = pids(&file, 3);
    assert_eq!(check.ending(), Ending::Exited(1));
    assert_eq!(check.0.last_try().as_deref(), Some("no answer within 1s"));
    assert!(!started.iter().any(|pid| is_alive(*pid)));
    assert_eq!(check.0.page.group(), None);
}

#[test]
fn an_ended_check_takes_everything_with_it() {
    let folder = Folder::new();
    let (script, file) = hanging(&folder);
    for suspended in [false, true] {
        let _ = fs::remove_file(&file);
        let check = Checked::start(&shell(&script), false);
        let started = pids(&file, 3);
        if suspended {
            kill(Target::Process(check.0.pid), Signal::STOP).unwrap();
        }
        check.0.end();
        assert_eq!(check.ending(), Ending::Exited(1));
        assert!(!started.iter().any(|pid| is_alive(*pid)));
    }
    let socket = Checked::start(&tcp(refusing()), false);
    socket.says("connection refused");
    socket.0.end();
    assert_eq!(socket.ending(), Ending::Killed(Signal::KILL, false));
}

#[test]
fn a_killed_check_leaves_nothing_in_the_group_of_its_command() {
    let folder = Folder::new();
    let file = folder.path("pids");
    let script = format!(
        "sleep 1000 & printf '%s\\n' $$ $! >{}; wait",
        file.display()
    );
    let check = Checked::start(&shell(&script), false);
    let started = pids(&file, 2);
    assert_eq!(check.0.page.group(), started.first().copied());
    kill(Target::Process(check.0.pid), Signal::KILL).unwrap();
    assert_eq!(check.ending(), Ending::Killed(Signal::KILL, false));
    // By the kernel, even if nothing more can be done.
    all_exit(started.get(..1).unwrap());
    check.0.reaped(&mut Sweep::new(process::own_pid(), false));
    all_exit(&started);
}

#[test]
fn a_check_exits_with_the_main_process() {
    let folder = Folder::new();
    let (script, file) = hanging(&folder);
    let checks = folder.path("checks");
    let address = refusing();
    let main = process::fork(|| {
        let inherited = signals::block_all();
        let command = Check::start(&shell(&script), false, inherited, None).unwrap();
        let socket = Check::start(&tcp(address), false, inherited, None).unwrap();
        pids(&file, 3);
        eventually("a try fails", || socket.last_try().is_some());
        let _ = fs::write(&checks, format!("{}\n{}\n", command.pid, socket.pid));
        0
    });
    assert_eq!(ending_of(main.unwrap()), Ending::Exited(0));
    let started = [pids(&checks, 2), pids(&file, 3)].concat();
    let exited = Instant::now();
    all_exit(&started);
    assert!(exited.elapsed() < PATIENCE, "only when the try was over");
}

#[test]
fn tries_of_a_command_follow_each_other_and_leave_no_memory() {
    let folder = Folder::new();
    let (count, both) = (folder.path("count"), folder.path("both"));
    // The directory is there while a command runs.
    let script = format!(
        "mkdir {lock} || echo both >{both}; echo $$ >>{count}; rmdir {lock}; \
         test -e {folder}/ready",
        lock = folder.path("lock").display(),
        both = both.display(),
        count = count.display(),
        folder = folder.path("").display(),
    );
    let check = Checked::start(&shell(&script), false);
    let tries = || fs::read_to_string(&count).map_or(0, |text| text.lines().count());
    let mappings = || {
        fs::read_to_string(format!("/proc/{}/maps", check.0.pid))
            .unwrap()
            .lines()
            .count()
    };
    eventually("a second try", || tries() >= 2);
    let before = mappings();
    eventually("more tries", || tries() >= 6);
    assert!(mappings() <= before + 1, "{before}, now {}", mappings());
    fs::write(folder.path("ready"), "").unwrap();
    assert_eq!(check.ending(), Ending::Exited(0));
    assert!(!both.exists());
}

#[test]
fn a_check_and_its_command_hold_no_descriptor_of_ours() {
    let folder = Folder::new();
    let file = folder.path("file");
    // Without the mark to be closed on exec.
    let ours = fs::File::create(&file).unwrap();
    nix::fcntl::fcntl(&ours, nix::fcntl::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let numbers = |pid: i32| {
        let mut numbers: Vec<i32> = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .file_name()
                    .to_str()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        numbers.sort_unstable();
        numbers
    };
    let socket = Checked::start(&tcp(refusing()), false);
    eventually("only stdin, stdout and stderr", || {
        numbers(socket.0.pid) == [0, 1, 2]
    });
    let (script, file) = hanging(&folder);
    let check = Checked::start(&shell(&script), false);
    let command = pids(&file, 3).first().copied().unwrap();
    assert_eq!(numbers(command), [0, 1, 2]);
    // And a signalfd, and two pipes.
    assert_eq!(numbers(check.0.pid).len(), 6);
    check.0.end();
    check.ending();
    drop(ours);
}

#[test]
fn a_command_has_the_limit_on_descriptors_of_the_start() {
    let folder = Folder::new();
    let file = folder.path("limits");
    // What each try leaves has to be looked for, with more descriptors.
    let script = format!("ulimit -Sn >>{}; sleep 1000 & exit 1", file.display());
    let main = process::fork(|| {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard - 1) - 1, hard).unwrap();
        let expected = format!("{}\n", soft.min(hard - 1) - 1);
        let limit = descriptors::limit();
        descriptors::raise_limit();
        let inherited = signals::block_all();
        let check = Check::start(&shell(&script), false, inherited, limit).unwrap();
        let limits = || fs::read_to_string(&file).unwrap_or_default();
        eventually("three tries", || limits().lines().count() == 3);
        let is_same = limits() == expected.repeat(3);
        check.end();
        u8::from(!is_same)
    });
    assert_eq!(ending_of(main.unwrap()), Ending::Exited(0));
}

/// A service that runs as a user without a name in a directory of that user.
fn as_user(folder: &Folder, script: &str) -> Service {
    let path = folder.path("");
    std::os::unix::fs::chown(&path, Some(61_001), Some(61_002)).unwrap();
    let user = User::parse(b"61001:61002", "${USER}").unwrap();
    Service {
        user: Some(user),
        working_dir: Some(Shown {
            value: path,
            shown: String::new(),
        }),
        environment: vec![("CHECKED".into(), "yes".into())],
        ..shell(script)
    }
}

#[expect(clippy::print_stderr, reason = "shows what a run of the tests skips")]
fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: takes root");
    }
    is_root
}

#[test]
fn a_command_runs_as_its_service_does() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let script = "echo $(id -u) $(id -g) $(id -G) $HOME $CHECKED $(readlink /proc/$$/fd/0 \
                  /proc/$$/fd/1) $(pwd -P) > /dev/stderr; exit 1";
    let check = Checked::start(&as_user(&folder, script), false);
    let path = fs::canonicalize(folder.path("")).unwrap();
    let path = path.display();
    let expected = "exit status 1: 61001 61002 61002 / yes /dev/null /dev/null";
    check.says(&format!("{expected} {path}"));
    check.0.end();
    check.ending();
    let service = Service {
        user: Some(User::parse(b"nobody-here", "${USER}").unwrap()),
        ..shell("exit 0")
    };
    let (ending, text) = once(&service);
    assert_eq!(ending, Ending::Exited(1));
    assert!(text.unwrap().contains("'${USER}' is not in /etc/passwd"));
}

/// Runs this test, or itself without `CAP_KILL`: the parent-death signal of the kernel does not
/// reach other users then.
#[test]
fn processes_of_another_user_are_killed_without_cap_kill() {
    const INSIDE: &str = "CHECK_TEST_WITHOUT_CAP_KILL";
    if !is_root() {
        return;
    }
    if std::env::var_os(INSIDE).is_none() {
        let name = "run::check::tests::processes_of_another_user_are_killed_without_cap_kill";
        let result = std::process::Command::new("setpriv")
            .args(["--bounding-set=-kill", "--inh-caps=-kill"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&result.stdout).into_owned();
        assert!(
            result.status.success() && output.contains("1 passed"),
            "{output}"
        );
        return;
    }
    assert!(!process::rights().kill);
    let folder = Folder::new();
    let (script, file) = hanging(&folder);
    let service = as_user(&folder, &script);
    for killed in [false, true] {
        let _ = fs::remove_file(&file);
        let check = Checked::start(&service, false);
        let started = pids(&file, 3);
        if killed {
            nix::sys::prctl::set_child_subreaper(true).unwrap();
            kill(Target::Process(check.0.pid), Signal::KILL).unwrap();
            assert_eq!(check.ending(), Ending::Killed(Signal::KILL, false));
            let group = started.get(..2).unwrap();
            assert!(group.iter().all(|pid| is_alive(*pid)));
            let mut sweep = Sweep::new(process::own_pid(), false);
            check.0.reaped(&mut sweep);
            all_exit(group);
            // The other one has left the group.
            sweep.kill(None, None);
        } else {
            check.0.end();
            assert_eq!(check.ending(), Ending::Exited(1));
        }
        all_exit(&started);
    }
}
