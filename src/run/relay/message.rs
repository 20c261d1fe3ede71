//! Decides which lines of a notification (`sd_notify(3)`) are relayed, by their sender.

use crate::processes::ancestry::Ancestry;

/// What a sender may notify of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Of everything: it is a descendant of ours, or was in our control group.
    Proven,
    /// Of the state only. It has exited, as a process that sends one message often has,
    /// and its user fits.
    Unproven,
    /// Of nothing.
    Stranger,
}

/// What a sender may notify of, from its ancestry, whether its user is root,
/// ours or the command's, and whether it was in our control group, which is looked up
/// only where the rest does not decide.
pub(super) fn standing(
    ancestry: Ancestry,
    user_fits: bool,
    in_our_group: impl FnOnce() -> bool,
) -> Standing {
    match ancestry {
        Ancestry::Descendant => Standing::Proven,
        Ancestry::Unknown if in_our_group() => Standing::Proven,
        Ancestry::Unknown if user_fits => Standing::Unproven,
        Ancestry::Stranger | Ancestry::Unknown => Standing::Stranger,
    }
}

/// The lines that any process of our user may send without doing harm: what stops the
/// unit, names another main process or stores descriptors is not among them. Without
/// WATCHDOG=1 the manager would kill a service that is well. BARRIER needs no relay: its
/// sender waits until its descriptor is closed, which happens here as well.
pub(super) fn harmless_lines(message: &[u8]) -> Vec<u8> {
    const WHOLE: [&[u8]; 3] = [b"READY=1", b"RELOADING=1", b"WATCHDOG=1"];
    const BEGINNINGS: [&[u8]; 5] = [
        b"STATUS=",
        b"EXTEND_TIMEOUT_USEC=",
        // Goes with RELOADING.
        b"MONOTONIC_USEC=",
        // Shown, like STATUS.
        b"ERRNO=",
        b"BUSERROR=",
    ];
    let is_harmless =
        |line: &&[u8]| WHOLE.contains(line) || BEGINNINGS.iter().any(|key| line.starts_with(key));
    let lines = message.split(|byte| *byte == b'\n');
    let kept: Vec<&[u8]> = lines.filter(is_harmless).collect();
    kept.join(&b'\n')
}

/// What is relayed of a message, and the last pid that a MAINPID line names.
/// MAINPIDFD and MAINPIDFDID go with it.
pub(super) fn without_main_pid(message: &[u8]) -> (Vec<u8>, Option<i32>) {
    let mut main = None;
    let mut removed = false;
    let mut kept: Vec<&[u8]> = Vec::new();
    for line in message.split(|byte| *byte == b'\n') {
        if let Some(value) = line.strip_prefix(b"MAINPID=") {
            main = std::str::from_utf8(value)
                .ok()
                .and_then(|value| value.trim().parse().ok());
        }
        if line.starts_with(b"MAINPID") {
            removed = true;
        } else {
            kept.push(line);
        }
    }
    if removed && kept.iter().all(|line| line.is_empty()) {
        return (Vec::new(), main);
    }
    (kept.join(&b'\n'), main)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn main_pid_lines_are_taken_out() {
        for (message, passed_on, main) in [
            (&b"READY=1"[..], &b"READY=1"[..], None),
            (
                b"READY=1\nMAINPID=42\nSTATUS=x",
                b"READY=1\nSTATUS=x",
                Some(42),
            ),
            (b"MAINPID=42", b"", Some(42)),
            (b"MAINPID=42\n", b"", Some(42)),
            (b"MAINPID=1\nMAINPID=2", b"", Some(2)),
            (
                b"MAINPIDFD=1\nMAINPIDFDID=77\nREADY=1\n",
                b"READY=1\n",
                None,
            ),
            (b"MAINPID=x\nREADY=1", b"READY=1", None),
            (b"MAINPID=99999999999\nREADY=1", b"READY=1", None),
            (b"STATUS=MAINPID=5", b"STATUS=MAINPID=5", None),
            (b"", b"", None),
            (b"\n", b"\n", None),
            (b"STATUS=\xff\n", b"STATUS=\xff\n", None),
        ] {
            assert_eq!(
                without_main_pid(message),
                (passed_on.to_vec(), main),
                "{}",
                message.escape_ascii()
            );
        }
    }

    #[test]
    fn a_sender_speaks_for_as_much_as_is_proven() {
        use Ancestry::{Descendant, Unknown};
        for (ancestry, user_fits, in_our_group, expected) in [
            (Descendant, false, false, Standing::Proven),
            (Descendant, true, true, Standing::Proven),
            (Ancestry::Stranger, true, true, Standing::Stranger),
            (Unknown, true, true, Standing::Proven),
            (Unknown, false, true, Standing::Proven),
            (Unknown, true, false, Standing::Unproven),
            (Unknown, false, false, Standing::Stranger),
        ] {
            assert_eq!(standing(ancestry, user_fits, || in_our_group), expected);
        }
    }

    #[test]
    fn what_nothing_proves_is_heard_of_the_state_alone() {
        for (message, kept) in [
            ("READY=1", "READY=1"),
            (
                "RELOADING=1\nMONOTONIC_USEC=5",
                "RELOADING=1\nMONOTONIC_USEC=5",
            ),
            (
                "STATUS=up\nEXTEND_TIMEOUT_USEC=9",
                "STATUS=up\nEXTEND_TIMEOUT_USEC=9",
            ),
            ("WATCHDOG=1", "WATCHDOG=1"),
            ("ERRNO=2\nBUSERROR=x", "ERRNO=2\nBUSERROR=x"),
            ("STOPPING=1\nSTATUS=x\n", "STATUS=x"),
            ("MAINPID=7\nREADY=1", "READY=1"),
            ("WATCHDOG=trigger", ""),
            ("WATCHDOG=10", ""),
            ("WATCHDOG_USEC=1", ""),
            ("FDSTORE=1\nFDNAME=x", ""),
            ("FDSTOREREMOVE=1", ""),
            ("BARRIER=1", ""),
            ("EXIT_STATUS=1", ""),
            ("READY=10", ""),
            ("X=READY=1", ""),
            ("", ""),
        ] {
            let found = harmless_lines(message.as_bytes());
            assert_eq!(
                found.escape_ascii().to_string(),
                kept.escape_default().to_string()
            );
        }
    }

    proptest! {
        #[test]
        fn no_message_upsets_it(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (passed_on, _) = without_main_pid(&message);
            prop_assert!(passed_on.len() <= message.len());
        }

        #[test]
        fn a_message_without_a_main_pid_stays_as_it_is(message in "[A-LN-Z=\n]{0,60}") {
            prop_assert_eq!(without_main_pid(message.as_bytes()).0, message.as_bytes());
        }
    }
}
