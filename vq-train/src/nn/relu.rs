//! max(x, 0): what passes is remembered as one byte a value.

use super::{Cache, Scalar, Tape, flat, flat_mut};
use ndarray::Array4;

/// Whether a value got through, for each value of a map: a ReLU's output is positive, or a dropout kept it.
#[derive(Debug, Clone, Default)]
pub struct Mask(pub(super) Vec<bool>);

impl Mask {
    /// Bytes that it takes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is of a map without values.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Scalar> Tape<T> {
    /// Keeps which values of a ReLU's output are positive.
    pub(super) fn push_mask(&mut self, y: &Array4<T>) {
        if self.trains() {
            let mut mask = self.free_masks.pop().unwrap_or_default();
            let y = flat(y);
            mask.0.resize(y.len(), false);
            for (open, &v) in mask.0.iter_mut().zip(y) {
                *open = v > T::zero();
            }
            self.push(|| Cache::Mask(mask));
        }
    }

    /// Zeroes the gradient wherever the ReLU was shut.
    pub(super) fn pop_mask_onto(&mut self, dy: &mut Array4<T>) {
        let mask = self.pop_mask();
        for (v, &open) in flat_mut(dy).iter_mut().zip(&mask.0) {
            *v = if open { *v } else { T::zero() };
        }
        self.free_masks.push(mask);
    }
}

/// A ReLU of its own; convolutions have theirs fused.
#[derive(Debug, Clone, Copy)]
pub struct Relu;

impl Relu {
    /// In place, any shape.
    pub fn forward<T: Scalar>(&self, mut x: Array4<T>, tape: &mut Tape<T>) -> Array4<T> {
        x.mapv_inplace(|v| if v > T::zero() { v } else { T::zero() });
        tape.push_mask(&x);
        x
    }

    /// In place, any shape.
    pub fn backward<T: Scalar>(&self, tape: &mut Tape<T>, mut dy: Array4<T>) -> Array4<T> {
        tape.pop_mask_onto(&mut dy);
        dy
    }
}
