//! The order of the stop.

use super::*;

#[test]
fn each_service_is_stopped_when_those_above_it_are_gone() {
    let rules = plain(CHAIN);
    let mut run = Run::up(&rules);
    assert_eq!(run.request(), "stopping, stop 0");
    assert_eq!(run.ended(0, TERM), "stop 0");
    assert_eq!(run.gone(0), "stop 1");
    assert_eq!(run.exits(1, 0), "stop 1, stop 2");
    assert_eq!(run.exits(2, 0), "stop 2, exit 0");
}

#[test]
fn a_service_waits_for_those_above_one_that_ended_long_ago() {
    // web, migrate, db
    let rules = rules(CHAIN, 8.0, |id, service| {
        if id == 1 {
            service.ready = Ready::Exited;
        }
    });
    let mut run = Run::up(&rules);
    assert_eq!(run.exits(1, 0), "ready 1, start 0");
    assert_eq!(run.request(), "stopping, stop 0");
    assert_eq!(run.exits(0, 0), "stop 0, stop 2");
}

#[test]
fn independent_services_are_stopped_side_by_side() {
    // 0 needs 1; 2 needs 3 and 4.
    let rules = plain(&[&[1], &[], &[3, 4], &[], &[]]);
    let mut run = Run::up(&rules);
    assert_eq!(run.request(), "stopping, stop 0, stop 2");
    assert_eq!(run.exits(2, 0), "stop 2, stop 3, stop 4");
    assert_eq!(run.exits(3, 0), "stop 3");
    assert_eq!(run.exits(0, 0), "stop 0, stop 1");
}

#[test]
fn what_was_not_started_takes_no_part() {
    let rules = rules(CHAIN, 8.0, |_, service| notified(service));
    let mut run = Run::up(&rules);
    run.ready(2);
    assert_eq!(run.request(), "stopping, stop 1");
    assert_eq!(run.exits(1, 0), "stop 1, stop 2");
    assert_eq!(run.exits(2, 0), "stop 2, exit 0");
    assert_eq!(run.plan.condition(Id(0)), Condition::Waiting);
}

#[test]
fn nothing_starts_after_a_stop_request() {
    let rules = rules(&[&[1], &[], &[]], 8.0, |_, service| {
        service.restart = Restart::Always;
    });
    // In a pause, in what a run left, and while it is executed.
    let mut run = Run::new(&rules);
    run.begin();
    run.executed(2);
    run.exits(2, 1);
    assert_eq!(run.request(), "stopping, stop 1");
    assert_eq!(run.at(1.0), "");
    assert_eq!(run.executed(1), "");
    assert_eq!(run.exits(1, 1), "stop 1, exit 1 of 1");
    let mut run = Run::up(&rules);
    run.ended(2, Ending::Exited(1));
    assert_eq!(run.request(), "stopping, stop 2, stop 0");
    assert_eq!(run.gone(2), "");
    assert_eq!(run.at(1.0), "");
}

#[test]
fn a_service_that_ends_before_its_turn_is_over() {
    let rules = plain(CHAIN);
    let mut run = Run::up(&rules);
    run.request();
    // Its keeper stops what it left, in the time that there is.
    assert_eq!(run.ended(1, Ending::Exited(0)), "stop 1");
    assert_eq!(run.gone(1), "");
    assert_eq!(run.exits(0, 0), "stop 0, stop 2");
}

#[test]
fn a_stop_delay_comes_first() {
    let rules = delayed(plain(&[&[1], &[]]), 4.0);
    let mut run = Run::up(&rules);
    assert_eq!(run.request(), "stopping, delayed");
    assert_eq!(run.at(3.9), "");
    assert_eq!(run.at(4.0), "stop 0");
    assert_eq!(run.told[&0].0, Some(8.0), "it is part of the grace period");
    assert_eq!(run.at(6.9), "");
    assert_eq!(run.at(7.0), "pass 0 by for 1, stop 1");
}

#[test]
fn a_second_stop_request_ends_the_delay() {
    let rules = delayed(plain(ONE), 4.0);
    let mut run = Run::up(&rules);
    run.request();
    run.at(1.0);
    assert_eq!(run.request(), "stop 0");
    assert_eq!(run.at(7.9), "");
    assert_eq!(run.at(8.0), "grace over, kill 0");
}

#[test]
fn services_that_end_in_the_delay_stop_nothing_and_are_not_restarted() {
    let rules = delayed(plain(&[&[], &[]]), 4.0);
    let mut run = Run::up(&rules);
    run.request();
    assert_eq!(run.exits(0, 3), "stop 0");
    assert_eq!(run.exits(1, 0), "stop 1, exit 3 of 0");
}

#[test]
fn no_end_is_that_of_an_essential_service_once_a_stop_has_begun() {
    let rules = plain(&[&[], &[], &[]]);
    let mut run = Run::up(&rules);
    run.at(1.0);
    assert_eq!(run.exits(0, 3), "essential 0, stop 0, stop 1, stop 2");
    run.at(2.0);
    assert_eq!(run.exits(1, 4), "stop 1");
    assert_eq!(run.told[&2].0, Some(9.0));
    assert_eq!(run.exits(2, 0), "stop 2, exit 3 of 0");
}
