//! Cortex-M0 and M0+: no instruction adds a product to a sum, but one product of words can hold two of bytes.
//!
//! Two neighbouring inputs a, b and their weights v, w become the words x = b * 2^16 - a and y = v * 2^16 - w. Then
//!
//! ```text
//! x * y = -(a * v + b * w) * 2^16 + a * w     modulo 2^32
//! ```
//!
//! and the upper half of the product is what a sum has to lose. It is there for all bytes: the half holds -2^15 to
//! 2^15 - 1, and where it is -2^15, the lower part is not negative. Shifting the product down by 16 rounds it down
//! and leaves in the carry the bit that says whether the lower part was negative, so an addition with carry takes
//! just the upper half.
//!
//! The kernel's rows come one after the other, so that only one is laid out at a time. What lies in the room then:
//!
//! ```text
//! inputs[x][ci / 2]            words of one row; a column is filled up to whole groups of four
//! weights[kw][ci / 2][2]       of two channels, in turn
//! losses[channel / 2][x][2]    what the sums have to lose; of a kernel of one row, only of two channels
//! ```

use crate::element::{AddScale, Output};
use crate::kernels::{AddRow, ConvRow, ConvShape, scalar};
use crate::slices::Parts;
use core::array;

/// Numbers that are laid out together.
const GROUP: usize = 4;

/// Channels whose sums grow side by side.
const PAIR: usize = 2;

/// What the room is aligned to.
const ALIGN: usize = align_of::<i32>();

/// What a point's sums have to lose, in two channels.
type Losses = [i32; PAIR];

impl ConvShape {
    /// Words of a column.
    fn column_words(&self) -> usize {
        usize::from(self.in_channels).next_multiple_of(GROUP) / 2
    }

    /// Words of a window in one row.
    fn run_words(&self) -> usize {
        usize::from(self.kernel.width) * self.column_words()
    }

    /// Pairs of channels whose sums are kept from one row of the kernel to the next.
    fn pairs_kept(&self) -> usize {
        if self.kernel.height == 1 {
            1
        } else {
            self.channels.div_ceil(PAIR)
        }
    }
}

/// Room for inputs, weights and sums, with what it takes to align them.
pub(super) fn conv_room(shape: &ConvShape) -> usize {
    // Of a picture that fits no memory, more than there can be.
    let inputs = shape.columns().saturating_mul(shape.column_words());
    let losses = (shape.width as usize).saturating_mul(PAIR * shape.pairs_kept());
    let words = inputs.saturating_add(losses);
    let words = words.saturating_add(PAIR * shape.run_words());
    words.saturating_mul(size_of::<i32>()).saturating_add(ALIGN)
}

/// ```text
/// for kh: lay out the row
///     for each two channels: lay out the weights; add up, in the first row from 0 on; in the last row finish
/// ```
pub(super) fn conv_row(row: &ConvRow<'_, i8>, room: &mut [i8], out: &mut [i8]) {
    let shape = &row.filter.shape;
    let (width, step) = (shape.width as usize, usize::from(shape.stride));
    let (inputs, rest) = words(room).parted_mut(shape.columns() * shape.column_words());
    let (weights, rest) = rest.parted_mut(PAIR * shape.run_words());
    let weights = weights.as_chunks_mut().0;
    let losses = rest.as_chunks_mut().0;
    // From two channels' losses to those of the next two.
    let kept = if shape.pairs_kept() == 1 { 0 } else { width };
    for (kh, &input) in row.rows.iter().enumerate() {
        let (places, _) = inputs.as_chunks_mut();
        lay_out(shape, [input], places, instructions::spread_inputs);
        for first in (0..shape.channels).step_by(PAIR) {
            let losses = losses.part_mut(first / PAIR * kept, width);
            if kh == 0 {
                losses.fill([0; PAIR]);
            }
            let own = array::from_fn(|n| weights_of(row, first + n, kh));
            lay_out(shape, own, weights, instructions::spread_weights);
            instructions::add_up(inputs, step * shape.column_words(), weights, losses);
            if kh + 1 == row.rows.len() {
                finish(row, first, losses, out);
            }
        }
    }
}

/// A channel's weights in one row of the kernel; behind the last channel its own once more.
fn weights_of<'a>(row: &ConvRow<'a, i8>, channel: usize, kh: usize) -> &'a [i8] {
    let shape = &row.filter.shape;
    let (_, weights) = row.filter.row(channel.min(shape.channels - 1), kh);
    signed(weights.as_flattened())
}

