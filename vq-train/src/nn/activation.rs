//! Activations, number by number: SiLU, leaky ReLU, tanh and sigmoid.
//!
//! ReLU is a layer of its own, because convolutions fuse it; SiLU behind group normalisation is fused
//! there.

use super::builder::{BuildError, Builder, Configured};
use super::layer::{Layer, Learnt};
use super::map::{flat, flat_mut};
use super::scalar::{Scalar, sigmoid, silu_slope};
use super::simd::Loop;
use super::tape::{Cache, Tape};
use super::weights::Weights;
use ndarray::Array4;

/// y = f(x) for one of these f.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// x / (1 + e^-x), also called swish.
    Silu,
    /// x, and `slope` times x below 0.
    LeakyRelu {
        /// Any.
        slope: f64,
    },
    /// tanh(x).
    Tanh,
    /// 1 / (1 + e^-x).
    Sigmoid,
}

impl<L: From<Activation>> Configured<L> for Activation {
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError> {
        if let Activation::LeakyRelu { slope } = *self {
            builder.share("leaky", slope)?;
        }
        builder.push(*self);
        Ok(())
    }
}

impl Layer for Activation {
    fn kind(&self) -> &'static str {
        match self {
            Activation::Silu => "silu",
            Activation::LeakyRelu { .. } => "leaky",
            Activation::Tanh => "tanh",
            Activation::Sigmoid => "sigmoid",
        }
    }

    /// Any shape.
    fn forward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        mut x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let mut y = tape.map(x.dim());
        Forward {
            activation: *self,
            x: flat(&x),
            y: flat_mut(&mut y),
        }
        .run_wide();
        if tape.trains() && self.keeps_output() {
            x.assign(&y);
        }
        tape.push(Cache::Map(x));
        y
    }

    /// In place, any shape.
    fn backward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        tape: &mut Tape<T>,
        mut dy: Array4<T>,
        _: &mut [T],
    ) -> Array4<T> {
        let kept = tape.pop_map();
        Backward {
            activation: *self,
            kept: flat(&kept),
            dy: flat_mut(&mut dy),
        }
        .run_wide();
        tape.recycle(kept);
        dy
    }

    fn learnt(&self) -> Learnt {
        Learnt::Nothing
    }
}

impl Activation {
    /// Whether the slope is the simpler function of y than of x.
    fn keeps_output(&self) -> bool {
        matches!(self, Activation::Tanh | Activation::Sigmoid)
    }
}

/// x, and `slope` times x where `size` is not above 0.
#[inline(always)]
fn leaky<T: Scalar>(x: T, size: T, slope: f64) -> T {
    if size > T::zero() {
        x
    } else {
        x * T::of(slope)
    }
}

/// y = f(x).
struct Forward<'a, T> {
    activation: Activation,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Scalar> Loop for Forward<'_, T> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        let both = self.y.iter_mut().zip(self.x);
        match self.activation {
            Activation::Silu => both.for_each(|(y, &x)| *y = x * sigmoid(x)),
            Activation::LeakyRelu { slope } => both.for_each(|(y, &x)| *y = leaky(x, x, slope)),
            Activation::Tanh => both.for_each(|(y, &x)| *y = x.fast_tanh()),
            Activation::Sigmoid => both.for_each(|(y, &x)| *y = sigmoid(x)),
        }
    }
}

/// dy times f', which is a function of what was kept.
struct Backward<'a, T> {
    activation: Activation,
    kept: &'a [T],
    dy: &'a mut [T],
}

impl<T: Scalar> Loop for Backward<'_, T> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        let both = self.dy.iter_mut().zip(self.kept);
        match self.activation {
            Activation::Silu => both.for_each(|(dy, &x)| *dy *= silu_slope(x)),
            Activation::LeakyRelu { slope } => both.for_each(|(dy, &x)| *dy = leaky(*dy, x, slope)),
            Activation::Tanh => both.for_each(|(dy, &y)| *dy *= T::one() - y * y),
            Activation::Sigmoid => both.for_each(|(dy, &y)| *dy *= y * (T::one() - y)),
        }
    }
}
