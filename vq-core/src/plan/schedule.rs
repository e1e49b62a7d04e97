//! Which operator runs when, and how many rows of each value are needed at once.
//!
//! The schedule is demand-driven: to make a row of the last value, the deepest operator whose rows are missing runs first, one
//! step at a time, so that nothing is computed before it is needed. How many rows a ring must hold follows from walking
//! through exactly this schedule beforehand.

use super::node::{Cursor, Life, Node, Window, cursor_of, node_of};
use crate::ops::MAX_OPS;
use crate::shape::Pad;

/// Rewinds a run to where the first row that is wanted of the last value is `y`: each value starts at the first row that
/// is needed for that. There are as many cursors as nodes.
pub(crate) fn start_at(nodes: &[Node], cursors: &mut [Cursor], y: i32) {
    for (cursor, node) in cursors.iter_mut().zip(nodes) {
        // Nothing, until a reader asks.
        cursor.next = node.ring.height as i32;
    }
    if let Some(last) = cursors.last_mut() {
        last.next = y;
    }
    for (value, node) in nodes.iter().enumerate().rev() {
        let Some(cursor) = cursors.get_mut(value) else {
            continue;
        };
        let rows = node.op.map_or(1, |op| op.rows_per_step());
        // A step makes all its rows; those of padding are made one by one.
        cursor.next -= cursor.next.max(0) % rows.max(1);
        cursor.first = cursor.next;
        let windows = node.windows(cursor.next.max(0));
        for window in windows.into_iter().flatten() {
            let top = i32::from(node_of(nodes, window.value).ring.pad.top);
            if let Some(cursor) = cursors.get_mut(window.value) {
                cursor.next = cursor.next.min(window.first.max(-top));
            }
        }
    }
}

/// The order in which steps run: a stack of values, each of which waits for the next one; the last value, at the bottom, is
/// left out.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    waiting: heapless::Vec<u8, MAX_OPS>,
}

impl Schedule {
    /// With an empty stack.
    pub(crate) const fn new() -> Self {
        Self {
            waiting: heapless::Vec::new(),
        }
    }

    /// The value whose next step must run before the last one's can, and can run now: it is stepped before the next
    /// question.
    pub(crate) fn due(&mut self, nodes: &[Node], cursors: &[Cursor]) -> usize {
        loop {
            let last = nodes.len().saturating_sub(1);
            let value = self.waiting.last().map_or(last, |&v| v.into());
            let Some(input) = missing_input(nodes, cursors, value) else {
                self.waiting.pop();
                return value;
            };
            // Inputs have lower numbers, so that no more can wait than there are operators.
            let _ = self.waiting.push(input as u8);
        }
    }
}

/// An input that has too few rows for the next step of a value.
///
/// Not inlined, so that planning and running share it.
#[inline(never)]
fn missing_input(nodes: &[Node], cursors: &[Cursor], value: usize) -> Option<usize> {
    let windows = node_of(nodes, value).next_windows(cursor_of(cursors, value))?;
    let lacking = |window: &Window| cursor_of(cursors, window.value).next <= window.last;
    windows.into_iter().find(lacking).map(|window| window.value)
}

/// Finds each value's last reader, and the padding that its readers want: that at the sides where the kernels do not add
/// it themselves.
pub(super) fn find_readers(nodes: &mut [Node], im2col: bool) {
    for value in 0..nodes.len() {
        let node = *node_of(nodes, value);
        for read in node.inputs().chain([value]) {
            if let Some(node) = nodes.get_mut(read) {
                node.last_reader = value as u16;
            }
        }
        let Some(op) = node.op else { continue };
        let mut pad = op.pad();
        if im2col {
            (pad.left, pad.right) = (0, 0);
        }
        let [input, ..] = op.inputs();
        if let Some(Node { ring, .. }) = nodes.get_mut(usize::from(input)) {
            ring.pad = larger(ring.pad, pad);
        }
    }
}

/// Sets each ring's slots to the most rows that are ever needed at once, and its life.
///
/// From the last value's first row on the schedule repeats itself every `density` rows, but for
/// what falls away at the bottom; so it is enough to follow it that far. Only whole maps keep filling up
/// until the end, and only what lies before one has a life of its own.
///
/// Not inlined, so that nothing of it stays on the stack while the model runs.
#[inline(never)]
pub(super) fn find_heights(nodes: &mut [Node], cursors: &mut [Cursor], density: i32) {
    let last = nodes.len().saturating_sub(1);
    start_at(nodes, cursors, 0);
    let bottom = node_of(nodes, last).ring.height as i32 - 1;
    let mut ops = nodes.iter().filter_map(|node| node.op);
    let whole = ops.any(|op| op.sees_whole_map());
    let end = if whole { bottom } else { density.min(bottom) };
    let mut step = 0;
    let mut schedule = Schedule::new();
    while cursor_of(cursors, last).next <= end {
        let value = schedule.due(nodes, cursors);
        let node = *node_of(nodes, value);
        let windows = node.next_windows(cursor_of(cursors, value));
        for window in windows.into_iter().flatten() {
            extend_life(nodes, window.value, step);
        }
        if let Some(cursor) = cursors.get_mut(value) {
            cursor.advance(&node);
        }
        let needed = rows_needed(nodes, cursors, value);
        if let Some(Node { ring, .. }) = nodes.get_mut(value) {
            ring.rows = ring.rows.max(needed);
        }
        extend_life(nodes, value, step);
        step = step.saturating_add(1);
    }
    // The caller reads the last value.
    extend_life(nodes, last, u32::MAX);
    if !whole {
        nodes.iter_mut().for_each(|node| node.life = Life::WHOLE);
    }
}

/// Makes a ring's life reach to a step.
fn extend_life(nodes: &mut [Node], value: usize, step: u32) {
    if let Some(node) = nodes.get_mut(value) {
        node.life.extend(step);
    }
}

/// Rows of a value that are made and still needed, when its newest step has just run.
fn rows_needed(nodes: &[Node], cursors: &[Cursor], value: usize) -> u32 {
    let node = node_of(nodes, value);
    let readers = nodes.iter().zip(cursors).skip(value + 1);
    let readers = readers.take(usize::from(node.last_reader).saturating_sub(value));
    let oldest = readers.filter_map(|(node, &cursor)| node.oldest_needed(cursor, value));
    let made = cursor_of(cursors, value).next;
    let newest = node.op.map_or(1, |op| op.rows_per_step());
    made.saturating_sub(oldest.min().unwrap_or(made))
        .max(newest) as u32
}

fn larger(a: Pad, b: Pad) -> Pad {
    Pad {
        top: a.top.max(b.top),
        left: a.left.max(b.left),
        bottom: a.bottom.max(b.bottom),
        right: a.right.max(b.right),
    }
}
