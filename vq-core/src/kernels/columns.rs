//! Integer convolution for processors whose products want wide numbers, one row under the kernel at a time.
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

#![allow(unsafe_code)]

use super::{ConvRow, ConvShape};
use crate::element::Output;
use crate::format::Params;
use crate::slices::Parts;
use core::array;

/// Numbers that are widened together.
pub(super) const GROUP: usize = 4;

/// Points, and channels, whose sums grow side by side.
pub(super) const PAIR: usize = 2;

/// What a processor does its own way.
pub(super) trait Columns: Sized {
    /// An input in a column. An integer: every pattern of bits is one.
    type Input: Copy + Default + From<i8> + Into<i32> + 'static;
    /// A weight. The same.
    type Weight: Copy + Default + From<i8> + Into<i32> + 'static;
    /// How many weights of one channel lie behind each other, before the other channel's turn.
    const TAPS: usize;

    /// Widens groups of what is at least `low`, and `low` itself where it is less; each into an order of its own, which
    /// is always the same.
    fn spread(from: &[[i8; GROUP]], low: i8, to: &mut [[Self::Input; GROUP]]);

    /// Widens groups of two channels' weights, in the same order, interleaved.
    fn spread_pair(from: [&[[i8; GROUP]]; PAIR], to: &mut [[Self::Weight; PAIR * GROUP]]);

    /// Adds the products of a row under the kernel to the sums of two channels.
    fn convolve(pair: Pair<'_, Self>, out: &mut [i8]);
}

/// Two channels of a row under the kernel, laid out.
pub(super) struct Pair<'a, C: Columns> {
    /// Point x has `taps` numbers from x * `step` on.
    pub(super) inputs: &'a [C::Input],
    /// Numbers from a point's window to the next.
    pub(super) step: usize,
    /// Numbers of a window: whole groups.
    pub(super) taps: usize,
    /// Weights of the two channels, interleaved.
    pub(super) weights: &'a [C::Weight],
    /// The two channels; of the last odd one twice the same.
    pub(super) channels: [Channel; PAIR],
    /// Which of the kernel's rows it is.
    pub(super) kh: usize,
    /// How many the kernel has.
    pub(super) height: usize,
    /// The sums of each point, and of one more where their number is odd; none where the kernel has one row.
    pub(super) sums: &'a mut [[i32; PAIR]],
    /// How results are stored.
    pub(super) output: Output,
    /// Channels to be written, one or two.
    pub(super) wanted: usize,
    /// Points, at least one.
    pub(super) points: usize,
    /// From a point's results to the next one's.
    pub(super) out_step: usize,
}

/// What a channel's sums start and end with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channel {
    pub(super) bias: i32,
    pub(super) multiplier: i32,
    pub(super) shift: u8,
}

