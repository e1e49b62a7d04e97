//! Cortex-M55 and M85: VMLADAVA multiplies sixteen pairs of bytes and adds all products to a sum. Rows and weights are
//! read where they are.

use crate::kernels::ConvRow;

/// Points that are computed together.
#[cfg(backend = "helium")]
const POINTS: usize = 2;

/// Channels that are computed together.
#[cfg(backend = "helium")]
const CHANNELS: usize = 3;

/// ```text
/// for each three channels, for each two points: six sums, finished
/// ```
#[cfg(backend = "helium")]
pub(super) fn conv_row(row: &ConvRow<'_, i8>, _: &mut [i8], out: &mut [i8]) {
    use crate::format::MAX_KERNEL;
    use core::ptr;

    let mut rows = [ptr::null(); MAX_KERNEL];
    let bytes = row.filter.shape.columns() * usize::from(row.filter.shape.in_channels);
    for (pointer, row) in rows.iter_mut().zip(row.rows) {
        *pointer = row[..bytes].as_ptr();
    }
    for first in (0..row.filter.shape.channels).step_by(CHANNELS) {
        match instructions::Work::new(row, &rows[..row.rows.len()], first, out) {
            Some(work) => work.run(row.filter.shape.width as usize),
            None => row.convolve(first..row.filter.shape.channels.min(first + CHANNELS), out),
        }
    }
}

/// On other processors, for tests: the reference.
#[cfg(not(backend = "helium"))]
pub(super) fn conv_row(row: &ConvRow<'_, i8>, _: &mut [i8], out: &mut [i8]) {
    row.convolve(0..row.filter.shape.channels, out);
}

#[cfg(backend = "helium")]
mod instructions {
    use super::{CHANNELS, POINTS};
    use crate::element::UPPER;
    use crate::kernels::ConvRow;
    use core::arch::naked_asm;
    use core::array;

    /// Bytes of a vector.
    const VECTOR: usize = 16;

    /// Three channels of a row, in the order in which `convolve` loads it.
    #[repr(C)]
    pub(super) struct Work {
        /// The rows' first windows, from the first row to the last.
        rows: *const *const i8,
        rows_end: *const *const i8,
        /// Bytes from a row's first window to that of the first point; moved on.
        offset: usize,
        /// Bytes from a window to the next.
        step: usize,
        /// Bytes of a window in a row.
        run: usize,
        /// Bytes by which whole vectors exceed a run.
        excess: usize,
        weights: [*const u8; CHANNELS],
        bias: [i32; CHANNELS],
        /// Vectors of four, of which three count.
        multiplier: [i32; 4],
        /// To the left, so negative.
        shift: [i32; 4],
        zero: i32,
        low: i32,
        /// Where the results go; moved on.
        out: *mut i8,
        out_step: usize,
        /// Channels to be written, 1 to 3.
        wanted: usize,
        /// Pairs of points; counted down.
        pairs: usize,
        /// Pairs of vectors in a run; 0 where they do not fill it.
        turns: usize,
    }

    impl Work {
        /// None where results do not lie in the upper word.
        pub(super) fn new(
            row: &ConvRow<'_, i8>,
            rows: &[*const i8],
            first: usize,
            out: &mut [i8],
        ) -> Option<Self> {
            let (run, step) = (row.filter.shape.run(), row.filter.shape.step());
            let taps = run * rows.len();
            let wanted = CHANNELS.min(row.filter.shape.channels - first);
            let channel = |n: usize| first + n.min(wanted - 1);
            let scale: [_; 4] = array::from_fn(|n| row.filter.params.scale(channel(n)));
            if scale.iter().any(|&(_, shift)| shift <= UPPER) {
                return None;
            }
            let points = row.filter.shape.width as usize;
            let out = &mut out[first..];
            assert!(out.len() >= (points - 1) * row.out_step + wanted);
            let weights = |n| {
                row.filter.weights[channel(n) * taps..][..taps]
                    .as_flattened()
                    .as_ptr()
            };
            let own = rows.as_ptr_range();
            Some(Self {
                rows: own.start,
                rows_end: own.end,
                offset: 0,
                step,
                run,
                excess: run.next_multiple_of(VECTOR) - run,
                weights: array::from_fn(weights),
                bias: array::from_fn(|n| row.filter.params.bias(channel(n))),
                multiplier: scale.map(|(multiplier, _)| multiplier),
                shift: scale.map(|(_, shift)| i32::from(UPPER) - i32::from(shift)),
                zero: row.filter.output.zero.into(),
                low: row.filter.output.low().into(),
                out: out.as_mut_ptr(),
                out_step: row.out_step,
                wanted,
                pairs: points / POINTS,
                turns: if run.is_multiple_of(2 * VECTOR) {
                    run / (2 * VECTOR)
                } else {
                    0
                },
            })
        }

