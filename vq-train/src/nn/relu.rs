//! max(x, 0): what passes is remembered as one byte a value.

use super::{Cache, Scalar, Tape};
use ndarray::Array4;

/// Whether a ReLU's output is positive, for each value of a map.
#[derive(Debug, Clone)]
pub struct Mask(Vec<bool>);

impl Mask {
    /// The mask of a ReLU's output.
    pub fn of<T: Scalar>(y: &Array4<T>) -> Mask {
        let y = y.as_slice().expect("maps are contiguous");
        Mask(y.iter().map(|&v| v > T::zero()).collect())
    }
}

/// Zeroes the gradient wherever the ReLU was shut.
pub(super) fn mask_in_place<T: Scalar>(mask: &Mask, dy: &mut Array4<T>) {
    let dy = dy.as_slice_mut().expect("maps are contiguous");
    for (v, &open) in dy.iter_mut().zip(&mask.0) {
        *v = if open { *v } else { T::zero() };
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
