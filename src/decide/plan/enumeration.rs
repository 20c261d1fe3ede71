//! The test of the plan: every graph of up to four services and every sequence of events
//! up to a length, and long sequences at random, against the invariants. The events are
//! those that the contract of the plan allows: [`World`] knows what can come next. It keeps
//! its own notes about each service, and makes the exit status from them.
//!
//! Time stays or passes to the moment of the next timer. Services end at any moment.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use super::rules::{Ready, Restart, Service as Settings};
use super::step::Status;
use super::*;
use crate::decide::graph::Graph;
use crate::decide::random::Random;
use crate::decide::rules::Grace;
use crate::decide::step::Request;
use crate::decide::walk::{Course, Walked, every_sequence, step};
use crate::ending::Ending;
use crate::signal::{Received, Signal};

mod world;
use world::World;

const SECOND: Duration = Duration::from_secs(1);

/// Services that differ in all that the plan looks at.
fn kinds() -> Vec<Settings> {
    let plain = Settings::DEFAULT;
    let optional = Settings {
        essential: false,
        restart: Restart::OnFailure,
        restart_limit: Some(1),
        ..plain.clone()
    };
    vec![
        plain.clone(),
        Settings {
            ready: Ready::Notified,
            ready_timeout: Some(SECOND * 2),
            ..optional.clone()
        },
        Settings {
            ready: Ready::Exited,
            period: Some(SECOND),
            ..plain.clone()
        },
        Settings {
            ready: Ready::Checked { probe: true },
            ready_timeout: Some(SECOND * 5),
            period: Some(SECOND * 2),
            restart: Restart::Always,
            restart_limit: None,
            stop_signal: Signal::INT,
            ..plain.clone()
        },
        Settings {
            period: Some(Duration::ZERO),
            success: vec![3, 127, 137],
            ..plain.clone()
        },
        Settings {
            ready: Ready::Checked { probe: false },
            period: Some(SECOND * 60),
            ..optional.clone()
        },
        Settings {
            ready: Ready::Exited,
            ready_timeout: Some(SECOND),
            ..optional
        },
    ]
}

/// The grace period and the stop delay.
const TIMES: [(Grace, Duration); 4] = [
    (Grace::For(Duration::from_secs(8)), Duration::ZERO),
    (Grace::For(Duration::from_secs(8)), Duration::from_secs(3)),
    (Grace::For(Duration::ZERO), Duration::ZERO),
    (Grace::Infinite, Duration::ZERO),
];

/// The edges of a graph, from each service to those that it depends on.
type Edges = Vec<(usize, usize)>;

/// All graphs of so many services, except for their names. Each comes twice: with those above
/// before those below, and after them.
fn graphs(count: usize) -> Vec<Vec<Vec<Id>>> {
    let pairs: Edges = (0..count)
        .flat_map(|upper| (upper + 1..count).map(move |lower| (upper, lower)))
        .collect();
    let names = permutations(count);
    let renamed = |edges: &Edges, names: &Vec<usize>| {
        let renamed = edges.iter().map(|(from, to)| (names[*from], names[*to]));
        let mut renamed: Edges = renamed.collect();
        renamed.sort_unstable();
        renamed
    };
    let mut seen = HashSet::new();
    let mut graphs = Vec::new();
    for chosen in 0_u32..1 << pairs.len() {
        let chosen = |place: &usize| chosen & 1 << place != 0;
        let places = (0..pairs.len()).filter(chosen);
        let edges: Edges = places.map(|place| pairs[place]).collect();
        let by_any_names = names.iter().map(|names| renamed(&edges, names));
        if !seen.insert(by_any_names.min()) {
            continue;
        }
        let reversed = (0..count).rev().collect();
        let mut both = vec![edges.clone(), renamed(&edges, &reversed)];
        both.dedup();
        graphs.extend(both.iter().map(|edges| depends_on(count, edges)));
    }
    graphs
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let with_last = |shorter: &Vec<usize>| {
        let shorter = shorter.clone();
        (0..count).map(move |place| {
            let mut longer = shorter.clone();
            longer.insert(place, count - 1);
            longer
        })
    };
    permutations(count - 1).iter().flat_map(with_last).collect()
}

fn depends_on(count: usize, edges: &Edges) -> Vec<Vec<Id>> {
    let mut depends_on = vec![Vec::new(); count];
    for (from, to) in edges {
        depends_on[*from].push(Id(*to));
    }
    depends_on
}

#[test]
fn the_graphs_are_all_there_are() {
    // Graphs without loops and names, as known: OEIS A003087.
    for (count, known) in [(1, 1), (2, 2), (3, 6), (4, 31)] {
        let graphs = graphs(count);
        let without_edges = 1;
        assert_eq!(graphs.len(), 2 * known - without_edges);
    }
}

fn rules(
    depends_on: &[Vec<Id>],
    services: Vec<Settings>,
    (grace, delay): (Grace, Duration),
) -> Rules {
    Rules::new(services, Graph::new(depends_on).unwrap(), grace, delay)
}

