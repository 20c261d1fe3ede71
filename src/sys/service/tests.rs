//! Services are started in children of the tests: these change what a process has but once.

use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, dup2_stdout, setgroups};

use super::super::kill::{Target, kill};
use super::super::spawn::{ProcessGroup, Setup, spawn};
use super::super::{process, signals};
use super::identity::{Refused, become_user};
use super::*;
use crate::signal::Signal;

const PLAIN: ServiceSetup<'_> = ServiceSetup {
    user: None,
    directory: None,
    environment: &[],
    program: "${PROGRAM}",
};

/// A user that is in no file.
const SHOWN: &str = "${USER}";

fn identity(uid: u32, gid: u32, groups: &[u32]) -> Identity {
    Identity {
        uid,
        gid,
        groups: groups.to_vec(),
    }
}

fn user(identity: &Identity) -> Labeled<'_, Identity> {
    Labeled {
        value: identity,
        shown: SHOWN,
    }
}

/// Whether a test that needs root can run; otherwise a line notes that it did not.
fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: becoming another user needs root"
        );
    }
    is_root
}

/// Runs `work` in a child, and returns what it and its children write to stdout.
fn in_child(work: impl FnOnce()) -> String {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let child = process::fork(|| {
        dup2_stdout(&writer).unwrap();
        work();
        0
    });
    drop(writer);
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    let _ = waitpid(Pid::from_raw(child.unwrap()), None);
    output
}

fn write(text: &str) {
    nix::unistd::write(std::io::stdout(), text.as_bytes()).unwrap();
}

/// Starts a service as a keeper does, and writes how it ended.
fn start(command: &[&str], service: &ServiceSetup<'_>) {
    let arguments: Vec<_> = command
        .iter()
        .map(|it| CString::new(*it).unwrap())
        .collect();
    let setup = Setup {
        own_pid: process::own_pid(),
        inherited: signals::block_all(),
        parent_death: Some(Signal::TERM),
        group: ProcessGroup::New,
        variables: &[],
        service: Some(service),
    };
    let child = spawn(&arguments, setup).unwrap();
    let WaitStatus::Exited(_, status) = waitpid(Pid::from_raw(child.pid), None).unwrap() else {
        return write("killed");
    };
    match child.exec_error() {
        None => write(&format!("exit {status}")),
        Some(error) => write(&format!("{}: {}", error.status, error.text)),
    }
}

/// What a service writes that is started by a child in which `prepare` was called.
fn run(prepare: impl FnOnce(), command: &[&str], service: &ServiceSetup<'_>) -> String {
    in_child(|| {
        prepare();
        start(command, service);
    })
}

/// Has these system calls do nothing and return this error; 0: success.
fn deny(calls: &[libc::c_long], errno: i32) {
    let instruction = |code: u32, jt: usize, value: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: u8::try_from(jt).unwrap(),
        jf: 0,
        k: value,
    };
    let (load, jump) = (
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
    );
    let give = libc::BPF_RET | libc::BPF_K;
    let mut filter = vec![instruction(load, 0, 0)];
    for (index, call) in calls.iter().enumerate() {
        filter.push(instruction(
            jump,
            calls.len() - index,
            u32::try_from(*call).unwrap(),
        ));
    }
    filter.push(instruction(give, 0, libc::SECCOMP_RET_ALLOW));
    let errno = u32::try_from(errno).unwrap();
    filter.push(instruction(give, 0, libc::SECCOMP_RET_ERRNO | errno));
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).unwrap(),
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the filter, which lives until the calls return.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
    };
    assert_eq!(set, 0);
}

const OF_USERS: [libc::c_long; 4] = [
    libc::SYS_setgroups,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setuid,
];

fn have_groups(groups: &[u32]) {
    let groups: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).unwrap();
}

/// Makes a user namespace in which the IDs from 0 to 4999 and the groups from 0 to 999 are
/// mapped.
fn enter_namespace() {
    let own = process::own_pid();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mapper = process::fork(|| {
        let _ = reader.read_exact(&mut [0]);
        let map = |name, map| std::fs::write(format!("/proc/{own}/{name}"), map).unwrap();
        map("uid_map", "0 0 5000");
        map("gid_map", "0 0 1000");
        0
    });
    // SAFETY: takes a plain integer.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWUSER) }, 0);
    (&writer).write_all(b"x").unwrap();
    waitpid(Pid::from_raw(mapper.unwrap()), None).unwrap();
}

