//! What a rehearsal has shown, in words for a person. Pure.

use std::time::Duration;

use crate::leftovers::processes;
use crate::report::{Account, Outcome, Sender};
use crate::signal::Signal;
use crate::status::Ending;

/// The lines of the verdict, and whether the shutdown was graceful.
pub(crate) fn verdict(account: &Account) -> (Vec<String>, bool) {
    let outcome = account.outcome();
    let mut lines = Vec::new();
    if let Some((ending, after)) = account.ended
        && account.ended_after_stop().is_none()
    {
        let after = in_seconds(after);
        let line = format!(
            "not graceful: the command ended by itself after {after}, before it was asked: {ending}"
        );
        return (vec![line], false);
    }
    let Some(stop) = &account.stop else {
        let line = "not graceful: the command could not be run";
        return (vec![line.to_owned()], false);
    };
    if stop.sender != Sender::Rehearsal {
        let line = format!(
            "not judged: {} came from {} before it was asked",
            stop.signal, stop.sender
        );
        return (vec![line], false);
    }
    let asked_by = account.asked_by.first();
    let signal = asked_by.map_or(stop.signal, |(signal, _)| *signal);
    lines.push(format!(
        "sent {signal} after {}, {}",
        in_seconds(stop.after),
        account.grace
    ));
    if let (Some((ending, _)), Some(after)) = (account.ended, account.ended_after_stop()) {
        lines.push(format!(
            "the command ended {} later: {ending}",
            in_seconds(after)
        ));
    }
    if account.asked > 0 {
        lines.push(format!(
            "others were left and asked: {}",
            processes(account.asked)
        ));
    }
    for other in account.others.iter().take(10) {
        let name = format!("pid {} ({})", other.pid, other.name);
        match (&other.reason, &other.ended) {
            (Some(reason), _) => lines.push(format!(
                "{name} was killed by SIGKILL, and what it had not saved is lost: {reason}"
            )),
            (None, Some(ended)) if *ended == Signal::TERM.to_string() => lines.push(format!(
                "{name} was killed by {ended}; if it had something to save, that is lost"
            )),
            (None, Some(ended)) => lines.push(format!("{name} ended: {ended}")),
            (None, None) => lines.push(format!("{name} ended")),
        }
    }
    let advice = match (outcome, account.ended) {
        (Outcome::Graceful, _) => return (with(lines, "graceful"), true),
        (Outcome::Unhandled, _) => {
            let whether = match account.killed_by_request() {
                Some((_, None)) => "and /proc does not tell whether it handled that first",
                _ => "which does not handle it, and what it had not saved is lost",
            };
            format!(
                "not graceful: {signal} killed the command, {whether}; handle {signal}, or have \
                 another signal sent (--rewrite)"
            )
        }
        (Outcome::Killed, _) if !account.killing => "not graceful: somebody sent the command \
             SIGKILL, and not supervise; was there enough memory?"
            .to_owned(),
        (Outcome::Killed, _) => {
            let why = match &account.reason {
                Some(reason) => format!(" (the command: {reason})"),
                None => String::new(),
            };
            format!(
                "not graceful: SIGKILL had to be sent{why}; handle {signal}, end sooner, or raise \
                 --grace and the limit of whoever stops it"
            )
        }
        (_, Some((Ending::Exited(code), _))) => format!(
            "not graceful: exit status {code}; exit with 0 when asked to stop, or accept it with \
             --remap-exit {code}"
        ),
        (_, Some((ending, _))) => format!("not graceful: the command was ended by {ending}"),
        (_, None) => "not graceful: the command has not ended".to_owned(),
    };
    (with(lines, &advice), false)
}

fn with(mut lines: Vec<String>, last: &str) -> Vec<String> {
    lines.push(last.to_owned());
    lines
}

/// A time for people: in seconds, to a hundredth.
pub(crate) fn in_seconds(time: Duration) -> String {
    format!("{:.2}s", time.as_secs_f64())
}
