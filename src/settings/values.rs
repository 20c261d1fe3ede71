//! The values of settings, read from text: on the command line, in a variable.

use std::time::Duration;

use super::{LOWEST_LIMIT, LogFormat, Rehearse, RehearseAt};
use crate::decide::rules::{Grace, LeftoverPolicy};
use crate::signal::{Signal, SignalSet};

/// 68 years: longer than any shutdown, and no clock overflows.
const LONGEST_GRACE: Duration = Duration::from_secs(i32::MAX as u64);

/// Reads a grace period: `infinity` or a duration.
pub(crate) fn parse_grace(text: &str) -> Result<Grace, String> {
    if text == "infinity" {
        return Ok(Grace::Infinite);
    }
    parse_duration(text, ", 0 or infinity").map(Grace::For)
}

/// Reads a stop delay, which must be shorter than the grace period.
pub(crate) fn parse_stop_delay(text: &str, grace: Grace) -> Result<Duration, String> {
    let delay = parse_duration(text, " or 0")?;
    check_stop_delay(text, delay, grace).map(|()| delay)
}

/// Checks a stop delay, written as `text`, against the grace period.
pub(crate) fn check_stop_delay(text: &str, delay: Duration, grace: Grace) -> Result<(), String> {
    match grace {
        Grace::For(grace) if delay >= grace && !delay.is_zero() => Err(format!(
            "'{text}' must be shorter than the grace period of {}, of which it is a part; raise \
             --grace or shorten the delay",
            humantime::format_duration(grace)
        )),
        _ => Ok(()),
    }
}

/// Reads a number of seconds (`10`, `0.5`), or numbers with units (`500ms`,
/// `1m 30s`). `or` names what else is possible, for the error message.
pub(crate) fn parse_duration(text: &str, or: &str) -> Result<Duration, String> {
    // A month, a week or a year is a typing error, and `5M` is five months.
    let mut words = text.split(|c: char| !c.is_ascii_alphabetic());
    if let Some(unit) =
        words.find(|word| word.starts_with(['M', 'w', 'y']) || word.starts_with("mon"))
    {
        return Err(format!(
            "'{text}': unknown unit '{unit}'; use ms, s, m (minutes), h or d{or}"
        ));
    }
    let bare = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let duration = if bare {
        humantime::parse_duration(&format!("{text}s"))
    } else {
        humantime::parse_duration(text)
    };
    match duration {
        Ok(duration) if duration <= LONGEST_GRACE => Ok(duration),
        Ok(_) => Err(format!(
            "'{text}' exceeds the maximum of 68 years; use a shorter duration{or}"
        )),
        Err(_) => Err(format!(
            "'{text}' is not a duration; use for example 10, 500ms, 1m30s{or}"
        )),
    }
}

/// Reads a signal that can be received and forwarded.
pub(crate) fn parse_received(text: &str) -> Result<Signal, String> {
    let signal = parse_signal(text)?;
    match signal {
        Signal::KILL | Signal::STOP => {
            Err(format!("{signal} cannot be caught; use another signal"))
        }
        Signal::CHLD => Err(format!(
            "{signal} is reserved for reaping children; use another signal"
        )),
        signal => Ok(signal),
    }
}

/// Reads a signal: a name, a number, RTMIN+n.
pub(crate) fn parse_signal(text: &str) -> Result<Signal, String> {
    Signal::parse(text).ok_or_else(|| {
        format!("'{text}' is not a signal; use for example TERM, SIGTERM, 15 or RTMIN+3")
    })
}

/// Reads `FROM:TO`; a `TO` of 0 drops the signal.
pub(crate) fn parse_rewrite(text: &str) -> Result<(Signal, Option<Signal>), String> {
    let Some((from, to)) = text.split_once(':') else {
        return Err(format!(
            "'{text}' is not FROM:TO; use for example TERM:QUIT or HUP:0"
        ));
    };
    let from = parse_received(from)?;
    let to = if to == "0" {
        None
    } else {
        Some(parse_signal(to)?)
    };
    Ok((from, to))
}

