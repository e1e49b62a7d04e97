//! The memory plan: which rows of which value are kept, and where.
//!
//! Every value of a graph lives in a ring of rows. Nothing is computed here: which values need no ring is found in `fuse`,
//! how many rows the others keep in `schedule`, and where they lie in `place`.

use crate::backend::Backend;
use crate::element::Element;
use crate::error::PlanError;
use crate::format::{Add, Dtype, MAX_INPUTS, Op, Pad};
use crate::fuse::fuse;
use crate::kernels::{ALIGN, Kernels};
use crate::model::{Model, Network};
use crate::ops::Window;
use crate::place::{Life, place};
use crate::schedule::{find_heights, find_readers};
use crate::search;
use crate::shape::{Grid, Map, PictureSize};
use half::f16;

/// Room for the plan of a graph of up to N - 1 operators; firmware keeps it in a static.
///
/// ```
/// # fn run(file: &[u8]) -> Result<(), Box<dyn core::error::Error>> {
/// use vq_core::{Model, Plan};
/// let model = Model::parse(file)?;
/// let mut plan = Plan::<40>::new();
/// let layout = plan.decoder(&model, model.native())?;
/// let scratch = vec![0i8; layout.scratch_len()];
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Plan<const N: usize> {
    nodes: heapless::Vec<Node, N>,
    backend: Option<Backend>,
}

impl<const N: usize> Plan<N> {
    /// An empty plan, for the fastest backend that this processor has.
    pub const fn new() -> Self {
        Self {
            nodes: heapless::Vec::new(),
            backend: None,
        }
    }

    /// An empty plan for this backend; on a device without an operating system, for its fastest all the same.
    pub const fn on(backend: Backend) -> Self {
        Self {
            nodes: heapless::Vec::new(),
            backend: Some(backend),
        }
    }

    /// Plans the decoding of a picture.
    ///
    /// # Errors
    /// [`PlanError`], where the picture is empty or the plan too small.
    pub fn decoder<'p>(
        &'p mut self,
        model: &'p Model<'p>,
        size: PictureSize,
    ) -> Result<Layout<'p>, PlanError> {
        self.layout(model, Direction::Decode, model.decoder(), size)
    }

    /// Plans the encoding of a picture.
    ///
    /// # Errors
    /// [`PlanError`], where the model has no encoder, the picture is empty or the plan too small.
    pub fn encoder<'p>(
        &'p mut self,
        model: &'p Model<'p>,
        size: PictureSize,
    ) -> Result<Layout<'p>, PlanError> {
        let encoder = model.encoder().ok_or(PlanError::NoEncoder)?;
        self.layout(model, Direction::Encode, encoder, size)
    }

    fn layout<'p>(
        &'p mut self,
        model: &'p Model<'p>,
        direction: Direction,
        network: Network<'p>,
        size: PictureSize,
    ) -> Result<Layout<'p>, PlanError> {
        if size.is_empty() {
            return Err(PlanError::Empty);
        }
        let backend = self.backend.unwrap_or_else(Backend::best);
        let grid = size.grid(model.down());
        let parts = match model.dtype() {
            Dtype::I8 => self.arrange::<i8>(backend, &network, grid)?,
            Dtype::F16 => self.arrange::<f16>(backend, &network, grid)?,
            Dtype::F32 => self.arrange::<f32>(backend, &network, grid)?,
        };
        let parts = match direction {
            Direction::Decode => Some(parts),
            Direction::Encode => parts.with_search(search::memory_len(model, backend)),
        };
        let parts = parts.ok_or(PlanError::TooLarge)?;
        Ok(Layout {
            nodes: &mut self.nodes,
            model,
            backend,
            direction,
            size,
            parts,
        })
    }

    /// Finds out what is kept of which value for this backend's kernels, and where.
    fn arrange<E: Element>(
        &mut self,
        backend: Backend,
        network: &Network<'_>,
        grid: Grid,
    ) -> Result<Parts, PlanError> {
        let kernels = E::kernels(backend);
        self.fill(network, grid, E::DTYPE)?;
        fuse(&mut self.nodes, kernels.gathers);
        find_readers(&mut self.nodes, kernels.gathers);
        find_heights(&mut self.nodes, network.output().density.into());
        let rings = place(&mut self.nodes)?;
        self.parts(kernels, rings).ok_or(PlanError::TooLarge)
    }

    /// Finds a place for what the kernels want beside the rings; none where that is more than there can be.
    fn parts<E: Element>(&mut self, kernels: &Kernels<E>, rings: usize) -> Option<Parts> {
        let (mut room, mut packed) = (0, 0usize);
        for value in 0..self.nodes.len() {
            let Some(op) = node_of(&self.nodes, value).op else {
                continue;
            };
            let [input, ..] = op.inputs();
            let input = &node_of(&self.nodes, input.into()).ring;
            let (channels, width) = (input.map.channels, input.width);
            let Some(filters) = op.filters(channels, width, kernels.lanes) else {
                continue;
            };
            // No two run at once.
            let own = (kernels.conv_room)(&filters.shape).checked_add(filters.room)?;
            room = room.max(own);
            if let Some(node) = self.nodes.get_mut(value) {
                node.packed = packed;
            }
            let own = (kernels.packed_len)(&filters.shape).checked_mul(filters.count)?;
            packed = packed.checked_add(own)?;
        }
        let align = if packed > 0 {
            ALIGN / size_of::<E>() - 1
        } else {
            0
        };
        let whole = rings.checked_add(room)?.checked_add(packed)?;
        Some(Parts {
            rings,
            room,
            packed,
            search: 0,
            whole: whole.checked_add(align)?,
        })
    }

    /// One node for each value, with its map.
    fn fill(&mut self, network: &Network<'_>, grid: Grid, dtype: Dtype) -> Result<(), PlanError> {
        let too_many = PlanError::TooManyOps {
            needed: network.len() + 1,
            given: N,
        };
        self.nodes.clear();
        self.nodes
            .push(Node::new(None, network.input(), grid))
            .map_err(|_| too_many)?;
        for op in network.ops() {
            let inputs = op.inputs();
            let maps = inputs.map(|value| node_of(&self.nodes, value.into()).ring.map);
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

impl<const N: usize> Default for Plan<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A plan for one model and one picture size, ready to run any number of times.
#[derive(Debug)]
pub struct Layout<'p> {
    pub(crate) nodes: &'p mut [Node],
    pub(crate) model: &'p Model<'p>,
    pub(crate) backend: Backend,
    pub(crate) direction: Direction,
    size: PictureSize,
    pub(crate) parts: Parts,
}

/// The parts of the scratch in their order, in elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    /// The rings.
    pub(crate) rings: usize,
    /// What the kernels work in.
    pub(crate) room: usize,
    /// The filters as the kernels want them, aligned.
    pub(crate) packed: usize,
    /// The codebooks as the search wants them.
    pub(crate) search: usize,
    /// All of it.
    pub(crate) whole: usize,
}

