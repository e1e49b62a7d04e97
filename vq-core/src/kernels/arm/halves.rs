//! Convolution for processors without an instruction for two products: one product of words holds two of bytes.
//!
//! Two neighbouring inputs a, b and their weights v, w become the words x = b * 2^16 - a and y = v * 2^16 - w. Then
//!
//! ```text
//! x * y = -(a * v + b * w) * 2^16 + a * w     modulo 2^32
//! ```
//!
//! and the upper half of the product is minus the pair's dot product: sums are kept negated, and subtracted from the biases
//! in the end. The half holds it for all bytes: it reaches from -2^15 to
//! 2^15 - 1, and where it is -2^15, the lower part is not negative. A negative lower part borrows from the upper half,
//! so the product is rounded, not cut off, as it is shifted down by 16.
//!
//! The kernel's rows come one after the other, so that only one is laid out at a time. What lies in the workspace then, when N channels are
//! computed together:
//!
//! ```text
//! cut[x][ci]                   one row, where its inputs are to be cut off
//! inputs[x][ci / 2]            words of one row; a column is filled up to whole groups of four
//! weights[kw][ci / 2][N]       of N channels, in turn
//! negated[channel / N][x][N]   minus the sums; of a kernel of one row, only of N channels
//! ```

use super::channel::Channel;
use crate::element::Output;
use crate::kernels::{ConvRow, ConvShape, scalar};
use crate::slices::Parts;
use core::array;

/// Numbers that are laid out together.
pub(super) const GROUP: usize = 4;

/// Words of a group.
pub(super) const WORDS: usize = GROUP / 2;

/// What the room is aligned to.
const ALIGN: usize = align_of::<i32>();

/// Bits of half a word.
pub(super) const HALF: u8 = 16;

/// What a processor does its own way; by plain loops, where it has none, and for tests on other processors.
pub(super) trait Halves<const N: usize> {
    /// Makes words of inputs: of each two the second in the upper half, less the first.
    fn widen_inputs([from]: [&[[i8; GROUP]]; 1], to: &mut [[[i32; 1]; WORDS]]) {
        for (group, words) in from.iter().zip(to) {
            *words = array::from_fn(|i| [word(group[2 * i + 1], group[2 * i])]);
        }
    }

    /// Makes words of N channels' weights, in turn: of each two the first in the upper half, less the second.
    fn widen_weights(from: [&[[i8; GROUP]]; N], to: &mut [[[i32; N]; WORDS]]) {
        for (n, from) in from.into_iter().enumerate() {
            for (words, [a, b, c, d]) in to.iter_mut().zip(from) {
                for (words, word) in words.iter_mut().zip([word(*a, *b), word(*c, *d)]) {
                    words[n] = word;
                }
            }
        }
    }

    /// ```text
    /// for x, for n: negated[x][n] += sum over i of upper half of inputs[x * step + i] * weights[i][n]
    /// ```
    ///
    /// There are whole groups of weights.
    fn add_up(inputs: &[i32], step: usize, weights: &[[i32; N]], negated: &mut [[i32; N]]) {
        for (x, negated) in negated.iter_mut().enumerate() {
            for (&input, weights) in inputs.behind(x * step).iter().zip(weights) {
                for (sum, &weight) in negated.iter_mut().zip(weights) {
                    let product = input.wrapping_mul(weight);
                    *sum += (product >> HALF) + (product >> (HALF - 1) & 1);
                }
            }
        }
    }

    /// Subtracts one channel's negated sums, every Nth of these, from its bias and stores the results, every `out_step`th.
    fn finish(negated: &[i32], scale: &Channel, output: Output, out_step: usize, out: &mut [i8]) {
        finish::<N>(negated, scale, output, out_step, out);
    }
}

/// A word of two numbers.
fn word(above: i8, below: i8) -> i32 {
    (i32::from(above) << HALF) - i32::from(below)
}

/// The plain form of [`Halves::finish`].
///
/// Not inlined: where a processor has its own form, this one is for what never or seldom occurs.
#[inline(never)]
pub(super) fn finish<const N: usize>(
    negated: &[i32],
    scale: &Channel,
    output: Output,
    out_step: usize,
    out: &mut [i8],
) {
    for (sum, result) in negated
        .iter()
        .step_by(N)
        .zip(out.iter_mut().step_by(out_step.max(1)))
    {
        *result = scale.finish(scale.bias - sum, output);
    }
}

