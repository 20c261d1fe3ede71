//! What becomes of services when the processes of `supervise` are killed, suspended or
//! signaled one by one, and where little is there: no /proc, no more processes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::harness::services::*;
use crate::harness::*;

#[test]
fn what_a_killed_keeper_leaves_is_stopped_before_the_service_starts_again() {
    for home in homes() {
        let keys = "restart = 'on-failure'";
        let mut running = Services::new("grace = 60")
            .with_keys("web", "db", "takes=300 daemon takes=600", keys)
            .with("db", "", "")
            .start(home, "");
        running.started();
        send(keeper(&running, "web"), libc::SIGKILL);
        running.run.wait_for_error(
            "supervise[web]: its supervise process was killed: restarting in 500ms (failure 1 in a row)\n",
        );
        let starts = |running: &Running| {
            let mut entries = running.entries();
            entries.retain(|entry| entry.who == "web" && entry.what == "start");
            entries
        };
        eventually("it starts again", || starts(&running).len() == 2);
        let again = starts(&running)[1].at;
        for name in ["web", "web.daemon"] {
            running.expect_order((name, "signal 15"), (name, "end"));
            assert!(running.at(name, "end") < again, "{}", running.told());
        }
        running.expect_never("db", "signal 15");
        running.stop();
        running.expect_exit(0);
        running.run.expect_log(
            "supervise[web]: its supervise process has ended (killed by SIGKILL): stopping what is left of the service\n",
        );
    }
}

#[test]
fn a_killed_keeper_counts_as_failed_with_137() {
    for home in homes() {
        let mut running = Services::new("grace = 60")
            .with("web", "db", "takes=300 daemon takes=600")
            .with("db", "", "")
            .start(home, "");
        running.started();
        send(keeper(&running, "web"), libc::SIGKILL);
        running.expect_exit(137);
        running.expect_after("web", "db");
        running.expect_after("web.daemon", "db");
        running
            .run
            .expect_log("supervise: exiting with status 137, the status of web\n");
    }
}

#[test]
fn a_keeper_killed_during_the_stop_keeps_the_order() {
    for home in homes() {
        let mut running = Services::new("grace = 60")
            .with("web", "db", "takes=600 daemon takes=900")
            .with("db", "", "")
            .start(home, "");
        running.started();
        running.stop();
        running.wait_for("web", "signal 15");
        send(keeper(&running, "web"), libc::SIGKILL);
        running.expect_exit(137);
        running.expect_after("web", "db");
        running.expect_after("web.daemon", "db");
        running.at("db", "end");
    }
}

#[test]
fn what_a_killed_keeper_leaves_is_killed_when_the_grace_period_expires() {
    for home in homes() {
        let mut running = Services::new("grace = 2")
            .with("web", "db", "hang daemon ignore")
            .with("db", "", "")
            .start(home, "");
        running.started();
        send(keeper(&running, "web"), libc::SIGKILL);
        running.expect_exit(137);
        running.at("db", "end");
        running
            .run
            .expect_log("supervise[web]: still running after ");
    }
}

#[test]
fn what_one_killed_keeper_leaves_is_not_killed_in_the_time_of_another() {
    let mut running = Services::new("grace = 2")
        .with_keys("web", "", "ignore", "essential = false")
        .with_keys("db", "", "takes=1500 fork takes=1000", "essential = false")
        .with_keys("clock", "", "lives=1500", "essential = false")
        .with("app", "", "")
        .start(Home::Plain, "");
    running.started();
    let db = keeper(&running, "db");
    send(keeper(&running, "web"), libc::SIGKILL);
    running.wait_for("clock", "end");
    send(db, libc::SIGKILL);
    running.wait_for("db", "end");
    running.at("db.fork", "end");
    running
        .run
        .expect_log("supervise[web]: sending SIGKILL to what is left of it (1)\n");
    running.stop();
    running.run.wait();
    running.expect_nothing_left();
}

