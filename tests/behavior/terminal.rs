//! On a real terminal: under an interactive bash, as leader of the session, as
//! PID 1. What a person types and sees is as it would be without supervise.

use std::process::Command;

use crate::harness::pty::{CTRL_BACKSLASH, CTRL_C, CTRL_D, CTRL_Z, Terminal};
use crate::harness::*;

#[test]
fn ctrl_c_kills_a_reading_command_and_bash_notices() {
    let mut terminal = Terminal::bash();
    terminal.line("$SUPERVISE -- cat; echo st''atus $?");
    terminal.cat("hello");
    terminal.ctrl_c();
    terminal.prompt();
    terminal.line("echo st''atus $?");
    terminal.sees("status ");
    terminal.line("$SUPERVISE -- cat");
    terminal.cat("again");
    terminal.keys(CTRL_D);
    terminal.line("echo st''atus $?");
    terminal.sees("status 0");
}

#[test]
fn ctrl_c_ends_a_shell_loop_around_supervise() {
    let mut terminal = Terminal::bash();
    terminal.line("for i in 1 2 3; do $SUPERVISE -- sh -c 'echo re\"\"ady; exec sleep 1007'; done");
    terminal.sees("ready\r\n");
    terminal.keys(CTRL_C);
    let between = terminal.prompt();
    assert!(!between.contains("ready"), "the loop went on: {between}");
    terminal.line("echo st''atus $?");
    terminal.sees("status 0");
}

#[test]
fn ctrl_z_returns_the_prompt_and_fg_and_bg_resume() {
    for options in ["", "-g"] {
        let mut terminal = Terminal::bash();
        terminal.line(&format!("$SUPERVISE {options} -- cat"));
        terminal.cat("one");
        terminal.ctrl_z();
        terminal.prompt();
        terminal.line("jobs");
        terminal.sees("Stopped");
        terminal.sees("$ ");
        terminal.fg("cat");
        terminal.cat("two");
        terminal.ctrl_z();
        terminal.line("bg");
        // It reads, and so the kernel stops it again, which bash tells when it
        // is asked.
        terminal.line("until jobs | grep -q Sto''pped; do sleep 0.02; done; echo see''n");
        terminal.sees("seen\r\n");
        terminal.fg("cat");
        terminal.cat("three");
        terminal.keys(CTRL_D);
        terminal.prompt();

        // One that does not read runs on in the background. It is no shell: one
        // that waits for its child in vfork(2) does not stop, with or without
        // supervise.
        terminal.line(&format!(
            "$SUPERVISE {options} -- sh -c 'echo re\"\"ady; exec sleep 1008'"
        ));
        terminal.sees("ready\r\n");
        terminal.ctrl_z();
        terminal.line("bg");
        terminal.prompt();
        terminal.line("jobs");
        terminal.sees("Running");
        terminal.line("kill %1; wait %1; echo st''atus $?");
        terminal.sees("status 143");
    }
}

#[test]
fn a_background_job_does_not_take_the_foreground() {
    let mut terminal = Terminal::bash();
    terminal.line("$SUPERVISE -- cat &");
    terminal.line("until jobs | grep -q Sto''pped; do sleep 0.02; done; echo see''n");
    terminal.sees("seen\r\n");
    terminal.line(
        "read -r _ _ _ _ group _ _ front _ < /proc/$$/stat; [ $group = $front ] && echo he''ld",
    );
    terminal.sees("held");
    terminal.line("jobs; :");
    terminal.sees("Stopped");
    terminal.sees("$ ");
    terminal.fg("cat");
    terminal.cat("typed");
    terminal.ctrl_z();
    terminal.fg("cat");
    terminal.cat("again");
    terminal.ctrl_c();
    terminal.prompt();
    terminal.line("jobs; echo no''ne");
    let jobs = terminal.sees("none\r\n");
    assert!(
        !jobs.contains("Stopped") && !jobs.contains("Running"),
        "{jobs}"
    );
}

#[test]
fn pipelines_and_pagers_work() {
    // Like a pager: data from a pipe, keys from the terminal.
    const PAGER: &str =
        "sh -c 'read -r first; echo re\"\"ady $first; read -r key < /dev/tty; echo k\"\"ey $key'";
    let mut terminal = Terminal::bash();
    for line in [
        format!("$SUPERVISE -- seq 100000 | {PAGER}"),
        format!("seq 100000 | $SUPERVISE -- {PAGER}"),
    ] {
        terminal.line(&line);
        terminal.sees("ready 1\r\n");
        terminal.line("x");
        terminal.sees("key x\r\n");
        terminal.prompt();
    }
}

