//! The text of `--check`: the plan, as tables that fit a terminal.

use std::fmt::Write;
use std::time::Duration;

use crate::decide::graph::Id;
use crate::decide::plan::rules::Rules;
use crate::decide::rules::Grace;
use crate::decide::sorted::sorted;
use crate::settings::services::{self, Purpose, Ready, Service, Services};
use crate::signal::SignalSet;

/// How much longer than the grace period the limit of an engine should be.
const BEYOND_GRACE: Duration = Duration::from_secs(2);

/// No line of a table is longer.
const WIDTH: usize = 80;

/// A name that is longer has a line to itself.
const LONGEST_NAME: usize = 24;

/// Everything that `--check` prints.
pub(super) fn text(services: &Services, rules: &Rules) -> String {
    let plan = Plan::new(services, rules);
    let mut text = plan.start();
    text.push('\n');
    text.push_str(&plan.stop());
    text.push('\n');
    text.push_str(&limits(services.grace));
    if !services.off.is_empty() {
        text.push_str("\noff: ");
        let off: Vec<&str> = services.off.iter().map(String::as_str).collect();
        add_list(&mut text, &off);
    }
    let mut warnings = services.warnings.clone();
    warnings.extend(services::about_scaling(services, rules));
    warnings.extend(services::hints(services, Purpose::Check));
    if !warnings.is_empty() {
        text.push('\n');
    }
    for warning in warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// The services with their order.
struct Plan<'a> {
    services: &'a Services,
    rules: &'a Rules,
    /// The services that depend on each directly.
    above: Vec<Vec<usize>>,
    width: usize,
}

impl<'a> Plan<'a> {
    fn new(services: &'a Services, rules: &'a Rules) -> Self {
        let list = &services.list;
        let mut above = vec![Vec::new(); list.len()];
        for (index, upper) in list.iter().enumerate() {
            for lower in &upper.depends_on {
                if let Some(above) = above.get_mut(*lower) {
                    above.push(index);
                }
            }
        }
        let lengths = list.iter().map(|service| service.name.len());
        let shorter = lengths.filter(|length| *length <= LONGEST_NAME);
        Self {
            services,
            rules,
            above,
            width: shorter.max().unwrap_or_default().max("service".len()),
        }
    }

    fn start(&self) -> String {
        let mut text =
            String::from("start: each service when those that it depends on are ready\n\n");
        let mut level = vec![0; self.services.list.len()];
        for id in self.rules.graph().top_first().rev() {
            let below = self.rules.graph().direct(id).iter();
            let below = below.filter_map(|lower| level.get(lower.0));
            let own = below.max().map_or(0, |lower| lower + 1);
            if let Some(level) = level.get_mut(id.0) {
                *level = own;
            }
        }
        self.row(&mut text, "service", "ready     ", &["after"]);
        for (_, service) in self.by(&level) {
            let columns = format!("{:<10}", kind(&service.ready));
            self.row(
                &mut text,
                &service.name,
                &columns,
                &self.names(&service.depends_on),
            );
        }
        text
    }

    fn stop(&self) -> String {
        let services = self.services;
        let mut text = String::from("stop: each service when those that depend on it are gone");
        if self.grace().is_some() {
            text.push_str(", or at the\nlatest so long after the stop request");
        }
        text.push_str("\n\n");
        let mut level = vec![0; services.list.len()];
        for id in self.rules.graph().top_first() {
            let next = level.get(id.0).map_or(0, |own| own + 1);
            for lower in self.rules.graph().direct(id) {
                if let Some(level) = level.get_mut(lower.0) {
                    *level = next.max(*level);
                }
            }
        }
        let header = columns("signal", "share", "latest");
        self.row(&mut text, "service", &header, &["after"]);
        for (index, service) in self.by(&level) {
            let above = self.above.get(index).map(Vec::as_slice).unwrap_or_default();
            let columns = self.times(index, service, above.is_empty());
            self.row(&mut text, &service.name, &columns, &self.names(above));
        }
        let _ = match services.grace {
            Grace::For(grace) => writeln!(text, "\nSIGKILL after {}", up(grace)),
            Grace::Infinite => writeln!(text, "\nno SIGKILL: the grace period is infinity"),
        };
        if !services.stop_delay.is_zero() {
            let _ = writeln!(text, "stop delay: {}", up(services.stop_delay));
        }
        text.push_str("stop requests: ");
        let requests = signals(services.stop_on);
        let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
        add_list(&mut text, &requests);
        text
    }

