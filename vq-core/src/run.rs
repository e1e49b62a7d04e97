//! Runs a planned graph, row by row. What the rows mean is not known here.

use crate::error::RunError;
use crate::kernels::{ALIGN, HasKernels, Kernels};
use crate::model::check_dtype;
#[cfg(feature = "encoder")]
use crate::nearest::NearestCodes;
use crate::ops::Step;
use crate::plan::{Cursor, Direction, Node, Plan, Schedule, cursor_of, node_of, start_at};
use crate::rows::{Rows, RowsMut};
use crate::slices::Parts;

/// Supplies the input of a graph: embeddings to a decoder, pixels to an encoder.
pub trait Source {
    /// The element type of the model.
    type Element: HasKernels;

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

/// An observer of a run: to time its operators, or to compare activations.
///
/// Values are numbered as in the format: 0 is the graph's input, i the output of operator i - 1. ReLUs that are fused into
/// the convolutions behind them are not reported.
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

/// The observer that does nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoProbe;

impl<E> Probe<E> for NoProbe {}

/// The model's weights as a plan's kernels want them. They do not change, so any number of runs can share them.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a, E: HasKernels> {
    filters: &'a [E],
    /// The codebooks as [`NearestCodes`] has laid them out.
    #[cfg(feature = "encoder")]
    pub(crate) codebooks: &'a [E],
}

impl<'a, E: HasKernels> Weights<'a, E> {
    /// Lays the weights out in `memory`.
    ///
    /// # Errors
    /// [`RunError`] when the model has another element type, or `memory` has fewer than [`Plan::weights_len`] elements.
    pub(crate) fn new(plan: &Plan<'_>, memory: &'a mut [E]) -> Result<Self, RunError> {
        Self::lay_out(plan, memory)?;
        Ok(Self::laid_out(plan, memory))
    }

    /// Fills the memory.
    pub(crate) fn lay_out(plan: &Plan<'_>, memory: &mut [E]) -> Result<(), RunError> {
        check_dtype::<E>(plan.model())?;
        let (needed, given) = (plan.weights_len(), memory.len());
        let memory = memory
            .get_mut(..needed)
            .ok_or(RunError::Scratch { needed, given })?;
        let (start, behind) = Self::places(plan, memory);
        pack(plan, memory.part_mut(start, behind - start));
        #[cfg(feature = "encoder")]
        if plan.direction() == Direction::Encode {
            NearestCodes::lay_out(plan.model(), plan.backend(), memory.behind_mut(behind))?;
        }
        Ok(())
    }

    /// With memory that has been filled.
    pub(crate) fn laid_out(plan: &Plan<'_>, memory: &'a [E]) -> Self {
        let memory = memory.part(0, plan.weights_len());
        let (start, behind) = Self::places(plan, memory);
        Self {
            filters: memory.part(start, behind - start),
            #[cfg(feature = "encoder")]
            codebooks: memory.behind(behind),
        }
    }

    /// Where aligned filters start in the memory, and where the codebooks.
    fn places(plan: &Plan<'_>, memory: &[E]) -> (usize, usize) {
        let (filters, codebooks) = plan.weight_parts();
        let behind = memory.len().saturating_sub(codebooks);
        let start = memory.as_ptr().align_offset(ALIGN);
        (start.min(behind.saturating_sub(filters)), behind)
    }
}

/// Lays out all filters.
fn pack<E: HasKernels>(plan: &Plan<'_>, packed: &mut [E]) {
    let (kernels, blob) = (E::kernels(plan.backend()), plan.model().blob());
    if plan.weight_parts().0 == 0 {
        return;
    }
    for node in plan.nodes() {
        if let Some(op) = node.op {
            let [input, ..] = op.inputs();
            let input = &node_of(plan.nodes(), input.into()).ring;
            op.pack(kernels, input, blob, packed.behind_mut(node.packed));
        }
    }
}

