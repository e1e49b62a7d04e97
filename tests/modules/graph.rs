//! Cycles in a directed graph.

use std::collections::VecDeque;

/// Nodes 0 to `nodes`, and edges between them.
pub(crate) struct Graph {
    next: Vec<Vec<usize>>,
}

impl Graph {
    /// A graph of these edges, `(from, to)`.
    pub(crate) fn new(nodes: usize, edges: &[(usize, usize)]) -> Graph {
        let mut next = vec![Vec::new(); nodes];
        edges.iter().for_each(|&(from, to)| next[from].push(to));
        Graph { next }
    }

    /// The strongly connected components of two nodes and more: sets of nodes of which each leads to each other.
    pub(crate) fn knots(&self) -> Vec<Vec<usize>> {
        let reached: Vec<Vec<bool>> = (0..self.next.len()).map(|n| self.reached(n)).collect();
        let both = |a: usize, b: usize| reached[a][b] && reached[b][a];
        let mut knots: Vec<Vec<usize>> = Vec::new();
        for node in 0..self.next.len() {
            match knots.iter_mut().find(|knot| both(knot[0], node)) {
                Some(knot) => knot.push(node),
                None => knots.push(vec![node]),
            }
        }
        knots.retain(|knot| knot.len() > 1);
        knots
    }

    /// A shortest way from a node back to itself.
    pub(crate) fn cycle(&self, start: usize) -> Option<Vec<usize>> {
        let mut from = vec![None; self.next.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for &next in &self.next[node] {
                if from[next].is_none() {
                    from[next] = Some(node);
                    queue.push_back(next);
                }
            }
        }
        let mut way = vec![start, from[start]?];
        while way[way.len() - 1] != start {
            way.push(from[way[way.len() - 1]]?);
        }
        way.reverse();
        Some(way)
    }

    /// Whether edges lead from a node to each of the others.
    fn reached(&self, start: usize) -> Vec<bool> {
        let mut reached = vec![false; self.next.len()];
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            for &next in &self.next[node] {
                if !std::mem::replace(&mut reached[next], true) {
                    open.push(next);
                }
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knots_are_the_strongly_connected_components() {
        let graph = Graph::new(
            7,
            &[
                (0, 1),
                (1, 2),
                (2, 0),
                (2, 3),
                (3, 4),
                (4, 5),
                (5, 4),
                (6, 3),
            ],
        );
        assert_eq!(graph.knots(), [vec![0, 1, 2], vec![4, 5]]);
        assert_eq!(graph.cycle(1), Some(vec![1, 2, 0, 1]));
        assert_eq!(graph.cycle(5), Some(vec![5, 4, 5]));
        assert_eq!(graph.cycle(3), None);
    }

    #[test]
    fn what_only_leads_on_has_no_knots() {
        let graph = Graph::new(4, &[(0, 1), (0, 2), (1, 3), (2, 3)]);
        assert!(graph.knots().is_empty());
        assert_eq!(graph.cycle(0), None);
    }
}
