//! Integer convolution over columns, for processors whose products want wide numbers.
//!
//! The rows under the kernel are first laid out column by column, widened to the form that the products
//! want, so that the window of every point is one run, however tall the kernel is. The weights of two
//! channels at a time are laid out the same way. What lies in the room then:
//!
//! ```text
//! columns[x][kh][ci]           a column filled up to whole groups of four
//! weights[kw][kh][ci]          of two channels, interleaved group by group
//! ```
//!
//! Each product of the plain form occurs once, and sums of integers do not depend on their order, so the
//! results are those of the reference.

#![allow(unsafe_code)]

use super::{ConvRow, ConvShape};
use crate::element::Output;
use crate::format::Params;
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

    /// Widens groups; each into an order of its own, which is always the same.
    fn spread(from: &[[i8; GROUP]], to: &mut [[Self::Input; GROUP]]);

    /// Widens groups of two channels' weights, in the same order, interleaved.
    fn spread_pair(from: [&[[i8; GROUP]]; PAIR], to: &mut [[Self::Weight; PAIR * GROUP]]);

    /// Convolves two channels of a row.
    fn convolve(pair: &Pair<'_, Self>, out: &mut [i8]);
}

/// Two channels of a row, laid out.
pub(super) struct Pair<'a, C: Columns> {
    /// Point x has `taps` numbers from x * `step` on.
    pub(super) columns: &'a [C::Input],
    /// Numbers from a point's window to the next.
    pub(super) step: usize,
    /// Numbers of a window: whole groups.
    pub(super) taps: usize,
    /// Weights of the two channels, interleaved.
    pub(super) weights: &'a [C::Weight],
    /// The two channels; of the last odd one twice the same.
    pub(super) channels: [Channel; PAIR],
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

impl ConvShape {
    /// Numbers of a column, filled up.
    fn column(&self) -> usize {
        let numbers = usize::from(self.kernel.height) * usize::from(self.in_channels);
        numbers.next_multiple_of(GROUP)
    }

    /// Numbers of a window.
    fn taps(&self) -> usize {
        usize::from(self.kernel.width) * self.column()
    }
}

/// What the room is aligned to.
const ALIGN: usize = align_of::<u32>();

/// Room for columns and weights, with what it takes to align both.
pub(super) fn conv_room<C: Columns>(shape: &ConvShape) -> usize {
    let column = shape.column() * size_of::<C::Input>();
    let weights = PAIR * shape.taps() * size_of::<C::Weight>();
    // Of a picture that fits no memory, more than there can be.
    let columns = shape.columns().saturating_mul(column);
    columns.saturating_add(weights + ALIGN - 1)
}

/// ```text
/// lay out the columns
/// for each two channels: lay out the weights; convolve
/// ```
pub(super) fn conv_row<C: Columns>(row: &ConvRow<'_, i8>, room: &mut [i8], out: &mut [i8]) {
    let shape = &row.filter.shape;
    let (column, taps) = (shape.column(), shape.taps());
    // A column has whole words, so that the weights are aligned as well.
    let columns_len = shape.columns() * column;
    let start = room.as_ptr().align_offset(ALIGN);
    let (columns, weights) = room[start..].split_at_mut(columns_len * size_of::<C::Input>());
    let columns = &mut integers::<C::Input>(columns)[..columns_len];
    let weights = &mut integers::<C::Weight>(weights)[..PAIR * taps];
    gather::<C>(row, columns);
    for first in (0..row.filter.shape.channels).step_by(PAIR) {
        let channels = array::from_fn(|n| (first + n).min(row.filter.shape.channels - 1));
        gather_weights::<C>(row, channels, weights);
        let pair = Pair::<'_, C> {
            columns,
            step: usize::from(shape.stride) * column,
            taps,
            weights,
            channels: channels.map(|channel| Channel::new(&row.filter.params, channel)),
            output: row.filter.output,
            wanted: PAIR.min(row.filter.shape.channels - first),
            points: shape.width as usize,
            out_step: row.out_step,
        };
        C::convolve(&pair, &mut out[first..]);
    }
}

