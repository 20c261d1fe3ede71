//! The rules of the plan, one after the other. Services go by their numbers, and what the
//! plan does is compared as words.

use std::collections::BTreeMap;

use super::rules::{Ready, Restart, Service as Settings};
use super::status::Condition;
use super::step::Status;
use super::*;
use crate::decide::graph::Graph;
use crate::decide::rules::Grace;
use crate::decide::step::Request;
use crate::ending::Ending;
use crate::signal::{Received, Signal};

mod end;
mod exit;
mod keeper;
mod moments;
mod order;
mod readiness;
mod restart;
mod start;

const SECOND: Duration = Duration::from_secs(1);
const ONE: &[&[usize]] = &[&[]];
/// Web, app and db: each depends on the next.
const CHAIN: &[&[usize]] = &[&[1], &[2], &[]];
const TERM: Ending = Ending::Killed(Signal::TERM, false);
const CRASH: Ending = Ending::Killed(Signal::USR1, false);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn graph(depends_on: &[&[usize]]) -> Graph {
    let edges = |places: &&[usize]| places.iter().copied().map(Id).collect();
    Graph::new(&depends_on.iter().map(edges).collect::<Vec<_>>()).unwrap()
}

/// Services with these edges and a grace period in seconds; a change to the defaults of each.
fn rules(depends_on: &[&[usize]], grace: f64, change: impl Fn(usize, &mut Settings)) -> Rules {
    let service = |place| {
        let mut service = Settings::DEFAULT;
        change(place, &mut service);
        service
    };
    let services = (0..depends_on.len()).map(service).collect();
    let grace = Grace::For(seconds(grace));
    Rules::new(services, graph(depends_on), grace, Duration::ZERO)
}

fn plain(depends_on: &[&[usize]]) -> Rules {
    rules(depends_on, 8.0, |_, _| {})
}

fn one(change: impl Fn(&mut Settings)) -> Rules {
    rules(ONE, 8.0, |_, service| change(service))
}

fn endless(rules: Rules) -> Rules {
    Rules::new(rules.services, rules.graph, Grace::Infinite, Duration::ZERO)
}

fn delayed(rules: Rules, delay: f64) -> Rules {
    Rules::new(rules.services, rules.graph, rules.grace, seconds(delay))
}

fn period(service: &mut Settings, length: f64) {
    service.period = Some(seconds(length));
}

fn probed(service: &mut Settings) {
    service.ready = Ready::Checked { probe: true };
}

fn notified(service: &mut Settings) {
    service.ready = Ready::Notified;
}

/// A plan, its timers, and what it told the keepers.
#[derive(Clone)]
struct Run<'a> {
    plan: Plan<'a>,
    now: Duration,
    timers: BTreeMap<Timer, Moment>,
    /// By service: when the keeper sends SIGKILL, and when it stops the other processes.
    told: BTreeMap<usize, (Option<f64>, Option<f64>)>,
}