/// Makes a user namespace in which no process may set groups, as that of a rootless engine
/// without /etc/subgid.
fn enter_namespace_alone() {
    // SAFETY: takes a plain integer.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWUSER) }, 0);
    for (name, text) in [
        ("setgroups", "deny"),
        ("uid_map", "0 0 1"),
        ("gid_map", "0 0 1"),
    ] {
        std::fs::write(format!("/proc/self/{name}"), text).unwrap();
    }
}

#[test]
fn a_service_becomes_its_user_whatever_the_groups_before() {
    if !is_root() {
        return;
    }
    let who = identity(4242, 4243, &[60, 4243, 50, 60]);
    let service = ServiceSetup {
        user: Some(user(&who)),
        ..PLAIN
    };
    let show =
        "grep -E '^(Uid|Gid|Groups|CapEff|CapPrm)' /proc/$$/status; stat -c %u /proc/$$; umask";
    let output = run(
        || {
            have_groups(&[7, 8, 9]);
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o027));
        },
        &["sh", "-c", show],
        &service,
    );
    let lines: Vec<_> = output.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "Uid:\t4242\t4242\t4242\t4242",
            "Gid:\t4243\t4243\t4243\t4243",
            "Groups:\t50 60 60 4243",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            // Dumpable again, once it is executed.
            "4242",
            "0027",
            "exit 0",
        ]
    );
}

#[test]
fn a_user_that_cannot_be_set_prevents_the_start() {
    if !is_root() {
        return;
    }
    let www = identity(4242, 50, &[50]);
    let unmapped_user = identity(5000, 50, &[50]);
    let unmapped_group = identity(4242, 1000, &[1000]);
    let unmapped_gid = identity(4242, 1000, &[50]);
    let secure_bits = || {
        // SAFETY: takes plain integers. 4: `SECBIT_NO_SETUID_FIXUP`.
        let result = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, 4, 0, 0, 0) };
        assert_eq!(result, 0);
    };
    for (prepare, identity, why) in [
        (
            &enter_namespace as &dyn Fn(),
            &unmapped_user,
            "setresuid: the user ID is not mapped in this user namespace",
        ),
        (
            &enter_namespace,
            &unmapped_group,
            "setgroups: a group ID is not mapped in this user namespace",
        ),
        (
            &enter_namespace,
            &unmapped_gid,
            "setresgid: a group ID is not mapped in this user namespace",
        ),
        (
            &enter_namespace_alone,
            &www,
            "setgroups: /proc/self/setgroups is \"deny\" in this user namespace",
        ),
        (
            &|| deny(&OF_USERS[..1], libc::EPERM),
            &www,
            "setgroups: Operation not permitted; grant CAP_SETGID",
        ),
        (
            &|| deny(&OF_USERS[2..3], libc::EPERM),
            &www,
            "setresuid: Operation not permitted; grant CAP_SETUID",
        ),
        // Calls that do nothing.
        (&|| deny(&OF_USERS[..1], 0), &www, "the IDs are not those"),
        (&|| deny(&OF_USERS[1..2], 0), &www, "the IDs are not those"),
        (&|| deny(&OF_USERS[2..3], 0), &www, "the IDs are not those"),
        (&secure_bits, &www, "setuid(0) still succeeds"),
    ] {
        let service = ServiceSetup {
            user: Some(user(identity)),
            ..PLAIN
        };
        let output = run(prepare, &["echo", "started"], &service);
        let expected = format!("125: cannot become user '${{USER}}': {why}");
        assert!(output.starts_with(&expected), "{output}");
    }
}

