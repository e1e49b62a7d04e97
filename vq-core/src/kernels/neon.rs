//! AArch64: what every such processor has (NEON), and the sums of four products that most have (dotprod).

#![allow(unsafe_code)]

use super::search::{self, Entries, Lanes, Search};
use super::tiles::integer::Head;
use super::tiles::{self, Head as _, Tiles, VECTORS};
use super::{ConvRow, Kernels, words};
use crate::element::{Output, Real};
use core::arch::aarch64::*;
use core::arch::asm;
use core::marker::PhantomData;
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
struct Float<R>(PhantomData<R>);

/// Every AArch64 processor has it.
pub(super) static NEON: Kernels<i8> = tiles::everywhere::<Neon>(Kernels {
    // SAFETY: every processor has the instructions.
    search: Search::integers::<Neon>(|entries, packed, vectors, codes| unsafe {
        search::integers::<Neon>(entries, packed, vectors, codes);
    }),
    add_row: words::add_row,
    ..Kernels::SCALAR
});

/// For [`super::cpu::has_dotprod`].
pub(super) static DOT: Kernels<i8> = tiles::kernels::<Dot>(
    tiles::pack::<Dot>,
    // SAFETY: whoever takes this table has asked whether the processor has the instructions.
    |row, room, out| unsafe { conv_row_dot(row, room, out) },
    Kernels {
        // SAFETY: as above.
        search: Search::integers::<Dot>(|entries, packed, vectors, codes| unsafe {
            nearest_dot(entries, packed, vectors, codes);
        }),
        add_row: words::add_row,
        ..Kernels::SCALAR
    },
);

/// Every AArch64 processor has it.
pub(super) static SINGLE: Kernels<f32> = floats();

/// The same.
pub(super) static HALF: Kernels<f16> = floats();

const fn floats<R: Real<Sum = f32>>() -> Kernels<R> {
    tiles::everywhere::<Float<R>>(Kernels {
        // SAFETY: every processor has the instructions.
        search: Search::floats::<Neon>(|entries, packed, vectors, codes| unsafe {
            search::floats::<Neon, R>(entries, packed, vectors, codes);
        }),
        ..Kernels::SCALAR_FLOAT
    })
}

/// See [`Kernels::conv_row`].
#[target_feature(enable = "dotprod")]
fn conv_row_dot(row: &ConvRow<'_, i8>, room: &mut [i8], out: &mut [i8]) {
    // SAFETY: this function is called where the processor has the instructions.
    unsafe { tiles::conv_row::<Dot>(row, room, out) }
}

/// See [`search::Search::nearest`].
#[target_feature(enable = "dotprod")]
fn nearest_dot(entries: Entries<'_, i8>, packed: &[i8], vectors: &[i8], codes: &mut [u16]) {
    // SAFETY: this function is called where the processor has the instructions.
    unsafe { search::integers::<Dot>(entries, packed, vectors, codes) }
}

/// Channels of two registers.
const LANES: usize = 8;

impl Tiles for Neon {
    type Element = i8;
    type Input = i16;
    type Weight = i16;
    type Head = Head<LANES>;
    type Weights = int16x8_t;
    type Inputs = int16x8_t;
    type Sums = [int32x4_t; 2];
    type Scale = Scale;
    const LANES: usize = LANES;
    const TAPS: usize = 1;
    const POINTS: [usize; VECTORS] = [12, 6, 4, 3];
    const AS_IT_IS: bool = false;

    #[inline(always)]
    fn input(x: i8) -> i16 {
        x.into()
    }
    fn weight(weight: i8) -> i16 {
        weight.into()
    }

    #[inline(always)]
    unsafe fn start(head: *const Head<LANES>) -> [int32x4_t; 2] {
        // SAFETY: as promised by the caller.
        unsafe { load(&raw const (*head).start) }
    }
    #[inline(always)]
    unsafe fn weights(from: *const i16) -> int16x8_t {
        // SAFETY: as promised by the caller.
        unsafe { vld1q_s16(from) }
    }
    #[inline(always)]
    unsafe fn inputs(from: *const i16) -> int16x8_t {
        // SAFETY: as promised by the caller.
        unsafe { vld1q_dup_s16(from) }
    }
    #[inline(always)]
    unsafe fn multiply_add(
        [low, high]: [int32x4_t; 2],
        x: int16x8_t,
        weights: int16x8_t,
    ) -> [int32x4_t; 2] {
        // SAFETY: every processor has the instructions.
        unsafe {
            [
                vmlal_s16(low, vget_low_s16(x), vget_low_s16(weights)),
                vmlal_high_s16(high, x, weights),
            ]
        }
    }
    #[inline(always)]
    unsafe fn scale(head: *const Head<LANES>) -> Scale {
        // SAFETY: as promised by the caller.
        unsafe { Scale::new(head) }
    }
    #[inline(always)]
    unsafe fn finish(
        sums: [int32x4_t; 2],
        scale: Scale,
        output: Output,
        out: *mut i8,
        count: usize,
    ) {
        // SAFETY: as promised by the caller.
        unsafe { scale.finish(sums, output, out, count) }
    }
}

impl Tiles for Dot {
    type Element = i8;
    type Input = i8;
    type Weight = i8;
    type Head = Head<LANES>;
    type Weights = [int8x16_t; 2];
    type Inputs = int8x16_t;
    type Sums = [int32x4_t; 2];
    type Scale = Scale;
    const LANES: usize = LANES;
    const TAPS: usize = 4;
    const POINTS: [usize; VECTORS] = [12, 6, 4, 0];
    const AS_IT_IS: bool = true;

