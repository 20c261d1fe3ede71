//! Every sequence of events up to a length, for tests of what decides. The walk is breadth
//! first: where two sequences lead to the same state, what follows is walked once, after the
//! shorter one, and the sequence that a failure names is as short as any.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How far a walk came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walked {
    /// States that differ, the first included.
    pub(crate) states: usize,
    /// Events that were fed in.
    pub(crate) steps: usize,
}

impl std::ops::AddAssign for Walked {
    fn add_assign(&mut self, other: Self) {
        self.states += other.states;
        self.steps += other.steps;
    }
}

/// What is walked: something that decides, with an onlooker's notes about it. `Hash` may
/// leave out only what makes no difference to what follows.
pub(crate) trait Course: Clone + Hash {
    type Event: Copy + Debug;
    type Action: Debug;

    /// Which events may come next.
    fn possible(&self) -> Vec<Self::Event>;
    /// What the event leads to.
    fn decide(&mut self, event: Self::Event) -> Vec<Self::Action>;
    /// Panics if something is wrong with that.
    fn observe(&mut self, event: Self::Event, actions: &[Self::Action]);
    /// What a failure names in addition to the events.
    fn rules(&self) -> &dyn Debug;
}

/// Walks every sequence of at most so many events.
pub(crate) fn every_sequence<C: Course>(start: C, length: usize) -> Walked {
    let mut seen = HashSet::from([digest(&start)]);
    // For each state except the first, the one before and the event.
    let mut tree: Vec<(usize, C::Event)> = Vec::new();
    let mut steps = 0;
    let mut layer = vec![(0, start)];
    for _ in 0..length {
        let mut next = Vec::new();
        for (place, course) in layer {
            for event in course.possible() {
                let mut course = course.clone();
                steps += 1;
                step(&mut course, event, || path(&tree, place));
                if seen.insert(digest(&course)) {
                    tree.push((place, event));
                    next.push((tree.len(), course));
                }
            }
        }
        layer = next;
    }
    Walked {
        states: seen.len(),
        steps,
    }
}

/// Feeds one event in. `before`: those that came before, for a failure to name.
pub(crate) fn step<C: Course>(
    course: &mut C,
    event: C::Event,
    before: impl FnOnce() -> Vec<C::Event>,
) {
    let actions = course.decide(event);
    let observed = catch_unwind(AssertUnwindSafe(|| course.observe(event, &actions)));
    assert!(
        observed.is_ok(),
        "after {:?}\n{event:?} led to {actions:?}\nwith {:?}",
        before(),
        course.rules()
    );
}

/// The events that led to a state.
fn path<E: Copy>(tree: &[(usize, E)], mut place: usize) -> Vec<E> {
    let mut events = Vec::new();
    while let Some(&(from, event)) = place.checked_sub(1).and_then(|place| tree.get(place)) {
        events.push(event);
        place = from;
    }
    events.reverse();
    events
}

/// Stands for a state. That two of some millions have the same is as good as impossible.
fn digest(state: &impl Hash) -> u64 {
    let mut digest = Digest(0);
    state.hash(&mut digest);
    digest.finish()
}

/// The hasher of the standard library takes most of the time of a walk.
struct Digest(u64);

impl Digest {
    fn add(&mut self, word: u64) {
        let mixed = (self.0.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.add(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.add(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.add(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.add(u64::try_from(word).unwrap_or(u64::MAX));
    }

    fn write_isize(&mut self, word: isize) {
        // How the variants of an enum are told apart.
        self.add(word.unsigned_abs().try_into().unwrap_or(u64::MAX));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A walk on a grid, whose corner is its end.
#[derive(Clone, Debug, Hash)]
struct Grid {
    at: (i8, i8),
    wall: i8,
}

impl Course for Grid {
    type Event = (i8, i8);
    type Action = ();

    fn possible(&self) -> Vec<(i8, i8)> {
        match self.at {
            (3, 3) => Vec::new(),
            _ => vec![(1, 0), (0, 1), (-1, 0), (0, -1)],
        }
    }

    fn decide(&mut self, by: (i8, i8)) -> Vec<()> {
        self.at = (self.at.0 + by.0, self.at.1 + by.1);
        Vec::new()
    }

    fn observe(&mut self, _: (i8, i8), _: &[()]) {
        assert!(self.at.0 < self.wall, "into the wall");
    }

    fn rules(&self) -> &dyn Debug {
        &self.wall
    }
}

#[test]
fn a_walk_finds_each_state_and_comes_no_further_than_its_length() {
    for length in 0..6 {
        let start = Grid {
            at: (0, 0),
            wall: 9,
        };
        let walked = every_sequence(start, length);
        // A square that stands on its corner.
        assert_eq!(walked.states, 2 * length * (length + 1) + 1);
    }
}

#[test]
fn a_walk_names_the_shortest_sequence_to_what_is_wrong() {
    let start = Grid {
        at: (0, 0),
        wall: 3,
    };
    let message = catch_unwind(|| every_sequence(start, 9)).unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    let expected = "after [(1, 0), (1, 0)]\n(1, 0) led to []\nwith 3";
    assert_eq!(message, expected);
}
