//! Running `supervise` in its homes: as PID 1 of a namespace and not, as root
//! and as a normal user. A test waits for facts, with a deadline, and whatever
//! it started ends with it. Tests run in threads of one process: none may change what
//! belongs to the process (folder, environment, signals).
#![allow(dead_code, reason = "each test file uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "test code"
)]

pub mod report;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// How long a fact may take to come about on a machine that is busy with other
/// things. Nothing waits this long unless it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const SUPERVISE: &str = env!("CARGO_BIN_EXE_supervise");

/// The fixture program; see `tests/fixture/fixture.rs`. Plain `cargo test` has built it;
/// with `--test NAME` Cargo builds no example, so that it may be missing or old.
pub fn fixture() -> String {
    static PATH: OnceLock<String> = OnceLock::new();
    let made = || {
        let folder = Path::new(SUPERVISE).parent().unwrap();
        let path = folder.join("examples/fixture");
        let written = |path: &Path| {
            std::fs::metadata(path)
                .and_then(|file| file.modified())
                .ok()
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture/fixture.rs");
        if written(&path) < written(&source) {
            build_fixture(folder);
        }
        path.to_str().unwrap().to_owned()
    };
    PATH.get_or_init(made).clone()
}

/// Builds it for the same target and with the same profile as what is tested, which the
/// folder's name tells: `target/debug`, `target/x86_64-unknown-linux-musl/release`.
fn build_fixture(folder: &Path) {
    let name = |folder: &Path| folder.file_name().unwrap().to_str().unwrap().to_owned();
    let profile = name(folder).replace("debug", "dev");
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["build", "--example", "fixture", "--profile", &profile])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let above = folder.parent().unwrap();
    let target = name(above);
    let root = if target.contains("-linux-") {
        command.args(["--target", &target]);
        above.parent().unwrap()
    } else {
        above
    };
    let output = command.env("CARGO_TARGET_DIR", root).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cannot build the fixture: {errors}"
    );
}

/// Where `supervise` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// As a process like any other.
    Plain,
    /// As PID 1 of a namespace that root made.
    Pid1,
    /// As PID 1 of a namespace that a normal user made.
    UserPid1,
}

impl Home {
    pub fn is_pid1(self) -> bool {
        self != Self::Plain
    }

    /// The words that go before the command to run it here.
    fn prefix(self) -> Vec<&'static str> {
        const UNSHARE: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
        const NOBODY: [&str; 6] = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "unshare",
            "-Ur",
        ];
        match self {
            Self::Plain => Vec::new(),
            Self::Pid1 => [&UNSHARE[..], &["--"]].concat(),
            Self::UserPid1 if is_root() => [&NOBODY[..], &UNSHARE[1..], &["--"]].concat(),
            Self::UserPid1 => [&["unshare", "-Ur"], &UNSHARE[1..], &["--"]].concat(),
        }
    }

    /// Whether this machine allows it; if not, says so aloud, once.
    pub fn is_possible(self) -> bool {
        static TRIED: [OnceLock<bool>; 3] = [const { OnceLock::new() }; 3];
        *TRIED[self as usize].get_or_init(|| self.try_it())
    }

    fn try_it(self) -> bool {
        let Some((program, arguments)) = self.prefix().split_first().map(|(p, a)| (*p, a.to_vec()))
        else {
            return true;
        };
        let tried = Command::new(program)
            .args(arguments)
            .args([SUPERVISE, "--version"])
            .output();
        let why = match tried {
            Ok(output) if output.status.success() => return true,
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => format!("{program}: {error}"),
        };
        // A machine that is full for the moment is no machine that forbids it.
        assert!(!why.contains("Resource temporarily unavailable"), "{why}");
        skipped(&format!("{self:?} is not possible here: {why}"));
        false
    }
}

