//! The memory plan: which rows of which value are kept, and where. Nothing is computed here, and nothing in a plan changes
//! while a picture passes.
//!
//! ```text
//! graph -> node (a ring for each value) -> fuse (values without one) -> schedule (rows of each) -> place (offsets)
//! ```

mod fuse;
mod node;
mod place;
mod schedule;

use crate::dtype::Dtype;
use crate::error::PlanError;
use crate::kernels::{ALIGN, Backend, HasKernels, Kernels};
use crate::model::{Model, Network};
#[cfg(feature = "encoder")]
use crate::nearest;
use crate::ops::MAX_OPS;
use crate::shape::{Grid, PictureSize};
use crate::typed::with_element;
use fuse::fuse;
use heapless::vec::VecView;
use place::place;
use schedule::{find_heights, find_readers};

pub(crate) use node::{Cursor, Node, cursor_of, node_of};
pub(crate) use schedule::{Schedule, start_at};

/// Which of a model's graphs a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From codes to pixels.
    Decode,
    /// From pixels to codes.
    Encode,
}

/// Room for the plan of a graph of up to N - 1 operators, and for how far a run has come with it. All zeros when new.
#[derive(Debug, Clone)]
pub struct PlanMemory<const N: usize = { MAX_OPS + 1 }> {
    nodes: heapless::Vec<Node, N>,
    cursors: [Cursor; N],
}

impl<const N: usize> PlanMemory<N> {
    /// Without a plan.
    pub const fn new() -> Self {
        let start = Cursor { first: 0, next: 0 };
        Self {
            nodes: heapless::Vec::new(),
            cursors: [start; N],
        }
    }

    /// Plans pictures of this size; for another `backend` than [`Backend::best`] of this processor to learn what it needs.
    ///
    /// # Errors
    /// [`PlanError`], where the picture is empty, the room too small, or the model has no such graph.
    pub fn plan<'p>(
        &'p mut self,
        model: &'p Model<'p>,
        direction: Direction,
        size: PictureSize,
        backend: Backend,
    ) -> Result<Plan<'p>, PlanError> {
        let (plan, _) = self.plan_and_cursors(model, direction, size, backend)?;
        Ok(plan)
    }

    /// The plan, and a cursor for each of its values.
    pub(crate) fn plan_and_cursors<'p>(
        &'p mut self,
        model: &'p Model<'p>,
        direction: Direction,
        size: PictureSize,
        backend: Backend,
    ) -> Result<(Plan<'p>, &'p mut [Cursor]), PlanError> {
        let facts = Facts {
            direction,
            size,
            backend,
            sizes: Sizes::default(),
        };
        let planner = Planner {
            nodes: self.nodes.as_mut_view(),
            cursors: &mut self.cursors,
        };
        let facts = planner.plan(model, facts)?;
        let nodes = &self.nodes;
        let cursors = self.cursors.get_mut(..nodes.len()).unwrap_or_default();
        Ok((Plan::new(nodes, model, facts), cursors))
    }
}

impl<const N: usize> Default for PlanMemory<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A plan for one model, direction and picture size. It does not change, so any number of runs can share it.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'p> {
    nodes: &'p [Node],
    model: &'p Model<'p>,
    facts: Facts,
}

/// What there is to know of a plan beside its nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    direction: Direction,
    size: PictureSize,
    backend: Backend,
    sizes: Sizes,
}

#[cfg(feature = "alloc")]
impl Facts {
    /// Whether the plan is for such pictures.
    pub(crate) fn is_for(&self, direction: Direction, size: PictureSize) -> bool {
        self.direction == direction && self.size == size
    }
}

/// The parts of the memory, in elements.
#[derive(Debug, Clone, Copy, Default)]
struct Sizes {
    /// The rings.
    rings: usize,
    /// What the kernels work in.
    workspace: usize,
    /// The filters as the kernels want them, without what aligns them.
    filters: usize,
    /// Elements that align the filters wherever their memory starts.
    align: usize,
    /// The codebooks as the search wants them.
    codebooks: usize,
}

