//! Readiness: probes, checks, and the time to become ready.

use super::*;

#[test]
fn a_check_is_tried_once_before_the_start() {
    let rules = one(probed);
    for (answers, start) in [(false, "start 0"), (true, "already answers 0, start 0")] {
        let mut run = Run::new(&rules);
        assert_eq!(run.begin(), "probe 0");
        let probed = Event::Probed { id: Id(0), answers };
        assert_eq!(run.on(probed), start);
        assert_eq!(run.on(probed), "");
        assert_eq!(run.at(5.0), "");
    }
}

#[test]
fn the_start_waits_a_second_for_the_probe() {
    let rules = one(probed);
    let mut run = Run::new(&rules);
    run.begin();
    assert_eq!(run.at(0.9), "");
    assert_eq!(run.at(1.0), "end check 0, start 0");
    assert_eq!(run.executed(0), "check 0");
}

#[test]
fn a_stop_request_ends_a_probe() {
    let rules = one(probed);
    let mut run = Run::new(&rules);
    run.begin();
    assert_eq!(run.request(), "stopping, end check 0, exit 0");
}

#[test]
fn a_check_begins_at_the_execution_and_is_started_again_when_it_dies() {
    let rules = one(|service| service.ready = Ready::Checked { probe: false });
    let mut run = Run::new(&rules);
    assert_eq!(run.begin(), "start 0");
    assert_eq!(run.ready(0), "", "there is no check");
    assert_eq!(run.executed(0), "check 0");
    let ended = Event::CheckEnded(Id(0));
    assert_eq!(run.on(ended), "");
    assert_eq!(run.on(ended), "");
    assert_eq!(run.ready(0), "", "no check runs now");
    assert_eq!(run.at(0.4), "");
    assert_eq!(run.at(0.5), "check 0");
    assert_eq!(run.ready(0), "ready 0");
    assert_eq!(run.on(ended), "");
    assert_eq!(run.at(9.0), "");
}

#[test]
fn a_success_counts_only_while_the_service_runs() {
    let rules = one(|service| {
        service.ready = Ready::Checked { probe: false };
        service.restart = Restart::OnFailure;
    });
    let mut run = Run::up(&rules);
    assert_eq!(run.ended(0, Ending::Exited(1)), "end check 0");
    assert_eq!(run.ready(0), "");
    assert_eq!(run.gone(0), "restart 0 in 500ms after 1");
    assert_eq!(run.at(0.5), "start 0");
    assert_eq!(run.executed(0), "check 0");
    run.on(Event::CheckEnded(Id(0)));
    assert_eq!(run.ended(0, Ending::Exited(1)), "");
    assert_eq!(run.at(5.0), "", "there is nothing to check");
}

#[test]
fn a_service_that_was_ready_is_neither_probed_nor_checked_again() {
    let rules = one(|service| {
        probed(service);
        service.restart = Restart::OnFailure;
    });
    let mut run = Run::new(&rules);
    run.begin();
    run.at(1.0);
    run.executed(0);
    run.ready(0);
    run.exits(0, 1);
    assert_eq!(run.at(1.5), "start 0");
    assert_eq!(run.executed(0), "");
}

#[test]
fn a_service_that_is_not_ready_is_named_after_10_s_and_at_each_doubling() {
    let rules = one(|service| {
        notified(service);
        service.restart = Restart::OnFailure;
    });
    let mut run = Run::up(&rules);
    for named in [10.0, 20.0, 40.0, 80.0] {
        assert_eq!(run.at(named - 0.1), "");
        assert_eq!(run.at(named), "not ready 0");
    }
    // Through a restart as well.
    run.exits(0, 1);
    assert_eq!(run.at(159.0), "start 0");
    run.executed(0);
    for named in [160.0, 320.0] {
        assert_eq!(run.at(named - 0.1), "");
        assert_eq!(run.at(named), "not ready 0");
    }
    assert_eq!(run.ready(0), "ready 0");
    assert_eq!(run.at(500.0), "");
}

#[test]
fn a_service_that_is_given_up_is_not_named() {
    let rules = rules(&[&[], &[]], 8.0, |_, service| {
        notified(service);
        service.essential = false;
    });
    let mut run = Run::up(&rules);
    run.exits(0, 1);
    assert_eq!(run.at(10.0), "not ready 1");
}

#[test]
fn a_service_that_is_not_ready_in_time_is_stopped_and_has_failed() {
    let rules = one(|service| {
        service.ready = Ready::Checked { probe: false };
        service.ready_timeout = Some(SECOND * 2);
    });
    let mut run = Run::up(&rules);
    assert_eq!(run.at(2.0), "end check 0, late 0, stop 0");
    assert_eq!(run.told[&0], (Some(10.0), Some(8.0)), "the grace period");
    assert_eq!(run.ready(0), "");
    assert_eq!(run.plan.condition(Id(0)), Condition::Stopping);
    assert_eq!(run.ended(0, TERM), "essential 0, stop 0");
    assert_eq!(run.gone(0), "exit 124 of 0");
}

#[test]
fn a_service_that_is_not_ready_in_time_has_its_own_period_and_is_restarted() {
    let rules = one(|service| {
        notified(service);
        period(service, 1.0);
        service.ready_timeout = Some(SECOND * 2);
        service.restart = Restart::OnFailure;
    });
    let mut run = Run::new(&rules);
    run.begin();
    // Before it was executed.
    assert_eq!(run.at(2.0), "late 0, stop 0");
    assert_eq!(run.told[&0], (Some(3.0), Some(2.75)));
    assert_eq!(run.executed(0), "");
    assert_eq!(run.exits(0, 0), "restart 0 in 500ms after 1");
    assert_eq!(run.at(2.5), "start 0");
    assert_eq!(run.at(4.5), "late 0, stop 0", "once more");
}

#[test]
fn a_one_shot_that_takes_too_long_has_failed_even_if_it_exits_with_success() {
    let rules = rules(&[&[1], &[]], 8.0, |id, service| {
        if id == 1 {
            service.ready = Ready::Exited;
            service.ready_timeout = Some(SECOND * 2);
            service.restart = Restart::OnFailure;
            service.restart_limit = Some(1);
        }
    });
    let mut run = Run::up(&rules);
    assert_eq!(run.at(2.0), "late 1, stop 1");
    assert_eq!(run.exits(1, 0), "restart 1 in 500ms after 1");
    // The next run has as long.
    assert_eq!(run.at(2.5), "start 1");
    run.executed(1);
    assert_eq!(run.at(4.4), "");
    assert_eq!(run.at(4.5), "late 1, stop 1");
    let given_up = "given up 1 after 2, essential 1, stop 1, exit 124 of 1";
    assert_eq!(run.exits(1, 0), given_up);
}

#[test]
fn what_is_ready_in_time_has_no_limit() {
    let rules = one(|service| {
        service.ready_timeout = Some(SECOND * 2);
        service.restart = Restart::Always;
    });
    let mut run = Run::up(&rules);
    assert_eq!(run.at(2.0), "");
    run.exits(0, 1);
    assert_eq!(run.at(2.5), "start 0");
    assert_eq!(run.at(9.0), "");
}
