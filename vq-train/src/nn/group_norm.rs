//! Group normalisation (Wu and He 2018), with SiLU on its output if asked for.
//!
//! Over the N values of a picture's group of channels: x^ = (x - mean) / sqrt(var + eps),
//! u = gain x^ + bias. With g = gain du, and sums over the group,
//! dx = (g - sum g / N - x^ sum (g x^) / N) / sqrt(var + eps).

use super::conv2d::{pictures, pictures_mut};
use super::normalize::{PerChannel, Sums, gradient_sums, input_gradient, moments, scale};
use super::params::place;
use super::{Init, ParamTable, Role, Scalar, Tape, Weights};
use ndarray::Array4;
use std::ops::Range;

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

impl GroupNormSpec {
    /// Groups, where a configuration names none: VQ-GAN's 32, or fewer where channels are few.
    pub fn usual_groups(channels: usize) -> usize {
        channels.min(32)
    }
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

    /// `[n, h, w, c]` to the same shape.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let GroupNormSpec { groups, silu, .. } = self.spec;
        let mut y = tape.map(x.dim());
        let mut kept = tape.buffer(x.dim().0 * groups * 2);
        let each = pictures(&x).zip(pictures_mut(&mut y));
        for ((xi, yi), kept) in each.zip(kept.chunks_exact_mut(groups * 2)) {
            self.measure(xi, kept, tape);
            let numbers = PerChannel::new(self.spec.channels, tape, |c| {
                let Group { mean, factor } = self.group(kept, c);
                let scale = p.values[self.weight.start + c].wide() * factor;
                let shift = p.values[self.bias.start + c].wide() - mean * scale;
                [T::of(scale), T::of(shift)]
            });
            scale(xi, &numbers, silu, yi);
            numbers.recycle(tape);
        }
        tape.push_values(kept);
        tape.push_input(x);
        y
    }

    /// dy `[n, h, w, c]` to dx of the same shape.
    pub fn backward<T: Scalar>(
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
        let x = tape.pop_input();
        let kept = tape.pop_values();
        let each = pictures(&x).zip(pictures_mut(&mut dy));
        for ((xi, dyi), kept) in each.zip(kept.chunks_exact(groups * 2)) {
            let numbers = PerChannel::new(channels, tape, |c| {
                let Group { mean, factor } = self.group(kept, c);
                let (gain, bias) = (self.weight.start + c, self.bias.start + c);
                let (gain, bias) = (p.values[gain], p.values[bias]);
                [T::of(factor), T::of(-mean * factor), gain, bias]
            });
            let sums = gradient_sums(xi, channels, &numbers, silu, dyi, tape);
            numbers.recycle(tape);
            add(&sums.second, place(grads, &self.weight));
            add(&sums.first, place(grads, &self.bias));
            let numbers = self.input_numbers(p, &sums, kept, xi.len() / groups, tape);
            input_gradient(xi, &numbers, dyi);
            numbers.recycle(tape);
        }
        tape.recycle_buffer(kept);
        tape.recycle(x);
        dy
    }

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

    /// dx as p du + q x + s, for groups of n values.
    fn input_numbers<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        sums: &Sums,
        kept: &[T],
        n: usize,
        tape: &mut Tape<T>,
    ) -> PerChannel<T, 3> {
        let size = self.spec.channels / self.spec.groups;
        let gains = &p.values[self.weight.clone()];
        // Of a channel's group: the sums of g and of g x^, over N.
        let mean = |of: &[f64], c: usize| {
            let first = c / size * size;
            let own = first..first + size;
            let terms = of[own.clone()].iter().zip(&gains[own]);
            terms.map(|(sum, gain)| sum * gain.wide()).sum::<f64>() / n as f64
        };
        PerChannel::new(self.spec.channels, tape, |c| {
            let Group { mean: m, factor } = self.group(kept, c);
            let q = -factor * factor * mean(&sums.second, c);
            let s = -factor * mean(&sums.first, c) - m * q;
            [T::of(gains[c].wide() * factor), T::of(q), T::of(s)]
        })
    }
}

/// Adds sums to gradients.
pub(super) fn add<T: Scalar>(sums: &[f64], grads: &mut [T]) {
    let both = grads.iter_mut().zip(sums);
    both.for_each(|(grad, &sum)| *grad += T::of(sum));
}