/// Adds a rewrite to the others.
pub(crate) fn add_rewrite(
    rewrite: &mut Vec<(Signal, Option<Signal>)>,
    (from, to): (Signal, Option<Signal>),
) -> Result<(), String> {
    match rewrite.iter().find(|(known, _)| *known == from) {
        Some((_, known)) if *known != to => Err(format!(
            "{from} is rewritten to two signals; use one of them"
        )),
        Some(_) => Ok(()),
        None => {
            rewrite.push((from, to));
            Ok(())
        }
    }
}

/// The signals that were given as stop requests, by option, variable or file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StopOn {
    /// Whether `none` has cleared the defaults.
    cleared: bool,
    /// Those named, after `none` if that was given.
    pub(crate) named: SignalSet,
}

impl StopOn {
    /// Adds one value: a signal or `none`.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        if text == "none" {
            *self = Self {
                cleared: true,
                named: SignalSet::EMPTY,
            };
        } else {
            self.named.insert(parse_received(text)?);
        }
        Ok(())
    }

    /// All stop requests, where `default` has those without any value given.
    pub(crate) fn with(self, default: SignalSet) -> SignalSet {
        let default = if self.cleared {
            SignalSet::EMPTY
        } else {
            default
        };
        default.or(self.named)
    }
}

/// The signals that are stop requests by default.
pub(crate) fn default_stop_on() -> SignalSet {
    let mut set = SignalSet::EMPTY;
    set.insert(Signal::TERM);
    set.insert(Signal::INT);
    set
}

/// Reads when to rehearse: `ready` or a duration. Simulates SIGTERM if that is a stop
/// request. On the command line the command may have been taken for the value.
pub(crate) fn parse_rehearse(
    text: &str,
    on_command_line: bool,
    mut stop_on: SignalSet,
    rewrite: &[(Signal, Option<Signal>)],
) -> Result<Rehearse, String> {
    let at = match text {
        "ready" => RehearseAt::Ready,
        "infinity" => {
            return Err(format!(
                "'{text}' never requests a stop; use for example 5s or ready"
            ));
        }
        text if text.contains('/') || !text.contains(|c: char| c.is_ascii_digit()) => {
            let advice = "use for example 5s or ready";
            return Err(if on_command_line && !text.is_empty() {
                format!("'{text}' was taken for the duration; {advice} before the command")
            } else {
                format!("'{text}' is not a duration; {advice}")
            });
        }
        text => RehearseAt::After(parse_duration(text, " or ready")?),
    };
    for (dropped, _) in rewrite.iter().filter(|(_, to)| to.is_none()) {
        stop_on.remove(*dropped);
    }
    let signal = if stop_on.contains(Signal::TERM) {
        Some(Signal::TERM)
    } else {
        stop_on.first()
    };
    match signal {
        Some(signal) => Ok(Rehearse { at, signal }),
        None => Err("no signal is a stop request; use --stop-on".to_owned()),
    }
}

/// Reads the limit of a report, in bytes.
pub(crate) fn parse_report_limit(text: &str) -> Result<usize, String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(limit) if digits && limit >= LOWEST_LIMIT => Ok(limit),
        Ok(_) if digits => Err(format!(
            "'{text}' has no room for a report; use {LOWEST_LIMIT} or more"
        )),
        _ => Err(format!(
            "'{text}' is not a number of bytes; use for example 2048"
        )),
    }
}

/// Reads `--log-format`.
pub(crate) fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("'{text}' is not a format; use text or json")),
    }
}

/// Reads `--leftovers`.
pub(crate) fn parse_leftovers(text: &str) -> Result<LeftoverPolicy, String> {
    match text {
        "auto" => Ok(LeftoverPolicy::Auto),
        "stop" => Ok(LeftoverPolicy::Stop),
        "wait" => Ok(LeftoverPolicy::Wait),
        "leave" => Ok(LeftoverPolicy::Leave),
        _ => Err(format!(
            "'{text}' is not a policy; use auto, stop, wait or leave"
        )),
    }
}

