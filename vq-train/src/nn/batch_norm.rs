//! Batch normalisation (Ioffe and Szegedy 2015): in training by the statistics of the whole batch, in
//! use by their running averages.
//!
//! Over the N values of a channel: x^ = (x - mean) / sqrt(var + eps), y = gain x^ + bias, and
//! dx = gain (dy - sum dy / N - x^ sum (dy x^) / N) / sqrt(var + eps). The running averages follow the
//! mean and the unbiased variance, var N / (N - 1), as PyTorch has it.

use super::group_norm::add;
use super::normalize::{PerChannel, Sums, gradient_sums, input_gradient, moments, scale};
use super::params::place;
use super::{
    Cache, Init, ParamTable, Role, Scalar, Tape, Weights, Worker, flat, flat_mut, on_each,
};
use ndarray::Array4;
use std::ops::Range;
use std::sync::Arc;

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

/// What normalises a batch: mean and variance of each channel.
#[derive(Debug)]
pub struct Statistics {
    /// What they were measured over.
    positions: usize,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl Statistics {
    /// Bytes that they take.
    pub(super) fn len(&self) -> usize {
        (self.mean.len() + self.variance.len()) * size_of::<f64>()
    }
}

/// A chunk on its way back.
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

    /// `[n, h, w, c]` to the same shape; a recording tape takes the map for the whole batch.
    pub fn forward<T: Scalar>(
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
        self.normalise(p, x, &Arc::new(statistics), tape)
    }

    /// dy `[n, h, w, c]` of the whole batch to dx of the same shape.
    pub fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let statistics = tape.pop_statistics();
        let back = self.gradient_sums(p, dy, &statistics, tape);
        self.add_gradients(&back.sums, &statistics, grads);
        let sums = back.sums.clone();
        self.input_gradient(p, back, &sums, &statistics, tape)
    }

    /// What it is in use: scale and shift of each channel.
    pub fn in_use<T: Scalar>(&self, params: &[T]) -> Vec<[T; 2]> {
        let statistics = self.running(params);
        let channels = 0..self.spec.channels;
        channels
            .map(|c| self.scale(params, &statistics, c))
            .collect()
    }

    pub(super) fn forward_all<T: Scalar>(
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
        let statistics = Arc::new(self.measured(&sums, all));
        on_each(measured, workers, |(x, _), w| {
            self.normalise(p, x, &statistics, &mut w.tape)
        })
    }

    pub(super) fn backward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        // All chunks have kept the same.
        let popped = workers.iter_mut().map(|w| w.tape.pop_statistics());
        let Some(statistics) = popped.last() else {
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

    fn measured(&self, sums: &Sums, positions: usize) -> Statistics {
        let n = positions as f64;
        let both = sums.first.iter().zip(&sums.second);
        let variance = both.map(|(first, second)| (second / n - (first / n).powi(2)).max(0.0));
        Statistics {
            positions,
            variance: variance.collect(),
            mean: sums.first.iter().map(|first| first / n).collect(),
        }
    }

    fn running<T: Scalar>(&self, params: &[T]) -> Statistics {
        let wide = |range: &Range<usize>| {
            let values = params[range.clone()].iter();
            values.map(|v| v.wide()).collect()
        };
        Statistics {
            positions: 0,
            mean: wide(&self.mean),
            variance: wide(&self.variance),
        }
    }

    /// 1 / sqrt(var + eps).
    fn factor(&self, statistics: &Statistics, channel: usize) -> f64 {
        1.0 / (statistics.variance[channel] + self.spec.eps).sqrt()
    }

    /// y = gain x^ + bias as scale and shift of x.
    fn scale<T: Scalar>(&self, params: &[T], statistics: &Statistics, c: usize) -> [T; 2] {
        let scale = params[self.weight.start + c].wide() * self.factor(statistics, c);
        let shift = params[self.bias.start + c].wide() - statistics.mean[c] * scale;
        [T::of(scale), T::of(shift)]
    }

    /// y = gain x^ + bias; keeps x and the statistics.
    fn normalise<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        statistics: &Arc<Statistics>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let numbers = PerChannel::new(self.spec.channels, tape, |c| {
            self.scale(p.values, statistics, c)
        });
        let mut y = tape.map(x.dim());
        scale(flat(&x), &numbers, false, flat_mut(&mut y));
        numbers.recycle(tape);
        tape.push_input(x);
        tape.push(|| Cache::Statistics(Arc::clone(statistics)));
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
        let (x, channels) = (tape.pop_input(), self.spec.channels);
        let numbers = PerChannel::new(channels, tape, |c| {
            let factor = self.factor(statistics, c);
            let shift = -statistics.mean[c] * factor;
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
        let n = statistics.positions as f64;
        let unbiased = n / (n - 1.0).max(1.0);
        let mean = place(grads, &self.mean).iter_mut().zip(&statistics.mean);
        mean.for_each(|(to, &mean)| *to = T::of(mean));
        let variance = place(grads, &self.variance).iter_mut();
        let variance = variance.zip(&statistics.variance);
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
        let n = statistics.positions as f64;
        let numbers = PerChannel::new(self.spec.channels, tape, |c| {
            let factor = self.factor(statistics, c);
            let scale = p.values[self.weight.start + c].wide() * factor;
            let q = -scale * factor * sums.second[c] / n;
            let s = -scale * sums.first[c] / n - statistics.mean[c] * q;
            [T::of(scale), T::of(q), T::of(s)]
        });
        input_gradient(flat(&x), &numbers, flat_mut(&mut dy));
        numbers.recycle(tape);
        tape.recycle(x);
        dy
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
