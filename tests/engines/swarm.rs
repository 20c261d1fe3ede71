//! `supervise` as the entry point of services in a swarm of one node.

use std::collections::BTreeMap;
use std::sync::Once;

use crate::docker::{docker, events};
use crate::harness::{Folder, eventually};
use crate::images::Image;
use crate::need::Need;
use crate::runner::{Test, tests};

pub fn tests() -> Vec<Test> {
    tests![&[Need::Docker];
        a_service_that_is_removed,
        a_rolling_update,
    ]
}

/// Each container has a log file, named by its host name.
const WORKER: &str = "
    trap 'sleep 1; echo saved >>/log/$HOSTNAME; exit 0' TERM
    echo ready >>/log/$HOSTNAME
    while :; do sleep 1 & wait $!; done
";

/// Makes this daemon a swarm.
pub fn join() {
    static JOINED: Once = Once::new();
    JOINED.call_once(|| {
        docker().say(&["swarm", "init", "--advertise-addr=127.0.0.1"]);
    });
}

struct Service {
    name: &'static str,
    folder: Folder,
}

impl Service {
    fn create(name: &'static str, replicas: u32) -> Self {
        join();
        let folder = Folder::new();
        let mount = format!("type=bind,source={},target=/log", folder.path().display());
        docker().say(&[
            "service",
            "create",
            "--detach",
            "--no-resolve-image",
            "--name",
            name,
            &format!("--replicas={replicas}"),
            "--stop-grace-period=30s",
            "--env=SUPERVISE_GRACE=28",
            "--mount",
            &mount,
            docker().image(Image::Shell),
            "sh",
            "-c",
            // A shell that passes nothing on, so that it is for supervise.
            &format!("({WORKER}) & wait"),
        ]);
        Self { name, folder }
    }

    /// What is in each log file.
    fn logs(&self) -> BTreeMap<String, String> {
        let files = self.folder.path().read_dir().unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names
            .map(|name| (name.clone(), self.folder.read(&name)))
            .collect()
    }

    fn wait_for_ready(&self, count: usize) {
        eventually("the replicas are ready", || {
            let logs = self.logs();
            logs.values().filter(|log| *log == "ready\n").count() == count
        });
    }

    fn remove(&self) {
        docker().say(&["service", "rm", self.name]);
        let label = format!("label=com.docker.swarm.service.name={}", self.name);
        eventually("its containers are gone", || {
            docker()
                .say(&["ps", "--all", "--quiet", "--filter", &label])
                .is_empty()
        });
    }

    /// What Docker has sent its containers, and how these ended.
    #[track_caller]
    fn assert_nobody_was_killed(&self, containers: usize) {
        let label = format!("label=com.docker.swarm.service.name={}", self.name);
        let sent = events(&["event=kill", &label], "{{.Actor.Attributes.signal}}");
        assert_eq!(sent, vec!["15"; containers]);
        // The shell, which is the command, dies of the signal.
        let codes = events(&["event=die", &label], "{{.Actor.Attributes.exitCode}}");
        assert_eq!(codes, vec!["143"; containers]);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        docker().run(&["service", "rm", self.name]);
    }
}

fn a_service_that_is_removed() {
    let service = Service::create("removed", 1);
    service.wait_for_ready(1);
    service.remove();
    let logs: Vec<String> = service.logs().into_values().collect();
    assert_eq!(logs, ["ready\nsaved\n"]);
    service.assert_nobody_was_killed(1);
}

fn a_rolling_update() {
    let service = Service::create("updated", 2);
    service.wait_for_ready(2);
    let old = service.logs();
    docker().say(&[
        "service",
        "update",
        "--quiet",
        "--no-resolve-image",
        "--update-monitor=1s",
        "--env-add=RELEASE=2",
        service.name,
    ]);
    service.wait_for_ready(2);
    let new = service.logs();
    assert_eq!(new.len(), 4, "{new:?}");
    for name in old.keys() {
        assert_eq!(new[name], "ready\nsaved\n", "{new:?}");
    }
    service.assert_nobody_was_killed(2);
    service.remove();
    let logs = service.logs();
    assert!(logs.values().all(|log| log == "ready\nsaved\n"), "{logs:?}");
    service.assert_nobody_was_killed(4);
}
