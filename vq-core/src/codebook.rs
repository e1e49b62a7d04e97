//! Codes to entries of codebooks. The way back is in `nearest`.

use crate::element::Element;
use crate::error::RunError;
#[cfg(feature = "encoder")]
use crate::kernels::nearest::Entries;
use crate::model::{Model, check_dtype};
use crate::shape::MAX_STAGES;

/// The codebooks of a model, read as its element type.
#[derive(Debug, Clone)]
pub struct Codebooks<'a, E: Element> {
    /// \[K\]\[D\] of each stage, and nothing behind them. An array, since a vector's destructor would keep what is
    /// borrowed until the end of its scope.
    tables: [&'a [E::Stored]; MAX_STAGES],
    stages: usize,
    dim: usize,
}

impl<'a, E: Element> Codebooks<'a, E> {
    /// The codebooks of `model`.
    ///
    /// # Errors
    /// [`RunError::Dtype`] when the model has another element type.
    pub fn new(model: &Model<'a>) -> Result<Self, RunError> {
        check_dtype::<E>(model)?;
        let mut tables: [&[E::Stored]; MAX_STAGES] = [&[]; MAX_STAGES];
        for (table, &codebook) in tables.iter_mut().zip(model.codebooks()) {
            *table = E::stored(model.table(codebook));
        }
        Ok(Self {
            tables,
            stages: model.codebooks().len(),
            dim: model.dim().into(),
        })
    }

    /// Number of stages.
    pub fn stages(&self) -> usize {
        self.stages
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
    #[cfg(feature = "encoder")]
    pub(crate) fn subtract(&self, stage: usize, code: u16, latent: &mut [E]) {
        for (rest, &number) in latent.iter_mut().zip(self.entry(stage, code)) {
            *rest = rest.minus(E::read(number));
        }
    }

    /// The entries of each stage.
    #[cfg(feature = "encoder")]
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entries<'a, E>> {
        let dim = self.dim;
        let tables = self.tables.into_iter().take(self.stages);
        tables.map(move |numbers| Entries { numbers, dim })
    }

    fn entry(&self, stage: usize, code: u16) -> &'a [E::Stored] {
        let table = self.tables.get(stage).copied().unwrap_or(&[]);
        table
            .chunks_exact(self.dim.max(1))
            .nth(code.into())
            .unwrap_or(&[])
    }
}
