//! The log of several services.

use crate::harness::*;

/// The lines about a service, without its name and what comes before it.
fn about<'a>(name: &str, errors: &'a str) -> Vec<&'a str> {
    let begin = format!("supervise[{name}]: ");
    let lines = errors.lines();
    lines.filter_map(|line| line.strip_prefix(&begin)).collect()
}

/// Runs these services until they end by themselves.
fn run(words: &[&str], services: &str) -> Output {
    let folder = Folder::new();
    let file = folder.write("services.toml", format!("grace = '5s'\n{services}"), 0o644);
    supervise(&[words, &["-f", &file]].concat())
}

#[test]
fn service_that_cannot_be_executed_is_logged_with_the_reason_and_not_as_stopped() {
    // A program is looked for at the start only where nothing before can provide it.
    let services = "[services.first]\ncommand = ['true']\nready = 'exited'\n\
        [services.web]\ncommand = ['/no/web']\ndepends_on = ['first']\n";
    let output = run(&["-v"], services);
    assert_eq!(output.code, Some(127), "{}", output.errors);
    let expected = [
        "cannot run '/no/web': no such file or directory",
        "is essential and no longer runs: stopping all services",
    ];
    assert_eq!(about("web", &output.errors), expected, "{}", output.errors);
    let last = output.errors.lines().last();
    assert_eq!(
        last,
        Some("supervise: exiting with status 127, the status of web")
    );
}

#[test]
fn restart_is_logged_with_its_reason_and_each_failure_is_counted() {
    let services = "[services.web]\ncommand = ['sh', '-c', 'exit 3']\n\
        restart = 'on-failure'\nrestart_limit = 1\n";
    let output = run(&[], services);
    assert_eq!(output.code, Some(3), "{}", output.errors);
    let expected = [
        "exited with status 3: restarting in 500ms (failure 1 in a row)",
        "failed 2 times in a row: not restarted again (restart_limit)",
        "is essential and no longer runs: stopping all services",
    ];
    assert_eq!(about("web", &output.errors), expected, "{}", output.errors);
}

#[test]
fn line_about_a_service_has_its_name_in_json() {
    let output = run(
        &["--log-format", "json"],
        "[services.web]\ncommand = ['true']\n",
    );
    let fields = r#""level":"warn","service":"web","message":"is essential"#;
    assert!(output.errors.contains(fields), "{}", output.errors);
}

#[test]
fn last_line_says_why_sigkill_was_needed() {
    let of_other = "(sh): it ignores SIGTERM)";
    for (script, reason) in [
        (
            "trap '' TERM; >trapped; sleep 60; true",
            "(killed: it ignores SIGTERM)",
        ),
        // The main process exits on SIGTERM, and the other one remains.
        ("(trap '' TERM; >trapped; sleep 60; true) & wait", of_other),
    ] {
        let folder = Folder::new();
        let path = folder.path().to_str().unwrap();
        let services = format!(
            "grace = '300ms'\n\
             [services.web]\ncommand = ['sh', '-c', \"{script}\"]\nworking_dir = '{path}'\n\
             ready = {{ command = ['test', '-e', 'trapped'] }}\n\
             [services.quit]\ncommand = ['true']\ndepends_on = ['web']\n"
        );
        let file = folder.write("services.toml", services, 0o644);
        let output = supervise(&["-f", &file]);
        let line = output
            .errors
            .lines()
            .find(|line| line.contains(": stopped in "));
        assert!(line.unwrap().contains(reason), "{}", output.errors);
    }
}