#[test]
fn when_several_keepers_are_killed_at_once_each_service_is_told_to_stop_once() {
    for _ in 0..5 {
        let mut services = Services::new("grace = 60");
        let names: Vec<String> = (0..8).map(|number| format!("s{number}")).collect();
        for name in &names {
            services = services.with_keys(name, "", "takes=200", "essential = false");
        }
        let mut running = services.start(Home::Plain, "");
        running.started();
        let keepers: Vec<i32> = names.iter().map(|name| keeper(&running, name)).collect();
        for keeper in keepers {
            send(keeper, libc::SIGKILL);
        }
        running.expect_exit(137);
        for name in &names {
            running.at(name, "end");
            let entries = running.entries();
            let told = |entry: &&Entry| entry.who == *name && entry.what == "signal 15";
            assert_eq!(entries.iter().filter(told).count(), 1, "{}", running.told());
        }
    }
}

#[test]
fn a_suspended_service_is_resumed_when_its_keeper_is_killed() {
    let mut running = Services::new("grace = 60")
        .with("db", "", "")
        .start(Home::Plain, "");
    running.started();
    let pid = running.pid("db");
    send(pid, libc::SIGSTOP);
    wait_for_state(pid, 'T');
    send(keeper(&running, "db"), libc::SIGKILL);
    running.expect_exit(137);
    running.at("db", "end");
}

/// The kernel does not tell it to stop.
#[test]
fn a_service_that_has_changed_its_user_is_told_to_stop_when_its_keeper_is_killed() {
    if lacks_root("another user") {
        return;
    }
    let services = Services::new("grace = 60");
    let log = services.folder().path().join("told");
    let script = format!(
        "trap 'echo INT >>{0}; sleep 0.3; exit 0' INT; trap 'echo TERM >>{0}' TERM; echo ready >>{0}; while :; do sleep 0.1; done",
        log.display()
    );
    std::fs::write(&log, "").unwrap();
    std::os::unix::fs::chown(&log, Some(65534), None).unwrap();
    let words = ["setpriv", "--reuid=65534", "sh", "-c", &script];
    let mut running = services
        .with_command("db", "", &words, "stop_signal = 'INT'")
        .start(Home::Plain, "");
    let told = || std::fs::read_to_string(&log).unwrap();
    eventually("it is ready", || told() == "ready\n");
    send(keeper(&running, "db"), libc::SIGKILL);
    running.expect_exit(137);
    assert_eq!(told(), "ready\nINT\n");
}

#[test]
fn a_successor_is_shown_and_told_to_stop_when_its_keeper_is_killed() {
    let services = Services::new("grace = 60");
    let log = services.log();
    let fixture = fixture();
    let script = format!(
        "sh -c '{fixture} notify-and-wait \"$(printf \"MAINPID=%s\\nREADY=1\" $$)\"
                exec {fixture} service {log} web takes=100' &
         until grep -q start {log}; do sleep 0.01; done"
    );
    let words = ["/bin/sh", "-c", &script];
    let services = services.with_command("web", "", &words, "ready = 'notify'");
    let status = services.folder().file("status");
    let mut running = services.start(Home::Plain, &format!("--status-file {status}"));
    let pid = running.pid("web");
    running.run.wait_for_error("takes over as the command");
    eventually("its pid is shown", || {
        let shown = supervise(&["--status", &status]).stdout;
        shown.contains(&format!(" {pid} "))
    });
    send(keeper(&running, "web"), libc::SIGKILL);
    running.expect_exit(137);
    running.at("web", "end");
    let entries = running.entries();
    let told = entries.iter().filter(|entry| entry.what == "signal 15");
    assert_eq!(told.count(), 1, "{}", running.told());
}

/// The kernel sends each keeper SIGTERM then.
#[test]
fn when_supervise_is_killed_every_service_is_stopped() {
    let mut running = Services::new("grace = 60")
        .with("web", "db", "takes=100 daemon takes=300")
        .with("db", "", "takes=200 fork takes=300")
        .start(Home::Plain, "");
    running.started();
    send(running.run.pid, libc::SIGKILL);
    assert_eq!(running.run.wait(), Ended::signal(libc::SIGKILL));
    running.expect_nothing_left();
    for name in ["web", "web.daemon", "db", "db.fork"] {
        running.at(name, "end");
    }
    running
        .run
        .expect_log("supervise[db]: supervise was killed: stopping\n");
}

