//! A `supervise` in its home, whose output the test reads.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::process::raw_kill;
use super::{
    Folder, Home, PATIENCE, SUPERVISE, children_of, descendants_of, eventually, fixture, pause,
    send,
};

/// A run of `supervise` whose output the test reads.
pub struct Run {
    child: Child,
    /// The pid of `supervise` as seen from here.
    pub pid: i32,
    lines: Receiver<String>,
    errors: Errors,
    home: Home,
    /// The command line, for messages.
    words: Vec<String>,
    /// Whether `wait` has returned.
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

    /// The end of `supervise` there when a signal killed the command.
    pub fn killed(home: Home, signal: i32) -> Self {
        if home.is_pid1() {
            Self::code(128 + signal)
        } else {
            Self::signal(signal)
        }
    }
}

/// How a command ended, and what it printed.
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub errors: String,
}

/// Runs a command to its end, with stdin at /dev/null.
pub fn output(words: &[&str]) -> Output {
    let mut command = Command::new(words[0]);
    let output = command.args(&words[1..]).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Output {
        code: output.status.code(),
        stdout: text(&output.stdout),
        errors: text(&output.stderr),
    }
}

/// Runs `supervise` with these words to its end.
pub fn supervise(words: &[&str]) -> Output {
    let runtime = Folder::sticky();
    let variable = format!("RUNTIME_DIRECTORY={}", runtime.path().display());
    output(&[&["env", &variable, SUPERVISE], words].concat())
}

/// Builds a run: options of `supervise`, then the command.
pub struct Start {
    home: Home,
    options: Vec<String>,
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
    folder: Option<PathBuf>,
    /// Where the relay makes its socket; in /run a killed supervise would leave it.
    runtime: Folder,
}

pub fn start(home: Home) -> Start {
    Start {
        home,
        options: Vec::new(),
        wrapper: Vec::new(),
        environment: Vec::new(),
        folder: None,
        runtime: Folder::sticky(),
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
        // Not a thread: what supervise has written when it exits can be read at once,
        // without waiting for a thread.
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
            words,
            ended: false,
            _runtime: self.runtime,
        };
        if self.home.is_pid1() {
            // A run may be over before it is seen.
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

    /// The next line on stdout, or `None` at its end.
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

    /// The rest of stdout, to its end.
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

    /// Reads "ready PID" and returns the pid, which is that inside its namespace.
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

    /// Waits until it exits.
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

    /// Asserts the exit status.
    #[track_caller]
    pub fn expect_exit(&mut self, code: i32) {
        self.expect_end(&Ended::code(code));
    }

    /// Asserts that the command was killed by this signal, as `supervise` exits for that here.
    #[track_caller]
    pub fn expect_killed(&mut self, signal: i32) {
        self.expect_end(&Ended::killed(self.home, signal));
    }

    #[track_caller]
    fn expect_end(&mut self, expected: &Ended) {
        let ended = self.wait();
        assert_eq!(ended, *expected, "{}", self.context());
    }

    /// Asserts that this is the next line on stdout.
    #[track_caller]
    pub fn expect_line(&mut self, expected: &str) {
        let line = self.line();
        assert_eq!(line, expected, "{}", self.context());
    }

    /// Asserts that the fixture prints next that it has received this signal, and returns
    /// what it prints.
    #[track_caller]
    pub fn expect_signal(&mut self, signal: i32) -> String {
        let line = self.line();
        let is_it = line.split(' ').next() == Some(&signal.to_string());
        assert!(is_it, "signal {signal}, not {line}: {}", self.context());
        line
    }

    /// Asserts that nothing else comes on stdout to its end.
    #[track_caller]
    pub fn expect_no_more_output(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "{rest:?}: {}", self.context());
    }

    /// Asserts that this was written to stderr.
    #[track_caller]
    pub fn expect_log(&self, text: &str) {
        let context = self.context();
        assert!(self.errors().contains(text), "no {text:?}: {context}");
    }

    #[track_caller]
    pub fn expect_no_log(&self, text: &str) {
        let context = self.context();
        assert!(!self.errors().contains(text), "{text:?}: {context}");
    }

    #[track_caller]
    pub fn expect_empty_log(&self) {
        assert!(self.errors().is_empty(), "{}", self.context());
    }

    fn context(&self) -> String {
        format!("{:?}; stderr: {}", self.words, self.errors())
    }

    /// Whether it has not exited.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What was written to stderr so far.
    pub fn errors(&self) -> String {
        self.errors.read()
    }

    /// Waits until no process has stderr open.
    #[track_caller]
    pub fn wait_for_end_of_errors(&self) {
        eventually("stderr has an end", || self.errors.is_at_end());
    }

    /// Waits until this is written to stderr.
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
        // The descendants first: without supervise they are found no more. Their pids are
        // not reused, because their ancestor is not reaped yet.
        let mut all = descendants_of(self.pid);
        all.push(i32::try_from(self.child.id()).unwrap());
        for pid in all {
            raw_kill(pid, libc::SIGKILL);
        }
        let _ = self.child.wait();
    }
}
