//! Blocks, waits for and restores signals; lets this process be suspended or killed by one.

use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;

use super::kill::{Target, kill};
use super::process::own_pid;
use super::siginfo::{RawInfo, received};
use super::{checked, repeated, timespec};
use crate::signal::{Received, Signal};

/// The kernel's own `sigset_t`: bit n-1 is signal n.
type KernelSet = u64;

const KERNEL_SET_SIZE: usize = size_of::<KernelSet>();
static ALL: KernelSet = KernelSet::MAX;
static NONE: KernelSet = 0;

/// The inherited signal state, to be restored for the command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inherited {
    mask: KernelSet,
    child_ignored: bool,
}

/// Blocks all signals and makes sure that children can be waited for; returns the state
/// before.
///
/// To be called first of all: signals that arrive later stay pending until [`wait`] takes
/// them. For PID 1 the kernel drops a signal with default action that is not blocked
/// (`pid_namespaces(7)`). By the raw call, because the C library's full set leaves out 32
/// and 33.
pub(crate) fn block_all() -> Inherited {
    Inherited {
        mask: set_mask(ALL),
        child_ignored: disposition(Signal::CHLD, Some(libc::SIG_DFL)) == Ok(libc::SIG_IGN),
    }
}

/// Restores the inherited state, in the child right before it executes the command. Signals
/// that are pending are delivered now.
pub(crate) fn restore(inherited: &Inherited) {
    if inherited.child_ignored {
        // Cannot fail, because it worked at the start.
        let _ = disposition(Signal::CHLD, Some(libc::SIG_IGN));
    }
    set_mask(inherited.mask);
}

/// Sets the signal mask and returns the one before (sigprocmask(2)).
fn set_mask(mask: KernelSet) -> KernelSet {
    let mut old: KernelSet = 0;
    // SAFETY: both sets are live locals of the size that is passed along. The call fails
    // only for arguments that these are not.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut old,
            KERNEL_SET_SIZE,
        );
    }
    old
}

/// Unblocks one signal: the kernel delivers it now if it is pending.
fn unblock(number: i32) {
    set_mask(ALL & !bit(number));
}

/// The set that holds this signal alone.
fn bit(number: i32) -> KernelSet {
    1 << (number - 1)
}

/// Sets a signal's disposition to `SIG_DFL` or `SIG_IGN`, if one is given, and returns the
/// one before. With SIGCHLD ignored the kernel reaps children itself and waitpid(2) never
/// returns them.
///
/// # Errors
/// EINVAL: it cannot be set (SIGKILL, SIGSTOP); or a system call filter's.
fn disposition(signal: Signal, new: Option<libc::sighandler_t>) -> nix::Result<libc::sighandler_t> {
    let new = new.map(|handler| [handler, 0, 0, 0, 0, 0, 0, 0]);
    let mut old = [0_usize; 8];
    // SAFETY: the kernel's `struct sigaction` of every architecture begins with the
    // handler and is not larger than these. The other fields are 0: no flags, an empty
    // mask. No handler is installed. The C library's wrapper refuses 32 and 33.
    checked(unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal.number(),
            new.as_ref().map_or(ptr::null(), |new| new.as_ptr()),
            old.as_mut_ptr(),
            KERNEL_SET_SIZE,
        )
    })?;
    let [handler, ..] = old;
    Ok(handler)
}

/// Waits for the next signal, without a timeout as long as it takes. Returns `None` if the
/// timeout expires or the wait is interrupted (by a tracer, by SIGSTOP and SIGCONT).
///
/// # Errors
/// Those of `rt_sigtimedwait(2)` except EAGAIN and EINTR. Only a system call filter makes
/// it fail.
pub(crate) fn wait(timeout: Option<Duration>) -> nix::Result<Option<Received>> {
    take(&ALL, timeout)
}

