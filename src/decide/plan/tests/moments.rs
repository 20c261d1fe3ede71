//! Latest moments, periods and the other processes.

use super::*;

#[test]
fn a_slow_service_delays_the_others_only_so_far() {
    let rules = rules(CHAIN, 10.0, |_, _| {});
    let mut run = Run::up(&rules);
    run.request();
    assert_eq!(run.at(5.9), "");
    assert_eq!(run.at(6.0), "pass 0 by for 1, stop 1");
    // It runs on, and nothing waits for it.
    assert_eq!(run.exits(1, 0), "stop 1, stop 2");
    assert_eq!(run.exits(2, 0), "stop 2");
    assert_eq!(run.at(9.9), "");
    assert_eq!(run.at(10.0), "grace over, kill 0");
}

#[test]
fn two_that_hang_in_a_chain_are_passed_by_one_after_the_other() {
    let rules = rules(CHAIN, 10.0, |_, _| {});
    let mut run = Run::up(&rules);
    run.request();
    run.at(6.0);
    assert_eq!(run.at(8.0), "pass 1 by for 2, stop 2", "0 was before");
    let kill = "grace over, kill 0, kill 1, kill 2";
    assert_eq!(run.at(10.0), kill);
}

#[test]
fn a_service_whose_time_below_is_the_same_is_stopped_with_it() {
    // 1 has no share.
    let rules = rules(CHAIN, 8.0, |id, service| {
        if id == 1 {
            period(service, 0.0);
        }
    });
    let mut run = Run::up(&rules);
    run.request();
    let passed = "pass 0 by for 1, stop 1, pass 1 by for 2, stop 2";
    assert_eq!(run.at(6.0), passed);
    assert_eq!(run.told[&1], (Some(8.0), Some(6.0)));
    assert_eq!(run.at(7.9), "", "its period has nothing to protect");
    // By the other order of the numbers too.
    let rules = super::rules(&[&[], &[0], &[1]], 8.0, |id, service| {
        if id == 1 {
            period(service, 0.0);
        }
    });
    let mut run = Run::up(&rules);
    run.request();
    let passed = "pass 2 by for 0, stop 1, pass 1 by for 0, stop 0";
    assert_eq!(run.at(6.0), passed);
    assert_eq!(run.told[&1], (Some(8.0), Some(6.0)));
}

#[test]
fn a_period_limits_only_while_others_wait() {
    let rules = rules(&[&[1], &[]], 10.0, |_, service| period(service, 2.0));
    let mut run = Run::up(&rules);
    run.request();
    assert_eq!(run.at(1.9), "");
    assert_eq!(run.at(2.0), "period over 0, kill 0");
    assert_eq!(run.ended(0, Ending::Killed(Signal::KILL, false)), "stop 0");
    assert_eq!(run.gone(0), "stop 1");
    // Nothing waits for the lower one.
    assert_eq!(run.at(9.9), "");
    assert_eq!(run.at(10.0), "grace over, kill 1");
}

#[test]
fn a_killed_service_that_is_not_gone_is_waited_for_a_moment() {
    let rules = rules(CHAIN, 10.0, |id, service| {
        if id == 0 {
            period(service, 2.0);
        }
    });
    let mut run = Run::up(&rules);
    run.request();
    run.at(2.0);
    assert_eq!(run.at(2.29), "");
    assert_eq!(run.at(2.3), "pass 0 by for 1, stop 1");
    assert_eq!(run.exits(1, 0), "stop 1, stop 2", "nothing waits for 0");
}

#[test]
fn a_service_that_nothing_waits_for_is_not_killed_for_its_period() {
    let rules = rules(&[&[1], &[]], 10.0, |id, service| {
        period(service, 1.0);
        if id == 1 {
            service.essential = false;
        }
    });
    // The lower one is over before, or ends meanwhile.
    let mut run = Run::up(&rules);
    run.exits(1, 0);
    run.request();
    assert_eq!(run.at(9.9), "");
    let mut run = Run::up(&rules);
    run.request();
    run.exits(1, 0);
    assert_eq!(run.at(9.9), "");
    assert_eq!(run.told[&0].0, Some(10.0));
}

#[test]
fn a_period_that_ends_at_the_latest_moment_is_passed_by() {
    let rules = rules(&[&[1], &[]], 9.0, |id, service| {
        if id == 0 {
            period(service, 6.0);
        }
    });
    let mut run = Run::up(&rules);
    assert_eq!(rules.budget().of(Id(1)).latest, SECOND);
    run.request();
    assert_eq!(run.at(6.0), "period over 0, kill 0");
    let rules = super::rules(&[&[1], &[]], 9.0, |id, service| {
        period(service, if id == 0 { 6.0 } else { 3.0 });
    });
    let mut run = Run::up(&rules);
    run.request();
    assert_eq!(run.at(6.0), "pass 0 by for 1, stop 1");
    assert_eq!(run.at(8.9), "");
}