impl ConvShape {
    /// Words of a column.
    fn column_words(&self) -> usize {
        usize::from(self.in_channels).next_multiple_of(GROUP) / 2
    }

    /// Words of a window in one row.
    fn run_words(&self) -> usize {
        usize::from(self.kernel.width) * self.column_words()
    }

    /// Elements under all windows in one row.
    fn elements(&self) -> usize {
        self.columns().saturating_mul(self.in_channels.into())
    }

    /// How many times N channels' sums are kept from one row of the kernel to the next.
    fn kept<const N: usize>(&self) -> usize {
        if self.kernel.height == 1 {
            1
        } else {
            self.channels.div_ceil(N)
        }
    }
}

/// Workspace for inputs, weights and sums, with what it takes to align them.
pub(super) fn conv_workspace<const N: usize>(shape: &ConvShape) -> usize {
    // Of a picture that fits no memory, more than there can be.
    let inputs = shape.columns().saturating_mul(shape.column_words());
    let negated = (shape.width as usize).saturating_mul(N * shape.kept::<N>());
    let words = inputs.saturating_add(negated);
    let words = words.saturating_add(N * shape.run_words());
    let bytes = words.saturating_mul(size_of::<i32>()).saturating_add(ALIGN);
    bytes.saturating_add(shape.elements())
}

/// ```text
/// for kh: lay out the row
///     for each N channels: lay out the weights; add up, in the first row from 0 on; in the last row finish
/// ```
pub(super) fn conv_row<H: Halves<N>, const N: usize>(
    row: &ConvRow<'_, i8>,
    workspace: &mut [i8],
    out: &mut [i8],
) {
    let shape = &row.filter.shape;
    let (width, step) = (shape.width as usize, usize::from(shape.stride));
    let (cut, workspace) = workspace.parted_mut(shape.elements());
    let (inputs, rest) = words(workspace).parted_mut(shape.columns() * shape.column_words());
    let (weights, rest) = rest.parted_mut(N * shape.run_words());
    let weights = weights.as_chunks_mut().0;
    let negated = rest.as_chunks_mut().0;
    // From N channels' negated sums to those of the next.
    let kept = if shape.kept::<N>() == 1 { 0 } else { width };
    for (kh, &input) in row.rows.iter().enumerate() {
        gather::<H, N>(row, input, cut, inputs);
        for first in (0..shape.channels).step_by(N) {
            let negated = negated.part_mut(first / N * kept, width);
            if kh == 0 {
                negated.fill([0; N]);
            }
            let own = array::from_fn(|n| weights_of(row, first + n, kh));
            lay_out(shape, own, weights, H::widen_weights);
            H::add_up(inputs, step * shape.column_words(), weights, negated);
            if kh + 1 == row.rows.len() {
                finish_channels::<H, N>(row, first, negated, out);
            }
        }
    }
}

/// Lays out one of the rows under the kernel, with padding, and cut off at zero where the filter wants that.
fn gather<H: Halves<N>, const N: usize>(
    row: &ConvRow<'_, i8>,
    input: &[i8],
    cut: &mut [i8],
    inputs: &mut [i32],
) {
    let shape = &row.filter.shape;
    let mut own = row.seen(input);
    let held = own.len() / usize::from(shape.in_channels).max(1);
    if row.cut {
        let cut = cut.part_mut(0, own.len());
        scalar::relu_row(own, row.zero, cut);
        own = cut;
    }
    let (before, rest) = inputs.parted_mut(row.left * shape.column_words());
    let (places, behind) = rest.parted_mut(held * shape.column_words());
    let padding = word(row.zero, row.zero);
    before.fill(padding);
    behind.fill(padding);
    lay_out(shape, [own], places.as_chunks_mut().0, H::widen_inputs);
}

