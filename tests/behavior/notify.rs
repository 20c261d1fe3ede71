//! Notifications of the command reach the service manager as if `supervise` had sent them,
//! and what the manager passes by pid names the command.

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use crate::harness::manager::Manager;
use crate::harness::*;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// A variable of a running process.
fn variable_of(pid: i32, name: &str) -> Option<String> {
    let all = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let all = String::from_utf8_lossy(&all).into_owned();
    all.split('\0')
        .find_map(|entry| Some(entry.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

/// Runs a command that notifies `READY=1` and sleeps: the run once that has arrived, and
/// the address of the relay.
#[track_caller]
fn ready(manager: &Manager, start: Start) -> (Run, String) {
    let mut run = start.shell(&format!(
        "{} notify READY=1; echo ready $$; exec sleep 1037",
        fixture()
    ));
    let address = notify_socket(&mut run);
    manager.expect("READY=1");
    (run, address)
}

/// Waits until the command has been executed, and returns its `NOTIFY_SOCKET`.
fn notify_socket(run: &mut Run) -> String {
    run.ready();
    let command = run.command();
    let mut found = None;
    // The shell may be in the middle of executing the next program.
    eventually("it has an environment", || {
        found = variable_of(command, "NOTIFY_SOCKET");
        found.is_some()
    });
    found.unwrap()
}

/// Sends a notification from a process that is not a descendant of the command and has
/// exited when the message is read; `wrapper` executes it.
fn send_from_outside(address: &str, wrapper: &[&str], text: &str) {
    let fixture = fixture();
    let words = [wrapper, &[fixture.as_str(), "notify", text]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("NOTIFY_SOCKET", address);
    assert!(command.status().unwrap().success(), "{words:?}");
}

/// Waits until a process sleeps without a timeout, twenty times in a row: a process that
/// polls is seen to do so.
#[track_caller]
fn sleeps_in_ppoll(pid: i32) {
    let ppoll = format!("{} ", libc::SYS_ppoll);
    let mut seen = 0;
    eventually("it sleeps in ppoll", || {
        let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
        let asleep = call.starts_with(&ppoll) && call.split(' ').nth(3) == Some("0x0");
        seen = if asleep { seen + 1 } else { 0 };
        seen == 20
    });
}

#[test]
fn a_relayed_message_comes_from_supervise_without_mainpid() {
    for home in homes() {
        let manager = Manager::new();
        let fixture = fixture();
        let mut run = manager.start(home).shell(&format!(
            "{fixture} notify-and-wait \"$(printf 'MAINPID=%s\nREADY=1\nSTATUS=up' $$)\" MAINPID=1
             {fixture} notify WATCHDOG=1"
        ));
        let pid = run.pid;
        assert_eq!(manager.expect("READY=1\nSTATUS=up").pid, pid, "{home:?}");
        assert_eq!(manager.expect("WATCHDOG=1").pid, pid, "{home:?}");
        run.expect_exit(0);
        run.expect_empty_log();
        let left: Vec<_> = std::fs::read_dir(manager.folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "the socket of the relay remains: {left:?}");
    }
}

/// A script that runs a second `supervise` as an orphan, which stops and kills its command,
/// and then runs on.
fn with_a_nested_supervise(manager: &Manager) -> String {
    let fixture = fixture();
    let inner = format!("trap '' TERM; {fixture} notify STATUS=inner; exec sleep 1037");
    let pid = manager.folder.file("pid");
    let go = manager.folder.file("go");
    format!(
        "(sh -c 'echo $$ >{pid}; exec {SUPERVISE} -q -t 0.2 -- sh -c \"$1\"' sh \"{inner}\" &)
         until [ -e {go} ]; do sleep 0.01; done
         read -r inner <{pid}; kill $inner
         while [ -e /proc/$inner/comm ]; do sleep 0.01; done
         {fixture} notify STATUS=after; echo ready $$; exec sleep 1037"
    )
}

#[test]
fn the_relay_socket_is_writable_by_all_from_its_creation() {
    let manager = Manager::new();
    let folder = Folder::new();
    let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
    let changes = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB;
    watch.add_watch(folder.path(), changes).unwrap();
    let mut run = manager
        .start(Home::Plain)
        .variable("RUNTIME_DIRECTORY", folder.path().to_str().unwrap())
        .through(&["sh", "-c", "umask 027; exec \"$@\"", "sh"])
        .shell("stat -c %a $NOTIFY_SOCKET; umask; echo >$RUNTIME_DIRECTORY/last");
    run.expect_line("666");
    run.expect_line("0027");
    run.expect_exit(0);
    let events = watch.read_events().unwrap();
    let events: Vec<_> = events
        .into_iter()
        .map(|event| (event.mask, event.name.unwrap_or_default()))
        .collect();
    // By its path it could be another file by now, in a folder of another user.
    let expected = [format!("supervise.{}.notify", run.pid), "last".to_owned()]
        .map(|name| (AddWatchFlags::IN_CREATE, name.into()));
    assert_eq!(events, expected);
}

#[test]
fn a_nested_supervise_does_not_send_stopping() {
    for home in homes() {
        for named in [true, false] {
            if !named && home == Home::Plain {
                // Its parent is not PID 1: it is not the main process itself.
                continue;
            }
            let manager = Manager::new();
            let script = with_a_nested_supervise(&manager);
            let start = if named {
                manager.start(home)
            } else {
                manager.start_unnamed(home)
            };
            let mut run = start.options("-q").shell(&script);
            manager.expect("STATUS=inner");
            std::fs::write(manager.folder.file("go"), "").unwrap();
            manager.expect("STATUS=after");
            run.ready();
            run.signal(libc::SIGTERM);
            manager.expect("STOPPING=1\nSTATUS=Stopping");
            let ended = run.wait();
            assert_eq!(ended, Ended::killed(home, libc::SIGTERM), "{home:?}");
        }
    }
}

#[test]
fn supervise_below_the_main_process_does_not_send_stopping() {
    let manager = Manager::new();
    let start = manager
        .start_unnamed(Home::Plain)
        .through(&["env", "SYSTEMD_EXEC_PID=1"]);
    let (mut run, _) = ready(&manager, start);
    run.signal(libc::SIGTERM);
    run.expect_killed(libc::SIGTERM);
    manager.expect_nothing();
}

#[test]
fn stopping_from_the_command_is_relayed() {
    let manager = Manager::new();
    let mut run = manager
        .start_unnamed(Home::Plain)
        .run(&[&fixture(), "notify", "STOPPING=1"]);
    manager.expect("STOPPING=1");
    run.expect_exit(0);
}

#[test]
fn descriptors_are_relayed_and_closed() {
    for home in homes() {
        let manager = Manager::new();
        let fixture = fixture();
        // With this limit the second message could not be received.
        let mut run = manager
            .start(home)
            .through(&["prlimit", "--nofile=12:1024"])
            .shell(&format!(
                "{fixture} notify-with-pipe BARRIER=1; ulimit -Sn;
                 {fixture} notify-with-pipe FDSTORE=1"
            ));
        let message = manager.expect("BARRIER=1");
        assert_eq!(message.descriptors.len(), 1);
        // The sender waits until every copy is closed: this is the last.
        drop(message);
        run.expect_line("from the pipe: ");
        // The limit of the command itself.
        run.expect_line("12");
        let message = manager.expect("FDSTORE=1");
        let mut kept: Vec<std::fs::File> =
            message.descriptors.into_iter().map(Into::into).collect();
        kept[0].write_all(b"hello").unwrap();
        drop(kept);
        run.expect_line("from the pipe: hello");
        run.expect_exit(0);
    }
}

#[test]
fn no_message_of_a_sender_that_exits_at_once_is_lost() {
    for home in homes() {
        let manager = Manager::new();
        let fixture = fixture();
        // Half of them are orphans when they send, so that supervise reaps them.
        let mut run = manager.start(home).shell(&format!(
            "i=0; while [ $i -lt 100 ]; do
                 {fixture} notify STATUS=$i
                 ({fixture} notify STATUS=orphan & wait $!) & wait $!
                 i=$((i + 1))
             done"
        ));
        for number in 0..100 {
            manager.expect(&format!("STATUS={number}"));
            manager.expect("STATUS=orphan");
        }
        run.expect_exit(0);
        run.expect_empty_log();
    }
}

#[test]
fn the_last_messages_are_relayed() {
    for home in homes() {
        for _ in 0..20 {
            let manager = Manager::new();
            let fixture = fixture();
            let mut run = manager.start(home).run(&[
                &fixture,
                "notify",
                "STATUS=one",
                "STATUS=two",
                "STATUS=last",
            ]);
            run.expect_exit(0);
            for text in ["STATUS=one", "STATUS=two", "STATUS=last"] {
                manager.expect(text);
            }
        }
    }
}

#[test]
fn messages_of_unrelated_processes_are_dropped() {
    let manager = Manager::new();
    let (mut run, address) = ready(&manager, manager.start(Home::Plain));
    assert!(address.starts_with(manager.folder.path().to_str().unwrap()));
    let socket = UnixDatagram::unbound().unwrap();
    socket
        .send_to(b"STATUS=from another process", &address)
        .unwrap();
    run.wait_for_error("not a descendant of supervise");
    if is_root() {
        // A sender that has exited, and is neither root nor the user of the command.
        send(run.pid, libc::SIGSTOP);
        send_from_outside(&address, &as_user("61239"), "STATUS=from another user");
        // A sender that has exited and is root may have been a child of the command.
        send_from_outside(&address, &[], "STATUS=from root");
        send(run.pid, libc::SIGCONT);
        manager.expect("STATUS=from root");
    }
    run.signal(libc::SIGTERM);
    manager.expect("STOPPING=1\nSTATUS=Stopping");
    run.expect_killed(libc::SIGTERM);
    assert_eq!(run.errors().lines().count(), 1, "{}", run.errors());
}

/// A process that sends a descriptor whose close blocks, as long as the value lives.
struct Slow(std::process::Child);

impl Slow {
    /// To be called while `supervise` is suspended: then no other copy exists.
    fn new(address: &str, wrapper: &[&str], how: &str) -> Self {
        let fixture = fixture();
        let words = [wrapper, &[&fixture, "notify-with-slow-one", how]].concat();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .env("NOTIFY_SOCKET", address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready "), "{line}");
        Self(child)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn no_descriptor_of_an_unrelated_process_delays_anything() {
    for home in homes() {
        for (wrapper, how) in [
            (&[][..], "direct"),
            (&[][..], "queued"),
            (&as_user("61238"), "queued"),
        ] {
            if !wrapper.is_empty() && lacks_root("becoming another user") {
                continue;
            }
            let manager = Manager::new();
            let report = manager.folder.file("report");
            let options = format!("-w --report {report}");
            // The close is not interrupted, as for a FUSE file.
            let run = manager.start(home).options(&options);
            let mut run = run
                .through(&[&fixture(), "without", "setitimer"])
                .shell(&format!(
                    "sleep 1038 & {} notify READY=1; echo ready $$; exec sleep 1038",
                    fixture()
                ));
            let address = notify_socket(&mut run);
            manager.expect("READY=1");
            send(run.pid, libc::SIGSTOP);
            let _slow = Slow::new(&address, wrapper, how);
            send(run.pid, libc::SIGCONT);
            run.wait_for_error("dropped notification");
            if how == "queued" {
                // It does not return before the test is over.
                eventually("a child closes it", || children_of(run.pid).len() == 2);
            }
            run.signal(libc::SIGTERM);
            run.expect_killed(libc::SIGTERM);
            let errors = run.errors();
            let orphans = errors.matches("reaped orphan").count();
            assert_eq!(orphans, 1, "{home:?}, {how}: {errors}");
            assert_eq!(errors.lines().count(), 2, "{home:?}, {how}: {errors}");
            let report = manager.folder.read("report");
            let others = r#""leftovers":{"signaled":1,"killed":0,"#;
            assert!(report.contains(others), "{home:?}, {how}: {report}");
            assert!(report.contains(r#""orphans_reaped":1"#), "{report}");
        }
    }
}

#[test]
fn a_close_that_blocks_is_interrupted() {
    let manager = Manager::new();
    let mut run = manager
        .start(Home::Plain)
        .shell("echo ready $$; exec sleep 1046");
    let address = notify_socket(&mut run);
    send(run.pid, libc::SIGSTOP);
    let slow: Vec<Slow> = (0..9).map(|_| Slow::new(&address, &[], "queued")).collect();
    send(run.pid, libc::SIGCONT);
    run.wait_for_error("dropped notification");
    eventually(
        "all are closed, and the children that did it are gone",
        || {
            let open = std::fs::read_dir(format!("/proc/{}/fd", run.pid)).unwrap();
            let inherited = open
                .flatten()
                .filter_map(|entry| std::fs::read_link(entry.path()).ok())
                .filter(|to| to.to_string_lossy().starts_with("socket:"))
                .count();
            // The relay's own.
            children_of(run.pid).len() == 1 && inherited <= 2
        },
    );
    drop(slow);
    run.signal(libc::SIGTERM);
    run.expect_killed(libc::SIGTERM);
}

#[test]
fn no_queued_descriptor_delays_the_exit() {
    let manager = Manager::new();
    let start = manager.start(Home::Plain);
    let start = start.through(&[&fixture(), "without", "setitimer"]);
    let (mut run, address) = ready(&manager, start);
    send(run.pid, libc::SIGSTOP);
    let _slow = Slow::new(&address, &[], "queued");
    send(run.command(), libc::SIGTERM);
    send(run.pid, libc::SIGCONT);
    run.expect_killed(libc::SIGTERM);
    // A reader of stderr does not wait for the child that still closes.
    run.wait_for_end_of_errors();
}

/// Sends a message with this descriptor from a process that is not a descendant.
fn pass(address: &str, descriptor: &OwnedFd) {
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(address).unwrap();
    let passed = [descriptor.as_raw_fd()];
    let with = [ControlMessage::ScmRights(&passed)];
    let text = [IoSlice::new(b"STATUS=x")];
    sendmsg::<()>(socket.as_raw_fd(), &text, &with, MsgFlags::empty(), None).unwrap();
}

#[test]
fn descriptors_left_by_a_killed_child_are_closed() {
    let manager = Manager::new();
    let mut run = manager
        .start(Home::Plain)
        .options("-q")
        .through(&[&fixture(), "without", "setitimer"])
        .shell("echo ready $$; exec sleep 1044");
    let address = notify_socket(&mut run);
    let command = run.command();
    let (reader, writer) = std::io::pipe().unwrap();
    send(run.pid, libc::SIGSTOP);
    let _slow = Slow::new(&address, &[], "queued");
    let writer = OwnedFd::from(writer);
    pass(&address, &writer);
    drop(writer);
    send(run.pid, libc::SIGCONT);
    let mut children = Vec::new();
    eventually("a child closes both", || {
        children = children_of(run.pid);
        children.len() == 2
    });
    let closer = children
        .into_iter()
        .find(|child| *child != command)
        .unwrap();
    // Killed earlier, it has not closed anything, and the next child blocks as well.
    eventually("the first close blocks", || {
        std::fs::read_to_string(format!("/proc/{closer}/stat"))
            .is_ok_and(|stat| stat.contains(") S "))
    });
    send(closer, libc::SIGKILL);
    let timeout = PollTimeout::try_from(PATIENCE).unwrap();
    let mut waiting = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut waiting, timeout).unwrap(), 1, "it is still open");
    run.signal(libc::SIGTERM);
    run.expect_killed(libc::SIGTERM);
}

#[test]
fn descriptors_of_the_command_are_closed_despite_blocking_ones() {
    let manager = Manager::new();
    let go = manager.folder.file("go");
    let run = manager.start(Home::Plain).options("-q");
    let mut run = run
        .through(&[&fixture(), "without", "setitimer"])
        .shell(&format!(
            "echo ready $$; until [ -e {go} ]; do sleep 0.01; done
         {} notify-and-wait STATUS=waited",
            fixture()
        ));
    let address = notify_socket(&mut run);
    let count = || {
        std::fs::read_dir(format!("/proc/{}/fd", run.pid))
            .unwrap()
            .count()
    };
    // Inherited ones are closed by then.
    sleeps_in_ppoll(run.pid);
    let before = count();
    let mut slow = Vec::new();
    for number in 1..=9 {
        send(run.pid, libc::SIGSTOP);
        slow.push(Slow::new(&address, &[], "queued"));
        send(run.pid, libc::SIGCONT);
        // A child that is closing it has taken it out of the table.
        eventually("it is passed", || {
            count() + children_of(run.pid).len() > before + number
        });
    }
    std::fs::write(&go, "").unwrap();
    manager.expect("STATUS=waited");
    run.expect_exit(0);
}

/// Sent by a process of the same user that has exited when it is looked up.
const OF_ALL_KINDS: &str =
    "STOPPING=1\nMAINPID=1\nREADY=1\nFDSTORE=1\nWATCHDOG=trigger\nWATCHDOG=1\nSTATUS=x";

/// A cgroup of version 2, where the kernel reports that of a process that has exited.
fn cgroup() -> Option<Cgroup> {
    if !kernel_is_at_least(6, 16) {
        skipped("the cgroup of a process that has exited takes Linux 6.16");
        return None;
    }
    Cgroup::new("unified", &["cgroup.type"])
}

#[test]
fn an_unproven_sender_cannot_stop_the_unit() {
    let manager = Manager::new();
    let (mut run, address) = ready(&manager, manager.start(Home::Plain));
    send(run.pid, libc::SIGSTOP);
    // In another cgroup than this one.
    let group = cgroup();
    let enter = group.iter().flat_map(Cgroup::entered).collect::<Vec<_>>();
    let enter: Vec<&str> = enter.iter().map(String::as_str).collect();
    send_from_outside(&address, &enter, OF_ALL_KINDS);
    send_from_outside(&address, &enter, "STOPPING=1");
    send_from_outside(&address, &enter, "RELOADING=1\nMONOTONIC_USEC=7");
    send(run.pid, libc::SIGCONT);
    manager.expect("READY=1\nWATCHDOG=1\nSTATUS=x");
    manager.expect("RELOADING=1\nMONOTONIC_USEC=7");
    run.signal(libc::SIGTERM);
    manager.expect("STOPPING=1\nSTATUS=Stopping");
    run.expect_killed(libc::SIGTERM);
    let errors = run.errors();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    run.expect_log("READY, STATUS and the like");
}

#[test]
fn a_sender_in_the_own_cgroup_is_trusted() {
    let Some(group) = cgroup() else {
        return;
    };
    let enter = group.entered();
    let enter: Vec<&str> = enter.iter().map(String::as_str).collect();
    let manager = Manager::new();
    let (mut run, address) = ready(&manager, manager.start(Home::Plain).through(&enter));
    send(run.pid, libc::SIGSTOP);
    send_from_outside(&address, &enter, OF_ALL_KINDS);
    send(run.pid, libc::SIGCONT);
    manager.expect(&OF_ALL_KINDS.replace("MAINPID=1\n", ""));
    run.signal(libc::SIGTERM);
    run.expect_killed(libc::SIGTERM);
    run.expect_empty_log();
}

#[test]
fn messages_of_a_command_that_changed_its_user_are_relayed() {
    if lacks_root("becoming another user") {
        return;
    }
    let manager = Manager::new();
    let fixture = fixture();
    let script = format!(
        "echo ready $$; until [ -e {go} ]; do sleep 0.01; done
         {fixture} notify STATUS=child; echo gone; exec {fixture} notify STATUS=itself",
        go = manager.folder.file("go")
    );
    let command = [&as_user("61235")[..], &["sh", "-c", &script]].concat();
    let mut run = manager.start(Home::Plain).run(&command);
    run.ready();
    // Each has exited when supervise looks it up.
    send(run.pid, libc::SIGSTOP);
    std::fs::write(manager.folder.file("go"), "").unwrap();
    run.expect_line("gone");
    send(run.pid, libc::SIGCONT);
    manager.expect("STATUS=child");
    manager.expect("STATUS=itself");
    run.expect_exit(0);
    run.expect_empty_log();
}

#[test]
fn a_manager_that_does_not_read_delays_only_the_sender() {
    let manager = Manager::new();
    let fixture = fixture();
    let messages: Vec<String> = (0..2000).map(|number| format!("STATUS={number}")).collect();
    let mut words = vec![fixture.as_str(), "notify"];
    words.extend(messages.iter().map(String::as_str));
    let script = "trap 'echo asked' TERM; echo ready $$; \"$@\" & while ! wait $!; do :; done";
    let mut run = manager
        .start(Home::Plain)
        .run(&[&["sh", "-c", script, "sh"], &words[..]].concat());
    run.ready();
    let sender = || children_of(run.command()).first().copied();
    eventually("the sender waits for room", || {
        sender()
            .and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/wchan")).ok())
            .is_some_and(|place| place.contains("unix"))
    });
    sleeps_in_ppoll(run.pid);
    run.signal(libc::SIGTERM);
    run.expect_line("asked");
    for text in &messages {
        let mut message = manager.receive();
        // That of supervise is among them.
        if message.text.starts_with("STOPPING=1") {
            message = manager.receive();
        }
        assert_eq!(message.text, *text);
    }
    run.expect_exit(0);
}

#[test]
fn messages_that_the_manager_does_not_accept_are_counted() {
    let manager = Manager::new();
    // How many messages fit into a queue.
    let another = Manager::new();
    let from = UnixDatagram::unbound().unwrap();
    from.connect(another.folder.file("notify")).unwrap();
    from.set_nonblocking(true).unwrap();
    let mut room = 0;
    while from.send(b"x").is_ok() {
        room += 1;
    }
    // One was taken from the queue of the relay, the others are in it.
    let lost = 1 + room / 2;
    let messages: Vec<String> = (0..room + lost).map(|n| format!("STATUS={n}")).collect();
    let fixture = fixture();
    let mut words = vec![fixture.as_str(), "notify"];
    words.extend(messages.iter().map(String::as_str));
    let mut run = manager.start(Home::Plain).run(&words);
    run.expect_exit(0);
    let errors = run.errors();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    let expected = format!("notifications lost: {lost} (");
    assert!(errors.contains(&expected), "{errors}");
}

#[test]
fn the_process_named_by_mainpid_succeeds_the_command() {
    for home in homes() {
        let manager = Manager::new();
        let fixture = fixture();
        // Like a daemon: the first process starts it and exits.
        let mut run = manager.start(home).options("-v").shell(&format!(
            "sh -c '{fixture} notify-and-wait \"$(printf \"MAINPID=%s\nREADY=1\" $$)\"
                    exec {fixture} print-signals 15' & read -r _ < /dev/null
             until [ -e {ready} ]; do sleep 0.01; done; exit 3",
            ready = manager.folder.file("ready")
        ));
        manager.expect("READY=1");
        run.ready();
        std::fs::write(manager.folder.file("ready"), "").unwrap();
        run.wait_for_error("takes over as the command");
        run.signal(libc::SIGUSR1);
        run.expect_signal(10);
        run.signal(libc::SIGTERM);
        run.expect_signal(15);
        manager.expect("STOPPING=1\nSTATUS=Stopping");
        run.expect_exit(0);
    }
}

#[test]
fn after_a_stop_request_no_process_succeeds_the_command() {
    let manager = Manager::new();
    let fixture = fixture();
    let mut run = manager.start(Home::Plain).options("-v").shell(&format!(
        "trap 'exit 3' TERM
         sh -c '{fixture} notify-and-wait \"$(printf \"MAINPID=%s\nREADY=1\" $$)\"
                exec {fixture} print-signals 15' &
         while :; do sleep 0.01; done"
    ));
    manager.expect("READY=1");
    run.ready();
    run.signal(libc::SIGTERM);
    run.expect_signal(15);
    run.expect_exit(3);
    // The log tells about the command itself.
    run.expect_log("(command after ");
}

#[test]
fn a_successor_does_not_change_the_process_group() {
    for home in homes() {
        let manager = Manager::new();
        let fixture = fixture();
        let mut run = manager.start(home).options("-g -v").shell(&format!(
            "sh -c 'trap \"echo worker; exit\" USR1; echo >{0}; while :; do sleep 0.01; done' &
             sh -c 'trap \"exit 0\" TERM; trap : USR1
                    {fixture} notify-and-wait \"$(printf \"MAINPID=%s\nREADY=1\" $$)\"
                    while :; do sleep 0.01; done' &
             until [ -e {0} ] && [ -e {1} ]; do sleep 0.01; done",
            manager.folder.file("worker"),
            manager.folder.file("ready")
        ));
        manager.expect("READY=1");
        std::fs::write(manager.folder.file("ready"), "").unwrap();
        run.wait_for_error("takes over as the command");
        run.signal(libc::SIGUSR1);
        run.expect_line("worker");
        run.signal(libc::SIGTERM);
        run.expect_exit(0);
    }
}

#[test]
fn without_a_folder_the_relay_socket_is_abstract() {
    if lacks_root("becoming another user") {
        return;
    }
    let manager = Manager::new();
    let fixture = fixture();
    let mut run = start(Home::Plain)
        .variable("NOTIFY_SOCKET", &manager.folder.file("notify"))
        .variable("RUNTIME_DIRECTORY", "")
        .through(&as_user("61236"))
        .shell(&format!(
            "echo $NOTIFY_SOCKET; {fixture} notify READY=1; echo ready $$; sleep 1016"
        ));
    let address = run.line();
    assert!(address.starts_with('@'), "{address}");
    assert_eq!(manager.expect("READY=1").pid, run.pid);
    run.ready();
    // A sender that has exited and is root is trusted.
    send(run.pid, libc::SIGSTOP);
    send_from_outside(&address, &[], "STATUS=from root");
    send(run.pid, libc::SIGCONT);
    manager.expect("STATUS=from root");
    run.signal(libc::SIGTERM);
    run.expect_killed(libc::SIGTERM);
}

#[test]
fn an_abstract_manager_socket_works() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("supervise-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager {
        folder: Folder::new(),
        socket: UnixDatagram::bind_addr(&address).unwrap(),
    };
    let mut run = start(Home::Plain)
        .variable("NOTIFY_SOCKET", &format!("@{name}"))
        .run(&[&fixture(), "notify", "READY=1"]);
    manager.expect("READY=1");
    run.expect_exit(0);
}

#[test]
fn a_stale_socket_file_is_replaced() {
    if !Home::Pid1.is_possible() {
        return;
    }
    let manager = Manager::new();
    for _ in 0..2 {
        let (mut run, address) = ready(&manager, manager.start(Home::Pid1));
        assert_eq!(address, manager.folder.file("supervise.1.notify"));
        run.signal(libc::SIGKILL);
        run.wait();
    }
}

#[test]
fn without_a_relay_notify_socket_is_unchanged() {
    let manager = Manager::new();
    let path = manager.folder.file("notify");
    for (options, value) in [
        ("--no-notify-relay", path.as_str()),
        ("", "vsock:2:1234"),
        ("", "relative"),
    ] {
        let mut run = start(Home::Plain)
            .options(options)
            .variable("NOTIFY_SOCKET", value)
            .shell("echo $NOTIFY_SOCKET");
        run.expect_line(value);
        run.expect_exit(0);
        run.expect_empty_log();
    }
    let mut run = start(Home::Plain)
        .through(&["env", "-u", "NOTIFY_SOCKET"])
        .shell("echo ${NOTIFY_SOCKET-none}");
    run.expect_line("none");
    run.expect_exit(0);
}

#[test]
fn a_missing_manager_is_logged_once() {
    let folder = Folder::new();
    let mut run = start(Home::Plain)
        .variable("NOTIFY_SOCKET", &folder.file("missing"))
        .run(&[&fixture(), "notify", "READY=1", "STATUS=x", "STATUS=y"]);
    run.expect_exit(0);
    let errors = run.errors();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    run.expect_log("notification lost: cannot send");
}

#[test]
fn pid_variables_name_the_command() {
    for home in homes() {
        let exec = |variables: &str| format!("exec 3</dev/null; {variables} exec \"$@\"");
        for (variables, expected) in [
            (
                "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_PIDFDID=5 WATCHDOG_PID=$$",
                "$$ none $$",
            ),
            // Another process.
            (
                "LISTEN_PID=77777 LISTEN_PIDFDID=5 WATCHDOG_PID=x",
                "77777 5 x",
            ),
        ] {
            let mut run = start(home)
                .through(&["sh", "-c", &exec(variables), "sh"])
                .shell(&format!(
                    "echo $LISTEN_PID ${{LISTEN_PIDFDID-none}} $WATCHDOG_PID; echo {expected}
                     [ -e /proc/self/fd/3 ] && echo open; echo ready $$; read -r _ <&3; cat"
                ));
            assert_eq!(run.line(), run.line(), "{home:?}");
            // What was inherited.
            run.expect_line("open");
            run.ready();
            run.expect_exit(0);
        }
    }
}

#[test]
fn an_idle_relay_sleeps_without_a_timeout() {
    let manager = Manager::new();
    let (mut run, _) = ready(&manager, manager.start(Home::Plain));
    sleeps_in_ppoll(run.pid);
    run.signal(libc::SIGTERM);
    run.expect_killed(libc::SIGTERM);
}

#[test]
fn inherited_descriptors_around_the_relay_socket_are_closed() {
    let manager = Manager::new();
    // One below the socket of the relay and one above.
    let inherit = "exec 3</dev/zero 9</dev/zero; exec \"$@\"";
    let mut run = manager
        .start(Home::Plain)
        .through(&["bash", "-c", inherit, "bash"])
        .shell(&format!(
            "{} notify READY=1; [ -e /proc/self/fd/3 ] && [ -e /proc/self/fd/9 ] && echo both
             echo ready $$; exec sleep 1036",
            fixture()
        ));
    manager.expect("READY=1");
    // The command inherits them.
    run.expect_line("both");
    run.ready();
    eventually("supervise has none of them", || {
        let all = std::fs::read_dir(format!("/proc/{}/fd", run.pid)).unwrap();
        all.flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .all(|to| to != std::path::Path::new("/dev/zero"))
    });
    run.signal(libc::SIGTERM);
    run.expect_killed(libc::SIGTERM);
}
