//! A terminal with a session on it, and its keyboard.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{Winsize, grantpt, posix_openpt, ptsname_r, unlockpt};

use super::process::raw_kill;
use super::{
    PATIENCE, SUPERVISE, children_of, descendants_of, eventually, fixture, pause, status_field,
};

/// The two ends of a new terminal. Both are close-on-exec from the beginning, unlike those
/// of openpty(3): another test may fork at any moment.
pub fn open_pty() -> (File, File) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
    let master = posix_openpt(flags | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).custom_flags(flags.bits());
    let slave = options.open(ptsname_r(&master).unwrap()).unwrap();
    (OwnedFd::from(master).into(), slave)
}

pub const CTRL_C: &str = "\x03";
pub const CTRL_D: &str = "\x04";
pub const CTRL_Z: &str = "\x1a";
pub const CTRL_BACKSLASH: &str = "\x1c";

/// A terminal with a session on it.
pub struct Terminal {
    keyboard: Option<std::fs::File>,
    session: Child,
    pub screen: String,
    /// How much of the screen was searched.
    seen: usize,
}

impl Terminal {
    /// A terminal whose session is led by this program.
    pub fn with(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("PS1", "$ ")
            .env("SUPERVISE", SUPERVISE)
            .env("FIXTURE", fixture())
            .env_remove("PROMPT_COMMAND")
            .env("HISTFILE", "/dev/null");
        Self::led_by(command)
    }

    pub fn led_by(mut program: Command) -> Self {
        let (keyboard, slave) = open_pty();
        set_size(&keyboard, 200);
        program
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave);
        lead_session(&mut program);
        let session = program.spawn();
        let session = session.unwrap_or_else(|error| panic!("{program:?}: {error}"));
        fcntl(&keyboard, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        Self {
            keyboard: Some(keyboard),
            session,
            screen: String::new(),
            seen: 0,
        }
    }

    /// An interactive bash.
    pub fn bash() -> Self {
        let mut terminal = Self::with("bash", &["--norc", "--noprofile", "--noediting", "-i"]);
        terminal.sees("$ ");
        terminal
    }

    pub fn keys(&mut self, text: &str) {
        self.keyboard
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// Types a command. Words that are waited for must not stand in it as they will be
    /// printed, because the terminal echoes what is typed.
    pub fn line(&mut self, text: &str) {
        self.keys(&format!("{text}\n"));
    }

    fn look(&mut self) {
        let Some(keyboard) = &mut self.keyboard else {
            return;
        };
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = keyboard.read(&mut bytes) {
            self.screen
                .push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }

    /// Waits until this is on the screen, after what was waited for before, and returns the
    /// text in between.
    #[track_caller]
    pub fn sees(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.look();
            if let Some(at) = self.screen[self.seen..].find(text) {
                let before = self.screen[self.seen..self.seen + at].to_owned();
                self.seen += at + text.len();
                return before;
            }
            assert!(
                Instant::now() < deadline,
                "never saw {text:?} after {:?}, but {:?}",
                &self.screen[..self.seen],
                &self.screen[self.seen..]
            );
            pause();
        }
    }

    /// Waits for the prompt of the shell, by a command that prints something.
    #[track_caller]
    pub fn prompt(&mut self) -> String {
        self.line("echo pro''mpt");
        self.sees("prompt\r\n")
    }

    /// Types a word to a `cat`: the terminal echoes it, and cat prints it again.
    #[track_caller]
    pub fn cat(&mut self, word: &str) {
        self.line(word);
        for _ in 0..2 {
            self.sees(&format!("{word}\r\n"));
        }
    }

    /// Resumes the job in the foreground, and waits until it is there and resumed: an earlier
    /// key goes to the shell, or is discarded by SIGCONT.
    #[track_caller]
    pub fn fg(&mut self, command: &str) {
        self.line("fg");
        self.sees("fg\r\n");
        self.sees(&format!("{command}\r\n"));
        let shell = self.pid();
        eventually("the job is in the foreground", || {
            let stat = std::fs::read_to_string(format!("/proc/{shell}/stat")).unwrap();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
            // Its group and the foreground group.
            fields[3] != fields[6]
        });
        eventually("the job is resumed", || {
            descendants_of(shell)
                .into_iter()
                .filter_map(|pid| status_field(pid, "State"))
                .all(|state| !state.starts_with('T'))
        });
    }

    /// Suspends the job in the foreground, and waits until the shell has noticed and prompts;
    /// and until the command is suspended as well, or it might read what is typed next.
    #[track_caller]
    pub fn ctrl_z(&mut self) {
        self.keys(CTRL_Z);
        self.sees("Stopped");
        self.sees("$ ");
        let shell = self.pid();
        eventually("the command is suspended", || {
            descendants_of(shell)
                .into_iter()
                .filter(|pid| children_of(*pid).is_empty())
                .filter_map(|pid| status_field(pid, "State"))
                .all(|state| state.starts_with('T'))
        });
    }

    /// Interrupts the job in the foreground.
    #[track_caller]
    pub fn ctrl_c(&mut self) {
        self.keys(CTRL_C);
        self.sees("^C");
        self.sees("$ ");
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.session.id()).unwrap()
    }

    pub fn resize(&self, columns: u16) {
        set_size(self.keyboard.as_ref().unwrap(), columns);
    }

    /// Hangs up.
    pub fn close(&mut self) {
        self.keyboard = None;
    }

    /// Waits until the session leader exits, and returns its exit code.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        eventually("the session ends", || {
            self.look();
            self.session.try_wait().unwrap().is_some()
        });
        self.session.wait().unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        for pid in descendants_of(self.pid()) {
            raw_kill(pid, libc::SIGKILL);
        }
        let _ = self.session.kill();
        let _ = self.session.wait();
    }
}

#[allow(unsafe_code, reason = "what the child does between fork and exec")]
fn lead_session(command: &mut Command) {
    // SAFETY: system calls that are allowed after a fork.
    unsafe {
        command.pre_exec(|| {
            // Tests that were started in the background ignore some.
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP] {
                libc::signal(signal, libc::SIG_DFL);
            }
            nix::unistd::setsid()?;
            match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

#[allow(
    unsafe_code,
    reason = "no library sets a terminal's size without another dependency"
)]
fn set_size(terminal: &File, columns: u16) {
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the size outlives the call.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    assert_eq!(result, 0);
}