impl Parts {
    fn with_search(self, search: usize) -> Option<Self> {
        let whole = self.whole.checked_add(search)?;
        Some(Self {
            search,
            whole,
            ..self
        })
    }
}

impl Layout<'_> {
    /// The scratch that a run needs, in elements of the model's type.
    pub fn scratch_len(&self) -> usize {
        self.parts.whole
    }

    /// The rings' part of the scratch, in elements. None of the parts grows with the picture's height, unless the model
    /// sees whole maps.
    pub fn rings_len(&self) -> usize {
        self.parts.rings
    }

    /// The size of the picture.
    pub fn size(&self) -> PictureSize {
        self.size
    }

    /// The code grid of the picture.
    pub fn grid(&self) -> Grid {
        self.size.grid(self.model.down())
    }

    /// Codes of the picture: cells of the grid, times stages.
    pub fn code_count(&self) -> usize {
        self.grid().cells() as usize * self.model.codebooks().len()
    }

    /// Bytes of a row of pixels: width * channels.
    pub fn row_bytes(&self) -> usize {
        usize::from(self.size.width) * usize::from(self.model.channels())
    }

    /// The same, for a shorter time.
    pub(crate) fn reborrow(&mut self) -> Layout<'_> {
        Layout {
            nodes: self.nodes,
            ..*self
        }
    }

    /// What the scratch is for, value by value.
    pub fn rings(&self) -> impl Iterator<Item = RingSize> + '_ {
        self.nodes.iter().map(|node| RingSize {
            rows: node.ring.rows as usize,
            row_len: node.ring.row_len(),
            state_len: node.ring.state_len,
        })
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

/// Which of a model's graphs a layout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Decode,
    Encode,
}

/// A value and how it comes about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// The operator that makes it; none for the graph's input, and where nothing of it is kept.
    pub(crate) op: Option<Op>,
    /// Whether the operator's input counts as cut off at zero.
    pub(crate) cut: bool,
    /// The addition to what the operator makes, which is the first summand.
    pub(crate) sum: Option<Add>,
    pub(crate) ring: Ring,
    /// Where the operator's filters lie among the packed ones (elements).
    pub(crate) packed: usize,
}

