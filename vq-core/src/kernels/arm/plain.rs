//! Cortex-M3: one product an instruction.

use crate::kernels::columns::{Columns, GROUP, PAIR, Pair};

/// Whole words, so that one instruction loads two inputs or four weights.
#[derive(Debug)]
pub(super) struct Plain;

impl Columns for Plain {
    type Input = i32;
    type Weight = i32;
    const TAPS: usize = 1;

    fn spread(from: &[[i8; GROUP]], low: i8, to: &mut [[i32; GROUP]]) {
        instructions::spread(from, low, to);
    }

    fn spread_pair(from: [&[[i8; GROUP]]; PAIR], to: &mut [[i32; PAIR * GROUP]]) {
        instructions::spread_pair(from, to);
    }

    fn convolve(pair: Pair<'_, Self>, out: &mut [i8]) {
        instructions::convolve(pair, out);
    }
}

#[cfg(backend = "thumb2")]
mod instructions {
    use super::{GROUP, PAIR, Pair, Plain};
    use crate::kernels::arm::pairs;
    use core::arch::naked_asm;

    pub(super) fn convolve(pair: Pair<'_, Plain>, out: &mut [i8]) {
        pairs::convolve(pair, out, &ENDINGS);
    }

    // 22 instructions for 16 products. r8 - r11: weights of both channels for two products; r12, r14: inputs.
    pairs::kernel!(
        "ldm r2!, {{r8-r11}}
        ldm r0!, {{r12, lr}}
        mla r4, r12, r8, r4
        mla r5, r12, r9, r5
        mla r4, lr, r10, r4
        mla r5, lr, r11, r5
        ldm r1!, {{r12, lr}}
        mla r6, r12, r8, r6
        mla r7, r12, r9, r7
        mla r6, lr, r10, r6
        mla r7, lr, r11, r7
        ldm r2!, {{r8-r11}}
        ldm r0!, {{r12, lr}}
        mla r4, r12, r8, r4
        mla r5, r12, r9, r5
        mla r4, lr, r10, r4
        mla r5, lr, r11, r5
        ldm r1!, {{r12, lr}}
        mla r6, r12, r8, r6
        mla r7, r12, r9, r7
        mla r6, lr, r10, r6
        mla r7, lr, r11, r7"
    );

    pub(super) fn spread(from: &[[i8; GROUP]], low: i8, to: &mut [[i32; GROUP]]) {
        let groups = from.len().min(to.len());
        let spread = match low {
            i8::MIN => spread_groups,
            _ => spread_cut,
        };
        if groups > 0 {
            // SAFETY: both have so many groups.
            unsafe { spread(from.as_ptr(), to.as_mut_ptr(), groups, low.into()) }
        }
    }

    /// `$cut` deals with the numbers that have been widened.
    macro_rules! spread {
        ($name:ident, $($cut:literal),*) => {
            /// Widens `groups` groups, at least one.
            #[unsafe(naked)]
            unsafe extern "C" fn $name(
                from: *const [i8; GROUP],
                to: *mut [i32; GROUP],
                groups: usize,
                low: i32,
            ) {
                naked_asm!(
                    "push {{r4-r7, lr}}",
                    "2:",
                    "ldr r12, [r0], #4",
                    "sxtb r4, r12",
                    "sxtb r5, r12, ror #8",
                    "sxtb r6, r12, ror #16",
                    "asr r7, r12, #24",
                    $($cut,)*
                    "stm r1!, {{r4-r7}}",
                    "subs r2, r2, #1",
                    "bne 2b",
                    "pop {{r4-r7, pc}}",
                )
            }
        };
    }
    spread!(spread_groups,);
    spread!(
        spread_cut,
        "cmp r4, r3
        it lt
        movlt r4, r3",
        "cmp r5, r3
        it lt
        movlt r5, r3",
        "cmp r6, r3
        it lt
        movlt r6, r3",
        "cmp r7, r3
        it lt
        movlt r7, r3"
    );

    pub(super) fn spread_pair([a, b]: [&[[i8; GROUP]]; PAIR], to: &mut [[i32; PAIR * GROUP]]) {
        let groups = a.len().min(b.len()).min(to.len());
        if groups > 0 {
            // SAFETY: all have so many groups.
            unsafe { spread_two(a.as_ptr(), b.as_ptr(), to.as_mut_ptr(), groups) }
        }
    }

    /// Widens `groups` groups of each, at least one, number by number in turn.
    #[unsafe(naked)]
    unsafe extern "C" fn spread_two(
        a: *const [i8; GROUP],
        b: *const [i8; GROUP],
        to: *mut [i32; PAIR * GROUP],
        groups: usize,
    ) {
        naked_asm!(
            "push {{r4-r11, lr}}",
            "2:",
            "ldr r12, [r0], #4",
            "ldr lr, [r1], #4",
            "sxtb r4, r12",
            "sxtb r5, lr",
            "sxtb r6, r12, ror #8",
            "sxtb r7, lr, ror #8",
            "sxtb r8, r12, ror #16",
            "sxtb r9, lr, ror #16",
            "asr r10, r12, #24",
            "asr r11, lr, #24",
            "stm r2!, {{r4-r11}}",
            "subs r3, r3, #1",
            "bne 2b",
            "pop {{r4-r11, pc}}",
        )
    }
}

/// The same by plain loops, for tests on other processors.
#[cfg(not(backend = "thumb2"))]
mod instructions {
    use super::{GROUP, PAIR};
    use core::array;

    pub(super) use crate::kernels::columns::convolve;

    pub(super) fn spread(from: &[[i8; GROUP]], low: i8, to: &mut [[i32; GROUP]]) {
        for (group, place) in from.iter().zip(to) {
            *place = group.map(|x| x.max(low).into());
        }
    }

    pub(super) fn spread_pair([a, b]: [&[[i8; GROUP]]; PAIR], to: &mut [[i32; PAIR * GROUP]]) {
        for ((a, b), place) in a.iter().zip(b).zip(to) {
            *place = array::from_fn(|i| [a, b][i % PAIR][i / PAIR].into());
        }
    }
}
