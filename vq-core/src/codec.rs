//! A model at work where there is an allocator: it owns its file, proves it once, and keeps plans, weights and the memory of
//! runs for the next picture.
//!
//! Threads are the caller's: any number of them may share a [`Codec`], each decoding a picture, a strip or a patch of its own.

use crate::codebook::Codebooks;
use crate::conceal::Cell;
use crate::decode::{Decoding, Embeddings};
#[cfg(feature = "encoder")]
use crate::encode::{Encoding, Picture};
#[cfg(doc)]
use crate::error::FormatError;
use crate::error::{Error, PlanError, RunError};
use crate::kernels::{Backend, HasKernels};
use crate::model::{Detached, Model};
use crate::plan::{Cursor, Direction, Facts, Node, Plan, PlanMemory};
use crate::run::{Engine, NoProbe, Probe, Weights};
use crate::shape::PictureSize;
use crate::slices::Parts;
use crate::typed::with_element;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::any::Any;
use core::cmp::Ordering;
use core::fmt;
use core::ops::Range;
use spin::Mutex;

/// Plans that are kept at most; the one that was used longest ago gives way.
const KEPT_PLANS: usize = 16;

/// A model file at work.
///
/// ```
/// # fn run(file: Vec<u8>, packets: &[u16]) -> Result<(), vq_core::Error> {
/// use vq_core::{Codec, PictureSize};
/// let codec = Codec::new(file)?;
/// let size = PictureSize { width: 128, height: 128 };
/// let pixels = codec.decode(packets, size)?;
/// let codes = codec.encode(&pixels, size)?;
/// # Ok(()) }
/// ```
pub struct Codec {
    file: Vec<u8>,
    model: Detached,
    backend: Backend,
    /// See [`Codec::reach`].
    reach: u16,
    /// The [`Plans`] of the model's element type.
    plans: Box<dyn Any + Send + Sync>,
}

/// Cells of a code grid, from this one on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    /// The first column.
    pub column: u16,
    /// The first row.
    pub row: u16,
    /// How many columns.
    pub columns: u16,
    /// How many rows.
    pub rows: u16,
}

impl Codec {
    /// Proves a file, for the fastest kernels of this processor.
    ///
    /// # Errors
    /// [`FormatError`] of a faulty file, [`PlanError::Dtype`] where the crate is built without its element type.
    pub fn new(file: Vec<u8>) -> Result<Self, Error> {
        Self::on(Backend::best(), file)
    }

    /// As [`Codec::new`], for the kernels of this backend.
    ///
    /// # Errors
    /// As [`Codec::new`].
    pub fn on(backend: Backend, file: Vec<u8>) -> Result<Self, Error> {
        let model = Model::parse(&file)?;
        let dtype = model.dtype();
        let plans: Result<Box<dyn Any + Send + Sync>, PlanError> =
            with_element!(dtype, E => Ok(Box::new(Plans::<E>::default())));
        Ok(Self {
            model: Detached::new(&model, &file),
            reach: model.decoder().reach(),
            file,
            backend,
            plans: plans?,
        })
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.file
    }

