//! Cortex-M4, M7 and M33, which add two products of 16-bit numbers to a sum at once: convolution one row under the kernel at a
//! time, or all of them where that takes hardly more room.
//!
//! A row is first laid out as the products want it: widened, with the padding at its sides, and cut off at zero where the
//! filter wants that. The weights of two channels at a time are laid out the same way. Where rows come one at a time, the
//! sums of all channels are kept in the workspace for the next. What lies there:
//!
//! ```text
//! inputs[rows][x][ci]          a column filled up to a word
//! weights[rows][kw][ci]        of two channels, interleaved group by group; a row filled up to whole groups
//! sums[co / 2][x][2]           unless all rows come at once
//! ```
//!
//! Each product of the plain form occurs once, and sums of integers do not depend on their order, so the
//! results are those of the reference.

mod pair;
mod portable;
#[cfg(backend = "thumb2-dsp")]
mod smlad;

use crate::kernels::arm::channel::Channel;
use crate::kernels::{ConvRow, ConvShape};
use crate::slices::Parts;
use bytemuck::Pod;
use core::array;
use pair::{GROUP, PAIR, Pair};

#[cfg(not(backend = "thumb2-dsp"))]
use portable as instructions;
#[cfg(backend = "thumb2-dsp")]
use smlad as instructions;

impl ConvShape {
    /// Numbers of a column, filled up.
    fn column(&self) -> usize {
        usize::from(self.in_channels).next_multiple_of(WORD)
    }

    /// Numbers of a window in one row, filled up.
    fn taps(&self) -> usize {
        (usize::from(self.kernel.width) * self.column()).next_multiple_of(GROUP)
    }

    /// Numbers of a row.
    fn row(&self) -> usize {
        self.columns().saturating_mul(self.column())
    }
}

/// Numbers of a word.
const WORD: usize = 2;

/// What the room is aligned to.
const ALIGN: usize = align_of::<u32>();

/// How many numbers lie in the workspace, each kind in whole words.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    /// Rows that come at once.
    rows: usize,
    inputs: usize,
    weights: usize,
    /// Of all pairs of channels.
    sums: usize,
}

impl Lengths {
    fn of(shape: &ConvShape) -> Self {
        let (one, all) = (
            Self::of_rows(shape, 1),
            Self::of_rows(shape, shape.kernel.height.into()),
        );
        let bytes = one.bytes();
        match all.bytes() <= bytes.saturating_add(bytes / 8) {
            true => all,
            false => one,
        }
    }

    /// Of a picture that fits no memory, more than there can be.
    fn of_rows(shape: &ConvShape, rows: usize) -> Self {
        let sums = match rows < shape.kernel.height.into() {
            true => sums_of_pair(shape).saturating_mul(shape.channels.div_ceil(PAIR)),
            false => 0,
        };
        let inputs = shape.row().saturating_mul(rows);
        Self {
            rows,
            // The last window is filled up from behind.
            inputs: inputs.saturating_add(2 * (GROUP - 1)) / GROUP * GROUP,
            weights: PAIR * shape.taps() * rows,
            sums,
        }
    }

    fn bytes(&self) -> usize {
        let parts = [
            self.inputs.saturating_mul(size_of::<i16>()),
            self.weights.saturating_mul(size_of::<i16>()),
            self.sums.saturating_mul(size_of::<[i32; PAIR]>()),
        ];
        parts.into_iter().fold(ALIGN - 1, usize::saturating_add)
    }
}

/// Points whose sums are kept.
fn sums_of_pair(shape: &ConvShape) -> usize {
    (shape.width as usize).next_multiple_of(PAIR)
}

/// See [`crate::kernels::Kernels::conv_workspace`].
pub(super) fn conv_workspace(shape: &ConvShape) -> usize {
    Lengths::of(shape).bytes()
}