/// A channel's weights in one row of the kernel; behind the last channel its own once more.
fn weights_of<'a>(row: &ConvRow<'a, i8>, channel: usize, kh: usize) -> &'a [i8] {
    let last = row.filter.shape.channels.saturating_sub(1);
    let (_, weights) = row.filter.row(channel.min(last), kh);
    bytemuck::must_cast_slice(weights.as_flattened())
}

/// Makes words of groups of N runs of numbers: of each two numbers one, the runs in turn.
type Widen<const N: usize> = fn([&[[i8; GROUP]]; N], &mut [[[i32; N]; WORDS]]);

/// Lays out N runs of columns, with zeros where they do not fill whole groups.
fn lay_out<const N: usize>(
    shape: &ConvShape,
    runs: [&[i8]; N],
    words: &mut [[i32; N]],
    widen: Widen<N>,
) {
    let channels = usize::from(shape.in_channels);
    if channels.is_multiple_of(GROUP) {
        return widen(runs.map(|run| run.as_chunks().0), words.as_chunks_mut().0);
    }
    let columns = words.chunks_exact_mut(shape.column_words().max(1));
    for (x, column) in columns.enumerate() {
        let own = runs.map(|run| run.part(x * channels, channels));
        for (first, words) in (0..channels).step_by(GROUP).zip(column.chunks_mut(WORDS)) {
            let number = |own: &[i8], i: usize| own.get(first + i).copied().unwrap_or(0);
            let groups = own.map(|own| [array::from_fn(|i| number(own, i))]);
            widen(
                groups.each_ref().map(|group| &group[..]),
                words.as_chunks_mut().0,
            );
        }
    }
}

/// Subtracts the negated sums of N channels from their biases and stores the results.
fn finish_channels<H: Halves<N>, const N: usize>(
    row: &ConvRow<'_, i8>,
    first: usize,
    negated: &[[i32; N]],
    out: &mut [i8],
) {
    let filter = &row.filter;
    for (n, channel) in (first..filter.shape.channels).take(N).enumerate() {
        let scale = Channel::new(&filter.params, channel);
        let negated = negated.as_flattened().behind(n);
        let out = out.behind_mut(channel);
        H::finish(negated, &scale, filter.output, row.out_step, out);
    }
}

/// Bytes as words, from the first whole one on.
fn words(bytes: &mut [i8]) -> &mut [i32] {
    bytemuck::pod_align_to_mut(bytes).1
}

/// N channels of a row, in the order in which a processor's `add_up_points` loads it.
#[cfg(any(backend = "thumb1", backend = "thumb2"))]
#[repr(C)]
pub(super) struct Work<const N: usize> {
    /// The first point's window.
    pub(super) window: *const i32,
    pub(super) window_end: *const i32,
    pub(super) weights: *const [i32; N],
    pub(super) negated: *mut [i32; N],
    pub(super) negated_end: *mut [i32; N],
    /// Bytes from a window to the next.
    pub(super) step: usize,
    /// Bytes of instructions that are passed over in the first turn.
    pub(super) passed_over: usize,
}

/// A turn of the loop of `add_up_points`.
#[cfg(any(backend = "thumb1", backend = "thumb2"))]
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// Groups that it takes.
    pub(super) groups: usize,
    /// Bytes of the instructions for a group.
    pub(super) group_code: usize,
}

#[cfg(any(backend = "thumb1", backend = "thumb2"))]
impl<const N: usize> Work<N> {
    /// None where there is nothing to do; else there are points and groups, and the window of the last point lies
    /// within the inputs.
    pub(super) fn new(
        inputs: &[i32],
        step: usize,
        weights: &[[i32; N]],
        negated: &mut [[i32; N]],
        turn: Turn,
    ) -> Option<Self> {
        let groups = weights.len() / WORDS;
        let last = negated.len().checked_sub(1).filter(|_| groups > 0)?;
        let window = inputs.get(..last * step + weights.len())?;
        let window = window.part(0, weights.len());
        let (window, negated) = (window.as_ptr_range(), negated.as_mut_ptr_range());
        Some(Self {
            window: window.start,
            window_end: window.end,
            weights: weights.as_ptr(),
            negated: negated.start,
            negated_end: negated.end,
            step: step * size_of::<i32>(),
            passed_over: (groups.next_multiple_of(turn.groups) - groups) * turn.group_code,
        })
    }
}
