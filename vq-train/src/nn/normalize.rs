//! What group and batch normalisation share: sums over a map's positions, channel by channel, and
//! linear functions of each channel.
//!
//! With few channels a position does not fill the vectors, so rows of several positions are worked on
//! as one. Sums run in single precision over few rows at a time, then in f64.

use super::scalar::{Scalar, sigmoid, silu_slope};
use super::simd::Loop;
use super::tape::Tape;
use std::array;

/// Values in a row at least, where there are fewer channels.
const WIDTH: usize = 128;
/// Rows that are summed in the map's own precision; they stay in L1.
const ROWS: usize = 32;

/// Values of a row: whole positions.
fn width(channels: usize) -> usize {
    channels * (WIDTH / channels).max(1)
}

/// Two sums over positions for each channel.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    pub(super) first: Vec<f64>,
    pub(super) second: Vec<f64>,
}

impl Sums {
    pub(super) fn zero(channels: usize) -> Sums {
        Sums {
            first: vec![0.0; channels],
            second: vec![0.0; channels],
        }
    }

    /// Adds those of other positions.
    pub(super) fn add(&mut self, other: &Sums) {
        let both = [
            (&mut self.first, &other.first),
            (&mut self.second, &other.second),
        ];
        for (sums, others) in both {
            sums.iter_mut().zip(others).for_each(|(a, b)| *a += b);
        }
    }

    /// Adds a row's sums, each column to its channel.
    #[inline(always)]
    fn add_row(&mut self, width: usize, column: impl Fn(usize) -> (f64, f64)) {
        let channels = self.first.len();
        for base in (0..width).step_by(channels) {
            let sums = self.first.iter_mut().zip(&mut self.second);
            for (channel, (first, second)) in sums.enumerate() {
                let (a, b) = column(base + channel);
                *first += a;
                *second += b;
            }
        }
    }
}

/// N numbers for each channel, repeated over the width of a row.
#[derive(Debug)]
pub(super) struct PerChannel<T, const N: usize> {
    values: Vec<T>,
}

impl<T: Scalar, const N: usize> PerChannel<T, N> {
    pub(super) fn new(channels: usize, tape: &mut Tape<T>, of: impl Fn(usize) -> [T; N]) -> Self {
        let width = width(channels);
        let mut values = tape.buffer(N * width);
        for channel in 0..channels {
            for (i, value) in of(channel).into_iter().enumerate() {
                let row = &mut values[i * width..(i + 1) * width];
                row[channel..]
                    .iter_mut()
                    .step_by(channels)
                    .for_each(|v| *v = value);
            }
        }
        PerChannel { values }
    }

    pub(super) fn recycle(self, tape: &mut Tape<T>) {
        tape.recycle_buffer(self.values);
    }

    fn rows(&self) -> [&[T]; N] {
        let width = self.values.len() / N;
        array::from_fn(|i| &self.values[i * width..(i + 1) * width])
    }
}

/// N rows of memory to work in.
fn scratch<T, const N: usize>(values: &mut [T]) -> [&mut [T]; N] {
    let width = values.len() / N;
    let mut rows = values.chunks_exact_mut(width);
    array::from_fn(|_| rows.next().expect("N rows"))
}

/// The sums of x and of x^2 over all positions of `x` `[positions, channels]`.
pub(super) fn moments<T: Scalar>(x: &[T], channels: usize, tape: &mut Tape<T>) -> Sums {
    let mut sums = Sums::zero(channels);
    let mut buffer = tape.buffer(3 * width(channels));
    Moments {
        x,
        scratch: scratch(&mut buffer),
        sums: &mut sums,
    }
    .run_wide();
    tape.recycle_buffer(buffer);
    sums
}

