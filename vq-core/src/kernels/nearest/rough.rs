//! What eight bits make of a vector of singles, and how far that is from it at most.

use super::blocks::MOST;
use crate::element::Real;

/// Sums that are added up side by side, where their order does not matter.
pub(super) const LANES: usize = 16;

/// Norms up to here are exact enough, with so much added: smaller numbers have squares that vanish.
const SMALL: f32 = 1e-17;

/// Squares up to here come with all their products.
const LARGE: f32 = 1e30;

/// What distances and squared norms are off by at most where they vanish.
pub(super) const LEAST: f32 = 1e-36;

/// A little more than 1, for what is rounded: by more than so many sums of squares in lanes are off.
pub(super) const MORE: f32 = 1.0 + 1.0 / (1 << 15) as f32;

/// Added to a number that is not large, it leaves the nearest integer in the lowest bits.
const TO_NEAREST: f32 = (3 << 22) as f32;

/// What eight bits make of a vector.
pub(super) struct Rough {
    /// |z|^2.
    pub(super) square: f32,
    /// |z|, or more.
    pub(super) norm: f32,
    /// |z - z'|, or more.
    pub(super) error: f32,
    /// s.
    pub(super) scale: f32,
}

impl Rough {
    /// None where it is too large, or not finite. What lies in the room and among the numbers behind the vector's own
    /// is 0, and stays so.
    #[inline(always)]
    pub(super) fn new<R: Real>(
        vector: impl Iterator<Item = R>,
        room: &mut [f32; MOST],
        numbers: &mut [i8; MOST],
    ) -> Option<Self> {
        let mut len = 0;
        for (place, x) in room.iter_mut().zip(vector) {
            *place = x.single();
            len += 1;
        }
        let chunks = &room.as_chunks::<LANES>().0[..usize::div_ceil(len, LANES)];
        let (mut most, mut squares) = ([0f32; LANES], [0f32; LANES]);
        for chunk in chunks.iter() {
            for lane in 0..LANES {
                let size = chunk[lane].abs();
                most[lane] = if size > most[lane] { size } else { most[lane] };
                squares[lane] += size * size;
            }
        }
        let square = total(squares);
        let most = largest_of(most);
        // What is not a number is not so, either.
        let is_tame = square <= LARGE;
        if !is_tame {
            return None;
        }
        let scale = if most > SMALL { most / 127.0 } else { 0.0 };
        let inverse = if most > SMALL { 127.0 / most } else { 0.0 };
        let mut squares = [0f32; LANES];
        for (chunk, own) in chunks.iter().zip(numbers.as_chunks_mut::<LANES>().0) {
            for lane in 0..LANES {
                let moved = chunk[lane] * inverse + TO_NEAREST;
                own[lane] = moved.to_bits() as i8;
                let rest = chunk[lane] - scale * (moved - TO_NEAREST);
                squares[lane] += rest * rest;
            }
        }
        let norm = libm::sqrtf(square) * MORE + SMALL;
        // Each number's rest is rounded, too.
        let error = libm::sqrtf(total(squares)) * MORE + norm / (1 << 18) as f32 + SMALL;
        Some(Self {
            square,
            norm,
            error,
            scale,
        })
    }
}

/// The sum.
#[inline(always)]
pub(super) fn total(mut lanes: [f32; LANES]) -> f32 {
    add_half::<8>(&mut lanes);
    add_half::<4>(&mut lanes);
    add_half::<2>(&mut lanes);
    lanes[0] + lanes[1]
}

#[inline(always)]
fn add_half<const H: usize>(lanes: &mut [f32; LANES]) {
    for lane in 0..H {
        lanes[lane] += lanes[lane + H];
    }
}

/// The largest number.
#[inline(always)]
pub(super) fn largest_of(mut lanes: [f32; LANES]) -> f32 {
    keep_larger_half::<8>(&mut lanes);
    keep_larger_half::<4>(&mut lanes);
    keep_larger_half::<2>(&mut lanes);
    keep_larger_half::<1>(&mut lanes);
    lanes[0]
}

#[inline(always)]
fn keep_larger_half<const H: usize>(lanes: &mut [f32; LANES]) {
    for lane in 0..H {
        let other = lanes[lane + H];
        lanes[lane] = if other > lanes[lane] {
            other
        } else {
            lanes[lane]
        };
    }
}
