//! The lines that a rehearsal prints. Pure.

use std::time::Duration;

use super::account::{Account, Stop};
use super::outcome::Outcome;
use super::record::{in_seconds, other_processes};
use super::sender::Sender;
use crate::ending::Ending;
use crate::settings::{Rehearse, RehearseAt};
use crate::signal::Signal;

/// The lines of the verdict, and whether the rehearsal passed; `None` if the command was
/// not executed. No line except that of a rehearsal that passed has the word for it, so
/// that a search finds nothing else.
pub(crate) fn verdict(account: &Account, rehearse: &Rehearse) -> Option<(Vec<String>, bool)> {
    if account.has_failed_to_start() {
        return None;
    }
    let without_stop = |line| Some((vec![line], false));
    if let Some((ending, after)) = account.ended()
        && account.ended_after_stop().is_none()
    {
        return without_stop(failed(&too_early(account, rehearse, ending, after)));
    }
    let Some(stop) = account.stop() else {
        return without_stop(failed("the command did not start"));
    };
    if stop.sender != Sender::Rehearsal {
        let (signal, sender) = (stop.signal, &stop.sender);
        return without_stop(format!(
            "rehearsal inconclusive: received {signal} from {sender} first; run it again \
             and let it end by itself"
        ));
    }
    let mut lines = steps(account, stop);
    let why = reason(account, stop);
    lines.push(match &why {
        None => "rehearsal passed: graceful".to_owned(),
        Some(why) => failed(why),
    });
    Some((lines, why.is_none()))
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
        account.grace()
    )];
    if let (Some((ending, _)), Some(after)) = (account.ended(), account.ended_after_stop()) {
        let after = in_seconds(after);
        lines.push(format!("rehearsal: command {ending} {after} later"));
    }
    if account.signaled() > 0 {
        let others = other_processes(account.signaled());
        lines.push(format!("rehearsal: sent SIGTERM to {others}"));
    }
    for other in account.others().iter().take(10) {
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
    Some(match (account.outcome(), account.ended()) {
        (Outcome::Graceful, _) => return None,
        (Outcome::Unhandled, Some((ending, _))) => unhandled(account, ending),
        (Outcome::Killed, _) if !account.has_sent_sigkill() => {
            "the command was killed by a SIGKILL that \
             supervise did not send; check its memory limit"
                .to_owned()
        }
        (Outcome::Killed, _) => {
            let why = match account.reason() {
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
    let (ending, _) = account.ended()?;
    if account.has_sent_sigkill() || !account.is_unrehearsed() {
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
    account.first_stop_signal().unwrap_or(stop.signal)
}
