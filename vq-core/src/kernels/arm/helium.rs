//! Cortex-M55 and M85: VMLADAVA multiplies sixteen pairs of bytes and adds all products to a sum. Rows and weights are
//! read where they are.

use crate::kernels::ConvRow;

/// ```text
/// for each four channels, for each two points: eight sums, finished
/// ```
#[cfg(backend = "helium")]
pub(super) fn conv_row(row: &ConvRow<'_, i8>, _: &mut [i8], out: &mut [i8]) {
    if !instructions::convolve_row(row, out) {
        row.convolve(0..row.filter.shape.channels, out);
    }
}

/// On other processors, for tests: the reference.
#[cfg(not(backend = "helium"))]
pub(super) fn conv_row(row: &ConvRow<'_, i8>, _: &mut [i8], out: &mut [i8]) {
    row.convolve(0..row.filter.shape.channels, out);
}

#[cfg(backend = "helium")]
mod instructions {
    use crate::element::UPPER;
    use crate::kernels::ConvRow;
    use crate::slices::Parts;
    use core::arch::naked_asm;
    use core::mem::offset_of;
    use core::ptr;

    /// Bytes of a vector.
    const VECTOR: usize = 16;

    /// Vectors that are multiplied without a jump.
    const UNROLLED: usize = 24;

    /// Bytes of the instructions that multiply a vector of each point and channel. `products` checks the number.
    const PRODUCTS: usize = 14 * 4;

    /// Bytes of the instruction behind them. `products` checks the number.
    const LEAVE: usize = 4;

    /// Parts of a window, at most.
    const MAX_PARTS: usize = 32;

