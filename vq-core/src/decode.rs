//! Codes to pixels, one row at a time.

use crate::codebook::Embeddings;
use crate::element::{Arithmetic, Element};
use crate::error::RunError;
use crate::plan::Direction;
use crate::run::{Engine, NoProbe, Probe, Runner, Source};
use core::ops::Range;

/// A picture being decoded. Rows are pulled from above to below; whoever stops early pays less.
///
/// ```
/// # fn run(file: &[u8], codes: &[u16]) -> Result<(), Box<dyn core::error::Error>> {
/// use vq_core::{Decoder, Engine, Model, Plan};
/// let model = Model::parse(file)?;
/// let mut plan = Plan::<40>::new();
/// let mut layout = plan.decoder(&model, model.native())?;
/// let mut scratch = vec![0i8; layout.scratch_len()];
/// let mut row = vec![0u8; layout.row_bytes()];
/// let mut engine = Engine::new(&mut layout, &mut scratch)?;
/// // For each picture:
/// let mut decoder = Decoder::new(&mut engine, codes)?;
/// while let Some(y) = decoder.next_row(&mut row)? {
///     println!("row {y}: {row:?}");
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Decoder<'a, S: Source> {
    runner: Runner<'a, S::Element>,
    source: S,
    row_bytes: usize,
    /// Behind the last row.
    end: u16,
}

impl<'a, E: Element> Decoder<'a, Embeddings<'a, E>> {
    /// Starts a picture. `codes` are those of the whole grid, stage by stage and row by row,
    /// [`crate::bitstream::MISSING`] where none has come.
    ///
    /// # Errors
    /// As [`Decoder::with_source`]; [`RunError::Codes`] unless there are [`Layout::code_count`] codes.
    ///
    /// [`Layout::code_count`]: crate::Layout::code_count
    pub fn new(engine: &'a mut Engine<'_, E>, codes: &'a [u16]) -> Result<Self, RunError> {
        Self::strip(engine, codes, 0..u16::MAX)
    }

    /// Starts some rows of a picture, as far as it has them. They are the same as in the whole picture; what they
    /// cost beside their share is the rows around them that their convolutions see.
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub fn strip(
        engine: &'a mut Engine<'_, E>,
        codes: &'a [u16],
        rows: Range<u16>,
    ) -> Result<Self, RunError> {
        let embeddings = Embeddings::new(&engine.layout, codes)?;
        Self::start(engine, embeddings, rows)
    }
}

impl<'a, S: Source> Decoder<'a, S> {
    /// Starts a picture whose embeddings come from somewhere else: `source` is asked for w * D
    /// elements a row, w the grid's columns.
    ///
    /// # Errors
    /// [`RunError::Direction`] when the layout is an encoder's.
    pub fn with_source(
        engine: &'a mut Engine<'_, S::Element>,
        source: S,
    ) -> Result<Self, RunError> {
        Self::start(engine, source, 0..u16::MAX)
    }

    fn start(
        engine: &'a mut Engine<'_, S::Element>,
        source: S,
        rows: Range<u16>,
    ) -> Result<Self, RunError> {
        let (row_bytes, height) = (engine.layout.row_bytes(), engine.layout.size().height);
        Ok(Self {
            runner: engine.start(Direction::Decode, rows.start.min(height).into())?,
            source,
            row_bytes,
            end: rows.end.min(height),
        })
    }

    /// Decodes the next row into the first [`crate::Layout::row_bytes`] of `pixels`, channels interleaved,
    /// and says which it is; none behind the last.
    ///
    /// # Errors
    /// [`RunError::Row`] when `pixels` is too short; the row is not lost then.
    pub fn next_row(&mut self, pixels: &mut [u8]) -> Result<Option<u16>, RunError> {
        self.next_row_with(&mut NoProbe, pixels)
    }

    /// The same, with somebody looking on.
    ///
    /// # Errors
    /// As [`Decoder::next_row`].
    pub fn next_row_with(
        &mut self,
        probe: &mut impl Probe<S::Element>,
        pixels: &mut [u8],
    ) -> Result<Option<u16>, RunError> {
        let (needed, given) = (self.row_bytes, pixels.len());
        let pixels = pixels
            .get_mut(..needed)
            .ok_or(RunError::Row { needed, given })?;
        // Rows and columns that only fill up the last codes are cut off.
        if self.runner.next() >= self.end.into() {
            return Ok(None);
        }
        let Some((y, row)) = self.runner.next_row(&mut self.source, probe) else {
            return Ok(None);
        };
        for (byte, value) in pixels.iter_mut().zip(row) {
            *byte = value.to_pixel();
        }
        Ok(Some(y as u16))
    }
}
