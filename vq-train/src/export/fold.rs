//! Folding: the trainer's layers as the core's operators, still in floats.
//!
//! Nearest upsampling by 2 and the 3x3 convolution behind it become four 2x2 convolutions, one for
//! each phase of the output: upsampled rows 2y - 1, 2y and 2y + 1 are input rows y - 1, y and y, so taps
//! that meet the same input add up. A transposed convolution of stride 2 is the same four phases by
//! sorting its taps. Both are exact, borders included. A ReLU behind a convolution or a sum that
//! nothing else reads becomes part of it, and so does a batch normalisation behind a convolution: in use
//! it is a scale and a shift of each channel.
//!
//! Attention of one head needs neither keys nor values of its own. With n the normalised map and s the
//! weights, q'(K n + k) = (K'q)'n + q'k, whose last term is the same for all positions, so that softmax drops
//! it; and as the weights sum to 1, sum s (V n + v) = V (sum s n) + v. So K becomes part of the queries'
//! convolution and V of the last one: half the matrices, and one map to keep instead of three.

use super::ExportError;
use super::bridge::compose;
use crate::nn::{
    Activation, Attention, BatchNorm, Chain, Conv2d, ConvSpec, ConvTranspose2d, GroupNorm, Layer,
    Linear, Normed,
};
use std::borrow::Cow;
use std::ops::Range;
use vq_core::format::{ActivationKind, Dtype};

/// A network of the core's operators with float weights. Values are numbered as in the container.
#[derive(Debug, Clone, Default)]
pub struct FloatGraph {
    /// In the order in which they run.
    pub ops: Vec<FloatOp>,
}

/// One operator.
#[derive(Debug, Clone)]
pub enum FloatOp {
    /// Convolution.
    Conv(FloatConv),
    /// Convolution that doubles the map.
    UpConv(FloatUpConv),
    /// Sum of two values.
    Add {
        /// The branch.
        input: u16,
        /// What it is added to.
        skip: u16,
        /// ReLU on the sum.
        relu: bool,
    },
    /// max(x, 0).
    Relu {
        /// The value to cut.
        input: u16,
    },
    /// Channels to space.
    DepthToSpace {
        /// The value to spread.
        input: u16,
        /// Growth each way.
        factor: u8,
    },
    /// Space to channels.
    SpaceToDepth {
        /// The value to gather.
        input: u16,
        /// Shrinkage each way.
        factor: u8,
    },
    /// A curve, number by number.
    Activation {
        /// The value to bend.
        input: u16,
        /// The curve.
        kind: ActivationKind,
    },
    /// Group normalisation.
    GroupNorm(FloatNorm),
    /// Attention of every position to all, scores as they are.
    Attention {
        /// The value of the queries.
        queries: u16,
        /// The value of the keys.
        keys: u16,
        /// The value of the values.
        values: u16,
        /// Runs of channels that attend by themselves.
        heads: u16,
    },
}

impl FloatOp {
    /// Whether it reads a value.
    pub(super) fn reads(&self, value: u16) -> bool {
        match self {
            Self::Conv(conv) => conv.input == value,
            Self::UpConv(conv) => conv.input == value,
            &Self::Add { input, skip, .. } => input == value || skip == value,
            &Self::Relu { input }
            | &Self::DepthToSpace { input, .. }
            | &Self::SpaceToDepth { input, .. }
            | &Self::Activation { input, .. } => input == value,
            Self::GroupNorm(norm) => norm.input == value,
            &Self::Attention {
                queries,
                keys,
                values,
                ..
            } => [queries, keys, values].contains(&value),
        }
    }
}

/// A convolution.
#[derive(Debug, Clone)]
pub struct FloatConv {
    /// The value to convolve.
    pub input: u16,
    /// Channels out.
    pub cout: usize,
    /// Side of the kernel.
    pub kernel: u8,
    /// Step.
    pub stride: u8,
    /// Zeros above and to the left.
    pub before: u8,
    /// Zeros below and to the right.
    pub after: u8,
    /// ReLU on the output.
    pub relu: bool,
    /// `[cout][kernel][kernel][cin]`.
    pub weight: Vec<f32>,
    /// `[cout]`.
    pub bias: Vec<f32>,
}

/// A group normalisation.
#[derive(Debug, Clone)]
pub struct FloatNorm {
    /// The value to normalise.
    pub input: u16,
    /// Groups of channels.
    pub groups: u16,
    /// Added to the variance.
    pub eps: f32,
    /// SiLU on the output.
    pub silu: bool,
    /// `[c]`.
    pub gain: Vec<f32>,
    /// `[c]`.
    pub bias: Vec<f32>,
}