    /// A part of a window whose elements are multiplied without a jump.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Part {
        /// Its first element under the row's first window.
        start: *const i8,
        /// The first of the instructions that multiply it.
        entry: *const (),
    }

    impl Part {
        const NONE: Self = Self {
            start: ptr::null(),
            entry: ptr::null(),
        };
    }

    /// Whether it has made the row: not where a window has too many parts, results do not lie in the upper word, or not
    /// all is there that it would read or write.
    pub(super) fn convolve_row(row: &ConvRow<'_, i8>, out: &mut [i8]) -> bool {
        let shifts = row.filter.params.shift.iter();
        let mut parts = [Part::NONE; MAX_PARTS];
        let least = shifts.fold(u8::MAX, |least, &shift| least.min(shift));
        let fits = least > UPPER && is_there(row, out);
        let Some(count) = fits.then(|| fill(row, &mut parts)).flatten() else {
            return false;
        };
        let points = row.filter.shape.width as usize;
        let parts = parts.part(0, count);
        if points > 1 {
            let mut work = Work::new(row, parts, out);
            work.next_pairs = points / 2;
            // SAFETY: the windows and results of all points lie within their slices, as `fill` and `is_there` have
            // checked, and so do all channels' weights and parameters.
            unsafe { convolve(&mut work) }
        }
        if !points.is_multiple_of(2) {
            // The last point, twice to the same place.
            let mut work = Work::new(row, parts, out.behind_mut((points - 1) * row.out_step));
            work.next_offset = (points - 1) * work.step;
            work.step = 0;
            work.out_step = 0;
            // SAFETY: the same has been checked of the last point.
            unsafe { convolve(&mut work) }
        }
        true
    }

    /// Whether there are points, and places for their results, and every channel has weights and parameters.
    fn is_there(row: &ConvRow<'_, i8>, out: &[i8]) -> bool {
        let (shape, params) = (&row.filter.shape, &row.filter.params);
        let words = 4 * shape.channels;
        let points = shape.width as usize;
        points > 0
            && out.len() >= (points - 1) * row.out_step + shape.channels
            && row.filter.weights.len() >= shape.channels * shape.run() * row.rows.len()
            && params.bias.len() >= words
            && params.multiplier.len() >= words
            && params.shift.len() >= shape.channels
    }

    /// Finds the parts of a window from the last to the first, and how many there are; none where they are too many.
    fn fill(row: &ConvRow<'_, i8>, parts: &mut [Part; MAX_PARTS]) -> Option<usize> {
        let run = row.filter.shape.run();
        let bytes = row.filter.shape.columns() * usize::from(row.filter.shape.in_channels);
        let mut count = 0;
        for row in row.rows.iter().rev() {
            let row = row.get(..bytes)?;
            let mut end = run;
            while end > 0 {
                let rest = end % VECTOR;
                let vectors = (end / VECTOR).min(UNROLLED);
                let (len, skipped) = match rest {
                    0 => (vectors * VECTOR, (UNROLLED - vectors) * PRODUCTS),
                    _ => (rest, UNROLLED * PRODUCTS + LEAVE),
                };
                end -= len;
                *parts.get_mut(count)? = Part {
                    start: row.behind(end).as_ptr(),
                    entry: (products as *const ()).wrapping_byte_add(skipped),
                };
                count += 1;
            }
        }
        Some(count)
    }

    /// A row's numbers, in the order in which `convolve` loads and stores them.
    #[repr(C)]
    struct Work {
        /// The biases of four channels, once for each point.
        sums: [i32; 8],
        /// Their weights.
        weights: [*const u8; 4],
        /// From here on `HERE`. Pairs of points; counted down.
        pairs: usize,
        /// Where the results go; moved on.
        out: *mut i8,
        /// Bytes from the row's first window to that of the next point; moved on.
        offset: usize,
        /// Bytes from a window to the next.
        step: usize,
        out_step: usize,
        /// Channels from the first of the four on; counted down.
        channels: usize,
        zero: i32,
        parts_len: usize,
        parts: *const Part,
        /// Elements of the parts that are not made of whole vectors.
        rest: usize,
        /// Where the sums are finished.
        finish: *const (),
        /// From here on `NEXT`: what the next four channels start with.
        next_pairs: usize,
        next_out: *mut i8,
        next_offset: usize,
        next_bias: *const u8,
        next_multiplier: *const u8,
        next_shift: *const u8,
        next_weights: *const u8,
        /// Weights of a channel.
        taps: usize,
        /// From here on `MORE`. Bytes by which a vector exceeds `rest`.
        excess: usize,
        low: i32,
    }

    assert_order!(Part { start: 1, entry: 1 });
    assert_order!(Work {
        sums: 8,
        weights: 4,
        pairs: 1,
        out: 1,
        offset: 1,
        step: 1,
        out_step: 1,
        channels: 1,
        zero: 1,
        parts_len: 1,
        parts: 1,
        rest: 1,
        finish: 1,
    });
    assert_order!(Work {
        next_pairs: 1,
        next_out: 1,
        next_offset: 1,
        next_bias: 1,
        next_multiplier: 1,
        next_shift: 1,
        next_weights: 1,
        taps: 1,
    });
    assert_order!(Work { excess: 1, low: 1 });

    impl Work {
        /// For one pair of points, the first of which is the row's first.
        #[inline(always)]
        fn new(row: &ConvRow<'_, i8>, parts: &[Part], out: &mut [i8]) -> Self {
            let (shape, params) = (&row.filter.shape, &row.filter.params);
            let taps = shape.run() * row.rows.len();
            let rest = shape.run() % VECTOR;
            Self {
                sums: [0; 8],
                weights: [ptr::null(); 4],
                pairs: 0,
                out: ptr::null_mut(),
                offset: 0,
                step: shape.step(),
                out_step: row.out_step,
                channels: shape.channels,
                zero: row.filter.output.zero.into(),
                parts_len: parts.len(),
                parts: parts.as_ptr(),
                rest,
                finish: ptr::null(),
                next_pairs: 1,
                next_out: out.as_mut_ptr(),
                next_offset: 0,
                next_bias: params.bias.as_ptr(),
                next_multiplier: params.multiplier.as_ptr(),
                next_shift: params.shift.as_ptr(),
                next_weights: row.filter.weights.as_flattened().as_ptr(),
                taps,
                excess: VECTOR - rest,
                low: row.filter.output.low().into(),
            }
        }
    }

    /// Not a function but instructions to jump to, which multiply a part of two points' windows and take the next part
    /// from the stack: where it lies under the first point, where under the second, and how far its vectors stand from
    /// the end. Behind them those for a part that is no whole vector.
    ///
    /// A vector of each of two points and four channels is 14 instructions for 128 products. No register is left that
    /// could count vectors.
    ///
    /// r0, r2, r4, r6: sums of the first point; r8, r10, r12, r14: of the second; r1, r3: points; r5, r7, r9, r11:
    /// weights.
    ///
    /// # Safety
    /// Only `convolve` jumps here, with its registers and stack.
    #[unsafe(naked)]
    unsafe extern "C" fn products() {
        naked_asm!(
            ".cpu cortex-m55",
            "2:",
            ".rept {UNROLLED}",
            "vldrb.u8 q0, [r1], #16",
            "vldrb.u8 q2, [r5], #16",
            "vmladava.s8 r0, q0, q2",
            "vldrb.u8 q1, [r3], #16",
            "vmladava.s8 r8, q1, q2",
            "vldrb.u8 q3, [r7], #16",
            "vmladava.s8 r2, q0, q3",
            "vmladava.s8 r10, q1, q3",
            "vldrb.u8 q2, [r9], #16",
            "vmladava.s8 r4, q0, q2",
            "vmladava.s8 r12, q1, q2",
            "vldrb.u8 q3, [r11], #16",
            "vmladava.s8 r6, q0, q3",
            "vmladava.s8 lr, q1, q3",
            ".endr",
            "3:",
            assert_distance!("2b", "3b", "{UNROLLED} * {PRODUCTS}"),
            "pop.w {{r1, r3, pc}}",
            "4:",
            assert_distance!("3b", "4b", "{LEAVE}"),
            "vpstttt",
            "vldrbt.u8 q0, [r1]",
            "vldrbt.u8 q1, [r3]",
            "vldrbt.u8 q2, [r5], #16",
            "vldrbt.u8 q3, [r7], #16",
            "vmladava.s8 r0, q0, q2",
            "vmladava.s8 r8, q1, q2",
            "vmladava.s8 r2, q0, q3",
            "vmladava.s8 r10, q1, q3",
            "vpstt",
            "vldrbt.u8 q2, [r9], #16",
            "vldrbt.u8 q3, [r11], #16",
            "vmladava.s8 r4, q0, q2",
            "vmladava.s8 r12, q1, q2",
            "vmladava.s8 r6, q0, q3",
            "vmladava.s8 lr, q1, q3",
            "vmov r1, s24",
            "sub r5, r5, r1",
            "sub r7, r7, r1",
            "sub r9, r9, r1",
            "sub r11, r11, r1",
            "pop {{r1, r3, pc}}",
            UNROLLED = const UNROLLED,
            PRODUCTS = const PRODUCTS,
            LEAVE = const LEAVE,
        )
    }

    /// ```text
    /// for each four channels:
    ///     for each two points:
    ///         sums[p][c] = bias[c]
    ///         for each part: sums[p][c] += points[p][part] * weights[c][part]
    ///         out[p][c] = saturate(max(low, round(sums[p][c] * multiplier[c] >> 32, shift[c]) + zero))
    /// ```
    ///
    /// 1. All parts of both points, and behind them where the sums are finished, lie on the stack for `products`. What it
    ///    has taken an interrupt may overwrite, so they are laid there for each two points.
    /// 2. Weights of channels that there are not are those of the last one, and their results are not stored.
    ///
    /// r1: `HERE` of the work; q4: multipliers; q5: shifts to the left, so negative; s24: `excess`; q7: `low`.
    ///
    /// # Safety
    /// [`Work::new`] has made the work, of parts that [`fill`] has found. All points' windows are readable under all parts,
    /// weights and parameters of all channels too, and all points' results are writable.
    #[unsafe(naked)]
    unsafe extern "C" fn convolve(work: &mut Work) {
        naked_asm!(
            ".cpu cortex-m55",
            "push {{r4-r11, lr}}",
            "vpush {{d8-d15}}",
            "add r1, r0, #{HERE}",
            "push {{r1}}",
            "adr r2, 5f",
            "add r2, r2, #1",
            "str r2, [r1, #{FINISH}]",
            "ldrd r2, r3, [r1, #{MORE}]",
            "vmov s24, r2",
            "vdup.8 q7, r3",
            // The next four channels.
            "2:",
            "add r0, r1, #{NEXT}",
            "ldm r0, {{r2-r9}}",
            "ldr r10, [r1, #{CHANNELS}]",
            "vctp.32 r10",
            "vpsttt",
            "vldrbt.u8 q0, [r5], #16",
            "vldrbt.u8 q4, [r6], #16",
            "vldrbt.u32 q5, [r7], #4",
            "vstrw.32 q0, [r1, #{SUMS}]",
            "vstrw.32 q0, [r1, #{SUMS} + {VECTOR}]",
            "vmov.i32 q0, #{UPPER}",
            "vsub.i32 q5, q0, q5",
            "mov r12, #0",
            "vidup.u32 q0, r12, #1",
            "sub r10, r10, #1",
            "vdup.32 q1, r10",
            "vmin.u32 q0, q0, q1",
            "vmul.i32 q0, q0, r9",
            "vadd.i32 q0, q0, r8",
            "vstrw.32 q0, [r1, #{WEIGHTS}]",
            "stm r1, {{r2-r4}}",
            "add r3, r3, #4",
            "add r8, r8, r9, lsl #2",
            "stm r0, {{r2-r8}}",
            "ldm r1, {{r0, r2-r11}}",
            // The next two points: the parts of their windows.
            "3:",
            "vctp.8 r10",
            "push {{r0, r2, r11}}",
            "dls lr, r8",
            "4:",
            "ldrd r0, r12, [r9], #{PART}",
            "add r0, r0, r3",
            "add r2, r0, r4",
            "push {{r0, r2, r12}}",
            "le lr, 4b",
            "ldmdb r1!, {{r5, r7, r9, r11}}",
            "ldmdb r1, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "pop {{r1, r3, pc}}",
            // Their results.
            ".p2align 2",
            "5:",
            "vmov q0[2], q0[0], r0, r4",
            "vmov q0[3], q0[1], r2, r6",
            "vmov q1[2], q1[0], r8, r12",
            "vmov q1[3], q1[1], r10, lr",
            "ldr r1, [sp]",
            "ldm r1, {{r0, r2-r11}}",
            "vmulh.s32 q0, q0, q4",
            "vmulh.s32 q1, q1, q4",
            "vrshl.s32 q0, q0, q5",
            "vrshl.s32 q1, q1, q5",
            "vqmovnb.s32 q0, q0",
            "vqmovnt.s32 q0, q1",
            "vqadd.s16 q0, q0, r7",
            "vqmovnb.s16 q0, q0",
            "vmax.s8 q0, q0, q7",
            "vctp.32 r6",
            "add r7, r2, r5",
            "vpsttt",
            "vstrbt.32 q0, [r2]",
            "vshrt.u32 q0, q0, #16",
            "vstrbt.32 q0, [r7]",
            "add r2, r7, r5",
            "add r3, r3, r4, lsl #1",
            "subs r0, r0, #1",
            "stm r1, {{r0, r2, r3}}",
            "bne 3b",
            "subs r6, r6, #4",
            "str r6, [r1, #{CHANNELS}]",
            "bgt 2b",
            "add sp, sp, #4",
            "vpop {{d8-d15}}",
            "pop {{r4-r11, pc}}",
            HERE = const HERE,
            SUMS = const offset_of!(Work, sums) as isize - HERE as isize,
            VECTOR = const VECTOR,
            WEIGHTS = const offset_of!(Work, weights) as isize - HERE as isize,
            PART = const size_of::<Part>(),
            CHANNELS = const offset_of!(Work, channels) - HERE,
            FINISH = const offset_of!(Work, finish) - HERE,
            NEXT = const offset_of!(Work, next_pairs) - HERE,
            MORE = const offset_of!(Work, excess) - HERE,
            UPPER = const UPPER,
        )
    }

    /// What `convolve` holds on to of the work.
    const HERE: usize = offset_of!(Work, pairs);
}
