//! Reads the table of a service and that of the defaults, each by itself.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::command::Program;
use super::findings::{At, Place, quoted};
use super::keys;
use super::text::{Context, Item, Key, Text, Wanted};
use super::values::parse_timeout;
use super::{Command, Ready, Restart, Shown, User};
use crate::settings::values;
use crate::signal::{Signal, SignalSet};

const RESTART: Wanted = Wanted {
    is: "a restart policy",
    advice: "use \"no\", \"on-failure\" or \"always\"",
};
const DEPENDS_ON: Wanted = Wanted {
    is: "a list of services",
    advice: "use for example [\"db\"]",
};
const ENVIRONMENT: Wanted = Wanted {
    is: "a table of variables",
    advice: "write environment = { NAME = \"value\" }",
};
const USER: Wanted = Wanted {
    is: "a user",
    advice: "use for example \"postgres\", \"postgres:ssl\" or \"4242:4242\"",
};
const WORKING_DIR: Wanted = Wanted {
    is: "a directory",
    advice: "use for example \"/app\"",
};

/// The longest name of a service.
const LONGEST_NAME: usize = 64;

/// A service as its file describes it: `None` where a key is absent or was refused.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) is_on: bool,
    pub(super) command: Option<Command>,
    /// The programs of the command and of the check of readiness.
    pub(super) programs: Vec<Program>,
    pub(super) depends_on: Vec<Text>,
    pub(super) ready: Option<At<Ready>>,
    pub(super) ready_timeout: Option<Duration>,
    pub(super) stop_signal: Option<Signal>,
    pub(super) stop_grace_period: Option<Duration>,
    pub(super) restart_limit: Option<At<Option<u32>>>,
    pub(super) essential: bool,
    pub(super) success_exit_codes: Vec<u8>,
    pub(super) forward_signals: Option<At<SignalSet>>,
    /// The keys that may have a default.
    pub(super) common: Common,
}

/// The keys that a service and the defaults have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    pub(super) restart: Option<At<Restart>>,
    /// The inner `None` is a user that is not known here.
    pub(super) user: Option<At<Option<User>>>,
    /// The inner `None` is a directory that is not known here.
    pub(super) working_dir: Option<At<Option<Shown<PathBuf>>>>,
    pub(super) environment: Vec<(OsString, OsString)>,
}