/// Four 2x2 convolutions.
#[derive(Debug, Clone)]
pub struct FloatUpConv {
    /// The value to convolve.
    pub input: u16,
    /// Channels out.
    pub cout: usize,
    /// ReLU on the output.
    pub relu: bool,
    /// `[4][cout][2][2][cin]`.
    pub weight: Vec<f32>,
    /// `[4][cout]`, the same for each phase.
    pub bias: Vec<f32>,
}

/// One of a model's two chains of layers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'m> {
    /// Encoder or decoder.
    pub(super) name: &'static str,
    /// The element type that it is to run in.
    pub(super) dtype: Dtype,
    /// Its layers.
    pub(super) chain: &'m Chain,
    /// The model's parameters.
    pub(super) params: &'m [f32],
}

/// A chain of layers behind the operators of a graph, which may be none.
pub(super) fn chain(side: Side<'_>, graph: FloatGraph) -> Result<FloatGraph, ExportError> {
    let Side {
        name,
        dtype,
        chain,
        params,
    } = side;
    let mut fold = Fold {
        params,
        graph,
        side: name,
        dtype,
        index: 0,
    };
    fold.layers(&chain.layers, true)?;
    Ok(fold.graph)
}

struct Fold<'p> {
    params: &'p [f32],
    graph: FloatGraph,
    side: &'static str,
    dtype: Dtype,
    index: usize,
}

