//! SMLAD, SXTB16 and what else the DSP extension knows.

use super::pair::{GROUP, PAIR, Pair};
use super::portable;
use crate::element::UPPER;
use core::arch::naked_asm;
use core::mem::offset_of;

/// Adds the products of some rows under the kernel to the sums of two channels.
pub(super) fn convolve(pair: &mut Pair<'_>, out: &mut [i8]) {
    match Work::new(pair, out) {
        Some(work) => work.run(pair),
        None => portable::convolve(pair, out),
    }
}

/// Groups in a turn of a convolution's loop.
const UNROLLED: usize = 4;

/// Two channels of some rows, in the order in which `convolve_keep` and the others load it.
#[repr(C)]
struct Work {
    /// The windows of two points; moved on.
    points: [usize; PAIR],
    weights: usize,
    /// Bytes of a row's window in whole turns.
    whole: usize,
    /// What the sums start with: two of the first point, two of the second; moved on.
    sums: *const [i32; PAIR],
    /// Bytes of a row's window that are left.
    rest: usize,
    multiplier: [i32; PAIR],
    shift: [u32; PAIR],
    /// 2 * zero + 1: half a step for rounding, before the last bit is shifted out.
    offset: i32,
    /// Where the results go, or the sums; moved on.
    out: *mut u8,
    out_step: usize,
    /// Bytes from a pair of points to the next.
    advance: usize,
    /// Pairs of points; counted down.
    pairs: usize,
    /// Bytes from what the sums of a pair of points start with to the next pair's.
    sums_advance: usize,
    /// What the sums under the first row start with.
    bias: [[i32; PAIR]; PAIR],
    /// Where the weights of the last row end.
    weights_end: usize,
    /// Bytes from where a window ends in a row to where it starts in the next.
    gap: usize,
}

assert_order!(Work {
    points: 2,
    weights: 1,
    whole: 1,
    sums: 1,
});
assert_order!(Work {
    multiplier: 2,
    shift: 2,
    offset: 1,
    out: 1,
    out_step: 1,
});
assert_order!(Work {
    advance: 1,
    pairs: 1
});
assert_order!(Work {
    weights_end: 1,
    gap: 1
});

impl Work {
    /// None where results do not lie in the upper word, or are cut off above the least number; and where not all is
    /// there that the functions would read or write.
    fn new(pair: &Pair<'_>, out: &mut [i8]) -> Option<Self> {
        let [a, b] = pair.channels;
        let shift = [
            a.shift.checked_sub(UPPER + 1)?,
            b.shift.checked_sub(UPPER + 1)?,
        ];
        if pair.output.low() > i8::MIN {
            return None;
        }
        let last = pair.points.checked_sub(1)?;
        let last_row = pair.rows.checked_sub(1)? * pair.row;
        let is_there = last_row + last * pair.step + pair.taps <= pair.inputs.len()
            && pair.rows * PAIR * pair.taps <= pair.weights.len()
            && last * pair.out_step + pair.wanted <= out.len()
            && (pair.is_first && pair.is_last
                || pair.points.next_multiple_of(PAIR) <= pair.sums.len());
        debug_assert!(is_there);
        if !is_there {
            return None;
        }
        let bytes = size_of::<i16>();
        let (groups, group) = (pair.taps / GROUP, GROUP * bytes);
        let first = pair.inputs.as_ptr() as usize;
        let weights = pair.weights.as_ptr() as usize;
        let bias = pair.channels.map(|channel| channel.bias);
        Some(Self {
            points: [first, first + pair.step * bytes],
            weights,
            whole: groups / UNROLLED * UNROLLED * group,
            sums: pair.sums.as_ptr(),
            rest: groups % UNROLLED * group,
            multiplier: [a.multiplier, b.multiplier],
            shift: shift.map(u32::from),
            offset: 2 * i32::from(pair.output.zero) + 1,
            out: out.as_mut_ptr().cast(),
            out_step: pair.out_step,
            advance: PAIR * pair.step * bytes,
            pairs: pair.points / PAIR,
            sums_advance: size_of::<[[i32; PAIR]; PAIR]>(),
            bias: [bias; PAIR],
            weights_end: weights + pair.rows * PAIR * pair.taps * bytes,
            gap: pair.row.wrapping_sub(pair.taps).wrapping_mul(bytes),
        })
    }

