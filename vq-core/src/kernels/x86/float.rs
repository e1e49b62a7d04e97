//! Single and half precision with AVX2 and with AVX-512: one fused product at a time for each channel, so that every
//! sum is added up in the order of the reference.
//!
//! Products are those of single precision for both; only what is loaded and stored differs.

use super::avx2::Avx2;
use super::avx512::Avx512;
use super::words::transposed;
use crate::element::{Output, Real};
use crate::kernels::nearest::{self, Entries};
use crate::kernels::tiles::{self, Place, Tiles, TilesOf, VECTORS, Walk};
use crate::kernels::{AddRow, ConvRow, Filter, scalar};
use core::arch::x86_64::*;
use core::slice;
use half::f16;

/// Eight channels, one fused product at a time.
#[derive(Debug)]
pub(super) struct Avx2Singles;

/// Sixteen channels, one fused product at a time.
#[derive(Debug)]
pub(super) struct Avx512Singles;

/// Both registers have the same functions, of other names.
macro_rules! tiles {
    (
        $tiles:ty, $features:literal, $register:ty, $lanes:literal, $splats:expr,
        $load:ident, $splat:ident, $fused:ident
    ) => {
        // SAFETY: loads read what callers guarantee and no more; a register of sums lies in memory as singles.
        unsafe impl Tiles for $tiles {
            type Number = f32;
            type Head = [f32; $lanes];
            type Vector = $register;
            type Splat = $register;
            type Sums = $register;
            const LANES: usize = $lanes;
            const TAPS: usize = 1;
            const SPLATS: [usize; VECTORS] = $splats;

            #[inline(always)]
            unsafe fn start(head: &[f32; $lanes]) -> $register {
                // SAFETY: the head has as many singles as the register.
                unsafe { $load(head.as_ptr()) }
            }
            #[inline(always)]
            unsafe fn vector(from: *const f32) -> $register {
                // SAFETY: the caller guarantees that as many numbers are readable as the register has.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn splat(from: *const f32) -> $register {
                // SAFETY: the caller guarantees that a number is readable.
                unsafe { $splat(from.read_unaligned()) }
            }
            #[inline(always)]
            unsafe fn multiply_add(
                sums: $register,
                vector: $register,
                splat: $register,
            ) -> $register {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { $fused(splat, vector, sums) }
            }
            #[inline(always)]
            unsafe fn transposed(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
                // SAFETY: the caller guarantees that the processor has the instruction set.
                unsafe { transposed(rows) }
            }
            #[target_feature(enable = $features)]
            unsafe fn tile<const TURNED: bool, const S: usize, const V: usize>(
                walk: &Walk<'_, f32>,
                place: Place<[f32; $lanes]>,
                sums: *mut $register,
            ) {
                // SAFETY: the caller guarantees what `tile` wants.
                unsafe { tiles::tile::<Self, TURNED, S, V>(walk, place, sums) }
            }
        }
    };
}

tiles!(
    Avx2Singles,
    "avx2,fma,f16c",
    __m256,
    8,
    [12, 6, 4, 0],
    _mm256_loadu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps
);

tiles!(
    Avx512Singles,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    __m512,
    16,
    [12, 12, 8, 6],
    _mm512_loadu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps
);

