//! The search in integers, which is exact.
//!
//! |z - c|^2 = |z|^2 - (2 z c - |c|^2): the nearest entry has the largest bracket, its score. A block's words are what
//! has to be added to twice the product.
//!
//! ```text
//! for some vectors, for some entries: keep the entry if 2 z c + word > the largest score so far
//! ```
//!
//! 1. Each lane keeps its own best, the first of equals, and they meet when all entries have been seen.

use super::blocks::{Blocks, Inputs, MOST, TOGETHER, for_part, part};
use super::lanes::{Lanes, first_of};
use crate::element::Arithmetic;
use crate::kernels::entries::{Entries, Shape};

/// Less than every score; twice of it still is a number.
const NO_ENTRY: i32 = i32::MIN / 2;

/// See [`super::NearestCodes::packed_len`].
pub(super) fn packed_len<T: Lanes>(shape: Shape) -> usize {
    if shape.dim > MOST {
        return 0;
    }
    Blocks::<T>::new(shape, 1).elements::<i8>()
}

/// See [`super::NearestCodes::pack`].
pub(super) fn pack<T: Lanes>(entries: Entries<'_, i8>, packed: &mut [i8]) {
    let shape = entries.shape();
    if shape.dim > MOST {
        return;
    }
    let blocks = Blocks::<T>::new(shape, 1);
    packed.fill(0);
    let mut own = [0; MOST];
    let own = &mut own[..shape.dim];
    for k in 0..shape.count {
        let mut word = 0;
        for (place, &stored) in own.iter_mut().zip(entries.entry(k)) {
            *place = i8::read(stored);
            let number = i32::from(*place);
            word -= number * (number + 2 * T::OFFSET);
        }
        blocks.put(packed, k, &[word.to_ne_bytes()], own);
    }
    for k in shape.count..blocks.count * T::LANES {
        blocks.put(packed, k, &[NO_ENTRY.to_ne_bytes()], &[]);
    }
}

/// See [`super::NearestCodes::nearest`].
///
/// # Safety
/// The processor has T's instruction set.
#[inline(always)]
pub(super) unsafe fn nearest<T: Lanes>(
    entries: Entries<'_, i8>,
    packed: &[i8],
    vectors: &[i8],
    codes: &mut [u16],
) {
    let blocks = Blocks::<T>::new(entries.shape(), 1);
    assert!(packed.len() >= blocks.elements::<i8>());
    assert!(vectors.len() == codes.len() * entries.dim);
    let mut inputs = Inputs::<T>::new();
    let mut done = 0;
    while done < codes.len() {
        let count = part::<T>(codes.len() - done);
        for (p, vector) in vectors[done * entries.dim..]
            .chunks_exact(entries.dim)
            .take(count)
            .enumerate()
        {
            inputs.set(p, blocks.steps, vector);
        }
        let codes = &mut codes[done..][..count];
        // SAFETY: the caller guarantees that the processor has the instruction set; `count` vectors are set, and `packed` holds all blocks.
        unsafe { for_part!(count, tile[T](&blocks, packed, &inputs, codes)) }
        done += count;
    }
}

/// Searches for the first P vectors.
///
/// # Safety
/// The processor has T's instruction set; at least P vectors [are set](Inputs::set); and `packed` holds all of `blocks`.
#[inline(always)]
unsafe fn tile<T: Lanes, const P: usize>(
    blocks: &Blocks<T>,
    packed: &[i8],
    inputs: &Inputs<T>,
    codes: &mut [u16],
) {
    // SAFETY: the caller guarantees that the processor has the instruction set, that the vectors are set and that `packed`
    // holds all blocks, of which there is an even number; each starts with LANES words. Sums are LANES integers.
    unsafe {
        let mut best = [[T::words(i32::MIN), T::words(0)]; P];
        for block in (0..blocks.count).step_by(TOGETHER) {
            let start = blocks.block(packed, block);
            let sums = blocks.products::<P>(start, inputs);
            for v in 0..TOGETHER {
                let words = start
                    .add(v * blocks.bytes())
                    .cast::<T::Sums>()
                    .read_unaligned();
                let block = T::words((block + v) as i32);
                for (best, sums) in best.iter_mut().zip(&sums) {
                    let twice = T::add_words(sums[v], sums[v]);
                    T::keep_larger(best, [T::add_words(twice, words), block]);
                }
            }
        }
        for ([scores, found], code) in best.iter().zip(codes) {
            // The larger the score, the less is all that is left when it is taken away.
            let measures = T::subtract_words(T::words(-1), *scores);
            *code = first_of::<T, i32>((&raw const measures).cast(), (&raw const *found).cast());
        }
    }
}
