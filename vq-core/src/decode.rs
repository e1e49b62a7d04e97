//! Codes to pixels, one row at a time.

use crate::bitstream::MISSING;
use crate::codebook::Codebooks;
use crate::conceal::{Cell, conceal, known_stages};
use crate::element::Arithmetic;
use crate::error::RunError;
use crate::kernels::HasKernels;
#[cfg(feature = "alloc")]
use crate::model::Model;
use crate::plan::{Direction, Plan};
use crate::run::{Engine, NoProbe, Probe, Runner, Source};
use crate::shape::Grid;
use crate::slices::Parts;
use core::ops::Range;

/// A picture being decoded. Rows are pulled from above to below; whoever stops early pays less.
#[derive(Debug)]
pub struct Decoding<'a, S: Source> {
    runner: Runner<'a, S::Element>,
    source: S,
    row_bytes: usize,
    /// Behind the last row.
    end: u16,
}

impl<'a, E: HasKernels> Decoding<'a, Embeddings<'a, E>> {
    /// Starts some rows of a picture, as far as it has them. They are the same as in the whole picture; what they
    /// cost beside their share is the rows around them that their convolutions see.
    ///
    /// `codes` are those of the whole grid, stage by stage and row by row, [`MISSING`] where none has come.
    ///
    /// # Errors
    /// As [`Decoding::with_source`]; [`RunError::Codes`] unless there are [`Plan::code_count`] codes.
    pub fn rows(
        engine: &'a mut Engine<'_, E>,
        codes: &'a [u16],
        rows: Range<u16>,
    ) -> Result<Self, RunError> {
        let embeddings = Embeddings::new(&engine.plan, codes)?;
        Self::with_source(engine, embeddings, rows)
    }
}

impl<'a, S: Source> Decoding<'a, S> {
    /// Starts some rows of a picture whose embeddings come from somewhere else: `source` is asked for w * D
    /// elements a row, w the grid's columns.
    ///
    /// # Errors
    /// [`RunError::Direction`] when the plan is an encoder's.
    pub fn with_source(
        engine: &'a mut Engine<'_, S::Element>,
        source: S,
        rows: Range<u16>,
    ) -> Result<Self, RunError> {
        let (row_bytes, height) = (engine.plan.row_bytes(), engine.plan.size().height);
        Ok(Self {
            runner: engine.start(Direction::Decode, rows.start.min(height).into())?,
            source,
            row_bytes,
            end: rows.end.min(height),
        })
    }

    /// Decodes the next row into the first [`Plan::row_bytes`] of `pixels`, channels interleaved,
    /// and says which it is; none behind the last.
    ///
    /// # Errors
    /// [`RunError::Row`] when `pixels` is too short; the row is not lost then.
    pub fn next_row(&mut self, pixels: &mut [u8]) -> Result<Option<u16>, RunError> {
        self.next_row_with(&mut NoProbe, pixels)
    }

    /// As [`Decoding::next_row`], with an observer.
    ///
    /// # Errors
    /// As [`Decoding::next_row`].
    pub fn next_row_with(
        &mut self,
        probe: &mut impl Probe<S::Element>,
        pixels: &mut [u8],
    ) -> Result<Option<u16>, RunError> {
        let (needed, given) = (self.row_bytes, pixels.len());
        let pixels = pixels
            .get_mut(..needed)
            .ok_or(RunError::Row { needed, given })?;
        let Some((y, row)) = self.next_elements(probe) else {
            return Ok(None);
        };
        for (byte, value) in pixels.iter_mut().zip(row) {
            *byte = value.to_pixel();
        }
        Ok(Some(y))
    }

    /// Decodes the next row of a colour picture into the first width places of `pixels` as RGB565, red in the upper five bits,
    /// and says which it is; none behind the last. A grey picture's are grey.
    ///
    /// # Errors
    /// [`RunError::Row`] when `pixels` is too short; the row is not lost then.
    pub fn next_row_rgb565(&mut self, pixels: &mut [u16]) -> Result<Option<u16>, RunError> {
        let channels = self.runner.channels();
        let (needed, given) = (self.row_bytes / channels, pixels.len());
        let pixels = pixels
            .get_mut(..needed)
            .ok_or(RunError::Row { needed, given })?;
        let Some((y, row)) = self.next_elements(&mut NoProbe) else {
            return Ok(None);
        };
        for (pixel, point) in pixels.iter_mut().zip(row.chunks_exact(channels)) {
            *pixel = match point {
                [r, g, b] => rgb565([r, g, b].map(|value| value.to_pixel())),
                _ => rgb565([point.first().map_or(0, |value| value.to_pixel()); 3]),
            };
        }
        Ok(Some(y))
    }