/// The row functions of an element type with the registers of an instruction set.
macro_rules! backend {
    (
        $module:ident, $element:ty, $tiles:ty, $integers:ty, $features:literal, $register:ty, $lanes:literal, $as_it_is:literal,
        $splat:ident, $add:ident, $max:ident, read: $read:expr, write: $write:expr
    ) => {
        #[doc = concat!("Elements `", stringify!($element), "` in `", stringify!($register), "`.")]
        pub(super) mod $module {
            use super::*;

            /// See [`crate::kernels::Kernels::pack`].
            #[target_feature(enable = $features)]
            pub(in crate::kernels::x86) fn pack(
                filter: &Filter<'_, $element>,
                packed: &mut [$element],
            ) {
                tiles::pack::<$tiles, $element>(filter, packed);
            }

            /// See [`crate::kernels::Kernels::conv_row`].
            #[target_feature(enable = $features)]
            pub(in crate::kernels::x86) fn conv_row(
                row: &ConvRow<'_, $element>,
                workspace: &mut [$element],
                out: &mut [$element],
            ) {
                // SAFETY: this function is called where the processor has the instructions.
                unsafe { tiles::conv_row::<$tiles, $element>(row, workspace, out) }
            }

            /// See [`nearest::NearestCodes::nearest`].
            #[target_feature(enable = $features)]
            pub(in crate::kernels::x86) fn nearest(
                entries: Entries<'_, $element>,
                packed: &[$element],
                vectors: &[$element],
                codes: &mut [u16],
            ) {
                // SAFETY: this function is called where the processor has the instructions.
                unsafe {
                    nearest::floats::<$integers, $element>(entries, packed, vectors, codes);
                }
            }

            /// See [`scalar::relu_row`].
            #[target_feature(enable = $features)]
            pub(in crate::kernels::x86) fn relu_row(
                x: &[$element],
                zero: $element,
                out: &mut [$element],
            ) {
                scalar::relu_row(x, zero, out);
            }

            /// See [`scalar::add_row`].
            #[target_feature(enable = $features)]
            pub(in crate::kernels::x86) fn add_row(row: &AddRow<'_, $element>, a: &mut [$element]) {
                let (places, rest) = a.as_chunks_mut::<$lanes>();
                for (a, b) in places.iter_mut().zip(row.b.as_chunks::<$lanes>().0) {
                    // SAFETY: each has as many elements as the register.
                    unsafe {
                        let sum = $add(read(a.as_ptr()), read(b.as_ptr()));
                        write(rectify(sum, row.scale.output), a.as_mut_ptr());
                    }
                }
                let done = places.as_flattened().len();
                scalar::add_row(&row.from(done), rest);
            }

            /// # Safety
            /// As many elements as the register has singles are readable from `from`; no alignment is needed.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn read(from: *const $element) -> $register {
                // SAFETY: the caller guarantees that so many elements are readable.
                unsafe { $read(from) }
            }

            /// # Safety
            /// As many elements as the register has singles are writable at `to`; no alignment is needed.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn write(x: $register, to: *mut $element) {
                // SAFETY: the caller guarantees that so many elements are writable.
                unsafe { $write(to, x) }
            }

            /// As [`Output`] does it: what is not below 0 stays, be it -0.
            #[inline]
            #[target_feature(enable = $features)]
            fn rectify(x: $register, output: Output) -> $register {
                if output.relu { $max($splat(0.0), x) } else { x }
            }

            // SAFETY: sums are singles, and no more than `count` elements are written.
            unsafe impl TilesOf<$element> for $tiles {
                type Scale = ();
                const AS_IT_IS: bool = $as_it_is;

                #[inline(always)]
                fn activation(x: $element) -> f32 {
                    x.single()
                }
                #[inline(always)]
                fn weight(weight: $element) -> f32 {
                    weight.single()
                }
                #[inline(always)]
                unsafe fn scale(_: &[f32; $lanes]) {}
                #[inline(always)]
                unsafe fn finish(
                    sums: $register,
                    (): (),
                    output: Output,
                    out: *mut $element,
                    count: usize,
                ) {
                    // SAFETY: the caller guarantees that the processor has the instruction set and that `count` elements
                    // are writable; the array has as many elements as the register has singles.
                    unsafe {
                        let results = rectify(sums, output);
                        if count == $lanes {
                            return write(results, out);
                        }
                        let mut own = [<$element>::default(); $lanes];
                        write(results, own.as_mut_ptr());
                        slice::from_raw_parts_mut(out, count).copy_from_slice(&own[..count]);
                    }
                }
            }
        }
    };
}

/// The largest finite number of half precision.
const MOST: f32 = 65_504.0;

backend!(
    avx2_single, f32, Avx2Singles, Avx2, "avx2,fma,f16c", __m256, 8, true,
    _mm256_set1_ps, _mm256_add_ps, _mm256_max_ps,
    read: _mm256_loadu_ps,
    write: _mm256_storeu_ps
);

backend!(
    avx2_half, f16, Avx2Singles, Avx2, "avx2,fma,f16c", __m256, 8, false,
    _mm256_set1_ps, _mm256_add_ps, _mm256_max_ps,
    read: |from: *const f16| _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
    write: |to: *mut f16, x| {
        // Not a number stays what it is.
        let x = _mm256_min_ps(_mm256_set1_ps(MOST), _mm256_max_ps(_mm256_set1_ps(-MOST), x));
        _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x));
    }
);

backend!(
    avx512_single, f32, Avx512Singles, Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", __m512, 16, true,
    _mm512_set1_ps, _mm512_add_ps, _mm512_max_ps,
    read: _mm512_loadu_ps,
    write: _mm512_storeu_ps
);

backend!(
    avx512_half, f16, Avx512Singles, Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", __m512, 16, false,
    _mm512_set1_ps, _mm512_add_ps, _mm512_max_ps,
    read: |from: *const f16| _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())),
    write: |to: *mut f16, x| {
        let x = _mm512_min_ps(_mm512_set1_ps(MOST), _mm512_max_ps(_mm512_set1_ps(-MOST), x));
        _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x));
    }
);
