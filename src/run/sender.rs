//! Who sent a signal: what the kernel says of it, and the name of the process.

use crate::processes::procfs::{self, known};
use crate::signal::Received;
use crate::sys::process;
use crate::tell::sender::Sender;

/// Who sent a signal, as far as is known.
pub(super) fn sender(received: &Received) -> Sender {
    let (pid, uid) = (received.pid, received.uid);
    let claimed = received.may_be_forged();
    match pid {
        0 if received.is_from_kernel() => Sender::Kernel,
        0 => Sender::Outside { uid, claimed },
        pid => {
            // It may have ended already, as kill(1) has.
            let stat = known(procfs::stat(pid))
                .filter(|_| procfs::shows_own_namespace(process::own_pid()));
            let name = stat.map(|stat| stat.name());
            Sender::Process {
                pid,
                uid,
                name,
                claimed,
            }
        }
    }
}
