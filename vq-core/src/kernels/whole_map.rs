//! The reference kernels of operators that see the whole map, for the float types. Sums are in single
//! precision, whatever the element.

use super::{Attend, MapRows, Norm};
use crate::curves::ActivationKind;
use crate::curves::{bend, falling, inverse_sqrt};
use crate::element::Real;
use core::array;

/// Channels whose weighted sums grow side by side.
const BLOCK: usize = 16;

/// Scores that are computed together.
const KEYS: usize = 4;

/// ```text
/// for g: mean = sum of x / n; variance = sum of (x - mean)^2 / n
///        statistics[g] = mean, 1 / sqrt(variance + eps)
/// ```
///
/// 1. Each row is summed by itself and then the rows, so that rounding errors grow with the sides of a map
///    and not with its area.
pub(super) fn measure<R: Real>(x: MapRows<'_, R>, norm: &Norm<'_>, statistics: &mut [R]) {
    let channels = x.channels;
    let size = channels / norm.groups;
    let count = x.rows().map(|row| (row.len() / norm.groups) as u64);
    let count = count.sum::<u64>() as f32;
    for (g, place) in statistics.chunks_exact_mut(2 * R::PER_SINGLE).enumerate() {
        let own = |row: &'_ [R], of: &dyn Fn(f32) -> f32| {
            let points = row.chunks_exact(channels);
            let numbers = points.flat_map(|point| &point[g * size..][..size]);
            numbers.fold(0.0, |sum, x| sum + of(x.single()))
        };
        let sum = |of: &dyn Fn(f32) -> f32| x.rows().fold(0.0, |sum, row| sum + own(row, of));
        let mean = sum(&|x| x) / count;
        let variance = sum(&|x| (x - mean) * (x - mean)) / count;
        let (first, second) = place.split_at_mut(R::PER_SINGLE);
        R::keep(mean, first);
        R::keep(inverse_sqrt(variance + norm.eps), second);
    }
}

/// ```text
/// u = (x[i] - mean) * (factor * gain[c]) + bias[c]; out[i] = u, or silu(u)
/// ```
pub(super) fn norm_row<R: Real>(x: &[R], norm: &Norm<'_>, statistics: &[R], out: &mut [R]) {
    let (gains, biases) = (norm.gain.as_chunks().0, norm.bias.as_chunks().0);
    let (channels, size) = (gains.len(), gains.len() / norm.groups);
    for (c, (&gain, &bias)) in gains.iter().zip(biases).enumerate() {
        let place = &statistics[c / size * 2 * R::PER_SINGLE..];
        let (mean, factor) = (R::kept(place), R::kept(&place[R::PER_SINGLE..]));
        let (scale, bias) = (factor * f32::from_le_bytes(gain), f32::from_le_bytes(bias));
        let column = x.iter().skip(c).step_by(channels);
        for (result, x) in out.iter_mut().skip(c).step_by(channels).zip(column) {
            let u = (x.single() - mean) * scale + bias;
            *result = R::rounded(if norm.silu {
                bend(ActivationKind::Silu, u)
            } else {
                u
            });
        }
    }
}

/// ```text
/// for x, for head:
///     scores[r] = sum over c of query[c] * keys[r][c]
///     weights[r] = exp(scores[r] - largest score)
///     out[x][c] = (sum over r of weights[r] * values[r][c]) / sum over r of weights[r]
/// ```
pub(super) fn attention_row<R: Real>(attend: &Attend<'_, R>, scores: &mut [R], out: &mut [R]) {
    let (key_channels, value_channels) = (attend.keys.channels, attend.values.channels);
    let (d, dv) = (key_channels / attend.heads, value_channels / attend.heads);
    let queries = attend.queries.chunks_exact(key_channels);
    for (query, point) in queries.zip(out.chunks_exact_mut(value_channels)) {
        let heads = query.chunks_exact(d).zip(point.chunks_exact_mut(dv));
        for (head, (query, result)) in heads.enumerate() {
            let keys = attend.keys.points().map(|key| &key[head * d..][..d]);
            let total = weigh(query, keys, scores);
            let values = attend.values.points().map(|value| &value[head * dv..]);
            mean(values, scores, total, result);
        }
    }
}

/// Puts the weights of all keys into the scores' places, and returns their sum.
fn weigh<'a, R: Real>(
    query: &[R],
    mut keys: impl Iterator<Item = &'a [R]>,
    scores: &mut [R],
) -> f32 {
    let mut most = f32::NEG_INFINITY;
    for places in scores.chunks_mut(KEYS * R::PER_SINGLE) {
        let keys: [&[R]; KEYS] = array::from_fn(|_| keys.next().unwrap_or(query));
        let found = products(query, keys);
        for (place, score) in places.chunks_exact_mut(R::PER_SINGLE).zip(found) {
            most = if score > most { score } else { most };
            R::keep(score, place);
        }
    }
    let places = scores.chunks_exact_mut(R::PER_SINGLE);
    places.fold(0.0, |sum, place| {
        let weight = falling(most - R::kept(place));
        R::keep(weight, place);
        sum + weight
    })
}

/// The query times each of some keys, channel by channel.
fn products<R: Real>(query: &[R], keys: [&[R]; KEYS]) -> [f32; KEYS] {
    let keys = keys.map(|key| &key[..query.len()]);
    let mut sums = [0.0; KEYS];
    for (c, x) in query.iter().enumerate() {
        for (sum, key) in sums.iter_mut().zip(keys) {
            *sum += x.single() * key[c].single();
        }
    }
    sums
}

/// The mean of all values, by their weights.
fn mean<'a, R: Real>(
    values: impl Iterator<Item = &'a [R]> + Clone,
    weights: &[R],
    total: f32,
    out: &mut [R],
) {
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        let mut sums = [0.0; BLOCK];
        let weights = weights.chunks_exact(R::PER_SINGLE).map(R::kept);
        for (value, weight) in values.clone().zip(weights) {
            let value = &value[block * BLOCK..][..out.len()];
            for (sum, x) in sums.iter_mut().zip(value) {
                *sum += weight * x.single();
            }
        }
        for (result, sum) in out.iter_mut().zip(sums) {
            *result = R::rounded(sum / total);
        }
    }
}
