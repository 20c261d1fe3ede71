//! The exit status of several services, and the line that says whose it is.

use crate::harness::services::*;
use crate::harness::*;

/// What a run without a stop request exits with.
#[track_caller]
fn expect(services: Services, code: i32, of: Option<&str>) {
    let mut running = services.start(Home::Plain, "");
    running.expect_exit(code);
    expect_line(&running, code, of);
}

#[track_caller]
fn expect_line(running: &Running, code: i32, of: Option<&str>) {
    let errors = running.run.errors();
    let line =
        of.map(|name| format!("supervise: exiting with status {code}, the status of {name}"));
    match line {
        Some(line) => assert!(errors.lines().any(|found| found == line), "{errors}"),
        None => assert!(!errors.contains("exiting with status"), "{errors}"),
    }
}

fn db(services: Services) -> Services {
    services.with("db", "", "takes=20")
}

#[test]
fn it_is_that_of_the_essential_service_whose_end_stops_everything() {
    for (how, code) in [("lives=50 code=3", 3), ("lives=50", 0)] {
        let services = Services::new("grace = 60").with("web", "db", how);
        expect(db(services), code, (code != 0).then_some("web"));
    }
    // A later failure does not count.
    let services = Services::new("grace = 60")
        .with("web", "db", "lives=50 code=3")
        .with("db", "", "code=4");
    expect(services, 3, Some("web"));
    // Where it is 0, one does.
    let services = Services::new("grace = 60")
        .with("web", "db", "lives=50")
        .with("db", "", "code=4");
    expect(services, 4, Some("db"));
}

#[test]
fn a_success_by_another_code_is_0() {
    let services = Services::new("grace = 60").with_keys(
        "web",
        "db",
        "lives=50 code=3",
        "success_exit_codes = [3]",
    );
    expect(db(services), 0, None);
}

#[test]
fn a_service_that_is_not_executed_has_125_126_or_127() {
    let not_executable = Folder::new();
    let program = not_executable.write("program", "#!/bin/sh\n", 0o755);
    let home = Folder::new();
    let remover = home.file("gone");
    // What is there when the file is read, and not when it is to be executed.
    let spoil = format!("chmod 644 {program}; rm -f {remover}");
    home.write("gone", "#!/bin/sh\n", 0o755);
    let first = ["/bin/sh", "-c", &spoil];
    for (path, code) in [(&program, 126), (&remover, 127)] {
        let services = Services::new("grace = 60")
            .with_command("first", "", &first, "ready = 'exited'")
            .with_command("web", "first", &[path], "");
        expect(services, code, Some("web"));
        home.write("gone", "#!/bin/sh\n", 0o755);
    }
    let services = Services::new("grace = 60")
        .with_command("first", "", &["/bin/true"], "ready = 'exited'")
        .with_command(
            "web",
            "first",
            &["/bin/true"],
            "user = 'nobody-of-this-name'",
        );
    expect(services, 125, Some("web"));
}

#[test]
fn a_service_that_is_not_ready_in_time_has_124() {
    let keys = "ready = { command = ['/bin/false'] }; ready_timeout = '200ms'";
    let services = Services::new("grace = 60").with_keys("web", "db", "takes=20", keys);
    expect(db(services), 124, Some("web"));
}

#[test]
fn a_service_that_a_signal_kills_has_128_and_its_number() {
    let services = Services::new("grace = 60").with_command(
        "web",
        "db",
        &["/bin/sh", "-c", "kill -USR1 $$"],
        "",
    );
    expect(db(services), 138, Some("web"));
}

#[test]
fn a_one_shot_that_fails_stops_everything() {
    let services = Services::new("grace = 60")
        .with_keys("migrate", "db", "lives=20 code=7", "ready = 'exited'")
        .with("web", "migrate", "");
    let mut running = db(services).start(Home::Plain, "");
    running.expect_exit(7);
    expect_line(&running, 7, Some("migrate"));
    running.expect_never("web", "start");
}

#[test]
fn without_a_stop_it_is_that_of_the_first_that_failed() {
    let services = Services::new("grace = 60")
        .with_keys("early", "", "lives=20 code=5", "essential = false")
        .with_keys("late", "", "lives=300 code=6", "essential = false")
        .with_keys("good", "", "lives=300", "essential = false");
    expect(services, 5, Some("early"));
}

/// What a run exits with after a stop request.
#[track_caller]
fn expect_stop(services: Services, code: i32, of: Option<&str>) {
    let mut running = services.start(Home::Plain, "");
    running.started();
    running.stop();
    running.expect_exit(code);
    expect_line(&running, code, of);
}

#[test]
fn after_a_stop_request_it_is_that_of_the_first_that_failed_during_the_stop() {
    let services = Services::new("grace = 60")
        .with("web", "db", "takes=20 code=3")
        .with("db", "", "code=4");
    expect_stop(services, 3, Some("web"));
    // What was over before the stop does not count.
    let mut running = db(Services::new("grace = 60").with_keys(
        "odd",
        "",
        "lives=20 code=9",
        "essential = false",
    ))
    .start(Home::Plain, "");
    running.started();
    running.wait_for("odd", "end");
    running.run.wait_for_error("supervise[odd]: exited");
    running.stop();
    running.expect_exit(0);
    expect_line(&running, 0, None);
}

#[test]
fn the_stop_signal_and_its_code_are_as_good_as_a_success_at_a_stop() {
    let services = Services::new("grace = 60")
        .with("web", "db", "code=143")
        .with_command("db", "", &["/bin/sleep", "1000"], "");
    let mut running = services.start(Home::Plain, "");
    running.started();
    running.run.wait_for_error("supervise[db]: started");
    running.stop();
    running.expect_exit(0);
    // Another signal's is not.
    let services =
        Services::new("grace = 60").with_keys("web", "", "code=143 on=3", "stop_signal = 'QUIT'");
    expect_stop(services, 143, Some("web"));
}

#[test]
fn where_sigkill_was_needed_it_is_137() {
    let services = Services::new("grace = '600ms'")
        .with("web", "db", "ignore")
        .with("db", "", "code=4");
    let mut running = services.start(Home::Plain, "");
    running.started();
    running.stop();
    running.expect_exit(137);
    let line = "supervise: exiting with status 137: SIGKILL was needed\n";
    running.run.expect_log(line);
}