impl<'a> Run<'a> {
    fn new(rules: &'a Rules) -> Self {
        Self {
            plan: Plan::new(rules),
            now: Duration::ZERO,
            timers: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// A plan with all services executed, and ready unless they are to be notified.
    fn up(rules: &'a Rules) -> Self {
        let mut run = Self::new(rules);
        run.begin();
        while let Some(id) = run.plan.ids().find(|id| {
            let service = run.plan.service(*id);
            service.state == State::Started
        }) {
            run.executed(id.0);
        }
        run
    }

    fn on(&mut self, event: Event) -> String {
        let actions = self.plan.on(Moment(self.now), event);
        for action in &actions {
            match *action {
                Action::Arm(timer, at) => {
                    self.timers.insert(timer, at);
                }
                Action::Disarm(timer) => {
                    self.timers.remove(&timer).expect("an armed timer");
                }
                Action::Stop { id, kill, rest } => {
                    let told = [kill, rest].map(|at| at.map(|at| at.0.as_secs_f64()));
                    self.told.insert(id.0, (told[0], told[1]));
                }
                _ => {}
            }
        }
        let words: Vec<String> = actions.iter().filter_map(word).collect();
        words.join(", ")
    }

    /// Lets the time pass to this second, and the timers up to then expire.
    fn at(&mut self, until: f64) -> String {
        let mut words = Vec::new();
        let next = |run: &Self| run.timers.iter().map(|(timer, at)| (*at, *timer)).min();
        while let Some((at, timer)) = next(self).filter(|(at, _)| at.0 <= seconds(until)) {
            self.now = self.now.max(at.0);
            self.timers.remove(&timer);
            words.push(self.on(Event::Expired(timer)));
        }
        self.now = seconds(until);
        words.retain(|words| !words.is_empty());
        words.join(", ")
    }

    fn begin(&mut self) -> String {
        self.on(Event::Begin)
    }

    fn executed(&mut self, id: usize) -> String {
        self.on(Event::Executed(Id(id)))
    }

    fn ready(&mut self, id: usize) -> String {
        self.on(Event::Ready(Id(id)))
    }

    fn ended(&mut self, id: usize, ending: Ending) -> String {
        self.on(Event::Ended { id: Id(id), ending })
    }

    fn gone(&mut self, id: usize) -> String {
        let killed = false;
        self.on(Event::Gone { id: Id(id), killed })
    }

    /// A service ends and leaves nothing.
    fn over(&mut self, id: usize, ending: Ending) -> String {
        let words = [self.ended(id, ending), self.gone(id)];
        let words = words.into_iter().filter(|words| !words.is_empty());
        words.collect::<Vec<_>>().join(", ")
    }

    fn exits(&mut self, id: usize, code: u8) -> String {
        self.over(id, Ending::Exited(code))
    }

    fn request(&mut self) -> String {
        self.on(stop_request(Signal::TERM, false))
    }

    fn ctrl_c(&mut self) -> String {
        self.on(stop_request(Signal::INT, true))
    }
}

fn stop_request(signal: Signal, typed: bool) -> Event {
    let request = Request::Signal(Received::plain(signal));
    Event::StopRequest { request, typed }
}

fn word(action: &Action) -> Option<String> {
    Some(match action {
        Action::Notice(notice) => notice_word(notice),
        Action::Probe(id) => format!("probe {}", id.0),
        Action::Start(id) => format!("start {}", id.0),
        Action::Check(id) => format!("check {}", id.0),
        Action::EndCheck(id) => format!("end check {}", id.0),
        Action::Stop { id, .. } => format!("stop {}", id.0),
        Action::StopLeftovers(id) => format!("stop leftovers {}", id.0),
        Action::Kill(id) => format!("kill {}", id.0),
        Action::KillKeeper(id) => format!("kill keeper {}", id.0),
        Action::Arm(..) | Action::Disarm(_) => return None,
        Action::Exit(Status { code, of: None }) => format!("exit {code}"),
        Action::Exit(Status { code, of: Some(id) }) => format!("exit {code} of {}", id.0),
    })
}

fn notice_word(notice: &Notice) -> String {
    match notice {
        Notice::AlreadyAnswers(id) => format!("already answers {}", id.0),
        Notice::Ready(id) => format!("ready {}", id.0),
        Notice::NotReady(id) => format!("not ready {}", id.0),
        Notice::NotReadyInTime(id) => format!("late {}", id.0),
        Notice::Restarting {
            id,
            pause,
            failures,
            ..
        } => format!("restart {} in {pause:?} after {failures}", id.0),
        Notice::GivenUp { id, failures } => format!("given up {} after {failures}", id.0),
        Notice::Stopping(_) => "stopping".to_owned(),
        Notice::EssentialEnded(id) => format!("essential {}", id.0),
        Notice::Delayed => "delayed".to_owned(),
        Notice::PassedBy { above, below } => format!("pass {} by for {}", above.0, below.0),
        Notice::PeriodOver(id) => format!("period over {}", id.0),
        Notice::GraceOver => "grace over".to_owned(),
        Notice::CutShort => "cut short".to_owned(),
        Notice::Unkillable => "unkillable".to_owned(),
    }
}

#[test]
fn what_a_service_is_doing_follows_the_events() {
    use Condition::{Done, Failed, Ready, Restarting, Starting, Stopping, Waiting};
    let rules = rules(&[&[1], &[]], 8.0, |id, service| {
        if id == 1 {
            probed(service);
            service.essential = false;
            service.restart = Restart::OnFailure;
            service.restart_limit = Some(1);
        }
    });
    let mut run = Run::new(&rules);
    let conditions = |run: &Run| [0, 1].map(|id| run.plan.condition(Id(id)));
    assert_eq!(conditions(&run), [Waiting, Waiting]);
    run.begin();
    assert_eq!(conditions(&run), [Waiting, Starting]);
    run.at(1.0);
    assert_eq!(conditions(&run), [Waiting, Starting]);
    run.executed(1);
    assert_eq!(conditions(&run), [Waiting, Starting]);
    run.ready(1);
    assert_eq!(conditions(&run), [Starting, Ready]);
    run.executed(0);
    assert_eq!(conditions(&run), [Ready, Ready]);
    run.exits(1, 1);
    assert_eq!(conditions(&run), [Ready, Restarting]);
    run.at(2.0);
    assert_eq!(conditions(&run), [Ready, Starting]);
    run.executed(1);
    assert_eq!(conditions(&run), [Ready, Ready], "it was ready once");
    run.ended(1, Ending::Exited(1));
    assert_eq!(conditions(&run), [Ready, Stopping]);
    run.gone(1);
    assert_eq!(conditions(&run), [Ready, Failed]);
    run.request();
    assert_eq!(conditions(&run), [Stopping, Failed]);
    run.exits(0, 0);
    assert_eq!(conditions(&run), [Done, Failed]);
}

#[test]
fn what_does_not_fit_is_ignored() {
    let rules = plain(&[&[1], &[]]);
    let timers = [
        Timer::DelayOver,
        Timer::GraceOver,
        Timer::KeepersOver,
        Timer::GiveUp,
    ];
    let of_service = [
        Timer::Latest,
        Timer::PeriodOver,
        Timer::NotGone,
        Timer::LeftoversOver,
        Timer::ProbeOver,
        Timer::CheckAgain,
        Timer::ReadyTimeout,
        Timer::StillNotReady,
        Timer::Settled,
        Timer::PauseOver,
    ];
    let (answers, killed, ending) = (true, true, TERM);
    // Of one that does not exist, and of one that waits.
    for id in [Id(7), Id(0)] {
        let mut run = Run::new(&rules);
        run.begin();
        for event in [
            Event::Probed { id, answers },
            Event::StartFailed(id),
            Event::Executed(id),
            Event::Ready(id),
            Event::CheckEnded(id),
            Event::Ended { id, ending },
            Event::Gone { id, killed },
            Event::KeeperKilled(id),
        ] {
            assert_eq!(run.on(event), "", "{event:?}");
        }
        for timer in timers.into_iter().chain(of_service.map(|timer| timer(id))) {
            assert_eq!(run.on(Event::Expired(timer)), "", "{timer:?}");
        }
        assert_eq!(run.executed(1), "ready 1, start 0");
    }
}

#[test]
fn answers_of_a_check_that_does_not_run_are_ignored() {
    let rules = one(probed);
    let mut run = Run::new(&rules);
    assert_eq!(run.begin(), "probe 0");
    let (id, answers) = (Id(0), true);
    for event in [Event::CheckEnded(id), Event::Ready(id)] {
        assert_eq!(run.on(event), "", "of the probe");
    }
    assert_eq!(run.timers.len(), 1, "the probe goes on");
    assert_eq!(run.at(1.0), "end check 0, start 0");
    assert_eq!(run.on(Event::Ready(id)), "", "it was not executed");
    assert_eq!(run.executed(0), "check 0");
    assert_eq!(run.on(Event::Probed { id, answers }), "");
    assert_eq!(run.on(Event::CheckEnded(id)), "");
    assert_eq!(run.on(Event::CheckEnded(id)), "");
    assert_eq!(run.on(Event::Ready(id)), "");
    assert_eq!(run.at(1.5), "check 0");
    assert_eq!(run.ready(0), "ready 0");
    run.on(Event::CheckEnded(id));
    assert_eq!(run.timers.len(), 0, "nothing is tried again");
}
