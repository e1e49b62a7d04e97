//! What the search does with the registers of AVX2 and of AVX-512.

use super::avx2::Avx2;
use super::avx512::Avx512;
use crate::kernels::nearest::Lanes;
use core::arch::x86_64::*;

/// Both registers have the same functions, of other names.
macro_rules! lanes {
    (
        $tiles:ty, $words:ty, $singles:ty, $vectors:literal,
        $set_words:ident, $add_words:ident, $subtract_words:ident,
        $set:ident, $convert:ident, $add:ident, $subtract:ident, $multiply:ident, $max:ident,
        keep_larger: $keep_larger:ident, keep_less: $keep_less:ident, at_least: $at_least:ident
    ) => {
        // SAFETY: a register of singles lies in memory as so many.
        unsafe impl Lanes for $tiles {
            type Singles = $singles;
            const VECTORS: usize = $vectors;

            #[inline(always)]
            unsafe fn words(x: i32) -> $words {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { $set_words(x) }
            }
            #[inline(always)]
            unsafe fn add_words(a: $words, b: $words) -> $words {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { $add_words(a, b) }
            }
            #[inline(always)]
            unsafe fn subtract_words(a: $words, b: $words) -> $words {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { $subtract_words(a, b) }
            }
            #[inline(always)]
            unsafe fn keep_larger(best: &mut [$words; 2], own: [$words; 2]) {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { $keep_larger(best, own) }
            }
            #[inline(always)]
            unsafe fn singles(x: f32) -> $singles {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { $set(x) }
            }
            #[inline(always)]
            unsafe fn singles_of(words: $words) -> $singles {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { $convert(words) }
            }
            #[inline(always)]
            unsafe fn add(a: $singles, b: $singles) -> $singles {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn subtract(a: $singles, b: $singles) -> $singles {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { $subtract(a, b) }
            }
            #[inline(always)]
            unsafe fn multiply(a: $singles, b: $singles) -> $singles {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { $multiply(a, b) }
            }
            #[inline(always)]
            unsafe fn larger(a: $singles, b: $singles) -> $singles {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { $max(a, b) }
            }
            #[inline(always)]
            unsafe fn keep_less(
                least: &mut $singles,
                found: &mut $words,
                distances: $singles,
                own: $words,
            ) {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { $keep_less(least, found, distances, own) }
            }
            #[inline(always)]
            unsafe fn at_least(numbers: $singles, least: $singles) -> u32 {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { $at_least(numbers, least) }
            }
        }
    };
}

lanes!(
    Avx2, __m256i, __m256, 6,
    _mm256_set1_epi32, _mm256_add_epi32, _mm256_sub_epi32,
    _mm256_set1_ps, _mm256_cvtepi32_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps, _mm256_max_ps,
    keep_larger: keep_larger_256, keep_less: keep_less_256, at_least: at_least_256
);

lanes!(
    Avx512, __m512i, __m512, 12,
    _mm512_set1_epi32, _mm512_add_epi32, _mm512_sub_epi32,
    _mm512_set1_ps, _mm512_cvtepi32_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps, _mm512_max_ps,
    keep_larger: keep_larger_512, keep_less: keep_less_512, at_least: at_least_512
);

#[inline]
#[target_feature(enable = "avx2")]
fn keep_larger_256(best: &mut [__m256i; 2], own: [__m256i; 2]) {
    let larger = _mm256_cmpgt_epi32(own[0], best[0]);
    best[0] = _mm256_max_epi32(best[0], own[0]);
    best[1] = _mm256_blendv_epi8(best[1], own[1], larger);
}

#[inline]
#[target_feature(enable = "avx2")]
fn keep_less_256(least: &mut __m256, found: &mut __m256i, distances: __m256, own: __m256i) {
    let less = _mm256_cmp_ps::<_CMP_LT_OQ>(distances, *least);
    *least = _mm256_blendv_ps(*least, distances, less);
    *found = _mm256_blendv_epi8(*found, own, _mm256_castps_si256(less));
}

#[inline]
#[target_feature(enable = "avx2")]
fn at_least_256(numbers: __m256, least: __m256) -> u32 {
    _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(numbers, least)) as u32
}

#[inline]
#[target_feature(enable = "avx512f")]
fn keep_larger_512(best: &mut [__m512i; 2], own: [__m512i; 2]) {
    let larger = _mm512_cmpgt_epi32_mask(own[0], best[0]);
    best[0] = _mm512_max_epi32(best[0], own[0]);
    best[1] = _mm512_mask_mov_epi32(best[1], larger, own[1]);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn keep_less_512(least: &mut __m512, found: &mut __m512i, distances: __m512, own: __m512i) {
    let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(distances, *least);
    *least = _mm512_mask_mov_ps(*least, less, distances);
    *found = _mm512_mask_mov_epi32(*found, less, own);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn at_least_512(numbers: __m512, least: __m512) -> u32 {
    _mm512_cmp_ps_mask::<_CMP_GE_OQ>(numbers, least).into()
}
