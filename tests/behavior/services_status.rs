//! The status file of services, and `--status`.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::harness::services::*;
use crate::harness::*;

/// What `--status` prints of this file.
fn status(file: &str) -> Output {
    output(&[SUPERVISE, "--status", file])
}

/// What it prints of the default file where `$RUNTIME_DIRECTORY` is this folder. The machine
/// may have another default file, which is read where there is none.
fn status_in(through: &[&str], folder: &Folder) -> Output {
    let runtime = format!("RUNTIME_DIRECTORY={}", folder.path().display());
    output(&[through, &["env", &runtime, SUPERVISE, "--status"]].concat())
}

fn is_ready_in(through: &[&str], folder: &Folder, pid: i32) -> bool {
    let output = status_in(through, folder);
    let columns = columns(&output);
    let web = columns.get("web");
    output.code == Some(0) && web.is_some_and(|web| web[1] == pid.to_string())
}

/// The columns after the name of each service.
fn columns(output: &Output) -> BTreeMap<String, Vec<String>> {
    let lines = output.stdout.lines();
    let words = lines.map(|line| line.split_whitespace().map(str::to_owned));
    words
        .map(|mut words| (words.next().unwrap(), words.collect()))
        .collect()
}

fn state(output: &Output, name: &str) -> String {
    columns(output)
        .get(name)
        .map_or(String::new(), |columns| columns[0].clone())
}

#[track_caller]
fn wait_for_states(file: &str, expected: &[(&str, &str)]) {
    let mut last = None;
    let is_there = || {
        let output = status(file);
        let is_so = expected
            .iter()
            .all(|(name, expected)| state(&output, name) == *expected);
        last = Some(output);
        is_so
    };
    eventually(&format!("{expected:?}"), is_there);
    let last = last.unwrap();
    assert_eq!(last.stdout.lines().count(), expected.len(), "{last:?}");
}

/// The error of a status that is not shown.
#[track_caller]
fn expect_none(output: &Output, why: &str) {
    assert_eq!(output.code, Some(125), "{output:?}");
    assert_eq!(output.stdout, "", "{output:?}");
    assert!(output.errors.contains(why), "{output:?}");
    assert_eq!(output.errors.lines().count(), 1, "{output:?}");
}

#[test]
fn each_state_is_shown() {
    let services = Services::new("grace = 60");
    let file = services.folder().file("status");
    let not_essential = "essential = false; ";
    let mut running = services
        .with("db", "", "hang")
        .with_command("one", "", &["true"], "ready = 'exited'")
        .with_keys("slow", "db", "", "ready = 'notify'")
        .with("late", "slow", "")
        .with_command("bad", "", &["false"], not_essential)
        .with_command(
            "again",
            "",
            &["false"],
            &format!("{not_essential}; restart = 'always'; restart_limit = 'infinity'"),
        )
        .with_command("cron", "", &["/no/cron"], "enabled = false")
        .start(Home::Plain, &format!("--status-file {file}"));
    let expected = [
        ("db", "ready"),
        ("one", "done"),
        ("slow", "starting"),
        ("late", "waiting"),
        ("bad", "failed"),
        ("again", "restarting"),
        ("cron", "off"),
    ];
    wait_for_states(&file, &expected);
    running.wait_for("slow", "start");
    let output = status(&file);
    assert_eq!(output.code, Some(1));
    let columns = columns(&output);
    for name in ["db", "slow"] {
        let pid = running.pid(name).to_string();
        assert_eq!(columns[name][1], pid, "{output:?}");
        assert_eq!(columns[name][3], "1", "{output:?}");
    }
    for name in ["one", "late", "bad", "cron"] {
        assert_eq!(columns[name][1], "-", "{output:?}");
    }
    for name in ["late", "cron"] {
        assert_eq!(columns[name][3], "0", "{output:?}");
    }

    running.run.signal(libc::SIGTERM);
    eventually("db is stopping", || {
        state(&status(&file), "db") == "stopping" && state(&status(&file), "slow") == "done"
    });
    assert_eq!(status(&file).code, Some(1));
    send(running.pid("db"), libc::SIGKILL);
    running.run.wait();
    running.expect_nothing_left();
    assert!(!Path::new(&file).exists());
}

