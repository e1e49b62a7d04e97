//! Portable forms of what `smlad` does: for tests on other processors, and for what it leaves over.

use super::pair::{GROUP, PAIR, Pair};
use crate::slices::Parts;
#[cfg(not(backend = "thumb2-dsp"))]
use core::array;

/// Adds the products of some rows under the kernel to the sums of two channels.
///
/// ```text
/// for x, for n:
///     sum = bias[n] under the first row, else sums[x][n]
///     sum += inputs[r * row + x * step + i] * weights[r][n][i] for each r, i
///     out[x * out_step + n] = finish(sum) under the last row, else sums[x][n] = sum
/// ```
///
/// Not inlined: where there are instructions for it, this is for what never or seldom occurs.
#[inline(never)]
pub(super) fn convolve(pair: &mut Pair<'_>, out: &mut [i8]) {
    let points = out.chunks_mut(pair.out_step.max(1)).take(pair.points);
    for (x, out) in points.enumerate() {
        let bias = pair.channels.map(|channel| channel.bias);
        let known = pair.sums.get(x).filter(|_| !pair.is_first);
        let mut sums = known.copied().unwrap_or(bias);
        let mut weights = pair.weights.chunks_exact(PAIR * GROUP);
        for row in 0..pair.rows {
            let window = pair.inputs.part(row * pair.row + x * pair.step, pair.taps);
            for (inputs, weights) in window.chunks_exact(GROUP).zip(weights.by_ref()) {
                for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(GROUP)) {
                    for (&x, &weight) in inputs.iter().zip(weights) {
                        *sum += i32::from(x) * i32::from(weight);
                    }
                }
            }
        }
        if !pair.is_last {
            if let Some(kept) = pair.sums.get_mut(x) {
                *kept = sums;
            }
            continue;
        }
        let results = out.iter_mut().take(pair.wanted).zip(sums);
        for ((result, sum), channel) in results.zip(&pair.channels) {
            *result = channel.finish(sum, pair.output);
        }
    }
}

/// What SXTB16 makes of the bytes' order.
#[cfg(not(backend = "thumb2-dsp"))]
const ORDER: [usize; GROUP] = [0, 2, 1, 3];

/// Widens groups of what is at least `low`, and `low` itself where it is less.
#[cfg(not(backend = "thumb2-dsp"))]
pub(super) fn widen(from: &[[i8; GROUP]], low: i8, to: &mut [[i16; GROUP]]) {
    for (group, place) in from.iter().zip(to) {
        *place = ORDER.map(|i| group[i].max(low).into());
    }
}

/// Widens groups of two channels' weights, interleaved.
#[cfg(not(backend = "thumb2-dsp"))]
pub(super) fn widen_pair([a, b]: [&[[i8; GROUP]]; PAIR], to: &mut [[i16; PAIR * GROUP]]) {
    for ((a, b), place) in a.iter().zip(b).zip(to) {
        *place = array::from_fn(|i| [a, b][i / GROUP][ORDER[i % GROUP]].into());
    }
}
