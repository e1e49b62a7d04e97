//! Words of 32 bits: where a head has them, and how they change places.

use crate::kernels::tiles::integer::Head;
use core::arch::x86_64::*;
use core::mem::{offset_of, transmute};
use core::ptr;

/// A head's multipliers, with its shifts behind them: 2 * L integers are readable.
#[inline(always)]
pub(super) fn multipliers<const L: usize>(head: &Head<L>) -> *const i32 {
    const {
        let end = offset_of!(Head<L>, multiplier) + size_of::<[i32; L]>();
        assert!(offset_of!(Head<L>, shift) == end);
    }
    let multipliers = ptr::from_ref(head).wrapping_byte_add(offset_of!(Head<L>, multiplier));
    multipliers.cast()
}

/// Makes columns of rows.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn transposed(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
    // SAFETY: four words are as large as a register, and every pattern of bits is one.
    unsafe {
        let [a, b, c, d] = transmute::<[[u32; 4]; 4], [__m128i; 4]>(rows);
        let (low, high) = (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
        let (low_2, high_2) = (_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
        transmute::<[__m128i; 4], [[u32; 4]; 4]>([
            _mm_unpacklo_epi64(low, low_2),
            _mm_unpackhi_epi64(low, low_2),
            _mm_unpacklo_epi64(high, high_2),
            _mm_unpackhi_epi64(high, high_2),
        ])
    }
}
