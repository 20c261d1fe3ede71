//! The kernel's `siginfo_t`: what comes with a signal.

use crate::signal::{Received, Signal};

/// The signal that such a child sends when it ends. Not SIGCHLD: waitpid(2) tells
/// these children from all others by that. Realtime signals do not merge with one that
/// somebody else sends.
pub(super) const ENDED: i32 = 64;

/// The kernel's `siginfo_t` where it is the same for every signal that one
/// process sends another (sigaction(2)); the rest is padding here. `pid`,
/// `uid` and `value` also carry whatever other layouts keep in their place.
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

pub(super) fn received(info: &RawInfo) -> Option<Received> {
    let mut signal = Signal::from_number(info.signo)?;
    // With these codes only the kernel sends one, and only when such a child ends.
    let ended = [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED];
    if info.signo == ENDED && ended.contains(&info.code) {
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
    fn the_end_of_a_child_that_closes_is_that_of_a_child_however_it_ended() {
        let signal = |code| {
            let info = RawInfo {
                signo: ENDED,
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
            assert_eq!(signal(code), Signal::from_number(ENDED), "{code}");
        }
    }
}
