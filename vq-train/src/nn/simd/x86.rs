//! AVX2 with FMA, and AVX-512.
use super::Lanes;
use std::arch::x86_64::*;

/// All ones in the first `count` of eight lanes.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn first_of_eight(count: usize) -> __m256i {
    const ONES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    let from = &ONES[8 - count.min(8)..][..8];
    // SAFETY: the slice has eight numbers, and the caller guarantees that the CPU has AVX2.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// See [`Lanes::load_part`].
///
/// # Safety
/// The CPU has AVX2; `count` floats can be read from `from` on.
#[inline(always)]
unsafe fn load_part_256(from: *const f32, count: usize) -> __m256 {
    // SAFETY: only the first `count` lanes are read; the CPU has the instructions.
    unsafe { _mm256_maskload_ps(from, first_of_eight(count)) }
}

/// See [`Lanes::store_part`].
///
/// # Safety
/// The CPU has AVX2; `count` floats can be written from `to` on.
#[inline(always)]
unsafe fn store_part_256(to: *mut f32, count: usize, register: __m256) {
    // SAFETY: only the first `count` lanes are written; the CPU has the instructions.
    unsafe { _mm256_maskstore_ps(to, first_of_eight(count), register) }
}

/// See [`Lanes::load_part`].
///
/// # Safety
/// The CPU has AVX-512F; `count` floats can be read from `from` on.
#[inline(always)]
unsafe fn load_part_512(from: *const f32, count: usize) -> __m512 {
    // SAFETY: only the first `count` lanes are read; the CPU has the instructions.
    unsafe { _mm512_maskz_loadu_ps(((1u32 << count) - 1) as u16, from) }
}

/// See [`Lanes::store_part`].
///
/// # Safety
/// The CPU has AVX-512F; `count` floats can be written from `to` on.
#[inline(always)]
unsafe fn store_part_512(to: *mut f32, count: usize, register: __m512) {
    // SAFETY: only the first `count` lanes are written; the CPU has the instructions.
    unsafe { _mm512_mask_storeu_ps(to, ((1u32 << count) - 1) as u16, register) }
}

macro_rules! register {
    ($register:ty, $float:ty, $lanes:literal,
     $load:ident, $store:ident, $load_part:ident, $store_part:ident, $splat:ident, $fma:ident, $add:ident, $sub:ident, $max:ident, $zero:ident) => {
        // SAFETY: the instructions read and write a register's floats; where they are masked, the first `count`.
        unsafe impl Lanes for $register {
            type Float = $float;
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn load(from: *const $float) -> Self {
                // SAFETY: the caller guarantees the instructions, and that LANES floats are readable.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $float) {
                // SAFETY: the caller guarantees the instructions, and that LANES floats are writable.
                unsafe { $store(to, self) }
            }
            #[inline(always)]
            unsafe fn load_part(from: *const $float, count: usize) -> Self {
                // SAFETY: the caller guarantees the instructions, and that `count` floats are readable.
                unsafe { $load_part(from, count) }
            }
            #[inline(always)]
            unsafe fn store_part(self, to: *mut $float, count: usize) {
                // SAFETY: the caller guarantees the instructions, and that `count` floats are writable.
                unsafe { $store_part(to, count, self) }
            }
            #[inline(always)]
            unsafe fn splat(x: $float) -> Self {
                // SAFETY: the caller guarantees that the CPU has the instruction set.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
                // SAFETY: the caller guarantees that the CPU has the instruction set.
                unsafe { $fma(a, b, self) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the caller guarantees that the CPU has the instruction set.
                unsafe { $add(self, other) }
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                // SAFETY: the caller guarantees that the CPU has the instruction set.
                unsafe { $sub(self, other) }
            }
            #[inline(always)]
            unsafe fn rectify(self) -> Self {
                // The second operand is what NaN gives: with self there, NaN stays.
                // SAFETY: the caller guarantees that the CPU has the instruction set.
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
    load_part_256,
    store_part_256,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_max_ps,
    _mm256_setzero_ps
);
register!(
    __m512,
    f32,
    16,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    load_part_512,
    store_part_512,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_max_ps,
    _mm512_setzero_ps
);
