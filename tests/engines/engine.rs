//! What Docker and Podman have in common: a command line that runs containers.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::harness::{Folder, PATIENCE};
use crate::images::Image;

/// Docker or Podman.
pub struct Engine {
    program: &'static str,
    images: [OnceLock<()>; Image::COUNT],
}

impl Engine {
    pub const fn new(program: &'static str) -> Self {
        Self {
            program,
            images: [const { OnceLock::new() }; Image::COUNT],
        }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// What it says on stdout. It must succeed.
    #[track_caller]
    pub fn say(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{} {words:?}: {errors}",
            self.program
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The name of an image, which is there then.
    #[track_caller]
    pub fn image(&self, image: Image) -> &'static str {
        self.images[image as usize].get_or_init(|| {
            let mut words = vec!["import"];
            for change in image.changes() {
                words.extend(["--change", change]);
            }
            words.extend(["-", image.name()]);
            let mut tar = image.archive().stdout(Stdio::piped()).spawn().unwrap();
            let mut import = Command::new(self.program);
            let output = import
                .args(words)
                .stdin(tar.stdout.take().unwrap())
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{image:?}: {errors}");
            assert!(tar.wait().unwrap().success(), "{image:?}: tar has failed");
        });
        image.name()
    }

    /// Runs a command in a container in the background.
    #[track_caller]
    pub fn start(&'static self, image: Image, options: &[&str], command: &[&str]) -> Container {
        let container = self.container();
        let words = container.words("-d", self.image(image), options, command);
        self.say(&words.iter().map(String::as_str).collect::<Vec<_>>());
        container
    }

    /// Runs a command in a container to its end: its status, and what it said
    /// on stdout and stderr.
    #[track_caller]
    pub fn foreground(
        &'static self,
        image: Image,
        options: &[&str],
        command: &[&str],
    ) -> (Option<i32>, String) {
        let container = self.container();
        let words = container.words("-i", self.image(image), options, command);
        let output = self.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        (output.status.code(), both(&output))
    }

    /// A name and a folder for a container that somebody else starts.
    pub fn container(&'static self) -> Container {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Container {
            engine: self,
            name: format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            folder: Folder::new(),
        }
    }
}

fn both(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    format!("{}{errors}", String::from_utf8_lossy(&output.stdout))
}

/// A container, removed with the value.
pub struct Container {
    engine: &'static Engine,
    pub name: String,
    /// In the container it is /log.
    pub folder: Folder,
}

impl Container {
    /// The words that run it.
    pub fn words(
        &self,
        mode: &str,
        image: &str,
        options: &[&str],
        command: &[&str],
    ) -> Vec<String> {
        let volume = format!("{}:/log", self.folder.path().display());
        let first = [
            "run",
            mode,
            "--name",
            self.name.as_str(),
            "--volume",
            volume.as_str(),
        ];
        let all = [&first, options, &[image], command].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    /// Waits until it says this on stdout.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) {
        let mut follow = self.engine.command(&["logs", "--follow", &self.name]);
        let mut follow = follow
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(follow.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let deadline = Instant::now() + PATIENCE;
        let mut found = false;
        while !found {
            let left = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => found = line.contains(text),
                Err(_) => break,
            }
        }
        drop(lines);
        follow.kill().unwrap();
        follow.wait().unwrap();
        let _ = reader.join().unwrap();
        assert!(found, "{text:?} is not in {}", self.logs());
    }

    /// All that it has said, on stdout and stderr.
    #[track_caller]
    pub fn logs(&self) -> String {
        both(&self.engine.run(&["logs", &self.name]))
    }

    /// Stops it, with the engine's own limit in seconds, and says how long that
    /// took.
    #[track_caller]
    pub fn stop(&self, limit: u32) -> Duration {
        let begin = Instant::now();
        self.engine
            .say(&["stop", "-t", &limit.to_string(), &self.name]);
        begin.elapsed()
    }

    /// Waits for its end, if need be.
    #[track_caller]
    pub fn exit_code(&self) -> i32 {
        self.engine.say(&["wait", &self.name]).parse().unwrap()
    }

    #[track_caller]
    pub fn assert_nobody_was_killed(&self) {
        let logs = self.logs();
        assert!(!logs.contains("sending SIGKILL"), "{logs}");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.engine.run(&["rm", "--force", &self.name]);
    }
}
