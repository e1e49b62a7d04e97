//! Pixel shuffle (Shi et al. 2016) and its inverse: channels to space and back, values unchanged.
//!
//! Channel order is PyTorch's: channel `c * f * f + fy * f + fx` of the small map is channel `c` of the
//! large one at offset (fy, fx). Each is the other's backward pass.

use super::builder::{BuildError, Builder, Configured};
use super::layer::{Layer, Learnt};
use super::scalar::Scalar;
use super::tape::Tape;
use super::weights::Weights;
use ndarray::Array4;
use serde::{Deserialize, Serialize};

/// `[n, h, w, c f f]` to `[n, h f, w f, c]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PixelShuffle {
    /// f.
    pub factor: usize,
}

impl<L: From<PixelShuffle>> Configured<L> for PixelShuffle {
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError> {
        builder.positive(&[("shuffle", self.factor)])?;
        let squared = self.factor * self.factor;
        builder.channels_divide(squared, &format!("by {squared}"))?;
        builder.push(*self);
        builder.shape.channels /= squared;
        builder.grow(self.factor);
        Ok(())
    }
}

impl Layer for PixelShuffle {
    fn kind(&self) -> &'static str {
        "shuffle"
    }

    /// Channels to space.
    fn forward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        to_space(x, self.factor, tape)
    }

    /// Space to channels.
    fn backward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        _: &mut [T],
    ) -> Array4<T> {
        to_depth(dy, self.factor, tape)
    }

    fn learnt(&self) -> Learnt {
        Learnt::Nothing
    }
}

/// `[n, h f, w f, c]` to `[n, h, w, c f f]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PixelUnshuffle {
    /// f.
    pub factor: usize,
}

impl<L: From<PixelUnshuffle>> Configured<L> for PixelUnshuffle {
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError> {
        builder.positive(&[("unshuffle", self.factor)])?;
        let channels = builder.shape.channels * self.factor * self.factor;
        builder.limit("channels x unshuffle x unshuffle", channels)?;
        builder.push(*self);
        builder.shape.channels = channels;
        builder.shrink(self.factor);
        Ok(())
    }
}

impl Layer for PixelUnshuffle {
    fn kind(&self) -> &'static str {
        "unshuffle"
    }

    /// Space to channels.
    fn forward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        to_depth(x, self.factor, tape)
    }

    /// Channels to space.
    fn backward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        _: &mut [T],
    ) -> Array4<T> {
        to_space(dy, self.factor, tape)
    }

    fn learnt(&self) -> Learnt {
        Learnt::Nothing
    }
}

fn to_space<T: Scalar>(x: Array4<T>, f: usize, tape: &mut Tape<T>) -> Array4<T> {
    let (n, h, w, cff) = x.dim();
    let c = cff / (f * f);
    let mut y = tape.map((n, h * f, w * f, c));
    let split = x
        .to_shape((n, h, w, c, f, f))
        .expect("channels divide by f * f");
    let mut target = y
        .view_mut()
        .into_shape_with_order((n, h, f, w, f, c))
        .expect("same number of values");
    // n h w c fy fx -> n h fy w fx c
    target.assign(&split.permuted_axes([0, 1, 4, 2, 5, 3]));
    tape.recycle(x);
    y
}

fn to_depth<T: Scalar>(x: Array4<T>, f: usize, tape: &mut Tape<T>) -> Array4<T> {
    let (n, hf, wf, c) = x.dim();
    let (h, w) = (hf / f, wf / f);
    let mut y = tape.map((n, h, w, c * f * f));
    let split = x.to_shape((n, h, f, w, f, c)).expect("sizes divide by f");
    let mut target = y
        .view_mut()
        .into_shape_with_order((n, h, w, c, f, f))
        .expect("same number of values");
    // n h fy w fx c -> n h w c fy fx
    target.assign(&split.permuted_axes([0, 1, 3, 5, 2, 4]));
    tape.recycle(x);
    y
}