#[test]
fn a_user_that_we_are_is_not_set() {
    if !is_root() {
        return;
    }
    // What it needs is there: no call is made, whether or not it were permitted.
    let denied = |identity: &Identity| {
        in_child(|| {
            have_groups(&[50, 60, 70]);
            // SAFETY: take plain integers.
            unsafe {
                assert_eq!(libc::setresgid(4243, 4243, 4243), 0);
                assert_eq!(libc::setresuid(4242, 4242, 4242), 0);
            }
            deny(&OF_USERS, libc::EACCES);
            write(&format!("{:?}", become_user(identity)));
        })
    };
    let ok = "Ok(())";
    assert_eq!(denied(&identity(4242, 4243, &[4243, 50, 60, 70])), ok);
    assert_eq!(denied(&identity(4242, 4243, &[70])), ok);
    let tried = format!(
        "{:?}",
        Err::<(), _>(Refused::Call("setgroups", Errno::EACCES))
    );
    assert_eq!(denied(&identity(4242, 4243, &[80])), tried);
    assert_eq!(denied(&identity(4242, 50, &[50])), tried);
    assert_eq!(denied(&identity(4241, 4243, &[])), tried);
    // The saved ID alone is another.
    let output = in_child(|| {
        // SAFETY: takes plain integers.
        assert_eq!(unsafe { libc::setresuid(4242, 4242, 0) }, 0);
        write(&format!("{:?}", become_user(&identity(4242, 0, &[]))));
    });
    assert!(output.contains("setgroups"), "{output}");
}

#[test]
fn a_service_of_another_user_exits_with_its_keeper() {
    if !is_root() {
        return;
    }
    let who = identity(4242, 4243, &[]);
    let service = ServiceSetup {
        user: Some(user(&who)),
        ..PLAIN
    };
    let script = "trap 'echo stopped; exit' TERM; echo ready; while :; do sleep 0.01; done";
    let (mut reader, writer) = std::io::pipe().unwrap();
    let keeper = process::fork(|| {
        dup2_stdout(&writer).unwrap();
        start(&["sh", "-c", script], &service);
        0
    });
    drop(writer);
    let mut line = [0; 6];
    reader.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready\n");
    let keeper = keeper.unwrap();
    kill(Target::Process(keeper), Signal::KILL).unwrap();
    waitpid(Pid::from_raw(keeper), None).unwrap();
    let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(20_000_u16)).unwrap();
    assert!(fds[0].any().unwrap(), "it did not get SIGTERM");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "stopped\n");
}

#[test]
fn the_end_of_the_pipe_shows_that_the_service_was_executed() {
    let output = in_child(|| {
        let setup = Setup {
            own_pid: process::own_pid(),
            inherited: signals::block_all(),
            parent_death: Some(Signal::KILL),
            group: ProcessGroup::New,
            variables: &[],
            service: Some(&PLAIN),
        };
        // Closed, so that the pipe would get its number.
        descriptors::close(0);
        let child = spawn(&[c"sleep".to_owned(), c"1000".to_owned()], setup).unwrap();
        let reader = child.executed.unwrap();
        let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(20_000_u16)).unwrap();
        let read = nix::unistd::read(&reader, &mut [0]);
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", child.pid));
        let _ = kill(Target::Process(child.pid), Signal::KILL);
        write(&format!("{read:?} {}", comm.unwrap()));
        let setup = Setup {
            service: None,
            ..setup
        };
        let child = spawn(&[c"true".to_owned()], setup).unwrap();
        write(&format!("{:?}", child.executed));
    });
    assert_eq!(output, "Ok(0) sleep\nNone");
}

#[test]
fn a_service_gets_no_descriptor_above_stderr() {
    let leak = || {
        // SAFETY: takes plain integers. 2 is open.
        let leaked = unsafe { [libc::dup2(2, 7), libc::dup2(2, 900)] };
        assert_eq!(leaked, [7, 900]);
    };
    let list = "cd /proc/$$/fd; for number in 0 1 2 3 4 5 6 7 8 9 10 11 12 900; do
        [ ! -e $number ] || echo $number; done; exec readlink 0";
    let list = ["sh", "-c", list];
    for prepare in [
        &leak as &dyn Fn(),
        &|| {
            leak();
            descriptors::close(0);
        },
        &|| {
            leak();
            deny(&[libc::SYS_close_range], libc::ENOSYS);
        },
    ] {
        let output = run(prepare, &list, &PLAIN);
        assert_eq!(output, "0\n1\n2\n/dev/null\nexit 0");
    }
}

/// A folder that only root may search, below the temporary ones.
fn closed_folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("supervise-{name}-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    nix::sys::stat::fchmodat(
        nix::fcntl::AT_FDCWD,
        &folder,
        nix::sys::stat::Mode::S_IRWXU,
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )
    .unwrap();
    folder
}

