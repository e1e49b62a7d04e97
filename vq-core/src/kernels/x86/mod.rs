//! x86-64: what AVX2 and AVX-512 do their own way.

#![allow(unsafe_code)]

mod avx2;
mod avx512;
mod float;
mod lanes;
mod words;

#[cfg(doc)]
use super::cpu;
use super::row::AddRow;
use super::table::{Kernels, NearestCodes};
use super::tiles;
use half::f16;

use avx2::Avx2;
use avx512::Avx512;
use float::{Avx2Singles, Avx512Singles, avx2_half, avx2_single, avx512_half, avx512_single};

/// A backend's table, made of functions that want its instructions.
macro_rules! kernels {
    ($module:ident, $tiles:ty, $nearest:expr, $rest:expr) => {
        Kernels {
            nearest: $nearest(
                // SAFETY: whoever takes the table has asked whether the processor has the instructions.
                |entries, packed, vectors, codes| unsafe {
                    $module::nearest(entries, packed, vectors, codes)
                },
            ),
            // SAFETY: whoever takes the table has asked whether the processor has the instructions.
            add_row: |row, a| unsafe { $module::add_row(row, a) },
            // SAFETY: whoever takes the table has asked whether the processor has the instructions.
            relu_row: |x, zero, out| unsafe { $module::relu_row(x, zero, out) },
            ..tiles::kernels::<$tiles, _>(
                // SAFETY: whoever takes the table has asked whether the processor has the instructions.
                |filter, packed| unsafe { $module::pack(filter, packed) },
                // SAFETY: whoever takes the table has asked whether the processor has the instructions.
                |row, workspace, out| unsafe { $module::conv_row(row, workspace, out) },
                $rest,
            )
        }
    };
}

/// What AVX2 and AVX-512 do in the same way.
const INTEGERS: Kernels<i8> = Kernels {
    // SAFETY: whoever takes the table has asked whether the processor has the instructions; who has
    // AVX-512 has AVX2.
    depth_to_space_row: |points, shape, out| unsafe {
        avx2::depth_to_space_row(points, shape, out)
    },
    ..Kernels::SCALAR
};

/// For [`cpu::has_avx2`].
pub(super) static AVX2: Kernels<i8> =
    kernels!(avx2, Avx2, NearestCodes::integers::<Avx2>, INTEGERS);

/// For [`cpu::has_avx512`].
pub(super) static AVX512: Kernels<i8> =
    kernels!(avx512, Avx512, NearestCodes::integers::<Avx512>, INTEGERS);

/// For [`cpu::has_avx2`].
pub(super) static AVX2_SINGLE: Kernels<f32> = kernels!(
    avx2_single,
    Avx2Singles,
    NearestCodes::floats::<Avx2>,
    Kernels::SCALAR_FLOAT
);

/// For [`cpu::has_avx2`].
pub(super) static AVX2_HALF: Kernels<f16> = kernels!(
    avx2_half,
    Avx2Singles,
    NearestCodes::floats::<Avx2>,
    Kernels::SCALAR_FLOAT
);

/// For [`cpu::has_avx512`].
pub(super) static AVX512_SINGLE: Kernels<f32> = kernels!(
    avx512_single,
    Avx512Singles,
    NearestCodes::floats::<Avx512>,
    Kernels::SCALAR_FLOAT
);

/// For [`cpu::has_avx512`].
pub(super) static AVX512_HALF: Kernels<f16> = kernels!(
    avx512_half,
    Avx512Singles,
    NearestCodes::floats::<Avx512>,
    Kernels::SCALAR_FLOAT
);

impl<E> AddRow<'_, E> {
    /// What is left from an element on.
    fn from(&self, first: usize) -> Self {
        Self {
            b: &self.b[first..],
            scale: self.scale,
        }
    }
}