impl Sizes {
    fn whole(&self) -> Option<usize> {
        let parts = [self.workspace, self.filters, self.align, self.codebooks];
        parts.into_iter().try_fold(self.rings, usize::checked_add)
    }
}

impl<'p> Plan<'p> {
    /// `facts` and `nodes` are what a [`Planner`] has made of the model.
    pub(crate) fn new(nodes: &'p [Node], model: &'p Model<'p>, facts: Facts) -> Self {
        Self {
            nodes,
            model,
            facts,
        }
    }

    /// Elements of the model's type that a run and its [`Weights`](crate::run::Weights) need together, where they lie in one
    /// piece of memory.
    pub fn scratch_len(&self) -> usize {
        self.run_len() + self.weights_len()
    }

    /// Elements in which a run works: the rings, and what the kernels work in. They do not grow with the picture's height,
    /// unless the model sees whole maps.
    pub fn run_len(&self) -> usize {
        self.facts.sizes.rings + self.facts.sizes.workspace
    }

    /// Elements of the rings alone.
    pub fn rings_len(&self) -> usize {
        self.facts.sizes.rings
    }

    /// Elements of the weights as the kernels want them, which any number of runs can share.
    pub fn weights_len(&self) -> usize {
        let Sizes {
            filters,
            align,
            codebooks,
            ..
        } = self.facts.sizes;
        filters + align + codebooks
    }

    /// Elements of the packed filters, and of the codebooks as the search wants them.
    pub(crate) fn weight_parts(&self) -> (usize, usize) {
        (self.facts.sizes.filters, self.facts.sizes.codebooks)
    }

    /// The model.
    pub fn model(&self) -> &'p Model<'p> {
        self.model
    }

    /// Which of the model's graphs it is for.
    pub fn direction(&self) -> Direction {
        self.facts.direction
    }

    /// Whose kernels it is for.
    pub fn backend(&self) -> Backend {
        self.facts.backend
    }

    /// The size of the picture.
    pub fn size(&self) -> PictureSize {
        self.facts.size
    }

    /// The code grid of the picture.
    pub fn grid(&self) -> Grid {
        self.facts.size.grid(self.model.down())
    }

    /// Codes of the picture: cells of the grid, times stages.
    pub fn code_count(&self) -> usize {
        self.grid().cells() as usize * self.model.codebooks().len()
    }

    /// Bytes of a row of pixels: width * channels.
    pub fn row_bytes(&self) -> usize {
        usize::from(self.facts.size.width) * usize::from(self.model.channels())
    }

    /// What the workspace is for, value by value.
    pub fn rings(&self) -> impl Iterator<Item = RingSize> + use<'p> {
        self.nodes.iter().map(|node| RingSize {
            rows: node.ring.rows as usize,
            row_len: node.ring.row_len(),
            state_len: node.ring.state_len,
        })
    }

    #[cfg(feature = "alloc")]
    pub(crate) fn facts(&self) -> Facts {
        self.facts
    }

    pub(crate) fn nodes(&self) -> &'p [Node] {
        self.nodes
    }
}

/// What a run keeps of a value, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingSize {
    /// Rows that are kept.
    pub rows: usize,
    /// Elements of a row, padding included.
    pub row_len: usize,
    /// Elements in which the operator that makes the value keeps statistics or scores.
    pub state_len: usize,
}

/// Makes plans in somebody's memory.
struct Planner<'p> {
    nodes: &'p mut VecView<Node>,
    cursors: &'p mut [Cursor],
}

