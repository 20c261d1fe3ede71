//! Programs of which the manual says which signal stops them properly, or what keeps them in
//! the foreground. The hints of `--check` and a table of docs/services.md are made of
//! it. It uses nothing else of the program, because tests/documents includes it.

/// A program, as its manual describes it.
pub(crate) struct Program {
    /// The names of its executables, without a version at the end.
    pub(crate) names: &'static [&'static str],
    /// What stops it properly; `None` if the manual does not say.
    pub(crate) stop: Option<Stop>,
    /// What keeps it in the foreground; `None` if nothing needs to.
    pub(crate) foreground: Option<Foreground>,
    /// The address of the manual.
    #[cfg(test)]
    pub(crate) manual: &'static str,
}

/// What stops a program properly: it finishes its work if it can.
pub(crate) struct Stop {
    /// The signal, without SIG.
    pub(crate) signal: &'static str,
    /// What it does on SIGTERM, if that is another signal.
    pub(crate) on_term: &'static str,
    /// What else is necessary, as an imperative.
    pub(crate) also: Option<&'static str>,
}

/// What keeps a program in the foreground.
pub(crate) struct Foreground {
    /// What to add to its command.
    pub(crate) add: &'static str,
    /// The arguments of which one has that effect. One with a blank may be a part of an
    /// argument.
    pub(crate) words: &'static [&'static str],
    /// Whether it puts itself in the background otherwise, unless its configuration says.
    pub(crate) is_needed: bool,
}

impl Program {
    const fn new(names: &'static [&'static str]) -> Self {
        Self {
            names,
            stop: None,
            foreground: None,
            #[cfg(test)]
            manual: "",
        }
    }

    #[cfg(test)]
    const fn manual(self, manual: &'static str) -> Self {
        Self { manual, ..self }
    }

    /// The program needs no documentation.
    #[cfg(not(test))]
    const fn manual(self, _: &'static str) -> Self {
        self
    }

    /// SIGTERM stops it properly.
    const fn term(self) -> Self {
        self.stop("TERM", "")
    }

    const fn stop(self, signal: &'static str, on_term: &'static str) -> Self {
        Self {
            stop: Some(Stop {
                signal,
                on_term,
                also: None,
            }),
            ..self
        }
    }

    const fn also(self, also: &'static str) -> Self {
        let stop = match self.stop {
            Some(stop) => Some(Stop {
                also: Some(also),
                ..stop
            }),
            None => None,
        };
        Self { stop, ..self }
    }

    /// It puts itself in the background without one of these arguments.
    const fn needs(self, add: &'static str, words: &'static [&'static str]) -> Self {
        Self {
            foreground: Some(Foreground {
                add,
                words,
                is_needed: true,
            }),
            ..self
        }
    }

    /// Its configuration may put it in the background, and this overrides that.
    const fn may_need(self, add: &'static str) -> Self {
        Self {
            foreground: Some(Foreground {
                add,
                words: &[],
                is_needed: false,
            }),
            ..self
        }
    }
}

/// The program that an executable is, by its name: `php-fpm8.2` is php-fpm.
pub(crate) fn known(name: &str) -> Option<&'static Program> {
    let find = |name: &str| {
        let mut programs = PROGRAMS.iter();
        programs.find(|program| program.names.contains(&name))
    };
    let unversioned = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    find(name).or_else(|| find(unversioned))
}

const CUTS_OFF: &str = "cuts off requests";

