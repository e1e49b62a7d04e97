//! A model on a device: a decoder or an encoder in memory that somebody else owns, whatever the element type.

use crate::decode::{Decoding, Embeddings};
use crate::dtype::Dtype;
#[cfg(feature = "encoder")]
use crate::encode::{Encoding, PixelRows};
use crate::error::{Error, PlanError, RunError};
use crate::kernels::Backend;
use crate::model::Model;
use crate::plan::{Direction, Plan, PlanMemory};
use crate::run::{Engine, Probe, Weights};
use crate::shape::PictureSize;
use core::ops::Range;
use half::f16;

/// What a model needs for pictures of one size: the constants of a [`Memory`] and the lengths of a user's buffers.
///
/// `Debug` prints it as Rust does, so that a build script can write it down for the program: `vq_core::{needs:?}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Values of the graph: V of [`Memory`].
    pub values: usize,
    /// Bytes of scratch: B of [`Memory`].
    pub scratch: usize,
    /// Codes of the picture, all stages.
    pub codes: usize,
    /// Bytes of a row of pixels.
    pub row: usize,
}

/// Says what a model needs for pictures of this size on a processor with this backend, [`Backend::best`] for the one that
/// asks, [`Backend::of_target`] in a build script.
///
/// # Errors
/// [`PlanError`] where no plan can be made.
pub fn needs(
    model: &Model<'_>,
    direction: Direction,
    size: PictureSize,
    backend: Backend,
) -> Result<Needs, PlanError> {
    let mut memory: PlanMemory = PlanMemory::new();
    let plan = memory.plan(model, direction, size, backend)?;
    let scratch = plan.scratch_len().checked_mul(model.dtype().size());
    Ok(Needs {
        values: plan.rings().count(),
        scratch: scratch.ok_or(PlanError::TooLarge)?,
        codes: plan.code_count(),
        row: plan.row_bytes(),
    })
}

/// The memory of one decoder or encoder, of as many values V and bytes B as [`needs`] says. All zeros when new, so that a
/// static of it takes no room in flash.
#[derive(Debug)]
pub struct Memory<const V: usize, const B: usize> {
    plan: PlanMemory<V>,
    scratch: Aligned<B>,
}

/// Bytes in which numbers of four bytes are aligned.
#[derive(Debug)]
#[repr(align(8))]
struct Aligned<const B: usize>([u8; B]);

impl<const V: usize, const B: usize> Memory<V, B> {
    /// Unused.
    pub const fn new() -> Self {
        Self {
            plan: PlanMemory::new(),
            scratch: Aligned([0; B]),
        }
    }
}

impl<const V: usize, const B: usize> Default for Memory<V, B> {
    fn default() -> Self {
        Self::new()
    }
}

/// Decodes any number of pictures of one size, one after the other, in the memory that it was given.
#[derive(Debug)]
pub struct Decoder<'m> {
    engine: AnyEngine<'m>,
}

impl<'m> Decoder<'m> {
    /// Plans pictures of this size in `memory`, and lays the weights out there where this processor's kernels want that.
    ///
    /// # Errors
    /// [`PlanError`] where no plan can be made, [`RunError::Scratch`] where the memory is too small.
    pub fn new<const V: usize, const B: usize>(
        model: &'m Model<'m>,
        size: PictureSize,
        memory: &'m mut Memory<V, B>,
    ) -> Result<Self, Error> {
        let engine = AnyEngine::new(model, Direction::Decode, size, memory)?;
        Ok(Self { engine })
    }