/// ```text
/// for each block of rows: m = mean of each column
///                         D = sum of x - m, Q = sum of (x - m)^2
///                         sum of x += n m + D, sum of x^2 += n m^2 + 2 m D + Q
/// ```
/// Exact for any m; with the block's mean, D and Q are so small that single precision serves them.
struct Moments<'a, T> {
    x: &'a [T],
    scratch: [&'a mut [T]; 3],
    sums: &'a mut Sums,
}

impl<T: Scalar> Loop for Moments<'_, T> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        let Moments { x, scratch, sums } = self;
        let [mean, first, second] = scratch;
        let width = mean.len();
        for block in x.chunks(ROWS * width) {
            for row in [&mut *mean, &mut *first, &mut *second] {
                row.fill(T::zero());
            }
            for row in block.chunks(width) {
                mean.iter_mut().zip(row).for_each(|(m, &v)| *m += v);
            }
            let (rows, rest) = (block.len() / width, block.len() % width);
            let (longer, others) = mean.split_at_mut(rest);
            for (columns, n) in [(longer, rows + 1), (others, rows.max(1))] {
                let share = T::of(1.0 / n as f64);
                columns.iter_mut().for_each(|m| *m *= share);
            }
            for row in block.chunks(width) {
                let sums = first.iter_mut().zip(&mut *second);
                for ((&v, &m), (d, q)) in row.iter().zip(&*mean).zip(sums) {
                    let off = v - m;
                    *d += off;
                    *q += off * off;
                }
            }
            sums.add_row(width, |column| {
                let n = (rows + usize::from(column < rest)) as f64;
                let (m, d) = (mean[column].wide(), first[column].wide());
                (n * m + d, m * (n * m + d + d) + second[column].wide())
            });
        }
    }
}

/// y = scale x + shift, and SiLU of that if asked for.
pub(super) fn scale<T: Scalar>(x: &[T], numbers: &PerChannel<T, 2>, silu: bool, y: &mut [T]) {
    let [scale, shift] = numbers.rows();
    Scale {
        x,
        scale,
        shift,
        silu,
        y,
    }
    .run_wide();
}

struct Scale<'a, T> {
    x: &'a [T],
    scale: &'a [T],
    shift: &'a [T],
    silu: bool,
    y: &'a mut [T],
}

impl<T: Scalar> Loop for Scale<'_, T> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        if self.silu {
            self.map(|v| v * sigmoid(v));
        } else {
            self.map(|v| v);
        }
    }
}

impl<T: Scalar> Scale<'_, T> {
    #[inline(always)]
    fn map(self, f: impl Fn(T) -> T) {
        let width = self.scale.len();
        let rows = self.x.chunks(width).zip(self.y.chunks_mut(width));
        for (x, y) in rows {
            let numbers = self.scale.iter().zip(self.shift);
            for ((y, &x), (&a, &b)) in y.iter_mut().zip(x).zip(numbers) {
                *y = f(x * a + b);
            }
        }
    }
}

/// The sums of du and of du x^ over all positions, where x^ = a x + b is the normalised map and
/// u = gain x^ + bias; `numbers` are a, b, gain and bias.
///
/// `dy` is du; with `silu` it is the gradient of SiLU of u, and du takes its place.
pub(super) fn gradient_sums<T: Scalar>(
    x: &[T],
    channels: usize,
    numbers: &PerChannel<T, 4>,
    silu: bool,
    dy: &mut [T],
    tape: &mut Tape<T>,
) -> Sums {
    let mut sums = Sums::zero(channels);
    let mut buffer = tape.buffer(2 * width(channels));
    GradientSums {
        x,
        numbers: numbers.rows(),
        silu,
        dy,
        scratch: scratch(&mut buffer),
        sums: &mut sums,
    }
    .run_wide();
    tape.recycle_buffer(buffer);
    sums
}

struct GradientSums<'a, T> {
    x: &'a [T],
    numbers: [&'a [T]; 4],
    silu: bool,
    dy: &'a mut [T],
    scratch: [&'a mut [T]; 2],
    sums: &'a mut Sums,
}

impl<T: Scalar> Loop for GradientSums<'_, T> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        if self.silu {
            self.add(|dy, u| *dy *= silu_slope(u));
        } else {
            self.add(|_, _| {});
        }
    }
}