/// Finds out whether [`wait`] works. Takes no signal.
///
/// # Errors
/// As [`wait`].
pub(crate) fn check_wait() -> nix::Result<()> {
    take(&NONE, Some(Duration::ZERO)).map(drop)
}

/// Waits for this signal, takes it and returns `true`; `false` if the timeout expires or
/// the wait is interrupted.
///
/// # Errors
/// As [`wait`].
pub(super) fn wait_for(number: i32, timeout: Option<Duration>) -> nix::Result<bool> {
    take(&bit(number), timeout).map(|received| received.is_some())
}

fn take(set: &KernelSet, timeout: Option<Duration>) -> nix::Result<Option<Received>> {
    let mut info = MaybeUninit::<RawInfo>::zeroed();
    let timeout = timeout.map(timespec);
    // SAFETY: `set`, `info` and `timeout` live until the call returns. The kernel writes at
    // most a `siginfo_t`, and `siginfo.rs` asserts that `RawInfo` has its size.
    let call = || unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            ptr::from_ref(set),
            info.as_mut_ptr(),
            timeout.as_ref().map_or(ptr::null(), ptr::from_ref),
            KERNEL_SET_SIZE,
        )
    };
    match repeated(&[Errno::EAGAIN, Errno::EINTR], call) {
        // SAFETY: zeroed before the call, and every bit pattern is a `RawInfo`.
        Ok(_) => Ok(received(unsafe { info.assume_init_ref() })),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Makes a descriptor that is readable while a signal is pending (`signalfd(2)`), to wait
/// for other descriptors as well. Signals are still taken by [`wait`].
///
/// # Errors
/// ENOSYS or EPERM: a system call filter forbids it; EMFILE: no descriptor left.
pub(crate) fn watch() -> nix::Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set is static and of the size that is passed along.
    let fd = checked(unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const ALL,
            KERNEL_SET_SIZE,
            flags,
        )
    })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether a signal was ignored when this process was started: it changes no disposition
/// except that of SIGCHLD and those that [`stop_by`] sets.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    disposition(signal, None) == Ok(libc::SIG_IGN)
}

/// Suspends this process, or with `group` all members of its process group, by the default
/// action of `signal` (for SIGSTOP that of SIGTSTP). Returns `true` once it is resumed, or
/// `false` at once if the kernel does not suspend it, because no process could resume it
/// (an orphaned process group, PID 1).
pub(crate) fn stop_by(signal: Signal, group: bool) -> bool {
    // SIGSTOP would suspend us even if no process could resume us.
    let signal = if signal == Signal::STOP {
        Signal::TSTP
    } else {
        signal
    };
    // Cannot fail: SIGSTOP is replaced above.
    let _ = disposition(signal, Some(libc::SIG_DFL));
    let target = if group {
        Target::Group(nix::unistd::getpgrp().as_raw())
    } else {
        Target::Process(own_pid())
    };
    if kill(target, signal).is_err() {
        return false;
    }
    // The signal is delivered while it is unblocked.
    unblock(signal.number());
    set_mask(ALL);
    // Only SIGCONT resumes a process, and it is pending now, because it is blocked; an
    // earlier one was discarded when the stop signal was sent. If a terminal signal has
    // arrived since, that one is pending, and SIGCONT was discarded in turn.
    [Signal::CONT, Signal::TSTP, Signal::TTIN, Signal::TTOU]
        .into_iter()
        .any(is_pending)
}

/// Makes this signal interrupt system calls and do nothing else. To be called in a child.
pub(super) fn catch_without_effect(number: i32) {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: an all-zero `sigaction` is a valid one, here without SA_RESTART.
    let mut new: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    new.sa_sigaction = nothing as extern "C" fn(i32) as libc::sighandler_t;
    // SAFETY: the handler does nothing, which is safe at any time. The call fails only
    // for signals that cannot be caught.
    unsafe { libc::sigaction(number, &raw const new, ptr::null_mut()) };
    unblock(number);
}

