//! The inner loops, behind one table of row functions. What rows mean is not known here.
//!
//! `scalar` is the readable reference, always built; any other backend must give the same numbers.

mod add_i32;
mod arm;
mod backend;
mod cpu;
mod emulated;
mod entries;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod nearest;
mod row;
mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
mod table;
mod tiles;
mod whole_map;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::element::Element;
pub use backend::Backend;
use half::f16;
pub(crate) use row::{
    ALIGN, AddRow, Attend, ConvRow, ConvShape, Filter, MapRows, Norm, PHASE, PixelRow,
};
#[cfg(test)]
pub(crate) use table::EMULATED;
pub(crate) use table::Kernels;

/// An element type for which every backend has kernels: the types of models. It can be named, but not implemented elsewhere.
pub trait HasKernels: Element {
    /// The row functions of a backend.
    #[doc(hidden)]
    fn kernels(backend: Backend) -> &'static Kernels<Self>;
}

impl HasKernels for i8 {
    fn kernels(backend: Backend) -> &'static Kernels<Self> {
        Kernels::<i8>::of(backend)
    }
}

#[cfg(feature = "f16")]
impl HasKernels for f16 {
    fn kernels(backend: Backend) -> &'static Kernels<Self> {
        Kernels::of_halves(backend)
    }
}

#[cfg(feature = "f32")]
impl HasKernels for f32 {
    fn kernels(backend: Backend) -> &'static Kernels<Self> {
        Kernels::of_singles(backend)
    }
}

impl Kernels<i8> {
    /// Those of a backend, in plain loops where the processor lacks its instructions. A device has only its own: the
    /// others would lie in its flash for nothing.
    pub(crate) fn of(backend: Backend) -> &'static Self {
        let own = if cfg!(target_os = "none") {
            Backend::best()
        } else {
            backend
        };
        match own {
            Backend::Scalar => &Self::SCALAR,
            Backend::Thumb1 => &arm::THUMB1,
            Backend::Thumb2 => &arm::THUMB2,
            Backend::Thumb2Dsp => &arm::DSP,
            Backend::Helium => &arm::HELIUM,
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Backend::Simd128 => &simd128::SIMD128,
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Backend::Simd128 => &emulated::SIMD128,
            #[cfg(target_arch = "aarch64")]
            Backend::Neon => &neon::NEON,
            #[cfg(not(target_arch = "aarch64"))]
            Backend::Neon => &emulated::NEON,
            #[cfg(target_arch = "aarch64")]
            Backend::NeonDot if own.is_native() => &neon::DOT,
            Backend::NeonDot => &emulated::NEON_DOT,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 if own.is_native() => &x86::AVX2,
            Backend::Avx2 => &emulated::AVX2,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 if own.is_native() => &x86::AVX512,
            Backend::Avx512 => &emulated::AVX512,
        }
    }
}

#[cfg_attr(
    not(feature = "f32"),
    expect(dead_code, reason = "no model asks for it without the feature")
)]
impl Kernels<f32> {
    /// Those of a backend; the reference where it has none of its own, or the processor lacks its instructions.
    pub(crate) fn of_singles(backend: Backend) -> &'static Self {
        match backend {
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Backend::Simd128 => &simd128::SINGLE,
            #[cfg(target_arch = "aarch64")]
            Backend::Neon | Backend::NeonDot => &neon::SINGLE,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 if backend.is_native() => &x86::AVX2_SINGLE,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 if backend.is_native() => &x86::AVX512_SINGLE,
            _ => &Self::SCALAR_FLOAT,
        }
    }
}

#[cfg_attr(
    not(feature = "f16"),
    expect(dead_code, reason = "no model asks for it without the feature")
)]
impl Kernels<f16> {
    /// Those of a backend; the reference where it has none of its own, or the processor lacks its instructions.
    pub(crate) fn of_halves(backend: Backend) -> &'static Self {
        match backend {
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Backend::Simd128 => &simd128::HALF,
            #[cfg(target_arch = "aarch64")]
            Backend::Neon | Backend::NeonDot => &neon::HALF,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 if backend.is_native() => &x86::AVX2_HALF,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 if backend.is_native() => &x86::AVX512_HALF,
            _ => &Self::SCALAR_FLOAT,
        }
    }
}
