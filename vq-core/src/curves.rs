//! Curves in single precision: those of activations, and what normalisation and attention need. The integer type never comes here: it looks up.
//!
//! Sums, products and quotients only, each rounded once, in the order written: IEEE 754 fixes every
//! bit of them, so processors with and without a floating-point unit agree, and `FORMAT.md` can say
//! the curve instead of naming a library and its version.

use serde::{Deserialize, Serialize};

/// Numbers of an activation's lookup table in integer models: one for each number that a byte can store.
pub const CURVE_LEN: usize = 256;

/// The curves of an activation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum ActivationKind {
    /// tanh(x).
    Tanh,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// x / (1 + exp(-x)), also called swish.
    Silu,
    /// x, and `slope` times x below 0.
    LeakyRelu {
        /// Finite.
        slope: f32,
    },
}

impl ActivationKind {
    /// What it is called in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
            Self::LeakyRelu { .. } => "leaky_relu",
        }
    }
}

/// f(x). Not a number stays so.
pub(crate) fn bend(kind: ActivationKind, x: f32) -> f32 {
    match kind {
        ActivationKind::Tanh => tanh(x),
        ActivationKind::Sigmoid => sigmoid(x),
        ActivationKind::Silu => x * sigmoid(x),
        ActivationKind::LeakyRelu { slope } => {
            if x < 0.0 {
                slope * x
            } else {
                x
            }
        }
    }
}

/// With m = exp(-2 |x|) - 1: tanh |x| = -m / (2 + m), without cancellation near 0.
fn tanh(x: f32) -> f32 {
    let Decay { scale, fraction } = decay(2.0 * x.abs());
    let m = scale * fraction + (scale - 1.0);
    (-m / (2.0 + m)).copysign(x)
}

/// With e = exp(-|x|): 1 / (1 + e), and below 0 its mirror image e / (1 + e).
fn sigmoid(x: f32) -> f32 {
    let e = falling(x.abs());
    let above = if x < 0.0 { e } else { 1.0 };
    above / (1.0 + e)
}

/// exp(-a), a not negative.
pub(crate) fn falling(a: f32) -> f32 {
    let Decay { scale, fraction } = decay(a);
    scale * fraction + scale
}

/// 1 / sqrt(x) for a positive normal x. From an estimate that is off by 3.5 % at most, half the exponent and
/// a line for the mantissa, each of Newton's steps squares the error.
pub(crate) fn inverse_sqrt(x: f32) -> f32 {
    const ESTIMATE: u32 = 0x5f37_59df;
    const STEPS: usize = 3;
    let half = 0.5 * x;
    let mut y = f32::from_bits(ESTIMATE.wrapping_sub(x.to_bits() >> 1));
    for _ in 0..STEPS {
        y *= 1.5 - half * y * y;
    }
    y
}

/// exp(-a) as scale * (1 + fraction), so that exp(-a) - 1 can be had without cancellation too.
struct Decay {
    /// A power of two.
    scale: f32,
    /// -0.3 ..= 0.42
    fraction: f32,
}

/// What is larger decays no further: all numbers stay normal, where every processor is exact.
const MOST: f32 = 87.0;

/// ln 2 in two parts: the first of so few bits that n times it is exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = (core::f64::consts::LN_2 - 355.0 / 512.0) as f32;

/// exp(-a), a not negative: with n = round(a / ln 2) and r = n ln 2 - a it is 2^-n exp(r), |r| <= 0.35,
/// and exp(r) - 1 = r + r^2 / 2! + ... + r^7 / 7!, from the last term on (Horner).
fn decay(a: f32) -> Decay {
    let a = if a > MOST { MOST } else { a };
    let n = (a * core::f32::consts::LOG2_E + 0.5) as u32;
    let times = n as f32;
    let r = (times * LN_2_HIGH - a) + times * LN_2_LOW;
    let mut sum = INVERSE_FACTORIALS[0];
    for coefficient in &INVERSE_FACTORIALS[1..] {
        sum = sum * r + coefficient;
    }
    Decay {
        scale: f32::from_bits((127 - n) << 23),
        fraction: sum * r,
    }
}

/// 1 / 7! ..= 1 / 1!
const INVERSE_FACTORIALS: [f32; 7] = [
    1.0 / 5040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    1.0 / 2.0,
    1.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_roots_are_within_two_units_in_the_last_place() {
        for exponent in -126..=127 {
            for step in 0..512 {
                let x = f32::from_bits(((exponent + 127) as u32) << 23 | step << 14);
                // y y x = 1 + 2 e, with e the relative error.
                let y = f64::from(inverse_sqrt(x));
                let error = (y * y * f64::from(x) - 1.0).abs() / 2.0;
                assert!(error <= 2.0 * f64::from(f32::EPSILON), "{x}: {y}, {error}");
            }
        }
    }
}