    /// The plan: sizes of the picture, its grid and its rows.
    pub fn plan(&self) -> &Plan<'m> {
        self.engine.plan()
    }

    /// Starts a picture. `codes` are those of the whole grid, stage by stage and row by row, what a
    /// [`Receiver`](crate::bitstream::Receiver) has gathered.
    ///
    /// # Errors
    /// [`RunError::Codes`] unless there are [`Plan::code_count`] codes.
    pub fn picture<'d>(&'d mut self, codes: &'d [u16]) -> Result<DecodedRows<'d>, RunError> {
        self.rows(codes, 0..u16::MAX)
    }

    /// Starts some rows of a picture; see [`Decoding::rows`].
    ///
    /// # Errors
    /// [`RunError::Codes`] unless there are [`Plan::code_count`] codes.
    pub fn rows<'d>(
        &'d mut self,
        codes: &'d [u16],
        rows: Range<u16>,
    ) -> Result<DecodedRows<'d>, RunError> {
        let decoding = match &mut self.engine {
            AnyEngine::I8(engine) => AnyDecoding::I8(Decoding::rows(engine, codes, rows)?),
            #[cfg(feature = "f16")]
            AnyEngine::F16(engine) => AnyDecoding::F16(Decoding::rows(engine, codes, rows)?),
            #[cfg(feature = "f32")]
            AnyEngine::F32(engine) => AnyDecoding::F32(Decoding::rows(engine, codes, rows)?),
        };
        Ok(DecodedRows { decoding })
    }
}

/// The rows of a picture, decoded as they are asked for.
#[derive(Debug)]
pub struct DecodedRows<'d> {
    decoding: AnyDecoding<'d>,
}

impl DecodedRows<'_> {
    /// See [`Decoding::next_row`].
    ///
    /// # Errors
    /// [`RunError::Row`] when `pixels` is too short; the row is not lost then.
    pub fn next_row(&mut self, pixels: &mut [u8]) -> Result<Option<u16>, RunError> {
        match &mut self.decoding {
            AnyDecoding::I8(decoding) => decoding.next_row(pixels),
            #[cfg(feature = "f16")]
            AnyDecoding::F16(decoding) => decoding.next_row(pixels),
            #[cfg(feature = "f32")]
            AnyDecoding::F32(decoding) => decoding.next_row(pixels),
        }
    }

    /// As [`DecodedRows::next_row`], with an observer of whatever element type.
    ///
    /// # Errors
    /// As [`DecodedRows::next_row`].
    pub fn next_row_with(
        &mut self,
        probe: &mut (impl Probe<i8> + Probe<f16> + Probe<f32>),
        pixels: &mut [u8],
    ) -> Result<Option<u16>, RunError> {
        match &mut self.decoding {
            AnyDecoding::I8(decoding) => decoding.next_row_with(probe, pixels),
            #[cfg(feature = "f16")]
            AnyDecoding::F16(decoding) => decoding.next_row_with(probe, pixels),
            #[cfg(feature = "f32")]
            AnyDecoding::F32(decoding) => decoding.next_row_with(probe, pixels),
        }
    }

    /// See [`Decoding::next_row_rgb565`].
    ///
    /// # Errors
    /// [`RunError::Row`] when `pixels` is too short; the row is not lost then.
    pub fn next_row_rgb565(&mut self, pixels: &mut [u16]) -> Result<Option<u16>, RunError> {
        match &mut self.decoding {
            AnyDecoding::I8(decoding) => decoding.next_row_rgb565(pixels),
            #[cfg(feature = "f16")]
            AnyDecoding::F16(decoding) => decoding.next_row_rgb565(pixels),
            #[cfg(feature = "f32")]
            AnyDecoding::F32(decoding) => decoding.next_row_rgb565(pixels),
        }
    }
}

/// Encodes any number of pictures of one size, one after the other, in the memory that it was given.
#[cfg(feature = "encoder")]
#[derive(Debug)]
pub struct Encoder<'m> {
    engine: AnyEngine<'m>,
}

#[cfg(feature = "encoder")]
impl<'m> Encoder<'m> {
    /// Plans pictures of this size in `memory`.
    ///
    /// # Errors
    /// As [`Decoder::new`]; [`PlanError::NoEncoder`] where the model cannot encode.
    pub fn new<const V: usize, const B: usize>(
        model: &'m Model<'m>,
        size: PictureSize,
        memory: &'m mut Memory<V, B>,
    ) -> Result<Self, Error> {
        let engine = AnyEngine::new(model, Direction::Encode, size, memory)?;
        Ok(Self { engine })
    }