/// ```text
/// for each row under the kernel, or for all at once:
///     lay it out
///     for each two channels: lay out the weights; convolve
/// ```
pub(super) fn conv_row(row: &ConvRow<'_, i8>, workspace: &mut [i8], out: &mut [i8]) {
    let shape = &row.filter.shape;
    let lengths = Lengths::of(shape);
    let start = workspace.as_ptr().align_offset(ALIGN);
    let (inputs, rest) = integers::<i16>(workspace.behind_mut(start), lengths.inputs);
    let (weights, rest) = integers::<i16>(rest, lengths.weights);
    let (sums, _) = integers::<[i32; PAIR]>(rest, lengths.sums);
    let sums_len = lengths.sums / shape.channels.div_ceil(PAIR).max(1);
    let row_len = shape.row();
    let behind = lengths.inputs - row_len * lengths.rows;
    let at_once = lengths.rows.max(1);
    let starts = (0..).step_by(at_once);
    for (first, rows) in starts.zip(row.rows.chunks(at_once)) {
        for (i, &input) in rows.iter().enumerate() {
            gather(row, input, inputs.part_mut(i * row_len, row_len + behind));
        }
        for channel in (0..shape.channels).step_by(PAIR) {
            let channels = array::from_fn(|n| (channel + n).min(shape.channels - 1));
            gather_weights(row, first, rows.len(), channels, weights);
            let mut pair = Pair {
                inputs,
                rows: rows.len(),
                row: row_len,
                step: usize::from(shape.stride) * shape.column(),
                taps: shape.taps(),
                weights,
                channels: channels.map(|channel| Channel::new(&row.filter.params, channel)),
                is_first: first == 0,
                is_last: first + rows.len() == row.rows.len(),
                sums: sums.part_mut(channel / PAIR * sums_len, sums_len),
                output: row.filter.output,
                wanted: PAIR.min(shape.channels - channel),
                points: shape.width as usize,
                out_step: row.out_step,
            };
            instructions::convolve(&mut pair, out.behind_mut(channel));
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
        return instructions::widen(own.as_chunks().0, low, places.as_chunks_mut().0);
    }
    let places = places.chunks_exact_mut(column.max(1));
    for (place, input) in places.zip(own.chunks_exact(channels.max(1))) {
        for (place, &x) in place.iter_mut().zip(input) {
            *place = x.max(low).into();
        }
    }
}

/// Lays out the weights of two channels for some rows. What fills up columns and windows is 0, so that it counts for nothing.
///
/// Groups have an order of their own only where channels fill whole ones, as in [`gather`].
fn gather_weights(
    row: &ConvRow<'_, i8>,
    first: usize,
    rows: usize,
    channels: [usize; PAIR],
    weights: &mut [i16],
) {
    let shape = &row.filter.shape;
    let (run, in_channels) = (shape.run(), usize::from(shape.in_channels));
    let own = channels.map(|channel| {
        let own = row.filter.channel(channel).part(first * run, rows * run);
        bytemuck::must_cast_slice(own.as_flattened())
    });
    if in_channels.is_multiple_of(GROUP) {
        let groups = own.map(|own| own.as_chunks().0);
        return instructions::widen_pair(groups, weights.as_chunks_mut().0);
    }
    weights.fill(0);
    let width = usize::from(shape.kernel.width).max(1);
    for (n, own) in own.into_iter().enumerate() {
        for (point, own) in own.chunks_exact(in_channels.max(1)).enumerate() {
            let start = point / width * shape.taps() + point % width * shape.column();
            for (i, &weight) in (start..).zip(own) {
                let at = (i / GROUP * PAIR + n) * GROUP + i % GROUP;
                if let Some(place) = weights.get_mut(at) {
                    *place = weight.into();
                }
            }
        }
    }
}

/// So many integers at the start of the bytes, which are aligned, and the bytes behind them.
fn integers<I: Pod>(bytes: &mut [i8], len: usize) -> (&mut [I], &mut [i8]) {
    let (own, rest) = bytes.parted_mut(len * size_of::<I>());
    (bytemuck::pod_align_to_mut(own).1, rest)
}
