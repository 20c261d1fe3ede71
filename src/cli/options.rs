//! The table of all options. To add an option, begin here: the parser, `--help`, the man
//! page, docs/options.md and the completions are made from it. It uses nothing else of the
//! program, because tests/documents includes it to write the last three.

/// One option.
#[cfg_attr(test, allow(dead_code, reason = "tests/documents reads all of it"))]
pub(crate) struct Opt {
    /// The long form, without dashes.
    pub(crate) long: &'static str,
    /// The short form, without the dash.
    pub(crate) short: Option<char>,
    /// What may follow it, and how often it may be given.
    pub(crate) kind: Kind,
    /// Whether an environment variable sets it as well.
    pub(crate) variable: bool,
    /// The value without option and variable, where there is one.
    pub(crate) default: Option<&'static str>,
    /// Whether it is about COMMAND, and refused with `--services`.
    pub(crate) of_command: bool,
    /// What it does, in one sentence or two; the first clause serves the completions.
    pub(crate) help: &'static str,
    /// What the documents add to that: paragraphs, lists, `code` and [links](..).
    #[cfg(test)]
    pub(crate) doc: &'static str,
    /// Values that a completion offers.
    #[cfg(test)]
    pub(crate) words: &'static [&'static str],
}

/// What may follow an option, and how often it may be given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing; to repeat it is no error.
    Switch,
    /// Nothing; how often it is given counts.
    Count,
    /// A value of this name, once.
    Value(&'static str),
    /// A value of this name, any number of times; a variable has them separated by commas.
    List(&'static str),
    /// A value of this name, or nothing.
    Optional(&'static str),
    /// Nothing; it prints the help.
    Help,
    /// Nothing; it prints the version.
    Version,
}

impl Opt {
    const fn new(long: &'static str, kind: Kind) -> Self {
        Self {
            long,
            short: None,
            kind,
            variable: false,
            default: None,
            of_command: false,
            help: "",
            #[cfg(test)]
            doc: "",
            #[cfg(test)]
            words: &[],
        }
    }

    const fn short(self, short: char) -> Self {
        Self {
            short: Some(short),
            ..self
        }
    }

    const fn variable(self) -> Self {
        Self {
            variable: true,
            ..self
        }
    }

    const fn default(self, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }

    const fn of_command(self) -> Self {
        Self {
            of_command: true,
            ..self
        }
    }

    const fn help(self, help: &'static str) -> Self {
        Self { help, ..self }
    }

    #[cfg(test)]
    const fn doc(self, doc: &'static str) -> Self {
        Self { doc, ..self }
    }

    /// The program needs no documentation.
    #[cfg(not(test))]
    const fn doc(self, _: &'static str) -> Self {
        self
    }

    #[cfg(test)]
    const fn words(self, words: &'static [&'static str]) -> Self {
        Self { words, ..self }
    }

    /// The program checks values where it reads them.
    #[cfg(not(test))]
    const fn words(self, _: &'static [&'static str]) -> Self {
        self
    }

    /// The name of the value that follows, if one must.
    pub(crate) fn value(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Value(name) | Kind::List(name) => Some(name),
            Kind::Switch | Kind::Count | Kind::Optional(_) | Kind::Help | Kind::Version => None,
        }
    }

    /// The name of the value that follows, in brackets if none may follow.
    pub(crate) fn shown_value(&self) -> Option<String> {
        match self.kind {
            Kind::Optional(name) => Some(format!("[{name}]")),
            _ => self.value().map(str::to_owned),
        }
    }
}

/// What the name of every environment variable starts with; the rest is the option's
/// long form.
pub(crate) const PREFIX: &str = "SUPERVISE_";

/// The variable without an option of its own: a log filter.
pub(crate) const LOG: &str = "SUPERVISE_LOG";

/// Whether this is the name of the environment variable of the option with this long form.
pub(crate) fn is_variable_of(variable: &[u8], long: &str) -> bool {
    let upper = long.bytes().map(|byte| match byte {
        b'-' => b'_',
        byte => byte.to_ascii_uppercase(),
    });
    let rest = variable.strip_prefix(PREFIX.as_bytes());
    rest.is_some_and(|rest| rest.iter().copied().eq(upper))
}

/// The environment variable of the option with this long form.
pub(crate) fn variable_name(long: &str) -> String {
    format!("{PREFIX}{}", long.replace('-', "_").to_ascii_uppercase())
}

/// What a completion offers for a signal: those that programs give a meaning.
const SIGNAL_NAMES: &[&str] = &[
    "TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "ALRM", "WINCH", "CONT", "PWR", "RTMIN+3",
];

/// Every option, in the order in which they are shown.
pub(crate) fn all() -> impl Iterator<Item = &'static Opt> {
    OPTIONS.iter().flat_map(|(_, options)| *options)
}

/// The options below their headings.
pub(crate) const OPTIONS: &[(&str, &[Opt])] = &[
    ("Stopping", STOPPING),
    ("Signals", SIGNALS),
    ("Exit status", EXIT_STATUS),
    ("Service manager", SERVICE_MANAGER),
    ("Several services", SERVICES),
    ("Reports", REPORTS),
    ("Logging", LOGGING),
    ("Help", HELP),
];

