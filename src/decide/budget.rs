//! Shares of the time that services have to stop in, and the latest moment of each: then
//! it is stopped even though services above it still run.
//!
//! The time is that from the end of the stop delay to SIGKILL, and moments in it are
//! counted back from SIGKILL. A chain is a path down the graph. On a chain with `k`
//! services without a period of their own, a part is 1/(`k` + 2) of what the periods on
//! it leave of the time, and the chain with the smallest part decides for all. A share is
//! the period, or one part; a one-shot has none, because what depends on it starts only
//! when it has ended.

use std::time::Duration;

use super::graph::{Graph, Id};

#[cfg(test)]
mod properties;

/// What the periods of a chain must leave for each part.
const LEAST_PART: u128 = 1_000_000;

/// What a service claims of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    /// Its `stop_grace_period`.
    pub(crate) period: Option<Duration>,
    /// It is ready when it has exited with success.
    pub(crate) one_shot: bool,
}

/// What a service gets of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Share {
    /// How much time is kept for it.
    pub(crate) length: Duration,
    /// How long before SIGKILL it is stopped at the latest.
    pub(crate) latest: Duration,
    /// Its `stop_grace_period`, scaled.
    pub(crate) period: Option<Duration>,
}

/// The periods were too long for the time, and all of them are scaled down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scaled {
    /// The chain with the smallest factor, from the top.
    pub(crate) chain: Vec<Id>,
    /// What the periods on it add up to.
    pub(crate) periods: Duration,
    /// What they may take: all periods are scaled by `allowed` / `periods`.
    pub(crate) allowed: Duration,
}

/// How the time is divided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Budget {
    shares: Vec<Share>,
    /// Why periods are shorter than in the file.
    pub(crate) scaled: Option<Scaled>,
}

impl Budget {
    /// Divides the time, `None` if it never ends, among services with these claims. There
    /// is nothing to divide in no time or in one without an end.
    pub(crate) fn new(time: Option<Duration>, graph: &Graph, claims: &[Claim]) -> Self {
        let claim = |id: Id| claims.get(id.0).copied().unwrap_or_default();
        let places = (0..graph.len()).map(Id);
        let Some(time) = time.filter(|time| !time.is_zero()) else {
            let undivided = |id| Share {
                period: claim(id).period,
                ..Share::default()
            };
            return Self {
                shares: places.map(undivided).collect(),
                scaled: None,
            };
        };
        let time = time.as_micros();
        let chains = Chains::new(graph, claim);
        let scale = chains.scale(time);
        let (allowed, periods) = scale.as_ref().map_or((1, 1), |scale| scale.factor);
        let part = chains.part(time, (allowed, periods));
        let mut shares = vec![Share::default(); graph.len()];
        for id in graph.top_first().rev() {
            let Claim { period, one_shot } = claim(id);
            let period = period.map(|period| match scale {
                Some(_) => micros(period.as_micros().saturating_mul(allowed) / periods),
                None => period,
            });
            let share = match period {
                _ if one_shot => Duration::ZERO,
                Some(period) => period,
                None => part,
            };
            let below = graph.direct(id).iter().filter_map(|id| shares.get(id.0));
            let below = below.map(|lower| lower.latest).max().unwrap_or_default();
            let latest = below.saturating_add(share);
            if let Some(slot) = shares.get_mut(id.0) {
                *slot = Share {
                    length: share,
                    latest,
                    period,
                };
            }
        }
        let scaled = scale.map(|scale| Scaled {
            chain: chains.path(scale.top, scale.free),
            periods: micros(periods),
            allowed: micros(allowed),
        });
        Self { shares, scaled }
    }

    /// What this service gets.
    pub(crate) fn of(&self, id: Id) -> Share {
        self.shares.get(id.0).copied().unwrap_or_default()
    }
}

/// A factor that makes a chain fit.
struct Scale {
    /// What the periods may take, and what they take.
    factor: (u128, u128),
    top: Id,
    free: usize,
}

/// The chains, as far as they matter: of those from the same service down, with the same
/// number of services without a period, only that whose periods add up to most.
struct Chains<'a, F> {
    graph: &'a Graph,
    claim: F,
    /// By service and number of services without a period: the sum of the periods.
    longest: Vec<Vec<Option<u128>>>,
}

