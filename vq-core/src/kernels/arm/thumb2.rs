//! Cortex-M3, which adds a product of words to a sum.

use super::halves::Halves;

/// Channels whose sums grow side by side.
pub(super) const CHANNELS: usize = 4;

/// Two products in the halves of a word.
#[derive(Debug)]
pub(super) struct Thumb2;

#[cfg(not(backend = "thumb2"))]
impl Halves<CHANNELS> for Thumb2 {}

#[cfg(backend = "thumb2")]
impl Halves<CHANNELS> for Thumb2 {
    fn add_up(
        inputs: &[i32],
        step: usize,
        weights: &[[i32; CHANNELS]],
        negated: &mut [[i32; CHANNELS]],
    ) {
        instructions::add_up(inputs, step, weights, negated);
    }
}

#[cfg(backend = "thumb2")]
mod instructions {
    use super::CHANNELS;
    use crate::kernels::arm::halves::{Turn, Work};
    use core::arch::naked_asm;
    use core::mem::offset_of;

    /// The instructions of `add_up_points`, which checks the number of bytes.
    const TURN: Turn = Turn {
        groups: 4,
        group_code: 76,
    };

    assert_order!(Work<CHANNELS> { window: 1, window_end: 1 });
    assert_order!(Work<CHANNELS> { negated_end: 1, step: 1 });

    pub(super) fn add_up(
        inputs: &[i32],
        step: usize,
        weights: &[[i32; CHANNELS]],
        negated: &mut [[i32; CHANNELS]],
    ) {
        if let Some(mut work) = Work::new(inputs, step, weights, negated, TURN) {
            // SAFETY: the work is what `new` has made, and used once.
            unsafe { add_up_points(&mut work) }
        }
    }

    /// 19 instructions for a group of four channels, which is 16 products of bytes. Half a unit of the upper half is
    /// added to a product, so that shifting it down rounds it.
    ///
    /// r0: window, r1: weights, both moved on; r2: the half; r3, r12: inputs; r4 - r7: negated sums; r8 - r11: weights;
    /// r14: the window's end.
    ///
    /// # Safety
    /// [`Work::new`] has made the work, with [`TURN`]; what it points to is still there.
    #[unsafe(naked)]
    unsafe extern "C" fn add_up_points(work: &mut Work<CHANNELS>) {
        macro_rules! word {
            ($input:literal) => {
                concat!(
                    "ldm r1!, {{r8-r11}}\n",
                    concat!("mla r8, r8, ", $input, ", r2\n"),
                    concat!("mla r9, r9, ", $input, ", r2\n"),
                    concat!("mla r10, r10, ", $input, ", r2\n"),
                    concat!("mla r11, r11, ", $input, ", r2\n"),
                    "add.w r4, r4, r8, asr #16\n",
                    "add.w r5, r5, r9, asr #16\n",
                    "add.w r6, r6, r10, asr #16\n",
                    "add.w r7, r7, r11, asr #16\n",
                )
            };
        }
        macro_rules! group {
            () => {
                concat!("ldrd r3, r12, [r0], #8\n", word!("r3"), word!("r12"))
            };
        }
        naked_asm!(
            "push {{r0, r4-r11, lr}}",
            // Where the first turn starts takes the place of what it passes over.
            "ldr r1, [r0, #{PASSED_OVER}]",
            "adr r2, 3f",
            "add r1, r1, r2",
            "str r1, [r0, #{PASSED_OVER}]",
            "mov r2, #0x8000",
            "mov lr, r0",
            "2:",
            "ldr r3, [lr, #{NEGATED}]",
            "ldm r3, {{r4-r7}}",
            "ldr r12, [lr, #{PASSED_OVER}]",
            "ldr r1, [lr, #{WEIGHTS}]",
            "ldrd r0, lr, [lr, #{WINDOW}]",
            "mov pc, r12",
            ".p2align 2",
            "3:",
            group!(),
            "4:",
            assert_distance!("3b", "4b", "{GROUP_CODE}"),
            group!(),
            group!(),
            group!(),
            "cmp r0, lr",
            "bne 3b",
            // The negated sums, those of the next point, its window, and whether there is one.
            "ldr lr, [sp]",
            "ldr r3, [lr, #{NEGATED}]",
            "stm r3!, {{r4-r7}}",
            "str r3, [lr, #{NEGATED}]",
            "ldrd r4, r5, [lr, #{WINDOW}]",
            "ldrd r6, r7, [lr, #{NEGATED_END}]",
            "add r4, r4, r7",
            "add r5, r5, r7",
            "strd r4, r5, [lr, #{WINDOW}]",
            "cmp r3, r6",
            "bne 2b",
            "pop {{r0, r4-r11, pc}}",
            WINDOW = const offset_of!(Work<CHANNELS>, window),
            WEIGHTS = const offset_of!(Work<CHANNELS>, weights),
            NEGATED = const offset_of!(Work<CHANNELS>, negated),
            NEGATED_END = const offset_of!(Work<CHANNELS>, negated_end),
            PASSED_OVER = const offset_of!(Work<CHANNELS>, passed_over),
            GROUP_CODE = const TURN.group_code,
        )
    }
}