impl<C: Columns> Pair<'_, C> {
    /// Whether sums start with the biases.
    pub(super) fn is_first(&self) -> bool {
        self.kh == 0
    }

    /// Whether sums become results.
    pub(super) fn is_last(&self) -> bool {
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

/// Of the narrowest numbers that are loaded by words, those of a word.
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

/// See [`super::Kernels::conv_room`].
pub(super) fn conv_room<C: Columns>(shape: &ConvShape) -> usize {
    let lengths = Lengths::of(shape);
    let parts = [
        lengths.inputs.saturating_mul(size_of::<C::Input>()),
        lengths.weights.saturating_mul(size_of::<C::Weight>()),
        lengths.sums.saturating_mul(size_of::<[i32; PAIR]>()),
    ];
    parts.into_iter().fold(ALIGN - 1, usize::saturating_add)
}

/// ```text
/// for each row under the kernel:
///     lay it out
///     for each two channels: lay out the weights; convolve
/// ```
pub(super) fn conv_row<C: Columns>(row: &ConvRow<'_, i8>, room: &mut [i8], out: &mut [i8]) {
    let shape = &row.filter.shape;
    let lengths = Lengths::of(shape);
    let start = room.as_ptr().align_offset(ALIGN);
    let (inputs, rest) = integers::<C::Input>(room.behind_mut(start), lengths.inputs);
    let (weights, rest) = integers::<C::Weight>(rest, lengths.weights);
    let (sums, _) = integers::<[i32; PAIR]>(rest, lengths.sums);
    let sums_len = lengths.sums / shape.channels.div_ceil(PAIR).max(1);
    for (kh, &input) in row.rows.iter().enumerate() {
        gather::<C>(row, input, inputs);
        for first in (0..shape.channels).step_by(PAIR) {
            let channels = array::from_fn(|n| (first + n).min(shape.channels - 1));
            gather_weights::<C>(row, kh, channels, weights);
            let pair = Pair::<'_, C> {
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
            C::convolve(pair, out.behind_mut(first));
        }
    }
}

/// The plain form of [`Columns::convolve`].
///
/// ```text
/// for x, for n:
///     sum = bias[n] under the first row, else sums[x][n]
///     sum += inputs[x * step + i] * weights[n][i] for each i
///     out[x * out_step + n] = finish(sum) under the last row, else sums[x][n] = sum
/// ```
///
/// Not inlined: where a processor has its own form, this one is for what never or seldom occurs.
#[inline(never)]
pub(super) fn convolve<C: Columns>(pair: Pair<'_, C>, out: &mut [i8]) {
    let points = out.chunks_mut(pair.out_step.max(1)).take(pair.points);
    for (x, out) in points.enumerate() {
        let window = pair.inputs.part(x * pair.step, pair.taps);
        let bias = pair.channels.map(|channel| channel.bias);
        let known = pair.sums.get(x).filter(|_| !pair.is_first());
        let mut sums = known.copied().unwrap_or(bias);
        let weights = pair.weights.chunks_exact(PAIR * C::TAPS);
        for (inputs, weights) in window.chunks_exact(C::TAPS).zip(weights) {
            for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(C::TAPS)) {
                for (&x, &weight) in inputs.iter().zip(weights) {
                    *sum += x.into() * weight.into();
                }
            }
        }
        if !pair.is_last() {
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

/// Lays out one of the rows under the kernel.
fn gather<C: Columns>(row: &ConvRow<'_, i8>, input: &[i8], inputs: &mut [C::Input]) {
    let shape = &row.filter.shape;
    let (channels, column) = (usize::from(shape.in_channels), shape.column());
    let (before, rest) = inputs.parted_mut(row.left * column);
    let columns = shape.columns().saturating_sub(row.left);
    let own = input.part(0, input.len().min(columns * channels));
    let (places, behind) = rest.parted_mut(own.len() / channels.max(1) * column);
    before.fill(row.zero.into());
    behind.fill(row.zero.into());
    let low = row.low();
    if channels.is_multiple_of(GROUP) {
        return C::spread(own.as_chunks().0, low, places.as_chunks_mut().0);
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
fn gather_weights<C: Columns>(
    row: &ConvRow<'_, i8>,
    kh: usize,
    channels: [usize; PAIR],
    weights: &mut [C::Weight],
) {
    let own = channels.map(|channel| signed(row.filter.row(channel, kh).1.as_flattened()));
    let in_channels = usize::from(row.filter.shape.in_channels);
    if in_channels.is_multiple_of(GROUP) {
        let groups = own.map(|own| own.as_chunks().0);
        return C::spread_pair(groups, weights.as_chunks_mut().0);
    }
    weights.fill(C::Weight::default());
    for (n, own) in own.into_iter().enumerate() {
        for (kw, own) in own.chunks_exact(in_channels.max(1)).enumerate() {
            for (i, &weight) in (kw * row.filter.shape.column()..).zip(own) {
                let at = (i / C::TAPS * PAIR + n) * C::TAPS + i % C::TAPS;
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

fn signed(bytes: &[u8]) -> &[i8] {
    // SAFETY: both have the same layout.
    unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

impl Channel {
    fn new(params: &Params<'_>, channel: usize) -> Self {
        let (multiplier, shift) = params.scale(channel);
        Self {
            bias: params.bias(channel),
            multiplier,
            shift,
        }
    }

    fn finish(&self, sum: i32, output: Output) -> i8 {
        output.requantise(i64::from(sum) * i64::from(self.multiplier), self.shift)
    }
}