impl Context<'_> {
    /// Reads `[services.NAME]`.
    pub(super) fn service(&mut self, key: Key<'_>, item: Item<'_>) -> Option<Draft> {
        let Some(entries) = item.entries() else {
            let text = format!(
                "a service must be a table, not {}; write [services.{}] with single brackets, and \
                 its keys below",
                item.kind(),
                name_for_advice(key.name)
            );
            self.findings.error(key.place, text);
            return None;
        };
        if let Err(why) = check_name(key.name) {
            self.findings.error(key.place, why);
        }
        let mut draft = Draft {
            name: key.name.to_owned(),
            place: key.place,
            is_on: true,
            command: None,
            programs: Vec::new(),
            depends_on: Vec::new(),
            ready: None,
            ready_timeout: None,
            stop_signal: None,
            stop_grace_period: None,
            restart_limit: None,
            essential: true,
            success_exit_codes: Vec::new(),
            forward_signals: None,
            common: Common::default(),
        };
        // First, because a service that is off may lack its variables.
        if let Some((key, item)) = entries.iter().find(|(key, _)| key.name == "enabled") {
            draft.is_on = self.switch(*item, key.name).unwrap_or(true);
        }
        let mut keys = entries.iter().map(|(key, _)| key.name);
        if !keys.any(keys::is_like_command) {
            let text = "command is missing; write command = [\"PROGRAM\", \"ARGUMENT\"]";
            self.findings.error(key.place, text);
        }
        self.is_off = !draft.is_on;
        for (key, item) in entries {
            self.key_of_service(&mut draft, key, item);
        }
        self.is_off = false;
        Some(draft)
    }

    fn key_of_service(&mut self, draft: &mut Draft, key: Key<'_>, item: Item<'_>) {
        let place = item.place;
        match key.name {
            "command" => draft.command = self.command(item, &mut draft.programs),
            "depends_on" => draft.depends_on = self.depends_on(item),
            "ready" => {
                let ready = self.ready(item, &mut draft.programs);
                draft.ready = ready.map(|value| At { place, value });
            }
            "ready_timeout" => {
                let read = self.duration(item, key.name, parse_timeout);
                draft.ready_timeout = read.and_then(|(_, timeout)| timeout);
            }
            "stop_signal" => draft.stop_signal = self.stop_signal(item),
            "stop_grace_period" => {
                let parse = |text: &str| values::parse_duration(text, "");
                let read = self.duration(item, key.name, parse);
                draft.stop_grace_period = read.map(|(_, period)| period);
            }
            "restart_limit" => draft.restart_limit = self.restart_limit(item),
            "essential" => draft.essential = self.switch(item, key.name).unwrap_or(true),
            "success_exit_codes" => draft.success_exit_codes = self.exit_codes(item),
            "forward_signals" => {
                let value = self.forward_signals(item);
                draft.forward_signals = Some(At { place, value });
            }
            "enabled" => {}
            _ if self.common(&mut draft.common, key, item) => {}
            unknown => {
                let text = keys::unknown_of_service(unknown, item.value.is_table());
                self.findings.error(key.place, text);
            }
        }
    }

    /// Reads `[defaults]`.
    pub(super) fn defaults(&mut self, item: Item<'_>) -> Common {
        let mut common = Common::default();
        let Some(entries) = item.entries() else {
            let wanted = Wanted {
                is: "a table",
                advice: "write [defaults], and its keys below",
            };
            self.wrong_type(item, "defaults", wanted);
            return common;
        };
        for (key, item) in entries {
            if !self.common(&mut common, key, item) {
                let text = keys::unknown_default(key.name);
                self.findings.error(key.place, text);
            }
        }
        common
    }

    /// Reads a key that may have a default; returns whether it is one.
    fn common(&mut self, common: &mut Common, key: Key<'_>, item: Item<'_>) -> bool {
        let place = item.place;
        match key.name {
            "restart" => {
                common.restart = self.restart(item).map(|value| At { place, value });
            }
            "user" => common.user = self.user(item),
            "working_dir" => common.working_dir = self.working_dir(item),
            "environment" => common.environment = self.environment(item),
            _ => return false,
        }
        true
    }

    fn depends_on(&mut self, item: Item<'_>) -> Vec<Text> {
        if let Some(entries) = item.entries() {
            let name = entries
                .first()
                .map_or("db", |(key, _)| name_for_advice(key.name));
            let text = format!(
                "depends_on must be a list of services, not a table; write [\"{name}\"]: the \
                 condition belongs to {name}, so give {name} a ready = …"
            );
            self.findings.error(item.place, text);
            return Vec::new();
        }
        let Some(elements) = item.elements() else {
            self.wrong_type(item, "depends_on", DEPENDS_ON);
            return Vec::new();
        };
        let wanted = Wanted {
            is: "the name of a service",
            advice: DEPENDS_ON.advice,
        };
        elements
            .into_iter()
            .filter_map(|element| self.string(element, "each of depends_on", wanted))
            .collect()
    }

    fn restart(&mut self, item: Item<'_>) -> Option<Restart> {
        if let DeValue::String(text) = item.value {
            let text = match &**text {
                "unless-stopped" => Some("'unless-stopped' is not known here; use \"always\""),
                text if text.starts_with("on-failure:") => {
                    Some("a limit is a key of its own; use \"on-failure\" and restart_limit")
                }
                _ => None,
            };
            if let Some(text) = text {
                self.findings.error(item.place, text);
                return None;
            }
        }
        let words = [
            ("no", Restart::No),
            ("on-failure", Restart::OnFailure),
            ("always", Restart::Always),
        ];
        self.word(item, "restart", RESTART, &words)
    }

    fn user(&mut self, item: Item<'_>) -> Option<At<Option<User>>> {
        let text = self.scalar(item, "user", USER)?;
        let place = item.place;
        let user = text.value.as_deref();
        match user.map(|user| User::parse(user, &text.shown)).transpose() {
            Ok(value) => Some(At { place, value }),
            Err(why) => {
                self.findings.error(place, why);
                None
            }
        }
    }

    fn working_dir(&mut self, item: Item<'_>) -> Option<At<Option<Shown<PathBuf>>>> {
        let text = self.string(item, "working_dir", WORKING_DIR)?;
        let place = item.place;
        let is_known = text.value.is_some();
        if text.bytes().is_empty() {
            let text = format!("working_dir is empty; {}", WORKING_DIR.advice);
            self.findings.error(item.place, text);
            return None;
        }
        let value = PathBuf::from(text.os_string());
        let shown = text.shown;
        let value = is_known.then_some(Shown { value, shown });
        Some(At { place, value })
    }

    fn environment(&mut self, item: Item<'_>) -> Vec<(OsString, OsString)> {
        let Some(entries) = item.entries() else {
            self.wrong_type(item, "environment", ENVIRONMENT);
            return Vec::new();
        };
        let mut environment = Vec::new();
        let wanted = Wanted {
            is: "a string or an integer",
            advice: "put it in quotes",
        };
        for (key, item) in entries {
            if key.name.is_empty() || key.name.contains(['=', '\0']) {
                let text = "a variable needs a name without '=' and null bytes";
                self.findings.error(key.place, text);
            }
            if matches!(item.value, DeValue::Float(_)) {
                self.wrong_type(item, "a variable", wanted);
            } else if let Some(text) = self.scalar(item, "a variable", wanted) {
                environment.push((OsString::from(key.name), text.os_string()));
            }
        }
        environment
    }
}

/// Checks the name of a service.
fn check_name(name: &str) -> Result<(), String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_part) {
        return Err(format!(
            "{} is not a name for a service; use letters, digits, '-' and '_', at most \
             {LONGEST_NAME}",
            quoted(name)
        ));
    }
    Ok(())
}

/// The name as it may be a part of advice.
fn name_for_advice(name: &str) -> &str {
    if check_name(name).is_ok() {
        name
    } else {
        "NAME"
    }
}