        pub(super) fn run(mut self, points: usize) {
            if self.pairs > 0 {
                // SAFETY: the windows and results of the last point lie within their slices, as `new` and its caller
                // have checked.
                unsafe { convolve(&mut self) }
            }
            if !points.is_multiple_of(POINTS) {
                // The last point, twice to the same place.
                self.step = 0;
                self.out_step = 0;
                self.pairs = 1;
                // SAFETY: as above.
                unsafe { convolve(&mut self) }
            }
        }
    }

    /// A vector of products of each of two points and three channels: 11 instructions for 96.
    macro_rules! products {
        () => {
            "vldrb.u8 q0, [r1], #16
            vldrb.u8 q1, [r3], #16
            vldrb.u8 q2, [r5], #16
            vmladava.s8 r0, q0, q2
            vmladava.s8 r6, q1, q2
            vldrb.u8 q2, [r7], #16
            vmladava.s8 r2, q0, q2
            vmladava.s8 r8, q1, q2
            vldrb.u8 q2, [r9], #16
            vmladava.s8 r4, q0, q2
            vmladava.s8 r10, q1, q2"
        };
    }

    /// ```text
    /// for each two points:
    ///     sums[p][c] = bias[c]
    ///     for each row: sums[p][c] += points[p][0..run] * weights[c][0..run]
    ///     out[p][c] = saturate(max(low, round(sums[p][c] * multiplier[c] >> 32, shift[c]) + zero))
    /// ```
    ///
    /// r0, r2, r4: sums of the first point; r6, r8, r10: of the second; r1, r3: points; r5, r7, r9: weights; r11: the
    /// next row; r12: `work`, and what is needed in between; r14: turns of the inner loop.
    #[unsafe(naked)]
    unsafe extern "C" fn convolve(work: &mut Work) {
        naked_asm!(
            ".cpu cortex-m55",
            "push {{r0, r4-r11, lr}}",
            "2:",
            "ldr r12, [sp]",
            "ldrd r5, r7, [r12, #24]",
            "ldr r9, [r12, #32]",
            "ldrd r0, r2, [r12, #36]",
            "ldr r4, [r12, #44]",
            "mov r6, r0",
            "mov r8, r2",
            "mov r10, r4",
            "ldr r11, [r12]",
            "3:",
            "ldr r1, [r11], #4",
            "ldrd r3, lr, [r12, #8]",
            "add r1, r1, r3",
            "add r3, r1, lr",
            "ldr lr, [r12, #104]",
            "cmp lr, #0",
            "beq 5f",
            "dls lr, lr",
            "4:",
            products!(),
            products!(),
            "le lr, 4b",
            "b 7f",
            "5:",
            "ldrd lr, r12, [r12, #16]",
            "dlstp.8 lr, lr",
            "6:",
            products!(),
            "letp lr, 6b",
            "sub r5, r5, r12",
            "sub r7, r7, r12",
            "sub r9, r9, r12",
            "7:",
            "ldr r12, [sp]",
            "ldr lr, [r12, #4]",
            "cmp r11, lr",
            "bne 3b",
            "vmov.32 q0[0], r0",
            "vmov.32 q0[1], r2",
            "vmov.32 q0[2], r4",
            "vmov.32 q1[0], r6",
            "vmov.32 q1[1], r8",
            "vmov.32 q1[2], r10",
            "add r1, r12, #48",
            "vldrw.u32 q2, [r1]",
            "vldrw.u32 q3, [r1, #16]",
            "vmulh.s32 q0, q0, q2",
            "vmulh.s32 q1, q1, q2",
            "ldrd r2, r3, [r12, #80]",
            "vrshl.s32 q0, q0, q3",
            "vrshl.s32 q1, q1, q3",
            "vdup.32 q2, r3",
            "vadd.i32 q0, q0, r2",
            "vadd.i32 q1, q1, r2",
            "vmax.s32 q0, q0, q2",
            "vmax.s32 q1, q1, q2",
            "vqmovnb.s32 q0, q0",
            "vqmovnb.s32 q1, q1",
            "ldrd r4, r5, [r12, #88]",
            "vqmovnb.s16 q0, q0",
            "vqmovnb.s16 q1, q1",
            "ldrd r6, r7, [r12, #96]",
            "add r0, r4, r5",
            "vctp.32 r6",
            "vpstt",
            "vstrbt.32 q1, [r0]",
            "vstrbt.32 q0, [r4]",
            // Where the next results go, their windows, and whether there are any.
            "add r0, r0, r5",
            "str r0, [r12, #88]",
            "ldrd r0, r1, [r12, #8]",
            "add r0, r0, r1, lsl #1",
            "str r0, [r12, #8]",
            "subs r7, r7, #1",
            "str r7, [r12, #100]",
            "bne 2b",
            "pop {{r0, r4-r11, pc}}",
        )
    }
}