#[test]
fn the_period_of_a_one_shot_limits_it_while_others_wait() {
    let rules = rules(&[&[1], &[]], 9.0, |id, service| {
        if id == 0 {
            service.ready = Ready::Exited;
            period(service, 2.0);
        }
    });
    let mut run = Run::up(&rules);
    assert_eq!(run.request(), "stopping, stop 0");
    assert_eq!(run.told[&0], (Some(9.0), Some(1.5)));
    assert_eq!(run.at(2.0), "period over 0, kill 0");
    // Nothing is kept for it above the share of the other.
    assert_eq!(rules.budget().of(Id(0)).latest, SECOND * 3);
    assert_eq!(run.at(2.3), "pass 0 by for 1, stop 1");
}

#[test]
fn periods_are_scaled_to_the_time() {
    let rules = rules(&[&[1], &[]], 10.0, |id, service| {
        period(service, if id == 0 { 30.0 } else { 20.0 });
        service.ready_timeout = Some(SECOND);
    });
    let mut run = Run::up(&rules);
    run.request();
    assert_eq!(run.at(6.0), "pass 0 by for 1, stop 1");
    assert_eq!(run.plan.limit(Id(0)), Some(SECOND * 6));
}

#[test]
fn the_other_processes_are_stopped_in_time_for_those_below() {
    let rules = rules(CHAIN, 10.0, |_, _| {});
    let mut run = Run::up(&rules);
    run.request();
    // To the latest moment of 1, which is at 6 s.
    assert_eq!(run.told[&0], (Some(10.0), Some(4.5)));
    run.at(1.0);
    run.exits(0, 0);
    // From 1 s to that of 2, which is at 8 s.
    assert_eq!(run.told[&1], (Some(10.0), Some(6.25)));
    run.at(2.0);
    run.exits(1, 0);
    // To SIGKILL.
    assert_eq!(run.told[&2], (Some(10.0), Some(8.0)));
}

#[test]
fn the_other_processes_are_stopped_before_a_period_is_over_that_others_wait_for() {
    let rules = rules(&[&[1], &[]], 10.0, |_, service| period(service, 2.0));
    let mut run = Run::up(&rules);
    run.request();
    assert_eq!(run.told[&0], (Some(10.0), Some(1.5)));
    run.exits(0, 0);
    assert_eq!(run.told[&1], (Some(10.0), Some(7.5)), "none waits for it");
}

#[test]
fn those_below_that_do_not_run_count_for_nothing() {
    let rules = rules(CHAIN, 10.0, |_, service| service.essential = false);
    let mut run = Run::up(&rules);
    run.exits(1, 0);
    run.request();
    assert_eq!(run.told[&0], (Some(10.0), Some(6.0)), "8 s are those of 2");
}

#[test]
fn a_grace_period_of_0_kills_at_once() {
    let rules = rules(&[&[1], &[]], 0.0, |_, _| {});
    let mut run = Run::up(&rules);
    assert_eq!(run.request(), "stopping, grace over, kill 0, kill 1");
    assert_eq!(run.exits(0, 0), "");
    assert_eq!(run.exits(1, 0), "exit 137");
    let mut run = Run::new(&rules);
    run.begin();
    assert_eq!(run.exits(1, 0), "essential 1, grace over, kill 1, exit 137");
}

#[test]
fn a_grace_period_without_an_end_keeps_the_order_and_no_more() {
    let rules = endless(plain(CHAIN));
    let mut run = Run::up(&rules);
    assert_eq!(run.request(), "stopping, stop 0");
    assert_eq!(run.told[&0], (None, None));
    assert_eq!(run.at(1e6), "");
    assert_eq!(run.exits(0, 0), "stop 0, stop 1");
    assert_eq!(run.plan.limit(Id(0)), None);
}

#[test]
fn a_period_counts_without_an_end_of_the_grace_period() {
    let rules = endless(rules(&[&[1], &[]], 8.0, |_, service| period(service, 2.0)));
    let mut run = Run::up(&rules);
    run.request();
    assert_eq!(run.told[&0], (None, Some(1.5)));
    assert_eq!(run.at(2.0), "period over 0, kill 0");
    assert_eq!(run.exits(0, 0), "stop 0, stop 1");
    assert_eq!(run.told[&1], (None, None));
    assert_eq!(run.at(1e6), "");
}

#[test]
fn a_stop_shortens_the_time_of_what_a_service_left() {
    let rules = rules(&[&[1], &[]], 10.0, |id, service| {
        service.essential = false;
        notified(service);
        if id == 1 {
            service.ready_timeout = Some(SECOND);
        }
    });
    let mut run = Run::up(&rules);
    assert_eq!(run.at(1.0), "late 1, stop 1");
    assert_eq!(run.told[&1], (Some(11.0), Some(8.5)));
    run.at(1.5);
    assert_eq!(run.request(), "stopping, stop 1");
    // Later moments than before: the keeper goes by the earlier ones.
    assert_eq!(run.told[&1], (Some(11.5), Some(9.0)));
    let mut run = Run::up(&rules);
    run.ended(1, Ending::Exited(1));
    assert_eq!(run.request(), "stopping, stop 1, stop 0");
    assert_eq!(run.told[&1].0, Some(10.0));
}
