//! Vector registers of floats, one type for each instruction set, and which of them this CPU has.
//!
//! A loop is written once over [`Lanes`] and compiled for each of them by [`Scalar`](super::Scalar)'s
//! dispatch. All that fuse multiplication and addition give the same results, in any width.

/// A register of floats.
pub(super) trait Lanes: Copy {
    /// What is in it.
    type Float: Copy;
    /// How many of them.
    const LANES: usize;

    /// # Safety
    /// The CPU has the instruction set; `LANES` floats can be read from `from` on.
    unsafe fn load(from: *const Self::Float) -> Self;
    /// # Safety
    /// The CPU has the instruction set; `LANES` floats can be written from `to` on.
    unsafe fn store(self, to: *mut Self::Float);
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn splat(x: Self::Float) -> Self;
    /// self + a * b.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self;
    /// max(self, 0).
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn rectify(self) -> Self;
}

macro_rules! portable {
    ($float:ty, $lanes:literal) => {
        impl Lanes for [$float; $lanes] {
            type Float = $float;
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn load(from: *const $float) -> Self {
                // SAFETY: as the caller promises; arrays of floats need no other alignment.
                unsafe { from.cast::<Self>().read() }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $float) {
                // SAFETY: as the caller promises.
                unsafe { to.cast::<Self>().write(self) }
            }
            #[inline(always)]
            unsafe fn splat(x: $float) -> Self {
                [x; $lanes]
            }
            #[inline(always)]
            unsafe fn multiply_add(mut self, a: Self, b: Self) -> Self {
                for (sum, (a, b)) in self.iter_mut().zip(a.into_iter().zip(b)) {
                    *sum = if cfg!(target_arch = "aarch64") {
                        a.mul_add(b, *sum)
                    } else {
                        a * b + *sum
                    };
                }
                self
            }
            #[inline(always)]
            unsafe fn rectify(self) -> Self {
                self.map(|x| if x > 0.0 { x } else { 0.0 })
            }
        }
    };
}

portable!(f32, 4);
portable!(f64, 2);

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    //! AVX2 with FMA, and AVX-512. `cfg` repeats what the target says: this is x86-64.
    use super::Lanes;
    use std::arch::x86_64::*;

    macro_rules! register {
        ($register:ty, $float:ty, $lanes:literal,
         $load:ident, $store:ident, $splat:ident, $fma:ident, $max:ident, $zero:ident) => {
            impl Lanes for $register {
                type Float = $float;
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn load(from: *const $float) -> Self {
                    // SAFETY: as the caller promises.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut $float) {
                    // SAFETY: as the caller promises.
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn splat(x: $float) -> Self {
                    // SAFETY: as the caller promises.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
                    // SAFETY: as the caller promises.
                    unsafe { $fma(a, b, self) }
                }
                #[inline(always)]
                unsafe fn rectify(self) -> Self {
                    // The second operand is what NaN gives: with self there, NaN stays.
                    // SAFETY: as the caller promises.
                    unsafe { $max($zero(), self) }
                }
            }
        };
    }

    register!(
        __m256,
        f32,
        8,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_max_ps,
        _mm256_setzero_ps
    );
    register!(
        __m512,
        f32,
        16,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_max_ps,
        _mm512_setzero_ps
    );
}