    /// Signal, share and latest moment of a service.
    fn times(&self, index: usize, service: &Service, is_first: bool) -> String {
        let share = self.rules.budget().of(Id(index));
        let (length, latest) = match self.grace() {
            None => ("-".to_owned(), "-".to_owned()),
            Some(grace) => {
                let latest = if is_first {
                    self.services.stop_delay
                } else {
                    grace.saturating_sub(share.latest)
                };
                let length = match service.ready {
                    Ready::Exited => "-".to_owned(),
                    _ => down(share.length),
                };
                (length, up(latest))
            }
        };
        columns(&service.stop_signal.to_string(), &length, &latest)
    }

    /// The grace period, if there is something to divide.
    fn grace(&self) -> Option<Duration> {
        match self.services.grace {
            Grace::For(grace) if !grace.is_zero() => Some(grace),
            _ => None,
        }
    }

    /// The services by level, then in the order of the files.
    fn by(&self, levels: &[usize]) -> Vec<(usize, &'a Service)> {
        let all = self.services.list.iter().enumerate().collect();
        sorted(all, |(index, _)| {
            let level = levels.get(*index).copied().unwrap_or_default();
            (level, *index)
        })
    }

    fn names(&self, indices: &[usize]) -> Vec<&'a str> {
        let services = indices
            .iter()
            .filter_map(|index| self.services.list.get(*index));
        services.map(|service| service.name.as_str()).collect()
    }

    /// Adds a row: a name, columns, and a list that may take more than one line.
    fn row(&self, text: &mut String, name: &str, columns: &str, list: &[&str]) {
        let width = self.width;
        let _ = if name.len() > width {
            write!(text, "  {name}\n  {:<width$}  {columns}", "")
        } else {
            write!(text, "  {name:<width$}  {columns}")
        };
        add_list(text, list);
    }
}

/// Adds a list to the last line, and where it does not fit to more lines below.
fn add_list(text: &mut String, list: &[&str]) {
    let start = text.rfind('\n').map_or(0, |end| end + 1);
    let indent = text.len() - start;
    let mut column = indent;
    for (index, item) in list.iter().enumerate() {
        let is_last = index + 1 == list.len();
        let item = format!("{item}{}", if is_last { "" } else { "," });
        let blank = usize::from(column > indent);
        if column + blank + item.len() > WIDTH {
            text.truncate(text.trim_end().len());
            column = indent.min(WIDTH.saturating_sub(item.len()));
            let _ = write!(text, "\n{:column$}", "");
        } else {
            text.push_str(" ".get(..blank).unwrap_or_default());
            column += blank;
        }
        text.push_str(&item);
        column += item.len();
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
}

/// The columns of the stop.
fn columns(signal: &str, share: &str, latest: &str) -> String {
    format!("{signal:<11}{share:>8}{latest:>10}  ")
}

/// By what a service is ready.
fn kind(ready: &Ready) -> &'static str {
    match ready {
        Ready::Started => "started",
        Ready::Notified => "notify",
        Ready::Exited => "exited",
        Ready::Tcp(_) => "tcp",
        Ready::Unix(_) => "unix",
        Ready::Http(_) => "http",
        Ready::Command(_) => "command",
    }
}

fn signals(mut set: SignalSet) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(signal) = set.first() {
        set.remove(signal);
        names.push(signal.to_string());
    }
    if names.is_empty() {
        names.push("none".to_owned());
    }
    names
}

/// The limits of engines that go with a grace period.
fn limits(grace: Grace) -> String {
    let Grace::For(grace) = grace else {
        return "stop timeout: none, because the engine would send SIGKILL when it expires\n"
            .to_owned();
    };
    let limit = grace.saturating_add(BEYOND_GRACE);
    let seconds = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
    format!(
        "stop timeout for this grace period of {}: 2s more\n\n  \
         docker run    --stop-timeout {seconds}\n  \
         Compose       stop_grace_period: {seconds}s\n  \
         Kubernetes    terminationGracePeriodSeconds: {seconds}\n  \
         systemd       TimeoutStopSec={seconds}\n",
        up(grace)
    )
}

