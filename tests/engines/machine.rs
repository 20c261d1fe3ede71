//! A machine of its own for the engines: namespaces, with `supervise` as PID 1.
//! When that ends every process, mount, bridge and firewall rule in them ends
//! too. What they leave in the file system is removed here.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};

use crate::harness::{eventually, is_root, send};
use crate::need::programs;
use crate::programs;

/// Set for those who are inside.
const INSIDE: &str = "TEST_SUPERVISE_INSIDE";

/// The control group of Docker's containers; no other engine has it, not even
/// that of another clone of the repository.
pub fn cgroup() -> String {
    format!("supervise-engines-{}", kept("").metadata().unwrap().ino())
}

/// Configuration for Podman that asks for nothing which a machine without
/// systemd, or without the right to raise limits, could not give.
const PODMAN: &str = "\
[containers]
netns = \"host\"
default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]
[engine]
runtime = \"runc\"
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
";

/// Run inside, before the tests: a loopback device that is up, and places of
/// our own where the engines write without being asked.
const SET_UP: &str = "\
busybox ip link set lo up
mount -t tmpfs run /run
mkdir /run/etc /run/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work etc /etc
for folder in /var/lib/containers /var/lib/cni; do
    [ ! -d $folder ] || mount -t tmpfs lib $folder
done
exec \"$@\"
";

/// A file or folder that is kept from one run to the next.
pub fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/engines")
        .join(name)
}

/// The folder of this run, where all data of the engines is.
pub fn folder() -> PathBuf {
    kept("run")
}

pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Why there can be no such machine here, if so.
pub fn missing() -> Option<String> {
    if !is_root() {
        return Some("it takes root".to_owned());
    }
    programs(&["busybox", "setpriv", "tar", "unshare"])
}

/// Runs this program once more, inside, and cleans up behind it.
pub fn enter() -> ExitCode {
    std::fs::create_dir_all(kept("")).unwrap();
    let lock = Flock::lock(
        File::create(kept("lock")).unwrap(),
        FlockArg::LockExclusiveNonblock,
    );
    let Ok(_lock) = lock else {
        eprintln!("error: another run uses {}", kept("").display());
        return ExitCode::from(101);
    };
    clean_up();
    let before = podman_cgroups();
    std::fs::create_dir_all(folder().join("tmp")).unwrap();
    std::fs::write(folder().join("containers.conf"), PODMAN).unwrap();
    std::fs::write(folder().join("storage.conf"), storage()).unwrap();
    // Podman reads it too, and wants it to be there.
    std::fs::create_dir(folder().join("docker-config")).unwrap();
    std::fs::write(folder().join("docker-config/config.json"), "{}").unwrap();

    // Before there is a second thread.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect();
    signals.thread_block().unwrap();
    let mut inside = start();
    let pid = i32::try_from(inside.id()).unwrap();
    // Not joined: it waits for a signal that may never come.
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            send(pid, libc::SIGKILL);
        }
    });
    let status = inside.wait().unwrap();
    clean_up();
    for group in podman_cgroups() {
        if !before.contains(&group) {
            // Not if somebody else uses it by now.
            let _ = std::fs::remove_dir(group.join("conmon"));
            let _ = std::fs::remove_dir(group);
        }
    }
    match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap()),
        None => ExitCode::from(101),
    }
}

fn start() -> Child {
    let files = folder();
    // If we are killed, unshare is, and then its child, which is PID 1.
    Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--net",
            "--ipc",
            "--uts",
        ])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(programs::supervise())
        .args(["--grace", "5", "--", "sh", "-euc", SET_UP, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(std::env::args().skip(1))
        .env(INSIDE, "1")
        .env("TMPDIR", files.join("tmp"))
        .env("DOCKER_CONFIG", files.join("docker-config"))
        .env(
            "DOCKER_HOST",
            format!("unix://{}", files.join("docker.sock").display()),
        )
        .env("DOCKER_BUILDKIT", "0")
        .env("CONTAINERS_CONF", files.join("containers.conf"))
        .env("CONTAINERS_STORAGE_CONF", files.join("storage.conf"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// Where Podman keeps its images and containers.
fn storage() -> String {
    format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"/run/podman\"\n",
        folder().join("podman").display()
    )
}

/// What Podman makes for all containers of the machine, in every hierarchy.
fn podman_cgroups() -> Vec<PathBuf> {
    let hierarchies = Path::new("/sys/fs/cgroup").read_dir();
    let hierarchies = hierarchies.into_iter().flatten().flatten();
    let in_each = hierarchies.map(|entry| entry.path().join("libpod_parent"));
    let at_the_top = Path::new("/sys/fs/cgroup/libpod_parent").to_owned();
    let all = in_each.chain([at_the_top]);
    all.filter(|group| group.is_dir()).collect()
}

/// Removes what this run, or one that was killed, has left.
fn clean_up() {
    let containers = [
        "pods",
        "docker/containers",
        "podman/overlay-containers",
        "podman/vfs-containers",
    ];
    let mut names: Vec<String> = containers
        .iter()
        .filter_map(|name| folder().join(name).read_dir().ok())
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.len() == 64)
        .collect();
    names.push(cgroup());
    remove_cgroups(Path::new("/sys/fs/cgroup"), &names, false);
    remove(&folder());
}

/// Removes the control groups whose names contain one of these, with those
/// below. The processes in them have ended, or are about to.
fn remove_cgroups(folder: &Path, names: &[String], within: bool) {
    let Ok(entries) = folder.read_dir() else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if !path.is_dir() || path.is_symlink() {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let ours = within || names.iter().any(|part| name.contains(part));
        remove_cgroups(&path, names, ours);
        if ours {
            eventually("the control group is empty", || {
                let removed = std::fs::remove_dir(&path);
                removed.is_ok() || removed.is_err_and(|error| error.kind() == ErrorKind::NotFound)
            });
        }
    }
}

/// Removes a folder, if it is there.
pub fn remove(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            panic!("{}: {error}", folder.display())
        }
        _ => {}
    }
}