    /// The model in the file.
    pub fn model(&self) -> Model<'_> {
        self.model.attach(&self.file)
    }

    /// Whose kernels it uses.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The picture of some codes, height * width * channels bytes. `codes` are those of the whole grid, stage by stage and
    /// row by row, [`MISSING`](crate::bitstream::MISSING) where none has come.
    ///
    /// # Errors
    /// [`RunError::Codes`] when the codes are not those of a picture of this size; [`PlanError`].
    pub fn decode(&self, codes: &[u16], size: PictureSize) -> Result<Vec<u8>, Error> {
        let mut pixels = self.room_for(codes, size)?;
        self.decode_rows(codes, size, 0..size.height, &mut pixels)?;
        Ok(pixels)
    }

    /// Some rows of a picture, the same as in the whole picture, into `pixels`. What they cost beside their share is the
    /// rows around them that their convolutions see.
    ///
    /// # Errors
    /// As [`Codec::decode`]; [`RunError::Pixels`] when `pixels` has another length than the rows.
    pub fn decode_rows(
        &self,
        codes: &[u16],
        size: PictureSize,
        rows: Range<u16>,
        pixels: &mut [u8],
    ) -> Result<(), Error> {
        with_element!(
            self.model.dtype(),
            E => self.decode_rows_of::<E>(&mut NoProbe, codes, size, rows, pixels)
        )
    }

    /// The pixels of some cells of the grid, the same as in the whole picture: rows * down of columns * down * channels bytes,
    /// also where the picture ends within the last cells. What they cost beside their share is the cells around them that
    /// convolutions see, see [`Codec::reach`].
    ///
    /// # Errors
    /// As [`Codec::decode`]; [`RunError::Patch`] when the patch is empty or does not lie in the grid.
    pub fn decode_patch(
        &self,
        codes: &[u16],
        size: PictureSize,
        patch: Patch,
    ) -> Result<Vec<u8>, Error> {
        with_element!(
            self.model.dtype(),
            E => self.decode_patch_of::<E>(codes, size, patch)
        )
    }

    /// Cells around a cell, in each direction, on whose codes its pixels depend; all there are, where the decoder sees whole
    /// maps.
    pub fn reach(&self) -> u16 {
        self.reach
    }

    /// The codes of a stage whose entries are nearest to this code's, the nearest first and of equally near ones the lowest:
    /// `count` of them, without the code itself, or all there are.
    ///
    /// # Errors
    /// [`PlanError::Dtype`] where the crate is built without the element type.
    pub fn neighbours(&self, stage: usize, code: u16, count: usize) -> Result<Vec<u16>, Error> {
        let model = self.model();
        with_element!(
            model.dtype(),
            E => Ok(neighbours::<E>(&model, stage, code, count)?)
        )
    }

    /// Codes of a picture, height * width * channels bytes: the nearest ones, stage by stage and row by row.
    ///
    /// # Errors
    /// [`PlanError::NoEncoder`] when the model can only decode; [`RunError::Pixels`] when `pixels` has another length.
    #[cfg(feature = "encoder")]
    pub fn encode(&self, pixels: &[u8], size: PictureSize) -> Result<Vec<u16>, Error> {
        let dtype = self.model.dtype();
        with_element!(
            dtype,
            E => self.encode_with::<E>(&mut NoProbe, pixels, size)
        )
    }

    /// As [`Codec::encode`], with an observer.
    ///
    /// # Errors
    /// As [`Codec::encode`]; [`RunError::Dtype`] when E is not the model's element type.
    #[cfg(feature = "encoder")]
    pub fn encode_with<E: HasKernels>(
        &self,
        probe: &mut impl Probe<E>,
        pixels: &[u8],
        size: PictureSize,
    ) -> Result<Vec<u16>, Error> {
        let row_bytes = self.row_bytes(size);
        check_pixels(row_bytes * usize::from(size.height), pixels)?;
        self.with_engine::<E, _>(Direction::Encode, size, |engine| {
            let mut codes = vec![0; engine.plan().code_count()];
            let mut encoding = Encoding::new(engine, Picture { pixels, row_bytes })?;
            while encoding.next_row_with(probe, &mut codes)?.is_some() {}
            Ok(codes)
        })
    }

    /// As [`Codec::decode`], with an observer.
    ///
    /// # Errors
    /// As [`Codec::decode`]; [`RunError::Dtype`] when E is not the model's element type.
    pub fn decode_with<E: HasKernels>(
        &self,
        probe: &mut impl Probe<E>,
        codes: &[u16],
        size: PictureSize,
    ) -> Result<Vec<u8>, Error> {
        let mut pixels = self.room_for(codes, size)?;
        self.decode_rows_of(probe, codes, size, 0..size.height, &mut pixels)?;
        Ok(pixels)
    }

    /// Hands over the plan for pictures of this size, which tells how much memory they need.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn with_plan<T>(
        &self,
        direction: Direction,
        size: PictureSize,
        look: impl FnOnce(&Plan<'_>) -> T,
    ) -> Result<T, Error> {
        let model = self.model();
        with_element!(
            model.dtype(),
            E => {
                let prepared = self.prepared::<E>(&model, direction, size)?;
                Ok(look(&prepared.plan(&model)))
            }
        )
    }

    /// Hands over an engine for pictures of this size, for those who know the model's element type and bring embeddings or
    /// observers of their own.
    ///
    /// # Errors
    /// [`PlanError`]; [`RunError::Dtype`] when E is not the model's element type; what `work` returns.
    pub fn with_engine<E: HasKernels, T>(
        &self,
        direction: Direction,
        size: PictureSize,
        work: impl FnOnce(&mut Engine<'_, E>) -> Result<T, RunError>,
    ) -> Result<T, Error> {
        let model = self.model();
        let prepared = self.prepared::<E>(&model, direction, size)?;
        prepared.with_engine(&model, work)
    }

    fn decode_rows_of<E: HasKernels>(
        &self,
        probe: &mut impl Probe<E>,
        codes: &[u16],
        size: PictureSize,
        rows: Range<u16>,
        pixels: &mut [u8],
    ) -> Result<(), Error> {
        let row_bytes = self.row_bytes(size);
        let rows = rows.start..rows.end.min(size.height);
        check_pixels(row_bytes * rows.len(), pixels)?;
        self.with_engine::<E, _>(Direction::Decode, size, |engine| {
            let mut decoding = Decoding::rows(engine, codes, rows)?;
            for row in pixels.chunks_exact_mut(row_bytes.max(1)) {
                decoding.next_row_with(probe, row)?;
            }
            Ok(())
        })
    }

    fn decode_patch_of<E: HasKernels>(
        &self,
        codes: &[u16],
        size: PictureSize,
        patch: Patch,
    ) -> Result<Vec<u8>, Error> {
        let model = self.model();
        let (grid, down) = (size.grid(model.down()), usize::from(model.down()));
        let columns = Span::new(patch.column, patch.columns, grid.columns, self.reach)?;
        let rows = Span::new(patch.row, patch.rows, grid.rows, self.reach)?;
        // No side of a grid has more pixels than a picture's, but for those that fill up its last code.
        let side = |span: Span| (usize::from(span.count) * down).min(usize::from(u16::MAX)) as u16;
        let part = PictureSize {
            width: side(columns),
            height: side(rows),
        };
        let origin = Cell {
            column: columns.first,
            row: rows.first,
        };
        let channels = usize::from(model.channels());
        let row_bytes = usize::from(patch.columns) * down * channels;
        let left = usize::from(columns.skip) * down * channels;
        let first = usize::from(rows.skip) * down;
        let wanted = first as u16..(first + usize::from(patch.rows) * down) as u16;
        let embeddings = Embeddings::part(&model, grid, codes, origin)?;
        self.with_engine::<E, _>(Direction::Decode, part, |engine| {
            let mut row = vec![0; engine.plan().row_bytes()];
            let mut pixels = Vec::with_capacity(wanted.len() * row_bytes);
            let mut decoding = Decoding::with_source(engine, embeddings, wanted)?;
            while decoding.next_row(&mut row)?.is_some() {
                pixels.extend_from_slice(row.part(left, row_bytes));
            }
            Ok(pixels)
        })
    }

    /// A picture's pixels, if there are as many codes as it has.
    fn room_for(&self, codes: &[u16], size: PictureSize) -> Result<Vec<u8>, Error> {
        let model = self.model();
        let cells = size.grid(model.down()).cells() as usize;
        let (needed, given) = (cells.saturating_mul(model.codebooks().len()), codes.len());
        if needed != given {
            return Err(RunError::Codes { needed, given }.into());
        }
        Ok(vec![0; self.row_bytes(size) * usize::from(size.height)])
    }

    fn row_bytes(&self, size: PictureSize) -> usize {
        usize::from(size.width) * usize::from(self.model.channels())
    }

    /// The plan and weights for pictures of this size, made if they are not kept.
    fn prepared<E: HasKernels>(
        &self,
        model: &Model<'_>,
        direction: Direction,
        size: PictureSize,
    ) -> Result<Arc<Prepared<E>>, Error> {
        let plans = self.plans.downcast_ref::<Plans<E>>();
        let plans = plans.ok_or(RunError::Dtype {
            model: model.dtype(),
            used: E::DTYPE,
        })?;
        if let Some(prepared) = plans.find(direction, size) {
            return Ok(prepared);
        }
        let prepared = Arc::new(Prepared::new(model, direction, size, self.backend)?);
        plans.keep(Arc::clone(&prepared));
        Ok(prepared)
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("model", &self.model().name())
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// A part of a grid's side with what it depends on.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// The first cell that is decoded.
    first: u16,
    /// How many are.
    count: u16,
    /// How many of them lie in front of those that are wanted.
    skip: u16,
}

impl Span {
    /// `count` cells from `first` on, of `all`, and `reach` more on both sides where there are so many.
    fn new(first: u16, count: u16, all: u16, reach: u16) -> Result<Self, RunError> {
        let end = first.checked_add(count).filter(|&end| end <= all);
        let end = end.filter(|_| count > 0).ok_or(RunError::Patch)?;
        let from = first.saturating_sub(reach);
        Ok(Self {
            first: from,
            count: end.saturating_add(reach).min(all) - from,
            skip: first - from,
        })
    }
}

/// The plans of one element type that are kept, the one that was used last at the end.
struct Plans<E: HasKernels>(Mutex<Vec<Arc<Prepared<E>>>>);

impl<E: HasKernels> Default for Plans<E> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<E: HasKernels> Plans<E> {
    fn find(&self, direction: Direction, size: PictureSize) -> Option<Arc<Prepared<E>>> {
        let mut plans = self.0.lock();
        let index = plans.iter().position(|own| own.is_for(direction, size))?;
        if let Some(behind) = plans.get_mut(index..) {
            behind.rotate_left(1);
        }
        plans.last().cloned()
    }

    fn keep(&self, prepared: Arc<Prepared<E>>) {
        let mut plans = self.0.lock();
        if plans.len() >= KEPT_PLANS {
            plans.remove(0);
        }
        plans.push(prepared);
    }
}

/// A plan with its weights, and the memory of runs that wait for the next picture.
struct Prepared<E: HasKernels> {
    nodes: Box<[Node]>,
    facts: Facts,
    weights: Box<[E]>,
    idle: Mutex<Vec<RunMemory<E>>>,
}

/// What one run works in.
struct RunMemory<E> {
    cursors: Box<[Cursor]>,
    elements: Box<[E]>,
}

impl<E: HasKernels> Prepared<E> {
    fn new(
        model: &Model<'_>,
        direction: Direction,
        size: PictureSize,
        backend: Backend,
    ) -> Result<Self, Error> {
        let mut memory: Box<PlanMemory> = Box::default();
        let plan = memory.plan(model, direction, size, backend)?;
        let mut weights = vec![E::default(); plan.weights_len()].into_boxed_slice();
        Weights::lay_out(&plan, &mut weights)?;
        Ok(Self {
            nodes: plan.nodes().into(),
            facts: plan.facts(),
            weights,
            idle: Mutex::new(Vec::new()),
        })
    }

    fn is_for(&self, direction: Direction, size: PictureSize) -> bool {
        self.facts.is_for(direction, size)
    }

    fn plan<'p>(&'p self, model: &'p Model<'p>) -> Plan<'p> {
        Plan::new(&self.nodes, model, self.facts)
    }

    fn with_engine<T>(
        &self,
        model: &Model<'_>,
        work: impl FnOnce(&mut Engine<'_, E>) -> Result<T, RunError>,
    ) -> Result<T, Error> {
        let plan = self.plan(model);
        let idle = self.idle.lock().pop();
        let mut memory = idle.unwrap_or_else(|| RunMemory {
            cursors: vec![Cursor::default(); self.nodes.len()].into(),
            elements: vec![E::default(); plan.run_len()].into(),
        });
        let weights = Weights::laid_out(&plan, &self.weights);
        let RunMemory { cursors, elements } = &mut memory;
        let mut engine = Engine::new(plan, weights, cursors, elements)?;
        let result = work(&mut engine);
        self.idle.lock().push(memory);
        Ok(result?)
    }
}