#[test]
fn the_command_is_in_the_foreground_process_group() {
    let check = "sh -c 'read -r _ _ _ _ group _ _ front _ < /proc/self/stat; [ $group = $front ] && echo fo\"\"und'";
    for options in ["", "-g"] {
        let mut terminal = Terminal::bash();
        terminal.line(&format!("$SUPERVISE {options} -- {check}"));
        terminal.sees("found\r\n");
        // Given back when it has ended, to a shell that does no job control.
        terminal.line(&format!(
            "sh -c '$SUPERVISE {options} -- true; read -r x < /dev/tty; echo ta\"\"ken $x'"
        ));
        terminal.line("y");
        terminal.sees("taken y\r\n");
    }
}

#[test]
fn a_shell_below_supervise_has_job_control() {
    let mut terminal = Terminal::bash();
    terminal.line("$SUPERVISE -v -t 1 -- bash --norc --noprofile --noediting -i");
    terminal.line("PS1='inn''er> '");
    terminal.sees("inner> ");
    terminal.keys(CTRL_C);
    terminal.sees("inner> ");
    terminal.line("sh -c 'echo re\"\"ady; exec sleep 1009'");
    terminal.sees("ready\r\n");
    terminal.keys(CTRL_C);
    terminal.sees("inner> ");
    terminal.line("cat");
    terminal.cat("one");
    terminal.keys(CTRL_Z);
    terminal.sees("Stopped");
    terminal.sees("inner> ");
    terminal.fg("cat");
    terminal.cat("two");
    terminal.keys(CTRL_D);
    terminal.line("exit 7");
    terminal.line("echo st''atus $?");
    terminal.sees("status 7");
    assert!(!terminal.screen.contains("stopping"), "{}", terminal.screen);
}

#[test]
fn ctrl_c_does_not_end_a_repl() {
    if !Command::new("python3")
        .args(["-c", "import os"])
        .status()
        .is_ok_and(|status| status.success())
    {
        skipped("no python3");
        return;
    }
    let python = "python3 -q -i -c 'print(\"re\" + \"ady\")'";
    let mut terminal = Terminal::bash();
    for line in [
        format!("$SUPERVISE -v -t 1 -- {python}"),
        format!(
            "python3 -c 'import os; os.system(\"\"\"$SUPERVISE -v -t 1 -- {}\"\"\")'",
            python.replace('\'', "'\\''")
        )
        .replace("$SUPERVISE", SUPERVISE),
    ] {
        terminal.line(&line);
        terminal.sees("ready\r\n");
        terminal.sees(">>> ");
        // While it computes: between two statements, or at its prompt, it may
        // not look at what came.
        terminal.line("print('slee' + 'ping'); exec('while True: pass')");
        terminal.sees("sleeping\r\n");
        terminal.keys(CTRL_C);
        terminal.sees("KeyboardInterrupt");
        terminal.line("print(6 * 7)");
        terminal.sees("42\r\n");
        // Not earlier: what is typed between two prompts is no end of file.
        terminal.sees(">>> ");
        terminal.keys(CTRL_D);
        terminal.prompt();
    }
    assert!(!terminal.screen.contains("stopping"), "{}", terminal.screen);
}

#[test]
fn ctrl_c_is_a_stop_request_if_stdin_is_not_the_terminal() {
    let mut terminal = Terminal::bash();
    terminal.line("$SUPERVISE -v -t 0.3 -- sh -c 'trap \"\" INT TERM; echo re\"\"ady; while :; do sleep 0.05; done' </dev/null");
    terminal.sees("ready\r\n");
    terminal.keys(CTRL_C);
    terminal.sees("SIGINT from the kernel");
    terminal.sees("is still running: it ignores SIGINT");
    terminal.sees("sending SIGKILL");
    terminal.prompt();
}

#[test]
fn a_command_that_handles_ctrl_c_is_not_stopped() {
    let folder = Folder::new();
    let go = folder.file("go");
    let script = format!(
        "sh -c 'trap \"echo inter\"rupted INT; echo re\"\"ady
         until [ -e {go} ]; do sleep 0.01; done; echo thr\"\"ough'"
    );
    for line in [
        format!("echo | $SUPERVISE -v -t 0 -- {script}"),
        format!("$SUPERVISE -v -t 0 -- {script} </dev/null"),
    ] {
        let mut terminal = Terminal::bash();
        terminal.line(&line);
        terminal.sees("ready\r\n");
        terminal.keys(CTRL_C);
        terminal.sees("interrupted\r\n");
        folder.write("go", "", 0o644);
        terminal.sees("through\r\n");
        terminal.prompt();
        assert!(!terminal.screen.contains("stopping"), "{}", terminal.screen);
        std::fs::remove_file(&go).unwrap();
    }
}