/// Those whose stop signal is not SIGTERM come first.
pub(crate) const PROGRAMS: &[Program] = &[
    Program::new(&["nginx"])
        .manual("https://nginx.org/en/docs/control.html")
        .stop("QUIT", CUTS_OFF)
        .needs("-g 'daemon off;'", &["daemon off"]),
    Program::new(&["php-fpm"])
        .manual("https://manpages.debian.org/bookworm/php8.2-fpm/php-fpm8.2.8.en.html")
        .stop("QUIT", CUTS_OFF)
        .also("set process_control_timeout in its configuration, because it is 0 by default")
        .needs("-F", &["-F", "--nodaemonize"]),
    Program::new(&["httpd", "apache2"])
        .manual("https://httpd.apache.org/docs/2.4/stopping.html")
        .stop("WINCH", CUTS_OFF)
        .needs(
            "-DFOREGROUND",
            &[
                "-DFOREGROUND",
                "FOREGROUND",
                "-DNO_DETACH",
                "NO_DETACH",
                "-X",
            ],
        ),
    Program::new(&["httpd-foreground", "apache2-foreground"])
        .manual("https://httpd.apache.org/docs/2.4/stopping.html")
        .stop("WINCH", CUTS_OFF),
    Program::new(&["lighttpd"])
        .manual("https://blog.lighttpd.net/articles/2005/09/02/graceful-restart/")
        .stop("INT", CUTS_OFF)
        .needs("-D", &["-D"]),
    Program::new(&["haproxy"])
        .manual("https://manpages.debian.org/bookworm/haproxy/haproxy.1.en.html")
        .stop("USR1", "cuts off connections")
        .may_need("-db"),
    Program::new(&["unicorn", "unicorn_rails"])
        .manual("https://yhbt.net/unicorn/SIGNALS.html")
        .stop("QUIT", CUTS_OFF),
    Program::new(&["uwsgi"])
        .manual("https://uwsgi-docs.readthedocs.io/en/latest/Management.html")
        .stop("INT", "starts again instead of exiting")
        .also("expect that SIGINT cuts off requests"),
    Program::new(&["postgres"])
        .manual("https://www.postgresql.org/docs/current/server-shutdown.html")
        .stop("INT", "waits until all clients have disconnected"),
    Program::new(&["gunicorn"])
        .manual("https://gunicorn.org/signals")
        .term(),
    Program::new(&["celery"])
        .manual("https://docs.celeryq.dev/en/stable/userguide/workers.html")
        .term(),
    Program::new(&["sidekiq"])
        .manual("https://github.com/sidekiq/sidekiq/wiki/Signals")
        .term()
        .also("set its own time (-t, 25 s by default) below its share"),
    Program::new(&["redis-server"])
        .manual("https://redis.io/docs/reference/signals")
        .term()
        .may_need("--daemonize no"),
    Program::new(&["valkey-server"])
        .manual("https://valkey.io/topics/signals")
        .term()
        .may_need("--daemonize no"),
    Program::new(&["mysqld"])
        .manual("https://dev.mysql.com/doc/refman/8.4/en/unix-signal-response.html")
        .term(),
    Program::new(&["squid"])
        .manual("https://www.squid-cache.org/Doc/config/shutdown_lifetime/")
        .term()
        .also("set shutdown_lifetime (30 s by default) below its share")
        .needs("--foreground", &["--foreground", "-N"]),
    Program::new(&["named"])
        .manual("https://manpages.debian.org/bookworm/bind9/named.8.en.html")
        .term()
        .needs("-f", &["-f", "-g"]),
    Program::new(&["cron"])
        .manual("https://manpages.debian.org/bookworm/cron/cron.8.en.html")
        .needs("-f", &["-f"]),
    Program::new(&["dnsmasq"])
        .manual("https://manpages.debian.org/bookworm/dnsmasq-base/dnsmasq.8.en.html")
        .needs("-k", &["-k", "--keep-in-foreground", "-d", "--no-daemon"]),
    Program::new(&["dovecot"])
        .manual("https://manpages.debian.org/bookworm/dovecot-core/dovecot.1.en.html")
        .needs("-F", &["-F"]),
    Program::new(&["rsyslogd"])
        .manual("https://manpages.debian.org/bookworm/rsyslog/rsyslogd.8.en.html")
        .needs("-n", &["-n"]),
    Program::new(&["sshd"])
        .manual("https://manpages.debian.org/bookworm/openssh-server/sshd.8.en.html")
        .needs("-D", &["-D", "-d"]),
    Program::new(&["varnishd"])
        .manual("https://manpages.debian.org/bookworm/varnish/varnishd.1.en.html")
        .needs("-F", &["-F", "-d"]),
];