const STOPPING: &[Opt] = &[
    Opt::new("grace", Kind::Value("DURATION"))
        .short('t')
        .variable()
        .default("30s")
        .words(&["infinity"])
        .help(
            "Time from a stop request to SIGKILL; 0 sends SIGKILL at once, infinity never. Set \
             it about 2s below the stop timeout of the container engine or service manager \
             (docker stop 10s, Kubernetes 30s, systemd 90s)",
        )
        .doc(
            "DURATION is a number of seconds (`10`, `0.5`), numbers with units (`500ms`, \
             `1m30s`; ms, s, m, h or d), or `infinity`. If the stop timeout is longer than the \
             default, raise this as well, because otherwise `supervise` cuts the shutdown short.",
        ),
    Opt::new("stop-delay", Kind::Value("DURATION"))
        .variable()
        .default("0")
        .help(
            "Wait before forwarding a stop request, for example while a load balancer drains \
             connections. Counts toward the grace period; a second stop request ends the wait",
        )
        .doc(
            "It must be shorter than the grace period. If COMMAND has exited, before the stop \
             request or during the wait, the other processes are signaled when the wait ends.",
        ),
    Opt::new("stop-on", Kind::List("SIGNAL"))
        .variable()
        .words(SIGNAL_NAMES)
        .help(
            "Treat SIGNAL as a stop request, in addition to TERM and INT; \"none\" clears the \
             list",
        )
        .doc(
            "`none` removes TERM and INT as well: `none,QUIT` leaves QUIT only. The signal that \
             `supervise` receives counts, before `--rewrite`.",
        ),
    Opt::new("leftovers", Kind::Value("POLICY"))
        .variable()
        .default("auto")
        .words(&["auto", "stop", "wait", "leave"])
        .help(
            "What to do with processes that outlive COMMAND: stop, wait, leave or auto (stop \
             after a stop request or as PID 1, otherwise leave)",
        )
        .doc(
            "- `auto`: Stop them after a stop request and, as PID 1, always, then with a grace \
             period of their own. The same applies below an init that exits when `supervise` \
             does, as with `docker run --init`. Otherwise leave them.\n\
             - `stop`: Always stop them.\n\
             - `wait`: Wait until the last of them has exited or a stop is requested.\n\
             - `leave`: Exit when COMMAND exits. After a stop request only COMMAND is signaled, \
             and killed when the grace period expires. As PID 1 the kernel kills the other \
             processes when `supervise` exits.",
        ),
];

const SIGNALS: &[Opt] = &[
    Opt::new("process-group", Kind::Switch)
        .short('g')
        .variable()
        .of_command()
        .help("Forward signals to the process group of COMMAND, not to COMMAND only")
        .doc(
            "Not for pipelines on a terminal, because the process group of COMMAND has the \
             foreground to itself there.",
        ),
    Opt::new("single-child", Kind::Switch)
        .short('c')
        .of_command()
        .help("Forward signals to COMMAND only (the default); overrides SUPERVISE_PROCESS_GROUP"),
    Opt::new("rewrite", Kind::List("FROM:TO"))
        .short('r')
        .variable()
        .of_command()
        .help("Forward signal TO when FROM is received; FROM:0 drops FROM")
        .doc(
            "A dropped signal is not a stop request. Signals that COMMAND receives from the \
             terminal, such as SIGINT for Ctrl-C, are not rewritten.",
        ),
    Opt::new("parent-death-signal", Kind::Value("SIGNAL"))
        .short('p')
        .variable()
        .words(SIGNAL_NAMES)
        .help("Have the kernel send SIGNAL to supervise when its parent exits")
        .doc(
            "With TERM that is a stop request. A parent that exited before `supervise` started \
             is not noticed.",
        ),
    Opt::new("subreaper", Kind::Switch)
        .short('s')
        .help("Accepted for compatibility with tini; orphans are always adopted")
        .doc("It takes no value."),
];

const EXIT_STATUS: &[Opt] = &[
    Opt::new("remap-exit", Kind::List("CODE"))
        .short('e')
        .variable()
        .of_command()
        .help("Exit with 0 if the status of COMMAND is CODE (128+N: killed by signal N)")
        .doc("This does not apply to a COMMAND that cannot be executed."),
    Opt::new("no-reraise", Kind::Switch)
        .variable()
        .of_command()
        .help(
            "Exit with 128+N when signal N kills COMMAND, instead of being killed by the same \
             signal",
        )
        .doc("As PID 1 `supervise` always exits with 128+N."),
];

const SERVICE_MANAGER: &[Opt] = &[Opt::new("no-notify-relay", Kind::Switch)
    .variable()
    .of_command()
    .help(
        "Leave NOTIFY_SOCKET unchanged: COMMAND notifies the service manager directly (needs \
         NotifyAccess=all)",
    )];

