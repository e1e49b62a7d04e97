//! x86-64: what AVX2 and AVX-512 do their own way, and whether this processor has them.

#![allow(unsafe_code)]

mod avx2;
mod avx512;
mod float;
mod lanes;

use super::search::Search;
use super::{AddRow, Kernels, tiles};
use core::arch::x86_64::*;
use core::mem::transmute;
use core::sync::atomic::{AtomicU8, Ordering};
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

/// For [`has_avx2`].
pub(super) static AVX2: Kernels<i8> = kernels!(avx2, Avx2, Search::integers::<Avx2>, INTEGERS);

/// For [`has_avx512`].
pub(super) static AVX512: Kernels<i8> =
    kernels!(avx512, Avx512, Search::integers::<Avx512>, INTEGERS);

/// For [`has_avx2`].
pub(super) static AVX2_SINGLE: Kernels<f32> = kernels!(
    avx2_single,
    avx2_single::Tile,
    Search::floats::<Avx2>,
    Kernels::SCALAR_FLOAT
);

/// For [`has_avx2`].
pub(super) static AVX2_HALF: Kernels<f16> = kernels!(
    avx2_half,
    avx2_half::Tile,
    Search::floats::<Avx2>,
    Kernels::SCALAR_FLOAT
);

/// For [`has_avx512`].
pub(super) static AVX512_SINGLE: Kernels<f32> = kernels!(
    avx512_single,
    avx512_single::Tile,
    Search::floats::<Avx512>,
    Kernels::SCALAR_FLOAT
);

/// For [`has_avx512`].
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

/// What a processor, and the system on it, can do; what is not known yet is 0.
static KNOWN: AtomicU8 = AtomicU8::new(0);

const ASKED: u8 = 1;
const HAS_AVX2: u8 = 2;
const HAS_AVX512: u8 = 4;

/// Whether the processor has AVX2, FMA and F16C.
pub(crate) fn has_avx2() -> bool {
    known() & HAS_AVX2 != 0
}

/// Whether the processor has AVX-512 F, BW, DQ, VL and VNNI beside that.
pub(crate) fn has_avx512() -> bool {
    known() & HAS_AVX512 != 0
}

/// Asks but once: below a hypervisor the question is slow.
fn known() -> u8 {
    let mut known = KNOWN.load(Ordering::Relaxed);
    if known == 0 {
        known = ASKED | asked();
        KNOWN.store(known, Ordering::Relaxed);
    }
    known
}

fn asked() -> u8 {
    if cfg!(miri) {
        // It has no CPUID, but knows what the program is compiled for.
        return u8::from(cfg!(target_feature = "avx2")) * HAS_AVX2;
    }
    // A bit of a register.
    let bit = |register: u32, bit: u32| register >> bit & 1 != 0;
    let all = |register, bits: &[u32]| bits.iter().all(|&i| bit(register, i));
    let leaf = |leaf, part| {
        // SAFETY: every x86-64 processor has CPUID.
        #[allow(unused_unsafe)]
        unsafe {
            __cpuid_count(leaf, part)
        }
    };
    let basic = leaf(1, 0);
    // FMA, XSAVE in use, AVX and F16C.
    if leaf(0, 0).eax < 7 || !all(basic.ecx, &[12, 27, 28, 29]) {
        return 0;
    }
    // SAFETY: the bit says that the system has switched XSAVE on.
    let saved = unsafe { saved() };
    let extended = leaf(7, 0);
    let avx2 = saved & YMM == YMM && bit(extended.ebx, 5);
    let avx512 = avx2
        && saved & ZMM == ZMM
        // F, DQ, BW and VL; VNNI.
        && all(extended.ebx, &[16, 17, 30, 31])
        && bit(extended.ecx, 11);
    (u8::from(avx2) * HAS_AVX2) | (u8::from(avx512) * HAS_AVX512)
}

/// The halves of the vector registers of AVX.
const YMM: u64 = 0b110;
/// Those of AVX-512 beside them.
const ZMM: u64 = 0b1110_0110;

/// The registers that the system saves when it switches tasks.
#[target_feature(enable = "xsave")]
fn saved() -> u64 {
    // SAFETY: register 0 is there.
    unsafe { _xgetbv(0) }
}

#[cfg(test)]
mod tests {
    extern crate std;

    #[test]
    fn what_the_processor_has_is_what_std_says() {
        use std::is_x86_feature_detected as has;
        let avx2 = has!("avx2") && has!("fma") && has!("f16c");
        let bytes = has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        assert_eq!(super::has_avx2(), avx2);
        assert_eq!(
            super::has_avx512(),
            avx2 && has!("avx512f") && bytes && has!("avx512vnni")
        );
    }
}
