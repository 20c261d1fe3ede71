//! The root folders of Debian, which are the base of some images. They take
//! minutes and a network to make, and are kept.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::machine;
use crate::need::programs;

/// The root folder of a Debian with some packages.
pub struct Root {
    name: &'static str,
    include: &'static str,
}

/// systemd and D-Bus are for the tests that boot it.
pub const DEBIAN: Root = Root {
    name: "root",
    include: "--include=systemd,systemd-sysv,dbus,python3-minimal,procps,gcc,libc6-dev",
};

/// Programs that run as several services in one container.
pub const SERVICES: Root = Root {
    name: "services",
    include: "--include=nginx-light,php8.2-fpm,postgresql-15,redis-server,python3,procps",
};

impl Root {
    pub fn folder(&self) -> PathBuf {
        machine::kept(self.name)
    }

    /// Makes it, unless it is there. If that fails, the tests which need it say so.
    pub fn make(&self) {
        if self.folder().exists() || programs(&["debootstrap"]).is_some() {
            return;
        }
        println!("making {} (once, by debootstrap)", self.folder().display());
        let building = machine::kept(&format!("{}.building", self.name));
        std::fs::create_dir_all(machine::kept("")).unwrap();
        machine::remove(&building);
        let log = File::create(self.log()).unwrap();
        // What it mounts meanwhile is gone when it ends, whichever way.
        let status = Command::new("unshare")
            .args(["--mount", "debootstrap", "--variant=minbase", self.include])
            .arg("bookworm")
            .arg(&building)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        if status.success() {
            std::fs::rename(building, self.folder()).unwrap();
        }
    }

    /// Why it cannot be made, if so.
    pub fn missing(&self) -> Option<String> {
        if self.folder().exists() {
            return None;
        }
        programs(&["debootstrap"]).or_else(|| {
            Some(format!(
                "debootstrap has failed, see {}",
                self.log().display()
            ))
        })
    }

    fn log(&self) -> PathBuf {
        machine::kept(&format!("{}.debootstrap.log", self.name))
    }
}
