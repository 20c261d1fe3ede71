//! The keys for the whole file, put together with the settings of the command line.

use std::time::Duration;

use super::findings::{At, Place};
use super::service::Draft;
use super::text::{Context, Item, Key, Text, Wanted};
use super::{Given, Prefix, Services, Sourced};
use crate::decide::rules::Grace;
use crate::settings::values::{self, StopOn};
use crate::signal::{Signal, SignalSet};

/// The keys for all services, as the files have them.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// The keys that were read, with their places.
    seen: Vec<(String, Place)>,
    grace: Option<Grace>,
    stop_delay: Option<(Text, Duration)>,
    stop_on: Option<StopOn>,
    prefix: Option<Prefix>,
}

impl Context<'_> {
    /// Notes a key that may stand in one file only.
    pub(super) fn once(&mut self, whole: &mut Whole, key: Key<'_>) {
        match whole.seen.iter().find(|(name, _)| name == key.name) {
            Some((name, first)) => {
                let first = first.name(self.sources);
                let text = format!("{name} stands in two files, also at {first}; keep one of them");
                self.findings.error(key.place, text);
            }
            None => whole.seen.push((key.name.to_owned(), key.place)),
        }
    }

    /// Reads a key for the whole file; returns whether it is one.
    pub(super) fn key_of_all(&mut self, whole: &mut Whole, key: Key<'_>, item: Item<'_>) -> bool {
        match key.name {
            "grace" => {
                let read = self.duration(item, key.name, values::parse_grace);
                whole.grace = read.map(|(_, grace)| grace);
            }
            "stop_delay" => {
                let parse = |text: &str| values::parse_duration(text, " or 0");
                whole.stop_delay = self.duration(item, key.name, parse);
            }
            "stop_on" => {
                let mut stop_on = StopOn::default();
                self.signals(item, key.name, |text| stop_on.add(text));
                whole.stop_on = Some(stop_on);
            }
            "prefix" => {
                let wanted = Wanted {
                    is: "a choice for the prefix",
                    advice: "use \"auto\", \"always\" or \"never\"",
                };
                let words = [
                    ("auto", Prefix::Auto),
                    ("always", Prefix::Always),
                    ("never", Prefix::Never),
                ];
                whole.prefix = self.word(item, key.name, wanted, &words);
                if whole.prefix.is_some_and(|prefix| prefix != Prefix::Never) {
                    let text = "prefix is not supported yet; use \"never\" or remove it";
                    self.findings.error(item.place, text);
                }
            }
            _ => return false,
        }
        self.once(whole, key);
        true
    }

    /// Puts together the settings of the command line and the files, without the services.
    pub(super) fn put_together(
        &mut self,
        whole: &Whole,
        given: &Given,
        drafts: &[Draft],
    ) -> Option<Services> {
        let grace = self.grace(whole, given)?;
        let stop_delay = match (&given.stop_delay, &whole.stop_delay) {
            (Some(Sourced { source, value }), _) => {
                let text = humantime::format_duration(*value).to_string();
                if let Err(why) = values::check_stop_delay(&text, *value, grace) {
                    self.findings.error(None, format!("{source}: {why}"));
                }
                *value
            }
            (None, Some((text, value))) => {
                let shown = &text.shown;
                if let Err(why) = values::check_stop_delay(shown, *value, grace) {
                    self.findings.error(text.place, why);
                }
                *value
            }
            (None, None) => Duration::ZERO,
        };
        let (source, given_stop_on) = match &given.stop_on {
            Some(Sourced { source, value }) => (source.as_str(), *value),
            None => ("stop_on", whole.stop_on.unwrap_or_default()),
        };
        let named = given_stop_on.named;
        let stop_on = self.stop_on(given_stop_on, source, drafts);
        Some(Services {
            grace,
            stop_delay,
            stop_on,
            stop_on_by_default: stop_on.without(named),
            prefix: given.prefix.or(whole.prefix).unwrap_or_default(),
            list: Vec::new(),
            off: Vec::new(),
            warnings: Vec::new(),
        })
    }

    fn grace(&mut self, whole: &Whole, given: &Given) -> Option<Grace> {
        let grace = given.grace.or(whole.grace);
        let is_given = whole.seen.iter().any(|(name, _)| name == "grace");
        if grace.is_none() && !is_given {
            let file = self.sources.first().map_or("the file", |file| &file.name);
            let text = format!(
                "no grace period is set; use --grace, SUPERVISE_GRACE or grace = \"8s\" at the top \
                 of {file}: \"8s\" for docker stop (10s), \"28s\" for Kubernetes (30s), \"88s\" for \
                 systemd (90s)"
            );
            self.findings.error(None, text);
        }
        grace
    }

    /// The stop requests of services without a command: SIGQUIT is one of them by default,
    /// because the images of web servers have it as their stop signal.
    fn stop_on(&mut self, given: StopOn, source: &str, drafts: &[Draft]) -> SignalSet {
        let mut default = values::default_stop_on();
        default.insert(Signal::QUIT);
        let mut stop_on = given.with(default);
        let forwarded = |draft: &Draft| {
            let At { place, value } = draft.forward_signals.clone()?;
            draft.is_on.then_some((place, value))
        };
        let forwarded: Vec<(Place, SignalSet)> = drafts.iter().filter_map(forwarded).collect();
        let is_forwarded = forwarded.iter().any(|(_, set)| set.contains(Signal::QUIT));
        if is_forwarded && !given.named.contains(Signal::QUIT) {
            stop_on.remove(Signal::QUIT);
        }
        for (place, set) in forwarded {
            let mut both = set.and(stop_on);
            while let Some(signal) = both.first() {
                both.remove(signal);
                let text = if given.named.contains(signal) {
                    format!(
                        "{signal} is a stop request by {source} and cannot be forwarded as well; \
                         remove it from one of them"
                    )
                } else {
                    format!(
                        "{signal} is a stop request by default and cannot be forwarded as well; \
                         use stop_on = [\"none\"] with those that are to be stop requests"
                    )
                };
                self.findings.error(place, text);
            }
        }
        stop_on
    }
}
