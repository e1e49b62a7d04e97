//! The search in single precision for vectors of many numbers: squared distances of those entries only that rough
//! scores leave over. The result is that of all distances.
//!
//! Let z be a vector and c an entry, z' = s q and c' = t r what eight bits make of them: s and t are a 127th of their
//! largest number. |z - c|^2 = |z|^2 - 2 (z c - |c|^2 / 2), and the bracket, the score, is at most
//!
//! ```text
//! bound = s t q r - |c|^2 / 2 + |z - z'| |c| + |z'| |c - c'|
//!      <= s t q r - |c|^2 / 2 + reach * slack        reach  = max(|c|, WEIGHT |c - c'|)
//!                                                     slack = |z - z'| + |z'| / WEIGHT
//! ```
//!
//! of which q r is a product of integers, and exact. An entry whose bound is below a vector's threshold
//! (|z|^2 - least distance so far) / 2 is not the nearest:
//!
//! ```text
//! for some vectors, for WINDOW entries at a time:
//!     bounds of all; distance of the one with the largest bound; distances of those at the threshold or above
//! ```
//!
//! Everything here is rounded, and so everything is made larger than it need be, by far more than rounding can be off:
//! the bounds by 2^-13, the norms by 2^-15 of themselves and by 1e-17. Distances are off by less than 2^-13 of
//! themselves, and [`LEAST`]; where two are nearer to each other than [`OFF`], they are summed up once more in the order
//! of the reference. A vector that is too large, or not finite, is searched for as the reference does it, and if such an
//! entry is among them, all are.

use super::blocks::{Blocks, Inputs, MOST, TOGETHER, VECTORS, for_part, part};
use super::lanes::Lanes;
use super::rough::{LANES, LEAST, MORE, Rough, largest_of, total};
use crate::element::Real;
use crate::kernels::entries::{Entries, Shape};
use crate::kernels::scalar;
use core::ops::Range;
use core::slice;

/// Entries whose bounds are kept at a time.
const WINDOW: usize = 256;

/// The usual ratio of a vector's norm to that of what eight bits leave of it.
const WEIGHT: f32 = 128.0;

/// By how much of itself a distance is less than another for sure, whatever the order of their sums.
const OFF: f32 = 1.0 / (1 << 11) as f32;

/// What is added to a rough product of an entry.
struct Words {
    /// -|c|^2 / 2.
    half: f32,
    /// t.
    scale: f32,
    reach: f32,
    /// What the product of integers is larger by.
    offset: i32,
}

/// Their number.
const WORDS: usize = 4;

/// See [`super::NearestCodes::packed_len`].
pub(super) fn packed_len<T: Lanes, R: Real>(shape: Shape) -> usize {
    Blocks::<T>::new(shape, WORDS).elements::<R>()
}

/// See [`super::NearestCodes::pack`].
pub(super) fn pack<T: Lanes, R: Real>(entries: Entries<'_, R>, packed: &mut [R]) {
    let shape = entries.shape();
    let blocks = Blocks::<T>::new(shape, WORDS);
    packed.fill(R::zero(0));
    let (mut room, mut own) = ([0.0; MOST], [0; MOST]);
    let mut is_tame = true;
    for k in 0..shape.count {
        let entry = entries.entry(k).iter().map(|&number| R::read(number));
        let rough = Rough::new(entry, &mut room, &mut own);
        is_tame &= rough.is_some();
        let own = &own[..shape.dim];
        let words = rough.map_or(Words::UNFIT, |rough| Words::new(&rough, T::OFFSET, own));
        blocks.put(packed, k, &words.bytes(), own);
    }
    for k in shape.count..blocks.count * T::LANES {
        blocks.put(packed, k, &Words::NO_ENTRY.bytes(), &[]);
    }
    if !is_tame {
        blocks.put(packed, 0, &Words::UNFIT.bytes(), &[]);
    }
}

