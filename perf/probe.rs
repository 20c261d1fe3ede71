//! What `perf/run` cannot do itself, since it would take longer than what it
//! measures, and the processes that are measured against. It starts processes of
//! its own and ends none of them: it is to run in a PID namespace that is killed.
#![expect(unsafe_code, reason = "a measuring program made of system calls")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::zombie_processes,
    reason = "a measuring program may stop at the first surprise"
)]

use std::ffi::CString;
use std::io::{Read, Write};
use std::process::{ChildStdout, Command, Stdio};
use std::ptr;

const USAGE: &str = "\
A SUBJECT is a command line with its words separated by line feeds.

probe startup ROUNDS SUBJECT...  say of each, round by round: its number, the
                                 nanoseconds from spawn to reaped, the microseconds
                                 of processor time, the page faults
probe forward ROUNDS SUBJECT...  start each, which is to run `probe stamp`; say of each,
                                 round by round: its number, the nanoseconds from kill(2)
                                 of it until `probe stamp` has SIGUSR1
probe stamp                      write 8 bytes, then the time at each SIGUSR1
probe echo                       say ready, then a line at each SIGUSR1
probe orphans COUNT              say ready; for a line on stdin make so many orphans that
                                 end at once, one after the other
probe leftovers COUNT            fork so many that sleep, say ready, sleep
probe stubborn COUNT             the same, but they ignore SIGTERM
probe adopted COUNT              have so many orphans that sleep, then do as echo";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["startup", rounds, subjects @ ..] => startup(number(rounds), subjects),
        ["forward", rounds, subjects @ ..] => forward(number(rounds), subjects),
        ["stamp"] => stamp(),
        ["echo"] => echo(),
        ["orphans", count] => orphans(number(count)),
        ["leftovers", count] => {
            sleepers(number(count));
            say("ready");
            sleep();
        }
        ["stubborn", count] => {
            set_term(libc::SIG_IGN);
            sleepers(number(count));
            set_term(libc::SIG_DFL);
            say("ready");
            sleep();
        }
        ["adopted", count] => {
            in_child(|| sleepers(number(count)));
            echo();
        }
        _ => panic!("{USAGE}"),
    }
}

fn number(word: &str) -> usize {
    word.parse().unwrap()
}

fn say(line: &str) {
    let mut stdout = std::io::stdout();
    stdout.write_all(format!("{line}\n").as_bytes()).unwrap();
    stdout.flush().unwrap();
}

fn now() -> i64 {
    // SAFETY: zeros are a valid timespec.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: `time` is a live local.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn sleep() -> ! {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}

fn set_term(disposition: libc::sighandler_t) {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGTERM, disposition) };
}

/// Forks a child that does this and ends.
fn fork_to(what: impl FnOnce()) -> libc::pid_t {
    // SAFETY: this process has one thread.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        what();
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) }
    }
    pid
}

/// Has a child do this, and waits for its end.
fn in_child(what: impl FnOnce()) {
    let pid = fork_to(what);
    // SAFETY: a null status is allowed.
    let reaped = unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
    assert_eq!(reaped, pid);
}

fn sleepers(count: usize) {
    for _ in 0..count {
        fork_to(|| sleep());
    }
}

fn orphans(count: usize) {
    say("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    for _ in 0..count {
        in_child(|| {
            fork_to(|| {});
        });
    }
    say("done");
    sleep();
}

/// Blocks SIGUSR1 and returns the set that holds it.
fn block() -> libc::sigset_t {
    // SAFETY: the set is a live local and initialised by sigemptyset.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        set
    }
}

fn wait_for(set: &libc::sigset_t) {
    // SAFETY: the set is initialised; a null info is allowed.
    let signal = unsafe { libc::sigwaitinfo(set, ptr::null_mut()) };
    assert_eq!(signal, libc::SIGUSR1);
}

fn echo() {
    let set = block();
    say("ready");
    loop {
        wait_for(&set);
        say("got it");
    }
}

fn stamp() {
    let set = block();
    let mut stdout = std::io::stdout();
    stdout.write_all(&now().to_ne_bytes()).unwrap();
    stdout.flush().unwrap();
    loop {
        wait_for(&set);
        stdout.write_all(&now().to_ne_bytes()).unwrap();
        stdout.flush().unwrap();
    }
}

fn startup(rounds: usize, subjects: &[&str]) {
    let subjects: Vec<Vec<CString>> = subjects
        .iter()
        .map(|subject| {
            let words = subject.split('\n');
            words.map(|word| CString::new(word).unwrap()).collect()
        })
        .collect();
    // Said at the end, so that nobody who reads it is measured too.
    let mut measured = Vec::new();
    for _ in 0..rounds {
        for (index, words) in subjects.iter().enumerate() {
            let (nanoseconds, usage) = run_once(words);
            let micros = micros(usage.ru_utime) + micros(usage.ru_stime);
            let faults = usage.ru_minflt;
            measured.push(format!("{index} {nanoseconds} {micros} {faults}"));
        }
    }
    say(&measured.join("\n"));
}

fn micros(time: libc::timeval) -> i64 {
    time.tv_sec * 1_000_000 + time.tv_usec
}

/// Spawns a command, waits for its end, and returns how many nanoseconds that took
/// and what it and what it has waited for have used.
fn run_once(words: &[CString]) -> (i64, libc::rusage) {
    unsafe extern "C" {
        static environ: *const *mut libc::c_char;
    }
    let mut arguments: Vec<*mut libc::c_char> =
        words.iter().map(|word| word.as_ptr().cast_mut()).collect();
    arguments.push(ptr::null_mut());
    let (mut pid, mut status) = (0, 0);
    // SAFETY: zeros are a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let start = now();
    // SAFETY: the arguments are C strings, closed by null, that outlive the call;
    // so is the environment, which nobody changes.
    let result = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            words.first().unwrap().as_ptr(),
            ptr::null(),
            ptr::null(),
            arguments.as_ptr(),
            environ,
        )
    };
    assert_eq!(result, 0, "{words:?} cannot be run");
    // SAFETY: both are live locals.
    let reaped = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    let end = now();
    assert_eq!((reaped, status), (pid, 0), "{words:?}");
    (end - start, usage)
}

fn forward(rounds: usize, subjects: &[&str]) {
    let mut started: Vec<(libc::pid_t, ChildStdout)> = subjects
        .iter()
        .map(|subject| {
            let mut words = subject.split('\n');
            let mut child = Command::new(words.next().unwrap())
                .args(words)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdout = child.stdout.take().unwrap();
            time(&mut stdout);
            (i32::try_from(child.id()).unwrap(), stdout)
        })
        .collect();
    let mut measured = Vec::new();
    for _ in 0..rounds {
        for (index, (pid, stdout)) in started.iter_mut().enumerate() {
            let start = now();
            // SAFETY: takes plain integers.
            let result = unsafe { libc::kill(*pid, libc::SIGUSR1) };
            assert_eq!(result, 0);
            let end = time(stdout);
            measured.push(format!("{index} {}", end - start));
        }
    }
    say(&measured.join("\n"));
}

fn time(stdout: &mut ChildStdout) -> i64 {
    let mut bytes = [0; 8];
    stdout.read_exact(&mut bytes).unwrap();
    i64::from_ne_bytes(bytes)
}