#[test]
fn when_supervise_is_killed_the_grace_period_holds_for_each_service() {
    let mut running = Services::new("grace = 1")
        .with("web", "db", "hang daemon hang")
        .with("db", "", "ignore")
        .start(Home::Plain, "");
    running.started();
    send(running.run.pid, libc::SIGKILL);
    running.run.wait();
    running.expect_nothing_left();
    running.at("web", "signal 15");
    running.at("web.daemon", "signal 15");
}

#[test]
fn when_supervise_is_killed_during_a_stop_nothing_is_left() {
    let mut running = Services::new("grace = 2")
        .with("web", "db", "hang daemon hang")
        .with("db", "", "takes=100")
        .start(Home::Plain, "");
    running.started();
    running.stop();
    running.wait_for("web", "signal 15");
    send(running.run.pid, libc::SIGKILL);
    running.run.wait();
    running.expect_nothing_left();
    running.at("db", "end");
}

#[test]
fn a_killed_check_is_started_again() {
    let ready = "ready = { command = ['sh', '-c', 'test -e FOLDER/ready'] }";
    let services = Services::new("grace = 60");
    let folder = services.folder().path().to_str().unwrap().to_owned();
    let mut running = services
        .with("web", "db", "")
        .with_keys("db", "", "", &ready.replace("FOLDER", &folder))
        .start(Home::Plain, "");
    running.wait_for("db", "start");
    let of_db = |running: &Running| {
        let mut children = children_of(running.run.pid);
        let db = keeper(running, "db");
        children.retain(|pid| *pid != db);
        children
    };
    for _ in 0..3 {
        let mut check = None;
        eventually("a check runs", || {
            check = of_db(&running).first().copied();
            check.is_some()
        });
        let check = check.unwrap();
        send(check, libc::SIGKILL);
        eventually("it is reaped", || !of_db(&running).contains(&check));
    }
    running.expect_never("web", "start");
    running.folder.write("ready", "", 0o644);
    running.wait_for("web", "start");
    running.stop();
    running.expect_exit(0);
    running.expect_after("web", "db");
}

#[test]
fn a_suspended_keeper_is_resumed_by_the_stop() {
    for home in homes() {
        let mut running = Services::new("grace = 60")
            .with("web", "db", "")
            .with("db", "", "")
            .start(home, "");
        running.started();
        for name in ["web", "db"] {
            let keeper = keeper(&running, name);
            send(keeper, libc::SIGSTOP);
            wait_for_state(keeper, 'T');
        }
        running.stop();
        running.expect_exit(0);
        running.expect_after("web", "db");
    }
}

