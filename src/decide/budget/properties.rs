//! What holds of every budget, tried with graphs and claims made of random numbers.

use super::*;
use crate::decide::random::Random;

const SECOND: Duration = Duration::from_secs(1);

/// A graph with claims, made of a number.
struct Case {
    graph: Graph,
    claims: Vec<Claim>,
    time: Duration,
}

fn case(random: &mut Random) -> Case {
    let count = 1 + random.below(7);
    let density = 1 + random.below(4);
    let edges = (0..count).map(|upper| {
        let lower = (upper + 1..count).filter(|_| random.below(4) < density);
        lower.map(Id).collect()
    });
    let graph = Graph::new(&edges.collect::<Vec<Vec<Id>>>()).unwrap();
    let with_period = random.below(5);
    let claims = (0..count).map(|_| Claim {
        period: (random.below(4) < with_period)
            .then(|| Duration::from_millis(random.below(6000) as u64)),
        one_shot: random.below(5) == 0,
    });
    let claims = claims.collect();
    let time = Duration::from_micros(1 + random.below(20_000_000) as u64);
    Case {
        graph,
        claims,
        time,
    }
}

/// Every path from a service down to one that depends on nothing.
fn chains(graph: &Graph, from: Id) -> Vec<Vec<Id>> {
    if graph.direct(from).is_empty() {
        return vec![vec![from]];
    }
    let lower = graph.direct(from).iter().flat_map(|id| chains(graph, *id));
    lower.map(|rest| [&[from][..], &rest].concat()).collect()
}

/// Every chain with its number of services without a period, and with the sum of a
/// reading of the others.
fn sums(case: &Case, of: impl Fn(Id) -> Duration) -> Vec<(usize, Duration)> {
    let tops = case.graph.top_first();
    let all = tops.flat_map(|id| chains(&case.graph, id));
    let sum = |chain: Vec<Id>| {
        let lasting = chain.iter().filter(|id| !case.claims[id.0].one_shot);
        let (with, without): (Vec<&Id>, Vec<&Id>) =
            lasting.partition(|id| case.claims[id.0].period.is_some());
        (without.len(), with.into_iter().map(|id| of(*id)).sum())
    };
    all.map(sum).collect()
}

const CASES: usize = 4000;

#[test]
fn along_each_chain_the_shares_fit_into_the_time() {
    let mut random = Random::new(1);
    for _ in 0..CASES {
        let case = case(&mut random);
        let budget = Budget::new(Some(case.time), &case.graph, &case.claims);
        for top in case.graph.top_first() {
            let mut longest = Duration::ZERO;
            for chain in chains(&case.graph, top) {
                let shares = chain.iter().map(|id| budget.of(*id).length);
                longest = longest.max(shares.sum());
            }
            assert!(longest <= case.time, "{longest:?} of {:?}", case.time);
            assert_eq!(budget.of(top).latest, longest, "the latest moment");
        }
    }
}

#[test]
fn each_is_stopped_before_what_it_depends_on_by_its_own_share() {
    let mut random = Random::new(2);
    for _ in 0..CASES {
        let case = case(&mut random);
        let budget = Budget::new(Some(case.time), &case.graph, &case.claims);
        for upper in case.graph.top_first() {
            for lower in case.graph.below(upper) {
                let kept = budget.of(*lower).latest + budget.of(upper).length;
                assert!(budget.of(upper).latest >= kept);
            }
            let claim = case.claims[upper.0];
            let share = budget.of(upper).length;
            match claim.period {
                _ if claim.one_shot => assert_eq!(share, Duration::ZERO),
                Some(_) => assert_eq!(Some(share), budget.of(upper).period),
                None => assert!(share > Duration::ZERO || case.time.as_micros() < 100),
            }
        }
    }
}

#[test]
fn a_part_is_what_the_tightest_chain_gives() {
    let mut random = Random::new(3);
    let mut scaled = 0;
    for _ in 0..CASES {
        let case = case(&mut random);
        let budget = Budget::new(Some(case.time), &case.graph, &case.claims);
        let original = |id: Id| case.claims[id.0].period.unwrap();
        let periods = |id: Id| budget.of(id).period.unwrap();
        let short = |sum: Duration, free: usize| {
            let left = case.time.saturating_sub(sum);
            let parts = u32::try_from(free).unwrap() + 2;
            left.is_zero() && sum > case.time
                || free > 0 && left < SECOND * parts && sum * 2 > case.time
        };
        let needed = sums(&case, original)
            .iter()
            .any(|(free, sum)| short(*sum, *free));
        assert_eq!(budget.scaled.is_some(), needed);
        let mut part = None;
        // Scaled periods are rounded down, by less than that.
        let rounding = Duration::from_micros(10);
        for (free, sum) in sums(&case, periods) {
            assert!(!short(sum, free), "still too long");
            if free > 0 {
                let parts = u32::try_from(free).unwrap() + 2;
                let own = case.time.saturating_sub(sum) / parts;
                part = Some(part.map_or(own, |part: Duration| part.min(own)));
            }
        }
        if let Some(scale) = &budget.scaled {
            scaled += 1;
            let grown = |id: Id| periods(id) + rounding;
            let fits = sums(&case, grown)
                .iter()
                .all(|(free, sum)| !short(*sum, *free));
            assert!(!fits, "scaled more than needed");
            let of_chain = scale.chain.iter().filter_map(|id| {
                let claim = case.claims[id.0];
                claim.period.filter(|_| !claim.one_shot)
            });
            let of_chain: Duration = of_chain.sum();
            let error = of_chain.abs_diff(scale.periods);
            assert!(error < rounding, "the chain is another");
            let is_edge = |pair: &[Id]| case.graph.direct(pair[0]).contains(&pair[1]);
            assert!(scale.chain.windows(2).all(is_edge));
        }
        for id in case.graph.top_first() {
            let claim = case.claims[id.0];
            if claim.period.is_none() && !claim.one_shot {
                let error = budget.of(id).length.abs_diff(part.unwrap());
                assert!(error <= rounding, "{error:?}");
            }
        }
    }
    assert!(scaled > CASES / 10, "only {scaled} were scaled");
}

#[test]
fn more_time_is_less_for_no_service() {
    let mut random = Random::new(4);
    for _ in 0..CASES {
        let mut case = case(&mut random);
        let before = Budget::new(Some(case.time), &case.graph, &case.claims);
        case.time += Duration::from_millis(random.below(4000) as u64);
        let after = Budget::new(Some(case.time), &case.graph, &case.claims);
        for id in case.graph.top_first() {
            // Rounded down, each at its own place.
            let rounding = Duration::from_micros(10);
            assert!(after.of(id).length + rounding >= before.of(id).length);
            assert!(after.of(id).latest + rounding >= before.of(id).latest);
        }
    }
}
