//! Batch normalisation (Ioffe and Szegedy 2015): in training by the statistics of the whole batch, in
//! use by their running averages.
//!
//! Over the N values of a channel: x^ = (x - mean) / sqrt(var + eps), y = gain x^ + bias, and
//! dx = gain (dy - sum dy / N - x^ sum (dy x^) / N) / sqrt(var + eps). The running averages follow the
//! mean and the unbiased variance, var N / (N - 1), as PyTorch has it.

use super::builder::{BuildError, Builder, Configured};
use super::chunks::{Worker, on_each};
use super::group_norm::add;
use super::layer::{Layer, Learnt};
use super::map::{flat, flat_mut};
use super::normalize::{InputGradient, PerChannel, Sums, gradient_sums, moments, scale};
use super::params::{Init, ParamTable, Role, place};
use super::scalar::Scalar;
use super::tape::{Cache, Tape};
use super::weights::Weights;
use ndarray::Array4;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// Batch normalisation in a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchNormConfig {
    /// Share of a batch in the running averages.
    pub momentum: f64,
    /// Added to the variance.
    pub eps: f64,
}

impl Default for BatchNormConfig {
    fn default() -> Self {
        BatchNormConfig {
            momentum: 0.1,
            eps: 1e-5,
        }
    }
}

impl<L: From<BatchNorm>> Configured<L> for BatchNormConfig {
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError> {
        builder.share("momentum", self.momentum)?;
        builder.eps(self.eps)?;
        let spec = BatchNormSpec {
            channels: builder.shape.channels,
            momentum: self.momentum,
            eps: self.eps,
        };
        let layer = BatchNorm::new(spec, &builder.name, builder.table);
        builder.push(layer);
        Ok(())
    }
}

/// What a batch normalisation is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNormSpec {
    /// Channels.
    pub channels: usize,
    /// Share of a batch's statistics in the running averages.
    pub momentum: f64,
    /// Added to the variance.
    pub eps: f64,
}

/// A batch normalisation with its place in the parameter vector.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// Sizes.
    pub spec: BatchNormSpec,
    /// Gain of each channel.
    pub weight: Range<usize>,
    /// Bias of each channel.
    pub bias: Range<usize>,
    /// Running mean of each channel.
    pub mean: Range<usize>,
    /// Running variance of each channel.
    pub variance: Range<usize>,
}

/// What normalises a batch: mean and variance of each channel, and over how many positions they were measured.
///
/// All chunks share the numbers `[positions, means.., variances..]`.
#[derive(Debug, Clone)]
struct Statistics(Arc<[f64]>);

impl Statistics {
    fn new(
        positions: usize,
        means: impl Iterator<Item = f64>,
        variances: impl Iterator<Item = f64>,
    ) -> Statistics {
        let numbers = std::iter::once(positions as f64).chain(means);
        Statistics(numbers.chain(variances).collect())
    }

    fn positions(&self) -> f64 {
        self.0[0]
    }

    fn means(&self) -> &[f64] {
        &self.0[1..=self.0.len() / 2]
    }

    fn variances(&self) -> &[f64] {
        &self.0[self.0.len() / 2 + 1..]
    }
}

/// A chunk in the backward pass, and the sums of dy and of dy x^ over it.
struct Back<T> {
    x: Array4<T>,
    dy: Array4<T>,
    sums: Sums,
}

impl BatchNorm {
    /// Enters `NAME.weight`, `NAME.bias`, `NAME.running_mean` and `NAME.running_var`.
    pub fn new(spec: BatchNormSpec, name: &str, table: &mut ParamTable) -> Self {
        let mut add = |part: &str, init, role| {
            table.add(format!("{name}.{part}"), &[spec.channels], init, role)
        };
        let running = Role::Statistic {
            rate: spec.momentum,
        };
        BatchNorm {
            spec,
            weight: add("weight", Init::One, Role::Bias),
            bias: add("bias", Init::Zero, Role::Bias),
            mean: add("running_mean", Init::Zero, running),
            variance: add("running_var", Init::One, running),
        }
    }

    /// What it is in use: scale and shift of each channel.
    pub fn in_use<T: Scalar>(&self, params: &[T]) -> Vec<[T; 2]> {
        let statistics = self.running(params);
        let channels = 0..self.spec.channels;
        channels
            .map(|c| self.scale(params, &statistics, c))
            .collect()
    }

    /// Statistics of a batch from its sums of x and x^2.
    fn measured(&self, sums: &Sums, positions: usize) -> Statistics {
        let n = positions as f64;
        let means = sums.first.iter().map(|first| first / n);
        let both = sums.first.iter().zip(&sums.second);
        let variances = both.map(|(first, second)| (second / n - (first / n).powi(2)).max(0.0));
        Statistics::new(positions, means, variances)
    }

    /// The running averages as statistics.
    fn running<T: Scalar>(&self, params: &[T]) -> Statistics {
        let wide = |range: &Range<usize>| params[range.clone()].iter().map(|v| v.wide());
        Statistics::new(0, wide(&self.mean), wide(&self.variance))
    }

    /// 1 / sqrt(var + eps).
    fn factor(&self, statistics: &Statistics, channel: usize) -> f64 {
        1.0 / (statistics.variances()[channel] + self.spec.eps).sqrt()
    }

    /// y = gain x^ + bias as scale and shift of x.
    fn scale<T: Scalar>(&self, params: &[T], statistics: &Statistics, c: usize) -> [T; 2] {
        let scale = params[self.weight.start + c].wide() * self.factor(statistics, c);
        let shift = params[self.bias.start + c].wide() - statistics.means()[c] * scale;
        [T::of(scale), T::of(shift)]
    }