#[test]
fn a_keeper_that_is_suspended_during_the_stop_is_resumed() {
    let mut running = Services::new("grace = 60")
        .with("web", "db", "takes=300")
        .with("db", "", "")
        .start(Home::Plain, "");
    running.started();
    let keeper = keeper(&running, "web");
    running.stop();
    running.wait_for("web", "signal 15");
    send(keeper, libc::SIGSTOP);
    running.expect_exit(0);
    running.expect_after("web", "db");
    assert!(running.requested.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_suspended_service_is_resumed_by_the_stop() {
    let mut running = Services::new("grace = 60")
        .with("web", "db", "daemon takes=20")
        .with("db", "", "")
        .start(Home::Plain, "");
    running.started();
    for name in ["web", "web.daemon"] {
        let pid = running.pid(name);
        send(pid, libc::SIGSTOP);
        wait_for_state(pid, 'T');
    }
    running.stop();
    running.expect_exit(0);
    running.expect_after("web.daemon", "db");
}

#[test]
fn a_signal_to_a_keeper_is_ignored() {
    for home in homes() {
        let mut running = Services::new("grace = 60")
            .with("web", "db", "")
            .with("db", "", "")
            .start(home, "-vv");
        running.started();
        let keeper = keeper(&running, "web");
        for (signal, name) in [
            (libc::SIGTERM, "SIGTERM"),
            (libc::SIGINT, "SIGINT"),
            (libc::SIGHUP, "SIGHUP"),
            (libc::SIGQUIT, "SIGQUIT"),
            (libc::SIGUSR1, "SIGUSR1"),
            (64, "SIGRTMIN+30"),
        ] {
            send(keeper, signal);
            running
                .run
                .wait_for_error(&format!("supervise[web]: received {name} from "));
        }
        // A bell without news.
        send(keeper, libc::SIGCHLD);
        assert!(running.entries().iter().all(|entry| entry.what == "start"));
        running.stop();
        running.expect_exit(0);
        running.expect_after("web", "db");
    }
}

#[test]
fn a_service_that_is_told_to_exit_by_another_stops_everything() {
    for (how, code) in [("", 0), ("code=3", 3)] {
        let mut running = Services::new("grace = 60")
            .with("web", "app", "")
            .with("app", "db", how)
            .with("db", "", "")
            .start(Home::Plain, "");
        running.started();
        send(running.pid("app"), libc::SIGTERM);
        running.expect_exit(code);
        running.expect_after("web", "db");
        running.run.expect_log("supervise[app]: is essential and ");
    }
    let mut running = Services::new("grace = 60")
        .with_keys("web", "db", "", "restart = 'always'")
        .with("db", "", "")
        .start(Home::Plain, "");
    running.started();
    let before = running.pid("web");
    send(before, libc::SIGTERM);
    running
        .run
        .wait_for_error("supervise[web]: exited with status 0: restarting in 500ms\n");
    eventually("it has another pid", || running.pid("web") != before);
    running.stop();
    running.expect_exit(0);
}

#[test]
fn without_proc_the_order_is_kept() {
    if lacks_root("hiding /proc") {
        return;
    }
    for home in [Home::Pid1, Home::Plain] {
        let services = Services::new("grace = 60")
            .with("web", "db", "takes=200 fork takes=300")
            .with("db", "", "takes=50");
        let mut running = services.start_with(start(home).through(&WITHOUT_PROC), "");
        running.started();
        running.stop();
        running.expect_exit(0);
        running.expect_after("web", "db");
        running.expect_after("web.fork", "db");
    }
    // SIGKILL is needed.
    let services = Services::new("grace = 2")
        .with("web", "db", "ignore fork ignore")
        .with("db", "", "takes=50");
    let mut running = services.start_with(start(Home::Pid1).through(&WITHOUT_PROC), "");
    running.started();
    running.stop();
    running.expect_exit(137);
    running.at("db", "end");
}

#[test]
fn without_proc_a_service_does_not_run_twice_when_its_keeper_is_killed() {
    if lacks_root("hiding /proc") {
        return;
    }
    for (how, last) in [("takes=1500", "end"), ("hang", "signal 15")] {
        let services = Services::new("grace = 2").with_keys("db", "", how, "restart = 'always'");
        let mut running = services.start_with(start(Home::Plain).through(&WITHOUT_PROC), "");
        running.started();
        let first = running.pid("db");
        send(keeper(&running, "db"), libc::SIGKILL);
        running.run.wait_for_error(
            "its supervise process was killed: restarting in 500ms (failure 1 in a row)\n",
        );
        running.at("db", last);
        assert!(!is_alive(first), "{}", running.told());
        send(running.run.pid, libc::SIGTERM);
        running.run.wait();
    }
}

#[test]
fn at_the_limit_of_processes_what_runs_is_stopped_in_order() {
    let Some(group) = Cgroup::new("pids", &["pids.max"]) else {
        return;
    };
    // At each place where a fork may fail: of a keeper, of a service, of a check.
    let mut codes = HashMap::new();
    for limit in 2..10 {
        group.set(&[("pids.max", &limit.to_string())]);
        let entered = group.entered();
        let entered: Vec<&str> = entered.iter().map(String::as_str).collect();
        let services = Services::new("grace = 60")
            .with("web", "app", "takes=20")
            .with_keys(
                "app",
                "db",
                "takes=20",
                "ready = { command = ['/bin/true'] }",
            )
            .with("db", "", "takes=20");
        let mut running = services.start_with(start(Home::Plain).through(&entered), "");
        // Whether a check tells more than once that it cannot be started is known later.
        let since = Instant::now();
        eventually("it has come as far as it can", || {
            since.elapsed() > Duration::from_secs(2)
                || !running.run.is_running()
                || running.find("web", "start").is_some()
        });
        if running.run.is_running() {
            running.stop();
        }
        let code = running.run.wait().code;
        running.expect_nothing_left();
        let errors = running.run.errors();
        assert!(
            errors.matches("cannot start").count() <= 1,
            "{limit}: {errors}"
        );
        let count = |what| errors.matches(what).count();
        let stopped = count(": stopping: sending SIGTERM\n");
        assert_eq!(stopped, count(": started\n"), "{limit}: {errors}");
        let entries = running.entries();
        for (above, below) in [("web", "app"), ("app", "db")] {
            if entries
                .iter()
                .any(|e| e.who == above && e.what == "signal 15")
            {
                running.expect_after(above, below);
            }
        }
        codes.insert(limit, code);
        assert!(matches!(code, Some(0 | 125)), "{limit}: {}", running.told());
    }
    assert_eq!(codes[&2], Some(125), "{codes:?}");
    assert_eq!(codes[&9], Some(0), "{codes:?}");
}

#[test]
fn when_memory_runs_out_the_others_are_stopped_in_order() {
    if lacks_root("a cgroup") {
        return;
    }
    let Some(group) = Cgroup::new("memory", &["memory.limit_in_bytes", "memory.max"]) else {
        return;
    };
    group.set(&[("memory.limit_in_bytes", "40M"), ("memory.max", "40M")]);
    let entered = group.entered();
    let entered: Vec<&str> = entered.iter().map(String::as_str).collect();
    let services = Services::new("grace = 60");
    let (log, fixture) = (services.log(), fixture());
    let eater =
        format!("until grep -q 'web start' {log}; do sleep 0.01; done; exec {fixture} eat-memory");
    let mut running = services
        .with("web", "db", "takes=20")
        .with("db", "", "takes=20")
        .with_command("eater", "", &["/bin/sh", "-c", &eater], "")
        .start_with(start(Home::Plain).through(&entered), "");
    running.expect_exit(137);
    running.expect_after("web", "db");
    running
        .run
        .expect_log("supervise: exiting with status 137, the status of eater\n");
    running.run.expect_log("1 OOM kill in supervise's cgroup");
}

#[test]
fn supervise_may_be_a_service() {
    for home in homes() {
        let services = Services::new("grace = 60");
        let (log, fixture) = (services.log(), fixture());
        let inner = [
            &[SUPERVISE, "-t", "30s", "--leftovers", "stop", "--"],
            &[&*fixture, "service", &log, "inner", "daemon", "takes=400"][..],
        ];
        let mut running = services
            .with_command("inner", "db", &inner.concat(), "")
            .with("db", "", "")
            .start(home, "");
        running.started();
        running.wait_for("inner", "start");
        running.stop();
        running.expect_exit(0);
        running.expect_after("inner", "db");
        running.expect_after("inner.daemon", "db");
    }
}

#[test]
fn services_may_be_a_service() {
    let inside = Services::new("grace = 20")
        .with("web", "db", "takes=100")
        .with("db", "", "takes=100");
    let file = inside.file();
    let log = inside.log();
    let mut running = Services::new("grace = 60")
        .with_command("inner", "outer", &[SUPERVISE, "-f", &file], "")
        .with("outer", "", "")
        .start(Home::Plain, "");
    running.started();
    let read = || entries(&std::fs::read_to_string(&log).unwrap_or_default());
    let at = |who: &str, what: &str| {
        let mut found = read().into_iter();
        found
            .find(|entry| entry.who == who && entry.what == what)
            .map(|entry| entry.at)
    };
    eventually("those inside run", || {
        at("web", "start").is_some() && at("db", "start").is_some()
    });
    running.stop();
    running.expect_exit(0);
    assert!(at("web", "end").unwrap() <= at("db", "signal 15").unwrap());
    assert!(at("db", "end").unwrap() <= running.at("outer", "signal 15"));
}