impl Fold<'_> {
    /// The value that the last operator makes.
    fn last(&self) -> u16 {
        self.graph.ops.len() as u16
    }

    fn error(&self, reason: &'static str) -> ExportError {
        ExportError::Layer {
            side: self.side,
            index: self.index,
            reason,
        }
    }

    fn layers(&mut self, layers: &[Layer], outermost: bool) -> Result<(), ExportError> {
        // Only the values that these layers made may be changed: others are read elsewhere too.
        let first = self.graph.ops.len();
        let mut rest = layers;
        while let Some((layer, behind)) = rest.split_first() {
            if outermost {
                self.index = layers.len() - rest.len();
            }
            rest = behind;
            let input = self.last();
            match layer {
                Layer::Conv2d(_)
                | Layer::MaskedConv2d(_)
                | Layer::Linear(_)
                | Layer::SpectralNorm(_) => {
                    let conv = PlainConv::of(layer, self.params);
                    let op = conv.map(|conv| FloatOp::Conv(convolution(input, &conv)));
                    self.graph.ops.extend(op);
                }
                Layer::ConvTranspose2d(conv) => {
                    let op = transposed(input, conv, self.params);
                    let reason = "only transposed convolutions of stride 2, kernel 2 to 4 and pad 0 or 1 deploy";
                    let op = op.ok_or_else(|| self.error(reason))?;
                    self.graph.ops.push(FloatOp::UpConv(op));
                }
                Layer::Upsample(up) => {
                    let conv =
                        rest.split_first()
                            .filter(|_| up.factor == 2)
                            .and_then(|(next, behind)| {
                                Some((PlainConv::of(next, self.params)?, behind))
                            });
                    let Some((conv, behind)) = conv else {
                        let reason = "upsampling deploys by factor 2 with a 3x3 conv behind it";
                        return Err(self.error(reason));
                    };
                    let op = upsampled(input, &conv);
                    let reason = "the conv behind an upsampling must be 3x3 with stride 1";
                    let op = op.ok_or_else(|| self.error(reason))?;
                    self.graph.ops.push(FloatOp::UpConv(op));
                    rest = behind;
                }
                Layer::Relu(_) => self.relu(first),
                Layer::Residual(block) => {
                    self.layers(&block.inner.layers, false)?;
                    let (branch, relu) = (self.last(), block.relu);
                    let mut skip = input;
                    if let Some(shortcut) = &block.shortcut {
                        let conv = PlainConv::of_conv2d(shortcut, self.params);
                        self.graph
                            .ops
                            .push(FloatOp::Conv(convolution(input, &conv)));
                        skip = self.last();
                    }
                    self.graph.ops.push(FloatOp::Add {
                        input: branch,
                        skip,
                        relu,
                    });
                }
                Layer::BatchNorm(norm) => self.batch_norm(norm, first)?,
                // Nothing in use.
                Layer::Dropout(_) => {}
                Layer::GroupNorm(norm) => self.group_norm(norm)?,
                Layer::Attention(block) => self.attention(block)?,
                Layer::Activation(curve) => {
                    let kind = match *curve {
                        Activation::Tanh => ActivationKind::Tanh,
                        Activation::Sigmoid => ActivationKind::Sigmoid,
                        Activation::Silu => ActivationKind::Silu,
                        Activation::LeakyRelu { slope } => ActivationKind::LeakyRelu {
                            slope: slope as f32,
                        },
                    };
                    self.graph.ops.push(FloatOp::Activation { input, kind });
                }
                Layer::PixelShuffle(l) => {
                    let factor = l.factor as u8;
                    self.graph.ops.push(FloatOp::DepthToSpace { input, factor });
                }
                Layer::PixelUnshuffle(l) => {
                    let factor = l.factor as u8;
                    self.graph.ops.push(FloatOp::SpaceToDepth { input, factor });
                }
                Layer::AveragePool(_)
                | Layer::AverageUnpool(_)
                | Layer::MaxPool(_)
                | Layer::MaxUnpool(_) => {
                    return Err(self.error("pooling does not deploy: use a conv of stride 2"));
                }
                Layer::Embedding(_) => {
                    return Err(self.error("an embedding does not deploy: the codebook is one"));
                }
            }
        }
        Ok(())
    }

    fn group_norm(&mut self, norm: &GroupNorm) -> Result<(), ExportError> {
        if self.dtype == Dtype::I8 {
            let reason = "group normalisation does not run in i8; export with --dtype f16, or train \
                          without norm layers";
            return Err(self.error(reason));
        }
        let eps = norm.spec.eps as f32;
        if !eps.is_normal() {
            return Err(self.error("group normalisation deploys with an eps of 1.2e-38 or more"));
        }
        let op = FloatOp::GroupNorm(FloatNorm {
            input: self.last(),
            groups: norm.spec.groups as u16,
            eps,
            silu: norm.spec.silu,
            gain: self.params[norm.weight.clone()].to_vec(),
            bias: self.params[norm.bias.clone()].to_vec(),
        });
        self.graph.ops.push(op);
        Ok(())
    }

    /// y = x + out(attend(norm(x))).
    fn attention(&mut self, block: &Attention) -> Result<(), ExportError> {
        if self.dtype == Dtype::I8 {
            let reason =
                "attention does not run in i8; export with --dtype f16, or train without it";
            return Err(self.error(reason));
        }
        let skip = self.last();
        self.group_norm(&block.norm)?;
        let normed = self.last();
        let conv = |l| convolution(normed, &PlainConv::of_conv2d(l, self.params));
        let [mut q, k, mut v] = block.projections.each_ref().map(conv);
        let mut out = conv(&block.out);
        let scale = ((q.cout / block.heads) as f32).sqrt().recip();
        let numbers = q.weight.iter_mut().chain(&mut q.bias);
        numbers.for_each(|number| *number *= scale);
        let (keys, values) = if block.heads == 1 {
            let [_, key, _] = &block.projections;
            // As the trainer keeps it, [cin, cout], it is K'.
            compose(&mut q, &self.params[key.weight.clone()], &vec![0.0; k.cout]);
            compose(&mut v, &out.weight, &out.bias);
            out = v;
            (normed, normed)
        } else {
            let keys = self.push(FloatOp::Conv(k));
            (keys, self.push(FloatOp::Conv(v)))
        };
        let queries = self.push(FloatOp::Conv(q));
        out.input = self.push(FloatOp::Attention {
            queries,
            keys,
            values,
            heads: block.heads as u16,
        });
        let input = self.push(FloatOp::Conv(out));
        let relu = false;
        self.push(FloatOp::Add { input, skip, relu });
        Ok(())
    }

    /// Appends an operator and says which value it makes.
    fn push(&mut self, op: FloatOp) -> u16 {
        self.graph.ops.push(op);
        self.last()
    }

    /// A batch normalisation becomes part of the convolution before it.
    fn batch_norm(&mut self, norm: &BatchNorm, first: usize) -> Result<(), ExportError> {
        let own = self.graph.ops.len() > first;
        let (weight, bias) = match self.graph.ops.last_mut().filter(|_| own) {
            Some(FloatOp::Conv(c)) if !c.relu => (&mut c.weight, &mut c.bias),
            Some(FloatOp::UpConv(c)) if !c.relu => (&mut c.weight, &mut c.bias),
            _ => {
                let reason = "batchnorm deploys right behind a convolution without ReLU";
                return Err(self.error(reason));
            }
        };
        let scales = norm.in_use(self.params);
        let taps = weight.len() / bias.len();
        let channels = weight.chunks_exact_mut(taps).zip(bias);
        for ((weight, bias), &[scale, shift]) in channels.zip(scales.iter().cycle()) {
            weight.iter_mut().for_each(|w| *w *= scale);
            *bias = *bias * scale + shift;
        }
        Ok(())
    }

    /// A ReLU becomes part of the operator before it, if that belongs to the same list of layers.
    fn relu(&mut self, first: usize) {
        let input = self.last();
        let own = self.graph.ops.len() > first;
        match self.graph.ops.last_mut().filter(|_| own) {
            Some(FloatOp::Conv(conv)) => conv.relu = true,
            Some(FloatOp::UpConv(conv)) => conv.relu = true,
            Some(FloatOp::Add { relu, .. }) => *relu = true,
            _ => self.graph.ops.push(FloatOp::Relu { input }),
        }
    }
}

