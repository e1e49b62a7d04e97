//! Layers one after another.

use super::chunks::{Worker, on_each};
use super::layer::{Layer, Matrix};
use super::params::ParamTable;
use super::scalar::Scalar;
use super::tape::Tape;
use super::weights::{FixedWeights, Pack, Weights};
use ndarray::Array4;

/// Layers one after another.
#[derive(Debug, Clone)]
pub struct Chain<L> {
    /// In the order of the forward pass.
    pub layers: Vec<L>,
}

impl<L: Layer> Chain<L> {
    /// Runs every layer in order.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        self.layers
            .iter()
            .fold(x, |x, layer| layer.forward(p, x, tape))
    }

    /// Runs every layer's backward in reverse order.
    pub fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let layers = self.layers.iter().rev();
        layers.fold(dy, |dy, layer| layer.backward(p, tape, dy, grads))
    }

    /// [`Chain::forward`] on all chunks of a batch at the same time, one map and one worker each.
    ///
    /// A chunk runs on its own up to the next layer that spans the batch, where all chunks meet.
    pub fn forward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        mut maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        for layers in self.layers.chunk_by(independent) {
            maps = match layers {
                [layer] if layer.spans_batch() => layer.forward_all(p, maps, workers),
                layers => on_each(maps, workers, |x, w| {
                    layers.iter().fold(x, |x, l| l.forward(p, x, &mut w.tape))
                }),
            };
        }
        maps
    }

    /// [`Chain::backward`] on all chunks of a batch at the same time, one map and one worker each.
    pub fn backward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        mut maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let tapes = workers.iter_mut().map(|w| &mut w.tape).enumerate();
        tapes.for_each(|(i, tape)| tape.lead(i == 0));
        let runs: Vec<_> = self.layers.chunk_by(independent).collect();
        for layers in runs.into_iter().rev() {
            maps = match layers {
                [layer] if layer.spans_batch() => layer.backward_all(p, maps, workers),
                layers => on_each(maps, workers, |dy, w| {
                    let back = layers.iter().rev();
                    back.fold(dy, |dy, l| l.backward(p, &mut w.tape, dy, &mut w.grads))
                }),
            };
        }
        maps
    }

    /// Whether the result for one picture depends on the others of a batch.
    pub(super) fn spans_batch(&self) -> bool {
        self.layers.iter().any(Layer::spans_batch)
    }

    /// The parameters that are matrices, with the order of their axes.
    pub(crate) fn matrices(&self) -> Vec<Matrix> {
        let mut found = Vec::new();
        self.layers.iter().for_each(|l| l.matrices(&mut found));
        found
    }

    /// Adds what reads packed weights.
    pub(super) fn packed<'l, T: Scalar>(&'l self, found: &mut Vec<&'l dyn Pack<T>>) {
        self.layers.iter().for_each(|layer| layer.packed(found));
    }
}

/// Whether a chunk can go from one layer to the next without the others.
fn independent(a: &impl Layer, b: &impl Layer) -> bool {
    !a.spans_batch() && !b.spans_batch()
}

impl<'p, T: Scalar> Weights<'p, T> {
    /// Packs the weights of `chains`, which are made from `table`, into `panels`, for a training step.
    pub fn new<L: Layer>(
        table: &ParamTable,
        chains: &[&Chain<L>],
        values: &'p [T],
        panels: &'p mut Vec<T>,
    ) -> Self {
        Weights::packed(table, readers(chains), values, panels, |layer, panels| {
            layer.pack(values, panels);
        })
    }

    /// Packs the weights of `chains` where nothing is trained: spectral normalisation's power iteration does not
    /// advance.
    pub fn in_use<L: Layer>(
        table: &ParamTable,
        chains: &[&Chain<L>],
        values: &'p [T],
        panels: &'p mut Vec<T>,
    ) -> Self {
        Weights::packed(table, readers(chains), values, panels, |layer, panels| {
            layer.pack_in_use(values, panels);
        })
    }
}

impl<T: Scalar> FixedWeights<T> {
    /// Packs the weights of `chains`, which are made from `table`.
    pub fn new<L: Layer>(table: &ParamTable, chains: &[&Chain<L>], values: Vec<T>) -> Self {
        let mut panels = Vec::new();
        Weights::in_use(table, chains, &values, &mut panels);
        FixedWeights { values, panels }
    }
}

/// What reads packed weights.
fn readers<'l, L: Layer, T: Scalar>(chains: &[&'l Chain<L>]) -> Vec<&'l dyn Pack<T>> {
    let mut found = Vec::new();
    chains.iter().for_each(|chain| chain.packed(&mut found));
    found
}