/// The plain form of [`Columns::convolve`].
///
/// ```text
/// for x, for n: out[x * out_step + n] = finish(bias[n] + sum over i of columns[x * step + i] * weights[n][i])
/// ```
///
/// Not inlined: where a processor has its own form, this one is for what never or seldom occurs.
#[inline(never)]
pub(super) fn convolve<C: Columns>(pair: &Pair<'_, C>, out: &mut [i8]) {
    let points = out.chunks_mut(pair.out_step).take(pair.points);
    for (x, out) in points.enumerate() {
        let window = &pair.columns[x * pair.step..][..pair.taps];
        let mut sums = pair.channels.map(|channel| channel.bias);
        let weights = pair.weights.chunks_exact(PAIR * C::TAPS);
        for (inputs, weights) in window.chunks_exact(C::TAPS).zip(weights) {
            for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(C::TAPS)) {
                for (&x, &weight) in inputs.iter().zip(weights) {
                    *sum += x.into() * weight.into();
                }
            }
        }
        let results = out[..pair.wanted].iter_mut().zip(sums);
        for ((result, sum), channel) in results.zip(&pair.channels) {
            *result = channel.finish(sum, pair.output);
        }
    }
}

/// Lays out the rows under the kernel.
fn gather<C: Columns>(row: &ConvRow<'_, i8>, columns: &mut [C::Input]) {
    let channels = usize::from(row.filter.shape.in_channels);
    let columns = columns.chunks_exact_mut(row.filter.shape.column());
    for (x, column) in columns.enumerate() {
        for (input, place) in row.rows.iter().zip(column.chunks_mut(channels)) {
            let input = &input[x * channels..][..channels];
            if channels.is_multiple_of(GROUP) {
                C::spread(input.as_chunks().0, place.as_chunks_mut().0);
            } else {
                for (place, &x) in place.iter_mut().zip(input) {
                    *place = x.into();
                }
            }
        }
    }
}

/// Lays out the weights of two channels. What fills up the columns is 0, so that it counts for nothing.
///
/// Groups have an order of their own only where channels fill whole ones, as in [`gather`].
fn gather_weights<C: Columns>(
    row: &ConvRow<'_, i8>,
    channels: [usize; PAIR],
    weights: &mut [C::Weight],
) {
    let in_channels = usize::from(row.filter.shape.in_channels);
    let (run, height) = (row.filter.shape.run(), row.rows.len());
    let own = channels.map(|channel| &row.filter.weights[channel * run * height..][..run * height]);
    let own = own.map(|own| signed(own.as_flattened()));
    let places = weights.chunks_exact_mut(PAIR * row.filter.shape.column());
    for (kw, place) in places.enumerate() {
        let source = |kh: usize| own.map(|own| &own[kh * run + kw * in_channels..][..in_channels]);
        if in_channels.is_multiple_of(GROUP) {
            for (kh, place) in place.chunks_exact_mut(PAIR * in_channels).enumerate() {
                let groups = source(kh).map(|run| run.as_chunks().0);
                C::spread_pair(groups, place.as_chunks_mut().0);
            }
            continue;
        }
        place.fill(C::Weight::default());
        for i in 0..height * in_channels {
            for (n, run) in source(i / in_channels).into_iter().enumerate() {
                let at = (i / C::TAPS * PAIR + n) * C::TAPS + i % C::TAPS;
                place[at] = run[i % in_channels].into();
            }
        }
    }
}

/// Bytes as the integers of a column.
fn integers<I: Copy + From<i8> + Into<i32>>(bytes: &mut [i8]) -> &mut [I] {
    // SAFETY: every pattern of bits is an integer.
    unsafe { bytes.align_to_mut().1 }
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
