//! Memory planning: where the rings lie in the workspace. Values whose lives do not meet share their place.
//!
//! While rows stream, all values live from the first row to the last. Operators that see whole maps cut a run
//! into parts: what lies before a whole map is done when it is complete, and its memory is free for what
//! comes behind.

use super::node::{Node, node_of};
use crate::error::PlanError;
use crate::rows::Ring;

/// The offset of a ring that has no place yet.
const NOWHERE: usize = usize::MAX;

/// Gives each ring its place, the longest first: the first that is free while it lives. Returns the length
/// of all.
///
/// Not inlined, so that nothing of it stays on the stack while the model runs.
#[inline(never)]
pub(super) fn place(nodes: &mut [Node]) -> Result<usize, PlanError> {
    let mut end = 0;
    nodes.iter_mut().for_each(|node| node.ring.offset = NOWHERE);
    while let Some(i) = longest(nodes) {
        let node = node_of(nodes, i);
        let (offset, len) = (first_free(nodes, node), length(&node.ring));
        let past = offset.saturating_add(len);
        end = end.max(usize::try_from(past).map_err(|_| PlanError::TooLarge)?);
        // What ends within the address space starts there.
        if let Some(node) = nodes.get_mut(i) {
            node.ring.offset = offset as usize;
        }
    }
    Ok(end)
}

/// The longest ring without a place, of equals the first.
fn longest(nodes: &[Node]) -> Option<usize> {
    let rings = nodes.iter().map(|node| &node.ring).enumerate();
    let left = rings.filter(|(_, ring)| ring.offset == NOWHERE).rev();
    left.max_by_key(|(_, ring)| length(ring)).map(|(i, _)| i)
}

/// The lowest offset at which a node's ring meets no other that is alive at the same time. Each ring in the way moves it on,
/// so there is an end.
fn first_free(nodes: &[Node], node: &Node) -> u64 {
    let mut offset = 0u64;
    loop {
        let end = offset.saturating_add(length(&node.ring));
        let others = nodes.iter().filter(|other| other.ring.offset != NOWHERE);
        let ends = others
            .filter(|other| other.life.meets(node.life))
            .map(|other| (other.ring.offset as u64, length(&other.ring)))
            .map(|(start, len)| (start, start + len))
            .filter(|&(start, past)| start < end && offset < past);
        match ends.map(|(_, past)| past).min() {
            Some(past) => offset = past,
            None => return offset,
        }
    }
}

/// Elements of a ring: its slots and what its operator keeps.
fn length(ring: &Ring) -> u64 {
    let columns = u64::from(ring.width) + u64::from(ring.pad.left) + u64::from(ring.pad.right);
    // 2^17 columns, 2^16 channels and 2^17 rows at most.
    columns * u64::from(ring.map.channels) * u64::from(ring.rows) + ring.state_len as u64
}
