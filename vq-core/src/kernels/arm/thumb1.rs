//! Cortex-M0 and M0+, which know eight registers and no instruction that adds a product to a sum.

#[cfg(backend = "thumb1")]
use super::channel::Channel;
#[cfg(backend = "thumb1")]
use super::halves::{GROUP, WORDS};
use super::halves::{HALF, Halves};
use crate::element::{AddScale, Output};
use crate::kernels::{AddRow, scalar};

/// Channels whose sums grow side by side.
pub(super) const PAIR: usize = 2;

/// Two products in the halves of a word. Shifting the word down leaves the bit that says how to round in the carry.
#[derive(Debug)]
pub(super) struct Thumb1;

#[cfg(not(backend = "thumb1"))]
impl Halves<PAIR> for Thumb1 {}

#[cfg(backend = "thumb1")]
impl Halves<PAIR> for Thumb1 {
    fn widen_inputs(from: [&[[i8; GROUP]]; 1], to: &mut [[[i32; 1]; WORDS]]) {
        instructions::widen_inputs(from, to);
    }

    fn widen_weights(from: [&[[i8; GROUP]]; PAIR], to: &mut [[[i32; PAIR]; WORDS]]) {
        instructions::widen_weights(from, to);
    }

    fn add_up(inputs: &[i32], step: usize, weights: &[[i32; PAIR]], negated: &mut [[i32; PAIR]]) {
        instructions::add_up(inputs, step, weights, negated);
    }

    fn finish(negated: &[i32], scale: &Channel, output: Output, out_step: usize, out: &mut [i8]) {
        instructions::finish(negated, scale, output, out_step, out);
    }
}

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

#[cfg(backend = "thumb1")]
mod instructions {
    use super::{Channel, GROUP, HALF, LOWER, PAIR, WORDS};
    use crate::element::{Output, UPPER};
    use crate::kernels::arm::halves::{self, Turn, Work};
    use core::arch::naked_asm;

    /// Puts away all registers that a caller wants back.
    macro_rules! save {
        () => {
            "push {{r4-r7, lr}}
            mov r4, r8
            mov r5, r9
            mov r6, r10
            mov r7, r11
            push {{r4-r7}}"
        };
    }

    /// Brings them back, of which r4 - r7 hold the upper ones, and returns.
    macro_rules! restore {
        () => {
            "mov r8, r4
            mov r9, r5
            mov r10, r6
            mov r11, r7
            pop {{r4-r7, pc}}"
        };
    }

    /// The instructions of `add_up_points`, which checks the number of bytes.
    const TURN: Turn = Turn {
        groups: 8,
        group_code: 30,
    };

    assert_order!(Work<PAIR> {
        window: 1,
        window_end: 1,
        weights: 1,
        negated: 1,
        negated_end: 1,
        step: 1,
        passed_over: 1,
    });

    pub(super) fn add_up(
        inputs: &[i32],
        step: usize,
        weights: &[[i32; PAIR]],
        negated: &mut [[i32; PAIR]],
    ) {
        if let Some(work) = Work::new(inputs, step, weights, negated, TURN) {
            // SAFETY: the work is what `new` has made.
            unsafe { add_up_points(&work) }
        }
    }

    /// 15 instructions for a group of two channels, which is 8 products of bytes.
    ///
    /// r0: window, r1: weights, both moved on; r2, r3: inputs; r4, r5: weights; r6, r7: negated sums; r8: their place;
    /// r9, r10: a point's window and its end; r11: the first weights; r12: where the first turn starts; r14: the end
    /// of the negated sums.
    ///
    /// # Safety
    /// [`Work::new`] has made the work, with [`TURN`]; what it points to is still there.
    #[unsafe(naked)]
    unsafe extern "C" fn add_up_points(work: &Work<PAIR>) {
        macro_rules! word {
            ($input:literal) => {
                concat!(
                    "ldm r1!, {{r4, r5}}\n",
                    concat!("muls r4, ", $input, ", r4\n"),
                    "asrs r4, r4, #16\n",
                    "adcs r6, r4\n",
                    concat!("muls r5, ", $input, ", r5\n"),
                    "asrs r5, r5, #16\n",
                    "adcs r7, r5\n",
                )
            };
        }
        macro_rules! group {
            () => {
                concat!("ldm r0!, {{r2, r3}}\n", word!("r2"), word!("r3"))
            };
        }
        naked_asm!(
            save!(),
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
            "5:",
            assert_distance!("2b", "5b", "{GROUP_CODE}"),
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
            restore!(),
            GROUP_CODE = const TURN.group_code,
        )
    }

