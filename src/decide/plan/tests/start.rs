//! The start: which services start, and when.

use super::*;

#[test]
fn each_service_starts_when_those_that_it_depends_on_are_ready() {
    // 0 needs 1 and 2, both need 3; 4 stands alone.
    let rules = plain(&[&[1, 2], &[3], &[3], &[], &[]]);
    let mut run = Run::new(&rules);
    assert_eq!(run.begin(), "start 3, start 4");
    assert_eq!(run.executed(3), "ready 3, start 1, start 2");
    assert_eq!(run.executed(2), "ready 2");
    assert_eq!(run.executed(1), "ready 1, start 0");
    assert_eq!(run.executed(1), "", "once");
}

#[test]
fn no_services_are_over_at_once() {
    let rules = plain(&[]);
    assert_eq!(Run::new(&rules).begin(), "exit 0");
}

#[test]
fn a_service_that_notifies_is_ready_when_the_notification_comes() {
    let rules = rules(&[&[1], &[]], 8.0, |_, service| notified(service));
    let mut run = Run::new(&rules);
    run.begin();
    assert_eq!(run.ready(1), "", "it was not executed");
    assert_eq!(run.executed(1), "");
    assert_eq!(run.ready(1), "ready 1, start 0");
    assert_eq!(run.ready(1), "");
}

#[test]
fn a_one_shot_is_ready_when_it_has_exited_with_success() {
    let rules = rules(&[&[1], &[]], 8.0, |id, service| {
        if id == 1 {
            service.ready = Ready::Exited;
            service.success = vec![4];
        }
    });
    for code in [0, 4] {
        let mut run = Run::up(&rules);
        assert_eq!(run.ready(1), "", "it does not notify");
        // What depends on it does not wait for what it left.
        assert_eq!(run.ended(1, Ending::Exited(code)), "ready 1, start 0");
        assert_eq!(run.gone(1), "");
    }
    let mut run = Run::up(&rules);
    assert_eq!(run.exits(1, 3), "essential 1, stop 1, exit 3 of 1");
}

#[test]
fn what_was_ready_once_counts_as_ready_through_restarts() {
    let rules = rules(&[&[1, 2], &[], &[]], 8.0, |id, service| {
        service.restart = Restart::OnFailure;
        if id == 2 {
            notified(service);
        }
    });
    let mut run = Run::up(&rules);
    assert_eq!(run.exits(1, 1), "restart 1 in 500ms after 1");
    assert_eq!(run.ready(2), "ready 2, start 0");
    assert_eq!(run.at(0.5), "start 1");
    assert_eq!(run.executed(1), "", "it is not announced again");
}

#[test]
fn a_dependency_that_is_over_and_not_essential_holds_up_no_other() {
    let rules = rules(&[&[1], &[]], 8.0, |id, service| {
        notified(service);
        service.essential = id == 0;
        service.restart = Restart::OnFailure;
        service.restart_limit = Some(1);
    });
    let mut run = Run::up(&rules);
    assert_eq!(run.exits(1, 3), "restart 1 in 500ms after 1");
    assert_eq!(run.at(0.5), "start 1");
    // Given up. What it left holds up no other either.
    let given_up = "given up 1 after 2, start 0";
    assert_eq!(run.ended(1, Ending::Exited(3)), given_up);
    let mut run = Run::up(&rules);
    assert_eq!(run.exits(1, 0), "start 0");
}

#[test]
fn a_start_that_fails_is_an_end_with_125() {
    let restarted = one(|service| service.restart = Restart::OnFailure);
    let mut run = Run::new(&restarted);
    run.begin();
    let failed = Event::StartFailed(Id(0));
    assert_eq!(run.on(failed), "restart 0 in 500ms after 1");
    assert_eq!(run.on(failed), "", "nothing was started");
    let rules = plain(ONE);
    let mut run = Run::new(&rules);
    run.begin();
    assert_eq!(run.on(failed), "essential 0, exit 125 of 0");
}

#[test]
fn of_several_starts_that_fail_the_first_stops_everything() {
    let rules = rules(&[&[], &[], &[]], 8.0, |_, _| {});
    let mut run = Run::new(&rules);
    assert_eq!(run.begin(), "start 0, start 1, start 2");
    let failed = |id| Event::StartFailed(Id(id));
    assert_eq!(run.on(failed(1)), "essential 1, stop 0, stop 2");
    assert_eq!(run.on(failed(0)), "");
    assert_eq!(run.on(failed(2)), "exit 125 of 1");
}

#[test]
fn the_services_are_over_when_none_can_start_any_more() {
    let rules = rules(&[&[], &[]], 8.0, |_, service| service.essential = false);
    let mut run = Run::up(&rules);
    assert_eq!(run.exits(0, 0), "");
    assert_eq!(run.ended(1, Ending::Exited(0)), "");
    assert_eq!(run.gone(1), "exit 0");
    assert_eq!(run.request(), "", "nothing follows");
}