#[test]
fn file_that_a_killed_supervise_has_left_is_not_believed_and_is_replaced() {
    let services = Services::new("grace = 60");
    let file = services.folder().file("status");
    let option = format!("--status-file {file}");
    let mut running = services.with("web", "", "").start(Home::Plain, &option);
    eventually("it is ready", || status(&file).code == Some(0));
    running.run.signal(libc::SIGKILL);
    running.run.wait();
    running.expect_nothing_left();
    assert!(Path::new(&file).exists());
    expect_none(&status(&file), "which no longer runs");
    let services = Services::new("grace = 60").with("db", "", "");
    let mut again = services.start(Home::Plain, &option);
    eventually("it is ready", || state(&status(&file), "db") == "ready");
    again.stop();
    again.expect_exit(0);
}

#[test]
fn status_is_zero_when_all_that_are_on_are_ready_or_done() {
    let services = Services::new("grace = 60");
    let file = services.folder().file("status");
    let go = services.folder().file("go");
    let ready = format!("ready = {{ command = ['test', '-e', '{go}'] }}; restart = 'always'");
    let mut running = services
        .with_keys("web", "one", "", &ready)
        .with_command("one", "", &["true"], "ready = 'exited'")
        .with_command("cron", "", &["/no/cron"], "enabled = false")
        .start(Home::Plain, &format!("--status-file {file}"));
    wait_for_states(
        &file,
        &[("web", "starting"), ("one", "done"), ("cron", "off")],
    );
    assert_eq!(status(&file).code, Some(1));
    running.folder.write("go", "", 0o644);
    eventually("all are ready", || status(&file).code == Some(0));
    let first = running.pid("web");
    send(first, libc::SIGKILL);
    eventually("it is started again", || {
        let output = status(&file);
        let of_web = &columns(&output)["web"];
        output.code == Some(0) && of_web[3] == "2" && of_web[1] != first.to_string()
    });
    let output = status(&file);
    assert_eq!(columns(&output)["web"][1], running.pid("web").to_string());
    // What is printed as a date.
    let text = running.folder.read("status");
    let since = text.split_whitespace().nth(8).unwrap();
    let ago = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .checked_sub(since.parse().unwrap());
    assert!(ago.is_some_and(|ago| ago < 3600), "{text}");
    running.stop();
    running.expect_exit(0);
    assert!(!Path::new(&file).exists());
    expect_none(&status(&file), "no status file");
    let left: Vec<_> = std::fs::read_dir(running.folder.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn file_is_written_only_when_the_status_has_changed() {
    let services = Services::new("grace = 60");
    let file = services.folder().file("status");
    let mut running = services
        .with("web", "", "")
        .start(Home::Plain, &format!("-v --status-file {file}"));
    eventually("it is ready", || status(&file).code == Some(0));
    let inode = || std::fs::metadata(&file).unwrap().ino();
    // While this has it, no other file has its number.
    let _held = std::fs::File::open(&file).unwrap();
    let before = inode();
    running.run.signal(libc::SIGUSR1);
    running.run.wait_for_error("received SIGUSR1");
    running.run.signal(libc::SIGUSR2);
    running.run.wait_for_error("received SIGUSR2");
    assert_eq!(inode(), before);
    running.stop();
    running.expect_exit(0);
}

#[test]
fn status_in_a_pid_namespace_is_believed_inside_and_not_outside() {
    if !Home::Pid1.is_possible() {
        return;
    }
    let services = Services::new("grace = 60");
    let file = services.folder().file("status");
    let mut running = services
        .with("web", "", "")
        .start(Home::Pid1, &format!("--status-file {file}"));
    running.started();
    eventually("it is ready inside", || {
        let mut inside = in_namespaces_of(running.run.pid, &[SUPERVISE, "--status", &file]);
        inside.output().unwrap().status.code() == Some(0)
    });
    expect_none(&status(&file), "supervise (pid 1), which no longer runs");
    running.stop();
    running.expect_exit(0);
    assert!(!Path::new(&file).exists());
}

#[test]
fn root_sees_the_status_of_a_container_that_runs_as_another_user() {
    if lacks_root("another user") || !Home::Pid1.is_possible() {
        return;
    }
    let folder = Folder::new();
    let runtime = folder.file("none");
    let user = as_user("61236");
    let mut running = Services::new("grace = 60").with("web", "", "").start_with(
        start(Home::Pid1)
            .through(&user)
            .variable("RUNTIME_DIRECTORY", &runtime),
        "",
    );
    running.started();
    let inside = |through: &[&str]| {
        let words = [through, &[SUPERVISE, "--status"]].concat();
        in_namespaces_of(running.run.pid, &words)
            .output()
            .unwrap()
            .status
            .code()
    };
    eventually("root sees it", || inside(&[]) == Some(0));
    assert_eq!(inside(&user), Some(0));
    // Another user trusts its own, root's, and that of PID 1.
    assert_eq!(inside(&as_user("61237")), Some(0));
    let file = "/tmp/supervise-61236.status";
    assert!(Path::new(file).exists());
    expect_none(&status(file), "it belongs to uid 61236");
    running.stop();
    running.expect_exit(0);
    assert!(!Path::new(file).exists());
}

#[test]
fn status_of_root_is_believed_by_other_users_despite_the_umask() {
    if lacks_root("another user") {
        return;
    }
    let folder = Folder::sticky();
    let mut running = Services::new("grace = 60").with("web", "", "").start_with(
        start(Home::Plain)
            .through(&["sh", "-c", "umask 077 && exec \"$@\"", "sh"])
            .variable("RUNTIME_DIRECTORY", folder.path().to_str().unwrap()),
        "",
    );
    let pid = running.pid("web");
    eventually("the user sees it", || {
        is_ready_in(&as_user("61238"), &folder, pid)
    });
    let file = std::fs::metadata(folder.file("supervise.status")).unwrap();
    assert_eq!(file.mode() & 0o777, 0o644);
    running.stop();
    running.expect_exit(0);
}

#[test]
fn what_a_stranger_put_there_is_not_believed_and_reading_does_not_block() {
    let folder = Folder::new();
    let valid = |pid: u32, ticks: &str| format!("supervise status 1 {pid} {ticks}\n");
    let of_process = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let ticks = stat.rsplit(')').next().unwrap().split_whitespace().nth(19);
        valid(pid, ticks.unwrap())
    };
    let own = std::process::id();
    let good = of_process(own);
    let file = folder.write("good", &good, 0o644);
    assert_eq!(status(&file).code, Some(0), "{good}");

    let reused = folder.write("reused", valid(own, "1"), 0o644);
    expect_none(&status(&reused), "which no longer runs");
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    // Not reaped: it still has its start time.
    let dead = folder.write("dead", of_process(pid), 0o644);
    eventually("it is a zombie", || status(&dead).code == Some(125));
    child.wait().unwrap();
    expect_none(&status(&dead), "which no longer runs");

    expect_none(&status(&folder.fifo("fifo")), "it is not a regular file");
    let directory = folder.path().to_str().unwrap();
    expect_none(&status(directory), "it is not a regular file");
    let link = folder.file("link");
    symlink(&file, &link).unwrap();
    expect_none(&status(&link), "it is a symbolic link");
    expect_none(&status(&folder.file("none")), "no status file");
    for (text, why) in [
        ("", "it is empty"),
        ("root:x:0:0\n", "it is not a status file"),
        ("supervise status 2 x\n", "it is of another version"),
    ] {
        expect_none(&status(&folder.write("text", text, 0o644)), why);
    }
    let huge = folder.write("huge", &good, 0o644);
    let huge_file = std::fs::File::options().append(true).open(&huge).unwrap();
    huge_file.set_len(1 << 40).unwrap();
    expect_none(&status(&huge), "it is of another version");
    if !lacks_root("files of others") {
        std::os::unix::fs::chown(&file, Some(61239), None).unwrap();
        expect_none(&status(&file), "it belongs to uid 61239");
    }
}

#[test]
fn status_file_that_was_named_is_refused_before_the_start_if_it_cannot_be_written() {
    let folder = Folder::new();
    let other = folder.write("other", "root:x:0:0\n", 0o644);
    let link = folder.file("link");
    symlink(&other, &link).unwrap();
    let started = folder.file("started");
    let text = format!("grace = 1\n[services.web]\ncommand = ['touch', '{started}']\n");
    let services = folder.write("services.toml", text, 0o644);
    for (file, why) in [
        (folder.file("none/status"), "No such file or directory"),
        (folder.fifo("fifo"), "it is not a regular file; remove it"),
        (link, "it is a symbolic link; remove it"),
        (other.clone(), "it is not a status file; remove it"),
        (folder.file(""), "it is not a regular file; remove it"),
    ] {
        let output = supervise(&["-f", &services, "--status-file", &file]);
        assert_eq!(output.code, Some(125), "{output:?}");
        let expected = format!("--status-file: cannot write '{file}': {why}");
        assert!(output.errors.contains(&expected), "{expected}: {output:?}");
        assert!(!Path::new(&started).exists());
    }
    assert_eq!(folder.read("other"), "root:x:0:0\n");
}

#[test]
fn default_status_file_replaces_what_is_not_of_a_supervise_that_runs() {
    let folder = Folder::sticky();
    let target = folder.write("target", "kept", 0o644);
    let file = folder.file("supervise.status");
    let makes: [(&str, &dyn Fn()); 4] = [
        ("fifo", &|| drop(folder.fifo("supervise.status"))),
        ("link", &|| symlink(&target, &file).unwrap()),
        ("text", &|| {
            drop(folder.write("supervise.status", "x", 0o644));
        }),
        ("dead", &|| {
            let text = "supervise status 1 1 1\nweb ready - 0 1\n";
            drop(folder.write("supervise.status", text, 0o644));
        }),
    ];
    for (what, make) in makes {
        make();
        let mut running = Services::new("grace = 60").with("web", "", "").start_with(
            start(Home::Plain).variable("RUNTIME_DIRECTORY", folder.path().to_str().unwrap()),
            "",
        );
        let pid = running.pid("web");
        eventually(&format!("{what} is replaced"), || {
            is_ready_in(&[], &folder, pid)
        });
        assert!(std::fs::symlink_metadata(&file).unwrap().is_file());
        running.stop();
        running.expect_exit(0);
        assert!(std::fs::symlink_metadata(&file).is_err());
    }
    assert_eq!(folder.read("target"), "kept");
}

#[test]
fn of_two_the_second_leaves_the_status_file_of_the_first() {
    let folder = Folder::sticky();
    let begin = || {
        let start = start(Home::Plain);
        start.variable("RUNTIME_DIRECTORY", folder.path().to_str().unwrap())
    };
    let mut first = Services::new("grace = 60")
        .with("web", "", "")
        .start_with(begin(), "");
    let pid = first.pid("web");
    eventually("the first is ready", || is_ready_in(&[], &folder, pid));
    let file = folder.file("supervise.status");
    let text = folder.read("supervise.status");
    let mut second = Services::new("grace = 60")
        .with("db", "", "")
        .start_with(begin(), "");
    second.started();
    second.run.expect_log(&format!(
        "no status file for --status: '{file}': supervise (pid {}) runs and uses it; use \
         --status-file",
        first.run.pid
    ));
    let services = second.folder.file("services.toml");
    let third = supervise(&["-f", &services, "--status-file", &file]);
    assert_eq!(third.code, Some(125), "{third:?}");
    assert!(third.errors.contains("runs and uses it"), "{third:?}");
    second.stop();
    second.expect_exit(0);
    assert_eq!(folder.read("supervise.status"), text);
    first.stop();
    first.expect_exit(0);
}

#[test]
fn services_run_without_a_status_file_where_none_can_be_written() {
    if lacks_root("another user") {
        return;
    }
    let folder = Folder::new();
    let runtime = folder.file("none");
    // Its name in /tmp is taken, and the sticky bit protects it.
    let taken = "/tmp/supervise-61240.status";
    std::fs::write(taken, "taken").unwrap();
    let mut running = Services::new("grace = 60").with("web", "", "").start_with(
        start(Home::Plain)
            .through(&as_user("61240"))
            .variable("RUNTIME_DIRECTORY", &runtime),
        "",
    );
    running.started();
    let read = output(&[&as_user("61240")[..], &[SUPERVISE, "--status", taken]].concat());
    running.stop();
    running.expect_exit(0);
    let left = std::fs::read_to_string(taken).unwrap();
    std::fs::remove_file(taken).unwrap();
    assert_eq!(left, "taken");
    expect_none(&read, "it is not a status file");
    running
        .run
        .expect_log(&format!("cannot write status file '{taken}': "));
    running
        .run
        .expect_log("no status file: --status will not show");
}

#[test]
fn status_file_that_could_not_be_written_is_written_later() {
    let services = Services::new("grace = 60");
    let folder = services.folder().file("folder");
    let away = services.folder().file("away");
    std::fs::create_dir(&folder).unwrap();
    let file = format!("{folder}/status");
    let mut running = services
        .with_keys("web", "", "", "restart = 'always'")
        .start(Home::Plain, &format!("-v --status-file {file}"));
    eventually("it is ready", || status(&file).code == Some(0));
    std::fs::rename(&folder, &away).unwrap();
    send(running.pid("web"), libc::SIGKILL);
    running.run.wait_for_error(&format!(
        "cannot write status file '{file}': No such file or directory"
    ));
    eventually("it is started again", || {
        let starts = running.entries().into_iter();
        starts.filter(|entry| entry.what == "start").count() == 2
    });
    std::fs::rename(&away, &folder).unwrap();
    // Any wake-up will do.
    running.run.signal(libc::SIGUSR1);
    eventually("it is written", || {
        let output = status(&file);
        columns(&output).get("web").is_some_and(|web| web[3] == "2")
    });
    running.stop();
    running.expect_exit(0);
    let lines = running.run.errors();
    assert_eq!(lines.matches("cannot write status file").count(), 1);
}

#[test]
fn without_proc_there_is_no_status_file_and_a_named_one_is_refused() {
    if lacks_root("a mount namespace") {
        return;
    }
    let folder = Folder::new();
    let file = folder.file("status");
    let text = "grace = 1\n[services.web]\ncommand = ['true']\nready = 'exited'\n";
    let services = folder.write("services.toml", text, 0o644);
    let run = |words: &[&str]| {
        let ours = [SUPERVISE, "-v", "-f", &services];
        output(&[&WITHOUT_PROC[..], &ours, words].concat())
    };
    let why = "/proc is missing or shows another PID namespace";
    let default = run(&[]);
    assert_eq!(default.code, Some(0), "{default:?}");
    let expected = format!("no status file: {why}");
    assert!(default.errors.contains(&expected), "{default:?}");
    let named = run(&["--status-file", &file]);
    assert_eq!(named.code, Some(125), "{named:?}");
    let expected = format!("--status-file: cannot be used: {why}; mount /proc");
    assert!(named.errors.contains(&expected), "{named:?}");
    assert!(!Path::new(&file).exists());
}
