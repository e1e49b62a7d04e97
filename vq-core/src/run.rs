//! Runs a planned graph, row by row. What the rows mean is not known here.

use crate::codebook::check_dtype;
use crate::element::Element;
use crate::error::RunError;
use crate::kernels::{ALIGN, Kernels};
use crate::ops::Step;
use crate::plan::{Direction, Layout, Node, node_of};
use crate::rows::{Rows, RowsMut};
use crate::schedule::{Schedule, start_at};
use crate::search::Search;
use crate::slices::Parts;

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
/// Values are numbered as in the format: 0 is the graph's input, i the output of operator i - 1. Those that
/// need no memory because a convolution cuts them off as it reads them are not seen.
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

/// A planned graph with its memory, ready for any number of pictures.
///
/// What the kernels want laid out is laid out here, once for all pictures.
#[derive(Debug)]
pub struct Engine<'a, E: Element> {
    pub(crate) layout: Layout<'a>,
    rings: &'a mut [E],
    room: &'a mut [E],
    packed: &'a [E],
    /// The codebooks as [`Search`] has laid them out.
    pub(crate) search: &'a [E],
}

impl<'a, E: Element> Engine<'a, E> {
    /// Takes `scratch` for the plan's pictures.
    ///
    /// # Errors
    /// [`RunError`] when the model has another element type, or `scratch` has fewer than [`Layout::scratch_len`]
    /// elements.
    pub fn new(layout: &'a mut Layout<'_>, scratch: &'a mut [E]) -> Result<Self, RunError> {
        check_dtype::<E>(layout.model)?;
        let (needed, given) = (layout.scratch_len(), scratch.len());
        let scratch = scratch
            .get_mut(..needed)
            .ok_or(RunError::Scratch { needed, given })?;
        let parts = layout.parts;
        let (scratch, search) = scratch.parted_mut(needed.saturating_sub(parts.search));
        let (rings, rest) = scratch.parted_mut(parts.rings);
        let (room, rest) = rest.parted_mut(parts.room);
        let start = rest.as_ptr().align_offset(ALIGN);
        let start = start.min(rest.len() - rest.len().min(parts.packed));
        let packed = rest.behind_mut(start);
        if parts.packed > 0 {
            pack(layout, packed);
        }
        if layout.direction == Direction::Encode {
            Search::lay_out(layout.model, layout.backend, search)?;
        }
        Ok(Self {
            layout: layout.reborrow(),
            rings,
            room,
            packed,
            search,
        })
    }

    /// Starts a picture from row y of the last value on.
    pub(crate) fn start(
        &mut self,
        direction: Direction,
        y: i32,
    ) -> Result<Runner<'_, E>, RunError> {
        if self.layout.direction != direction {
            return Err(RunError::Direction);
        }
        start_at(self.layout.nodes, y);
        Ok(Runner {
            nodes: self.layout.nodes,
            rings: self.rings,
            room: self.room,
            packed: self.packed,
            kernels: E::kernels(self.layout.backend),
            blob: self.layout.model.blob(),
            schedule: Schedule::new(),
            next: y,
        })
    }
}

/// Lays out all filters.
fn pack<E: Element>(layout: &Layout<'_>, packed: &mut [E]) {
    let (kernels, blob) = (E::kernels(layout.backend), layout.model.blob());
    for node in layout.nodes.iter() {
        if let Some(op) = node.op {
            let [input, ..] = op.inputs();
            let input = &node_of(layout.nodes, input.into()).ring;
            op.pack(kernels, input, blob, packed.behind_mut(node.packed));
        }
    }
}

/// A picture on its way through a graph.
#[derive(Debug)]
pub(crate) struct Runner<'a, E: Element> {
    nodes: &'a mut [Node],
    rings: &'a mut [E],
    room: &'a mut [E],
    packed: &'a [E],
    kernels: &'static Kernels<E>,
    blob: &'a [u8],
    schedule: Schedule,
    /// The last value's next row to be handed out.
    next: i32,
}

impl<E: Element> Runner<'_, E> {
    /// Makes the next row of the last value; none when there are no more.
    pub(crate) fn next_row(
        &mut self,
        source: &mut impl Source<Element = E>,
        probe: &mut impl Probe<E>,
    ) -> Option<(u32, &mut [E])> {
        let last = self.nodes.len().saturating_sub(1);
        let y = self.next;
        if y as u32 >= node_of(self.nodes, last).ring.height {
            return None;
        }
        while node_of(self.nodes, last).ring.made <= y {
            let value = self.schedule.due(self.nodes);
            self.step(value, source, probe);
            self.nodes.get_mut(value)?.advance();
        }
        self.next += 1;
        Some((y as u32, self.rows_mut(last).into_row(y)))
    }

    /// The row that [`Runner::next_row`] hands out next.
    pub(crate) fn next(&self) -> i32 {
        self.next
    }

    /// Makes the next rows of a value.
    fn step(
        &mut self,
        value: usize,
        source: &mut impl Source<Element = E>,
        probe: &mut impl Probe<E>,
    ) {
        let Node {
            op,
            sum,
            ring,
            cut,
            packed,
        } = node_of(self.nodes, value);
        let y = ring.made;
        // What is added to comes first, and has a number of its own; it has no padding.
        let sum = sum.filter(|_| !ring.is_padding());
        let first = sum.map_or(value, |sum| sum.input.into());
        probe.before(first);
        let (mut output, around) = RowsMut::split(ring, self.rings);
        let zero = E::zero(ring.map.quant.zero);
        if ring.is_new() {
            // The padding at the sides is written here once and for all.
            output.clear(zero);
        }
        if ring.is_padding() {
            return output.row(y).fill(zero);
        }
        let Some(op) = op else {
            source.fill(y as u32, output.row(y));
            return probe.after(value, y as u32, output.row(y));
        };
        let rows = |value: u16| Rows::new(&node_of(self.nodes, value.into()).ring, &around);
        op.run(Step {
            y,
            inputs: op.inputs().map(rows),
            cut: *cut,
            output,
            kernels: self.kernels,
            room: self.room,
            packed: self.packed.behind(*packed),
            blob: self.blob,
        });
        for y in y..y + op.rows_per_step() {
            let mut output = RowsMut::new(ring, self.rings);
            probe.after(first, y as u32, output.row(y));
        }
        if let Some(sum) = sum {
            probe.before(value);
            let (mut output, around) = RowsMut::split(ring, self.rings);
            let skip = Rows::new(&node_of(self.nodes, sum.skip.into()).ring, &around);
            let zero = node_of(self.nodes, first).ring.map.quant.zero;
            sum.add(zero, skip, y, self.kernels, output.row(y));
            probe.after(value, y as u32, output.row(y));
        }
    }

    fn rows_mut(&mut self, value: usize) -> RowsMut<'_, E> {
        RowsMut::new(&node_of(self.nodes, value).ring, self.rings)
    }
}
