//! Converts the kernel's `siginfo_t`, which describes how a signal was sent.

use crate::signal::{Received, Signal};

/// The signal that a helper ([`super::helpers`]) sends when it exits. By that, waitpid(2)
/// distinguishes helpers from other children, which send SIGCHLD. A real-time signal is
/// queued, so that it is not lost in one that another process sends.
pub(super) const HELPER_EXITED: i32 = 64;

/// The kernel's `siginfo_t`, with the fields that it has for every signal that one process
/// sends to another (sigaction(2)). The rest is padding here. For other signals `pid`, `uid`
/// and `value` hold the fields that these have in their place.
#[repr(C)]
pub(super) struct RawInfo {
    pub(super) signo: i32,
    pub(super) errno: i32,
    pub(super) code: i32,
    pub(super) pad: i32,
    pub(super) pid: i32,
    pub(super) uid: u32,
    pub(super) value: u64,
    pub(super) rest: [u64; 12],
}

const _: () = assert!(size_of::<RawInfo>() == size_of::<libc::siginfo_t>());

/// Returns the signal that `info` describes; `None` if it is not a signal of Linux.
pub(super) fn received(info: &RawInfo) -> Option<Received> {
    let mut signal = Signal::from_number(info.signo)?;
    // Only the kernel sends it with these codes, and only when a helper exits.
    let exited = [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED];
    if info.signo == HELPER_EXITED && exited.contains(&info.code) {
        signal = Signal::CHLD;
    }
    Some(Received {
        signal,
        code: info.code,
        pid: info.pid,
        uid: info.uid,
        value: info.value,
    })
}

/// Makes the `siginfo_t` that forwards a signal with all that it carried.
pub(super) fn raw_info(received: &Received) -> RawInfo {
    RawInfo {
        signo: received.signal.number(),
        errno: 0,
        code: received.code,
        pad: 0,
        pid: received.pid,
        uid: received.uid,
        value: received.value,
        rest: [0; 12],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_of_a_helper_is_received_as_sigchld() {
        let signal = |code| {
            let info = RawInfo {
                signo: HELPER_EXITED,
                errno: 0,
                code,
                pad: 0,
                pid: 9,
                uid: 0,
                value: 0,
                rest: [0; 12],
            };
            received(&info).map(|received| received.signal)
        };
        for code in [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED] {
            assert_eq!(signal(code), Some(Signal::CHLD), "{code}");
        }
        for code in [libc::SI_USER, libc::SI_QUEUE] {
            assert_eq!(signal(code), Signal::from_number(HELPER_EXITED), "{code}");
        }
    }
}
