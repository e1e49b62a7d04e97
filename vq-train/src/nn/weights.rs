//! Parameters as layers read them: beside the flat vector, weights packed for the matrix products.

use super::params::ParamTable;
use super::scalar::Scalar;
use rayon::prelude::*;
use std::ops::Range;

/// A layer that reads its weights in another order than they are kept in.
pub trait Pack<T>: Sync {
    /// Its place among all panels.
    fn panels(&self) -> Range<usize>;
    /// Writes what belongs there, for a training step.
    fn pack(&self, values: &[T], panels: &mut [T]);
    /// Writes what belongs there, where nothing is trained.
    fn pack_in_use(&self, values: &[T], panels: &mut [T]) {
        self.pack(values, panels);
    }
}

/// Parameters as layers use them: the flat vector, and weights packed for the matrix products, once for all
/// pictures of a step.
#[derive(Debug, Clone)]
pub struct Weights<'p, T> {
    /// The flat vector.
    pub values: &'p [T],
    pub(super) panels: &'p [T],
}

impl<'p, T: Scalar> Weights<'p, T> {
    /// For layers without parameters.
    pub fn none() -> Self {
        Weights {
            values: &[],
            panels: &[],
        }
    }

    /// What was packed before, once more.
    pub(crate) fn again(values: &'p [T], panels: &'p [T]) -> Self {
        Weights { values, panels }
    }

    /// Packs the weights of layers, whose places are the table's, into `panels`; `pack` packs one layer.
    pub(super) fn packed(
        table: &ParamTable,
        mut layers: Vec<&dyn Pack<T>>,
        values: &'p [T],
        panels: &'p mut Vec<T>,
        pack: impl Fn(&dyn Pack<T>, &mut [T]) + Sync,
    ) -> Self {
        panels.resize(table.panels, T::zero());
        layers.sort_by_key(|layer| layer.panels().start);
        let mut jobs = Vec::new();
        let (mut rest, mut at) = (&mut panels[..], 0);
        for layer in layers {
            let Range { start, end } = layer.panels();
            let (own, behind) = rest[start - at..].split_at_mut(end - start);
            jobs.push((layer, own));
            (rest, at) = (behind, end);
        }
        jobs.into_par_iter()
            .for_each(|(layer, panels)| pack(layer, panels));
        Weights { values, panels }
    }
}

/// Parameters that stay as they are, packed once.
#[derive(Debug, Clone)]
pub struct FixedWeights<T> {
    pub(super) values: Vec<T>,
    pub(super) panels: Vec<T>,
}

impl<T: Scalar> FixedWeights<T> {
    /// The parameters as layers use them.
    pub fn view(&self) -> Weights<'_, T> {
        Weights {
            values: &self.values,
            panels: &self.panels,
        }
    }
}
