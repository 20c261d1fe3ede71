//! Thousands of starts with a stop request in the first moments: none is lost,
//! and none hangs. `TEST_SUPERVISE_STARTS` says how many (each way); the
//! default keeps the suite short.

use std::time::{Duration, Instant};

use crate::harness::*;

/// Every signal but SIGKILL and SIGSTOP, as /proc/PID/status shows a set.
const ALL_BLOCKED: &str = "fffffffffffbfeff";

fn rounds() -> u32 {
    std::env::var("TEST_SUPERVISE_STARTS").map_or(50, |text| text.parse().unwrap())
}

#[test]
fn a_stop_request_in_the_first_moments_is_not_lost() {
    for home in homes() {
        for options in ["", "-g"] {
            for round in 0..rounds() {
                let mut run = start(home).options(options).run(&["sleep", "1003"]);
                if home.is_pid1() {
                    // Before it has blocked signals the kernel drops what it
                    // is sent: that is the start from here.
                    eventually("supervise has taken over", || {
                        let blocked = status_field(run.pid, "SigBlk");
                        // While it waits, the kernel shows none as blocked.
                        blocked.is_some_and(|set| set == ALL_BLOCKED)
                            || !children_of(run.pid).is_empty()
                    });
                }
                // From 0 to 3 ms after the start.
                let after = Duration::from_micros(u64::from(round * 37 % 3000));
                let begun = Instant::now();
                while begun.elapsed() < after {
                    std::hint::spin_loop();
                }
                run.signal(libc::SIGTERM);
                let ended = run.wait();
                let expected = Ended::killed(home, libc::SIGTERM);
                assert_eq!(
                    ended, expected,
                    "{home:?} {options:?} after {after:?}, round {round}"
                );
            }
        }
    }
}
