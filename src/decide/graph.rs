//! Which service depends on which.
//!
//! Above a service are those that depend on it, directly or through others; below it
//! those that it depends on.

use std::collections::BTreeSet;

/// A service, by its place in the list of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(pub(crate) usize);

/// The services and their edges, without a loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    /// Every service after all that are above it.
    top_first: Vec<Id>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    direct: Vec<Id>,
    below: Vec<Id>,
    above: Vec<Id>,
}

impl Graph {
    /// `depends_on`: what each service depends on directly.
    ///
    /// # Errors
    /// A loop, each service followed by one that it depends on. An edge to a service that
    /// does not exist is left out.
    pub(crate) fn new(depends_on: &[Vec<Id>]) -> Result<Self, Vec<Id>> {
        let mut nodes = vec![Node::default(); depends_on.len()];
        for (node, edges) in nodes.iter_mut().zip(depends_on) {
            // Not collected, which would bring a sort of its own into the program.
            let mut direct = BTreeSet::new();
            for id in edges.iter().filter(|id| id.0 < depends_on.len()) {
                direct.insert(*id);
            }
            node.direct.extend(direct);
        }
        let top_first = top_first(&nodes)?;
        for &id in top_first.iter().rev() {
            let mut below = BTreeSet::new();
            for &direct in &at(&nodes, id).direct {
                below.insert(direct);
                below.extend(&at(&nodes, direct).below);
            }
            for lower in &below {
                if let Some(node) = nodes.get_mut(lower.0) {
                    node.above.push(id);
                }
            }
            if let Some(node) = nodes.get_mut(id.0) {
                node.below.extend(below);
            }
        }
        Ok(Self { nodes, top_first })
    }

    /// How many services there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Every service after all that are above it.
    pub(crate) fn top_first(&self) -> impl DoubleEndedIterator<Item = Id> {
        self.top_first.iter().copied()
    }

    /// What a service depends on directly.
    pub(crate) fn direct(&self, id: Id) -> &[Id] {
        &at(&self.nodes, id).direct
    }

    /// What is below a service.
    pub(crate) fn below(&self, id: Id) -> &[Id] {
        &at(&self.nodes, id).below
    }

    /// What is above a service.
    pub(crate) fn above(&self, id: Id) -> &[Id] {
        &at(&self.nodes, id).above
    }
}

fn at(nodes: &[Node], id: Id) -> &Node {
    const NONE: &Node = &Node {
        direct: Vec::new(),
        below: Vec::new(),
        above: Vec::new(),
    };
    nodes.get(id.0).unwrap_or(NONE)
}

fn top_first(nodes: &[Node]) -> Result<Vec<Id>, Vec<Id>> {
    let mut dependents = vec![0_usize; nodes.len()];
    for lower in nodes.iter().flat_map(|node| &node.direct) {
        if let Some(count) = dependents.get_mut(lower.0) {
            *count += 1;
        }
    }
    let is_free = |(_, count): &(usize, &usize)| **count == 0;
    let free = dependents.iter().enumerate().filter(is_free);
    let mut order: Vec<Id> = free.map(|(place, _)| Id(place)).collect();
    let mut next = 0;
    while let Some(&id) = order.get(next) {
        next += 1;
        for &lower in &at(nodes, id).direct {
            if let Some(count) = dependents.get_mut(lower.0) {
                *count -= 1;
                if *count == 0 {
                    order.push(lower);
                }
            }
        }
    }
    if order.len() == nodes.len() {
        return Ok(order);
    }
    Err(find_loop(nodes, &dependents))
}

/// Each service with `dependents` left has one of those above it: following them upward
/// leads into a loop.
fn find_loop(nodes: &[Node], dependents: &[usize]) -> Vec<Id> {
    let is_left = |id: &Id| dependents.get(id.0).is_some_and(|count| *count > 0);
    let left: Vec<Id> = (0..nodes.len()).map(Id).filter(is_left).collect();
    let mut path: Vec<Id> = left.first().copied().into_iter().collect();
    while let Some(&last) = path.last() {
        let depends = |id: &&Id| at(nodes, **id).direct.contains(&last);
        let Some(&upper) = left.iter().find(depends) else {
            break;
        };
        if let Some(start) = path.iter().position(|id| *id == upper) {
            path.drain(..start);
            break;
        }
        path.push(upper);
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(places: &[usize]) -> Vec<Id> {
        places.iter().copied().map(Id).collect()
    }

    fn edges(depends_on: &[&[usize]]) -> Vec<Vec<Id>> {
        depends_on.iter().map(|places| ids(places)).collect()
    }

    #[test]
    fn above_and_below_are_found_through_others() {
        // 0 needs 1 and 2, both need 3; 4 stands alone.
        let graph = Graph::new(&edges(&[&[1, 2, 1], &[3], &[3], &[], &[], &[3, 9]])).unwrap();
        assert_eq!(graph.len(), 6);
        assert_eq!(graph.direct(Id(0)), ids(&[1, 2]));
        assert_eq!(graph.direct(Id(5)), ids(&[3]));
        assert_eq!(graph.below(Id(0)), ids(&[1, 2, 3]));
        assert_eq!(graph.below(Id(3)), []);
        let mut above = graph.above(Id(3)).to_vec();
        above.sort();
        assert_eq!(above, ids(&[0, 1, 2, 5]));
        assert_eq!(graph.above(Id(0)), []);
        assert_eq!(graph.above(Id(7)), []);
        let order: Vec<Id> = graph.top_first().collect();
        let place = |id| order.iter().position(|at| *at == Id(id)).unwrap();
        assert_eq!(order.len(), 6);
        assert!(place(0) < place(1) && place(0) < place(2));
        assert!(place(1) < place(3) && place(2) < place(3) && place(5) < place(3));
    }

    #[test]
    fn a_loop_is_named_as_a_whole_and_alone() {
        // 0 leads into the loop 1, 2, 3, which leads to 4.
        let looped = edges(&[&[1], &[2], &[3, 4], &[1], &[]]);
        let found = Graph::new(&looped).unwrap_err();
        assert_eq!(found.len(), 3);
        for (place, id) in found.iter().enumerate() {
            let next = found[(place + 1) % found.len()];
            assert!(looped[id.0].contains(&next), "{found:?}");
        }
        assert_eq!(Graph::new(&edges(&[&[], &[1]])).unwrap_err(), [Id(1)]);
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let chain: Vec<Vec<Id>> = (1..=2000).map(|lower| ids(&[lower])).collect();
        let graph = Graph::new(&chain).unwrap();
        assert_eq!(graph.below(Id(0)).len(), 1999);
        let mut looped = chain;
        looped.push(ids(&[0]));
        assert_eq!(Graph::new(&looped).unwrap_err().len(), 2001);
    }
}
