//! max(x, 0): what passes is remembered as one bit a value.

use super::{Cache, Scalar, Tape};
use ndarray::Array4;

/// One bit for each value of a map: set where a ReLU's output is positive.
#[derive(Debug, Clone)]
pub struct Mask(Vec<u64>);

impl Mask {
    /// The mask of a ReLU's output.
    pub fn of<T: Scalar>(y: &Array4<T>) -> Mask {
        let y = y.as_slice().expect("maps are contiguous");
        let word = |chunk: &[T]| {
            let bits = chunk.iter().enumerate();
            bits.fold(0, |word, (i, &v)| word | (u64::from(v > T::zero()) << i))
        };
        Mask(y.chunks(64).map(word).collect())
    }
}

/// Zeroes the gradient wherever the ReLU was shut.
pub(super) fn mask_in_place<T: Scalar>(mask: &Mask, dy: &mut Array4<T>) {
    let dy = dy.as_slice_mut().expect("maps are contiguous");
    for (chunk, &word) in dy.chunks_mut(64).zip(&mask.0) {
        for (i, v) in chunk.iter_mut().enumerate() {
            *v = if (word >> i) & 1 == 1 { *v } else { T::zero() };
        }
    }
}

/// A ReLU of its own; convolutions have theirs fused.
#[derive(Debug, Clone, Copy)]
pub struct Relu;

impl Relu {
    /// In place, any shape.
    pub fn forward<T: Scalar>(&self, mut x: Array4<T>, tape: &mut Tape<T>) -> Array4<T> {
        x.mapv_inplace(|v| if v > T::zero() { v } else { T::zero() });
        tape.push(|| Cache::Mask(Mask::of(&x)));
        x
    }

    /// In place, any shape.
    pub fn backward<T: Scalar>(&self, tape: &mut Tape<T>, mut dy: Array4<T>) -> Array4<T> {
        mask_in_place(&tape.pop_mask(), &mut dy);
        dy
    }
}
