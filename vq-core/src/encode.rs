//! Pixels to codes, one row of codes at a time.

use crate::element::Element;
use crate::error::RunError;
use crate::plan::{Direction, Layout};
use crate::run::{Engine, NoProbe, Probe, Runner, Source};
use crate::search::Search;
use core::marker::PhantomData;

/// A picture being encoded.
///
/// ```
/// # fn run(file: &[u8], pixels: &[u8]) -> Result<(), Box<dyn core::error::Error>> {
/// use vq_core::{Encoder, Engine, Model, Picture, Plan};
/// let model = Model::parse(file)?;
/// let mut plan = Plan::<40>::new();
/// let mut layout = plan.encoder(&model, model.native())?;
/// let mut scratch = vec![0i8; layout.scratch_len()];
/// let mut codes = vec![0; layout.code_count()];
/// let picture = Picture { pixels, row_bytes: layout.row_bytes() };
/// let mut engine = Engine::new(&mut layout, &mut scratch)?;
/// Encoder::new(&mut engine, picture)?.encode(&mut codes)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Encoder<'a, S: Source> {
    runner: Runner<'a, S::Element>,
    source: S,
    search: Search<'a, S::Element>,
    cells: usize,
}

impl<'a, E: Element, R: PixelRows> Encoder<'a, Pixels<R, E>> {
    /// Starts a picture.
    ///
    /// # Errors
    /// As [`Encoder::with_source`].
    pub fn new(engine: &'a mut Engine<'_, E>, rows: R) -> Result<Self, RunError> {
        let pixels = Pixels::new(&engine.layout, rows);
        Self::with_source(engine, pixels)
    }
}

impl<'a, S: Source> Encoder<'a, S> {
    /// Starts a picture whose elements come from somewhere else: `source` is asked for the pixels of
    /// whole codes.
    ///
    /// # Errors
    /// [`RunError::Direction`] when the layout is a decoder's.
    pub fn with_source(
        engine: &'a mut Engine<'_, S::Element>,
        source: S,
    ) -> Result<Self, RunError> {
        let (model, backend) = (engine.layout.model, engine.layout.backend);
        let (search, grid) = (engine.search, engine.layout.grid());
        let runner = engine.start(Direction::Encode, 0)?;
        Ok(Self {
            runner,
            source,
            search: Search::laid_out(model, backend, search)?,
            cells: grid.cells() as usize,
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
    /// As [`Encoder::encode`].
    pub fn next_row(&mut self, codes: &mut [u16]) -> Result<Option<u16>, RunError> {
        self.next_row_with(&mut NoProbe, codes)
    }

    /// The same, with somebody looking on.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn next_row_with(
        &mut self,
        probe: &mut impl Probe<S::Element>,
        codes: &mut [u16],
    ) -> Result<Option<u16>, RunError> {
        let (needed, given) = (self.search.codebooks().stages() * self.cells, codes.len());
        if needed != given {
            return Err(RunError::Codes { needed, given });
        }
        let Some((y, latents)) = self.runner.next_row(&mut self.source, probe) else {
            return Ok(None);
        };
        let dim = self.search.codebooks().dim();
        let first = y as usize * (latents.len() / dim);
        self.search.quantise(latents, |stage, x, code| {
            codes[stage * self.cells + first + x] = code;
        });
        Ok(Some(y as u16))
    }

    /// The next row of latents as the encoder makes them, w * D elements, for those who choose codes
    /// themselves; none behind the last.
    pub fn next_latents(&mut self) -> Option<&mut [S::Element]> {
        let (_, latents) = self.runner.next_row(&mut self.source, &mut NoProbe)?;
        Some(latents)
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

impl<R: PixelRows, E: Element> Pixels<R, E> {
    /// The rows of a picture of the layout's size.
    pub fn new(layout: &Layout<'_>, rows: R) -> Self {
        let last = layout.size().height.saturating_sub(1);
        let row_bytes = layout.row_bytes();
        let channels = layout.model.channels().into();
        Self {
            rows,
            last,
            row_bytes,
            channels,
            element: PhantomData,
        }
    }
}

impl<R: PixelRows, E: Element> Source for Pixels<R, E> {
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
