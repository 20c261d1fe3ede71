//! The recipes of docs/services.md, word for word, with Debian's programs in one
//! container that Docker stops.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread::scope;

use crate::docker::docker;
use crate::engine::Container;
use crate::harness::eventually;
use crate::need::Need;
use crate::runner::{Test, tests};
use crate::services::{assert_graceful, numbers, run, wait_for_log};
use crate::stops::LIMIT;

pub fn tests() -> Vec<Test> {
    tests![&[Need::Docker, Need::Services];
        a_request_in_flight_is_finished_by_nginx_and_php,
        a_request_that_outlasts_the_latest_moment_of_php,
        a_database_loses_no_row_of_a_client_that_writes_without_pause,
        a_migration_that_fails_stops_the_container_with_its_status,
        a_worker_acknowledges_its_job_before_redis_stops,
    ]
}

/// The file of a recipe in the guide.
fn recipe(title: &str) -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/services.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let (_, section) = guide.split_once(&format!("\n### {title}\n")).unwrap();
    let (_, block) = section.split_once("```toml\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

/// Each of these is in the log, in this order.
#[track_caller]
fn assert_order(logs: &str, lines: &[&str]) {
    let mut rest = logs;
    for line in lines {
        let found = rest.split_once(line);
        assert!(found.is_some(), "{line:?} is not in its place in {logs}");
        rest = found.unwrap().1;
    }
}

/// As in the official images.
const NGINX: &str = "
    events {}
    http {
        access_log /dev/stdout;
        server {
            listen 80;
            location / {
                include fastcgi_params;
                fastcgi_param SCRIPT_FILENAME /log$fastcgi_script_name;
                fastcgi_pass 127.0.0.1:9000;
            }
        }
    }
";

const PHP_FPM: &str = "
[global]
error_log = /proc/self/fd/2
process_control_timeout = 5s
[www]
user = www-data
group = www-data
listen = 127.0.0.1:9000
pm = static
pm.max_children = 2
";

/// Answers when the test writes a file.
const SLOW: &str = "<?php
    touch('/log/begun');
    while (!file_exists('/log/finish')) {
        usleep(10000);
        clearstatcache();
    }
    echo 'finished';
";

/// Stops the container while a request is in flight, which is finished when the
/// log contains this.
#[track_caller]
fn stop_during_a_request(finished_at: &str) -> Container {
    let container = docker().container();
    container.folder.write("nginx.conf", NGINX, 0o644);
    container.folder.write("php-fpm.conf", PHP_FPM, 0o644);
    container.folder.write("slow.php", SLOW, 0o644);
    run(
        &container,
        &recipe("nginx and php-fpm"),
        "ln -s php-fpm8.2 /usr/sbin/php-fpm",
        // As the official images have it.
        &["--stop-signal", "SIGQUIT"],
        &[
            ("nginx.conf", "/etc/nginx/nginx.conf"),
            ("php-fpm.conf", "/etc/php/8.2/fpm/php-fpm.conf"),
        ],
    );
    wait_for_log(&container, "supervise[nginx]: ready", 1);
    let format = "--format={{.NetworkSettings.IPAddress}}";
    let address = docker().say(&["inspect", format, &container.name]);
    let mut connection = TcpStream::connect((address, 80)).unwrap();
    connection
        .write_all(b"GET /slow.php HTTP/1.0\r\n\r\n")
        .unwrap();
    eventually("the request is in flight", || {
        container.folder.path().join("begun").exists()
    });
    let mut answer = String::new();
    scope(|scope| {
        scope.spawn(|| container.stop(LIMIT));
        wait_for_log(&container, finished_at, 1);
        container.folder.write("finish", "", 0o644);
        let _ = connection.read_to_string(&mut answer);
    });
    let logs = container.logs();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}\n{logs}");
    assert!(answer.ends_with("\r\n\r\nfinished"), "{answer:?}\n{logs}");
    assert_graceful(&container);
    container
}

fn a_request_in_flight_is_finished_by_nginx_and_php() {
    let container = stop_during_a_request("supervise[nginx]: stopping: sending SIGQUIT");
    let order = [
        "supervise[php]: ready",
        "supervise[nginx]: started",
        "supervise[nginx]: stopping: sending SIGQUIT",
        "supervise[nginx]: exited with status 0",
        "supervise[php]: stopping: sending SIGQUIT",
        "supervise[php]: exited with status 0",
    ];
    assert_order(&container.logs(), &order);
}

/// By then the workers of nginx have been signaled as well, and php-fpm is stopped
/// while it still has the request.
fn a_request_that_outlasts_the_latest_moment_of_php() {
    stop_during_a_request("stopping php without waiting for it");
}

const DATABASE: &str = "An application with PostgreSQL, migration first";

/// Makes a database that lets all users in, once.
const MAKE_DATABASE: &str = "
    data=/var/lib/postgresql/data
    [ -d $data ] || runuser -u postgres -- initdb --auth=trust -D $data >/log/initdb
";

const MIGRATE: &str = "#!/bin/sh
exec psql -q -h 127.0.0.1 -U postgres -c 'create table if not exists items (n bigserial)'
";