impl Words {
    /// As the first entry's: this is no search for rough scores.
    const UNFIT: Self = Self {
        half: f32::INFINITY,
        ..Self::NO_ENTRY
    };

    /// Whose bound is below every threshold.
    const NO_ENTRY: Self = Self {
        half: f32::NEG_INFINITY,
        scale: 0.0,
        reach: 0.0,
        offset: 0,
    };

    /// Of an entry with these numbers.
    fn new(rough: &Rough, offset: i32, numbers: &[i8]) -> Self {
        let sum: i32 = numbers.iter().map(|&number| i32::from(number)).sum();
        Self {
            half: LEAST - 0.5 * rough.square / MORE,
            scale: rough.scale,
            reach: rough.norm.max(WEIGHT * rough.error) * MORE,
            offset: offset * sum,
        }
    }

    fn bytes(&self) -> [[u8; 4]; WORDS] {
        [
            self.half.to_ne_bytes(),
            self.scale.to_ne_bytes(),
            self.reach.to_ne_bytes(),
            self.offset.to_ne_bytes(),
        ]
    }
}

/// What is known of a vector's nearest entry.
#[derive(Clone, Copy)]
struct Query {
    /// |z|^2, or less.
    square: f32,
    slack: f32,
    scale: f32,
    /// Bounds below it are of no interest.
    threshold: f32,
    least: f32,
    code: u16,
}

impl Query {
    /// Which no entry interests.
    const NONE: Self = Self {
        square: 0.0,
        slack: 1.0,
        scale: 0.0,
        threshold: f32::NAN,
        least: f32::INFINITY,
        code: 0,
    };

    fn new(rough: &Rough) -> Self {
        let slack = rough.error + (rough.norm + rough.error) / WEIGHT;
        Self {
            square: rough.square / (MORE * MORE) - LEAST,
            slack: slack * (1.0 + 1.0 / (1 << 13) as f32),
            scale: rough.scale,
            threshold: f32::MIN,
            ..Self::NONE
        }
    }

    /// Looks at an entry closely.
    #[inline(always)]
    fn try_out<R: Real>(&mut self, entries: Entries<'_, R>, k: usize, vector: &[R]) {
        let distance = distance_in_lanes(vector, entries.entry(k));
        let beyond = distance * (1.0 + OFF) + LEAST;
        let is_nearer = if beyond < self.least {
            true
        } else if distance > self.least * (1.0 + OFF) + LEAST {
            false
        } else {
            self.wins_closely(entries, k, vector)
        };
        if is_nearer {
            self.least = distance;
            self.code = k as u16;
            self.threshold = 0.5 * (self.square - beyond);
        }
    }

    /// Whether an entry wins that is so nearly as near that the order of the sums decides.
    #[cold]
    fn wins_closely<R: Real>(&self, entries: Entries<'_, R>, k: usize, vector: &[R]) -> bool {
        let code = self.code.into();
        let [own, least] = [k, code].map(|k| entries.distance(k, vector));
        own < least || (own == least && k < code)
    }
}

