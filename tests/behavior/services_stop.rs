//! The stop of several services: the order, the latest moments and the grace period, held
//! against what the services write down.

use std::process::{Child, Command};
use std::time::Duration;

use crate::harness::services::*;
use crate::harness::*;

const SECOND: Duration = Duration::from_secs(1);

/// The program whose services are stopped one after the other.
fn chain(keys: &str) -> Services {
    Services::new(keys)
        .with("web", "app", "takes=50")
        .with("app", "db", "takes=50")
        .with("db", "", "takes=50")
}

#[test]
fn a_chain_is_stopped_from_the_top() {
    for home in homes() {
        let mut running = chain("grace = 60").start(home, "");
        running.started();
        running.stop();
        running.expect_exit(0);
        running.expect_after("web", "app");
        running.expect_after("app", "db");
        let errors = running.run.errors();
        let last = errors.lines().last().unwrap();
        assert!(last.starts_with("supervise: stopped in "), "{errors}");
        assert!(last.contains("s of 1m: web "), "{errors}");
        assert!(last.ends_with(": graceful"), "{errors}");
        let places = ["web 0", ", app 0", ", db 0"].map(|name| last.find(name));
        assert!(places.is_sorted() && places[0].is_some(), "{errors}");
    }
}

#[test]
fn a_diamond_is_stopped_by_its_edges() {
    for home in homes() {
        let mut running = Services::new("grace = 60")
            .with("top", "left right", "takes=20")
            .with("left", "bottom", "takes=200")
            .with("right", "bottom", "takes=20")
            .with("bottom", "", "")
            .start(home, "");
        running.started();
        running.stop();
        running.expect_exit(0);
        running.expect_after("top", "left");
        running.expect_after("top", "right");
        running.expect_after("left", "bottom");
        running.expect_after("right", "bottom");
        // Side by side.
        running.expect_order(("right", "signal 15"), ("left", "end"));
        running.expect_order(("left", "signal 15"), ("right", "end"));
    }
}

#[test]
fn independent_services_are_stopped_side_by_side() {
    let mut services = Services::new("grace = 60").with("base", "", "");
    let fronts: Vec<String> = (0..12).map(|number| format!("front{number}")).collect();
    for front in &fronts {
        services = services.with(front, "base", "takes=1000");
    }
    let mut running = services
        .with("alone", "", "takes=1000")
        .start(Home::Plain, "");
    running.started();
    running.stop();
    running.expect_exit(0);
    for front in fronts.iter().map(String::as_str).chain(["alone"]) {
        running.expect_order((front, "signal 15"), ("front0", "end"));
    }
    for front in &fronts {
        running.expect_after(front, "base");
    }
    let errors = running.run.errors();
    let last = errors.lines().last().unwrap();
    assert!(last.ends_with(", 4 more: graceful"), "{errors}");
}

#[test]
fn a_service_that_was_never_started_takes_no_part() {
    // It waits for READY=1 in vain.
    let mut running = Services::new("grace = 60")
        .with("db", "", "takes=20")
        .with_keys("slow", "db", "takes=20", "ready = 'notify'")
        .with_command("never", "slow", &["/bin/true"], "")
        .start(Home::Plain, "");
    running.started();
    running.stop();
    running.expect_exit(0);
    running.expect_after("slow", "db");
    running.run.expect_no_log("[never]");
    running.run.expect_no_log(", never");
}

#[test]
fn below_a_service_that_ignores_the_signal_all_are_stopped_in_time() {
    for home in homes() {
        let mut running = Services::new("grace = 4")
            .with("web", "app", "ignore")
            .with("app", "db", "takes=50")
            .with("db", "", "takes=50")
            .start(home, "");
        running.started();
        running.stop();
        running.expect_exit(137);
        // Of five parts web has three.
        let told = running.after_request("app", "signal 15");
        assert!(told >= SECOND * 12 / 5, "{told:?}: {}", running.told());
        running.at("app", "end");
        running.expect_after("app", "db");
        running.at("db", "end");
        let errors = running.run.errors();
        for expected in [
            "supervise[web]: still running after 2.40s (it ignores SIGTERM); stopping app without waiting for it\n",
            "supervise: grace period 4s expired: sending SIGKILL to web (it ignores SIGTERM)\n",
            " of 4s: web 4.",
            "s (killed: it ignores SIGTERM), app 0.",
            "supervise: exiting with status 137",
        ] {
            assert!(errors.contains(expected), "{expected:?}: {errors}");
        }
        assert!(!errors.contains("graceful\n"), "{errors}");
    }
}

