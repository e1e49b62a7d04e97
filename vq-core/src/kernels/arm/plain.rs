//! Cortex-M3: one product an instruction.

use crate::kernels::columns::{Columns, GROUP, PAIR, Pair};

/// Inputs as they are, for a load widens them; weights as whole words, so that one instruction loads four.
#[derive(Debug)]
pub(super) struct Plain;

impl Columns for Plain {
    type Input = i8;
    type Weight = i32;
    const TAPS: usize = 1;

    fn spread(from: &[[i8; GROUP]], to: &mut [[i8; GROUP]]) {
        to[..from.len()].copy_from_slice(from);
    }

    fn spread_pair(from: [&[[i8; GROUP]]; PAIR], to: &mut [[i32; PAIR * GROUP]]) {
        instructions::spread_pair(from, to);
    }

    fn convolve(pair: &Pair<'_, Self>, out: &mut [i8]) {
        instructions::convolve(pair, out);
    }
}

#[cfg(backend = "thumb2")]
mod instructions {
    use super::{GROUP, PAIR, Pair, Plain};
    use crate::kernels::arm::pairs;
    use core::arch::naked_asm;

    pub(super) fn convolve(pair: &Pair<'_, Plain>, out: &mut [i8]) {
        pairs::convolve(pair, out, [convolve_one, convolve_two]);
    }

    // 26 instructions for 16 products. r8 - r11: weights of both channels for two products; r12, r14: inputs.
    pairs::kernel!(convolve_one, convolve_two:
        "ldm r2!, {{r8-r11}}
        ldrsb r12, [r0], #1
        ldrsb lr, [r1], #1
        mla r4, r12, r8, r4
        mla r5, r12, r9, r5
        mla r6, lr, r8, r6
        mla r7, lr, r9, r7
        ldrsb r12, [r0], #1
        ldrsb lr, [r1], #1
        mla r4, r12, r10, r4
        mla r5, r12, r11, r5
        mla r6, lr, r10, r6
        mla r7, lr, r11, r7
        ldm r2!, {{r8-r11}}
        ldrsb r12, [r0], #1
        ldrsb lr, [r1], #1
        mla r4, r12, r8, r4
        mla r5, r12, r9, r5
        mla r6, lr, r8, r6
        mla r7, lr, r9, r7
        ldrsb r12, [r0], #1
        ldrsb lr, [r1], #1
        mla r4, r12, r10, r4
        mla r5, r12, r11, r5
        mla r6, lr, r10, r6
        mla r7, lr, r11, r7"
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

    pub(super) fn spread_pair([a, b]: [&[[i8; GROUP]]; PAIR], to: &mut [[i32; PAIR * GROUP]]) {
        for ((a, b), place) in a.iter().zip(b).zip(to) {
            *place = array::from_fn(|i| [a, b][i % PAIR][i / PAIR].into());
        }
    }
}