/// Says aloud that something is not tested here, past the capture of the test
/// harness, which would keep it to itself.
pub fn skipped(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

/// Every home that this machine allows.
pub fn homes() -> Vec<Home> {
    [Home::Plain, Home::Pid1, Home::UserPid1]
        .into_iter()
        .filter(|home| home.is_possible())
        .collect()
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A run of `supervise` with its output in our hands.
pub struct Run {
    child: Child,
    /// The pid of `supervise` as seen from here.
    pub pid: i32,
    lines: Receiver<String>,
    errors: Errors,
    home: Home,
    /// Whether the end was waited for.
    ended: bool,
    /// Removed with the value.
    _runtime: Folder,
}

/// The pipe that is stderr, and what was read from it so far.
struct Errors(Mutex<(ChildStderr, Vec<u8>)>);

impl Errors {
    fn is_at_end(&self) -> bool {
        let (pipe, text) = &mut *self.0.lock().unwrap();
        pipe.read_to_end(text).is_ok()
    }

    fn read(&self) -> String {
        let (pipe, text) = &mut *self.0.lock().unwrap();
        // Ends with "would block" or at the end of the file.
        let _ = pipe.read_to_end(text);
        String::from_utf8_lossy(text).into_owned()
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code, if it was one.
    pub code: Option<i32>,
    /// The signal it died of, if it did.
    pub signal: Option<i32>,
}

impl Ended {
    pub fn code(code: i32) -> Self {
        Self {
            code: Some(code),
            signal: None,
        }
    }

    pub fn signal(signal: i32) -> Self {
        Self {
            code: None,
            signal: Some(signal),
        }
    }

    /// Death of the command by a signal, as `supervise` passes it on there.
    pub fn killed(home: Home, signal: i32) -> Self {
        if home.is_pid1() {
            Self::code(128 + signal)
        } else {
            Self::signal(signal)
        }
    }
}

/// Builds a run: options of `supervise`, then the command.
pub struct Start {
    home: Home,
    options: Vec<String>,
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
    folder: Option<PathBuf>,
    /// Where the relay makes its socket. In /run a run that is killed would leave it.
    runtime: Folder,
}

pub fn start(home: Home) -> Start {
    Start {
        home,
        options: Vec::new(),
        wrapper: Vec::new(),
        environment: Vec::new(),
        folder: None,
        runtime: Folder::new(),
    }
}

impl Start {
    /// Options of `supervise`, separated by blanks.
    pub fn options(mut self, options: &str) -> Self {
        self.options
            .extend(options.split_whitespace().map(str::to_owned));
        self
    }

    /// A command that executes `supervise` in its place, inside the namespace.
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper
            .extend(wrapper.iter().map(|word| (*word).to_owned()));
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Runs a shell script under `supervise`.
    pub fn shell(self, script: &str) -> Run {
        self.run(&["sh", "-c", script])
    }

    /// Runs the fixture under `supervise`.
    pub fn fixture(self, arguments: &[&str]) -> Run {
        let fixture = fixture();
        let words: Vec<&str> = std::iter::once(fixture.as_str())
            .chain(arguments.iter().copied())
            .collect();
        self.run(&words)
    }

    /// Runs a command under `supervise`.
    pub fn run(self, command: &[&str]) -> Run {
        let mut words: Vec<String> = self.home.prefix().iter().map(|w| (*w).to_owned()).collect();
        words.extend(self.wrapper);
        words.push(SUPERVISE.to_owned());
        words.extend(self.options);
        words.push("--".to_owned());
        words.extend(command.iter().map(|word| (*word).to_owned()));
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env("RUNTIME_DIRECTORY", self.runtime.path())
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = self.folder {
            command.current_dir(folder);
        }
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run {words:?}: {e}"));

        let (sender, lines) = channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                if sender
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    return;
                }
            }
        });
        // Not a thread: what supervise has written when it ends is there to be
        // read, and nobody has to wait for another to have read it.
        let stderr = child.stderr.take().unwrap();
        let size = fcntl(&stderr, FcntlArg::F_SETPIPE_SZ(1 << 20));
        size.expect("a pipe of a megabyte");
        fcntl(&stderr, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let errors = Errors(Mutex::new((stderr, Vec::new())));

        let pid = i32::try_from(child.id()).unwrap();
        let mut run = Run {
            child,
            pid,
            lines,
            errors,
            home: self.home,
            ended: false,
            _runtime: self.runtime,
        };
        if self.home.is_pid1() {
            // A run may be over before we see it.
            let mut inside = None;
            eventually("unshare forks", || {
                inside = children_of(pid).first().copied();
                inside.is_some() || run.child.try_wait().unwrap().is_some()
            });
            run.pid = inside.unwrap_or(0);
        }
        run
    }
}

