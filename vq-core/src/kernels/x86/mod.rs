//! x86-64: what AVX2 and AVX-512 do their own way.

#![allow(unsafe_code)]

mod avx2;
mod avx512;
mod float;
mod lanes;

#[cfg(doc)]
use super::cpu;
use super::search::Search;
use super::{AddRow, Kernels, tiles};
use core::arch::x86_64::*;
use core::mem::transmute;
use half::f16;

use avx2::Avx2;
use avx512::Avx512;
use float::{avx2_half, avx2_single, avx512_half, avx512_single};

/// A backend's table, made of functions that want its instructions.
macro_rules! kernels {
    ($module:ident, $tiles:ty, $search:expr, $rest:expr) => {
        Kernels {
            search: $search(
                // SAFETY: as below.
                |entries, packed, vectors, codes| unsafe {
                    $module::nearest(entries, packed, vectors, codes)
                },
            ),
            // SAFETY: whoever takes the table has asked whether the processor has the instructions; all of them here.
            add_row: |row, a| unsafe { $module::add_row(row, a) },
            // SAFETY: as above.
            relu_row: |x, zero, out| unsafe { $module::relu_row(x, zero, out) },
            ..tiles::kernels::<$tiles>(
                // SAFETY: as above.
                |filter, packed| unsafe { $module::pack(filter, packed) },
                // SAFETY: as above.
                |row, room, out| unsafe { $module::conv_row(row, room, out) },
                $rest,
            )
        }
    };
}

/// What both do in the same way.
const INTEGERS: Kernels<i8> = Kernels {
    // SAFETY: as above; who has AVX-512 has AVX2.
    spread_row: |points, spread, out| unsafe { avx2::spread_row(points, spread, out) },
    ..Kernels::SCALAR
};

/// For [`cpu::has_avx2`].
pub(super) static AVX2: Kernels<i8> = kernels!(avx2, Avx2, Search::integers::<Avx2>, INTEGERS);

/// For [`cpu::has_avx512`].
pub(super) static AVX512: Kernels<i8> =
    kernels!(avx512, Avx512, Search::integers::<Avx512>, INTEGERS);

/// For [`cpu::has_avx2`].
pub(super) static AVX2_SINGLE: Kernels<f32> = kernels!(
    avx2_single,
    avx2_single::Tile,
    Search::floats::<Avx2>,
    Kernels::SCALAR_FLOAT
);

/// For [`cpu::has_avx2`].
pub(super) static AVX2_HALF: Kernels<f16> = kernels!(
    avx2_half,
    avx2_half::Tile,
    Search::floats::<Avx2>,
    Kernels::SCALAR_FLOAT
);

/// For [`cpu::has_avx512`].
pub(super) static AVX512_SINGLE: Kernels<f32> = kernels!(
    avx512_single,
    avx512_single::Tile,
    Search::floats::<Avx512>,
    Kernels::SCALAR_FLOAT
);

/// For [`cpu::has_avx512`].
pub(super) static AVX512_HALF: Kernels<f16> = kernels!(
    avx512_half,
    avx512_half::Tile,
    Search::floats::<Avx512>,
    Kernels::SCALAR_FLOAT
);

/// See [`tiles::Tiles::transposed`].
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
    // SAFETY: four words are a register.
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

impl<E> AddRow<'_, E> {
    /// What is left from an element on.
    fn from(&self, first: usize) -> Self {
        Self {
            b: &self.b[first..],
            scale: self.scale,
        }
    }
}
