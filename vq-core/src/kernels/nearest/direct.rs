//! The search in single precision for vectors of few numbers: all squared distances.
//!
//! Entries lie in blocks of LANES, number by number, \[D\]\[LANES\]. Those that fill the last one up are not numbers,
//! and so nearest to nothing.
//!
//! ```text
//! for some vectors, for LANES entries at a time: keep the entry if its distance < the least so far
//! ```
//!
//! 1. Each lane keeps its own best, the first of equals, and they meet when all entries have been seen.

use super::lanes::{Lanes, first_of};
use crate::element::Real;
use crate::kernels::entries::{Entries, Shape};
use crate::kernels::tiles::elements;

/// Numbers of a vector from which rough scores pay.
pub(super) const FILTERED: usize = 16;

/// Most vectors that are searched for together.
const VECTORS: usize = 8;

/// Singles of all blocks.
fn singles<T: Lanes>(shape: Shape) -> usize {
    shape.count.div_ceil(T::LANES) * T::LANES * shape.dim
}

/// See [`super::NearestCodes::packed_len`].
pub(super) fn packed_len<T: Lanes, R: Real>(shape: Shape) -> usize {
    elements::<R>(singles::<T>(shape) * size_of::<f32>())
}

/// See [`super::NearestCodes::pack`].
pub(super) fn pack<T: Lanes, R: Real>(entries: Entries<'_, R>, packed: &mut [R]) {
    let Shape { count, dim } = entries.shape();
    let (_, places, _) = bytemuck::pod_align_to_mut::<R, f32>(packed);
    for (block, places) in places.chunks_exact_mut(dim * T::LANES).enumerate() {
        for (i, place) in places.iter_mut().enumerate() {
            let (k, d) = (block * T::LANES + i % T::LANES, i / T::LANES);
            let number = (k < count).then(|| R::read(entries.entry(k)[d]).single());
            *place = number.unwrap_or(f32::NAN);
        }
    }
}

/// See [`super::NearestCodes::nearest`].
///
/// # Safety
/// The processor has T's instruction set.
#[inline(always)]
pub(super) unsafe fn nearest<T: Lanes, R: Real>(
    entries: Entries<'_, R>,
    packed: &[R],
    vectors: &[R],
    codes: &mut [u16],
) {
    let dim = entries.dim;
    let (_, packed, _) = bytemuck::pod_align_to::<R, f32>(packed);
    assert!(packed.len() >= singles::<T>(entries.shape()));
    assert!(vectors.len() == codes.len() * dim);
    let packed = &packed[..singles::<T>(entries.shape())];
    let mut own = [[0.0; FILTERED]; VECTORS];
    let groups = vectors.chunks(VECTORS * dim);
    for (vectors, codes) in groups.zip(codes.chunks_mut(VECTORS)) {
        for (place, vector) in own.iter_mut().zip(vectors.chunks_exact(dim)) {
            for (place, &x) in place.iter_mut().zip(vector) {
                *place = x.single();
            }
        }
        // SAFETY: the caller guarantees that the processor has the instruction set.
        unsafe {
            if codes.len() == 1 || T::VECTORS == 1 {
                for (vector, code) in own.iter().zip(codes.chunks_mut(1)) {
                    tile::<T, 1>(vector, packed, dim, code);
                }
            } else {
                tile::<T, VECTORS>(own.as_flattened(), packed, dim, codes);
            }
        }
    }
}

/// For P vectors, each behind FILTERED of another.
///
/// # Safety
/// The processor has T's instruction set.
#[inline(always)]
unsafe fn tile<T: Lanes, const P: usize>(
    vectors: &[f32],
    packed: &[f32],
    dim: usize,
    codes: &mut [u16],
) {
    assert!(vectors.len() >= P * FILTERED && dim < FILTERED);
    let vectors = vectors.as_ptr();
    // SAFETY: the caller guarantees that the processor has the instruction set; a block has `dim` registers of numbers, and
    // each of P vectors has room for more than `dim` numbers. Registers are LANES singles or integers.
    unsafe {
        let mut least = [T::singles(f32::INFINITY); P];
        let mut found = [T::words(0); P];
        for (block, entries) in packed.chunks_exact(dim * T::LANES).enumerate() {
            let entries = entries.as_ptr().cast::<T::Singles>();
            let mut sums = [T::singles(0.0); P];
            for d in 0..dim {
                let entries = entries.add(d).read_unaligned();
                for (p, sum) in sums.iter_mut().enumerate() {
                    let x = T::singles(*vectors.add(p * FILTERED + d));
                    let difference = T::subtract(x, entries);
                    *sum = T::add(*sum, T::multiply(difference, difference));
                }
            }
            let block = T::words(block as i32);
            for p in 0..P {
                T::keep_less(&mut least[p], &mut found[p], sums[p], block);
            }
        }
        for ((least, found), code) in least.iter().zip(&found).zip(codes) {
            *code = first_of::<T, f32>((&raw const *least).cast(), (&raw const *found).cast());
        }
    }
}