const SERVICES: &[Opt] = &[
    Opt::new("services", Kind::List("FILE"))
        .short('f')
        .help(
            "Run the services that FILE describes, or all *.toml files of a directory: each \
             starts when those that it depends on are ready, and they stop in reverse order \
             within the one grace period",
        )
        .doc(
            "[Several services](services.md) describes the file. The grace period has no default \
             then: set it by `--grace`, its variable, or in the file. `--services` cannot be \
             combined with COMMAND yet.",
        ),
    Opt::new("check", Kind::Switch)
        .help(
            "Check the files of --services, print the order of the start and of the stop with \
             the time of each service, and exit",
        )
        .doc(
            "Nothing is started. A program, directory, user or variable that is missing is a \
             warning, so that the files can be checked outside the image.",
        ),
    Opt::new("status", Kind::Optional("FILE"))
        .help(
            "Print the state of each service, from the status file FILE, and exit with 0 if all \
             are ready or done, with 1 otherwise",
        )
        .doc(
            "Each line contains the name, the state (waiting, starting, ready, done, restarting, \
             failed, stopping or off), the pid, the time since when the service has been in this \
             state, and how many times it was started. Without FILE the default of `--status-file` \
             is read. The exit status is 125 if no `supervise` runs that writes the file. Use it \
             as the health check of a container.",
        ),
    Opt::new("status-file", Kind::Value("FILE"))
        .help("Keep the state of the services in FILE, for --status")
        .doc(
            "By default it is supervise.status in the directory that RUNTIME_DIRECTORY names, \
             otherwise in /run/supervise, or /tmp/supervise-UID.status where that cannot be \
             written. A FILE that cannot be written, that another `supervise` uses, or that is \
             not a status file is refused before the start. It is removed on exit.",
        ),
];

const REPORTS: &[Opt] = &[
    Opt::new("report", Kind::Value("FILE"))
        .variable()
        .help("Write a JSON report of the run to FILE on exit")
        .doc(
            "[The report](report.md) is one object. FILE is opened and emptied before COMMAND \
             starts, and created with mode 0600. As root, `supervise` does not follow symbolic \
             links of other users.",
        ),
    Opt::new("report-limit", Kind::Value("BYTES"))
        .variable()
        .default("4096")
        .help(
            "Limit the report to BYTES, 1024 or more, where its reader takes less than 4096: for \
             example in a pod with more than three containers",
        )
        .doc(
            "[Kubernetes](kubernetes.md#termination-message) divides 12288 bytes among the \
             containers of a pod, and takes 4096 at most.",
        ),
    Opt::new("rehearse", Kind::Value("AFTER"))
        .variable()
        .words(&["ready"])
        .help(
            "Test the shutdown: request a stop after AFTER (a DURATION, or \"ready\" for \
             READY=1) and exit with 0 if it was graceful, with 1 otherwise. A command that the \
             stop signal kills fails, unless --remap-exit names its status",
        )
        .doc(
            "If COMMAND does not start, the exit status is 125 to 127, as without a rehearsal.\n\n\
             READY=1 is a notification of COMMAND, see sd_notify(3). The signal is SIGTERM if it \
             is a stop request, otherwise the stop signal with the lowest number.\n\n\
             The shutdown was graceful if COMMAND exited with 0 or a CODE of `--remap-exit`, and \
             no process needed SIGKILL. A few lines on stderr give the result and say what to \
             change.\n\n\
             If the signal kills COMMAND, or COMMAND exits with 128+N for it, the rehearsal \
             fails, because a program without a handler looks like one that cleans up and then \
             kills itself with the signal. If COMMAND cleans up, use `--remap-exit 143`. The \
             rehearsal also fails if COMMAND exits during `--stop-delay`, before the signal was \
             forwarded.\n\n\
             A rehearsal does not see clients: a server that exits with 0 and cuts off its \
             connections passes.",
        ),
];

const LOGGING: &[Opt] = &[
    Opt::new("log-format", Kind::Value("FORMAT"))
        .variable()
        .default("text")
        .words(&["text", "json"])
        .help("Format of the log: text, or json for one object per line")
        .doc(
            "An object has the time, the level and the message. Errors in the options are always \
             text.",
        ),
    Opt::new("verbose", Kind::Count)
        .short('v')
        .help("Log the steps of a stop (-v), or also every signal and process (-vv)"),
    Opt::new("quiet", Kind::Switch)
        .short('q')
        .help("Log errors only, and the result of a rehearsal")
        .doc("The warning before SIGKILL is not logged either."),
    Opt::new("warn-on-reap", Kind::Switch)
        .short('w')
        .variable()
        .help("Log a warning for every reaped orphan"),
];

const HELP: &[Opt] = &[
    Opt::new("help", Kind::Help)
        .short('h')
        .help("Print a summary of the options"),
    Opt::new("version", Kind::Version)
        .short('V')
        .help("Print the version")
        .doc(
            "When called as `docker-init`, `supervise` prints it in the form of tini's, which \
             Docker reads.",
        ),
];
