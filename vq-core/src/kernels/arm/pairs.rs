//! Convolution of two points and two channels at a time, from columns: what M3 and M4 have in common.

use crate::element::UPPER;
use crate::kernels::columns::{self, Columns, GROUP, PAIR, Pair};

/// Convolves two channels with a backend's two functions for one and for two results a point, where they can.
pub(super) fn convolve<C: Columns>(pair: &Pair<'_, C>, out: &mut [i8], by: [Convolve; PAIR]) {
    match Work::new(pair, out) {
        Some(work) => work.run(pair.points, by[pair.wanted - 1]),
        None => columns::convolve(pair, out),
    }
}

/// Groups in a turn of a convolution's loop.
const UNROLLED: usize = 4;

/// Convolves the pairs of points that are left to do.
pub(super) type Convolve = unsafe extern "C" fn(&mut Work);

/// Two channels of a row, in the order in which a [`Convolve`] loads it.
#[repr(C)]
pub(super) struct Work {
    /// The windows of two points; moved on.
    points: [usize; PAIR],
    weights: usize,
    /// Bytes of a window in whole turns.
    whole: usize,
    bias: [i32; PAIR],
    /// Bytes of a window that are left.
    rest: usize,
    multiplier: [i32; PAIR],
    shift: [u32; PAIR],
    /// 2 * zero + 1: half a step for rounding, before the last bit is shifted out.
    offset: i32,
    /// Where the results go; moved on.
    out: *mut i8,
    out_step: usize,
    /// Bytes from a pair of points to the next.
    advance: usize,
    /// Pairs of points; counted down.
    pairs: usize,
}

impl Work {
    /// None where results do not lie in the upper word, or are cut off above the least number.
    pub(super) fn new<C: Columns>(pair: &Pair<'_, C>, out: &mut [i8]) -> Option<Self> {
        let [a, b] = pair.channels;
        let shift = [
            a.shift.checked_sub(UPPER + 1)?,
            b.shift.checked_sub(UPPER + 1)?,
        ];
        if pair.output.low() > i8::MIN {
            return None;
        }
        let last = pair.points - 1;
        assert!(last * pair.step + pair.taps <= pair.columns.len());
        assert!(PAIR * pair.taps <= pair.weights.len());
        assert!(last * pair.out_step + pair.wanted <= out.len());
        let bytes = size_of::<C::Input>();
        let (groups, group) = (pair.taps / GROUP, GROUP * bytes);
        let first = pair.columns.as_ptr() as usize;
        Some(Self {
            points: [first, first + pair.step * bytes],
            weights: pair.weights.as_ptr() as usize,
            whole: groups / UNROLLED * UNROLLED * group,
            bias: [a.bias, b.bias],
            rest: groups % UNROLLED * group,
            multiplier: [a.multiplier, b.multiplier],
            shift: shift.map(u32::from),
            offset: 2 * i32::from(pair.output.zero) + 1,
            out: out.as_mut_ptr(),
            out_step: pair.out_step,
            advance: PAIR * pair.step * bytes,
            pairs: pair.points / PAIR,
        })
    }

    pub(super) fn run(mut self, points: usize, by: Convolve) {
        if self.pairs > 0 {
            // SAFETY: the windows and results of the last point lie within their slices, as `new` has checked.
            unsafe { by(&mut self) }
        }
        if !points.is_multiple_of(PAIR) {
            // The last point, twice to the same place.
            self.points[1] = self.points[0];
            self.out_step = 0;
            self.pairs = 1;
            // SAFETY: as above.
            unsafe { by(&mut self) }
        }
    }
}

/// Where an architecture leaves the DSP extension open, the assembler is told of a processor that has it.
#[cfg(all(armv8m, backend = "thumb2-dsp"))]
macro_rules! cpu {
    () => {
        ".cpu cortex-m33"
    };
}
#[cfg(not(all(armv8m, backend = "thumb2-dsp")))]
macro_rules! cpu {
    () => {
        ""
    };
}
pub(super) use cpu;

/// ```text
/// for each two points:
///     sums[p][c] = bias[c] + sum over i of points[p][i] * weights[c][i]
///     out[p][c] = saturate(((sums[p][c] * multiplier[c] >> 32 >> shift[c]) + offset) >> 1)
/// ```
///
/// `$group` adds a group's products. r4 - r7: sums of the first point in both channels, then of the second;
/// r0, r1: points; r2: weights; all three moved on. Free: r8 - r12 and r14. `$second` stores the results of
/// the second channel.
macro_rules! kernel {
    ($name:ident, $group:literal, $second:literal) => {
        #[unsafe(naked)]
        pub(super) unsafe extern "C" fn $name(work: &mut $crate::kernels::arm::pairs::Work) {
            core::arch::naked_asm!(
                $crate::kernels::arm::pairs::cpu!(),
                "push {{r0, r4-r11, lr}}",
                "2:",
                "ldr lr, [sp]",
                "ldm lr, {{r0-r5}}",
                "add r3, r0, r3",
                "mov r6, r4",
                "mov r7, r5",
                "cmp r0, r3",
                "beq 4f",
                "3:",
                $group,
                $group,
                $group,
                $group,
                "cmp r0, r3",
                "bne 3b",
                "4:",
                "ldr lr, [sp]",
                "ldr r3, [lr, #24]",
                "cbz r3, 6f",
                "add r3, r0, r3",
                "5:",
                $group,
                "cmp r0, r3",
                "bne 5b",
                "ldr lr, [sp]",
                "6:",
                "add lr, lr, #28",
                "ldm lr, {{r0-r3, r8-r10}}",
                "smull r12, r4, r4, r0",
                "smull r12, r5, r5, r1",
                "smull r12, r6, r6, r0",
                "smull r12, r7, r7, r1",
                "asr r4, r4, r2",
                "asr r5, r5, r3",
                "asr r6, r6, r2",
                "asr r7, r7, r3",
                "add r4, r4, r8",
                "add r5, r5, r8",
                "add r6, r6, r8",
                "add r7, r7, r8",
                "ssat r4, #8, r4, asr #1",
                "ssat r5, #8, r5, asr #1",
                "ssat r6, #8, r6, asr #1",
                "ssat r7, #8, r7, asr #1",
                $second,
                "strb r6, [r9, r10]",
                "strb r4, [r9]",
                // Where the next results go, their windows, and whether there are any.
                "add r9, r9, r10, lsl #1",
                "str r9, [lr, #20]",
                "ldrd r0, r1, [lr, #-28]",
                "ldrd r2, r3, [lr, #28]",
                "add r0, r0, r2",
                "add r1, r1, r2",
                "strd r0, r1, [lr, #-28]",
                "subs r3, r3, #1",
                "str r3, [lr, #32]",
                "bne 2b",
                "pop {{r0, r4-r11, pc}}",
            )
        }
    };
    ($one:ident, $two:ident: $group:literal) => {
        $crate::kernels::arm::pairs::kernel!($one, $group, "");
        $crate::kernels::arm::pairs::kernel!(
            $two,
            $group,
            "strb r5, [r9, #1]
            add r11, r9, r10
            strb r7, [r11, #1]"
        );
    };
}
pub(super) use kernel;