#[test]
fn a_stop_delay_does_not_hold_back_terminal_signals() {
    const OPTIONS: [&str; 5] = ["-v", "-t", "1000", "--stop-delay", "900s"];
    const SCRIPT: &str =
        "trap 'echo sav\"\"ed; exit 3' INT; echo re\"\"ady; while :; do read -r line; done";
    for leads in [false, true] {
        let mut terminal = if leads {
            Terminal::with(
                SUPERVISE,
                &[&OPTIONS[..], &["--", "bash", "-c", SCRIPT]].concat(),
            )
        } else {
            let quoted = SCRIPT.replace('\'', "'\\''");
            let mut bash = Terminal::bash();
            bash.line(&format!(
                "$SUPERVISE {} -- bash -c '{quoted}'",
                OPTIONS.join(" ")
            ));
            bash
        };
        terminal.sees("ready\r\n");
        let supervise = if leads {
            terminal.pid()
        } else {
            children_of(terminal.pid())[0]
        };
        send(supervise, libc::SIGTERM);
        terminal.sees("forwarding the stop request in 15m");
        terminal.keys(CTRL_C);
        terminal.sees("saved\r\n");
        terminal.sees("exited with status 3");
        eventually("it has ended", || !is_alive(supervise));
    }
}

#[test]
fn terminal_signals_arrive_once() {
    for options in ["", "-g"] {
        let mut terminal = Terminal::bash();
        terminal.line(&format!(
            "$SUPERVISE {options} -t 1000 -- $FIXTURE print-signals 64"
        ));
        terminal.sees("ready ");
        let supervise = children_of(terminal.pid())[0];
        for (key, line) in [
            (CTRL_C, "2 128 0 0\r\n"),
            (CTRL_BACKSLASH, "3 128 0 0\r\n"),
            (CTRL_Z, "20 128 0 0\r\n"),
        ] {
            terminal.keys(key);
            terminal.sees(line);
        }
        terminal.resize(100);
        terminal.sees("28 128 0 0\r\n");
        send(supervise, 64);
        let rest = terminal.sees("64 ");
        assert_eq!(rest, "", "{options}: something came twice");
        terminal.prompt();
    }
}

/// A stop request that is lost is a SIGKILL at the end of the grace period.
#[test]
fn signals_from_the_own_process_group_are_forwarded() {
    const TRAPS: &str = "trap \"echo got USR\"1 USR1; trap \"echo sav\"\"ed; exit 3\" TERM";
    const LOOP: &str = "while :; do sleep 0.01; done";
    // A script without job control, by the shell and by a program; what runs below
    // the command; and the command itself.
    for script in [
        "$SUPERVISE -t 1000 -- sh -c '$TRAPS; echo > $FILE; $LOOP' & p=$!
         until [ -e $FILE ]; do sleep 0.01; done
         kill -USR1 $p; /bin/kill -TERM $p; wait $p",
        "$SUPERVISE -t 1000 -- sh -c '$TRAPS; sh -c \"kill -USR1 $PPID; kill -TERM $PPID\" & $LOOP'",
        "$SUPERVISE -t 1000 -- sh -c '$TRAPS; kill -USR1 $PPID; kill -TERM $PPID; $LOOP'",
    ] {
        let folder = Folder::new();
        let script = script
            .replace("$TRAPS", TRAPS)
            .replace("$LOOP", LOOP)
            .replace("$FILE", &folder.file("ready"));
        let words = [
            "--norc",
            "-c",
            &format!("{script}; echo st''atus $?; read -r x"),
        ];
        let mut terminal = Terminal::with("bash", &words);
        // Of two that wait at once the one of the lower number comes first.
        terminal.sees("got USR1\r\n");
        terminal.sees("saved\r\n");
        terminal.sees("status 3");
    }
}

#[test]
fn the_signal_of_an_inherited_timer_is_forwarded() {
    let mut terminal = Terminal::bash();
    // Timers live on when a program is executed.
    let timer = "import os,signal,sys; signal.setitimer(signal.ITIMER_REAL, 0.3); \
                 os.execvp(sys.argv[1], sys.argv[1:])";
    terminal.line(&format!(
        "python3 -c '{timer}' $SUPERVISE -- sleep 1017; echo st''atus $?"
    ));
    terminal.sees("status 142");
}

