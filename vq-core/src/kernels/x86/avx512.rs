//! AVX-512 with VNNI: registers of sixteen sums.

use super::words::{multipliers, transposed};
use crate::element::Output;
use crate::kernels::nearest::{self, Entries};
use crate::kernels::tiles::integer::Head;
use crate::kernels::tiles::{self, Place, Tiles, TilesOf, VECTORS, Walk};
use crate::kernels::{AddRow, ConvRow, Filter, add_i32, scalar};
use core::arch::x86_64::*;

/// Sixteen channels, four products at once: VPDPBUSD, which wants inputs without a sign.
#[derive(Debug)]
pub(super) struct Avx512;

/// What sums become results with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// Multipliers of the even channels, in every other place.
    even: __m512i,
    /// Those of the odd ones.
    odd: __m512i,
    /// As in [`Head`].
    shift: __m512i,
}

/// See [`crate::kernels::Kernels::conv_row`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn conv_row(row: &ConvRow<'_, i8>, workspace: &mut [i8], out: &mut [i8]) {
    // SAFETY: this function is called where the processor has it.
    unsafe { tiles::conv_row::<Avx512, i8>(row, workspace, out) }
}

/// See [`crate::kernels::Kernels::pack`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn pack(filter: &Filter<'_, i8>, packed: &mut [i8]) {
    tiles::pack::<Avx512, i8>(filter, packed);
}

/// See [`nearest::NearestCodes::nearest`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn nearest(entries: Entries<'_, i8>, packed: &[i8], vectors: &[i8], codes: &mut [u16]) {
    // SAFETY: this function is called where the processor has it.
    unsafe { nearest::integers::<Avx512>(entries, packed, vectors, codes) }
}

/// See [`scalar::relu_row`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn relu_row(x: &[i8], zero: i8, out: &mut [i8]) {
    scalar::relu_row(x, zero, out);
}

/// See [`scalar::add_row`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn add_row(row: &AddRow<'_, i8>, a: &mut [i8]) {
    add_i32::add_row(row, a);
}

/// Sixteen results of products whose results lie in the upper word, to be saturated; `shift` as in [`Head`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn requantise(even: __m512i, odd: __m512i, shift: __m512i, output: Output) -> __m512i {
    // The odd ones' upper words lie where they belong, the even ones' one further.
    let upper = _mm512_mask_shuffle_epi32::<0b11_11_01_01>(odd, 0x5555, even);
    let doubled = _mm512_srav_epi32(upper, shift);
    let offset = _mm512_set1_epi32(2 * i32::from(output.zero) + 1);
    let moved = _mm512_srai_epi32::<1>(_mm512_add_epi32(doubled, offset));
    _mm512_max_epi32(moved, _mm512_set1_epi32(output.low().into()))
}

/// Fewer than sixteen bytes, in halves: stores under a mask are slow on some processors.
///
/// # Safety
/// `count` bytes are writable at `to`; of `count` the lowest four bits are looked at.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn store_part(mut bytes: __m128i, mut to: *mut i8, count: usize) {
    // SAFETY: the bits of `count` add up to no more bytes than the caller guarantees.
    unsafe {
        if count & 8 != 0 {
            _mm_storel_epi64(to.cast(), bytes);
            bytes = _mm_srli_si128::<8>(bytes);
            to = to.add(8);
        }
        let mut rest = _mm_cvtsi128_si64(bytes) as u64;
        if count & 4 != 0 {
            to.cast::<u32>().write_unaligned(rest as u32);
            rest >>= 32;
            to = to.add(4);
        }
        if count & 2 != 0 {
            to.cast::<u16>().write_unaligned(rest as u16);
            rest >>= 16;
            to = to.add(2);
        }
        if count & 1 != 0 {
            to.write(rest as i8);
        }
    }
}

// SAFETY: loads read what callers guarantee and no more; a register of sums lies in memory as sixteen integers.
unsafe impl Tiles for Avx512 {
    /// The bits of an activation without a sign, or of a weight with one.
    type Number = u8;
    type Head = Head<16>;
    type Vector = __m512i;
    type Splat = __m512i;
    type Sums = __m512i;
    const LANES: usize = 16;
    const TAPS: usize = 4;
    const SPLATS: [usize; VECTORS] = [12, 12, 8, 6];
    const OFFSET: i32 = 0x80;
    const IS_SYMMETRIC: bool = false;

    #[inline(always)]
    unsafe fn start(head: &Head<16>) -> __m512i {
        // SAFETY: the field has sixteen integers.
        unsafe { _mm512_loadu_si512(head.start.as_ptr().cast()) }
    }
    #[inline(always)]
    unsafe fn vector(from: *const u8) -> __m512i {
        // SAFETY: the caller guarantees that 64 numbers are readable.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const u8) -> __m512i {
        // SAFETY: the caller guarantees that four numbers are readable.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn multiply_add(sums: __m512i, weights: __m512i, activations: __m512i) -> __m512i {
        // SAFETY: the caller guarantees that the processor has the instruction set.
        unsafe { _mm512_dpbusd_epi32(sums, activations, weights) }
    }
    #[inline(always)]
    unsafe fn multiply_add_turned(
        sums: __m512i,
        activations: __m512i,
        weights: __m512i,
    ) -> __m512i {
        // SAFETY: the caller guarantees that the processor has the instruction set.
        unsafe { _mm512_dpbusd_epi32(sums, activations, weights) }
    }
    #[inline(always)]
    unsafe fn transposed(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
        // SAFETY: the caller guarantees that the processor has the instruction set.
        unsafe { transposed(rows) }
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn tile<const TURNED: bool, const S: usize, const V: usize>(
        walk: &Walk<'_, u8>,
        place: Place<Head<16>>,
        sums: *mut __m512i,
    ) {
        // SAFETY: the caller guarantees what `tile` wants.
        unsafe { tiles::tile::<Self, TURNED, S, V>(walk, place, sums) }
    }
}

// SAFETY: sums are integers, and no more than `count` elements are written.
unsafe impl TilesOf<i8> for Avx512 {
    type Scale = Scale;
    const AS_IT_IS: bool = false;

    #[inline(always)]
    fn activation(x: i8) -> u8 {
        (x as u8) ^ 0x80
    }
    #[inline(always)]
    fn weight(weight: i8) -> u8 {
        weight as u8
    }
    #[inline(always)]
    unsafe fn scale(head: &Head<16>) -> Scale {
        let multipliers = multipliers(head);
        // SAFETY: sixteen integers can be read from the second multiplier on, too: the last one is a shift, in the place
        // of an even channel, which is not looked at.
        unsafe {
            Scale {
                even: _mm512_loadu_si512(multipliers.cast()),
                odd: _mm512_loadu_si512(multipliers.add(1).cast()),
                shift: _mm512_loadu_si512(head.shift.as_ptr().cast()),
            }
        }
    }
    #[inline(always)]
    unsafe fn finish(sums: __m512i, scale: Scale, output: Output, out: *mut i8, count: usize) {
        // SAFETY: the caller guarantees that the processor has the instruction set, and that `count` elements are
        // writable.
        unsafe {
            let even = _mm512_mul_epi32(sums, scale.even);
            let odd = _mm512_mul_epi32(_mm512_srli_epi64::<32>(sums), scale.odd);
            let results = _mm512_cvtsepi32_epi8(requantise(even, odd, scale.shift, output));
            if count == 16 {
                _mm_storeu_si128(out.cast(), results);
            } else {
                store_part(results, out, count);
            }
        }
    }
}