    fn run(mut self, pair: &Pair<'_>) {
        if !pair.is_last {
            // What is left is read there again.
            self.out = self.sums.cast_mut().cast();
        }
        if pair.is_first {
            self.sums = self.bias.as_ptr();
            self.sums_advance = 0;
        }
        if self.pairs > 0 {
            self.convolve(pair);
        }
        if !pair.points.is_multiple_of(PAIR) {
            // The last point, twice to the same place; what counts is stored last.
            self.points[1] = self.points[0];
            self.out_step = 0;
            self.pairs = 1;
            self.convolve(pair);
        }
    }

    /// Convolves the pairs of points that are left to do.
    fn convolve(&mut self, pair: &Pair<'_>) {
        // SAFETY: `new` has made the work and checked that windows, sums and results of the last point lie within the
        // slices, which the pair still borrows; there are pairs of points to do.
        unsafe {
            match pair.wanted {
                _ if !pair.is_last => convolve_keep(self),
                1 => convolve_one(self),
                _ => convolve_two(self),
            }
        }
    }
}

/// Where an architecture leaves the DSP extension open, the assembler is told of a processor that has it.
#[cfg(armv8m)]
macro_rules! cpu {
    () => {
        ".cpu cortex-m33"
    };
}
#[cfg(not(armv8m))]
macro_rules! cpu {
    () => {
        ""
    };
}

/// A group's products: 11 instructions for 16. r8 - r11: the group's weights; r12, r14: a point's group.
macro_rules! group {
    () => {
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
    };
}