fn is_pending(signal: Signal) -> bool {
    let mut pending: KernelSet = 0;
    // SAFETY: the set is a live local of the size that is passed along.
    let result = checked(unsafe {
        libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, KERNEL_SET_SIZE)
    });
    result.is_ok() && pending & bit(signal.number()) != 0
}

/// Makes the kernel send `signal` to this process when `parent` exits
/// (`PR_SET_PDEATHSIG`), and sends it if `parent` has already exited.
///
/// # Errors
/// EPERM: a system call filter forbids it; see prctl(2), kill(2).
pub(crate) fn set_parent_death_signal(signal: Signal, parent: i32) -> nix::Result<()> {
    // SAFETY: takes plain integers.
    checked(libc::c_long::from(unsafe {
        libc::prctl(
            libc::PR_SET_PDEATHSIG,
            libc::c_long::from(signal.number()),
            0,
            0,
            0,
        )
    }))?;
    let now = nix::unistd::getppid().as_raw();
    // 0: the parent is outside our PID namespace, whether it has exited or not.
    if now != parent && now != 0 {
        kill(Target::Process(own_pid()), signal)?;
    }
    Ok(())
}

/// Kills this process by the default action of `signal`, without a core dump. Returns only
/// if that action does not kill it.
pub(crate) fn raise_default(signal: Signal) {
    // RLIMIT_CORE does not prevent a dump that is piped to a program (core(5)). If this
    // fails, an extra core dump is better than the wrong signal.
    let _ = nix::sys::prctl::set_dumpable(false);
    // SIGKILL cannot be set, and need not be.
    let _ = disposition(signal, Some(libc::SIG_DFL));
    if kill(Target::Process(own_pid()), signal).is_ok() {
        unblock(signal.number());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Restricts a process (0: this thread) to the first CPU that it may use.
    fn keep_to_one_cpu(pid: i32) {
        // SAFETY: a zeroed set is an empty one, and both calls get its size. The macros
        // index it by numbers below its size.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of_val(&set), &raw mut set);
            let size = usize::try_from(libc::CPU_SETSIZE).unwrap();
            let first = (0..size).find(|cpu| libc::CPU_ISSET(*cpu, &set)).unwrap();
            libc::CPU_ZERO(&mut set);
            libc::CPU_SET(first, &mut set);
            libc::sched_setaffinity(pid, size_of_val(&set), &raw const set);
        }
    }

    #[test]
    fn a_suspension_is_seen_even_if_the_next_key_discards_sigcont() {
        for _ in 0..20 {
            // SAFETY: the child makes system calls only.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // It can be suspended in a group of its own whose parent is in another.
                let _ = nix::unistd::setpgid(
                    nix::unistd::Pid::from_raw(0),
                    nix::unistd::Pid::from_raw(0),
                );
                block_all();
                let suspended = stop_by(Signal::TTIN, false);
                super::super::process::exit(u8::from(suspended));
            }
            let mut status = 0;
            // SAFETY: writes to a live local.
            unsafe { libc::waitpid(child, &raw mut status, libc::WUNTRACED) };
            assert!(libc::WIFSTOPPED(status), "{status:#x}");
            // It runs only while this thread does not: after both signals.
            keep_to_one_cpu(0);
            keep_to_one_cpu(child);
            // The kernel's `sched_param`. By the raw call, because musl's does nothing.
            let priority = 0_i32;
            // SAFETY: takes plain integers and a live local.
            let set = checked(unsafe {
                libc::syscall(
                    libc::SYS_sched_setscheduler,
                    child,
                    libc::SCHED_IDLE,
                    &raw const priority,
                )
            });
            assert_eq!(set, Ok(0));
            kill(Target::Process(child), Signal::CONT).unwrap();
            kill(Target::Process(child), Signal::TSTP).unwrap();
            // SAFETY: as above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert!(libc::WIFEXITED(status), "{status:#x}");
            assert_eq!(libc::WEXITSTATUS(status), 1, "the suspension was not seen");
        }
    }
}