/// A share: never more than it is.
fn down(time: Duration) -> String {
    hundredths(time.as_millis() / 10)
}

/// A latest moment: never earlier than it is.
fn up(time: Duration) -> String {
    hundredths(time.as_micros().div_ceil(10_000))
}

fn hundredths(hundredths: u128) -> String {
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match rest {
        0 => format!("{whole}s"),
        _ if rest % 10 == 0 => format!("{whole}.{}s", rest / 10),
        _ => format!("{whole}.{rest:02}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::services::testing::Testing;

    /// What is printed about a file, whose programs exist.
    fn printed(file: &str) -> String {
        let testing = Testing::new();
        for program in ["nginx", "gunicorn", "postgres"] {
            testing.file(&format!("bin/{program}"), "", 0o755);
        }
        let services = testing.accepted(file);
        let rules = services::rules(&services).unwrap();
        text(&services, &rules)
    }

    #[test]
    fn the_plan_of_several_services() {
        let file = "grace = '8s'\n\
            [services.web]\ncommand = ['nginx', '-g', 'daemon off;']\ndepends_on = ['app']\n\
            stop_signal = 'QUIT'\n\
            [services.app]\ncommand = ['gunicorn', '$SECRET']\ndepends_on = ['migrate', 'cache']\n\
            [services.migrate]\ncommand = ['app']\nready = 'exited'\ndepends_on = ['db']\n\
            [services.db]\ncommand = ['postgres']\nready = { tcp = 5432 }\n\
            [services.cache]\ncommand = ['app']\nready = { command = ['app', 'secret'] }\n\
            [services.cron]\ncommand = ['cron']\nenabled = false\n\
            [services.mail]\ncommand = ['mail']\nenabled = false\n";
        assert_eq!(
            printed(file),
            "\
start: each service when those that it depends on are ready

  service  ready     after
  db       tcp
  cache    command
  migrate  exited    db
  app      started   migrate, cache
  web      started   app

stop: each service when those that depend on it are gone, or at the
latest so long after the stop request

  service  signal        share    latest  after
  web      SIGQUIT        1.6s        0s
  app      SIGTERM        1.6s      4.8s  web
  migrate  SIGTERM           -      6.4s  app
  cache    SIGTERM        1.6s      6.4s  app
  db       SIGTERM        1.6s      6.4s  migrate

SIGKILL after 8s
stop requests: SIGINT, SIGQUIT, SIGTERM

stop timeout for this grace period of 8s: 2s more

  docker run    --stop-timeout 10
  Compose       stop_grace_period: 10s
  Kubernetes    terminationGracePeriodSeconds: 10
  systemd       TimeoutStopSec=10

off: cron, mail

warning: a:7:24: a $NAME in this word is not replaced; write ${NAME}
warning: db: on SIGTERM postgres waits until all clients have disconnected; use stop_signal = \"INT\"
"
        );
    }

    #[test]
    fn a_delay_periods_that_are_scaled_and_a_fraction() {
        let file = "grace = 10.25\nstop_delay = 0.25\nstop_on = ['none', 'HUP']\n\
            [services.a]\ncommand = ['app']\ndepends_on = ['b']\nstop_grace_period = 8\n\
            [services.b]\ncommand = ['app']\ndepends_on = ['c']\n\
            [services.c]\ncommand = ['app']\n\
            [services.d]\ncommand = ['app']\nstop_grace_period = 0.999\n";
        assert_eq!(
            printed(file),
            "\
start: each service when those that it depends on are ready

  service  ready     after
  c        started
  d        started
  b        started   c
  a        started   b

stop: each service when those that depend on it are gone, or at the
latest so long after the stop request

  service  signal        share    latest  after
  a        SIGTERM          6s     0.25s
  d        SIGTERM       0.74s     0.25s
  b        SIGTERM          1s     8.25s  a
  c        SIGTERM          1s     9.25s  b

SIGKILL after 10.25s
stop delay: 0.25s
stop requests: SIGHUP

stop timeout for this grace period of 10.25s: 2s more

  docker run    --stop-timeout 13
  Compose       stop_grace_period: 13s
  Kubernetes    terminationGracePeriodSeconds: 13
  systemd       TimeoutStopSec=13

warning: stop_grace_period: those of a add up to 8s, but may take 6s; all are scaled by 0.75; raise the grace period or lower them
"
        );
    }

    #[test]
    fn nothing_is_divided_without_time_or_without_an_end() {
        let file = "[services.a]\ncommand = ['app']\ndepends_on = ['b']\n\
                    [services.b]\ncommand = ['app']\n";
        let table = |grace: &str| {
            let text = printed(&format!("grace = '{grace}'\n{file}"));
            let (_, stop) = text.split_once("\nstop:").unwrap();
            stop.to_owned()
        };
        assert_eq!(
            table("infinity"),
            " each service when those that depend on it are gone

  service  signal        share    latest  after
  a        SIGTERM           -         -
  b        SIGTERM           -         -  a

no SIGKILL: the grace period is infinity
stop requests: SIGINT, SIGQUIT, SIGTERM

stop timeout: none, because the engine would send SIGKILL when it expires
"
        );
        let none = table("0");
        let expected = "  b        SIGTERM           -         -  a\n\nSIGKILL after 0s\n";
        assert!(none.contains(expected), "{none}");
        assert!(none.contains("--stop-timeout 2\n"), "{none}");
    }

    #[test]
    fn long_names_and_lists_stay_within_the_width() {
        let long = |letter: &str| letter.repeat(64);
        let (a, b) = (long("a"), long("b"));
        let mut file = format!("grace = 5\n[services.{a}]\ncommand = ['app']\n");
        let _ = writeln!(
            file,
            "[services.{b}]\ncommand = ['app']\ndepends_on = ['{a}']"
        );
        let names: Vec<String> = (0..40).map(|number| format!("service-{number}")).collect();
        for name in &names {
            let _ = writeln!(file, "[services.{name}]\ncommand = ['app']");
            let _ = writeln!(
                file,
                "[services.off-{name}]\ncommand = ['x']\nenabled = false"
            );
        }
        let _ = writeln!(
            file,
            "[services.top]\ncommand = ['app']\ndepends_on = {names:?}"
        );
        let text = printed(&file);
        for line in text.lines() {
            assert!(line.len() <= WIDTH, "{line}");
            assert_eq!(line, line.trim_end());
        }
        let expected = format!("\n  {b}\n              started\n{}{a}\n", " ".repeat(16));
        assert!(text.contains(&expected), "{text}");
        let expected = "
  top         started   service-0, service-1, service-2, service-3, service-4,
                        service-5, service-6, service-7, service-8, service-9,
";
        assert!(text.contains(expected), "{text}");
        assert!(
            text.contains("\noff: off-service-0, off-service-1,"),
            "{text}"
        );
    }

    #[test]
    fn a_line_is_filled_to_its_last_column() {
        let added = |length: usize| {
            let mut text = "a\nxx ".to_owned();
            add_list(&mut text, &[&"b".repeat(length), "c"]);
            text
        };
        let (line, longer) = ("b".repeat(74), "b".repeat(75));
        assert_eq!(added(74), format!("a\nxx {line}, c\n"));
        assert_eq!(added(75), format!("a\nxx {longer},\n   c\n"));
        let longer = "b".repeat(77);
        assert_eq!(added(77), format!("a\nxx\n  {longer},\n   c\n"));
    }

    #[test]
    fn a_share_is_rounded_down_and_a_latest_moment_up() {
        let third = Duration::from_secs(10) / 3;
        assert_eq!((down(third), up(third)), ("3.33s".into(), "3.34s".into()));
        let exact = Duration::from_millis(3450);
        assert_eq!((down(exact), up(exact)), ("3.45s".into(), "3.45s".into()));
        assert_eq!(down(Duration::from_millis(3009)), "3s");
        assert_eq!(up(Duration::from_millis(3001)), "3.01s");
    }
}