/// Reads an exit code, 0 to 255.
pub(crate) fn parse_code(text: &str) -> Result<u8, String> {
    // `u8::from_str` would also take a plus sign.
    match text.parse() {
        Ok(code) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(code),
        _ => Err(format!(
            "'{text}' is not an exit code; use a number from 0 to 255"
        )),
    }
}

/// Checks a log filter: levels and `MODULE=LEVEL`, separated by commas, and then `/TEXT`
/// that a line must contain.
///
/// # Errors
/// One line, for a filter about which `env_logger` would print a warning of its own, or
/// that lets nothing through by mistake.
pub(crate) fn check_log_filter(text: &str) -> Result<(), String> {
    let refused = |part: &str, why| {
        let advice = "use error, warn, info, debug or off";
        Err(format!("'{part}' {why}; {advice}"))
    };
    let is_level = |text: &str| text.parse::<log::LevelFilter>().is_ok();
    let (directives, contained) = text.split_once('/').unwrap_or((text, ""));
    if contained.contains('/') {
        return refused(text, "has more than one '/'");
    }
    for directive in directives.split(',').map(str::trim) {
        let (module, level) = match directive.split_once('=') {
            Some((module, level)) => (module, Some(level.trim())),
            None => (directive, None),
        };
        if level.is_some_and(|level| !(level.is_empty() || is_level(level))) {
            return refused(directive, "does not end in a level");
        }
        let is_own = module.starts_with(env!("CARGO_CRATE_NAME"));
        if !is_own && (level.is_some() || !is_level(module)) {
            return refused(module, "is neither a level nor a module of this program");
        }
    }
    Ok(())
}

