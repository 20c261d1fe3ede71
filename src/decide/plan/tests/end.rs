//! The end of the stop.

use super::*;

#[test]
fn when_the_grace_period_is_over_all_that_is_left_is_killed() {
    let rules = plain(&[&[], &[], &[]]);
    let mut run = Run::up(&rules);
    run.request();
    run.exits(0, 0);
    run.ended(1, Ending::Exited(0));
    assert_eq!(run.at(8.0), "grace over, kill 1, kill 2");
    assert_eq!(run.gone(1), "");
    assert_eq!(run.at(8.49), "");
    assert_eq!(run.at(8.5), "kill keeper 2");
    assert_eq!(run.at(8.89), "");
    assert_eq!(run.at(8.9), "unkillable, exit 137");
}

#[test]
fn what_a_keeper_leaves_that_was_killed_at_the_end_is_killed() {
    let rules = plain(ONE);
    let mut run = Run::up(&rules);
    run.request();
    run.at(8.5);
    assert_eq!(run.on(Event::KeeperKilled(Id(0))), "kill 0");
    assert_eq!(run.on(Event::KeeperKilled(Id(0))), "");
    assert_eq!(run.gone(0), "exit 137");
}

#[test]
fn a_keeper_that_was_killed_before_is_not_killed_again() {
    let rules = plain(ONE);
    let mut run = Run::up(&rules);
    run.request();
    run.on(Event::KeeperKilled(Id(0)));
    assert_eq!(run.at(8.0), "kill 0, grace over, kill 0");
    assert_eq!(run.at(8.5), "");
    assert_eq!(run.at(9.0), "unkillable, exit 137");
}

#[test]
fn a_second_ctrl_c_kills_at_once() {
    let rules = plain(&[&[1], &[]]);
    let mut run = Run::up(&rules);
    assert_eq!(run.ctrl_c(), "stopping, stop 0");
    assert_eq!(run.ctrl_c(), "cut short, kill 0, kill 1");
    assert_eq!(run.ctrl_c(), "");
    assert_eq!(run.at(0.5), "kill keeper 0, kill keeper 1");
}

#[test]
fn a_second_ctrl_c_in_the_delay_kills_nothing_that_was_not_told_to_stop() {
    let rules = delayed(plain(ONE), 4.0);
    let mut run = Run::up(&rules);
    assert_eq!(run.ctrl_c(), "stopping, delayed");
    assert_eq!(run.ctrl_c(), "stop 0");
    assert_eq!(run.ctrl_c(), "cut short, kill 0");
    assert_eq!(run.exits(0, 0), "exit 137");
}

#[test]
fn only_ctrl_c_counts_as_the_first_and_as_the_second() {
    let rules = plain(&[&[1], &[]]);
    let mut run = Run::up(&rules);
    run.request();
    assert_eq!(run.request(), "");
    assert_eq!(run.ctrl_c(), "");
    assert_eq!(run.request(), "");
    assert_eq!(run.ctrl_c(), "cut short, kill 0, kill 1");
}

#[test]
fn a_grace_period_without_an_end_is_not_cut_short() {
    let rules = endless(delayed(plain(ONE), 4.0));
    let mut run = Run::up(&rules);
    run.ctrl_c();
    assert_eq!(run.ctrl_c(), "");
    let rules = Rules::new(
        vec![Settings::DEFAULT],
        graph(ONE),
        Grace::Infinite,
        SECOND * 4,
    );
    let mut run = Run::up(&rules);
    assert_eq!(run.ctrl_c(), "stopping, delayed");
    assert_eq!(run.ctrl_c(), "stop 0", "it ends the delay");
}

#[test]
fn the_end_of_an_essential_service_gives_a_grace_period_of_its_own() {
    // There is no delay, which is for stop requests.
    let rules = delayed(plain(&[&[1], &[]]), 2.0);
    let mut run = Run::up(&rules);
    run.at(3.0);
    assert_eq!(run.exits(0, 1), "essential 0, stop 0, stop 1");
    assert_eq!(run.told[&1].0, Some(11.0));
    run.at(5.0);
    // A stop request neither restarts nor shortens it, nor is it delayed.
    assert_eq!(run.ctrl_c(), "stopping");
    assert_eq!(run.at(10.9), "");
    assert_eq!(run.at(11.0), "grace over, kill 1");
    assert_eq!(run.request(), "");
}

#[test]
fn an_essential_end_ends_pauses_and_checks() {
    let rules = rules(&[&[], &[], &[]], 8.0, |id, service| {
        if id == 1 {
            service.restart = Restart::Always;
        }
        if id == 2 {
            service.ready = Ready::Checked { probe: false };
        }
    });
    let mut run = Run::up(&rules);
    run.exits(1, 1);
    assert_eq!(run.exits(0, 3), "essential 0, end check 2, stop 0, stop 2");
    assert_eq!(run.at(5.0), "");
    assert_eq!(run.exits(2, 0), "stop 2, exit 3 of 0");
}

#[test]
fn the_end_of_another_service_stops_nothing() {
    let rules = rules(&[&[1], &[]], 8.0, |id, service| {
        service.essential = id == 1;
    });
    let mut run = Run::up(&rules);
    assert_eq!(run.exits(0, 3), "");
    assert_eq!(run.exits(1, 0), "essential 1, stop 1, exit 0");
}

#[test]
fn a_stop_request_after_sigkill_is_none() {
    let rules = plain(ONE);
    let mut run = Run::up(&rules);
    run.ended(0, Ending::Exited(1));
    assert_eq!(run.at(8.0), "grace over, kill 0");
    assert_eq!(run.request(), "");
}
