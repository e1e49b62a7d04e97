//! Pixels to codes, one row of codes at a time.

use crate::error::RunError;
use crate::kernels::HasKernels;
use crate::nearest::NearestCodes;
use crate::plan::{Direction, Plan};
use crate::run::{Engine, NoProbe, Probe, Runner, Source};
use core::marker::PhantomData;

/// A picture being encoded, one row of codes at a time.
#[derive(Debug)]
pub struct Encoding<'a, S: Source> {
    runner: Runner<'a, S::Element>,
    source: S,
    nearest: NearestCodes<'a, S::Element>,
    cells: usize,
}

impl<'a, E: HasKernels, R: PixelRows> Encoding<'a, Pixels<R, E>> {
    /// Starts a picture.
    ///
    /// # Errors
    /// As [`Encoding::with_source`].
    pub fn new(engine: &'a mut Engine<'_, E>, rows: R) -> Result<Self, RunError> {
        let pixels = Pixels::new(&engine.plan, rows);
        Self::with_source(engine, pixels)
    }
}

impl<'a, S: Source> Encoding<'a, S> {
    /// Starts a picture whose elements come from somewhere else: `source` is asked for the pixels of
    /// whole codes.
    ///
    /// # Errors
    /// [`RunError::Direction`] when the plan is a decoder's.
    pub fn with_source(
        engine: &'a mut Engine<'_, S::Element>,
        source: S,
    ) -> Result<Self, RunError> {
        let (plan, codebooks) = (engine.plan, engine.weights.codebooks);
        let runner = engine.start(Direction::Encode, 0)?;
        Ok(Self {
            runner,
            source,
            nearest: NearestCodes::laid_out(plan.model(), plan.backend(), codebooks)?,
            cells: plan.grid().cells() as usize,
        })
    }

    /// Encodes the whole picture: all codes, stage by stage and row by row.
    ///
    /// # Errors
    /// [`RunError::Codes`] when `codes` has another length than stages * cells.
    pub fn encode(mut self, codes: &mut [u16]) -> Result<(), RunError> {
        while self.next_row(codes)?.is_some() {}
        Ok(())
    }

    /// Encodes the next row of codes into its places among all `codes`, and says which it is; none
    /// behind the last.
    ///
    /// # Errors
    /// As [`Encoding::encode`].
    pub fn next_row(&mut self, codes: &mut [u16]) -> Result<Option<u16>, RunError> {
        self.next_row_with(&mut NoProbe, codes)
    }

    /// As [`Encoding::next_row`], with an observer.
    ///
    /// # Errors
    /// As [`Encoding::encode`].
    pub fn next_row_with(
        &mut self,
        probe: &mut impl Probe<S::Element>,
        codes: &mut [u16],
    ) -> Result<Option<u16>, RunError> {
        let (needed, given) = (self.nearest.codebooks().stages() * self.cells, codes.len());
        if needed != given {
            return Err(RunError::Codes { needed, given });
        }
        let Some((y, latents)) = self.runner.next_row(&mut self.source, probe) else {
            return Ok(None);
        };
        let dim = self.nearest.codebooks().dim();
        let first = y as usize * (latents.len() / dim);
        self.nearest.quantise(latents, |stage, x, code| {
            if let Some(place) = codes.get_mut(stage * self.cells + first + x) {
                *place = code;
            }
        });
        Ok(Some(y as u16))
    }
}

/// A picture whose rows somebody has, or makes as they are asked for.
pub trait PixelRows {
    /// Row y: width * channels bytes, channels interleaved.
    ///
    /// Rows are asked for from above to below; the last one perhaps several times.
    fn row(&mut self, y: u16) -> &[u8];
}

/// A picture that lies in memory as a whole: rows of `row_bytes`.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// The rows, one behind the other.
    pub pixels: &'a [u8],
    /// width * channels.
    pub row_bytes: usize,
}

impl PixelRows for Picture<'_> {
    fn row(&mut self, y: u16) -> &[u8] {
        self.pixels
            .chunks(self.row_bytes.max(1))
            .nth(y.into())
            .unwrap_or(&[])
    }
}

/// A picture as the input of an encoder: widened to whole codes by repeating its last column and row.
#[derive(Debug)]
pub struct Pixels<R, E> {
    rows: R,
    last: u16,
    row_bytes: usize,
    channels: usize,
    element: PhantomData<E>,
}

impl<R: PixelRows, E: HasKernels> Pixels<R, E> {
    /// The rows of a picture of the plan's size.
    pub fn new(plan: &Plan<'_>, rows: R) -> Self {
        let last = plan.size().height.saturating_sub(1);
        let row_bytes = plan.row_bytes();
        let channels = plan.model().channels().into();
        Self {
            rows,
            last,
            row_bytes,
            channels,
            element: PhantomData,
        }
    }
}

impl<R: PixelRows, E: HasKernels> Source for Pixels<R, E> {
    type Element = E;

    fn fill(&mut self, y: u32, row: &mut [E]) {
        let bytes = self.rows.row(y.min(self.last.into()) as u16);
        let bytes = &bytes[..bytes.len().min(self.row_bytes)];
        let (inside, outside) = row.split_at_mut(bytes.len());
        for (value, &byte) in inside.iter_mut().zip(bytes) {
            *value = E::from_pixel(byte);
        }
        let edge = &inside[inside.len().saturating_sub(self.channels)..];
        for point in outside.chunks_mut(self.channels) {
            point
                .iter_mut()
                .zip(edge)
                .for_each(|(value, &edge)| *value = edge);
        }
    }
}
