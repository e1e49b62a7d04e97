//! AArch64: what every such processor has (NEON), and the sums of four products that most have (dotprod).

#![allow(unsafe_code)]

use super::nearest::{self, Entries, Lanes, NearestCodes};
use super::tiles::integer::Head;
use super::tiles::{self, Place, Tiles, TilesOf, VECTORS, Walk};
use super::{ConvRow, Kernels, add_i32};
use crate::element::{Output, Real};
use core::arch::aarch64::*;
use core::arch::asm;
use core::slice;
use half::f16;

/// Eight channels, one product at a time, of numbers of sixteen bits: SMLAL.
#[derive(Debug)]
struct Neon;

/// Eight channels, four products at once: SDOT.
#[derive(Debug)]
struct Dot;

/// Eight channels, one fused product at a time.
#[derive(Debug)]
struct Singles;

/// Every AArch64 processor has it.
pub(super) static NEON: Kernels<i8> = tiles::everywhere::<Neon, i8>(Kernels {
    // SAFETY: every processor has the instructions.
    nearest: NearestCodes::integers::<Neon>(|entries, packed, vectors, codes| unsafe {
        nearest::integers::<Neon>(entries, packed, vectors, codes);
    }),
    add_row: add_i32::add_row,
    ..Kernels::SCALAR
});

/// For [`super::cpu::has_dotprod`].
pub(super) static DOT: Kernels<i8> = tiles::kernels::<Dot, i8>(
    tiles::pack::<Dot, i8>,
    // SAFETY: whoever takes this table has asked whether the processor has the instructions.
    |row, workspace, out| unsafe { conv_row_dot(row, workspace, out) },
    Kernels {
        // SAFETY: whoever takes this table has asked whether the processor has the instructions.
        nearest: NearestCodes::integers::<Dot>(|entries, packed, vectors, codes| unsafe {
            nearest_dot(entries, packed, vectors, codes);
        }),
        add_row: add_i32::add_row,
        ..Kernels::SCALAR
    },
);

/// Every AArch64 processor has it.
pub(super) static SINGLE: Kernels<f32> = floats();

/// Every AArch64 processor has it.
pub(super) static HALF: Kernels<f16> = floats();

const fn floats<R: Real<Sum = f32>>() -> Kernels<R> {
    tiles::everywhere::<Singles, R>(Kernels {
        // SAFETY: every processor has the instructions.
        nearest: NearestCodes::floats::<Neon>(|entries, packed, vectors, codes| unsafe {
            nearest::floats::<Neon, R>(entries, packed, vectors, codes);
        }),
        ..Kernels::SCALAR_FLOAT
    })
}

/// See [`Kernels::conv_row`].
#[target_feature(enable = "dotprod")]
fn conv_row_dot(row: &ConvRow<'_, i8>, workspace: &mut [i8], out: &mut [i8]) {
    // SAFETY: this function is called where the processor has the instructions.
    unsafe { tiles::conv_row::<Dot, i8>(row, workspace, out) }
}

/// See [`nearest::NearestCodes::nearest`].
#[target_feature(enable = "dotprod")]
fn nearest_dot(entries: Entries<'_, i8>, packed: &[i8], vectors: &[i8], codes: &mut [u16]) {
    // SAFETY: this function is called where the processor has the instructions.
    unsafe { nearest::integers::<Dot>(entries, packed, vectors, codes) }
}

/// Channels of two registers.
const LANES: usize = 8;

// SAFETY: loads read what callers guarantee and no more; the registers of sums lie in memory as eight integers.
unsafe impl Tiles for Neon {
    type Number = i16;
    type Head = Head<LANES>;
    type Vector = int16x8_t;
    type Splat = int16x8_t;
    type Sums = [int32x4_t; 2];
    const LANES: usize = LANES;
    const TAPS: usize = 1;
    const SPLATS: [usize; VECTORS] = [12, 6, 4, 3];