    fn input(x: i8) -> i8 {
        x
    }
    fn weight(weight: i8) -> i8 {
        weight
    }

    #[inline(always)]
    unsafe fn start(head: *const Head<LANES>) -> [int32x4_t; 2] {
        // SAFETY: as promised by the caller.
        unsafe { load(&raw const (*head).start) }
    }
    #[inline(always)]
    unsafe fn weights(from: *const i8) -> [int8x16_t; 2] {
        // SAFETY: as promised by the caller.
        unsafe { [vld1q_s8(from), vld1q_s8(from.add(16))] }
    }
    #[inline(always)]
    unsafe fn inputs(from: *const i8) -> int8x16_t {
        // SAFETY: as promised by the caller.
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(from.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn multiply_add(
        [mut low, mut high]: [int32x4_t; 2],
        x: int8x16_t,
        weights: [int8x16_t; 2],
    ) -> [int32x4_t; 2] {
        // SAFETY: as promised by the caller; registers alone are read and written.
        unsafe {
            asm!(
                "sdot {low:v}.4s, {w0:v}.16b, {x:v}.16b",
                "sdot {high:v}.4s, {w1:v}.16b, {x:v}.16b",
                low = inout(vreg) low,
                high = inout(vreg) high,
                w0 = in(vreg) weights[0],
                w1 = in(vreg) weights[1],
                x = in(vreg) x,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        [low, high]
    }
    #[inline(always)]
    unsafe fn scale(head: *const Head<LANES>) -> Scale {
        // SAFETY: as promised by the caller.
        unsafe { Scale::new(head) }
    }
    #[inline(always)]
    unsafe fn finish(
        sums: [int32x4_t; 2],
        scale: Scale,
        output: Output,
        out: *mut i8,
        count: usize,
    ) {
        // SAFETY: as promised by the caller.
        unsafe { scale.finish(sums, output, out, count) }
    }
}

/// # Safety
/// Eight numbers can be read.
#[inline(always)]
unsafe fn load(from: *const [i32; LANES]) -> [int32x4_t; 2] {
    // SAFETY: as promised by the caller.
    unsafe { [vld1q_s32(from.cast()), vld1q_s32(from.cast::<i32>().add(4))] }
}

/// What sums become results with.
#[derive(Debug, Clone, Copy)]
struct Scale {
    multiplier: [int32x4_t; 2],
    /// To the left, so negative.
    shift: [int32x4_t; 2],
}

impl Scale {
    /// # Safety
    /// The head can be read.
    #[inline(always)]
    unsafe fn new(head: *const Head<LANES>) -> Self {
        // SAFETY: as promised by the caller.
        unsafe {
            let shift = load(&raw const (*head).shift);
            Self {
                multiplier: load(&raw const (*head).multiplier),
                // Not is minus, and one less: twice a product's upper word has one bit more than the product's.
                shift: [vmvnq_s32(shift[0]), vmvnq_s32(shift[1])],
            }
        }
    }

    /// # Safety
    /// As [`Tiles::finish`].
    #[inline(always)]
    unsafe fn finish(self, sums: [int32x4_t; 2], output: Output, out: *mut i8, count: usize) {
        // SAFETY: as promised by the caller.
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

impl<R: Real<Sum = f32>> Tiles for Float<R> {
    type Element = R;
    type Input = f32;
    type Weight = f32;
    type Head = [f32; LANES];
    type Weights = [float32x4_t; 2];
    type Inputs = float32x4_t;
    type Sums = [float32x4_t; 2];
    type Scale = *const [f32; LANES];
    const LANES: usize = LANES;
    const TAPS: usize = 1;
    const POINTS: [usize; VECTORS] = [12, 6, 4, 0];
    const AS_IT_IS: bool = R::PER_SINGLE == 1;

    #[inline(always)]
    fn input(x: R) -> f32 {
        x.single()
    }
    fn weight(weight: R) -> f32 {
        weight.single()
    }

    #[inline(always)]
    unsafe fn start(head: *const [f32; LANES]) -> [float32x4_t; 2] {
        // SAFETY: as promised by the caller.
        unsafe { Self::weights(head.cast()) }
    }
    #[inline(always)]
    unsafe fn weights(from: *const f32) -> [float32x4_t; 2] {
        // SAFETY: as promised by the caller.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
    }
    #[inline(always)]
    unsafe fn inputs(from: *const f32) -> float32x4_t {
        // SAFETY: as promised by the caller.
        unsafe { vld1q_dup_f32(from) }
    }
    #[inline(always)]
    unsafe fn multiply_add(
        [low, high]: [float32x4_t; 2],
        x: float32x4_t,
        weights: [float32x4_t; 2],
    ) -> [float32x4_t; 2] {
        // SAFETY: every processor has the instructions.
        unsafe {
            [
                vfmaq_f32(low, x, weights[0]),
                vfmaq_f32(high, x, weights[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn scale(head: *const [f32; LANES]) -> *const [f32; LANES] {
        head
    }
    #[inline(always)]
    unsafe fn finish(
        sums: [float32x4_t; 2],
        head: *const [f32; LANES],
        output: Output,
        out: *mut R,
        count: usize,
    ) {
        let mut own = [0.0; LANES];
        // SAFETY: as promised by the caller.
        unsafe {
            vst1q_f32(own.as_mut_ptr(), sums[0]);
            vst1q_f32(own.as_mut_ptr().add(4), sums[1]);
            (*head).finish(&own, output, slice::from_raw_parts_mut(out, count));
        }
    }
}

/// Both add up the same registers.
macro_rules! lanes {
    ($($tiles:ty)*) => {$(
        impl Lanes for $tiles {
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