#[test]
fn with_process_group_a_failing_exec_restores_the_foreground() {
    let mut terminal = Terminal::bash();
    terminal.line("bash -c '$SUPERVISE -g -- /nonexistent; read -r x; echo go''t $x'");
    terminal.sees("no such file or directory");
    terminal.keys("this\n");
    terminal.sees("got this");
    terminal.prompt();
}

#[test]
fn with_process_group_ctrl_z_suspends_the_surrounding_script() {
    let mut terminal = Terminal::bash();
    terminal.line("bash -c '$SUPERVISE -g -- cat; echo go''t $?'");
    terminal.cat("one");
    terminal.keys(CTRL_Z);
    terminal.sees("Stopped");
    terminal.sees("$ ");
    terminal.line("fg");
    terminal.cat("two");
    terminal.keys(CTRL_D);
    terminal.sees("got 0");
    terminal.prompt();
}

#[test]
fn signals_that_the_command_sends_its_group_arrive_once() {
    let mut terminal = Terminal::bash();
    // As an editor does it on Ctrl-Z.
    terminal
        .line("$SUPERVISE -- sh -c 'trap \"echo resu\"\"med\" CONT; kill -TSTP 0; echo en\"\"d'");
    terminal.sees("Stopped");
    terminal.sees("$ ");
    terminal.line("fg");
    terminal.sees("end\r\n");
    terminal.prompt();
}

#[test]
fn with_tostop_logging_from_the_background_does_not_block() {
    let mut terminal = Terminal::bash();
    terminal.line("stty tostop; $SUPERVISE -v -- sh -c 'exit 3' & wait $!; echo st''atus $?");
    terminal.sees(") exited with status 3");
    terminal.sees("status 3\r\n");
}

#[test]
fn terminal_modes_are_restored_after_sigkill() {
    let mut terminal = Terminal::bash();
    terminal.line("sh -c 'a=$(stty -g); $SUPERVISE -t 0 -- sh -c \"stty raw -echo; kill -TERM \\$PPID; sleep 1010\"; b=$(stty -g); [ \"$a\" = \"$b\" ] && echo sa\"\"me'");
    terminal.sees("same");
    // What a command sets on purpose stays.
    terminal.line("sh -c '$SUPERVISE -- stty -echo; stty -a | grep -o -- \"-ec\"ho\\ ; stty echo'");
    terminal.sees("-echo ");
}

#[test]
fn closing_the_terminal_sends_one_sighup() {
    let folder = Folder::new();
    let file = folder.file("log");
    let mut terminal = Terminal::bash();
    terminal.line(&format!(
        "$SUPERVISE -t 1000 -- $FIXTURE print-signals 64 > {file}"
    ));
    eventually("it is ready", || folder.read("log").starts_with("ready "));
    let supervise = children_of(terminal.pid())[0];
    terminal.close();
    terminal.wait();
    eventually("it was told", || {
        folder
            .read("log")
            .lines()
            .any(|line| line.starts_with("1 "))
    });
    let _leftover = Leftover(supervise);
    send(supervise, 64);
    eventually("it has ended", || {
        folder
            .read("log")
            .lines()
            .any(|line| line.starts_with("64 "))
    });
    // The shell tells the group, and the kernel may once more when the shell
    // ends; supervise adds no copy of its own.
    let log = folder.read("log");
    let forwarded = format!("1 0 {supervise} ");
    assert!(
        !log.lines().any(|line| line.starts_with(&forwarded)),
        "{log}"
    );

    // A command with the default action: everything is gone.
    let file = folder.file("default");
    let mut terminal = Terminal::bash();
    terminal.line(&format!(
        "$SUPERVISE -- sh -c 'echo $$ > {file}; exec sleep 1011'"
    ));
    eventually("it runs", || folder.read("default").ends_with('\n'));
    let pid: i32 = folder.read("default").trim().parse().unwrap();
    let supervise = children_of(terminal.pid())[0];
    terminal.close();
    eventually("both have gone", || !is_alive(pid) && !is_alive(supervise));
}

