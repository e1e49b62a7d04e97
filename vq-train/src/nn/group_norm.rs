//! Group normalisation (Wu and He 2018), with SiLU on its output if asked for.
//!
//! Over the N values of a picture's group of channels: x^ = (x - mean) / sqrt(var + eps),
//! u = gain x^ + bias. With g = gain du, and sums over the group,
//! dx = (g - sum g / N - x^ sum (g x^) / N) / sqrt(var + eps).

use super::builder::{BuildError, Builder, Configured};
use super::layer::{Layer, Learnt};
use super::map::{pictures, pictures_mut};
use super::normalize::{InputGradient, PerChannel, gradient_sums, moments, scale};
use super::params::{Init, ParamTable, Role, place};
use super::scalar::Scalar;
use super::tape::{Cache, Tape};
use super::weights::Weights;
use ndarray::Array4;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Group normalisation in a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupNormConfig {
    /// Groups of channels; 32 without it, or as many as there are channels.
    pub groups: Option<usize>,
    /// Added to the variance.
    pub eps: f64,
    /// SiLU on the output.
    pub silu: bool,
}

impl Default for GroupNormConfig {
    fn default() -> Self {
        GroupNormConfig {
            groups: None,
            eps: 1e-6,
            silu: false,
        }
    }
}

impl GroupNormConfig {
    /// Checks the configuration, and says what it comes to for the map that comes in.
    pub(super) fn spec<L>(&self, builder: &Builder<'_, L>) -> Result<GroupNormSpec, BuildError> {
        let channels = builder.shape.channels;
        // VQ-GAN's 32, or fewer where channels are few.
        let groups = self.groups.unwrap_or(channels.min(32));
        builder.positive(&[("groups", groups)])?;
        builder.eps(self.eps)?;
        builder.channels_divide(groups, &format!("into {groups} groups"))?;
        Ok(GroupNormSpec {
            channels,
            groups,
            eps: self.eps,
            silu: self.silu,
        })
    }
}

impl<L: From<GroupNorm>> Configured<L> for GroupNormConfig {
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError> {
        let spec = self.spec(builder)?;
        let layer = GroupNorm::new(spec, &builder.name, builder.table);
        builder.push(layer);
        Ok(())
    }
}

/// What a group normalisation is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormSpec {
    /// Channels.
    pub channels: usize,
    /// Groups of neighbouring channels; divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// SiLU on the output, fused.
    pub silu: bool,
}

/// A group normalisation with its place in the parameter vector.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    /// Sizes.
    pub spec: GroupNormSpec,
    /// Gain of each channel.
    pub weight: Range<usize>,
    /// Bias of each channel.
    pub bias: Range<usize>,
}

/// Of one group: the mean, and 1 / sqrt(var + eps).
#[derive(Debug, Clone, Copy)]
struct Group {
    mean: f64,
    factor: f64,
}

impl GroupNorm {
    /// Enters the parameters `NAME.weight` and `NAME.bias`.
    pub fn new(spec: GroupNormSpec, name: &str, table: &mut ParamTable) -> Self {
        let shape = [spec.channels];
        GroupNorm {
            spec,
            weight: table.add(format!("{name}.weight"), &shape, Init::One, Role::Bias),
            bias: table.add(format!("{name}.bias"), &shape, Init::Zero, Role::Bias),
        }
    }
}