    /// The plan: sizes of the picture, its grid and its rows.
    pub fn plan(&self) -> &Plan<'m> {
        self.engine.plan()
    }

    /// Encodes a picture: all codes, stage by stage and row by row.
    ///
    /// # Errors
    /// [`RunError::Codes`] unless there are [`Plan::code_count`] places.
    pub fn encode(&mut self, rows: impl PixelRows, codes: &mut [u16]) -> Result<(), RunError> {
        match &mut self.engine {
            AnyEngine::I8(engine) => Encoding::new(engine, rows)?.encode(codes),
            #[cfg(feature = "f16")]
            AnyEngine::F16(engine) => Encoding::new(engine, rows)?.encode(codes),
            #[cfg(feature = "f32")]
            AnyEngine::F32(engine) => Encoding::new(engine, rows)?.encode(codes),
        }
    }
}

/// An engine of whatever element type.
#[derive(Debug)]
enum AnyEngine<'m> {
    I8(Engine<'m, i8>),
    #[cfg(feature = "f16")]
    F16(Engine<'m, f16>),
    #[cfg(feature = "f32")]
    F32(Engine<'m, f32>),
}

/// A picture in progress, of whatever element type.
#[derive(Debug)]
enum AnyDecoding<'d> {
    I8(Decoding<'d, Embeddings<'d, i8>>),
    #[cfg(feature = "f16")]
    F16(Decoding<'d, Embeddings<'d, f16>>),
    #[cfg(feature = "f32")]
    F32(Decoding<'d, Embeddings<'d, f32>>),
}

impl<'m> AnyEngine<'m> {
    fn new<const V: usize, const B: usize>(
        model: &'m Model<'m>,
        direction: Direction,
        size: PictureSize,
        memory: &'m mut Memory<V, B>,
    ) -> Result<Self, Error> {
        let Memory { plan, scratch } = memory;
        let (plan, cursors) = plan.plan_and_cursors(model, direction, size, Backend::best())?;
        let scratch = &mut scratch.0[..];
        macro_rules! engine {
            ($variant:ident) => {{
                // Aligned bytes can be cast; a rest that is no whole element is left over.
                let whole = scratch.len() - scratch.len() % model.dtype().size();
                let elements = bytemuck::try_cast_slice_mut(&mut scratch[..whole]);
                let elements = elements.unwrap_or_default();
                let (run, weights) = split(elements, &plan)?;
                let weights = Weights::new(&plan, weights)?;
                Ok(Self::$variant(Engine::new(plan, weights, cursors, run)?))
            }};
        }
        match model.dtype() {
            Dtype::I8 => engine!(I8),
            #[cfg(feature = "f16")]
            Dtype::F16 => engine!(F16),
            #[cfg(feature = "f32")]
            Dtype::F32 => engine!(F32),
            #[cfg(not(all(feature = "f16", feature = "f32")))]
            dtype => Err(PlanError::Dtype(dtype).into()),
        }
    }

    fn plan(&self) -> &Plan<'m> {
        match self {
            Self::I8(engine) => engine.plan(),
            #[cfg(feature = "f16")]
            Self::F16(engine) => engine.plan(),
            #[cfg(feature = "f32")]
            Self::F32(engine) => engine.plan(),
        }
    }
}

/// The parts of a scratch for a run and for its weights.
fn split<'s, E>(
    scratch: &'s mut [E],
    plan: &Plan<'_>,
) -> Result<(&'s mut [E], &'s mut [E]), RunError> {
    let (needed, given) = (plan.scratch_len(), scratch.len());
    let parts = scratch.split_at_mut_checked(plan.run_len());
    parts
        .filter(|_| given >= needed)
        .ok_or(RunError::Scratch { needed, given })
}