#[test]
fn a_session_leader_forwards_a_hangup() {
    let folder = Folder::new();
    let file = folder.file("log");
    let script = format!("exec {} print-signals 64 > {file}", fixture());
    let mut terminal = Terminal::with(SUPERVISE, &["-t", "1000", "--", "sh", "-c", &script]);
    eventually("it is ready", || folder.read("log").starts_with("ready "));
    terminal.close();
    eventually("it was told", || {
        folder
            .read("log")
            .lines()
            .any(|line| line.starts_with("1 "))
    });
    send(terminal.pid(), 64);
    eventually("it has ended", || {
        folder
            .read("log")
            .lines()
            .any(|line| line.starts_with("64 "))
    });
    let log = folder.read("log");
    assert_eq!(
        log.lines().filter(|line| line.starts_with("1 ")).count(),
        1,
        "{log}"
    );
    terminal.wait();
}

/// How much of the processor a process has used, in clock ticks.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn ctrl_z_suspends_no_session_leader_and_no_pid_1() {
    // With -g the command's group is one that a key does stop.
    let mut ways = vec![
        (SUPERVISE, vec!["--", "cat"]),
        (SUPERVISE, vec!["-g", "--", "cat"]),
    ];
    if Home::Pid1.is_possible() && is_root() {
        ways.push((
            "unshare",
            vec![
                "--pid",
                "--fork",
                "--mount-proc",
                "--kill-child",
                "setsid",
                "--ctty",
                SUPERVISE,
                "--",
                "cat",
            ],
        ));
    }
    // To the kernel tini is one that may resume us.
    if Command::new("tini").arg("--version").output().is_ok() {
        ways.push(("tini", vec!["-s", "--", SUPERVISE, "--", "cat"]));
        let script = "cat; exit";
        ways.push(("tini", vec!["-s", "--", SUPERVISE, "sh", "-c", script]));
    } else {
        skipped("no tini");
    }
    for (program, arguments) in ways {
        let mut terminal = Terminal::with(program, &arguments);
        terminal.cat("one");
        let supervise = if program == SUPERVISE {
            terminal.pid()
        } else {
            children_of(terminal.pid())[0]
        };
        terminal.keys(CTRL_Z);
        terminal.cat("two");
        // One that the command sends itself reaches it even there.
        let command = children_of(supervise)[0];
        send(command, libc::SIGTSTP);
        terminal.cat("three");
        assert!(ticks(supervise) < 50, "it spins");
        terminal.keys(CTRL_C);
        terminal.wait();
    }
}

#[test]
fn ctrl_z_suspends_nothing_that_could_not_be_resumed() {
    // The key's signal goes to the group that timeout(1) has made.
    let script = "while echo ti\"\"ck; do sleep 0.02; done";
    let arguments = ["--", "timeout", "1000", "sh", "-c", script];
    let mut terminal = Terminal::with(SUPERVISE, &arguments);
    terminal.sees("tick");
    terminal.keys(CTRL_Z);
    terminal.sees("^Z");
    for _ in 0..50 {
        terminal.sees("tick");
    }
    terminal.keys(CTRL_C);
    terminal.wait();
}

#[test]
fn job_control_works_from_outside_the_pid_namespace() {
    if lacks_root("a PID namespace") {
        return;
    }
    for flags in ["--mount-proc", ""] {
        let mut terminal = Terminal::bash();
        terminal.line(&format!("unshare --pid --fork {flags} $SUPERVISE -- cat"));
        terminal.cat("one");
        terminal.ctrl_z();
        terminal.fg("cat");
        terminal.cat("two");
        terminal.ctrl_c();
        terminal.prompt();
        terminal.line(&format!(
            "unshare --pid --fork {flags} $SUPERVISE -- sh -c 'trap \"echo hu\"\"p; exit\" HUP
             echo re\"\"ady; while :; do sleep 0.01; done'"
        ));
        terminal.sees("ready\r\n");
        let unshare = children_of(terminal.pid())[0];
        send(children_of(unshare)[0], libc::SIGHUP);
        terminal.sees("hup\r\n");
        terminal.prompt();
        terminal.line(&format!("unshare --pid --fork {flags} $SUPERVISE -- cat &"));
        terminal.line("until jobs | grep -q Sto''pped; do sleep 0.02; done; echo see''n");
        terminal.sees("seen\r\n");
        terminal.fg("cat");
        terminal.cat("three");
        terminal.ctrl_c();
        terminal.prompt();
    }
}

/// Every signal that a shell or a terminal also sends to whole groups.
const FOR_GROUPS: [(&str, i32); 7] = [
    ("HUP", libc::SIGHUP),
    ("CONT", libc::SIGCONT),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("WINCH", libc::SIGWINCH),
    ("INT", libc::SIGINT),
];