/// As many bytes of pixels as there must be.
fn check_pixels(needed: usize, pixels: &[u8]) -> Result<(), RunError> {
    let given = pixels.len();
    if needed == given {
        return Ok(());
    }
    Err(RunError::Pixels { needed, given })
}

/// See [`Codec::neighbours`].
fn neighbours<E: HasKernels>(
    model: &Model<'_>,
    stage: usize,
    code: u16,
    count: usize,
) -> Result<Vec<u16>, RunError> {
    let books = Codebooks::<E>::new(model)?;
    let all = model.codebooks().get(stage).map_or(0, |book| book.codes);
    let distance = |other| {
        (0..books.dim()).fold(E::NO_DISTANCE, |sum, d| {
            let own = books.component(stage, code, d);
            own.distance(books.component(stage, other, d), sum)
        })
    };
    let others = (0..all).filter(|&other| other != code);
    let mut others: Vec<_> = others.map(|other| (distance(other), other)).collect();
    let nearer = |a: &(E::Distance, u16), b: &(E::Distance, u16)| {
        let near = a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal);
        near.then(a.1.cmp(&b.1))
    };
    if count < others.len() {
        others.select_nth_unstable_by(count, nearer);
        others.truncate(count);
    }
    others.sort_unstable_by(nearer);
    Ok(others.into_iter().map(|(_, other)| other).collect())
}
