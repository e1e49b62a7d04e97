//! AVX2: registers of eight sums.

use super::words::{multipliers, transposed};
use crate::element::Output;
use crate::kernels::nearest::{self, Entries};
use crate::kernels::tiles::integer::Head;
use crate::kernels::tiles::{self, Place, Tiles, TilesOf, VECTORS, Walk};
use crate::kernels::{AddRow, ConvRow, Filter, PixelRow, add_i32, scalar};
use core::arch::x86_64::*;
use core::ptr;

/// Eight channels, two products at once: VPMADDWD.
#[derive(Debug)]
pub(super) struct Avx2;

/// What sums become results with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// Multipliers of the even channels, in every other place.
    even: __m256i,
    /// Those of the odd ones.
    odd: __m256i,
    /// As in [`Head`].
    shift: __m256i,
}

/// See [`crate::kernels::Kernels::conv_row`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn conv_row(row: &ConvRow<'_, i8>, workspace: &mut [i8], out: &mut [i8]) {
    // SAFETY: this function is called where the processor has it.
    unsafe { tiles::conv_row::<Avx2, i8>(row, workspace, out) }
}

/// See [`crate::kernels::Kernels::pack`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn pack(filter: &Filter<'_, i8>, packed: &mut [i8]) {
    tiles::pack::<Avx2, i8>(filter, packed);
}

/// See [`nearest::NearestCodes::nearest`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn nearest(entries: Entries<'_, i8>, packed: &[i8], vectors: &[i8], codes: &mut [u16]) {
    // SAFETY: this function is called where the processor has it.
    unsafe { nearest::integers::<Avx2>(entries, packed, vectors, codes) }
}

/// See [`scalar::relu_row`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn relu_row(x: &[i8], zero: i8, out: &mut [i8]) {
    scalar::relu_row(x, zero, out);
}

/// See [`scalar::add_row`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn add_row(row: &AddRow<'_, i8>, a: &mut [i8]) {
    add_i32::add_row(row, a);
}

/// See [`scalar::depth_to_space_row`]. Points of up to sixteen elements are shuffled as a whole.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn depth_to_space_row(points: &[i8], shape: PixelRow, out: &mut [i8]) {
    const WHOLE: usize = 16;
    let (point, pixels) = (shape.point(), shape.pixels());
    let count = (points.len() / point).min(out.len() / pixels);
    // As many as can be read and written with what lies behind them, which the next one overwrites.
    let behind = |len: usize, own: usize| len.checked_sub(WHOLE).map_or(0, |rest| rest / own + 1);
    let whole = if point > WHOLE {
        0
    } else {
        count
            .min(behind(points.len(), point))
            .min(behind(out.len(), pixels))
    };
    let mut order = [0x80u8; WHOLE];
    for (i, place) in order.iter_mut().enumerate().take(pixels) {
        *place = shape.source(i) as u8;
    }
    // SAFETY: all of these are sixteen bytes, those of the rows by the choice of `whole`.
    unsafe {
        let order = _mm_loadu_si128(order.as_ptr().cast());
        for i in 0..whole {
            let own = _mm_loadu_si128(points.as_ptr().add(i * point).cast());
            let place = out.as_mut_ptr().add(i * pixels).cast();
            _mm_storeu_si128(place, _mm_shuffle_epi8(own, order));
        }
    }
    scalar::depth_to_space_row(&points[whole * point..], shape, &mut out[whole * pixels..]);
}

/// Eight results of products whose results lie in the upper word; `shift` as in [`Head`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn requantise(even: __m256i, odd: __m256i, shift: __m256i, output: Output) -> [i8; 8] {
    let upper = _mm256_blend_epi32::<0xaa>(_mm256_srli_epi64::<32>(even), odd);
    let doubled = _mm256_srav_epi32(upper, shift);
    let offset = _mm256_set1_epi32(2 * i32::from(output.zero) + 1);
    let moved = _mm256_srai_epi32::<1>(_mm256_add_epi32(doubled, offset));
    let cut = _mm256_max_epi32(moved, _mm256_set1_epi32(output.low().into()));
    let halves = _mm_packs_epi32(
        _mm256_castsi256_si128(cut),
        _mm256_extracti128_si256::<1>(cut),
    );
    _mm_cvtsi128_si64(_mm_packs_epi16(halves, halves))
        .to_le_bytes()
        .map(|byte| byte as i8)
}

// SAFETY: loads read what callers guarantee and no more; a register of sums lies in memory as eight integers.
unsafe impl Tiles for Avx2 {
    type Number = i16;
    type Head = Head<8>;
    type Vector = __m256i;
    type Splat = __m256i;
    type Sums = __m256i;
    const LANES: usize = 8;
    const TAPS: usize = 2;
    const SPLATS: [usize; VECTORS] = [10, 6, 4, 0];

    #[inline(always)]
    unsafe fn start(head: &Head<8>) -> __m256i {
        // SAFETY: the field has eight integers.
        unsafe { _mm256_loadu_si256(head.start.as_ptr().cast()) }
    }
    #[inline(always)]
    unsafe fn vector(from: *const i16) -> __m256i {
        // SAFETY: the caller guarantees that sixteen numbers are readable.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const i16) -> __m256i {
        // SAFETY: the caller guarantees that two numbers are readable.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn multiply_add(sums: __m256i, vector: __m256i, splat: __m256i) -> __m256i {
        // SAFETY: the caller guarantees that the processor has the instruction set.
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(splat, vector)) }
    }
    #[inline(always)]
    unsafe fn transposed(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
        // SAFETY: the caller guarantees that the processor has the instruction set.
        unsafe { transposed(rows) }
    }
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn tile<const TURNED: bool, const S: usize, const V: usize>(
        walk: &Walk<'_, i16>,
        place: Place<Head<8>>,
        sums: *mut __m256i,
    ) {
        // SAFETY: the caller guarantees what `tile` wants.
        unsafe { tiles::tile::<Self, TURNED, S, V>(walk, place, sums) }
    }
}

// SAFETY: sums are integers, and no more than `count` elements are written.
unsafe impl TilesOf<i8> for Avx2 {
    type Scale = Scale;
    const AS_IT_IS: bool = false;

    #[inline(always)]
    fn activation(x: i8) -> i16 {
        x.into()
    }
    #[inline(always)]
    fn weight(weight: i8) -> i16 {
        weight.into()
    }
    #[inline(always)]
    unsafe fn scale(head: &Head<8>) -> Scale {
        let multipliers = multipliers(head);
        // SAFETY: eight integers can be read from the second multiplier on, too: the last one is a shift, in the place
        // of an even channel, which is not looked at.
        unsafe {
            Scale {
                even: _mm256_loadu_si256(multipliers.cast()),
                odd: _mm256_loadu_si256(multipliers.add(1).cast()),
                shift: _mm256_loadu_si256(head.shift.as_ptr().cast()),
            }
        }
    }
    #[inline(always)]
    unsafe fn finish(sums: __m256i, scale: Scale, output: Output, out: *mut i8, count: usize) {
        // SAFETY: the caller guarantees that the processor has the instruction set, that `count` elements are writable,
        // and that these are eight at most.
        unsafe {
            let even = _mm256_mul_epi32(sums, scale.even);
            let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(sums), scale.odd);
            let results = requantise(even, odd, scale.shift, output);
            if count == 8 {
                out.cast::<[i8; 8]>().write(results);
            } else {
                ptr::copy_nonoverlapping(results.as_ptr(), out, count);
            }
        }
    }
}