#[test]
fn signals_forwarded_by_an_outer_supervise_are_not_lost() {
    let mut terminal = Terminal::with(
        SUPERVISE,
        &[
            "-t",
            "1000",
            "--",
            SUPERVISE,
            "-t",
            "1000",
            "--",
            &fixture(),
            "print-signals",
            "64",
        ],
    );
    terminal.sees("ready ");
    for (_, signal) in FOR_GROUPS {
        send(terminal.pid(), signal);
        terminal.sees(&format!("\n{signal} 0 "));
    }
    // Hung up, the leader is told alone and forwards that to us alone.
    let folder = Folder::new();
    let file = folder.file("log");
    let script = format!("$SUPERVISE -t 1000 -- $FIXTURE print-signals 64 >{file}");
    let mut terminal = Terminal::with(
        SUPERVISE,
        &["-t", "1000", "--", "sh", "-c", &format!("exec {script}")],
    );
    eventually("it is ready", || folder.read("log").starts_with("ready "));
    terminal.close();
    eventually("it was told", || folder.read("log").contains("\n1 0 "));
    send(terminal.pid(), 64);
    eventually("it has ended", || folder.read("log").contains("\n64 "));
}

#[test]
fn signals_from_the_session_leader_are_not_lost() {
    // As the first process of a window, or of ssh -t, with and without job control.
    for options in ["--norc", "-m"] {
        let script = "$SUPERVISE -t 1000 -- $FIXTURE print-signals 64 & p=$!
             while read -r s; do kill -$s $p; done";
        let mut terminal = Terminal::with("bash", &[options, "-c", script]);
        terminal.sees("ready ");
        for (name, signal) in FOR_GROUPS {
            terminal.line(name);
            terminal.sees(&format!("\n{signal} 0 "));
        }
        terminal.line("64");
        terminal.sees("\n64 ");
    }
}

#[test]
fn signals_forwarded_by_another_init_are_not_lost() {
    // As by `docker run -t --init`: it leads the session, and we are in the
    // foreground group that it has made for us.
    if Command::new("tini").arg("--version").output().is_err() {
        skipped("no tini");
        return;
    }
    let arguments = [
        "-s",
        "--",
        SUPERVISE,
        "-t",
        "1000",
        "--",
        &fixture(),
        "print-signals",
        "64",
    ];
    let mut terminal = Terminal::with("tini", &arguments);
    terminal.sees("ready ");
    // tini itself ignores SIGTTIN and SIGTTOU.
    let ignored = [libc::SIGTTIN, libc::SIGTTOU];
    for (_, signal) in FOR_GROUPS.into_iter().filter(|(_, s)| !ignored.contains(s)) {
        send(terminal.pid(), signal);
        terminal.sees(&format!("\n{signal} 0 "));
    }
    // As by STOPSIGNAL HUP and --stop-on HUP.
    let script =
        "trap \"echo sav\"\"ed; exit 3\" HUP; echo re\"\"ady; while :; do sleep 0.01; done";
    let mut terminal = Terminal::with(
        "tini",
        &[
            "-s",
            "--",
            SUPERVISE,
            "-t",
            "1000",
            "--stop-on",
            "HUP",
            "--",
            "sh",
            "-c",
            script,
        ],
    );
    terminal.sees("ready\r\n");
    send(terminal.pid(), libc::SIGHUP);
    terminal.sees("saved\r\n");

    // Hung up, it tells us alone as well, and the command is to hear of that.
    let folder = Folder::new();
    let script = format!("exec $FIXTURE print-signals 64 >{}", folder.file("log"));
    let arguments = [
        "-s", "--", SUPERVISE, "-t", "1000", "--", "sh", "-c", &script,
    ];
    let mut terminal = Terminal::with("tini", &arguments);
    eventually("it is ready", || folder.read("log").starts_with("ready "));
    terminal.close();
    eventually("it was told", || folder.read("log").contains("\n1 0 "));
    send(terminal.pid(), 64);
    eventually("it has ended", || folder.read("log").contains("\n64 "));
}

#[test]
fn a_parent_death_hangup_is_not_lost() {
    let folder = Folder::new();
    let file = folder.file("log");
    let mut terminal = Terminal::bash();
    terminal.line(&format!(
        "$SUPERVISE -t 1000 -p HUP -- $FIXTURE print-signals 64 >{file} &"
    ));
    eventually("it is ready", || folder.read("log").starts_with("ready "));
    let supervise = children_of(terminal.pid())[0];
    // It tells nobody, and the kernel tells the foreground alone.
    send(terminal.pid(), libc::SIGKILL);
    let _leftover = Leftover(supervise);
    eventually("it was told", || folder.read("log").contains("\n1 0 "));
    send(supervise, 64);
    eventually("it has ended", || folder.read("log").contains("\n64 "));
    terminal.wait();
}