impl<'a, F: Fn(Id) -> Claim> Chains<'a, F> {
    fn new(graph: &'a Graph, claim: F) -> Self {
        let mut chains = Self {
            graph,
            claim,
            longest: vec![Vec::new(); graph.len()],
        };
        for id in graph.top_first().rev() {
            let own = chains.own(id);
            let mut sums: Vec<Option<u128>> = vec![None; own.0];
            if graph.direct(id).is_empty() {
                sums.push(Some(own.1));
            }
            for lower in graph.direct(id) {
                let below = chains.longest.get(lower.0).into_iter().flatten();
                for (free, sum) in below.enumerate() {
                    let sum = sum.map(|sum| sum.saturating_add(own.1));
                    let free = free + own.0;
                    match sums.get_mut(free) {
                        Some(slot) => *slot = sum.max(*slot),
                        None => sums.push(sum),
                    }
                }
            }
            if let Some(slot) = chains.longest.get_mut(id.0) {
                *slot = sums;
            }
        }
        chains
    }

    /// What a service adds to a chain: whether it has no period, and its period.
    fn own(&self, id: Id) -> (usize, u128) {
        match (self.claim)(id) {
            Claim { one_shot: true, .. } => (0, 0),
            Claim {
                period: Some(period),
                ..
            } => (0, period.as_micros()),
            Claim { period: None, .. } => (1, 0),
        }
    }

    /// Top, number of services without a period, and sum of the periods.
    fn iter(&self) -> impl Iterator<Item = (Id, usize, u128)> {
        let by_service = self.longest.iter().enumerate();
        by_service.flat_map(|(place, sums)| {
            let sums = sums.iter().enumerate();
            sums.filter_map(move |(free, sum)| sum.map(|sum| (Id(place), free, sum)))
        })
    }

    /// The smallest factor that a chain needs, where one needs any.
    fn scale(&self, time: u128) -> Option<Scale> {
        let mut smallest: Option<Scale> = None;
        for (top, free, sum) in self.iter() {
            let allowed = match free {
                0 => time,
                _ => (time / 2).max(time.saturating_sub(parts(free) * LEAST_PART)),
            };
            if sum <= allowed {
                continue;
            }
            let is_smaller = smallest.as_ref().is_none_or(|scale| {
                let (least, of) = scale.factor;
                allowed.saturating_mul(of) < least.saturating_mul(sum)
            });
            if is_smaller {
                let factor = (allowed, sum);
                smallest = Some(Scale { factor, top, free });
            }
        }
        smallest
    }

    /// The smallest part. Zero where every service has a period.
    fn part(&self, time: u128, (allowed, periods): (u128, u128)) -> Duration {
        let chains = self.iter().filter(|(_, free, _)| *free > 0);
        let part = chains.map(|(_, free, sum)| {
            let taken = sum.saturating_mul(allowed).div_ceil(periods);
            time.saturating_sub(taken) / parts(free)
        });
        micros(part.min().unwrap_or_default())
    }

    /// The services of a chain, from the top.
    fn path(&self, top: Id, mut free: usize) -> Vec<Id> {
        let longest = |id: Id, free: usize| {
            let sums = self.longest.get(id.0)?;
            *sums.get(free)?
        };
        let mut path = vec![top];
        let mut at = top;
        loop {
            let own = self.own(at);
            let left = longest(at, free).and_then(|sum| sum.checked_sub(own.1));
            free = free.saturating_sub(own.0);
            let mut lower = self.graph.direct(at).iter();
            let Some(&next) = lower.find(|id| left.is_some() && longest(**id, free) == left) else {
                return path;
            };
            path.push(next);
            at = next;
        }
    }
}

/// Into how many parts the time is divided on a chain: one for each service without a
/// period, and two more for the first of them.
fn parts(free: usize) -> u128 {
    free as u128 + 2
}