    /// The next row as the decoder makes it. Rows and columns that only fill up the last codes are cut off later.
    fn next_elements(
        &mut self,
        probe: &mut impl Probe<S::Element>,
    ) -> Option<(u16, &mut [S::Element])> {
        if self.runner.next() >= self.end.into() {
            return None;
        }
        let (y, row) = self.runner.next_row(&mut self.source, probe)?;
        Some((y as u16, row))
    }
}

/// Five, six and five bits of red, green and blue.
fn rgb565([r, g, b]: [u8; 3]) -> u16 {
    u16::from(r >> 3) << 11 | u16::from(g >> 2) << 5 | u16::from(b >> 3)
}

/// A picture's codes as the input of a decoder: the sum of each cell's entries, and where codes are
/// missing, what their neighbours suggest (see [`crate::conceal`]).
#[derive(Debug, Clone)]
pub struct Embeddings<'a, E: HasKernels> {
    codebooks: Codebooks<'a, E>,
    grid: Grid,
    codes: &'a [u16],
    /// The cell where the map that is filled begins.
    origin: Cell,
}

impl<'a, E: HasKernels> Embeddings<'a, E> {
    /// `codes` are those of the whole grid, stage by stage and row by row,
    /// [`crate::bitstream::MISSING`] where none has come.
    ///
    /// # Errors
    /// [`RunError::Codes`] unless there are [`Plan::code_count`], [`RunError::Dtype`] when the model
    /// has another element type.
    pub fn new(plan: &Plan<'a>, codes: &'a [u16]) -> Result<Self, RunError> {
        let (needed, given) = (plan.code_count(), codes.len());
        if needed != given {
            return Err(RunError::Codes { needed, given });
        }
        Ok(Self {
            codebooks: Codebooks::new(plan.model())?,
            grid: plan.grid(),
            codes,
            origin: Cell { column: 0, row: 0 },
        })
    }

    /// Of a map that begins at this cell and is only a part of the grid. What is missing is concealed from the whole grid.
    #[cfg(feature = "alloc")]
    pub(crate) fn part(
        model: &Model<'a>,
        grid: Grid,
        codes: &'a [u16],
        origin: Cell,
    ) -> Result<Self, RunError> {
        let (needed, given) = (grid.cells() as usize * model.codebooks().len(), codes.len());
        if needed != given {
            return Err(RunError::Codes { needed, given });
        }
        Ok(Self {
            codebooks: Codebooks::new(model)?,
            grid,
            codes,
            origin,
        })
    }

    fn embed(&self, cell: Cell, embedding: &mut [E]) {
        let cells = self.grid.cells() as usize;
        let index =
            usize::from(cell.row) * usize::from(self.grid.columns) + usize::from(cell.column);
        embedding.fill(E::zero(0));
        let known = known_stages(self.codes, cells, index);
        for stage in 0..known {
            let code = self.codes.get(stage * cells + index);
            self.codebooks
                .add(stage, code.copied().unwrap_or(MISSING), embedding);
        }
        if known == 0 {
            let component = |code, d| self.codebooks.component(0, code, d);
            conceal(
                self.codes.part(0, cells),
                self.grid,
                cell,
                component,
                embedding,
            );
        }
    }
}

impl<E: HasKernels> Source for Embeddings<'_, E> {
    type Element = E;

    fn fill(&mut self, y: u32, row: &mut [E]) {
        let columns = self.origin.column..self.grid.columns;
        for (column, embedding) in columns.zip(row.chunks_exact_mut(self.codebooks.dim().max(1))) {
            let row = self.origin.row.saturating_add(y as u16);
            self.embed(Cell { column, row }, embedding);
        }
    }
}