/// From where a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Begin,
    /// Each service is ready that can be.
    Up,
    /// A stop was requested then.
    Stop,
    /// Those that are restarted have failed then, and have just started again.
    Again,
}

/// A plan, and the notes about it.
#[derive(Clone)]
struct Run<'a> {
    plan: Plan<'a>,
    world: World<'a>,
}

impl Hash for Run<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let plan = &self.plan;
        plan.services.hash(state);
        (plan.phase, plan.requested, plan.typed).hash(state);
        plan.armed.hash(state);
        plan.deadline.map(|at| self.world.as_if_now(at)).hash(state);
        plan.blame.hash(state);
        self.world.hash(state);
    }
}

impl Course for Run<'_> {
    type Event = Event;
    type Action = Action;

    fn possible(&self) -> Vec<Event> {
        self.world.possible()
    }

    fn decide(&mut self, event: Event) -> Vec<Action> {
        self.world.pass_time(event);
        self.plan.on(self.world.now, event)
    }

    fn observe(&mut self, event: Event, actions: &[Action]) {
        self.world.observe(event, actions);
    }

    fn rules(&self) -> &dyn Debug {
        self.plan.rules
    }
}

impl<'a> Run<'a> {
    /// A run that has come so far.
    fn new(rules: &'a Rules, from: From) -> Self {
        let mut run = Self {
            plan: Plan::new(rules),
            world: World::new(rules),
        };
        let mut path = Vec::new();
        run.step(&mut path, Event::Begin);
        if from == From::Begin {
            return run;
        }
        while let Some(event) = run.world.way_up() {
            run.step(&mut path, event);
        }
        if from == From::Stop && !run.world.exited {
            run.step(&mut path, stop_request(false));
        }
        while from == From::Again
            && let Some(event) = run.world.way_to_restarts()
        {
            run.step(&mut path, event);
        }
        run
    }

    fn step(&mut self, path: &mut Vec<Event>, event: Event) {
        step(self, event, || path.clone());
        path.push(event);
    }

    /// Follows one sequence of events. Returns whether it came to its end.
    fn follow(&mut self, random: &mut Random, length: usize) -> bool {
        let mut path = Vec::new();
        for _ in 0..length {
            let possible = self.possible();
            if possible.is_empty() {
                return true;
            }
            // The timer, which comes last, is as likely as all others.
            let last = possible.len() - 1;
            let place = match random.below(3) {
                0 => last,
                _ => random.below(possible.len()),
            };
            self.step(&mut path, possible[place]);
        }
        self.world.exited
    }
}

fn stop_request(typed: bool) -> Event {
    let signal = if typed { Signal::INT } else { Signal::TERM };
    let request = Request::Signal(Received::plain(signal));
    Event::StopRequest { request, typed }
}

#[test]
fn every_sequence_of_events_keeps_the_invariants() {
    // By number of services: how many choices of their kinds, and the length of the
    // sequences.
    const SIZES: [(usize, usize); 4] = [(7, 6), (6, 4), (1, 4), (1, 3)];
    let mut random = Random::new(1);
    let kinds = kinds();
    let mut walked = Walked::default();
    for (count, (choices, length)) in (1..).zip(SIZES) {
        for depends_on in graphs(count) {
            for choice in 0..choices {
                let mut kind = |_| match count {
                    1 => kinds[choice].clone(),
                    _ => kinds[random.below(kinds.len())].clone(),
                };
                let services: Vec<Settings> = (0..count).map(&mut kind).collect();
                for times in TIMES {
                    let rules = rules(&depends_on, services.clone(), times);
                    for from in [From::Begin, From::Up, From::Stop, From::Again] {
                        walked += every_sequence(Run::new(&rules, from), length);
                    }
                }
            }
        }
    }
    // A walk that stops early would pass unseen.
    assert!(walked.states > 100_000, "only {walked:?}");
}

#[test]
fn long_sequences_of_events_keep_the_invariants() {
    let mut random = Random::new(2);
    let kinds = kinds();
    let mut ended = 0;
    for _ in 0..4000 {
        let count = 1 + random.below(6);
        let mut depends_on = vec![Vec::new(); count];
        let reversed = random.below(2) == 0;
        for upper in 0..count {
            for lower in upper + 1..count {
                if random.below(3) == 0 {
                    let (from, to) = if reversed {
                        (lower, upper)
                    } else {
                        (upper, lower)
                    };
                    depends_on[from].push(Id(to));
                }
            }
        }
        let kind = |_| kinds[random.below(kinds.len())].clone();
        let services = (0..count).map(kind).collect();
        let times = TIMES[[0, 0, 1, 2, 3][random.below(5)]];
        let rules = rules(&depends_on, services, times);
        ended += usize::from(Run::new(&rules, From::Begin).follow(&mut random, 100));
    }
    assert!(ended > 3000, "only {ended} came to an end");
}