fn micros(micros: u128) -> Duration {
    u64::try_from(micros).map_or(Duration::MAX, Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn graph(depends_on: &[&[usize]]) -> Graph {
        let edges = |places: &&[usize]| places.iter().copied().map(Id).collect();
        Graph::new(&depends_on.iter().map(edges).collect::<Vec<_>>()).unwrap()
    }

    fn chain(length: usize) -> Graph {
        let edges = (1..=length).map(|lower| vec![Id(lower)]);
        Graph::new(&edges.collect::<Vec<_>>()).unwrap()
    }

    /// Claims by period in seconds; `-1`: none, `-2`: a one-shot.
    fn claims(periods: &[f64]) -> Vec<Claim> {
        let claim = |seconds: &f64| Claim {
            period: (*seconds >= 0.0).then(|| Duration::from_secs_f64(*seconds)),
            one_shot: *seconds < -1.5,
        };
        periods.iter().map(claim).collect()
    }

    fn divide(seconds: u64, graph: &Graph, periods: &[f64]) -> Budget {
        let time = Duration::from_secs(seconds);
        Budget::new(Some(time), graph, &claims(periods))
    }

    fn all(budget: &Budget, read: impl Fn(Share) -> Duration) -> Vec<f64> {
        let shares = budget.shares.iter().copied();
        shares.map(|share| read(share).as_secs_f64()).collect()
    }

    fn latest(budget: &Budget) -> Vec<f64> {
        all(budget, |share| share.latest)
    }

    #[test]
    fn of_two_in_a_row_the_lower_one_has_a_quarter_and_the_first_three() {
        let budget = divide(8, &chain(2), &[-1.0, -1.0]);
        assert_eq!(all(&budget, |share| share.length), [2.0, 2.0]);
        // The first is stopped at once, and has the time until the other is.
        assert_eq!(latest(&budget), [4.0, 2.0]);
        let lower = budget.of(Id(1));
        assert_eq!(lower.latest + lower.length * 3, SECOND * 8);
    }

    #[test]
    fn of_three_in_a_row_the_lower_two_have_a_fifth_each() {
        let budget = divide(10, &chain(3), &[-1.0, -1.0, -1.0]);
        assert_eq!(latest(&budget), [6.0, 4.0, 2.0]);
        let alone = divide(9, &chain(1), &[-1.0]);
        assert_eq!(latest(&alone), [3.0]);
    }

    #[test]
    fn the_chain_with_the_smallest_part_decides_for_all() {
        // 0 needs 1 needs 2, and 3 needs 4.
        let graph = graph(&[&[1], &[2], &[], &[4], &[]]);
        let budget = divide(10, &graph, &[-1.0; 5]);
        assert_eq!(latest(&budget), [6.0, 4.0, 2.0, 4.0, 2.0]);
        // Three fewer parts, of what the period leaves.
        let budget = divide(10, &graph, &[-1.0, -1.0, -1.0, -1.0, 4.0]);
        assert_eq!(latest(&budget), [6.0, 4.0, 2.0, 6.0, 4.0]);
        let budget = divide(10, &graph, &[-1.0, -1.0, -1.0, -1.0, 5.5]);
        assert_eq!(latest(&budget), [4.5, 3.0, 1.5, 7.0, 5.5]);
    }

    #[test]
    fn a_service_has_as_much_below_it_as_the_longest_chain_needs() {
        // A diamond whose one side is slow.
        let graph = graph(&[&[1, 2], &[3], &[3], &[]]);
        let budget = divide(20, &graph, &[-1.0, 5.0, -1.0, -1.0]);
        // Two parts and a period on the one side, three parts on the other.
        assert_eq!(all(&budget, |share| share.length), [3.75, 5.0, 3.75, 3.75]);
        assert_eq!(latest(&budget), [12.5, 8.75, 7.5, 3.75]);
    }

    #[test]
    fn a_one_shot_has_no_share_and_its_period_takes_nothing() {
        let mut claims = claims(&[-1.0, -2.0, -1.0]);
        for period in [None, Some(SECOND * 7)] {
            claims[1].period = period;
            let budget = Budget::new(Some(SECOND * 8), &chain(3), &claims);
            assert_eq!(latest(&budget), [4.0, 2.0, 2.0]);
            assert_eq!(budget.of(Id(1)).period, period);
            assert_eq!(budget.scaled, None);
        }
    }

    #[test]
    fn chains_where_every_service_has_a_period_do_not_count() {
        let graph = graph(&[&[1], &[], &[3], &[]]);
        let budget = divide(10, &graph, &[5.0, 5.0, -1.0, -1.0]);
        assert_eq!(latest(&budget), [10.0, 5.0, 5.0, 2.5]);
        assert_eq!(budget.scaled, None);
        let budget = divide(10, &chain(2), &[0.0, 0.0]);
        assert_eq!(latest(&budget), [0.0, 0.0]);
    }

    #[test]
    fn periods_that_leave_too_little_are_scaled_by_one_factor() {
        // 8 s of 10 leave 2/4 s for a part: they may take 6, and 1 s is left for each.
        let budget = divide(10, &chain(3), &[8.0, -1.0, -1.0]);
        assert_eq!(latest(&budget), [8.0, 2.0, 1.0]);
        let expected = Scaled {
            chain: vec![Id(0), Id(1), Id(2)],
            periods: SECOND * 8,
            allowed: SECOND * 6,
        };
        assert_eq!(budget.scaled, Some(expected));
        // A period elsewhere is scaled too, a one-shot's as well.
        let graph = graph(&[&[1], &[2], &[], &[], &[]]);
        let mut claims = claims(&[8.0, -1.0, -1.0, 4.0, -2.0]);
        claims[4].period = Some(SECOND * 2);
        let budget = Budget::new(Some(SECOND * 10), &graph, &claims);
        assert_eq!(budget.of(Id(3)).period, Some(SECOND * 3));
        assert_eq!(budget.of(Id(3)).latest, SECOND * 3);
        assert_eq!(budget.of(Id(4)).period, Some(SECOND * 3 / 2));
        assert_eq!(budget.of(Id(1)).period, None);
    }

    #[test]
    fn periods_may_always_take_half_of_the_time() {
        // Half of 4 s leaves 2/4 s for a part.
        let budget = divide(4, &chain(3), &[2.0, -1.0, -1.0]);
        assert_eq!(
            (latest(&budget), budget.scaled),
            (vec![3.0, 1.0, 0.5], None)
        );
        let budget = divide(4, &chain(3), &[60.0, -1.0, -1.0]);
        assert_eq!(latest(&budget), [3.0, 1.0, 0.5]);
        assert_eq!(budget.scaled.unwrap().allowed, SECOND * 2);
    }

    #[test]
    fn a_chain_of_periods_alone_may_take_all_of_the_time() {
        let budget = divide(10, &chain(2), &[6.0, 4.0]);
        assert_eq!((latest(&budget), budget.scaled), (vec![10.0, 4.0], None));
        let budget = divide(10, &chain(2), &[30.0, 20.0]);
        assert_eq!(latest(&budget), [10.0, 4.0]);
        assert_eq!(budget.scaled.unwrap().periods, SECOND * 50);
    }

    #[test]
    fn the_tightest_chain_is_named() {
        let graph = graph(&[&[2], &[2, 3], &[4], &[4], &[]]);
        let budget = divide(10, &graph, &[-1.0, 3.0, 20.0, 5.0, -1.0]);
        assert_eq!(
            budget.scaled.unwrap().chain,
            [Id(0), Id(2), Id(4)],
            "6 s for 20 s is a smaller factor than 7 s for 23 s"
        );
    }

    #[test]
    fn no_time_and_endless_time_are_not_divided() {
        for time in [Some(Duration::ZERO), None] {
            let budget = Budget::new(time, &chain(2), &claims(&[30.0, -1.0]));
            assert_eq!(latest(&budget), [0.0, 0.0]);
            assert_eq!(budget.of(Id(0)).period, Some(SECOND * 30));
            assert_eq!(budget.scaled, None);
        }
    }

    #[test]
    fn periods_without_bounds_do_not_overflow() {
        let endless = [Claim {
            period: Some(Duration::MAX),
            one_shot: false,
        }; 3];
        for time in [Duration::from_nanos(1), SECOND, Duration::MAX] {
            let budget = Budget::new(Some(time), &chain(3), &endless);
            assert!(budget.of(Id(0)).latest <= time);
        }
    }

    #[test]
    fn a_wide_graph_takes_no_longer_than_its_edges() {
        // 40 levels of five services, each of which needs all of the next level:
        // 5 to the power of 40 chains.
        let edges = (0..200).map(|place| {
            let next = (place / 5 + 1) * 5;
            (next..next + 5)
                .filter(|lower| *lower < 200)
                .map(Id)
                .collect()
        });
        let graph = Graph::new(&edges.collect::<Vec<Vec<Id>>>()).unwrap();
        let claims = [Claim::default(); 200];
        let budget = Budget::new(Some(SECOND * 42), &graph, &claims);
        assert_eq!(budget.of(Id(199)).latest, SECOND);
        assert_eq!(budget.of(Id(0)).latest, SECOND * 40);
    }
}