    /// A channel of a row, in the order in which `finish_points` loads it.
    #[repr(C)]
    struct Finish {
        negated: *const i32,
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
        /// Behind the last of them, and one of another channel.
        end: *const i32,
        out: *mut i8,
        out_step: usize,
    }

    assert_order!(Finish {
        negated: 1,
        high: 1,
        low: 1,
        shift: 1,
        bias: 1,
        offset: 1,
        least: 1,
        end: 1,
        out: 1,
        out_step: 1,
    });

    pub(super) fn finish(
        negated: &[i32],
        scale: &Channel,
        output: Output,
        out_step: usize,
        out: &mut [i8],
    ) {
        let points = negated.len().div_ceil(PAIR);
        let is_there = points > 0 && (points - 1) * out_step < out.len();
        let Some(shift) = scale.shift.checked_sub(UPPER + 1).filter(|_| is_there) else {
            return halves::finish::<PAIR>(negated, scale, output, out_step, out);
        };
        let negated = negated.as_ptr();
        let work = Finish {
            negated,
            high: scale.multiplier >> HALF,
            low: scale.multiplier & LOWER,
            shift: shift.into(),
            bias: scale.bias,
            offset: 2 * i32::from(output.zero) + 1,
            least: output.low().into(),
            end: negated.wrapping_add(PAIR * points),
            out: out.as_mut_ptr(),
            out_step,
        };
        // SAFETY: there is a point, and as many sums and places for results as there are points.
        unsafe { finish_points(&work) }
    }

    /// ```text
    /// sum = bias - negated
    /// carried = low half of sum * low >> 16
    /// middle = high half of sum * low + carried
    /// other = low half of sum * high + low half of middle
    /// upper = high half of sum * high + (middle >> 16) + (other >> 16)
    /// result = clamp((upper >> shift) + offset >> 1, least, 127)
    /// ```
    ///
    /// None of the products of halves leaves a word, nor do the sums. r0: negated sums, r1: results, both moved on; r5: high;
    /// r6: low; r7: shift; r8: `out_step`; r9: bias; r10: what there is no low register for; r11: least; r12: offset;
    /// r14: the end of the negated sums.
    ///
    /// # Safety
    /// From `negated` to `end` every other sum is readable, at least one; and as many results are writable from `out` on,
    /// `out_step` apart.
    #[unsafe(naked)]
    unsafe extern "C" fn finish_points(work: &Finish) {
        naked_asm!(
            save!(),
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
            "adds r0, r0, #{SUMS}",
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
            restore!(),
            SUMS = const size_of::<[i32; PAIR]>(),
        )
    }

    pub(super) fn widen_inputs([from]: [&[[i8; GROUP]]; 1], to: &mut [[[i32; 1]; WORDS]]) {
        let groups = from.len().min(to.len());
        if groups > 0 {
            // SAFETY: both have so many groups.
            unsafe { widen_one(from.as_ptr(), to.as_mut_ptr(), groups) }
        }
    }

    /// Makes words of `groups` groups: the second number above, less the first.
    ///
    /// # Safety
    /// `groups` is not 0; so many are readable at `from`, and so many writable at `to`.
    #[unsafe(naked)]
    unsafe extern "C" fn widen_one(
        from: *const [i8; GROUP],
        to: *mut [[i32; 1]; WORDS],
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

    pub(super) fn widen_weights([a, b]: [&[[i8; GROUP]]; PAIR], to: &mut [[[i32; PAIR]; WORDS]]) {
        let groups = a.len().min(b.len()).min(to.len());
        if groups > 0 {
            // SAFETY: all have so many groups.
            unsafe { widen_two(a.as_ptr(), b.as_ptr(), to.as_mut_ptr(), groups) }
        }
    }

    /// Makes words of `groups` groups of each, in turn: the first number above, less the second.
    ///
    /// # Safety
    /// `groups` is not 0; so many are readable at `a` and at `b`, and so many writable at `to`.
    #[unsafe(naked)]
    unsafe extern "C" fn widen_two(
        a: *const [i8; GROUP],
        b: *const [i8; GROUP],
        to: *mut [[i32; PAIR]; WORDS],
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
