//! The lines that a rehearsal prints. Pure.

use std::time::Duration;

use crate::ending::Ending;
use crate::settings::{Rehearse, RehearseAt};
use crate::signal::Signal;
use crate::tell::account::{Account, Outcome, Sender, Stop};

/// The lines of the verdict, and whether the rehearsal passed. No line but that of a
/// rehearsal that passed has the word for it, so that a search finds nothing else.
pub(crate) fn verdict(account: &Account, rehearse: &Rehearse) -> (Vec<String>, bool) {
    if let Some((ending, after)) = account.ended
        && account.ended_after_stop().is_none()
    {
        return (
            vec![failed(&too_early(account, rehearse, ending, after))],
            false,
        );
    }
    let Some(stop) = &account.stop else {
        return (vec![failed("the command did not start")], false);
    };
    if stop.sender != Sender::Rehearsal {
        let (signal, sender) = (stop.signal, &stop.sender);
        let line = format!(
            "rehearsal inconclusive: received {signal} from {sender} first; run it again \
             and let it end by itself"
        );
        return (vec![line], false);
    }
    let mut lines = steps(account, stop);
    match reason(account, stop) {
        None => {
            lines.push("rehearsal passed: graceful".to_owned());
            (lines, true)
        }
        Some(why) => {
            lines.push(failed(&why));
            (lines, false)
        }
    }
}

fn failed(why: &str) -> String {
    format!("rehearsal failed: {why}")
}

/// The command did not wait for the stop request.
fn too_early(account: &Account, rehearse: &Rehearse, ending: Ending, after: Duration) -> String {
    let after = in_seconds(after);
    if !account.is_accepted(ending) {
        return format!(
            "command {ending} after {after}: it failed before the stop request; see its own output"
        );
    }
    let advice = match rehearse.at {
        RehearseAt::After(_) => "before the stop request; use a shorter time, or --rehearse ready",
        RehearseAt::Ready => "before it notified READY=1; give --rehearse a time if it never does",
    };
    format!("command {ending} after {after}, {advice}")
}

/// What happened, in order.
fn steps(account: &Account, stop: &Stop) -> Vec<String> {
    let mut lines = vec![format!(
        "rehearsal: requested a stop ({}) after {}, {}",
        stop.signal,
        in_seconds(stop.after),
        account.grace
    )];
    if let (Some((ending, _)), Some(after)) = (account.ended, account.ended_after_stop()) {
        let after = in_seconds(after);
        lines.push(format!("rehearsal: command {ending} {after} later"));
    }
    if account.asked > 0 {
        let others = other_processes(account.asked);
        lines.push(format!("rehearsal: sent SIGTERM to {others}"));
    }
    for other in account.others.iter().take(10) {
        let name = format!("rehearsal: pid {} ({})", other.pid, other.name);
        lines.push(match (&other.reason, &other.ended) {
            (Some(reason), _) => {
                format!("{name} was killed by SIGKILL and lost what it had not saved: {reason}")
            }
            (None, Some(Ending::Killed(signal, _))) => {
                format!("{name} was killed by {signal}; anything that it had not saved is lost")
            }
            (None, Some(ending)) => format!("{name} {ending}"),
            (None, None) => format!("{name} exited"),
        });
    }
    lines
}

/// Why the rehearsal failed, and what to change; `None` if it passed.
fn reason(account: &Account, stop: &Stop) -> Option<String> {
    let signal = first_signal(account, stop);
    if let Some(why) = unsignaled(account, stop) {
        return Some(why);
    }
    Some(match (account.outcome(), account.ended) {
        (Outcome::Graceful, _) => return None,
        (Outcome::Unhandled, Some((ending, _))) => unhandled(account, ending),
        (Outcome::Killed, _) if !account.killing => "the command was killed by a SIGKILL that \
             supervise did not send; check its memory limit"
            .to_owned(),
        (Outcome::Killed, _) => {
            let why = match &account.reason {
                Some(reason) => format!(" (command: {reason})"),
                None => String::new(),
            };
            format!(
                "SIGKILL was needed{why}; handle {signal}, exit sooner, or raise --grace and the \
                 stop timeout"
            )
        }
        (_, Some((ending @ Ending::Exited(code), _))) => {
            format!("command {ending}; exit with 0 on {signal} or use --remap-exit {code}")
        }
        (_, Some((ending, _))) => format!("command {ending}"),
        (_, None) => "the command did not exit".to_owned(),
    })
}

/// The command exited of its own accord while the stop request was held back: how it
/// stops is unknown.
fn unsignaled(account: &Account, stop: &Stop) -> Option<String> {
    let (ending, _) = account.ended?;
    if account.killing || !account.is_unrehearsed() {
        return None;
    }
    let advice = if account.is_accepted(ending) {
        "use a shorter --stop-delay"
    } else {
        "it failed by itself; see its own output"
    };
    Some(format!(
        "command {ending} during the stop delay, before {} was forwarded; {advice}",
        stop.signal
    ))
}

/// The stop signal ended the command, for one of two reasons that look the same from
/// outside.
fn unhandled(account: &Account, ending: Ending) -> String {
    let signal = account.fatal_stop_signal().unwrap_or(Signal::TERM);
    format!(
        "command {ending}: either it has no handler (handle {signal} and exit), or it cleans up \
         and then kills itself with the signal (use --remap-exit {})",
        ending.code()
    )
}

/// The signal that the command received for the stop request.
fn first_signal(account: &Account, stop: &Stop) -> Signal {
    account.stop_signals.first().copied().unwrap_or(stop.signal)
}

fn other_processes(count: usize) -> String {
    match count {
        1 => "1 other process".to_owned(),
        count => format!("{count} other processes"),
    }
}

/// A time for people: in seconds, to a hundredth.
pub(crate) fn in_seconds(time: Duration) -> String {
    format!("{:.2}s", time.as_secs_f64())
}