/// Makes words of groups of N runs of numbers: of each two numbers one, the runs in turn.
type Spread<const N: usize> = fn([&[[i8; GROUP]]; N], &mut [[[i32; N]; GROUP / 2]]);

/// Lays out N runs of columns, with zeros where they do not fill whole groups.
fn lay_out<const N: usize>(
    shape: &ConvShape,
    runs: [&[i8]; N],
    words: &mut [[i32; N]],
    spread: Spread<N>,
) {
    let channels = usize::from(shape.in_channels);
    if channels.is_multiple_of(GROUP) {
        return spread(runs.map(|run| run.as_chunks().0), words.as_chunks_mut().0);
    }
    let columns = words.chunks_exact_mut(shape.column_words().max(1));
    for (x, column) in columns.enumerate() {
        let own = runs.map(|run| run.part(x * channels, channels));
        for (first, words) in (0..channels)
            .step_by(GROUP)
            .zip(column.chunks_mut(GROUP / 2))
        {
            let number = |own: &[i8], i: usize| own.get(first + i).copied().unwrap_or(0);
            let groups = own.map(|own| [array::from_fn(|i| number(own, i))]);
            spread(
                groups.each_ref().map(|group| &group[..]),
                words.as_chunks_mut().0,
            );
        }
    }
}

/// Takes the losses off the biases of two channels and stores the results.
fn finish(row: &ConvRow<'_, i8>, first: usize, losses: &[Losses], out: &mut [i8]) {
    let (params, output) = (&row.filter.params, row.filter.output);
    for (n, channel) in (first..row.filter.shape.channels).take(PAIR).enumerate() {
        let (multiplier, shift) = params.scale(channel);
        let scale = Scale {
            bias: params.bias(channel),
            multiplier,
            shift,
            output,
        };
        let losses = losses.as_flattened().behind(n);
        instructions::finish(losses, &scale, row.out_step, out.behind_mut(channel));
    }
}

/// What a channel's losses are taken off, and what becomes of the sums.
struct Scale {
    bias: i32,
    multiplier: i32,
    shift: u8,
    output: Output,
}

/// The plain form: every other loss, every `out_step`th result.
///
/// Not inlined: on Cortex-M0 it is for what never or seldom occurs.
#[inline(never)]
fn finish_plainly(losses: &[i32], scale: &Scale, out_step: usize, out: &mut [i8]) {
    for (i, loss) in losses.iter().step_by(PAIR).enumerate() {
        let wide = i64::from(scale.bias - loss) * i64::from(scale.multiplier);
        if let Some(result) = out.get_mut(i * out_step) {
            *result = scale.output.requantise(wide, scale.shift);
        }
    }
}

/// Bits of half a word.
const HALF: u8 = 16;

/// The lower half of a word.
const LOWER: i32 = 0xffff;

/// How results are stored.
struct Stored {
    /// 2 * zero + 1: half a step for rounding, before the last bit is shifted out.
    offset: i32,
    low: i32,
}

impl Stored {
    fn new(output: Output) -> Self {
        Self {
            offset: 2 * i32::from(output.zero) + 1,
            low: output.low().into(),
        }
    }

    /// Of twice a result.
    #[inline(always)]
    fn round(&self, twice: i32) -> i8 {
        (twice.wrapping_add(self.offset) >> 1).clamp(self.low, i8::MAX.into()) as i8
    }
}

/// ```text
/// a[i] = saturate(zero + round(((a[i] - zero_a) * input + (b[i] - zero_b) * skip) / 2^shift))
/// ```
///
/// Each factor in two halves, whose products with numbers of 9 bits and their sums are words.
pub(super) fn add_row(row: &AddRow<'_, i8>, out: &mut [i8]) {
    let AddScale {
        zero_a,
        zero_b,
        rescale,
        output,
    } = row.scale;
    let Some(shift) = rescale.shift.checked_sub(HALF + 1) else {
        return scalar::add_row(row, out);
    };
    // Nothing but the sign is left of a sum that is shifted by more than a word.
    let (shift, stored) = (shift.min(31), Stored::new(output));
    let [a_high, b_high] = [rescale.input, rescale.skip].map(|factor| factor >> HALF);
    let [a_low, b_low] = [rescale.input, rescale.skip].map(|factor| factor & LOWER);
    for (result, &b) in out.iter_mut().zip(row.b) {
        let (a, b) = (
            i32::from(*result) - i32::from(zero_a),
            i32::from(b) - i32::from(zero_b),
        );
        let upper = a * a_high + b * b_high + ((a * a_low + b * b_low) >> HALF);
        *result = stored.round(upper >> shift);
    }
}

