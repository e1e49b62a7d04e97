//! The float types that layers run on, and functions of theirs that the compiler vectorises.

use super::exponential;
use super::gemm::Gemm;
use super::simd::Simd;
use ndarray::NdFloat;

/// The float types that layers run on: f32 to train, f64 to check gradients.
pub trait Scalar: NdFloat + Default + Simd + Gemm {
    /// Rounds a literal to this type.
    fn of(x: f64) -> Self;
    /// Widens to f64, for statistics.
    fn wide(self) -> f64;
    /// e^x, as fast as loops need it: f32 to a relative error of 1e-7.
    fn fast_exp(self) -> Self;
    /// tanh(x), as fast as loops need it: f32 to a relative error of 4e-7.
    fn fast_tanh(self) -> Self;
    /// The numbers as they are, where they are f32.
    fn singles(numbers: &[Self]) -> Option<&[f32]>;
}

impl Scalar for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn fast_exp(self) -> f32 {
        exponential::exp(self)
    }
    #[inline(always)]
    fn fast_tanh(self) -> f32 {
        exponential::tanh(self)
    }
    fn singles(numbers: &[f32]) -> Option<&[f32]> {
        Some(numbers)
    }
}

impl Scalar for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn wide(self) -> f64 {
        self
    }
    fn fast_exp(self) -> f64 {
        self.exp()
    }
    fn fast_tanh(self) -> f64 {
        self.tanh()
    }
    fn singles(_: &[f64]) -> Option<&[f32]> {
        None
    }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(super) fn sigmoid<T: Scalar>(x: T) -> T {
    T::one() / (T::one() + (-x).fast_exp())
}

/// The derivative of x sigmoid(x).
#[inline(always)]
pub(super) fn silu_slope<T: Scalar>(x: T) -> T {
    let s = sigmoid(x);
    s * (T::one() + x * (T::one() - s))
}
