//! What depends on what: circles, what a service inherits from one that is off, and what
//! precedes it. Pure.

/// The circles of a graph, each as the indices on it: `graph[a]` has what `a` depends on.
/// There is at least one for each set of services that depend on each other.
pub(super) fn circles(graph: &[Vec<usize>]) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Mark {
        New,
        OnPath,
        Done,
    }
    let mut marks = vec![Mark::New; graph.len()];
    let mark = |marks: &mut Vec<Mark>, index: usize, new: Mark| {
        if let Some(mark) = marks.get_mut(index) {
            *mark = new;
        }
    };
    let mut circles = Vec::new();
    for start in 0..graph.len() {
        if marks.get(start) != Some(&Mark::New) {
            continue;
        }
        // A path with the next edge of each of its services: no recursion, because it may
        // be as long as the file.
        let mut path = vec![(start, 0)];
        mark(&mut marks, start, Mark::OnPath);
        while let Some((at, edge)) = path.last_mut() {
            let next = graph.get(*at).and_then(|edges| edges.get(*edge)).copied();
            *edge += 1;
            let Some(next) = next else {
                mark(&mut marks, *at, Mark::Done);
                path.pop();
                continue;
            };
            match marks.get(next) {
                Some(Mark::New) => {
                    mark(&mut marks, next, Mark::OnPath);
                    path.push((next, 0));
                }
                Some(Mark::OnPath) => {
                    let on_it = path.iter().skip_while(|(at, _)| *at != next);
                    circles.push(on_it.map(|(at, _)| *at).collect());
                }
                Some(Mark::Done) | None => {}
            }
        }
    }
    circles
}

/// The services of a graph without circles, each after what it depends on.
pub(super) fn in_order(graph: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(graph.len());
    let mut seen = vec![false; graph.len()];
    for start in 0..graph.len() {
        let mut path = vec![(start, 0)];
        while let Some((at, edge)) = path.last_mut() {
            let at = *at;
            if *edge == 0 && std::mem::replace(seen.get_mut(at).unwrap_or(&mut true), true) {
                path.pop();
                continue;
            }
            let next = graph.get(at).and_then(|edges| edges.get(*edge)).copied();
            *edge += 1;
            if let Some(next) = next {
                path.push((next, 0));
            } else {
                order.push(at);
                path.pop();
            }
        }
    }
    order
}

/// What each service depends on when those that are off have left what they depend on, each
/// once. Without circles.
pub(super) fn without_off(graph: &[Vec<usize>], is_on: &[bool]) -> Vec<Vec<usize>> {
    let mut result: Vec<Vec<usize>> = vec![Vec::new(); graph.len()];
    for at in in_order(graph) {
        let mut needed = Vec::new();
        for next in graph.get(at).into_iter().flatten() {
            let left = match is_on.get(*next) {
                Some(true) => std::slice::from_ref(next),
                _ => result.get(*next).map_or(&[][..], Vec::as_slice),
            };
            for next in left {
                if !needed.contains(next) {
                    needed.push(*next);
                }
            }
        }
        if let Some(result) = result.get_mut(at) {
            *result = needed;
        }
    }
    result
}

/// Which services have one of `marked` among those that they depend on, directly or through
/// others. Without circles.
pub(super) fn above(graph: &[Vec<usize>], marked: &[bool]) -> Vec<bool> {
    let mut result = vec![false; graph.len()];
    for at in in_order(graph) {
        let mut below = graph.get(at).into_iter().flatten();
        let is_above =
            below.any(|next| marked.get(*next) == Some(&true) || result.get(*next) == Some(&true));
        if let Some(result) = result.get_mut(at) {
            *result = is_above;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn graph(edges: &[&[usize]]) -> Vec<Vec<usize>> {
        edges.iter().map(|edges| edges.to_vec()).collect()
    }

    #[test]
    fn circles_are_found_whole() {
        assert_eq!(
            circles(&graph(&[&[1], &[2], &[]])),
            Vec::<Vec<usize>>::new()
        );
        assert_eq!(circles(&graph(&[&[0]])), [[0]]);
        assert_eq!(circles(&graph(&[&[1], &[2], &[1]])), [[1, 2]]);
        assert_eq!(circles(&graph(&[&[1], &[2], &[3], &[0]])), [[0, 1, 2, 3]]);
        let two = graph(&[&[1], &[0], &[3], &[2]]);
        assert_eq!(circles(&two), [[0, 1], [2, 3]]);
        let diamond = graph(&[&[1, 2], &[3], &[3], &[]]);
        assert_eq!(circles(&diamond), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn what_is_off_leaves_what_it_depends_on() {
        // web 0 -> cron 1 -> app 2 -> db 3; cron and app are off.
        let chain = graph(&[&[1], &[2], &[3], &[]]);
        let on = [true, false, false, true];
        assert_eq!(without_off(&chain, &on)[0], [3]);
        // 0 -> 1, 2; 1 (off) -> 3, 2.
        let twice = graph(&[&[1, 2], &[3, 2], &[], &[]]);
        assert_eq!(without_off(&twice, &[true, false, true, true])[0], [3, 2]);
        assert_eq!(without_off(&twice, &[true; 4])[0], [1, 2]);
    }

    #[test]
    fn what_depends_on_a_service_is_above_it() {
        // 0 -> 1 -> 2, 3 -> 2, 4.
        let graph = graph(&[&[1], &[2], &[], &[2], &[]]);
        let one_shot = [false, false, true, false, false];
        assert_eq!(above(&graph, &one_shot), [true, true, false, true, false]);
    }

    #[test]
    fn a_long_chain_does_not_need_a_deep_stack() {
        let mut long: Vec<Vec<usize>> = (1..=50_000).map(|next| vec![next]).collect();
        long.push(Vec::new());
        assert!(circles(&long).is_empty());
        assert_eq!(in_order(&long).len(), 50_001);
        long[50_000].push(0);
        assert_eq!(circles(&long)[0].len(), 50_001);
    }

    proptest! {
        #[test]
        fn a_graph_without_circles_has_an_order(edges in prop::collection::vec((0..8_usize, 0..8_usize), 0..14)) {
            let mut graph = vec![Vec::new(); 8];
            for (from, to) in edges {
                graph[from].push(to);
            }
            for circle in circles(&graph) {
                let next = circle.iter().cycle().skip(1);
                for (from, to) in circle.iter().zip(next) {
                    prop_assert!(graph[*from].contains(to), "{circle:?}");
                }
            }
            let order = in_order(&graph);
            let position = |index| order.iter().position(|at| *at == index).unwrap();
            let is_ordered = (0..8).all(|from| {
                graph[from].iter().all(|to| position(*to) < position(from))
            });
            prop_assert_eq!(circles(&graph).is_empty(), is_ordered);
            prop_assert_eq!(order.len(), 8);
        }
    }
}