impl<T: Scalar> GradientSums<'_, T> {
    #[inline(always)]
    fn add(self, through: impl Fn(&mut T, T)) {
        let [first, second] = self.scratch;
        let width = first.len();
        let [a, b, gain, bias] = self.numbers;
        let blocks = self.x.chunks(ROWS * width);
        for (x, dy) in blocks.zip(self.dy.chunks_mut(ROWS * width)) {
            first.fill(T::zero());
            second.fill(T::zero());
            for (x, dy) in x.chunks(width).zip(dy.chunks_mut(width)) {
                let numbers = a.iter().zip(b).zip(gain.iter().zip(bias));
                let sums = first.iter_mut().zip(&mut *second);
                for (((&x, dy), ((&a, &b), (&gain, &bias))), (first, second)) in
                    x.iter().zip(dy).zip(numbers).zip(sums)
                {
                    let normal = x * a + b;
                    through(dy, normal * gain + bias);
                    *first += *dy;
                    *second += *dy * normal;
                }
            }
            self.sums.add_row(width, |column| {
                (first[column].wide(), second[column].wide())
            });
        }
    }
}

/// A channel's dx as a linear function of du and x: `by_du` du + `by_x` x + `constant`.
pub(super) struct InputGradient {
    pub(super) by_du: f64,
    pub(super) by_x: f64,
    pub(super) constant: f64,
}

impl InputGradient {
    /// Puts dx in the place of du, given that of each of so many channels.
    pub(super) fn apply<T: Scalar>(
        x: &[T],
        du: &mut [T],
        channels: usize,
        tape: &mut Tape<T>,
        of: impl Fn(usize) -> InputGradient,
    ) {
        let numbers = PerChannel::new(channels, tape, |c| {
            let of = of(c);
            [of.by_du, of.by_x, of.constant].map(T::of)
        });
        let rows = numbers.rows();
        LinearInPlace { x, rows, du }.run_wide();
        numbers.recycle(tape);
    }
}

struct LinearInPlace<'a, T> {
    x: &'a [T],
    /// p, q and s of du <- p du + q x + s.
    rows: [&'a [T]; 3],
    du: &'a mut [T],
}

impl<T: Scalar> Loop for LinearInPlace<'_, T> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        let [p, q, s] = self.rows;
        let width = p.len();
        for (x, du) in self.x.chunks(width).zip(self.du.chunks_mut(width)) {
            let numbers = p.iter().zip(q).zip(s);
            for ((du, &x), ((&p, &q), &s)) in du.iter_mut().zip(x).zip(numbers) {
                *du = *du * p + (x * q + s);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_exact_far_from_zero_and_for_any_number_of_channels() {
        for (channels, positions) in [(1, 5000), (3, 77), (32, 300), (200, 65), (5, 0)] {
            let value = |i: usize| 1000.0 + (i * 7919 % 1013) as f32 / 1013.0;
            let x: Vec<f32> = (0..channels * positions).map(value).collect();
            let sums = moments(&x, channels, &mut Tape::off());
            for channel in 0..channels {
                let own = x[channel.min(x.len())..].iter().step_by(channels);
                let own: Vec<f64> = own.map(|&v| f64::from(v)).collect();
                let n = positions as f64;
                let mean = own.iter().sum::<f64>() / n;
                let variance = own.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
                let (first, second) = (sums.first[channel] / n, sums.second[channel] / n);
                if positions == 0 {
                    assert_eq!(sums.first[channel], 0.0);
                    continue;
                }
                assert!((first / mean - 1.0).abs() < 1e-12);
                let found = second - first * first;
                assert!((found / variance - 1.0).abs() < 1e-5, "{found} {variance}");
            }
        }
    }
}
