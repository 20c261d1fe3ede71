//! The root folder of a Debian, which is the base of some images. It takes
//! minutes and a network to make, and is kept.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::machine;
use crate::need::programs;

/// systemd and D-Bus are for whoever boots it.
const PACKAGES: &str = "--include=systemd,systemd-sysv,dbus,python3-minimal,procps,gcc,libc6-dev";

pub fn folder() -> PathBuf {
    machine::kept("root")
}

/// Makes it, unless it is there. If that fails, the tests which need it say so.
pub fn make() {
    if folder().exists() || programs(&["debootstrap"]).is_some() {
        return;
    }
    println!("making {} (once, by debootstrap)", folder().display());
    let building = machine::kept("root.building");
    std::fs::create_dir_all(machine::kept("")).unwrap();
    machine::remove(&building);
    let log = File::create(log()).unwrap();
    // What it mounts meanwhile is gone when it ends, whichever way.
    let status = Command::new("unshare")
        .args([
            "--mount",
            "debootstrap",
            "--variant=minbase",
            PACKAGES,
            "bookworm",
        ])
        .arg(&building)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .status()
        .unwrap();
    if status.success() {
        std::fs::rename(building, folder()).unwrap();
    }
}

/// Why there is none, if so.
pub fn missing() -> Option<String> {
    if folder().exists() {
        return None;
    }
    programs(&["debootstrap"])
        .or_else(|| Some(format!("debootstrap has failed, see {}", log().display())))
}

fn log() -> PathBuf {
    Path::new(&machine::kept("debootstrap.log")).to_owned()
}