/// How far a vector is from an entry, in an order of its own.
#[inline(always)]
fn distance_in_lanes<R: Real>(vector: &[R], entry: &[R::Stored]) -> f32 {
    let mut sums = [0f32; LANES];
    let (chunks, rest) = vector.as_chunks::<LANES>();
    let (entry_chunks, entry_rest) = entry.as_chunks::<LANES>();
    for (x, numbers) in chunks.iter().zip(entry_chunks) {
        for lane in 0..LANES {
            let difference = x[lane].single() - R::read(numbers[lane]).single();
            sums[lane] += difference * difference;
        }
    }
    for (sum, (x, &number)) in sums.iter_mut().zip(rest.iter().zip(entry_rest)) {
        let difference = x.single() - R::read(number).single();
        *sum += difference * difference;
    }
    total(sums)
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
    let blocks = Blocks::<T>::new(entries.shape(), WORDS);
    let packed = bytemuck::cast_slice::<R, u8>(packed);
    assert!(packed.len() >= blocks.elements::<u8>());
    assert!(vectors.len() == codes.len() * dim);
    if packed.first_chunk() == Some(&f32::INFINITY.to_ne_bytes()) {
        return scalar::nearest(entries, vectors, codes);
    }
    let mut inputs = Inputs::<T>::new();
    let (mut room, mut numbers) = ([0.0; MOST], [0; MOST]);
    let mut bounds = [Bounds([0.0; WINDOW]); VECTORS];
    let mut done = 0;
    while done < codes.len() {
        let count = part::<T>(codes.len() - done);
        let vectors = &vectors[done * dim..][..count * dim];
        let codes = &mut codes[done..][..count];
        let mut queries = [Query::NONE; VECTORS];
        for (p, vector) in vectors.chunks_exact(dim).enumerate() {
            match Rough::new(vector.iter().copied(), &mut room, &mut numbers) {
                Some(rough) => queries[p] = Query::new(&rough),
                None => {
                    numbers.fill(0);
                    scalar::nearest(entries, vector, &mut codes[p..=p]);
                    queries[p].code = codes[p];
                }
            }
            inputs.set(p, blocks.steps, &numbers[..dim]);
        }
        let batch = Batch {
            entries,
            blocks: &blocks,
            packed,
            vectors,
        };
        // SAFETY: the caller guarantees that the processor has the instruction set; `count` vectors are set, and `packed`
        // holds all blocks.
        unsafe { for_part!(count, search[T, R](&batch, &inputs, &mut queries, &mut bounds)) }
        for (code, query) in codes.iter_mut().zip(&queries) {
            *code = query.code;
        }
        done += count;
    }
}

/// What tiles have in common.
struct Batch<'a, T, R: Real> {
    entries: Entries<'a, R>,
    blocks: &'a Blocks<T>,
    packed: &'a [u8],
    vectors: &'a [R],
}

/// The bounds of some entries for a vector.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Bounds([f32; WINDOW]);

/// Searches for the first P vectors.
///
/// # Safety
/// The processor has T's instruction set; at least P vectors [are set](Inputs::set); and the batch's `packed` holds all of
/// its blocks.
#[inline(always)]
unsafe fn search<T: Lanes, R: Real, const P: usize>(
    batch: &Batch<'_, T, R>,
    inputs: &Inputs<T>,
    queries: &mut [Query; VECTORS],
    bounds: &mut [Bounds; VECTORS],
) {
    let queries = &mut queries[..P];
    let blocks = WINDOW / T::LANES;
    for first in (0..batch.blocks.count).step_by(blocks) {
        let blocks = first..batch.blocks.count.min(first + blocks);
        let (base, count) = (first * T::LANES, blocks.len() * T::LANES);
        // SAFETY: the caller guarantees the same; the range lies within the blocks, and starts and ends with even numbers.
        let most = unsafe {
            bounds_of::<T, P>(batch.blocks, batch.packed, inputs, queries, blocks, bounds)
        };
        for (p, query) in queries.iter_mut().enumerate() {
            let is_promising = most[p] >= query.threshold;
            if !is_promising {
                continue;
            }
            let vector = &batch.vectors[p * batch.entries.dim..][..batch.entries.dim];
            let own = &bounds[p].0[..count];
            // SAFETY: the caller guarantees that the processor has the instruction set.
            unsafe {
                let promising = first_at::<T>(own, most[p]);
                query.try_out(batch.entries, base + promising, vector);
                look_closer::<T, R>(batch.entries, base, own, promising, vector, query);
            }
        }
    }
}

/// Where the first bound is that is at least `least`.
///
/// # Safety
/// The processor has T's instruction set.
#[inline(always)]
unsafe fn first_at<T: Lanes>(bounds: &[f32], least: f32) -> usize {
    for (i, group) in bounds.chunks_exact(T::LANES).enumerate() {
        // SAFETY: the caller guarantees that the processor has the instruction set.
        let lanes = unsafe { at_least::<T>(group, least) };
        if lanes != 0 {
            return i * T::LANES + lanes.trailing_zeros() as usize;
        }
    }
    0
}

