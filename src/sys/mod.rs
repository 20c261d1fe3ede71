//! The system layer: every system call that no library offers in the form that is needed,
//! and all `unsafe` code except the entry point in `main.rs`.
//!
//! `nix` is not enough here: it cannot hold or send a real-time signal, its `waitpid` loses
//! a child that was killed by one, and its full signal set is that of the C library, which
//! lacks 32 and 33. Its `fork` and `execve` are wrapped with what must happen around them.
#![expect(unsafe_code, reason = "the system layer is the place for it")]

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little"
)))]
compile_error!("supervise runs on 64-bit little-endian Linux only");
// Their signal numbers differ, and their signal sets are larger.
#[cfg(any(
    target_arch = "mips64",
    target_arch = "mips64r6",
    target_arch = "sparc64"
))]
compile_error!("supervise does not know the signal numbers of this architecture");

pub(crate) mod as_user;
pub(crate) mod check_page;
pub(crate) mod closing;
pub(crate) mod datagram;
pub(crate) mod descriptors;
pub(crate) mod environment;
pub(crate) mod exec;
mod executable;
pub(crate) mod helpers;
pub(crate) mod identity;
pub(crate) mod kill;
pub(crate) mod listing;
pub(crate) mod memory;
pub(crate) mod pidfd;
pub(crate) mod process;
pub(crate) mod queue;
pub(crate) mod service;
pub(crate) mod service_page;
mod shared_page;
mod siginfo;
pub(crate) mod signals;
pub(crate) mod spawn;
pub(crate) mod stderr;
pub(crate) mod title;
pub(crate) mod tty;
pub(crate) mod user_ids;
pub(crate) mod wait;

use std::time::Duration;

use nix::errno::Errno;

/// How often a system call is made that must not fail.
const TRIES: u32 = 3;

/// The kernel's form of a duration.
fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Makes a result of the return value of a raw system call, -1 on failure.
fn checked(result: libc::c_long) -> nix::Result<libc::c_long> {
    if result == -1 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

/// Repeats a system call that fails, for those that nothing else would repeat. Some errors
/// are `answers`: they say what the call has found.
fn repeated(
    answers: &[Errno],
    mut call: impl FnMut() -> libc::c_long,
) -> nix::Result<libc::c_long> {
    let mut tries = 1;
    loop {
        match checked(call()) {
            Err(errno) if tries < TRIES && !answers.contains(&errno) => tries += 1,
            result => return result,
        }
    }
}
