//! Restarts.

use super::*;

#[test]
fn a_service_is_restarted_by_its_end_and_its_setting() {
    let ends = [
        Ending::Exited(0),
        Ending::Exited(3),
        CRASH,
        Ending::NotExecuted(127),
        // A success, though a signal killed it.
        TERM,
    ];
    for (restart, expected) in [
        (Restart::No, [false; 5]),
        (Restart::OnFailure, [false, true, true, true, true]),
        (Restart::Always, [true; 5]),
    ] {
        let rules = one(|service| {
            service.restart = restart;
            service.success = vec![143];
        });
        for (ending, expected) in ends.into_iter().zip(expected) {
            let mut run = Run::up(&rules);
            let words = run.over(0, ending);
            let restarted = words.starts_with("restart 0 in 500ms");
            assert_eq!(restarted, expected, "{restart:?}, {ending}: {words}");
        }
    }
}

#[test]
fn a_one_shot_is_restarted_after_failures_only() {
    for restart in [Restart::OnFailure, Restart::Always] {
        let rules = one(|service| {
            service.ready = Ready::Exited;
            service.restart = restart;
            service.success = vec![143];
        });
        let mut run = Run::up(&rules);
        assert_eq!(run.exits(0, 1), "restart 0 in 500ms after 1");
        assert_eq!(run.at(0.5), "start 0");
        run.executed(0);
        assert_eq!(run.over(0, TERM), "ready 0, exit 0");
    }
}

#[test]
fn a_restart_waits_until_nothing_is_left() {
    let rules = one(|service| service.restart = Restart::OnFailure);
    let mut run = Run::up(&rules);
    assert_eq!(run.ended(0, CRASH), "");
    assert_eq!(run.plan.condition(Id(0)), Condition::Restarting);
    assert_eq!(run.at(7.0), "");
    assert_eq!(run.gone(0), "restart 0 in 500ms after 1");
    assert_eq!(run.at(7.4), "");
    assert_eq!(run.at(7.5), "start 0");
}

#[test]
fn the_pause_doubles_with_each_failure_in_a_row() {
    let rules = one(|service| {
        service.restart = Restart::OnFailure;
        service.restart_limit = None;
    });
    let mut run = Run::up(&rules);
    let mut now = 0.0;
    let pauses = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0];
    for (failures, pause) in (1..).zip(pauses) {
        let expected = format!("restart 0 in {:?} after {failures}", seconds(pause));
        assert_eq!(run.exits(0, 1), expected);
        assert_eq!(run.at(now + pause - 0.1), "");
        now += pause;
        assert_eq!(run.at(now), "start 0");
        run.executed(0);
    }
    for _ in 0..100 {
        run.exits(0, 1);
        now += 30.0;
        assert_eq!(run.at(now), "start 0");
        run.executed(0);
    }
}

#[test]
fn a_run_that_succeeded_or_lasted_begins_the_count_anew() {
    let rules = one(|service| service.restart = Restart::Always);
    let mut run = Run::up(&rules);
    run.exits(0, 1);
    run.at(0.5);
    run.executed(0);
    assert_eq!(run.exits(0, 1), "restart 0 in 1s after 2");
    run.at(1.5);
    run.executed(0);
    assert_eq!(run.exits(0, 0), "restart 0 in 500ms after 0");
    run.at(2.0);
    run.executed(0);
    assert_eq!(run.exits(0, 1), "restart 0 in 500ms after 1");
    assert_eq!(run.at(10.0), "start 0");
    // The run begins with the execution.
    run.executed(0);
    run.at(39.9);
    assert_eq!(run.exits(0, 1), "restart 0 in 1s after 2");
    run.at(50.0);
    run.executed(0);
    run.at(80.0);
    assert_eq!(run.exits(0, 1), "restart 0 in 500ms after 1");
}

#[test]
fn a_service_is_given_up_after_so_many_restarts() {
    for limit in [0, 2] {
        let rules = one(|service| {
            service.restart = Restart::OnFailure;
            service.restart_limit = Some(limit);
        });
        let mut run = Run::up(&rules);
        for restart in 1..=limit {
            assert!(run.exits(0, 1).starts_with("restart 0"), "{restart}");
            run.at(run.now.as_secs_f64() + 10.0);
            run.executed(0);
        }
        let words = run.exits(0, 3);
        let failures = limit + 1;
        let expected = format!("given up 0 after {failures}, essential 0, stop 0, exit 3 of 0");
        assert_eq!(words, expected);
    }
}

#[test]
fn successes_have_no_limit() {
    let rules = one(|service| {
        service.restart = Restart::Always;
        service.restart_limit = Some(0);
    });
    let mut run = Run::up(&rules);
    for _ in 0..10 {
        assert_eq!(run.exits(0, 0), "restart 0 in 500ms after 0");
        run.at(run.now.as_secs_f64() + 1.0);
        run.executed(0);
    }
    assert!(run.exits(0, 1).starts_with("given up 0"));
}
