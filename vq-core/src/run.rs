//! Runs a planned graph, row by row. What the rows mean is not known here.

use crate::codebook::check_dtype;
use crate::element::Element;
use crate::error::RunError;
use crate::kernels::Kernels;
use crate::ops::Step;
use crate::plan::{Direction, Layout, Node, due};
use crate::rows::{Rows, RowsMut};

/// Supplies the input of a graph: embeddings to a decoder, pixels to an encoder.
pub trait Source {
    /// The element type of the model.
    type Element: Element;

    /// Fills row y of the map, w * c elements, point by point.
    ///
    /// Asked once for each row, from the first to the last.
    fn fill(&mut self, y: u32, row: &mut [Self::Element]);
}

impl<S: Source> Source for &mut S {
    type Element = S::Element;

    fn fill(&mut self, y: u32, row: &mut [Self::Element]) {
        (**self).fill(y, row);
    }
}

/// Looks on while a graph runs: to time its operators, or to compare activations.
///
/// Values are numbered as in the format: 0 is the graph's input, i the output of operator i - 1.
pub trait Probe<E> {
    /// The next rows of a value are about to be made.
    fn before(&mut self, value: usize) {
        let _ = value;
    }

    /// Row y of a value has been made: w * c elements. Called after the value's [`Probe::before`]
    /// as many times as rows were made at once.
    fn after(&mut self, value: usize, y: u32, row: &[E]) {
        let _ = (value, y, row);
    }
}

/// Nobody looks on.
#[derive(Debug, Clone, Copy)]
pub struct NoProbe;

impl<E> Probe<E> for NoProbe {}

/// A planned graph with its memory.
#[derive(Debug)]
pub(crate) struct Runner<'a, E: Element> {
    nodes: &'a mut [Node],
    rings: &'a mut [E],
    room: &'a mut [E],
    kernels: &'static Kernels<E>,
    blob: &'a [u8],
    /// The last value's next row to be handed out.
    next: i32,
}

impl<'a, E: Element> Runner<'a, E> {
    pub(crate) fn new(
        layout: &'a mut Layout<'_>,
        scratch: &'a mut [E],
        direction: Direction,
    ) -> Result<Self, RunError> {
        if layout.direction != direction {
            return Err(RunError::Direction);
        }
        check_dtype::<E>(layout.model)?;
        let (needed, given) = (layout.scratch_len(), scratch.len());
        let scratch = scratch
            .get_mut(..needed)
            .ok_or(RunError::Scratch { needed, given })?;
        for node in layout.nodes.iter_mut() {
            node.ring.rewind();
        }
        let (rings, room) = scratch.split_at_mut(layout.rings_len);
        Ok(Self {
            nodes: layout.nodes,
            rings,
            room,
            kernels: E::kernels(layout.backend),
            blob: layout.model.blob(),
            next: 0,
        })
    }

    /// Makes the next row of the last value; none when there are no more.
    pub(crate) fn next_row(
        &mut self,
        source: &mut impl Source<Element = E>,
        probe: &mut impl Probe<E>,
    ) -> Option<(u32, &mut [E])> {
        let last = self.nodes.len() - 1;
        let y = self.next;
        if y as u32 >= self.nodes[last].ring.height {
            return None;
        }
        while self.nodes[last].ring.made <= y {
            let value = due(self.nodes);
            probe.before(value);
            let rows = self.step(value, source);
            for y in rows.filter(|&y| y >= 0) {
                probe.after(value, y as u32, self.rows_mut(value).row(y));
            }
            self.nodes[value].advance();
        }
        self.next += 1;
        Some((y as u32, self.rows_mut(last).into_row(y)))
    }

    /// The row that [`Runner::next_row`] hands out next.
    pub(crate) fn next(&self) -> i32 {
        self.next
    }

    /// Makes the next rows of a value and says which they are; none when they are padding.
    fn step(
        &mut self,
        value: usize,
        source: &mut impl Source<Element = E>,
    ) -> core::ops::Range<i32> {
        let Node { op, ring } = &self.nodes[value];
        let y = ring.made;
        let (mut output, around) = RowsMut::split(ring, self.rings);
        let zero = E::zero(ring.map.quant.zero);
        if ring.is_new() {
            // The padding at the sides is written here once and for all.
            output.clear(zero);
        }
        if ring.is_padding() {
            output.row(y).fill(zero);
            return 0..0;
        }
        let Some(op) = op else {
            source.fill(y as u32, output.row(y));
            return y..y + 1;
        };
        let rows = |value: u16| Rows::new(&self.nodes[usize::from(value)].ring, &around);
        op.run(Step {
            y,
            inputs: op.inputs().map(rows),
            output,
            kernels: self.kernels,
            room: self.room,
            blob: self.blob,
        });
        y..y + op.rows_per_step()
    }

    fn rows_mut(&mut self, value: usize) -> RowsMut<'_, E> {
        RowsMut::new(&self.nodes[value].ring, self.rings)
    }
}