#[test]
fn two_hung_services_in_a_chain_leave_the_third_its_share() {
    let mut running = Services::new("grace = 4")
        .with("web", "app", "hang")
        .with("app", "db", "hang")
        .with("db", "", "takes=50")
        .start(Home::Plain, "");
    running.started();
    running.stop();
    running.expect_exit(137);
    let app = running.after_request("app", "signal 15");
    let db = running.after_request("db", "signal 15");
    assert!(app >= SECOND * 12 / 5, "{app:?}");
    assert!(db >= SECOND * 16 / 5, "{db:?}");
    running.at("db", "end");
    for (above, below) in [("web", "app"), ("app", "db")] {
        running
            .run
            .expect_log(&format!("stopping {below} without waiting for it"));
        let line = format!("supervise[{above}]: still running after ");
        running.run.expect_log(&line);
    }
}

#[test]
fn a_service_that_has_had_its_period_is_killed_where_another_waits() {
    for home in homes() {
        let mut running = Services::new("grace = 100")
            .with_keys(
                "web",
                "db",
                "hang daemon hang",
                "stop_grace_period = '600ms'",
            )
            .with("db", "", "takes=50")
            .start(home, "");
        running.started();
        running.stop();
        running.expect_exit(137);
        let told = running.after_request("db", "signal 15");
        assert!(told >= SECOND * 6 / 10, "{told:?}");
        assert!(told < SECOND * 30, "{told:?}: {}", running.told());
        // The daemon was told before.
        running.expect_order(("web.daemon", "signal 15"), ("db", "signal 15"));
        running.at("db", "end");
        running.run.expect_log(
            "supervise[web]: still running after its stop_grace_period of 0.60s \
             (it received SIGTERM but has not exited), and others wait for it: sending SIGKILL\n",
        );
    }
}

#[test]
fn a_service_for_which_none_waits_has_all_the_time() {
    let mut running = Services::new("grace = 60")
        .with_keys("web", "db", "", "stop_grace_period = '200ms'")
        .with_keys("db", "", "takes=1200", "stop_grace_period = '200ms'")
        .with_keys("alone", "", "takes=1200", "stop_grace_period = 0")
        .start(Home::Plain, "");
    running.started();
    running.stop();
    running.expect_exit(0);
    running.at("db", "end");
    running.at("alone", "end");
    running.expect_after("web", "db");
}

#[test]
fn the_workers_of_a_hung_launcher_are_told_before_those_below() {
    for kind in ["fork", "daemon"] {
        let mut running = Services::new("grace = 4")
            .with("web", "db", &format!("hang {kind} takes=300"))
            .with("db", "", "takes=20")
            .start(Home::Plain, "");
        running.started();
        running.stop();
        running.expect_exit(137);
        let worker = format!("web.{kind}");
        // At three quarters of the 3 s to the latest moment of db.
        let told = running.after_request(&worker, "signal 15");
        assert!(told >= SECOND * 9 / 4, "{told:?}");
        running.expect_after(&worker, "db");
        running.at("db", "end");
    }
}

#[test]
fn workers_that_handle_the_stop_signal_are_sent_that() {
    // SIGQUIT: as nginx and php-fpm have it, whose workers cut off requests on SIGTERM.
    let mut running = Services::new("grace = 4")
        .with_keys(
            "web",
            "db",
            "hang fork handles=3 on=3 takes=300",
            "stop_signal = 'QUIT'",
        )
        .with_keys("app", "db", "hang fork takes=20", "stop_signal = 'QUIT'")
        .with("db", "", "takes=20")
        .start(Home::Plain, "");
    running.started();
    running.stop();
    running.expect_exit(137);
    running.at("web.fork", "signal 3");
    assert!(running.find("web.fork", "signal 15").is_none());
    running.expect_after("web.fork", "db");
    running.at("app.fork", "signal 15");
    assert!(running.find("app.fork", "signal 3").is_none());
}

#[test]
fn below_a_service_nothing_is_stopped_before_its_daemons_are_gone() {
    for home in homes() {
        for how in [
            "daemon takes=700",
            "fork leave takes=700",
            "daemon daemon takes=700",
        ] {
            let mut running = Services::new("grace = 60")
                .with("web", "db", how)
                .with("db", "", "")
                .start(home, "");
            running.started();
            running.stop();
            running.expect_exit(0);
            let entries = running.entries();
            let ends: Vec<&Entry> = entries.iter().filter(|entry| entry.what == "end").collect();
            assert_eq!(ends.last().unwrap().who, "db", "{}", running.told());
            for entry in entries.iter().filter(|entry| entry.who.starts_with("web")) {
                assert!(entry.at <= running.at("db", "signal 15"), "{entry:?}");
            }
            let children = how.matches("daemon").count() + how.matches("fork").count();
            assert_eq!(ends.len(), children + 2, "{}", running.told());
        }
    }
}

#[test]
fn periods_that_do_not_fit_are_scaled() {
    let mut running = Services::new("grace = 3")
        .with_keys("web", "db", "hang", "stop_grace_period = 20")
        .with_keys("db", "", "takes=50", "stop_grace_period = 10")
        .start(Home::Plain, "");
    running.started();
    running.run.expect_log("stop_grace_period");
    running.stop();
    running.expect_exit(137);
    let told = running.after_request("db", "signal 15");
    assert!(told >= SECOND * 19 / 10, "{told:?}: {}", running.told());
    running.at("db", "end");
}

