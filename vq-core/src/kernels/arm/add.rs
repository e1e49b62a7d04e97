//! Addition of two rows by processors that know Thumb-2.

use crate::element::UPPER;
use crate::kernels::add_i32::{SHIFT, Words};
use crate::kernels::{AddRow, scalar};
use core::arch::naked_asm;
#[cfg(backend = "helium")]
use core::mem::offset_of;

/// ```text
/// a[i] = saturate(zero + round(((a[i] - zero_a) * input + (b[i] - zero_b) * skip) / 2^shift))
/// ```
pub(super) fn add_row(row: &AddRow<'_, i8>, a: &mut [i8]) {
    let count = a.len().min(row.b.len());
    // None of these cuts results off above the least number.
    let is_cut_off = row.scale.output.low() > i8::MIN;
    if count > 0 && !is_cut_off {
        if let Some(words) = Words::new(row) {
            // SAFETY: there is an element, and both slices have so many.
            return unsafe { add_words(a.as_mut_ptr(), row.b.as_ptr(), &words, count) };
        }
        if let Some(terms) = Terms::new(row) {
            // SAFETY: there is an element, and both slices have so many.
            return unsafe { add(a.as_mut_ptr(), row.b.as_ptr(), &terms, count) };
        }
    }
    scalar::add_row(row, a);
}

/// ```text
/// for i in 0..count: a[i] = saturate(a[i] * input + b[i] * skip + base >> 20)
/// ```
///
/// # Safety
/// `count` is not 0; so many elements are readable at `b`, and readable and writable at `a`.
#[cfg(not(backend = "helium"))]
#[unsafe(naked)]
unsafe extern "C" fn add_words(a: *mut i8, b: *const i8, words: &Words, count: usize) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "ldm r2, {{r4-r6}}",
        "add r3, r0, r3",
        "2:",
        "ldrsb r2, [r0]",
        "ldrsb r7, [r1], #1",
        "mla r2, r2, r4, r6",
        "mla r2, r7, r5, r2",
        "ssat r2, #8, r2, asr #{shift}",
        "strb r2, [r0], #1",
        "cmp r0, r3",
        "bne 2b",
        "pop {{r4-r7, pc}}",
        shift = const SHIFT,
    )
}

/// ```text
/// for i in 0..count: a[i] = saturate(a[i] * input + b[i] * skip + base >> 12 + 8)
/// ```
///
/// Four elements at a time. What leaves the range of the first shift's halves leaves that of bytes too.
///
/// # Safety
/// `count` is not 0; so many elements are readable at `b`, and readable and writable at `a`.
#[cfg(backend = "helium")]
#[unsafe(naked)]
unsafe extern "C" fn add_words(a: *mut i8, b: *const i8, words: &Words, count: usize) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, lr}}",
        "ldrd r4, r12, [r2, #{INPUT}]",
        "ldr r2, [r2, #{BASE}]",
        "vdup.32 q2, r4",
        "dlstp.32 lr, r3",
        "2:",
        "vldrb.s32 q0, [r0]",
        "vldrb.s32 q1, [r1], #4",
        "vmlas.s32 q0, q2, r2",
        "vmla.s32 q0, q1, r12",
        "vqshrnb.s32 q0, q0, #{first}",
        "vqshrnb.s16 q0, q0, #8",
        "vstrb.32 q0, [r0], #4",
        "letp lr, 2b",
        "pop {{r4, pc}}",
        first = const SHIFT - 8,
        INPUT = const offset_of!(Words, input),
        BASE = const offset_of!(Words, base),
    )
}

/// What an addition's terms are multiplied with, in the order in which `add` loads it.
#[repr(C)]
struct Terms {
    input: i32,
    skip: i32,
    /// What the zero points come to, taken off: the lower word and the upper.
    base: [u32; 2],
    /// All of the shift but its last bit, and what is missing from that to a word.
    shift: u32,
    rest: u32,
    /// 2 * zero + 1: half a step for rounding, before the last bit is shifted out.
    offset: i32,
}

assert_order!(Words {
    input: 1,
    skip: 1,
    base: 1
});
assert_order!(Terms {
    input: 1,
    skip: 1,
    base: 2,
    shift: 1,
    rest: 1,
    offset: 1,
});

impl Terms {
    /// None where results are not within a word.
    fn new(row: &AddRow<'_, i8>) -> Option<Self> {
        let (scale, rescale) = (&row.scale, &row.scale.rescale);
        let shift = u32::from(rescale.shift) - 1;
        let most = (i64::from(rescale.input) + i64::from(rescale.skip)) * 255;
        if !(1..32).contains(&shift) || most >> shift > 1 << 29 {
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
        })
    }
}

/// ```text
/// for i in 0..count: a[i] = saturate(((a[i] * input + b[i] * skip + base >> shift) + offset) >> 1)
/// ```
///
/// # Safety
/// `count` is not 0; so many elements are readable at `b`, and readable and writable at `a`.
#[unsafe(naked)]
unsafe extern "C" fn add(a: *mut i8, b: *const i8, terms: &Terms, count: usize) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldm r2, {{r4-r10}}",
        "add r3, r0, r3",
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
        "cmp r0, r3",
        "bne 2b",
        "pop {{r4-r11, pc}}",
    )
}
