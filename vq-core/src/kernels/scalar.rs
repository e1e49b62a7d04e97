//! The reference kernels: plain loops over slices, for every element type and every processor.

use super::nearest::Entries;
use super::{AddRow, ConvRow, Filter, PixelRow};
use crate::element::Element;
use crate::slices::Parts;
use core::array;
use core::ops::Range;

/// Output channels that are computed together.
const BLOCK: usize = 4;

/// Products of a sum that are taken together: as many as bare-metal processors have registers for,
/// elsewhere a vector's worth, so that the loop becomes vector code. The sums are the same.
const STEP: usize = if cfg!(target_os = "none") { 4 } else { 16 };

/// ```text
/// for x, for co:
///     sum = bias[co]
///     for kh, for i in 0..run: sum += rows[kh][x * step + i] * weights[co][kh][i]
///     out[x * out_step + co] = finish(sum)
/// ```
///
/// 1. Four output channels at a time, so that an activation is loaded once for four products and
///    four sums grow side by side. Each sum still adds its products in the order above.
pub(super) fn conv_row<E: Element>(row: &ConvRow<'_, E>, _: &mut [E], out: &mut [E]) {
    row.convolve(0..row.filter.shape.channels, out);
}

impl<E: Element> ConvRow<'_, E> {
    /// Some of the channels.
    pub(super) fn convolve(&self, channels: Range<usize>, out: &mut [E]) {
        for (x, point) in out.chunks_mut(self.out_step.max(1)).enumerate() {
            let at = x * self.filter.shape.step();
            let point = point.part_mut(channels.start, channels.len());
            let (blocks, rest) = point.as_chunks_mut::<BLOCK>();
            let blocked = channels.start + blocks.len() * BLOCK;
            for (block, results) in blocks.iter_mut().enumerate() {
                *results = conv_point(self, at, channels.start + block * BLOCK);
            }
            for (channel, result) in rest.iter_mut().enumerate() {
                [*result] = conv_point(self, at, blocked + channel);
            }
        }
    }
}

/// Convolves a row of any backend: padding may be missing, rows may have to be cut off, channels may be those of phases.
pub(super) fn any_conv_row<E: Element>(row: &ConvRow<'_, E>, _: &mut [E], out: &mut [E]) {
    let points = out.chunks_mut(row.out_step.max(1));
    for (x, point) in points.take(row.filter.shape.width as usize).enumerate() {
        let results = point.iter_mut().take(row.filter.shape.channels);
        for (channel, result) in results.enumerate() {
            *result = row.element(x, channel);
        }
    }
}

impl<E: Element> ConvRow<'_, E> {
    /// What the row is at point x, in one channel.
    pub(crate) fn element(&self, x: usize, channel: usize) -> E {
        let Filter { shape, params, .. } = &self.filter;
        let mut sum = E::bias(params, channel);
        for (kh, row) in self.rows.iter().enumerate() {
            let (before, weights) = self.filter.row(channel, kh);
            let missing = self.left * usize::from(shape.in_channels);
            for (i, &weight) in (x * shape.step() + before..).zip(weights) {
                let x = i.checked_sub(missing).and_then(|i| row.get(i));
                let x = x.map_or(
                    self.zero,
                    |&x| if self.cut { x.at_least(self.zero) } else { x },
                );
                sum = E::multiply_add(sum, x, E::read(weight));
            }
        }
        E::finish(sum, params, channel, self.filter.output)
    }
}

/// N channels from `first` on of the point whose windows start at `at`.
fn conv_point<E: Element, const N: usize>(row: &ConvRow<'_, E>, at: usize, first: usize) -> [E; N] {
    let run = row.filter.shape.run();
    let taps = row.rows.len() * run;
    let mut sums = array::from_fn(|n| E::bias(&row.filter.params, first + n));
    for (kh, input) in row.rows.iter().enumerate() {
        let weights = row.filter.weights.behind(first * taps + kh * run);
        dot::<E, N>(input.part(at, run), weights, taps, &mut sums);
    }
    array::from_fn(|n| E::finish(sums[n], &row.filter.params, first + n, row.filter.output))
}

