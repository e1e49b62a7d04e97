//! The table of parameters: names, shapes and places in the one flat vector that holds them all.
//!
//! Optimiser, checkpoint, reduction over chunks and gradient check each are one loop over that
//! vector; only layers and export need to know what lies where.

use super::scalar::Scalar;
use rand::Rng;
use rand::RngExt;
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
    /// Normal with this standard deviation around 1.
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
    /// Is not changed by the optimiser: a quantiser's own state.
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
    /// Length of all panels: see [`Weights`](super::Weights).
    pub(super) panels: usize,
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

    /// Reserves so many numbers among the panels, for weights in the order in which products read them.
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
