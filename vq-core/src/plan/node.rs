//! What a plan says of a value, and how far a run has come with it.

use crate::map::Map;
use crate::ops::{Add, MAX_INPUTS, Op};
use crate::rows::Ring;
use crate::shape::{Grid, Pad};

/// A value and how it comes about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// The operator that makes it; none for the graph's input, and where nothing of it is kept.
    pub(crate) op: Option<Op>,
    /// Whether a ReLU is fused into the operator's input.
    pub(crate) fused_relu: bool,
    /// The addition to what the operator makes, which is the first summand.
    pub(crate) sum: Option<Add>,
    pub(crate) ring: Ring,
    /// Where the operator's filters lie among the packed ones (elements).
    pub(crate) packed: usize,
    /// The last value that is made of it; its own number if there is none.
    pub(super) last_reader: u16,
    /// The steps in which the ring is in use.
    pub(super) life: Life,
}

/// How far a run has come with a value.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    /// The first row to be made: -pad.top, unless a run starts further below.
    pub(crate) first: i32,
    /// The next row to be made.
    pub(crate) next: i32,
}

/// The steps of a run from the first that writes to a ring to the last that writes to it or reads it: its liveness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

/// Rows of a value that a step reads, first to last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) value: usize,
    pub(crate) first: i32,
    pub(crate) last: i32,
}

/// A value's node; of a value that there is not, and that no proved graph names, one that is made of nothing.
pub(crate) fn node_of(nodes: &[Node], value: usize) -> &Node {
    const NONE: Node = Node::new(
        None,
        Map::EMPTY,
        Grid {
            columns: 0,
            rows: 0,
        },
    );
    let node = nodes.get(value);
    debug_assert!(node.is_some());
    node.unwrap_or(const { &NONE })
}

/// A value's cursor; of a value that there is not, one at the start.
pub(crate) fn cursor_of(cursors: &[Cursor], value: usize) -> Cursor {
    debug_assert!(value < cursors.len());
    cursors.get(value).copied().unwrap_or_default()
}

impl Node {
    pub(super) const fn new(op: Option<Op>, map: Map, grid: Grid) -> Self {
        let density = map.density as u32;
        let ring = Ring {
            map,
            width: grid.columns as u32 * density,
            height: grid.rows as u32 * density,
            pad: Pad::NONE,
            offset: 0,
            rows: 0,
            state_len: 0,
        };
        Self {
            op,
            fused_relu: false,
            sum: None,
            ring,
            packed: 0,
            last_reader: 0,
            life: Life::NONE,
        }
    }

    /// The values that it is made of, some more than once.
    pub(super) fn inputs(&self) -> impl Iterator<Item = usize> {
        let inputs = self.op.map(|op| op.inputs()).into_iter().flatten();
        inputs.chain(self.sum.map(|sum| sum.skip)).map(usize::from)
    }

    /// The rows of each input that the step reads which makes row y of the map.
    pub(crate) fn windows(&self, y: i32) -> Option<[Window; MAX_INPUTS]> {
        let op = self.op?;
        let (values, rows) = (op.inputs(), op.windows(y, self.ring.height as i32));
        let mut windows = core::array::from_fn(|i| Window {
            value: values[i].into(),
            first: rows[i].first,
            last: rows[i].last,
        });
        if let Some(sum) = self.sum {
            windows[1] = Window {
                value: sum.skip.into(),
                first: y,
                last: y,
            };
        }
        Some(windows)
    }

    /// The rows that the next step reads; none for padding.
    pub(super) fn next_windows(&self, cursor: Cursor) -> Option<[Window; MAX_INPUTS]> {
        if self.ring.is_padding(cursor.next) {
            return None;
        }
        self.windows(cursor.next)
    }

    /// The first row of a value that is still needed; none if nothing of it is needed any more.
    ///
    /// Not inlined: it holds one of three copies of all operators' windows.
    #[inline(never)]
    pub(super) fn oldest_needed(&self, cursor: Cursor, value: usize) -> Option<i32> {
        if cursor.next >= self.ring.height as i32 {
            return None;
        }
        let windows = self.windows(cursor.next.max(0))?;
        let own = windows.iter().filter(|window| window.value == value);
        own.map(|window| window.first).min()
    }

    /// Rows that the next step makes.
    fn step_rows(&self, cursor: Cursor) -> i32 {
        match self.op {
            Some(op) if !self.ring.is_padding(cursor.next) => op.rows_per_step(),
            _ => 1,
        }
    }
}

impl Cursor {
    /// Counts the rows of the node's next step as made.
    pub(crate) fn advance(&mut self, node: &Node) {
        self.next += node.step_rows(*self);
    }

    /// Whether nothing is made yet.
    pub(crate) fn is_new(self) -> bool {
        self.next == self.first
    }
}

impl Life {
    /// From the first step to the last.
    pub(super) const WHOLE: Self = Self {
        first: 0,
        last: u32::MAX,
    };

    /// Of a ring that nothing has happened to yet.
    pub(super) const NONE: Self = Self {
        first: u32::MAX,
        last: 0,
    };

    /// Makes it reach to a step.
    pub(super) fn extend(&mut self, step: u32) {
        self.first = self.first.min(step);
        self.last = self.last.max(step);
    }

    /// Whether there is a step in both.
    pub(super) fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}
