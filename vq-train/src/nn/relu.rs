//! max(x, 0), as a layer and fused into others: what passes is kept as one byte a value.

use super::builder::{BuildError, Builder, Configured};
use super::layer::{Layer, Learnt};
use super::map::{flat, flat_mut};
use super::scalar::Scalar;
use super::tape::{Cache, Tape};
use super::weights::Weights;
use ndarray::Array4;

/// A ReLU of its own; convolutions have theirs fused.
#[derive(Debug, Clone, Copy)]
pub struct Relu;

impl Layer for Relu {
    fn kind(&self) -> &'static str {
        "relu"
    }

    fn forward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        mut x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        rectify(&mut x, tape);
        x
    }

    fn backward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        tape: &mut Tape<T>,
        mut dy: Array4<T>,
        _: &mut [T],
    ) -> Array4<T> {
        mask_gradient(tape, &mut dy);
        dy
    }

    fn learnt(&self) -> Learnt {
        Learnt::Nothing
    }
}

impl<L: From<Relu>> Configured<L> for Relu {
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError> {
        builder.push(*self);
        Ok(())
    }
}

/// max(x, 0) in place, and its mask for backward.
pub(super) fn rectify<T: Scalar>(x: &mut Array4<T>, tape: &mut Tape<T>) {
    x.mapv_inplace(|v| if v > T::zero() { v } else { T::zero() });
    keep_mask(x, tape);
}

/// Keeps which values of a ReLU's output are positive.
pub(super) fn keep_mask<T: Scalar>(y: &Array4<T>, tape: &mut Tape<T>) {
    if tape.trains() {
        let mut mask = tape.mask();
        let y = flat(y);
        mask.resize(y.len(), false);
        for (open, &v) in mask.iter_mut().zip(y) {
            *open = v > T::zero();
        }
        tape.push(Cache::Mask(mask));
    }
}

/// Sets the gradient to zero where the ReLU's output is not positive.
pub(super) fn mask_gradient<T: Scalar>(tape: &mut Tape<T>, dy: &mut Array4<T>) {
    let mask = tape.pop_mask();
    for (v, &open) in flat_mut(dy).iter_mut().zip(&mask) {
        *v = if open { *v } else { T::zero() };
    }
    tape.recycle_mask(mask);
}
