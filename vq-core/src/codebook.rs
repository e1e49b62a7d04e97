//! Codes to embeddings: lookup, sum of stages. The way back is in `search`.

use crate::bitstream::{MAX_STAGES, MISSING};
use crate::conceal::{Cell, conceal, known_stages};
use crate::element::Element;
use crate::error::RunError;
use crate::kernels::search::Entries;
use crate::model::Model;
use crate::plan::Layout;
use crate::run::Source;
use crate::shape::Grid;
use crate::slices::Parts;

/// The codebooks of a model, read as its element type.
#[derive(Debug, Clone)]
pub struct Codebooks<'a, E: Element> {
    /// \[K\]\[D\] of each stage.
    tables: heapless::Vec<&'a [E::Stored], MAX_STAGES>,
    dim: usize,
}

impl<'a, E: Element> Codebooks<'a, E> {
    /// The codebooks of `model`.
    ///
    /// # Errors
    /// [`RunError::Dtype`] when the model has another element type.
    pub fn new(model: &Model<'a>) -> Result<Self, RunError> {
        check_dtype::<E>(model)?;
        let mut tables = heapless::Vec::new();
        for &codebook in model.codebooks() {
            // A model has no more than there is room for.
            let _ = tables.push(E::stored(model.table(codebook)));
        }
        Ok(Self {
            tables,
            dim: model.dim().into(),
        })
    }

    /// Number of stages.
    pub fn stages(&self) -> usize {
        self.tables.len()
    }

    /// Channels of the latent, D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number `d` of the D numbers of a code's entry; 0 where there is no such code.
    pub fn component(&self, stage: usize, code: u16, d: usize) -> E {
        self.entry(stage, code)
            .get(d)
            .map_or(E::zero(0), |&number| E::read(number))
    }

    /// Adds a code's entry to `latent`, D numbers; nothing where there is no such code.
    pub fn add(&self, stage: usize, code: u16, latent: &mut [E]) {
        for (sum, &number) in latent.iter_mut().zip(self.entry(stage, code)) {
            *sum = sum.plus(E::read(number));
        }
    }

    /// Subtracts a code's entry from `latent`, D numbers: what a stage leaves for the next. Nothing where there is no such
    /// code.
    pub(crate) fn subtract(&self, stage: usize, code: u16, latent: &mut [E]) {
        for (rest, &number) in latent.iter_mut().zip(self.entry(stage, code)) {
            *rest = rest.minus(E::read(number));
        }
    }

    /// The entries of each stage.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entries<'a, E>> {
        let dim = self.dim;
        self.tables
            .clone()
            .into_iter()
            .map(move |numbers| Entries { numbers, dim })
    }

    fn entry(&self, stage: usize, code: u16) -> &'a [E::Stored] {
        let table = self.tables.get(stage).copied().unwrap_or(&[]);
        table
            .chunks_exact(self.dim.max(1))
            .nth(code.into())
            .unwrap_or(&[])
    }
}

pub(crate) fn check_dtype<E: Element>(model: &Model<'_>) -> Result<(), RunError> {
    if model.dtype() == E::DTYPE {
        return Ok(());
    }
    Err(RunError::Dtype {
        model: model.dtype(),
        used: E::DTYPE,
    })
}

/// A picture's codes as the input of a decoder: the sum of each cell's entries, and where codes are
/// missing, what their neighbours suggest (see [`crate::conceal`]).
#[derive(Debug, Clone)]
pub struct Embeddings<'a, E: Element> {
    codebooks: Codebooks<'a, E>,
    grid: Grid,
    codes: &'a [u16],
}

impl<'a, E: Element> Embeddings<'a, E> {
    /// `codes` are those of the whole grid, stage by stage and row by row,
    /// [`crate::bitstream::MISSING`] where none has come.
    ///
    /// # Errors
    /// [`RunError::Codes`] unless there are [`Layout::code_count`], [`RunError::Dtype`] when the model
    /// has another element type.
    pub fn new(layout: &Layout<'a>, codes: &'a [u16]) -> Result<Self, RunError> {
        let (needed, given) = (layout.code_count(), codes.len());
        if needed != given {
            return Err(RunError::Codes { needed, given });
        }
        Ok(Self {
            codebooks: Codebooks::new(layout.model)?,
            grid: layout.grid(),
            codes,
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

impl<E: Element> Source for Embeddings<'_, E> {
    type Element = E;

    fn fill(&mut self, y: u32, row: &mut [E]) {
        let columns = 0..self.grid.columns;
        for (column, embedding) in columns.zip(row.chunks_exact_mut(self.codebooks.dim().max(1))) {
            self.embed(
                Cell {
                    column,
                    row: y as u16,
                },
                embedding,
            );
        }
    }
}