impl Layer for GroupNorm {
    fn kind(&self) -> &'static str {
        "groupnorm"
    }

    /// `[n, h, w, c]` to the same shape.
    fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let GroupNormSpec {
            channels,
            groups,
            silu,
            ..
        } = self.spec;
        let (gains, biases) = (&p.values[self.weight.clone()], &p.values[self.bias.clone()]);
        let mut y = tape.map(x.dim());
        let mut kept = tape.buffer(x.dim().0 * groups * 2);
        let each = pictures(&x).zip(pictures_mut(&mut y));
        for ((xi, yi), kept) in each.zip(kept.chunks_exact_mut(groups * 2)) {
            self.measure(xi, kept, tape);
            let numbers = PerChannel::new(channels, tape, |c| {
                let Group { mean, factor } = self.group(kept, c);
                let scale = gains[c].wide() * factor;
                let shift = biases[c].wide() - mean * scale;
                [T::of(scale), T::of(shift)]
            });
            scale(xi, &numbers, silu, yi);
            numbers.recycle(tape);
        }
        tape.push(Cache::Values(kept));
        tape.push(Cache::Map(x));
        y
    }

    /// dy `[n, h, w, c]` to dx of the same shape.
    fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        mut dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let GroupNormSpec {
            channels,
            groups,
            silu,
            ..
        } = self.spec;
        let (gains, biases) = (&p.values[self.weight.clone()], &p.values[self.bias.clone()]);
        let x = tape.pop_map();
        let kept = tape.pop_values();
        let each = pictures(&x).zip(pictures_mut(&mut dy));
        for ((xi, dyi), kept) in each.zip(kept.chunks_exact(groups * 2)) {
            // x^ = factor x - mean factor, u = gain x^ + bias.
            let numbers = PerChannel::new(channels, tape, |c| {
                let Group { mean, factor } = self.group(kept, c);
                [T::of(factor), T::of(-mean * factor), gains[c], biases[c]]
            });
            // dgain = sum du x^, dbias = sum du.
            let sums = gradient_sums(xi, channels, &numbers, silu, dyi, tape);
            numbers.recycle(tape);
            add(&sums.second, place(grads, &self.weight));
            add(&sums.first, place(grads, &self.bias));
            // dx = factor (gain du - mean of g - x^ mean of g x^), with x^ = factor (x - mean).
            let n = xi.len() / groups;
            InputGradient::apply(xi, dyi, channels, tape, |c| {
                let Group { mean, factor } = self.group(kept, c);
                let by_x = -factor * factor * self.group_mean(&sums.second, gains, c, n);
                InputGradient {
                    by_du: gains[c].wide() * factor,
                    by_x,
                    constant: -factor * self.group_mean(&sums.first, gains, c, n) - mean * by_x,
                }
            });
        }
        tape.recycle_buffer(kept);
        tape.recycle(x);
        dy
    }

    fn learnt(&self) -> Learnt {
        Learnt::Other
    }
}

impl GroupNorm {
    /// Mean and 1 / sqrt(var + eps) of a picture's groups, one behind the other.
    fn measure<T: Scalar>(&self, x: &[T], kept: &mut [T], tape: &mut Tape<T>) {
        let GroupNormSpec {
            channels, groups, ..
        } = self.spec;
        let sums = moments(x, channels, tape);
        let n = (x.len() / groups) as f64;
        let size = channels / groups;
        let firsts = sums.first.chunks_exact(size);
        let seconds = sums.second.chunks_exact(size);
        for ((first, second), kept) in firsts.zip(seconds).zip(kept.chunks_exact_mut(2)) {
            let mean = first.iter().sum::<f64>() / n;
            let variance = (second.iter().sum::<f64>() / n - mean * mean).max(0.0);
            kept[0] = T::of(mean);
            kept[1] = T::of(1.0 / (variance + self.spec.eps).sqrt());
        }
    }

    /// What [`GroupNorm::measure`] has kept of a channel's group.
    fn group<T: Scalar>(&self, kept: &[T], channel: usize) -> Group {
        let group = channel / (self.spec.channels / self.spec.groups);
        Group {
            mean: kept[2 * group].wide(),
            factor: kept[2 * group + 1].wide(),
        }
    }

    /// The mean of g = gain du over a channel's group of n values, from the sums of du over each channel; or of g x^,
    /// from those of du x^.
    fn group_mean<T: Scalar>(&self, sums: &[f64], gains: &[T], channel: usize, n: usize) -> f64 {
        let size = self.spec.channels / self.spec.groups;
        let first = channel / size * size;
        let own = first..first + size;
        let terms = sums[own.clone()].iter().zip(&gains[own]);
        terms.map(|(sum, gain)| sum * gain.wide()).sum::<f64>() / n as f64
    }
}

/// Adds sums to gradients.
pub(super) fn add<T: Scalar>(sums: &[f64], grads: &mut [T]) {
    let both = grads.iter_mut().zip(sums);
    both.for_each(|(grad, &sum)| *grad += T::of(sum));
}
