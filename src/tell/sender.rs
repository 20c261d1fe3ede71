//! Who sent a stop request, as the log and the report name it.

use std::fmt;

use serde::Serialize;

/// Who sent a stop request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Sender {
    /// A process, by its pid and what else is known of it. `claimed`: it has filled
    /// these in itself (`rt_sigqueueinfo(2)`), and the kernel has not checked.
    Process {
        pid: i32,
        uid: u32,
        name: Option<String>,
        claimed: bool,
    },
    /// A process that our PID namespace does not know: the container engine, say.
    Outside { uid: u32, claimed: bool },
    /// The kernel: a key, a timer, a limit.
    Kernel,
    /// The rehearsal.
    Rehearsal,
    /// The main process of several services, to the keeper of one.
    Main,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process {
                pid,
                uid,
                name,
                claimed,
            } => {
                f.write_str(claim(*claimed))?;
                match name {
                    Some(name) => write!(f, "pid {pid} ({name}, uid {uid})"),
                    None => write!(f, "pid {pid} (uid {uid})"),
                }
            }
            Self::Outside { uid, claimed } => {
                let claim = claim(*claimed);
                write!(f, "{claim}outside the PID namespace (uid {uid})")
            }
            Self::Kernel => f.write_str("the kernel (key, timer, limit)"),
            Self::Rehearsal => f.write_str("the rehearsal"),
            Self::Main => f.write_str("the main process"),
        }
    }
}

fn claim(claimed: bool) -> &'static str {
    if claimed {
        "a process that claims to be "
    } else {
        ""
    }
}