/// Bytes as words, from the first whole one on.
fn words(bytes: &mut [i8]) -> &mut [i32] {
    // SAFETY: every pattern of bits is an integer.
    unsafe { bytes.align_to_mut().1 }
}

fn signed(bytes: &[u8]) -> &[i8] {
    // SAFETY: both have the same layout.
    unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

#[cfg(backend = "thumb1")]
mod instructions {
    use super::{GROUP, HALF, LOWER, Losses, PAIR, Scale};
    use crate::element::UPPER;
    use crate::slices::Parts;
    use core::arch::naked_asm;

    /// Groups in a turn of the loop.
    const UNROLLED: usize = 8;

    /// Bytes of the instructions for a group.
    const GROUP_CODE: usize = 30;

    /// Two channels of a row, in the order in which `add_up_points` loads it.
    #[repr(C)]
    struct Work {
        /// The first point's window.
        window: *const i32,
        window_end: *const i32,
        weights: *const [i32; PAIR],
        losses: *mut Losses,
        losses_end: *mut Losses,
        /// Bytes from a window to the next.
        step: usize,
        /// Bytes of instructions that are passed over in the first turn.
        passed_over: usize,
    }

    /// ```text
    /// for x, for n: losses[x][n] += sum over i of upper half of inputs[x * step + i] * weights[i][n]
    /// ```
    ///
    /// There are whole groups of weights.
    pub(super) fn add_up(
        inputs: &[i32],
        step: usize,
        weights: &[[i32; PAIR]],
        losses: &mut [Losses],
    ) {
        let groups = weights.len() / (GROUP / 2);
        let Some(last) = losses.len().checked_sub(1).filter(|_| groups > 0) else {
            return;
        };
        let Some(window) = inputs.get(..last * step + weights.len()) else {
            return;
        };
        let window = window.part(0, weights.len());
        let (window, losses) = (window.as_ptr_range(), losses.as_mut_ptr_range());
        let work = Work {
            window: window.start,
            window_end: window.end,
            weights: weights.as_ptr(),
            losses: losses.start,
            losses_end: losses.end,
            step: step * size_of::<i32>(),
            passed_over: (groups.next_multiple_of(UNROLLED) - groups) * GROUP_CODE,
        };
        // SAFETY: there are points and groups, and the window of the last point lies within the inputs.
        unsafe { add_up_points(&work) }
    }

    /// 15 instructions for a group of two channels, which is 8 products of bytes.
    ///
    /// r0: window, r1: weights, both moved on; r2, r3: inputs; r4, r5: weights; r6, r7: losses; r8: their place;
    /// r9, r10: a point's window and its end; r11: the first weights; r12: where the first turn starts; r14: the end
    /// of the losses.
    #[unsafe(naked)]
    unsafe extern "C" fn add_up_points(work: &Work) {
        macro_rules! word {
            ($input:literal) => {
                concat!(
                    "ldm r1!, {{r4, r5}}\n muls r4, ",
                    $input,
                    ", r4\n asrs r4, r4, #16\n adcs r6, r4\n muls r5, ",
                    $input,
                    ", r5\n asrs r5, r5, #16\n adcs r7, r5"
                )
            };
        }
        macro_rules! group {
            () => {
                concat!("ldm r0!, {{r2, r3}}\n", word!("r2"), "\n", word!("r3"))
            };
        }
        naked_asm!(
            "push {{r4-r7, lr}}",
            "mov r4, r8",
            "mov r5, r9",
            "mov r6, r10",
            "mov r7, r11",
            "push {{r4-r7}}",
            "ldm r0!, {{r1-r7}}",
            "push {{r6}}",
            "mov r9, r1",
            "mov r10, r2",
            "mov r11, r3",
            "mov r8, r4",
            "mov lr, r5",
            "adr r0, 2f",
            "adds r0, r0, r7",
            "mov r12, r0",
            "b 3f",
            ".p2align 2",
            "2:",
            group!(),
            group!(),
            group!(),
            group!(),
            group!(),
            group!(),
            group!(),
            group!(),
            "cmp r0, r10",
            "bne 2b",
            "mov r2, r8",
            "stm r2!, {{r6, r7}}",
            "cmp r2, lr",
            "beq 4f",
            "mov r8, r2",
            "ldr r3, [sp]",
            "add r9, r3",
            "add r10, r3",
            "3:",
            "mov r2, r8",
            "ldm r2!, {{r6, r7}}",
            "mov r0, r9",
            "mov r1, r11",
            "mov pc, r12",
            "4:",
            "pop {{r3-r7}}",
            "mov r8, r4",
            "mov r9, r5",
            "mov r10, r6",
            "mov r11, r7",
            "pop {{r4-r7, pc}}",
        )
    }

    /// A channel of a row, in the order in which `finish_points` loads it.
    #[repr(C)]
    struct Finish {
        losses: *const i32,
        /// The multiplier's halves, the lower one without a sign.
        high: i32,
        low: i32,
        /// All of the shift but its last bit, behind the lower word.
        shift: u32,
        bias: i32,
        /// 2 * zero + 1: half a step for rounding, before the last bit is shifted out.
        offset: i32,
        /// The least result.
        least: i32,
        /// Behind the last loss but one of another channel.
        end: *const i32,
        out: *mut i8,
        out_step: usize,
    }

    pub(super) fn finish(losses: &[i32], scale: &Scale, out_step: usize, out: &mut [i8]) {
        let points = losses.len().div_ceil(PAIR);
        let Some(shift) = scale.shift.checked_sub(UPPER + 1).filter(|_| points > 0) else {
            return super::finish_plainly(losses, scale, out_step, out);
        };
        debug_assert!((points - 1) * out_step < out.len());
        if (points - 1) * out_step >= out.len() {
            return;
        }
        let losses = losses.as_ptr();
        let work = Finish {
            losses,
            high: scale.multiplier >> HALF,
            low: scale.multiplier & LOWER,
            shift: shift.into(),
            bias: scale.bias,
            offset: 2 * i32::from(scale.output.zero) + 1,
            least: scale.output.low().into(),
            end: losses.wrapping_add(PAIR * points),
            out: out.as_mut_ptr(),
            out_step,
        };
        // SAFETY: there are so many losses and results.
        unsafe { finish_points(&work) }
    }

    /// ```text
    /// sum = bias - loss
    /// carried = low half of sum * low >> 16
    /// middle = high half of sum * low + carried
    /// other = low half of sum * high + low half of middle
    /// upper = high half of sum * high + (middle >> 16) + (other >> 16)
    /// result = clamp((upper >> shift) + offset >> 1, least, 127)
    /// ```
    ///
    /// None of the products of halves leaves a word, nor do the sums. r0: losses, r1: results, both moved on; r5: high;
    /// r6: low; r7: shift; r8: `out_step`; r9: bias; r10: what there is no low register for; r11: least; r12: offset;
    /// r14: the end of the losses.
    #[unsafe(naked)]
    unsafe extern "C" fn finish_points(work: &Finish) {
        naked_asm!(
            "push {{r4-r7, lr}}",
            "mov r4, r8",
            "mov r5, r9",
            "mov r6, r10",
            "mov r7, r11",
            "push {{r4-r7}}",
            "ldm r0!, {{r1, r5-r7}}",
            "ldm r0!, {{r2-r4}}",
            "mov r9, r2",
            "mov r12, r3",
            "mov r11, r4",
            "ldm r0!, {{r2-r4}}",
            "mov lr, r2",
            "mov r8, r4",
            "mov r0, r1",
            "mov r1, r3",
            "2:",
            "ldr r3, [r0]",
            "adds r0, r0, #8",
            "mov r2, r9",
            "subs r2, r2, r3",
            "uxth r3, r2",
            "asrs r2, r2, #16",
            "mov r4, r3",
            "muls r4, r6, r4",
            "lsrs r4, r4, #16",
            "mov r10, r2",
            "muls r2, r6, r2",
            "adds r4, r4, r2",
            "mov r2, r10",
            "muls r2, r5, r2",
            "muls r3, r5, r3",
            "mov r10, r4",
            "uxth r4, r4",
            "adds r3, r3, r4",
            "asrs r3, r3, #16",
            "adds r2, r2, r3",
            "mov r4, r10",
            "asrs r4, r4, #16",
            "adds r2, r2, r4",
            "asrs r2, r2, r7",
            "add r2, r12",
            "asrs r2, r2, #1",
            "cmp r2, #127",
            "ble 3f",
            "movs r2, #127",
            "3:",
            "cmp r2, r11",
            "bge 4f",
            "mov r2, r11",
            "4:",
            "strb r2, [r1]",
            "add r1, r8",
            "cmp r0, lr",
            "bne 2b",
            "pop {{r4-r7}}",
            "mov r8, r4",
            "mov r9, r5",
            "mov r10, r6",
            "mov r11, r7",
            "pop {{r4-r7, pc}}",
        )
    }

    pub(super) fn spread_inputs([from]: [&[[i8; GROUP]]; 1], to: &mut [[[i32; 1]; GROUP / 2]]) {
        let groups = from.len().min(to.len());
        if groups > 0 {
            // SAFETY: both have so many groups.
            unsafe { spread_one(from.as_ptr(), to.as_mut_ptr(), groups) }
        }
    }

    /// Makes words of `groups` groups, at least one: the second number above, less the first.
    #[unsafe(naked)]
    unsafe extern "C" fn spread_one(
        from: *const [i8; GROUP],
        to: *mut [[i32; 1]; GROUP / 2],
        groups: usize,
    ) {
        naked_asm!(
            "push {{r4-r7, lr}}",
            "lsls r2, r2, #2",
            "adds r2, r0, r2",
            "movs r3, #0",
            "movs r4, #1",
            "2:",
            "ldrsb r5, [r0, r4]",
            "ldrsb r7, [r0, r3]",
            "adds r0, r0, #2",
            "lsls r5, r5, #16",
            "subs r5, r5, r7",
            "ldrsb r6, [r0, r4]",
            "ldrsb r7, [r0, r3]",
            "adds r0, r0, #2",
            "lsls r6, r6, #16",
            "subs r6, r6, r7",
            "stm r1!, {{r5, r6}}",
            "cmp r0, r2",
            "bne 2b",
            "pop {{r4-r7, pc}}",
        )
    }

    pub(super) fn spread_weights([a, b]: [&[[i8; GROUP]]; PAIR], to: &mut [[Losses; GROUP / 2]]) {
        let groups = a.len().min(b.len()).min(to.len());
        if groups > 0 {
            // SAFETY: all have so many groups.
            unsafe { spread_two(a.as_ptr(), b.as_ptr(), to.as_mut_ptr(), groups) }
        }
    }

    /// Makes words of `groups` groups of each, at least one, in turn: the first number above, less the second.
    #[unsafe(naked)]
    unsafe extern "C" fn spread_two(
        a: *const [i8; GROUP],
        b: *const [i8; GROUP],
        to: *mut [[i32; PAIR]; GROUP / 2],
        groups: usize,
    ) {
        macro_rules! word {
            () => {
                "ldrsb r5, [r0, r3]
                ldrsb r7, [r0, r4]
                adds r0, r0, #2
                lsls r5, r5, #16
                subs r5, r5, r7
                ldrsb r6, [r1, r3]
                ldrsb r7, [r1, r4]
                adds r1, r1, #2
                lsls r6, r6, #16
                subs r6, r6, r7
                stm r2!, {{r5, r6}}"
            };
        }
        naked_asm!(
            "push {{r4-r7, lr}}",
            "lsls r3, r3, #2",
            "adds r3, r0, r3",
            "mov r12, r3",
            "movs r3, #0",
            "movs r4, #1",
            "2:",
            word!(),
            word!(),
            "cmp r0, r12",
            "bne 2b",
            "pop {{r4-r7, pc}}",
        )
    }
}

/// The same by plain loops, for tests on other processors.
#[cfg(not(backend = "thumb1"))]
mod instructions {
    use super::{GROUP, HALF, Losses, PAIR};
    use crate::slices::Parts;
    use core::array;

    pub(super) use super::finish_plainly as finish;

    pub(super) fn add_up(
        inputs: &[i32],
        step: usize,
        weights: &[[i32; PAIR]],
        losses: &mut [Losses],
    ) {
        for (x, losses) in losses.iter_mut().enumerate() {
            for (&input, weights) in inputs.behind(x * step).iter().zip(weights) {
                for (loss, &weight) in losses.iter_mut().zip(weights) {
                    let product = input.wrapping_mul(weight);
                    *loss += (product >> HALF) + (product >> (HALF - 1) & 1);
                }
            }
        }
    }

    /// A word of two numbers.
    fn word(above: i8, below: i8) -> i32 {
        (i32::from(above) << HALF) - i32::from(below)
    }

    pub(super) fn spread_inputs([from]: [&[[i8; GROUP]]; 1], to: &mut [[[i32; 1]; GROUP / 2]]) {
        for (group, words) in from.iter().zip(to) {
            *words = array::from_fn(|i| [word(group[2 * i + 1], group[2 * i])]);
        }
    }

    pub(super) fn spread_weights([a, b]: [&[[i8; GROUP]]; PAIR], to: &mut [[Losses; GROUP / 2]]) {
        for ((a, b), words) in a.iter().zip(b).zip(to) {
            *words = array::from_fn(|i| [a, b].map(|from| word(from[2 * i], from[2 * i + 1])));
        }
    }
}
