//! Cortex-M4, M7 and M33, which add two products of 16-bit numbers to a sum at once: convolution one row under the kernel at a
//! time.
//!
//! A row is first laid out as the products want it: widened, with the padding at its sides, and cut off at zero where the
//! filter wants that. The weights of two channels at a time are laid out the same way. The sums of all channels wait in
//! the room for the next row. What lies there:
//!
//! ```text
//! inputs[x][ci]                a column filled up to a word
//! weights[kw][ci]              of two channels, interleaved group by group
//! sums[co / 2][x][2]           where the kernel has several rows
//! ```
//!
//! Each product of the plain form occurs once, and sums of integers do not depend on their order, so the
//! results are those of the reference.

mod plain;
#[cfg(backend = "thumb2-dsp")]
mod smlad;

use super::{Channel, signed};
use crate::element::Output;
use crate::kernels::{ConvRow, ConvShape};
use crate::slices::Parts;
use core::array;

#[cfg(not(backend = "thumb2-dsp"))]
use plain as instructions;
#[cfg(backend = "thumb2-dsp")]
use smlad as instructions;

/// Numbers that are widened together.
const GROUP: usize = 4;

/// Points, and channels, whose sums grow side by side.
const PAIR: usize = 2;

/// Two channels of a row under the kernel, laid out.
struct Pair<'a> {
    /// Point x has `taps` numbers from x * `step` on.
    inputs: &'a [i16],
    /// Numbers from a point's window to the next.
    step: usize,
    /// Numbers of a window: whole groups.
    taps: usize,
    /// Weights of the two channels, interleaved.
    weights: &'a [i16],
    /// The two channels; of the last odd one twice the same.
    channels: [Channel; PAIR],
    /// Which of the kernel's rows it is.
    kh: usize,
    /// How many the kernel has.
    height: usize,
    /// The sums of each point, and of one more where their number is odd; none where the kernel has one row.
    sums: &'a mut [[i32; PAIR]],
    /// How results are stored.
    output: Output,
    /// Channels to be written, one or two.
    wanted: usize,
    /// Points, at least one.
    points: usize,
    /// From a point's results to the next one's.
    out_step: usize,
}

impl Pair<'_> {
    /// Whether sums start with the biases.
    fn is_first(&self) -> bool {
        self.kh == 0
    }

    /// Whether sums become results.
    fn is_last(&self) -> bool {
        self.kh + 1 == self.height
    }
}

impl ConvShape {
    /// Numbers of a column, filled up.
    fn column(&self) -> usize {
        usize::from(self.in_channels).next_multiple_of(WORD)
    }

    /// Numbers of a window in one row, filled up.
    fn taps(&self) -> usize {
        (usize::from(self.kernel.width) * self.column()).next_multiple_of(GROUP)
    }
}

/// Numbers of a word.
const WORD: usize = 2;

/// What the room is aligned to.
const ALIGN: usize = align_of::<u32>();

/// How many numbers lie in the room, each kind in whole words.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    inputs: usize,
    weights: usize,
    /// Of all pairs of channels.
    sums: usize,
}

impl Lengths {
    /// Of a picture that fits no memory, more than there can be.
    fn of(shape: &ConvShape) -> Self {
        let inputs = shape.columns().saturating_mul(shape.column());
        let sums = match shape.kernel.height {
            1 => 0,
            _ => sums_of_pair(shape).saturating_mul(shape.channels.div_ceil(PAIR)),
        };
        Self {
            // The last window is filled up from behind.
            inputs: inputs.saturating_add(2 * (GROUP - 1)) / GROUP * GROUP,
            weights: PAIR * shape.taps(),
            sums,
        }
    }
}

/// Points whose sums are kept.
fn sums_of_pair(shape: &ConvShape) -> usize {
    (shape.width as usize).next_multiple_of(PAIR)
}

/// See [`crate::kernels::Kernels::conv_room`].
pub(super) fn conv_room(shape: &ConvShape) -> usize {
    let lengths = Lengths::of(shape);
    let parts = [
        lengths.inputs.saturating_mul(size_of::<i16>()),
        lengths.weights.saturating_mul(size_of::<i16>()),
        lengths.sums.saturating_mul(size_of::<[i32; PAIR]>()),
    ];
    parts.into_iter().fold(ALIGN - 1, usize::saturating_add)
}

