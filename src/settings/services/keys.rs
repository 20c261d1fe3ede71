//! The keys of a file, and advice on those that do not exist. Pure.

use super::findings::quoted;
use crate::settings::nearest::nearest;

/// The keys for the whole file.
pub(super) const WHOLE: [&str; 4] = ["grace", "stop_delay", "stop_on", "prefix"];

/// The tables of a file.
pub(super) const TABLES: [&str; 2] = ["defaults", "services"];

/// The keys of `[defaults]`.
pub(super) const DEFAULTS: [&str; 4] = ["restart", "user", "working_dir", "environment"];

/// The keys of a service.
pub(super) const SERVICE: [&str; 15] = [
    "command",
    "depends_on",
    "ready",
    "ready_timeout",
    "stop_signal",
    "stop_grace_period",
    "restart",
    "restart_limit",
    "essential",
    "success_exit_codes",
    "user",
    "working_dir",
    "environment",
    "forward_signals",
    "enabled",
];

/// The kinds of a table in `ready`.
pub(super) const READY: [&str; 4] = ["tcp", "unix", "http", "command"];

const ENGINE: &str = "leave it out: the container engine or service manager does this";
const OUTPUT: &str = "leave it out: output goes to the stdout and stderr of supervise";

/// Keys that supervisord, s6, Compose and systemd have, and what to use instead.
const OTHERS: [(&str, &str); 32] = [
    ("directory", "use working_dir"),
    ("cwd", "use working_dir"),
    ("dir", "use working_dir"),
    ("autorestart", "use restart"),
    ("stopsignal", "use stop_signal"),
    ("stopwaitsecs", "use stop_grace_period"),
    ("kill_timeout", "use stop_grace_period"),
    ("startretries", "use restart_limit"),
    ("exitcodes", "use success_exit_codes"),
    ("priority", "use depends_on"),
    ("after", "use depends_on"),
    ("requires", "use depends_on"),
    ("autostart", "use enabled"),
    ("profiles", "use enabled"),
    ("healthcheck", "use ready"),
    ("type", "use ready = \"exited\" for a one-shot"),
    ("oneshot", "use ready = \"exited\""),
    ("entrypoint", "use command"),
    (
        "env_file",
        "use environment, or set the variables of supervise",
    ),
    ("stdout_logfile", OUTPUT),
    ("stderr_logfile", OUTPUT),
    ("redirect_stderr", OUTPUT),
    ("logging", OUTPUT),
    ("numprocs", "write one table [services.NAME] for each copy"),
    ("deploy", "write one table [services.NAME] for each copy"),
    ("image", ENGINE),
    ("build", ENGINE),
    ("ports", ENGINE),
    ("volumes", ENGINE),
    ("networks", ENGINE),
    ("cap_add", ENGINE),
    ("cap_drop", ENGINE),
];

/// Returns the message for a key that is not one of `known`.
pub(super) fn unknown(key: &str, known: &[&str]) -> String {
    let shown = quoted(key);
    let other = OTHERS.iter().find(|(other, _)| *other == key);
    if let Some((_, advice)) = other {
        return format!("unknown key {shown}; {advice}");
    }
    match nearest(key, known.iter().copied()) {
        Some(near) => format!("unknown key {shown}; did you mean {near}?"),
        None => format!("unknown key {shown}; use one of {}", known.join(", ")),
    }
}

/// The same for a key below a service.
pub(super) fn unknown_of_service(key: &str, is_table: bool) -> String {
    if WHOLE.contains(&key) {
        return for_all(key);
    }
    if is_table && !OTHERS.iter().any(|(other, _)| *other == key) {
        let known = nearest(key, SERVICE.iter().copied());
        if known.is_none() {
            return format!(
                "unknown key {}; a service's name has no dot, because in TOML that is a table in a \
                 table: use '-' or '_' instead",
                quoted(key)
            );
        }
    }
    unknown(key, &SERVICE)
}

/// The same for a key in `[defaults]`.
pub(super) fn unknown_default(key: &str) -> String {
    if WHOLE.contains(&key) {
        return for_all(key);
    }
    if SERVICE.contains(&key) {
        return format!("{key} has no default; write it below each [services.NAME]");
    }
    unknown(key, &DEFAULTS)
}

/// The same for a key of the whole file. `is_service`: it is a table with a command.
pub(super) fn unknown_of_file(key: &str, is_service: bool) -> String {
    if SERVICE.contains(&key) {
        return format!("{key} is for one service: put it below [services.NAME]");
    }
    if is_service {
        let name = quoted(key);
        let name = name.trim_matches('\'');
        return format!("a service is a table in 'services'; write [services.{name}]");
    }
    let known: Vec<&str> = TABLES.into_iter().chain(WHOLE).collect();
    unknown(key, &known)
}

/// Whether a key of a service is its command, or probably meant to be that.
pub(super) fn is_like_command(key: &str) -> bool {
    key == "entrypoint" || nearest(key, SERVICE.into_iter()) == Some("command")
}

fn for_all(key: &str) -> String {
    format!("{key} is for all services: put it above the first [services.NAME]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_of_another_system_is_one_of_ours() {
        for (other, _) in OTHERS {
            assert!(
                !SERVICE.contains(&other) && !WHOLE.contains(&other),
                "{other}"
            );
        }
    }

    #[test]
    fn a_key_without_a_near_one_gets_the_list() {
        let text = unknown("qqq", &["a", "b"]);
        assert_eq!(text, "unknown key 'qqq'; use one of a, b");
    }
}