#[test]
fn a_command_in_its_own_group_gets_terminal_signals() {
    // timeout(1) makes a process group of its own.
    let mut terminal = Terminal::bash();
    terminal.line("$SUPERVISE -- timeout 900 sh -c 'echo re\"\"ady; exec sleep 1021'");
    terminal.sees("ready\r\n");
    terminal.ctrl_z();
    terminal.fg("sleep 1021'");
    let shell = terminal.pid();
    terminal.ctrl_c();
    terminal.prompt();
    eventually("it has ended", || descendants_of(shell).is_empty());

    terminal.line("$SUPERVISE -- timeout 900 sh -c 'echo re\"\"ady; exec sleep 1022'");
    terminal.sees("ready\r\n");
    let all = descendants_of(shell);
    assert_eq!(all.len(), 3);
    terminal.close();
    eventually("all have gone", || all.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn a_command_in_its_own_session_gets_the_stop_request() {
    let mut terminal = Terminal::bash();
    terminal.line("$SUPERVISE -v -t 1000 -- setsid $FIXTURE print-signals 2 </dev/null");
    terminal.sees("ready ");
    terminal.keys(CTRL_C);
    terminal.sees("SIGINT from the kernel");
    terminal.sees("\n2 0 ");
    terminal.sees("graceful");
    terminal.prompt();
}

#[test]
fn fg_moves_the_whole_job_to_the_foreground() {
    const JOB: &str = "sh -c 'echo re\"\"ady; sleep 1031; echo ne\"\"xt; sleep 1032'";
    let mut terminal = Terminal::bash();
    terminal.line(&format!("$SUPERVISE -- {JOB} &"));
    terminal.sees("ready\r\n");
    let shell = terminal.pid();
    // Before it executes, its parent waits in vfork(2) and does not stop.
    let executed = || {
        let all = descendants_of(shell);
        all.len() == 3
            && all
                .into_iter()
                .any(|pid| status_field(pid, "Name").is_some_and(|name| name == "sleep"))
    };
    eventually("sleep runs", executed);
    terminal.fg("sleep 1032'");
    terminal.ctrl_z();
    terminal.fg("sleep 1032'");
    terminal.ctrl_c();
    let after = terminal.prompt();
    assert!(!after.contains("next"), "{after}");
    eventually("all of it has ended", || descendants_of(shell).is_empty());

    // A closed terminal reaches all of it too.
    terminal.line(&format!("$SUPERVISE -- {JOB} &"));
    terminal.sees("ready\r\n");
    eventually("sleep runs", executed);
    let all = descendants_of(shell);
    terminal.fg("sleep 1032'");
    terminal.close();
    eventually("all have gone", || all.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn fg_gives_a_pager_the_terminal() {
    const PAGER: &str =
        "sh -c 'read -r first; echo re\"\"ady $first; read -r key < /dev/tty; echo k\"\"ey $key'";
    let mut terminal = Terminal::bash();
    for line in [
        format!("$SUPERVISE -- seq 100000 | {PAGER}"),
        format!("seq 100000 | $SUPERVISE -- {PAGER}"),
    ] {
        terminal.line(&format!("{line} &"));
        terminal.sees("ready 1\r\n");
        terminal.line("until jobs | grep -q Sto''pped; do sleep 0.02; done; echo see''n");
        terminal.sees("seen\r\n");
        terminal.fg("ey $key'");
        terminal.line("x");
        terminal.sees("key x\r\n");
        terminal.prompt();
    }
}

#[test]
fn fg_gives_the_terminal_to_the_group_that_the_command_is_in() {
    // It moves to the process group of its child before it reads.
    let script = "import os, signal
k = os.fork()
if k == 0:
    os.setpgid(0, 0)
    signal.pause()
os.setpgid(k, k)
os.setpgid(0, k)
print('re' + 'ady', flush=True)
print('got', input(), flush=True)
os.kill(k, 9)";
    let folder = Folder::new();
    let file = folder.write("script.py", script, 0o644);
    let mut terminal = Terminal::bash();
    // The helper that writes the log to a file is in our process group.
    for (log, last_word) in [
        ("", "script.py"),
        (&*format!("-vv 2>{}", folder.file("log")), "/log"),
    ] {
        terminal.line(&format!("$SUPERVISE -g {log} -- python3 {file} &"));
        terminal.sees("ready\r\n");
        terminal.line("until jobs | grep -q Sto''pped; do sleep 0.02; done; echo see''n");
        terminal.sees("seen\r\n");
        let supervise = children_of(terminal.pid())[0];
        terminal.fg(last_word);
        terminal.line("this");
        terminal.sees("got this");
        assert!(ticks(supervise) < 50, "it spins");
        terminal.prompt();
    }
}

#[test]
fn the_modes_of_a_running_pager_are_kept() {
    let folder = Folder::new();
    let file = folder.file("set");
    let mut terminal = Terminal::bash();
    // The pipe ends with supervise, whose stderr it is.
    terminal.line(&format!(
        "$SUPERVISE -- sh -c 'until [ -e {file} ]; do sleep 0.01; done; kill -KILL $$' 2>&1 |
         sh -c 'stty -echo </dev/tty; : >{file}; cat >/dev/null
         stty -a </dev/tty | grep -q -- \" -echo \" && echo ke\"\"pt; stty echo </dev/tty; echo thr\"\"ough'"
    ));
    let before = terminal.sees("through\r\n");
    assert!(before.contains("kept\r\n"), "{before}");
}

#[test]
fn without_dev_tty_the_terminal_is_found_by_its_descriptors() {
    if lacks_root("a mount namespace") {
        return;
    }
    for options in ["", "-g"] {
        // With stderr elsewhere it is none of those that are kept.
        for to in ["", "2>/dev/null"] {
            let script = format!(
                "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 &&
                 exec $SUPERVISE {options} -- sh -c 'echo re\"\"ady; read -r x; echo got $x; read -r x; echo got $x' {to}"
            );
            let mut terminal = Terminal::with(
                "unshare",
                &["--mount", "--propagation", "private", "bash", "-c", &script],
            );
            terminal.sees("ready\r\n");
            terminal.line("this");
            terminal.sees("got this\r\n");
            terminal.keys(CTRL_C);
            terminal.wait();
        }
    }
    // And it is left as it was.
    let script = "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3; a=$(stty -g)
         $SUPERVISE -t 0 -- sh -c 'stty raw -echo; kill -TERM $PPID; sleep 1062' 2>/dev/null
         b=$(stty -g); [ \"$a\" = \"$b\" ] && echo same; read -r x";
    let mut terminal = Terminal::with(
        "unshare",
        &["--mount", "--propagation", "private", "bash", "-c", script],
    );
    terminal.sees("same");
}

#[test]
fn terminal_signals_stop_leftovers_after_the_command_exited() {
    // With -g they have the terminal until then.
    for leftovers in ["wait", "stop", "wait -g"] {
        let folder = Folder::new();
        let file = folder.file("ready");
        let mut terminal = Terminal::bash();
        terminal.line(&format!(
            "$SUPERVISE -v -t 1000 --leftovers {leftovers} -- sh -c '(trap \"\" TERM INT
             : >{file}; while :; do sleep 0.05; done) & until [ -e {file} ]; do sleep 0.01; done; exit 0'"
        ));
        terminal.sees("exited with status 0");
        terminal.ctrl_z();
        terminal.fg("exit 0'");
        terminal.keys(CTRL_C);
        terminal.sees("SIGINT from the kernel");
        terminal.sees("stopping");
        terminal.keys(CTRL_C);
        terminal.sees("SIGINT from the terminal again: sending SIGKILL");
        terminal.prompt();
    }
    // The first is enough for what does as it is told.
    let mut terminal = Terminal::bash();
    terminal.line("$SUPERVISE -v -t 1000 --leftovers wait -- sh -c 'sleep 1041 & exit 0'");
    terminal.sees("exited with status 0");
    terminal.keys(CTRL_C);
    terminal.sees("stopping");
    terminal.prompt();
}

#[test]
fn a_resumed_command_gets_no_second_sigcont() {
    let mut terminal = Terminal::bash();
    terminal.line("$SUPERVISE -vv -- sh -c 'echo re\"\"ady; exec sleep 1061'");
    terminal.sees("ready\r\n");
    terminal.ctrl_z();
    terminal.fg("sleep 1061'");
    terminal.sees("received SIGCONT");
    terminal.keys(CTRL_C);
    let between = terminal.sees("received SIGINT");
    assert!(!between.contains("sent SIGCONT"), "{between}");
    terminal.prompt();
}