/// Answers that it is healthy, and writes without pause. When it is stopped, it
/// waits until all that it has sent is written.
const WRITER: &str = "#!/bin/sh
python3 -m http.server --directory /log 8000 >/log/requests 2>&1 &
rm -f /tmp/statements
mkfifo /tmp/statements
psql -qAt -h 127.0.0.1 -U postgres </tmp/statements >>/log/acknowledged &
exec 3>/tmp/statements
trap stop=1 TERM
sent=0
while [ -z \"$stop\" ]; do
    # Long, so that not too many fit into the pipe.
    printf '%-400s\\n' 'insert into items default values returning n;' >&3
    sent=$((sent + 1))
done
exec 3>&-
wait %2
echo $sent >/log/sent
";

#[track_caller]
fn start_database(migrate: &str) -> Container {
    let container = docker().container();
    container.folder.write("manage.py", migrate, 0o755);
    container.folder.write("gunicorn", WRITER, 0o755);
    container.folder.write("health", "", 0o644);
    run(
        &container,
        &recipe(DATABASE),
        MAKE_DATABASE,
        &[],
        &[
            ("manage.py", "/app/manage.py"),
            ("gunicorn", "/usr/bin/gunicorn"),
        ],
    );
    container
}

fn a_database_loses_no_row_of_a_client_that_writes_without_pause() {
    let container = start_database(MIGRATE);
    wait_for_log(&container, "supervise[web]: ready", 1);
    eventually("rows are written", || {
        numbers(&container.folder.read("acknowledged")).len() > 1000
    });
    container.stop(LIMIT);
    assert_graceful(&container);
    let acknowledged = numbers(&container.folder.read("acknowledged"));
    let sent = container.folder.read("sent");
    assert_eq!(sent.trim(), acknowledged.len().to_string());
    let order = [
        "supervise[db]: ready",
        "supervise[migrate]: started",
        "supervise[migrate]: exited with status 0",
        "supervise[web]: started",
        "supervise[web]: stopping: sending SIGTERM",
        "supervise[web]: exited with status 0",
        "supervise[db]: stopping: sending SIGINT",
        "database system is shut down",
    ];
    assert_order(&container.logs(), &order);

    docker().say(&["start", &container.name]);
    wait_for_log(&container, "supervise[web]: ready", 2);
    let query = "psql -qAt -h 127.0.0.1 -U postgres -c 'select n from items'; echo";
    let rows = numbers(&docker().say(&["exec", &container.name, "sh", "-c", query]));
    let lost: Vec<_> = acknowledged.difference(&rows).collect();
    assert!(lost.is_empty(), "lost of {}: {lost:?}", acknowledged.len());
    let logs = container.logs();
    assert_eq!(
        logs.matches("database system was shut down at").count(),
        2,
        "{logs}"
    );
    assert!(!logs.contains("was not properly shut down"), "{logs}");
    container.stop(LIMIT);
    assert_graceful(&container);
}

fn a_migration_that_fails_stops_the_container_with_its_status() {
    let container = start_database("#!/bin/sh\nexit 7\n");
    assert_eq!(container.exit_code(), 7, "{}", container.logs());
    let logs = container.logs();
    let order = [
        "supervise[migrate]: exited with status 7",
        "supervise[db]: stopping: sending SIGINT",
        "database system is shut down",
    ];
    assert_order(&logs, &order);
    assert!(!logs.contains("supervise[web]"), "{logs}");
    assert_eq!(container.folder.read("acknowledged"), "");
}

/// Takes one job after the other, and finishes it when the test writes a file.
const CELERY: &str = "#!/bin/sh
stop=
trap stop=1 TERM
while [ -z \"$stop\" ]; do
    job=$(redis-cli lmove jobs taken left right)
    [ -n \"$job\" ] || continue
    touch /log/begun
    until [ -e /log/finish ]; do sleep 0.01; done
    redis-cli rpush done \"$job\"
    redis-cli lrem taken 1 \"$job\"
done
";

fn a_worker_acknowledges_its_job_before_redis_stops() {
    let container = docker().container();
    container.folder.write("celery", CELERY, 0o755);
    run(
        &container,
        &recipe("Redis and a worker"),
        "mkdir -p /data; chown redis /data",
        &[],
        &[("celery", "/usr/bin/celery")],
    );
    let redis =
        |words: &[&str]| docker().say(&[&["exec", &container.name, "redis-cli"], words].concat());
    wait_for_log(&container, "supervise[worker]: started", 1);
    redis(&["rpush", "jobs", "first", "second", "third"]);
    eventually("a job is in progress", || {
        container.folder.path().join("begun").exists()
    });
    scope(|scope| {
        scope.spawn(|| container.stop(LIMIT));
        wait_for_log(
            &container,
            "supervise[worker]: stopping: sending SIGTERM",
            1,
        );
        container.folder.write("finish", "", 0o644);
    });
    assert_graceful(&container);
    let order = [
        "supervise[worker]: stopping: sending SIGTERM",
        "supervise[worker]: exited with status 0",
        "supervise[redis]: stopping: sending SIGTERM",
    ];
    let logs = container.logs();
    assert_order(&logs, &order);
    assert!(logs.contains("DB saved on disk"), "{logs}");

    std::fs::remove_file(container.folder.file("finish")).unwrap();
    std::fs::remove_file(container.folder.file("begun")).unwrap();
    docker().say(&["start", &container.name]);
    eventually("the next job is in progress", || {
        container.folder.path().join("begun").exists()
    });
    let all = |list| redis(&["lrange", list, "0", "-1"]);
    assert_eq!(all("done"), "first");
    assert_eq!(all("taken"), "second");
    assert_eq!(all("jobs"), "third");
}