/// Reads a switch from an environment variable.
pub(crate) fn parse_switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(format!(
            "'{text}' is not a switch; use 1, true, yes, on or 0, false, no, off"
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grace_periods_are_read() {
        for (text, milliseconds) in [
            ("10", 10_000),
            ("0", 0),
            ("0.5", 500),
            ("1.5s", 1_500),
            ("1.5m", 90_000),
            ("10s", 10_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            ("2min", 120_000),
            ("0s", 0),
            ("00", 0),
            ("2147483647", 2_147_483_647_000),
        ] {
            let expected = Grace::For(Duration::from_millis(milliseconds));
            assert_eq!(parse_grace(text), Ok(expected), "{text}");
        }
        assert_eq!(parse_grace("infinity"), Ok(Grace::Infinite));
    }

    #[test]
    fn what_is_no_grace_period_is_refused() {
        for text in [
            "",
            "-1",
            "-1s",
            "+1",
            "abc",
            "1x",
            "NaN",
            "nan",
            "inf",
            "Infinity",
            ".",
            "1.2.3",
            "s",
            "1e3",
            "5M",
            "1month",
            "1h 2w",
            "1y",
            "2147483648",
            "99999999999999999999",
            "99999999999999999999s",
            "999999999999999y",
            "18446744073709551615",
            "ten",
            "10 seconds!",
            "0x10",
        ] {
            assert!(
                parse_grace(text).is_err(),
                "{text:?} gave {:?}",
                parse_grace(text)
            );
        }
    }

    #[test]
    fn rewritings_are_read() {
        let quit = Signal::from_number(3);
        assert_eq!(parse_rewrite("TERM:QUIT"), Ok((Signal::TERM, quit)));
        assert_eq!(parse_rewrite("15:3"), Ok((Signal::TERM, quit)));
        assert_eq!(parse_rewrite("SIGTERM:0"), Ok((Signal::TERM, None)));
        for text in [
            "",
            ":",
            "TERM",
            "TERM:",
            ":TERM",
            "0:TERM",
            "TERM:QUIT:INT",
            "KILL:TERM",
            "STOP:TERM",
            "CHLD:TERM",
            "TERM:00",
            "TERM:65",
        ] {
            assert!(parse_rewrite(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn one_signal_cannot_become_two() {
        let mut rewrite = Vec::new();
        let to_int = (Signal::TERM, Some(Signal::INT));
        assert_eq!(add_rewrite(&mut rewrite, to_int), Ok(()));
        assert_eq!(
            add_rewrite(&mut rewrite, to_int),
            Ok(()),
            "the same again is no harm"
        );
        assert_eq!(rewrite, [to_int]);
        assert!(add_rewrite(&mut rewrite, (Signal::TERM, None)).is_err());
    }

    #[test]
    fn stop_signals_add_up_and_none_clears() {
        let mut given = StopOn::default();
        given.add("RTMIN+3").unwrap();
        let all = given.with(default_stop_on());
        assert!(all.contains(Signal::TERM) && all.contains(Signal::from_number(37).unwrap()));
        given.add("none").unwrap();
        assert_eq!(given.with(default_stop_on()), SignalSet::EMPTY);
        given.add("HUP").unwrap();
        assert_eq!(given.with(default_stop_on()).first(), Some(Signal::HUP));
        assert_eq!(given.named, given.with(default_stop_on()));
        for text in ["KILL", "STOP", "CHLD", "NOPE", ""] {
            assert!(given.add(text).is_err(), "{text}");
        }
    }

    #[test]
    fn codes_and_switches_are_read() {
        assert_eq!(parse_code("143"), Ok(143));
        for text in ["256", "-1", "+1", "", "x"] {
            assert!(parse_code(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_code("0"), Ok(0));
        assert_eq!(parse_code("1"), Ok(1));
        for text in ["1", "TRUE", "Yes", "on"] {
            assert_eq!(parse_switch(text), Ok(true));
        }
        for text in ["0", "false", "No", "off"] {
            assert_eq!(parse_switch(text), Ok(false));
        }
        assert!(parse_switch("2").is_err());
    }

    #[test]
    fn a_stop_delay_is_shorter_than_the_grace_period() {
        let seconds = Duration::from_secs;
        let grace = Grace::For(seconds(10));
        assert_eq!(parse_stop_delay("9", grace), Ok(seconds(9)));
        assert_eq!(parse_stop_delay("0", grace), Ok(seconds(0)));
        assert_eq!(
            parse_stop_delay("0", Grace::For(seconds(0))),
            Ok(seconds(0))
        );
        assert_eq!(parse_stop_delay("99", Grace::Infinite), Ok(seconds(99)));
        for text in ["10", "11", "x", "-1", "infinity"] {
            assert!(parse_stop_delay(text, grace).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rehearsal_has_a_time_and_a_signal() {
        let both = default_stop_on();
        let read = |text, stop_on, rewrite: &[_]| parse_rehearse(text, true, stop_on, rewrite);
        let rehearse = |at, signal| Ok(Rehearse { at, signal });
        let five = RehearseAt::After(Duration::from_secs(5));
        assert_eq!(read("5", both, &[]), rehearse(five, Signal::TERM));
        assert_eq!(
            read("ready", both, &[]),
            rehearse(RehearseAt::Ready, Signal::TERM)
        );
        // What is dropped or forwarded as another signal.
        let to_int = (Signal::TERM, Some(Signal::INT));
        assert_eq!(read("5", both, &[to_int]), rehearse(five, Signal::TERM));
        let dropped = (Signal::TERM, None);
        assert_eq!(read("5", both, &[dropped]), rehearse(five, Signal::INT));
        assert!(read("5", both, &[dropped, (Signal::INT, None)]).is_err());
        assert!(read("5", SignalSet::EMPTY, &[]).is_err());
        for (text, taken) in [
            ("server", true),
            ("./server", true),
            ("/srv/7", true),
            ("server2", false),
            ("-5", false),
            ("5M", false),
        ] {
            let why = read(text, both, &[]).unwrap_err();
            assert_eq!(why.contains("was taken for the duration"), taken, "{why}");
        }
        for on_command_line in [false, true] {
            let why = parse_rehearse("infinity", on_command_line, both, &[]).unwrap_err();
            assert!(why.contains("never requests a stop"), "{why}");
        }
    }

    #[test]
    fn words_are_read() {
        assert_eq!(parse_log_format("text"), Ok(LogFormat::Text));
        assert_eq!(parse_log_format("json"), Ok(LogFormat::Json));
        assert!(parse_log_format("xml").is_err());
        for (text, policy) in [
            ("auto", LeftoverPolicy::Auto),
            ("stop", LeftoverPolicy::Stop),
            ("wait", LeftoverPolicy::Wait),
            ("leave", LeftoverPolicy::Leave),
        ] {
            assert_eq!(parse_leftovers(text), Ok(policy));
        }
        assert!(parse_leftovers("keep").is_err());
        for text in [
            "warn",
            "off",
            "debug",
            "supervise=debug",
            "warn,supervise::cli=trace",
            " warn , supervise::run= trace ",
            "supervise=",
            "supervise",
            "debug/SIGTERM",
            "DEBUG/",
        ] {
            assert_eq!(check_log_filter(text), Ok(()), "{text}");
        }
        for text in [
            "",
            ",",
            "warm",
            "debug,warm",
            "other=debug",
            "info=debug",
            "supervise=warm",
            "supervise=debug=debug",
            "debug/a/b",
            "/SIGTERM",
        ] {
            assert!(check_log_filter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn units_that_are_a_typing_error_are_told() {
        for text in ["5M", "1month", "2months", "1h 2w", "1y"] {
            let why = parse_grace(text).unwrap_err();
            assert!(why.contains("unknown unit"), "{why}");
        }
        for text in ["5x", "m", ""] {
            let why = parse_grace(text).unwrap_err();
            assert!(why.contains("is not a duration"), "{why}");
        }
        let why = parse_grace("2147483648").unwrap_err();
        assert!(why.contains("68 years"), "{why}");
    }

    #[test]
    fn signals_that_cannot_be_received_are_refused() {
        assert_eq!(parse_received("USR1"), Ok(Signal::USR1));
        for text in ["KILL", "STOP", "CHLD", "NOPE"] {
            assert!(parse_received(text).is_err(), "{text}");
        }
        // But can be sent.
        assert_eq!(
            parse_rewrite("TERM:KILL"),
            Ok((Signal::TERM, Some(Signal::KILL)))
        );
        assert_eq!(parse_signal("KILL"), Ok(Signal::KILL));
    }

    #[test]
    fn several_rewritings_are_kept() {
        let mut rewrite = Vec::new();
        let to_int = (Signal::TERM, Some(Signal::INT));
        let dropped = (Signal::HUP, None);
        assert_eq!(add_rewrite(&mut rewrite, to_int), Ok(()));
        assert_eq!(add_rewrite(&mut rewrite, dropped), Ok(()));
        assert_eq!(rewrite, [to_int, dropped]);
    }

    #[test]
    fn report_limits_are_read() {
        assert_eq!(parse_report_limit("1024"), Ok(1024));
        assert_eq!(parse_report_limit("12288"), Ok(12288));
        for text in ["1023", "0"] {
            let why = parse_report_limit(text).unwrap_err();
            assert!(why.contains("has no room for a report"), "{why}");
        }
        for text in ["-1", "+2048", "+1", "4k", "", "99999999999999999999"] {
            let why = parse_report_limit(text).unwrap_err();
            assert!(why.contains("is not a number of bytes"), "{why}");
        }
    }

    proptest! {
        #[test]
        fn no_text_upsets_the_parsers(text in ".{0,20}") {
            let _ = (parse_grace(&text), parse_rewrite(&text), parse_code(&text));
        }
    }
}