/// Tries out all entries at the threshold or above it, but for one that has been.
///
/// # Safety
/// The processor has T's instruction set.
#[inline(always)]
unsafe fn look_closer<T: Lanes, R: Real>(
    entries: Entries<'_, R>,
    base: usize,
    bounds: &[f32],
    done: usize,
    vector: &[R],
    query: &mut Query,
) {
    for (i, group) in bounds.chunks_exact(T::LANES).enumerate() {
        // SAFETY: the caller guarantees that the processor has the instruction set.
        let mut lanes = unsafe { at_least::<T>(group, query.threshold) };
        while lanes != 0 {
            let k = i * T::LANES + lanes.trailing_zeros() as usize;
            if k != done {
                query.try_out(entries, base + k, vector);
            }
            lanes &= lanes - 1;
        }
    }
}

/// A bit for each of LANES bounds that is so large.
///
/// # Safety
/// The processor has T's instruction set.
#[inline(always)]
unsafe fn at_least<T: Lanes>(bounds: &[f32], least: f32) -> u32 {
    assert!(bounds.len() == T::LANES);
    // SAFETY: the caller guarantees that the processor has the instruction set; the bounds fill a register.
    unsafe {
        let bounds = bounds.as_ptr().cast::<T::Singles>().read_unaligned();
        T::at_least(bounds, T::singles(least))
    }
}

/// The bounds of some blocks' entries for each vector, and the largest of them.
///
/// # Safety
/// The processor has T's instruction set; at least P vectors [are set](Inputs::set); and `packed` holds the blocks of
/// `range`, which are an even number, and not more than a window's.
#[inline(always)]
unsafe fn bounds_of<T: Lanes, const P: usize>(
    blocks: &Blocks<T>,
    packed: &[u8],
    inputs: &Inputs<T>,
    queries: &[Query],
    range: Range<usize>,
    bounds: &mut [Bounds; VECTORS],
) -> [f32; P] {
    assert!(range.len() * T::LANES <= WINDOW);
    // SAFETY: the caller guarantees that the processor has the instruction set, that the vectors are set and that the blocks
    // are there, each with WORDS words for each lane; `bounds` has room for those of a window.
    unsafe {
        let mut most = [T::singles(f32::NEG_INFINITY); P];
        for block in range.clone().step_by(TOGETHER) {
            let start = blocks.block(packed, block);
            let sums = blocks.products::<P>(start, inputs);
            for v in 0..TOGETHER {
                let words = start.add(v * blocks.bytes()).cast::<T::Singles>();
                let half = words.read_unaligned();
                let scale = words.add(1).read_unaligned();
                let reach = words.add(2).read_unaligned();
                let offset = words.add(3).cast::<T::Sums>().read_unaligned();
                let place = (block + v - range.start) * T::LANES;
                for (p, sums) in sums.iter().enumerate() {
                    let product = T::singles_of(T::subtract_words(sums[v], offset));
                    let product =
                        T::multiply(T::multiply(product, scale), T::singles(queries[p].scale));
                    let room = T::multiply(reach, T::singles(queries[p].slack));
                    let own = T::add(product, T::add(half, room));
                    most[p] = T::larger(own, most[p]);
                    bounds[p]
                        .0
                        .as_mut_ptr()
                        .add(place)
                        .cast::<T::Singles>()
                        .write_unaligned(own);
                }
            }
        }
        let mut largest = [f32::NEG_INFINITY; P];
        for (largest, most) in largest.iter_mut().zip(&most) {
            let own = slice::from_raw_parts((&raw const *most).cast::<f32>(), T::LANES);
            let mut lanes = [f32::NEG_INFINITY; LANES];
            lanes[..T::LANES].copy_from_slice(own);
            *largest = largest_of(lanes);
        }
        largest
    }
}