/// A plan with the memory of a run, ready for any number of pictures, one at a time.
#[derive(Debug)]
pub struct Engine<'a, E: HasKernels> {
    pub(crate) plan: Plan<'a>,
    pub(crate) weights: Weights<'a, E>,
    cursors: &'a mut [Cursor],
    rings: &'a mut [E],
    workspace: &'a mut [E],
}

impl<'a, E: HasKernels> Engine<'a, E> {
    /// `weights` are laid out for this very plan; there is a cursor for each value, and `memory` has
    /// [`Plan::run_len`] elements or more.
    pub(crate) fn new(
        plan: Plan<'a>,
        weights: Weights<'a, E>,
        cursors: &'a mut [Cursor],
        memory: &'a mut [E],
    ) -> Result<Self, RunError> {
        let (needed, given) = (plan.run_len(), memory.len());
        let memory = memory
            .get_mut(..needed)
            .ok_or(RunError::Scratch { needed, given })?;
        let (rings, workspace) = memory.parted_mut(plan.rings_len());
        Ok(Self {
            plan,
            weights,
            cursors,
            rings,
            workspace,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan<'a> {
        &self.plan
    }

    /// Starts a picture from row y of the last value on.
    pub(crate) fn start(
        &mut self,
        direction: Direction,
        y: i32,
    ) -> Result<Runner<'_, E>, RunError> {
        if self.plan.direction() != direction {
            return Err(RunError::Direction);
        }
        let nodes = self.plan.nodes();
        start_at(nodes, self.cursors, y);
        Ok(Runner {
            nodes,
            cursors: self.cursors,
            rings: self.rings,
            workspace: self.workspace,
            packed: self.weights.filters,
            kernels: E::kernels(self.plan.backend()),
            blob: self.plan.model().blob(),
            schedule: Schedule::new(),
            next: y,
        })
    }
}

/// A picture on its way through a graph.
#[derive(Debug)]
pub(crate) struct Runner<'a, E: HasKernels> {
    nodes: &'a [Node],
    cursors: &'a mut [Cursor],
    rings: &'a mut [E],
    workspace: &'a mut [E],
    packed: &'a [E],
    kernels: &'static Kernels<E>,
    blob: &'a [u8],
    schedule: Schedule,
    /// The last value's next row to be handed out.
    next: i32,
}

impl<E: HasKernels> Runner<'_, E> {
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
        while cursor_of(self.cursors, last).next <= y {
            let value = self.schedule.due(self.nodes, self.cursors);
            self.step(value, source, probe);
            self.cursors
                .get_mut(value)?
                .advance(node_of(self.nodes, value));
        }
        self.next += 1;
        Some((y as u32, self.rows_mut(last).into_row(y)))
    }

    /// Channels of the last value; at least one.
    pub(crate) fn channels(&self) -> usize {
        let last = self.nodes.len().saturating_sub(1);
        usize::from(node_of(self.nodes, last).ring.map.channels).max(1)
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
            fused_relu,
            packed,
            ..
        } = node_of(self.nodes, value);
        let cursor = cursor_of(self.cursors, value);
        let y = cursor.next;
        // What is added to comes first, and has a number of its own; it has no padding.
        let sum = sum.filter(|_| !ring.is_padding(y));
        let first = sum.map_or(value, |sum| sum.input.into());
        probe.before(first);
        let (mut output, around) = RowsMut::split(ring, self.rings);
        let zero = E::zero(ring.map.quant.zero);
        if cursor.is_new() {
            // The padding at the sides is written here once and for all.
            output.clear(zero);
        }
        if ring.is_padding(y) {
            return output.row(y).fill(zero);
        }
        let Some(op) = op else {
            source.fill(y as u32, output.row(y));
            return probe.after(value, y as u32, output.row(y));
        };
        let rows = |value: u16| Rows::new(&node_of(self.nodes, value.into()).ring, &around);
        op.run(Step {
            y,
            is_first: y == cursor.first.max(0),
            inputs: op.inputs().map(rows),
            fused_relu: *fused_relu,
            output,
            kernels: self.kernels,
            workspace: self.workspace,
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
