//! Cortex-M4, M7 and M33: SMLAD multiplies two pairs of 16-bit numbers and adds both products to a sum.

use crate::kernels::columns::{Columns, GROUP, PAIR, Pair};

/// 16-bit numbers, each group in the order in which SXTB16 gives it: bytes 0 and 2, then 1 and 3.
#[derive(Debug)]
pub(super) struct Dsp;

impl Columns for Dsp {
    type Input = i16;
    type Weight = i16;
    const TAPS: usize = GROUP;

    fn spread(from: &[[i8; GROUP]], low: i8, to: &mut [[i16; GROUP]]) {
        instructions::spread(from, low, to);
    }

    fn spread_pair(from: [&[[i8; GROUP]]; PAIR], to: &mut [[i16; PAIR * GROUP]]) {
        instructions::spread_pair(from, to);
    }

    fn convolve(pair: Pair<'_, Self>, out: &mut [i8]) {
        instructions::convolve(pair, out);
    }
}

#[cfg(backend = "thumb2-dsp")]
mod instructions {
    use super::{Dsp, GROUP, PAIR, Pair};
    use crate::kernels::arm::pairs;
    use core::arch::naked_asm;

    pub(super) fn convolve(pair: Pair<'_, Dsp>, out: &mut [i8]) {
        pairs::convolve(pair, out, &ENDINGS);
    }

    // 11 instructions for 16 products. r8 - r11: the group's weights; r12, r14: a point's group.
    pairs::kernel!(
        "ldm r2!, {{r8-r11}}
        ldrd r12, lr, [r0], #8
        smlad r4, r12, r8, r4
        smlad r4, lr, r9, r4
        smlad r5, r12, r10, r5
        smlad r5, lr, r11, r5
        ldrd r12, lr, [r1], #8
        smlad r6, r12, r8, r6
        smlad r6, lr, r9, r6
        smlad r7, r12, r10, r7
        smlad r7, lr, r11, r7"
    );

    pub(super) fn spread(from: &[[i8; GROUP]], low: i8, to: &mut [[i16; GROUP]]) {
        let groups = from.len().min(to.len());
        let spread = match low {
            i8::MIN => spread_groups,
            _ => spread_cut,
        };
        if groups > 0 {
            let low = u32::from_ne_bytes([low as u8; GROUP]);
            // SAFETY: both have so many groups.
            unsafe { spread(from.as_ptr(), to.as_mut_ptr(), groups, low) }
        }
    }

    /// `$cut` deals with what r12 and r14 have loaded, and may use r4 - r7.
    macro_rules! spread {
        ($name:ident, $cut:literal) => {
            /// Widens `groups` groups, at least one.
            #[unsafe(naked)]
            unsafe extern "C" fn $name(
                from: *const [i8; GROUP],
                to: *mut [i16; GROUP],
                groups: usize,
                low: u32,
            ) {
                naked_asm!(
                    pairs::cpu!(),
                    "push {{r4-r7, lr}}",
                    "subs r2, r2, #2",
                    "blo 3f",
                    "2:",
                    "ldr r12, [r0], #4",
                    "ldr lr, [r0], #4",
                    $cut,
                    "sxtb16 r4, r12",
                    "sxtb16 r5, r12, ror #8",
                    "sxtb16 r6, lr",
                    "sxtb16 r7, lr, ror #8",
                    "stm r1!, {{r4-r7}}",
                    "subs r2, r2, #2",
                    "bhs 2b",
                    "3:",
                    "lsls r2, r2, #31",
                    "beq 4f",
                    "ldr r12, [r0]",
                    $cut,
                    "sxtb16 r4, r12",
                    "sxtb16 r5, r12, ror #8",
                    "strd r4, r5, [r1]",
                    "4:",
                    "pop {{r4-r7, pc}}",
                )
            }
        };
    }
    spread!(spread_groups, "");
    spread!(
        spread_cut,
        "ssub8 r4, r12, r3
        sel r12, r12, r3
        ssub8 r4, lr, r3
        sel lr, lr, r3"
    );

    pub(super) fn spread_pair([a, b]: [&[[i8; GROUP]]; PAIR], to: &mut [[i16; PAIR * GROUP]]) {
        let groups = a.len().min(b.len()).min(to.len());
        if groups > 0 {
            // SAFETY: all have so many groups.
            unsafe { spread_two(a.as_ptr(), b.as_ptr(), to.as_mut_ptr(), groups) }
        }
    }

    /// Widens `groups` groups of each, at least one, in turn.
    #[unsafe(naked)]
    unsafe extern "C" fn spread_two(
        a: *const [i8; GROUP],
        b: *const [i8; GROUP],
        to: *mut [i16; PAIR * GROUP],
        groups: usize,
    ) {
        macro_rules! group {
            () => {
                "ldr r12, [r0], #4
                ldr lr, [r1], #4
                sxtb16 r4, r12
                sxtb16 r5, r12, ror #8
                sxtb16 r6, lr
                sxtb16 r7, lr, ror #8
                stm r2!, {{r4-r7}}"
            };
        }
        naked_asm!(
            pairs::cpu!(),
            "push {{r4-r7, lr}}",
            "subs r3, r3, #4",
            "blo 3f",
            "2:",
            group!(),
            group!(),
            group!(),
            group!(),
            "subs r3, r3, #4",
            "bhs 2b",
            "3:",
            "adds r3, r3, #4",
            "beq 5f",
            "4:",
            group!(),
            "subs r3, r3, #1",
            "bne 4b",
            "5:",
            "pop {{r4-r7, pc}}",
        )
    }
}

/// The same by plain loops, for tests on other processors.
#[cfg(not(backend = "thumb2-dsp"))]
mod instructions {
    use super::{GROUP, PAIR};
    use core::array;

    pub(super) use crate::kernels::columns::convolve;

    /// What SXTB16 makes of the bytes' order.
    const ORDER: [usize; GROUP] = [0, 2, 1, 3];

    pub(super) fn spread(from: &[[i8; GROUP]], low: i8, to: &mut [[i16; GROUP]]) {
        for (group, place) in from.iter().zip(to) {
            *place = ORDER.map(|i| group[i].max(low).into());
        }
    }

    pub(super) fn spread_pair([a, b]: [&[[i8; GROUP]]; PAIR], to: &mut [[i16; PAIR * GROUP]]) {
        for ((a, b), place) in a.iter().zip(b).zip(to) {
            *place = array::from_fn(|i| [a, b][i / GROUP][ORDER[i % GROUP]].into());
        }
    }
}