/// ```text
/// for each row under the kernel:
///     lay it out
///     for each two channels: lay out the weights; convolve
/// ```
pub(super) fn conv_row(row: &ConvRow<'_, i8>, room: &mut [i8], out: &mut [i8]) {
    let shape = &row.filter.shape;
    let lengths = Lengths::of(shape);
    let start = room.as_ptr().align_offset(ALIGN);
    let (inputs, rest) = integers::<i16>(room.behind_mut(start), lengths.inputs);
    let (weights, rest) = integers::<i16>(rest, lengths.weights);
    let (sums, _) = integers::<[i32; PAIR]>(rest, lengths.sums);
    let sums_len = lengths.sums / shape.channels.div_ceil(PAIR).max(1);
    for (kh, &input) in row.rows.iter().enumerate() {
        gather(row, input, inputs);
        for first in (0..shape.channels).step_by(PAIR) {
            let channels = array::from_fn(|n| (first + n).min(shape.channels - 1));
            gather_weights(row, kh, channels, weights);
            let pair = Pair {
                inputs,
                step: usize::from(shape.stride) * shape.column(),
                taps: shape.taps(),
                weights,
                channels: channels.map(|channel| Channel::new(&row.filter.params, channel)),
                kh,
                height: row.rows.len(),
                sums: sums.part_mut(first / PAIR * sums_len, sums_len),
                output: row.filter.output,
                wanted: PAIR.min(shape.channels - first),
                points: shape.width as usize,
                out_step: row.out_step,
            };
            instructions::convolve(pair, out.behind_mut(first));
        }
    }
}

/// Lays out one of the rows under the kernel.
fn gather(row: &ConvRow<'_, i8>, input: &[i8], inputs: &mut [i16]) {
    let shape = &row.filter.shape;
    let (channels, column) = (usize::from(shape.in_channels), shape.column());
    let own = row.seen(input);
    let (before, rest) = inputs.parted_mut(row.left * column);
    let (places, behind) = rest.parted_mut(own.len() / channels.max(1) * column);
    before.fill(row.zero.into());
    behind.fill(row.zero.into());
    let low = row.low();
    if channels.is_multiple_of(GROUP) {
        return instructions::spread(own.as_chunks().0, low, places.as_chunks_mut().0);
    }
    let places = places.chunks_exact_mut(column.max(1));
    for (place, input) in places.zip(own.chunks_exact(channels.max(1))) {
        for (place, &x) in place.iter_mut().zip(input) {
            *place = x.max(low).into();
        }
    }
}

/// Lays out the weights of two channels for one of the rows. What fills up columns and windows is 0, so that it counts for
/// nothing.
///
/// Groups have an order of their own only where channels fill whole ones, as in [`gather`].
fn gather_weights(row: &ConvRow<'_, i8>, kh: usize, channels: [usize; PAIR], weights: &mut [i16]) {
    let own = channels.map(|channel| signed(row.filter.row(channel, kh).1.as_flattened()));
    let in_channels = usize::from(row.filter.shape.in_channels);
    if in_channels.is_multiple_of(GROUP) {
        let groups = own.map(|own| own.as_chunks().0);
        return instructions::spread_pair(groups, weights.as_chunks_mut().0);
    }
    weights.fill(0);
    for (n, own) in own.into_iter().enumerate() {
        for (kw, own) in own.chunks_exact(in_channels.max(1)).enumerate() {
            for (i, &weight) in (kw * row.filter.shape.column()..).zip(own) {
                let at = (i / GROUP * PAIR + n) * GROUP + i % GROUP;
                if let Some(place) = weights.get_mut(at) {
                    *place = weight.into();
                }
            }
        }
    }
}

/// So many integers at the start of the bytes, which are aligned, and the bytes behind them.
fn integers<I: Copy>(bytes: &mut [i8], len: usize) -> (&mut [I], &mut [i8]) {
    let (own, rest) = bytes.parted_mut(len * size_of::<I>());
    // SAFETY: every pattern of bits is an integer.
    (unsafe { own.align_to_mut().1 }, rest)
}