/// The rows that are kept of a value. Row y of the map is in slot (y + pad.top) mod `rows`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ring {
    pub(crate) map: Map,
    /// Columns of the map, without padding.
    pub(crate) width: u32,
    /// Rows of the map, without padding.
    pub(crate) height: u32,
    /// Rows of zeros above and below pass through the ring like others; columns of zeros stand
    /// in every slot.
    pub(crate) pad: Pad,
    /// Where the ring starts in the scratch (elements).
    pub(crate) offset: usize,
    /// Slots.
    pub(crate) rows: u32,
    /// Elements behind the slots, in which the operator that makes the rows keeps what it knows of the
    /// whole map.
    pub(crate) state_len: usize,
    /// The last value that is made of it; its own number if there is none.
    pub(crate) last_reader: u16,
    /// The steps in which the ring is in use.
    pub(crate) life: Life,
    /// The first row to be made: -pad.top, unless a run starts further below.
    pub(crate) first: i32,
    /// The next row to be made.
    pub(crate) made: i32,
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

impl Node {
    const fn new(op: Option<Op>, map: Map, grid: Grid) -> Self {
        let density = map.density as u32;
        let ring = Ring {
            map,
            width: grid.columns as u32 * density,
            height: grid.rows as u32 * density,
            pad: Pad {
                top: 0,
                left: 0,
                bottom: 0,
                right: 0,
            },
            offset: 0,
            rows: 0,
            state_len: 0,
            last_reader: 0,
            life: Life::NONE,
            first: 0,
            made: 0,
        };
        Self {
            op,
            cut: false,
            sum: None,
            ring,
            packed: 0,
        }
    }

    /// The values that it is made of, some more than once.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = usize> {
        let inputs = self.op.map(|op| op.inputs()).into_iter().flatten();
        inputs.chain(self.sum.map(|sum| sum.skip)).map(usize::from)
    }

    /// The rows of each input that the step reads which makes row y of a map of `height` rows.
    pub(crate) fn windows(&self, y: i32, height: i32) -> Option<[Window; MAX_INPUTS]> {
        let mut windows = self.op?.windows(y, height);
        if let Some(sum) = self.sum {
            windows[1] = Window {
                value: sum.skip.into(),
                first: y,
                last: y,
            };
        }
        Some(windows)
    }

    /// Rows that its next step makes.
    fn step_rows(&self) -> i32 {
        match self.op {
            Some(op) if !self.ring.is_padding() => op.rows_per_step(),
            _ => 1,
        }
    }

    /// The rows that its next step reads; none for padding.
    pub(crate) fn next_windows(&self) -> Option<[Window; MAX_INPUTS]> {
        if self.ring.is_padding() {
            return None;
        }
        self.windows(self.ring.made, self.ring.height as i32)
    }

    /// The first row of a value that it still needs; none if it needs nothing of it any more.
    pub(crate) fn oldest_needed(&self, value: usize) -> Option<i32> {
        let height = self.ring.height as i32;
        if self.ring.made >= height {
            return None;
        }
        let windows = self.windows(self.ring.made.max(0), height)?;
        let own = windows.iter().filter(|window| window.value == value);
        own.map(|window| window.first).min()
    }

    /// Counts the rows of its next step as made.
    pub(crate) fn advance(&mut self) {
        self.ring.made += self.step_rows();
    }
}

impl Ring {
    /// Whether the next row is one of zeros outside the map.
    pub(crate) fn is_padding(&self) -> bool {
        self.made < 0 || self.made >= self.height as i32
    }

    /// Elements of a slot.
    pub(crate) fn row_len(&self) -> usize {
        (self.width as usize + usize::from(self.pad.left) + usize::from(self.pad.right))
            * usize::from(self.map.channels)
    }

    /// Elements of all slots.
    pub(crate) fn slots_len(&self) -> usize {
        self.row_len() * self.rows as usize
    }

    /// Elements of a row of the map, without padding.
    pub(crate) fn inner_len(&self) -> usize {
        self.width as usize * usize::from(self.map.channels)
    }

    /// Whether nothing is made yet.
    pub(crate) fn is_new(&self) -> bool {
        self.made == self.first
    }
}

/// Elements that have room for so many numbers in single precision.
fn elements(singles: u64, dtype: Dtype) -> Result<usize, PlanError> {
    let len = singles * Dtype::F32.size() as u64 / dtype.size() as u64;
    usize::try_from(len).map_err(|_| PlanError::TooLarge)
}