/// ```text
/// for each two points:
///     for each row: sums[p][c] += sum over i of points[p][i] * weights[c][i]
///     out[p][c] = saturate(((sums[p][c] * multiplier[c] >> 32 >> shift[c]) + offset) >> 1), or sums[p][c]
/// ```
///
/// r4 - r7: sums of the first point in both channels, then of the second; r0, r1: points; r2: weights; all three moved on.
/// `$ending` stores what has come about; lr is `work` before it, and behind it where its `multiplier` lies.
macro_rules! kernel {
    ($name:ident, $($ending:literal),*) => {
        /// Convolves some pairs of points.
        ///
        /// # Safety
        /// [`Work::new`] has made the work, for at least one pair of points; what it points to is still there.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(work: &mut Work) {
            naked_asm!(
                cpu!(),
                "push {{r0, r4-r11, lr}}",
                "2:",
                "ldr lr, [sp]",
                "ldm lr, {{r0-r3, r8}}",
                "ldm r8, {{r4-r7}}",
                "7:",
                "add r3, r0, r3",
                "cmp r0, r3",
                "beq 4f",
                "3:",
                group!(),
                group!(),
                group!(),
                group!(),
                "cmp r0, r3",
                "bne 3b",
                "4:",
                "ldr lr, [sp]",
                "ldr r3, [lr, #{REST}]",
                "cbz r3, 6f",
                "add r3, r0, r3",
                "5:",
                group!(),
                "cmp r0, r3",
                "bne 5b",
                "ldr lr, [sp]",
                "6:",
                "ldrd r8, r9, [lr, #{WEIGHTS_END}]",
                "cmp r2, r8",
                "bne 8f",
                $($ending,)*
                // Where the next sums are, their windows, and whether there are any.
                "ldr r8, [lr, #{SUMS} - {SCALE}]",
                "ldr r9, [lr, #{SUMS_ADVANCE} - {SCALE}]",
                "ldrd r0, r1, [lr, #{POINTS} - {SCALE}]",
                "ldrd r2, r3, [lr, #{ADVANCE} - {SCALE}]",
                "add r8, r8, r9",
                "str r8, [lr, #{SUMS} - {SCALE}]",
                "add r0, r0, r2",
                "add r1, r1, r2",
                "strd r0, r1, [lr, #{POINTS} - {SCALE}]",
                "subs r3, r3, #1",
                "str r3, [lr, #{PAIRS} - {SCALE}]",
                "bne 2b",
                "pop {{r0, r4-r11, pc}}",
                // The next row.
                "8:",
                "ldr r3, [lr, #{WHOLE}]",
                "add r0, r0, r9",
                "add r1, r1, r9",
                "b 7b",
                POINTS = const offset_of!(Work, points),
                WHOLE = const offset_of!(Work, whole),
                SUMS = const offset_of!(Work, sums),
                REST = const offset_of!(Work, rest),
                SCALE = const offset_of!(Work, multiplier),
                OUT = const offset_of!(Work, out),
                ADVANCE = const offset_of!(Work, advance),
                PAIRS = const offset_of!(Work, pairs),
                SUMS_ADVANCE = const offset_of!(Work, sums_advance),
                WEIGHTS_END = const offset_of!(Work, weights_end),
            )
        }
    };
    (finish $name:ident, $second:literal) => {
        kernel!(
            $name,
            "add lr, lr, #{SCALE}
            ldm lr, {{r0-r3, r8-r10}}
            smull r12, r4, r4, r0
            smull r12, r5, r5, r1
            smull r12, r6, r6, r0
            smull r12, r7, r7, r1
            asr r4, r4, r2
            asr r5, r5, r3
            asr r6, r6, r2
            asr r7, r7, r3
            add r4, r4, r8
            add r5, r5, r8
            add r6, r6, r8
            add r7, r7, r8
            ssat r4, #8, r4, asr #1
            ssat r5, #8, r5, asr #1
            ssat r6, #8, r6, asr #1
            ssat r7, #8, r7, asr #1",
            $second,
            "strb r6, [r9, r10]
            strb r4, [r9]
            add r9, r9, r10, lsl #1
            str r9, [lr, #{OUT} - {SCALE}]"
        );
    };
}
kernel!(
    convolve_keep,
    "ldr r8, [lr, #{OUT}]
    stm r8!, {{r4-r7}}
    str r8, [lr, #{OUT}]
    add lr, lr, #{SCALE}"
);
kernel!(finish convolve_one, "");
kernel!(
    finish convolve_two,
    "add r11, r9, r10
    strb r7, [r11, #1]
    strb r5, [r9, #1]"
);

/// Widens groups of what is at least `low`, and `low` itself where it is less.
pub(super) fn widen(from: &[[i8; GROUP]], low: i8, to: &mut [[i16; GROUP]]) {
    let groups = from.len().min(to.len());
    let (from, to) = (from.as_ptr(), to.as_mut_ptr());
    let all = u32::from_ne_bytes([low as u8; GROUP]);
    // SAFETY: both have so many groups, and there is one.
    unsafe {
        match low {
            _ if groups == 0 => {}
            i8::MIN => widen_groups(from, to, groups, all),
            _ => widen_cut(from, to, groups, all),
        }
    }
}

/// `$cut` deals with what r12 and r14 have loaded, and may use r4 - r7.
macro_rules! widen {
    ($name:ident, $cut:literal) => {
        /// Widens `groups` groups.
        ///
        /// # Safety
        /// `groups` is not 0; so many are readable at `from`, and so many writable at `to`.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            from: *const [i8; GROUP],
            to: *mut [i16; GROUP],
            groups: usize,
            low: u32,
        ) {
            naked_asm!(
                cpu!(),
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
widen!(widen_groups, "");
widen!(
    widen_cut,
    "ssub8 r4, r12, r3
    sel r12, r12, r3
    ssub8 r4, lr, r3
    sel lr, lr, r3"
);

/// Widens groups of two channels' weights, interleaved.
pub(super) fn widen_pair([a, b]: [&[[i8; GROUP]]; PAIR], to: &mut [[i16; PAIR * GROUP]]) {
    let groups = a.len().min(b.len()).min(to.len());
    if groups > 0 {
        // SAFETY: all have so many groups, and there is one.
        unsafe { widen_two(a.as_ptr(), b.as_ptr(), to.as_mut_ptr(), groups) }
    }
}

/// Widens `groups` groups of each, in turn.
///
/// # Safety
/// `groups` is not 0; so many are readable at `a` and at `b`, and so many writable at `to`.
#[unsafe(naked)]
unsafe extern "C" fn widen_two(
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
        cpu!(),
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
