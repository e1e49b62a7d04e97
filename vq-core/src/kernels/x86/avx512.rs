//! AVX-512 with VNNI: registers of sixteen sums.

use crate::element::Output;
use crate::kernels::search::{self, Entries};
use crate::kernels::tiles::integer::Head;
use crate::kernels::tiles::{self, Tiles, VECTORS};
use crate::kernels::{AddRow, ConvRow, Filter, scalar, words};
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
pub(super) fn conv_row(row: &ConvRow<'_, i8>, room: &mut [i8], out: &mut [i8]) {
    // SAFETY: this function is called where the processor has it.
    unsafe { tiles::conv_row::<Avx512>(row, room, out) }
}

/// See [`crate::kernels::Kernels::pack`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn pack(filter: &Filter<'_, i8>, packed: &mut [i8]) {
    tiles::pack::<Avx512>(filter, packed);
}

/// See [`search::Search::nearest`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn nearest(entries: Entries<'_, i8>, packed: &[i8], vectors: &[i8], codes: &mut [u16]) {
    // SAFETY: this function is called where the processor has it.
    unsafe { search::integers::<Avx512>(entries, packed, vectors, codes) }
}

/// See [`scalar::relu_row`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn relu_row(x: &[i8], zero: i8, out: &mut [i8]) {
    scalar::relu_row(x, zero, out);
}

/// See [`scalar::add_row`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn add_row(row: &AddRow<'_, i8>, a: &mut [i8]) {
    words::add_row(row, a);
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
/// So many bytes can be written.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn store_part(mut bytes: __m128i, mut to: *mut i8, count: usize) {
    // SAFETY: as promised by the caller.
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

impl Tiles for Avx512 {
    type Element = i8;
    type Input = u8;
    type Weight = i8;
    type Head = Head<16>;
    type Weights = __m512i;
    type Inputs = __m512i;
    type Sums = __m512i;
    type Scale = Scale;
    const LANES: usize = 16;
    const TAPS: usize = 4;
    const POINTS: [usize; VECTORS] = [12, 12, 8, 6];
    const AS_IT_IS: bool = false;
    const OFFSET: i32 = 0x80;

    #[inline(always)]
    fn input(x: i8) -> u8 {
        (x as u8) ^ 0x80
    }
    #[inline(always)]
    fn weight(weight: i8) -> i8 {
        weight
    }

    #[inline(always)]
    unsafe fn start(head: *const Head<16>) -> __m512i {
        // SAFETY: as promised by the caller.
        unsafe { _mm512_loadu_si512((&raw const (*head).start).cast()) }
    }
    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m512i {
        // SAFETY: as promised by the caller.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> __m512i {
        // SAFETY: as promised by the caller.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn multiply_add(sums: __m512i, inputs: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: as promised by the caller.
        unsafe { _mm512_dpbusd_epi32(sums, inputs, weights) }
    }
    #[inline(always)]
    unsafe fn multiply_add_points(sums: __m512i, inputs: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: as promised by the caller.
        unsafe { _mm512_dpbusd_epi32(sums, inputs, weights) }
    }
    #[inline(always)]
    unsafe fn transposed(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
        // SAFETY: as promised by the caller.
        unsafe { super::transposed(rows) }
    }
    #[inline(always)]
    unsafe fn scale(head: *const Head<16>) -> Scale {
        // SAFETY: as promised by the caller.
        unsafe {
            let multiplier = (&raw const (*head).multiplier).cast::<i32>();
            Scale {
                even: _mm512_loadu_si512(multiplier.cast()),
                // One further, where the shifts follow.
                odd: _mm512_loadu_si512(multiplier.add(1).cast()),
                shift: _mm512_loadu_si512((&raw const (*head).shift).cast()),
            }
        }
    }
    #[inline(always)]
    unsafe fn finish(sums: __m512i, scale: Scale, output: Output, out: *mut i8, count: usize) {
        // SAFETY: as promised by the caller.
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
