//! Keepers that are killed.

use super::*;

#[test]
fn what_a_killed_keeper_leaves_is_stopped_and_then_killed() {
    let rules = rules(ONE, 8.0, |_, service| {
        service.restart = Restart::OnFailure;
        period(service, 2.0);
    });
    let mut run = Run::up(&rules);
    let killed = Event::KeeperKilled(Id(0));
    assert_eq!(run.on(killed), "stop leftovers 0");
    assert_eq!(run.on(killed), "");
    assert_eq!(run.at(1.9), "");
    assert_eq!(run.at(2.0), "kill 0");
    assert_eq!(run.at(9.0), "", "the restart waits");
    assert_eq!(run.gone(0), "restart 0 in 500ms after 1");
    assert_eq!(run.at(9.5), "start 0");
    // The next run has a keeper.
    run.executed(0);
    assert_eq!(run.request(), "stopping, stop 0");
}

#[test]
fn a_service_whose_keeper_was_killed_has_failed_with_137() {
    let rules = plain(&[&[], &[]]);
    let mut run = Run::up(&rules);
    run.at(1.0);
    let killed = Event::KeeperKilled(Id(0));
    assert_eq!(run.on(killed), "stop leftovers 0, essential 0, stop 1");
    assert_eq!(run.exits(1, 0), "stop 1");
    assert_eq!(run.gone(0), "exit 137 of 0");
}

#[test]
fn its_leftovers_have_until_the_end_of_the_grace_period_at_most() {
    let rules = plain(&[&[], &[]]);
    let mut run = Run::up(&rules);
    run.request();
    run.at(5.0);
    run.on(Event::KeeperKilled(Id(0)));
    assert_eq!(run.at(7.9), "");
    assert_eq!(run.at(8.0), "kill 0, grace over, kill 0, kill 1");
}

#[test]
fn a_keeper_that_is_killed_after_the_end_changes_no_status() {
    let rules = rules(&[&[], &[]], 8.0, |_, service| service.essential = false);
    let mut run = Run::up(&rules);
    run.ended(0, Ending::Exited(0));
    assert_eq!(run.on(Event::KeeperKilled(Id(0))), "stop leftovers 0");
    run.gone(0);
    assert_eq!(run.exits(1, 0), "exit 0");
}

#[test]
fn a_keeper_that_is_killed_after_the_period_leaves_what_is_killed() {
    let rules = rules(&[&[1], &[]], 10.0, |_, service| period(service, 2.0));
    let mut run = Run::up(&rules);
    run.request();
    assert_eq!(run.at(2.0), "period over 0, kill 0");
    let mut later = run.clone();
    assert_eq!(run.on(Event::KeeperKilled(Id(0))), "kill 0");
    assert_eq!(run.at(2.3), "pass 0 by for 1, stop 1");
    // When nothing waits for it any more as well.
    assert_eq!(later.at(2.3), "pass 0 by for 1, stop 1");
    assert_eq!(later.on(Event::KeeperKilled(Id(0))), "kill 0");
    assert_eq!(later.at(9.9), "");
}

#[test]
fn a_keeper_that_went_without_a_word_was_killed() {
    let rules = plain(ONE);
    let mut run = Run::up(&rules);
    assert_eq!(run.gone(0), "essential 0, exit 137 of 0");
}

#[test]
fn with_no_grace_period_its_leftovers_are_killed_at_once() {
    let rules = rules(ONE, 0.0, |_, _| {});
    let mut run = Run::up(&rules);
    let killed = run.on(Event::KeeperKilled(Id(0)));
    assert_eq!(killed, "stop leftovers 0, essential 0, grace over, kill 0");
    assert!(!run.timers.contains_key(&Timer::LeftoversOver(Id(0))));
}

#[test]
fn a_check_ends_with_the_keeper() {
    let rules = one(|service| {
        service.ready = Ready::Checked { probe: false };
        service.restart = Restart::OnFailure;
    });
    let mut run = Run::up(&rules);
    let killed = run.on(Event::KeeperKilled(Id(0)));
    assert_eq!(killed, "stop leftovers 0, end check 0");
}