    #[inline(always)]
    unsafe fn start(head: &Head<LANES>) -> [int32x4_t; 2] {
        load(&head.start)
    }
    #[inline(always)]
    unsafe fn vector(from: *const i16) -> int16x8_t {
        // SAFETY: the caller guarantees that eight numbers are readable.
        unsafe { vld1q_s16(from) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const i16) -> int16x8_t {
        // SAFETY: the caller guarantees that a number is readable.
        unsafe { vdupq_n_s16(from.read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn multiply_add(
        [low, high]: [int32x4_t; 2],
        vector: int16x8_t,
        splat: int16x8_t,
    ) -> [int32x4_t; 2] {
        // SAFETY: every processor has the instructions.
        unsafe {
            [
                vmlal_s16(low, vget_low_s16(splat), vget_low_s16(vector)),
                vmlal_high_s16(high, splat, vector),
            ]
        }
    }
}

// SAFETY: loads read what callers guarantee and no more; the registers of sums lie in memory as eight integers.
unsafe impl Tiles for Dot {
    type Number = i8;
    type Head = Head<LANES>;
    type Vector = [int8x16_t; 2];
    type Splat = int8x16_t;
    type Sums = [int32x4_t; 2];
    const LANES: usize = LANES;
    const TAPS: usize = 4;
    const SPLATS: [usize; VECTORS] = [12, 6, 4, 0];

    #[inline(always)]
    unsafe fn start(head: &Head<LANES>) -> [int32x4_t; 2] {
        load(&head.start)
    }
    #[inline(always)]
    unsafe fn vector(from: *const i8) -> [int8x16_t; 2] {
        // SAFETY: the caller guarantees that 32 numbers are readable.
        unsafe { [vld1q_s8(from), vld1q_s8(from.add(16))] }
    }
    #[inline(always)]
    unsafe fn splat(from: *const i8) -> int8x16_t {
        // SAFETY: the caller guarantees that four numbers are readable.
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(from.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn multiply_add(
        [mut low, mut high]: [int32x4_t; 2],
        vector: [int8x16_t; 2],
        splat: int8x16_t,
    ) -> [int32x4_t; 2] {
        // SAFETY: the caller guarantees that the processor has the instruction; registers alone are read and written.
        unsafe {
            asm!(
                "sdot {low:v}.4s, {v0:v}.16b, {s:v}.16b",
                "sdot {high:v}.4s, {v1:v}.16b, {s:v}.16b",
                low = inout(vreg) low,
                high = inout(vreg) high,
                v0 = in(vreg) vector[0],
                v1 = in(vreg) vector[1],
                s = in(vreg) splat,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        [low, high]
    }
    #[target_feature(enable = "dotprod")]
    unsafe fn tile<const TURNED: bool, const S: usize, const V: usize>(
        walk: &Walk<'_, i8>,
        place: Place<Head<LANES>>,
        sums: *mut [int32x4_t; 2],
    ) {
        // SAFETY: the caller guarantees what `tile` wants.
        unsafe { tiles::tile::<Self, TURNED, S, V>(walk, place, sums) }
    }
}

/// Both finish the same sums.
macro_rules! integers {
    ($tiles:ty, $number:ty, $as_it_is:literal) => {
        // SAFETY: sums are integers, and no more than `count` elements are written.
        unsafe impl TilesOf<i8> for $tiles {
            type Scale = Scale;
            const AS_IT_IS: bool = $as_it_is;

            #[inline(always)]
            fn activation(x: i8) -> $number {
                x.into()
            }
            #[inline(always)]
            fn weight(weight: i8) -> $number {
                weight.into()
            }
            #[inline(always)]
            unsafe fn scale(head: &Head<LANES>) -> Scale {
                Scale::new(head)
            }
            #[inline(always)]
            unsafe fn finish(
                sums: [int32x4_t; 2],
                scale: Scale,
                output: Output,
                out: *mut i8,
                count: usize,
            ) {
                // SAFETY: the caller guarantees that `count` elements are writable.
                unsafe { scale.finish(sums, output, out, count) }
            }
        }
    };
}

integers!(Neon, i16, false);
integers!(Dot, i8, true);

#[inline(always)]
fn load(from: &[i32; LANES]) -> [int32x4_t; 2] {
    // SAFETY: the array has eight integers.
    unsafe { [vld1q_s32(from.as_ptr()), vld1q_s32(from.as_ptr().add(4))] }
}

/// What sums become results with.
#[derive(Debug, Clone, Copy)]
struct Scale {
    multiplier: [int32x4_t; 2],
    /// To the left, so negative.
    shift: [int32x4_t; 2],
}

impl Scale {
    #[inline(always)]
    fn new(head: &Head<LANES>) -> Self {
        let shift = load(&head.shift);
        Self {
            multiplier: load(&head.multiplier),
            // Not is minus, and one less: twice a product's upper word has one bit more than the product's.
            // SAFETY: every processor has the instruction.
            shift: unsafe { [vmvnq_s32(shift[0]), vmvnq_s32(shift[1])] },
        }
    }

    /// Stores the first `count` results.
    ///
    /// # Safety
    /// `count` is at most LANES, and so many elements are writable at `out`.
    #[inline(always)]
    unsafe fn finish(self, sums: [int32x4_t; 2], output: Output, out: *mut i8, count: usize) {
        // SAFETY: every processor has the instructions; the caller guarantees that so many elements are writable, and the
        // array has room for all results.
        unsafe {
            let offset = vdupq_n_s32(2 * i32::from(output.zero) + 1);
            let low = vdupq_n_s32(output.low().into());
            let mut halves = [vdup_n_s16(0); 2];
            for (i, half) in halves.iter_mut().enumerate() {
                let upper = vqdmulhq_s32(sums[i], self.multiplier[i]);
                let doubled = vshlq_s32(upper, self.shift[i]);
                let moved = vshrq_n_s32::<1>(vaddq_s32(doubled, offset));
                *half = vqmovn_s32(vmaxq_s32(moved, low));
            }
            let results = vqmovn_s16(vcombine_s16(halves[0], halves[1]));
            if count == LANES {
                vst1_s8(out, results);
            } else {
                let mut own = [0; LANES];
                vst1_s8(own.as_mut_ptr(), results);
                slice::from_raw_parts_mut(out, count).copy_from_slice(&own[..count]);
            }
        }
    }
}

// SAFETY: loads read what callers guarantee and no more; the registers of sums lie in memory as eight singles.
unsafe impl Tiles for Singles {
    type Number = f32;
    type Head = [f32; LANES];
    type Vector = [float32x4_t; 2];
    type Splat = float32x4_t;
    type Sums = [float32x4_t; 2];
    const LANES: usize = LANES;
    const TAPS: usize = 1;
    const SPLATS: [usize; VECTORS] = [12, 6, 4, 0];

    #[inline(always)]
    unsafe fn start(head: &[f32; LANES]) -> [float32x4_t; 2] {
        // SAFETY: the head has eight singles.
        unsafe { Self::vector(head.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn vector(from: *const f32) -> [float32x4_t; 2] {
        // SAFETY: the caller guarantees that eight numbers are readable.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> float32x4_t {
        // SAFETY: the caller guarantees that a number is readable.
        unsafe { vdupq_n_f32(from.read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn multiply_add(
        [low, high]: [float32x4_t; 2],
        vector: [float32x4_t; 2],
        splat: float32x4_t,
    ) -> [float32x4_t; 2] {
        // SAFETY: every processor has the instructions.
        unsafe {
            [
                vfmaq_f32(low, splat, vector[0]),
                vfmaq_f32(high, splat, vector[1]),
            ]
        }
    }
}

// SAFETY: sums are singles, and no more than `count` elements are written.
unsafe impl<R: Real<Sum = f32>> TilesOf<R> for Singles {
    type Scale = [f32; LANES];
    const AS_IT_IS: bool = R::PER_SINGLE == 1;

    #[inline(always)]
    fn activation(x: R) -> f32 {
        x.single()
    }
    #[inline(always)]
    fn weight(weight: R) -> f32 {
        weight.single()
    }
    #[inline(always)]
    unsafe fn scale(head: &[f32; LANES]) -> [f32; LANES] {
        *head
    }
    #[inline(always)]
    unsafe fn finish(
        sums: [float32x4_t; 2],
        head: [f32; LANES],
        output: Output,
        out: *mut R,
        count: usize,
    ) {
        let mut own = [0.0; LANES];
        // SAFETY: the array has room for all sums; the caller guarantees that `count` elements are writable.
        unsafe {
            vst1q_f32(own.as_mut_ptr(), sums[0]);
            vst1q_f32(own.as_mut_ptr().add(4), sums[1]);
            tiles::Head::<R>::finish(&head, &own, output, slice::from_raw_parts_mut(out, count));
        }
    }
}

/// Both add up the same registers.
macro_rules! lanes {
    ($($tiles:ty)*) => {$(
        // SAFETY: the registers of singles lie in memory as eight of them.
        unsafe impl Lanes for $tiles {
            type Singles = [float32x4_t; 2];
            const VECTORS: usize = 6;

            #[inline(always)]
            unsafe fn words(x: i32) -> [int32x4_t; 2] {
                // SAFETY: every processor has the instruction.
                unsafe { [vdupq_n_s32(x); 2] }
            }
            #[inline(always)]
            unsafe fn add_words(a: [int32x4_t; 2], b: [int32x4_t; 2]) -> [int32x4_t; 2] {
                // SAFETY: every processor has the instruction.
                unsafe { [vaddq_s32(a[0], b[0]), vaddq_s32(a[1], b[1])] }
            }
            #[inline(always)]
            unsafe fn subtract_words(a: [int32x4_t; 2], b: [int32x4_t; 2]) -> [int32x4_t; 2] {
                // SAFETY: every processor has the instruction.
                unsafe { [vsubq_s32(a[0], b[0]), vsubq_s32(a[1], b[1])] }
            }
            #[inline(always)]
            unsafe fn keep_larger(best: &mut [[int32x4_t; 2]; 2], own: [[int32x4_t; 2]; 2]) {
                for i in 0..2 {
                    // SAFETY: every processor has the instructions.
                    unsafe {
                        let larger = vcgtq_s32(own[0][i], best[0][i]);
                        best[0][i] = vmaxq_s32(own[0][i], best[0][i]);
                        best[1][i] = vbslq_s32(larger, own[1][i], best[1][i]);
                    }
                }
            }
            #[inline(always)]
            unsafe fn singles(x: f32) -> [float32x4_t; 2] {
                // SAFETY: every processor has the instruction.
                unsafe { [vdupq_n_f32(x); 2] }
            }
            #[inline(always)]
            unsafe fn singles_of(words: [int32x4_t; 2]) -> [float32x4_t; 2] {
                // SAFETY: every processor has the instruction.
                unsafe { [vcvtq_f32_s32(words[0]), vcvtq_f32_s32(words[1])] }
            }
            #[inline(always)]
            unsafe fn add(a: [float32x4_t; 2], b: [float32x4_t; 2]) -> [float32x4_t; 2] {
                // SAFETY: every processor has the instruction.
                unsafe { [vaddq_f32(a[0], b[0]), vaddq_f32(a[1], b[1])] }
            }
            #[inline(always)]
            unsafe fn subtract(a: [float32x4_t; 2], b: [float32x4_t; 2]) -> [float32x4_t; 2] {
                // SAFETY: every processor has the instruction.
                unsafe { [vsubq_f32(a[0], b[0]), vsubq_f32(a[1], b[1])] }
            }
            #[inline(always)]
            unsafe fn multiply(a: [float32x4_t; 2], b: [float32x4_t; 2]) -> [float32x4_t; 2] {
                // SAFETY: every processor has the instruction.
                unsafe { [vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1])] }
            }
            #[inline(always)]
            unsafe fn larger(a: [float32x4_t; 2], b: [float32x4_t; 2]) -> [float32x4_t; 2] {
                // SAFETY: every processor has the instruction.
                unsafe { [vmaxq_f32(a[0], b[0]), vmaxq_f32(a[1], b[1])] }
            }
            #[inline(always)]
            unsafe fn keep_less(
                least: &mut [float32x4_t; 2],
                found: &mut [int32x4_t; 2],
                distances: [float32x4_t; 2],
                own: [int32x4_t; 2],
            ) {
                for i in 0..2 {
                    // SAFETY: every processor has the instructions.
                    unsafe {
                        let less = vcltq_f32(distances[i], least[i]);
                        least[i] = vbslq_f32(less, distances[i], least[i]);
                        found[i] = vbslq_s32(less, own[i], found[i]);
                    }
                }
            }
            #[inline(always)]
            unsafe fn at_least(numbers: [float32x4_t; 2], least: [float32x4_t; 2]) -> u32 {
                const BITS: [u32; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
                // SAFETY: every processor has the instructions, and there are eight bits.
                unsafe {
                    let low = vandq_u32(vcgeq_f32(numbers[0], least[0]), vld1q_u32(BITS.as_ptr()));
                    let high = vld1q_u32(BITS.as_ptr().add(4));
                    let high = vandq_u32(vcgeq_f32(numbers[1], least[1]), high);
                    vaddvq_u32(vorrq_u32(low, high))
                }
            }
        }
    )*};
}

lanes!(Neon Dot);
