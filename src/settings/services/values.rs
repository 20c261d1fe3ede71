//! Reads values of one kind: durations, signals, numbers, words, switches.

use std::time::Duration;

use toml::de::DeValue;

use super::findings::At;
use super::text::{Context, Item, Text, Wanted};
use crate::settings::values;
use crate::signal::{Signal, SignalSet};

const DURATION: Wanted = Wanted {
    is: "a duration",
    advice: "use for example 10, \"500ms\" or \"1m30s\"",
};
const SIGNAL: Wanted = Wanted {
    is: "a usable signal",
    advice: "use for example \"TERM\", \"SIGTERM\", 15 or \"RTMIN+3\"",
};
const SIGNALS: Wanted = Wanted {
    is: "a list of signals",
    advice: "use for example [\"HUP\", \"USR1\"]",
};
const SWITCH: Wanted = Wanted {
    is: "a boolean",
    advice: "use true or false",
};

impl Context<'_> {
    /// Reads a duration; `parse` may know more than durations.
    pub(super) fn duration<T>(
        &mut self,
        item: Item<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<(Text, T)> {
        let text = self.scalar(item, key, DURATION)?;
        let duration = self.parse(&text, DURATION, parse)?;
        Some((text, duration))
    }

    /// Reads a boolean, or a word that stands for one.
    pub(super) fn switch(&mut self, item: Item<'_>, key: &str) -> Option<bool> {
        if let DeValue::Boolean(value) = item.value {
            return Some(*value);
        }
        let text = self.scalar(item, key, SWITCH)?;
        self.parse(&text, SWITCH, |text| match text {
            "" => Ok(false),
            text => values::parse_switch(text),
        })
    }

    /// Reads the signal that stops a service.
    pub(super) fn stop_signal(&mut self, item: Item<'_>) -> Option<Signal> {
        let text = self.scalar(item, "stop_signal", SIGNAL)?;
        self.parse(&text, SIGNAL, parse_stop_signal)
    }

    /// Reads a list of signals, or one signal, each by `add`.
    pub(super) fn signals(
        &mut self,
        item: Item<'_>,
        key: &str,
        mut add: impl FnMut(&str) -> Result<(), String>,
    ) {
        let elements = match item.value {
            DeValue::String(_) | DeValue::Integer(_) => vec![item],
            _ => match item.elements() {
                Some(elements) => elements,
                None => return self.wrong_type(item, key, SIGNALS),
            },
        };
        for element in elements {
            if let Some(text) = self.scalar(element, &format!("each of {key}"), SIGNAL) {
                self.parse(&text, SIGNAL, &mut add);
            }
        }
    }

    /// Reads the signals that are forwarded to a service.
    pub(super) fn forward_signals(&mut self, item: Item<'_>) -> SignalSet {
        let mut signals = SignalSet::EMPTY;
        self.signals(item, "forward_signals", |text| {
            signals.insert(values::parse_received(text)?);
            Ok(())
        });
        signals
    }

    /// Reads a list of exit codes.
    pub(super) fn exit_codes(&mut self, item: Item<'_>) -> Vec<u8> {
        const KEY: &str = "success_exit_codes";
        let Some(elements) = item.elements() else {
            let wanted = Wanted {
                is: "a list of exit codes",
                advice: "use for example [1, 143]",
            };
            self.wrong_type(item, KEY, wanted);
            return Vec::new();
        };
        let wanted = Wanted {
            is: "an exit code",
            advice: "use a number from 0 to 255",
        };
        let mut code = |element| {
            let text = self.scalar(element, &format!("each of {KEY}"), wanted)?;
            self.parse(&text, wanted, values::parse_code)
        };
        elements.into_iter().filter_map(&mut code).collect()
    }

    /// Reads a number of restarts; `None` as the value is without a limit.
    pub(super) fn restart_limit(&mut self, item: Item<'_>) -> Option<At<Option<u32>>> {
        let wanted = Wanted {
            is: "a number of restarts",
            advice: "use a whole number, or \"infinity\"",
        };
        let text = self.scalar(item, "restart_limit", wanted)?;
        let limit = self.parse(&text, wanted, |text| match text {
            "infinity" => Ok(None),
            text if text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().map(Some).map_err(|_| refuse(text, wanted))
            }
            text => Err(refuse(text, wanted)),
        })?;
        Some(At {
            place: item.place,
            value: limit,
        })
    }

    /// Reads one of several words.
    pub(super) fn word<T: Copy>(
        &mut self,
        item: Item<'_>,
        key: &str,
        wanted: Wanted,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = self.string(item, key, wanted)?;
        self.parse(&text, wanted, |text| {
            let known = words.iter().find(|(word, _)| *word == text);
            known
                .map(|(_, value)| *value)
                .ok_or_else(|| refuse(text, wanted))
        })
    }
}

/// Returns the message for a text that is not what it must be.
pub(super) fn refuse(text: &str, wanted: Wanted) -> String {
    format!("'{text}' is not {}; {}", wanted.is, wanted.advice)
}

/// Reads the signal that stops a service.
fn parse_stop_signal(text: &str) -> Result<Signal, String> {
    let signal = values::parse_signal(text)?;
    let why = match signal {
        Signal::KILL => "leaves no time to stop",
        Signal::STOP | Signal::TSTP | Signal::TTIN | Signal::TTOU => "suspends",
        Signal::CONT | Signal::CHLD => "stops no program",
        signal => return Ok(signal),
    };
    Err(format!("{signal} {why}; use another signal, such as TERM"))
}

/// Reads a duration that must not be 0, or `infinity` for `None`.
pub(super) fn parse_timeout(text: &str) -> Result<Option<Duration>, String> {
    if text == "infinity" {
        return Ok(None);
    }
    let timeout = values::parse_duration(text, " or infinity")?;
    if timeout.is_zero() {
        return Err(format!(
            "'{text}' leaves no time; use a longer duration or infinity"
        ));
    }
    Ok(Some(timeout))
}
