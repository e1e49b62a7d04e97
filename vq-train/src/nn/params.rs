//! The table of parameters: names, shapes and places in the one flat vector that holds them all.
//!
//! Optimiser, checkpoint, reduction over chunks and gradient check each are one loop over that
//! vector; only layers and export need to know what lies where.

use super::{Chain, Scalar};
use rand::Rng;
use rand::RngExt;
use rayon::prelude::*;
use std::ops::Range;

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All zeros.
    Zero,
    /// All ones.
    One,
    /// Normal with this standard deviation.
    Normal(f64),
    /// Likewise, around 1.
    Gain(f64),
}

impl Init {
    /// He et al. 2015: keeps the variance of activations through a layer of this fan-in.
    pub fn he(fan_in: f64, relu: bool) -> Init {
        let gain = if relu { 2.0 } else { 1.0 };
        Init::Normal((gain / fan_in).sqrt())
    }
}

/// What becomes of a parameter in training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Role {
    /// Learns by its gradient, and decays.
    Weight,
    /// Learns by its gradient, without decay: biases, and gains of norms.
    Bias,
    /// Follows what layers measure: its place among the gradients holds the batch's value v, and
    /// p <- p + rate (v - p). Running means of batch normalisation are of this kind.
    Statistic {
        /// The share of the new value.
        rate: f64,
    },
    /// Is left alone by the optimiser: what a quantiser keeps for itself.
    State,
}

impl Role {
    /// Whether its place among the gradients holds a gradient.
    pub fn learns(self) -> bool {
        matches!(self, Role::Weight | Role::Bias)
    }
}

/// One named parameter.
#[derive(Debug, Clone)]
pub struct ParamInfo {
    /// Dotted path, such as `decoder.2.weight`.
    pub name: String,
    /// Sizes in memory order.
    pub shape: Vec<usize>,
    /// Where it lies in the flat vector.
    pub range: Range<usize>,
    /// How it starts.
    pub init: Init,
    /// What becomes of it in training.
    pub role: Role,
}

/// All parameters of a model in the order of the flat vector.
#[derive(Debug, Clone, Default)]
pub struct ParamTable {
    /// In memory order.
    pub entries: Vec<ParamInfo>,
    panels: usize,
}

impl ParamTable {
    /// Adds a parameter behind the others and says where it lies.
    pub fn add(&mut self, name: String, shape: &[usize], init: Init, role: Role) -> Range<usize> {
        let start = self.len();
        let range = start..start + shape.iter().product::<usize>();
        let info = ParamInfo {
            name,
            shape: shape.to_vec(),
            range: range.clone(),
            init,
            role,
        };
        self.entries.push(info);
        range
    }

    /// Gives a parameter that was added another start.
    ///
    /// # Panics
    /// No parameter lies there.
    pub fn start(&mut self, place: &Range<usize>, init: Init) {
        let entry = self.entries.iter_mut().find(|e| e.range == *place);
        entry.expect("a parameter lies there").init = init;
    }

    /// Sets room aside for a convolution's weights in the order in which products read them.
    pub(super) fn add_panels(&mut self, len: usize) -> Range<usize> {
        let start = self.panels;
        self.panels += len;
        start..self.panels
    }

    /// Length of the flat vector.
    pub fn len(&self) -> usize {
        self.entries.last().map_or(0, |e| e.range.end)
    }

    /// How many numbers learn by gradients.
    pub fn learnt(&self) -> usize {
        let learnt = self.entries.iter().filter(|e| e.role.learns());
        learnt.map(|e| e.range.len()).sum()
    }

    /// Whether the model has no parameters.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The parameters' first values: same generator state, same weights.
    pub fn init<T: Scalar>(&self, rng: &mut impl Rng) -> Vec<T> {
        let mut p = vec![T::zero(); self.len()];
        for e in &self.entries {
            let values = &mut p[e.range.clone()];
            match e.init {
                Init::Zero => {}
                Init::One => values.fill(T::one()),
                Init::Normal(std) => {
                    values.fill_with(|| T::of(std * normal(rng)));
                }
                Init::Gain(std) => {
                    values.fill_with(|| T::of(1.0 + std * normal(rng)));
                }
            }
        }
        p
    }
}

/// A parameter's place among the gradients; none where `grads` is empty, because the weights are held fixed.
pub(super) fn place<'g, T>(grads: &'g mut [T], range: &Range<usize>) -> &'g mut [T] {
    if grads.is_empty() {
        grads
    } else {
        &mut grads[range.clone()]
    }
}

/// A draw from N(0, 1) by Box and Muller's transform.
pub(crate) fn normal(rng: &mut impl Rng) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let v: f64 = rng.random();
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// A layer that reads its weights in another order than they are kept in.
pub(super) trait Pack<T>: Sync {
    /// Its place among all panels.
    fn panels(&self) -> Range<usize>;
    /// Writes what belongs there, for a training step.
    fn pack(&self, values: &[T], panels: &mut [T]);
    /// As [`Pack::pack`], where nothing is trained.
    fn pack_in_use(&self, values: &[T], panels: &mut [T]) {
        self.pack(values, panels);
    }
}

/// Parameters as layers use them: the flat vector, and the convolutions' weights packed for the matrix
/// products, once for all pictures of a step.
#[derive(Debug, Clone)]
pub struct Weights<'p, T> {
    /// The flat vector.
    pub values: &'p [T],
    pub(super) panels: &'p [T],
}

impl<'p, T: Scalar> Weights<'p, T> {
    /// Packs the weights of `chains`, which are made from `table`, into `panels`, for a training step.
    pub fn new(
        table: &ParamTable,
        chains: &[&Chain],
        values: &'p [T],
        panels: &'p mut Vec<T>,
    ) -> Self {
        Weights::packed(table, chains, values, panels, |layer, panels| {
            layer.pack(values, panels);
        })
    }

    /// As [`Weights::new`], where nothing is trained: iterations that go with training stand still.
    pub fn in_use(
        table: &ParamTable,
        chains: &[&Chain],
        values: &'p [T],
        panels: &'p mut Vec<T>,
    ) -> Self {
        Weights::packed(table, chains, values, panels, |layer, panels| {
            layer.pack_in_use(values, panels);
        })
    }

    /// What [`Weights::new`] has packed, once more.
    pub(crate) fn again(values: &'p [T], panels: &'p [T]) -> Self {
        Weights { values, panels }
    }

    fn packed(
        table: &ParamTable,
        chains: &[&Chain],
        values: &'p [T],
        panels: &'p mut Vec<T>,
        pack: impl Fn(&dyn Pack<T>, &mut [T]) + Sync,
    ) -> Self {
        panels.resize(table.panels, T::zero());
        let mut layers: Vec<&dyn Pack<T>> = Vec::new();
        for layer in chains.iter().flat_map(|chain| &chain.layers) {
            layer.packed(&mut layers);
        }
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
    values: Vec<T>,
    panels: Vec<T>,
}

impl<T: Scalar> FixedWeights<T> {
    /// Packs the weights of `chains`, which are made from `table`.
    pub fn new(table: &ParamTable, chains: &[&Chain], values: Vec<T>) -> Self {
        let mut panels = Vec::new();
        Weights::in_use(table, chains, &values, &mut panels);
        FixedWeights { values, panels }
    }

    /// As layers use them.
    pub fn view(&self) -> Weights<'_, T> {
        Weights {
            values: &self.values,
            panels: &self.panels,
        }
    }
}