#[test]
fn the_working_directory_is_entered_as_the_user_of_the_service() {
    let run = |path: &CStr, who: Option<&Identity>| {
        let service = ServiceSetup {
            user: who.map(user),
            directory: Some(Labeled {
                value: path,
                shown: "${DIR}",
            }),
            ..PLAIN
        };
        run(|| (), &["pwd"], &service)
    };
    assert_eq!(run(c"/proc/1", None), "/proc/1\nexit 0");
    let start = "125: cannot change to the working directory '${DIR}': ";
    let expected = format!("{start}No such file or directory; create it or correct working_dir");
    assert_eq!(run(c"/secret", None), expected);
    let expected = format!("{start}Not a directory; correct working_dir");
    assert_eq!(run(c"/proc/stat", None), expected);
    if !is_root() {
        return;
    }
    let folder = closed_folder("directory");
    let path = CString::new(folder.to_str().unwrap()).unwrap();
    let output = run(&path, Some(&identity(4242, 4242, &[])));
    std::fs::remove_dir(&folder).unwrap();
    assert!(
        output.starts_with(&format!("{start}Permission denied; make it searchable")),
        "{output}"
    );
}

#[test]
fn messages_about_a_program_show_the_text_of_the_file_only() {
    let set = |path: &str| [("PATH".into(), path.into()), ("A".into(), "b".into())];
    let environment = set("/bin:/usr/bin");
    let service = ServiceSetup {
        environment: &environment,
        ..PLAIN
    };
    let output = run(|| (), &["sh", "-c", "echo $PATH $A"], &service);
    assert_eq!(output, "/bin:/usr/bin b\nexit 0");
    let folder = closed_folder("secret");
    std::fs::write(folder.join("secret"), "").unwrap();
    let environment = set(folder.to_str().unwrap());
    let service = ServiceSetup {
        environment: &environment,
        ..PLAIN
    };
    let file = folder.join("secret");
    let program = "cannot run '${PROGRAM}': ";
    for (name, expected) in [
        ("secret", "126: {}it is not executable; use chmod +x"),
        (
            file.to_str().unwrap(),
            "126: {}it is not executable; use chmod +x",
        ),
        ("/secret", "127: {}no such file or directory"),
        ("a secret", "127: {}not found in PATH; it contains a space"),
        ("secrets", "127: {}not found in PATH; install it"),
    ] {
        let output = run(|| (), &[name], &service);
        assert!(
            output.starts_with(&expected.replace("{}", program)),
            "{output}"
        );
        assert!(!output.contains("secret"), "{output}");
    }
    // In its working directory.
    let path = CString::new(folder.to_str().unwrap()).unwrap();
    let service = ServiceSetup {
        directory: Some(Labeled {
            value: &path,
            shown: "${DIR}",
        }),
        ..PLAIN
    };
    let output = run(|| (), &["secret"], &service);
    std::fs::remove_dir_all(&folder).unwrap();
    let advice = "not found in PATH; it is in the working directory: use './${PROGRAM}'";
    assert_eq!(output, format!("127: {program}{advice}"));
}

#[test]
fn the_process_limit_of_the_user_is_named() {
    if !is_root() {
        return;
    }
    let who = identity(4244, 4244, &[]);
    let service = ServiceSetup {
        user: Some(user(&who)),
        ..PLAIN
    };
    let limit = || {
        // The process that changes to the user is not counted yet.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let parent = process::own_pid();
        process::fork(|| {
            become_user(&who).unwrap();
            signals::set_parent_death_signal(Signal::KILL, parent).unwrap();
            (&writer).write_all(b"x").unwrap();
            nix::unistd::pause();
            0
        })
        .unwrap();
        reader.read_exact(&mut [0]).unwrap();
        let resource = nix::sys::resource::Resource::RLIMIT_NPROC;
        nix::sys::resource::setrlimit(resource, 0, 0).unwrap();
    };
    // The fork is not limited, because the keeper is root.
    let output = run(limit, &["true"], &service);
    let expected = "126: cannot run '${PROGRAM}': the limit on processes of its user is reached";
    assert!(output.starts_with(expected), "{output}");
}