#[test]
fn a_stop_delay_holds_back_the_first_service() {
    for home in homes() {
        let mut running = chain("grace = 60; stop_delay = '700ms'").start(home, "");
        running.started();
        running.stop();
        running.expect_exit(0);
        let told = running.after_request("web", "signal 15");
        assert!(told >= SECOND * 7 / 10, "{told:?}");
        running.expect_after("app", "db");
        running
            .run
            .expect_log("stopping the services in 700ms (stop_delay)");
    }
    // A second request ends it.
    let mut running = chain("grace = 1000; stop_delay = 900").start(Home::Plain, "");
    running.started();
    running.stop();
    running.run.wait_for_error("stopping the services in 15m");
    running.stop();
    running.expect_exit(0);
    running.expect_after("web", "app");
}

#[test]
fn a_grace_period_of_0_kills_all_at_once() {
    for home in homes() {
        let mut running = Services::new("grace = 0")
            .with("web", "db", "daemon hang")
            .with("db", "", "fork hang")
            .start(home, "");
        running.started();
        running.stop();
        running.expect_exit(137);
        for name in ["web", "db", "web.daemon", "db.fork"] {
            running.expect_never(name, "end");
            running.expect_never(name, "signal 15");
        }
        running.run.expect_log("expired: sending SIGKILL to ");
    }
}

#[test]
fn with_an_infinite_grace_period_each_waits_for_those_above() {
    for home in homes() {
        let mut running = Services::new("grace = 'infinity'")
            .with("web", "db", "on=12")
            .with("db", "", "takes=20")
            .with("clock", "", "takes=500")
            .start(home, "");
        running.started();
        running.stop();
        running.wait_for("web", "signal 15");
        running.stop();
        running.run.wait_for_error("[web]: stopping");
        running.wait_for("clock", "end");
        running.expect_never("db", "signal 15");
        let web = children_of(keeper(&running, "web"))[0];
        send(web, libc::SIGUSR2);
        running.expect_exit(0);
        running.expect_after("web", "db");
        running.run.expect_no_log("SIGKILL");
    }
}

/// Two loops that keep both cores busy.
struct Busy([Child; 2]);

impl Busy {
    fn new() -> Self {
        let spin = || {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .spawn()
        };
        Self([spin().unwrap(), spin().unwrap()])
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// By the clock, and other tests run meanwhile: of five runs one must make it.
#[test]
fn the_end_comes_within_a_second_after_the_grace_period_on_a_busy_machine() {
    let _busy = Busy::new();
    let mut took = Vec::new();
    for _ in 0..5 {
        let mut running = Services::new("grace = 1")
            .with("web", "app", "ignore daemon hang")
            .with("app", "db", "hang fork ignore")
            .with("db", "", "hang")
            .with("alone", "", "daemon ignore")
            .start(Home::Plain, "");
        running.started();
        running.stop();
        running.expect_exit(137);
        took.push(running.requested.elapsed());
        running.at("db", "signal 15");
        let last = took[took.len() - 1];
        assert!(last >= SECOND, "{last:?}");
        if last < SECOND * 2 {
            return;
        }
    }
    panic!("{took:?}");
}

#[test]
fn a_service_that_has_exited_is_waited_for_no_more() {
    // What it has depended on waits for those above all the same: across a one-shot.
    let mut running = Services::new("grace = 60")
        .with("web", "migrate", "takes=500")
        .with_keys("migrate", "db", "lives=1", "ready = 'exited'")
        .with("db", "", "")
        .start(Home::Plain, "");
    running.started();
    running.stop();
    running.expect_exit(0);
    running.expect_after("web", "db");
    running.expect_never("migrate", "signal 15");
}

#[test]
fn two_hundred_services_side_by_side() {
    let mut services = Services::new("grace = 60");
    for number in 0..200 {
        services = services.with(&format!("s{number}"), "", "takes=10");
    }
    let mut running = services.start(Home::Plain, "");
    eventually("all have started", || {
        running
            .entries()
            .iter()
            .filter(|entry| entry.what == "start")
            .count()
            == 200
    });
    running.stop();
    running.expect_exit(0);
    let entries = running.entries();
    assert_eq!(
        entries.iter().filter(|entry| entry.what == "end").count(),
        200
    );
    running.run.expect_log(", 190 more: graceful\n");
}

#[test]
fn fifty_services_in_a_chain() {
    let mut services = Services::new("grace = 60").with("s0", "", "");
    for number in 1..50 {
        services = services.with(&format!("s{number}"), &format!("s{}", number - 1), "");
    }
    let mut running = services.start(Home::Plain, "");
    running.wait_for("s49", "start");
    running.stop();
    running.expect_exit(0);
    for number in 1..50 {
        running.expect_after(&format!("s{number}"), &format!("s{}", number - 1));
    }
}