impl Planner<'_> {
    /// Fills the nodes, and the sizes of the facts.
    fn plan(mut self, model: &Model<'_>, facts: Facts) -> Result<Facts, PlanError> {
        if facts.size.is_empty() {
            return Err(PlanError::Empty);
        }
        let network = match facts.direction {
            Direction::Decode => Some(model.decoder()).filter(|own| !own.is_empty()),
            Direction::Encode => model.encoder().filter(|_| cfg!(feature = "encoder")),
        };
        let network = network.ok_or(match facts.direction {
            Direction::Decode => PlanError::NoDecoder,
            Direction::Encode => PlanError::NoEncoder,
        })?;
        let grid = facts.size.grid(model.down());
        let dtype = model.dtype();
        let sizes = with_element!(
            dtype,
            E => self.arrange::<E>(facts.backend, &network, grid)
        )?;
        #[cfg(feature = "encoder")]
        let sizes = Sizes {
            codebooks: match facts.direction {
                Direction::Decode => 0,
                Direction::Encode => nearest::memory_len(model, facts.backend),
            },
            ..sizes
        };
        sizes.whole().ok_or(PlanError::TooLarge)?;
        Ok(Facts { sizes, ..facts })
    }

    /// Finds out what is kept of which value for this backend's kernels, and where.
    fn arrange<E: HasKernels>(
        &mut self,
        backend: Backend,
        network: &Network<'_>,
        grid: Grid,
    ) -> Result<Sizes, PlanError> {
        let kernels = E::kernels(backend);
        self.fill(network, grid, E::DTYPE)?;
        let cursors = self.cursors.get_mut(..self.nodes.len());
        let cursors = cursors.unwrap_or_default();
        fuse(self.nodes, kernels.im2col);
        find_readers(self.nodes, kernels.im2col);
        find_heights(self.nodes, cursors, network.output().density.into());
        let rings = place(self.nodes)?;
        self.sizes(kernels, rings).ok_or(PlanError::TooLarge)
    }

    /// Finds a place for what the kernels want beside the rings; none where that is more than there can be.
    fn sizes<E: HasKernels>(&mut self, kernels: &Kernels<E>, rings: usize) -> Option<Sizes> {
        let (mut workspace, mut filters) = (0, 0usize);
        for value in 0..self.nodes.len() {
            let Some(op) = node_of(self.nodes, value).op else {
                continue;
            };
            let [input, ..] = op.inputs();
            let input = &node_of(self.nodes, input.into()).ring;
            let (channels, width) = (input.map.channels, input.width);
            let Some(own) = op.filters(channels, width, kernels.lanes) else {
                continue;
            };
            // No two run at once.
            let room = (kernels.conv_workspace)(&own.shape).checked_add(own.workspace)?;
            workspace = workspace.max(room);
            if let Some(node) = self.nodes.get_mut(value) {
                node.packed = filters;
            }
            let len = (kernels.packed_len)(&own.shape).checked_mul(own.count)?;
            filters = filters.checked_add(len)?;
        }
        let align = match filters {
            0 => 0,
            _ => ALIGN / size_of::<E>() - 1,
        };
        Some(Sizes {
            rings,
            workspace,
            filters,
            align,
            codebooks: 0,
        })
    }

    /// One node for each value, with its map.
    fn fill(&mut self, network: &Network<'_>, grid: Grid, dtype: Dtype) -> Result<(), PlanError> {
        let too_many = PlanError::TooManyOps {
            needed: network.len() + 1,
            given: self.nodes.capacity(),
        };
        self.nodes.clear();
        self.nodes
            .push(Node::new(None, network.input(), grid))
            .map_err(|_| too_many)?;
        for op in network.ops() {
            let inputs = op.inputs();
            let maps = inputs.map(|value| node_of(self.nodes, value.into()).ring.map);
            // The model has proved that it fits.
            let output = op.output(maps, dtype).unwrap_or(maps[0]);
            let mut node = Node::new(Some(op), output, grid);
            let positions = u64::from(node.ring.width) * u64::from(node.ring.height);
            node.ring.state_len = elements(op.singles(positions), dtype)?;
            self.nodes.push(node).map_err(|_| too_many)?;
        }
        Ok(())
    }
}

/// Elements that have room for so many numbers in single precision.
fn elements(singles: u64, dtype: Dtype) -> Result<usize, PlanError> {
    let len = singles * Dtype::F32.size() as u64 / dtype.size() as u64;
    usize::try_from(len).map_err(|_| PlanError::TooLarge)
}