/// sums\[n\] += window * weights\[n * taps..\], in the window's order.
///
/// Not inlined: on processors of few registers the loop keeps them all to itself.
#[inline(never)]
fn dot<E: Element, const N: usize>(
    window: &[E],
    weights: &[E::Stored],
    taps: usize,
    sums: &mut [E::Sum; N],
) {
    let weights: [_; N] = array::from_fn(|n| weights.part(n * taps, window.len()));
    let (steps, rest) = window.as_chunks::<STEP>();
    let weights = weights.map(|weights| weights.as_chunks::<STEP>());
    let mut result = *sums;
    if let [(a, _), (b, _), (c, _), (d, _)] = weights.as_slice() {
        // Side by side with one counter.
        for ((((step, a), b), c), d) in steps.iter().zip(*a).zip(*b).zip(*c).zip(*d) {
            for (sum, weights) in result.iter_mut().zip([a, b, c, d]) {
                add_products(sum, step, weights);
            }
        }
    } else {
        for (sum, (weights, _)) in result.iter_mut().zip(weights) {
            for (step, weights) in steps.iter().zip(weights) {
                add_products(sum, step, weights);
            }
        }
    }
    for (sum, (_, weights)) in result.iter_mut().zip(weights) {
        add_products(sum, rest, weights);
    }
    *sums = result;
}

/// One by one.
#[inline(always)]
fn add_products<E: Element>(sum: &mut E::Sum, inputs: &[E], weights: &[E::Stored]) {
    for (&x, &weight) in inputs.iter().zip(weights) {
        *sum = E::multiply_add(*sum, x, E::read(weight));
    }
}

/// `a[i] = a[i] + b[i]`, rescaled.
#[inline(always)]
pub(super) fn add_row<E: Element>(row: &AddRow<'_, E>, a: &mut [E]) {
    for (a, &b) in a.iter_mut().zip(row.b) {
        *a = E::add(*a, b, &row.scale);
    }
}

/// `out[i] = max(x[i], zero)`
///
/// Inlined, so that it becomes vector code of whatever its caller is compiled for.
#[inline(always)]
pub(super) fn relu_row<E: Element>(x: &[E], zero: E, out: &mut [E]) {
    for (result, &x) in out.iter_mut().zip(x) {
        *result = x.at_least(zero);
    }
}

/// `out[i] = f(x[i])`
pub(super) fn activation_row<E: Element>(x: &[E], curve: E::Curve<'_>, out: &mut [E]) {
    for (result, &x) in out.iter_mut().zip(x) {
        *result = x.bend(curve);
    }
}

/// ```text
/// for each point, for fx, for c: next out = point[(c * factor + fy) * factor + fx]
/// ```
pub(super) fn depth_to_space_row<E: Element>(points: &[E], shape: PixelRow, out: &mut [E]) {
    let PixelRow {
        factor,
        channels,
        fy,
    } = shape;
    let points = points.chunks_exact(shape.point().max(1));
    for (point, out) in points.zip(out.chunks_exact_mut(shape.pixels().max(1))) {
        for (fx, pixel) in out.chunks_exact_mut(channels.max(1)).enumerate() {
            let mut from = fy * factor + fx;
            for value in pixel {
                if let Some(&x) = point.get(from) {
                    *value = x;
                }
                from += factor * factor;
            }
        }
    }
}

/// ```text
/// for each vector: argmin over k of sum over i of (vector[i] - entry[k][i])^2, the lowest k of equals
/// ```
pub(super) fn nearest<E: Element>(entries: Entries<'_, E>, vectors: &[E], codes: &mut [u16]) {
    for (vector, code) in vectors.chunks_exact(entries.dim.max(1)).zip(codes) {
        let mut least = E::NO_ENTRY;
        *code = 0;
        for k in 0..entries.shape().count {
            let distance = entries.distance(k, vector);
            if distance < least {
                (least, *code) = (distance, k as u16);
            }
        }
    }
}
