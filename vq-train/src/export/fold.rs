//! Folding: the trainer's layers as the core's operators, still in floats.
//!
//! A ReLU behind a convolution or a sum that nothing else reads becomes part of it, and so does a batch
//! normalisation behind a convolution: in use it is a scale and a shift of each channel. What convolutions of all
//! kinds become stands in `plain_conv.rs`.
//!
//! Attention of one head needs neither keys nor values of its own. With n the normalised map and s the
//! weights, q'(K n + k) = (K'q)'n + q'k, whose last term is the same for all positions, so that softmax drops
//! it; and as the weights sum to 1, sum s (V n + v) = V (sum s n) + v. So K becomes part of the queries'
//! convolution and V of the last one: half the matrices, and one map to keep instead of three.

use super::error::ExportError;
use super::graph::{FloatGraph, FloatNorm, FloatOp};
use super::plain_conv::{self, PlainConv};
use crate::nn::{
    Activation, AnyLayer, Attention, BatchNorm, Chain, ConvTranspose2d, GroupNorm, Layer, Residual,
    Upsample,
};
use std::borrow::Cow;
use vq_core::format::{ActivationKind, Dtype};

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

    fn error(&self, reason: impl Into<Cow<'static, str>>) -> ExportError {
        ExportError::Layer {
            side: self.side,
            index: self.index,
            reason: reason.into(),
        }
    }

    fn layers(&mut self, layers: &[AnyLayer], outermost: bool) -> Result<(), ExportError> {
        // Only the values that these layers made may be changed: others are read elsewhere too.
        let first = self.graph.ops.len();
        let mut rest = layers;
        while let Some((layer, behind)) = rest.split_first() {
            if outermost {
                self.index = layers.len() - rest.len();
            }
            rest = behind;
            match layer {
                AnyLayer::Upsample(up) => {
                    self.upsample(up, rest.first())?;
                    rest = &rest[1..];
                }
                AnyLayer::BatchNorm(norm) => self.batch_norm(norm, first)?,
                AnyLayer::Relu(_) => self.relu(first),
                layer => self.layer(layer)?,
            }
        }
        Ok(())
    }

    /// A layer that looks at no other.
    fn layer(&mut self, layer: &AnyLayer) -> Result<(), ExportError> {
        let input = self.last();
        match layer {
            AnyLayer::ConvTranspose2d(conv) => self.transposed(conv)?,
            AnyLayer::Residual(block) => self.residual(block)?,
            AnyLayer::GroupNorm(norm) => self.group_norm(norm)?,
            AnyLayer::Attention(block) => self.attention(block)?,
            AnyLayer::Activation(activation) => {
                let kind = activation_kind(*activation);
                self.push(FloatOp::Activation { input, kind });
            }
            AnyLayer::PixelShuffle(l) => {
                let factor = l.factor as u8;
                self.push(FloatOp::DepthToSpace { input, factor });
            }
            AnyLayer::PixelUnshuffle(l) => {
                let factor = l.factor as u8;
                self.push(FloatOp::SpaceToDepth { input, factor });
            }
            // In use it does nothing.
            AnyLayer::Dropout(_) => {}
            AnyLayer::AveragePool(_) | AnyLayer::MaxPool(_) => {
                return Err(self.error("pooling does not deploy: use a conv of stride 2"));
            }
            layer => {
                let Some(conv) = PlainConv::of(layer, self.params) else {
                    return Err(self.error(format!("{} does not deploy", layer.kind())));
                };
                self.push(FloatOp::Conv(conv.op(input)));
            }
        }
        Ok(())
    }

    fn transposed(&mut self, conv: &ConvTranspose2d) -> Result<(), ExportError> {
        let op = plain_conv::transposed(self.last(), conv, self.params);
        let reason =
            "only transposed convolutions of stride 2, kernel 2 to 4 and pad 0 or 1 deploy";
        let op = op.ok_or_else(|| self.error(reason))?;
        self.push(FloatOp::UpConv(op));
        Ok(())
    }

    fn upsample(&mut self, up: &Upsample, next: Option<&AnyLayer>) -> Result<(), ExportError> {
        let conv = next.filter(|_| up.factor == 2);
        let Some(conv) = conv.and_then(|next| PlainConv::of(next, self.params)) else {
            let reason = "upsampling deploys by factor 2 with a 3x3 conv behind it";
            return Err(self.error(reason));
        };
        let op = plain_conv::upsampled(self.last(), &conv);
        let reason = "the conv behind an upsampling must be 3x3 with stride 1";
        let op = op.ok_or_else(|| self.error(reason))?;
        self.push(FloatOp::UpConv(op));
        Ok(())
    }

    fn residual(&mut self, block: &Residual) -> Result<(), ExportError> {
        let mut skip = self.last();
        let from = skip;
        self.layers(&block.inner.layers, false)?;
        let (input, relu) = (self.last(), block.relu);
        if let Some(shortcut) = &block.shortcut {
            let conv = PlainConv::of_conv2d(shortcut, self.params);
            skip = self.push(FloatOp::Conv(conv.op(from)));
        }
        self.push(FloatOp::Add { input, skip, relu });
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
        self.push(op);
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
        let conv = |l| PlainConv::of_conv2d(l, self.params).op(normed);
        let [mut q, k, mut v] = block.projections.each_ref().map(conv);
        let mut out = conv(&block.out);
        let scale = ((q.out_channels / block.heads) as f32).sqrt().recip();
        let numbers = q.weight.iter_mut().chain(&mut q.bias);
        numbers.for_each(|number| *number *= scale);
        let (keys, values) = if block.heads == 1 {
            let [_, key, _] = &block.projections;
            // As the trainer keeps it, [in_channels, out_channels], it is K'.
            let transposed = &self.params[key.params.weight.clone()];
            q.compose(transposed, &vec![0.0; k.out_channels]);
            v.compose(&out.weight, &out.bias);
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

/// The core's name of an activation.
fn activation_kind(activation: Activation) -> ActivationKind {
    match activation {
        Activation::Tanh => ActivationKind::Tanh,
        Activation::Sigmoid => ActivationKind::Sigmoid,
        Activation::Silu => ActivationKind::Silu,
        Activation::LeakyRelu { slope } => ActivationKind::LeakyRelu {
            slope: slope as f32,
        },
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