fn bias_of(range: &Range<usize>, params: &[f32], cout: usize) -> Vec<f32> {
    if range.is_empty() {
        vec![0.0; cout]
    } else {
        params[range.clone()].to_vec()
    }
}

/// What every kind of convolution is once training is over.
struct PlainConv<'p> {
    spec: ConvSpec,
    /// `[kernel, kernel, cin, cout]`.
    weight: Cow<'p, [f32]>,
    bias: Vec<f32>,
}

impl<'p> PlainConv<'p> {
    /// The layer as a convolution, if it is one.
    fn of(layer: &Layer, params: &'p [f32]) -> Option<PlainConv<'p>> {
        let (spec, bias, weight) = match layer {
            Layer::Conv2d(l) => return Some(PlainConv::of_conv2d(l, params)),
            Layer::Linear(l) => (pointwise(l), &l.bias, params[l.weight.clone()].into()),
            Layer::MaskedConv2d(l) => (l.conv.spec, &l.conv.bias, l.effective(params).into()),
            Layer::SpectralNorm(l) => {
                let (spec, bias) = match &l.inner {
                    Normed::Conv2d(l) => (l.spec, &l.bias),
                    Normed::Linear(l) => (pointwise(l), &l.bias),
                };
                (spec, bias, l.effective(params).into())
            }
            _ => return None,
        };
        let bias = bias_of(bias, params, spec.cout);
        Some(PlainConv { spec, weight, bias })
    }

    fn of_conv2d(l: &Conv2d, params: &'p [f32]) -> PlainConv<'p> {
        PlainConv {
            spec: l.spec,
            weight: params[l.weight.clone()].into(),
            bias: bias_of(&l.bias, params, l.spec.cout),
        }
    }
}

/// A linear layer as the 1x1 convolution that it is.
fn pointwise(linear: &Linear) -> ConvSpec {
    let s = linear.spec;
    ConvSpec {
        cin: s.cin,
        cout: s.cout,
        kernel: 1,
        stride: 1,
        before: 0,
        after: 0,
        relu: s.relu,
        bias: s.bias,
    }
}

fn convolution(input: u16, conv: &PlainConv<'_>) -> FloatConv {
    let (s, w) = (conv.spec, &conv.weight);
    let taps = s.kernel * s.kernel * s.cin;
    let weight = (0..s.cout)
        .flat_map(|co| (0..taps).map(move |t| w[t * s.cout + co]))
        .collect();
    FloatConv {
        input,
        cout: s.cout,
        kernel: s.kernel as u8,
        stride: s.stride as u8,
        before: s.before as u8,
        after: s.after as u8,
        relu: s.relu,
        weight,
        bias: conv.bias.clone(),
    }
}

/// Where tap `k` of a 3-row kernel on the upsampled map falls in the 2-row kernel of phase `p`:
/// upsampled row 2y + p - 1 + k is input row y - 1 + p + result.
fn upsampled_tap(p: usize, k: usize) -> usize {
    (p + k).div_ceil(2) - p
}

fn upsampled(input: u16, conv: &PlainConv<'_>) -> Option<FloatUpConv> {
    let (s, w) = (conv.spec, &conv.weight);
    if (s.kernel, s.stride, s.before, s.after) != (3, 1, 1, 1) {
        return None;
    }
    let mut phases = Phases::new(s.cin, s.cout);
    for py in 0..2 {
        for px in 0..2 {
            for (ky, kx) in (0..9).map(|i| (i / 3, i % 3)) {
                let at = [upsampled_tap(py, ky), upsampled_tap(px, kx)];
                phases.add([py, px], at, |ci, co| {
                    w[((ky * 3 + kx) * s.cin + ci) * s.cout + co]
                });
            }
        }
    }
    Some(phases.finish(input, s.relu, conv.bias.clone()))
}

/// Output row o gets input row i through tap o - 2i + before. For o = 2y + p and i = y - 1 + p + j that
/// is tap 2 - p - 2j + before, where the kernel has one.
fn transposed(input: u16, conv: &ConvTranspose2d, params: &[f32]) -> Option<FloatUpConv> {
    let s = conv.spec;
    if s.stride != 2 {
        return None;
    }
    // Two rows of the input reach an output row only while at most one row is cut away on each side.
    let before = s.before();
    if before > 1 || s.kernel - 2 - before > 1 {
        return None;
    }
    let tap = |p: usize, j: usize| {
        (2 + before)
            .checked_sub(p + 2 * j)
            .filter(|&k| k < s.kernel)
    };
    let w = &params[conv.weight.clone()];
    let mut phases = Phases::new(s.cin, s.cout);
    for (py, px, jy, jx) in (0..16).map(|i| (i / 8, i / 4 % 2, i / 2 % 2, i % 2)) {
        if let (Some(ky), Some(kx)) = (tap(py, jy), tap(px, jx)) {
            let at = |ci: usize| ((ci * s.kernel + ky) * s.kernel + kx) * s.cout;
            phases.add([py, px], [jy, jx], |ci, co| w[at(ci) + co]);
        }
    }
    Some(phases.finish(input, s.relu, bias_of(&conv.bias, params, s.cout)))
}

/// Weights of four 2x2 convolutions being summed up.
struct Phases {
    cin: usize,
    cout: usize,
    weight: Vec<f32>,
}

impl Phases {
    fn new(cin: usize, cout: usize) -> Phases {
        Phases {
            cin,
            cout,
            weight: vec![0.0; 16 * cin * cout],
        }
    }

    fn add(&mut self, [py, px]: [usize; 2], [y, x]: [usize; 2], w: impl Fn(usize, usize) -> f32) {
        for co in 0..self.cout {
            let at = ((((2 * py + px) * self.cout + co) * 2 + y) * 2 + x) * self.cin;
            for (ci, v) in self.weight[at..at + self.cin].iter_mut().enumerate() {
                *v += w(ci, co);
            }
        }
    }

    fn finish(self, input: u16, relu: bool, bias: Vec<f32>) -> FloatUpConv {
        let Phases { cout, weight, .. } = self;
        FloatUpConv {
            input,
            cout,
            relu,
            weight,
            bias: bias.repeat(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LayerConfig;
    use crate::model;
    use crate::nn::{Tape, Weights};
    use ndarray::Array4;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::BTreeMap;

    #[test]
    fn taps_of_an_upsampled_map_fall_on_the_rows_they_copy() {
        for p in 0..2 {
            for k in 0..3 {
                let (y, upsampled) = (5, 2 * 5 + p + k - 1);
                assert_eq!(
                    upsampled / 2,
                    y - 1 + p + upsampled_tap(p, k),
                    "phase {p}, tap {k}"
                );
            }
        }
    }

    /// One picture of positions that each have one channel at 1 makes a layer of one tap write its
    /// weights out.
    #[test]
    fn folded_weights_are_those_that_the_trainer_uses() {
        let configs = [
            "[layers.linear]\nout = 6\nbias = false\nspectral = true",
            "[layers.conv]\nout = 6\nkernel = 1\nbias = false\nspectral = true",
            "[layers.conv]\nout = 6\nkernel = 1\nbias = false\nmask = \"b\"\ngroups = 2",
        ];
        for text in configs {
            let mut parsed: BTreeMap<String, LayerConfig> = toml::from_str(text).unwrap();
            let config = [parsed.remove("layers").unwrap()];
            let (chain, table) = model::chain(&config, 4).unwrap();
            let params: Vec<f32> = table.init(&mut ChaCha8Rng::seed_from_u64(2));
            let mut panels = Vec::new();
            let p = Weights::in_use(&table, &[&chain], &params, &mut panels);
            let x = Array4::from_shape_fn((1, 1, 4, 4), |(_, _, x, c)| f32::from(x == c));
            let used = chain.forward(&p, x, &mut Tape::off());
            let side = Side {
                name: "encoder",
                dtype: Dtype::F32,
                chain: &chain,
                params: &params,
            };
            let graph = super::chain(side, FloatGraph::default()).unwrap();
            let [FloatOp::Conv(conv)] = &graph.ops[..] else {
                panic!("{text}: {graph:?}");
            };
            for ((_, _, ci, co), &w) in used.indexed_iter() {
                assert!((conv.weight[co * 4 + ci] - w).abs() < 1e-6, "{text}");
            }
            assert_ne!(used.as_slice().unwrap(), &params[..24], "{text}: as kept");
        }
    }
}
