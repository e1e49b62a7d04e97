//! Addition of two rows, for every processor that knows Thumb-2.

use crate::element::UPPER;
use crate::kernels::AddRow;
use core::arch::naked_asm;

/// What an addition's terms are multiplied with, in the order in which `add` loads it.
#[repr(C)]
pub(super) struct Terms {
    input: i32,
    skip: i32,
    /// What the zero points come to, taken off: the lower word and the upper.
    base: [u32; 2],
    /// All of the shift but its last bit, and what is missing from that to a word.
    shift: u32,
    rest: u32,
    /// 2 * zero + 1: half a step for rounding, before the last bit is shifted out.
    offset: i32,
    /// How many elements there are.
    count: usize,
}

impl Terms {
    /// None where results are not within a word, or are cut off above the least number.
    pub(super) fn new(row: &AddRow<'_, i8>, len: usize) -> Option<Self> {
        let (scale, rescale) = (&row.scale, &row.scale.rescale);
        let shift = u32::from(rescale.shift) - 1;
        let most = (i64::from(rescale.input) + i64::from(rescale.skip)) * 255;
        if !(1..32).contains(&shift) || most >> shift > 1 << 29 || scale.output.low() > i8::MIN {
            return None;
        }
        let part = |zero: i8, factor: i32| i64::from(zero) * i64::from(factor);
        let base = -part(scale.zero_a, rescale.input) - part(scale.zero_b, rescale.skip);
        Some(Self {
            input: rescale.input,
            skip: rescale.skip,
            base: [base as u32, (base >> UPPER) as u32],
            shift,
            rest: 32 - shift,
            offset: 2 * i32::from(scale.output.zero) + 1,
            count: len.min(row.b.len()),
        })
    }

    /// Adds the row that the terms are of.
    pub(super) fn add_row(&self, row: &AddRow<'_, i8>, a: &mut [i8]) {
        assert!(self.count <= row.b.len().min(a.len()));
        if self.count > 0 {
            // SAFETY: both slices have so many elements.
            unsafe { add(a.as_mut_ptr(), row.b.as_ptr(), self) }
        }
    }
}

/// ```text
/// a[i] = saturate(((a[i] * input + b[i] * skip + base >> shift) + offset) >> 1)
/// ```
#[unsafe(naked)]
unsafe extern "C" fn add(a: *mut i8, b: *const i8, terms: &Terms) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldm r2!, {{r4-r10}}",
        "ldr r2, [r2]",
        "add r2, r0, r2",
        "2:",
        "mov r12, r6",
        "mov lr, r7",
        "ldrsb r11, [r0]",
        "smlal r12, lr, r11, r4",
        "ldrsb r11, [r1], #1",
        "smlal r12, lr, r11, r5",
        "lsr r12, r12, r8",
        "lsl lr, lr, r9",
        "orr r12, r12, lr",
        "add r12, r12, r10",
        "ssat r12, #8, r12, asr #1",
        "strb r12, [r0], #1",
        "cmp r0, r2",
        "bne 2b",
        "pop {{r4-r11, pc}}",
    )
}