    /// y = gain x^ + bias; keeps x and the statistics.
    fn normalise<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        statistics: &Statistics,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let numbers = PerChannel::new(self.spec.channels, tape, |c| {
            self.scale(p.values, statistics, c)
        });
        let mut y = tape.map(x.dim());
        scale(flat(&x), &numbers, false, flat_mut(&mut y));
        numbers.recycle(tape);
        tape.push(Cache::Map(x));
        tape.push(Cache::Shared(Arc::clone(&statistics.0)));
        y
    }

    /// The sums of dy and of dy x^ over a chunk.
    fn gradient_sums<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        mut dy: Array4<T>,
        statistics: &Statistics,
        tape: &mut Tape<T>,
    ) -> Back<T> {
        let (x, channels) = (tape.pop_map(), self.spec.channels);
        let numbers = PerChannel::new(channels, tape, |c| {
            let factor = self.factor(statistics, c);
            let shift = -statistics.means()[c] * factor;
            let (gain, bias) = (self.weight.start + c, self.bias.start + c);
            [T::of(factor), T::of(shift), p.values[gain], p.values[bias]]
        });
        let sums = gradient_sums(flat(&x), channels, &numbers, false, flat_mut(&mut dy), tape);
        numbers.recycle(tape);
        Back { x, dy, sums }
    }

    /// Adds the gradients of gain and bias, and puts the statistics that the running ones follow.
    fn add_gradients<T: Scalar>(&self, sums: &Sums, statistics: &Statistics, grads: &mut [T]) {
        add(&sums.second, place(grads, &self.weight));
        add(&sums.first, place(grads, &self.bias));
        let n = statistics.positions();
        let unbiased = n / (n - 1.0).max(1.0);
        let mean = place(grads, &self.mean).iter_mut().zip(statistics.means());
        mean.for_each(|(to, &mean)| *to = T::of(mean));
        let variance = place(grads, &self.variance).iter_mut();
        let variance = variance.zip(statistics.variances());
        variance.for_each(|(to, &variance)| *to = T::of(variance * unbiased));
    }

    /// dx of a chunk, by the sums over the whole batch.
    fn input_gradient<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        back: Back<T>,
        sums: &Sums,
        statistics: &Statistics,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let Back { x, mut dy, .. } = back;
        let n = statistics.positions();
        // dx = factor gain (dy - sum dy / n - x^ sum (dy x^) / n), with x^ = factor (x - mean).
        let channels = self.spec.channels;
        InputGradient::apply(flat(&x), flat_mut(&mut dy), channels, tape, |c| {
            let factor = self.factor(statistics, c);
            let by_du = p.values[self.weight.start + c].wide() * factor;
            let by_x = -by_du * factor * sums.second[c] / n;
            InputGradient {
                by_du,
                by_x,
                constant: -by_du * sums.first[c] / n - statistics.means()[c] * by_x,
            }
        });
        tape.recycle(x);
        dy
    }
}

impl Layer for BatchNorm {
    fn kind(&self) -> &'static str {
        "batchnorm"
    }

    /// `[n, h, w, c]` to the same shape; a recording tape takes the map for the whole batch.
    fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let statistics = if tape.trains() {
            let sums = moments(flat(&x), self.spec.channels, tape);
            self.measured(&sums, positions(&x))
        } else {
            self.running(p.values)
        };
        self.normalise(p, x, &statistics, tape)
    }

    /// dy `[n, h, w, c]` of the whole batch to dx of the same shape.
    fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let statistics = Statistics(tape.pop_shared());
        let back = self.gradient_sums(p, dy, &statistics, tape);
        self.add_gradients(&back.sums, &statistics, grads);
        let sums = back.sums.clone();
        self.input_gradient(p, back, &sums, &statistics, tape)
    }

    fn learnt(&self) -> Learnt {
        Learnt::Other
    }

    fn spans_batch(&self) -> bool {
        true
    }

    fn forward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let channels = self.spec.channels;
        if !workers.iter().all(|w| w.tape.trains()) {
            return on_each(maps, workers, |x, w| self.forward(p, x, &mut w.tape));
        }
        let all = maps.iter().map(positions).sum();
        let measured = on_each(maps, workers, |x, w| {
            let sums = moments(flat(&x), channels, &mut w.tape);
            (x, sums)
        });
        let sums = total(channels, measured.iter().map(|(_, sums)| sums));
        let statistics = self.measured(&sums, all);
        on_each(measured, workers, |(x, _), w| {
            self.normalise(p, x, &statistics, &mut w.tape)
        })
    }

    fn backward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        // All chunks have kept the same.
        let popped = workers.iter_mut().map(|w| w.tape.pop_shared());
        let Some(statistics) = popped.last().map(Statistics) else {
            return maps;
        };
        let backs = on_each(maps, workers, |dy, w| {
            self.gradient_sums(p, dy, &statistics, &mut w.tape)
        });
        let sums = total(self.spec.channels, backs.iter().map(|back| &back.sums));
        self.add_gradients(&sums, &statistics, &mut workers[0].grads);
        on_each(backs, workers, |back, w| {
            self.input_gradient(p, back, &sums, &statistics, &mut w.tape)
        })
    }
}

/// Sums over all chunks, in their order.
fn total<'s>(channels: usize, chunks: impl Iterator<Item = &'s Sums>) -> Sums {
    chunks.fold(Sums::zero(channels), |mut all, sums| {
        all.add(sums);
        all
    })
}

fn positions<T: Scalar>(x: &Array4<T>) -> usize {
    let (n, h, w, _) = x.dim();
    n * h * w
}
