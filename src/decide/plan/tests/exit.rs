//! The exit status.

use super::*;

/// Two services side by side: what has happened before the end, and the status.
fn status(change: impl Fn(usize, &mut Settings), happens: impl Fn(&mut Run)) -> Status {
    let rules = rules(&[&[], &[]], 8.0, change);
    let mut run = Run::up(&rules);
    happens(&mut run);
    run.plan.blame.status()
}

fn of(code: u8, id: usize) -> Status {
    Status {
        code,
        of: Some(Id(id)),
    }
}

fn of_none(code: u8) -> Status {
    Status { code, of: None }
}

fn optional(_: usize, service: &mut Settings) {
    service.essential = false;
}

#[test]
fn it_is_that_of_the_service_whose_end_stopped_everything() {
    let found = status(
        |_, _| {},
        |run| {
            run.exits(1, 3);
            run.exits(0, 4);
        },
    );
    assert_eq!(found, of(3, 1));
    // Even where SIGKILL was needed.
    let found = status(
        |_, _| {},
        |run| {
            run.over(1, CRASH);
            run.at(8.0);
            run.over(0, Ending::Killed(Signal::KILL, false));
        },
    );
    assert_eq!(found, of(138, 1));
}

#[test]
fn a_success_that_stopped_everything_is_0_unless_the_stop_fails() {
    let success = |_: usize, service: &mut Settings| service.success = vec![3];
    let found = status(success, |run| {
        run.exits(1, 3);
        run.exits(0, 0);
    });
    assert_eq!(found, of_none(0));
    let found = status(success, |run| {
        run.exits(1, 3);
        run.exits(0, 4);
    });
    assert_eq!(found, of(4, 0));
}

#[test]
fn without_a_stop_it_is_that_of_the_first_that_failed() {
    let found = status(optional, |run| {
        run.exits(1, 3);
        run.exits(0, 4);
    });
    assert_eq!(found, of(3, 1));
    let found = status(optional, |run| {
        run.exits(1, 0);
        run.over(0, Ending::NotExecuted(127));
    });
    assert_eq!(found, of(127, 0));
}

#[test]
fn what_failed_before_a_stop_request_does_not_count() {
    let found = status(optional, |run| {
        run.exits(1, 3);
        run.request();
        run.exits(0, 0);
    });
    assert_eq!(found, of_none(0));
}

#[test]
fn at_a_stop_it_is_137_where_sigkill_was_needed_and_then_the_first_failure() {
    let killed = |run: &mut Run| {
        run.request();
        run.exits(1, 3);
        run.at(8.0);
        run.over(0, Ending::Killed(Signal::KILL, false));
    };
    assert_eq!(status(|_, _| {}, killed), of_none(137));
    let by_keeper = |run: &mut Run| {
        run.request();
        run.exits(1, 3);
        run.ended(0, Ending::Exited(0));
        let killed = true;
        run.on(Event::Gone { id: Id(0), killed });
    };
    assert_eq!(status(|_, _| {}, by_keeper), of_none(137));
    let failed = |run: &mut Run| {
        run.request();
        run.exits(1, 3);
        run.exits(0, 4);
    };
    assert_eq!(status(|_, _| {}, failed), of(3, 1));
}

#[test]
fn sigkill_before_the_stop_does_not_count() {
    let found = status(optional, |run| {
        run.ended(1, Ending::Exited(0));
        let killed = true;
        run.on(Event::Gone { id: Id(1), killed });
        run.request();
        run.exits(0, 0);
    });
    assert_eq!(found, of_none(0));
}

#[test]
fn a_service_that_its_stop_signal_killed_has_not_failed_at_a_stop() {
    let int = |_: usize, service: &mut Settings| service.stop_signal = Signal::INT;
    for (ending, expected) in [
        (Ending::Killed(Signal::INT, false), of_none(0)),
        (Ending::Killed(Signal::INT, true), of_none(0)),
        (Ending::Exited(130), of_none(0)),
        (Ending::Exited(143), of(143, 0)),
        (TERM, of(143, 0)),
        (Ending::NotExecuted(130), of(130, 0)),
    ] {
        let found = status(int, |run| {
            run.request();
            run.over(0, ending);
            run.exits(1, 0);
        });
        assert_eq!(found, expected, "{ending:?}");
        let found = status(optional, |run| {
            run.over(0, TERM);
            run.exits(1, 0);
        });
        assert_eq!(found, of(143, 0), "without a stop");
    }
}

#[test]
fn a_service_that_was_not_executed_has_failed_whatever_codes_are_a_success() {
    let lenient = |_: usize, service: &mut Settings| {
        service.success = vec![125, 127];
        service.stop_signal = Signal::HUP;
    };
    for stopping in [false, true] {
        let found = status(lenient, |run| {
            if stopping {
                run.request();
            }
            run.over(0, Ending::NotExecuted(127));
            run.exits(1, 0);
        });
        assert_eq!(found, of(127, 0), "{stopping}");
    }
}

#[test]
fn a_service_that_was_to_be_restarted_has_not_failed_for_good() {
    let restarted = |_: usize, service: &mut Settings| {
        service.restart = Restart::OnFailure;
        service.essential = false;
    };
    let found = status(restarted, |run| {
        run.exits(0, 3);
        run.at(0.5);
        run.executed(0);
        run.exits(0, 0);
        run.exits(1, 0);
    });
    assert_eq!(found, of_none(0));
}

#[test]
fn a_service_that_is_late_when_a_stop_is_requested_has_failed_with_124() {
    let late = |id: usize, service: &mut Settings| {
        if id == 0 {
            notified(service);
            service.ready_timeout = Some(SECOND);
        }
    };
    let found = status(late, |run| {
        run.at(1.0);
        run.request();
        run.exits(1, 0);
        run.exits(0, 0);
    });
    assert_eq!(found, of(124, 0));
}