impl Run {
    /// The next line on stdout.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(why) => panic!("no line on stdout: {why}; stderr: {}", self.errors()),
        }
    }

    /// The next line on stdout, or `None` when whoever wrote there has ended.
    #[track_caller]
    pub fn next_line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line on stdout: {}", self.errors()),
        }
    }

    /// Reads lines until this one, which is returned with those before it.
    #[track_caller]
    pub fn lines_until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            let found = line == last;
            lines.push(line);
            if found {
                return lines;
            }
        }
    }

    /// The rest of stdout. Whoever else holds it must have ended.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => return lines,
                Err(RecvTimeoutError::Timeout) => panic!("stdout is still open after {lines:?}"),
            }
        }
    }

    /// Reads "ready PID" and returns the pid, as the program itself sees it.
    #[track_caller]
    pub fn ready(&mut self) -> i32 {
        let line = self.line();
        let pid = line.strip_prefix("ready ").and_then(|pid| pid.parse().ok());
        pid.unwrap_or_else(|| panic!("expected 'ready PID', got {line:?}"))
    }

    /// Sends `supervise` a signal.
    #[track_caller]
    pub fn signal(&self, signal: i32) {
        assert!(self.pid > 0, "supervise has ended");
        send(self.pid, signal);
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(&mut self) -> Ended {
        let mut status = None;
        let child = &mut self.child;
        let deadline = Instant::now() + PATIENCE;
        while status.is_none() {
            status = child.try_wait().unwrap();
            if status.is_none() {
                let errors = self.errors.read();
                assert!(
                    Instant::now() < deadline,
                    "supervise did not end; stderr: {errors}"
                );
                pause();
            }
        }
        self.ended = true;
        let status = status.unwrap();
        Ended {
            code: status.code(),
            signal: status.signal(),
        }
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What stderr has had so far.
    pub fn errors(&self) -> String {
        self.errors.read()
    }

    /// Waits until nobody has stderr open any more.
    #[track_caller]
    pub fn wait_for_end_of_errors(&self) {
        eventually("stderr has an end", || self.errors.is_at_end());
    }

    /// Waits until stderr says this.
    #[track_caller]
    pub fn wait_for_error(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.errors().contains(text) {
            assert!(
                Instant::now() < deadline,
                "stderr never said {text:?}: {}",
                self.errors()
            );
            pause();
        }
    }

    /// The command's pid as seen from here.
    #[track_caller]
    pub fn command(&self) -> i32 {
        let mut command = None;
        eventually("supervise forks", || {
            command = children_of(self.pid).first().copied();
            command.is_some()
        });
        command.unwrap()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Everything below first: when supervise is gone it is nobody's. These
        // are below a child of ours that is not reaped yet.
        let mut all = descendants_of(self.pid);
        all.push(i32::try_from(self.child.id()).unwrap());
        for pid in all {
            raw_kill(pid, libc::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// Kills by its pid what a test left to itself on purpose.
pub struct Leftover(pub i32);

impl Drop for Leftover {
    fn drop(&mut self) {
        raw_kill(self.0, libc::SIGKILL);
    }
}

#[allow(unsafe_code, reason = "no library sends a realtime signal")]
fn raw_kill(pid: i32, signal: i32) -> i32 {
    // SAFETY: takes plain integers.
    unsafe { libc::kill(pid, signal) }
}

#[track_caller]
pub fn send(pid: i32, signal: i32) {
    assert!(pid > 1);
    let result = raw_kill(pid, signal);
    assert_eq!(result, 0, "kill {pid}: {}", std::io::Error::last_os_error());
}

/// Polls a condition until it holds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came about: {what}");
        pause();
    }
}

/// Between two looks at a condition.
fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

/// The children of a process, of all its threads.
pub fn children_of(pid: i32) -> Vec<i32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect()
}

pub fn descendants_of(pid: i32) -> Vec<i32> {
    let mut found = children_of(pid);
    let mut next = 0;
    while next < found.len() {
        let more = children_of(found[next]);
        found.extend(more);
        next += 1;
    }
    found
}

/// A line of /proc/PID/status.
pub fn status_field(pid: i32, field: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Whether a process is there and not a zombie.
pub fn is_alive(pid: i32) -> bool {
    status_field(pid, "State").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// A folder that everyone may use, removed with the value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("supervise-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: impl AsRef<OsStr>) -> String {
        self.0.join(name.as_ref()).to_str().unwrap().to_owned()
    }

    /// Copies a program here to be executed with this mode. By cp(1): a descriptor of
    /// ours that is open for writing would be in whatever another test forks meanwhile,
    /// and the kernel executes no file that someone may write to (ETXTBSY).
    pub fn copy_program(&self, from: &str, name: &str, mode: u32) -> String {
        let path = self.file(name);
        let copied = Command::new("cp").args(["--", from, &path]).status();
        assert!(copied.unwrap().success(), "cp {from} {path}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Writes a file with these contents and this mode: as a copy if it is a program, see
    /// [`Folder::copy_program`].
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>, mode: u32) -> String {
        if mode & 0o111 != 0 {
            let source = self.write("contents", contents, 0o644);
            let path = self.copy_program(&source, name, mode);
            std::fs::remove_file(source).unwrap();
            return path;
        }
        let path = self.file(name);
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
